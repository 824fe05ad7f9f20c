//! What the cache keeps over a reboot, as octets: the sets of addresses that were in the table.
//!
//! Octets in, sets or a typed error out, one set in memory at a time; nothing that is read is trusted. Times are what was left when the file
//! was written, so that nothing that is read back can last longer than it would have.
//!
//! All numbers are little-endian. A header: magic (8 octets), version (4), byte order (4), wall clock in milliseconds (8), the last
//! version in the table (8), marks of the usual upstreams (8 times 8, zeros behind the last), CRC-32 of these 96 octets (4). Then each set, its length (2) before it, as `set.rs` has it. Then a length of 0 (2),
//! the number of sets (8), CRC-32 of everything before it (4), and nothing else.
//!
//! Beside it, in a file of its own, a version that no table has come to (`mark.rs`).
//!
//! Not here: files and who may write them (the daemon), what is made of a set (`hither-rounds`).

#![forbid(unsafe_code)]

mod age;
mod mark;
mod read;
mod set;
mod write;

pub use age::{AGE_MAX, Age, Clocks, MARGIN, Unusable};
pub use mark::{MARK_LEN, mark, marked};
pub use read::{ReadError, Reader};
pub use set::{CHAINS_MAX, Fault, LINKS_MAX, Link, Set};
pub use write::Writer;

/// First octets of the file.
pub const MAGIC: [u8; 8] = *b"HITHSAVE";
/// Version of the format; a reader knows no other.
pub const VERSION: u32 = 2;
/// Marks of upstreams in a header.
pub const USUAL_MAX: usize = 8;
/// Reads differently on a machine of the other byte order.
pub const ENDIAN: u32 = 0x0102_0304;
/// Octets of the largest file that is written, or looked at.
pub const OCTETS_MAX: u64 = 1 << 30;

/// What the file says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The wall clock when it was written, in milliseconds since 1970.
    pub saved_ms: u64,
    /// The last version that had been published.
    pub version: u64,
    /// Marks of the upstreams that names without a route of their own were asked of; 0 stands for none.
    pub usual: [u64; USUAL_MAX],
}
