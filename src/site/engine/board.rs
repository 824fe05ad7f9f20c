//! What the event loop and the threads of the engine hand each other. Each queue has a bound, and nobody
//! holds the lock while it waits for anything.

use super::stream::Closer;
use crate::config::Engine;
use hither_net::clock::now;
use hither_table::Monotonic;
use mio::Waker;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Sets that wait to be written; the oldest is dropped for another one.
pub(in crate::site) const WRITES_MAX: usize = 4096;
/// Octets of all these sets.
const WRITES_OCTETS_MAX: usize = 3 << 20;
/// Questions of the daemon that wait.
const ASKS_MAX: usize = 256;
/// Entries that others have published, and the event loop has not taken yet.
const HEARD_MAX: usize = 128;

/// A set for the engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::site) struct Write {
    pub key: String,
    pub value: Vec<u8>,
    /// When it expires, in milliseconds.
    pub expire_ms: u64,
    /// Whether it has just been learned: it is announced, and replaces what the engine has.
    pub is_new: bool,
    /// Whether it was sent once, on a connection that was lost.
    pub is_second: bool,
}

/// A question of the daemon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::site) struct Ask {
    pub number: u64,
    pub key: String,
    pub at: Monotonic,
}

/// What the engine knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::site) enum Found {
    /// A value under a key; of the daemon's question, if there is a number. `left_ms` is the time that the
    /// engine keeps it, if that has an end.
    Value { ask: Option<u64>, key: Vec<u8>, value: Vec<u8>, left_ms: Option<u64> },
    /// There is nothing for the daemon's question.
    Nothing { ask: u64 },
    /// A message of another host.
    Heard(Vec<u8>),
    /// A value that is too large to be one of ours.
    TooLarge { ask: Option<u64> },
}

/// The state of the engine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::site) struct State {
    pub is_up: bool,
    /// The engine is a replica, or refuses to write.
    pub is_read_only: bool,
    /// The engine in use, or the one that was tried last.
    pub engine: String,
    /// What is wrong with it, and what puts it right.
    pub problem: Option<String>,
    /// What is wrong with the subscription.
    pub deaf: Option<String>,
    pub counts: Counts,
    /// Whether all keys were read since [`Board::scan`].
    pub is_scanned: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::site) struct Counts {
    pub written: u64,
    pub dropped: u64,
    pub errors: u64,
    pub reconnects: u64,
}

#[derive(Debug)]
pub(in crate::site) struct Board {
    inner: Mutex<Inner>,
    changed: Condvar,
    waker: Arc<Waker>,
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    asks: VecDeque<Ask>,
    writes: VecDeque<Write>,
    writes_octets: usize,
    found: VecDeque<Found>,
    heard: VecDeque<Found>,
    /// Whether the keys of the engine are wanted.
    scan: bool,
    /// Whether the connection of the commands may be lost, as the other one was.
    check: bool,
    /// The engine with which the commands are connected.
    engine: Option<Engine>,
    /// Ends the subscription.
    closer: Option<Closer>,
    /// Grows with each connection of the commands.
    connection: u64,
}

/// What the thread of the commands is to do.
#[derive(Debug)]
pub(super) enum Job {
    Asks(Vec<Ask>),
    Writes(Vec<Write>),
    Scan,
    Check,
    /// The time that was given has come.
    Time,
}

/// What the thread of the commands can do at this moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    /// How many sets may be written.
    pub writes: usize,
    /// When more of them may be written, if none may be now.
    pub writes_at: Option<Monotonic>,
    /// When to return at the latest.
    pub until: Option<Monotonic>,
}

impl Board {
    /// A board whose changes wake the event loop by `waker`.
    pub fn new(waker: Arc<Waker>) -> Board {
        Board { inner: Mutex::default(), changed: Condvar::new(), waker }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // Without epoll the event loop ends by itself.
        let _ = self.waker.wake();
    }

    /// Waits for a change, at most until a time.
    fn wait<'a>(&self, inner: MutexGuard<'a, Inner>, until: Option<Monotonic>) -> MutexGuard<'a, Inner> {
        match until {
            None => self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let left = until.since(now()).max(Duration::from_millis(1));
                self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}

/// The part of the event loop.
impl Board {
    pub fn state(&self) -> State {
        self.lock().state.clone()
    }

    /// Hands over a question; `false` if the engine cannot be asked now.
    pub fn ask(&self, ask: Ask) -> bool {
        let mut inner = self.lock();
        let is_taken = inner.state.is_up && inner.asks.len() < ASKS_MAX;
        if is_taken {
            inner.asks.push_back(ask);
            self.changed.notify_all();
        }
        is_taken
    }

    /// Hands over a set.
    pub fn write(&self, write: Write) {
        let mut inner = self.lock();
        inner.writes_octets += write.octets();
        inner.writes.push_back(write);
        while inner.writes.len() > WRITES_MAX || inner.writes_octets > WRITES_OCTETS_MAX {
            inner.take_write();
            inner.state.counts.dropped += 1;
        }
        if inner.state.is_up {
            self.changed.notify_all();
        }
    }

    /// How many sets may be handed over before another one is dropped.
    pub fn free(&self) -> usize {
        let inner = self.lock();
        if inner.writes_octets > WRITES_OCTETS_MAX / 2 { 0 } else { WRITES_MAX - inner.writes.len() }
    }

    /// Asks for everything that the engine knows. It comes as fast as it is taken.
    pub fn scan(&self) {
        let mut inner = self.lock();
        (inner.scan, inner.state.is_scanned) = (true, false);
        self.changed.notify_all();
    }

    /// Takes something that was found or heard.
    pub fn take(&self) -> Option<Found> {
        let mut inner = self.lock();
        let taken = inner.found.pop_front().or_else(|| inner.heard.pop_front());
        if inner.found.is_empty() {
            self.changed.notify_all();
        }
        taken
    }

    /// Takes an answer to a question, if it is the next thing that was found.
    pub fn take_answer(&self) -> Option<Found> {
        let mut inner = self.lock();
        let is_answer = |found: &Found| {
            matches!(
                found,
                Found::Nothing { .. } | Found::Value { ask: Some(_), .. } | Found::TooLarge { ask: Some(_) }
            )
        };
        let at = inner.found.iter().position(is_answer)?;
        inner.found.remove(at)
    }
}

/// The part of the thread of the commands.
impl Board {
    /// Waits for something to do.
    pub(super) fn next_job(&self, ready: Ready) -> Job {
        let mut inner = self.lock();
        loop {
            if !inner.asks.is_empty() {
                return Job::Asks(inner.asks.drain(..).collect());
            }
            if std::mem::take(&mut inner.check) {
                return Job::Check;
            }
            if ready.writes > 0 && !inner.writes.is_empty() {
                let count = ready.writes.min(inner.writes.len());
                return Job::Writes((0..count).filter_map(|_| inner.take_write()).collect());
            }
            if inner.scan && inner.found.is_empty() {
                return Job::Scan;
            }
            let writes_at = ready.writes_at.filter(|_| !inner.writes.is_empty());
            let until = writes_at.into_iter().chain(ready.until).min();
            if until.is_some_and(|until| until <= now()) {
                return Job::Time;
            }
            inner = self.wait(inner, until);
        }
    }

    /// Hands over what was found.
    pub(super) fn post(&self, found: impl IntoIterator<Item = Found>) {
        let mut inner = self.lock();
        inner.found.extend(found);
        self.wake();
    }

    /// All keys were read.
    pub(super) fn scanned(&self) {
        let mut inner = self.lock();
        (inner.scan, inner.state.is_scanned) = (false, true);
        self.wake();
    }

    /// Puts sets back that were not written, as the oldest.
    pub(super) fn put_back(&self, writes: Vec<Write>) {
        let mut inner = self.lock();
        for mut write in writes.into_iter().rev() {
            if std::mem::replace(&mut write.is_second, true) || inner.writes.len() >= WRITES_MAX {
                inner.state.counts.dropped += 1;
            } else {
                inner.writes_octets += write.octets();
                inner.writes.push_front(write);
            }
        }
        self.wake();
    }

    /// Counts what was done.
    pub(super) fn count(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut self.lock().state.counts);
        self.wake();
    }

    /// The engine answers.
    pub(super) fn up(&self, engine: &Engine, is_read_only: bool, problem: Option<String>) {
        let mut inner = self.lock();
        inner.connection += 1;
        inner.engine = Some(engine.clone());
        let state = &mut inner.state;
        (state.is_up, state.is_read_only, state.problem) = (true, is_read_only, problem);
        state.engine = engine.to_string();
        inner.check = false;
        self.changed.notify_all();
        self.wake();
    }

    /// The engine is in trouble, or no longer; it is still connected.
    pub(super) fn set_problem(&self, problem: Option<String>) {
        let mut inner = self.lock();
        if inner.state.problem != problem {
            inner.state.problem = problem;
            self.wake();
        }
    }

    /// The engine does not answer. Questions get no answer, and the subscription ends.
    pub(super) fn down(&self, engine: &str, problem: String) {
        let mut inner = self.lock();
        inner.state.counts.reconnects += 1;
        inner.engine = None;
        let state = &mut inner.state;
        (state.is_up, state.is_read_only, state.problem, state.deaf) = (false, false, Some(problem), None);
        engine.clone_into(&mut state.engine);
        let asks = std::mem::take(&mut inner.asks);
        inner.found.extend(asks.into_iter().map(|ask| Found::Nothing { ask: ask.number }));
        if let Some(closer) = inner.closer.take() {
            closer.close();
        }
        self.changed.notify_all();
        self.wake();
    }
}

/// The part of the subscription.
impl Board {
    /// Waits until the commands are connected; returns the number of their connection, and the engine.
    pub(super) fn wait_until_up(&self) -> (u64, Engine) {
        let mut inner = self.lock();
        loop {
            if let Some(engine) = inner.engine.clone() {
                return (inner.connection, engine);
            }
            inner = self.wait(inner, None);
        }
    }

    /// The subscription stands, on the connection of the commands of this number; `false` if that one has
    /// ended meanwhile.
    pub(super) fn subscribed(&self, connection: u64, closer: Closer) -> bool {
        let mut inner = self.lock();
        if inner.connection != connection || inner.engine.is_none() {
            return false;
        }
        (inner.closer, inner.state.deaf) = (Some(closer), None);
        self.wake();
        true
    }

    /// The subscription has ended or cannot be made: the other connection may be lost, too.
    pub(super) fn deaf(&self, connection: u64, problem: String) {
        let mut inner = self.lock();
        inner.closer = None;
        if inner.connection == connection && inner.engine.is_some() {
            inner.state.counts.reconnects += 1;
            (inner.state.deaf, inner.check) = (Some(problem), true);
            self.changed.notify_all();
        }
        self.wake();
    }

    /// A message of another host. Waits while too many others are not taken yet.
    pub(super) fn heard(&self, found: Found) {
        let mut inner = self.lock();
        while inner.heard.len() >= HEARD_MAX {
            inner = self.wait(inner, None);
        }
        inner.heard.push_back(found);
        self.wake();
    }
}

impl Inner {
    fn take_write(&mut self) -> Option<Write> {
        let write = self.writes.pop_front()?;
        self.writes_octets -= write.octets();
        Some(write)
    }
}

impl Write {
    fn octets(&self) -> usize {
        self.key.len() + self.value.len()
    }
}
