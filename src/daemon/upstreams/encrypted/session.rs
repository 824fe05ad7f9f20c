//! One session and its socket, whichever of the three protocols it speaks.

use super::stream::Stream;
use hither_net::shortage::is_shortage;
use hither_secure::{Anchor, DohSession, DoqSession, DotSession, Error, Event, Received, Refused, Shared};
use hither_table::Monotonic;
use mio::net::{TcpStream, UdpSocket};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// Octets of the largest datagram.
const DATAGRAM_OCTETS_MAX: usize = 65_535;
/// Datagrams that are received together.
const DATAGRAMS_MAX: usize = 32;

/// A socket on which no session has begun.
#[derive(Debug)]
pub(super) enum Socket {
    Stream(TcpStream),
    Datagrams(UdpSocket),
}

/// A session and its socket.
#[derive(Debug)]
pub(super) enum Session {
    Tls { stream: Stream, session: Box<DotSession> },
    Https { stream: Stream, session: Box<DohSession> },
    Quic { socket: UdpSocket, session: Box<DoqSession>, peer: SocketAddr, is_heard: bool },
}

/// The clocks and the buffers that sessions need.
#[derive(Debug)]
pub(super) struct Bench {
    pub anchor: Anchor,
    pub now: Monotonic,
    /// For one datagram that is received, as long as the largest one.
    pub received: Vec<u8>,
    /// For one datagram that is sent.
    pub sent: Vec<u8>,
}

impl Bench {
    pub fn new(anchor: Anchor) -> Bench {
        Bench { anchor, now: Monotonic(0), received: vec![0; DATAGRAM_OCTETS_MAX], sent: Vec::new() }
    }
}

impl Session {
    /// Begins a session on a connected socket. Its first octets are sent with the next
    /// [`Session::transmit`].
    ///
    /// # Errors
    /// The error of the TLS library.
    pub fn begin(socket: Socket, shared: &Shared, peer: SocketAddr, bench: &Bench) -> Result<Self, Error> {
        Ok(match socket {
            Socket::Stream(stream) if shared.policy().scheme.needs_alpn() => {
                Self::Https { stream: stream.into(), session: Box::new(DohSession::new(shared)?) }
            }
            Socket::Stream(stream) => {
                Self::Tls { stream: stream.into(), session: Box::new(DotSession::new(shared)?) }
            }
            Socket::Datagrams(socket) => {
                let session = Box::new(DoqSession::new(shared, peer, bench.anchor, bench.now)?);
                Self::Quic { socket, session, peer, is_heard: false }
            }
        })
    }

    /// Reads what the socket has, within a bound.
    ///
    /// # Errors
    /// Those of the socket. The connection is lost then.
    pub fn receive(&mut self, bench: &mut Bench) -> io::Result<Received> {
        match self {
            Self::Tls { stream, session } => session.receive(stream),
            Self::Https { stream, session } => session.receive(stream),
            Self::Quic { socket, session, peer, is_heard } => {
                for _ in 0..DATAGRAMS_MAX {
                    match socket.recv(&mut bench.received) {
                        Ok(length) => {
                            *is_heard = true;
                            session.receive(bench.now, *peer, &bench.received[..length]);
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Received::All),
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(Received::Part)
            }
        }
    }

    /// Writes until the socket takes no more. A datagram that it does not take counts as lost.
    ///
    /// # Errors
    /// Those of the socket. The connection is lost then.
    pub fn transmit(&mut self, bench: &mut Bench) -> io::Result<()> {
        match self {
            Self::Tls { stream, session } => session.transmit(stream).map(drop),
            Self::Https { stream, session } => session.transmit(stream).map(drop),
            Self::Quic { socket, session, .. } => {
                while session.transmit(bench.now, &mut bench.sent).is_some() {
                    match socket.send(&bench.sent) {
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock || is_shortage(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
        }
    }

    /// Queues a query.
    ///
    /// # Errors
    /// [`Refused`]; nothing of the query is sent then.
    pub fn query(&mut self, channel: u64, octets: &[u8]) -> Result<(), Refused> {
        match self {
            Self::Tls { session, .. } => session.query(channel, octets),
            Self::Https { session, .. } => session.query(channel, octets),
            Self::Quic { session, .. } => session.query(channel, octets),
        }
    }

    /// Gives up a query. A query over TLS has been sent, and its answer is ignored.
    pub fn cancel(&mut self, channel: u64) {
        match self {
            Self::Tls { .. } => {}
            Self::Https { session, .. } => session.cancel(channel),
            Self::Quic { session, .. } => session.cancel(channel),
        }
    }

    /// Prepares the last octets, by which the server learns of the end.
    pub fn close(&mut self, now: Monotonic) {
        match self {
            Self::Tls { session, .. } => session.close(),
            Self::Https { session, .. } => session.close(),
            Self::Quic { session, .. } => session.close(now),
        }
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        match self {
            Self::Tls { session, .. } => session.poll_event(),
            Self::Https { session, .. } => session.poll_event(),
            Self::Quic { session, .. } => session.poll_event(),
        }
    }

    /// Whether octets wait for the socket. QUIC says so only when it is asked for datagrams.
    pub fn wants_write(&self) -> bool {
        match self {
            Self::Tls { session, .. } => session.wants_write(),
            Self::Https { session, .. } => session.wants_write(),
            Self::Quic { .. } => true,
        }
    }

    /// Whether a datagram has come: that the socket is connected says nothing about the upstream.
    pub fn is_heard(&self) -> bool {
        matches!(self, Self::Quic { is_heard: true, .. })
    }

    /// When [`Session::handle_timeout`] is to be called.
    pub fn poll_timeout(&mut self) -> Option<Monotonic> {
        match self {
            Self::Tls { .. } | Self::Https { .. } => None,
            Self::Quic { session, .. } => session.poll_timeout(),
        }
    }

    pub fn handle_timeout(&mut self, now: Monotonic) {
        if let Self::Quic { session, .. } = self {
            session.handle_timeout(now);
        }
    }
}
