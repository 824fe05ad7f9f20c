//! A local datagram socket that every user may send to; the kernel reports the sender of each datagram.

use crate::seqpacket::Peer;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, bind, recvmsg, setsockopt,
    socket, sockopt,
};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A local socket that receives datagrams.
#[derive(Debug)]
pub struct Hints(OwnedFd);

impl Hints {
    /// Binds a socket at `path`, replacing one that an earlier process left. Every user may send to it.
    ///
    /// # Errors
    /// If the socket cannot be created, bound, or made writable for all users.
    pub fn bind(path: &Path) -> io::Result<Hints> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        setsockopt(&fd, sockopt::PassCred, &true)?;
        bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
        Ok(Hints(fd))
    }

    /// Receives the next datagram into `buffer`, and returns its length, cut to the buffer, and its
    /// sender. `None` if there is none.
    ///
    /// # Errors
    /// The errors of recvmsg(2), but not that there is no datagram.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Option<Peer>)>> {
        let mut space = nix::cmsg_space!(nix::libc::ucred);
        let mut slices = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<UnixAddr>(self.0.as_raw_fd(), &mut slices, Some(&mut space), flags) {
            Ok(message) => message,
            Err(nix::errno::Errno::EAGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let sender = message.cmsgs().ok().and_then(|mut all| {
            all.find_map(|one| match one {
                ControlMessageOwned::ScmCredentials(sender) => {
                    Some(Peer { pid: sender.pid(), uid: sender.uid(), gid: sender.gid() })
                }
                _ => None,
            })
        });
        Ok(Some((message.bytes, sender)))
    }
}

impl AsRawFd for Hints {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
