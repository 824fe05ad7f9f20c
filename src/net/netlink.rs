//! News of links, addresses and routes (rtnetlink(7)): only that there is some. What there is now is read elsewhere.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, socket,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// Messages taken at once: more than the socket's usual buffer holds.
const TAKEN_MAX: usize = 1024;
/// Octets of a message's header (struct nlmsghdr), to whose multiples of four messages are rounded.
const HEADER: usize = 16;
/// NLMSG_OVERRUN: messages were lost.
const OVERRUN: u16 = 4;
/// RTM_NEWLINK and RTM_DELLINK, RTM_NEWADDR and RTM_DELADDR, RTM_NEWROUTE and RTM_DELROUTE.
const CHANGES: [u16; 6] = [16, 17, 20, 21, 24, 25];

/// A socket that hears of them.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

/// What there was to hear.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Heard {
    /// There was news. Messages that were lost are news too.
    pub news: bool,
    /// There may be more, of which a poll need not tell: once messages were lost, the kernel queues no others before all that are queued
    /// have been taken. So take again in a while.
    pub more: bool,
}

impl Netlink {
    /// Subscribes.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn new() -> io::Result<Netlink> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Netlink(fd))
    }

    /// Takes what has come, a bounded number of messages.
    pub fn take(&mut self) -> Heard {
        let mut buffer = [0; 8192];
        let mut heard = Heard::default();
        for _ in 0..TAKEN_MAX {
            match recvfrom::<NetlinkAddr>(self.0.as_raw_fd(), &mut buffer) {
                // Only the kernel's own word counts.
                Ok((len, from)) => {
                    let is_kernel = from.is_none_or(|from| from.pid() == 0);
                    heard.news |= is_kernel && is_news(buffer.get(..len).unwrap_or(&buffer));
                }
                Err(Errno::ENOBUFS) => heard.news = true,
                Err(Errno::EINTR) => {}
                Err(_) => return heard,
            }
        }
        Heard { more: true, ..heard }
    }
}

impl AsRawFd for Netlink {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Whether a datagram of rtnetlink tells of a change. One that cannot be read to its end does: something was said.
///
/// Ends after as many steps as there are messages in it, each of at least 16 octets.
#[must_use]
pub fn is_news(mut octets: &[u8]) -> bool {
    while !octets.is_empty() {
        let [a, b, c, d, kind_low, kind_high, ..] = *octets else { return true };
        let len = usize::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let kind = u16::from_ne_bytes([kind_low, kind_high]);
        if len < HEADER || len > octets.len() || kind == OVERRUN || CHANGES.contains(&kind) {
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
        let len = (HEADER + payload.len()) as u32;
        let mut octets = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], payload].concat();
        octets.resize(octets.len().next_multiple_of(4), 0);
        octets
    }

    #[test]
    fn changes_are_news_wherever_they_stand_and_other_words_are_none() {
        for kind in CHANGES.into_iter().chain([OVERRUN]) {
            assert!(is_news(&message(kind, &[1; 13])));
            assert!(is_news(&[message(2, &[0; 20]), message(kind, &[])].concat()), "{kind} after another");
        }
        // NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE, RTM_NEWNEIGH.
        for kind in [1, 2, 3, 28] {
            assert!(!is_news(&message(kind, &[0; 7])), "{kind}");
        }
        assert!(!is_news(&[]));
    }

    #[test]
    fn what_cannot_be_read_to_its_end_is_news() {
        let whole = message(28, &[7; 8]);
        (1..whole.len()).for_each(|cut| assert!(is_news(&whole[..cut]), "cut at {cut}"));
        for len in [0, 1, 15, 25, u32::MAX] {
            let mut lying = whole.clone();
            lying[..4].copy_from_slice(&len.to_ne_bytes());
            assert!(is_news(&lying), "a length of {len}");
        }
    }
}
