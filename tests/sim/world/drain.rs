//! Execution of the core's actions, some of which fail.
//!
//! As in the daemon, failures are collected while actions are executed, and reported when all actions have
//! been. A query that cannot be sent is a failure of its attempt. A connection that ends while a reply is
//! written ends for all of its clients, those that have their reply included.

use super::{Drain, Event, World};
use hither_rounds::{Action, AttemptId, ClientId, Failure, OrderResult};
use std::collections::{BTreeMap, BTreeSet};

/// The ways in which a query can fail to be sent. The core treats the last like the first.
const WAYS: [Failure; 3] = [Failure::Unreachable, Failure::NoSocket, Failure::Refused];

/// The numbers of failed actions.
#[derive(Clone, Copy, Default, Debug)]
pub struct Failures {
    /// Queries that were not sent.
    pub sends: u64,
    /// Retransmissions that were not sent.
    pub resends: u64,
    /// Connections that ended while a reply was written.
    pub connections: u64,
    /// Clients that still waited on such a connection.
    pub waiting: u64,
}

impl Failures {
    pub fn add(&mut self, other: Failures) {
        self.sends += other.sends;
        self.resends += other.resends;
        self.connections += other.connections;
        self.waiting += other.waiting;
    }
}

/// Clients and the connections that they share. A client without a connection asks by UDP.
#[derive(Default)]
pub(super) struct Connections {
    of: BTreeMap<ClientId, usize>,
    count: usize,
    /// Clients that have asked and wait for their reply.
    waiting: BTreeSet<ClientId>,
    /// Clients that have left. Their later queries are not read.
    gone: BTreeSet<ClientId>,
}

impl Connections {
    pub fn add(&mut self, clients: impl IntoIterator<Item = ClientId>) {
        self.of.extend(clients.into_iter().map(|client| (client, self.count)));
        self.count += 1;
    }

    pub fn asks(&mut self, client: ClientId) {
        self.waiting.insert(client);
    }

    pub fn is_gone(&self, client: ClientId) -> bool {
        self.gone.contains(&client)
    }

    pub fn leaves(&mut self, client: ClientId) {
        self.waiting.remove(&client);
        self.gone.insert(client);
    }

    /// All clients of the connection of `client`, itself included.
    fn beside(&self, client: ClientId) -> Vec<ClientId> {
        let Some(connection) = self.of.get(&client) else { return Vec::new() };
        self.of.iter().filter(|(_, of)| *of == connection).map(|(client, _)| *client).collect()
    }
}

impl World<'_> {
    /// Executes the core's actions in order.
    pub(super) fn drain(&mut self) {
        while let Some(action) = self.core().poll_action() {
            self.note(|| match &action {
                Action::Send { attempt, upstream, transport, .. } => {
                    format!("    {attempt:?} to {upstream:?} over {transport:?}")
                }
                Action::Reply { client, .. } => format!("    reply to {client:?}"),
                other => format!("    {other:?}").chars().take(120).collect(),
            });
            match action {
                Action::Send { attempt, upstream, server, transport, octets } => {
                    let query = self.query(upstream, transport, &octets);
                    self.oracle.leaves(self.now, attempt, (server, transport), &octets);
                    self.oracle_sees(attempt, &query);
                    match self.fails(&WAYS) {
                        None => self.answer(attempt, query),
                        Some(failure) => {
                            self.failures.sends += 1;
                            self.attempts.insert(attempt, query);
                            self.fail(attempt, failure);
                        }
                    }
                }
                Action::Resend { attempt, octets } => {
                    // The letter case may differ from the first query's.
                    self.attempts.entry(attempt).and_modify(|query| query.octets = octets.to_vec());
                    self.oracle.resent(attempt);
                    if let Some(failure) = self.fails(&WAYS[..1]) {
                        self.failures.resends += 1;
                        self.fail(attempt, failure);
                    }
                }
                Action::Close { attempt, .. } => self.oracle.closed(self.now, attempt),
                Action::Reply { client, answer, .. } => {
                    self.oracle.reply(self.now, client, &answer);
                    self.reply(client);
                }
                Action::OrderResult { result, .. } => {
                    self.oracle.order_result(matches!(result, OrderResult::Applied { .. }))
                }
                // No world of these has a site.
                Action::Note(_) | Action::AskSite { .. } => {}
            }
        }
    }

    /// The failure of an action, one of `ways`, if it fails.
    fn fails(&mut self, ways: &[Failure]) -> Option<Failure> {
        let count = ways.len() as u64;
        let pick = match self.plan.drain {
            Drain::Smooth => None,
            Drain::EveryWay => self.picks.below(count.min(2) + 1).checked_sub(1),
            Drain::OneIn(n) => (self.picks.below(n) == 0).then(|| self.picks.below(count)),
        };
        pick.map(|way| ways[way as usize])
    }

    fn fail(&mut self, attempt: AttemptId, failure: Failure) {
        self.note(|| format!("      fails: {failure:?}"));
        self.failed.push(Event::Failed(attempt, failure));
    }

    /// Writes a reply. Its connection may end meanwhile.
    fn reply(&mut self, client: ClientId) {
        self.connections.waiting.remove(&client);
        let clients = self.connections.beside(client);
        let stands = clients.is_empty() || self.connections.is_gone(client);
        if stands || self.fails(&WAYS[..1]).is_none() {
            return;
        }
        self.note(|| format!("      the connection of {clients:?} ends"));
        self.failures.connections += 1;
        for client in clients {
            self.failures.waiting += u64::from(self.connections.waiting.contains(&client));
            self.connections.leaves(client);
            self.failed.push(Event::Gone(client));
        }
    }
}
