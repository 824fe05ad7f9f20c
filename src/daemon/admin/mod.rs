//! Administration from this host: operators and companions at the local sockets, hints of readers,
//! and log lines about upstreams.
//!
//! [`Admin`] owns the local sockets with all their connections, the requests of operators that have no
//! reply yet, the socket for hints with the limit for each sender, and the limits for log lines about
//! upstreams.
//!
//! The event loop drives it. When a socket is readable the loop calls [`Admin::accept`],
//! [`Admin::next_message`] or [`Admin::next_hint`], carries out the returned request, order or hint, and
//! gives the result to [`Admin::reply`]. [`Admin::timeout`] says when a report is due, and
//! [`Admin::on_time`] sends those that are.
//!
//! It promises that each operator's request gets one reply, that no user can keep root, the
//! daemon's own user or a companion out, and that the memory for connections, requests and senders
//! has a bound. It never calls the core: the caller passes in what it needs from there.

mod answer_source;
mod companion;
mod control;
mod explanation;
mod explanations;
mod flushes;
mod hints;
mod notices;
mod open_rounds;
mod operator_query;
mod peers;
mod sorter_counts;
mod sorter_order;
mod status;

pub(crate) use answer_source::{AnswerSource, Search, from_site, has_record, source_of, withheld};
pub(crate) use companion::Companion;
pub(crate) use control::{Message, NewConnections};
pub(crate) use explanation::{explanation, family};
pub(crate) use explanations::WaitsFor;
pub(crate) use flushes::FlushSlice;
pub(crate) use hints::{Hint, Sender};
pub(crate) use open_rounds::open_rounds;
pub(crate) use operator_query::{Composed, FoundQuery};
pub(crate) use status::{CompanionFacts, StatusFacts, status_line};

use crate::daemon::feed::Changes;
use crate::daemon::insight::Insight;
use crate::daemon::socket_activation::Inherited;
use crate::daemon::sources::{Slot, Source};
use crate::daemon::turn::Budget;
use crate::daemon::upstreams::Labels;
use control::Control;
use explanations::Explanations;
use flushes::Flushes;
use hints::Hints;
use hither_control::{Explanation, Response, SiteStatus, SorterReply, SorterStatus};
use hither_rounds::{ClientId, OrderResult, Question, Routes, Trace};
use hither_table::{Monotonic, SorterMetrics};
use mio::{Registry, Waker};
use notices::Notices;
use operator_query::OperatorQueries;
use status::StatusCache;
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::{Arc, mpsc};

/// Handles all requests of local processes except DNS queries. See the module's documentation.
#[derive(Debug)]
pub(crate) struct Admin {
    control: Control,
    queries: OperatorQueries,
    explanations: Explanations,
    /// Names that operators remove from the cache.
    pub flushes: Flushes,
    status: StatusCache,
    hints: Hints,
    /// Programs that are subscribed to changes.
    pub changes: Changes,
    /// Log lines about upstreams.
    pub notices: Notices,
    /// The log of queries, and who asks for what.
    pub insight: Insight,
    labels: Labels,
}

/// Malformed requests, hints accepted, and hints dropped, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AdminCounts {
    pub control_errors: u64,
    pub hints: u64,
    pub hints_dropped: u64,
}

impl Admin {
    /// Takes the local sockets that the service manager passed, and binds the others in the runtime
    /// directory `dir`.
    ///
    /// # Errors
    /// Why a socket cannot be bound or polled.
    pub fn open(
        inherited: &mut Inherited,
        dir: &Path,
        seed: [u64; 2],
        registry: &Registry,
        waker: Arc<Waker>,
    ) -> Result<Admin, String> {
        Ok(Admin {
            control: Control::open(inherited, dir, registry)?,
            queries: OperatorQueries::default(),
            explanations: Explanations::default(),
            flushes: Flushes::default(),
            status: StatusCache::default(),
            hints: Hints::bind(dir),
            changes: Changes::new(seed, registry)?,
            notices: Notices::default(),
            insight: Insight::new(waker),
            labels: Labels::default(),
        })
    }

    /// Takes over how upstreams are shown.
    pub fn set_labels(&mut self, labels: Labels) {
        self.notices.set_labels(labels.clone());
        self.labels = labels;
    }

    /// How upstreams are shown.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Binds the sockets that could not be bound before, or whose files in `dir` have been removed
    /// or replaced.
    pub fn bind_again(&mut self, dir: &Path, registry: &Registry) {
        self.control.bind_again(dir, registry);
        self.bind_readers_sockets_again(dir, registry);
    }

    /// Like [`Admin::bind_again`], for the sockets of the table's readers only.
    pub fn bind_readers_sockets_again(&mut self, dir: &Path, registry: &Registry) {
        self.hints.bind_again(dir, registry);
        self.changes.bind_again(dir, registry);
    }

    /// The descriptor of the socket for hints, for the poll.
    pub fn hints_descriptor(&self) -> Option<RawFd> {
        self.hints.descriptor()
    }

    /// Why a local socket is not bound, for each that is not.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.control.problems().chain(self.changes.problem().map(str::to_owned))
    }

    /// The latest report of the sorter.
    pub fn sorter_status(&self) -> &SorterStatus {
        self.control.sorter_status()
    }

    /// What all sorters have done, if that has changed since the last call.
    pub fn take_sorter_metrics(&mut self) -> Option<SorterMetrics> {
        self.control.take_sorter_metrics()
    }

    /// Begins or ends the sharing of answers with other hosts. A socket that cannot be bound is among the
    /// problems.
    pub fn set_site(&mut self, is_on: bool, dir: &Path, registry: &Registry) {
        self.control.set_site(is_on, dir, registry);
    }

    /// Tells the companion `hither-site` which names stay on this host, before these routes are in force.
    pub fn set_unshared(&mut self, routes: &Routes) {
        self.control.set_unshared(routes);
    }

    /// The latest report of the companion `hither-site`; `None` if nothing is shared.
    pub fn site_status(&self) -> Option<SiteStatus> {
        self.control.site_status()
    }

    /// Whether the companion `hither-site` can be asked, if that has changed since the last call.
    pub fn take_site_ready(&mut self) -> Option<bool> {
        self.control.take_site_ready()
    }

    /// Asks the companion `hither-site`. Whether it is connected, and takes the request.
    pub fn ask_site(&mut self, ask: u64, question: &Question) -> bool {
        self.control.ask_site(ask, question)
    }

    /// The counts for the statistics.
    pub fn counts(&self) -> AdminCounts {
        AdminCounts {
            control_errors: self.control.errors(),
            hints: self.hints.taken(),
            hints_dropped: self.hints.dropped(),
        }
    }

    /// Accepts some of the connections that wait at `source`, one of the local sockets.
    pub fn accept(
        &mut self,
        source: Source,
        registry: &Registry,
        now: Monotonic,
        budget: &mut Budget,
    ) -> NewConnections {
        self.control.accept(registry, Companion::at(source), now, budget)
    }

    /// Reads one message of a local connection.
    pub fn next_message(&mut self, slot: Slot, now: Monotonic, budget: &mut Budget) -> Message {
        match self.control.next(slot, now, budget) {
            Message::Explained(said) => {
                self.explanations.note_sorter(*said);
                Message::Handled
            }
            message => message,
        }
    }

    /// Sends a reply to an operator or to a companion.
    pub fn reply<T: serde::Serialize>(&mut self, slot: Slot, message: &T) {
        self.control.reply(slot, message);
    }

    /// Sends the reports on queries that are ready.
    pub fn send_reports(&mut self) {
        while let Some((slot, octets)) = self.insight.next_report() {
            self.control.reply_encoded(slot, &octets);
        }
    }

    /// Replies to the sorter's order.
    pub fn reply_to_order(&mut self, slot: Slot, result: OrderResult) {
        let reply = match result {
            OrderResult::Applied { version } => SorterReply::Applied { version },
            OrderResult::Rejected { reason, set_version } => {
                SorterReply::Rejected { reason: reason.to_owned(), set_version }
            }
        };
        self.reply(slot, &reply);
    }

    /// The connections that have had a reply since the last call: their next request may be read.
    pub fn take_replied(&mut self) -> impl Iterator<Item = Source> {
        self.control.take_replied()
    }

    /// The next hint. `Some(None)`: one was dropped. `None`: there are no more.
    pub fn next_hint(&mut self, now: Monotonic) -> Option<Option<Hint>> {
        self.hints.next(now)
    }

    /// Counts the rounds that a sender's hint has started.
    pub fn count_hint_rounds(&mut self, sender: Sender, rounds: u32) {
        self.hints.count_rounds(sender, rounds);
    }

    /// Whether a new status has to be composed before [`Admin::reply_with_status`].
    pub fn is_status_stale(&self, now: Monotonic) -> bool {
        self.status.is_stale(now)
    }

    /// Stores a status that was composed between `began` and `ended`.
    pub fn store_status(&mut self, status: hither_control::Status, began: Monotonic, ended: Monotonic) {
        self.status.store(status, began, ended);
    }

    /// Sends the last status.
    pub fn reply_with_status(&mut self, slot: Slot) {
        self.control.reply_encoded(slot, self.status.octets());
    }

    /// Makes the next status be composed anew, after an operator made a change.
    pub fn note_change(&mut self) {
        self.status.clear();
    }

    /// Whether the stored status may be sent again.
    #[cfg(test)]
    pub fn has_status(&self) -> bool {
        self.status.is_filled()
    }

    /// Frees a slot for another query of an operator.
    pub fn make_room_for_query(&mut self) {
        if self.queries.is_full() {
            self.queries.retain_open(|slot| self.control.is_open(slot));
        }
    }

    /// Adds an operator's query that the cache answered.
    pub fn add_hit(
        &mut self,
        slot: Slot,
        question: Question,
        reply: &[u8],
        source: &AnswerSource,
        now: Monotonic,
    ) {
        self.queries.add_hit(slot, question, reply, source, now);
    }

    /// Adds an operator's query whose round begins for `client`.
    pub fn add_miss(&mut self, slot: Slot, question: Question, client: ClientId, now: Monotonic) {
        self.queries.add_miss(slot, question, client, now);
    }

    /// The operator's query that the core answers as `client`.
    pub fn find_query(&self, slot: Slot, client: ClientId) -> Option<FoundQuery> {
        self.queries.find(slot, client)
    }

    /// Notes the reply of a query that [`Admin::find_query`] has just found.
    pub fn note_reply(
        &mut self,
        found: &FoundQuery,
        reply: &[u8],
        source: &AnswerSource,
        search: Option<mpsc::Receiver<String>>,
        now: Monotonic,
    ) {
        self.queries.note_reply(found, reply, source, search, now);
    }

    /// Explains a name to an operator: at once, or when the sorter has said what it knows, and the line of
    /// a file is found.
    pub fn explain(&mut self, slot: Slot, mut explanation: Explanation, waits_for: WaitsFor, now: Monotonic) {
        if self.explanations.is_full() {
            self.explanations.retain_open(|slot| self.control.is_open(slot));
        }
        let may_wait = !self.explanations.is_full();
        let request = self.explanations.request(&explanation).filter(|_| may_wait);
        let asked = request.filter(|request| self.control.ask_sorter(request));
        if asked.is_none() {
            let is_connected = self.control.sorter_status().connected;
            explanation.sorter = if is_connected { "not asked" } else { "not connected" }.to_owned();
        }
        let waits_for = if may_wait { waits_for } else { WaitsFor::default() };
        if asked.is_some() || !waits_for.is_empty() {
            self.explanations.add(slot, explanation, asked.as_ref(), waits_for, now);
        } else {
            let explanation = Some(Box::new(explanation.fitting()));
            self.control.reply(slot, &Response::Explained(explanation));
        }
    }

    /// The latest time at which the first report of a query, or the first explanation, is due.
    pub fn timeout(&self) -> Option<Monotonic> {
        let others = [self.explanations.timeout(), self.insight.timeout()];
        self.queries.timeout().into_iter().chain(others.into_iter().flatten()).min()
    }

    /// Sends the reports of queries whose round has ended, the explanations that are complete, and what has
    /// waited long enough. `trace` is the latest round of a question.
    pub fn on_time<'t>(&mut self, now: Monotonic, trace: impl Fn(&Question) -> Option<&'t Trace>) {
        for (slot, response) in self.queries.take_finished(now, &self.labels, trace) {
            self.control.reply(slot, &response);
        }
        for (slot, response) in self.explanations.take_finished(now) {
            self.control.reply(slot, &response);
        }
        self.insight.on_time(now);
    }
}
