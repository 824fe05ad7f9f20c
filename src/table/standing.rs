//! The parts of an address set, in the order in which they stand in it: one rule for the daemon, which
//! publishes sets, and for the sorter, which ranks the addresses of each part.

use crate::types::{Address, Agreement, Trust};

/// A part of a set. Each part stands behind those before it, whatever its addresses' latency is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Part {
    /// Upstreams disagree about the set, and the server's certificate is for the name.
    Verified,
    /// The first answer had the address, a second upstream gave it too, or the server's certificate is
    /// for the name.
    Confirmed,
    /// One later upstream alone gave the address.
    Unconfirmed,
    /// The server's certificate is for other names or nobody vouches for it, while that of another address
    /// is for the name.
    WrongCertificate,
}

/// What decides to which part of a set an address belongs, besides the address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parts {
    has_verified: bool,
    is_disputed: bool,
}

impl Parts {
    /// The parts of the set with these addresses, in any order. Where no address is verified, certificates
    /// decide nothing: if all fare alike, the fault is not the address's.
    pub fn of<'a>(addresses: impl IntoIterator<Item = &'a Address>, agreement: &Agreement) -> Parts {
        let has_verified = addresses.into_iter().any(|address| address.trust == Trust::Verified);
        Parts { has_verified, is_disputed: agreement.is_disputed() }
    }

    /// The part to which an address of the set belongs.
    #[must_use]
    pub fn part(self, address: &Address) -> Part {
        if self.has_verified && address.trust.is_bad() {
            Part::WrongCertificate
        } else if self.is_disputed && address.trust == Trust::Verified {
            Part::Verified
        } else if address.is_confirmed() {
            Part::Confirmed
        } else {
            Part::Unconfirmed
        }
    }
}
