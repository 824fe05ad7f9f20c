//! One connection: its state, its channels, and the times at which it ends.

use crate::channels::Channels;
use crate::ids::{Channel, EndpointId, Token};
use crate::input::{Limits, Numbering};
use crate::settings::{STREAMS_MAX, Settings};
use hither_table::Monotonic;
use std::net::SocketAddr;
use std::time::Duration;

/// The state of a connection. A dead connection is forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The socket is not connected yet.
    Connecting,
    /// The socket is connected, the handshake is not complete.
    Handshaking,
    /// Queries may be sent.
    Ready,
    /// No new queries are sent; old ones may still be answered.
    Draining,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub endpoint: EndpointId,
    pub address: SocketAddr,
    pub state: State,
    pub opened_at: Monotonic,
    pub channels: Channels,
    /// How many responses it has delivered.
    pub delivered: u64,
    pub resumed: bool,
    /// The smaller of the endpoint's and the server's limit.
    streams_max: u32,
    idle: Duration,
    /// When the last channel ended, or the handshake did.
    idle_since: Monotonic,
    /// Since when the server has left queries unanswered without answering any.
    silent_since: Option<Monotonic>,
}

impl Connection {
    pub fn new(
        endpoint: EndpointId,
        address: SocketAddr,
        numbering: Numbering,
        now: Monotonic,
    ) -> Connection {
        Connection {
            endpoint,
            address,
            state: State::Connecting,
            opened_at: now,
            channels: Channels::new(numbering),
            delivered: 0,
            resumed: false,
            streams_max: 0,
            idle: Duration::ZERO,
            idle_since: now,
            silent_since: None,
        }
    }

    /// Whether the handshake is not complete yet.
    pub fn is_contending(&self) -> bool {
        matches!(self.state, State::Connecting | State::Handshaking)
    }

    /// The handshake is complete: the connection takes queries.
    pub fn make_ready(&mut self, now: Monotonic) {
        (self.state, self.idle_since) = (State::Ready, now);
    }

    /// Applies the server's limits within those of the endpoint; a limit that the server does not state
    /// stays.
    pub fn limit(&mut self, limits: Limits, streams_max: Option<u32>, idle: Option<Duration>) {
        if let Some(streams_max) = streams_max {
            self.streams_max = streams_max.min(limits.streams_max.clamp(1, STREAMS_MAX));
        }
        if let Some(idle) = idle {
            self.idle = idle.min(limits.idle);
        }
    }

    /// Whether one more query may be sent.
    pub fn has_free_channel(&self) -> bool {
        self.state == State::Ready && self.channels.in_use() < self.streams_max as usize
    }

    /// Notes that a query was put on a channel.
    pub fn note_sent(&mut self, now: Monotonic) {
        self.silent_since.get_or_insert(now);
    }

    /// Ends a channel that the server has answered or reset. Returns its query, unless it was cancelled.
    pub fn end_channel(&mut self, now: Monotonic, channel: Channel) -> Option<Token> {
        let is_expected = self.channels.has_been_used(channel);
        let token = self.channels.end(channel);
        if token.is_some() {
            self.idle_since = now;
        }
        if is_expected {
            let is_waited_for = self.channels.in_use() + self.channels.reserved() > 0;
            self.silent_since = is_waited_for.then_some(now);
        }
        token
    }

    /// Ends the channel of a cancelled query. The server's silence goes on.
    pub fn cancel_channel(&mut self, now: Monotonic, channel: Channel) {
        self.channels.cancel(channel);
        self.idle_since = now;
    }

    /// Whether no query is left on a connection that takes no new ones.
    pub fn is_drained(&self) -> bool {
        self.state == State::Draining && self.channels.in_use() == 0
    }

    /// Whether the connection is of no use: no answer has come over it, to at least one query.
    pub fn is_barren(&self) -> bool {
        self.delivered == 0 && self.channels.used() > 0
    }

    /// When connecting and the handshake must be complete.
    pub fn handshake_until(&self, settings: &Settings) -> Option<Monotonic> {
        self.is_contending().then(|| self.opened_at.plus(settings.handshake_max))
    }

    /// When the connection has been idle long enough to be closed.
    pub fn idle_until(&self) -> Option<Monotonic> {
        let is_idle = !self.is_contending() && self.channels.in_use() == 0;
        is_idle.then(|| self.idle_since.plus(self.idle))
    }

    /// When the connection is taken as lost unless an answer comes.
    pub fn silent_until(&self, settings: &Settings) -> Option<Monotonic> {
        self.silent_since.map(|since| since.plus(settings.silence_max))
    }
}
