//! DNS over QUIC without a peer that has keys of TLS. The first octet chooses:
//!
//! * 0: the octets of a stream, in pieces. The same message comes of them as of all at once.
//! * else: datagrams from anybody, and time. Everybody can derive the keys of the first packets (RFC 9001,
//!   section 5.2), so arbitrary frames come in packets that are valid. No query leaves, nothing counts as
//!   authenticated, what is sent is bounded, and the connection ends.
#![no_main]

#[allow(dead_code)]
#[path = "../../src/secure/doq/framing.rs"]
mod framing;

use framing::{Framing, OCTETS_MAX};
use hither_secure::{
    Anchor, Clock, DoqSession, Event, Policy, Refused, Roots, Scheme, ServerName, Shared, Trust, Verify,
};
use hither_table::Monotonic;
use libfuzzer_sys::fuzz_target;
use rustls::Side;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{Keys, Version};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let policy = Policy {
        scheme: Scheme::Doq,
        server_name: ServerName::try_from("dns.example").expect("a name"),
        authority: String::new(),
        path: String::new(),
        pins: vec![[7; 32]],
        verify: Verify::Pin,
        roots: Roots::System,
    };
    Shared::new(policy, &Trust::none(), Arc::new(Clock::new(0))).expect("a pin")
});

/// Shows once that the packets are valid: one with CONNECTION_CLOSE ends the connection.
static CHECK: LazyLock<()> = LazyLock::new(|| {
    let mut driver = Driver::new();
    driver.step(3, &[0x1c, 1, 0, 0]);
    assert!(driver.has_closed, "the packets are not valid");
});

/// What the octets are worth, by the text of the RFC.
fn expected(octets: &[u8]) -> Option<Vec<u8>> {
    match octets {
        [high, low, message @ ..] if message.len() == usize::from(*high) * 256 + usize::from(*low) => {
            Some(message.to_vec())
        }
        _ => None,
    }
}

fn try_framing(size: u8, octets: &[u8]) {
    // A stream may be longer than an input of the fuzzer is.
    let repeated = octets.repeat(if size & 0x80 != 0 { 20 } else { 1 });
    let (mut framing, mut is_cut) = (Framing::default(), false);
    for piece in repeated.chunks(usize::from(size & 0x7f).max(1)) {
        is_cut |= !framing.push(piece);
    }
    assert_eq!(is_cut, repeated.len() > OCTETS_MAX);
    if !is_cut {
        assert_eq!(framing.take_message(), expected(&repeated));
    }
}

/// A session, and the ids of its first packet.
struct Driver {
    session: DoqSession,
    now: Monotonic,
    own: Vec<u8>,
    theirs: Vec<u8>,
    packets: u64,
    has_closed: bool,
    sent: usize,
}

impl Driver {
    fn new() -> Driver {
        let now = Monotonic::from_ms(5_000);
        let anchor = Anchor::new(Instant::now(), now);
        let mut session = DoqSession::new(&SHARED, remote(), anchor, now).expect("a session");
        let mut first = Vec::new();
        session.transmit(now, &mut first).expect("the first datagram");
        let theirs = first[6..][..usize::from(first[5])].to_vec();
        let rest = &first[6 + theirs.len()..];
        let own = rest[1..][..usize::from(rest[0])].to_vec();
        Driver { session, now, own, theirs, packets: 0, has_closed: false, sent: 0 }
    }

    /// A long header from the server, up to the ids (RFC 8999, section 5.1).
    fn header(&self, first: u8, version: u32) -> Vec<u8> {
        let mut header = [&[first][..], &version.to_be_bytes(), &[self.own.len() as u8], &self.own].concat();
        header.extend([&[self.theirs.len() as u8][..], &self.theirs].concat());
        header
    }

    /// A valid Initial packet of the server with these frames (RFC 9001, section 5).
    fn initial(&mut self, frames: &[u8]) -> Vec<u8> {
        let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("of TLS 1.3");
        let keys =
            Keys::initial(Version::V1, suite, suite.quic.expect("for QUIC"), &self.theirs, Side::Server);
        let number = self.packets;
        self.packets += 1;
        let length = (4 + frames.len() + keys.local.packet.tag_len()) as u16 | 0x4000;
        let mut packet = self.header(0xc3, 1);
        packet.extend([&[0][..], &length.to_be_bytes(), &(number as u32).to_be_bytes()].concat());
        let (at, mut payload) = (packet.len() - 4, frames.to_vec());
        let tag = keys.local.packet.encrypt_in_place(number, &packet, &mut payload).expect("a key");
        packet.extend(payload);
        packet.extend(tag.as_ref());
        let sample = packet[at + 4..][..keys.local.header.sample_len()].to_vec();
        let (head, rest) = packet.split_at_mut(at);
        keys.local.header.encrypt_in_place(&sample, &mut head[0], &mut rest[..4]).expect("a sample");
        packet
    }

    fn step(&mut self, kind: u8, octets: &[u8]) {
        let datagram = match kind % 8 {
            0 => octets.to_vec(),
            1 => [self.header(0x80 | kind >> 1, 0), octets.to_vec()].concat(),
            2 => [self.header(0xf0, 1), octets.to_vec()].concat(),
            3..=5 => self.initial(octets),
            6 => {
                self.now = self.now.plus(Duration::from_millis(u64::from(kind >> 3) * 40));
                self.session.handle_timeout(self.now);
                return self.drain();
            }
            _ => {
                assert_eq!(self.session.query(1, &[7; 40]), Err(Refused::NotReady));
                return self.session.cancel(1);
            }
        };
        self.session.receive(self.now, remote(), &datagram);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.session.poll_event() {
            assert!(matches!(event, Event::Closed(_)) && !self.has_closed, "{event:?}");
            self.has_closed = true;
        }
        let mut datagram = Vec::new();
        while self.session.transmit(self.now, &mut datagram).is_some() {
            assert!(datagram.len() <= 1_200, "{} octets", datagram.len());
            self.sent += 1;
        }
    }

    /// Lets the time pass that the session wants, until it wants none.
    fn finish(&mut self) {
        for _ in 0..200 {
            let Some(at) = self.session.poll_timeout() else { break };
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self.drain();
        }
        assert!(self.has_closed, "it waits for ever");
        assert_eq!(self.session.poll_timeout(), None, "a timer is left");
    }
}

fn remote() -> std::net::SocketAddr {
    ([192, 0, 2, 1], 853).into()
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else { return };
    if *kind == 0 {
        let Some((size, octets)) = rest.split_first() else { return };
        return try_framing(*size, octets);
    }
    LazyLock::force(&CHECK);
    let (mut driver, mut rest, mut steps) = (Driver::new(), rest, 0);
    while let [kind, length, more @ ..] = rest {
        let (octets, left) = more.split_at(usize::from(*length).min(more.len()));
        driver.step(*kind, octets);
        (rest, steps) = (left, steps + 1);
    }
    driver.finish();
    assert!(driver.sent <= 60 + 3 * steps, "{} datagrams sent for {steps}", driver.sent);
});
