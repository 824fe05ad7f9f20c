//! The processes that this benchmark starts of itself: the minimal responder, and upstreams with delay
//! and loss.

use hither_net::batch::{Batch, Outgoing, Route};
use hither_wire::codes::Rtype;
use hither_wire::compose::{Composer, Owner, flags};
use hither_wire::message::Section;
use hither_wire::query::Query;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

/// Sets QR and sends the query back, which is the least that any server must do.
pub fn flip(address: SocketAddr, batched: bool) {
    let socket = hither_net::listen::udp(address, false).expect("bound");
    if !batched {
        socket.set_nonblocking(false).expect("an option");
        let mut buffer = [0; 1500];
        loop {
            if let Ok((len, peer)) = socket.recv_from(&mut buffer) {
                buffer[2] |= 0x80;
                buffer[7] = 1;
                let _ = socket.send_to(&buffer[..len], peer);
            }
        }
    }
    let mut batch = Batch::new();
    loop {
        let Ok(count) = batch.receive(&socket) else {
            wait(&socket, None);
            continue;
        };
        let (received, mut replies) = batch.parts();
        for n in 0..count {
            let query = received.query(n);
            replies.write(n, |out| {
                let len = query.len().min(out.len());
                out[..len].copy_from_slice(&query[..len]);
                out[2] |= 0x80;
                out[7] = 1;
                len
            });
        }
        batch.send(&socket);
    }
}

fn wait(socket: &UdpSocket, time: Option<Duration>) {
    wait_for(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], time);
}

/// Waits until one of these is ready, or for as long as this.
pub fn wait_for(fds: &mut [PollFd<'_>], time: Option<Duration>) {
    let _ = ppoll(fds, time.map(TimeSpec::from_duration), None);
}

/// The behaviour of an upstream.
#[derive(Clone, Copy)]
pub struct Manner {
    pub delay: Duration,
    /// The percentage of queries that get no response.
    pub loss: u64,
    pub addresses: u32,
    /// Each connection is reset by its query of this number; 0: none is. Over UDP there are none.
    pub reset_every: u64,
    /// The percentage of responses that take ten times as long.
    pub slow: u64,
}

/// A random number for each query, the same ones in each run.
pub struct Draws(u64);

impl Draws {
    pub fn new() -> Draws {
        Draws(1)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.0 >> 33
    }
}

impl Manner {
    /// One address, as late as this, and no faults.
    pub fn delayed(delay_ms: u64) -> Manner {
        let delay = Duration::from_millis(delay_ms);
        Manner { delay, loss: 0, addresses: 1, reset_every: 0, slow: 0 }
    }

    /// The manner in these arguments, which [`Manner::arguments`] made.
    pub fn read(arguments: &[String]) -> Manner {
        let number = |n: usize| arguments.get(n).and_then(|arg| arg.parse().ok()).unwrap_or(0);
        let delay = Duration::from_millis(number(0));
        Manner {
            delay,
            loss: number(1),
            addresses: number(2) as u32,
            reset_every: number(3),
            slow: number(4),
        }
    }

    /// The time until the response to a query with this random number; `None` if it gets none.
    pub fn fate(&self, draw: u64) -> Option<Duration> {
        let is_slow = draw / 100 % 100 < self.slow;
        (draw % 100 >= self.loss).then_some(if is_slow { self.delay * 10 } else { self.delay })
    }

    pub fn arguments(&self) -> [String; 5] {
        let delay_ms = self.delay.as_millis() as u64;
        [delay_ms, self.loss, u64::from(self.addresses), self.reset_every, self.slow].map(|n| n.to_string())
    }
}

/// Answers every name with addresses, and the name `stats` with the number of queries before it.
pub fn upstream(address: SocketAddr, manner: Manner) {
    let socket = hither_net::listen::udp(address, false).expect("bound");
    let (mut batch, mut out) = (Batch::new(), Outgoing::new());
    let mut waiting: BTreeMap<(Instant, u64), (Route, Vec<u8>)> = BTreeMap::new();
    let (mut queries, mut draws) = (0_u64, Draws::new());
    loop {
        let next = waiting.first_key_value().map(|(key, _)| key.0.saturating_duration_since(Instant::now()));
        let Ok(count) = batch.receive(&socket) else {
            if next.is_none_or(|time| !time.is_zero()) {
                wait(&socket, next);
            }
            send_due(&socket, &mut waiting, &mut out);
            continue;
        };
        for n in 0..count {
            queries += 1;
            let fate = manner.fate(draws.draw());
            let route = batch.route(n);
            let (received, mut replies) = batch.parts();
            let query = received.query(n);
            let stats = query.get(13..18) == Some(b"stats");
            let fate = if stats { Some(Duration::ZERO) } else { fate };
            let Some(delay) = fate else { continue };
            queries -= u64::from(stats);
            let what = if stats { Err(queries as u32) } else { Ok(manner.addresses) };
            replies.write(n, |buffer| {
                let len = answer(query, what, buffer);
                if delay.is_zero() {
                    return len;
                }
                waiting.insert((Instant::now() + delay, queries), (route, buffer[..len].to_vec()));
                0
            });
        }
        batch.send(&socket);
        send_due(&socket, &mut waiting, &mut out);
    }
}

fn send_due(
    socket: &UdpSocket,
    waiting: &mut BTreeMap<(Instant, u64), (Route, Vec<u8>)>,
    out: &mut Outgoing,
) {
    let now = Instant::now();
    while let Some(first) = waiting.first_entry().filter(|first| first.key().0 <= now) {
        let (route, octets) = first.remove();
        out.push(&route, |buffer| {
            buffer[..octets.len()].copy_from_slice(&octets);
            octets.len()
        });
        if out.len() == hither_net::batch::BATCH_MAX {
            out.send(socket);
        }
    }
    out.send(socket);
}

/// Composes the response with so many addresses, or with a number as its address; returns its length.
pub fn answer(query: &[u8], what: Result<u32, u32>, buffer: &mut [u8]) -> usize {
    let Ok(read) = Query::read(query) else { return 0 };
    let Some(mut composer) = Composer::new(buffer, 1232) else { return 0 };
    composer.set_header(read.id(), flags::QR | flags::RD | flags::RA);
    composer.question_octets(read.question());
    let count = what.unwrap_or(1);
    for n in 0..count {
        match read.qtype() {
            Rtype::AAAA => {
                let mut address = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                address[12..].copy_from_slice(&n.to_be_bytes());
                composer.record(Section::Answer, Owner::At(12), Rtype::AAAA, 86_400, &address);
            }
            Rtype::TXT => {
                composer.record(Section::Answer, Owner::At(12), Rtype::TXT, 86_400, b"\x05bench");
            }
            _ => {
                let address = what.map_or_else(u32::to_be_bytes, |_| (0xc612_0000 + n).to_be_bytes());
                composer.record(Section::Answer, Owner::At(12), Rtype::A, 86_400, &address);
            }
        }
    }
    if read.edns().is_some() {
        composer.opt(1232, 0, false, &[]);
    }
    composer.finish()
}
