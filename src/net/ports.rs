//! Sockets towards upstreams: connected, from a port that nobody can guess (RFC 5452 section 9.2).

use crate::raw::set_option;
use mio::net::{TcpStream, UdpSocket};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Ports drawn before the kernel is left to choose one.
const DRAWS: usize = 16;

/// A UDP socket that is connected to `upstream` and takes datagrams from there alone. Its port is drawn by `random` from
/// 1024 to 65535: the kernel's own range is smaller, and another process could hold most of it. Returns the port too.
///
/// # Errors
/// As the kernel says: no descriptors, no route.
pub fn udp(upstream: SocketAddr, mut random: impl FnMut() -> u64) -> io::Result<(UdpSocket, u16)> {
    let socket =
        Socket::new(Domain::for_address(upstream), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    let any: IpAddr =
        if upstream.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Fragments of replies must not depend on what a stranger says about the path (RFC 9715).
    if upstream.is_ipv4() {
        set_option(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT)?;
    }
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

/// A TCP connection to `upstream`, begun.
///
/// # Errors
/// As the kernel says.
pub fn tcp(upstream: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(upstream)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
