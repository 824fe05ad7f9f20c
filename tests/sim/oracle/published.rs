//! The table, as a reader sees it after each call.

use super::Oracle;
use super::judge::judge_set;
use super::provenance::{judge_kept, trusted};
use super::trust::{in_force, judge_division, judge_place};
use hither_rounds::Question;
use hither_table::{FamilyView, Monotonic};
use std::collections::BTreeSet;
use std::net::IpAddr;

impl Oracle {
    /// Judges the set of a question in the table.
    pub fn see(&mut self, now: Monotonic, question: &Question, view: Option<&FamilyView<'_>>) {
        self.believe_handed_on();
        let Some(view) = view else { return self.misses(question) };
        let applied = self.orders.applied.take_if(|(name, _)| *name == question.name);
        let known = self.questions.get_mut(question).expect("each set belongs to a question of a client");
        let addresses: Vec<IpAddr> = view.addresses().map(|a| a.address).collect();
        let set: BTreeSet<IpAddr> = addresses.iter().copied().collect();
        assert_eq!(set.len(), addresses.len(), "an address twice in a set");
        let saved_anew = known.saved.as_ref().is_some_and(|saved| saved.is_awaited());
        let void = known.doubted && !saved_anew && view.round() == known.round_id;
        assert!(!void, "a void set is still in the table");
        judge_place(view);
        judge_division(view);
        let is_disputed = view.agreement().is_disputed();
        if view.version() == known.version {
            if let Some((_, ordered)) = applied {
                known.standing.1 = ordered.iter().copied().collect();
                let ordered = in_force(&ordered, &known.standing.0, is_disputed);
                assert!(ordered == addresses, "an order was applied and is not there");
            }
            known.judge_verdicts(view, None);
            known.judge_trust(question, view);
            let same = addresses == known.addresses
                && view.expire_ms() == known.expire_ms
                && view.sorted() == known.sorted;
            assert!(same, "a set changed without a new version");
            return;
        }
        assert!(view.version() > known.version, "the version decreased");
        if known.sees_saved(view, &addresses, applied.as_ref().map(|(_, ordered)| ordered)) {
            return known.remember(view, addresses);
        }
        known.judge_verdicts(view, applied.as_ref().map(|(_, ordered)| ordered));
        if known.set_version != 0 {
            assert_eq!(
                view.set_version() == known.set_version,
                set == known.set(),
                "the set version changes if and only if the addresses do"
            );
        }
        let latest = known.rounds.len() - 1;
        if view.round() != known.round_id {
            assert!(view.round() > known.round_id, "an older round published after a newer one");
            known.round_id = view.round();
            known.doubted = false;
            known.round_of_set = latest;
        }
        if applied.is_none() {
            let ended = known.began && known.round_of_set + 1 == latest;
            assert!(known.round_of_set == latest || ended, "a round published after a newer one had begun");
        }
        let round = &known.rounds[known.round_of_set];
        assert!(applied.is_some() || !round.void, "a round publishes after a flush or a change of upstreams");
        judge_set(&self.settings, (&question.name, round), (view, &set), now);
        match applied {
            Some((_, ordered)) => {
                let ordered = in_force(&ordered, &trusted(view), is_disputed);
                assert!(view.sorted() && addresses == ordered, "an order was applied and is not there")
            }
            None if view.sorted() => {
                assert!(known.sorted && set == known.set(), "an order that was measured for another set");
                judge_kept(known, view);
            }
            None => {}
        }
        known.remember(view, addresses);
    }
}
