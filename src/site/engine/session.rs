//! What is done on the connection of the commands, until it is lost or another engine is better.

use super::board::{Ask, Board, Found, Job, Ready, Write};
use super::commands::Target;
use super::connection::{Access, Connection, Role, accepted};
use super::hunt::{Hunted, hunt, node};
use super::resp::Reply;
use super::trouble::{EngineError, Kind, Trouble};
use crate::companion::pace::Pace;
use crate::config::Engine;
use crate::site::backoff::Backoff;
use hither_net::clock::now;
use hither_table::Monotonic;
use std::collections::VecDeque;
use std::time::Duration;

/// Sets that are written at once.
const WRITES_AT_ONCE: u64 = 20;
/// A set with less time left is not written.
const LEFT_MIN_MS: u64 = 1000;
/// A question that has waited for longer has been answered by an upstream.
const ASK_WITHIN: Duration = Duration::from_millis(100);
/// Keys of the engine that are looked at by one SCAN, and values that are read at once.
const SCANNED_AT_ONCE: &[u8] = b"256";
const READ_AT_ONCE: usize = 32;
/// Steps of one scan: an engine that never ends it does not keep us busy for ever.
const SCANS_MAX: usize = 50_000;

/// Why a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The connection is of no use any more.
    Lost(Trouble),
    /// Another engine is to be tried at once, this one first.
    Other(Option<Engine>, Trouble),
    /// A primary was found, while a replica was in use.
    Found(Box<Hunted>),
}

/// A connection with an engine, and the work on it.
#[derive(Debug)]
pub(super) struct Session<'a> {
    board: &'a Board,
    access: &'a Access,
    target: &'a Target,
    hunted: Hunted,
    pace: &'a mut Pace,
    /// Pauses while the engine refuses to write, or is a replica.
    backoff: Backoff,
    /// Until when nothing is written, since the engine refuses it.
    paused_until: Option<Monotonic>,
    scan: Scan,
}

/// How far the scan of all keys has come.
#[derive(Debug, Default)]
struct Scan {
    cursor: Option<Vec<u8>>,
    keys: VecDeque<Vec<u8>>,
    steps: usize,
}

impl<'a> Session<'a> {
    pub fn new(
        board: &'a Board,
        access: &'a Access,
        target: &'a Target,
        hunted: Hunted,
        pace: &'a mut Pace,
    ) -> Session<'a> {
        let is_replica = hunted.role == Role::Replica;
        let problem = is_replica.then(|| {
            let text = EngineError::of("READONLY this is a replica");
            format!("{}: {text}", hunted.engine)
        });
        board.up(&hunted.engine, is_replica, problem);
        let mut backoff = Backoff::new();
        let paused_until = is_replica.then(|| now().plus(backoff.next()));
        Session { board, access, target, hunted, pace, backoff, paused_until, scan: Scan::default() }
    }

    fn connection(&mut self) -> &mut Connection {
        &mut self.hunted.connection
    }

    fn is_replica(&self) -> bool {
        self.hunted.role == Role::Replica
    }

    /// Works until the session ends.
    pub fn run(mut self) -> Ended {
        loop {
            let ready = self.ready();
            let result = match self.board.next_job(ready) {
                Job::Asks(asks) => self.answer(asks),
                Job::Writes(writes) => self.write(writes),
                Job::Scan => self.scan(),
                Job::Check => self.check(),
                Job::Time => self.look_for_primary(),
            };
            if let Err(ended) = result {
                return ended;
            }
        }
    }

    fn ready(&mut self) -> Ready {
        let now = now();
        self.pace.advance(now);
        let paused_until = self.paused_until.filter(|until| *until > now);
        let writes = if self.is_replica() || paused_until.is_some() { 0 } else { self.pace.count() };
        let writes_at = paused_until.or_else(|| (writes == 0).then(|| self.pace.next()));
        Ready {
            writes: writes.min(WRITES_AT_ONCE) as usize,
            writes_at: writes_at.filter(|_| !self.is_replica()),
            until: self.paused_until.filter(|_| self.is_replica()),
        }
    }

    /// Answers questions of the daemon.
    fn answer(&mut self, asks: Vec<Ask>) -> Result<(), Ended> {
        let now = now();
        let (current, late): (Vec<_>, Vec<_>) =
            asks.into_iter().partition(|ask| now.since(ask.at) <= ASK_WITHIN);
        self.board.post(late.iter().map(|ask| Found::Nothing { ask: ask.number }));
        let result = self.get(&current);
        if result.is_err() {
            self.board.post(current.iter().map(|ask| Found::Nothing { ask: ask.number }));
        }
        result.map_err(Ended::Lost)
    }

    fn get(&mut self, asks: &[Ask]) -> Result<(), Trouble> {
        for ask in asks {
            self.connection().add(&[b"GET", ask.key.as_bytes()]);
            self.connection().add(&[b"PTTL", ask.key.as_bytes()]);
        }
        self.connection().begin()?;
        let mut answered = Vec::new();
        for Ask { number, key, .. } in asks {
            let ask = *number;
            let reply = self.connection().reply()?;
            let left_ms = left(&self.connection().reply()?);
            answered.push(match reply {
                Reply::Octets(value) => {
                    Found::Value { ask: Some(ask), key: key.clone().into(), value, left_ms }
                }
                Reply::TooLarge => Found::TooLarge { ask: Some(ask) },
                Reply::Nothing => Found::Nothing { ask },
                Reply::Error(text) => {
                    self.board.count(|counts| counts.errors += 1);
                    fatal(&text)?;
                    Found::Nothing { ask }
                }
                _ => return Err(Trouble::Malformed("no value".to_owned())),
            });
        }
        self.board.post(answered);
        Ok(())
    }

    /// Writes sets and announces them.
    fn write(&mut self, mut writes: Vec<Write>) -> Result<(), Ended> {
        let now = now();
        let count = writes.len();
        writes.retain(|write| write.expire_ms.saturating_sub(now.as_ms()) > LEFT_MIN_MS);
        let expired = (count - writes.len()) as u64;
        if expired > 0 {
            self.board.count(|counts| counts.dropped += expired);
        }
        writes.iter().for_each(|_| self.pace.take());
        let channel = &self.target.channel;
        for write in &writes {
            let left = (write.expire_ms - now.as_ms()).to_string();
            let (key, value) = (write.key.as_bytes(), write.value.as_slice());
            let connection = &mut self.hunted.connection;
            if write.is_new {
                connection.add(&[b"SET", key, value, b"PX", left.as_bytes()]);
                let message = hither_entries::encode_message(&write.key, value);
                connection.add(&[b"PUBLISH", channel.as_bytes(), &message]);
            } else {
                connection.add(&[b"SET", key, value, b"PX", left.as_bytes(), b"NX"]);
            }
        }
        match self.replies_to(&writes) {
            Ok(None) => Ok(()),
            Ok(Some(error)) => self.refused(&error, writes),
            Err(trouble) => {
                self.board.put_back(writes);
                Err(Ended::Lost(trouble))
            }
        }
    }

    /// Reads the replies to the writes; returns the last error.
    fn replies_to(&mut self, writes: &[Write]) -> Result<Option<EngineError>, Trouble> {
        self.connection().begin()?;
        let (mut written, mut errors, mut last) = (0, 0, None);
        for write in writes {
            match self.connection().reply()? {
                Reply::Error(text) => {
                    errors += 1;
                    last = Some(EngineError::of(&text));
                }
                // With NX there may be one already.
                Reply::Nothing => {}
                _ => written += 1,
            }
            if write.is_new
                && let Reply::Error(text) = self.connection().reply()?
            {
                errors += 1;
                last = last.or_else(|| Some(EngineError::of(&text)));
            }
        }
        self.board.count(|counts| {
            counts.written += written;
            counts.errors += errors;
        });
        if last.is_none() && written > 0 && self.paused_until.take().is_some() {
            self.backoff.reset();
            self.board.set_problem(None);
        }
        Ok(last)
    }

    /// The engine has refused to write.
    fn refused(&mut self, error: &EngineError, writes: Vec<Write>) -> Result<(), Ended> {
        let trouble = Trouble::Engine(error.clone());
        match &error.kind {
            Kind::Moved(host, port) => {
                self.board.put_back(writes);
                let other = node(&self.hunted.engine, host, *port);
                Err(Ended::Other(Some(other), trouble))
            }
            Kind::ReadOnly => {
                self.board.put_back(writes);
                Err(Ended::Other(None, trouble))
            }
            Kind::NoAuth | Kind::WrongPassword | Kind::Loading | Kind::Full | Kind::Protected => {
                self.board.put_back(writes);
                Err(Ended::Lost(trouble))
            }
            Kind::NoPermission | Kind::OutOfMemory | Kind::Unknown | Kind::Other => {
                self.board.count(|counts| counts.dropped += writes.len() as u64);
                self.paused_until = Some(now().plus(self.backoff.next()));
                self.board.set_problem(Some(format!("{}: {trouble}", self.hunted.engine)));
                Ok(())
            }
        }
    }

    /// Reads some of the engine's keys and their values.
    fn scan(&mut self) -> Result<(), Ended> {
        self.scan_on().map_err(Ended::Lost)
    }

    fn scan_on(&mut self) -> Result<(), Trouble> {
        if self.scan.keys.is_empty() {
            if self.scan.steps > 0 && self.scan.cursor.is_none() || self.scan.steps >= SCANS_MAX {
                self.scan = Scan::default();
                self.board.scanned();
                return Ok(());
            }
            self.scan.steps += 1;
            return self.next_keys();
        }
        let count = READ_AT_ONCE.min(self.scan.keys.len());
        let keys: Vec<_> = self.scan.keys.drain(..count).collect();
        let parts: Vec<_> = std::iter::once(&b"MGET"[..]).chain(keys.iter().map(Vec::as_slice)).collect();
        self.connection().add(&parts);
        for key in &keys {
            self.connection().add(&[b"PTTL", key]);
        }
        self.connection().begin()?;
        let Reply::List(values) = accepted(self.connection().reply()?)? else {
            return Err(Trouble::Malformed("no list of values".to_owned()));
        };
        let mut found = Vec::new();
        let mut values = values.into_iter();
        for key in keys {
            let left_ms = left(&accepted(self.connection().reply()?)?);
            match values.next() {
                Some(Reply::Octets(value)) => found.push(Found::Value { ask: None, key, value, left_ms }),
                Some(Reply::TooLarge) => found.push(Found::TooLarge { ask: None }),
                _ => {}
            }
        }
        self.board.post(found);
        Ok(())
    }

    fn next_keys(&mut self) -> Result<(), Trouble> {
        let cursor = self.scan.cursor.take().unwrap_or_else(|| b"0".to_vec());
        let pattern = self.target.pattern.as_bytes();
        self.connection().add(&[b"SCAN", &cursor, b"MATCH", pattern, b"COUNT", SCANNED_AT_ONCE]);
        self.connection().begin()?;
        let Reply::List(parts) = accepted(self.connection().reply()?)? else {
            return Err(Trouble::Malformed("no list of keys".to_owned()));
        };
        let mut parts = parts.into_iter();
        let (Some(Reply::Octets(cursor)), Some(Reply::List(keys))) = (parts.next(), parts.next()) else {
            return Err(Trouble::Malformed("no list of keys".to_owned()));
        };
        self.scan.cursor = Some(cursor).filter(|cursor| cursor != b"0");
        let octets = |key| if let Reply::Octets(key) = key { Some(key) } else { None };
        self.scan.keys.extend(keys.into_iter().filter_map(octets));
        Ok(())
    }

    /// Asks for a sign of life.
    fn check(&mut self) -> Result<(), Ended> {
        self.connection().add(&[b"PING"]);
        let result = self.connection().begin().and_then(|()| self.connection().reply());
        match result.and_then(accepted) {
            Ok(_) => Ok(()),
            Err(Trouble::Engine(error)) if error.kind == Kind::NoPermission => Ok(()),
            Err(trouble) => Err(Ended::Lost(trouble)),
        }
    }

    /// Looks for a primary, if this engine is a replica.
    fn look_for_primary(&mut self) -> Result<(), Ended> {
        if !self.is_replica() {
            return Ok(());
        }
        match hunt(self.access, None, &self.target.probe) {
            Ok(hunted) if hunted.role == Role::Primary => Err(Ended::Found(Box::new(hunted))),
            _ => {
                self.paused_until = Some(now().plus(self.backoff.next()));
                Ok(())
            }
        }
    }
}

/// The time that a key has left by the reply to PTTL, if it has an end.
fn left(reply: &Reply) -> Option<u64> {
    if let Reply::Number(left_ms) = reply { u64::try_from(*left_ms).ok() } else { None }
}

/// Whether the connection is of no use after this error.
fn fatal(text: &str) -> Result<(), Trouble> {
    let error = EngineError::of(text);
    match error.kind {
        Kind::NoPermission | Kind::OutOfMemory | Kind::Unknown | Kind::Other => Ok(()),
        _ => Err(Trouble::Engine(error)),
    }
}
