//! UDP sockets towards upstreams, which serve one query after the other where there are many: opening one costs more than all else of a query.
//!
//! What an outsider has to guess stays what it is (RFC 5452 section 9.2): so many queries a second get a socket of their own, from a port that is
//! drawn; beyond that the socket is drawn from many idle ones; and no id is sent from a port twice. One query at a time is out on a socket,
//! so that whatever else comes in on it is known for late or forged. New ones are opened ahead, when nobody waits for it.

use hither_net::ports;
use hither_net::random::Random;
use hither_rounds::{AttemptId, Server};
use hither_table::Monotonic;
use mio::net::UdpSocket;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::time::Duration;

/// Sockets opened in a second, and how many of them at once.
const FRESH_RATE: u64 = 1024;
const FRESH_BURST: u64 = 2048;
/// New sockets of an upstream that wait for their first query, and how many of them are opened in one go.
const AHEAD: usize = 16;
const AHEAD_AT_ONCE: usize = 8;
/// Idle sockets of an upstream before one of them is used again.
const IDLE_MIN: usize = 64;
/// Idle sockets of an upstream that are kept, so that there are 512 of them with those opened ahead.
const IDLE_MAX: usize = 512 - AHEAD;
/// Idle sockets of all upstreams that are kept, where there are descriptors enough.
pub(super) const IDLE_ALL: usize = 1024;
/// Queries sent from one socket.
const USES: usize = 256;
/// How long a socket is used.
const AGE: Duration = Duration::from_secs(60);
/// Closed sockets whose ports and ids are remembered, for when the port is drawn again.
const SPENT: usize = 1024;
/// Ports drawn to find one from which an id has not been sent.
const DRAWS: usize = 4;

/// A socket, and what has been sent from it.
#[derive(Debug)]
pub(super) struct UdpLine {
    pub socket: UdpSocket,
    pub port: u16,
    pub upstream: Server,
    opened: Monotonic,
    /// Ids, oldest first, and whose the last one was.
    sent: Vec<u16>,
    latest: AttemptId,
    /// Ids sent from the same port before.
    spent: Vec<u16>,
}

/// Stands for attempts that have ended: what comes for them is late, whichever it was.
const ENDED: AttemptId = AttemptId(0);

impl UdpLine {
    pub fn send(&mut self, octets: &[u8], attempt: AttemptId) -> io::Result<()> {
        self.sent.extend(id_of(octets));
        self.latest = attempt;
        self.socket.send(octets).map(drop)
    }

    pub fn has_sent(&self, id: u16) -> bool {
        self.sent.contains(&id)
    }

    pub fn may_send(&self, id: u16, now: Monotonic) -> bool {
        !self.has_sent(id) && !self.spent.contains(&id) && now < self.opened.plus(AGE)
    }

    /// The attempt that a message is for, by its id; what fits none is held against the latest.
    pub fn whose(&self, message: &[u8]) -> Option<AttemptId> {
        let id = id_of(message);
        let (last, earlier) = self.sent.split_last()?;
        let late = id.is_some_and(|id| id != *last && earlier.contains(&id));
        Some(if late { ENDED } else { self.latest })
    }
}

/// The id of a message.
pub(super) fn id_of(octets: &[u8]) -> Option<u16> {
    octets.first_chunk().map(|id| u16::from_be_bytes(*id))
}

#[derive(Debug)]
pub(super) struct Pool {
    /// Sockets that nobody uses, of all upstreams, at most.
    most: usize,
    /// Oldest first.
    idle: BTreeMap<Server, VecDeque<usize>>,
    idle_count: usize,
    /// New ones.
    ahead: BTreeMap<Server, Vec<usize>>,
    /// Upstreams that were asked since new ones were last opened.
    asked: Vec<Server>,
    /// Which socket has a port.
    ports: HashMap<u16, usize>,
    spent: VecDeque<(u16, Vec<u16>)>,
    /// New sockets that may be opened although there are idle ones, and as of when.
    fresh: u64,
    fresh_at: Monotonic,
}

impl Pool {
    pub fn new(most: usize) -> Pool {
        Pool {
            most,
            idle: BTreeMap::new(),
            idle_count: 0,
            ports: HashMap::new(),
            spent: VecDeque::new(),
            ahead: BTreeMap::new(),
            asked: Vec::new(),
            fresh: FRESH_BURST,
            fresh_at: Monotonic(0),
        }
    }

    /// A socket that is there: a new one, or when there is no time to open another an idle one, drawn from many. `None`: one is to be opened.
    pub fn draw(&mut self, upstream: Server, now: Monotonic, random: &mut Random) -> Option<usize> {
        if !self.asked.contains(&upstream) {
            self.asked.push(upstream);
        }
        if let Some(key) = self.ahead.get_mut(&upstream).and_then(Vec::pop) {
            return Some(key);
        }
        if self.may_open(now) {
            return None;
        }
        let idle = self.idle.get_mut(&upstream).filter(|idle| idle.len() > IDLE_MIN)?;
        let at = (random.draw() >> 16) as usize % idle.len();
        self.idle_count -= 1;
        idle.swap_remove_back(at)
    }

    /// Whether there is time to open a socket, which is then taken for it.
    fn may_open(&mut self, now: Monotonic) -> bool {
        let more = now.since(self.fresh_at).as_micros() as u64 * FRESH_RATE / 1_000_000;
        if more > 0 {
            self.fresh = (self.fresh + more).min(FRESH_BURST);
            self.fresh_at = now;
        }
        let may = self.fresh > 0;
        self.fresh -= u64::from(may);
        may
    }

    /// Opens sockets for the next queries to the upstreams that were just asked; each is to be handed to [`Pool::ready`].
    pub fn open_ahead(&mut self, now: Monotonic, random: &mut Random) -> Vec<UdpLine> {
        let mut lines = Vec::new();
        for upstream in std::mem::take(&mut self.asked) {
            let there = self.ahead.get(&upstream).map_or(0, Vec::len);
            for _ in there..AHEAD.min(there + AHEAD_AT_ONCE) {
                if self.kept() + lines.len() >= self.most || !self.may_open(now) {
                    break;
                }
                lines.extend(self.open_any(upstream, now, random));
            }
        }
        lines
    }

    fn kept(&self) -> usize {
        self.idle_count + self.ahead.values().map(Vec::len).sum::<usize>()
    }

    /// A new socket waits for its first query.
    pub fn ready(&mut self, upstream: Server, key: usize) {
        self.ahead.entry(upstream).or_default().push(key);
    }

    /// A new socket, from a port from which `id` was not sent lately.
    pub fn open(
        &mut self,
        upstream: Server,
        id: u16,
        now: Monotonic,
        random: &mut Random,
    ) -> io::Result<UdpLine> {
        let mut line = self.open_any(upstream, now, random)?;
        for _ in 1..DRAWS {
            if !line.spent.contains(&id) {
                break;
            }
            line = self.open_any(upstream, now, random)?;
        }
        Ok(line)
    }

    fn open_any(&mut self, upstream: Server, now: Monotonic, random: &mut Random) -> io::Result<UdpLine> {
        let (socket, port) = ports::udp(upstream.address, upstream.link, || random.draw())?;
        let before = self.spent.iter().filter(|(spent, _)| *spent == port);
        let spent = before.flat_map(|(_, ids)| ids).copied().collect();
        Ok(UdpLine { socket, port, upstream, opened: now, sent: Vec::new(), latest: ENDED, spent })
    }

    pub fn opened(&mut self, port: u16, key: usize) {
        self.ports.insert(port, key);
    }

    pub fn key_of(&self, port: u16) -> Option<usize> {
        self.ports.get(&port).copied()
    }

    /// Keeps a socket for the next query; returns one that is to be closed for it, or itself.
    pub fn take_back(&mut self, line: &UdpLine, key: usize) -> Option<usize> {
        if line.sent.len() >= USES {
            return Some(key);
        }
        self.idle_count += 1;
        let kept = self.kept();
        let idle = self.idle.entry(line.upstream).or_default();
        idle.push_back(key);
        if idle.len() <= IDLE_MAX && kept <= self.most {
            return None;
        }
        self.idle_count -= 1;
        idle.pop_front()
    }

    /// Remembers what was sent from a socket that is closed now.
    pub fn closed(&mut self, line: UdpLine) {
        self.ports.remove(&line.port);
        if self.spent.len() == SPENT {
            self.spent.pop_front();
        }
        self.spent.push_back((line.port, line.sent));
    }

    /// Gives up all sockets that nobody uses, to be closed.
    pub fn empty(&mut self) -> Vec<usize> {
        self.idle_count = 0;
        let ahead = std::mem::take(&mut self.ahead).into_values().flatten();
        std::mem::take(&mut self.idle).into_values().flatten().chain(ahead).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ids_are_not_used_again_together() {
        let listening = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
        let upstream = Server::from(listening.local_addr().expect("bound"));
        let (mut pool, mut random) = (Pool::new(IDLE_ALL), Random::new().expect("random numbers"));
        let now = Monotonic(0);
        let mut line = pool.open(upstream, 7, now, &mut random).expect("a socket");
        assert!(line.may_send(7, now));
        line.send(&[0, 7], AttemptId(1)).expect("sent");
        line.send(&[0, 8], AttemptId(2)).expect("sent");
        assert!(!line.may_send(7, now) && !line.may_send(8, now) && line.may_send(9, now));
        assert!(!line.may_send(9, now.plus(AGE)), "it is too old");
        let whose = |id: u16| line.whose(&id.to_be_bytes());
        assert_eq!([whose(7), whose(8), whose(9), line.whose(b"")], [0, 2, 2, 2].map(|n| Some(AttemptId(n))));
        let port = line.port;
        pool.closed(line);
        let (socket, again) =
            ports::udp(upstream.address, upstream.link, || u64::from(port) - 1024).expect("a socket");
        assert_eq!(again, port);
        drop(socket);
        let draw_again = pool.spent.iter().any(|(spent, ids)| *spent == port && ids == &[7, 8]);
        assert!(draw_again, "what was sent from a closed socket is remembered");
    }

    #[test]
    fn an_idle_socket_is_used_again_only_where_there_are_many() {
        let bound = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
        let upstream = Server::from(bound.local_addr().expect("bound"));
        let (mut pool, mut random) = (Pool::new(IDLE_ALL), Random::new().expect("random numbers"));
        let now = Monotonic(0);
        let line = || pool_line(upstream, &mut Random::new().expect("random numbers"));
        for key in 0..=IDLE_MIN {
            assert_eq!(pool.take_back(&line(), key), None);
        }
        let fresh =
            (0..FRESH_BURST).filter(|_| pool.draw(upstream, now, &mut random).is_none()).count() as u64;
        assert_eq!(fresh, FRESH_BURST, "as long as there is time for new ones");
        assert!(pool.open_ahead(now, &mut random).is_empty(), "no more than there is time for");
        assert!(pool.draw(upstream, now, &mut random).is_some());
        assert_eq!(pool.draw(upstream, now, &mut random), None, "few are idle");
        for key in 100..100 + IDLE_MAX - IDLE_MIN {
            assert_eq!(pool.take_back(&line(), key), None);
        }
        assert!(pool.take_back(&line(), 7).is_some_and(|oldest| oldest <= IDLE_MIN), "room is made");
        let mut worn = line();
        (0..USES as u16).for_each(|id| worn.sent.push(id));
        assert_eq!(pool.take_back(&worn, 99), Some(99), "it has been used often enough");
        assert_eq!(pool.empty().len(), IDLE_MAX);
    }

    #[test]
    fn new_sockets_are_opened_ahead_of_their_first_query() {
        let bound = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
        let upstream = Server::from(bound.local_addr().expect("bound"));
        let (mut pool, mut random) = (Pool::new(IDLE_ALL), Random::new().expect("random numbers"));
        let now = Monotonic(0);
        assert_eq!(pool.draw(upstream, now, &mut random), None);
        for _ in 0..3 {
            let lines = pool.open_ahead(now, &mut random);
            (0..lines.len()).for_each(|key| pool.ready(upstream, key));
            assert!(pool.draw(upstream, now, &mut random).is_some());
        }
        assert!(pool.open_ahead(now, &mut random).len() <= AHEAD_AT_ONCE);
        assert!(pool.open_ahead(now, &mut random).is_empty(), "nobody was asked");
        assert!(pool.empty().len() < AHEAD);
        let mut pool = Pool::new(3);
        pool.draw(upstream, now, &mut random);
        assert_eq!(pool.open_ahead(now, &mut random).len(), 3, "no more than may be kept");
    }

    fn pool_line(upstream: Server, random: &mut Random) -> UdpLine {
        Pool::new(0).open(upstream, 0, Monotonic(0), random).expect("a socket")
    }
}
