//! Queries at random times, to one host or to many, each at its own rate, independent of how fast the
//! hosts are.

use super::question::{Draws, ask};
use super::summary::Times;
use hither_wire::message::Message;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

/// How long a reply is waited for.
const PATIENCE: Duration = Duration::from_secs(4);

/// A query that is open.
#[derive(Clone, Copy)]
struct Open {
    due: Instant,
    host: usize,
    name: u64,
}

/// Sends queries and takes replies.
pub struct Load {
    socket: UdpSocket,
    open: Vec<Option<Open>>,
    /// The ids in the order in which they were sent.
    sent: VecDeque<(Instant, u16)>,
    id: u16,
    /// When the answer to a host's name is old enough to be refreshed by a query. Until then every query
    /// is a hit that changes nothing, and only one of [`SAMPLE`] is sent.
    hits_until: HashMap<(usize, u64), Instant>,
    /// The TTL of the upstreams' answers; `None`: all queries are sent.
    lifetime: Option<Duration>,
    pub counts: Counts,
    pub times: Times,
}

/// What became of the queries.
#[derive(Default)]
pub struct Counts {
    pub drawn: u64,
    pub sent: u64,
    pub lost: u64,
    /// Those that were not sent, since the machine was more than a second behind.
    pub late: u64,
}

/// Of so many hits that can change nothing one is sent.
const SAMPLE: u64 = 10;

impl Load {
    pub fn new(lifetime: Option<Duration>) -> Load {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        socket.set_nonblocking(true).expect("an option");
        let _ = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(8 << 20));
        Load {
            socket,
            open: vec![None; 65_536],
            sent: VecDeque::new(),
            id: 0,
            hits_until: HashMap::new(),
            lifetime,
            counts: Counts::default(),
            times: Times::default(),
        }
    }

    /// Asks for names for so long, at this rate in all. `next` gives the number of the host and that of
    /// the name.
    pub fn run(
        &mut self,
        (time, rate): (Duration, f64),
        hosts: &[SocketAddr],
        draws: &mut Draws,
        mut next: impl FnMut(&mut Draws) -> (usize, u64),
    ) {
        let (began, mut due) = (Instant::now(), Duration::ZERO);
        while due < time {
            while due <= began.elapsed() && due < time {
                let (host, name) = next(draws);
                self.counts.drawn += 1;
                let open = Open { due: began + due, host, name };
                if began.elapsed() > due + Duration::from_secs(1) {
                    self.counts.late += 1;
                } else if self.is_wanted(host, name) {
                    self.send(open, hosts[host]);
                }
                due += Duration::from_secs_f64(-(1.0 - draws.draw()).ln() / rate);
            }
            self.take(due.saturating_sub(began.elapsed()));
        }
    }

    /// Whether the query can change something, or is one of the sample.
    fn is_wanted(&self, host: usize, name: u64) -> bool {
        let until = self.hits_until.get(&(host, name));
        until.is_none_or(|until| *until <= Instant::now()) || self.counts.drawn.is_multiple_of(SAMPLE)
    }

    /// Waits for the replies that are still to come.
    pub fn finish(&mut self) {
        while !self.sent.is_empty() {
            self.take(Duration::from_millis(20));
            self.forget();
        }
    }

    fn send(&mut self, open: Open, address: SocketAddr) {
        self.id = self.id.wrapping_add(1);
        self.counts.sent += 1;
        self.forget();
        let slot = &mut self.open[usize::from(self.id)];
        self.counts.lost += u64::from(slot.replace(open).is_some());
        self.sent.push_back((open.due, self.id));
        let _ = self.socket.send_to(&ask(open.name, self.id), address);
    }

    /// Closes what was answered, and what nobody will answer.
    fn forget(&mut self) {
        while let Some((due, id)) = self.sent.front().copied() {
            let open = &mut self.open[usize::from(id)];
            let is_open = open.is_some_and(|open| open.due == due);
            if is_open && due.elapsed() < PATIENCE {
                return;
            }
            if is_open {
                *open = None;
                self.counts.lost += 1;
            }
            self.sent.pop_front();
        }
    }

    /// Takes replies for at most so long.
    fn take(&mut self, time: Duration) {
        let mut buffer = [0; 2048];
        let mut is_first = true;
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((len, _)) if len > 12 && buffer[3] & 15 == 0 => self.answered(&buffer[..len]),
                Ok(_) => {}
                Err(_) if is_first && !time.is_zero() => {
                    let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
                    let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(time)), None);
                    is_first = false;
                }
                Err(_) => return,
            }
        }
    }

    fn answered(&mut self, reply: &[u8]) {
        let id = u16::from_be_bytes([reply[0], reply[1]]);
        let Some(open) = self.open[usize::from(id)].take() else { return };
        self.times.add(open.due.elapsed());
        let ttl_s = Message::read(reply).ok().and_then(|message| Some(message.records().next()?.ttl));
        if let Some(lifetime) = self.lifetime {
            // In its last fifth a query refreshes it; a TTL is rounded up to whole seconds.
            let left = Duration::from_secs(u64::from(ttl_s.unwrap_or(0)));
            let until = left.saturating_sub(lifetime / 5 + Duration::from_secs(1));
            self.hits_until.insert((open.host, open.name), Instant::now() + until);
        }
    }
}
