//! Datagrams in batches: one system call receives up to 64 queries, one sends their replies, each from the address that was asked.
//!
//! Through libc, since the safe wrappers share one list of control messages between all datagrams of a batch, and lose control messages
//! when a batch is used again.
#![allow(unsafe_code)]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

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

/// Buffers for a batch, reused without end.
pub struct Batch {
    received: Box<[libc::mmsghdr; SIZE]>,
    sent: Box<[libc::mmsghdr; SIZE]>,
    vectors: Box<[[libc::iovec; 2]; SIZE]>,
    names: Box<[libc::sockaddr_in6; SIZE]>,
    controls: Box<[Control; SIZE]>,
    queries: Box<[[u8; QUERY_MAX]]>,
    replies: Box<[[u8; REPLY_MAX]]>,
    reply_len: [usize; SIZE],
    count: usize,
    /// Headers from the start that the kernel has written to since they were prepared.
    used: usize,
}

// SAFETY: the raw pointers in the headers point into boxes that the batch owns and moves with it.
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
            received: Box::new([zeroed(); SIZE]),
            sent: Box::new([zeroed(); SIZE]),
            vectors: Box::new([[zeroed(); 2]; SIZE]),
            names: Box::new([zeroed(); SIZE]),
            controls: Box::new([Control([0; CONTROL]); SIZE]),
            queries: vec![[0; QUERY_MAX]; SIZE].into_boxed_slice(),
            replies: vec![[0; REPLY_MAX]; SIZE].into_boxed_slice(),
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
        self.count = 0;
        for n in 0..std::mem::take(&mut self.used) {
            self.reply_len[n] = 0;
            self.vectors[n][0] =
                libc::iovec { iov_base: self.queries[n].as_mut_ptr().cast(), iov_len: QUERY_MAX };
            let header = &mut self.received[n].msg_hdr;
            header.msg_name = (&raw mut self.names[n]).cast();
            header.msg_namelen = NAME;
            header.msg_iov = &raw mut self.vectors[n][0];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[n].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
        }
        // SAFETY:
        // - each header points at its own name, vector, control and query buffer, with their true lengths: set above, now or when the
        //   kernel had last written to it, and these boxes are never exchanged;
        // - nothing touches them during the call, for `self` is borrowed mutably;
        // - the socket is open while it is borrowed.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.received.as_mut_ptr(),
                SIZE as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        self.count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?.min(SIZE);
        self.used = self.count;
        Ok(self.count)
    }

    /// The n-th datagram as it came, cut to [`QUERY_MAX`].
    #[must_use]
    pub fn query(&self, n: usize) -> &[u8] {
        octets(&self.received, &self.queries, n)
    }

    /// Where the n-th datagram came from.
    #[must_use]
    pub fn peer(&self, n: usize) -> Option<SocketAddr> {
        peer(&self.names[n])
    }

    /// What was received, and room for what is sent in reply.
    pub fn parts(&mut self) -> (Received<'_>, Replies<'_>) {
        let Batch { received, names, controls, queries, replies, reply_len, .. } = self;
        let came = Received { headers: received, names, controls, octets: queries };
        (came, Replies { octets: replies, len: reply_len })
    }

    /// How to answer the n-th datagram later.
    #[must_use]
    pub fn route(&self, n: usize) -> Route {
        route(&self.received, &self.names, &self.controls, n)
    }

    /// Sends the replies. Returns how many the kernel took; one that it refuses is passed over, as if lost on the way.
    pub fn send(&mut self, socket: &impl AsRawFd) -> usize {
        let mut ready = 0;
        for n in 0..self.count {
            if self.reply_len[n] == 0 {
                continue;
            }
            self.vectors[n][1] =
                libc::iovec { iov_base: self.replies[n].as_mut_ptr().cast(), iov_len: self.reply_len[n] };
            let from = self.received[n].msg_hdr;
            let header = &mut self.sent[ready].msg_hdr;
            header.msg_name = from.msg_name;
            header.msg_namelen = from.msg_namelen;
            header.msg_iov = &raw mut self.vectors[n][1];
            header.msg_iovlen = 1;
            header.msg_control =
                if from.msg_controllen == 0 { std::ptr::null_mut() } else { from.msg_control };
            header.msg_controllen = from.msg_controllen;
            forget_interface(&mut self.controls[n], from.msg_controllen);
            ready += 1;
        }
        // SAFETY: headers up to `ready` were just filled with pointers into our boxes and their true lengths: the name and control are
        // those that the kernel gave with the query.
        unsafe { send_all(socket, &mut self.sent[..ready]) }
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

/// Sends one datagram a header. Returns how many the kernel took; one that it refuses is passed over.
///
/// # Safety
/// All that the headers point to is alive, has the length they say, and is not written to during the call.
unsafe fn send_all(socket: &impl AsRawFd, headers: &mut [libc::mmsghdr]) -> usize {
    let (mut at, mut taken) = (0, 0);
    while at < headers.len() {
        // SAFETY: as the caller promises; the socket is open while it is borrowed.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers[at..].as_mut_ptr(),
                (headers.len() - at) as libc::c_uint,
                libc::MSG_DONTWAIT,
            )
        };
        match usize::try_from(sent) {
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
    headers: Box<[libc::mmsghdr; SIZE]>,
    vectors: Box<[libc::iovec; SIZE]>,
    routes: Box<[Route; SIZE]>,
    octets: Box<[[u8; REPLY_MAX]]>,
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
            headers: Box::new([zeroed(); SIZE]),
            vectors: Box::new([zeroed(); SIZE]),
            routes: Box::new([Route::connected(); SIZE]),
            octets: vec![[0; REPLY_MAX]; SIZE].into_boxed_slice(),
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
        self.vectors[n] = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: len };
        self.count += 1;
        true
    }

    /// Sends all that was collected, without waiting. Returns how many the kernel took; the others are lost.
    pub fn send(&mut self, socket: &impl AsRawFd) -> usize {
        let count = std::mem::take(&mut self.count);
        for n in 0..count {
            let vector = &raw mut self.vectors[n];
            self.headers[n].msg_hdr = self.routes[n].header(vector);
        }
        // SAFETY: each header points into our own boxes: a route and a vector, which has the length of what was written to its buffer.
        unsafe { send_all(socket, &mut self.headers[..count]) }
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

    fn header(&mut self, vector: *mut libc::iovec) -> libc::msghdr {
        let mut header: libc::msghdr = zeroed();
        if self.name_len > 0 {
            header.msg_name = (&raw mut self.name).cast();
            header.msg_namelen = self.name_len;
        }
        header.msg_iov = vector;
        header.msg_iovlen = 1;
        if self.control_len > 0 {
            header.msg_control = self.control.0.as_mut_ptr().cast();
            header.msg_controllen = self.control_len as _;
        }
        header
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
