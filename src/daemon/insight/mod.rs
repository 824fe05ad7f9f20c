//! Insight into queries: the names asked most (`hitherctl top`), the units that ask, the log of queries
//! (`log.queries`), and messages for a dnstap collector (`log.dnstap`).
//!
//! [`Insight`] decides who looks at queries now, and owns the two threads that do the work. While nobody
//! looks there are no threads, and the paths of hits and misses have one branch each. Nothing here
//! waits: what finds no slot in a queue is counted, and said.
//!
//! The event loop reports misses, replies and messages of upstreams. Hits come by the [`Tap`], which the
//! loop gives to the clients whenever [`Insight::take_tap`] returns another one.

mod askers;
mod dnstap;
mod notes;
mod query_log;
mod sketch;
mod thread;
mod window;

pub(crate) use askers::ClientSocket;
pub(crate) use notes::{Missed, Replied};

use crate::config::{Log, QueryLog};
use crate::daemon::clients::tap::{FrameHead, FrameKind, FrameProtocol, SeenHit, Tap};
use crate::daemon::core::Sending;
use crate::daemon::sources::Slot;
use dnstap::Dnstap;
use hither_control::AskedBy;
use hither_rounds::{AttemptId, Transport};
use hither_table::Monotonic;
use hither_wire::name::Name;
use mio::Waker;
use notes::{Mode, Note, OpenRounds, Reported};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;
use thread::{Ends, Looker};

/// How long after a request for a report queries are still looked at.
const WATCHED_FOR: Duration = Duration::from_secs(5);
/// How long the thread stays after that, so that `hitherctl explain` can say who has asked.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// Slots for notes that the thread has not taken yet.
const NOTES_MAX: usize = 1024;
/// Attempts that are remembered for the messages of their responses, beyond which older ones are
/// forgotten.
const ATTEMPTS_MAX: usize = 8192;
/// An attempt is over after this time.
const ATTEMPT_FOR: Duration = Duration::from_secs(30);
/// How often those that are over are looked for.
const PURGE_EVERY: Duration = Duration::from_secs(1);
/// Composing the list of open rounds takes at most 1/20 of the time.
const TIME_PART: u32 = 20;

/// Who looks at queries, and the threads that do. See the module.
#[derive(Debug)]
pub(crate) struct Insight {
    waker: Arc<Waker>,
    queries: QueryLog,
    /// Until when somebody looks at reports, and until when root or the daemon's user does.
    watched: Watched,
    looker: Option<Running>,
    reports: (Sender<Reported>, Receiver<Reported>),
    dnstap: Option<Dnstap>,
    /// Messages that the collector did not get, since the start.
    dropped: Arc<AtomicU64>,
    /// What the messages of outstanding attempts need: when there is a collector.
    attempts: Attempts,
    /// Whether the tap has changed since it was taken.
    has_new_tap: bool,
    rounds: Option<(Arc<OpenRounds>, Monotonic)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    until: Option<Monotonic>,
    with_units_until: Option<Monotonic>,
}

/// The thread that looks at queries.
#[derive(Debug)]
struct Running {
    notes: SyncSender<Note>,
    hits: SyncSender<SeenHit>,
    mode: Mode,
    /// Misses that found no slot.
    unseen: u64,
    /// Replies that found none.
    unlogged: u64,
    /// When it ends, if nobody looks any more.
    until: Option<Monotonic>,
}

/// A query to an upstream.
#[derive(Clone, Copy, Debug)]
struct Sent {
    server: SocketAddr,
    protocol: FrameProtocol,
    at: Monotonic,
}

/// The queries to upstreams that are outstanding.
#[derive(Debug, Default)]
struct Attempts {
    sent: HashMap<AttemptId, Sent>,
    purged: Option<Monotonic>,
}

impl Attempts {
    /// Adds one, and forgets those that are over, if there are many.
    fn add(&mut self, attempt: AttemptId, sent: Sent) {
        let now = sent.at;
        // Each look at all of them takes the event loop a while.
        let may_purge = self.purged.is_none_or(|at| now >= at.plus(PURGE_EVERY));
        if self.sent.len() >= ATTEMPTS_MAX && may_purge {
            self.sent.retain(|_, sent| now < sent.at.plus(ATTEMPT_FOR));
            self.purged = Some(now);
        }
        self.sent.insert(attempt, sent);
    }
}

impl Insight {
    pub fn new(waker: Arc<Waker>) -> Insight {
        Insight {
            waker,
            queries: QueryLog::Off,
            watched: Watched::default(),
            looker: None,
            reports: channel(),
            dnstap: None,
            dropped: Arc::default(),
            attempts: Attempts::default(),
            has_new_tap: false,
            rounds: None,
        }
    }

    /// Puts the settings of the logs in force.
    pub fn configure(&mut self, log: &Log, now: Monotonic) {
        if self.dnstap.as_ref().map(Dnstap::path) != log.dnstap.as_deref() {
            self.dnstap = None;
            self.attempts = Attempts::default();
            self.has_new_tap = true;
            if let Some(path) = &log.dnstap {
                match Dnstap::start(path, &self.dropped) {
                    Ok(dnstap) => self.dnstap = Some(dnstap),
                    Err(error) => log::error!("the thread for dnstap cannot be started: {error}"),
                }
            }
        }
        self.queries = log.queries;
        if let Err(error) = self.update(now) {
            log::error!("the thread for the log of queries cannot be started: {error}");
        }
    }

    /// Ends both threads, when the daemon stops.
    pub fn end(&mut self) {
        self.looker = None;
        if let Some(dnstap) = self.dnstap.take() {
            dnstap.end();
        }
    }

    /// Messages that the dnstap collector did not get, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The tap for the paths of hits, if it has changed.
    pub fn take_tap(&mut self) -> Option<Tap> {
        std::mem::take(&mut self.has_new_tap).then(|| {
            let frames = self.dnstap.as_ref().map(|dnstap| dnstap.frames().clone());
            let looker = self.looker.as_ref();
            let samples = looker.is_some_and(|looker| looker.mode.counts);
            let logs = self.queries == QueryLog::All;
            Tap::new(frames, looker.map(|looker| looker.hits.clone()), samples, logs)
        })
    }

    /// What is looked at now.
    fn wanted(&self, now: Monotonic) -> Mode {
        let is_on = |until: Option<Monotonic>| until.is_some_and(|until| now < until);
        let counts = is_on(self.watched.until);
        Mode {
            hits: counts || self.queries == QueryLog::All,
            counts,
            units: is_on(self.watched.with_units_until) || self.queries != QueryLog::Off,
        }
    }

    /// Starts or ends the thread, or has it look at something else.
    fn update(&mut self, now: Monotonic) -> io::Result<()> {
        let wanted = self.wanted(now);
        let is_wanted = wanted != Mode::default();
        if !is_wanted && self.looker.is_none() {
            return Ok(());
        }
        let looker = match &mut self.looker {
            Some(looker) => looker,
            none => none.insert(Running::start(&self.waker, self.reports.0.clone())?),
        };
        // The log of hits is no part of the mode of the thread, but one of the tap.
        self.has_new_tap = true;
        looker.until = (!is_wanted).then(|| now.plus(KEPT_FOR));
        if looker.mode != wanted && looker.notes.try_send(Note::Mode(wanted)).is_ok() {
            looker.mode = wanted;
        }
        Ok(())
    }

    /// When [`Insight::on_time`] has something to do.
    pub fn timeout(&self) -> Option<Monotonic> {
        let kept = self.looker.as_ref().and_then(|looker| looker.until);
        [self.watched.until, self.watched.with_units_until, kept].into_iter().flatten().min()
    }

    /// Looks no longer at queries that nobody has asked about for a while.
    pub fn on_time(&mut self, now: Monotonic) {
        let is_over = |until: &mut Option<Monotonic>| until.take_if(|until| *until <= now).is_some();
        let ended = [is_over(&mut self.watched.until), is_over(&mut self.watched.with_units_until)];
        // The thread may have had no slot for the note that tells it what to look at.
        let is_behind = self.looker.as_ref().is_some_and(|looker| looker.mode != self.wanted(now));
        if ended.contains(&true) || is_behind {
            // Only a start can fail.
            let _ = self.update(now);
        }
        if self.looker.as_ref().is_some_and(|looker| looker.until.is_some_and(|until| until <= now)) {
            (self.looker, self.has_new_tap) = (None, true);
        }
    }

    /// Asks for a report on what clients ask for. From now on, for a while, queries are looked at.
    ///
    /// # Errors
    /// Why there is no report.
    pub fn report(
        &mut self,
        slot: Slot,
        shows_units: bool,
        rounds: Arc<OpenRounds>,
        now: Monotonic,
    ) -> Result<(), String> {
        let until = Some(now.plus(WATCHED_FOR));
        let before = self.wanted(now);
        self.watched.until = until;
        if shows_units {
            self.watched.with_units_until = until;
        }
        if self.wanted(now) != before || self.looker.is_none() {
            self.update(now)
                .map_err(|error| format!("the thread that counts names cannot be started: {error}"))?;
        }
        let note = Note::Report { slot, shows_units, rounds };
        let sent = self.looker.as_ref().map(|looker| looker.notes.try_send(note));
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err("too many queries are being counted; try again".to_owned()),
        }
    }

    /// The open rounds as they were composed last, if that is recent.
    pub fn recent_rounds(&self, now: Monotonic) -> Option<Arc<OpenRounds>> {
        self.rounds.as_ref().filter(|(_, until)| now < *until).map(|(rounds, _)| Arc::clone(rounds))
    }

    /// Stores open rounds that were composed between `began` and `ended`.
    pub fn store_rounds(
        &mut self,
        rounds: OpenRounds,
        began: Monotonic,
        ended: Monotonic,
    ) -> Arc<OpenRounds> {
        let rounds = Arc::new(rounds);
        self.rounds = Some((Arc::clone(&rounds), ended.plus(ended.since(began) * TIME_PART)));
        rounds
    }

    /// The next report for an operator, encoded.
    pub fn next_report(&self) -> Option<Reported> {
        self.reports.1.try_recv().ok()
    }

    /// The units that asked for a name; they are received. `None`: nobody looks at queries.
    pub fn askers(&self, name: &Name) -> Option<Receiver<AskedBy>> {
        let (to, receiver) = channel();
        let note = Note::Askers { name: Box::new(name.to_lower()), to };
        self.looker.as_ref()?.notes.try_send(note).ok().map(|()| receiver)
    }

    /// Whether [`Insight::note_miss`] is wanted.
    pub fn sees_misses(&self) -> bool {
        self.looker.as_ref().is_some_and(|looker| looker.mode != Mode::default())
    }

    /// Takes a query that needs a round.
    pub fn note_miss(&mut self, mut missed: Missed) {
        let Some(looker) = &mut self.looker else { return };
        missed.unseen = looker.unseen;
        let sent = looker.notes.try_send(Note::Missed(Box::new(missed))).is_ok();
        looker.unseen = if sent { 0 } else { looker.unseen + 1 };
    }

    /// Whether [`Insight::note_reply`] is wanted.
    pub fn logs_replies(&self) -> bool {
        self.queries != QueryLog::Off
    }

    /// Takes a reply to a query that needed a round.
    pub fn note_reply(&mut self, mut replied: Replied) {
        let Some(looker) = &mut self.looker else { return };
        replied.left_out = looker.unlogged;
        let sent = looker.notes.try_send(Note::Replied(Box::new(replied))).is_ok();
        looker.unlogged = if sent { 0 } else { looker.unlogged + 1 };
    }

    /// Takes a query to an upstream.
    pub fn note_sent(&mut self, sending: &Sending, now: Monotonic) {
        let Some(dnstap) = &self.dnstap else { return };
        let protocol = match sending.transport {
            Transport::Udp => FrameProtocol::Udp,
            Transport::Tcp => FrameProtocol::Tcp,
            Transport::Tls => FrameProtocol::Tls,
            Transport::Https => FrameProtocol::Https,
            Transport::Quic => FrameProtocol::Quic,
        };
        let sent = Sent { server: sending.server.address, protocol, at: now };
        self.attempts.add(sending.attempt, sent);
        dnstap.frames().send(sent.head(FrameKind::ForwarderQuery, now), &sending.octets);
    }

    /// Takes a response to an attempt.
    pub fn note_response(&mut self, attempt: AttemptId, octets: &[u8], now: Monotonic) {
        let Some((dnstap, sent)) = self.dnstap.as_ref().zip(self.attempts.sent.get(&attempt)) else { return };
        dnstap.frames().send(sent.head(FrameKind::ForwarderResponse, now), octets);
    }

    /// Forgets an attempt that has ended.
    pub fn note_end(&mut self, attempt: AttemptId) {
        self.attempts.sent.remove(&attempt);
    }
}

impl Sent {
    fn head(&self, kind: FrameKind, now: Monotonic) -> FrameHead {
        let Sent { server, protocol, at } = *self;
        FrameHead { kind, protocol, asker: None, server: Some(server), asked: at, answered: now }
    }
}

impl Running {
    fn start(waker: &Arc<Waker>, reports: Sender<Reported>) -> io::Result<Running> {
        let (notes, taken) = sync_channel(NOTES_MAX);
        let (hits, hits_taken) = Tap::queue();
        let ends = Ends { notes: taken, hits: hits_taken, reports, waker: Arc::clone(waker) };
        std::thread::Builder::new().name("queries".to_owned()).spawn(move || Looker::new(ends).run())?;
        Ok(Running { notes, hits, mode: Mode::default(), unseen: 0, unlogged: 0, until: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_that_are_over_are_looked_for_once_a_second_at_most() {
        let mut attempts = Attempts::default();
        let server = SocketAddr::from(([192, 0, 2, 1], 53));
        let mut add = |n: u64, ms| {
            let at = Monotonic::from_ms(ms);
            attempts.add(AttemptId(n), Sent { server, protocol: FrameProtocol::Udp, at });
            attempts.sent.len()
        };
        let many = ATTEMPTS_MAX as u64;
        (0..many).for_each(|n| _ = add(n, 1000));
        assert_eq!(add(many, 30_900), ATTEMPTS_MAX + 1, "none is over");
        assert_eq!(add(many + 1, 31_100), ATTEMPTS_MAX + 2, "not looked for yet");
        assert_eq!(add(many + 2, 31_900), 3);
    }
}
