//! Hit workers: threads with sockets of their own that answer what is in the cache, and hand the event loop what is not.

use crate::config::{Limits, Network};
use crate::daemon::clients::admission::Admission;
use crate::daemon::clients::handover::{Counterpart, Handed, Hatch, hatch, wake_up};
use crate::daemon::clients::pending::Taken;
use crate::daemon::clients::udp::{Cache, Desk, Left, answer_batch};
use hither_answers::Latest;
use hither_net::batch::{Batch, SIZE};
use hither_net::clock::now;
use hither_rounds::{Hits, Question};
use hither_table::{Counter, Counters, Monotonic, Place};
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
const EVENTS: usize = 16;
/// Batches taken from one socket before others get their turn.
const BATCHES: usize = 4;
/// How long counts may be behind while there is something to count.
const BEHIND: Duration = Duration::from_secs(1);
/// What a worker counts.
const COUNTED: [Counter; 7] = [
    Counter::Queries,
    Counter::Replies,
    Counter::Hits,
    Counter::MalformedQueries,
    Counter::RefusedClients,
    Counter::ShedQueries,
    Counter::RateLimited,
];
type Counts = [u64; COUNTED.len()];

/// What a worker has to know.
#[derive(Debug)]
pub(crate) struct Brief {
    hits: Hits,
    allow: Vec<Network>,
    limits: Limits,
}

impl Brief {
    pub fn new(hits: Hits, allow: Vec<Network>, mut limits: Limits, workers: usize) -> Brief {
        // A network's clients are spread over all workers.
        let workers = u32::try_from(workers).unwrap_or(u32::MAX).max(1);
        limits.replies_per_second = limits.replies_per_second.div_ceil(workers);
        Brief { hits, allow, limits }
    }
}

/// The workers, as the event loop has them. Without any, all of it does nothing.
#[derive(Debug)]
pub(crate) struct Team {
    waker: Arc<Waker>,
    handed: Option<Counterpart>,
    shared: Option<Arc<Shared>>,
    /// See [`Rounds::changed`].
    pub told_of: u64,
    workers: Vec<(JoinHandle<()>, Waker)>,
    /// Of each worker, also when it has ended.
    counts: Vec<Arc<SeqLock<Counts>>>,
}

#[derive(Debug)]
struct Shared {
    brief: Latest<Brief>,
    /// How often there was a new one.
    briefed: AtomicU64,
    stop: AtomicBool,
    /// One has ended.
    ended: AtomicBool,
}

/// Tells the event loop when its worker ends, however that comes about.
struct Farewell(Arc<Shared>, Arc<Waker>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        wake_up(&self.1);
    }
}

impl Team {
    pub fn new(waker: Arc<Waker>) -> Team {
        Team { waker, handed: None, shared: None, told_of: 0, workers: Vec::new(), counts: Vec::new() }
    }

    /// Starts `count` workers, each with one of the sockets of every address, or all with the same where there are fewer.
    pub fn start(&mut self, count: usize, sockets: &[UdpSocket], brief: Brief, seed: u64) -> io::Result<()> {
        let (hatch, handed) = hatch();
        let shared = Arc::new(Shared {
            brief: Latest::new(brief),
            briefed: AtomicU64::new(1),
            stop: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        for n in 0..count {
            let poll = Poll::new()?;
            let waker = Waker::new(poll.registry(), WAKER)?;
            let counts = Arc::new(SeqLock::new(Counts::default()));
            let mut worker = Worker {
                poll,
                sockets: shares(sockets, n)?,
                shared: Arc::clone(&shared),
                briefed: 0,
                hatch: hatch.clone(),
                event_loop: Arc::clone(&self.waker),
                published: Arc::clone(&counts),
                admission: Admission::new(seed ^ n as u64),
                allow: Vec::new(),
                own: None,
                told: Monotonic(0),
                untold: false,
            };
            worker.register()?;
            let farewell = Farewell(Arc::clone(&shared), Arc::clone(&self.waker));
            let run = move || {
                let _farewell = farewell;
                worker.run();
            };
            let thread = std::thread::Builder::new().name(format!("hits-{n}")).spawn(run)?;
            self.workers.push((thread, waker));
            self.counts.push(counts);
        }
        (self.handed, self.shared) = (Some(handed), Some(shared));
        Ok(())
    }

    /// The next thing that was handed over.
    pub fn take(&self) -> Option<Handed> {
        self.handed.as_ref()?.take()
    }

    /// Whether a worker has ended although it was not told to.
    pub fn has_failed(&self) -> bool {
        let early = |s: &Arc<Shared>| s.ended.load(Ordering::Acquire) && !s.stop.load(Ordering::Acquire);
        self.shared.as_ref().is_some_and(early)
    }

    pub fn add_counts(&self, all: &mut Counters) {
        for counts in &self.counts {
            COUNTED.into_iter().zip(counts.read()).for_each(|(counter, count)| all.add(counter, count));
        }
    }

    /// Tells them what is to be known, of so many changes of the rounds.
    pub fn brief(&mut self, changed: u64, brief: impl Fn() -> Brief) {
        self.told_of = changed;
        if let Some(shared) = &self.shared {
            shared.brief.set(brief());
            shared.briefed.fetch_add(1, Ordering::Release);
        }
    }

    /// Ends the workers; what they handed over can still be taken.
    pub fn stop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.stop.store(true, Ordering::Release);
        }
        for (thread, waker) in self.workers.drain(..) {
            wake_up(&waker);
            if thread.join().is_err() {
                log::error!("a worker has ended by a fault of its own");
            }
        }
    }
}

/// One socket for each address: the n-th of those that have it, counted round.
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
    poll: Poll,
    /// With their numbers at the event loop, which sends the replies to misses.
    sockets: Vec<(usize, UdpSocket)>,
    shared: Arc<Shared>,
    briefed: u64,
    hatch: Hatch,
    event_loop: Arc<Waker>,
    published: Arc<SeqLock<Counts>>,
    admission: Admission,
    allow: Vec<Network>,
    own: Option<Own>,
    /// When the event loop was last told to look at the counts, and whether there is something new.
    told: Monotonic,
    untold: bool,
}

/// The cache and what it counts.
#[derive(Debug)]
struct Own {
    hits: Hits,
    limits: Limits,
    counts: Counts,
    /// An entry that was answered when little of its time was left; one a batch is enough, for who is asked for often is asked for again.
    ending: Option<Question>,
}

impl Cache for Own {
    fn place(&self, query: &Query<'_>) -> Option<Place> {
        self.hits.place(query)
    }

    fn fetch<'p>(&self, places: impl Iterator<Item = &'p Place> + Clone) {
        self.hits.fetch(places);
    }

    fn answer_hit(
        &mut self,
        now: Monotonic,
        (query, place): (&Query<'_>, Option<Place>),
        limit: usize,
        out: &mut [u8],
    ) -> usize {
        let (len, ending) = self.hits.answer(now, (query, place), limit, out);
        if len > 0 {
            self.count(Counter::Hits, 1);
        }
        if ending {
            self.ending = Some(Question {
                name: query.name_lower(),
                rtype: query.qtype(),
                dnssec_ok: query.dnssec_ok(),
                checking_disabled: query.cd(),
            });
        }
        len
    }

    fn count(&mut self, counter: Counter, more: u64) {
        let at = COUNTED.iter().position(|counted| *counted as usize == counter as usize);
        if let Some(count) = at.and_then(|at| self.counts.get_mut(at)) {
            *count += more;
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
        let (mut events, mut batch) = (Events::with_capacity(EVENTS), Batch::new());
        // Sockets to be looked at: at first all of them, for queries that came before we did; then those that had more than their share.
        let mut ready: Vec<usize> = Vec::with_capacity(2 * EVENTS + self.sockets.len());
        ready.extend(0..self.sockets.len());
        while !self.shared.stop.load(Ordering::Acquire) {
            let timeout = match (ready.is_empty(), self.untold) {
                (false, _) => Some(Duration::ZERO),
                (true, true) => Some(self.told.plus(BEHIND).since(now())),
                (true, false) => None,
            };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return log::error!("a worker cannot poll: {error}");
                }
                _ => {}
            }
            let now = now();
            self.take_brief();
            for token in events.iter().map(|event| event.token()).filter(|token| *token != WAKER) {
                // One that is still to be looked at may have more by now.
                if !ready.contains(&token.0) {
                    ready.push(token.0);
                }
            }
            ready.retain(|n| self.serve(*n, &mut batch, now));
            self.tell(now);
        }
    }

    /// Answers some batches; `true`: there may be more.
    fn serve(&mut self, n: usize, batch: &mut Batch, now: Monotonic) -> bool {
        for _ in 0..BATCHES {
            match self.take_batch(n, batch, now) {
                Some(SIZE) => {}
                Some(_) | None => return false,
            }
        }
        true
    }

    fn take_batch(&mut self, n: usize, batch: &mut Batch, now: Monotonic) -> Option<usize> {
        let (_, socket) = self.sockets.get(n)?;
        let count = match batch.receive(socket) {
            Ok(count) => count,
            // An ICMP error for an earlier reply, for instance: the next call is past it.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Some(SIZE),
            Err(_) => return None,
        };
        // What somebody asks who was told of a change is answered with it.
        self.take_brief();
        let (number, socket) = self.sockets.get(n)?;
        let own = self.own.as_mut()?;
        let limits = own.limits;
        let desk = Desk {
            cache: &mut *own,
            allow: &self.allow,
            limits: &limits,
            admission: &mut self.admission,
            now,
        };
        let mut handing = self.hatch.begin();
        answer_batch(desk, batch, count, |_, received, at, query| {
            let taken = handing.miss(|| Taken::of(received, at, query, *number));
            if taken { Left::Waits } else { Left::Refused }
        });
        let sent = batch.send(socket);
        own.count(Counter::Replies, sent as u64);
        if let Some(question) = own.ending.take() {
            handing.ending(question);
        }
        let wake = handing.has_handed;
        *self.published.lock_write() = own.counts;
        self.untold = true;
        if wake {
            wake_up(&self.event_loop);
        }
        Some(count)
    }

    /// Takes over what the event loop has changed, if anything.
    fn take_brief(&mut self) {
        let latest = self.shared.briefed.load(Ordering::Acquire);
        if latest == self.briefed {
            return;
        }
        self.briefed = latest;
        let counts = self.own.as_ref().map_or_else(Counts::default, |own| own.counts);
        let hits = self.shared.brief.with(|brief| {
            self.allow.clone_from(&brief.allow);
            (brief.hits.clone(), brief.limits)
        });
        self.own = Some(Own { hits: hits.0, limits: hits.1, counts, ending: None });
    }

    /// Lets the event loop publish the counts, not more often than once in a while.
    fn tell(&mut self, now: Monotonic) {
        if self.untold && now >= self.told.plus(BEHIND) {
            (self.told, self.untold) = (now, false);
            wake_up(&self.event_loop);
        }
    }
}
