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

/// A round that a lease needs. The shell begins it, and calls [`Feed::note_begun`] if one began.
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

    /// Moves leases that are due to the queue of the user that pays for them.
    fn collect(&mut self, now: Monotonic) {
        for _ in 0..COLLECTED_MAX {
            let Some((_, lease)) = self.timers.first().copied().filter(|(at, _)| *at <= Ticks::of(now))
            else {
                return;
            };
            self.timers.pop_first();
            let holders = self.leases.subscribers(lease).filter_map(|id| self.subscribers.get(id));
            let payer = holders.filter(|one| !one.is_leaving).map(|one| one.owner).next();
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
    }

    /// Whether [`Feed::next_ask`] may have another one at once.
    #[must_use]
    pub fn has_asks(&self, now: Monotonic) -> bool {
        let is_due = self.timers.first().is_some_and(|(at, _)| *at <= Ticks::of(now));
        is_due || self.users.timeout().is_some_and(|at| at <= now)
    }
}
