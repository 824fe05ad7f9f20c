//! The question a round answers.

use hither_answers::Asked;
use hither_table::Family;
use hither_wire::{codes::Rtype, name::Name, query::Query};

/// QNAME in lower case, QTYPE, DO and CD; the class is IN, others are refused before they get here.
///
/// DO and CD are part of it because they change what an upstream says (RFC 4035 section 3.2.1). So a name and type have three rounds at the most at a
/// time, and two while signatures stand: without DO, with it, and with both where that fails.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Question {
    /// QNAME in lower case (RFC 4343).
    pub name: Name,
    /// QTYPE.
    pub rtype: Rtype,
    /// The client asked for DNSSEC records (RFC 3225).
    pub dnssec_ok: bool,
    /// The client checks signatures itself (RFC 4035 section 3.2.2).
    pub checking_disabled: bool,
}

impl Question {
    /// What a client asks.
    #[must_use]
    pub fn of(query: &Query<'_>) -> Question {
        Question {
            name: query.name_lower(),
            rtype: query.qtype(),
            dnssec_ok: query.dnssec_ok(),
            checking_disabled: query.cd(),
        }
    }

    /// As its upstreams are asked first for whoever wants DNSSEC records or checks signatures itself: with DO, and with signatures checked there. What
    /// stands that is right for who checks again, too.
    pub(crate) fn checked(&self) -> Question {
        Question { dnssec_ok: true, checking_disabled: false, ..*self }
    }

    /// The same for who checks signatures itself, when nobody has an answer that stands.
    pub(crate) fn unchecked(&self) -> Question {
        Question { dnssec_ok: true, checking_disabled: true, ..*self }
    }

    /// As the answer cache looks it up.
    #[must_use]
    pub fn asked(&self) -> Asked<'_> {
        let dnssec = (self.dnssec_ok, self.checking_disabled);
        Asked { name: self.name.as_wire(), rtype: self.rtype, dnssec }
    }

    /// The family whose addresses the table keeps for this question, or `None` when its answers are kept apart.
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
    fn who_checks_takes_no_place_that_was_made_for_another() {
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
        // A round that nobody waits for, one that two wait for who check, and one of somebody else: all places are taken.
        ask(&mut rounds, 1000, client(1, 0), ("z.example", false));
        rounds.handle(Monotonic::from_ms(1001), Input::ClientGone { client: client(1, 0) });
        let (attempt, mut octets) = ask(&mut rounds, 1002, client(1, 1), ("x.example", true)).expect("sent");
        ask(&mut rounds, 1003, client(1, 2), ("x.example", true));
        ask(&mut rounds, 1004, client(2, 1), ("y.example", false));
        octets[2] |= 0x80;
        octets[3] = Rcode::SERVFAIL.0;
        rounds.handle(Monotonic::from_ms(1010), Input::Message { attempt, octets: &octets });
        rounds.check_invariants();
        ask(&mut rounds, 1500, client(3, 1), ("w.example", false));
    }
}
