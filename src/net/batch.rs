//! Datagrams in batches: one system call receives up to 64 queries, another sends their replies, each
//! from the address that its query was sent to.
//!
//! This uses libc, since the safe wrappers share one list of control messages among all datagrams of a
//! batch, and lose control messages when a batch is reused.
//!
//! The kernel gets pointers that stay valid from one call to the next: they lead into `PinnedArray`s.
//! Building headers and reading results is separate from the system calls, so that Miri can run it
//! against a kernel that the tests simulate.
#![allow(unsafe_code)]

mod parts;
mod route;

pub use parts::{Received, Replies};
pub use route::Route;

use route::{CONTROL_LEN, Control, forget_interface};
use std::io;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// Datagrams of a batch. In a larger batch the first datagram would wait longer for its reply.
pub const BATCH_MAX: usize = 64;
/// Octets of a query. The kernel cuts longer ones, which are then malformed. The number is an odd
/// multiple of a cache line: with a power of two the first lines of all buffers would share the same
/// few sets of the cache.
pub const QUERY_MAX: usize = 65 * 64;
/// Octets of a reply buffer: more than a datagram to a client has (RFC 9715), and an odd multiple of a
/// cache line.
pub const REPLY_MAX: usize = 21 * 64;
/// Octets of the address of a peer, IPv4 or IPv6.
const NAME_LEN: libc::socklen_t = size_of::<libc::sockaddr_in6>() as libc::socklen_t;

/// [`BATCH_MAX`] values on the heap, to which the kernel has pointers while we use them as values. With
/// a box or a reference that would be undefined behaviour: each use of the values would invalidate the
/// kernel's pointers.
struct PinnedArray<T> {
    start: NonNull<T>,
    owned: PhantomData<T>,
}

// SAFETY: the array owns its values, as a vector would, and only its owner uses pointers to them.
unsafe impl<T: Send> Send for PinnedArray<T> {}

impl<T: Copy> PinnedArray<T> {
    fn new(value: T) -> PinnedArray<T> {
        let values = Box::leak(vec![value; BATCH_MAX].into_boxed_slice());
        PinnedArray { start: NonNull::from(values).cast(), owned: PhantomData }
    }

    /// A pointer to the n-th value, valid for reads and writes as long as `self` exists and no
    /// reference to the value does.
    ///
    /// # Panics
    /// If `n` is not below [`BATCH_MAX`].
    fn at(&self, n: usize) -> *mut T {
        assert!(n < BATCH_MAX, "{n} of {BATCH_MAX}");
        // SAFETY: within the allocation, by the line above.
        unsafe { self.start.as_ptr().add(n) }
    }
}

impl<T> std::ops::Deref for PinnedArray<T> {
    type Target = [T; BATCH_MAX];

    fn deref(&self) -> &[T; BATCH_MAX] {
        // SAFETY: that many values exist from `new` to `drop`; nothing writes to them while `self` is
        // borrowed, since the kernel and `DerefMut` get access only through an exclusive borrow of
        // `self`.
        unsafe { self.start.cast().as_ref() }
    }
}

impl<T> std::ops::DerefMut for PinnedArray<T> {
    fn deref_mut(&mut self) -> &mut [T; BATCH_MAX] {
        // SAFETY: as above, and nothing reads them while `self` is borrowed exclusively.
        unsafe { self.start.cast().as_mut() }
    }
}

impl<T> Drop for PinnedArray<T> {
    fn drop(&mut self) {
        let values = NonNull::slice_from_raw_parts(self.start, BATCH_MAX);
        // SAFETY: leaked from a box of exactly this length in `new`, and freed once.
        drop(unsafe { Box::from_raw(values.as_ptr()) });
    }
}

/// The buffers of a batch of queries and their replies, allocated once and reused.
pub struct Batch {
    received: PinnedArray<libc::mmsghdr>,
    sent: PinnedArray<libc::mmsghdr>,
    vectors: PinnedArray<[libc::iovec; 2]>,
    senders: PinnedArray<libc::sockaddr_in6>,
    controls: PinnedArray<Control>,
    queries: PinnedArray<[u8; QUERY_MAX]>,
    replies: PinnedArray<[u8; REPLY_MAX]>,
    reply_len: [usize; BATCH_MAX],
    /// How many datagrams the last call received.
    count: usize,
    /// How many headers, from the first on, the kernel has written to since they were prepared.
    used: usize,
}

// SAFETY: the raw pointers in headers and vectors lead to values that the batch owns and moves with it.
unsafe impl Send for Batch {}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

fn zeroed<T>() -> T {
    // SAFETY: only used for mmsghdr, msghdr, iovec and sockaddr_in6, plain C structures for which all
    // zeros are a valid value.
    unsafe { std::mem::zeroed() }
}

impl Batch {
    /// Allocates the buffers of a batch.
    #[must_use]
    pub fn new() -> Batch {
        Batch {
            received: PinnedArray::new(zeroed()),
            sent: PinnedArray::new(zeroed()),
            vectors: PinnedArray::new([zeroed(); 2]),
            senders: PinnedArray::new(zeroed()),
            controls: PinnedArray::new(Control([0; CONTROL_LEN])),
            queries: PinnedArray::new([0; QUERY_MAX]),
            replies: PinnedArray::new([0; REPLY_MAX]),
            reply_len: [0; BATCH_MAX],
            count: 0,
            used: BATCH_MAX,
        }
    }

    /// Receives up to [`BATCH_MAX`] datagrams without blocking, and returns how many.
    ///
    /// # Errors
    /// The errors of recvmmsg(2); `WouldBlock` if there is none.
    pub fn receive(&mut self, socket: &impl AsRawFd) -> io::Result<usize> {
        let socket = socket.as_raw_fd();
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: the headers are as `receive_by` promises; the socket is open while it is borrowed.
        self.receive_by(|headers, count| unsafe {
            libc::recvmmsg(socket, headers, count, flags, std::ptr::null_mut())
        })
    }

    /// Has `call` fill the buffers, as recvmmsg(2) does. `call` gets pointers to so many headers, each
    /// with a name, vector, control and query buffer of its own and their correct lengths. Nothing else
    /// accesses them during the call.
    fn receive_by(
        &mut self,
        call: impl FnOnce(*mut libc::mmsghdr, libc::c_uint) -> libc::c_int,
    ) -> io::Result<usize> {
        self.count = 0;
        // Only the headers that the kernel has written to are prepared again.
        for n in 0..std::mem::take(&mut self.used) {
            self.reply_len[n] = 0;
            self.vectors[n][0] = libc::iovec { iov_base: self.queries.at(n).cast(), iov_len: QUERY_MAX };
            let vector = self.vectors.at(n).cast();
            let (name, control) = (self.senders.at(n).cast(), self.controls.at(n).cast());
            let header = &mut self.received[n].msg_hdr;
            (header.msg_name, header.msg_namelen) = (name, NAME_LEN);
            (header.msg_iov, header.msg_iovlen) = (vector, 1);
            (header.msg_control, header.msg_controllen) = (control, CONTROL_LEN as _);
        }
        let count = call(self.received.at(0), BATCH_MAX as libc::c_uint);
        self.count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?.min(BATCH_MAX);
        self.used = self.count;
        Ok(self.count)
    }

    /// The n-th datagram, cut to [`QUERY_MAX`].
    #[must_use]
    pub fn query(&self, n: usize) -> &[u8] {
        octets(&self.received, &*self.queries, n)
    }

    /// The sender of the n-th datagram.
    #[must_use]
    pub fn peer(&self, n: usize) -> Option<SocketAddr> {
        peer(&self.senders[n])
    }

    /// The received datagrams, and the buffers for the replies to them.
    pub fn parts(&mut self) -> (Received<'_>, Replies<'_>) {
        let Batch { received, senders, controls, queries, replies, reply_len, .. } = self;
        let datagrams = Received { headers: received, senders, controls, octets: &**queries };
        (datagrams, Replies { octets: &mut **replies, len: reply_len })
    }

    /// The route of a reply to the n-th datagram that is sent later.
    #[must_use]
    pub fn route(&self, n: usize) -> Route {
        route(&self.received, &self.senders, &self.controls, n)
    }

    /// Sends the replies without blocking, and returns how many the kernel took. A reply that it refuses
    /// is skipped, as if lost in the network.
    pub fn send(&mut self, socket: &impl AsRawFd) -> usize {
        self.send_by(send_to(socket))
    }

    fn send_by(&mut self, call: impl FnMut(*mut libc::mmsghdr, libc::c_uint) -> libc::c_int) -> usize {
        let mut ready = 0;
        for n in 0..self.count {
            if self.reply_len[n] == 0 {
                continue;
            }
            let query = self.received[n].msg_hdr;
            forget_interface(&mut self.controls[n], query.msg_controllen);
            self.vectors[n][1] =
                libc::iovec { iov_base: self.replies.at(n).cast(), iov_len: self.reply_len[n] };
            let vector = self.vectors.at(n).cast::<libc::iovec>().wrapping_add(1);
            let header = &mut self.sent[ready].msg_hdr;
            // Address and control message are those that the kernel wrote with the query.
            (header.msg_name, header.msg_namelen) = (query.msg_name, query.msg_namelen);
            (header.msg_iov, header.msg_iovlen) = (vector, 1);
            let control = if query.msg_controllen == 0 { std::ptr::null_mut() } else { query.msg_control };
            (header.msg_control, header.msg_controllen) = (control, query.msg_controllen);
            ready += 1;
        }
        send_all(&self.sent, ready, call)
    }
}

fn octets<'b>(headers: &[libc::mmsghdr; BATCH_MAX], octets: &'b [[u8; QUERY_MAX]], n: usize) -> &'b [u8] {
    let len = (headers[n].msg_len as usize).min(QUERY_MAX);
    &octets[n][..len]
}

fn route(
    headers: &[libc::mmsghdr; BATCH_MAX],
    senders: &[libc::sockaddr_in6; BATCH_MAX],
    controls: &[Control; BATCH_MAX],
    n: usize,
) -> Route {
    let header = &headers[n].msg_hdr;
    Route {
        name: senders[n],
        name_len: header.msg_namelen,
        control: controls[n],
        control_len: header.msg_controllen.min(CONTROL_LEN),
    }
}

fn peer(name: &libc::sockaddr_in6) -> Option<SocketAddr> {
    match i32::from(name.sin6_family) {
        libc::AF_INET => {
            // SAFETY: the kernel wrote a sockaddr_in here, as the family says; the storage is larger
            // and as aligned.
            let v4 = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            Some(SocketAddrV6::new(ip, port, name.sin6_flowinfo, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// The system call that sends through a socket, as long as the socket is borrowed.
fn send_to(socket: &impl AsRawFd) -> impl FnMut(*mut libc::mmsghdr, libc::c_uint) -> libc::c_int {
    move |headers, count| {
        // SAFETY: the headers are as `send_all` promises; the socket is open while it is borrowed.
        unsafe { libc::sendmmsg(socket.as_raw_fd(), headers, count, libc::MSG_DONTWAIT) }
    }
}

/// Has `call` send the first `count` datagrams, as sendmmsg(2) does, and returns how many it took. A
/// datagram that it refuses is skipped. The caller has filled the headers with pointers into its own
/// [`PinnedArray`]s and their correct lengths.
fn send_all(
    headers: &PinnedArray<libc::mmsghdr>,
    count: usize,
    mut call: impl FnMut(*mut libc::mmsghdr, libc::c_uint) -> libc::c_int,
) -> usize {
    let (mut at, mut taken) = (0, 0);
    while at < count {
        match usize::try_from(call(headers.at(at), (count - at) as libc::c_uint)) {
            Ok(sent) if sent > 0 => {
                at += sent;
                taken += sent;
            }
            // A full buffer refuses the other datagrams too. Any other error concerns only the first one.
            _ if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => break,
            _ => at += 1,
        }
    }
    taken
}

/// Datagrams that are collected and then sent by one system call, such as the replies of a round.
pub struct Outgoing {
    headers: PinnedArray<libc::mmsghdr>,
    vectors: PinnedArray<libc::iovec>,
    routes: PinnedArray<Route>,
    octets: PinnedArray<[u8; REPLY_MAX]>,
    count: usize,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::new()
    }
}

impl Outgoing {
    /// Allocates the buffers of a batch.
    #[must_use]
    pub fn new() -> Outgoing {
        Outgoing {
            headers: PinnedArray::new(zeroed()),
            vectors: PinnedArray::new(zeroed()),
            routes: PinnedArray::new(Route::connected()),
            octets: PinnedArray::new([0; REPLY_MAX]),
            count: 0,
        }
    }

    /// How many datagrams are collected, at most [`BATCH_MAX`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no datagram is collected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a datagram that `write` puts into its buffer. `false`: it was not added, since there are
    /// [`BATCH_MAX`] already or its length is 0.
    pub fn push(&mut self, route: &Route, write: impl FnOnce(&mut [u8; REPLY_MAX]) -> usize) -> bool {
        let n = self.count;
        let Some(octets) = self.octets.get_mut(n) else { return false };
        let len = write(octets).min(REPLY_MAX);
        if len == 0 {
            return false;
        }
        self.routes[n] = *route;
        let Route { control, control_len, .. } = &mut self.routes[n];
        forget_interface(control, *control_len);
        self.vectors[n] = libc::iovec { iov_base: self.octets.at(n).cast(), iov_len: len };
        self.count += 1;
        true
    }

    /// Sends the collected datagrams without blocking, and returns how many the kernel took; the others
    /// are lost.
    pub fn send(&mut self, socket: &impl AsRawFd) -> usize {
        self.send_by(send_to(socket))
    }

    fn send_by(&mut self, call: impl FnMut(*mut libc::mmsghdr, libc::c_uint) -> libc::c_int) -> usize {
        let count = std::mem::take(&mut self.count);
        for n in 0..count {
            let route = self.routes.at(n);
            // SAFETY: the pointer leads into our own array, to which no reference exists here; only
            // addresses of fields are computed, no values are read.
            let (name, control) = unsafe { (&raw mut (*route).name, &raw mut (*route).control) };
            let (name_len, control_len) = (self.routes[n].name_len, self.routes[n].control_len);
            let header = &mut self.headers[n].msg_hdr;
            *header = zeroed();
            (header.msg_iov, header.msg_iovlen) = (self.vectors.at(n), 1);
            if name_len > 0 {
                (header.msg_name, header.msg_namelen) = (name.cast(), name_len);
            }
            if control_len > 0 {
                (header.msg_control, header.msg_controllen) = (control.cast(), control_len as _);
            }
        }
        send_all(&self.headers, count, call)
    }
}

#[cfg(test)]
mod tests;
