//! The companions and their engine: what hosts publish, and what becomes of it. Content is signed, so it
//! stays as it is; it may be withheld, delayed, repeated, and come in any order.

use super::truth::name;
use hither_rounds::{Offer, OfferTimes};
use hither_table::{Family, FamilyDraft, Monotonic};

/// The names of the hosts.
pub const HOSTS: [&str; 2] = ["alpha", "beta"];

/// A set that a host has written.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: usize,
    pub offer: Offer,
}

/// The engine: all that was ever written, and what it says now on each side of a split.
#[derive(Debug)]
pub struct Engine {
    pub entries: Vec<Entry>,
    latest: [Vec<Option<usize>>; 2],
    pub is_split: bool,
}

impl Engine {
    pub fn new(names: usize) -> Engine {
        let latest = [vec![None; names], vec![None; names]];
        Engine { entries: Vec::new(), latest, is_split: false }
    }

    /// A host writes a set that its round, begun at `asked`, has gathered.
    pub fn write(&mut self, host: usize, n: usize, set: FamilyDraft, times: [Monotonic; 2]) -> usize {
        let [asked, learned] = times;
        let (expire_ms, lifetime_s) = (set.expire_ms, set.lifetime_s);
        let offer = Offer {
            name: name(n),
            family: Family::A,
            host: HOSTS[host].into(),
            said_by: vec!["192.0.2.1".into()],
            times: OfferTimes { asked, learned, expire_ms, lifetime_s },
            agreement: set.agreement,
            negative: set.negative,
            addresses: set.addresses,
            chains: set.chains,
            soa: set.soa,
        };
        self.entries.push(Entry { name: n, offer });
        let at = self.entries.len() - 1;
        for side in 0..2 {
            if side == host || !self.is_split {
                self.latest[side][n] = Some(at);
            }
        }
        at
    }

    /// What the engine says of a name to a host.
    pub fn latest(&self, host: usize, n: usize) -> Option<usize> {
        self.latest[host][n]
    }

    /// The oldest entry of a name.
    pub fn oldest(&self, n: usize) -> Option<usize> {
        self.entries.iter().position(|entry| entry.name == n)
    }

    /// The split ends: for each name, one of both sides is kept.
    pub fn heal(&mut self, mut keep: impl FnMut() -> usize) {
        self.is_split = false;
        for n in 0..self.latest[0].len() {
            let kept = self.latest[keep()][n];
            self.latest.iter_mut().for_each(|side| side[n] = kept);
        }
    }
}
