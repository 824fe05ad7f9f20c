//! Sockets towards upstreams: connected, from a port that nobody can guess (RFC 5452 section 9.2).

use crate::raw::set_option;
use mio::net::{TcpStream, UdpSocket};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Ports drawn before the kernel is left to choose one.
const DRAWS: usize = 16;

/// A UDP socket that is connected to `upstream` and takes datagrams from there alone. Its port is drawn by `random` from
/// 1024 to 65535: the kernel's own range is smaller, and another process could hold most of it. Of a link that is not 0 it sends and
/// receives through that link alone. Returns the port too.
///
/// # Errors
/// As the kernel says: no descriptors, no route.
pub fn udp(upstream: SocketAddr, link: u32, mut random: impl FnMut() -> u64) -> io::Result<(UdpSocket, u16)> {
    let socket =
        Socket::new(Domain::for_address(upstream), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    let any: IpAddr =
        if upstream.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Fragments of replies must not depend on what a stranger says about the path (RFC 9715).
    if upstream.is_ipv4() {
        set_option(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT)?;
    }
    bind_to_link(&socket, link)?;
    let bind = |port: u16| socket.bind(&SocketAddr::new(any, port).into());
    let mut drawn = (0..DRAWS).map(|_| 1024 + (random() % (65536 - 1024)) as u16);
    let port = match drawn.find(|port| bind(*port).is_ok()) {
        Some(port) => port,
        None => {
            bind(0)?;
            socket.local_addr()?.as_socket().map_or(0, |address| address.port())
        }
    };
    socket.connect(&upstream.into())?;
    Ok((UdpSocket::from_std(socket.into()), port))
}

/// A TCP connection to `upstream`, begun; of a link that is not 0 through that link.
///
/// # Errors
/// As the kernel says.
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

/// Any user may bind a socket that is not bound yet, since Linux 5.7. Rather than choose a route by the link (`IP_UNICAST_IF`), which
/// connections ignore before Linux 6.0, and what comes by another link.
fn bind_to_link(socket: &Socket, link: u32) -> io::Result<()> {
    let Ok(link) = libc::c_int::try_from(link) else { return Ok(()) };
    if link != 0 { set_option(socket, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, link) } else { Ok(()) }
}
