//! Event sources and their tokens in the epoll instance.

use mio::Token;

/// A source of events.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Source {
    Alarm,
    Signals,
    Udp(usize),
    TcpListener(usize),
    ControlListener,
    SorterListener,
    SiteListener,
    /// A client's TCP connection.
    Client(Slot),
    /// A socket towards an upstream.
    Upstream(Slot),
    /// A connection to an encrypted upstream.
    Secure(Slot),
    /// A step of the handshake of such a connection. No event of the kernel has this source: the loop queues
    /// it.
    Handshake(Slot),
    /// A local connection of an operator or a companion.
    Peer(Slot),
    Hints,
    /// New subscribers to changes.
    ChangesListener,
    /// A connection of a subscriber.
    Subscriber(Slot),
    /// The network (netlink), or the name of the host.
    Network,
    /// Another thread has a result: files have changed or were read, the cache was saved, saved
    /// sets are ready to be restored, or a worker has misses or counters, or has ended.
    Woken,
    /// The wall clock, when it is set.
    WallClock,
    /// The runtime directory, when files in it are removed or replaced.
    RuntimeDir,
}

/// A slot of a slab with a generation counter, so that an event for a former holder of the slot is
/// recognised.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Slot {
    pub key: usize,
    pub generation: u32,
}

impl Slot {
    /// Both as one number: the sender of an order, for the core.
    pub fn number(self) -> u64 {
        u64::from(self.generation) << 32 | self.key as u64
    }

    /// The slot of a number.
    pub fn of(number: u64) -> Slot {
        Slot { key: number as u32 as usize, generation: (number >> 32) as u32 }
    }
}

const KIND: u32 = 59;
const GENERATION: u32 = 27;

impl Source {
    pub fn token(self) -> Token {
        let slot =
            |kind: usize, slot: Slot| kind << KIND | (slot.generation as usize) << GENERATION | slot.key;
        Token(match self {
            Self::Alarm => 0,
            Self::Signals => 1 << KIND,
            Self::Udp(n) => 2 << KIND | n,
            Self::TcpListener(n) => 3 << KIND | n,
            Self::ControlListener => 4 << KIND,
            Self::SorterListener => 5 << KIND,
            Self::Client(s) => slot(6, s),
            Self::Upstream(s) => slot(7, s),
            Self::Peer(s) => slot(8, s),
            Self::Hints => 9 << KIND,
            Self::Network => 10 << KIND,
            Self::Woken => 11 << KIND,
            Self::WallClock => 12 << KIND,
            Self::Secure(s) => slot(13, s),
            Self::Handshake(s) => slot(14, s),
            Self::RuntimeDir => 15 << KIND,
            Self::ChangesListener => 16 << KIND,
            Self::Subscriber(s) => slot(17, s),
            Self::SiteListener => 18 << KIND,
        })
    }

    pub fn of(token: Token) -> Source {
        let key = token.0 & ((1 << GENERATION) - 1);
        let slot = Slot { key, generation: (token.0 >> GENERATION) as u32 };
        match token.0 >> KIND {
            0 => Self::Alarm,
            1 => Self::Signals,
            2 => Self::Udp(key),
            3 => Self::TcpListener(key),
            4 => Self::ControlListener,
            5 => Self::SorterListener,
            6 => Self::Client(slot),
            7 => Self::Upstream(slot),
            8 => Self::Peer(slot),
            9 => Self::Hints,
            10 => Self::Network,
            11 => Self::Woken,
            13 => Self::Secure(slot),
            14 => Self::Handshake(slot),
            15 => Self::RuntimeDir,
            16 => Self::ChangesListener,
            17 => Self::Subscriber(slot),
            18 => Self::SiteListener,
            _ => Self::WallClock,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_found_again_by_its_token() {
        let slot = Slot { key: 123_456, generation: u32::MAX };
        for source in [
            Source::Alarm,
            Source::Signals,
            Source::Udp(3),
            Source::TcpListener(7),
            Source::ControlListener,
            Source::SorterListener,
            Source::SiteListener,
            Source::Client(slot),
            Source::Upstream(slot),
            Source::Secure(slot),
            Source::Handshake(slot),
            Source::Peer(Slot { key: 0, generation: 0 }),
            Source::Hints,
            Source::Network,
            Source::Woken,
            Source::WallClock,
            Source::RuntimeDir,
            Source::ChangesListener,
            Source::Subscriber(slot),
        ] {
            assert_eq!(Source::of(source.token()), source);
        }
    }
}
