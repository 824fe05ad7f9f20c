//! The numbers by which upstreams, attempts and clients are known.

/// The index of an upstream in the configured list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UpstreamId(pub u16);

/// The id of an attempt, never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttemptId(pub u64);

/// The id of a client's query that waits for its reply. The shell chooses the id, unique among the
/// queries that wait. Its upper 16 bits are the client's [`Source`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientId(pub u64);

impl ClientId {
    /// The client `number`, of 48 bits, of `source`.
    #[must_use]
    pub const fn of(source: Source, number: u64) -> ClientId {
        ClientId((source.0 as u64) << 48 | (number & 0xffff_ffff_ffff))
    }

    /// The source that the client is counted for.
    #[must_use]
    pub const fn source(self) -> Source {
        Source::of(self.0 >> 48)
    }
}

/// The account that clients and rounds are counted for. When a limit is reached, the source with the
/// most of them is the first to lose one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Source(u16);

impl Source {
    /// The number of sources. The shell maps client networks to them by a secret hash.
    pub const PLACES: u16 = 16_384;
    /// The source of work that no client waits for. No number maps to it.
    pub const NOBODY: Source = Source(Source::PLACES);

    /// The source that a number maps to.
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

/// A connection that sends orders. The shell numbers them; the core only returns the number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SenderId(pub u64);
