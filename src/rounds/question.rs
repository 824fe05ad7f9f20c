//! Questions: the keys of rounds and of the cache.

use hither_answers::Asked;
use hither_table::Family;
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use hither_wire::query::Query;

/// A question: QNAME in lower case, QTYPE, DO and CD. The class is IN; other classes are refused
/// earlier.
///
/// DO and CD are part of the question because they change an upstream's answer (RFC 4035 section
/// 3.2.1). So a name and type have at most three rounds at a time: without DO, with DO, and with DO and
/// CD where validation fails.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Question {
    /// QNAME in lower case (RFC 4343).
    pub name: Name,
    /// The QTYPE of the query.
    pub rtype: Rtype,
    /// Whether the client asked for DNSSEC records (DO, RFC 3225).
    pub dnssec_ok: bool,
    /// Whether the client validates signatures itself (CD, RFC 4035 section 3.2.2).
    pub checking_disabled: bool,
}

impl Question {
    /// The question of a client's query.
    #[must_use]
    pub fn of(query: &Query<'_>) -> Question {
        Question {
            name: query.name_lower(),
            rtype: query.qtype(),
            dnssec_ok: query.dnssec_ok(),
            checking_disabled: query.cd(),
        }
    }

    /// The question that is sent first for a validating client: DO set, CD clear, so that the upstream
    /// validates. A valid answer is right for a validating client too.
    pub(crate) fn validated(&self) -> Question {
        Question { dnssec_ok: true, checking_disabled: false, ..*self }
    }

    /// The question for a validating client when the validated one has no answer: DO and CD set.
    pub(crate) fn unvalidated(&self) -> Question {
        Question { dnssec_ok: true, checking_disabled: true, ..*self }
    }

    /// The key of the question in the answer cache.
    #[must_use]
    pub fn asked(&self) -> Asked<'_> {
        Asked {
            name: self.name.as_wire(),
            rtype: self.rtype,
            dnssec_ok: self.dnssec_ok,
            checking_disabled: self.checking_disabled,
        }
    }

    /// The family that the table keeps for this question; `None`: its answers are in the answer cache.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        family_of(self.rtype, self.dnssec_ok || self.checking_disabled)
    }
}

pub(crate) fn family_of(rtype: Rtype, dnssec: bool) -> Option<Family> {
    match rtype {
        Rtype::A if !dnssec => Some(Family::A),
        Rtype::AAAA if !dnssec => Some(Family::Aaaa),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, ClientId, Input, Limits, Rounds, Routes, Settings, Source};
    use hither_table::{Geometry, Memory, Monotonic, Writer};
    use hither_wire::codes::Rcode;
    use std::net::SocketAddr;

    fn question(name: &str, checking_disabled: bool) -> Question {
        let name = name.parse().expect("a name");
        Question { name, rtype: Rtype::A, dnssec_ok: false, checking_disabled }
    }

    #[test]
    fn a_validating_client_takes_no_slot_that_was_freed_for_another_client() {
        let geometry = Geometry { entries: 64 };
        let writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10);
        let upstreams: [SocketAddr; 2] = [1, 2].map(|n| ([192, 0, 2, n], 53).into());
        let limits = Limits { rounds: 3, clients: 3, ..Limits::default() };
        let settings = Settings { limits, first: 2, mix_case: false, ..Settings::default() };
        let mut rounds =
            Rounds::new(settings, Routes::from(&upstreams[..]), writer.expect("a table"), Box::new(|| 7));
        let client = |source, number| ClientId::of(Source::of(source), number);
        let ask = |rounds: &mut Rounds, ms, client, (name, cd)| {
            let question = question(name, cd);
            rounds
                .handle(Monotonic::from_ms(ms), Input::Ask { client, question: &question, recursion: true });
            rounds.check_invariants();
            let sent = std::iter::from_fn(|| rounds.poll_action()).filter_map(|action| match action {
                Action::Send { attempt, octets, .. } => Some((attempt, octets.to_vec())),
                _ => None,
            });
            sent.last()
        };
        // One round without clients, one with two validating clients, and one of another source reach
        // all limits.
        ask(&mut rounds, 1000, client(1, 0), ("z.example", false));
        rounds.handle(Monotonic::from_ms(1001), Input::ClientGone { client: client(1, 0) });
        rounds.drain();
        let (attempt, mut octets) = ask(&mut rounds, 1002, client(1, 1), ("x.example", true)).expect("sent");
        ask(&mut rounds, 1003, client(1, 2), ("x.example", true));
        ask(&mut rounds, 1004, client(2, 1), ("y.example", false));
        octets[2] |= 0x80;
        octets[3] = Rcode::SERVFAIL.0;
        rounds.handle(Monotonic::from_ms(1010), Input::Message { attempt, octets: &octets });
        rounds.drain();
        rounds.check_invariants();
        ask(&mut rounds, 1500, client(3, 1), ("w.example", false));
    }
}
