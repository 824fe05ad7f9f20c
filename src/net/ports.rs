//! Sockets to upstreams: connected, from an unpredictable port (RFC 5452, section 9.2).

use crate::raw::set_option;
use mio::net::{TcpStream, UdpSocket};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Random ports that are tried before the kernel chooses one.
const TRIES_MAX: usize = 16;

/// A UDP socket that is connected to `upstream`, and its port. The port is chosen by `random` from 1024
/// to 65535: the kernel's own range is smaller, and another process could occupy most of it. With a
/// `link` other than 0, the index of an interface, the socket uses that link only.
///
/// # Errors
/// If the socket cannot be created or connected, for instance for lack of descriptors or of a route.
pub fn udp(upstream: SocketAddr, link: u32, random: impl FnMut() -> u64) -> io::Result<(UdpSocket, u16)> {
    // Forged ICMP messages about the path must not cause fragmentation of replies (RFC 9715).
    datagrams(upstream, link, libc::IP_PMTUDISC_OMIT, random)
}

/// A socket as [`udp`] makes it, for QUIC: its datagrams are not fragmented on their way (RFC 9000,
/// section 14).
///
/// # Errors
/// Those of [`udp`].
pub fn quic(upstream: SocketAddr, link: u32, random: impl FnMut() -> u64) -> io::Result<UdpSocket> {
    datagrams(upstream, link, libc::IP_PMTUDISC_PROBE, random).map(|(socket, _)| socket)
}

fn datagrams(
    upstream: SocketAddr,
    link: u32,
    path_mtu: libc::c_int,
    mut random: impl FnMut() -> u64,
) -> io::Result<(UdpSocket, u16)> {
    let socket =
        Socket::new(Domain::for_address(upstream), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    let any: IpAddr =
        if upstream.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    if upstream.is_ipv4() {
        set_option(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, path_mtu)?;
    }
    bind_to_link(&socket, link)?;
    let bind = |port: u16| socket.bind(&SocketAddr::new(any, port).into());
    let mut ports = (0..TRIES_MAX).map(|_| 1024 + (random() % (65536 - 1024)) as u16);
    let port = match ports.find(|port| bind(*port).is_ok()) {
        Some(port) => port,
        None => {
            bind(0)?;
            socket.local_addr()?.as_socket().map_or(0, |address| address.port())
        }
    };
    socket.connect(&upstream.into())?;
    Ok((UdpSocket::from_std(socket.into()), port))
}

/// Starts a TCP connection to `upstream`. With a `link` other than 0, the index of an interface, the
/// connection uses that link only.
///
/// # Errors
/// If the socket cannot be created, or the connection fails at once.
pub fn tcp(upstream: SocketAddr, link: u32) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(upstream), kind, Some(Protocol::TCP))?;
    bind_to_link(&socket, link)?;
    match socket.connect(&upstream.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        _ => {}
    }
    socket.set_tcp_nodelay(true)?;
    Ok(TcpStream::from_std(socket.into()))
}

/// Acknowledges what the connection has received at once, instead of with the next octets that are sent.
/// A failure costs time and nothing else.
pub fn acknowledge_now(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_tcp_quickack(true);
}

/// Binds a socket to a link (SO_BINDTOIFINDEX), which any user may do since Linux 5.7. IP_UNICAST_IF
/// would not restrict the packets that are received, and TCP connections ignore it before Linux 6.0.
fn bind_to_link(socket: &Socket, link: u32) -> io::Result<()> {
    let Ok(link) = libc::c_int::try_from(link) else { return Ok(()) };
    if link != 0 { set_option(socket, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, link) } else { Ok(()) }
}
