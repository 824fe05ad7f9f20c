//! The reasons for which an entry of the site is refused.

use core::fmt;
use hither_saved::Fault;

/// Why an entry is refused. The first reason that applies counts, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It has more than [`crate::VALUE_MAX`] octets, or its key more than [`crate::KEY_MAX`].
    Size,
    /// Its key belongs to another prefix, or its name or family to another key.
    Prefix,
    /// The signature is missing or wrong, or there is one although this host has no key.
    Signature,
    /// Its octets are not an entry.
    Malformed(Fault),
    /// By the clock of this host, its host is wrong by more than the entry's TTL.
    Clock,
    /// It is older than one that was seen before.
    Replayed,
    /// It has expired.
    Expired,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Size => "it is too large",
            Self::Prefix => "it belongs to another prefix or key",
            Self::Signature => "its signature is missing or wrong, or this host has no key",
            Self::Malformed(fault) => return write!(f, "it cannot be read: {fault}"),
            Self::Clock => "the clock of its host is wrong by more than its TTL",
            Self::Replayed => "it is older than one that was seen before",
            Self::Expired => "it has expired",
        })
    }
}

impl std::error::Error for Refusal {}
