//! Sockets on which clients send queries, bound to the addresses of the configuration.

use crate::raw::set_option;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

/// Octets that the kernel queues for a UDP socket while we are busy or restart. Its default is enough
/// for about 250 queries.
const UDP_QUEUED_MAX: usize = 4 << 20;
/// Connections that wait to be accepted.
const BACKLOG_MAX: libc::c_int = 1024;
/// Octets that the kernel queues for a TCP client that does not read; it allocates twice as much.
/// Without this limit each client could make the kernel hold megabytes. The cost is that a reply of 64
/// KiB is sent in several pieces.
const TCP_UNSENT_MAX: libc::c_int = 32 * 1024;
/// Octets that the kernel queues from a TCP client whose queries are not read.
const TCP_UNREAD_MAX: libc::c_int = 16 * 1024;
/// How long a TCP client may leave data unacknowledged or its window closed, in milliseconds
/// (TCP_USER_TIMEOUT, tcp(7)). The timeout also applies after we have closed the connection.
const TCP_UNACKNOWLEDGED_MS_MAX: libc::c_int = 10_000;

/// A UDP socket for queries to `address`. If it is `shared`, other sockets of the same user can be
/// bound to the same address, and the kernel distributes clients over them (SO_REUSEPORT).
///
/// # Errors
/// If the socket cannot be created or bound, for instance because the address is in use.
pub fn udp(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = open(address, Type::DGRAM, Protocol::UDP)?;
    socket.set_reuse_port(shared)?;
    // With CAP_NET_ADMIN the limit rmem_max does not apply; without it the size is cut to that limit.
    if set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, UDP_QUEUED_MAX as libc::c_int).is_err() {
        socket.set_recv_buffer_size(UDP_QUEUED_MAX)?;
    }
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);
    prepare_udp(&socket)?;
    Ok(socket)
}

/// Sets the options of a UDP socket by which it reports the address that each datagram was sent to, so
/// that replies can be sent from there.
///
/// # Errors
/// If the kernel refuses an option.
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
/// If the socket cannot be created or bound.
pub fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(address, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG_MAX)?;
    let listener = TcpListener::from(socket);
    prepare_tcp(&listener)?;
    Ok(listener)
}

/// Limits the memory that the kernel uses for each client of a listening socket, and for how long.
///
/// # Errors
/// If the kernel refuses an option.
pub fn prepare_tcp(listener: &TcpListener) -> io::Result<()> {
    // Accepted connections inherit these options.
    set_option(listener, libc::SOL_SOCKET, libc::SO_SNDBUF, TCP_UNSENT_MAX)?;
    set_option(listener, libc::SOL_SOCKET, libc::SO_RCVBUF, TCP_UNREAD_MAX)?;
    set_option(listener, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, TCP_UNACKNOWLEDGED_MS_MAX)?;
    listener.set_nonblocking(true)
}

fn open(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking().cloexec(), Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The address can be one that the host gets later, when its network is up.
    match address {
        SocketAddr::V4(_) => set_option(&socket, libc::IPPROTO_IP, libc::IP_FREEBIND, 1)?,
        SocketAddr::V6(_) => set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_FREEBIND, 1)?,
    }
    Ok(socket)
}
