//! What changed in the table since the view began: published versions, and addresses that went out of
//! reach. Nothing here is read from the table; memory is bounded whatever arrives.

use hither_client::{Address, Family, FamilyView, Monotonic, Name, Rtt, Snapshot};
use serde::Serialize;
use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash as _, Hasher as _};
use std::net::IpAddr;

/// Changes that are kept.
const CHANGES_MAX: usize = 500;
/// Addresses out of reach that are kept.
const LOST_MAX: usize = 500;
/// Sets whose last state is remembered, to see what the next version of each changes.
const REMEMBERED_MAX: usize = 4096;

/// What a version changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// The set of addresses.
    Set,
    /// Only the order of the addresses, or what is known of each.
    Order,
    /// Neither: the set lives longer.
    Renewed,
    /// The addresses are gone: the name or the type is denied.
    Denied,
}

impl What {
    pub fn as_str(self) -> &'static str {
        match self {
            What::Set => "set",
            What::Order => "order",
            What::Renewed => "renewed",
            What::Denied => "denied",
        }
    }
}

/// One published version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Change {
    pub name: String,
    pub family: Family,
    pub version: u64,
    pub what: What,
    /// When it was seen.
    pub at: Monotonic,
}

/// An address that went out of reach.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Lost {
    pub name: String,
    pub address: IpAddr,
    pub at: Monotonic,
}

/// The latest changes, the newest first.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub latest: VecDeque<Change>,
    pub lost: VecDeque<Lost>,
    /// Changes of the latest sample that were not read, since there were too many.
    pub unread: u64,
    sets: Remembered,
}

/// The last state of sets, as long as there is space.
#[derive(Debug, Default)]
struct Remembered {
    known: HashMap<(Vec<u8>, Family), Known>,
    /// In the order in which they came, the oldest first.
    order: VecDeque<(Vec<u8>, Family)>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Known {
    /// A hash of the addresses and what is known of each, in order.
    order: u64,
    is_negative: bool,
    unreachable: Vec<IpAddr>,
}

impl Changes {
    /// Takes the record of a change: the family that was published last is the one that changed.
    pub fn take(&mut self, record: &Snapshot, at: Monotonic) {
        let newest = [Family::A, Family::Aaaa]
            .into_iter()
            .filter_map(|family| Some((family, record.family(family)?)))
            .max_by_key(|(_, view)| view.version());
        let Some((family, view)) = newest else { return };
        let key = (record.name().to_vec(), family);
        let now = Known::of(&view);
        let before = self.sets.known.get(&key);
        let what = what(&view, &now, before);
        let name = Name::from_wire(record.name()).map_or_else(|_| "?".to_owned(), |name| name.to_string());
        let was_out = |address: &&IpAddr| before.is_none_or(|known| !known.unreachable.contains(address));
        let lost: Vec<IpAddr> = now.unreachable.iter().filter(was_out).copied().collect();
        for address in lost {
            push(&mut self.lost, Lost { name: name.clone(), address, at }, LOST_MAX);
        }
        if before.is_some_and(|known| !known.unreachable.is_empty()) {
            // An address that answers again, or that the name no longer has, is not out of reach.
            let is_other = |lost: &Lost| lost.name != name || Family::of(&lost.address) != family;
            self.lost.retain(|lost| is_other(lost) || now.unreachable.contains(&lost.address));
        }
        push(&mut self.latest, Change { name, family, version: view.version(), what, at }, CHANGES_MAX);
        self.sets.put(key, now);
    }
}

fn push<T>(list: &mut VecDeque<T>, one: T, max: usize) {
    list.truncate(max - 1);
    list.push_front(one);
}

fn what(view: &FamilyView<'_>, now: &Known, before: Option<&Known>) -> What {
    match before {
        Some(before) if before == now => What::Renewed,
        _ if now.is_negative => What::Denied,
        _ if view.version() == view.set_version() => What::Set,
        Some(_) => What::Order,
        // A later round than the one that brought the set has found the same set.
        None if view.round() > view.set_version() => What::Renewed,
        None => What::Order,
    }
}

impl Known {
    fn of(view: &FamilyView<'_>) -> Known {
        let mut order = DefaultHasher::new();
        let is_out = |own: &Address| own.rtt == Rtt::Unreachable;
        let mut unreachable = Vec::new();
        for own in view.addresses() {
            (own.address, is_out(&own), own.trust).hash(&mut order);
            unreachable.extend(is_out(&own).then_some(own.address));
        }
        Known { order: order.finish(), is_negative: view.negative().is_some(), unreachable }
    }
}

impl Remembered {
    fn put(&mut self, key: (Vec<u8>, Family), known: Known) {
        if self.known.insert(key.clone(), known).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}
