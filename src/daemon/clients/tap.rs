//! What the hit path shows to those who look at queries: the log of queries, `hitherctl top`, dnstap.
//!
//! While nobody looks, a batch costs one branch. Else a batch is looked at after its replies are
//! written. Records of a fixed size go into bounded queues, whose other end never waits at the queue:
//! so nothing here allocates, locks, logs or makes a system call. What finds no slot is counted.

use crate::daemon::clients::asked::Asked;
use hither_net::batch::{Received, Replies};
use hither_table::Monotonic;
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use hither_wire::query::Query;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Slots for hits that nobody has looked at yet.
const HITS_MAX: usize = 1024;
/// Slots for messages that the collector has not got yet, some 2 KiB each.
const FRAMES_MAX: usize = 1024;
/// Octets of a query and of a reply by UDP in a slot.
const QUERY_OCTETS: usize = 512;
const REPLY_OCTETS: usize = hither_net::batch::REPLY_MAX;
/// Samples of one thread in a second, and how many of them may come at once. Below that rate each hit
/// that comes alone is a sample of its own.
const SAMPLES_PER_SECOND: u64 = 1000;
const SAMPLES_AT_ONCE: u64 = 256;
/// Hits of one thread for the log in a second; it is the bound of the log.
pub(crate) const LOGGED_PER_SECOND_MAX: u32 = 200;

/// A hit that is shown.
#[derive(Debug)]
pub(crate) struct SeenHit {
    pub name: Name,
    pub rtype: Rtype,
    pub client: SocketAddr,
    pub is_tcp: bool,
    pub rcode: u8,
    pub at: Monotonic,
    /// How many queries it stands for in a count of names; 0: it is for the log.
    pub weight: u64,
    /// Hits of this thread that the log has left out before this one.
    pub left_out: u64,
}

/// Which message of dnstap a frame is, or both messages of a client that was answered at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FrameKind {
    ClientQuery,
    ClientResponse,
    ClientBoth,
    ForwarderQuery,
    ForwarderResponse,
}

/// The protocol of a message, by the numbers of dnstap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FrameProtocol {
    Udp = 1,
    Tcp = 2,
    Tls = 3,
    Https = 4,
    Quic = 7,
}

/// What is known of a message beside its octets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameHead {
    pub kind: FrameKind,
    pub protocol: FrameProtocol,
    /// The asking end, if its address is known: of an upstream's query hither's own end is not.
    pub asker: Option<SocketAddr>,
    /// The end that answers.
    pub server: Option<SocketAddr>,
    pub asked: Monotonic,
    pub answered: Monotonic,
}

/// Messages on their way to a dnstap collector.
#[derive(Debug)]
pub(crate) struct Frame {
    pub head: FrameHead,
    query: Octets<QUERY_OCTETS>,
    reply: Octets<REPLY_OCTETS>,
    /// A message that is longer than its slot, which only the event loop adds.
    long: Option<Box<[u8]>>,
}

#[derive(Clone, Copy, Debug)]
struct Octets<const N: usize> {
    len: u16,
    octets: [u8; N],
}

impl<const N: usize> Octets<N> {
    /// A copy; nothing of a message that is too long.
    fn of(octets: &[u8]) -> Octets<N> {
        let mut copy = Octets { len: 0, octets: [0; N] };
        if let Some(slot) = copy.octets.get_mut(..octets.len()) {
            slot.copy_from_slice(octets);
            copy.len = octets.len() as u16;
        }
        copy
    }

    fn get(&self) -> Option<&[u8]> {
        self.octets.get(..usize::from(self.len)).filter(|octets| !octets.is_empty())
    }
}

impl Frame {
    pub fn query(&self) -> Option<&[u8]> {
        let is_query = matches!(self.head.kind, FrameKind::ClientQuery | FrameKind::ForwarderQuery);
        self.query.get().or(self.long.as_deref().filter(|_| is_query))
    }

    pub fn reply(&self) -> Option<&[u8]> {
        let is_reply = matches!(self.head.kind, FrameKind::ClientResponse | FrameKind::ForwarderResponse);
        self.reply.get().or(self.long.as_deref().filter(|_| is_reply))
    }
}

/// The way to the thread that writes to a dnstap collector.
#[derive(Clone, Debug)]
pub(crate) struct FrameSender {
    frames: SyncSender<Frame>,
    dropped: Arc<AtomicU64>,
}

impl FrameSender {
    /// A queue of frames. What finds no slot is counted in `dropped`.
    pub fn new(dropped: Arc<AtomicU64>) -> (FrameSender, Receiver<Frame>) {
        let (frames, receiver) = sync_channel(FRAMES_MAX);
        (FrameSender { frames, dropped }, receiver)
    }

    /// Shows messages that fit into a slot; a longer one is left out of its frame.
    fn send_both(&self, head: FrameHead, query: &[u8], reply: &[u8]) {
        self.put(Frame { head, query: Octets::of(query), reply: Octets::of(reply), long: None });
    }

    /// Shows a message of any length. Not for the hit path.
    pub fn send(&self, head: FrameHead, octets: &[u8]) {
        let (query, reply): (&[u8], &[u8]) = match head.kind {
            FrameKind::ClientQuery | FrameKind::ForwarderQuery => (octets, &[]),
            _ => (&[], octets),
        };
        let is_long = query.len() > QUERY_OCTETS || reply.len() > REPLY_OCTETS;
        let long = is_long.then(|| octets.into());
        self.put(Frame { head, query: Octets::of(query), reply: Octets::of(reply), long });
    }

    fn put(&self, frame: Frame) {
        if self.frames.try_send(frame).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Who looks at queries. Each thread that answers hits has a copy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tap {
    hits: Option<SyncSender<SeenHit>>,
    frames: Option<FrameSender>,
    /// Whether the names asked most are counted, by samples.
    samples: bool,
    /// Whether each hit is logged.
    logs: bool,
}

impl Tap {
    /// A queue of hits.
    pub fn queue() -> (SyncSender<SeenHit>, Receiver<SeenHit>) {
        sync_channel(HITS_MAX)
    }

    /// A tap for those who look: frames go to a collector, hits into a queue if they are sampled or
    /// logged.
    pub fn new(
        frames: Option<FrameSender>,
        hits: Option<SyncSender<SeenHit>>,
        samples: bool,
        logs: bool,
    ) -> Tap {
        Tap { hits: hits.filter(|_| samples || logs), frames, samples, logs }
    }
}

/// The tap of one thread.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    tap: Tap,
    is_on: bool,
    /// Samples that may be taken, and until when they were counted.
    samples: u64,
    counted: Monotonic,
    /// Hits since the last sample.
    weight: u64,
    /// Chooses the sample of a batch.
    chance: u64,
    second: u64,
    logged: u32,
    left_out: u64,
}

/// A query, as the path that answers hits knows it.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'q> {
    pub query: &'q Query<'q>,
    pub octets: &'q [u8],
    /// The reply; empty if a round is needed.
    pub reply: &'q [u8],
    pub client: SocketAddr,
    pub is_tcp: bool,
}

impl Observer {
    /// Whether anybody looks at queries of this thread.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Where frames of dnstap go, if there is a collector.
    pub fn frames(&self) -> Option<&FrameSender> {
        self.tap.frames.as_ref()
    }

    pub fn set(&mut self, tap: Tap) {
        self.is_on = tap.hits.is_some() || tap.frames.is_some();
        self.tap = tap;
    }

    /// Shows a batch by UDP. A query without a reply is a miss, which the event loop shows.
    #[cold]
    pub fn batch(
        &mut self,
        asked: &[Option<Asked<'_>>],
        received: Received<'_>,
        replies: &Replies<'_>,
        now: Monotonic,
    ) {
        let read = |asked: &'_ Asked<'_>| asked.read.is_ok();
        let hits =
            asked.iter().flatten().enumerate().filter(|(n, one)| read(one) && !replies.get(*n).is_empty());
        let count = hits.clone().count();
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let chosen = (self.chance >> 33) as usize % count.max(1);
        self.weight += count as u64;
        for (at, (n, one)) in hits.enumerate() {
            let (Ok(query), Some(client)) = (&one.read, received.peer(n)) else { continue };
            let hit = Seen { query, octets: one.octets, reply: replies.get(n), client, is_tcp: false };
            if at == chosen {
                self.sample(hit, now);
            }
            self.log(hit, now);
        }
        let Some(frames) = &self.tap.frames else { return };
        for (n, one) in asked.iter().flatten().enumerate().filter(|(_, one)| read(one)) {
            let reply = replies.get(n);
            let kind = if reply.is_empty() { FrameKind::ClientQuery } else { FrameKind::ClientBoth };
            let (asker, protocol) = (received.peer(n), FrameProtocol::Udp);
            let head = FrameHead { kind, protocol, asker, server: None, asked: now, answered: now };
            frames.send_both(head, one.octets, reply);
        }
    }

    /// Shows a query by TCP, which the event loop has read.
    #[cold]
    pub fn by_tcp(&mut self, seen: Seen<'_>, server: Option<SocketAddr>, now: Monotonic) {
        if !seen.reply.is_empty() {
            self.weight += 1;
            self.sample(seen, now);
            self.log(seen, now);
        }
        let Some(frames) = &self.tap.frames else { return };
        let (asker, protocol) = (Some(seen.client), FrameProtocol::Tcp);
        let head = |kind| FrameHead { kind, protocol, asker, server, asked: now, answered: now };
        frames.send(head(FrameKind::ClientQuery), seen.octets);
        if !seen.reply.is_empty() {
            frames.send(head(FrameKind::ClientResponse), seen.reply);
        }
    }

    fn sample(&mut self, hit: Seen<'_>, now: Monotonic) {
        if !self.tap.samples {
            self.weight = 0;
            return;
        }
        let more = now.since(self.counted).as_millis() as u64 * SAMPLES_PER_SECOND / 1000;
        if more > 0 {
            (self.samples, self.counted) = ((self.samples + more).min(SAMPLES_AT_ONCE), now);
        }
        if self.samples > 0 && self.put(hit, self.weight, 0, now) {
            self.samples -= 1;
            self.weight = 0;
        }
    }

    fn log(&mut self, hit: Seen<'_>, now: Monotonic) {
        if !self.tap.logs {
            return;
        }
        let second = now.as_ms() / 1000;
        if second != self.second {
            (self.second, self.logged) = (second, 0);
        }
        self.logged += 1;
        if self.logged <= LOGGED_PER_SECOND_MAX && self.put(hit, 0, self.left_out, now) {
            self.left_out = 0;
        } else {
            self.left_out += 1;
        }
    }

    fn put(&self, hit: Seen<'_>, weight: u64, left_out: u64, at: Monotonic) -> bool {
        let seen = SeenHit {
            name: hit.query.name_lower(),
            rtype: hit.query.qtype(),
            client: hit.client,
            is_tcp: hit.is_tcp,
            rcode: hit.reply.get(3).map_or(0, |flags| flags & 15),
            at,
            weight,
            left_out,
        };
        self.tap.hits.as_ref().is_some_and(|hits| hits.try_send(seen).is_ok())
    }
}
