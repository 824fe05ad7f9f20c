//! The driver of the resolver core: it hands in one input at a time, and executes all actions
//! before the next input.
//!
//! [`Core`] owns the [`Rounds`] and is the only caller of `Rounds::handle` and
//! `Rounds::handle_timeout`. The event loop drives it. After each input, [`Core::tell`] executes
//! every action of the core on [`Outputs`], in order. Failures meanwhile (a query that cannot be
//! sent, TCP clients that are gone when their reply is due, a site that cannot be asked) are queued
//! and handed in afterwards, one by one, each followed by a full drain. So the order of calls is one
//! that the simulator produces too.

use hither_net::random::Random;
use hither_rounds::{
    Action, Answer, AttemptId, ClientId, Explained, Failure, Input, Note, OrderResult, PlacedQuery, Question,
    Rounds, Routes, SenderId, Server, Settings, Site, SiteOrigin, Transport, Upkeep,
};
use hither_table::{AnswerSource, Counters, HandshakeCounts, Monotonic, Place, Withheld, Writer};
use hither_wire::query::Query;
use std::collections::VecDeque;
use std::rc::Rc;

/// A query of the core to an upstream.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    pub attempt: AttemptId,
    pub server: Server,
    pub transport: Transport,
    pub octets: Rc<[u8]>,
}

/// A reply of the core to a client.
#[derive(Clone, Debug)]
pub(crate) struct Replying {
    pub client: ClientId,
    pub answer: Answer,
    pub source: AnswerSource,
}

/// Executes the actions of the core. It never calls the core: failures are returned.
pub(crate) trait Outputs {
    /// Sends a query from a socket of its own.
    ///
    /// # Errors
    /// The kind of failure. The attempt has ended then.
    fn send(&mut self, now: Monotonic, query: Sending) -> Result<(), Failure>;

    /// Retransmits a query from the socket of its attempt.
    fn resend(&mut self, attempt: AttemptId, octets: &[u8]);

    /// Closes the socket of an attempt: at once, or by `linger` if that is given.
    fn close(&mut self, now: Monotonic, attempt: AttemptId, linger: Option<Monotonic>);

    /// Sends the reply to a client. If its connection turns out to have ended, returns the other
    /// clients on it.
    fn reply(&mut self, now: Monotonic, rounds: &Rounds, reply: Replying) -> Vec<ClientId>;

    /// Sends the outcome of an order to its sender.
    fn order_result(&mut self, sender: SenderId, result: OrderResult);

    /// Asks the companion of the site. Whether it takes the question.
    fn ask_site(&mut self, round: u64, question: &Question) -> bool;

    /// Logs an event.
    fn note(&mut self, now: Monotonic, rounds: &Rounds, note: &Note);

    /// Called when all actions have been executed.
    fn drained(&mut self, rounds: &Rounds);
}

/// An action that failed. The core gets it as an input when all other actions have been executed.
#[derive(Debug)]
enum Undone {
    Failed { attempt: AttemptId, failure: Failure },
    ClientGone { client: ClientId },
    NotAsked { round: u64 },
}

/// The resolver core of the daemon. See the module.
pub(crate) struct Core {
    rounds: Rounds,
    /// Empty between two calls. Each entry is an outstanding attempt, a waiting client or a live round, so
    /// it is bounded by their limits.
    undone: VecDeque<Undone>,
}

impl Core {
    /// A core that draws the ids of queries from `random`.
    pub fn new(settings: Settings, routes: Routes, writer: Writer, mut random: Random) -> Core {
        let rounds = Rounds::new(settings, routes, writer, Box::new(move || random.draw()));
        Core { rounds, undone: VecDeque::new() }
    }

    /// Hands an input to the core, and executes all resulting actions.
    pub fn tell(&mut self, now: Monotonic, input: Input<'_>, outputs: &mut impl Outputs) {
        self.rounds.handle(now, input);
        self.settle(now, outputs);
    }

    /// When [`Core::on_time`] is to be called.
    pub fn timeout(&self) -> Option<Monotonic> {
        self.rounds.poll_timeout()
    }

    /// Refreshes entries that were used shortly before they expire, and handles deadlines that have
    /// passed.
    pub fn on_time(&mut self, now: Monotonic, outputs: &mut impl Outputs) {
        while let Some(question) = self.rounds.next_expiring() {
            self.tell(now, Input::Refresh { question }, outputs);
        }
        if self.rounds.poll_timeout().is_some_and(|at| at <= now) {
            self.rounds.handle_timeout(now);
            self.settle(now, outputs);
        }
    }

    /// Checks the next `places` slots of the table, or of the answer cache, against a change of
    /// lists or routes.
    pub fn review(&mut self, now: Monotonic, places: usize, outputs: &mut impl Outputs) {
        self.rounds.review_some(places);
        self.settle(now, outputs);
    }

    /// Executes all actions, then hands in the failures one by one, until neither is left.
    fn settle(&mut self, now: Monotonic, outputs: &mut impl Outputs) {
        self.drain(now, outputs);
        while let Some(undone) = self.undone.pop_front() {
            self.rounds.handle(
                now,
                match undone {
                    Undone::Failed { attempt, failure } => Input::Failed { attempt, failure },
                    Undone::ClientGone { client } => Input::ClientGone { client },
                    Undone::NotAsked { round } => Input::Site(Site::Answer { round, offer: None }),
                },
            );
            self.drain(now, outputs);
        }
        outputs.drained(&self.rounds);
    }

    fn drain(&mut self, now: Monotonic, outputs: &mut impl Outputs) {
        while let Some(action) = self.rounds.poll_action() {
            match action {
                Action::Send { attempt, server, transport, octets, upstream: _ } => {
                    let query = Sending { attempt, server, transport, octets };
                    if let Err(failure) = outputs.send(now, query) {
                        self.undone.push_back(Undone::Failed { attempt, failure });
                    }
                }
                Action::Resend { attempt, octets } => outputs.resend(attempt, &octets),
                Action::Close { attempt, linger } => outputs.close(now, attempt, linger),
                Action::Reply { client, answer, source } => {
                    let gone = outputs.reply(now, &self.rounds, Replying { client, answer, source });
                    self.undone.extend(gone.into_iter().map(|client| Undone::ClientGone { client }));
                }
                Action::OrderResult { sender, result } => outputs.order_result(sender, result),
                Action::AskSite { round, question } => {
                    if !outputs.ask_site(round, &question) {
                        self.undone.push_back(Undone::NotAsked { round });
                    }
                }
                Action::Note(note) => outputs.note(now, &self.rounds, &note),
            }
        }
    }

    /// Read access to the core.
    pub fn rounds(&self) -> &Rounds {
        &self.rounds
    }

    /// The counters of the core; the daemon's parts add their own.
    pub fn counters(&mut self) -> &mut Counters {
        self.rounds.counters()
    }

    /// Writes upstreams that have changed into the metrics, or all. See [`Rounds::record_upstreams`].
    pub fn record_upstreams(
        &mut self,
        now: Monotonic,
        all: bool,
        handshakes: impl FnMut(&Server) -> HandshakeCounts,
    ) {
        if all {
            self.rounds.note_upstreams_changed();
        }
        self.rounds.record_upstreams(now, handshakes);
    }

    /// The table, for everything but publishing.
    pub fn table(&mut self) -> Upkeep<'_> {
        self.rounds.table()
    }

    /// Notes a question whose entry was used shortly before it expires.
    pub fn want(&mut self, question: Question) {
        self.rounds.note_expiring(question);
    }

    /// What is known of a question for addresses. See [`Rounds::explain`].
    pub fn explain(&mut self, now: Monotonic, question: &Question) -> Option<Explained<'_>> {
        self.rounds.explain(now, question)
    }

    /// Whether an entry was restored from before the restart and has not been renewed since.
    pub fn is_restored(&mut self, question: &Question) -> bool {
        self.rounds.is_restored(question)
    }

    /// Where the cached set for a question comes from, if that is the site.
    pub fn site_origin(&mut self, question: &Question) -> Option<SiteOrigin> {
        self.rounds.site_origin(question)
    }

    /// Why the family of a question is withheld from clients now.
    pub fn withheld(&mut self, now: Monotonic, question: &Question) -> Option<Withheld> {
        self.rounds.withheld(now, question)
    }

    /// The place in the table where the answer to a query may be. See [`Rounds::place`].
    pub fn place(&self, query: &Query<'_>) -> Option<Place> {
        self.rounds.place(query)
    }

    /// Answers a query from the cache into `out`, in at most `limit` octets. Returns 0 if it needs
    /// a round.
    pub fn answer_hit(
        &mut self,
        now: Monotonic,
        query: PlacedQuery<'_>,
        limit: usize,
        out: &mut [u8],
    ) -> usize {
        self.rounds.answer_hit_at(now, query, limit, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hither_table::{Geometry, Memory};
    use hither_wire::codes::Rtype;
    use std::net::SocketAddr;

    const NOW: Monotonic = Monotonic(1_000_000_000);

    /// Records the executed actions in order, and fails those that a test chooses.
    #[derive(Default)]
    struct Recorder {
        done: Vec<String>,
        sent: Vec<Sending>,
        is_unreachable: bool,
        /// Clients on the same connection as the one that is replied to.
        on_connection: Vec<ClientId>,
        replied: Vec<ClientId>,
    }

    impl Outputs for Recorder {
        fn send(&mut self, _: Monotonic, query: Sending) -> Result<(), Failure> {
            self.done.push(format!("send {}", query.server));
            if self.is_unreachable {
                return Err(Failure::Unreachable);
            }
            self.sent.push(query);
            Ok(())
        }

        fn resend(&mut self, _: AttemptId, _: &[u8]) {}

        fn close(&mut self, _: Monotonic, _: AttemptId, _: Option<Monotonic>) {
            self.done.push("close".to_owned());
        }

        fn reply(&mut self, _: Monotonic, _: &Rounds, reply: Replying) -> Vec<ClientId> {
            self.done.push(format!("reply {}", reply.client.0));
            self.replied.push(reply.client);
            std::mem::take(&mut self.on_connection)
        }

        fn order_result(&mut self, _: SenderId, _: OrderResult) {}

        fn ask_site(&mut self, _: u64, _: &Question) -> bool {
            false
        }

        fn note(&mut self, _: Monotonic, _: &Rounds, _: &Note) {}

        fn drained(&mut self, rounds: &Rounds) {
            rounds.check_invariants();
            self.done.push("drained".to_owned());
        }
    }

    fn core(upstreams: u16) -> Core {
        let geometry = Geometry { entries: 64 };
        let writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10);
        let servers: Vec<SocketAddr> =
            (1..=upstreams).map(|port| SocketAddr::from(([192, 0, 2, 1], port))).collect();
        let random = Random::new().expect("random numbers");
        Core::new(Settings::default(), Routes::from(&servers[..]), writer.expect("a table"), random)
    }

    fn question(name: &str) -> Question {
        let name = name.parse().expect("a name");
        Question { name, rtype: Rtype::A, dnssec_ok: false, checking_disabled: false }
    }

    fn ask(core: &mut Core, client: u64, name: &str, recorder: &mut Recorder) {
        let question = question(name);
        core.tell(
            NOW,
            Input::Ask { client: ClientId(client), question: &question, recursion: true },
            recorder,
        );
    }

    #[test]
    fn a_query_that_cannot_be_sent_fails_once_all_actions_have_been_executed() {
        let (mut core, mut recorder) = (core(2), Recorder { is_unreachable: true, ..Recorder::default() });
        ask(&mut core, 1, "www.example", &mut recorder);
        assert_eq!(recorder.replied, [ClientId(1)], "{:?}", recorder.done);
        assert_eq!(core.rounds.poll_action().map(|_| ()), None);
        assert_eq!(recorder.done.iter().filter(|done| *done == "drained").count(), 1, "{:?}", recorder.done);
    }

    #[test]
    fn clients_that_are_gone_by_a_reply_are_handed_in_once_all_actions_have_been_executed() {
        let (mut core, mut recorder) = (core(1), Recorder::default());
        ask(&mut core, 1, "one.example", &mut recorder);
        ask(&mut core, 2, "two.example", &mut recorder);
        recorder.on_connection.push(ClientId(2));
        let attempt = recorder.sent[0].attempt;
        recorder.done.clear();
        core.tell(NOW, Input::Failed { attempt, failure: Failure::Unreachable }, &mut recorder);
        assert_eq!(recorder.replied, [ClientId(1)], "{:?}", recorder.done);
        assert_eq!(core.rounds.poll_action().map(|_| ()), None);
    }

    #[test]
    fn several_failures_are_handed_in_one_by_one() {
        let (mut core, mut recorder) = (core(2), Recorder::default());
        ask(&mut core, 1, "one.example", &mut recorder);
        ask(&mut core, 2, "two.example", &mut recorder);
        let sent: Vec<AttemptId> = recorder.sent.iter().map(|query| query.attempt).collect();
        recorder.is_unreachable = true;
        for attempt in sent {
            core.tell(NOW, Input::Failed { attempt, failure: Failure::Unreachable }, &mut recorder);
            assert_eq!(core.rounds.poll_action().map(|_| ()), None);
        }
        assert_eq!(recorder.replied, [ClientId(1), ClientId(2)], "{:?}", recorder.done);
    }
}
