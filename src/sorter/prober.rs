//! Sends probes and receives their results: ICMP echo by one socket for each family, TCP and TLS by one
//! connection for each probe.
//!
//! Round-trip times are those of the path, however long this process waits for its turn: the kernel notes
//! when an echo reply arrives and how long a TCP handshake takes.

use super::echo;
use super::handshake::Handshake;
use super::probe_choice::{ProbeResult, Sent};
use crate::config::Probe;
use hither_net::clock::now;
use hither_net::random::Random;
use hither_net::timing;
use hither_secure::{Judge, Judgement, ServerName};
use hither_table::{Monotonic, Trust};
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

/// Tokens of the echo sockets; those of connections are greater.
const ECHO_V4: usize = 16;
const ECHO_V6: usize = 17;
const FIRST_CONNECTION: usize = 1024;
/// Messages that are read from an echo socket in one turn.
const MESSAGES_PER_TURN_MAX: usize = 4096;
/// Handshakes that go on in one turn: to check a chain of certificates takes up to a millisecond, and of a
/// hostile one much more.
const HANDSHAKES_PER_TURN_MAX: usize = 4;

/// What a probe has shown.
#[derive(Debug)]
pub(super) enum Report {
    /// The address is measured.
    Measured(Sent, ProbeResult),
    /// A handshake has ended.
    Judged(usize, Judgement),
}

#[derive(Debug)]
struct EchoSocket {
    socket: Socket,
    /// Received messages begin with an IP header, and include those of other processes.
    is_raw: bool,
}

#[derive(Debug)]
enum Method {
    Echo { nonce: u64 },
    Connection(TcpStream),
    Handshake(Box<Handshake>),
}

#[derive(Debug)]
struct InFlight {
    probe: Sent,
    sent: Monotonic,
    deadline: Monotonic,
    method: Method,
}

#[derive(Debug)]
pub(super) struct Prober {
    v4: Option<EchoSocket>,
    v6: Option<EchoSocket>,
    /// Probes by their id, which is also the token of a connection.
    in_flight: BTreeMap<usize, InFlight>,
    deadlines: BTreeSet<(Monotonic, usize)>,
    /// Handshakes that may go on.
    ready: BTreeSet<usize>,
    judge: Option<Judge>,
    last_id: usize,
    timeout: Duration,
    random: Random,
    /// Probes sent so far.
    pub sent: u64,
}

impl Prober {
    /// Opens the echo sockets if `icmp`. Also returns the families for which that fails, with the reason.
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
            in_flight: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            ready: BTreeSet::new(),
            judge: None,
            last_id: FIRST_CONNECTION,
            timeout,
            random,
            sent: 0,
        };
        (prober, lacks)
    }

    /// Judges certificates by this from now on.
    pub fn judge_by(&mut self, judge: Judge) {
        self.judge = Some(judge);
    }

    pub fn judge(&self) -> Option<&Judge> {
        self.judge.as_ref()
    }

    /// Sends a probe; a handshake with `name`, if that is given, follows a TCP connection. Returns its result
    /// if that is known at once.
    pub fn send(
        &mut self,
        registry: &Registry,
        probe: Sent,
        name: Option<ServerName<'static>>,
    ) -> Option<ProbeResult> {
        self.last_id += 1;
        let (id, sent) = (self.last_id, now());
        let method = match (probe.probe, name) {
            (Probe::Icmp, _) => self.send_echo(probe.address, id),
            (Probe::Tls(port), Some(name)) => {
                let connected = connect(registry, SocketAddr::new(probe.address, port), id);
                connected.map(|stream| Method::Handshake(Box::new(Handshake::new(stream, name))))
            }
            (Probe::Tcp(port) | Probe::Tls(port), _) => {
                connect(registry, SocketAddr::new(probe.address, port), id).map(Method::Connection)
            }
        };
        match method {
            Ok(method) => {
                self.sent += 1;
                let deadline = sent.plus(self.timeout);
                self.deadlines.insert((deadline, id));
                self.in_flight.insert(id, InFlight { probe, sent, deadline, method });
                None
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                self.sent += 1;
                Some(ProbeResult::Refused)
            }
            // Without a route the address cannot be reached, which is a result.
            Err(error)
                if matches!(error.kind(), ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable) =>
            {
                Some(ProbeResult::Silent)
            }
            Err(_) => Some(ProbeResult::NotSent),
        }
    }

    fn send_echo(&mut self, address: IpAddr, id: usize) -> io::Result<Method> {
        let nonce = self.random.draw();
        let echo = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        let Some(echo) = echo else { return Err(ErrorKind::PermissionDenied.into()) };
        let message = echo::request(address.is_ipv4(), std::process::id() as u16, id as u16, nonce);
        echo.socket.send_to(&message, &SocketAddr::new(address, 0).into())?;
        Ok(Method::Echo { nonce })
    }

    /// Receives the results at a socket.
    pub fn receive(&mut self, token: Token) -> Vec<Report> {
        match token.0 {
            ECHO_V4 | ECHO_V6 => self.receive_echoes(token.0 == ECHO_V4),
            id => self.connection_result(id).into_iter().collect(),
        }
    }

    fn receive_echoes(&mut self, v4: bool) -> Vec<Report> {
        let mut results = Vec::new();
        let mut buffer = [0; 1024];
        // The socket's buffer is bounded, so a flood displaces real replies, but does not cost more
        // than a turn.
        for _ in 0..MESSAGES_PER_TURN_MAX {
            let echo = if v4 { &self.v4 } else { &self.v6 };
            let Some(echo) = echo else { break };
            let has_header = echo.is_raw && v4;
            match timing::receive(&echo.socket, &mut buffer) {
                Ok((len, waited)) => {
                    if let Some(nonce) = echo::reply(buffer.get(..len).unwrap_or_default(), v4, has_header) {
                        results.extend(self.echo_answered(nonce, waited));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The error of another probe, which the kernel reports once; replies may be queued behind it.
                Err(_) => {}
            }
        }
        results
    }

    /// Finds the probe of a reply by its nonce: 64 bits that only the target and the path to it have seen.
    fn echo_answered(&mut self, nonce: u64, waited: Duration) -> Option<Report> {
        let of = |probe: &InFlight| matches!(probe.method, Method::Echo { nonce: own } if own == nonce);
        let id = self.in_flight.iter().find(|(_, probe)| of(probe)).map(|(id, _)| *id)?;
        let found = self.remove(id)?;
        let rtt = now().since(found.sent).saturating_sub(waited);
        Some(Report::Measured(found.probe, ProbeResult::Answered(rtt)))
    }

    fn connection_result(&mut self, id: usize) -> Option<Report> {
        let stream = match &self.in_flight.get(&id)?.method {
            Method::Echo { .. } => return None,
            Method::Connection(stream) => stream,
            Method::Handshake(handshake) if handshake.is_connected() => {
                self.ready.insert(id);
                return None;
            }
            Method::Handshake(handshake) => &handshake.stream,
        };
        let failure = match stream.take_error() {
            Ok(None) if stream.peer_addr().is_err() => return None,
            Ok(None) => None,
            Ok(Some(error)) | Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                Some(ProbeResult::Refused)
            }
            Ok(Some(_)) | Err(_) => Some(ProbeResult::Silent),
        };
        let rtt = timing::handshake_rtt(stream);
        let mut found = self.remove(id)?;
        let result =
            failure.unwrap_or_else(|| ProbeResult::Answered(rtt.unwrap_or_else(|| now().since(found.sent))));
        let probe = found.probe;
        if let (Method::Handshake(handshake), None, Some(judge)) = (&mut found.method, failure, &self.judge) {
            handshake.begin(judge);
            found.deadline = now().plus(self.timeout);
            self.deadlines.insert((found.deadline, id));
            self.in_flight.insert(id, found);
            self.ready.insert(id);
        }
        Some(Report::Measured(probe, result))
    }

    /// Whether handshakes may go on.
    pub fn has_work(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Goes on with a few handshakes. Returns the results of those that have ended.
    pub fn go_on(&mut self) -> Vec<Report> {
        let mut ended = Vec::new();
        for _ in 0..HANDSHAKES_PER_TURN_MAX {
            let Some(id) = self.ready.pop_first() else { break };
            let Some(Method::Handshake(handshake)) =
                self.in_flight.get_mut(&id).map(|found| &mut found.method)
            else {
                continue;
            };
            if let Some(judgement) = handshake.go_on() {
                let found = self.remove(id);
                ended.extend(found.and_then(|found| judged(&found, judgement)));
            }
        }
        ended
    }

    fn remove(&mut self, id: usize) -> Option<InFlight> {
        let probe = self.in_flight.remove(&id)?;
        self.deadlines.remove(&(probe.deadline, id));
        self.ready.remove(&id);
        Some(probe)
    }

    pub fn timeout(&self) -> Option<Monotonic> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Ends the probes whose time is over, as silent.
    pub fn time_out(&mut self, now: Monotonic) -> Vec<Report> {
        let mut silent = Vec::new();
        while let Some((at, id)) = self.deadlines.first().copied()
            && at <= now
        {
            let Some(found) = self.remove(id) else { continue };
            match &found.method {
                Method::Handshake(handshake) if handshake.is_connected() => {
                    silent.extend(judged(&found, Judgement::without_certificate(Trust::Unknown)));
                }
                _ => silent.push(Report::Measured(found.probe, ProbeResult::Silent)),
            }
        }
        silent
    }
}

fn judged(found: &InFlight, judgement: Judgement) -> Option<Report> {
    found.probe.handshake.map(|handshake| Report::Judged(handshake, judgement))
}

fn connect(registry: &Registry, target: SocketAddr, id: usize) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(target)?;
    // Closing it sends a reset, so that neither kernel keeps the connection.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    registry.register(&mut stream, Token(id), Interest::WRITABLE | Interest::READABLE)?;
    Ok(stream)
}

/// Opens a ping socket if the group may (net.ipv4.ping_group_range), otherwise a raw socket if the
/// capability allows it.
fn echo_socket(domain: Domain, protocol: Protocol) -> io::Result<EchoSocket> {
    let open = |kind: Type| Socket::new(domain, kind.nonblocking().cloexec(), Some(protocol));
    let echo = match open(Type::DGRAM) {
        Ok(socket) => EchoSocket { socket, is_raw: false },
        Err(_) => EchoSocket { socket: open(Type::RAW)?, is_raw: true },
    };
    timing::note_arrivals(&echo.socket)?;
    Ok(echo)
}
