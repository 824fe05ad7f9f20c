//! Upstreams that answer after an exact time, and count.

use super::question;
use hither_net::batch::{BATCH_MAX, Batch, Outgoing, Route};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// An upstream in a thread of its own, which ends with the benchmark.
pub struct Upstream {
    pub address: SocketAddr,
    queries: Arc<AtomicU64>,
}

/// How an upstream answers.
#[derive(Clone, Copy)]
pub struct Manner {
    pub delay: Duration,
    pub ttl_s: u32,
}

impl Upstream {
    /// Starts one in the network of the calling thread; with port 0 at a free port.
    pub fn start(address: SocketAddr, manner: Manner) -> Upstream {
        let socket = UdpSocket::bind(address).expect("a port");
        socket.set_nonblocking(true).expect("an option");
        let _ = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(8 << 20));
        let (address, queries) = (socket.local_addr().expect("bound"), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&queries);
        std::thread::spawn(move || serve(&socket, manner, &counted));
        Upstream { address, queries }
    }

    pub fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }
}

fn serve(socket: &UdpSocket, manner: Manner, queries: &AtomicU64) {
    let (mut batch, mut out) = (Batch::new(), Outgoing::new());
    // All responses take equally long, so they leave in the order of the queries.
    let mut waiting: VecDeque<(Instant, Route, Vec<u8>)> = VecDeque::new();
    loop {
        let now = Instant::now();
        while waiting.front().is_some_and(|(at, ..)| *at <= now) && out.len() < BATCH_MAX {
            let Some((_, route, octets)) = waiting.pop_front() else { break };
            out.push(&route, |buffer| {
                buffer[..octets.len()].copy_from_slice(&octets);
                octets.len()
            });
        }
        out.send(socket);
        let Ok(count) = batch.receive(socket) else {
            let next = waiting.front().map(|(at, ..)| at.saturating_duration_since(Instant::now()));
            let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            let _ = ppoll(&mut fds, next.map(TimeSpec::from_duration), None);
            continue;
        };
        queries.fetch_add(count as u64, Ordering::Relaxed);
        for n in 0..count {
            let answer = question::answer(batch.query(n), manner.ttl_s);
            waiting.extend(answer.map(|octets| (now + manner.delay, batch.route(n), octets)));
        }
    }
}
