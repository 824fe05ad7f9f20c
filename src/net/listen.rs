//! Sockets that clients ask at, bound from the configuration.

use crate::raw::set_option;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

/// Room for datagrams that wait while we work or restart: the kernel's default holds some 250 queries.
const RECEIVE_BUFFER: usize = 4 << 20;
const BACKLOG: libc::c_int = 1024;
/// What the kernel keeps for a client by TCP who does not read (it takes double for its own needs), and for one whose queries are not read
/// because of that. A reply of 64 KiB goes in several pieces then; without, each client could make the kernel hold megabytes.
const TCP_SEND: libc::c_int = 32 * 1024;
const TCP_RECEIVE: libc::c_int = 16 * 1024;
/// How long a client by TCP may leave unread, or unacknowledged, what the kernel has sent, also when its connection is closed by then; in
/// milliseconds.
const TCP_UNREAD: libc::c_int = 10_000;

/// A UDP socket for queries to `address`; `shared`: other sockets of the same user may have the same address, and the kernel spreads
/// clients over them (SO_REUSEPORT).
///
/// # Errors
/// As the kernel says, for instance that the address is in use.
pub fn udp(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = open(address, Type::DGRAM, Protocol::UDP)?;
    socket.set_reuse_port(shared)?;
    // With a capability beyond rmem_max, without one up to it.
    if set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER as libc::c_int).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    prepare_udp(&socket)?;
    Ok(socket)
}

/// Makes a UDP socket say where its datagrams were sent to, so that replies come from there.
///
/// # Errors
/// As the kernel says.
pub fn prepare_udp(socket: &UdpSocket) -> io::Result<()> {
    let address = socket.local_addr()?;
    if address.ip().is_unspecified() {
        match address {
            SocketAddr::V4(_) => set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?,
            SocketAddr::V6(_) => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?,
        }
    }
    socket.set_nonblocking(true)
}

/// A listening TCP socket for queries to `address`.
///
/// # Errors
/// As the kernel says.
pub fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(address, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    prepare_tcp(&listener)?;
    Ok(listener)
}

/// Bounds what the kernel holds for each client of a listening socket, for how long.
///
/// # Errors
/// As the kernel says.
pub fn prepare_tcp(listener: &TcpListener) -> io::Result<()> {
    // Connections inherit them.
    set_option(listener, libc::SOL_SOCKET, libc::SO_SNDBUF, TCP_SEND)?;
    set_option(listener, libc::SOL_SOCKET, libc::SO_RCVBUF, TCP_RECEIVE)?;
    set_option(listener, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, TCP_UNREAD)?;
    listener.set_nonblocking(true)
}

fn open(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking().cloexec(), Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // An address that does not exist yet may come with its network.
    match address {
        SocketAddr::V4(_) => set_option(&socket, libc::IPPROTO_IP, libc::IP_FREEBIND, 1)?,
        SocketAddr::V6(_) => set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_FREEBIND, 1)?,
    }
    Ok(socket)
}
