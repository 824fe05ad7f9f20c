//! Finds the control group of the socket at the other end of a conversation within this host
//! (sock_diag(7)). No privilege is needed for that.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvfrom, sendto, socket,
};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// SOCK_DIAG_BY_FAMILY, a type of messages, and NLM_F_REQUEST.
const BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
/// NLMSG_ERROR.
const ERROR: u16 = 2;
/// Octets of struct nlmsghdr, struct inet_diag_sockid, and of struct inet_diag_msg.
const HEADER_LEN: usize = 16;
const SOCKET_ID_LEN: usize = 48;
const MESSAGE_LEN: usize = 4 + SOCKET_ID_LEN + 20;
/// INET_DIAG_CGROUP_ID. The kernel adds this attribute unasked, since 5.8.
const CGROUP_ID: u16 = 21;

/// A protocol of sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// IPPROTO_UDP.
    Udp,
    /// IPPROTO_TCP.
    Tcp,
}

/// The control group of a socket, as far as the kernel says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The id of the control group in which the socket was created: the number of its directory.
    Cgroup(u64),
    /// This network namespace has no such socket: the client is elsewhere, or has closed it.
    NoSocket,
    /// The kernel knows the socket, and does not say its control group.
    NotSaid,
}

/// A socket for such questions. The kernel answers each of them within the system call that asks.
#[derive(Debug)]
pub struct SockDiag {
    socket: OwnedFd,
    sequence: u32,
}

impl SockDiag {
    /// Opens the socket.
    ///
    /// # Errors
    /// If it cannot be opened, for instance in a sandbox without AF_NETLINK.
    pub fn new() -> io::Result<SockDiag> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let protocol = SockProtocol::NetlinkSockDiag;
        let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, protocol)?;
        Ok(SockDiag { socket, sequence: 0 })
    }

    /// The owner of the socket by which `client` talks to `server`, both as the server sees them.
    ///
    /// # Errors
    /// If the kernel does not answer, for instance without its module for such questions.
    pub fn owner(&mut self, protocol: Protocol, client: SocketAddr, server: SocketAddr) -> io::Result<Owner> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = request(protocol, canonical(client), canonical(server), self.sequence);
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.socket.as_raw_fd(), &request, &kernel, MsgFlags::empty())?;
        let mut buffer = [0; 4096];
        // An answer to an earlier question may be left, if that one was interrupted.
        for _ in 0..8 {
            match recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
                Ok((_, Some(from))) if from.pid() != 0 => {}
                Ok((len, _)) => {
                    let octets = buffer.get(..len).unwrap_or(&buffer);
                    if let Some(owner) = read(octets, self.sequence, client.port()) {
                        return owner;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// IPv4 addresses that the server sees as IPv6 are those of IPv4 sockets.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => {
            SocketAddr::new(address.ip().to_canonical(), address.port())
        }
        _ => address,
    }
}

/// A message of struct inet_diag_req_v2 for the client's socket.
fn request(protocol: Protocol, client: SocketAddr, server: SocketAddr, sequence: u32) -> Vec<u8> {
    let (family, number) = match (client, protocol) {
        (SocketAddr::V4(_), Protocol::Udp) => (libc::AF_INET, libc::IPPROTO_UDP),
        (SocketAddr::V4(_), Protocol::Tcp) => (libc::AF_INET, libc::IPPROTO_TCP),
        (SocketAddr::V6(_), Protocol::Udp) => (libc::AF_INET6, libc::IPPROTO_UDP),
        (SocketAddr::V6(_), Protocol::Tcp) => (libc::AF_INET6, libc::IPPROTO_TCP),
    };
    // By UDP the kernel looks for the socket that would receive a datagram with this source and
    // destination, connected or not. By TCP source is the socket's own address.
    let (source, destination) = match protocol {
        Protocol::Udp => (server, client),
        Protocol::Tcp => (client, server),
    };
    let link = match client {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => v6.scope_id(),
        SocketAddr::V4(_) | SocketAddr::V6(_) => 0,
    };
    let mut out = Vec::with_capacity(HEADER_LEN + 8 + SOCKET_ID_LEN);
    out.extend(((HEADER_LEN + 8 + SOCKET_ID_LEN) as u32).to_ne_bytes());
    out.extend(BY_FAMILY.to_ne_bytes());
    out.extend(REQUEST.to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend([0; 4]);
    out.extend([family as u8, number as u8, 0, 0]);
    out.extend(u32::MAX.to_ne_bytes());
    out.extend(source.port().to_be_bytes());
    out.extend(destination.port().to_be_bytes());
    for address in [source.ip(), destination.ip()] {
        match address {
            IpAddr::V4(v4) => out.extend([v4.octets(), [0; 4], [0; 4], [0; 4]].concat()),
            IpAddr::V6(v6) => out.extend(v6.octets()),
        }
    }
    out.extend(link.to_ne_bytes());
    // INET_DIAG_NOCOOKIE.
    out.extend([0xff; 8]);
    out
}

/// Reads the answer to question `sequence` about a client at `port`. `None`: the datagram is another.
fn read(octets: &[u8], sequence: u32, port: u16) -> Option<io::Result<Owner>> {
    let header = octets.first_chunk::<HEADER_LEN>()?;
    let [a, b, c, d, kind_low, kind_high, _, _, e, f, g, h, ..] = *header;
    if u32::from_ne_bytes([e, f, g, h]) != sequence {
        return None;
    }
    let len = usize::try_from(u32::from_ne_bytes([a, b, c, d])).ok()?;
    let body = octets.get(HEADER_LEN..len)?;
    match u16::from_ne_bytes([kind_low, kind_high]) {
        ERROR => {
            let number = i32::from_ne_bytes(*body.first_chunk()?).checked_neg()?;
            let is_gone = number == libc::ENOENT || number == libc::ECONNREFUSED;
            Some(if is_gone { Ok(Owner::NoSocket) } else { Err(io::Error::from_raw_os_error(number)) })
        }
        BY_FAMILY => {
            // The kernel may have found our own socket, or a listener at the same port.
            let found = body.get(4..6)?.try_into().map(u16::from_be_bytes).ok()?;
            let attributes = body.get(MESSAGE_LEN..)?;
            Some(Ok(if found == port { owner(attributes) } else { Owner::NoSocket }))
        }
        _ => None,
    }
}

/// The control group among attributes (struct nlattr).
fn owner(mut attributes: &[u8]) -> Owner {
    while let Some([a, b, c, d]) = attributes.first_chunk().copied() {
        let (len, kind) = (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d]));
        let Some(value) = attributes.get(4..len) else { break };
        if let (CGROUP_ID, Ok(id)) = (kind, value.try_into()) {
            return match u64::from_ne_bytes(id) {
                0 => Owner::NotSaid,
                id => Owner::Cgroup(id),
            };
        }
        attributes = attributes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Owner::NotSaid
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer about a socket at port 7, with attributes.
    fn answer(attributes: &[u8]) -> Vec<u8> {
        let mut body = vec![0; MESSAGE_LEN];
        body[4..6].copy_from_slice(&7_u16.to_be_bytes());
        body.extend(attributes);
        let len = (HEADER_LEN + body.len()) as u32;
        [&len.to_ne_bytes()[..], &BY_FAMILY.to_ne_bytes(), &[0, 0], &3_u32.to_ne_bytes(), &[0; 4], &body]
            .concat()
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = (4 + value.len()) as u16;
        let mut octets = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        octets.resize(octets.len().next_multiple_of(4), 0);
        octets
    }

    #[test]
    fn the_control_group_is_found_among_attributes_and_its_lack_is_said() {
        let of = |attributes: &[u8]| read(&answer(attributes), 3, 7).expect("ours").expect("an answer");
        let id = attribute(CGROUP_ID, &77_u64.to_ne_bytes());
        assert_eq!(of(&[attribute(8, &[1]), id.clone()].concat()), Owner::Cgroup(77));
        for without in [vec![], attribute(8, &[1]), attribute(CGROUP_ID, &[0; 8]), attribute(CGROUP_ID, &[1])]
        {
            assert_eq!(of(&without), Owner::NotSaid, "{without:?}");
        }
        assert!(read(&answer(&id), 4, 7).is_none(), "another question's");
        assert_eq!(read(&answer(&id), 3, 8).expect("ours").expect("an answer"), Owner::NoSocket);
    }

    #[test]
    fn any_octets_are_read_without_a_panic() {
        let whole = answer(&attribute(CGROUP_ID, &77_u64.to_ne_bytes()));
        for cut in 0..whole.len() {
            let _ = read(&whole[..cut], 3, 7);
            for octet in [0, 1, 3, 0xff] {
                let mut changed = whole.clone();
                changed[cut] = octet;
                let _ = read(&changed, 3, 7);
            }
        }
    }
}
