//! The latest versions of sets, of all names together: what was published, when and why.
//!
//! A ring: the oldest version goes first, whichever name it is of. Each version leads to the earlier one
//! of its bucket, so that the versions of a name are found without a search of the ring. A name's versions
//! are counted, so that it can be said how many are not shown.

use hither_table::{Address, Family, FamilyDraft, Monotonic, Negative, State};
use hither_wire::name::Name;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Upper bound of the versions that are kept.
const VERSIONS_MAX: usize = 8192;
/// Upper bound of the octets that they take, beside the buckets.
const OCTETS_MAX: usize = 3 << 20;
/// Buckets: as many as versions, so that few names share one.
const BUCKETS: usize = 8192;
/// Addresses of a version that are kept; the others are counted.
pub(super) const ADDRESSES_KEPT_MAX: usize = 16;
/// Versions of one name that are shown; with them an explanation fits into a message.
const SHOWN_MAX: usize = 64;

/// Why a version was published, or a set was removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The first answer of a round that a client had begun.
    First,
    /// The first answer of a round that refreshed the set before it expired.
    Refreshed,
    /// A further upstream gave more addresses.
    Merged,
    /// A further upstream confirmed addresses, or shortened the lifetime.
    Confirmed,
    /// An answer replaced a denial of the same round.
    Corrected,
    /// Upstreams denied the name or the type.
    Denied,
    /// All addresses were private ones of a public name.
    Withheld,
    /// The round ended; the state says whether every upstream had responded or failed.
    Ended,
    /// An order of the sorter was applied.
    Ordered,
    /// An order of the sorter changed what certificates say, and no place.
    Judged,
    /// The set was restored from the saved cache.
    Restored,
    /// Another host of the site has learned the set.
    Shared,
    /// The set was in the table when this process took it over.
    TakenOver,
    /// Removed: an operator flushed the name, or all names.
    Flushed,
    /// Removed: other upstreams, lists or settings apply to the name.
    Voided,
    /// Removed: an answer took its place that is no plain set of addresses.
    Replaced,
    /// Removed: the set of the other family left no space in the record.
    Displaced,
}

impl Cause {
    /// The cause as one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first_answer",
            Self::Refreshed => "refreshed",
            Self::Merged => "merged",
            Self::Confirmed => "confirmed",
            Self::Corrected => "corrected",
            Self::Denied => "denied",
            Self::Withheld => "withheld",
            Self::Ended => "ended",
            Self::Ordered => "ordered",
            Self::Judged => "judged",
            Self::Restored => "restored",
            Self::Shared => "shared",
            Self::TakenOver => "taken_over",
            Self::Flushed => "flushed",
            Self::Voided => "voided",
            Self::Replaced => "replaced",
            Self::Displaced => "displaced",
        }
    }

    /// Whether a set was removed.
    #[must_use]
    pub fn is_removal(self) -> bool {
        matches!(self, Self::Flushed | Self::Voided | Self::Replaced | Self::Displaced)
    }
}

/// One version of a set, or its removal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VersionTrace {
    /// When it was published or removed.
    pub at: Monotonic,
    /// Why it was published or removed.
    pub cause: Cause,
    /// The version; for a removal the latest one before it.
    pub version: u64,
    /// The version of the set of addresses.
    pub set_version: u64,
    /// The round that gathered the set.
    pub round: u64,
    /// The progress of that round.
    pub state: State,
    /// The denial, if it is one.
    pub negative: Option<Negative>,
    /// Whether the addresses are in a measured order.
    pub sorted: bool,
    /// When the set expires, in milliseconds of [`Monotonic`].
    pub expire_ms: u64,
    /// The first addresses in their order.
    pub addresses: Vec<Address>,
    /// The number of all addresses.
    pub count: usize,
}

impl VersionTrace {
    /// A set as it was published, or was found.
    pub(crate) fn of(set: &FamilyDraft, cause: Cause, at: Monotonic) -> VersionTrace {
        let kept = set.addresses.get(..ADDRESSES_KEPT_MAX).unwrap_or(&set.addresses);
        VersionTrace {
            at,
            cause,
            version: set.version,
            set_version: set.set_version,
            round: set.round,
            state: set.state,
            negative: set.negative,
            sorted: set.sorted,
            expire_ms: set.expire_ms,
            addresses: kept.to_vec(),
            count: set.addresses.len(),
        }
    }

    /// The same set without its addresses, removed.
    fn removal(&self, cause: Cause, at: Monotonic) -> VersionTrace {
        VersionTrace { at, cause, addresses: Vec::new(), count: 0, ..*self }
    }
}

/// How many versions of a name came before those that are kept.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Earlier {
    /// The number of these versions.
    pub count: u64,
    /// Whether there may have been more.
    pub or_more: bool,
}

/// Whose version is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose<'a> {
    pub name: &'a Name,
    pub family: Family,
    /// Whether the table had a set of the family.
    pub had_before: bool,
}

/// A version in the ring.
#[derive(Debug)]
struct Kept {
    trace: VersionTrace,
    /// The name in wire form.
    name: Box<[u8]>,
    family: Family,
    bucket: usize,
    /// The number of the version before it in its bucket; 0 if there was none.
    previous: u64,
    earlier: Earlier,
}

impl Kept {
    fn octets(&self) -> usize {
        size_of::<Kept>() + self.name.len() + self.trace.addresses.capacity() * size_of::<Address>()
    }
}

/// The ring. Versions are numbered from 1 in the order in which they were kept.
#[derive(Debug)]
pub(crate) struct Versions {
    kept: VecDeque<Kept>,
    /// The number of the oldest kept version.
    first: u64,
    /// The number of the latest version of each bucket.
    latest: Box<[u64]>,
    octets: usize,
    seed: u64,
    /// The version up to which sets are from before the start.
    born: u64,
    /// When everything was flushed last, and the number of the next version then.
    flushed: Option<(Monotonic, u64)>,
}

impl Versions {
    pub fn new(seed: u64, born: u64) -> Versions {
        let latest = vec![0; BUCKETS].into();
        Versions { kept: VecDeque::new(), first: 1, latest, octets: 0, seed, born, flushed: None }
    }

    /// Whether a version is from before the start of this process.
    pub fn is_from_before(&self, version: u64) -> bool {
        version <= self.born
    }

    fn bucket(&self, name: &Name, family: Family) -> usize {
        let mut hasher = DefaultHasher::new();
        (self.seed, name.as_wire(), family).hash(&mut hasher);
        hasher.finish() as usize % BUCKETS
    }

    fn get(&self, number: u64) -> Option<&Kept> {
        self.kept.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// The kept versions of a family, the latest first, each with its number.
    fn of(&self, name: &Name, family: Family, bucket: usize) -> impl Iterator<Item = (u64, &Kept)> {
        let latest = self.latest.get(bucket).copied().unwrap_or(0);
        let all = std::iter::successors(self.get(latest).map(|kept| (latest, kept)), |(_, kept)| {
            self.get(kept.previous).map(|before| (kept.previous, before))
        });
        all.filter(move |(_, kept)| kept.family == family && *kept.name == *name.as_wire())
    }

    /// When the set with a set version was published first, if that is kept.
    pub fn published_at(&self, name: &Name, family: Family, set_version: u64) -> Option<Monotonic> {
        let mut all = self.of(name, family, self.bucket(name, family));
        all.find(|(_, kept)| kept.trace.version == set_version).map(|(_, kept)| kept.trace.at)
    }

    /// Keeps a version that has just been published.
    pub fn note(&mut self, whose: Whose<'_>, set: &FamilyDraft, cause: Cause, now: Monotonic) {
        let Whose { name, family, had_before } = whose;
        let bucket = self.bucket(name, family);
        let before = self.of(name, family, bucket).next().map(|(_, kept)| kept.earlier);
        let earlier = match before {
            Some(Earlier { count, or_more }) => Earlier { count: count + 1, or_more },
            None => Earlier { count: u64::from(had_before), or_more: had_before },
        };
        self.push(Kept {
            trace: VersionTrace::of(set, cause, now),
            name: name.as_wire().into(),
            family,
            bucket,
            previous: 0,
            earlier,
        });
    }

    /// Keeps that a family's set was removed, if a version of it is kept.
    pub fn note_removal(&mut self, name: &Name, family: Family, cause: Cause, now: Monotonic) {
        let bucket = self.bucket(name, family);
        let Some((_, latest)) = self.of(name, family, bucket).next() else { return };
        if latest.trace.cause.is_removal() {
            return;
        }
        let trace = latest.trace.removal(cause, now);
        let earlier = Earlier { count: latest.earlier.count + 1, ..latest.earlier };
        self.push(Kept { trace, name: name.as_wire().into(), family, bucket, previous: 0, earlier });
    }

    /// Notes that everything was removed.
    pub fn note_flush(&mut self, now: Monotonic) {
        self.flushed = Some((now, self.next()));
    }

    /// The number of the next version.
    fn next(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    fn push(&mut self, mut kept: Kept) {
        let (octets, number) = (kept.octets(), self.next());
        if let Some(latest) = self.latest.get_mut(kept.bucket) {
            kept.previous = std::mem::replace(latest, number);
        }
        self.octets += octets;
        self.kept.push_back(kept);
        while (self.kept.len() > VERSIONS_MAX || self.octets > OCTETS_MAX)
            && let Some(oldest) = self.kept.pop_front()
        {
            self.octets -= oldest.octets();
            self.first += 1;
        }
    }

    /// The kept versions of a family, the oldest first, and how many came before them.
    pub fn history(&self, name: &Name, family: Family) -> (Vec<VersionTrace>, Earlier) {
        let bucket = self.bucket(name, family);
        let latest: Vec<_> = self.of(name, family, bucket).take(SHOWN_MAX).collect();
        let earlier = latest.last().map(|(_, kept)| kept.earlier).unwrap_or_default();
        let mut versions: Vec<VersionTrace> =
            latest.iter().rev().map(|(_, kept)| kept.trace.clone()).collect();
        if let Some((at, next)) = self.flushed {
            let before = latest.iter().filter(|(number, _)| *number < next).count();
            if let Some(last) = before.checked_sub(1).and_then(|last| versions.get(last))
                && !last.cause.is_removal()
            {
                versions.insert(before, last.removal(Cause::Flushed, at));
            }
        }
        (versions, earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    const NOW: Monotonic = Monotonic::from_ms(9);

    fn name(n: usize) -> Name {
        format!("n{n}.test").parse().expect("a name")
    }

    fn set(version: u64, addresses: u8) -> FamilyDraft {
        FamilyDraft::of(version, (0..addresses).map(|n| IpAddr::from([192, 0, 2, n])), 60_000, 60)
    }

    fn note(versions: &mut Versions, n: usize, version: u64, addresses: u8) {
        let whose = Whose { name: &name(n), family: Family::A, had_before: false };
        versions.note(whose, &set(version, addresses), Cause::First, NOW);
    }

    fn shown(versions: &Versions, n: usize) -> (Vec<u64>, u64, bool) {
        let (shown, earlier) = versions.history(&name(n), Family::A);
        (shown.iter().map(|trace| trace.version).collect(), earlier.count, earlier.or_more)
    }

    #[test]
    fn the_versions_of_a_name_come_in_their_order_and_those_of_others_do_not() {
        let mut versions = Versions::new(1, 0);
        for version in 1..=30 {
            note(&mut versions, version as usize % 3, version, 1);
        }
        assert_eq!(shown(&versions, 0), ((1..=10).map(|n| 3 * n).collect(), 0, false));
        assert_eq!(shown(&versions, 7), (Vec::new(), 0, false));
        assert!(versions.history(&name(0), Family::Aaaa).0.is_empty());
    }

    #[test]
    fn what_is_no_longer_kept_is_counted() {
        let mut versions = Versions::new(1, 0);
        (1..=5).for_each(|version| note(&mut versions, 1, version, 1));
        for version in 6..6 + VERSIONS_MAX as u64 - 3 {
            note(&mut versions, version as usize, version, 1);
        }
        assert_eq!(shown(&versions, 1), (vec![3, 4, 5], 2, false));
        (0..3).for_each(|n| note(&mut versions, 9, 20_000 + n, 1));
        assert_eq!(shown(&versions, 1), (Vec::new(), 0, false), "nothing is kept");
        // What came before is unknown then, but that something did is not.
        let whose = Whose { name: &name(1), family: Family::A, had_before: true };
        versions.note(whose, &set(30_000, 1), Cause::Ended, NOW);
        note(&mut versions, 1, 30_001, 1);
        assert_eq!(shown(&versions, 1), (vec![30_000, 30_001], 1, true));
    }

    #[test]
    fn versions_are_bounded_in_number_and_in_memory_and_so_is_what_is_shown() {
        let mut versions = Versions::new(1, 0);
        for version in 1..3 * VERSIONS_MAX as u64 {
            note(&mut versions, version as usize % 5, version, 255);
            let octets: usize = if version.is_multiple_of(999) || version < 9 {
                versions.kept.iter().map(Kept::octets).sum()
            } else {
                versions.octets
            };
            assert!(octets == versions.octets && octets <= OCTETS_MAX && versions.kept.len() <= VERSIONS_MAX);
        }
        let (shown, earlier) = versions.history(&name(1), Family::A);
        assert_eq!((shown.len(), shown[0].count, shown[0].addresses.len()), (64, 255, ADDRESSES_KEPT_MAX));
        assert_eq!(shown[0].version, 1 + 5 * earlier.count);
        let mut small = Versions::new(1, 0);
        (0..2 * VERSIONS_MAX).for_each(|n| note(&mut small, n, n as u64, 1));
        assert_eq!(small.kept.len(), VERSIONS_MAX, "small sets reach the number");
    }

    #[test]
    fn removals_stand_between_versions_and_once() {
        let mut versions = Versions::new(1, 0);
        versions.note_removal(&name(1), Family::A, Cause::Flushed, NOW);
        assert!(versions.kept.is_empty(), "nothing is known of the name");
        note(&mut versions, 1, 1, 2);
        (0..2).for_each(|_| versions.note_removal(&name(1), Family::A, Cause::Voided, NOW));
        note(&mut versions, 1, 5, 2);
        note(&mut versions, 2, 6, 2);
        versions.note_flush(NOW);
        note(&mut versions, 1, 9, 2);
        let causes = |n| versions.history(&name(n), Family::A).0.iter().map(|v| v.cause).collect::<Vec<_>>();
        assert_eq!(causes(1), [Cause::First, Cause::Voided, Cause::First, Cause::Flushed, Cause::First]);
        assert_eq!(causes(2), [Cause::First, Cause::Flushed]);
    }
}
