//! Datagrams to the daemon: DNS queries and hints.
#![allow(unsafe_code)]

use super::{Descriptor, Path, now};
use crate::ask::Unanswered;
use core::ffi::c_int;
use core::mem;
use core::net::SocketAddr;
use hither_table::Monotonic;

const KIND: c_int = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
const FLAGS: c_int = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;

/// The address of a socket in the kernel's form: an IPv4 or IPv6 one.
pub(super) struct SocketAddress {
    octets: libc::sockaddr_in6,
    len: usize,
    pub family: c_int,
}

impl SocketAddress {
    pub fn of(to: &SocketAddr) -> SocketAddress {
        // SAFETY: plain C structures for which zero is valid, of which the one for IPv6 is larger.
        unsafe {
            let mut octets: libc::sockaddr_in6 = mem::zeroed();
            let (family, len) = match to {
                SocketAddr::V4(v4) => {
                    let address = (&raw mut octets).cast::<libc::sockaddr_in>();
                    (*address).sin_family = libc::AF_INET as libc::sa_family_t;
                    (*address).sin_port = v4.port().to_be();
                    (*address).sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                    (libc::AF_INET, size_of::<libc::sockaddr_in>())
                }
                SocketAddr::V6(v6) => {
                    octets.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                    octets.sin6_port = v6.port().to_be();
                    octets.sin6_addr.s6_addr = v6.ip().octets();
                    (libc::AF_INET6, size_of::<libc::sockaddr_in6>())
                }
            };
            SocketAddress { octets, len, family }
        }
    }

    /// connect(2) with this address; `None` if it succeeded, else errno.
    pub fn connect(&self, socket: &Descriptor) -> Option<c_int> {
        // SAFETY: the structure is readable for its size, which is not less than `len`.
        let done =
            unsafe { libc::connect(socket.0, (&raw const self.octets).cast(), self.len as libc::socklen_t) };
        (done != 0).then(super::stream::errno)
    }
}

/// A non-blocking UDP socket that is connected to the daemon.
pub(crate) fn connect(to: &SocketAddr) -> Option<Descriptor> {
    let address = SocketAddress::of(to);
    // SAFETY: socket has no preconditions.
    let socket = Descriptor::of(unsafe { libc::socket(address.family, KIND, 0) })?;
    address.connect(&socket).is_none().then_some(socket)
}

/// Sends one datagram without waiting; `None` if it could not be sent.
pub(crate) fn send(socket: &Descriptor, octets: &[u8]) -> Option<()> {
    // SAFETY: the octets are readable for their length.
    let sent = unsafe { libc::send(socket.0, octets.as_ptr().cast(), octets.len(), FLAGS) };
    (usize::try_from(sent) == Ok(octets.len())).then_some(())
}

/// Receives one datagram into `out` and returns its length. Waits until the table's clock shows
/// `until`.
pub(crate) fn receive(socket: &Descriptor, out: &mut [u8], until: Monotonic) -> Result<usize, Unanswered> {
    loop {
        // SAFETY: the octets are writable for their length.
        let got = unsafe { libc::recv(socket.0, out.as_mut_ptr().cast(), out.len(), libc::MSG_DONTWAIT) };
        if let Ok(got) = usize::try_from(got) {
            return Ok(got);
        }
        // SAFETY: the address of this thread's errno.
        let error = unsafe { *libc::__errno_location() };
        if error != libc::EAGAIN && error != libc::EINTR {
            return Err(Unanswered::Refused);
        }
        let left_ms = until.0.saturating_sub(now().0).div_ceil(1_000_000);
        if left_ms == 0 {
            return Err(Unanswered::Silent);
        }
        let mut wait = libc::pollfd { fd: socket.0, events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure, and its count. Every outcome means the same: try to receive again.
        unsafe { libc::poll(&raw mut wait, 1, c_int::try_from(left_ms).unwrap_or(c_int::MAX)) };
    }
}

/// Sends one datagram to a local socket without waiting. A failure is ignored: a hint may be lost.
pub(crate) fn send_to_path(path: &Path, octets: &[u8]) {
    // SAFETY: a plain C structure for which zero is valid; the path fits with its NUL, since
    // `Path::LEN_MAX` is one less.
    unsafe {
        let mut address: libc::sockaddr_un = mem::zeroed();
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in address.sun_path.iter_mut().zip(path.octets) {
            *to = from as core::ffi::c_char;
        }
        let Some(socket) = Descriptor::of(libc::socket(libc::AF_UNIX, KIND, 0)) else { return };
        let len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
        let to = (&raw const address).cast();
        libc::sendto(socket.0, octets.as_ptr().cast(), octets.len(), FLAGS, to, len);
    }
}
