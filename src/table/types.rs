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

/// The verdict on the certificate that a server at an address shows for the name, as the sorter judged
/// it. It is for one name, one address and one address set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum Trust {
    /// The certificate was not judged.
    #[default]
    Unknown = 0,
    /// An authority vouches for the certificate, and it is for the name.
    Verified = 1,
    /// An authority vouches for the certificate, and it is for other names.
    OtherName = 2,
    /// The certificate is for the name, and its last day is over.
    Expired = 3,
    /// The certificate is for the name, and its first day has not come.
    NotYet = 4,
    /// No authority vouches for the certificate.
    Untrusted = 5,
    /// The server refuses connections, or does not speak TLS.
    NoTls = 6,
}

impl Trust {
    /// Each verdict, at the position of its number.
    pub const ALL: [Trust; 7] = [
        Self::Unknown,
        Self::Verified,
        Self::OtherName,
        Self::Expired,
        Self::NotYet,
        Self::Untrusted,
        Self::NoTls,
    ];

    /// The word for people and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Verified => "verified",
            Self::OtherName => "other_name",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Untrusted => "untrusted",
            Self::NoTls => "no_tls",
        }
    }

    /// The verdict with a number; [`Trust::Unknown`] for numbers of later versions.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or_default()
    }

    /// Whether an address with this verdict ranks behind those that are verified: the server is not the
    /// name's.
    #[must_use]
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::OtherName | Self::Untrusted)
    }
}

/// How far the upstreams of a round agree about a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Agreement {
    /// How many upstreams have answered; at most 255.
    pub answered: u8,
    /// Why the set is disputed: [`Agreement::CERTIFICATES`], [`Agreement::PRIVATE`],
    /// [`Agreement::DENIED`]; 0 if it is not.
    pub disputes: u8,
    /// A bit for each upstream that disagrees with the others, as in [`Address::given_by`]; 0 if the set
    /// is not disputed.
    pub dissenters: u32,
}

impl Agreement {
    /// The upstreams fall into groups without a common address; servers of one group show certificates for
    /// other names, and those of another group do not.
    pub const CERTIFICATES: u8 = 1;
    /// An upstream gave private addresses for the public name.
    pub const PRIVATE: u8 = 2;
    /// An upstream denied the name or the type, while others gave addresses.
    pub const DENIED: u8 = 4;

    /// Whether upstreams disagree about the set.
    #[must_use]
    pub const fn is_disputed(&self) -> bool {
        self.disputes != 0
    }

    /// The words for people and JSON, one for each reason.
    pub fn reasons(&self) -> impl Iterator<Item = &'static str> + use<> {
        let disputes = self.disputes;
        let words =
            [(Self::CERTIFICATES, "certificates"), (Self::PRIVATE, "private"), (Self::DENIED, "denied")];
        words.into_iter().filter(move |(bit, _)| disputes & bit != 0).map(|(_, word)| word)
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
    /// How many upstreams gave it, at most [`Address::SOURCES_MAX`]: those without a bit of their own in
    /// `upstreams` count as one. It keeps its meaning over a restart.
    pub sources: u8,
    /// The verdict on its server's certificate.
    pub trust: Trust,
}

impl Address {
    /// Set in `upstreams` if the address is confirmed: another upstream gave it too, or the first
    /// answer had it. Unlike the other bits it keeps its meaning over a restart, when upstreams may
    /// get other numbers.
    pub const TRUSTED: u32 = 1 << 23;

    /// The greatest number of `sources`.
    pub const SOURCES_MAX: u8 = 31;

    /// An address that one upstream gave or none, neither measured nor judged.
    #[must_use]
    pub const fn new(address: IpAddr, chain: u8, upstreams: u32) -> Self {
        let sources = (upstreams & (Self::TRUSTED - 1)).count_ones() as u8;
        Self { address, rtt: Rtt::Unmeasured, chain, upstreams, sources, trust: Trust::Unknown }
    }

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

    /// Whether several upstreams or the first answer gave it, or its certificate is for the name.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.is_trusted() || self.trust == Trust::Verified
    }
}
