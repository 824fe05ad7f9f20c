//! The saved cache: the address sets of the table as octets of a file, which survive a reboot.
//!
//! Reading gives sets or a typed error, with one set in memory at a time; nothing in the file is
//! trusted. Times are saved as the time left when the file was written, so that no restored set
//! lasts longer than it would have.
//!
//! The format, with numbers in little-endian order and sizes in octets:
//!
//! * The header: magic (8), version (4), byte order (4), wall clock in milliseconds (8), last
//!   version of the table (8), marks of the usual upstreams (8 times 8, zeros after the last one),
//!   CRC-32 of these 96 octets (4).
//! * Each set: its length (2), then its octets as described in `set.rs`.
//! * The end: a length of 0 (2), the number of sets (8), CRC-32 of everything before it (4).
//!   Nothing follows.
//!
//! A second file contains a version that no table has reached (`mark.rs`).
//!
//! Not here: the files and their permissions (the daemon), and the decision which sets are restored
//! (`hither-rounds`).

#![forbid(unsafe_code)]

mod age;
mod mark;
pub mod octets;
mod read;
mod set;
mod write;

pub use age::{AGE_MARGIN, AGE_MAX, Age, Clocks, Unusable};
pub use mark::{MARK_LEN, decode_mark, encode_mark};
pub use octets::{CHAINS_MAX, CNAMES_MAX, Fault, Link};
pub use read::{ReadError, Reader};
pub use set::Set;
pub use write::Writer;

/// The first octets of the file.
pub const MAGIC: [u8; 8] = *b"HITHSAVE";
/// The version of the format; a reader accepts no other.
pub const VERSION: u32 = 3;
/// Marks of upstreams in a header; further upstreams have none.
pub const USUAL_MAX: usize = 8;
/// The octets after the version. A file that was written in big-endian order has them reversed.
pub const ENDIAN: u32 = 0x0102_0304;
/// Octets of the largest file that is written or read.
pub const OCTETS_MAX: u64 = 1 << 30;

/// The header of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The time by the wall clock at which the file was written, in milliseconds since 1970.
    pub saved_ms: u64,
    /// The last version that the table had published.
    pub version: u64,
    /// Marks of the upstreams for names without a route of their own, by which a later start
    /// recognises them; 0 stands for none.
    pub usual: [u64; USUAL_MAX],
}
