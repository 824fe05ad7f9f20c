//! The functions glibc calls, and the structures it gives and takes.
#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc)] // All alike: called by glibc with what its manual promises.

use crate::answer::{Verdict, resolve, sets};
use core::ffi::{CStr, c_char, c_int};
use core::net::IpAddr;
use core::ptr::null_mut;
use hither_native::{Arena, Errno, Full, Plain, host_name};
use hither_table::{Entry, Family, FamilyView, Monotonic, Wanted};
use libc::{AF_INET, AF_INET6, hostent};

const TRYAGAIN: c_int = -2;
const UNAVAIL: c_int = -1;
const NOTFOUND: c_int = 0;
const SUCCESS: c_int = 1;
const HOST_NOT_FOUND: c_int = 1;
const TRY_AGAIN: c_int = 2;
const NO_DATA: c_int = 4;
const NETDB_INTERNAL: c_int = -1;

/// One address for getaddrinfo, `struct gaih_addrtuple` of `nss.h`.
#[repr(C)]
pub struct Tuple {
    next: *mut Tuple,
    name: *mut c_char,
    family: c_int,
    address: [u8; 16],
    scope: u32,
}

// SAFETY: numbers and pointers, for which zero is a value.
unsafe impl Plain for Tuple {}

/// Where glibc wants the reason of a failure.
struct Why {
    errno: *mut c_int,
    h_errno: *mut c_int,
}

impl Why {
    /// # Safety
    /// Both pointers are null or may be written.
    unsafe fn say(&self, status: c_int, errno: c_int, h_errno: c_int) -> c_int {
        // SAFETY: as the caller promises.
        unsafe {
            if !self.errno.is_null() {
                *self.errno = errno;
            }
            if !self.h_errno.is_null() {
                *self.h_errno = h_errno;
            }
        }
        status
    }

    /// # Safety
    /// As of [`Why::say`].
    unsafe fn of(&self, verdict: Verdict<Result<(), Full>>) -> c_int {
        // SAFETY: as the caller promises.
        unsafe {
            match verdict {
                Verdict::Found(Ok(())) => self.say(SUCCESS, 0, 0),
                Verdict::Found(Err(Full)) => self.say(TRYAGAIN, libc::ERANGE, NETDB_INTERNAL),
                Verdict::NoName => self.say(NOTFOUND, libc::ENOENT, HOST_NOT_FOUND),
                Verdict::NoData => self.say(NOTFOUND, libc::ENOENT, NO_DATA),
                Verdict::Pass => self.say(UNAVAIL, libc::EAGAIN, TRY_AGAIN),
            }
        }
    }
}

/// For `getaddrinfo` without a family: both, as a list in the order of the table.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_hither_gethostbyname4_r(
    name: *const c_char,
    list: *mut *mut Tuple,
    buffer: *mut c_char,
    len: usize,
    errno: *mut c_int,
    h_errno: *mut c_int,
    ttl: *mut i32,
) -> c_int {
    let _errno = Errno::keep();
    // SAFETY: a C string, a place for a list, a buffer of so many octets and places for errors, as glibc promises.
    unsafe {
        let why = Why { errno, h_errno };
        if name.is_null() || list.is_null() {
            return why.say(UNAVAIL, libc::EINVAL, NETDB_INTERNAL);
        }
        let verdict = resolve(CStr::from_ptr(name).to_bytes(), Wanted::Both, |entry, now| {
            let mut arena = Arena::new(buffer.cast(), len);
            tell_ttl(ttl, entry, Wanted::Both, now);
            tuples(entry, &mut arena, list)
        });
        why.of(verdict)
    }
}

/// Fills the list: its first tuple may be there already, further ones come from the buffer.
///
/// # Safety
/// `list` may be read and written, and is null or leads to a tuple.
unsafe fn tuples(entry: &Entry<'_>, arena: &mut Arena<'_>, list: *mut *mut Tuple) -> Result<(), Full> {
    let canonical = sets(entry, Wanted::Both).find_map(|set| host_name(set.canonical()));
    let name = match canonical.or_else(|| host_name(entry.name())) {
        Some(octets) => arena.text(octets)?,
        None => arena.text(core::iter::empty())?,
    };
    let mut place = list;
    for set in sets(entry, Wanted::Both) {
        for address in set.addresses() {
            let (family, octets) = octets_of(address.address);
            // SAFETY: `place` is where glibc told us to put the list, or the `next` of a tuple that stands in the buffer.
            unsafe {
                if (*place).is_null() {
                    *place = arena.take(1)?;
                }
                let tuple = *place;
                // The first tuple may be glibc's own, with a `next` that is not ours.
                tuple.write(Tuple { next: null_mut(), name, family, address: octets, scope: 0 });
                place = &raw mut (*tuple).next;
            }
        }
    }
    Ok(())
}

fn octets_of(address: IpAddr) -> (c_int, [u8; 16]) {
    match address {
        IpAddr::V6(v6) => (AF_INET6, v6.octets()),
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            (AF_INET, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        }
    }
}

/// # Safety
/// `ttl` is null or may be written.
unsafe fn tell_ttl(ttl: *mut i32, entry: &Entry<'_>, wanted: Wanted, now: Monotonic) {
    let least = sets(entry, wanted).map(|set| set.ttl(now)).min().unwrap_or(0);
    if !ttl.is_null() {
        // SAFETY: as the caller promises.
        unsafe { *ttl = i32::try_from(least).unwrap_or(i32::MAX) };
    }
}

/// For `gethostbyname2` and `getaddrinfo` with one family.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_hither_gethostbyname3_r(
    name: *const c_char,
    family: c_int,
    host: *mut hostent,
    buffer: *mut c_char,
    len: usize,
    errno: *mut c_int,
    h_errno: *mut c_int,
    ttl: *mut i32,
    canonical: *mut *mut c_char,
) -> c_int {
    let _errno = Errno::keep();
    // SAFETY: as of the function above; `canonical` is null or a place for a pointer.
    unsafe {
        let why = Why { errno, h_errno };
        let family = match family {
            AF_INET => Family::A,
            AF_INET6 => Family::Aaaa,
            _ => return why.say(UNAVAIL, libc::EAFNOSUPPORT, NETDB_INTERNAL),
        };
        if name.is_null() || host.is_null() {
            return why.say(UNAVAIL, libc::EINVAL, NETDB_INTERNAL);
        }
        let wanted = Wanted::One(family);
        let verdict = resolve(CStr::from_ptr(name).to_bytes(), wanted, |entry, now| {
            let Some(set) = entry.family(family) else { return Err(Full) };
            let mut arena = Arena::new(buffer.cast(), len);
            let filled = host_of(entry, &set, family, &mut arena)?;
            tell_ttl(ttl, entry, wanted, now);
            if !canonical.is_null() {
                *canonical = filled.h_name;
            }
            host.write(filled);
            Ok(())
        });
        why.of(verdict)
    }
}

/// The structure of `gethostbyname`: canonical name, the names that led to it as aliases, addresses best first.
fn host_of(
    entry: &Entry<'_>,
    set: &FamilyView<'_>,
    family: Family,
    arena: &mut Arena<'_>,
) -> Result<hostent, Full> {
    let chain = set.addresses().next().map_or(0, |first| first.chain);
    let links = set.chain(chain).count();
    let names = || core::iter::once(entry.name()).chain(set.chain(chain).map(|(target, _)| target));
    let last = names().last().and_then(host_name).or_else(|| host_name(entry.name()));
    let h_name = match last {
        Some(octets) => arena.text(octets)?,
        None => arena.text(core::iter::empty())?,
    };
    let aliases: *mut *mut c_char = arena.take(links + 1)?;
    for (n, alias) in names().take(links).filter_map(host_name).enumerate() {
        let text = arena.text(alias)?;
        // SAFETY: `links` places and one for the final null were given out, and there are at most so many aliases.
        unsafe { aliases.add(n).write(text) };
    }
    let count = set.len();
    let list: *mut *mut c_char = arena.take(count + 1)?;
    let length = if family == Family::A { 4 } else { 16 };
    for (n, address) in set.addresses().enumerate().take(count) {
        let place: *mut u8 = if family == Family::A {
            arena.take::<[u8; 4]>(1)?.cast()
        } else {
            arena.take::<[u8; 16]>(1)?.cast()
        };
        let (_, octets) = octets_of(address.address);
        // SAFETY: `length` octets were given out, and of the list `count` places and one for the final null.
        unsafe {
            core::ptr::copy_nonoverlapping(octets.as_ptr(), place, length);
            list.add(n).write(place.cast());
        }
    }
    let h_addrtype = if family == Family::A { AF_INET } else { AF_INET6 };
    Ok(hostent { h_name, h_aliases: aliases, h_addrtype, h_length: length as c_int, h_addr_list: list })
}

/// For `gethostbyname2_r`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_hither_gethostbyname2_r(
    name: *const c_char,
    family: c_int,
    host: *mut hostent,
    buffer: *mut c_char,
    len: usize,
    errno: *mut c_int,
    h_errno: *mut c_int,
) -> c_int {
    // SAFETY: the same promises.
    unsafe {
        _nss_hither_gethostbyname3_r(name, family, host, buffer, len, errno, h_errno, null_mut(), null_mut())
    }
}

/// For `gethostbyname_r`: IPv4.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_hither_gethostbyname_r(
    name: *const c_char,
    host: *mut hostent,
    buffer: *mut c_char,
    len: usize,
    errno: *mut c_int,
    h_errno: *mut c_int,
) -> c_int {
    // SAFETY: the same promises.
    unsafe { _nss_hither_gethostbyname2_r(name, AF_INET, host, buffer, len, errno, h_errno) }
}

/// Where a panic would end. There is no such function: if it can be reached, the module does not link.
#[cfg(panic = "abort")]
pub fn a_panic_can_be_reached() -> ! {
    unsafe extern "C" {
        fn hither_nss_has_a_panic_that_can_be_reached() -> !;
    }
    // SAFETY: never linked, hence never called.
    unsafe { hither_nss_has_a_panic_that_can_be_reached() }
}
