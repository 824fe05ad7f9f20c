//! The stream to an engine: TCP, TLS or a local socket. With a deadline no call lasts beyond it.

use super::trouble::Trouble;
use crate::config::{Engine, EngineAddress};
use hither_secure::{ServerName, TlsClient, TlsStream};
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long a connection may take to an address.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;
/// After this time without a sign of life the kernel asks for one, and how often.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
/// How long octets may stay unacknowledged before the kernel ends the connection.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// A socket whose calls end at the deadline.
#[derive(Debug)]
struct Socket {
    socket: Either,
    deadline: Option<Instant>,
}

#[derive(Debug)]
enum Either {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A stream to an engine.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(Box<Plain>),
    Tls(Box<TlsStream<Plain>>),
}

/// A stream that is not encrypted.
#[derive(Debug)]
pub(super) struct Plain(Socket);

/// Ends a stream from another thread.
#[derive(Debug)]
pub(in crate::site) struct Closer(Either);

impl Closer {
    pub fn close(&self) {
        // It fails if the stream has ended already.
        let _ = match &self.0 {
            Either::Tcp(socket) => socket.shutdown(Shutdown::Both),
            Either::Unix(socket) => socket.shutdown(Shutdown::Both),
        };
    }
}

impl Stream {
    /// Connects to an engine, and shakes hands until `deadline`.
    pub fn connect(engine: &Engine, tls: Option<&TlsClient>, deadline: Instant) -> Result<Stream, Trouble> {
        let socket = match &engine.address {
            EngineAddress::Unix(path) => Either::Unix(UnixStream::connect(path)?),
            EngineAddress::Tcp(host, port) => Either::Tcp(connected(host, *port)?),
        };
        let plain = Plain(Socket { socket, deadline: Some(deadline) });
        let EngineAddress::Tcp(host, _) = &engine.address else { return Ok(Stream::Plain(plain.into())) };
        if !engine.tls {
            return Ok(Stream::Plain(plain.into()));
        }
        let no_authority = || Trouble::Forbidden("no certificate authority is known".to_owned());
        let client = tls.ok_or_else(no_authority)?;
        let name = ServerName::try_from(host.clone())
            .map_err(|_| Trouble::Forbidden(format!("'{host}' cannot be the name of a TLS server")))?;
        let stream = client.connect(name, plain, hither_net::clock::wall_ms() / 1000);
        Ok(Stream::Tls(stream.map_err(untrusted)?.into()))
    }

    /// Sets the time at which reading and writing end; `None`: never.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        match self {
            Self::Plain(plain) => plain.0.deadline = deadline,
            Self::Tls(stream) => stream.get_mut().0.deadline = deadline,
        }
    }

    /// A handle that ends this stream.
    pub fn closer(&self) -> io::Result<Closer> {
        let plain = match self {
            Self::Plain(plain) => plain,
            Self::Tls(stream) => stream.get_ref(),
        };
        Ok(Closer(match &plain.0.socket {
            Either::Tcp(socket) => Either::Tcp(socket.try_clone()?),
            Either::Unix(socket) => Either::Unix(socket.try_clone()?),
        }))
    }
}

fn untrusted(error: io::Error) -> Trouble {
    match error.kind() {
        ErrorKind::InvalidData => Trouble::Lost(format!("it cannot be trusted: {error}; see 'ca_file'")),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            Trouble::Lost("it does not answer in time; does it speak TLS?".to_owned())
        }
        _ => error.into(),
    }
}

/// Connects to the first address of a host that answers.
fn connected(host: &str, port: u16) -> Result<TcpStream, Trouble> {
    let unknown = |error: io::Error| Trouble::Lost(format!("the address of '{host}' is not known: {error}"));
    let mut last = Trouble::Lost(format!("'{host}' has no address"));
    for address in (host, port).to_socket_addrs().map_err(unknown)?.take(ADDRESSES_MAX) {
        match TcpStream::connect_timeout(&address, CONNECT_WITHIN).and_then(watched) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                last = Trouble::Lost(format!("{address} does not answer"));
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// Has the kernel notice by itself that the other end is gone.
fn watched(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_EVERY);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_RETRIES))?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(stream)
}

impl Socket {
    /// The time that is left of the deadline.
    fn left(&self) -> io::Result<Option<Duration>> {
        let Some(deadline) = self.deadline else { return Ok(None) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Plain {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        let left = self.0.left()?;
        match &mut self.0.socket {
            Either::Tcp(socket) => {
                socket.set_read_timeout(left)?;
                socket.read(octets)
            }
            Either::Unix(socket) => {
                socket.set_read_timeout(left)?;
                socket.read(octets)
            }
        }
    }
}

impl Write for Plain {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let left = self.0.left()?;
        match &mut self.0.socket {
            Either::Tcp(socket) => {
                socket.set_write_timeout(left)?;
                socket.write(octets)
            }
            Either::Unix(socket) => {
                socket.set_write_timeout(left)?;
                socket.write(octets)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(plain) => plain.read(octets),
            Self::Tls(stream) => stream.read(octets),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(plain) => plain.write(octets),
            Self::Tls(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(plain) => plain.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
