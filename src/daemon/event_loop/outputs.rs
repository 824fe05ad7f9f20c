//! What the core wants done, executed on the parts of the daemon.

use crate::config::Config;
use crate::daemon::admin::control::Control;
use crate::daemon::admin::notices::Notices;
use crate::daemon::admin::requests::Requests;
use crate::daemon::clients::Clients;
use crate::daemon::core::{Core, Outputs, Sending};
use crate::daemon::event_loop::Daemon;
use crate::daemon::reload::local::Loader;
use crate::daemon::sources::Slot;
use crate::daemon::turn::Ready;
use crate::daemon::upstreams::sockets::Upstreams;
use hither_rounds::{Answer, AttemptId, ClientId, Failure, Input, Note, OrderResult, Rounds, SenderId};
use hither_table::Monotonic;
use mio::Registry;

/// The parts of the daemon that actions are executed on.
pub(crate) struct Executor<'a> {
    registry: &'a Registry,
    upstreams: &'a mut Upstreams,
    clients: &'a mut Clients,
    control: &'a mut Control,
    requests: &'a mut Requests,
    notices: &'a mut Notices,
    ready: &'a mut Ready,
    lists: (&'a Config, &'a Loader),
}

impl Daemon {
    /// Tells the core what happened, and does everything that follows from it.
    pub(crate) fn tell(&mut self, now: Monotonic, input: Input<'_>) {
        let (core, mut executor) = self.executor();
        core.tell(now, input, &mut executor);
    }

    /// The core, and the parts that its actions are executed on.
    pub(super) fn executor(&mut self) -> (&mut Core, Executor<'_>) {
        let executor = Executor {
            registry: self.poll.registry(),
            upstreams: &mut self.upstreams,
            clients: &mut self.clients,
            control: &mut self.control,
            requests: &mut self.requests,
            notices: &mut self.notices,
            ready: &mut self.ready,
            lists: (&self.config, &self.loader),
        };
        (&mut self.core, executor)
    }
}

impl Executor<'_> {
    /// Sends the reply to a client that waits. Returns other clients that are gone.
    pub(super) fn deliver(
        &mut self,
        now: Monotonic,
        rounds: &Rounds,
        client: ClientId,
        answer: &Answer,
    ) -> Vec<ClientId> {
        let delivered = self.clients.deliver(client, answer, now);
        if let Some(reply) = delivered.operator {
            self.requests.is_answered(&reply, answer, rounds, self.lists, now);
        }
        self.clients.resumed().for_each(|source| self.ready.push_back(source));
        delivered.gone
    }
}

impl Outputs for Executor<'_> {
    fn send(&mut self, now: Monotonic, query: Sending) -> Result<(), Failure> {
        self.upstreams.send(self.registry, now, query)
    }

    fn resend(&mut self, attempt: AttemptId, octets: &[u8]) {
        self.upstreams.resend(attempt, octets);
    }

    fn close(&mut self, now: Monotonic, attempt: AttemptId, linger: Option<Monotonic>) {
        self.upstreams.close(attempt, linger, now);
    }

    fn reply(&mut self, now: Monotonic, rounds: &Rounds, client: ClientId, answer: Answer) -> Vec<ClientId> {
        match self.clients.is_next(client, answer) {
            Some((client, answer)) => self.deliver(now, rounds, client, &answer),
            None => Vec::new(),
        }
    }

    fn order_result(&mut self, sender: SenderId, result: OrderResult) {
        self.control.order_result(Slot::of(sender.0), result);
    }

    fn note(&mut self, now: Monotonic, rounds: &Rounds, note: &Note) {
        self.notices.log(note, rounds, now);
    }

    fn drained(&mut self, rounds: &Rounds) {
        self.clients.follow_changes(rounds);
    }
}
