//! Calls of the kernel and of the C library, behind safe functions.
//!
//! Only this file, those below `sys/`, `handle.rs`, which exchanges mappings, and `arena.rs`, which
//! fills the caller's buffer, may contain `unsafe` in this crate.
#![allow(unsafe_code)]

mod held;
mod libc_state;
mod local;
mod socket;
mod stream;
mod table;

pub(crate) use held::Held;
pub(crate) use libc_state::environment_dir;
pub use libc_state::{Errno, Resolver, is_in_environment};
pub(crate) use local::{
    Received, connect_local, into_waitless, receive_message, receive_now, send_message, wait_for_message,
};
pub(crate) use socket::{connect, receive, send, send_to_path};
pub(crate) use stream::{begin_stream, has_connected, into_blocking, wait_for_any};
pub(crate) use table::{Opened, open_table, table_file, wait_at_header};
use table::{map_table, unmap};

use core::ffi::{CStr, c_int};
use core::sync::atomic::AtomicU64;
use hither_table::trust::Rights;
use hither_table::{Monotonic, network};

/// A file descriptor that is closed when it is dropped.
pub(crate) struct Descriptor(c_int);

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: this value owns the descriptor, and it is closed only here.
        unsafe { libc::close(self.0) };
    }
}

impl Descriptor {
    /// The descriptor that a system call returned; `None` if it returned an error.
    fn of(number: c_int) -> Option<Descriptor> {
        (number >= 0).then(|| Descriptor(number))
    }
}

/// A path in the runtime directory, with its final NUL.
pub(crate) struct Path {
    octets: [u8; Path::LEN_MAX + 1],
    len: usize,
}

impl Path {
    /// Octets of the longest path, without the final NUL: that of a local socket's address
    /// (`sun_path`, unix(7)).
    pub const LEN_MAX: usize = 107;

    pub fn new() -> Path {
        Path { octets: [0; Path::LEN_MAX + 1], len: 0 }
    }

    /// Appends `more`; `None` if the path would be too long or `more` contains a NUL. The path must not
    /// be used then.
    pub fn push(&mut self, more: &[u8]) -> Option<()> {
        for octet in more {
            if *octet == 0 || self.len >= Path::LEN_MAX {
                return None;
            }
            *self.octets.get_mut(self.len)? = *octet;
            self.len += 1;
        }
        Some(())
    }

    /// Appends `/` and the name of a file.
    pub fn push_file(&mut self, name: &str) -> Option<()> {
        self.push(b"/")?;
        self.push(name.as_bytes())
    }

    /// The path without its final NUL.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }

    fn as_c(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.octets).unwrap_or_default()
    }
}

/// The users that this process runs as, by which [`hither_table::trust`] decides whether it may map a
/// table.
pub(crate) fn rights() -> Rights {
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: three places for the result; on an error they stay 0, which is root, the careful
    // answer. getauxval has no preconditions.
    let secure = unsafe {
        libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved);
        libc::getauxval(libc::AT_SECURE) != 0
    };
    Rights { uids: [real, effective, saved], secure }
}

fn clock(which: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the result; the clock exists since Linux 2.6.39, and an error leaves
    // zero.
    unsafe { libc::clock_gettime(which, &raw mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// The table's clock at this moment. `Monotonic::now` does the same, but needs the standard
/// library.
pub(crate) fn now() -> Monotonic {
    Monotonic(clock(libc::CLOCK_BOOTTIME))
}

/// The wall clock minus the table's clock, in milliseconds.
pub(crate) fn clock_offset_ms() -> u64 {
    clock(libc::CLOCK_REALTIME).wrapping_sub(clock(libc::CLOCK_BOOTTIME)) / 1_000_000
}

/// The number of this thread's network namespace; 0 if it cannot be read.
pub(crate) fn network() -> u32 {
    let mut link = [0_u8; 32];
    // SAFETY: a C string, and a place of that many octets.
    let len = unsafe { libc::readlink(network::PATH.as_ptr(), link.as_mut_ptr().cast(), link.len()) };
    usize::try_from(len).ok().and_then(|len| link.get(..len)).map_or(0, network::number)
}

/// The id of this process, by which a forked child differs from its parent.
pub(crate) fn process_id() -> u32 {
    // SAFETY: getpid has no preconditions.
    unsafe { libc::getpid() as u32 }
}

/// Waits until the lower half of `word` is no longer `seen`, at most `timeout_ms` milliseconds; may
/// return early.
pub(crate) fn wait(word: &AtomicU64, seen: u32, timeout_ms: u32) {
    futex_wait(word.as_ptr().cast::<u32>(), seen, timeout_ms);
}

fn futex_wait(word: *const u32, seen: u32, timeout_ms: u32) {
    let time = libc::timespec {
        tv_sec: libc::time_t::from(timeout_ms / 1000),
        tv_nsec: libc::c_long::from(timeout_ms % 1000) * 1_000_000,
    };
    // SAFETY: only the kernel loads from the address, and it returns EFAULT where nothing is
    // mapped. `time` outlives the call.
    unsafe {
        libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, seen, &raw const time);
    }
}
