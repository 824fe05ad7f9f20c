//! Datagrams in batches: one system call receives up to 64 queries, one sends their replies, each from the address that was asked.
//!
//! Through libc, since the safe wrappers share one list of control messages between all datagrams of a batch, and lose control messages
//! when a batch is used again.
//!
//! The kernel is given pointers that stay good from one call to the next: all that they lead to lives in [`Held`] arrays. What builds headers and
//! reads results is apart from the calls themselves, so that Miri runs it beside a kernel of the tests' own.
#![allow(unsafe_code)]

use std::io;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// Datagrams of a batch. More would make the first of them wait for its reply.
pub const SIZE: usize = 64;
/// Octets of a query; longer ones are cut by the kernel and refused as malformed. An odd number of cache lines: with a power of two the
/// first lines of all buffers would share a few places of the cache.
pub const QUERY_MAX: usize = 65 * 64;
/// Octets of a reply: more than a datagram towards clients has (RFC 9715), an odd number of cache lines.
pub const REPLY_MAX: usize = 21 * 64;
const CONTROL: usize = 64;
/// Room for the address of a peer, IPv4 or IPv6.
const NAME: libc::socklen_t = size_of::<libc::sockaddr_in6>() as libc::socklen_t;

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// [`SIZE`] values on the heap to which pointers are kept while they are also used as plain values. In a box, or behind a reference of ours, each
/// use by the one would forbid the next by the other.
struct Held<T> {
    start: NonNull<T>,
    owned: PhantomData<T>,
}

// SAFETY: it owns the values, as a vector would; who has it exclusively has all pointers to them that are used.
unsafe impl<T: Send> Send for Held<T> {}

impl<T: Copy> Held<T> {
    fn new(value: T) -> Held<T> {
        let values = Box::leak(vec![value; SIZE].into_boxed_slice());
        Held { start: NonNull::from(values).cast(), owned: PhantomData }
    }

    /// To the n-th value, good for reading and writing as long as `self` is there and nobody has a reference to it.
    ///
    /// # Panics
    /// If there are not as many.
    fn at(&self, n: usize) -> *mut T {
        assert!(n < SIZE, "{n} of {SIZE}");
        // SAFETY: within the allocation, by the line above.
        unsafe { self.start.as_ptr().add(n) }
    }
}

impl<T> std::ops::Deref for Held<T> {
    type Target = [T; SIZE];

    fn deref(&self) -> &[T; SIZE] {
        // SAFETY: so many values are there from the start until the end; nobody writes to them while `self` is borrowed, since kernel and
        // `DerefMut` are let at them by who has `self` exclusively.
        unsafe { self.start.cast().as_ref() }
    }
}

impl<T> std::ops::DerefMut for Held<T> {
    fn deref_mut(&mut self) -> &mut [T; SIZE] {
        // SAFETY: as above, and nobody reads them while `self` is borrowed exclusively.
        unsafe { self.start.cast().as_mut() }
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        let values = NonNull::slice_from_raw_parts(self.start, SIZE);
        // SAFETY: leaked from a box of just this length in `new`, and given back once.
        drop(unsafe { Box::from_raw(values.as_ptr()) });
    }
}

/// Buffers for a batch, reused without end.
pub struct Batch {
    received: Held<libc::mmsghdr>,
    sent: Held<libc::mmsghdr>,
    vectors: Held<[libc::iovec; 2]>,
    names: Held<libc::sockaddr_in6>,
    controls: Held<Control>,
    queries: Held<[u8; QUERY_MAX]>,
    replies: Held<[u8; REPLY_MAX]>,
    reply_len: [usize; SIZE],
    count: usize,
    /// Headers from the start that the kernel has written to since they were prepared.
    used: usize,
}

// SAFETY: the raw pointers in the headers and vectors lead to values that the batch owns and takes with it.
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
    // SAFETY: only used for mmsghdr, msghdr, iovec and sockaddr_in6, plain C structures for which all zeros are a valid value.
    unsafe { std::mem::zeroed() }
}

impl Batch {
    /// Allocates everything.
    #[must_use]
    pub fn new() -> Batch {
        Batch {
            received: Held::new(zeroed()),
            sent: Held::new(zeroed()),
            vectors: Held::new([zeroed(); 2]),
            names: Held::new(zeroed()),
            controls: Held::new(Control([0; CONTROL])),
            queries: Held::new([0; QUERY_MAX]),
            replies: Held::new([0; REPLY_MAX]),
            reply_len: [0; SIZE],
            count: 0,
            used: SIZE,
        }
    }

    /// Receives up to [`SIZE`] datagrams without waiting; returns how many.
    ///
    /// # Errors
    /// As the kernel says, `WouldBlock` when there is none.
    pub fn receive(&mut self, socket: &impl AsRawFd) -> io::Result<usize> {
        let socket = socket.as_raw_fd();
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: the headers are as `receive_by` promises; the socket is open while it is borrowed.
        self.receive_by(|headers, count| unsafe {
            libc::recvmmsg(socket, headers, count, flags, std::ptr::null_mut())
        })
    }

    /// Has `call` fill the buffers, as recvmmsg(2) does. It is given so many headers, each with its own name, vector, control and query buffer and
    /// their true lengths; during the call nothing else touches any of them.
    fn receive_by(
        &mut self,
        call: impl FnOnce(*mut libc::mmsghdr, libc::c_uint) -> libc::c_int,
    ) -> io::Result<usize> {
        self.count = 0;
        // Those that the kernel has written to; the others are as they were.
        for n in 0..std::mem::take(&mut self.used) {
            self.reply_len[n] = 0;
            self.vectors[n][0] = libc::iovec { iov_base: self.queries.at(n).cast(), iov_len: QUERY_MAX };
            let vector = self.vectors.at(n).cast();
            let (name, control) = (self.names.at(n).cast(), self.controls.at(n).cast());
            let header = &mut self.received[n].msg_hdr;
            (header.msg_name, header.msg_namelen) = (name, NAME);
            (header.msg_iov, header.msg_iovlen) = (vector, 1);
            (header.msg_control, header.msg_controllen) = (control, CONTROL as _);
        }
        let count = call(self.received.at(0), SIZE as libc::c_uint);
        self.count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?.min(SIZE);
        self.used = self.count;
        Ok(self.count)
    }

    /// The n-th datagram as it came, cut to [`QUERY_MAX`].
    #[must_use]
    pub fn query(&self, n: usize) -> &[u8] {
        octets(&self.received, &*self.queries, n)
    }

    /// Where the n-th datagram came from.
    #[must_use]
    pub fn peer(&self, n: usize) -> Option<SocketAddr> {
        peer(&self.names[n])
    }

    /// What was received, and room for what is sent in reply.
    pub fn parts(&mut self) -> (Received<'_>, Replies<'_>) {
        let Batch { received, names, controls, queries, replies, reply_len, .. } = self;
        let came = Received { headers: received, names, controls, octets: &**queries };
        (came, Replies { octets: &mut **replies, len: reply_len })
    }

    /// How to answer the n-th datagram later.
    #[must_use]
    pub fn route(&self, n: usize) -> Route {
        route(&self.received, &self.names, &self.controls, n)
    }

    /// Sends the replies. Returns how many the kernel took; one that it refuses is passed over, as if lost on the way.
    pub fn send(&mut self, socket: &impl AsRawFd) -> usize {
        self.send_by(send_to(socket))
    }

    fn send_by(&mut self, call: impl FnMut(*mut libc::mmsghdr, libc::c_uint) -> libc::c_int) -> usize {
        let mut ready = 0;
        for n in 0..self.count {
            if self.reply_len[n] == 0 {
                continue;
            }
            let from = self.received[n].msg_hdr;
            forget_interface(&mut self.controls[n], from.msg_controllen);
            self.vectors[n][1] =
                libc::iovec { iov_base: self.replies.at(n).cast(), iov_len: self.reply_len[n] };
            let vector = self.vectors.at(n).cast::<libc::iovec>().wrapping_add(1);
            let header = &mut self.sent[ready].msg_hdr;
            // The name and control are those that the kernel gave with the query.
            (header.msg_name, header.msg_namelen) = (from.msg_name, from.msg_namelen);
            (header.msg_iov, header.msg_iovlen) = (vector, 1);
            let control = if from.msg_controllen == 0 { std::ptr::null_mut() } else { from.msg_control };
            (header.msg_control, header.msg_controllen) = (control, from.msg_controllen);
            ready += 1;
        }
        send_all(&self.sent, ready, call)
    }
}

/// The datagrams of a batch.
#[derive(Clone, Copy)]
pub struct Received<'b> {
    headers: &'b [libc::mmsghdr; SIZE],
    names: &'b [libc::sockaddr_in6; SIZE],
    controls: &'b [Control; SIZE],
    octets: &'b [[u8; QUERY_MAX]],
}

impl std::fmt::Debug for Received<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received").finish_non_exhaustive()
    }
}

impl<'b> Received<'b> {
    /// See [`Batch::query`].
    #[must_use]
    pub fn query(self, n: usize) -> &'b [u8] {
        octets(self.headers, self.octets, n)
    }

    /// See [`Batch::peer`].
    #[must_use]
    pub fn peer(self, n: usize) -> Option<SocketAddr> {
        peer(&self.names[n])
    }

    /// See [`Batch::route`].
    #[must_use]
    pub fn route(self, n: usize) -> Route {
        route(self.headers, self.names, self.controls, n)
    }
}

/// Room for the replies to a batch.
#[derive(Debug)]
pub struct Replies<'b> {
    octets: &'b mut [[u8; REPLY_MAX]],
    len: &'b mut [usize; SIZE],
}

impl Replies<'_> {
    /// Has the reply to the n-th datagram written; its length 0: none is sent.
    pub fn write(&mut self, n: usize, write: impl FnOnce(&mut [u8; REPLY_MAX]) -> usize) {
        self.len[n] = write(&mut self.octets[n]).min(REPLY_MAX);
    }
}

fn octets<'b>(headers: &[libc::mmsghdr; SIZE], octets: &'b [[u8; QUERY_MAX]], n: usize) -> &'b [u8] {
    let len = (headers[n].msg_len as usize).min(QUERY_MAX);
    &octets[n][..len]
}

fn route(
    headers: &[libc::mmsghdr; SIZE],
    names: &[libc::sockaddr_in6; SIZE],
    controls: &[Control; SIZE],
    n: usize,
) -> Route {
    let header = &headers[n].msg_hdr;
    Route {
        name: names[n],
        name_len: header.msg_namelen,
        control: controls[n],
        control_len: header.msg_controllen.min(CONTROL),
    }
}

fn peer(name: &libc::sockaddr_in6) -> Option<SocketAddr> {
    match i32::from(name.sin6_family) {
        libc::AF_INET => {
            // SAFETY: the kernel wrote a sockaddr_in here, as the family says; the storage is larger and as aligned.
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

/// The call that sends through a socket, for as long as that is borrowed.
fn send_to(socket: &impl AsRawFd) -> impl FnMut(*mut libc::mmsghdr, libc::c_uint) -> libc::c_int {
    move |headers, count| {
        // SAFETY: the headers are as `send_all` promises; the socket is open while it is borrowed.
        unsafe { libc::sendmmsg(socket.as_raw_fd(), headers, count, libc::MSG_DONTWAIT) }
    }
}

/// Has `call` send the first `count` datagrams, as sendmmsg(2) does: whoever fills their headers leaves them with names, vectors and controls in
/// [`Held`] arrays of its own and their true lengths. Returns how many it took; one that it refuses is passed over.
fn send_all(
    headers: &Held<libc::mmsghdr>,
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
            // A full buffer refuses the rest too; anything else is about the first one alone.
            _ if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => break,
            _ => at += 1,
        }
    }
    taken
}

/// Datagrams that are collected and then sent by one system call.
pub struct Outgoing {
    headers: Held<libc::mmsghdr>,
    vectors: Held<libc::iovec>,
    routes: Held<Route>,
    octets: Held<[u8; REPLY_MAX]>,
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
    /// Allocates everything.
    #[must_use]
    pub fn new() -> Outgoing {
        Outgoing {
            headers: Held::new(zeroed()),
            vectors: Held::new(zeroed()),
            routes: Held::new(Route::connected()),
            octets: Held::new([0; REPLY_MAX]),
            count: 0,
        }
    }

    /// Collected so far; [`SIZE`] at most.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing is collected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a datagram of `len` octets that `write` puts into its buffer. When there are [`SIZE`] already, or it is 0 octets long,
    /// it is not added.
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

    /// Sends all that was collected, without waiting. Returns how many the kernel took; the others are lost.
    pub fn send(&mut self, socket: &impl AsRawFd) -> usize {
        self.send_by(send_to(socket))
    }

    fn send_by(&mut self, call: impl FnMut(*mut libc::mmsghdr, libc::c_uint) -> libc::c_int) -> usize {
        let count = std::mem::take(&mut self.count);
        for n in 0..count {
            let route = self.routes.at(n);
            // SAFETY: of our own array, to which nobody has a reference here; these are places in it, and no values are read.
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

/// Where a reply goes to and comes from.
#[derive(Clone, Copy)]
pub struct Route {
    name: libc::sockaddr_in6,
    name_len: libc::socklen_t,
    control: Control,
    control_len: usize,
}

impl Route {
    /// Whether what goes this way leaves from the same address and by the same link as what goes `other`.
    #[must_use]
    pub fn leaves_as(&self, other: &Route) -> bool {
        self.control.0.get(..self.control_len) == other.control.0.get(..other.control_len)
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route").finish_non_exhaustive()
    }
}

impl Route {
    /// To whom the socket is connected.
    #[must_use]
    pub fn connected() -> Route {
        Route { name: zeroed(), name_len: 0, control: Control([0; CONTROL]), control_len: 0 }
    }
}

/// The reply takes the route that the host thinks best, not necessarily out of the interface that the query came in by; a
/// link-local address means nothing without its interface and keeps it.
fn forget_interface(control: &mut Control, len: usize) {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let word = |at: usize, octets: &[u8; CONTROL]| {
        octets.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, libc::c_int::from_ne_bytes)
    };
    let octets = &mut control.0;
    if len < HEADER + 4 {
        return;
    }
    let (level, kind) = (word(8, octets), word(12, octets));
    if level == libc::IPPROTO_IP && kind == libc::IP_PKTINFO {
        octets[HEADER..HEADER + 4].fill(0);
    } else if level == libc::IPPROTO_IPV6
        && kind == libc::IPV6_PKTINFO
        && octets[HEADER..HEADER + 2] != [0xfe, 0x80]
    {
        octets[HEADER + 16..HEADER + 20].fill(0);
    }
}

#[cfg(test)]
mod tests;
