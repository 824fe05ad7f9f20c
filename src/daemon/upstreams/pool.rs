//! UDP sockets to upstreams. At high query rates sockets are reused, since opening one costs more
//! than the rest of a query.
//!
//! An off-path attacker has to guess as much as with a socket for each query (RFC 5452 section
//! 9.2): a bounded number of queries a second get a new socket from a random port; beyond that the
//! socket is drawn from many idle ones; and no id is sent from a port twice. A socket has one
//! outstanding query at a time, so that other messages on it are known to be late or forged. New
//! sockets are opened ahead, when no client waits for them. Sockets that were not needed for a
//! minute are closed.

use hither_net::ports;
use hither_net::random::Random;
use hither_rounds::{AttemptId, Question, Server};
use hither_table::Monotonic;
use hither_wire::query::Query;
use mio::net::UdpSocket;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// New sockets per second.
const FRESH_PER_SECOND_MAX: u64 = 1024;
/// The largest burst of new sockets.
const FRESH_BURST_MAX: u64 = 2048;
/// New sockets of one upstream that wait for their first query.
const AHEAD_MAX: usize = 16;
/// New sockets of one upstream that are opened together.
const AHEAD_PER_TURN_MAX: usize = 8;
/// Idle sockets of one upstream above which they are reused.
const IDLE_MIN: usize = 64;
/// Idle sockets of one upstream that are kept: 512 together with those opened ahead.
const IDLE_MAX: usize = 512 - AHEAD_MAX;
/// Queries sent from one socket before it is closed.
const USES_MAX: usize = 256;
/// How long a socket is used, if another one is available.
const AGE_MAX: Duration = Duration::from_secs(60);
/// How long an idle socket is kept.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// The least time between two sweeps.
const SWEEP_EVERY_MIN: Duration = Duration::from_secs(5);
/// Closed sockets whose ports and ids are remembered, in case a port is drawn again.
const CLOSED_REMEMBERED_MAX: usize = 1024;
/// Ports tried to find one from which an id has not been sent.
const PORT_DRAWS_MAX: usize = 4;

/// A socket, and the queries sent from it.
#[derive(Debug)]
pub(crate) struct UdpLine {
    pub socket: UdpSocket,
    pub port: u16,
    pub upstream: Server,
    opened: Monotonic,
    /// The ids sent, oldest first.
    sent: Vec<u16>,
    /// The latest query.
    query: Option<Rc<[u8]>>,
    /// The attempt of the latest query.
    latest: AttemptId,
    /// Ids sent from the same port by earlier sockets.
    spent: Vec<u16>,
}

/// Stands for any attempt that has ended: responses to it are late.
const ENDED: AttemptId = AttemptId(0);

impl UdpLine {
    pub fn send(&mut self, octets: &Rc<[u8]>, attempt: AttemptId) -> io::Result<()> {
        self.sent.extend(id_of(octets));
        (self.query, self.latest) = (Some(Rc::clone(octets)), attempt);
        self.socket.send(octets).map(drop)
    }

    /// Whether the latest query has this id and this question.
    pub fn has_asked(&self, id: u16, question: &Question) -> bool {
        let asked = self.query.as_deref().filter(|_| self.sent.last() == Some(&id)).map(Query::read);
        matches!(asked, Some(Ok(query)) if query.name_lower() == question.name && query.qtype() == question.rtype)
    }

    pub fn may_send(&self, id: u16, now: Monotonic) -> bool {
        self.may_still_send(id) && now < self.opened.plus(AGE_MAX)
    }

    /// The same if no other socket is available: its age does not matter, but no id is sent from a
    /// port twice.
    pub fn may_still_send(&self, id: u16) -> bool {
        self.sent.len() < USES_MAX && !self.sent.contains(&id) && !self.spent.contains(&id)
    }

    /// The attempt that a message is for, by its id. A message with an unknown id counts for the latest
    /// attempt.
    pub fn attempt_of(&self, message: &[u8]) -> Option<AttemptId> {
        let id = id_of(message);
        let (last, earlier) = self.sent.split_last()?;
        let late = id.is_some_and(|id| id != *last && earlier.contains(&id));
        Some(if late { ENDED } else { self.latest })
    }
}

/// The id of a message.
pub(crate) fn id_of(octets: &[u8]) -> Option<u16> {
    octets.first_chunk().map(|id| u16::from_be_bytes(*id))
}

/// An idle socket, and since when it is idle.
#[derive(Clone, Copy, Debug)]
struct Kept {
    key: usize,
    since: Monotonic,
}

/// The idle sockets of one upstream, those that are idle longest first.
#[derive(Debug, Default)]
struct IdleSockets {
    idle: VecDeque<Kept>,
    /// Sockets opened ahead that have not been used.
    ahead: VecDeque<Kept>,
}

impl IdleSockets {
    fn len(&self) -> usize {
        self.idle.len() + self.ahead.len()
    }

    fn oldest(&self) -> Option<Kept> {
        self.idle.front().into_iter().chain(self.ahead.front()).min_by_key(|kept| kept.since).copied()
    }

    fn all(&self) -> impl Iterator<Item = &Kept> {
        self.idle.iter().chain(&self.ahead)
    }

    fn remove(&mut self, key: usize) {
        self.idle.retain(|kept| kept.key != key);
        self.ahead.retain(|kept| kept.key != key);
    }
}

#[derive(Debug)]
pub(crate) struct Pool {
    /// The bound on idle sockets of all upstreams.
    most: usize,
    /// The idle sockets by upstream, for upstreams that have any.
    idle_by_upstream: BTreeMap<Server, IdleSockets>,
    /// When idle sockets are next checked for their age.
    look_at: Option<Monotonic>,
    /// Upstreams that got queries since sockets were last opened ahead.
    asked: Vec<Server>,
    /// The socket of each port.
    ports: HashMap<u16, usize>,
    spent: VecDeque<(u16, Vec<u16>)>,
    /// How many new sockets may be opened although there are idle ones, at the time `fresh_at`.
    fresh: u64,
    fresh_at: Monotonic,
}

impl Pool {
    pub fn new(most: usize) -> Pool {
        Pool {
            most,
            idle_by_upstream: BTreeMap::new(),
            look_at: None,
            ports: HashMap::new(),
            spent: VecDeque::new(),
            asked: Vec::new(),
            fresh: FRESH_BURST_MAX,
            fresh_at: Monotonic(0),
        }
    }

    /// Takes a socket for a query: a new one, or an idle one drawn from many if no more may be
    /// opened now. `None` if the caller must open one.
    pub fn draw(&mut self, upstream: Server, now: Monotonic, random: &mut Random) -> Option<usize> {
        if !self.asked.contains(&upstream) {
            self.asked.push(upstream);
        }
        if let Some(kept) =
            self.idle_by_upstream.get_mut(&upstream).and_then(|sockets| sockets.ahead.pop_back())
        {
            return Some(self.taken(upstream, kept));
        }
        if self.take_permit(now) {
            return None;
        }
        let idle = &mut self.idle_by_upstream.get_mut(&upstream)?.idle;
        let at = (idle.len() > IDLE_MIN).then(|| below(idle.len(), random))?;
        let kept = idle.remove(at)?;
        Some(self.taken(upstream, kept))
    }

    /// Takes any idle socket of this upstream that fits, if no other is available.
    pub fn draw_any(
        &mut self,
        upstream: Server,
        random: &mut Random,
        fits: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let sockets = self.idle_by_upstream.get_mut(&upstream)?;
        let fitting: Vec<Kept> = sockets.all().filter(|kept| fits(kept.key)).copied().collect();
        let kept = *fitting.get(below(fitting.len(), random))?;
        sockets.remove(kept.key);
        Some(self.taken(upstream, kept))
    }

    fn taken(&mut self, upstream: Server, kept: Kept) -> usize {
        if self.idle_by_upstream.get(&upstream).is_some_and(|sockets| sockets.len() == 0) {
            self.idle_by_upstream.remove(&upstream);
        }
        kept.key
    }

    /// Whether one more socket may be opened now, which is then counted.
    fn take_permit(&mut self, now: Monotonic) -> bool {
        let more = now.since(self.fresh_at).as_micros() as u64 * FRESH_PER_SECOND_MAX / 1_000_000;
        if more > 0 {
            self.fresh = (self.fresh + more).min(FRESH_BURST_MAX);
            self.fresh_at = now;
        }
        let may = self.fresh > 0;
        self.fresh -= u64::from(may);
        may
    }

    /// Opens up to `most` sockets for the next queries to the upstreams that were used lately. The
    /// caller hands each to [`Pool::add_ahead`].
    ///
    /// # Errors
    /// The error of the first socket that cannot be opened. No further ones are tried then.
    pub fn open_ahead(
        &mut self,
        most: usize,
        now: Monotonic,
        random: &mut Random,
    ) -> (Vec<UdpLine>, io::Result<()>) {
        let mut lines = Vec::new();
        for upstream in std::mem::take(&mut self.asked) {
            let there = self.idle_by_upstream.get(&upstream).map_or(0, |sockets| sockets.ahead.len());
            for _ in there..AHEAD_MAX.min(there + AHEAD_PER_TURN_MAX) {
                if self.len() + lines.len() >= self.most || lines.len() >= most || !self.take_permit(now) {
                    break;
                }
                match self.open_any(upstream, now, random) {
                    Ok(line) => lines.push(line),
                    Err(error) => return (lines, Err(error)),
                }
            }
        }
        (lines, Ok(()))
    }

    /// Cancels opening sockets ahead.
    pub fn open_none_ahead(&mut self) {
        self.asked.clear();
    }

    /// The number of idle sockets.
    pub fn len(&self) -> usize {
        self.idle_by_upstream.values().map(IdleSockets::len).sum()
    }

    /// Adds a new socket, which waits for its first query.
    pub fn add_ahead(&mut self, upstream: Server, key: usize, now: Monotonic) {
        self.look_at.get_or_insert(now.plus(IDLE_TIME_MAX));
        self.idle_by_upstream.entry(upstream).or_default().ahead.push_back(Kept { key, since: now });
    }

    /// Opens a socket on a port from which `id` was not sent lately.
    pub fn open(
        &mut self,
        upstream: Server,
        id: u16,
        now: Monotonic,
        random: &mut Random,
    ) -> io::Result<UdpLine> {
        let mut line = self.open_any(upstream, now, random)?;
        for _ in 1..PORT_DRAWS_MAX {
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
        let (sent, query) = (Vec::new(), None);
        Ok(UdpLine { socket, port, upstream, opened: now, sent, query, latest: ENDED, spent })
    }

    pub fn note_opened(&mut self, port: u16, key: usize) {
        self.ports.insert(port, key);
    }

    pub fn key_of(&self, port: u16) -> Option<usize> {
        self.ports.get(&port).copied()
    }

    /// Keeps a socket for the next query. Returns a socket that the caller must close for it,
    /// possibly this one.
    pub fn take_back(&mut self, line: &UdpLine, key: usize, now: Monotonic) -> Option<usize> {
        if line.sent.len() >= USES_MAX {
            return Some(key);
        }
        self.look_at.get_or_insert(now.plus(IDLE_TIME_MAX));
        self.idle_by_upstream.entry(line.upstream).or_default().idle.push_back(Kept { key, since: now });
        let len = self.len();
        let idle = &mut self.idle_by_upstream.get_mut(&line.upstream)?.idle;
        if idle.len() <= IDLE_MAX && len <= self.most {
            return None;
        }
        let oldest = idle.pop_front()?;
        Some(self.taken(line.upstream, oldest))
    }

    /// Remembers the ids that were sent from a socket that is closed now.
    pub fn note_closed(&mut self, line: UdpLine, key: usize) {
        // Sockets that are bound to different interfaces may have the same port.
        if self.ports.get(&line.port) == Some(&key) {
            self.ports.remove(&line.port);
        }
        if self.spent.len() == CLOSED_REMEMBERED_MAX {
            self.spent.pop_front();
        }
        self.spent.push_back((line.port, line.sent));
    }

    /// Removes idle sockets of any upstream, those that are idle longest first. The caller closes them.
    pub fn remove_oldest(&mut self, count: usize) -> Vec<usize> {
        let mut given = Vec::new();
        while given.len() < count {
            let oldest = self
                .idle_by_upstream
                .iter()
                .filter_map(|(server, sockets)| Some((sockets.oldest()?, *server)));
            let Some((kept, server)) = oldest.min_by_key(|(kept, _)| kept.since) else { break };
            if let Some(sockets) = self.idle_by_upstream.get_mut(&server) {
                sockets.remove(kept.key);
            }
            given.push(self.taken(server, kept));
        }
        given
    }

    /// When [`Pool::sweep`] is to be called; `None` while no socket is idle.
    pub fn timeout(&self) -> Option<Monotonic> {
        self.look_at
    }

    /// Removes sockets that were not needed for a minute. The caller closes them.
    pub fn sweep(&mut self, now: Monotonic) -> Vec<usize> {
        let mut over = Vec::new();
        if self.look_at.is_none_or(|at| now < at) {
            return over;
        }
        self.idle_by_upstream.retain(|_, sockets| {
            for sockets in [&mut sockets.idle, &mut sockets.ahead] {
                let done = sockets.iter().take_while(|kept| kept.since.plus(IDLE_TIME_MAX) <= now).count();
                over.extend(sockets.drain(..done).map(|kept| kept.key));
            }
            sockets.len() > 0
        });
        let oldest =
            self.idle_by_upstream.values().filter_map(IdleSockets::oldest).map(|kept| kept.since).min();
        self.look_at = oldest.map(|since| since.plus(IDLE_TIME_MAX).max(now.plus(SWEEP_EVERY_MIN)));
        over
    }

    /// Removes all idle sockets. The caller closes them.
    pub fn empty(&mut self) -> Vec<usize> {
        self.look_at = None;
        let all = std::mem::take(&mut self.idle_by_upstream).into_values();
        all.flat_map(|sockets| sockets.idle.into_iter().chain(sockets.ahead)).map(|kept| kept.key).collect()
    }
}

/// A random number below `len`.
fn below(len: usize, random: &mut Random) -> usize {
    (random.draw() >> 16) as usize % len.max(1)
}

#[cfg(test)]
mod tests;
