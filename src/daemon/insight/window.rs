//! The names asked most within the last minute: two sketches of half a minute each.

use super::sketch::{Count, NAMES_MAX, Sketch, add_unit};
use hither_control::{TopName, TopReport, TopUnit};
use hither_table::Monotonic;
use hither_wire::name::Name;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The time that a sketch is filled. The numbers are of this time at least, and twice of it at most.
const HALF: Duration = Duration::from_secs(30);
/// Names, and units, of a report.
const SHOWN_MAX: usize = 100;
/// Units that are counted in all.
const UNITS_MAX: usize = 256;

/// One half of the time.
#[derive(Debug, Default)]
struct Part {
    names: Sketch,
    queries: u64,
    misses: u64,
    units: Vec<(Arc<str>, u64)>,
}

/// The counts of the last half minute to minute.
#[derive(Debug)]
pub(super) struct Window {
    before: Part,
    current: Part,
    /// When `current` began, and when the older of the two did.
    began: Monotonic,
    oldest: Monotonic,
}

impl Window {
    pub fn new(now: Monotonic) -> Window {
        Window { before: Part::default(), current: Part::default(), began: now, oldest: now }
    }

    fn turn(&mut self, now: Monotonic) {
        if now < self.began.plus(HALF) {
            return;
        }
        let is_recent = now < self.began.plus(2 * HALF);
        let ended = std::mem::take(&mut self.current);
        self.before = if is_recent { ended } else { Part::default() };
        (self.oldest, self.began) = (if is_recent { self.began } else { now }, now);
    }

    /// Counts hits, of which one was looked at.
    pub fn add_hits(&mut self, name: &Name, hits: u64, now: Monotonic) {
        self.turn(now);
        self.current.queries += hits;
        self.current.names.count(name.as_wire(), |count| count.queries += hits);
    }

    /// Counts a query that needs a round.
    pub fn add_miss(&mut self, name: &Name, unit: &Arc<str>, now: Monotonic) {
        self.turn(now);
        self.current.queries += 1;
        self.current.misses += 1;
        add_unit(&mut self.current.units, unit, 1, UNITS_MAX);
        self.current.names.count(name.as_wire(), |count| {
            count.queries += 1;
            count.add_miss(unit);
        });
    }

    /// Counts queries whose names were not looked at, since too many came at once.
    pub fn add_unseen(&mut self, misses: u64) {
        self.current.queries += misses;
        self.current.misses += misses;
    }

    /// The report, without rounds.
    pub fn report(&mut self, now: Monotonic) -> TopReport {
        self.turn(now);
        let queries = self.before.queries + self.current.queries;
        let mut all = self.joined();
        let names_more = all.len().saturating_sub(SHOWN_MAX) as u64;
        all.sort_by_key(|(name, count)| (Reverse(count.queries), *name));
        all.truncate(SHOWN_MAX);
        let mut units = self.before.units.clone();
        self.current.units.iter().for_each(|(unit, misses)| add_unit(&mut units, unit, *misses, UNITS_MAX));
        let mut units = top_units(&units);
        let units_more = units.len().saturating_sub(SHOWN_MAX) as u64;
        units.truncate(SHOWN_MAX);
        TopReport {
            window_ms: now.since(self.oldest).as_millis() as u64,
            queries,
            misses: self.before.misses + self.current.misses,
            names: all.into_iter().map(|(name, count)| top_name(name, &count, queries)).collect(),
            names_more,
            units,
            units_more,
            ..TopReport::default()
        }
    }

    /// The counts of both halves.
    fn joined(&self) -> Vec<(&[u8], Count)> {
        let (before, current) = (&self.before.names, &self.current.names);
        let mut all: BTreeMap<&[u8], Count> =
            current.all().map(|(name, count)| (name, count.clone())).collect();
        // A name without a counter in one half may have been asked for so often there.
        let lacking = |count: &mut Count, floor: u64| {
            count.queries += floor;
            count.error += floor;
        };
        for (name, count) in &mut all {
            match before.get(name) {
                Some(earlier) => count.join(earlier),
                None => lacking(count, before.floor()),
            }
        }
        for (name, earlier) in before.all() {
            all.entry(name).or_insert_with(|| {
                let mut count = earlier.clone();
                lacking(&mut count, current.floor());
                count
            });
        }
        debug_assert!(all.len() <= 2 * NAMES_MAX);
        all.into_iter().collect()
    }
}

fn top_name(name: &[u8], count: &Count, all: u64) -> TopName {
    TopName {
        name: Name::from_wire(name).map(|name| name.to_string()).unwrap_or_default(),
        queries: count.queries,
        error: count.error,
        misses: count.misses,
        permille: (count.queries * 1000 / all.max(1)).min(1000) as u32,
        units: top_units(&count.units),
    }
}

fn top_units(units: &[(Arc<str>, u64)]) -> Vec<TopUnit> {
    let mut units: Vec<TopUnit> =
        units.iter().map(|(unit, misses)| TopUnit { unit: unit.to_string(), misses: *misses }).collect();
    units.sort_by(|a, b| b.misses.cmp(&a.misses).then_with(|| a.unit.cmp(&b.unit)));
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn both_halves_count_and_what_is_older_does_not() {
        let at = |s: u64| Monotonic::from_ms(s * 1000);
        let (cups, none) = (Arc::from("cups.service"), Arc::from(""));
        let mut window = Window::new(at(100));
        window.add_hits(&name("a.test"), 60, at(101));
        window.add_miss(&name("b.test"), &cups, at(102));
        window.add_miss(&name("b.test"), &none, at(131));
        window.add_unseen(8);
        let report = window.report(at(140));
        assert_eq!((report.queries, report.misses, report.window_ms), (70, 10, 40_000));
        let names: Vec<_> =
            report.names.iter().map(|n| (n.name.as_str(), n.queries, n.misses, n.permille)).collect();
        assert_eq!(names, [("a.test.", 60, 0, 857), ("b.test.", 2, 2, 28)]);
        let units: Vec<_> = report.units.iter().map(|u| (u.unit.as_str(), u.misses)).collect();
        assert_eq!((units.as_slice(), report.names[1].units.len()), (&[("", 1), ("cups.service", 1)][..], 2));
        let report = window.report(at(165));
        assert_eq!((report.queries, report.names.len()), (9, 1), "the first half is over");
        assert_eq!(window.report(at(300)).window_ms, 0);
        assert_eq!(window.report(at(310)).queries, 0);
    }
}
