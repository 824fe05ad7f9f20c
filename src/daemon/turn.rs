//! One turn of the event loop: the budget of each kind of source, and the queues of ready sources.
//!
//! Queries by UDP are read between any two kinds. So a hit waits at most for the budget of one
//! kind, however much the other sources receive. A source that has used up its budget moves to the
//! back of the queue of its kind, in which each source is at most once.

use crate::daemon::sources::Source;
use hither_table::Monotonic;
use std::collections::{HashSet, VecDeque};
use std::time::Duration;

/// Sources that share one budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Queries by UDP.
    Datagrams,
    /// The alarm, signals, the network, the wall clock, results of other threads.
    Own,
    /// Responses of upstreams.
    Upstreams,
    /// Steps of handshakes with encrypted upstreams.
    Handshakes,
    /// Clients by TCP: new connections and queries.
    Connections,
    /// Processes of this host: operators, companions, hints of readers, subscribers to changes.
    Local,
}

/// All kinds but queries by UDP, in the order of their turns.
pub(crate) const OTHERS: [Kind; 5] =
    [Kind::Own, Kind::Upstreams, Kind::Handshakes, Kind::Connections, Kind::Local];
const KINDS: usize = OTHERS.len() + 1;

/// The budget of a kind between two reads of queries by UDP. The last message may exceed it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub messages: usize,
    pub octets: usize,
    pub time: Duration,
    /// Messages handled between two readings of the clock.
    pub look: usize,
}

impl Share {
    /// No bound, for the end of the daemon.
    pub const ALL: Share =
        Share { messages: usize::MAX, octets: usize::MAX, time: Duration::from_secs(3600), look: 64 };
}

impl Kind {
    pub fn of(source: Source) -> Kind {
        match source {
            Source::Udp(_) => Self::Datagrams,
            Source::Alarm
            | Source::Signals
            | Source::Network
            | Source::Woken
            | Source::WallClock
            | Source::RuntimeDir => Self::Own,
            Source::Upstream(_) | Source::Secure(_) => Self::Upstreams,
            Source::Handshake(_) => Self::Handshakes,
            Source::TcpListener(_) | Source::Client(_) => Self::Connections,
            Source::ControlListener
            | Source::SorterListener
            | Source::SiteListener
            | Source::Peer(_)
            | Source::Hints
            | Source::ChangesListener
            | Source::Subscriber(_) => Self::Local,
        }
    }

    pub const fn share(self) -> Share {
        const KIB: usize = 1024;
        let (messages, octets, micros, look) = match self {
            // Batches of 64.
            Self::Datagrams => (16, 1024 * KIB, 2_000, 8),
            Self::Own => (2_048, 1024 * KIB, 500, 8),
            Self::Upstreams => (256, 512 * KIB, 1_000, 4),
            // A thread does what is expensive. Where it cannot be started, one step may take a millisecond.
            Self::Handshakes => (64, 64 * KIB, 500, 1),
            // A reply of 64 KiB takes some 15 microseconds to compose, and more to send.
            Self::Connections => (256, 512 * KIB, 1_000, 8),
            // One status may take a millisecond.
            Self::Local => (128, 256 * KIB, 500, 1),
        };
        Share { messages, octets, time: Duration::from_micros(micros), look }
    }
}

/// The part of a budget that has been used.
#[derive(Debug)]
pub(crate) struct Budget {
    share: Share,
    pub messages: usize,
    pub octets: usize,
    until: Monotonic,
    is_late: bool,
    /// Messages since the clock was last read.
    unseen: usize,
    clock: fn() -> Monotonic,
}

impl Budget {
    pub fn new(share: Share, clock: fn() -> Monotonic) -> Budget {
        let until = clock().plus(share.time);
        Budget { share, messages: 0, octets: 0, until, is_late: false, unseen: 0, clock }
    }

    /// Counts a message that was handled, with the octets read and written for it.
    pub fn use_up(&mut self, octets: usize) {
        self.messages += 1;
        self.octets = self.octets.saturating_add(octets);
        self.unseen += 1;
        if self.unseen >= self.share.look {
            self.unseen = 0;
            self.is_late |= (self.clock)() >= self.until;
        }
    }

    /// Whether the budget is used up.
    pub fn is_spent(&self) -> bool {
        self.is_late || self.messages >= self.share.messages || self.octets >= self.share.octets
    }
}

/// The ready sources, in a queue for each kind. A source is queued at most once, so a queue is no
/// longer than the number of sources.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    queues: [VecDeque<Source>; KINDS],
    queued: HashSet<Source>,
    /// When queries by UDP were last read.
    pub looked_at: Monotonic,
    /// The budgets that were used, one after the other.
    #[cfg(test)]
    pub used: Vec<(Kind, Budget)>,
}

impl Ready {
    /// Appends a source to the queue of its kind, unless it is there.
    pub fn push_back(&mut self, source: Source) {
        if self.queued.insert(source) {
            self.queues[Kind::of(source) as usize].push_back(source);
        }
    }

    /// Takes the first source of a kind.
    pub fn pop_front(&mut self, kind: Kind) -> Option<Source> {
        let source = self.queues[kind as usize].pop_front()?;
        self.queued.remove(&source);
        Some(source)
    }

    pub fn len(&self, kind: Kind) -> usize {
        self.queues[kind as usize].len()
    }

    pub fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::sources::Slot;
    use std::cell::Cell;

    thread_local! {
        static TIME: Cell<u64> = const { Cell::new(0) };
        static READ: Cell<u32> = const { Cell::new(0) };
    }

    fn clock() -> Monotonic {
        READ.set(READ.get() + 1);
        Monotonic(TIME.get())
    }

    fn share() -> Share {
        Share { messages: 10, octets: 1000, time: Duration::from_micros(5), look: 4 }
    }

    #[test]
    fn a_share_ends_by_messages_by_octets_and_by_time() {
        let spent_after = |octets: usize, each_ns: u64| {
            let mut budget = Budget::new(share(), clock);
            (1..100).find(|_| {
                TIME.set(TIME.get() + each_ns);
                budget.use_up(octets);
                budget.is_spent()
            })
        };
        assert_eq!(spent_after(0, 0), Some(10));
        assert_eq!(spent_after(200, 0), Some(5));
        assert_eq!(spent_after(5000, 0), Some(1), "one that is too large is handled, and then no other");
        assert_eq!(spent_after(0, 2_000), Some(4), "the clock is read after four");
        READ.set(0);
        assert_eq!(spent_after(0, 1), Some(10));
        assert_eq!(READ.get(), 3, "at the beginning, after four, after eight");
    }

    #[test]
    fn each_source_is_queued_once_and_none_is_passed_over() {
        let mut ready = Ready::default();
        let client = |key| Source::Client(Slot { key, generation: 1 });
        for _ in 0..1000 {
            (0..3).for_each(|key| ready.push_back(client(key)));
            ready.push_back(Source::Hints);
        }
        assert_eq!((ready.len(Kind::Connections), ready.len(Kind::Local)), (3, 1));
        assert_eq!(ready.pop_front(Kind::Connections), Some(client(0)));
        ready.push_back(client(0));
        let rest: Vec<Source> = std::iter::from_fn(|| ready.pop_front(Kind::Connections)).collect();
        assert_eq!(rest, [client(1), client(2), client(0)]);
        assert_eq!((ready.pop_front(Kind::Local), ready.is_empty()), (Some(Source::Hints), true));
    }
}
