//! `watch` of several names, and `watch --exec`: subscribes to the daemon's changes, and survives its end.

use super::command::{Commands, Told};
use super::line::Line;
use super::runs::{Cause, Changed, Runs};
use super::sets::{After, Sets};
use super::signals::Signals;
use crate::ctl::entry::Entry;
use crate::ctl::{Context, End, remark};
use hither_client::{
    Change, Family, Missed, Monotonic, Name, SubscribeError, Subscription, Table, Use, Wanted,
};
use hither_net::clock::now;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::time::Duration;

/// The pauses between attempts to subscribe: the first one, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// The pause after a command that could not be started.
const START_AGAIN: Duration = Duration::from_secs(1);
/// Changes that are handled before signals are looked at again.
const CHANGES_MAX: usize = 256;

/// What is watched, and how.
#[derive(Debug)]
pub(in crate::ctl) struct Wishes {
    pub names: Vec<Name>,
    pub wanted: Wanted,
    /// The command that is run for each change; without it a line is printed.
    pub command: Option<String>,
    /// Whether changes of the order alone count too.
    pub order: bool,
    /// Whether each name counts as changed when the watch begins.
    pub now: bool,
}

enum Link {
    /// The daemon reports changes. `table` is its table.
    Up { table: Table, subscription: Subscription },
    /// Subscribing is tried again at that time.
    Down { again: Monotonic, pause: Duration },
}

struct Watch<'c, W> {
    context: &'c Context,
    out: &'c mut W,
    wishes: &'c Wishes,
    sets: Sets,
    runs: Runs,
    commands: Option<Commands>,
    /// A command could not be started; until then none is.
    held: Option<Monotonic>,
    /// How far the beginning of the watch has come.
    begun: Begun,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// There was no table yet.
    No,
    /// The sets were seen that later ones are compared with: before the subscription, so that no change
    /// is missed in between.
    Seen,
    /// The watch has subscribed once.
    Subscribed,
}

/// Watches until a signal ends it.
pub(in crate::ctl) fn watch(context: &Context, out: &mut impl Write, wishes: &Wishes) -> Result<End, End> {
    let because = |error| End::Failed(format!("cannot catch signals: {error}"));
    let mut signals = Signals::catch().map_err(because)?;
    let commands = wishes.command.clone().map(Commands::new);
    let (sets, runs) = (Sets::new(), Runs::default());
    let mut watch = Watch { context, out, wishes, sets, runs, commands, held: None, begun: Begun::No };
    let mut link = Link::Down { again: now(), pause: PAUSE_MIN };
    while !signals.must_stop() {
        signals.acknowledge();
        link = watch.advance(link)?;
        watch.run(&link);
        wait(&signals, &link, watch.held).map_err(because)?;
    }
    watch.runs.forget_due();
    while watch.commands.as_mut().is_some_and(|commands| {
        commands.ended();
        commands.is_running()
    }) {
        let link = Link::Down { again: now().plus(PAUSE_MAX), pause: PAUSE_MAX };
        wait(&signals, &link, None).map_err(because)?;
        signals.acknowledge();
    }
    Ok(End::Done)
}

/// Waits for a change, a signal, or the next attempt to subscribe or to start a command.
fn wait(signals: &Signals, link: &Link, held: Option<Monotonic>) -> std::io::Result<()> {
    let mut waits = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    let until = |time: Monotonic| {
        let left_ms = time.0.saturating_sub(now().0).div_ceil(1_000_000);
        PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::MAX)
    };
    let timeout = match link {
        Link::Up { subscription, .. } => {
            waits.push(PollFd::new(subscription.as_fd(), PollFlags::POLLIN));
            held.map_or(PollTimeout::NONE, until)
        }
        // Without the daemon no command is started.
        Link::Down { again, .. } => until(*again),
    };
    match poll(&mut waits, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl<W: Write> Watch<'_, W> {
    /// Takes changes, or subscribes if it is time.
    fn advance(&mut self, link: Link) -> Result<Link, End> {
        match link {
            Link::Up { table, subscription } => self.take_changes(table, subscription),
            Link::Down { again, .. } if now() < again => Ok(link),
            Link::Down { pause, .. } => self.subscribe(pause),
        }
    }

    fn subscribe(&mut self, pause: Duration) -> Result<Link, End> {
        let down = Link::Down { again: now().plus(pause), pause: (pause * 2).min(PAUSE_MAX) };
        // The daemon may be started later than the watch, and its service manager removes the table with it.
        let Ok(table) = self.context.open() else { return Ok(down) };
        if self.begun == Begun::No {
            let names = self.wishes.names.iter();
            names.for_each(|name| self.sets.take(&table, name, self.wishes.wanted));
            self.begun = Begun::Seen;
        }
        match table.subscribe(&self.wishes.names, self.wishes.wanted) {
            Ok(subscription) => {
                self.compare(&table, After::Restart)?;
                self.begun = Begun::Subscribed;
                Ok(Link::Up { table, subscription })
            }
            Err(error) if self.begun == Begun::Seen && is_final(&error) => {
                Err(End::Failed(format!("cannot subscribe: {error}")))
            }
            Err(error) => {
                // Once for each time that the daemon is away for longer than a restart takes.
                if pause < PAUSE_MAX && pause * 2 >= PAUSE_MAX {
                    remark(&format!("cannot subscribe: {error}; trying again"));
                }
                Ok(down)
            }
        }
    }

    /// Compares all sets with the table, after something was not reported.
    fn compare(&mut self, table: &Table, after: After) -> Result<(), End> {
        let wishes = self.wishes;
        for name in &wishes.names {
            for family in families(wishes.wanted) {
                let is_first = self.begun != Begun::Subscribed;
                let has_changed = self.sets.has_changed(table, name, family, after);
                if has_changed || is_first && wishes.now && self.sets.has_addresses(name, family) {
                    let cause = if is_first { Cause::Start } else { Cause::Missed };
                    self.note(table, name, family, cause)?;
                }
            }
        }
        Ok(())
    }

    fn take_changes(&mut self, table: Table, subscription: Subscription) -> Result<Link, End> {
        for _ in 0..CHANGES_MAX {
            match subscription.try_next() {
                Ok(Some(change)) => self.take(&table, &change)?,
                Ok(None) => break,
                Err(Missed::Gap) => self.compare(&table, After::Gap)?,
                Err(Missed::Ended) => {
                    remark("hitherd has ended; the watch goes on when it is back");
                    return Ok(Link::Down { again: now(), pause: PAUSE_MIN });
                }
            }
        }
        Ok(Link::Up { table, subscription })
    }

    fn take(&mut self, table: &Table, change: &Change) -> Result<(), End> {
        let counts = change.cause != hither_client::Cause::Order || self.wishes.order;
        if counts && self.sets.is_news(table, change) {
            self.note(table, &change.name, change.family, Cause::Told(change.cause))?;
        }
        Ok(())
    }

    /// Prints the change, or notes that a run is due.
    fn note(&mut self, table: &Table, name: &Name, family: Family, cause: Cause) -> Result<(), End> {
        if self.commands.is_some() {
            self.runs.note(*name, Changed::one(family, cause));
            return Ok(());
        }
        let stale = table.stale_time();
        let entry = self.sets.entry(table, name).and_then(|entry| Entry::of(entry, family, stale, now()));
        self.sets.take(table, name, Wanted::One(family));
        Line::of(name, family, cause, entry).print(self.context, self.out)
    }

    /// Starts the runs that are due, after noting those that have ended.
    fn run(&mut self, link: &Link) {
        let Some(commands) = &mut self.commands else { return };
        for name in commands.ended() {
            self.runs.ended(&name);
        }
        // Without the daemon the table may be one that is gone. Runs wait until they can be told what is so.
        let Link::Up { table, .. } = link else { return };
        if self.held.is_some_and(|held| now() < held) {
            return;
        }
        let was_held = self.held.take().is_some();
        while let Some((name, changed)) = self.runs.start() {
            // First noted as seen: a later change is news then.
            self.sets.take(table, &name, self.wishes.wanted);
            let told = told(&mut self.sets, table, self.wishes.wanted, name, changed);
            if let Err(error) = commands.start(&told) {
                if !was_held {
                    remark(&format!("the command for {name} cannot be started: {error}; trying again"));
                }
                // The change is not told yet, although it was noted as seen.
                self.runs.not_started(&name, changed);
                self.held = Some(now().plus(START_AGAIN));
                return;
            }
        }
    }
}

/// What the command is told of a name: all that the table has of it now.
fn told(sets: &mut Sets, table: &Table, wanted: Wanted, name: Name, changed: Changed) -> Told {
    let (stale, order, at) = (table.stale_time(), table.families().order, now());
    let mut told = Told { name, changed, version: 0, addresses: Vec::new() };
    let Some(entry) = sets.entry(table, &name) else { return told };
    let usable = |family: &Family| {
        wanted.includes(*family)
            && entry.family(*family).is_some_and(|set| set.usable(stale, at) != Use::Never)
    };
    let usable: Vec<Family> = [Family::A, Family::Aaaa].into_iter().filter(usable).collect();
    let wanted = match usable.as_slice() {
        [] => return told,
        [one] => Wanted::One(*one),
        _ => Wanted::Both,
    };
    let versions = usable.iter().filter_map(|family| entry.family(*family)).map(|set| set.version());
    told.version = versions.max().unwrap_or(0);
    told.addresses = entry.entry().ordered(wanted, order).map(|one| one.address).collect::<Vec<IpAddr>>();
    told
}

fn families(wanted: Wanted) -> impl Iterator<Item = Family> {
    [Family::A, Family::Aaaa].into_iter().filter(move |family| wanted.includes(*family))
}

/// Whether waiting does not help: the daemon is there, and this user gets no subscription.
fn is_final(error: &SubscribeError) -> bool {
    match error {
        SubscribeError::Refused(_) => true,
        SubscribeError::NoDaemon(error) => error.kind() == ErrorKind::PermissionDenied,
    }
}
