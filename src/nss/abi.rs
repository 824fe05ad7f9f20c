//! The functions that glibc calls, and the structures that it passes.
#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc)] // The same for all: glibc calls them with the arguments that its manual describes.

use crate::answer::{FAMILIES, Verdict, resolve, set};
use core::ffi::{CStr, c_char, c_int};
use core::net::IpAddr;
use core::ptr::null_mut;
use hither_native::{Arena, Errno, Found, Full, Plain, host_name};
use hither_table::{Entry, Family, FamilyView, Monotonic, Wanted};
use libc::{AF_INET, AF_INET6, hostent};

const TRYAGAIN: c_int = -2;
const UNAVAIL: c_int = -1;
const NOTFOUND: c_int = 0;
const SUCCESS: c_int = 1;
const HOST_NOT_FOUND: c_int = 1;
const TRY_AGAIN: c_int = 2;
const NO_DATA: c_int = 4;
const NETDB_SUCCESS: c_int = 0;
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

/// The result of a function for glibc: a status and the reasons of a failure.
struct Outcome {
    status: c_int,
    errno: c_int,
    h_errno: c_int,
}

impl Outcome {
    const fn new(status: c_int, errno: c_int, h_errno: c_int) -> Outcome {
        Outcome { status, errno, h_errno }
    }

    const fn invalid(errno: c_int) -> Outcome {
        Outcome::new(UNAVAIL, errno, NETDB_INTERNAL)
    }

    fn of(verdict: Verdict) -> Outcome {
        match verdict {
            Verdict::Found => Outcome::new(SUCCESS, 0, NETDB_SUCCESS),
            Verdict::Full => Outcome::new(TRYAGAIN, libc::ERANGE, NETDB_INTERNAL),
            Verdict::NoName => Outcome::new(NOTFOUND, libc::ENOENT, HOST_NOT_FOUND),
            Verdict::NoData | Verdict::Alias => Outcome::new(NOTFOUND, libc::ENOENT, NO_DATA),
            Verdict::Pass => Outcome::new(UNAVAIL, libc::EAGAIN, TRY_AGAIN),
        }
    }

    /// Stores the reasons and returns the status. glibc passes the thread's own errno as `errno`,
    /// which has been restored before; a success does not change it.
    ///
    /// # Safety
    /// Both pointers are null or may be written.
    unsafe fn store(&self, errno: *mut c_int, h_errno: *mut c_int) -> c_int {
        // SAFETY: as the caller promises.
        unsafe {
            if !errno.is_null() && self.status != SUCCESS {
                *errno = self.errno;
            }
            if !h_errno.is_null() {
                *h_errno = self.h_errno;
            }
        }
        self.status
    }
}

/// Answers `getaddrinfo` without a family: the addresses of both, as a list in the order that the table
/// has for both (`sort.families`), without a family that is withheld (`sort.withhold`). A program that
/// asks for one family gets it from the functions below in any case.
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
    // SAFETY: glibc passes a C string, a place for a list, a buffer of that many octets, and places
    // for errors.
    unsafe { find_tuples(name, list, buffer, len, ttl).store(errno, h_errno) }
}

/// # Safety
/// As of [`_nss_hither_gethostbyname4_r`].
unsafe fn find_tuples(
    name: *const c_char,
    list: *mut *mut Tuple,
    buffer: *mut c_char,
    len: usize,
    ttl: *mut i32,
) -> Outcome {
    let _errno = Errno::save();
    if name.is_null() || list.is_null() {
        return Outcome::invalid(libc::EINVAL);
    }
    // SAFETY: as the caller promises.
    unsafe {
        let verdict = resolve(CStr::from_ptr(name).to_bytes(), Wanted::Both, &mut |found| {
            let mut arena = Arena::new(buffer.cast(), len);
            store_ttl(ttl, &found.entry, Wanted::Both, found.now);
            tuples(found, &mut arena, list)
        });
        Outcome::of(verdict)
    }
}

/// Fills the list. glibc may provide its first tuple; the others are allocated in the buffer.
///
/// # Safety
/// `list` may be read and written; it contains null or points to a tuple.
unsafe fn tuples(found: &Found<'_>, arena: &mut Arena<'_>, list: *mut *mut Tuple) -> Result<(), Full> {
    let (entry, policy) = (&found.entry, found.families);
    let mut place = list;
    let mut name: *mut c_char = null_mut();
    for address in entry.ordered(wanted(found), policy.order) {
        if name.is_null() {
            let set = entry.family(Family::of(&address.address)).ok_or(Full)?;
            name = text_of(host_names_to_first_address(entry, &set).last().unwrap_or_default(), arena)?;
        }
        let (family, octets) = octets_of(address.address);
        // SAFETY: `place` is glibc's place for the list, or the `next` of a tuple in the buffer.
        unsafe {
            if (*place).is_null() {
                *place = arena.take(1)?;
            }
            let tuple = *place;
            // All fields are written, since glibc does not initialise `next` of its tuple.
            tuple.write(Tuple { next: null_mut(), name, family, address: octets, scope: 0 });
            place = &raw mut (*tuple).next;
        }
    }
    Ok(())
}

/// The families of an entry that are not withheld; at least one.
fn wanted(found: &Found<'_>) -> Wanted {
    let is_withheld = |family: &Family| found.entry.withheld(*family, found.families, found.now).is_some();
    let withheld = FAMILIES.into_iter().find(is_withheld);
    withheld.map_or(Wanted::Both, |family| Wanted::One(family.other()))
}

/// The names that lead to the first address, from the requested one to the canonical one. Names
/// that are neither host names nor the root are left out, as in glibc's own DNS module.
fn host_names_to_first_address<'e>(
    entry: &Entry<'e>,
    set: &FamilyView<'e>,
) -> impl Iterator<Item = &'e [u8]> + use<'e> {
    let chain = set.addresses().next().map_or(0, |first| first.chain);
    let names = core::iter::once(entry.name()).chain(set.chain(chain).map(|(target, _)| target));
    names.filter(|name| **name == [0] || host_name(name).is_some())
}

/// The text of a name that [`host_names_to_first_address`] gives.
#[inline(never)]
fn text_of(name: &[u8], arena: &mut Arena<'_>) -> Result<*mut c_char, Full> {
    match host_name(name) {
        Some(octets) => arena.text(octets),
        None => arena.text(core::iter::once(b'.')),
    }
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

/// Stores the lowest TTL of the wanted sets.
///
/// # Safety
/// `ttl` is null or may be written.
unsafe fn store_ttl(ttl: *mut i32, entry: &Entry<'_>, wanted: Wanted, now: Monotonic) {
    let sets = FAMILIES.into_iter().filter_map(|family| set(entry, family, wanted));
    let least = sets.map(|set| set.ttl(now)).min().unwrap_or(0);
    if !ttl.is_null() {
        // SAFETY: as the caller promises.
        unsafe { *ttl = i32::try_from(least).unwrap_or(i32::MAX) };
    }
}

/// Answers `gethostbyname2` and `getaddrinfo` for one family.
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
    let results = HostResults { host, canonical, ttl };
    // SAFETY: as of the function above; `canonical` is null or a place for a pointer.
    unsafe { find_host(name, family, results, buffer, len).store(errno, h_errno) }
}

/// The places in which glibc wants the results about a host. All but `host` may be null.
#[derive(Clone, Copy)]
struct HostResults {
    host: *mut hostent,
    canonical: *mut *mut c_char,
    ttl: *mut i32,
}

/// # Safety
/// As of [`_nss_hither_gethostbyname3_r`].
unsafe fn find_host(
    name: *const c_char,
    family: c_int,
    results: HostResults,
    buffer: *mut c_char,
    len: usize,
) -> Outcome {
    let _errno = Errno::save();
    let HostResults { host, canonical, ttl } = results;
    let family = match family {
        AF_INET => Family::A,
        AF_INET6 => Family::Aaaa,
        _ => return Outcome::invalid(libc::EAFNOSUPPORT),
    };
    if name.is_null() || host.is_null() {
        return Outcome::invalid(libc::EINVAL);
    }
    let wanted = Wanted::One(family);
    // SAFETY: as the caller promises.
    unsafe {
        let verdict = resolve(CStr::from_ptr(name).to_bytes(), wanted, &mut |found| {
            let mut arena = Arena::new(buffer.cast(), len);
            let filled = host_of(&found.entry, family, &mut arena)?;
            store_ttl(ttl, &found.entry, wanted, found.now);
            if !canonical.is_null() {
                *canonical = filled.h_name;
            }
            host.write(filled);
            Ok(())
        });
        Outcome::of(verdict)
    }
}

/// The structure that `gethostbyname` returns: the canonical name, the names that lead to it as
/// aliases, and the addresses, best first.
fn host_of(entry: &Entry<'_>, family: Family, arena: &mut Arena<'_>) -> Result<hostent, Full> {
    // `resolve` has checked that there are addresses.
    let set = entry.family(family).ok_or(Full)?;
    let count = host_names_to_first_address(entry, &set).count();
    let h_name = text_of(host_names_to_first_address(entry, &set).last().unwrap_or_default(), arena)?;
    let aliases: *mut *mut c_char = arena.take(count + 1)?;
    for (n, alias) in host_names_to_first_address(entry, &set).take(count.saturating_sub(1)).enumerate() {
        let text = text_of(alias, arena)?;
        // SAFETY: `count` places and one for the final null were given out, and there are fewer
        // aliases.
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
        // SAFETY: `length` octets were given out, and of the list `count` places and one for the
        // final null.
        unsafe {
            core::ptr::copy_nonoverlapping(octets.as_ptr(), place, length);
            list.add(n).write(place.cast());
        }
    }
    let h_addrtype = if family == Family::A { AF_INET } else { AF_INET6 };
    Ok(hostent { h_name, h_aliases: aliases, h_addrtype, h_length: length as c_int, h_addr_list: list })
}

/// Answers `gethostbyname2_r(3)`, for one family.
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

/// Answers `gethostbyname_r(3)`, for IPv4.
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

/// The panic handler's function. It calls a function that does not exist: if it can be reached, the
/// module does not link.
#[cfg(panic = "abort")]
pub fn a_panic_can_be_reached() -> ! {
    unsafe extern "C" {
        fn hither_nss_has_a_panic_that_can_be_reached() -> !;
    }
    // SAFETY: never linked, hence never called.
    unsafe { hither_nss_has_a_panic_that_can_be_reached() }
}
