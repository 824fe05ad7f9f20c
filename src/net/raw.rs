//! Descriptors and socket options that no safe function provides. With `batch.rs` this is all unsafe
//! code of this crate.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd};

/// Takes ownership of the descriptors that systemd passed. Further calls return none.
pub(crate) fn inherited() -> io::Result<Vec<(OwnedFd, String)>> {
    use std::sync::atomic::{AtomicBool, Ordering};
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    let fds: Vec<(RawFd, String)> = sd_notify::listen_fds_with_names()?.collect();
    let mut owned = Vec::new();
    for (fd, name) in fds {
        if nix::fcntl::fcntl(borrowed(fd), nix::fcntl::FcntlArg::F_GETFD).is_err() {
            return Err(io::Error::other(format!(
                "descriptor {fd} was promised by LISTEN_FDS and is not open"
            )));
        }
        // SAFETY:
        // - open: checked just above;
        // - ours alone: by the protocol of LISTEN_FDS these numbers belong to this process (LISTEN_PID
        //   was compared), nothing else in it opened them, and `TAKEN` prevents a second owner.
        owned.push((unsafe { OwnedFd::from_raw_fd(fd) }, name));
    }
    Ok(owned)
}

fn borrowed<'a>(fd: RawFd) -> std::os::fd::BorrowedFd<'a> {
    // SAFETY: used for one F_GETFD call, which reports a closed descriptor as an error; 3 and above,
    // never -1.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }
}

/// Sets an integer option of a socket.
pub(crate) fn set_option(
    socket: &impl AsRawFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `socket` is borrowed; pointer and length are those of a
    // live c_int.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The round-trip time of a TCP connection in microseconds, as the kernel knows it (tcpi_rtt of TCP_INFO).
pub(crate) fn tcp_rtt_us(socket: &impl AsRawFd) -> io::Result<u32> {
    // SAFETY: a structure of integers, for which zeros are a value. An older kernel fills in less of it.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is open as long as `socket` is borrowed; pointer and length are those of a
    // live structure, and the kernel writes no more than the length.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(info.tcpi_rtt) } else { Err(io::Error::last_os_error()) }
}

/// Takes ownership of a descriptor that accept4 has just returned.
pub(crate) fn accepted(fd: RawFd) -> OwnedFd {
    // SAFETY: accept4 has just opened it for us, and nothing else uses its number.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
