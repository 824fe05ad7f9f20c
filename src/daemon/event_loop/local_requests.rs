//! Handles messages of processes of this host: requests of operators, orders of the sorter, offers of
//! the site, hints of readers.

use crate::daemon::admin::{
    AnswerSource, CompanionFacts, Composed, FlushSlice, Hint, Message, StatusFacts, WaitsFor, explanation,
    family, from_site, status_line, withheld,
};
use crate::daemon::clients::waiting_clients::{Pending, ReplyTo};
use crate::daemon::event_loop::Daemon;
use crate::daemon::event_loop::insight::{Operator, is_ours};
use crate::daemon::sources::{Slot, Source};
use crate::daemon::turn::Budget;
use hither_control::{Request, Response, SourceKind};
use hither_net::clock::now;
use hither_net::seqpacket::Peer;
use hither_rounds::{Input, PlacedQuery, Question, SenderId};
use hither_table::{Counter, Monotonic};
use hither_wire::name::Name;
use hither_wire::query::Query;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The address of an operator, as a client.
const OPERATOR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Hints taken in one turn.
const HINTS_PER_TURN_MAX: usize = 64;
/// Why the units that asked for a name are not known.
const NOBODY_LOOKS: &str = "queries are looked at while 'hitherctl top' runs, or with log.queries";
const NOT_SHOWN: &str = "only root and the daemon's user are shown the units";
/// Messages taken from one local connection in one turn.
const MESSAGES_PER_TURN_MAX: usize = 4;

impl Daemon {
    /// Accepts connections at a local socket.
    pub(super) fn on_local_listener(&mut self, source: Source, now: Monotonic, budget: &mut Budget) {
        let accepted = self.admin.accept(source, self.poll.registry(), now, budget);
        // A new connection is read before another one is accepted, which may close it.
        accepted.slots.into_iter().for_each(|slot| self.ready.push_back(Source::Peer(slot)));
        if accepted.may_be_more {
            self.ready.push_back(source);
        }
        if let Some(error) = accepted.failure {
            self.note_shortage(source, &error, now);
        }
    }

    /// Reads messages of a local connection.
    pub(super) fn on_peer(&mut self, slot: Slot, now: Monotonic, budget: &mut Budget) {
        for _ in 0..MESSAGES_PER_TURN_MAX {
            match self.admin.next_message(slot, now, budget) {
                Message::None => return,
                Message::Handled | Message::Explained(_) => {}
                // The next request is read after the reply, and after requests of other
                // connections.
                Message::Request(request, peer) => return self.on_request(slot, request, peer, now),
                Message::Order(order) => {
                    let sender = SenderId(slot.number());
                    self.tell(now, Input::Order { sender, order: *order });
                }
                Message::Site(site) => self.tell(now, Input::Site(site)),
            }
            if budget.is_spent() {
                break;
            }
        }
        self.ready.push_back(Source::Peer(slot));
    }

    /// Starts the refresh rounds that hints of readers request.
    pub(super) fn on_hints(&mut self, now: Monotonic, budget: &mut Budget) {
        for _ in 0..HINTS_PER_TURN_MAX {
            let Some(hint) = self.admin.next_hint(now) else { return };
            budget.use_up(0);
            if let Some(Hint { sender, questions }) = hint {
                let before = self.core.counters().get(Counter::Prefetches);
                for question in questions {
                    self.tell(now, Input::Refresh { question });
                }
                let rounds = self.core.counters().get(Counter::Prefetches) - before;
                self.admin.count_hint_rounds(sender, rounds as u32);
            }
            if budget.is_spent() {
                break;
            }
        }
        self.ready.push_back(Source::Hints);
    }

    fn on_request(&mut self, slot: Slot, request: Request, peer: Peer, now: Monotonic) {
        let done = match request {
            Request::Status => {
                self.reply_with_status(slot, now);
                Ok(())
            }
            Request::Flush { names } => {
                may_change(peer, "flush").and_then(|()| self.flush(slot, &names, now))
            }
            Request::FlushSite => may_change(peer, "flush").map(|()| self.flush_site(slot, now)),
            Request::Reload => may_change(peer, "reload").map(|()| self.reload.requests.request(slot)),
            Request::ReloadBegun => may_change(peer, "reload").map(|()| self.reload_begun(slot, now)),
            Request::Query { name, rtype } => self.query_for_operator(slot, &name, &rtype, now),
            Request::Explain { name, rtype } => {
                self.explain_to_operator(Operator { slot, peer }, &name, &rtype, now)
            }
            Request::Top {} => self.report_to_operator(Operator { slot, peer }, now),
        };
        if let Err(message) = done {
            self.admin.reply(slot, &Response::Error { message });
        }
    }

    fn reply_with_status(&mut self, slot: Slot, at: Monotonic) {
        let began = now();
        if self.admin.is_status_stale(began) {
            let (counters, problems) = (self.counters(), self.problems());
            let entries = self.core.table().entries() as u64;
            let rounds = self.core.rounds();
            let encrypted = self.upstreams.encrypted();
            let upstreams = rounds.upstreams(at).into_iter().map(|report| {
                let connections = encrypted.report(&report.server, at);
                (report, connections)
            });
            let facts = StatusFacts {
                uptime: at.since(self.housekeeping.started),
                listen: self.clients.addresses(),
                table_generation: rounds.reader().generation(),
                entries,
                counters,
                upstreams: upstreams.collect(),
                routes: rounds.routes(),
                origins: &self.reload.origins().origins,
                files: self.reload.files(),
                companions: CompanionFacts {
                    sorts: self.reload.config().sort.enabled,
                    sorter: self.admin.sorter_status(),
                    site: self.admin.site_status(),
                },
                problems,
            };
            let status = facts.compose();
            self.admin.store_status(status, began, now());
        }
        self.admin.reply_with_status(slot);
    }

    /// The status in one line, for the service manager.
    pub(super) fn status_line(&mut self) -> String {
        let upstreams = self.core.rounds().upstreams(now());
        status_line(&upstreams, &self.counters(), &self.problems())
    }

    /// Removes everything from the cache immediately, or names in slices.
    fn flush(&mut self, slot: Slot, names: &[String], now: Monotonic) -> Result<(), String> {
        let entries = self.core.table().entries() as u64;
        let parse = |name: &String| {
            name.parse::<Name>().map(|n| n.to_lower()).map_err(|error| format!("'{name}': {error}"))
        };
        let names: VecDeque<Name> = names.iter().map(parse).collect::<Result<_, String>>()?;
        if names.is_empty() {
            self.tell(now, Input::Flush { names: None });
            self.persist.cache.note_flush();
            self.admin.note_change();
            self.admin.reply(slot, &Response::Flushed { entries });
        } else {
            self.admin.flushes.add(slot, names, entries);
        }
        Ok(())
    }

    /// Removes some of the names to flush. `false` if there were none.
    pub(super) fn flush_some(&mut self, now: Monotonic) -> bool {
        let Some(FlushSlice { names, done }) = self.admin.flushes.next() else { return false };
        self.tell(now, Input::Flush { names: Some(names) });
        self.persist.cache.note_flush();
        if let Some((slot, entries)) = done {
            self.admin.note_change();
            self.admin.reply(slot, &Response::Flushed { entries });
        }
        true
    }

    fn query_for_operator(
        &mut self,
        slot: Slot,
        name: &str,
        rtype: &str,
        now: Monotonic,
    ) -> Result<(), String> {
        self.admin.make_room_for_query();
        let composed = Composed::parse(name, rtype)?;
        let question = composed.question;
        let query = Query::read(composed.octets())
            .map_err(|_| format!("type {} cannot be queried with hitherctl", question.rtype))?;
        // The query counts as a hit or a miss, so it counts as a query.
        self.core.counters().add(Counter::Queries, 1);
        let mut reply = vec![0; 65_535];
        let placed = PlacedQuery { query: &query, place: None };
        let hit = self.core.answer_hit(now, placed, 65_535, &mut reply);
        if hit > 0 {
            let source = self.source_of_hit(&question, now);
            self.admin.add_hit(slot, question, &reply[..hit], &source, now);
            return Ok(());
        }
        let client = self.clients.wait(Pending::new(&query, ReplyTo::Control(slot), OPERATOR, now));
        self.admin.add_miss(slot, question, client, now);
        self.tell(now, Input::Ask { client, question: &question, recursion: true });
        Ok(())
    }

    /// The source of an answer of the cache.
    fn source_of_hit(&mut self, question: &Question, now: Monotonic) -> AnswerSource {
        if let Some(why) = self.core.withheld(now, question) {
            return AnswerSource::new(SourceKind::Cache, Some(withheld(why)));
        }
        let site = self.core.site_origin(question).map(|origin| from_site(&origin));
        let is_restored = self.core.is_restored(question);
        let kind = if is_restored { SourceKind::Restored } else { SourceKind::Cache };
        site.unwrap_or_else(|| AnswerSource::new(kind, None))
    }
}

impl Daemon {
    /// Tells an operator what is known of a name. Asks no upstream.
    fn explain_to_operator(
        &mut self,
        operator: Operator,
        name: &str,
        rtype: &str,
        now: Monotonic,
    ) -> Result<(), String> {
        let Operator { slot, peer } = operator;
        let parsed: Name = name.parse().map_err(|error| format!("'{name}': {error}"))?;
        let family = family(rtype).ok_or_else(|| format!("'{rtype}': expected A or AAAA"))?;
        let question = Question {
            name: parsed.to_lower(),
            rtype: family.rtype(),
            dnssec_ok: false,
            checking_disabled: false,
        };
        let labels = self.admin.labels().clone();
        let known = self.core.explain(now, &question);
        let answer = known.as_ref().and_then(|known| known.answer.clone());
        let explained = known.and_then(|known| explanation(&question, &known, &labels, now));
        let Some(mut explained) = explained else {
            self.admin.reply(slot, &Response::Explained(None));
            return Ok(());
        };
        let (core, executor) = self.executor();
        let line = answer.and_then(|answer| executor.search_for(&answer, &question, core.rounds()));
        let askers = if is_ours(peer) { self.admin.insight.askers(&question.name) } else { None };
        if askers.is_none() {
            let why = if is_ours(peer) { NOBODY_LOOKS } else { NOT_SHOWN };
            explained.asked_by.unknown = Some(why.to_owned());
        }
        self.admin.explain(slot, explained, WaitsFor { line, askers }, now);
        Ok(())
    }
}

/// Only root and the daemon's own user may change something.
fn may_change(peer: Peer, what: &str) -> Result<(), String> {
    is_ours(peer).then_some(()).ok_or_else(|| format!("only root and the daemon's user may {what}"))
}
