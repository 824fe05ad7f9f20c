//! TCP connections that are made without waiting for one alone.
#![allow(unsafe_code)]

use super::socket::SocketAddress;
use super::{Descriptor, now};
use crate::race::{Begun, CANDIDATES_MAX};
use core::ffi::c_int;
use core::mem;
use core::net::SocketAddr;
use hither_table::Monotonic;

const KIND: c_int = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;

/// errno of this thread.
pub(super) fn errno() -> c_int {
    // SAFETY: the address of this thread's errno.
    unsafe { *libc::__errno_location() }
}

/// Begins to connect a new TCP socket.
pub(crate) fn begin_stream(to: &SocketAddr) -> Begun<Descriptor> {
    let address = SocketAddress::of(to);
    // SAFETY: socket has no preconditions.
    let Some(socket) = Descriptor::of(unsafe { libc::socket(address.family, KIND, 0) }) else {
        return Begun::Failed(errno());
    };
    match address.connect(&socket) {
        None => Begun::Connected(socket),
        // After a signal the connection is made in the background too (connect(3p)).
        Some(libc::EINPROGRESS | libc::EINTR) => Begun::UnderWay(socket),
        Some(errno) => Begun::Failed(errno),
    }
}

/// Waits until a connection is made or has failed, at most until the table's clock shows `until`. May
/// return earlier, as after a signal.
pub(crate) fn wait_for_any(sockets: &[Option<Descriptor>; CANDIDATES_MAX], until: Monotonic) {
    let mut waits = [const { libc::pollfd { fd: -1, events: libc::POLLOUT, revents: 0 } }; CANDIDATES_MAX];
    for (wait, socket) in waits.iter_mut().zip(sockets) {
        // The kernel ignores negative numbers.
        wait.fd = socket.as_ref().map_or(-1, |socket| socket.0);
    }
    let left = until.0.saturating_sub(now().0);
    let time = libc::timespec {
        tv_sec: libc::time_t::try_from(left / 1_000_000_000).unwrap_or(libc::time_t::MAX),
        tv_nsec: (left % 1_000_000_000) as libc::c_long,
    };
    // SAFETY: `waits` has CANDIDATES_MAX structures, and `time` outlives the call; a null mask changes no
    // signals. Every outcome means the same: the sockets are looked at.
    unsafe {
        libc::ppoll(waits.as_mut_ptr(), CANDIDATES_MAX as libc::nfds_t, &raw const time, core::ptr::null());
    }
}

/// Whether a socket is connected by now.
///
/// # Errors
/// errno, if the connection has failed.
pub(crate) fn has_connected(socket: &Descriptor) -> Result<bool, c_int> {
    let mut wait = libc::pollfd { fd: socket.0, events: libc::POLLOUT, revents: 0 };
    // SAFETY: `wait` is one structure, as the count says, and outlives the call, which does not wait.
    if unsafe { libc::poll(&raw mut wait, 1, 0) } <= 0 {
        return Ok(false);
    }
    let mut error: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` octets to `error`, which has that size; both outlive the call.
    let done = unsafe {
        libc::getsockopt(socket.0, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut error).cast(), &raw mut len)
    };
    match (done, error) {
        (0, 0) => Ok(true),
        (0, error) => Err(error),
        _ => Err(errno()),
    }
}

/// The number of the descriptor, which the caller owns from now on and on which calls wait.
///
/// # Errors
/// errno; the socket is closed then.
pub(crate) fn into_blocking(socket: Descriptor) -> Result<c_int, c_int> {
    // SAFETY: an open descriptor, whose flags are read and written back without one of them.
    let done = unsafe {
        let flags = libc::fcntl(socket.0, libc::F_GETFL);
        if flags < 0 { flags } else { libc::fcntl(socket.0, libc::F_SETFL, flags & !libc::O_NONBLOCK) }
    };
    if done < 0 {
        return Err(errno());
    }
    let number = socket.0;
    mem::forget(socket);
    Ok(number)
}
