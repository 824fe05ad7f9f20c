//! Everything the core can be told, and the ids it is told it by.

use crate::restore::Restore;
use crate::{Question, Routes, Settings};
use hither_local::Local;
use hither_table::{Family, Rtt};
use hither_wire::name::Name;
use std::net::IpAddr;
use std::sync::Arc;

/// An upstream: its place in the configured list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UpstreamId(pub u16);

/// One query to one upstream within a round. Never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttemptId(pub u64);

/// One question of one client that waits for its reply; the shell draws it and never uses it twice at a time. Its upper 16 bits are
/// its [`Source`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(pub u64);

impl ClientId {
    /// The client `number`, of 48 bits, on the account of `source`.
    #[must_use]
    pub const fn of(source: Source, number: u64) -> ClientId {
        ClientId((source.0 as u64) << 48 | (number & 0xffff_ffff_ffff))
    }

    /// On whose account it is.
    #[must_use]
    pub const fn source(self) -> Source {
        Source::of(self.0 >> 48)
    }
}

/// On whose account something is that there is a bound for. Whoever has most gives way first when the bound is reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Source(u16);

impl Source {
    /// How many there are. The shell spreads those who ask over them by a hash that they do not know.
    pub const PLACES: u16 = 16_384;
    /// What is done for nobody who waits, beside them: no number falls on it.
    pub const NOBODY: Source = Source(Source::PLACES);

    /// The source that a number falls on.
    #[must_use]
    pub const fn of(number: u64) -> Source {
        Source((number % Source::PLACES as u64) as u16)
    }

    pub(crate) const fn at(place: u16) -> Source {
        Source(place)
    }

    pub(crate) const fn number(self) -> u16 {
        self.0
    }

    pub(crate) fn place(self) -> usize {
        usize::from(self.0)
    }
}

/// What happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// A client asks something that [`crate::Rounds::answer_hit`] could not answer.
    Ask {
        /// Who waits for the reply.
        client: ClientId,
        /// What is asked.
        question: &'a Question,
        /// RD: without it only the cache may answer (RFC 1035 section 4.1.1).
        recursion: bool,
    },
    /// One whole message arrived on the attempt's own socket or connection.
    Message {
        /// The attempt whose socket it was.
        attempt: AttemptId,
        /// The message as it came.
        octets: &'a [u8],
    },
    /// The attempt's socket failed.
    Failed {
        /// The attempt whose socket it was.
        attempt: AttemptId,
        /// How.
        failure: Failure,
    },
    /// An entry that is there is still wanted: find it out again if its time is nearly over, before anybody has to wait for it.
    Refresh {
        /// What is wanted.
        question: Question,
    },
    /// Nobody waits for this reply any more.
    ClientGone {
        /// The client of an earlier `Ask`.
        client: ClientId,
    },
    /// The sorter measured a set.
    Order {
        /// Who sent it: given back in `Action::OrderResult`.
        sender: SenderId,
        /// What it measured.
        order: Order,
    },
    /// Forget these names, or everything.
    Flush {
        /// `None`: everything.
        names: Option<Vec<Name>>,
    },
    /// The configuration changed.
    Reload {
        /// The new settings.
        settings: Settings,
        /// The new upstreams; a change ends every live round.
        routes: Routes,
    },
    /// What is answered here has changed.
    Local {
        /// All of it.
        local: Arc<Local>,
    },
    /// Addresses, links or routes of the host have changed, or it has slept: what was sent may not come back, and who was out of reach
    /// may be there.
    NetworkChanged,
    /// What was saved before the host was started.
    Restore(Restore),
    /// The process ends: every waiting client is told so, every socket closed.
    Shutdown,
}

/// How a socket failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// An ICMP error or no route.
    Unreachable,
    /// Nobody listens there: ICMP port unreachable, or a TCP reset while connecting.
    Refused,
    /// The TCP connection ended before the whole message had come.
    Closed,
    /// There was no socket to be had here (descriptors, ports): says nothing about the upstream.
    NoSocket,
}

/// A connection that orders come from. The shell numbers them; the core only gives the number back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SenderId(pub u64);

/// A measured order of one set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which table was read.
    pub generation: u64,
    /// Owner, in lower case.
    pub name: Name,
    /// Which of its sets.
    pub family: Family,
    /// The version at which the measured set came to be.
    pub set_version: u64,
    /// The whole set in its new order.
    pub addresses: Vec<(IpAddr, Rtt)>,
}
