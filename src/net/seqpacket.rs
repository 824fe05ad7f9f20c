//! Local SEQPACKET sockets, which keep messages apart, between daemon, sorter and operator. The
//! kernel reports the peer's process and user.

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr, accept4, bind, connect,
    getsockopt, listen, recv, send, setsockopt, shutdown, socket, sockopt,
};
use nix::sys::time::TimeVal;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

/// A local socket that accepts connections.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// A local connection that carries complete messages.
#[derive(Debug)]
pub struct Connection(OwnedFd);

/// The process at the other end, as it was when it connected or sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The id of the process.
    pub pid: i32,
    /// The effective user id of the process.
    pub uid: u32,
    /// The effective group id of the process.
    pub gid: u32,
}

impl Listener {
    /// Listens at `path`, replacing a socket that an earlier process left. `mode` are the permissions
    /// of its file.
    ///
    /// # Errors
    /// If the socket cannot be created or bound.
    pub fn bind(path: &Path, mode: u32) -> io::Result<Listener> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        listen(&fd, Backlog::new(64)?)?;
        Ok(Listener(fd))
    }

    /// Takes a socket that listens already.
    pub(crate) fn inherited(fd: OwnedFd) -> io::Result<Listener> {
        fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Listener(fd))
    }

    /// Accepts the next connection; `None` if there is none.
    ///
    /// # Errors
    /// The errors of accept4(2), for instance for lack of descriptors.
    pub fn accept(&self) -> io::Result<Option<Connection>> {
        match accept4(self.0.as_raw_fd(), SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC) {
            Ok(fd) => Ok(Some(Connection(crate::raw::accepted(fd)))),
            Err(nix::errno::Errno::EAGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Connection {
    /// Connects to `path`. With a `timeout`, sending and receiving block for at most that time; without
    /// one they never block.
    ///
    /// # Errors
    /// If the connection cannot be made.
    pub fn connect(path: &Path, timeout: Option<Duration>) -> io::Result<Connection> {
        let blocking = if timeout.is_some() { SockFlag::empty() } else { SockFlag::SOCK_NONBLOCK };
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC | blocking, None)?;
        if let Some(timeout) = timeout {
            let time = TimeVal::new(
                i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
                i64::from(timeout.subsec_micros()),
            );
            setsockopt(&fd, sockopt::ReceiveTimeout, &time)?;
            setsockopt(&fd, sockopt::SendTimeout, &time)?;
        }
        connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Connection(fd))
    }

    /// The process at the other end.
    ///
    /// # Errors
    /// If the kernel does not know it.
    pub fn peer(&self) -> io::Result<Peer> {
        let peer = getsockopt(&self.0, sockopt::PeerCredentials)?;
        Ok(Peer { pid: peer.pid(), uid: peer.uid(), gid: peer.gid() })
    }

    /// Ends what the peer may send, and drops what it has sent: a connection that is closed with unread
    /// messages reports an error to the peer before our last message.
    pub fn stop_receiving(&self) {
        // It fails if the peer is gone: then there is nobody to stop.
        let _ = shutdown(self.0.as_raw_fd(), Shutdown::Read);
        // The peer's queue is bounded, and nothing is added to it any more.
        while recv(self.0.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT).is_ok_and(|len| len > 0) {}
    }

    /// Sets the kernel's buffer for what the peer has not read yet; the kernel takes twice as much.
    ///
    /// # Errors
    /// The errors of setsockopt(2).
    pub fn set_send_buffer(&self, octets: usize) -> io::Result<()> {
        Ok(setsockopt(&self.0, sockopt::SndBuf, &octets)?)
    }

    /// Receives one message into `buffer`. An empty message is the end of the connection.
    ///
    /// # Errors
    /// `InvalidData` for a message longer than `buffer`, `WouldBlock` if there is none, else those of
    /// recv(2).
    pub fn receive<'b>(&self, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let len = uninterrupted(|| recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC))?;
        buffer
            .get(..len)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the message is longer than allowed"))
    }

    /// Sends one message.
    ///
    /// # Errors
    /// `WouldBlock` if the queue of the peer is full, else those of send(2).
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        uninterrupted(|| send(self.0.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL))?;
        Ok(())
    }
}

/// Makes a call again while it fails with EINTR, which a call with a timeout does when its process
/// is stopped and continued.
fn uninterrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(nix::errno::Errno::EINTR) => {}
            other => return other,
        }
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
