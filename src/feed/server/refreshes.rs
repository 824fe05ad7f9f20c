//! The rounds that leases need: when, for whom, and within which shares.

use super::state::{Look, Ticks};
use super::users::Owner;
use super::{FAMILIES, Feed};
use hither_table::{Family, Monotonic};
use hither_wire::name::Name;

/// Leases that move from the timers to the queues of their users in one call.
const COLLECTED_MAX: usize = 64;
/// Leases that are looked up in one call although none of their families needs a round.
const LOOKED_UP_MAX: usize = 32;
/// Subscribers of leases among which payers are looked for in one call.
const HOLDERS_MAX: usize = 1024;

/// A round that a lease needs. The shell begins it, and calls [`Feed::note_begun`] if one began, or
/// [`Feed::note_refused`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// The name to ask for.
    pub name: Name,
    /// The family to ask for.
    pub family: Family,
    /// The user that pays for it.
    pub owner: Owner,
}

impl Feed {
    /// Puts a lease into the timers, for the first of its families that is due.
    pub(super) fn schedule(&mut self, lease: u32) {
        let due = self.leases.due(lease);
        let Some(own) = self.leases.get_mut(lease) else { return };
        if own.timer == due || own.timer == Ticks::WAITS {
            return;
        }
        self.timers.remove(&(own.timer, lease));
        own.timer = due;
        if due != Ticks::NEVER {
            self.timers.insert((due, lease));
        }
    }

    /// The user that pays for a lease: the one with whom it waits for the fewest rounds, so that a user with
    /// many names delays no name of another. Looks at `left` subscribers at most, and always at the first of
    /// all: those who came later cannot push it out.
    fn payer(&mut self, lease: u32, now: Monotonic, left: &mut usize) -> Option<Owner> {
        let mut best: Option<(usize, Owner)> = None;
        let mut last = None;
        for id in self.leases.subscribers(lease).take((*left).max(1)) {
            *left = left.saturating_sub(1);
            let Some(one) = self.subscribers.get(id).filter(|one| !one.is_leaving) else { continue };
            if last.replace(one.owner) == Some(one.owner) {
                continue;
            }
            let Some(rounds) = self.users.rounds_before(one.owner, now) else { continue };
            if best.is_none_or(|(least, _)| rounds < least) {
                best = Some((rounds, one.owner));
            }
            if rounds == 0 {
                break;
            }
        }
        best.map(|(_, owner)| owner)
    }

    /// Moves leases that are due to the queues of the users that pay for them.
    fn collect(&mut self, now: Monotonic) {
        let mut left = HOLDERS_MAX;
        for _ in 0..COLLECTED_MAX {
            if left == 0 {
                return;
            }
            let Some((_, lease)) = self.timers.first().copied().filter(|(at, _)| *at <= Ticks::of(now))
            else {
                return;
            };
            self.timers.pop_first();
            let payer = self.payer(lease, now, &mut left);
            let waits = payer.is_some_and(|owner| self.users.wait(owner, lease));
            if let Some(own) = self.leases.get_mut(lease) {
                // Nobody but subscribers that are gone holds it: it is about to be removed.
                own.timer = if waits { Ticks::WAITS } else { Ticks::NEVER };
            }
        }
    }

    /// The next round that is due and within the shares of its user and of all.
    pub fn next_ask(&mut self, now: Monotonic, look: &mut Look<'_>) -> Option<Ask> {
        self.collect(now);
        for _ in 0..LOOKED_UP_MAX {
            let (owner, lease) = self.users.next(now)?;
            let Some(name) = self.leases.name(lease) else { continue };
            let is_waiting = self.leases.get_mut(lease).is_some_and(|own| own.timer == Ticks::WAITS);
            if !is_waiting {
                continue;
            }
            self.see(now, lease, look(&name));
            let mut due = None;
            for family in FAMILIES {
                let (is_due, level) = self.leases.ask(lease, family, now);
                if let Some(level) = level {
                    self.mark(lease, family, level);
                }
                if is_due {
                    due = Some(family);
                    break;
                }
            }
            if let Some(own) = self.leases.get_mut(lease) {
                own.timer = Ticks::NEVER;
            }
            // Its other family may be due too: then it gets another turn.
            self.schedule(lease);
            if let Some(family) = due {
                return Some(Ask { name, family, owner });
            }
        }
        None
    }

    /// Counts a round that began because of [`Feed::next_ask`].
    pub fn note_begun(&mut self, ask: &Ask) {
        self.users.take(ask.owner);
        self.note_refused(ask);
    }

    /// No round began because of [`Feed::next_ask`], although there was room for one: one is under way or has
    /// just failed, or there is no upstream. Without room the shell says nothing, and it is no failure.
    pub fn note_refused(&mut self, ask: &Ask) {
        if let Some(lease) = self.leases.find(ask.name.as_wire()) {
            self.leases.note_tried(lease, ask.family);
        }
    }

    /// Whether [`Feed::next_ask`] may have another one at once.
    #[must_use]
    pub fn has_asks(&self, now: Monotonic) -> bool {
        let is_due = self.timers.first().is_some_and(|(at, _)| *at <= Ticks::of(now));
        is_due || self.users.timeout().is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Limits, Seen, SubscriberId};
    use crate::{Cause, Datagram, Families, RECORD_MAX, Record};
    use std::time::Duration;

    const START: Monotonic = Monotonic::from_ms(1_000_000);
    const SHARED: &str = "db.example";

    fn nothing(_: &Name) -> [Seen; 2] {
        [Seen::Nothing; 2]
    }

    fn after(ms: u64) -> Monotonic {
        START.plus(Duration::from_millis(ms))
    }

    /// Takes all records of changes, as sockets that are never full.
    fn causes(feed: &mut Feed) -> Vec<Cause> {
        let (mut all, mut out) = (Vec::new(), [0; RECORD_MAX]);
        while let Some((_, octets)) = feed.next_record(1, &mut out) {
            match Record::read(octets) {
                Ok(Record::Change(change)) => all.push(change.cause),
                Ok(Record::Accepted { .. }) => {}
                other => panic!("{other:?}"),
            }
            feed.note_sent();
        }
        all
    }

    fn add(feed: &mut Feed, now: Monotonic, id: SubscriberId, names: &[String]) {
        for some in names.chunks(100) {
            let mut datagram = Datagram::new();
            for name in some {
                datagram.add(Families::Both, &name.parse().expect("a name")).expect("it fits");
            }
            feed.subscribe(now, id, datagram.octets(), 1, &mut nothing);
            causes(feed);
        }
    }

    fn subscribe(feed: &mut Feed, now: Monotonic, uid: u32, names: &[String]) {
        let id = feed.connect(Owner::of(uid, 1)).expect("within the limits");
        add(feed, now, id, names);
    }

    fn shared() -> Vec<String> {
        vec![SHARED.to_owned()]
    }

    /// Many names of the user that keeps its queue full: no round brings anything for them.
    fn many() -> Vec<String> {
        (0..9000).map(|n| format!("n{n}.example")).collect()
    }

    /// Begins all rounds that are due. Returns how many of them are for the shared name.
    fn begin(feed: &mut Feed, now: Monotonic) -> usize {
        let (name, mut count) = (SHARED.parse().expect("a name"), 0);
        while feed.has_asks(now) {
            if let Some(ask) = feed.next_ask(now, &mut nothing) {
                feed.note_begun(&ask);
                count += usize::from(ask.name == name);
            }
        }
        feed.check_invariants();
        count
    }

    /// Rounds of the shared name in 37 s: alone it has them for each family after 0, 5, 15 and 35 s.
    fn rounds_of_shared(feed: &mut Feed) -> usize {
        (0..370).map(|tick| begin(feed, after(100 * tick))).sum()
    }

    #[test]
    fn a_full_queue_of_one_user_does_not_delay_a_name_of_another() {
        for connections in [1, 64, 1100] {
            let limits = Limits { subscribers: 2000, subscribers_per_user: 2000, ..Limits::default() };
            let mut feed = Feed::new(limits, [1, 2]);
            subscribe(&mut feed, START, 1000, &shared());
            subscribe(&mut feed, START, 2000, &many()[..8000]);
            (0..connections).for_each(|_| subscribe(&mut feed, START, 2000, &shared()));
            assert_eq!(rounds_of_shared(&mut feed), 8, "{connections} connections");
        }
    }

    #[test]
    fn a_name_that_waits_for_one_user_waits_for_another_that_joins_too() {
        let mut feed = Feed::new(Limits::default(), [1, 2]);
        subscribe(&mut feed, START, 2000, &many());
        subscribe(&mut feed, START, 2000, &shared());
        assert_eq!(begin(&mut feed, START), 0, "it waits behind nine thousand");
        subscribe(&mut feed, START, 1000, &shared());
        assert_eq!(begin(&mut feed, START), 2, "both families");
    }

    #[test]
    fn a_queue_does_not_grow_by_subscribing_again_and_again() {
        let mut feed = Feed::new(Limits::default(), [1, 2]);
        subscribe(&mut feed, START, 2000, &many());
        begin(&mut feed, START);
        for _ in 0..100 {
            let id = feed.connect(Owner::of(2000, 1)).expect("within the limits");
            add(&mut feed, START, id, &many()[8000..8900]);
            feed.disconnect(id);
            while feed.work(START, 512, &mut nothing) {}
        }
        let waiting = feed.users.waiting(Owner::of(2000, 1));
        assert!(waiting <= 10_000, "{waiting}");
    }

    #[test]
    fn a_round_that_did_not_begin_is_no_failure() {
        let mut feed = Feed::new(Limits::default(), [1, 2]);
        subscribe(&mut feed, START, 1000, &shared());
        let asks = |feed: &mut Feed, ms| {
            let asks: Vec<Ask> = std::iter::from_fn(|| feed.next_ask(after(ms), &mut nothing)).collect();
            assert_eq!(asks.len(), 2, "both families at {ms}");
            asks
        };
        for ms in [0, 6_000, 12_000] {
            asks(&mut feed, ms);
            assert_eq!(causes(&mut feed), [], "there was no room for a round");
        }
        asks(&mut feed, 18_000).iter().for_each(|ask| feed.note_begun(ask));
        assert_eq!(causes(&mut feed), []);
        asks(&mut feed, 24_000);
        assert_eq!(causes(&mut feed), [Cause::Gone; 2], "rounds were tried");
    }
}
