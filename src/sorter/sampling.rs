//! The names whose sets are measured again soon, since one sample of an address carries the whole jitter of
//! its moment. Pure, and bounded: at the bound, names wait for their next change or the next walk.

use hither_table::Monotonic;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Names for which further samples are planned; with both indexes some 2 MiB.
const NAMES_MAX: usize = 8192;

#[derive(Debug, Default)]
pub(super) struct Sampling {
    due: BTreeSet<(Monotonic, Rc<[u8]>)>,
    names: BTreeMap<Rc<[u8]>, Monotonic>,
}

impl Sampling {
    /// Plans further samples of a name's sets. An earlier time that is planned already stays.
    pub fn plan(&mut self, name: &Rc<[u8]>, at: Monotonic) {
        match self.names.get(name) {
            Some(planned) if *planned <= at => return,
            Some(planned) => {
                self.due.remove(&(*planned, Rc::clone(name)));
            }
            None if self.names.len() >= NAMES_MAX => return,
            None => {}
        }
        self.names.insert(Rc::clone(name), at);
        self.due.insert((at, Rc::clone(name)));
    }

    /// Whether something is planned for a name.
    pub fn is_planned(&self, name: &[u8]) -> bool {
        self.names.contains_key(name)
    }

    /// When the next name is due.
    pub fn timeout(&self) -> Option<Monotonic> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The next name that is due; its plan ends.
    pub fn next_due(&mut self, now: Monotonic) -> Option<Rc<[u8]>> {
        self.timeout().filter(|at| *at <= now)?;
        let (_, name) = self.due.pop_first()?;
        self.names.remove(&name);
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_due_once_at_its_earliest_time() {
        let (mut sampling, at) = (Sampling::default(), Monotonic::from_ms);
        let name = |n: usize| Rc::from(n.to_be_bytes());
        sampling.plan(&name(1), at(50));
        sampling.plan(&name(2), at(20));
        sampling.plan(&name(1), at(10));
        sampling.plan(&name(2), at(90));
        assert_eq!((sampling.next_due(at(9)), sampling.timeout()), (None, Some(at(10))));
        assert_eq!(sampling.next_due(at(10)), Some(name(1)));
        assert_eq!((sampling.next_due(at(10)), sampling.next_due(at(20))), (None, Some(name(2))));
        assert_eq!((sampling.next_due(at(99)), sampling.timeout()), (None, None));
        (0..NAMES_MAX + 9).for_each(|n| sampling.plan(&name(n), at(1)));
        assert_eq!((sampling.names.len(), sampling.due.len()), (NAMES_MAX, NAMES_MAX));
    }
}
