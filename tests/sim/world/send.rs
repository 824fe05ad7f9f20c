//! Queries to upstreams: their questions, their fates, and the comparison of responses with them.

use super::{Event, Ttls, World, question};
use crate::sim::oracle::{Plausible, Sent};
use crate::sim::upstreams::{self, Echo, Fate, Knowledge};
use hither_rounds::{AttemptId, Question, Transport, UpstreamId};
use hither_wire::message::Message;
use hither_wire::name::Name;

/// The query of an attempt.
pub(super) struct Query {
    /// The question of the client for which this query is sent.
    pub question: Question,
    pub upstream: UpstreamId,
    /// The name that is asked for: the question's, or an alias of it.
    name: Name,
    pub tcp: bool,
    pub encrypted: bool,
    /// Whether the query is to confirm a response by UDP that may be forged.
    confirms: bool,
    pub octets: Vec<u8>,
}

impl Query {
    /// How a response compares with the query.
    pub fn rate(&self, response: &[u8]) -> Plausible {
        let (sent, udp) = (&self.octets, !self.tcp && !self.encrypted);
        let (edns, truncated) = (upstreams::has_edns(sent), response[2] & 2 != 0);
        let no_question = response[5] == 0;
        let asked = name_of(sent);
        let came = if no_question { asked } else { name_of(response) };
        let forged = response[..2] != sent[..2] || !asked.eq_ignore_case(&came);
        if self.encrypted && (forged || truncated || Message::read(response).is_err()) {
            Plausible::Useless
        } else if forged {
            Plausible::Forged
        } else if truncated && udp {
            Plausible::Right
        } else if Message::read(response).is_err() {
            Plausible::Unreadable { udp, edns }
        } else if udp && (no_question || (asked != came && upstreams::is_mixed(sent))) {
            Plausible::Unusual
        } else {
            Plausible::Right
        }
    }
}

fn name_of(message: &[u8]) -> Name {
    Name::read(message, 12).map_or(Name::ROOT, |(name, _)| name)
}

impl World<'_> {
    /// Reads a query that is to be sent.
    pub(super) fn query(&self, upstream: UpstreamId, transport: Transport, octets: &[u8]) -> Query {
        let name = hither_wire::query::Query::read(octets).expect("the core's own query").name_lower();
        // A query for an alias belongs to the question of the name that has the alias.
        let question = (0..self.plan.names as u64)
            .map(question)
            .find(|q| [q.name, upstreams::alias(&q.name), upstreams::moved(&q.name)].contains(&name))
            .expect("each query belongs to a question of a client");
        let tcp = transport == Transport::Tcp;
        let confirms = tcp && self.oracle.sends_to_confirm(&question, upstream);
        let encrypted = transport.is_encrypted();
        Query { question, upstream, name, tcp, encrypted, confirms, octets: octets.to_vec() }
    }

    /// Reports a query to the oracle.
    pub(super) fn oracle_sees(&mut self, attempt: AttemptId, query: &Query) {
        // Upstreams that are down when a round begins, or while it chases a CNAME, need not be queried.
        let down = self.down();
        self.oracle.leaves_alone(&down);
        let mixed = upstreams::is_mixed(&query.octets);
        let way = Sent { chased: query.name != query.question.name, tcp: query.tcp, mixed };
        self.oracle.sent(self.now, attempt, (query.question, query.upstream), way);
    }

    /// Draws the fate of a query, and schedules the events that follow from it.
    pub(super) fn answer(&mut self, attempt: AttemptId, query: Query) {
        let (upstream, asked, tcp) = (query.upstream, query.name, query.tcp);
        let mixed = upstreams::is_mixed(&query.octets);
        let known = self.knowledge(&query);
        let first = self.queries[&(query.question.name, upstream.0)] == 1 || tcp;
        let (fate, after_ms) = if (first && !query.confirms) || self.plan.every_fate {
            let fates = if query.encrypted { upstreams::FATES_ENCRYPTED } else { self.plan.fates };
            upstreams::draw(self.picks, fates, self.plan.delays_ms)
        } else {
            (Fate::Good, 10)
        };
        let over_tcp = matches!(
            fate,
            Fate::Good
                | Fate::Unreachable
                | Fate::NoSocket
                | Fate::ServFail
                | Fate::Lost
                | Fate::Broken
                | Fate::Closed
        );
        // The target of a dangling CNAME has addresses, at every upstream.
        let good = (tcp && !over_tcp) || asked != query.question.name;
        let fate = if good { Fate::Good } else { fate };
        let (fate, after_ms) = match self.denied.remove(&(asked, upstream.0)) {
            Some(denied) if !tcp && !mixed => (denied, 10),
            _ => (fate, after_ms),
        };
        if mixed && !tcp && matches!(fate, Fate::NxDomain | Fate::NoData | Fate::CaseSensitive) {
            self.denied.insert((asked, upstream.0), fate);
        }
        if fate == Fate::CaseSensitive && mixed {
            self.oracle.lies(attempt);
        }
        self.note(|| format!("      fate {fate:?} after {after_ms} ms"));
        for (after_ms, echo) in upstreams::script(fate, &query.octets, tcp, &known, after_ms) {
            let event = match echo {
                Echo::Message(octets) => Event::Message(attempt, octets),
                Echo::Failed(failure) => Event::Failed(attempt, failure),
                Echo::Transmitted => Event::Transmitted(attempt),
            };
            self.events.push((upstreams::arrival(self.now, after_ms), event));
        }
        self.attempts.insert(attempt, query);
    }

    /// The set that an upstream gives this time: other addresses with every query, and a TTL.
    fn knowledge(&mut self, query: &Query) -> Knowledge {
        let upstream = usize::from(query.upstream.0);
        let count = self.queries.entry((query.question.name, query.upstream.0)).or_default();
        *count += 1;
        let sets = [[1, 2], [2, 3], [4, 4]];
        let mut ends: Vec<u8> = sets[upstream % 3].iter().map(|end| end + 10 * *count).collect();
        ends.dedup();
        let ttl_s = match self.plan.ttls_s {
            Ttls::OfUpstream(ttls) => ttls[upstream % 3],
            Ttls::Drawn(ttls) => ttls[self.picks.below(3) as usize],
        };
        Knowledge { ends, ttl_s }
    }
}
