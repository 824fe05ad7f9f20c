//! An upstream that loses or delays queries. Names that begin with `no` do not exist; those that begin
//! with `mute` get no response.

use std::collections::BinaryHeap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The behaviour of an upstream, which can be changed while it runs.
#[derive(Default)]
pub struct Behaviour {
    pub delay_ms: AtomicU64,
    /// How many of 1000 queries it loses.
    pub lost: AtomicU64,
    /// How many queries it has received.
    pub queries: AtomicU64,
}

/// An upstream that runs in a thread of its own.
pub struct Upstream {
    pub address: SocketAddr,
    pub behaviour: Arc<Behaviour>,
}

fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

fn reply(query: &[u8]) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|octet| *octet == 0).unwrap_or(0) + 5;
    let denied = query[13..15].eq_ignore_ascii_case(b"no");
    let mut out = query[..end].to_vec();
    (out[2], out[3]) = (0x81, if denied { 0x83 } else { 0x80 });
    out[6..12].copy_from_slice(if denied { &[0, 0, 0, 1, 0, 0] } else { &[0, 1, 0, 0, 0, 0] });
    match denied {
        false => out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 198, 18, 0, 1]),
        true => {
            let rdata = [&b"\x02ns\0\x04host\0"[..], &[0; 16], &60u32.to_be_bytes()].concat();
            out.extend([0, 0, 6, 0, 1, 0, 0, 1, 44, 0, rdata.len() as u8]);
            out.extend(rdata);
        }
    }
    out
}

/// Starts an upstream.
pub fn upstream(delay_ms: u64, lost: u64) -> Upstream {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("bound");
    let behaviour = Arc::new(Behaviour::default());
    behaviour.delay_ms.store(delay_ms, Ordering::SeqCst);
    behaviour.lost.store(lost, Ordering::SeqCst);
    let own = Arc::clone(&behaviour);
    std::thread::spawn(move || {
        let (mut state, mut buffer) = (u64::from(address.port()), [0; 2048]);
        let mut waiting: BinaryHeap<(std::cmp::Reverse<Instant>, Vec<u8>, SocketAddr)> = BinaryHeap::new();
        loop {
            while waiting.peek().is_some_and(|(at, ..)| at.0 <= Instant::now()) {
                let Some((_, octets, peer)) = waiting.pop() else { break };
                let _ = socket.send_to(&octets, peer);
            }
            let left = waiting.peek().map_or(Duration::from_millis(200), |(at, ..)| {
                at.0.saturating_duration_since(Instant::now())
            });
            let _ = socket.set_read_timeout(Some(left.max(Duration::from_micros(100))));
            let Ok((len, peer)) = socket.recv_from(&mut buffer) else { continue };
            own.queries.fetch_add(1, Ordering::Relaxed);
            let mute = buffer[13..17].eq_ignore_ascii_case(b"mute");
            if !mute && draw(&mut state) % 1000 >= own.lost.load(Ordering::Relaxed) {
                let at = Instant::now() + Duration::from_millis(own.delay_ms.load(Ordering::Relaxed));
                waiting.push((std::cmp::Reverse(at), reply(&buffer[..len]), peer));
            }
        }
    });
    Upstream { address, behaviour }
}
