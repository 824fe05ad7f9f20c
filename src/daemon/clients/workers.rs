//! Hit workers: threads with sockets of their own that answer hits, and hand misses over to the event loop.
//! Here is the event loop's control of them.

mod thread;

use crate::config::{Limits, Network};
use crate::daemon::clients::handover::{Handed, HandoverReceiver, handover};
use crate::daemon::clients::tap::Tap;
use crate::daemon::thread_results::wake;
use hither_latest::Latest;
use hither_rounds::Hits;
use hither_table::{Counter, Counters};
use mio::net::UdpSocket;
use mio::{Poll, Waker};
use seqlock::SeqLock;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use thread::{Start, WAKER, Worker};

/// The counters of a worker.
const COUNTED: [Counter; 10] = [
    Counter::Queries,
    Counter::Replies,
    Counter::Hits,
    Counter::MalformedQueries,
    Counter::RefusedClients,
    Counter::ShedQueries,
    Counter::RateLimited,
    Counter::FamiliesWithheld,
    Counter::RestoredHits,
    Counter::SiteHits,
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
            let start = Start {
                number: n,
                poll,
                sockets: shares(sockets, n)?,
                shared: Arc::clone(&shared),
                sender: sender.clone(),
                event_loop: Arc::clone(&self.waker),
                published: Arc::clone(&counts),
                seed: seed ^ n as u64,
            };
            let mut worker = Worker::new(start)?;
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
