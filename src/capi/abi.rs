//! The functions of `include/hither.h`, which describes them for their callers.
#![allow(unsafe_code)]

use crate::types::{
    Address, BAD_ARGUMENT, BAD_NAME, BUSY, EMPTY, ENDED, Entry, FRESH, GAP, Hither, MISSING, NO_ADDRESS,
    NO_CHANGE, NO_TABLE, NOT_A_TABLE, NOT_CONNECTED, NOT_SUBSCRIBED, NOT_TRUSTED, OTHER_CLOCK, OTHER_NETWORK,
    PARTIAL, RANGE, REFUSED, RTT_UNMEASURED, RTT_UNREACHABLE, STALE, Set, code,
};
use core::ffi::{CStr, c_char, c_int};
use core::net::IpAddr;
use core::ptr::null_mut;
use core::time::Duration;
use hither_native::{Arena, Errno, Found, Full, Handle, NotConnected, Stream, host_name};
use hither_table::layout::RECORD_MAX;
use hither_table::{Family, FamilyView, Freshness, Negative, NoEntry, Rtt, State, Use, Wanted};
use hither_wire::name::Name;

/// The handle in the caller's structure; `None` if that is null.
///
/// # Safety
/// `handle` is null, or was filled by `hither_open` or with zeros.
pub(crate) unsafe fn handle_of<'h>(handle: *mut Hither) -> Option<&'h Handle> {
    // SAFETY: as the caller promises; the structure is large enough and aligned (checked in
    // `types.rs`), and all zeros are a handle too.
    unsafe { handle.cast::<Handle>().as_ref() }
}

/// The families that a caller names; `None` if there are no such ones.
pub(crate) fn wanted_of(families: c_int) -> Option<Wanted> {
    match families {
        1 => Some(Wanted::One(Family::A)),
        2 => Some(Wanted::One(Family::Aaaa)),
        3 => Some(Wanted::Both),
        _ => None,
    }
}

/// The version of this interface, `HITHER_ABI` of the header. A program that was built for another
/// version does not work.
#[unsafe(no_mangle)]
pub extern "C" fn hither_abi() -> u32 {
    1
}

/// Initialises `handle` for the runtime directory `dir` and opens the table there. A null `dir` stands
/// for the directory in the environment, or else the default one. The result says whether the table
/// could be opened; each lookup tries again.
///
/// # Safety
/// `handle` may be written and is not used by another thread; `dir` is null or a C string.
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
    // SAFETY: large enough and aligned (checked in `types.rs`), and the caller allows writing.
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

/// Unmaps the table and its replaced predecessors.
///
/// # Safety
/// `handle` is null, or was filled by `hither_open` or with zeros, and no other thread uses it now
/// or later.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hither_close(handle: *mut Hither) {
    // SAFETY: as the caller promises.
    unsafe {
        if let Some(handle) = handle_of(handle) {
            handle.close();
        }
    }
}

/// Looks up `name` in any letter case and stores its entry in `out` and `buffer`. `families` is 1 for
/// A, 2 for AAAA, 3 for both. `needed` gets the sufficient size of the buffer, in octets.
///
/// # Safety
/// `handle` is as for `hither_close`; `name` is null or a C string; `out` is null or may be
/// written, and so is `needed`; `buffer` is null or has `size` octets that may be written.
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
    let Some(wanted) = wanted_of(families) else { return BAD_ARGUMENT };
    // SAFETY: as the caller promises.
    let handle = unsafe { handle_of(handle) };
    let Some(handle) = handle.filter(|_| !name.is_null() && !out.is_null()) else { return BAD_ARGUMENT };
    // SAFETY: a C string.
    let text = unsafe { CStr::from_ptr(name) }.to_bytes();
    let Ok(name) = Name::from_text(text) else { return BAD_NAME };
    let name = name.to_lower();
    let mut fill = |found: &Found<'_>| {
        let Found { entry, freshness, .. } = found;
        let need = size_of_parts(entry);
        // SAFETY: the caller allows writing `out`, `buffer`, and `needed` if it is not null.
        unsafe {
            if !needed.is_null() {
                *needed = need + size_of_judgements(entry);
            }
            if need > size || buffer.is_null() {
                return RANGE;
            }
            let mut arena = Arena::new(buffer, size);
            let a = set_of(found, Family::A, &mut arena);
            let aaaa = set_of(found, Family::Aaaa, &mut arena);
            let (Ok(mut a), Ok(mut aaaa)) = (a, aaaa) else { return RANGE };
            let wanted = match (a.known, aaaa.known) {
                (1, 1) => Wanted::Both,
                (1, _) => Wanted::One(Family::A),
                _ => Wanted::One(Family::Aaaa),
            };
            judge(found, Family::A, wanted, &mut a, &mut arena);
            judge(found, Family::Aaaa, wanted, &mut aaaa, &mut arena);
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

/// Stores a found entry for the caller, and returns the result of the lookup.
type Fill<'f> = dyn FnMut(&Found<'_>) -> c_int + 'f;

/// [`look`] with room for the largest record. Not inlined: a program may have a small stack, and few
/// records need so much of it.
#[inline(never)]
fn look_large(handle: &Handle, name: &Name, wanted: Wanted, fill: &mut Fill<'_>) -> c_int {
    look(handle, name, wanted, &mut [0; RECORD_MAX], fill).unwrap_or(BUSY)
}

/// Looks up a name and copies its record into `room`. `None`: `room` is too small.
fn look(
    handle: &Handle,
    name: &Name,
    wanted: Wanted,
    room: &mut [u64],
    fill: &mut Fill<'_>,
) -> Option<c_int> {
    Some(match handle.look(name, wanted, room) {
        Ok(Ok(found)) => fill(&found),
        Ok(Err(NoEntry::Missing | NoEntry::Replaced)) => MISSING,
        Ok(Err(NoEntry::Busy)) => BUSY,
        Ok(Err(NoEntry::TooLarge)) => return None,
        Err(why) => code(why),
    })
}

/// The size in octets of a buffer that is enough for an entry, whatever the alignment of the buffer.
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

/// The size in octets of what [`judge`] stores.
fn size_of_judgements(entry: &hither_table::Entry<'_>) -> usize {
    let of =
        |family| entry.family(family).filter(|set| !set.is_empty()).map_or(0, |set| judgements_of(set.len()));
    of(Family::A) + of(Family::Aaaa)
}

/// The octets that [`judge`] stores for a set of so many addresses: two, one for each address, and two for
/// its place in the order over both families.
const fn judgements_of(addresses: usize) -> usize {
    2 + 3 * addresses
}

/// Stores how far upstreams agree, the verdict on each address, and the order over both families. A buffer
/// that is only large enough for the rest, as programs of earlier versions may have it, goes without.
fn judge(found: &Found<'_>, family: Family, wanted: Wanted, into: &mut Set, arena: &mut Arena<'_>) {
    let entry = &found.entry;
    let set = entry.family(family).filter(|set| !set.is_empty() && into.known == 1);
    let Some(set) = set else { return };
    let agreement = set.agreement();
    let judgements = set.addresses().map(|own| own.trust as u8 | own.sources << 3);
    let octets = [agreement.answered, agreement.disputes].into_iter().chain(judgements);
    let Ok(place) = arena.take::<u8>(judgements_of(set.len())) else { return };
    for (n, octet) in octets.enumerate().take(set.len() + 2) {
        // SAFETY: memory for that many octets, and for two more of each address, was just given out.
        unsafe { place.add(n).write(octet) };
    }
    let both = entry.places(wanted, found.families.order).enumerate();
    for (at, (n, _)) in both.filter(|(_, (n, own))| Family::of(&own.address) == family && *n < set.len()) {
        let [low, high] = (at as u16).to_le_bytes();
        // SAFETY: as above; `n` is the place of an address of the set.
        unsafe {
            place.add(set.len() + 2 + 2 * n).write(low);
            place.add(set.len() + 3 + 2 * n).write(high);
        }
    }
    // The arena gives out memory in ascending order.
    let offset = (place as usize).wrapping_sub(into.addresses as usize);
    into.judgements = u32::try_from(offset).unwrap_or(0);
}

/// The structure for one family of an entry; its addresses and text are stored in `arena`.
fn set_of(found: &Found<'_>, family: Family, arena: &mut Arena<'_>) -> Result<Set, Full> {
    let Found { entry, stale, now, .. } = *found;
    let set = entry.family(family).filter(|set| set.usable(stale, now) != Use::Never);
    let Some(set) = set else { return Ok(EMPTY) };
    let canonical = match host_name(set.canonical()) {
        Some(text) => arena.text(text)?,
        None => null_mut(),
    };
    let addresses = if set.is_empty() { null_mut() } else { arena.take::<Address>(set.len())? };
    for (n, address) in set.addresses().enumerate().take(set.len()) {
        // SAFETY: memory for that many addresses was just given out.
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
        judgements: 0,
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

/// The octet number `at` of a set's judgements; 0 if it has none.
///
/// # Safety
/// `set` is null, or was filled by `hither_lookup` with a buffer that is still there.
unsafe fn judgement(set: *const Set, at: usize) -> u8 {
    // SAFETY: as the caller promises. The offset leads to that many octets in the buffer.
    unsafe {
        let Some(set) = set.as_ref() else { return 0 };
        if set.judgements == 0 || at >= judgements_of(set.count as usize) {
            return 0;
        }
        *set.addresses.cast::<u8>().add(set.judgements as usize + at)
    }
}

/// The verdict on the certificate that the server at address number `index` shows for the name.
///
/// # Safety
/// `set` is null, or was filled by `hither_lookup` with a buffer that is still there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hither_trust(set: *const Set, index: u32) -> c_int {
    // SAFETY: as the caller promises.
    c_int::from(unsafe { judgement(set, (index as usize).saturating_add(2)) } & 7)
}

/// How many upstreams gave address number `index`.
///
/// # Safety
/// `set` is null, or was filled by `hither_lookup` with a buffer that is still there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hither_sources(set: *const Set, index: u32) -> c_int {
    // SAFETY: as the caller promises.
    c_int::from(unsafe { judgement(set, (index as usize).saturating_add(2)) } >> 3)
}

/// How many upstreams had answered when the set was published.
///
/// # Safety
/// `set` is null, or was filled by `hither_lookup` with a buffer that is still there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hither_answered(set: *const Set) -> c_int {
    // SAFETY: as the caller promises.
    c_int::from(unsafe { judgement(set, 0) })
}

/// Why upstreams disagree about the set, as bits.
///
/// # Safety
/// `set` is null, or was filled by `hither_lookup` with a buffer that is still there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hither_disputes(set: *const Set) -> c_int {
    // SAFETY: as the caller promises.
    c_int::from(unsafe { judgement(set, 1) })
}

/// Stores pointers to at most `count` addresses of an entry, in the order over both families. Returns the
/// number of all its addresses.
///
/// # Safety
/// `entry` is null, or was filled by `hither_lookup` with a buffer that is still there; `order` is null or
/// has `count` places that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hither_order(
    entry: *const Entry,
    order: *mut *const Address,
    count: usize,
) -> usize {
    // SAFETY: as the caller promises.
    unsafe {
        let Some(entry) = entry.as_ref() else { return 0 };
        let sets = [&entry.a, &entry.aaaa];
        let are_judged = sets.iter().all(|set| set.count == 0 || set.judgements != 0);
        let mut before = 0;
        for set in sets {
            let own = set.count as usize;
            for n in 0..own {
                let octet = |at: usize| judgement(set, own + 2 + 2 * n + at);
                let judged = usize::from(u16::from_le_bytes([octet(0), octet(1)]));
                let place = if are_judged { judged } else { before + n };
                if place < count && !order.is_null() {
                    order.add(place).write(set.addresses.add(n));
                }
            }
            before += own;
        }
        before
    }
}

/// Waits until the table has seen more than `*changes` changes, at most `timeout_ms` milliseconds, and
/// sets `*changes` to their number. May return earlier, with the number unchanged.
///
/// # Safety
/// `handle` is as for `hither_close`; `changes` is null or may be read and written.
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

/// Connects over TCP to the best address of `name` that answers, within `timeout_ms` milliseconds, and
/// stores the descriptor in `*descriptor`; -1 if there is no connection. Sets errno if the result is
/// `HITHER_NOT_CONNECTED`.
///
/// # Safety
/// `handle` is as for `hither_close`; `name` is null or a C string; `descriptor` is null or may be
/// written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hither_connect(
    handle: *mut Hither,
    name: *const c_char,
    port: u16,
    timeout_ms: u32,
    descriptor: *mut c_int,
) -> c_int {
    let mut errno = Errno::save();
    // SAFETY: as the caller promises.
    let (handle, descriptor) = unsafe { (handle_of(handle), descriptor.as_mut()) };
    let (Some(handle), Some(descriptor)) = (handle, descriptor) else { return BAD_ARGUMENT };
    *descriptor = -1;
    if name.is_null() || port == 0 {
        return BAD_ARGUMENT;
    }
    // SAFETY: a C string.
    let Ok(name) = Name::from_text(unsafe { CStr::from_ptr(name) }.to_bytes()) else { return BAD_NAME };
    let timeout = Duration::from_millis(u64::from(timeout_ms));
    match handle.connect(&name.to_lower(), port, timeout) {
        Ok(Stream(number)) => {
            *descriptor = number;
            FRESH
        }
        Err(NotConnected::Unusable(why)) => code(why),
        Err(NotConnected::Unanswered) => MISSING,
        Err(NotConnected::NoAddress) => NO_ADDRESS,
        Err(NotConnected::Failed(why)) => {
            errno.set(why);
            NOT_CONNECTED
        }
    }
}

/// The meaning of a result in a few words.
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
        NO_ADDRESS => c"the name does not exist, or has no addresses",
        NOT_CONNECTED => c"no address could be connected to",
        NOT_SUBSCRIBED => c"the daemon does not answer at its socket of changes",
        REFUSED => c"the daemon does not take so many names or subscribers",
        NO_CHANGE => c"nothing has changed",
        GAP => c"changes were merged, since they were read too slowly",
        ENDED => c"the daemon has ended the subscription",
        OTHER_NETWORK => c"this thread is in another network namespace, where other answers hold",
        _ => c"unknown result",
    };
    text.as_ptr()
}

/// The panic handler's function. It calls a function that does not exist: if it can be reached, the
/// library does not link.
#[cfg(panic = "abort")]
pub fn a_panic_can_be_reached() -> ! {
    unsafe extern "C" {
        fn hither_has_a_panic_that_can_be_reached() -> !;
    }
    // SAFETY: never linked, hence never called.
    unsafe { hither_has_a_panic_that_can_be_reached() }
}
