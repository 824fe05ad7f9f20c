//! The words of an entry: family, state, denial, address, round-trip time.

use core::net::IpAddr;
use hither_wire::codes::Rtype;

/// Which of a name's two sets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

impl Family {
    /// The record type whose data it is.
    #[must_use]
    pub const fn rtype(self) -> Rtype {
        match self {
            Self::A => Rtype::A,
            Self::Aaaa => Rtype::AAAA,
        }
    }

    /// The family of an address.
    #[must_use]
    pub const fn of(address: &IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::A,
            IpAddr::V6(_) => Self::Aaaa,
        }
    }
}

/// How far the round has come that gathered a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// At least one upstream has answered, others may still.
    First,
    /// Time was up before all upstreams had answered.
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

/// What does not exist (RFC 2308).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Negative {
    /// The name has no data of this type.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// There is data, and it is withheld: addresses of a private network for a name that is everybody's. Who does not know this takes it for
    /// [`Negative::NoData`].
    Withheld,
}

impl Negative {
    /// `"nodata"` or `"nxdomain"`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoData | Self::Withheld => "nodata",
            Self::NxDomain => "nxdomain",
        }
    }
}

/// What the sorter knows of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rtt {
    /// Nothing.
    Unmeasured,
    /// It did not answer, or refused.
    Unreachable,
    /// It answered after so many microseconds.
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

/// One address of a set, in its place of the order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// What the sorter knows of it.
    pub rtt: Rtt,
    /// Which of the set's chains of CNAMEs led to it.
    pub chain: u8,
    /// Which upstreams gave it, see [`Address::given_by`], and [`Address::TRUSTED`].
    pub upstreams: u32,
}

impl Address {
    /// Set in `upstreams` where more than one upstream's word stands for the address: another gave it too, or the first answer had it. It means
    /// the same after a restart, when the other bits stand for nobody any more.
    pub const TRUSTED: u32 = 1 << 23;

    /// A bit for each of the first 22 upstreams in the configuration of that time that gave it, and one for all others.
    #[must_use]
    pub const fn given_by(&self) -> u32 {
        self.upstreams & (Self::TRUSTED - 1)
    }

    /// Whether it may stand before others: see [`Address::TRUSTED`].
    #[must_use]
    pub const fn is_trusted(&self) -> bool {
        self.upstreams & Self::TRUSTED != 0
    }
}
