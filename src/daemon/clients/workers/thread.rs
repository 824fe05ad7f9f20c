//! The thread of a hit worker.

use super::{Counts, Shared, place};
use crate::config::{Limits, Network};
use crate::daemon::clients::handover::HandoverSender;
use crate::daemon::clients::hit_times::BatchTimes;
use crate::daemon::clients::rate_limit::RateLimit;
use crate::daemon::clients::tap::Observer;
use crate::daemon::clients::udp::{Cache, Responder, Taking, answer_batch};
use crate::daemon::clients::waiting_clients::Taken;
use crate::daemon::thread_results::wake;
use hither_net::batch::{BATCH_MAX, Batch};
use hither_net::clock::now;
use hither_rounds::{Hit, Hits, PlacedQuery, Question};
use hither_table::{BatchCounts, Counter, Monotonic, Place, Timing, WorkerSlot};
use hither_wire::query::Query;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use seqlock::SeqLock;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Events taken from the poll at once.
const EVENTS_PER_POLL_MAX: usize = 16;
/// Batches taken from one socket before the next socket has its turn.
const BATCHES_PER_TURN_MAX: usize = 4;
/// How old published counters may be.
const COUNTERS_AGE_MAX: Duration = Duration::from_secs(1);
/// The event loop wakes the worker.
pub(super) const WAKER: Token = Token(usize::MAX);

/// The thread of a worker.
#[derive(Debug)]
pub(super) struct Worker {
    number: usize,
    poll: Poll,
    /// Each with its number at the event loop, which sends the replies to misses.
    sockets: Vec<(usize, UdpSocket)>,
    shared: Arc<Shared>,
    version: u64,
    sender: HandoverSender,
    event_loop: Arc<Waker>,
    published: Arc<SeqLock<Counts>>,
    gate: Gate,
    own: Option<Own>,
    report: Report,
    observer: Observer,
}

/// The networks that may send queries, and the limit on replies to them.
#[derive(Debug)]
struct Gate {
    rate_limit: RateLimit,
    allow: Vec<Network>,
}

/// When the event loop was last woken to publish the counters, and whether they have changed since.
#[derive(Debug, Default)]
struct Report {
    at: Monotonic,
    is_due: bool,
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(slot) = self.own.as_ref().and_then(|own| own.slot.as_ref()) {
            slot.set_running(false);
        }
    }
}

/// The cache, and the counters of the worker.
#[derive(Debug)]
struct Own {
    hits: Hits,
    limits: Limits,
    counts: Counts,
    /// An entry that was answered in the last fifth of its lifetime. One a batch is enough: popular
    /// entries come up again.
    ending: Option<Question>,
    /// The worker's own part of the metrics.
    slot: Option<WorkerSlot>,
    times: BatchTimes,
}

impl Cache for Own {
    fn place(&self, query: &Query<'_>) -> Option<Place> {
        self.hits.place(query)
    }

    fn fetch<'p>(&self, places: impl Iterator<Item = &'p Place> + Clone) {
        self.hits.fetch(places);
    }

    fn answer_hit(&mut self, now: Monotonic, query: PlacedQuery<'_>, limit: usize, out: &mut [u8]) -> usize {
        let Hit { len, is_ending, is_withheld, is_restored, is_from_site } =
            self.hits.answer(now, query, limit, out);
        if len > 0 {
            self.count(Counter::Hits, 1);
        }
        if is_withheld {
            self.count(Counter::FamiliesWithheld, 1);
        }
        if is_restored {
            self.count(Counter::RestoredHits, 1);
        }
        if is_from_site {
            self.count(Counter::SiteHits, 1);
        }
        if is_ending {
            self.ending = Some(Question::of(query.query));
        }
        len
    }

    fn count(&mut self, counter: Counter, more: u64) {
        if let Some(count) = place(counter).and_then(|at| self.counts.get_mut(at)) {
            *count += more;
        }
    }
}

impl Own {
    /// Adds a batch to the metrics: what was counted since `before`.
    fn note_batch(&mut self, queries: u64, misses: u64, before: &Counts, began: Option<Monotonic>) {
        let since = |counter| place(counter).map_or(0, |n| self.counts[n].wrapping_sub(before[n]));
        let (hits, restored) = (since(Counter::Hits), since(Counter::RestoredHits));
        let timing = if hits > 0 { self.times.end(began) } else { Timing::default() };
        if let Some(slot) = &self.slot {
            slot.note_batch(&BatchCounts { queries, misses, hits, restored }, timing);
        }
    }
}

/// What a worker begins with.
pub(super) struct Start {
    pub number: usize,
    pub poll: Poll,
    /// Each with its number at the event loop.
    pub sockets: Vec<(usize, UdpSocket)>,
    pub shared: Arc<Shared>,
    pub sender: HandoverSender,
    pub event_loop: Arc<Waker>,
    pub published: Arc<SeqLock<Counts>>,
    /// For the limit on replies: unpredictable, and another for each worker.
    pub seed: u64,
}

impl Worker {
    /// A worker whose sockets are in its epoll instance.
    pub(super) fn new(start: Start) -> io::Result<Worker> {
        let Start { number, poll, sockets, shared, sender, event_loop, published, seed } = start;
        let mut worker = Worker {
            number,
            poll,
            sockets,
            shared,
            version: 0,
            sender,
            event_loop,
            published,
            gate: Gate { rate_limit: RateLimit::new(seed), allow: Vec::new() },
            own: None,
            report: Report::default(),
            observer: Observer::default(),
        };
        worker.register()?;
        Ok(worker)
    }

    fn register(&mut self) -> io::Result<()> {
        for (n, (_, socket)) in self.sockets.iter_mut().enumerate() {
            self.poll.registry().register(socket, Token(n), Interest::READABLE)?;
        }
        Ok(())
    }

    /// Answers hits until the worker is stopped.
    pub(super) fn run(&mut self) {
        let (mut events, mut batch) = (Events::with_capacity(EVENTS_PER_POLL_MAX), Batch::new());
        // The sockets to read: first all of them, since queries may have come before; then those that
        // may have more.
        let mut ready: Vec<usize> = Vec::with_capacity(2 * EVENTS_PER_POLL_MAX + self.sockets.len());
        ready.extend(0..self.sockets.len());
        while !self.shared.stop.load(Ordering::Acquire) {
            let timeout = match (ready.is_empty(), self.report.is_due) {
                (false, _) => Some(Duration::ZERO),
                (true, true) => Some(self.report.at.plus(COUNTERS_AGE_MAX).since(now())),
                (true, false) => None,
            };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return log::error!("a worker cannot wait for events: {error}");
                }
                _ => {}
            }
            let now = now();
            self.take_state();
            for token in events.iter().map(|event| event.token()).filter(|token| *token != WAKER) {
                if !ready.contains(&token.0) {
                    ready.push(token.0);
                }
            }
            ready.retain(|n| self.answer_some(*n, &mut batch, now));
            self.report_counts(now);
        }
    }

    /// Answers some batches of one socket. `true`: there may be more.
    fn answer_some(&mut self, n: usize, batch: &mut Batch, now: Monotonic) -> bool {
        for _ in 0..BATCHES_PER_TURN_MAX {
            match self.take_batch(n, batch, now) {
                Some(BATCH_MAX) => {}
                Some(_) | None => return false,
            }
        }
        true
    }

    fn take_batch(&mut self, n: usize, batch: &mut Batch, now: Monotonic) -> Option<usize> {
        let (_, socket) = self.sockets.get(n)?;
        let count = match batch.receive(socket) {
            Ok(count) => count,
            // For instance an ICMP error for an earlier reply. The next call returns the next
            // datagram.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Some(BATCH_MAX),
            Err(_) => return None,
        };
        // A client that has seen a change, such as a reload, gets answers that follow from it.
        self.take_state();
        let (number, socket) = self.sockets.get(n)?;
        let own = self.own.as_mut()?;
        let (limits, began, before, mut misses) = (own.limits, own.times.begin(), own.counts, 0);
        let responder = Responder {
            cache: &mut *own,
            allow: &self.gate.allow,
            limits: &limits,
            rate_limit: &mut self.gate.rate_limit,
            observer: &mut self.observer,
            now,
        };
        let mut handing = self.sender.begin();
        answer_batch(responder, batch, count, |_, received, at, query| {
            let taken = handing.miss(|| Taken::of(received, at, query, *number, now));
            misses += u64::from(taken);
            if taken { Taking::Waits } else { Taking::Refused }
        });
        let sent = batch.send(socket);
        own.count(Counter::Replies, sent as u64);
        own.note_batch(count as u64, misses, &before, began);
        if let Some(question) = own.ending.take() {
            handing.refresh(question);
        }
        let has_handed = handing.has_handed;
        *self.published.lock_write() = own.counts;
        self.report.is_due = true;
        if has_handed {
            wake(&self.event_loop);
        }
        Some(count)
    }

    /// Takes over a new state, if the event loop has set one.
    fn take_state(&mut self) {
        let latest = self.shared.version.load(Ordering::Acquire);
        if latest == self.version {
            return;
        }
        self.version = latest;
        let before = self.own.take();
        let hits = self.shared.state.with(|state| {
            self.gate.allow.clone_from(&state.allow);
            self.observer.set(state.tap.clone());
            (state.hits.clone(), state.limits)
        });
        let (hits, limits) = hits;
        let slot = hits.slot(self.number);
        if let Some(slot) = &slot {
            before.iter().filter_map(|before| before.slot.as_ref()).for_each(|before| slot.succeed(before));
            slot.set_running(true);
        }
        let (counts, times) = before.map(|before| (before.counts, before.times)).unwrap_or_default();
        self.own = Some(Own { hits, limits, counts, ending: None, slot, times });
    }

    /// Wakes the event loop to publish the counters, once a second at most.
    fn report_counts(&mut self, now: Monotonic) {
        if self.report.is_due && now >= self.report.at.plus(COUNTERS_AGE_MAX) {
            self.report = Report { at: now, is_due: false };
            wake(&self.event_loop);
        }
    }
}
