//! Sockets handed over by systemd: told apart by name and type, never by position.

use crate::raw;
use nix::sys::socket::{SockType, getsockopt, sockopt};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

/// A socket that was handed over, ready for a poll.
#[derive(Debug)]
pub enum Socket {
    /// For datagrams.
    Udp(UdpSocket),
    /// For connections.
    Tcp(TcpListener),
}

/// One of them.
#[derive(Debug)]
pub struct Inherited {
    /// `FileDescriptorName=` of its unit.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// The socket.
    pub socket: Socket,
}

/// Why a socket that was handed over cannot be used.
#[derive(Debug)]
pub enum ActivationError {
    /// `LISTEN_FDS` and its like contradict themselves.
    Environment(io::Error),
    /// It is no UDP socket and no listening TCP socket.
    Kind {
        /// Its name.
        name: String,
        /// What it is instead.
        what: String,
    },
    /// Its options cannot be read or set.
    Socket {
        /// Its name.
        name: String,
        /// Why.
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
                "the socket '{name}' handed over by systemd is {what}; expected ListenDatagram= or ListenStream= with an address and a port"
            ),
            Self::Socket { name, error } => {
                write!(f, "the socket '{name}' handed over by systemd cannot be used: {error}")
            }
        }
    }
}

impl std::error::Error for ActivationError {}

/// The sockets that were handed over, none if there are none.
///
/// # Errors
/// An [`ActivationError`].
pub fn inherited() -> Result<Vec<Inherited>, ActivationError> {
    let fds = raw::inherited().map_err(ActivationError::Environment)?;
    fds.into_iter().map(|(fd, name)| classify(fd, name)).collect()
}

fn classify(fd: OwnedFd, name: String) -> Result<Inherited, ActivationError> {
    let failed = |error: io::Error| ActivationError::Socket { name: name.clone(), error };
    let kind = |what: &str| ActivationError::Kind { name: name.clone(), what: what.to_owned() };
    let sort = getsockopt(&fd, sockopt::SockType).map_err(|_| kind("no socket"))?;
    let (socket, address) = match sort {
        SockType::Datagram => {
            let socket = UdpSocket::from(fd);
            let address = socket.local_addr().map_err(|_| kind("a local datagram socket"))?;
            socket.set_nonblocking(true).map_err(failed)?;
            (Socket::Udp(socket), address)
        }
        SockType::Stream if getsockopt(&fd, sockopt::AcceptConn).map_err(|e| failed(e.into()))? => {
            let socket = TcpListener::from(fd);
            let address = socket.local_addr().map_err(|_| kind("a local stream socket"))?;
            socket.set_nonblocking(true).map_err(failed)?;
            (Socket::Tcp(socket), address)
        }
        SockType::Stream => return Err(kind("a connection (Accept=yes?)")),
        other => return Err(kind(&format!("of type {other:?}"))),
    };
    Ok(Inherited { name, address, socket })
}
