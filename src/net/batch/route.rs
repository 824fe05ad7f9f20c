//! The way of a reply: the address that it is sent to, and the control message with the address that it
//! is sent from.

use super::zeroed;

/// Octets of the control messages of a datagram.
pub(super) const CONTROL: usize = 64;

/// The control messages of a datagram (cmsg(3)).
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Control(pub(super) [u8; CONTROL]);

/// Where a reply is sent to, and from which address.
#[derive(Clone, Copy)]
pub struct Route {
    pub(super) name: libc::sockaddr_in6,
    pub(super) name_len: libc::socklen_t,
    pub(super) control: Control,
    pub(super) control_len: usize,
}

impl Route {
    /// Whether datagrams by both routes have the same source address and link.
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
    /// The route to the peer of a connected socket.
    #[must_use]
    pub fn connected() -> Route {
        Route { name: zeroed(), name_len: 0, control: Control([0; CONTROL]), control_len: 0 }
    }
}

/// Removes the interface of the query from the control message of the reply, so that the routing table
/// decides which way it takes. A link-local address keeps its interface, which it needs.
pub(super) fn forget_interface(control: &mut Control, len: usize) {
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
