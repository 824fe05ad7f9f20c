//! The load generator: one socket, batched sends and receives, and either a window of outstanding
//! queries or a fixed rate.

use hither_net::batch::{BATCH_MAX, Batch, Outgoing, Route};
use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, QueryBits, query};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

/// The names that are asked for.
#[derive(Clone, Copy)]
pub enum Names {
    /// Names from this number on, each once.
    Fresh(u64),
    /// As many different names, drawn at random with equal probability.
    Of(u64),
}

/// The end of a load.
#[derive(Clone, Copy)]
pub enum Until {
    Time(Duration),
    Count(u64),
}

#[derive(Clone, Copy)]
pub struct Load {
    pub names: Names,
    pub rtype: Rtype,
    /// Outstanding queries at most, up to 4096.
    pub window: usize,
    /// Queries a second, independent of the server's speed. Latency then counts from the time at which a
    /// query was due.
    pub rate: Option<f64>,
    pub until: Until,
    pub timeout: Duration,
}

/// The result of a load.
#[derive(Default)]
pub struct Outcome {
    pub sent: u64,
    pub received: u64,
    pub lost: u64,
    /// Replies with an RCODE other than NOERROR, or without a record.
    pub bad: u64,
    pub seconds: f64,
    /// Round-trip times in nanoseconds, sorted.
    times: Vec<u64>,
}

impl Outcome {
    pub fn rate(&self) -> f64 {
        self.received as f64 / self.seconds
    }

    /// In milliseconds.
    pub fn quantile(&self, q: f64) -> f64 {
        let last = self.times.len().saturating_sub(1);
        self.times.get((last as f64 * q).round() as usize).map_or(f64::NAN, |ns| *ns as f64 / 1e6)
    }

    /// In milliseconds.
    pub fn mean(&self) -> f64 {
        self.times.iter().sum::<u64>() as f64 / 1e6 / self.times.len() as f64
    }
}

const DIGITS: usize = 8;
const SLOT_BITS: u16 = 12;

/// An outstanding query: when it was due, and how often its slot was used before. The id of the query
/// contains that number, so that a reply to an earlier query is recognized.
#[derive(Clone, Copy, Default)]
struct Slot {
    due: Option<u64>,
    uses: u16,
}

struct Run {
    load: Load,
    socket: UdpSocket,
    template: Vec<u8>,
    slots: Vec<Slot>,
    free: Vec<u16>,
    random: u64,
    began: Instant,
    outcome: Outcome,
}

/// Sends a load to `server`. The calling thread should have a core of its own.
pub fn run(server: SocketAddr, load: Load) -> Outcome {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let _ = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(8 << 20));
    socket.connect(server).expect("a route");
    let mut template = vec![0; 512];
    let asked =
        Asked { name: &format!("h{:08}.bench.example", 0).parse().expect("a name"), rtype: load.rtype };
    let len = query(&mut template, 0, &asked, QueryBits { rd: true, cd: false, edns: None });
    template.truncate(len);
    let began = Instant::now();
    let mut run = Run {
        socket,
        template,
        slots: vec![Slot::default(); load.window],
        free: (0..load.window as u16).rev().collect(),
        random: 0x9e37_79b9_7f4a_7c15,
        began,
        outcome: Outcome::default(),
        load,
    };
    run.all();
    run.outcome.times.sort_unstable();
    run.outcome
}

/// Runs a load as `--role load` and prints its result.
#[allow(clippy::print_stdout)]
pub fn alone(server: SocketAddr, names: u64, window: u64, ms: u64) {
    // Other names in each tenth of a second.
    let began = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_millis() as u64 / 100);
    let names = if names > 0 { Names::Of(names) } else { Names::Fresh(began % 1000 * 100_000) };
    let (window, timeout) = (window.clamp(1, 4096) as usize, Duration::from_secs(2));
    let until = Until::Time(Duration::from_millis(ms));
    let outcome = run(server, Load { names, rtype: Rtype::A, window, rate: None, until, timeout });
    let (rate, lost, bad) = (outcome.rate() / 1000.0, outcome.lost, outcome.bad);
    let [p50, p99] = [0.5, 0.99].map(|q| outcome.quantile(q) * 1000.0);
    println!("{rate:.1} k/s, p50 {p50:.1} us, p99 {p99:.1} us, {lost} lost, {bad} bad");
}

impl Run {
    fn all(&mut self) {
        let (mut out, mut input) = (Outgoing::new(), Batch::new());
        let mut sweep_at = 0;
        let mut stopped = None;
        loop {
            let now = self.now();
            let enough = match self.load.until {
                Until::Time(time) => now >= time.as_nanos() as u64,
                Until::Count(count) => self.outcome.sent >= count,
            };
            if enough && stopped.is_none() {
                stopped = Some(now);
            }
            if stopped.is_some() && self.free.len() == self.slots.len() {
                let end =
                    if matches!(self.load.until, Until::Count(_)) { now } else { stopped.unwrap_or(now) };
                self.outcome.seconds = end as f64 / 1e9;
                return;
            }
            if now >= sweep_at {
                self.expire(now);
                sweep_at = now + self.load.timeout.as_nanos() as u64 / 8;
            }
            let next = if stopped.is_none() { self.fill(now, &mut out) } else { None };
            out.send(&self.socket);
            match input.receive(&self.socket) {
                Ok(count) => self.take(&mut input, count),
                Err(_) => self.wait(next.map_or(Duration::from_millis(5), |at| {
                    Duration::from_nanos(at.saturating_sub(self.now())).min(Duration::from_millis(5))
                })),
            }
        }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// Waits for a datagram, but not if the next query is due at once.
    fn wait(&self, time: Duration) {
        if time > Duration::from_micros(60) {
            let time = TimeSpec::from_duration(time - Duration::from_micros(20));
            let _ = ppoll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], Some(time), None);
        }
    }

    /// Queues the queries that are due. Returns when the next one is due.
    fn fill(&mut self, now: u64, out: &mut Outgoing) -> Option<u64> {
        let most = if let Until::Count(count) = self.load.until { count } else { u64::MAX };
        while out.len() < BATCH_MAX && self.outcome.sent < most {
            let due = self.load.rate.map_or(now, |rate| (self.outcome.sent as f64 * 1e9 / rate) as u64);
            if due > now {
                return Some(due);
            }
            let Some(at) = self.free.pop() else { break };
            let name = match self.load.names {
                Names::Fresh(first) => first + self.outcome.sent,
                Names::Of(count) => self.draw() % count,
            };
            let slot = &mut self.slots[usize::from(at)];
            slot.uses = (slot.uses + 1) & (u16::MAX >> SLOT_BITS);
            slot.due = Some(due);
            let id = at | slot.uses << SLOT_BITS;
            self.template[..2].copy_from_slice(&id.to_be_bytes());
            let mut left = name;
            for digit in self.template[14..14 + DIGITS].iter_mut().rev() {
                *digit = b'0' + (left % 10) as u8;
                left /= 10;
            }
            let template = &self.template;
            out.push(&Route::connected(), |buffer| {
                buffer[..template.len()].copy_from_slice(template);
                template.len()
            });
            self.outcome.sent += 1;
        }
        None
    }

    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    fn take(&mut self, input: &mut Batch, count: usize) {
        let now = self.now();
        for n in 0..count {
            let reply = input.query(n);
            let [high, low, flags, rcode, _, _, records @ .., _, _, _, _] =
                reply.get(..12).unwrap_or(&[0; 12])
            else {
                continue;
            };
            let id = u16::from_be_bytes([*high, *low]);
            let at = id & (u16::MAX >> (16 - SLOT_BITS));
            let Some(slot) = self.slots.get_mut(usize::from(at)).filter(|slot| slot.uses == id >> SLOT_BITS)
            else {
                continue;
            };
            let (0x80.., Some(due)) = (*flags, slot.due.take()) else { continue };
            self.free.push(at);
            self.outcome.received += 1;
            self.outcome.bad += u64::from(rcode & 15 != 0 || records == [0, 0]);
            self.outcome.times.push(now.saturating_sub(due));
        }
    }

    fn expire(&mut self, now: u64) {
        let timeout = self.load.timeout.as_nanos() as u64;
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if slot.due.is_some_and(|due| now > due + timeout) {
                slot.due = None;
                self.free.push(at as u16);
                self.outcome.lost += 1;
            }
        }
    }
}
