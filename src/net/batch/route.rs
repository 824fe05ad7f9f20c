//! The route of a reply: the address that it is sent to, and the control message with the address that
//! it is sent from.

use super::zeroed;

/// Octets of the control messages of a datagram.
pub(super) const CONTROL_LEN: usize = 64;

/// The control messages of a datagram (cmsg(3)).
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Control(pub(super) [u8; CONTROL_LEN]);

/// The address that a reply is sent to, and the address and link that it is sent from.
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
        Route { name: zeroed(), name_len: 0, control: Control([0; CONTROL_LEN]), control_len: 0 }
    }
}

/// Removes the query's interface from the control message of the reply, so that the routing table
/// chooses the interface. A link-local address means nothing without its interface and keeps it.
pub(super) fn forget_interface(control: &mut Control, len: usize) {
    const HEADER_LEN: usize = size_of::<libc::cmsghdr>();
    let word = |at: usize, octets: &[u8; CONTROL_LEN]| {
        octets.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, libc::c_int::from_ne_bytes)
    };
    let octets = &mut control.0;
    if len < HEADER_LEN + 4 {
        return;
    }
    let (level, kind) = (word(8, octets), word(12, octets));
    if level == libc::IPPROTO_IP && kind == libc::IP_PKTINFO {
        octets[HEADER_LEN..HEADER_LEN + 4].fill(0);
    } else if level == libc::IPPROTO_IPV6
        && kind == libc::IPV6_PKTINFO
        && octets[HEADER_LEN..HEADER_LEN + 2] != [0xfe, 0x80]
    {
        octets[HEADER_LEN + 16..HEADER_LEN + 20].fill(0);
    }
}
