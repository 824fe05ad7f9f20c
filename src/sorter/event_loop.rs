//! The sorter's event loop: it passes events to the parts and gives each part its turn.
//!
//! A turn reads changes of the table, sends the probes that are due, and sends the orders that they
//! have made possible.

use super::daemon_connection::{DaemonConnection, Sent as Sending};
use super::explain::explained;
use super::network_changes::NetworkChanges;
use super::probe_choice::ProbeChoice;
use super::prober::{Prober, Report};
use super::sampling::Sampling;
use super::sets::{FoundBy, Sets};
use super::table_walk::TableWalk;
use crate::companion::followed_table::{Change, FollowedTable};
use crate::companion::supervision::Supervision;
use crate::config::{Config, Probe};
use crate::logging::Event;
use hither_client::Monotonic;
use hither_control::SorterMessage;
use hither_net::clock::{Alarm, now};
use hither_net::random::Random;
use hither_net::signals::{Signal, Signals};
use hither_secure::{Clock, Judge, Trust};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

const ALARM: Token = Token(0);
const SIGNALS: Token = Token(1);
const TABLE: Token = Token(2);
const DAEMON: Token = Token(3);
const PARENT: Token = Token(4);
const NETWORK: Token = Token(5);
/// The first token of the prober's sockets.
const PROBES: usize = 16;

/// How long a replaced table goes unnoticed at most.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Changes of the table that are read in one turn.
const CHANGES_PER_TURN_MAX: usize = 256;

/// The parts of the sorter. Each owns its state; the loop passes it between them.
struct Sorter {
    poll: Poll,
    alarm: Alarm,
    signals: Signals,
    table: FollowedTable,
    walk: TableWalk,
    sets: Sets,
    sampling: Sampling,
    choice: ProbeChoice,
    prober: Prober,
    daemon: DaemonConnection,
    network: NetworkChanges,
    supervision: Supervision,
}

/// Measures until it is stopped.
///
/// # Errors
/// The reason why it cannot start or go on, for the log.
pub(super) fn run(config: &Config, with_parent: bool) -> Result<(), String> {
    let signals = Signals::new().map_err(|error| format!("cannot receive signals: {error}"))?;
    let poll = Poll::new().map_err(|error| format!("cannot create the epoll instance: {error}"))?;
    let mut sorter = Sorter::new(config, poll, signals)?;
    sorter.register(with_parent).map_err(|error| format!("cannot register with epoll: {error}"))?;
    if !config.sort.enabled {
        log::info!("sort.enabled is false: nothing is measured");
    }
    sorter.run()
}

impl Sorter {
    fn new(config: &Config, poll: Poll, signals: Signals) -> Result<Sorter, String> {
        let (now, sort) = (now(), &config.sort);
        let random = Random::new().map_err(|error| format!("the kernel gives no random numbers: {error}"))?;
        let icmp = sort.enabled && sort.probes.contains(&Probe::Icmp);
        let (mut prober, mut lacks) = Prober::new(poll.registry(), sort.timeout, icmp, random);
        let mut choice = ProbeChoice::new(sort, now);
        choice.judging.leave_out(config.upstreams.domains.keys().copied());
        let lacks_icmp = lacks.len() == 2;
        match choice.judging.is_on().then(|| judge(config)) {
            Some(Ok(judge)) => prober.judge_by(judge),
            Some(Err(reason)) => {
                choice.judging.turn_off();
                lacks.push(format!("TLS ({reason})"));
            }
            None => {}
        }
        for lack in &lacks {
            log::warn!(
                event = Event::ProbesLacking, probe = lack.as_str();
                "no {lack}: see hither-sorter(8); using the other probes"
            );
        }
        if lacks_icmp {
            choice.leave_out(Probe::Icmp);
        }
        Ok(Sorter {
            alarm: Alarm::new().map_err(|error| format!("cannot create the timer: {error}"))?,
            signals,
            table: FollowedTable::new(&config.runtime_dir, sort.enabled, LOOK_AGAIN),
            walk: TableWalk::new(now),
            sets: Sets::new(sort),
            sampling: Sampling::default(),
            choice,
            prober,
            daemon: DaemonConnection::new(&config.runtime_dir, lacks, now),
            network: NetworkChanges::new(),
            supervision: Supervision::new(now),
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
        if let Some(descriptor) = self.network.descriptor() {
            registry.register(&mut SourceFd(&descriptor), NETWORK, Interest::READABLE)?;
        }
        self.table.wake_on_changes(Arc::new(Waker::new(registry, TABLE)?));
        Ok(())
    }

    fn run(&mut self) -> Result<(), String> {
        self.supervision.manager.ready("waiting for sets");
        let mut events = Events::with_capacity(256);
        // Work that is there at the start does not wait for the first event.
        self.take_turn(now());
        while !self.supervision.is_stopping {
            let timeout = self.has_work().then_some(Duration::ZERO);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return Err(format!("epoll fails: {error}"));
                }
                _ => {}
            }
            let now = now();
            for event in &events {
                match event.token() {
                    ALARM => self.alarm.ack(),
                    SIGNALS => self.on_signals(),
                    TABLE => self.table.note_change(),
                    DAEMON => {
                        if event.is_writable() {
                            self.daemon.note_writable();
                        }
                        self.daemon.receive(now);
                    }
                    NETWORK => self.network.receive(now),
                    PARENT => self.supervision.is_stopping = true,
                    token if token.0 >= PROBES => {
                        for report in self.prober.receive(token) {
                            self.take_report(report, now);
                        }
                    }
                    _ => {}
                }
            }
            self.take_turn(now);
        }
        self.supervision.manager.stopping("stopping");
        Ok(())
    }

    /// Whether the next turn follows at once, without an event.
    fn has_work(&self) -> bool {
        let walks = self.walk.is_walking() && !self.sets.is_backed_up() && self.table.is_open();
        self.table.has_unread_changes() || walks || self.daemon.has_more() || self.prober.has_work()
    }

    fn on_signals(&mut self) {
        while let Some(signal) = self.signals.take() {
            match signal {
                Signal::Terminate => self.supervision.is_stopping = true,
                Signal::Reload | Signal::Child => {}
            }
        }
    }

    fn take_turn(&mut self, now: Monotonic) {
        for report in self.prober.time_out(now).into_iter().chain(self.prober.go_on()) {
            self.take_report(report, now);
        }
        if self.daemon.has_more() {
            self.daemon.receive(now);
        }
        if self.daemon.connect_if_due(self.poll.registry(), DAEMON, now) {
            // This daemon has not received the orders of the last connection: all sets are looked at again.
            self.sets.drop_ready();
            self.walk.restart(now);
        }
        if self.network.take_change(now) {
            log::info!("addresses or routes have changed: all addresses are measured again, within the rate");
            self.choice.network_changed();
            self.walk.restart(now);
        }
        self.read_changes(now);
        self.walk_table(now);
        self.measure_again(now);
        if let Some(judge) = self.prober.judge() {
            self.choice.judging.note_clock(judge.set_system_time(wall_s()));
        }
        while let Some(probe) = self.choice.next_probe(now) {
            let name = probe.handshake.and_then(|handshake| self.choice.judging.server_name(handshake));
            if let Some(result) = self.prober.send(self.poll.registry(), probe, name) {
                self.take_report(Report::Measured(probe, result), now);
            }
        }
        self.sets.on_time(now);
        self.send_orders(now);
        self.answer_daemon(now);
        self.supervision.take_turn(now);
        self.daemon.report_counts(self.prober.sent, now);
        self.set_alarm(now);
    }

    fn set_alarm(&mut self, now: Monotonic) {
        let times = [
            self.prober.timeout(),
            self.choice.timeout(),
            self.sets.timeout(),
            self.sampling.timeout().filter(|_| self.table.is_open()),
            self.daemon.timeout(),
            self.network.timeout(),
            self.table.timeout(now),
            self.supervision.timeout(),
            self.walk.timeout().filter(|_| self.table.is_open()),
        ];
        if let Err(error) = self.alarm.set(times.into_iter().flatten().min()) {
            log::error!(event = Event::ClockTrouble, reason:% = error; "the timer cannot be set: {error}, ignoring");
        }
    }

    fn take_report(&mut self, report: Report, now: Monotonic) {
        self.daemon.note(&report);
        match report {
            Report::Measured(probe, result) => {
                if self.choice.probe_ended(probe, result, now) {
                    self.sets.measured(probe.address, now);
                }
            }
            Report::Judged(handshake, judgement) => self.choice.judged(handshake, judgement, now),
        }
    }

    /// Adds the sets of which further samples are due, and those of which certificates were judged.
    fn measure_again(&mut self, now: Monotonic) {
        while let Some(name) = self.choice.judging.next_judged(now) {
            if self.table.look_up(&name).is_some() {
                self.update_sets(FoundBy::Walk, now);
                self.sets.judged(&name, now);
            }
        }
        while let Some(name) = self.sampling.next_due(now) {
            if self.table.look_up(&name).is_some() {
                self.update_sets(FoundBy::Walk, now);
            }
        }
    }

    /// Answers what the daemon asks about addresses.
    fn answer_daemon(&mut self, now: Monotonic) {
        while let Some(request) = self.daemon.next_asked() {
            let known = explained(&request, &self.choice, self.sets.probes_private(), now);
            // Without an answer the daemon does not wait for long.
            if self.daemon.send(&SorterMessage::Explained(known), now) != Sending::Yes {
                return;
            }
        }
    }

    /// Sends the orders of all measured sets, until the daemon accepts no more.
    fn send_orders(&mut self, now: Monotonic) {
        while self.daemon.accepts()
            && let Some((number, name, family)) = self.sets.next_ready()
        {
            let found = self.table.look_up(&name);
            let record = self.table.snapshot();
            let order = found.and_then(|at| self.sets.order(number, record, at, &self.choice, now));
            let is_sent = order.is_some();
            if let Some(order) = order
                && self.daemon.send(&SorterMessage::Order(order), now) != Sending::Yes
            {
                return;
            }
            if let Some(set) = found.and_then(|_| record.family(family))
                && let Some(due) = self.sets.next_sample(&set, &self.choice)
            {
                self.sampling.plan(&name, due);
            }
            self.sets.note_ordered(number, is_sent, now);
        }
    }

    /// Adds the sets that were published since the last turn.
    fn read_changes(&mut self, now: Monotonic) {
        if self.table.open_if_missing() {
            self.walk.restart(now);
        }
        if !self.table.has_unread_changes() {
            return;
        }
        for step in 0..CHANGES_PER_TURN_MAX {
            match self.table.next_change(step == 0) {
                Change::Published => self.update_sets(FoundBy::Change, now),
                // A removed entry needs no order, and its replacement has a change of its own.
                Change::Removed => {}
                Change::None => return,
                Change::Lost => return self.walk.restart(now),
            }
        }
    }

    fn update_sets(&mut self, found_by: FoundBy, now: Monotonic) {
        let is_unasked = |round| self.table.is_unasked(round);
        self.choice.judging.consider(self.table.snapshot(), found_by, is_unasked, now);
        self.sets.update(self.table.snapshot(), found_by, &mut self.choice, now);
    }

    /// Continues the walk over the table, or begins one when it is due.
    fn walk_table(&mut self, now: Monotonic) {
        let Some(reader) = self.table.reader() else { return };
        self.walk.delay_or_advance(self.sets.passed_over, self.sets.has_capacity(&self.choice), now);
        if self.walk.is_due(now) {
            self.walk.begin(reader.places(), self.sets.passed_over);
        }
        if !self.walk.is_walking() || self.sets.is_backed_up() {
            return;
        }
        let portion = self.walk.next_portion(reader.places());
        let mut entries = reader.entries_at(portion.first, portion.count);
        while entries.next(self.table.snapshot_mut()) {
            self.update_sets(FoundBy::Walk, now);
        }
        let ended = self.walk.portion_done(portion, self.sets.passed_over, now, self.choice.remeasure());
        if let Some(passed_over) = ended
            && self.walk.passed_over_changed(passed_over)
        {
            log_shortage(passed_over, self.sets.passed_over);
        }
    }
}

/// What judges certificates, by the authorities of `[tls]`.
fn judge(config: &Config) -> Result<Judge, String> {
    let trust = Trust::load(&config.upstreams.tls.roots()).map_err(|error| error.to_string())?;
    Judge::new(&trust, Arc::new(Clock::new(0))).map_err(|error| error.to_string())
}

/// The wall clock in seconds since 1970.
fn wall_s() -> u64 {
    hither_net::clock::wall_ms() / 1000
}

fn log_shortage(passed_over: u64, in_all: u64) {
    if passed_over > 0 {
        log::info!(
            "more sets need measurements than can wait at once: {passed_over} were passed over in this walk over the table; the next walks find them again"
        );
    } else {
        log::info!("all sets are measured or wait for it; {in_all} were passed over so far");
    }
}
