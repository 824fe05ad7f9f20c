//! Tries one upstream: connects to it, authenticates it, and asks it one question, as the daemon would.
//! Blocking, for one thread per upstream.

use hither_net::clock;
use hither_secure::{
    Anchor, Clock, DohSession, DoqSession, DotSession, Error, Event, Policy, Ready, Scheme, Shared, Trust,
};
use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, QueryBits, query};
use hither_wire::name::Name;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long connecting to one address, the handshake and the answer may take together.
const TRIAL_MAX: Duration = Duration::from_secs(3);
/// Addresses of one upstream that are tried, one after the other.
const ADDRESSES_MAX: usize = 3;
/// The channel of the only query of a connection.
const CHANNEL: u64 = 0;

/// What a trial of one upstream found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Trial {
    Works(Works),
    Fails {
        /// What failed, as the end of a sentence that begins with the upstream.
        why: String,
        remedy: Option<String>,
    },
    /// hitherd asks it over a connection that it keeps; with what it says is wrong with that.
    OfDaemon(Option<String>),
}

/// An upstream that answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Works {
    pub address: SocketAddr,
    /// Until the first octet could be sent, the handshake included.
    pub connecting: Duration,
    /// From the question to its answer.
    pub answering: Duration,
    /// What is known of the connection; `None` without encryption.
    pub secure: Option<Ready>,
}

/// The time of this host, in seconds since 1970.
pub(super) fn now_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Tries the addresses in turn until one answers. The failure that is reported is that of the last one.
pub(super) fn encrypted(policy: &Policy, addresses: &[SocketAddr]) -> Trial {
    let clock = Arc::new(Clock::new(0));
    clock.set_system(now_s());
    let trust = match Trust::load(&policy.roots) {
        Ok(trust) => trust,
        Err(error) => return Trial::Fails { why: error.to_string(), remedy: None },
    };
    let shared = match Shared::new(policy.clone(), &trust, clock) {
        Ok(shared) => shared,
        Err(error) => return Trial::Fails { why: error.to_string(), remedy: None },
    };
    let mut last = Trial::Fails { why: "no address of it is known".to_owned(), remedy: None };
    for address in addresses.iter().take(ADDRESSES_MAX) {
        last = match policy.scheme {
            Scheme::Doq => over_udp(&shared, *address),
            Scheme::Dot | Scheme::Doh => over_tcp(&shared, *address),
        };
        if matches!(last, Trial::Works(_)) {
            break;
        }
    }
    last
}

/// Tries an upstream without encryption.
pub(super) fn plain(address: SocketAddr) -> Trial {
    let (began, asked) = (Instant::now(), question());
    let answer = || -> io::Result<()> {
        let socket = bound_for(address)?;
        let mut reply = [0; 1500];
        // A datagram may be lost.
        for _ in 0..3 {
            socket.send(&asked)?;
            socket.set_read_timeout(Some(TRIAL_MAX / 3))?;
            match socket.recv(&mut reply) {
                Ok(len) if len >= 12 && reply[..2] == asked[..2] => return Ok(()),
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(ErrorKind::TimedOut.into())
    };
    match answer() {
        Ok(()) => Trial::Works(Works {
            address,
            connecting: Duration::ZERO,
            answering: began.elapsed(),
            secure: None,
        }),
        Err(error) => unreachable(address, &error),
    }
}

/// Tries an upstream over TCP, without encryption.
pub(super) fn tcp(address: SocketAddr) -> Trial {
    let (began, asked) = (Instant::now(), question());
    let answer = || -> io::Result<Duration> {
        let mut stream = TcpStream::connect_timeout(&address, TRIAL_MAX)?;
        let connecting = began.elapsed();
        stream.set_read_timeout(Some(TRIAL_MAX))?;
        let length = u16::try_from(asked.len()).unwrap_or_default();
        stream.write_all(&[&length.to_be_bytes()[..], &asked].concat())?;
        let mut head = [0; 4];
        stream.read_exact(&mut head)?;
        if head[2..] == asked[..2] { Ok(connecting) } else { Err(ErrorKind::InvalidData.into()) }
    };
    match answer() {
        Ok(connecting) => {
            let answering = began.elapsed() - connecting;
            Trial::Works(Works { address, connecting, answering, secure: None })
        }
        Err(error) => unreachable(address, &error),
    }
}

/// `. NS`, which every resolver answers.
fn question() -> Vec<u8> {
    let mut octets = [0; 300];
    let bits = QueryBits { rd: true, cd: false, edns: Some((1232, false)) };
    let asked = Asked { name: &Name::ROOT, rtype: Rtype::NS };
    let len = query(&mut octets, 0x6874, &asked, bits);
    octets[..len].to_vec()
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn unreachable(address: SocketAddr, error: &io::Error) -> Trial {
    let why = if is_timeout(error) {
        format!("no answer from {address} within {} s", TRIAL_MAX.as_secs())
    } else if error.kind() == ErrorKind::ConnectionRefused {
        format!("{address} refuses the connection: no server listens at this port")
    } else {
        format!("{address} cannot be reached: {error}")
    };
    Trial::Fails { why, remedy: None }
}

fn refused(error: &Error) -> Trial {
    Trial::Fails { why: error.to_string(), remedy: error.remedy().map(str::to_owned) }
}

fn bound_for(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(address)?;
    Ok(socket)
}

/// What has happened on a connection so far.
struct Progress {
    address: SocketAddr,
    began: Instant,
    ready: Option<(Ready, Instant)>,
}

impl Progress {
    fn new(address: SocketAddr) -> Progress {
        Progress { address, began: Instant::now(), ready: None }
    }

    /// Notes an event. `Some`: the trial has ended.
    fn note(&mut self, event: Event) -> Option<Trial> {
        match event {
            Event::Ready(ready) => {
                self.ready = Some((ready, Instant::now()));
                None
            }
            Event::Response { .. } => {
                let (ready, at) = self.ready.take()?;
                Some(Trial::Works(Works {
                    address: self.address,
                    connecting: at - self.began,
                    answering: at.elapsed(),
                    secure: Some(ready),
                }))
            }
            Event::Reset { reason, .. } => Some(Trial::Fails { why: reason.to_string(), remedy: None }),
            Event::Closed(error) => Some(refused(&error)),
            Event::Drain { .. } | Event::Limits(_) => None,
        }
    }

    /// The time that is left; `None`: none.
    fn left(&self) -> Option<Duration> {
        TRIAL_MAX.checked_sub(self.began.elapsed()).filter(|left| !left.is_zero())
    }
}

/// A session over a stream.
enum Session {
    Dot(Box<DotSession>),
    Doh(Box<DohSession>),
}

impl Session {
    fn new(shared: &Shared) -> Result<Session, Error> {
        match shared.policy().scheme {
            Scheme::Doh => DohSession::new(shared).map(|session| Session::Doh(Box::new(session))),
            Scheme::Dot | Scheme::Doq => {
                DotSession::new(shared).map(|session| Session::Dot(Box::new(session)))
            }
        }
    }

    fn transmit(&mut self, stream: &mut TcpStream) -> io::Result<usize> {
        match self {
            Session::Dot(session) => session.transmit(stream),
            Session::Doh(session) => session.transmit(stream),
        }
    }

    fn receive(&mut self, octets: &[u8]) {
        match (self, octets) {
            (Session::Dot(session), []) => session.end(),
            (Session::Doh(session), []) => session.end(),
            (Session::Dot(session), octets) => drop(session.receive_octets(octets)),
            (Session::Doh(session), octets) => drop(session.receive_octets(octets)),
        }
    }

    fn poll_event(&mut self) -> Option<Event> {
        match self {
            Session::Dot(session) => session.poll_event(),
            Session::Doh(session) => session.poll_event(),
        }
    }

    fn ask(&mut self) {
        // A refusal shows as silence.
        let _ = match self {
            Session::Dot(session) => session.query(CHANNEL, &question()),
            Session::Doh(session) => session.query(CHANNEL, &question()),
        };
    }
}

fn over_tcp(shared: &Shared, address: SocketAddr) -> Trial {
    let mut progress = Progress::new(address);
    let mut session = match Session::new(shared) {
        Ok(session) => session,
        Err(error) => return refused(&error),
    };
    let mut exchange = || -> io::Result<Trial> {
        let mut stream = TcpStream::connect_timeout(&address, TRIAL_MAX)?;
        let mut octets = vec![0; 16 * 1024];
        loop {
            session.transmit(&mut stream)?;
            stream.set_read_timeout(Some(progress.left().ok_or(ErrorKind::TimedOut)?))?;
            let len = stream.read(&mut octets)?;
            session.receive(&octets[..len]);
            while let Some(event) = session.poll_event() {
                let is_ready = matches!(event, Event::Ready(_));
                if let Some(trial) = progress.note(event) {
                    // The alert that says why, if there is one.
                    let _ = session.transmit(&mut stream);
                    return Ok(trial);
                }
                if is_ready {
                    session.ask();
                }
            }
        }
    };
    exchange().unwrap_or_else(|error| unreachable(address, &error))
}

fn over_udp(shared: &Shared, address: SocketAddr) -> Trial {
    let mut progress = Progress::new(address);
    let anchor = Anchor::new(progress.began, clock::now());
    let mut session = match DoqSession::new(shared, address, anchor, clock::now()) {
        Ok(session) => session,
        Err(error) => return refused(&error),
    };
    let mut exchange = || -> io::Result<Trial> {
        let socket = bound_for(address)?;
        let (mut datagram, mut received) = (Vec::new(), vec![0; 65_535]);
        loop {
            while session.transmit(clock::now(), &mut datagram).is_some() {
                socket.send(&datagram)?;
            }
            let left = progress.left().ok_or(ErrorKind::TimedOut)?;
            let due = session.poll_timeout().map_or(left, |at| at.since(clock::now()));
            socket.set_read_timeout(Some(left.min(due).max(Duration::from_millis(1))))?;
            match socket.recv(&mut received) {
                Ok(len) => session.receive(clock::now(), address, &received[..len]),
                Err(error) if is_timeout(&error) => session.handle_timeout(clock::now()),
                Err(error) => return Err(error),
            }
            while let Some(event) = session.poll_event() {
                let is_ready = matches!(event, Event::Ready(_));
                if let Some(trial) = progress.note(event) {
                    session.close(clock::now());
                    while session.transmit(clock::now(), &mut datagram).is_some() {
                        socket.send(&datagram)?;
                    }
                    return Ok(trial);
                }
                if is_ready {
                    // A refusal shows as silence.
                    let _ = session.query(CHANNEL, &question());
                }
            }
        }
    };
    exchange().unwrap_or_else(|error| unreachable(address, &error))
}
