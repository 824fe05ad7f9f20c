//! The queries of `hitherctl query`. Each is handled like a client's query. Its report is sent when
//! the round has ended, so that it has the answers of all upstreams.

use crate::daemon::admin::answer_source::AnswerSource;
use crate::daemon::admin::peers::{OTHERS_MAX, OURS_MAX};
use crate::daemon::sources::Slot;
use crate::daemon::upstreams::Labels;
use hither_control::{AttemptReport, QueryReport, RefusalReport, Response, SourceKind};
use hither_rounds::{AttemptTrace, ClientId, Question, Refusal, Refused, Trace, Transport};
use hither_table::Monotonic;
use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, QueryBits, query};
use hither_wire::name::Name;
use std::fmt::Write as _;
use std::sync::mpsc;
use std::time::Duration;

/// Queries in progress. Each connection has one at most.
const QUERIES_MAX: usize = OURS_MAX + OTHERS_MAX;
/// How long a report waits for the end of its round.
const ROUND_WITHIN: Duration = Duration::from_secs(4);

/// A query in wire form, and its question.
#[derive(Debug)]
pub(crate) struct Composed {
    octets: [u8; 300],
    len: usize,
    pub question: Question,
}

impl Composed {
    /// Composes a query from the words of the operator.
    ///
    /// # Errors
    /// The name or the type is malformed.
    pub fn parse(name: &str, rtype: &str) -> Result<Composed, String> {
        let name: Name = name.parse().map_err(|error| format!("'{name}': {error}"))?;
        let rtype: Rtype = rtype.parse().map_err(|error| format!("'{rtype}': {error}"))?;
        let mut octets = [0; 300];
        let bits = QueryBits { rd: true, cd: false, edns: Some((1232, false)) };
        let len = query(&mut octets, 0, &Asked { name: &name, rtype }, bits);
        let question = Question { name: name.to_lower(), rtype, dnssec_ok: false, checking_disabled: false };
        Ok(Composed { octets, len, question })
    }

    /// The query in wire form.
    pub fn octets(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

/// A query that an operator made through the daemon, and its report so far.
#[derive(Debug)]
struct OperatorQuery {
    slot: Slot,
    /// None if the cache answered it.
    client: Option<ClientId>,
    question: Question,
    began: Monotonic,
    report: Option<QueryReport>,
    /// Receives the line of the file that the answer comes from.
    search: Option<mpsc::Receiver<String>>,
    until: Monotonic,
}

/// An operator's query that has its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundQuery {
    pub question: Question,
    pub began: Monotonic,
    at: usize,
}

/// All queries of operators that have no report yet.
#[derive(Debug, Default)]
pub(crate) struct OperatorQueries {
    queries: Vec<OperatorQuery>,
}

impl OperatorQueries {
    /// Whether there are as many queries as there can be connections. Then some of their
    /// connections are already closed.
    pub fn is_full(&self) -> bool {
        self.queries.len() >= QUERIES_MAX
    }

    /// Drops the queries whose connection is closed.
    pub fn retain_open(&mut self, mut is_open: impl FnMut(Slot) -> bool) {
        self.queries.retain(|query| is_open(query.slot));
    }

    /// Adds a query that the cache answered, from `source`.
    pub fn add_hit(
        &mut self,
        slot: Slot,
        question: Question,
        reply: &[u8],
        source: &AnswerSource,
        now: Monotonic,
    ) {
        self.add(slot, None, question, now);
        if let Some(added) = self.queries.last_mut() {
            added.report = Some(QueryReport { from_cache: true, ..report(reply, Duration::ZERO, source) });
        }
    }

    /// Adds a query whose round begins. `client` is its id in the core.
    pub fn add_miss(&mut self, slot: Slot, question: Question, client: ClientId, now: Monotonic) {
        self.add(slot, Some(client), question, now);
    }

    fn add(&mut self, slot: Slot, client: Option<ClientId>, question: Question, now: Monotonic) {
        let until = now.plus(ROUND_WITHIN);
        self.queries.push(OperatorQuery {
            slot,
            client,
            question,
            began: now,
            report: None,
            search: None,
            until,
        });
    }

    /// The query whose id in the core is `client`.
    pub fn find(&self, slot: Slot, client: ClientId) -> Option<FoundQuery> {
        let at = self.queries.iter().position(|query| query.slot == slot && query.client == Some(client))?;
        let query = &self.queries[at];
        Some(FoundQuery { question: query.question, began: query.began, at })
    }

    /// Notes the reply of a query that [`OperatorQueries::find`] has just found. `search` receives
    /// the line of a file.
    pub fn note_reply(
        &mut self,
        found: &FoundQuery,
        reply: &[u8],
        source: &AnswerSource,
        search: Option<mpsc::Receiver<String>>,
        now: Monotonic,
    ) {
        if let Some(query) = self.queries.get_mut(found.at) {
            query.report = Some(report(reply, now.since(found.began), source));
            query.search = search;
        }
    }

    /// The latest time at which the first report is due.
    pub fn timeout(&self) -> Option<Monotonic> {
        self.queries.iter().map(|query| query.until).min()
    }

    /// Takes the reports whose round has ended or that have waited long enough. `trace` is the
    /// latest round of a question.
    pub fn take_finished<'t>(
        &mut self,
        now: Monotonic,
        labels: &Labels,
        trace: impl Fn(&Question) -> Option<&'t Trace>,
    ) -> Vec<(Slot, Response)> {
        let mut finished = Vec::new();
        for at in (0..self.queries.len()).rev() {
            let query = &self.queries[at];
            let trace = trace(&query.question);
            let has_ended = trace.is_none_or(|trace| trace.ended.is_some()) || now >= query.until;
            if query.report.is_none() && now < query.until || !has_ended {
                continue;
            }
            let line = query.search.as_ref().map(mpsc::Receiver::try_recv);
            if now < query.until && matches!(line, Some(Err(mpsc::TryRecvError::Empty))) {
                continue;
            }
            let mut query = self.queries.swap_remove(at);
            let response = match query.report.take() {
                None => Response::Error { message: "the reply did not come in time".to_owned() },
                Some(mut report) => {
                    report.attempts = trace.map(|trace| attempts(trace, labels)).unwrap_or_default();
                    report.source_detail = report.source_detail.or(line.and_then(Result::ok));
                    Response::Query(report)
                }
            };
            finished.push((query.slot, response));
        }
        finished
    }
}

fn report(reply: &[u8], elapsed: Duration, source: &AnswerSource) -> QueryReport {
    let hex = reply.iter().fold(String::new(), |mut hex, octet| {
        let _ = write!(hex, "{octet:02x}");
        hex
    });
    QueryReport {
        reply: hex,
        elapsed_us: elapsed.as_micros() as u64,
        from_cache: matches!(source.kind, SourceKind::Cache | SourceKind::Restored),
        source: source.kind.clone(),
        source_detail: source.detail.clone(),
        attempts: Vec::new(),
    }
}

/// The word of a transport in reports.
pub(super) fn transport_word(transport: Transport) -> hither_control::Transport {
    match transport {
        Transport::Udp => hither_control::Transport::Udp,
        Transport::Tcp => hither_control::Transport::Tcp,
        Transport::Tls => hither_control::Transport::Tls,
        Transport::Https => hither_control::Transport::Https,
        Transport::Quic => hither_control::Transport::Quic,
    }
}

fn refusal_report(refusal: &Refusal, started: Monotonic) -> RefusalReport {
    RefusalReport {
        why: refusal.why.as_str().to_owned(),
        count: refusal.count,
        last_us: refusal.last.since(started).as_micros() as u64,
        address: match refusal.why {
            Refused::Private(address) => Some(address),
            _ => None,
        },
    }
}

/// The attempts of a round, for reports.
pub(super) fn attempts(trace: &Trace, labels: &Labels) -> Vec<AttemptReport> {
    let after = |at: Monotonic| at.since(trace.started).as_micros() as u64;
    let attempt = |a: &AttemptTrace| AttemptReport {
        upstream: labels.of(&a.upstream),
        transport: transport_word(a.transport),
        sent_us: after(a.sent),
        connected_us: a.transmitted.map(after),
        ended_us: a.ended.map(after),
        outcome: a.outcome.to_string(),
        addresses: a.addresses.clone(),
        addresses_more: 0,
        published: a.published,
        refused: a.refused.iter().map(|refusal| refusal_report(refusal, trace.started)).collect(),
    };
    trace.attempts.iter().map(attempt).collect()
}
