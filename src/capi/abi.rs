//! The functions and structures of `include/hither.h`. A test compares sizes and offsets with what the C compiler makes of it.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_char, c_int};
use core::net::IpAddr;
use core::ptr::{null, null_mut};
use hither_native::{Arena, Errno, Found, Full, Handle, Plain, Unusable, host_name};
use hither_table::layout::RECORD_MAX;
use hither_table::{Family, FamilyView, Freshness, Monotonic, Negative, NoEntry, Rtt, State, Wanted};
use hither_wire::name::Name;

const FRESH: c_int = 0;
const STALE: c_int = 1;
const PARTIAL: c_int = 2;
const MISSING: c_int = 3;
const BUSY: c_int = 4;
const NO_TABLE: c_int = 5;
const NOT_TRUSTED: c_int = 6;
const NOT_A_TABLE: c_int = 7;
const OTHER_CLOCK: c_int = 8;
const BAD_NAME: c_int = 9;
const RANGE: c_int = 10;
const BAD_ARGUMENT: c_int = 11;
const OTHER_NETWORK: c_int = 12;
/// `rtt_us` of an address that nobody has measured.
const RTT_UNMEASURED: u32 = 0xffff_fffe;
/// `rtt_us` of an address that does not answer.
const RTT_UNREACHABLE: u32 = 0xffff_ffff;

/// `hither`: a table of a runtime directory.
#[repr(C)]
pub struct Hither {
    opaque: [u64; 256],
}

const _: () =
    assert!(size_of::<Handle>() <= size_of::<Hither>() && align_of::<Handle>() <= align_of::<Hither>());

/// `hither_address`.
#[repr(C)]
pub struct Address {
    /// AF_INET or AF_INET6.
    pub family: u32,
    /// Microseconds, or one of the two constants.
    pub rtt_us: u32,
    /// A bit for each upstream that gave it.
    pub upstreams: u32,
    /// 4 or 16 octets.
    pub octets: [u8; 16],
}

// SAFETY: numbers.
unsafe impl Plain for Address {}

/// `hither_set`: one family of a name.
#[repr(C)]
pub struct Set {
    /// Version of this family's publish.
    pub version: u64,
    /// Version at which the addresses last changed.
    pub set_version: u64,
    /// The round that gathered it.
    pub round: u64,
    /// When it expires, in milliseconds of CLOCK_BOOTTIME.
    pub expire_ms: u64,
    /// Best first; null without any.
    pub addresses: *const Address,
    /// The name that owns the first address, without final dot; null if it is not a host's.
    pub canonical: *const c_char,
    /// Seconds left.
    pub ttl_s: u32,
    /// How many addresses there are.
    pub count: u32,
    /// Whether the table knows this family at all.
    pub known: u8,
    /// 0 first, 1 partial, 2 complete.
    pub state: u8,
    /// 0 no denial, 1 no such data, 2 no such name.
    pub negative: u8,
    /// Whether the order is that of measured latency.
    pub sorted: u8,
    /// Zero.
    pub reserved: u32,
}

/// `hither_entry`: both families of a name, of one publish.
#[repr(C)]
pub struct Entry {
    /// The newer version of the two.
    pub version: u64,
    /// IPv4.
    pub a: Set,
    /// IPv6.
    pub aaaa: Set,
}

const EMPTY: Set = Set {
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
    reserved: 0,
};

fn code(why: Unusable) -> c_int {
    match why {
        Unusable::NoTable => NO_TABLE,
        Unusable::NotTrusted => NOT_TRUSTED,
        Unusable::NotATable => NOT_A_TABLE,
        Unusable::OtherClock => OTHER_CLOCK,
        Unusable::OtherNetwork => OTHER_NETWORK,
    }
}

/// # Safety
/// `handle` is null or one of `hither_open`.
unsafe fn handle_of<'h>(handle: *mut Hither) -> Option<&'h Handle> {
    // SAFETY: as the caller promises; the structure is large enough and aligned (checked above), and was filled by `hither_open`, or
    // is all zeros, which is a handle too.
    unsafe { handle.cast::<Handle>().as_ref() }
}

/// Number of this interface: programs built for another do not work.
#[unsafe(no_mangle)]
pub extern "C" fn hither_abi() -> u32 {
    1
}

/// Prepares `handle` and opens the table in `dir`, or where it is by default if that is null. What it returns tells whether it is
/// there now; a lookup tries again.
///
/// # Safety
/// `handle` may be written and is in no other use; `dir` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hither_open(handle: *mut Hither, dir: *const c_char) -> c_int {
    let _errno = Errno::save();
    if handle.is_null() {
        return BAD_ARGUMENT;
    }
    let mut fresh = Handle::new();
    if !dir.is_null() {
        // SAFETY: a C string, as the caller promises.
        let dir = unsafe { CStr::from_ptr(dir) }.to_bytes();
        if fresh.set_dir(dir).is_none() {
            return BAD_ARGUMENT;
        }
    }
    // SAFETY: large enough and aligned (checked above), and the caller's to write.
    let opened = unsafe {
        handle.cast::<Handle>().write(fresh);
        handle_of(handle).map(Handle::open)
    };
    match opened {
        Some(Ok(())) => FRESH,
        Some(Err(why)) => code(why),
        None => BAD_ARGUMENT,
    }
}

/// Lets the table go.
///
/// # Safety
/// `handle` is null or one of `hither_open`, and no other thread uses it now or later.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hither_close(handle: *mut Hither) {
    // SAFETY: as the caller promises.
    unsafe {
        if let Some(handle) = handle_of(handle) {
            handle.close();
        }
    }
}

/// Looks `name` up: `families` is 1 for A, 2 for AAAA, 3 for both.
///
/// # Safety
/// `handle` is one of `hither_open`; `name` is a C string; `out` may be written, `buffer` for `size` octets, `needed` if not null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hither_lookup(
    handle: *mut Hither,
    name: *const c_char,
    families: c_int,
    out: *mut Entry,
    buffer: *mut u8,
    size: usize,
    needed: *mut usize,
) -> c_int {
    let _errno = Errno::save();
    let wanted = match families {
        1 => Wanted::One(Family::A),
        2 => Wanted::One(Family::Aaaa),
        3 => Wanted::Both,
        _ => return BAD_ARGUMENT,
    };
    // SAFETY: as the caller promises.
    let handle = unsafe { handle_of(handle) };
    let Some(handle) = handle.filter(|_| !name.is_null() && !out.is_null()) else { return BAD_ARGUMENT };
    // SAFETY: a C string.
    let text = unsafe { CStr::from_ptr(name) }.to_bytes();
    let Ok(name) = Name::from_text(text) else { return BAD_NAME };
    let name = name.to_lower();
    let mut fill = |entry: &hither_table::Entry<'_>, freshness: Freshness, now: Monotonic| {
        let need = size_of_parts(entry);
        // SAFETY: `out` and `buffer` are the caller's to write, `needed` too if it is not null.
        unsafe {
            if !needed.is_null() {
                *needed = need;
            }
            if need > size || buffer.is_null() {
                return RANGE;
            }
            let mut arena = Arena::new(buffer, size);
            let a = set_of(entry, Family::A, now, &mut arena);
            let aaaa = set_of(entry, Family::Aaaa, now, &mut arena);
            let (Ok(a), Ok(aaaa)) = (a, aaaa) else { return RANGE };
            out.write(Entry { version: entry.version(), a, aaaa });
        }
        match freshness {
            Freshness::Fresh => FRESH,
            Freshness::Stale => STALE,
            Freshness::Partial => PARTIAL,
        }
    };
    match look(handle, &name, wanted, &mut [0; 128], &mut fill) {
        Some(code) => code,
        None => look_large(handle, &name, wanted, &mut fill),
    }
}

type Fill<'f> = dyn FnMut(&hither_table::Entry<'_>, Freshness, Monotonic) -> c_int + 'f;

#[inline(never)]
fn look_large(handle: &Handle, name: &Name, wanted: Wanted, fill: &mut Fill<'_>) -> c_int {
    look(handle, name, wanted, &mut [0; RECORD_MAX], fill).unwrap_or(BUSY)
}

/// `None`: the room is too small.
fn look(
    handle: &Handle,
    name: &Name,
    wanted: Wanted,
    room: &mut [u64],
    fill: &mut Fill<'_>,
) -> Option<c_int> {
    Some(match handle.look(name, wanted, room) {
        Ok(Ok(Found { entry, freshness, now })) => fill(&entry, freshness, now),
        Ok(Err(NoEntry::Missing | NoEntry::Replaced)) => MISSING,
        Ok(Err(NoEntry::Busy)) => BUSY,
        Ok(Err(NoEntry::TooLarge)) => return None,
        Err(why) => code(why),
    })
}

/// Octets of the buffer that an entry takes at most, whatever the buffer's alignment.
fn size_of_parts(entry: &hither_table::Entry<'_>) -> usize {
    let mut size = 0;
    for family in [Family::A, Family::Aaaa] {
        if let Some(set) = entry.family(family) {
            size += set.len() * size_of::<Address>() + align_of::<Address>();
            size += host_name(set.canonical()).map_or(0, Iterator::count) + 1;
        }
    }
    size
}

fn set_of(
    entry: &hither_table::Entry<'_>,
    family: Family,
    now: Monotonic,
    arena: &mut Arena<'_>,
) -> Result<Set, Full> {
    let Some(set) = entry.family(family) else { return Ok(EMPTY) };
    let canonical = match host_name(set.canonical()) {
        Some(text) => arena.text(text)?,
        None => null_mut(),
    };
    let addresses = if set.is_empty() { null_mut() } else { arena.take::<Address>(set.len())? };
    for (n, address) in set.addresses().enumerate().take(set.len()) {
        // SAFETY: so many places were just given out.
        unsafe { addresses.add(n).write(address_of(&address)) };
    }
    Ok(Set {
        version: set.version(),
        set_version: set.set_version(),
        round: set.round(),
        expire_ms: set.expire_ms(),
        addresses,
        canonical,
        ttl_s: set.ttl(now),
        count: set.len() as u32,
        known: 1,
        state: state(&set),
        negative: match set.negative() {
            None => 0,
            Some(Negative::NoData | Negative::Withheld) => 1,
            Some(Negative::NxDomain) => 2,
        },
        sorted: u8::from(set.sorted()),
        reserved: 0,
    })
}

fn state(set: &FamilyView<'_>) -> u8 {
    match set.state() {
        State::First => 0,
        State::Partial => 1,
        State::Complete => 2,
    }
}

fn address_of(address: &hither_table::Address) -> Address {
    let (family, octets) = match address.address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            (2, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        }
        IpAddr::V6(v6) => (10, v6.octets()),
    };
    let rtt_us = match address.rtt {
        Rtt::Unmeasured => RTT_UNMEASURED,
        Rtt::Unreachable => RTT_UNREACHABLE,
        Rtt::Micros(micros) => micros,
    };
    Address { family, rtt_us, upstreams: address.given_by(), octets }
}

/// Waits until the table has seen more than `*changes` changes, at most `timeout_ms`; sets `*changes` to how many it has seen.
/// With `timeout_ms` 0 it only tells.
///
/// # Safety
/// `handle` is one of `hither_open`; `changes` may be read and written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hither_wait(handle: *mut Hither, changes: *mut u64, timeout_ms: u32) -> c_int {
    let _errno = Errno::save();
    // SAFETY: as the caller promises.
    unsafe {
        let (Some(handle), Some(changes)) = (handle_of(handle), changes.as_mut()) else {
            return BAD_ARGUMENT;
        };
        match handle.wait(*changes, timeout_ms) {
            Ok(now) => {
                *changes = now;
                FRESH
            }
            Err(why) => code(why),
        }
    }
}

/// What a result means, in a few words.
#[unsafe(no_mangle)]
pub extern "C" fn hither_strerror(code: c_int) -> *const c_char {
    let text = match code {
        FRESH => c"found",
        STALE => c"found, but its time is over",
        PARTIAL => c"found, but not every family that was asked for",
        MISSING => c"not in the table",
        BUSY => c"changed too fast to be read",
        NO_TABLE => c"there is no table, or it may not be read",
        NOT_TRUSTED => c"somebody other than the daemon could have written the table",
        NOT_A_TABLE => c"not a table of this version",
        OTHER_CLOCK => c"this process lives in another time namespace",
        BAD_NAME => c"not a domain name",
        RANGE => c"the buffer is too small",
        BAD_ARGUMENT => c"an argument is not valid",
        OTHER_NETWORK => c"this thread is in another network namespace, where other answers hold",
        _ => c"unknown result",
    };
    text.as_ptr()
}

/// Where a panic would end. There is no such function: if it can be reached, the library does not link.
#[cfg(panic = "abort")]
pub fn a_panic_can_be_reached() -> ! {
    unsafe extern "C" {
        fn hither_has_a_panic_that_can_be_reached() -> !;
    }
    // SAFETY: never linked, hence never called.
    unsafe { hither_has_a_panic_that_can_be_reached() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;
    use std::mem::offset_of;
    use std::process::Command;

    /// `include/hither.h` says the same as this file: the C compiler is asked where it puts things.
    #[test]
    fn the_header_describes_these_structures() {
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
        fields!(Set, "hither_set", known, state, negative, sorted, reserved);
        fields!(Entry, "hither_entry", version, a, aaaa);
        let results = [FRESH, STALE, PARTIAL, MISSING, BUSY, NO_TABLE, NOT_TRUSTED, NOT_A_TABLE, OTHER_CLOCK];
        let names = "FRESH STALE PARTIAL MISSING BUSY NO_TABLE NOT_TRUSTED NOT_A_TABLE OTHER_CLOCK BAD_NAME RANGE BAD_ARGUMENT OTHER_NETWORK";
        let results = results.into_iter().chain([BAD_NAME, RANGE, BAD_ARGUMENT, OTHER_NETWORK]);
        for (name, result) in names.split(' ').zip(results) {
            same(&format!("HITHER_{name}"), result as usize);
        }
        same("HITHER_RTT_UNMEASURED", RTT_UNMEASURED as usize);
        same("HITHER_RTT_UNREACHABLE", RTT_UNREACHABLE as usize);
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
