//! Connections to encrypted upstreams: the shell around `connections` and `secure`.
//!
//! The machine of `connections` decides when a connection is opened and which query it carries; a session
//! of `secure` speaks the protocol. [`Encrypted`] owns both and the sockets, executes the actions of the
//! machine, and reports to it what sessions and sockets say. An action that fails is reported when all
//! others have been executed, as for the core (`daemon/core.rs`).
//!
//! The event loop drives it: `send` and `cancel` execute actions of the core and only queue; `flush` hands
//! the queries of a turn to the machine and writes each socket once; `advance` takes one event of a
//! connection; `open` and `shake` take one step of a handshake, the expensive part of it in a thread that
//! wakes the loop, which calls `take_back` then. What the core has to know waits in `poll_outcome`.

mod attempts;
mod endpoints;
mod events;
mod handshake_thread;
mod handshakes;
mod health;
mod host_names;
mod lines;
mod report;
mod session;
mod stream;
#[cfg(test)]
mod tests;
mod trust;
mod why;

pub(crate) use events::Readiness;
pub(crate) use host_names::LookUp;
pub(crate) use report::EncryptedReport;

use super::EndpointSetup;
use crate::daemon::core::Sending;
use crate::daemon::sources::{Slot, Source};
use attempts::Attempts;
use endpoints::Endpoints;
use handshake_thread::HandshakeThread;
use hither_connections::{Action, Channel, ConnectionId, Input, Machine, Note, Settings, Token};
use hither_net::random::Random;
use hither_rounds::{AttemptId, Failure, Server};
use hither_secure::{Anchor, Refused};
use hither_table::{HandshakeCounts, Monotonic};
use host_names::HostNames;
use lines::Lines;
use mio::Waker;
use session::Bench;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a connection without queries is kept if its server does not say how long it keeps one. Common
/// servers close such connections after 30 seconds.
const IDLE: Duration = Duration::from_secs(25);

/// What the core has to know of a query.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The query, which had waited for a connection, leaves now.
    Transmitted(AttemptId),
    /// A response, with the message id of the query.
    Message(AttemptId, Box<[u8]>),
    /// The query has ended without a response.
    Failed(AttemptId, Failure),
}

/// A query that a session did not take. The machine learns of it when all other actions have been executed.
#[derive(Debug)]
struct Undone {
    connection: ConnectionId,
    channel: Channel,
    may_retry: bool,
}

/// Everything between the core and its encrypted upstreams. See the module.
pub(crate) struct Encrypted {
    machine: Machine,
    endpoints: Endpoints,
    host_names: HostNames,
    lines: Lines,
    attempts: Attempts,
    handshakes: HandshakeThread,
    /// Empty between two calls.
    undone: VecDeque<Undone>,
    bench: Bench,
    /// The bound on connections.
    most: usize,
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypted").field("lines", &self.lines).finish_non_exhaustive()
    }
}

impl Encrypted {
    /// `random` gives the ids of queries over TLS. There are never more than `most` connections. The thread
    /// of handshakes wakes the event loop by `waker`.
    pub fn new(mut random: Random, most: usize, waker: Arc<Waker>, now: Monotonic) -> Encrypted {
        let settings = Settings { idle: IDLE, ..Settings::default() };
        let anchor = Anchor::new(Instant::now(), now);
        Encrypted {
            machine: Machine::new(settings, Box::new(move || random.draw())),
            endpoints: Endpoints::new(),
            host_names: HostNames::default(),
            lines: Lines::default(),
            attempts: Attempts::default(),
            handshakes: HandshakeThread::new(waker, anchor),
            undone: VecDeque::new(),
            bench: Bench::new(anchor),
            most,
        }
    }

    /// Takes over the bound of another configuration.
    pub fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    /// Notes a time that the host has stored, in seconds since 1970: certificates are not judged by an
    /// earlier one.
    pub fn note_stored_time(&mut self, stored_s: u64) {
        self.endpoints.clock.note_stored(stored_s);
    }

    /// Replaces the upstreams: new ones are added, and missing ones forgotten with their connections. The
    /// others keep theirs.
    pub fn set_endpoints(&mut self, setups: Vec<EndpointSetup>, now: Monotonic) {
        let hosts: BTreeSet<_> = setups.iter().filter_map(|setup| setup.lookup).collect();
        for input in self.endpoints.set(setups) {
            self.tell(now, input);
        }
        self.host_names.set_hosts(&hosts, now);
        self.pass_on_addresses(now);
        self.endpoints.prepare(now);
    }

    /// The next look-up of a host name that is due. Its reply goes to [`Encrypted::note_host_reply`].
    pub fn next_look_up(&mut self, now: Monotonic) -> Option<LookUp> {
        let look_up = self.host_names.next_look_up(now)?;
        self.pass_on_addresses(now);
        Some(look_up)
    }

    /// Notes the reply to such a look-up.
    pub fn note_host_reply(&mut self, reply: &[u8], now: Monotonic) {
        self.host_names.note_reply(reply, now);
        self.pass_on_addresses(now);
    }

    /// Tells the machine the addresses of hosts that have changed, and the operator that there are none.
    fn pass_on_addresses(&mut self, now: Monotonic) {
        while let Some(host) = self.host_names.take_changed() {
            let (addresses, is_looking_up) = self.host_names.addresses(&host);
            if let Some(why) = self.host_names.problem(&host).filter(|_| !is_looking_up) {
                self.endpoints.note_no_address(&host, why, now);
            }
            for input in self.endpoints.set_addresses(&host, &addresses, is_looking_up) {
                self.tell(now, input);
            }
        }
    }

    /// Queues a query. It leaves with the next [`Encrypted::flush`].
    pub fn send(&mut self, query: Sending) {
        self.attempts.queue(query);
    }

    /// Ends an attempt: nothing more is reported of it.
    pub fn cancel(&mut self, attempt: AttemptId) {
        self.attempts.cancel(attempt);
    }

    /// Hands the queued queries to the machine, and writes what the connections have to send, each once.
    pub fn flush(&mut self, now: Monotonic) {
        if self.endpoints.is_empty() && self.attempts.is_empty() {
            return;
        }
        while let Some(attempt) = self.attempts.next_cancelled() {
            self.tell(now, Input::Cancel { token: Token(attempt.0) });
        }
        while let Some(Sending { attempt, server, octets, .. }) = self.attempts.next_query() {
            match self.endpoints.id_of(&server) {
                Some(endpoint) => {
                    if let Some(host) = self.endpoints.get(endpoint).and_then(|found| found.setup.lookup) {
                        self.host_names.note_used(&host, now);
                    }
                    self.tell(now, Input::Query { token: Token(attempt.0), endpoint, octets });
                }
                None => self.attempts.fail(attempt, why::of_machine(hither_connections::Failure::Forgotten)),
            }
        }
        self.bench.now = now;
        self.lines.transmit(&mut self.bench);
    }

    /// The next outcome of a query that has not been cancelled.
    pub fn poll_outcome(&mut self) -> Option<Outcome> {
        self.attempts.poll_outcome()
    }

    /// Connections that the event loop has to look at although no event names them.
    pub fn take_woken(&mut self) -> Vec<Source> {
        self.lines.take_woken()
    }

    /// When [`Encrypted::on_time`] is to be called.
    pub fn timeout(&self) -> Option<Monotonic> {
        if self.endpoints.is_empty() {
            return None;
        }
        let look_up = self.host_names.timeout();
        self.machine.poll_timeout().into_iter().chain(self.lines.timeout()).chain(look_up).min()
    }

    /// Does what is due.
    pub fn on_time(&mut self, now: Monotonic) {
        if self.timeout().is_none_or(|at| at > now) {
            return;
        }
        self.lines.on_time(now);
        self.machine.handle_timeout(now);
        self.settle(now);
    }

    /// The host is in another network: every connection and ticket is given up.
    pub fn change_network(&mut self, now: Monotonic) {
        self.tell(now, Input::NetworkChanged);
        self.host_names.change_network(now);
    }

    /// Ends all queries and connections. Servers are told so by what their sockets take at once.
    pub fn shut_down(&mut self, now: Monotonic) {
        self.tell(now, Input::Shutdown);
    }

    /// The number of sockets.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Hands an input to the machine, and executes all resulting actions.
    fn tell(&mut self, now: Monotonic, input: Input<'_>) {
        self.machine.handle(now, input);
        self.settle(now);
    }

    /// Executes all actions, then reports those that failed one by one, until neither is left.
    fn settle(&mut self, now: Monotonic) {
        loop {
            while let Some(action) = self.machine.poll_action() {
                self.execute(action, now);
            }
            let Some(Undone { connection, channel, may_retry }) = self.undone.pop_front() else { return };
            self.machine.handle(now, Input::Reset { connection, channel, may_retry });
        }
    }

    fn execute(&mut self, action: Action, now: Monotonic) {
        match action {
            Action::Open { connection, endpoint, address } => self.lines.plan(connection, endpoint, address),
            Action::Send { connection, channel, octets } => self.send_on(connection, channel, &octets),
            Action::CancelChannel { connection, channel } => {
                let found = self.lines.find(connection);
                if let Some(key) = found
                    && let Some(session) = self.lines.get_mut(key).and_then(|line| line.session())
                {
                    session.cancel(channel.0);
                    self.lines.mark(key);
                }
            }
            Action::Close { connection, politely } => self.close(connection, politely, now),
            Action::Deliver { token, octets } => self.attempts.deliver(AttemptId(token.0), octets),
            Action::Transmitted { token } => self.attempts.note_transmitted(AttemptId(token.0)),
            Action::Fail { token, failure } => {
                self.attempts.fail(AttemptId(token.0), why::of_machine(failure));
            }
            Action::VoidTickets { endpoint } => self.endpoints.void_tickets(endpoint),
            Action::Note(note) => self.note(note, now),
        }
    }

    fn send_on(&mut self, connection: ConnectionId, channel: Channel, octets: &[u8]) {
        let Some(key) = self.lines.find(connection) else { return };
        let session = self.lines.get_mut(key).and_then(|line| line.session());
        match session.map_or(Err(Refused::NotReady), |session| session.query(channel.0, octets)) {
            Ok(()) => self.lines.mark(key),
            Err(refused) => {
                let may_retry = refused != Refused::Unfit;
                self.undone.push_back(Undone { connection, channel, may_retry });
            }
        }
    }

    /// Closes a connection. What the socket does not take at once is not sent.
    fn close(&mut self, connection: ConnectionId, politely: bool, now: Monotonic) {
        let Some(mut line) = self.lines.find(connection).and_then(|key| self.lines.remove(key)) else {
            return;
        };
        self.bench.now = now;
        if let Some(session) = line.session().filter(|_| politely) {
            session.close(now);
            // The connection is over either way.
            let _ = session.transmit(&mut self.bench);
        }
    }

    fn note(&mut self, note: Note, now: Monotonic) {
        let (Note::Down { endpoint: id, .. } | Note::Up { endpoint: id }) = note;
        let Some(endpoint) = self.endpoints.get_mut(id) else { return };
        let host = endpoint.setup.lookup;
        match note {
            Note::Down { failure, .. } => endpoint.health.note_down(failure, endpoint.setup.named(), now),
            Note::Up { .. } => endpoint.health.note_up(endpoint.setup.named()),
        }
        if let Some(host) = host {
            self.host_names.suspect(&host, matches!(note, Note::Down { .. }), now);
        }
    }

    /// The state of an upstream; `None` if it is not encrypted.
    pub fn report(&self, server: &Server, now: Monotonic) -> Option<EncryptedReport> {
        let id = self.endpoints.id_of(server)?;
        let endpoint = self.endpoints.get(id)?;
        let mut report = EncryptedReport::of(endpoint, &self.machine.report(id)?, now);
        let of_host = endpoint.setup.lookup.and_then(|host| self.host_names.problem(&host));
        report.problem = of_host.map(str::to_owned).or(report.problem);
        Some(report)
    }

    /// The handshakes with an upstream.
    pub fn handshakes(&self, server: &Server) -> HandshakeCounts {
        let of = |id| Some((self.endpoints.get(id)?, self.machine.handshakes(id)?));
        self.endpoints.id_of(server).and_then(of).map_or_else(HandshakeCounts::default, |(endpoint, all)| {
            let expires_s = endpoint.shown.and_then(|shown| shown.expires_s);
            HandshakeCounts { handshakes: all.all, resumptions: all.resumed, expires_s }
        })
    }

    /// Whether there are encrypted upstreams, and none of them could be authenticated.
    pub fn are_all_refused(&self) -> bool {
        !self.endpoints.is_empty() && self.endpoints.all(|endpoint| endpoint.health.is_refused())
    }

    /// The key of a slot, unless its connection is gone.
    fn key_of(&self, slot: Slot) -> Option<usize> {
        self.lines.key_of(slot)
    }
}
