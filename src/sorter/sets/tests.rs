//! A world in which each probe is answered at once, and sets without end.

use super::super::schedule::Found;
use super::*;
use crate::config::Config;
use hither_table::{Address, Draft, FamilyDraft, Geometry, Key, Memory, Rtt, Writer};
use std::time::Duration;

const NOW: Monotonic = Monotonic::from_ms(1_000_000);

fn snapshot(name: &str, addresses: &[IpAddr], sorted: bool) -> Snapshot {
    snapshot_of(name, (addresses, &[]), sorted)
}

/// With addresses that one upstream alone gave behind the others.
fn snapshot_of(name: &str, (addresses, alone): (&[IpAddr], &[IpAddr]), sorted: bool) -> Snapshot {
    let geometry = Geometry { entries: 64 };
    let mut writer =
        Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10).expect("a table");
    let name: Name = name.parse().expect("a name");
    let address = |address: &IpAddr| Address {
        address: *address,
        rtt: Rtt::Unmeasured,
        chain: 0,
        upstreams: if alone.contains(address) { 1 } else { 1 | Address::TRUSTED },
    };
    let set = FamilyDraft {
        sorted,
        addresses: addresses.iter().chain(alone).map(address).collect(),
        ..FamilyDraft::of(11, [], (NOW.as_ms() + 60_000, 60))
    };
    writer.put(&Draft { name, a: Some(set), aaaa: None }, NOW).expect("room");
    let mut out = Snapshot::new();
    assert!(writer.get(&Key::of(&name), &mut out));
    out
}

/// A world of its own: sets, schedule and the settings.
struct World {
    sets: Sets,
    schedule: Schedule,
    sort: Sort,
    /// What each name holds.
    table: BTreeMap<Vec<u8>, Snapshot>,
    now: Monotonic,
    probes: Vec<IpAddr>,
    orders: Vec<Order>,
}

impl World {
    fn new(sort: Sort) -> World {
        let (table, probes, orders) = Default::default();
        World {
            sets: Sets::default(),
            schedule: Schedule::new(&sort, NOW),
            sort,
            table,
            now: NOW,
            probes,
            orders,
        }
    }

    fn saw(&mut self, name: &str, addresses: &[IpAddr], seen: Seen) {
        self.saw_it(snapshot(name, addresses, false), seen);
    }

    fn saw_it(&mut self, snapshot: Snapshot, seen: Seen) {
        self.sets.saw(&snapshot, seen, (&self.sort, &mut self.schedule), self.now);
        self.table.insert(snapshot.name().to_vec(), snapshot);
    }

    fn bring(&mut self) {
        while let Some((number, name, family)) = self.sets.ready() {
            let rules = (&self.sort, &self.schedule);
            self.orders.extend(ordered(&self.table[&*name], family, 3, rules, self.now));
            self.sets.sent(number);
        }
    }

    /// Lets so many milliseconds go by in which every probe is answered at once.
    fn wait(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now = Monotonic(self.now.0 + 1_000_000);
            while let Some((address, _)) = self.schedule.next(self.now) {
                self.probes.push(address);
                let IpAddr::V4(v4) = address else { panic!("no other was wanted") };
                let rtt = Duration::from_millis(u64::from(255 - v4.octets()[3]));
                if self.schedule.result(address, Found::Open(rtt), self.now) {
                    self.sets.measured(address);
                }
            }
            self.bring();
        }
    }

    fn is_at_rest(&self) -> bool {
        self.sets.is_empty() && self.schedule.measuring() == 0
    }
}

fn ip(high: u16, low: u16) -> IpAddr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    IpAddr::from([20 + a, b, c, d])
}

fn few(ends: &[u16]) -> Vec<IpAddr> {
    ends.iter().map(|end| ip(0, *end)).collect()
}

/// Addresses that no other name has.
fn many(name: u16, count: u16) -> Vec<IpAddr> {
    (0..count).map(|n| ip(1000 + name, n)).collect()
}

#[test]
fn names_that_share_an_address_share_its_measurement() {
    let mut world = World::new(Config::default().sort);
    world.saw("a.example", &few(&[1, 2]), Seen::Published);
    world.saw("b.example", &few(&[2, 3]), Seen::Published);
    world.wait(10);
    assert_eq!((world.probes.len(), world.orders.len(), world.is_at_rest()), (3, 2, true));
    assert_eq!(world.orders[0].addresses[0].address, ip(0, 2));
    assert_eq!(world.orders[1].addresses[0].address, ip(0, 3));
    world.saw("c.example", &few(&[3, 1]), Seen::Published);
    world.wait(1);
    // It stands in the best order already, and an order says so.
    assert_eq!((world.probes.len(), world.orders.len()), (3, 3), "what is known is not measured again");
}

/// The daemon would have it behind again, and the sorter send it again, for ever.
#[test]
fn what_one_upstream_alone_gave_is_not_ordered_to_the_front() {
    let mut world = World::new(Config::default().sort);
    world.saw_it(snapshot_of("a.example", (&few(&[10, 20]), &few(&[30, 40])), false), Seen::Published);
    world.wait(10);
    let sent: Vec<IpAddr> = world.orders[0].addresses.iter().map(|a| a.address).collect();
    assert_eq!(sent, few(&[20, 10, 40, 30]));
    let again = |first: &[u16], alone: &[u16]| {
        let stands = snapshot_of("a.example", (&few(first), &few(alone)), true);
        ordered(&stands, Family::A, 3, (&world.sort, &world.schedule), world.now).is_some()
    };
    assert!(!again(&[20, 10], &[40, 30]), "it is as it should be");
    assert!(again(&[10, 20], &[40, 30]) && again(&[20, 10], &[30, 40]));
}

#[test]
fn what_needs_no_order_or_cannot_be_measured_is_left_alone() {
    let mut world = World::new(Config::default().sort);
    world.saw("a.example", &few(&[1]), Seen::Published);
    world.saw("c.example", &["10.0.0.1", "127.0.0.1"].map(|a| a.parse().expect("one")), Seen::Published);
    world.now = Monotonic::from_ms(NOW.as_ms() + 60_000);
    world.saw("b.example", &few(&[1, 2]), Seen::Published);
    assert!(world.is_at_rest());
}

#[test]
fn a_newer_set_takes_the_place_of_the_one_that_waits() {
    let mut world = World::new(Config::default().sort);
    world.saw("a.example", &few(&[1, 2]), Seen::Published);
    world.saw("a.example", &few(&[8, 9]), Seen::Published);
    world.wait(10);
    assert_eq!((world.orders.len(), world.is_at_rest()), (1, true));
    assert!(world.orders[0].addresses.iter().all(|a| a.address >= ip(0, 8)));
    assert_eq!(world.probes.len(), 2, "what nobody wants any more is not probed");
}

#[test]
fn of_a_large_set_sixteen_are_measured_and_the_order_has_all() {
    let mut world = World::new(Config::default().sort);
    let set = many(1, 250);
    world.saw("a.example", &set, Seen::Published);
    world.wait(1000);
    assert_eq!(world.probes.iter().copied().collect::<BTreeSet<_>>(), set[..16].iter().copied().collect());
    let order: Vec<IpAddr> = world.orders[0].addresses.iter().map(|a| a.address).collect();
    let expected: Vec<IpAddr> = set[..16].iter().rev().chain(&set[16..]).copied().collect();
    assert_eq!(order, expected, "the others keep their places behind");
    assert!(world.orders[0].addresses[16..].iter().all(|a| a.reachable.is_none() && a.rtt_us.is_none()));
    world.saw("a.example", &order, Seen::Published);
    world.saw("a.example", &order, Seen::Found);
    world.wait(1000);
    assert_eq!((world.probes.len(), world.is_at_rest()), (16, true), "not sixteen more each time");
    world.saw("b.example", &[&set[100..102], &set[..8]].concat(), Seen::Published);
    world.wait(1000);
    assert_eq!(world.probes.len(), 18, "what others have measured counts");
}

#[test]
fn thousands_of_large_sets_take_bounded_room_and_short_ones_do_not_wait_for_them() {
    let mut world = World::new(Config::default().sort);
    for n in 0..2000 {
        world.saw(&format!("n{n}.large.example"), &many(n, 250), Seen::Published);
        assert!(world.schedule.measuring() <= MEASURING_MAX && world.sets.sets.len() <= SETS_MAX);
        assert!(world.sets.holders.len() <= SETS_MAX * PROBED_MAX);
    }
    let waiting = world.sets.sets.len() as u64;
    assert_eq!(waiting, MEASURING_MAX as u64 / 16, "as many as there is room for");
    assert_eq!(world.sets.passed_over, 2000 - waiting);
    assert!(!world.sets.numbers.contains_key(&b"\x02n0\x05large\x07example\0"[..]), "the oldest went");
    // While more come, one that is short is ordered all the same, found by a walk or published.
    for (n, seen) in [(1, Seen::Published), (5, Seen::Found)] {
        world.saw(&format!("s{n}.short.example"), &few(&[n, n + 1, n + 2, n + 3]), seen);
        for more in 0..20 {
            world.saw(&format!("more{more}.large.example"), &many(7000 + more, 250), Seen::Published);
            world.wait(5);
        }
        let of_short = |order: &&Order| order.name == format!("s{n}.short.example.");
        assert_eq!(world.orders.iter().filter(of_short).count(), 1, "within a tenth of a second");
    }
    let before = world.orders.len();
    world.wait(2000);
    assert!(world.orders.len() > before + 20, "large ones are ordered too");
}

#[test]
fn while_short_sets_never_end_long_ones_have_their_share() {
    let mut world = World::new(Sort { rate: 1000, ..Config::default().sort });
    for n in 0..200 {
        // Not before probes are short.
        if n == 50 {
            world.saw("long.example", &many(1, 250), Seen::Published);
        }
        world.saw(&format!("s{n}.example"), &many(10 + n, 4), Seen::Published);
        world.wait(1);
    }
    assert!(world.schedule.measuring() > 500, "short ones wait");
    assert!(world.orders.iter().any(|order| order.name == "long.example."));
}

#[test]
fn one_address_of_all_names_costs_one_place_and_names_have_a_bound_of_their_own() {
    let mut world = World::new(Config::default().sort);
    for n in 0..2 * SETS_MAX {
        world.saw(&format!("n{n}.example"), &few(&[1, 2]), Seen::Published);
    }
    assert_eq!((world.sets.sets.len(), world.schedule.measuring()), (SETS_MAX, 2));
    assert_eq!(world.sets.passed_over, SETS_MAX as u64);
    // Nobody takes their orders.
    for address in few(&[1, 2]) {
        assert!(world.schedule.next(world.now).is_some());
        assert!(world.schedule.result(address, Found::Open(Duration::ZERO), world.now));
        world.sets.measured(address);
    }
    assert_eq!((world.sets.ready.len(), world.sets.sets.len()), (READY_MAX, READY_MAX));
    assert!(world.sets.is_backed_up());
    world.sets.forget_ready();
    assert!(world.is_at_rest());
}

#[test]
fn a_walk_puts_nobody_further_back_and_lets_in_whom_there_is_room_for() {
    let mut world = World::new(Config::default().sort);
    world.saw("a.example", &few(&[1, 2]), Seen::Published);
    world.saw("b.example", &few(&[3, 4]), Seen::Published);
    world.saw("b.example", &few(&[3, 4]), Seen::Found);
    world.saw("c.example", &few(&[5, 6]), Seen::Found);
    let line: Vec<&[u8]> =
        world.sets.line.iter().map(|(_, number)| &world.sets.sets[*number].name[1..2]).collect();
    assert_eq!(line, [b"c", b"a", b"b"], "who would have to go first");
    world.wait(1);
    assert_eq!((world.probes.clone(), world.orders.len()), (few(&[3, 4, 1, 2, 5, 6]), 3));
}

#[test]
fn another_network_makes_all_that_is_known_stale_and_what_is_on_its_way_begins_anew() {
    let mut world = World::new(Config::default().sort);
    world.saw("a.example", &few(&[1, 2]), Seen::Published);
    world.wait(5);
    world.saw("b.example", &few(&[3, 4]), Seen::Published);
    let (flying, _) = world.schedule.next(world.now).expect("a probe");
    world.now = Monotonic(world.now.0 + 1);
    world.schedule.network_changed();
    assert!(!world.schedule.result(flying, Found::Open(Duration::ZERO), world.now), "measured elsewhere");
    world.saw("a.example", &few(&[1, 2]), Seen::Found);
    world.wait(100);
    assert_eq!(world.probes.len(), 2 + 4);
    assert!(world.is_at_rest());
}

#[test]
fn after_a_change_of_network_probes_stay_within_the_rate() {
    let mut world = World::new(Sort { rate: 50, ..Config::default().sort });
    for n in 0..300 {
        world.saw(&format!("n{n}.example"), &many(n, 4), Seen::Published);
    }
    world.wait(30_000);
    for _ in 0..20 {
        world.schedule.network_changed();
        let known: Vec<Snapshot> = world.table.values().cloned().collect();
        for snapshot in &known {
            world.sets.saw(snapshot, Seen::Found, (&world.sort, &mut world.schedule), world.now);
        }
        let before = world.probes.len();
        world.wait(100);
        assert!(world.probes.len() - before <= 20 + 5, "a burst and a tenth of a second at 50 a second");
    }
}
