//! Executes the actions of the core on the parts of the daemon.

use crate::daemon::admin::{Admin, Search, has_record, source_of};
use crate::daemon::clients::{Answered, Clients, OperatorReply};
use crate::daemon::core::{Core, Outputs, Replying, Sending};
use crate::daemon::event_loop::Daemon;
use crate::daemon::insight::{ClientSocket, Replied};
use crate::daemon::reload::Reload;
use crate::daemon::sources::Slot;
use crate::daemon::turn::Ready;
use crate::daemon::upstreams::Upstreams;
use hither_control::SourceKind;
use hither_net::clock;
use hither_rounds::{
    Answer, AttemptId, ClientId, Failure, Input, Note, OrderResult, Question, Rounds, SenderId,
};
use hither_table::{Monotonic, Timed};
use mio::Registry;
use std::sync::mpsc;

/// The parts of the daemon that actions are executed on.
pub(crate) struct Executor<'a> {
    registry: &'a Registry,
    upstreams: &'a mut Upstreams,
    clients: &'a mut Clients,
    admin: &'a mut Admin,
    reload: &'a Reload,
    ready: &'a mut Ready,
}

impl Daemon {
    /// Hands an input to the core, and executes all resulting actions.
    pub(crate) fn tell(&mut self, now: Monotonic, input: Input<'_>) {
        if let Input::Message { attempt, octets } = input {
            self.admin.insight.note_response(attempt, octets, now);
        }
        let (core, mut executor) = self.executor();
        core.tell(now, input, &mut executor);
    }

    /// The core, and the parts that its actions are executed on.
    pub(super) fn executor(&mut self) -> (&mut Core, Executor<'_>) {
        let executor = Executor {
            registry: self.poll.registry(),
            upstreams: &mut self.upstreams,
            clients: &mut self.clients,
            admin: &mut self.admin,
            reload: &self.reload,
            ready: &mut self.ready,
        };
        (&mut self.core, executor)
    }
}

impl Executor<'_> {
    /// Sends the reply to a client that waits. Returns other clients that are gone.
    pub(super) fn deliver(&mut self, now: Monotonic, rounds: &Rounds, reply: &Replying) -> Vec<ClientId> {
        let Replying { client, answer, source } = reply;
        let delivered = self.clients.deliver(*client, answer, now);
        if let Some(since) = delivered.since {
            rounds.recorder().note_time(Timed::Answer(*source), clock::now().since(since));
        }
        if let Some(reply) = delivered.operator {
            self.note_operator_reply(&reply, answer, rounds, now);
        }
        if let Some(answered) = delivered.answered {
            self.log_answered(&answered, answer, rounds, now);
        }
        if let Some(reply) = delivered.host_name {
            self.upstreams.encrypted().note_host_reply(&reply, now);
        }
        self.clients.resumed().for_each(|source| self.ready.push_back(source));
        delivered.gone
    }

    /// Notes the reply to an operator's query, with the source of the answer.
    fn note_operator_reply(
        &mut self,
        reply: &OperatorReply,
        answer: &Answer,
        rounds: &Rounds,
        now: Monotonic,
    ) {
        let Some(found) = self.admin.find_query(reply.slot, reply.client) else { return };
        let source = source_of(answer, &found.question, rounds, found.began, self.admin.labels());
        let search = self.search_for(answer, &found.question, rounds);
        self.admin.note_reply(&found, &reply.octets, &source, search, now);
    }

    /// Logs a reply to a client.
    fn log_answered(&mut self, answered: &Answered, answer: &Answer, rounds: &Rounds, now: Monotonic) {
        let Answered { question, peer, is_tcp, asked, rcode } = answered;
        let source = source_of(answer, question, rounds, *asked, self.admin.labels());
        let upstream = source.detail.filter(|_| source.kind == SourceKind::Upstream);
        self.admin.insight.note_reply(Replied {
            name: question.name,
            rtype: question.rtype,
            client: ClientSocket { address: *peer, is_tcp: *is_tcp },
            source: source.kind,
            upstream,
            rcode: *rcode,
            took: now.since(*asked),
            left_out: 0,
        });
    }

    /// Starts the search for the line of a file that an answer comes from, if it comes from a file.
    pub(super) fn search_for(
        &self,
        answer: &Answer,
        question: &Question,
        rounds: &Rounds,
    ) -> Option<mpsc::Receiver<String>> {
        let Answer::Local(local) = answer else { return None };
        let (name, rtype, is_nodata) = (&question.name, question.rtype, local.data.is_empty());
        let block = rounds.blocked_by(name).and_then(|position| self.reload.block(position));
        let hosts = self.reload.hosts_file(|hosts| has_record(hosts, name, rtype, is_nodata));
        Search::of(local, question, hosts, block)?.begin(self.reload.waker())
    }
}

impl Outputs for Executor<'_> {
    fn send(&mut self, now: Monotonic, query: Sending) -> Result<(), Failure> {
        self.admin.insight.note_sent(&query, now);
        let attempt = query.attempt;
        self.upstreams.send(self.registry, now, query).inspect_err(|_| self.admin.insight.note_end(attempt))
    }

    fn resend(&mut self, attempt: AttemptId, octets: &[u8]) {
        self.upstreams.resend(attempt, octets);
    }

    fn close(&mut self, now: Monotonic, attempt: AttemptId, linger: Option<Monotonic>) {
        self.admin.insight.note_end(attempt);
        self.upstreams.close(attempt, linger, now);
    }

    fn reply(&mut self, now: Monotonic, rounds: &Rounds, reply: Replying) -> Vec<ClientId> {
        match self.clients.schedule_reply(reply) {
            Some(reply) => self.deliver(now, rounds, &reply),
            None => Vec::new(),
        }
    }

    fn order_result(&mut self, sender: SenderId, result: OrderResult) {
        self.admin.reply_to_order(Slot::of(sender.0), result);
    }

    fn ask_site(&mut self, round: u64, question: &Question) -> bool {
        self.admin.ask_site(round, question)
    }

    fn note(&mut self, now: Monotonic, rounds: &Rounds, note: &Note) {
        self.admin.notices.log(note, || rounds.upstreams(now), now);
    }

    fn drained(&mut self, rounds: &Rounds) {
        self.clients.follow_changes(rounds);
    }
}
