//! The answer cache: what is not plain addresses, written by one thread and read by any number of them without a lock.
//!
//! Each answer is one upstream's own octets, found by its question alone. Bounded in entries and octets; who has not been asked for
//! since it was last looked at goes first. Unsafe code is in `index` and `latest` alone.

#![deny(unsafe_code)]

mod cache;
mod index;
mod latest;
mod stored;

pub use cache::{Answers, Number, Reader};
pub use latest::Latest;
pub use stored::Stored;

use hither_wire::codes::Rtype;

/// What an answer is found by.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// QNAME in lower-case wire form (RFC 4343).
    pub name: &'a [u8],
    /// QTYPE.
    pub rtype: Rtype,
    /// DO and CD: they change what an upstream says (RFC 4035 section 3.2).
    pub dnssec: (bool, bool),
}
