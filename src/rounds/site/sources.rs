//! Who gave the sets of the site: host names by the number that their rounds have, and the upstreams that
//! the host of a set had asked. Both are bounded, and serve people only.

use super::known::hash_of;
use crate::offer::Offer;
use hither_table::Family;
use hither_wire::name::Name;
use std::collections::{BTreeMap, VecDeque};

/// Hosts whose names are kept; the one that came first goes first.
const HOSTS_MAX: usize = 1024;
/// Sets whose upstreams are kept: by a hash of the question, so a later one may take the place.
const SETS_MAX: usize = 1024;

/// Where a set of the site comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SiteOrigin {
    /// The hosts that may have learned it: one, unless two names have the same number; none if it is not
    /// known any more.
    pub hosts: Vec<Box<str>>,
    /// The upstreams that gave it, as that host names them; none if it is not known any more.
    pub said_by: Vec<Box<str>>,
}

/// The number of a host among the rounds of the site: the same in every process (FNV-1a).
pub(super) fn number_of(host: &str) -> u16 {
    let start = 0xcbf2_9ce4_8422_2325_u64;
    let hash =
        host.bytes().fold(start, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3));
    (hash ^ hash >> 16 ^ hash >> 32 ^ hash >> 48) as u16
}

/// The upstreams that gave a set, by the hash of its question and the number of its host.
#[derive(Debug)]
struct Said {
    hash: u64,
    number: u16,
    by: Vec<Box<str>>,
}

/// The names that are kept.
#[derive(Debug, Default)]
pub(super) struct Sources {
    hosts: BTreeMap<u16, Vec<Box<str>>>,
    /// The hosts in the order in which they came.
    order: VecDeque<u16>,
    said: Vec<Option<Said>>,
}

impl Sources {
    /// Notes who gave an offer, whose names have been checked.
    pub fn note(&mut self, seed: u64, offer: &Offer) {
        let number = number_of(&offer.host);
        let hosts = self.hosts.entry(number).or_default();
        if !hosts.contains(&offer.host) {
            hosts.push(offer.host.clone());
            self.order.push_back(number);
        }
        if self.order.len() > HOSTS_MAX
            && let Some(oldest) = self.order.pop_front()
            && let Some(hosts) = self.hosts.get_mut(&oldest)
        {
            hosts.remove(0);
            if hosts.is_empty() {
                self.hosts.remove(&oldest);
            }
        }
        if self.said.is_empty() {
            self.said.resize_with(SETS_MAX, || None);
        }
        let hash = hash_of(seed, &offer.name, offer.family);
        if let Some(place) = self.said.get_mut(hash as usize % SETS_MAX) {
            *place = Some(Said { hash, number, by: offer.said_by.clone() });
        }
    }

    /// Who gave the set of a question that has the round of this number.
    pub fn origin(&self, seed: u64, name: &Name, family: Family, number: u16) -> SiteOrigin {
        let hash = hash_of(seed, name, family);
        let said = self.said.get(hash as usize % SETS_MAX).and_then(Option::as_ref);
        let said = said.filter(|said| said.hash == hash && said.number == number);
        SiteOrigin {
            hosts: self.hosts.get(&number).cloned().unwrap_or_default(),
            said_by: said.map(|said| said.by.clone()).unwrap_or_default(),
        }
    }
}
