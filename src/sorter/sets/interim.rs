//! Orders of sets of which addresses are still missing.

use super::Sets;
use hither_client::Monotonic;

impl Sets {
    /// Verdicts on a name have come. Its sets that wait for addresses are ordered with what is known, too.
    pub fn judged(&mut self, name: &[u8], now: Monotonic) {
        let numbers = self.numbers.get(name).copied().unwrap_or_default();
        numbers.into_iter().flatten().for_each(|number| self.plan_interim(number, now));
    }

    /// Plans an order of a set that waits for addresses: now, or when the time since its last one allows it.
    pub(super) fn plan_interim(&mut self, number: usize, now: Monotonic) {
        let Some(set) = self.sets.get_mut(number) else { return };
        if set.interim.from <= now {
            self.make_ready(number);
        } else if set.interim.planned.is_none() {
            set.interim.planned = Some(set.interim.from);
            self.interim.insert((set.interim.from, number));
        }
    }
}
