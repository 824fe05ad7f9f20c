//! Replies to clients.

use super::Oracle;
use super::attempts::DOWN_DEADLINE;
use super::judge::judge_record;
use hither_rounds::ClientId;
use hither_rounds::reply::{Answer, ede};
use hither_table::Monotonic;
use hither_wire::codes::Rcode;

impl Oracle {
    /// Judges a reply: each client gets one before its deadline, and the responses so far justify it.
    pub fn reply(&mut self, now: Monotonic, client: ClientId, answer: &Answer) {
        assert!(self.clients.asked.contains(&client), "a reply to a client that has not asked");
        assert!(self.clients.replied.insert(client), "a reply to {client:?}, which has one or has left");
        self.believe_handed_on();
        if matches!(answer, Answer::Empty { ede: Some(ede::OTHER), .. }) {
            return self.is_evicted(now, client);
        }
        let found = self.questions.iter().find(|(_, known)| known.clients.contains_key(&client));
        let question = *found.expect("a reply to a client that does not wait").0;
        let pressed = self.is_pressed(client, question);
        let all_down = self.rating.all_down;
        let known = self.questions.get_mut(&question).expect("just found");
        let deadline = known.clients.remove(&client).expect("just found");
        assert!(now <= deadline, "a reply after the deadline");
        if let Some(round) = known.rounds.last_mut().filter(|_| pressed) {
            round.evicted = true;
        }
        let round = known.rounds.last();
        let hopeless = all_down && round.is_some_and(|r| now >= r.started.plus(DOWN_DEADLINE));
        let remembered = known.failed_until.is_some_and(|until| now < until);
        match answer {
            Answer::Record { record, family, stale_ttl_s } => {
                let view = record.family(*family).expect("the family that was asked for");
                let stale = stale_ttl_s.is_some();
                assert_eq!(record.name(), question.name.as_wire(), "a reply about another name");
                judge_record(now, &self.settings, &self.rating.untrusted, known, (&view, stale));
                let over = hopeless || round.is_some_and(|r| now >= r.deadline || r.open.is_empty());
                if stale && over && !remembered {
                    let failure_ttl = self.settings.failure_ttl.max(self.settings.stale_ttl);
                    known.failed_until = Some(now.plus(failure_ttl));
                }
            }
            Answer::Stored { .. } | Answer::Local(_) => panic!("addresses are answered from the table"),
            Answer::Filtered { .. } => panic!("no family is to be withheld"),
            Answer::Empty { rcode, .. } => {
                assert_eq!(*rcode, Rcode::SERVFAIL);
                let round = round.expect("there was a round");
                let exhausted = round.open.is_empty()
                    && round.all_asked()
                    && round.good.is_empty()
                    && round.dissent.denials.is_empty();
                assert!(
                    remembered || hopeless || now >= round.deadline || exhausted,
                    "SERVFAIL while an upstream may still answer"
                );
                assert!(remembered || round.good.is_empty(), "SERVFAIL although an upstream answered");
                if !remembered {
                    known.failed_until = Some(now.plus(self.settings.failure_ttl));
                }
            }
        }
    }
}
