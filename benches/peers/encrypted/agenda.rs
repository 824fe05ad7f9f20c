//! The responses of an encrypted upstream: which queries get one, and when.

use crate::roles::{Draws, Manner, answer};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Octets of a response at most.
const RESPONSE_MAX: usize = 512;

/// Responses that wait for their time. `T` says where a response goes.
pub struct Agenda<T> {
    manner: Manner,
    waiting: BTreeMap<(Instant, u64), (T, Vec<u8>)>,
    queries: u64,
    draws: Draws,
}

impl<T> Agenda<T> {
    pub fn new(manner: Manner) -> Agenda<T> {
        Agenda { manner, waiting: BTreeMap::new(), queries: 0, draws: Draws::new() }
    }

    /// Takes a query. Its response, if it gets one, comes from [`Agenda::due`].
    pub fn take(&mut self, to: T, query: &[u8]) {
        self.queries += 1;
        let Some(delay) = self.manner.fate(self.draws.draw()) else { return };
        let mut response = vec![0; RESPONSE_MAX];
        let len = answer(query, Ok(self.manner.addresses), &mut response);
        response.truncate(len);
        self.waiting.insert((Instant::now() + delay, self.queries), (to, response));
    }

    /// Whether the connection that this query came by, the `nth` of it, is reset.
    pub fn resets(&self, nth: u64) -> bool {
        self.manner.reset_every > 0 && nth.is_multiple_of(self.manner.reset_every)
    }

    /// The next response whose time has come.
    pub fn due(&mut self, now: Instant) -> Option<(T, Vec<u8>)> {
        self.waiting.first_entry().filter(|first| first.key().0 <= now).map(|first| first.remove())
    }

    /// The time until the next response; `None` if none waits.
    pub fn wait(&self) -> Option<Duration> {
        self.waiting.first_key_value().map(|(key, _)| key.0.saturating_duration_since(Instant::now()))
    }
}
