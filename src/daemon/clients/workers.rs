//! Hit workers: threads with sockets of their own that answer hits, and hand misses over to the event loop.

use crate::config::{Limits, Network};
use crate::daemon::clients::handover::{Handed, HandoverReceiver, HandoverSender, handover};
use crate::daemon::clients::hit_times::BatchTimes;
use crate::daemon::clients::rate_limit::RateLimit;
use crate::daemon::clients::tap::{Observer, Tap};
use crate::daemon::clients::udp::{Cache, Responder, Taking, answer_batch};
use crate::daemon::clients::waiting_clients::Taken;
use crate::daemon::thread_results::wake;
use hither_latest::Latest;
use hither_net::batch::{BATCH_MAX, Batch};
use hither_net::clock::now;
use hither_rounds::{Hit, Hits, PlacedQuery, Question};
use hither_table::{BatchCounts, Counter, Counters, Monotonic, Place, Timing, WorkerSlot};
use hither_wire::query::Query;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use seqlock::SeqLock;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Events taken from the poll at once.
const EVENTS_PER_POLL_MAX: usize = 16;
/// Batches taken from one socket before the next socket has its turn.
const BATCHES_PER_TURN_MAX: usize = 4;
/// How old published counters may be.
const COUNTERS_AGE_MAX: Duration = Duration::from_secs(1);
/// The counters of a worker.
const COUNTED: [Counter; 9] = [
    Counter::Queries,
    Counter::Replies,
    Counter::Hits,
    Counter::MalformedQueries,
    Counter::RefusedClients,
    Counter::ShedQueries,
    Counter::RateLimited,
    Counter::FamiliesWithheld,
    Counter::RestoredHits,
];
type Counts = [u64; COUNTED.len()];

/// The place of a counter among those of a worker.
fn place(counter: Counter) -> Option<usize> {
    COUNTED.iter().position(|counted| *counted as usize == counter as usize)
}

/// The cache and the limits, as the workers use them.
#[derive(Debug)]
pub(crate) struct WorkerState {
    hits: Hits,
    allow: Vec<Network>,
    limits: Limits,
    tap: Tap,
}

impl WorkerState {
    pub fn new(hits: Hits, allow: Vec<Network>, mut limits: Limits, workers: usize) -> WorkerState {
        // The clients of a network are spread over all workers.
        let workers = u32::try_from(workers).unwrap_or(u32::MAX).max(1);
        limits.replies_per_second = limits.replies_per_second.div_ceil(workers);
        WorkerState { hits, allow, limits, tap: Tap::default() }
    }

    /// With those who look at queries.
    pub fn with_tap(self, tap: Tap) -> WorkerState {
        WorkerState { tap, ..self }
    }
}

/// The event loop's control of the threads. Without threads, every method does nothing.
#[derive(Debug)]
pub(crate) struct Workers {
    waker: Arc<Waker>,
    handed: Option<HandoverReceiver>,
    shared: Option<Arc<Shared>>,
    /// The number of changes of the core that the workers know, as `Rounds::changed` counts them.
    known: u64,
    workers: Vec<(JoinHandle<()>, Waker)>,
    /// The counters of each worker, also after it has ended.
    counts: Vec<Arc<SeqLock<Counts>>>,
}

#[derive(Debug)]
struct Shared {
    state: Latest<WorkerState>,
    /// Grows with each new state.
    version: AtomicU64,
    stop: AtomicBool,
    /// Whether a worker has ended.
    ended: AtomicBool,
}

/// Wakes the event loop when its worker ends, also by a panic.
struct EndNotice(Arc<Shared>, Arc<Waker>);

impl Drop for EndNotice {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        wake(&self.1);
    }
}

impl Workers {
    pub fn new(waker: Arc<Waker>) -> Workers {
        Workers { waker, handed: None, shared: None, known: 0, workers: Vec::new(), counts: Vec::new() }
    }

    /// Starts `count` workers. Each gets one of the sockets of every address; where an address has
    /// fewer sockets, workers share them.
    pub fn start(
        &mut self,
        count: usize,
        sockets: &[UdpSocket],
        state: WorkerState,
        seed: u64,
    ) -> io::Result<()> {
        let (sender, handed) = handover();
        let shared = Arc::new(Shared {
            state: Latest::new(state),
            version: AtomicU64::new(1),
            stop: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        for n in 0..count {
            let poll = Poll::new()?;
            let waker = Waker::new(poll.registry(), WAKER)?;
            let counts = Arc::new(SeqLock::new(Counts::default()));
            let mut worker = Worker {
                number: n,
                poll,
                sockets: shares(sockets, n)?,
                shared: Arc::clone(&shared),
                version: 0,
                sender: sender.clone(),
                event_loop: Arc::clone(&self.waker),
                published: Arc::clone(&counts),
                gate: Gate { rate_limit: RateLimit::new(seed ^ n as u64), allow: Vec::new() },
                own: None,
                report: Report::default(),
                observer: Observer::default(),
            };
            worker.register()?;
            let notice = EndNotice(Arc::clone(&shared), Arc::clone(&self.waker));
            let run = move || {
                let _notice = notice;
                worker.run();
            };
            let thread = std::thread::Builder::new().name(format!("hits-{n}")).spawn(run)?;
            self.workers.push((thread, waker));
            self.counts.push(counts);
        }
        (self.handed, self.shared) = (Some(handed), Some(shared));
        Ok(())
    }

    /// The next item that a worker has handed over.
    pub fn take(&self) -> Option<Handed> {
        self.handed.as_ref()?.take()
    }

    /// Whether a worker has ended without being stopped.
    pub fn has_failed(&self) -> bool {
        let early = |s: &Arc<Shared>| s.ended.load(Ordering::Acquire) && !s.stop.load(Ordering::Acquire);
        self.shared.as_ref().is_some_and(early)
    }

    pub fn add_counts(&self, all: &mut Counters) {
        for counts in &self.counts {
            COUNTED.into_iter().zip(counts.read()).for_each(|(counter, count)| all.add(counter, count));
        }
    }

    /// Whether the workers know `changed` changes of the core.
    pub fn have(&self, changed: u64) -> bool {
        self.known == changed
    }

    /// Gives the workers another state, made after `changed` changes of the core.
    pub fn update(&mut self, changed: u64, state: impl Fn() -> WorkerState) {
        self.known = changed;
        if let Some(shared) = &self.shared {
            shared.state.set(state());
            shared.version.fetch_add(1, Ordering::Release);
        }
    }

    /// Ends the workers. Queries that they have handed over can still be taken.
    pub fn stop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.stop.store(true, Ordering::Release);
        }
        for (thread, waker) in self.workers.drain(..) {
            wake(&waker);
            if thread.join().is_err() {
                log::error!("a worker has panicked");
            }
        }
    }
}

/// The sockets of the n-th worker: one for each address, in turn.
fn shares(sockets: &[UdpSocket], n: usize) -> io::Result<Vec<(usize, UdpSocket)>> {
    let addresses: Vec<SocketAddr> = sockets.iter().map(UdpSocket::local_addr).collect::<io::Result<_>>()?;
    let mut own = Vec::new();
    for (first, address) in addresses.iter().enumerate() {
        let same: Vec<usize> = (0..addresses.len()).filter(|at| addresses[*at] == *address).collect();
        if same[0] == first {
            let at = same[n % same.len()];
            let copy = std::net::UdpSocket::from(sockets[at].as_fd().try_clone_to_owned()?);
            own.push((at, UdpSocket::from_std(copy)));
        }
    }
    Ok(own)
}

const WAKER: Token = Token(usize::MAX);

#[derive(Debug)]
struct Worker {
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
        let Hit { len, is_ending, is_withheld, is_restored } = self.hits.answer(now, query, limit, out);
        if len > 0 {
            self.count(Counter::Hits, 1);
        }
        if is_withheld {
            self.count(Counter::FamiliesWithheld, 1);
        }
        if is_restored {
            self.count(Counter::RestoredHits, 1);
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

impl Worker {
    fn register(&mut self) -> io::Result<()> {
        for (n, (_, socket)) in self.sockets.iter_mut().enumerate() {
            self.poll.registry().register(socket, Token(n), Interest::READABLE)?;
        }
        Ok(())
    }

    fn run(&mut self) {
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
