//! A local socket for single datagrams of anybody's, each with the sender as the kernel knows it.

use crate::seqpacket::Peer;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, bind, recvmsg, setsockopt,
    socket, sockopt,
};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Receives datagrams.
#[derive(Debug)]
pub struct Hints(OwnedFd);

impl Hints {
    /// Receives at `path`, in place of whatever a predecessor left there. Anybody may send.
    ///
    /// # Errors
    /// As the kernel says.
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

    /// The next datagram: its length (of what fits) and its sender. `None` when there is none.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Option<Peer>)>> {
        let mut space = nix::cmsg_space!(nix::libc::ucred);
        let mut room = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<UnixAddr>(self.0.as_raw_fd(), &mut room, Some(&mut space), flags) {
            Ok(message) => message,
            Err(nix::errno::Errno::EAGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let sender = message.cmsgs().ok().and_then(|mut all| {
            all.find_map(|one| match one {
                ControlMessageOwned::ScmCredentials(who) => {
                    Some(Peer { pid: who.pid(), uid: who.uid(), gid: who.gid() })
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
