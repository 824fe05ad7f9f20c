//! The results and structures of `include/hither.h`.
//!
//! A test compares their sizes, offsets and values with those that the C compiler finds in the
//! header; `tests/abi.rs` compares them with a committed list.
#![allow(unsafe_code)]

use core::ffi::{c_char, c_int};
use core::ptr::null;
use hither_native::{Handle, Plain, Unusable};

pub(crate) const FRESH: c_int = 0;
pub(crate) const STALE: c_int = 1;
pub(crate) const PARTIAL: c_int = 2;
pub(crate) const MISSING: c_int = 3;
pub(crate) const BUSY: c_int = 4;
pub(crate) const NO_TABLE: c_int = 5;
pub(crate) const NOT_TRUSTED: c_int = 6;
pub(crate) const NOT_A_TABLE: c_int = 7;
pub(crate) const OTHER_CLOCK: c_int = 8;
pub(crate) const BAD_NAME: c_int = 9;
pub(crate) const RANGE: c_int = 10;
pub(crate) const BAD_ARGUMENT: c_int = 11;
pub(crate) const OTHER_NETWORK: c_int = 12;
pub(crate) const NO_ADDRESS: c_int = 13;
pub(crate) const NOT_CONNECTED: c_int = 14;
pub(crate) const NOT_SUBSCRIBED: c_int = 15;
pub(crate) const REFUSED: c_int = 16;
pub(crate) const NO_CHANGE: c_int = 17;
pub(crate) const GAP: c_int = 18;
pub(crate) const ENDED: c_int = 19;
/// `rtt_us` of an address that has not been measured.
pub(crate) const RTT_UNMEASURED: u32 = 0xffff_fffe;
/// `rtt_us` of an address that did not answer.
pub(crate) const RTT_UNREACHABLE: u32 = 0xffff_ffff;

/// `hither` in C: the table of a runtime directory, as a [`Handle`].
#[repr(C)]
pub struct Hither {
    opaque: [u64; 256],
}

const _: () =
    assert!(size_of::<Handle>() <= size_of::<Hither>() && align_of::<Handle>() <= align_of::<Hither>());

/// `hither_address` in C: one address of a set.
#[repr(C)]
pub struct Address {
    /// AF_INET or AF_INET6, which are 2 and 10 on Linux.
    pub family: u32,
    /// The round-trip time in microseconds, `HITHER_RTT_UNMEASURED` or `HITHER_RTT_UNREACHABLE`.
    pub rtt_us: u32,
    /// A bit for each of the first 22 upstreams that gave the address, and bit 22 for all others.
    pub upstreams: u32,
    /// The address in network order: 4 octets and 12 zeros, or 16 octets.
    pub octets: [u8; 16],
}

// SAFETY: numbers, for which zero is a value.
unsafe impl Plain for Address {}

/// `hither_set` in C: one family of a name.
#[repr(C)]
pub struct Set {
    /// The version under which this family was published.
    pub version: u64,
    /// The version at which the addresses last changed.
    pub set_version: u64,
    /// The round that gathered the addresses.
    pub round: u64,
    /// The time at which the set expires, in milliseconds of CLOCK_BOOTTIME.
    pub expire_ms: u64,
    /// The addresses in the caller's buffer, best first; null if there are none.
    pub addresses: *const Address,
    /// The canonical name without a final dot; null if it is not a host name.
    pub canonical: *const c_char,
    /// The TTL that is left, in seconds.
    pub ttl_s: u32,
    /// The number of addresses.
    pub count: u32,
    /// 1 if the table has this family, else 0.
    pub known: u8,
    /// State of the round: 0 an upstream has answered, 1 ended at its deadline, 2 complete.
    pub state: u8,
    /// The kind of denial: 0 none, 1 NODATA, 2 NXDOMAIN.
    pub negative: u8,
    /// 1 if the addresses are in the order of measured latency, else 0.
    pub sorted: u8,
    /// The octets from `addresses` to what `hither_trust` and its like read, or 0. Zero in programs of
    /// earlier versions, which do not read it.
    pub judgements: u32,
}

/// `hither_entry` in C: both families of a name, all of one publish.
#[repr(C)]
pub struct Entry {
    /// The higher version of the two families.
    pub version: u64,
    /// The set of IPv4 addresses.
    pub a: Set,
    /// The set of IPv6 addresses.
    pub aaaa: Set,
}

/// Octets of a name as text: one of 255 octets, of which 250 are written as four each, is the longest.
pub(crate) const NAME_TEXT: usize = 1008;

/// `hither_change` in C: a change of one family of a name.
#[repr(C)]
pub struct Change {
    /// The version of the set, or of its denial; 0 if the table does not have it.
    pub version: u64,
    /// The version at which the addresses last changed; 0 if there are none.
    pub set_version: u64,
    /// The family, `HITHER_A` or `HITHER_AAAA`.
    pub family: u32,
    /// The kind of the change, such as `HITHER_NEW_SET`.
    pub cause: u32,
    /// 1 if versions were passed over that have no record of their own, else 0.
    pub coalesced: u32,
    /// Zeros, for later versions.
    pub reserved: [u32; 3],
    /// The name in lower case without a final dot, ended by a NUL.
    pub name: [c_char; NAME_TEXT],
}

/// A family that the table does not have.
pub(crate) const EMPTY: Set = Set {
    version: 0,
    set_version: 0,
    round: 0,
    expire_ms: 0,
    addresses: null(),
    canonical: null(),
    ttl_s: 0,
    count: 0,
    known: 0,
    state: 0,
    negative: 0,
    sorted: 0,
    judgements: 0,
};

/// The result for a table that cannot be read.
pub(crate) fn code(why: Unusable) -> c_int {
    match why {
        Unusable::NoTable => NO_TABLE,
        Unusable::NotTrusted => NOT_TRUSTED,
        Unusable::NotATable => NOT_A_TABLE,
        Unusable::OtherClock => OTHER_CLOCK,
        Unusable::OtherNetwork => OTHER_NETWORK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::hither_abi;
    use hither_table::Agreement;
    use std::fmt::Write as _;
    use std::mem::offset_of;
    use std::process::Command;

    /// The C compiler checks static assertions about `include/hither.h`.
    #[test]
    fn the_c_header_has_the_same_sizes_offsets_and_values() {
        let mut program = "#include <hither.h>\n".to_owned();
        let mut same = |what: &str, ours: usize| {
            let _ = writeln!(program, "_Static_assert({what} == {ours}, \"{what}\");");
        };
        macro_rules! fields {
            ($rust:ty, $c:literal, $($field:ident),*) => {
                same(concat!("sizeof(", $c, ")"), size_of::<$rust>());
                $(same(concat!("offsetof(", $c, ", ", stringify!($field), ")"), offset_of!($rust, $field));)*
            };
        }
        fields!(Hither, "hither", opaque);
        fields!(Address, "hither_address", family, rtt_us, upstreams, octets);
        fields!(
            Set,
            "hither_set",
            version,
            set_version,
            round,
            expire_ms,
            addresses,
            canonical,
            ttl_s,
            count
        );
        fields!(Set, "hither_set", known, state, negative, sorted, judgements);
        fields!(Entry, "hither_entry", version, a, aaaa);
        fields!(Change, "hither_change", version, set_version, family, cause, coalesced, reserved, name);
        let results = [FRESH, STALE, PARTIAL, MISSING, BUSY, NO_TABLE, NOT_TRUSTED, NOT_A_TABLE, OTHER_CLOCK];
        let names = "FRESH STALE PARTIAL MISSING BUSY NO_TABLE NOT_TRUSTED NOT_A_TABLE OTHER_CLOCK BAD_NAME RANGE BAD_ARGUMENT OTHER_NETWORK NO_ADDRESS NOT_CONNECTED NOT_SUBSCRIBED REFUSED NO_CHANGE GAP ENDED";
        let results = results.into_iter().chain([BAD_NAME, RANGE, BAD_ARGUMENT, OTHER_NETWORK]);
        let results =
            results.chain([NO_ADDRESS, NOT_CONNECTED, NOT_SUBSCRIBED, REFUSED, NO_CHANGE, GAP, ENDED]);
        for (name, result) in names.split(' ').zip(results) {
            same(&format!("HITHER_{name}"), result as usize);
        }
        same("HITHER_RTT_UNMEASURED", RTT_UNMEASURED as usize);
        same("HITHER_RTT_UNREACHABLE", RTT_UNREACHABLE as usize);
        for trust in hither_table::Trust::ALL {
            same(&format!("HITHER_TRUST_{}", trust.as_str().to_uppercase()), trust as usize);
        }
        for (bit, word) in (0..3).zip(Agreement { disputes: 7, ..Agreement::default() }.reasons()) {
            same(&format!("HITHER_DISPUTED_{}", word.to_uppercase()), 1 << bit);
        }
        same("HITHER_ABI", hither_abi() as usize);
        let file = std::env::temp_dir().join(format!("hither-header-{}.c", std::process::id()));
        std::fs::write(&file, program).expect("writable");
        let include = concat!(env!("CARGO_MANIFEST_DIR"), "/../../include");
        let compiled = Command::new("gcc").args(["-fsyntax-only", "-I", include]).arg(&file).output();
        let compiled = compiled.expect("gcc is installed");
        let _ = std::fs::remove_file(&file);
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    }
}
