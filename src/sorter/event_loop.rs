//! The sorter's loop: what changed in the table, which probes have ended, which may go out, what the daemon says.

use super::link::{Link, Said};
use super::news::News;
use super::probe::Prober;
use super::schedule::{Found, Schedule};
use super::sets::{Seen, Sets, ordered};
use super::walk::Walk;
use crate::config::{Config, Probe, Sort};
use crate::host::service_manager::{self, ServiceManager};
use crate::logging::Event;
use hither_client::{Family, Follower, Key, Monotonic, Reader, Snapshot, Step};
use hither_control::{Order, SorterMessage};
use hither_net::clock::{Alarm, now};
use hither_net::random::Random;
use hither_net::signals::{Signal, Signals};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ALARM: Token = Token(0);
const SIGNALS: Token = Token(1);
const TABLE: Token = Token(2);
const LINK: Token = Token(3);
const PARENT: Token = Token(4);
const NETWORK: Token = Token(5);
/// Probes and connections have the tokens from here on.
const PROBES: usize = 16;

/// Changes taken up before probes get their turn.
const STEPS: usize = 256;
/// How often a missing table is looked for, and a silent one looked at for a successor.
const LOOK: Duration = Duration::from_millis(250);

struct Sorter {
    poll: Poll,
    sort: Sort,
    dir: PathBuf,
    table: Option<Follower>,
    sets: Sets,
    schedule: Schedule,
    prober: Prober,
    link: Link,
    alarm: Alarm,
    signals: Signals,
    snapshot: Box<Snapshot>,
    /// The table has changes that have not been taken up.
    behind: bool,
    /// Looks at all sets again, so that names in use are measured anew, and what found no room is found.
    walk: Walk,
    /// Sets were passed over in the last walk, and the log was told.
    is_short_of_room: bool,
    news: News,
    /// Who started us, if somebody did who wants to hear how we are.
    manager: ServiceManager,
    watchdog: Option<(Duration, Monotonic)>,
    reported: u64,
    stop: bool,
}

/// Measures until told to stop.
///
/// # Errors
/// What keeps it from starting, in words.
pub(super) fn serve(config: &Config, with_parent: bool) -> Result<(), String> {
    let signals = Signals::new().map_err(|error| format!("signals cannot be taken: {error}"))?;
    let poll = Poll::new().map_err(|error| format!("no poll can be had: {error}"))?;
    let mut sorter = Sorter::new(config, poll, signals)?;
    sorter.register(with_parent).map_err(|error| format!("a source cannot be polled: {error}"))?;
    if !config.sort.enabled {
        log::info!("sort.enabled is false: nothing is measured");
    }
    sorter.run()
}

impl Sorter {
    fn new(config: &Config, poll: Poll, signals: Signals) -> Result<Sorter, String> {
        let now = now();
        let sort = config.sort.clone();
        let random = Random::new().map_err(|error| format!("the kernel gives no random numbers: {error}"))?;
        let icmp = sort.enabled && sort.probes.contains(&Probe::Icmp);
        let (prober, lacks) = Prober::new(poll.registry(), sort.timeout, icmp, random);
        let mut schedule = Schedule::new(&sort, now);
        for lack in &lacks {
            log::warn!(
                event = Event::ProbesLacking, probe = lack.as_str();
                "no {lack}: see net.ipv4.ping_group_range in hither-sorter(8); using the other probes"
            );
        }
        if lacks.len() == 2 {
            schedule.lacks(Probe::Icmp);
        }
        Ok(Sorter {
            link: Link::new(&config.runtime_dir, lacks, now),
            dir: config.runtime_dir.clone(),
            table: None,
            sets: Sets::default(),
            schedule,
            prober,
            alarm: Alarm::new().map_err(|error| format!("no timer can be had: {error}"))?,
            signals,
            snapshot: Box::new(Snapshot::new()),
            behind: true,
            walk: Walk::new(now),
            is_short_of_room: false,
            news: News::new(),
            manager: ServiceManager::new(),
            watchdog: service_manager::watchdog().map(|every| (every, now)),
            reported: 0,
            stop: false,
            sort,
            poll,
        })
    }

    fn register(&mut self, with_parent: bool) -> std::io::Result<()> {
        let registry = self.poll.registry();
        registry.register(&mut self.alarm, ALARM, Interest::READABLE)?;
        registry.register(&mut self.signals, SIGNALS, Interest::READABLE)?;
        if with_parent {
            registry.register(&mut SourceFd(&0), PARENT, Interest::READABLE)?;
        }
        if let Some(descriptor) = self.news.descriptor() {
            registry.register(&mut SourceFd(&descriptor), NETWORK, Interest::READABLE)?;
        }
        let waker = Waker::new(registry, TABLE)?;
        let dir = self.dir.clone();
        std::thread::Builder::new().name("table".to_owned()).spawn(move || watch(&dir, &waker))?;
        Ok(())
    }

    fn run(&mut self) -> Result<(), String> {
        self.manager.ready("waiting for sets");
        let mut events = Events::with_capacity(256);
        // What there is to do has not to wait for the first event.
        self.on_time(now());
        while !self.stop {
            let has_work = self.behind || (self.walk.is_walking() && !self.sets.is_backed_up());
            let at_once = (has_work && self.table.is_some()) || self.link.has_more();
            let timeout = at_once.then_some(Duration::ZERO);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return Err(format!("polling fails: {error}"));
                }
                _ => {}
            }
            let now = now();
            for event in &events {
                match event.token() {
                    ALARM => self.alarm.ack(),
                    SIGNALS => self.on_signals(),
                    TABLE => self.behind = true,
                    LINK => {
                        if event.is_writable() {
                            self.link.writable();
                        }
                        self.link.ready(now);
                    }
                    NETWORK => self.news.ready(now),
                    PARENT => self.stop = true,
                    token if token.0 >= PROBES => {
                        for (address, found) in self.prober.ready(token, now) {
                            self.found(address, found, now);
                        }
                    }
                    _ => {}
                }
            }
            self.on_time(now);
        }
        self.manager.stopping("stopping");
        Ok(())
    }

    fn on_signals(&mut self) {
        while let Some(signal) = self.signals.take() {
            match signal {
                Signal::Terminate => self.stop = true,
                Signal::Reload | Signal::Child => {}
            }
        }
    }

    fn on_time(&mut self, now: Monotonic) {
        for (address, found) in self.prober.sweep(now) {
            self.found(address, found, now);
        }
        if self.link.has_more() {
            self.link.ready(now);
        }
        if self.link.sweep(self.poll.registry(), LINK, now) {
            // What was said before this daemon has not heard.
            self.sets.forget_ready();
            self.walk.hurry(now);
        }
        if self.news.changed(now) {
            log::info!("addresses or routes have changed: everything is measured again, in time");
            self.schedule.network_changed();
            self.walk.hurry(now);
        }
        self.take_up(now);
        self.look_again(now);
        while let Some((address, probe)) = self.schedule.next(now) {
            if let Some(found) = self.prober.send(self.poll.registry(), address, probe, now) {
                self.found(address, found, now);
            }
        }
        self.bring(now);
        if let Some((every, at)) = self.watchdog
            && at <= now
        {
            self.manager.alive();
            self.watchdog = Some((every, now.plus(every)));
        }
        self.manager.try_again(now);
        if self.prober.sent != self.reported && self.link.takes() {
            let stats = SorterMessage::Stats { probes: self.prober.sent };
            if self.link.say(&stats, now) == Said::Sent {
                self.reported = self.prober.sent;
            }
        }
        self.set_alarm(now);
    }

    fn set_alarm(&mut self, now: Monotonic) {
        let look = self.table.is_none().then(|| now.plus(LOOK));
        let watchdog = self.watchdog.map(|(_, at)| at);
        let walk = self.walk.timeout().filter(|_| self.table.is_some() && self.sort.enabled);
        let times = [
            self.prober.timeout(),
            self.schedule.timeout(),
            self.link.timeout(),
            self.news.timeout(),
            look,
            watchdog,
            self.manager.timeout(),
            walk,
        ];
        if let Err(error) = self.alarm.set(times.into_iter().flatten().min()) {
            log::error!(event = Event::ClockTrouble, reason:% = error; "the timer cannot be set: {error}, ignoring");
        }
    }

    fn found(&mut self, address: IpAddr, found: Found, now: Monotonic) {
        if self.schedule.result(address, found, now) {
            self.sets.measured(address);
        }
    }

    /// Sends the orders that can be sent, as far as the daemon takes them.
    fn bring(&mut self, now: Monotonic) {
        while self.link.takes()
            && let Some((number, name, family)) = self.sets.ready()
        {
            if let Some(order) = self.order(&name, family, now)
                && self.link.say(&SorterMessage::Order(order), now) != Said::Sent
            {
                return;
            }
            self.sets.sent(number);
        }
    }

    /// The order of a name's set as it stands in the table now.
    fn order(&mut self, name: &[u8], family: Family, now: Monotonic) -> Option<Order> {
        let reader = self.table.as_ref()?.reader();
        if reader.lookup(&Key::of_wire(name), &mut self.snapshot).is_err() {
            return None;
        }
        ordered(&self.snapshot, family, reader.generation(), (&self.sort, &self.schedule), now)
    }

    /// Takes up what changed in the table, in bounded portions.
    fn take_up(&mut self, now: Monotonic) {
        if !self.sort.enabled {
            self.behind = false;
            return;
        }
        if self.table.is_none() {
            match Reader::open(&self.dir) {
                Ok(reader) if !reader.replaced() => {
                    self.table = Some(reader.follow());
                    self.behind = true;
                    self.walk.hurry(now);
                }
                _ => return,
            }
        }
        if !self.behind {
            return;
        }
        for step in 0..STEPS {
            let Some(table) = &mut self.table else { return };
            match table.step(&mut self.snapshot) {
                Step::Record => self.saw(Seen::Published, now),
                // What was removed needs no order, and what took its place has a change of its own.
                Step::Changed => {}
                Step::Nothing => {
                    self.behind = false;
                    // Woken for nothing: perhaps because the table is no longer the one that the daemon writes.
                    if step == 0 {
                        self.leave_if_moved();
                    }
                    return;
                }
                Step::Lapped => return self.walk.hurry(now),
                Step::Replaced => {
                    self.table = None;
                    return;
                }
            }
        }
    }

    fn leave_if_moved(&mut self) {
        if self.table.as_ref().is_some_and(|table| table.reader().has_successor(&self.dir)) {
            self.table = None;
            self.behind = true;
        }
    }

    fn saw(&mut self, seen: Seen, now: Monotonic) {
        self.sets.saw(&self.snapshot, seen, (&self.sort, &mut self.schedule), now);
    }

    /// Goes on with the walk over the table, or begins one when it is time to.
    fn look_again(&mut self, now: Monotonic) {
        let Some(reader) =
            self.table.as_ref().map(|table| table.reader().clone()).filter(|_| self.sort.enabled)
        else {
            return;
        };
        self.walk.keep_up(self.sets.passed_over, self.sets.has_room(&self.schedule), now);
        if self.walk.is_due(now) {
            self.walk.begin(reader.places(), self.sets.passed_over);
        }
        if !self.walk.is_walking() || self.sets.is_backed_up() {
            return;
        }
        let (at, count) = self.walk.portion(reader.places());
        let mut entries = reader.entries_at(at, count);
        while entries.next(&mut self.snapshot) {
            self.saw(Seen::Found, now);
        }
        let ended = self.walk.went((at, count), self.sets.passed_over, now, self.sort.remeasure);
        if let Some(passed_over) = ended {
            self.tell_of_room(passed_over);
        }
    }

    fn tell_of_room(&mut self, passed_over: u64) {
        let is_short = passed_over > 0;
        if is_short != self.is_short_of_room {
            self.is_short_of_room = is_short;
            if is_short {
                log::info!(
                    "more is to be measured than can wait at once: {passed_over} sets passed over in this walk over the table; they are found again by the next ones"
                );
            } else {
                log::info!(
                    "all sets are measured or wait for it; {} were passed over so far",
                    self.sets.passed_over
                );
            }
        }
    }
}

/// Wakes the loop when the table changes, comes to be, or is replaced. Ends with the process.
fn watch(dir: &Path, waker: &Waker) {
    let mut snapshot = Snapshot::new();
    loop {
        if let Ok(reader) = Reader::open(dir) {
            let mut follower = reader.follow();
            while !reader.replaced() {
                follower.wait(Duration::from_secs(2));
                let mut changes = 0;
                while !matches!(follower.step(&mut snapshot), Step::Nothing | Step::Replaced) {
                    changes += 1;
                }
                let moved = changes == 0 && reader.has_successor(dir);
                if waker.wake().is_err() || moved {
                    break;
                }
            }
        }
        // Nothing tells of a file that is not there yet.
        std::thread::sleep(LOOK);
    }
}
