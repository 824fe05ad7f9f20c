//! Notices changes of links, addresses and routes (rtnetlink(7)). Reports only that there was a change;
//! the caller reads the new state itself.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, socket,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// Datagrams that one call takes, more than the socket's default buffer holds.
const DATAGRAMS_MAX: usize = 1024;
/// Octets of a message's header (struct nlmsghdr). Messages are aligned to four octets.
const HEADER_LEN: usize = 16;
/// NLMSG_OVERRUN: messages were lost.
const OVERRUN: u16 = 4;
/// RTM_NEWLINK and RTM_DELLINK, RTM_NEWADDR and RTM_DELADDR, RTM_NEWROUTE and RTM_DELROUTE.
const CHANGES: [u16; 6] = [16, 17, 20, 21, 24, 25];

/// A subscription to changes of links, addresses and routes.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

/// The result of [`Netlink::take`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// Whether there was any change. Lost messages count as changes.
    pub any: bool,
    /// Whether there may be more messages. If so, call [`Netlink::take`] again soon, without waiting for
    /// an event: after an overrun the kernel queues no new messages until all queued ones have been
    /// taken.
    pub more: bool,
}

impl Netlink {
    /// Subscribes to changes.
    ///
    /// # Errors
    /// If the socket cannot be created or bound.
    pub fn new() -> io::Result<Netlink> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Netlink(fd))
    }

    /// Takes the queued messages, at most those of 1024 datagrams.
    pub fn take(&mut self) -> Changes {
        let mut buffer = [0; 8192];
        let mut changes = Changes::default();
        for _ in 0..DATAGRAMS_MAX {
            match recvfrom::<NetlinkAddr>(self.0.as_raw_fd(), &mut buffer) {
                // Other processes can send to the socket too; only the kernel's messages count.
                Ok((len, from)) => {
                    let is_kernel = from.is_none_or(|from| from.pid() == 0);
                    changes.any |= is_kernel && reports_change(buffer.get(..len).unwrap_or(&buffer));
                }
                Err(Errno::ENOBUFS) => changes.any = true,
                Err(Errno::EINTR) => {}
                Err(_) => return changes,
            }
        }
        Changes { more: true, ..changes }
    }
}

impl AsRawFd for Netlink {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Whether a datagram of rtnetlink reports a change. A malformed datagram counts as a change.
#[must_use]
pub fn reports_change(mut octets: &[u8]) -> bool {
    while !octets.is_empty() {
        let [a, b, c, d, kind_low, kind_high, ..] = *octets else { return true };
        let len = usize::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let kind = u16::from_ne_bytes([kind_low, kind_high]);
        if len < HEADER_LEN || len > octets.len() || kind == OVERRUN || CHANGES.contains(&kind) {
            return true;
        }
        octets = octets.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let len = (HEADER_LEN + payload.len()) as u32;
        let mut octets = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], payload].concat();
        octets.resize(octets.len().next_multiple_of(4), 0);
        octets
    }

    #[test]
    fn messages_of_changes_count_and_others_do_not() {
        for kind in CHANGES.into_iter().chain([OVERRUN]) {
            assert!(reports_change(&message(kind, &[1; 13])));
            assert!(
                reports_change(&[message(2, &[0; 20]), message(kind, &[])].concat()),
                "{kind} after another"
            );
        }
        // NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE, RTM_NEWNEIGH.
        for kind in [1, 2, 3, 28] {
            assert!(!reports_change(&message(kind, &[0; 7])), "{kind}");
        }
        assert!(!reports_change(&[]));
    }

    #[test]
    fn a_malformed_datagram_counts_as_a_change() {
        let complete = message(28, &[7; 8]);
        (1..complete.len()).for_each(|cut| assert!(reports_change(&complete[..cut]), "cut at {cut}"));
        for len in [0, 1, 15, 25, u32::MAX] {
            let mut lying = complete.clone();
            lying[..4].copy_from_slice(&len.to_ne_bytes());
            assert!(reports_change(&lying), "a length of {len}");
        }
    }
}
