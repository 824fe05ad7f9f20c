//! The event loop of `hither-site`: it passes what happens between the table, the engine and the daemon.
//!
//! A turn reads changes of the table, hands sets to the engine, and offers the daemon what has come from it.

use super::admission::{Admission, Given};
use super::configuration::ConfigurationRead;
use super::engine::board::Board;
use super::engine::commands::{self, Target};
use super::engine::connection::Access;
use super::engine::subscription;
use super::exchange::Exchange;
use super::reporting::Reporting;
use crate::companion::connection::{self, Connection, Sent};
use crate::companion::followed_table::{Change, FollowedTable};
use crate::companion::supervision::Supervision;
use crate::config::Config;
use crate::logging::Event;
use hither_client::Monotonic;
use hither_control::{SITE_SOCKET, SITE_VERSION, SiteMessage, SiteReply};
use hither_net::clock::{Alarm, now};
use hither_net::signals::{Signal, Signals};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const ALARM: Token = Token(0);
const SIGNALS: Token = Token(1);
/// The table has changed, or the engine has given something: mio has one waker.
const WAKE: Token = Token(2);
const DAEMON: Token = Token(3);
const PARENT: Token = Token(4);

/// Changes of the table that are read in one turn.
const CHANGES_PER_TURN_MAX: usize = 256;
/// Messages of the daemon that are read in one turn.
const MESSAGES_PER_TURN_MAX: usize = 64;
/// Entries of the engine that are judged in one turn.
const ENTRIES_PER_TURN_MAX: usize = 128;
/// How long a replaced table goes unnoticed at most, while the daemon is connected all the time.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// How often a configuration that is refused is read again.
const READ_AGAIN_EVERY: Duration = Duration::from_secs(2);
/// The stack of a thread that talks to the engine.
const STACK_OCTETS: usize = 512 * 1024;

/// What the command line says.
#[derive(Clone, Debug)]
pub(super) struct Start {
    /// The configuration's file, if it is not the usual one.
    pub file: Option<PathBuf>,
    /// The name under which this host writes.
    pub host: String,
    pub with_parent: bool,
}

/// Why the event loop has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// It was asked to.
    Stopped,
    /// The configuration is to be read again.
    Again,
}

/// The parts of the companion. Each owns its state; the loop passes it between them.
struct Companion {
    poll: Poll,
    alarm: Alarm,
    signals: Signals,
    table: FollowedTable,
    daemon: Connection,
    /// The daemon's messages may not all have been read.
    has_more: bool,
    /// What is exchanged with the engine; `None` if it must not be used.
    exchange: Option<Exchange>,
    reporting: Reporting,
    /// The configuration that was read.
    read: ConfigurationRead,
    /// When to read a configuration again that is refused.
    read_again_at: Option<Monotonic>,
    supervision: Supervision,
    ended: Option<Ended>,
}

/// Shares until it is stopped.
///
/// # Errors
/// The reason why it cannot start or go on, for the log.
pub(super) fn run(config: &Config, start: &Start) -> Result<Ended, String> {
    let signals = Signals::new().map_err(|error| format!("cannot receive signals: {error}"))?;
    let poll = Poll::new().map_err(|error| format!("cannot create the epoll instance: {error}"))?;
    let mut companion = Companion::new(config, start, poll, signals)?;
    companion.register(start.with_parent).map_err(|error| format!("cannot register with epoll: {error}"))?;
    companion.run()
}

impl Companion {
    fn new(config: &Config, start: &Start, poll: Poll, signals: Signals) -> Result<Companion, String> {
        let now = now();
        let (host, group) = (&start.host, &config.site.group);
        let (mut exchange, mut read_again_at) = (None, None);
        let waker = Waker::new(poll.registry(), WAKE).map(Arc::new);
        let waker = waker.map_err(|error| format!("cannot create a waker: {error}"))?;
        let reporting = match Admission::of(config) {
            Admission::Off => {
                log::info!("site.engine names no engine: nothing is shared");
                Reporting::new(host, group, "off", None)
            }
            Admission::Refused(reason) => {
                log::error!(
                    event = Event::SharingForbidden, reason:% = reason;
                    "nothing is shared: {reason}; reading the configuration again every {} s",
                    READ_AGAIN_EVERY.as_secs()
                );
                read_again_at = Some(now.plus(READ_AGAIN_EVERY));
                Reporting::new(host, group, "refused", Some(reason))
            }
            Admission::Given(given) => {
                let Given { access, seal } = *given;
                let board = Arc::new(Board::new(Arc::clone(&waker)));
                let target = Target::new(seal.keys(), config.site.rate);
                exchange = Some(Exchange::new(config, host, seal, Arc::clone(&board))?);
                start_threads(&board, access, target)?;
                Reporting::new(host, group, "connecting", None)
            }
        };
        let events = connection::Events { connected: Event::SiteConnected, gone: Event::SiteGone };
        let mut table = FollowedTable::new(&config.runtime_dir, exchange.is_some(), LOOK_AGAIN);
        table.wake_on_changes(waker);
        Ok(Companion {
            alarm: Alarm::new().map_err(|error| format!("cannot create the timer: {error}"))?,
            signals,
            table,
            daemon: Connection::new(&config.runtime_dir, SITE_SOCKET, events, now),
            has_more: false,
            exchange,
            reporting,
            read: ConfigurationRead::new(start.file.clone(), config),
            read_again_at,
            supervision: Supervision::new(now),
            ended: None,
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
        Ok(())
    }

    fn run(mut self) -> Result<Ended, String> {
        self.supervision.manager.ready(&status(&self.reporting));
        let mut events = Events::with_capacity(64);
        self.take_turn(now());
        loop {
            if let Some(ended) = self.ended {
                self.supervision.manager.stopping("stopping");
                return Ok(ended);
            }
            let timeout = self.has_work().then_some(Duration::ZERO);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return Err(format!("epoll fails: {error}"));
                }
                _ => {}
            }
            for event in &events {
                match event.token() {
                    ALARM => self.alarm.ack(),
                    SIGNALS => self.on_signals(),
                    WAKE => {
                        self.table.note_change();
                        if let Some(exchange) = &mut self.exchange {
                            exchange.note_engine();
                        }
                    }
                    DAEMON => {
                        if event.is_writable() {
                            self.daemon.note_writable();
                        }
                        self.has_more = true;
                    }
                    PARENT => self.ended = Some(Ended::Stopped),
                    _ => {}
                }
            }
            self.take_turn(now());
        }
    }

    /// Whether the next turn follows at once, without an event.
    fn has_work(&self) -> bool {
        let accepts = self.daemon.accepts();
        self.has_more
            || self.table.has_unread_changes() && self.exchange.as_ref().is_some_and(Exchange::may_share)
            || self.exchange.as_ref().is_some_and(|exchange| exchange.has_work(accepts, self.table.is_open()))
    }

    fn on_signals(&mut self) {
        while let Some(signal) = self.signals.take() {
            match signal {
                Signal::Terminate => self.ended = Some(Ended::Stopped),
                Signal::Reload if self.ended.is_none() => self.ended = Some(Ended::Again),
                Signal::Reload | Signal::Child => {}
            }
        }
    }

    fn take_turn(&mut self, now: Monotonic) {
        let was_connected = self.daemon.is_connected();
        let latest = self.table.reader().map_or(0, |reader| reader.version());
        self.read_messages(now);
        let is_lost = was_connected && !self.daemon.is_connected();
        let is_new = self.daemon.connect_if_due(self.poll.registry(), DAEMON, now);
        // The daemon may be another one, with another configuration, by which fewer names are shared.
        if (is_lost || is_new) && self.ended.is_none() && self.read.is_outdated() {
            self.ended = Some(Ended::Again);
        }
        if self.ended.is_some() {
            return;
        }
        if is_lost && let Some(exchange) = &mut self.exchange {
            exchange.end_daemon();
        }
        if is_new {
            self.daemon.send(&SiteMessage::Hello { version: SITE_VERSION }, now);
            self.reporting.begin();
            // The daemon may be another process, with another table.
            self.table.note_change();
            if let Some(exchange) = &mut self.exchange {
                exchange.begin_daemon();
            }
        }
        self.read_changes(now);
        if let Some(exchange) = &mut self.exchange {
            exchange.go_on(&mut self.table, latest, now);
            exchange.take_entries(ENTRIES_PER_TURN_MAX, &mut self.daemon, now);
            if exchange.update(&mut self.reporting) {
                self.supervision.manager.status(&status(&self.reporting));
            }
        }
        if self.daemon.accepts()
            && let Some(report) = self.reporting.due(now)
        {
            let message = SiteMessage::State(Box::new(report.clone()));
            if self.daemon.send(&message, now) == Sent::Yes {
                self.reporting.note_sent(now);
            }
        }
        self.read_configuration_again(now);
        self.supervision.take_turn(now);
        self.set_alarm(now);
    }

    /// Reads what the daemon asks.
    fn read_messages(&mut self, now: Monotonic) {
        for _ in 0..MESSAGES_PER_TURN_MAX {
            match self.daemon.receive(now) {
                Some(Ok(SiteReply::Ask { ask, name, rtype })) => {
                    let is_asked = match &mut self.exchange {
                        Some(exchange) => exchange.ask(ask, &name, &rtype, now),
                        None => false,
                    };
                    if !is_asked {
                        self.daemon.send(&SiteMessage::Answer { ask, set: None }, now);
                    }
                }
                Some(Ok(SiteReply::Reload)) => {
                    log::info!("the daemon has another configuration: reading it, too");
                    self.ended = Some(Ended::Again);
                    return;
                }
                Some(Ok(SiteReply::Unshared { domains, is_cut })) => {
                    // A name that cannot be read stands for all.
                    let names: Result<_, _> = domains.iter().map(|domain| domain.parse()).collect();
                    if let Some(exchange) = &mut self.exchange {
                        exchange.set_unshared(names.ok().filter(|_| !is_cut));
                    }
                }
                Some(Ok(SiteReply::Unwelcome { reason })) => {
                    log::error!(
                        event = Event::SiteRefused, reason:% = reason;
                        "the daemon refuses this hither-site: {reason}"
                    );
                }
                Some(Err(_)) => {}
                None => {
                    self.has_more = false;
                    return;
                }
            }
        }
        self.has_more = true;
    }

    /// Reads changes of the table. What the daemon had said before a set was published is read before the
    /// set is shared.
    fn read_changes(&mut self, now: Monotonic) {
        let Some(exchange) = &mut self.exchange else { return };
        if self.table.open_if_missing() {
            exchange.begin_table();
        }
        for n in 0..CHANGES_PER_TURN_MAX {
            if !self.exchange.as_ref().is_some_and(Exchange::may_share) {
                return;
            }
            let change = self.table.next_change(n == 0);
            if change == Change::Published {
                self.read_messages(now);
            }
            let Some(exchange) = &mut self.exchange else { return };
            match change {
                // More is to be read first, so the set is found by a survey.
                Change::Published if self.has_more || self.ended.is_some() => exchange.begin_table(),
                Change::Published => exchange.publish(&self.table, now),
                Change::Removed => {}
                Change::Lost => exchange.begin_table(),
                Change::None => {
                    exchange.caught_up(now);
                    return;
                }
            }
        }
    }

    /// Begins anew once a refused configuration is no longer refused.
    fn read_configuration_again(&mut self, now: Monotonic) {
        let Some(at) = self.read_again_at.as_mut().filter(|at| **at <= now) else { return };
        *at = now.plus(READ_AGAIN_EVERY);
        if let Ok(config) = self.read.load()
            && !matches!(Admission::of(&config), Admission::Refused(_))
        {
            self.ended = Some(Ended::Again);
        }
    }

    fn set_alarm(&mut self, now: Monotonic) {
        let times = [
            self.daemon.timeout(),
            self.exchange.as_ref().and_then(|_| self.table.timeout(now)),
            self.supervision.timeout(),
            self.reporting.at().filter(|_| self.daemon.accepts()),
            self.read_again_at,
        ];
        if let Err(error) = self.alarm.set(times.into_iter().flatten().min()) {
            log::error!(event = Event::ClockTrouble, reason:% = error; "the timer cannot be set: {error}, ignoring");
        }
    }
}

/// Starts the threads that talk to the engine. They end with the process, whatever they wait for.
fn start_threads(board: &Arc<Board>, access: Access, target: Target) -> Result<(), String> {
    let access = Arc::new(access);
    let start = |name: &str, work: Box<dyn FnOnce() + Send>| {
        let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_OCTETS);
        thread.spawn(work).map(drop).map_err(|error| format!("cannot start a thread: {error}"))
    };
    let channel = target.channel.clone();
    let (own, with) = (Arc::clone(board), Arc::clone(&access));
    start("subscription", Box::new(move || subscription::run(&own, &with, &channel)))?;
    let own = Arc::clone(board);
    start("commands", Box::new(move || commands::run(&own, &access, &target)))
}

/// The state for the service manager.
fn status(reporting: &Reporting) -> String {
    let report = reporting.report();
    match (&report.problem, report.state.as_str()) {
        (Some(problem), _) => format!("{}: {problem}", report.state),
        (None, "up") => format!("sharing by {}", report.engine),
        (None, state) => state.to_owned(),
    }
}
