//! Probes on their way: ICMP echo through one socket a family, TCP connections one by one.

use super::echo;
use super::schedule::Found;
use hither_net::random::Random;
use hither_table::Monotonic;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use crate::config::Probe;

/// Tokens of the echo sockets; connections have those above.
const ECHO_V4: usize = 16;
const ECHO_V6: usize = 17;
const FIRST_CONNECTION: usize = 1024;

#[derive(Debug)]
struct Echo {
    socket: Socket,
    /// Received messages begin with an IP header, and are everybody's.
    raw: bool,
}

#[derive(Debug)]
enum Flight {
    Echo { nonce: u64 },
    Connection(TcpStream),
}

#[derive(Debug)]
struct Flying {
    address: IpAddr,
    sent: Monotonic,
    until: Monotonic,
    flight: Flight,
}

#[derive(Debug)]
pub(super) struct Prober {
    v4: Option<Echo>,
    v6: Option<Echo>,
    flying: BTreeMap<usize, Flying>,
    deadlines: BTreeSet<(Monotonic, usize)>,
    next: usize,
    timeout: Duration,
    random: Random,
    pub sent: u64,
}

impl Prober {
    /// A prober without ICMP for the families whose sockets it may not have; those are returned in words.
    pub fn new(registry: &Registry, timeout: Duration, icmp: bool, random: Random) -> (Prober, Vec<String>) {
        let mut lacks = Vec::new();
        let mut open = |domain, protocol, token, name: &str| {
            if !icmp {
                return None;
            }
            let socket = echo_socket(domain, protocol);
            let registered = socket.and_then(|echo| {
                registry.register(
                    &mut SourceFd(&echo.socket.as_raw_fd()),
                    Token(token),
                    Interest::READABLE,
                )?;
                Ok(echo)
            });
            registered.map_err(|error| lacks.push(format!("{name} ({error})"))).ok()
        };
        let v4 = open(Domain::IPV4, Protocol::ICMPV4, ECHO_V4, "ICMPv4");
        let v6 = open(Domain::IPV6, Protocol::ICMPV6, ECHO_V6, "ICMPv6");
        let prober = Prober {
            v4,
            v6,
            flying: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            next: FIRST_CONNECTION,
            timeout,
            random,
            sent: 0,
        };
        (prober, lacks)
    }

    /// Sends a probe; what can be said at once is returned.
    pub fn send(
        &mut self,
        registry: &Registry,
        address: IpAddr,
        probe: Probe,
        now: Monotonic,
    ) -> Option<Found> {
        self.next += 1;
        let id = self.next;
        let flight = match probe {
            Probe::Icmp => self.echo(address, id),
            Probe::Tcp(port) => connect(registry, SocketAddr::new(address, port), id),
        };
        match flight {
            Ok(flight) => {
                self.sent += 1;
                let until = now.plus(self.timeout);
                self.deadlines.insert((until, id));
                self.flying.insert(id, Flying { address, sent: now, until, flight });
                None
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                self.sent += 1;
                Some(Found::Refused)
            }
            // No route is an answer: nobody there can be reached.
            Err(error)
                if matches!(error.kind(), ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable) =>
            {
                Some(Found::Silent)
            }
            Err(_) => Some(Found::NotSent),
        }
    }

    fn echo(&mut self, address: IpAddr, id: usize) -> io::Result<Flight> {
        let nonce = self.random.draw();
        let echo = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        let Some(echo) = echo else { return Err(ErrorKind::PermissionDenied.into()) };
        let message = echo::request(address.is_ipv4(), std::process::id() as u16, id as u16, nonce);
        echo.socket.send_to(&message, &SocketAddr::new(address, 0).into())?;
        Ok(Flight::Echo { nonce })
    }

    /// What came in at a token.
    pub fn ready(&mut self, token: Token, now: Monotonic) -> Vec<(IpAddr, Found)> {
        match token.0 {
            ECHO_V4 | ECHO_V6 => self.echoes(token.0 == ECHO_V4, now),
            id => self.connected(id, now).into_iter().collect(),
        }
    }

    fn echoes(&mut self, v4: bool, now: Monotonic) -> Vec<(IpAddr, Found)> {
        let mut found = Vec::new();
        let mut buffer = [0; 1024];
        // The socket holds no more than its buffer; whoever floods it competes with real replies, not with our time.
        for _ in 0..4096 {
            let echo = if v4 { &self.v4 } else { &self.v6 };
            let Some(echo) = echo else { break };
            let raw = echo.raw && v4;
            match io::Read::read(&mut &echo.socket, &mut buffer) {
                Ok(len) => {
                    if let Some(nonce) = echo::reply(buffer.get(..len).unwrap_or_default(), v4, raw) {
                        found.extend(self.echoed(nonce, now));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // An error is told once, of somebody else's request; replies may be queued behind it.
                Err(_) => {}
            }
        }
        found
    }

    /// A nonce of 64 bits that nobody but the target has seen says whose reply it is.
    fn echoed(&mut self, nonce: u64, now: Monotonic) -> Option<(IpAddr, Found)> {
        let of = |flying: &Flying| matches!(flying.flight, Flight::Echo { nonce: own } if own == nonce);
        let id = self.flying.iter().find(|(_, flying)| of(flying)).map(|(id, _)| *id)?;
        let flying = self.land(id)?;
        Some((flying.address, Found::Open(now.since(flying.sent))))
    }

    fn connected(&mut self, id: usize, now: Monotonic) -> Option<(IpAddr, Found)> {
        let Flight::Connection(stream) = &self.flying.get(&id)?.flight else { return None };
        let found = match stream.take_error() {
            Ok(None) if stream.peer_addr().is_err() => return None,
            Ok(None) => None,
            Ok(Some(error)) | Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                Some(Found::Refused)
            }
            Ok(Some(_)) | Err(_) => Some(Found::Silent),
        };
        let flying = self.land(id)?;
        Some((flying.address, found.unwrap_or_else(|| Found::Open(now.since(flying.sent)))))
    }

    fn land(&mut self, id: usize) -> Option<Flying> {
        let flying = self.flying.remove(&id)?;
        self.deadlines.remove(&(flying.until, id));
        Some(flying)
    }

    pub fn timeout(&self) -> Option<Monotonic> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Those that have waited long enough.
    pub fn sweep(&mut self, now: Monotonic) -> Vec<(IpAddr, Found)> {
        let mut silent = Vec::new();
        while let Some((at, id)) = self.deadlines.first().copied()
            && at <= now
        {
            if let Some(flying) = self.land(id) {
                silent.push((flying.address, Found::Silent));
            }
        }
        silent
    }
}

fn connect(registry: &Registry, target: SocketAddr, id: usize) -> io::Result<Flight> {
    let mut stream = TcpStream::connect(target)?;
    // Closed by a reset: no connection is left behind in either kernel.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    registry.register(&mut stream, Token(id), Interest::WRITABLE)?;
    Ok(Flight::Connection(stream))
}

/// A ping socket where the group may have one (net.ipv4.ping_group_range), else a raw one where the capability allows it.
fn echo_socket(domain: Domain, protocol: Protocol) -> io::Result<Echo> {
    let open = |kind: Type| Socket::new(domain, kind.nonblocking().cloexec(), Some(protocol));
    match open(Type::DGRAM) {
        Ok(socket) => Ok(Echo { socket, raw: false }),
        Err(_) => Ok(Echo { socket: open(Type::RAW)?, raw: true }),
    }
}
