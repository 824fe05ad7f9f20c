//! The connection to the daemon's local socket of changes, which keeps messages apart.
#![allow(unsafe_code)]

use super::stream::errno;
use super::{Descriptor, Path, now};
use core::ffi::c_int;
use core::mem;
use hither_table::Monotonic;

const KIND: c_int = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;

/// What a connection has to receive at this moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Received {
    /// A message of so many octets.
    Message(usize),
    /// Nothing yet.
    Nothing,
    /// The daemon has closed the connection.
    Closed,
    /// The number is not that of a socket.
    NoSocket,
}

/// The time that is left until `until`, as the kernel wants it; `None` if there is none.
fn left(until: Monotonic) -> Option<libc::timeval> {
    let left_us = until.0.saturating_sub(now().0) / 1000;
    (left_us != 0).then_some(libc::timeval {
        tv_sec: libc::time_t::try_from(left_us / 1_000_000).unwrap_or(libc::time_t::MAX),
        tv_usec: (left_us % 1_000_000) as libc::suseconds_t,
    })
}

/// Makes connecting and sending wait until `until` at most.
fn limit(socket: &Descriptor, until: Monotonic) -> Result<(), c_int> {
    let time = left(until).ok_or(libc::ETIMEDOUT)?;
    let len = size_of::<libc::timeval>() as libc::socklen_t;
    // SAFETY: an open descriptor; the structure is readable for its size and outlives the call.
    let done = unsafe {
        libc::setsockopt(socket.0, libc::SOL_SOCKET, libc::SO_SNDTIMEO, (&raw const time).cast(), len)
    };
    if done == 0 { Ok(()) } else { Err(errno()) }
}

/// Repeats a call after signals until it succeeds, fails, or `until` has come.
fn limited(
    socket: &Descriptor,
    until: Monotonic,
    mut call: impl FnMut() -> libc::ssize_t,
) -> Result<libc::ssize_t, c_int> {
    loop {
        limit(socket, until)?;
        let done = call();
        if done >= 0 {
            return Ok(done);
        }
        match errno() {
            libc::EINTR => {}
            // The kernel's word for a time that is over.
            libc::EAGAIN => return Err(libc::ETIMEDOUT),
            error => return Err(error),
        }
    }
}

/// Connects to the socket at `path`. While its queue is full, waits until the table's clock shows `until`.
///
/// # Errors
/// An error of errno(3).
pub(crate) fn connect_local(path: &Path, until: Monotonic) -> Result<Descriptor, c_int> {
    // SAFETY: a plain C structure for which zero is valid.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    // The path fits with its NUL, since `Path::LEN_MAX` is one less.
    for (to, from) in address.sun_path.iter_mut().zip(path.octets) {
        *to = from as core::ffi::c_char;
    }
    // SAFETY: socket has no preconditions.
    let socket = Descriptor::of(unsafe { libc::socket(libc::AF_UNIX, KIND, 0) }).ok_or_else(errno)?;
    let len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    limited(&socket, until, || {
        // SAFETY: the structure is readable for its size and outlives the call.
        unsafe { libc::connect(socket.0, (&raw const address).cast(), len) as libc::ssize_t }
    })?;
    Ok(socket)
}

/// Sends one message, and waits for room until the table's clock shows `until`.
///
/// # Errors
/// An error of errno(3).
pub(crate) fn send_message(socket: &Descriptor, octets: &[u8], until: Monotonic) -> Result<(), c_int> {
    let sent = limited(socket, until, || {
        // SAFETY: the octets are readable for their length.
        unsafe { libc::send(socket.0, octets.as_ptr().cast(), octets.len(), libc::MSG_NOSIGNAL) }
    })?;
    if usize::try_from(sent) == Ok(octets.len()) { Ok(()) } else { Err(libc::EMSGSIZE) }
}

/// Receives one message into `out`, and waits for it until the table's clock shows `until`; its length.
///
/// # Errors
/// An error of errno(3): ETIMEDOUT, or ECONNRESET if the daemon has closed the connection.
pub(crate) fn receive_message(socket: &Descriptor, out: &mut [u8], until: Monotonic) -> Result<usize, c_int> {
    loop {
        match receive_now(socket.0, out) {
            Received::Message(len) => return Ok(len),
            Received::Closed => return Err(libc::ECONNRESET),
            Received::NoSocket => return Err(libc::ENOTSOCK),
            Received::Nothing if !wait_for_message(socket.0, until) => return Err(libc::ETIMEDOUT),
            Received::Nothing => {}
        }
    }
}

/// Receives one message into `out` if there is one.
pub(crate) fn receive_now(number: c_int, out: &mut [u8]) -> Received {
    loop {
        // SAFETY: the octets are writable for their length; a number that is not open is an error.
        let got = unsafe { libc::recv(number, out.as_mut_ptr().cast(), out.len(), libc::MSG_DONTWAIT) };
        match (usize::try_from(got), got) {
            (Ok(0), _) => return Received::Closed,
            (Ok(len), _) => return Received::Message(len),
            _ => match errno() {
                libc::EINTR => {}
                libc::EAGAIN => return Received::Nothing,
                libc::EBADF | libc::ENOTSOCK => return Received::NoSocket,
                _ => return Received::Closed,
            },
        }
    }
}

/// Waits until the connection has something to receive; `false` if the table's clock shows `until` before.
/// May return `true` too early, as after a signal.
pub(crate) fn wait_for_message(number: c_int, until: Monotonic) -> bool {
    let left_ms = until.0.saturating_sub(now().0).div_ceil(1_000_000);
    if left_ms == 0 {
        return false;
    }
    let mut wait = libc::pollfd { fd: number, events: libc::POLLIN, revents: 0 };
    // SAFETY: one structure, and its count. Every outcome means the same: try to receive again.
    unsafe { libc::poll(&raw mut wait, 1, c_int::try_from(left_ms).unwrap_or(c_int::MAX)) };
    true
}

/// The number of the descriptor, which the caller owns from now on, and on which no call waits.
///
/// # Errors
/// errno; the socket is closed then.
pub(crate) fn into_waitless(socket: Descriptor) -> Result<c_int, c_int> {
    // SAFETY: an open descriptor, whose flags are read and written back with one of them.
    let done = unsafe {
        let flags = libc::fcntl(socket.0, libc::F_GETFL);
        if flags < 0 { flags } else { libc::fcntl(socket.0, libc::F_SETFL, flags | libc::O_NONBLOCK) }
    };
    if done < 0 {
        return Err(errno());
    }
    let number = socket.0;
    mem::forget(socket);
    Ok(number)
}
