//! Connections whose socket is ready: one event of their session at a time, reported to the machine.

use super::health::{Named, sentence_of};
use super::lines::Stage;
use super::{Encrypted, endpoints, why};
use crate::daemon::sources::Slot;
use crate::daemon::upstreams::EndpointSetup;
use hither_connections::{Channel, Input, Why};
use hither_secure::{Error, Event, Freshness, Limits, Phase, Ready, Reason, Scheme};
use hither_table::Monotonic;
use hither_wire::ttl;

/// Streams that a server of HTTP/2 is taken to allow before it has said how many (RFC 9113, section
/// 6.5.2).
const STREAMS_BEFORE_SETTINGS: u32 = 100;

impl EndpointSetup {
    /// The upstream as log lines name it.
    pub(super) fn named(&self) -> Named<'_> {
        Named { label: &self.label, addresses: &self.addresses }
    }
}

/// What a socket that is ready needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Readiness {
    /// Its connection is gone.
    Gone,
    /// A step of its handshake: [`Encrypted::open`] or [`Encrypted::shake`].
    Handshake,
    /// Its events: [`Encrypted::advance`].
    Events,
}

impl Encrypted {
    /// Notes that a socket is ready, and returns what is to be done about it.
    pub fn note_readiness(&mut self, slot: Slot) -> Readiness {
        let Some(key) = self.key_of(slot) else { return Readiness::Gone };
        let Some(line) = self.lines.get_mut(key) else { return Readiness::Gone };
        line.may_read = true;
        if !line.is_ready {
            return Readiness::Handshake;
        }
        if line.session().is_some_and(|session| session.wants_write()) {
            self.lines.mark(key);
        }
        Readiness::Events
    }

    /// Handles one event of a connection, or reads from its socket. Returns how many octets were handled,
    /// or `None` when nothing is left.
    pub fn advance(&mut self, slot: Slot, now: Monotonic) -> Option<usize> {
        self.next_event(slot, now).or_else(|| self.read(slot, now).then_some(0))
    }

    /// Handles the next event of a session, and returns its octets.
    fn next_event(&mut self, slot: Slot, now: Monotonic) -> Option<usize> {
        let key = self.key_of(slot)?;
        self.bench.now = now;
        let event = self.lines.get_mut(key)?.session()?.poll_event()?;
        Some(self.handle_event(key, event, now))
    }

    /// Reads from the socket of a connection whose events have been handled. Returns whether it may have
    /// brought any.
    fn read(&mut self, slot: Slot, now: Monotonic) -> bool {
        let Some(key) = self.key_of(slot) else { return false };
        let Some(line) = self.lines.get_mut(key) else { return false };
        if !std::mem::take(&mut line.may_read) {
            if let Some(why) = line.broken {
                self.lose(key, why, now);
            }
            return false;
        }
        let Some(session) = line.session() else { return false };
        let received = session.receive(&mut self.bench);
        line.note_received(received);
        self.lines.mark(key);
        true
    }

    /// Handles an event of a session. Returns its octets.
    pub(super) fn handle_event(&mut self, key: usize, event: Event, now: Monotonic) -> usize {
        let Some(line) = self.lines.get(key) else { return 0 };
        let connection = line.connection;
        match event {
            Event::Ready(ready) => self.note_ready(key, &ready, now),
            Event::Response { channel, mut octets, freshness } => {
                if let Some(endpoint) = self.endpoints.get_mut(line.endpoint) {
                    endpoint.health.note_response(endpoint.setup.named());
                }
                if freshness != Freshness::default() {
                    ttl::age(&mut octets, freshness.age_s, freshness.lifetime_s);
                }
                let channel = Channel(channel);
                self.tell(now, Input::Response { connection, channel, octets: &octets });
                return octets.len();
            }
            Event::Reset { channel, may_retry, reason } => {
                self.note_refusal(key, &reason, now);
                if let Some(time) = reason.left_alone() {
                    self.tell(now, Input::LeaveAlone { connection, time });
                }
                self.tell(now, Input::Reset { connection, channel: Channel(channel), may_retry });
            }
            Event::Drain { last } => self.tell(now, Input::Drain { connection, last: last.map(Channel) }),
            Event::Limits(Limits { streams_max, idle }) => {
                self.tell(now, Input::Limits { connection, streams_max, idle });
            }
            Event::Closed(error) => self.end(key, &error, now),
        }
        0
    }

    fn note_ready(&mut self, key: usize, ready: &Ready, now: Monotonic) {
        let Some(line) = self.lines.get_mut(key) else { return };
        line.is_ready = true;
        let connection = line.connection;
        let Some(endpoint) = self.endpoints.get_mut(line.endpoint) else { return };
        log::debug!(
            "connected to {} at {} by TLS {}{}",
            endpoint.setup.label,
            line.address,
            ready.version,
            if ready.is_resumed { ", resumed" } else { "" }
        );
        endpoint.health.note_ready(ready.problem.as_ref());
        let (version, expires_s) = (ready.version, ready.expires_s);
        endpoint.shown = Some(endpoints::Shown { version, expires_s });
        let unsaid =
            if endpoint.setup.policy.scheme == Scheme::Doh { STREAMS_BEFORE_SETTINGS } else { u32::MAX };
        let Limits { streams_max, idle } = ready.limits;
        let streams_max = streams_max.unwrap_or(unsaid);
        self.tell(now, Input::Ready { connection, resumed: ready.is_resumed, streams_max, idle });
    }

    /// A session has ended. Its last octets are written once: they may say why.
    fn end(&mut self, key: usize, error: &Error, now: Monotonic) {
        // A server may end a connection that it needs no more, at any time.
        if !matches!(error, Error::Ended(Phase::Ready) | Error::Silent(Phase::Ready) | Error::Closed) {
            self.note_problem(key, sentence_of(error), now);
        }
        if let Some(line) = self.lines.get_mut(key) {
            log::debug!("the connection to {} has ended: {error}", line.address);
            if let Some(session) = line.session() {
                // The connection is over either way.
                let _ = session.transmit(&mut self.bench);
            }
        }
        self.lose(key, why::of_session(error), now);
    }

    /// Releases the socket of a connection that is gone, and reports it.
    pub(super) fn lose(&mut self, key: usize, why: Why, now: Monotonic) {
        let Some(line) = self.lines.remove(key) else { return };
        if !line.is_ready
            && let Some(endpoint) = self.endpoints.get_mut(line.endpoint)
        {
            if why == Why::Reset && matches!(line.stage, Stage::Begun(_)) {
                let sentence = sentence_of(&Error::Ended(Phase::Handshake));
                endpoint.health.note_problem(sentence, endpoint.setup.named(), now);
            }
            endpoint.health.note_failed(endpoint.setup.named(), now);
        }
        let connection = line.connection;
        drop(line);
        self.tell(now, Input::Closed { connection, why });
    }

    /// Notes why a query got no response, where that concerns all queries alike.
    fn note_refusal(&mut self, key: usize, reason: &Reason, now: Monotonic) {
        let of = self.lines.get(key).and_then(|line| self.endpoints.get_mut(line.endpoint));
        match (reason, of) {
            (Reason::Status(..) | Reason::ContentType | Reason::Size, Some(endpoint)) => {
                endpoint.health.note_refusal(reason.to_string(), endpoint.setup.named(), now);
            }
            (reason, _) => log::debug!("a query got no response: {reason}"),
        }
    }

    fn note_problem(&mut self, key: usize, sentence: String, now: Monotonic) {
        let Some(endpoint) = self.lines.get(key).and_then(|line| self.endpoints.get_mut(line.endpoint))
        else {
            return;
        };
        endpoint.health.note_problem(sentence, endpoint.setup.named(), now);
    }

    /// Notes why this host can make no connection.
    pub(super) fn note_own_problem(&mut self, key: usize, sentence: String, now: Monotonic) {
        let endpoint = self.lines.get(key).and_then(|line| self.endpoints.get_mut(line.endpoint));
        if let Some(endpoint) = endpoint {
            endpoint.health.note_own_problem(sentence, endpoint.setup.named(), now);
        }
    }
}
