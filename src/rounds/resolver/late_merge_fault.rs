//! A planted fault: a late response is merged into the live round. The core was designed to exclude
//! this race.

use crate::address_set::Contribution;
use crate::ids::UpstreamId;
use crate::mutant::Mutant;
use crate::question::Question;
use crate::resolver::Rounds;
use crate::response::{Expected, Meaning, read};
use crate::settings::Bounds;
use hither_wire::message::Message;
use std::time::Duration;

impl Rounds {
    /// Merges a late response, as a program does that looks up rounds by their question.
    pub(crate) fn merge_late(&mut self, octets: &[u8]) {
        let now = self.shared.now;
        if !self.shared.mutants.has(Mutant::LateAnswerOfAnOldRoundIsMerged) {
            return;
        }
        let Some((message, asked)) = Message::read(octets).ok().and_then(|m| m.question().map(|q| (m, q)))
        else {
            return;
        };
        let question = Question {
            name: asked.name.to_lower(),
            rtype: asked.rtype,
            dnssec_ok: false,
            checking_disabled: false,
        };
        let Some(id) = self.live.get(&question).copied() else { return };
        let expected = Expected {
            id: message.header().id,
            sent: question.name.as_wire(),
            udp: true,
            exact: false,
            last: false,
            cookie: None,
            name: &question.name,
            rtype: question.rtype,
            addresses: question.family().is_some(),
            bounds: Bounds::of(&self.shared.settings),
            mutants: self.shared.mutants,
        };
        if let Meaning::Addresses { chain, addresses, ttl_s } = read(&message, &expected, now, Vec::new()) {
            let more = Contribution {
                from: UpstreamId(0),
                chain,
                addresses,
                expire_ms: now.plus(Duration::from_secs(u64::from(ttl_s))).as_ms(),
            };
            self.with(id, |round, shared| {
                round.add_addresses(shared, &more);
                round.conclude(shared)
            });
        }
    }
}
