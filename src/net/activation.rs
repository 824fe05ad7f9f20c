//! Sockets passed by systemd (sd_listen_fds(3)), distinguished by name and type, never by position.

use crate::raw;
use crate::seqpacket::Listener;
use nix::sys::socket::{SockType, UnixAddr, getsockname, getsockopt, sockopt};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// A socket passed by systemd, set to non-blocking.
#[derive(Debug)]
pub enum Socket {
    /// A UDP socket bound to this address.
    Udp(SocketAddr, UdpSocket),
    /// A TCP socket that listens at this address.
    Tcp(SocketAddr, TcpListener),
    /// A local SEQPACKET socket that listens.
    Local(Listener),
}

/// A socket passed by systemd, with its name.
#[derive(Debug)]
pub struct Inherited {
    /// The `FileDescriptorName=` of its unit.
    pub name: String,
    /// The socket, which this process now owns.
    pub socket: Socket,
}

/// Why a socket passed by systemd cannot be used.
#[derive(Debug)]
pub enum ActivationError {
    /// `LISTEN_FDS` and the related variables are inconsistent.
    Environment(io::Error),
    /// The socket is of another kind than those of [`Socket`].
    Kind {
        /// The name of the socket.
        name: String,
        /// The kind that the socket is of.
        what: String,
    },
    /// The options of the socket cannot be read or set.
    Socket {
        /// The name of the socket.
        name: String,
        /// The error of the kernel.
        error: io::Error,
    },
}

impl fmt::Display for ActivationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(error) => {
                write!(f, "the sockets handed over by systemd cannot be taken: {error}")
            }
            Self::Kind { name, what } => write!(
                f,
                "the socket '{name}' handed over by systemd is {what}; expected ListenDatagram= or ListenStream= with an address and a port, or ListenSequentialPacket="
            ),
            Self::Socket { name, error } => {
                write!(f, "the socket '{name}' handed over by systemd cannot be used: {error}")
            }
        }
    }
}

impl std::error::Error for ActivationError {}

/// The sockets passed by systemd; an error in place of each that cannot be used.
///
/// # Errors
/// [`ActivationError::Environment`], if none can be taken.
pub fn inherited() -> Result<Vec<Result<Inherited, ActivationError>>, ActivationError> {
    let fds = raw::inherited().map_err(ActivationError::Environment)?;
    Ok(fds.into_iter().map(|(fd, name)| classify(fd, name)).collect())
}

fn classify(fd: OwnedFd, name: String) -> Result<Inherited, ActivationError> {
    let failed = |error: io::Error| ActivationError::Socket { name: name.clone(), error };
    let kind = |what: &str| ActivationError::Kind { name: name.clone(), what: what.to_owned() };
    let socket_type = getsockopt(&fd, sockopt::SockType).map_err(|_| kind("no socket"))?;
    let listens = || getsockopt(&fd, sockopt::AcceptConn).map_err(|error| failed(error.into()));
    let socket = match socket_type {
        SockType::Datagram => {
            let socket = UdpSocket::from(fd);
            let address = socket.local_addr().map_err(|_| kind("a local datagram socket"))?;
            socket.set_nonblocking(true).map_err(failed)?;
            Socket::Udp(address, socket)
        }
        SockType::Stream if listens()? => {
            let socket = TcpListener::from(fd);
            let address = socket.local_addr().map_err(|_| kind("a local stream socket"))?;
            socket.set_nonblocking(true).map_err(failed)?;
            Socket::Tcp(address, socket)
        }
        SockType::SeqPacket if listens()? => {
            getsockname::<UnixAddr>(fd.as_raw_fd())
                .map_err(|_| kind("a SEQPACKET socket that is not local"))?;
            Socket::Local(Listener::inherited(fd).map_err(failed)?)
        }
        SockType::Stream | SockType::SeqPacket => return Err(kind("a connection (Accept=yes?)")),
        other => return Err(kind(&format!("of type {other:?}"))),
    };
    Ok(Inherited { name, socket })
}
