//! The answer cache: answers of all types but plain addresses, written by one thread and read by
//! any number of threads without a lock.
//!
//! An answer is kept as the octets of one upstream, under its question. The cache is bounded in
//! entries and in octets; an answer that has not been read since eviction last looked at it is
//! evicted first. Unsafe code is in `index` only.

#![deny(unsafe_code)]

mod cache;
mod failures;
mod index;
mod stored;

pub use cache::{Answers, Number, Reader};
pub use stored::Stored;

use hither_wire::codes::Rtype;

/// A question, as the key of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// QNAME in lower-case wire form (RFC 4343).
    pub name: &'a [u8],
    /// The type in the question, QTYPE.
    pub rtype: Rtype,
    /// The DO bit. Like CD, it changes the answer of an upstream (RFC 4035 section 3.2).
    pub dnssec_ok: bool,
    /// The CD bit of the query.
    pub checking_disabled: bool,
}
