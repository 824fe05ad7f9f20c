//! The sets that wait for measurements: pure, fed with what the table holds, gives orders.

use super::rank::{Outcome, improves, order};
use super::schedule::Schedule;
use super::targets::may_be_probed;
use crate::config::Sort;
use hither_client::{Family, Monotonic, Name, Snapshot};
use hither_control::{Order, OrderedAddress};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Sets that wait at once; further ones are measured when they are published again.
const WAITING_MAX: usize = 16_384;

/// A set as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Set {
    generation: u64,
    set_version: u64,
    sorted: bool,
    addresses: Vec<IpAddr>,
}

#[derive(Debug, Default)]
pub(super) struct Sets {
    waiting: BTreeMap<(Name, Family), Set>,
    holders: BTreeMap<IpAddr, BTreeSet<(Name, Family)>>,
}

impl Sets {
    /// Takes up what a record holds; sets that can be ordered already come out as orders.
    pub fn saw(
        &mut self,
        snapshot: &Snapshot,
        generation: u64,
        (sort, schedule): (&Sort, &mut Schedule),
        now: Monotonic,
    ) -> Vec<Order> {
        let Ok(name) = Name::from_wire(snapshot.name()) else { return Vec::new() };
        let mut orders = Vec::new();
        for family in [Family::A, Family::Aaaa] {
            self.forget(&(name, family));
            let Some(view) = snapshot.family(family).filter(|view| view.len() >= 2 && !view.expired(now))
            else {
                continue;
            };
            let addresses: Vec<IpAddr> = view.addresses().map(|a| a.address).collect();
            let set = Set { generation, set_version: view.set_version(), sorted: view.sorted(), addresses };
            if !set.addresses.iter().any(|a| may_be_probed(*a, sort.private)) {
                continue;
            }
            let missing: Vec<IpAddr> = set
                .addresses
                .iter()
                .filter(|a| may_be_probed(**a, sort.private) && schedule.want(**a, now).is_none())
                .copied()
                .collect();
            if missing.is_empty() {
                orders.extend(ordered(&name, family, &set, (sort, schedule)));
            } else if self.waiting.len() < WAITING_MAX {
                for address in missing {
                    self.holders.entry(address).or_default().insert((name, family));
                }
                self.waiting.insert((name, family), set);
            }
        }
        orders
    }

    fn forget(&mut self, key: &(Name, Family)) {
        let Some(set) = self.waiting.remove(key) else { return };
        for address in set.addresses {
            if let Some(holders) = self.holders.get_mut(&address) {
                holders.remove(key);
                if holders.is_empty() {
                    self.holders.remove(&address);
                }
            }
        }
    }

    /// An address has been measured: the sets that waited for nothing else come out as orders.
    pub fn measured(&mut self, address: IpAddr, (sort, schedule): (&Sort, &Schedule)) -> Vec<Order> {
        let mut orders = Vec::new();
        for key in self.holders.remove(&address).unwrap_or_default() {
            let Some(set) = self.waiting.get(&key) else { continue };
            let waits = set
                .addresses
                .iter()
                .any(|a| self.holders.get(a).is_some_and(|holders| holders.contains(&key)));
            if !waits && let Some(set) = self.waiting.remove(&key) {
                orders.extend(ordered(&key.0, key.1, &set, (sort, schedule)));
            }
        }
        orders
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.holders.is_empty()
    }
}

/// The order of a set, if it is worth sending.
fn ordered(name: &Name, family: Family, set: &Set, (sort, schedule): (&Sort, &Schedule)) -> Option<Order> {
    let measured: Vec<(IpAddr, Outcome)> = set.addresses.iter().map(|a| (*a, schedule.known(a))).collect();
    if measured.iter().all(|(_, outcome)| *outcome == Outcome::Unmeasured) {
        return None;
    }
    if set.sorted && !improves(&measured, sort.hysteresis) {
        return None;
    }
    let addresses = order(&measured).into_iter().map(|(address, outcome)| match outcome {
        Outcome::Open(rtt) => {
            let rtt_us = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX - 2);
            OrderedAddress { address, rtt_us: Some(rtt_us), reachable: Some(true) }
        }
        Outcome::Unmeasured => OrderedAddress { address, rtt_us: None, reachable: None },
        Outcome::Refused | Outcome::Silent => {
            OrderedAddress { address, rtt_us: None, reachable: Some(false) }
        }
    });
    Some(Order {
        generation: set.generation,
        name: name.to_string(),
        rtype: if family == Family::A { "A" } else { "AAAA" }.to_owned(),
        set_version: set.set_version,
        addresses: addresses.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Found;
    use super::*;
    use crate::config::Config;
    use hither_table::{Address, Draft, FamilyDraft, Geometry, Key, Memory, Rtt, State, Writer};
    use std::time::Duration;

    const NOW: Monotonic = Monotonic::from_ms(1_000_000);

    fn snapshot(name: &str, ends: &[u8], sorted: bool) -> Snapshot {
        let geometry = Geometry { entries: 16 };
        let mut writer =
            Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10).expect("a table");
        let name: Name = name.parse().expect("a name");
        let address = |n: &u8| Address {
            address: IpAddr::from([198, 18, 0, *n]),
            rtt: Rtt::Unmeasured,
            chain: 0,
            upstreams: 1,
        };
        let set = FamilyDraft {
            version: 11,
            set_version: 11,
            round: 11,
            state: State::Complete,
            negative: None,
            sorted,
            expire_ms: NOW.as_ms() + 60_000,
            lifetime_s: 60,
            addresses: ends.iter().map(address).collect(),
            chains: Vec::new(),
            soa: None,
        };
        writer.put(&Draft { name, a: Some(set), aaaa: None }, NOW).expect("room");
        let mut out = Snapshot::new();
        assert!(writer.get(&Key::of(&name), &mut out));
        out
    }

    #[test]
    fn names_that_share_an_address_share_its_measurement() {
        let sort = Config::default().sort;
        let (mut sets, mut schedule) = (Sets::default(), Schedule::new(&sort, NOW));
        assert!(sets.saw(&snapshot("a.example", &[1, 2], false), 3, (&sort, &mut schedule), NOW).is_empty());
        assert!(sets.saw(&snapshot("b.example", &[2, 3], false), 3, (&sort, &mut schedule), NOW).is_empty());
        let (mut probes, mut orders) = (0, Vec::new());
        while let Some((address, _)) = schedule.next(NOW) {
            probes += 1;
            let IpAddr::V4(v4) = address else { panic!("no other was wanted") };
            let rtt = Duration::from_millis(u64::from(10 - v4.octets()[3]));
            assert!(schedule.result(address, Found::Open(rtt), NOW));
            orders.extend(sets.measured(address, (&sort, &schedule)));
        }
        assert_eq!((probes, orders.len(), sets.is_empty()), (3, 2, true));
        assert_eq!(orders[0].addresses[0].address, IpAddr::from([198, 18, 0, 2]));
        let again = sets.saw(&snapshot("c.example", &[3, 1], false), 3, (&sort, &mut schedule), NOW);
        assert_eq!(again.len(), 1, "what is known is not measured again");
    }

    #[test]
    fn what_needs_no_order_or_cannot_be_measured_is_left_alone() {
        let sort = Config::default().sort;
        let (mut sets, mut schedule) = (Sets::default(), Schedule::new(&sort, NOW));
        assert!(sets.saw(&snapshot("a.example", &[1], false), 3, (&sort, &mut schedule), NOW).is_empty());
        let later = Monotonic::from_ms(NOW.as_ms() + 60_000);
        assert!(
            sets.saw(&snapshot("b.example", &[1, 2], false), 3, (&sort, &mut schedule), later).is_empty()
        );
        assert!(sets.is_empty() && schedule.next(NOW).is_none());
    }

    #[test]
    fn a_newer_set_takes_the_place_of_the_one_that_waits() {
        let sort = Config::default().sort;
        let (mut sets, mut schedule) = (Sets::default(), Schedule::new(&sort, NOW));
        sets.saw(&snapshot("a.example", &[1, 2], false), 3, (&sort, &mut schedule), NOW);
        sets.saw(&snapshot("a.example", &[8, 9], false), 3, (&sort, &mut schedule), NOW);
        let mut orders = Vec::new();
        while let Some((address, _)) = schedule.next(NOW) {
            schedule.result(address, Found::Open(Duration::from_millis(1)), NOW);
            orders.extend(sets.measured(address, (&sort, &schedule)));
        }
        assert_eq!(orders.len(), 1);
        assert!(orders[0].addresses.iter().all(|a| a.address >= IpAddr::from([198, 18, 0, 8])));
        assert!(sets.is_empty());
    }
}
