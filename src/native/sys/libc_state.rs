//! State that the C library keeps for a process or a thread: the environment, the resolver's search
//! list, errno.
#![allow(unsafe_code)]

use super::Path;
use core::ffi::{CStr, c_char, c_int, c_ulong};
use hither_table::paths::RUNTIME_DIR_VARIABLE_C;

unsafe extern "C" {
    /// getenv(3), but null in a program that runs with more rights than its caller (`AT_SECURE`).
    fn secure_getenv(name: *const c_char) -> *const c_char;
    fn __res_state() -> *const ResolverState;
}

/// Appends the runtime directory that the environment names to `out`; `None` if it names none, or
/// the program runs with more rights than its caller.
pub(crate) fn environment_dir(out: &mut Path) -> Option<()> {
    // SAFETY: the name is a C string; the result is a C string of the environment, copied at once.
    // A program that changes its environment in another thread at this moment has the same race
    // with every getenv of the C library.
    unsafe {
        let value = secure_getenv(RUNTIME_DIR_VARIABLE_C.as_ptr());
        if value.is_null() || *value == 0 {
            return None;
        }
        out.push(CStr::from_ptr(value).to_bytes())
    }
}

/// Whether the environment has a value for a name.
#[must_use]
pub fn is_in_environment(name: &CStr) -> bool {
    // SAFETY: a C string; the result is only compared with null.
    unsafe { !secure_getenv(name.as_ptr()).is_null() }
}

/// The beginning of `struct __res_state` (`<resolv.h>`): this thread's settings, which the C library
/// derives from resolv.conf, the environment and the host's name. The C library reads resolv.conf
/// again before it calls an NSS module.
#[repr(C)]
struct ResolverState {
    retrans: c_int,
    retry: c_int,
    options: c_ulong,
    nscount: c_int,
    servers: [libc::sockaddr_in; 3],
    id: u16,
    dnsrch: [*const c_char; DOMAINS_MAX + 1],
    defdname: [c_char; 256],
    pfcode: c_ulong,
    /// Bit fields, of which `ndots` is the first, four bits wide.
    bits: u32,
}

/// Domains of a search list in [`ResolverState`] (`MAXDNSRCH`); glibc keeps further ones where
/// programs cannot see them.
const DOMAINS_MAX: usize = 6;
/// Option bit of a state that has been initialised (`<resolv.h>`).
const RES_INIT: c_ulong = 1;

/// How this thread's resolver completes names: `search` and `options` of resolv.conf(5). Valid
/// until the thread next calls the C library's resolver.
pub struct Resolver {
    /// `RES_` options of `<resolv.h>`.
    pub options: u64,
    /// A name with fewer dots than this is completed by the search list before it is looked up as it is.
    pub ndots: usize,
    dnsrch: [*const c_char; DOMAINS_MAX + 1],
}

impl Resolver {
    /// The resolver of the calling thread; `None` if the C library has not initialised it yet.
    #[must_use]
    pub fn of_thread() -> Option<Resolver> {
        // SAFETY: the C library gives the address of this thread's state, which stays valid; only
        // this thread writes it.
        let state = unsafe { __res_state().as_ref() }?;
        let ndots = if cfg!(target_endian = "little") { state.bits & 15 } else { state.bits >> 28 };
        let is_initialised = state.options & RES_INIT != 0;
        is_initialised.then_some(Resolver {
            options: state.options,
            ndots: ndots as usize,
            dnsrch: state.dnsrch,
        })
    }

    /// Domain `n` of the search list, counted from 0.
    #[must_use]
    pub fn domain(&self, n: usize) -> Option<&[u8]> {
        let domain = *self.dnsrch.get(..DOMAINS_MAX)?.get(n)?;
        // SAFETY: not null, hence a C string of the thread's resolver, which does not change while
        // `self` is used.
        (!domain.is_null()).then(|| unsafe { CStr::from_ptr(domain) }.to_bytes())
    }
}

/// Saves errno of this thread and restores it when dropped, so that a successful lookup does not
/// change it.
pub struct Errno(c_int);

impl Errno {
    /// Saves errno as it is.
    #[must_use]
    pub fn save() -> Errno {
        // SAFETY: the address of this thread's errno.
        Errno(unsafe { *libc::__errno_location() })
    }

    /// Gives errno this value, in place of the saved one, when this is dropped.
    pub fn set(&mut self, errno: c_int) {
        self.0 = errno;
    }
}

impl Drop for Errno {
    fn drop(&mut self) {
        // SAFETY: the address of this thread's errno.
        unsafe { *libc::__errno_location() = self.0 };
    }
}
