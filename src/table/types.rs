//! The types that describe an entry: family, state, denial, address, round-trip time.

use core::net::IpAddr;
use hither_wire::codes::Rtype;

/// An address family: each name has one set of addresses for each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

impl Family {
    /// The record type of its addresses.
    #[must_use]
    pub const fn rtype(self) -> Rtype {
        match self {
            Self::A => Rtype::A,
            Self::Aaaa => Rtype::AAAA,
        }
    }

    /// The family to which an address belongs.
    #[must_use]
    pub const fn of(address: &IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::A,
            IpAddr::V6(_) => Self::Aaaa,
        }
    }
}

/// The progress of the round that gathered a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// At least one upstream has answered, and others may still answer.
    First,
    /// The round ended at its deadline, before all upstreams had answered.
    Partial,
    /// Every upstream answered or failed.
    Complete,
}

impl State {
    /// `"first"`, `"partial"` or `"complete"`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Partial => "partial",
            Self::Complete => "complete",
        }
    }
}

/// A denial (RFC 2308).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Negative {
    /// The name has no data of this type.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// The public name has private addresses, so the daemon withholds them. Readers that do not
    /// know this value read [`Negative::NoData`].
    Withheld,
}

impl Negative {
    /// The word for people and JSON: `"nodata"` or `"nxdomain"`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoData | Self::Withheld => "nodata",
            Self::NxDomain => "nxdomain",
        }
    }
}

/// The round-trip time of an address, as the sorter measured it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rtt {
    /// The address has not been measured.
    Unmeasured,
    /// The address did not answer, or refused the connection.
    Unreachable,
    /// The address answered after this time, in microseconds.
    Micros(u32),
}

impl Rtt {
    pub(crate) const fn from_word(word: u32) -> Self {
        match word {
            u32::MAX => Self::Unreachable,
            0xffff_fffe => Self::Unmeasured,
            micros => Self::Micros(micros),
        }
    }

    #[cfg(feature = "writer")]
    pub(crate) fn to_word(self) -> u32 {
        match self {
            Self::Unmeasured => 0xffff_fffe,
            Self::Unreachable => u32::MAX,
            Self::Micros(micros) => micros.min(0xffff_fffd),
        }
    }
}

/// One address of a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// The IPv4 or IPv6 address.
    pub address: IpAddr,
    /// The round-trip time that was measured last.
    pub rtt: Rtt,
    /// The number of the CNAME chain that led to it, among those of its set.
    pub chain: u8,
    /// The upstreams that gave it, see [`Address::given_by`], and [`Address::TRUSTED`].
    pub upstreams: u32,
}

impl Address {
    /// Set in `upstreams` if the address is confirmed: another upstream gave it too, or the first
    /// answer had it. Unlike the other bits it keeps its meaning over a restart, when upstreams may
    /// get other numbers.
    pub const TRUSTED: u32 = 1 << 23;

    /// A bit for each upstream that gave it: for each of the first 22 in the configuration of that
    /// time, and one for all others.
    #[must_use]
    pub const fn given_by(&self) -> u32 {
        self.upstreams & (Self::TRUSTED - 1)
    }

    /// Whether it may come before other addresses, see [`Address::TRUSTED`].
    #[must_use]
    pub const fn is_trusted(&self) -> bool {
        self.upstreams & Self::TRUSTED != 0
    }
}
