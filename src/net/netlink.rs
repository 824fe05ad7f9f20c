//! News of links, addresses and routes (rtnetlink(7)): only that there is some. What there is now is read elsewhere.

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// A socket that hears of them.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

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

    /// Takes what has come, a bounded number of messages; whether there was any. Messages that were lost are news too.
    pub fn take(&mut self) -> bool {
        let mut buffer = [0; 8192];
        let mut news = false;
        for _ in 0..64 {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(_) | Err(nix::errno::Errno::ENOBUFS) => news = true,
                Err(_) => break,
            }
        }
        news
    }
}

impl AsRawFd for Netlink {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
