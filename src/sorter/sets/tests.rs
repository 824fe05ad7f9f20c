//! Sets beside a choice of probes whose probes are answered at once.

use super::super::probe_choice::{ProbeResult, Sent};
use super::*;
use crate::config::{Config, Probe};
use hither_control::{OrderedAddress, Verdict};
use hither_secure::Judgement;
use hither_table::{Address, Draft, FamilyDraft, Geometry, Key, Memory, Rtt, Trust, Writer};
use std::time::Duration;

const NOW: Monotonic = Monotonic::from_ms(1_000_000);

fn snapshot(name: &str, addresses: &[IpAddr], sorted: bool) -> Snapshot {
    snapshot_with(name, addresses, &[], sorted)
}

/// A record with extra addresses behind the others.
fn snapshot_with(name: &str, addresses: &[IpAddr], extra: &[IpAddr], sorted: bool) -> Snapshot {
    let geometry = Geometry { entries: 64 };
    let mut writer =
        Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10).expect("a table");
    let name: Name = name.parse().expect("a name");
    let address = |address: &IpAddr| Address {
        address: *address,
        rtt: if sorted { Rtt::Micros(1000) } else { Rtt::Unmeasured },
        chain: 0,
        upstreams: if extra.contains(address) { 1 } else { 1 | Address::TRUSTED },
        sources: 1,
        trust: Trust::Unknown,
    };
    let set = FamilyDraft {
        sorted,
        addresses: addresses.iter().chain(extra).map(address).collect(),
        ..FamilyDraft::of(11, [], NOW.as_ms() + 60_000, 60)
    };
    writer.put(&Draft { name, a: Some(set), aaaa: None }, NOW).expect("room");
    let mut out = Snapshot::new();
    assert!(writer.get(&Key::of(&name), &mut out));
    out
}

/// Sets, the choice of probes, and the table from which they come.
struct World {
    sets: Sets,
    choice: ProbeChoice,
    /// The record of each name.
    table: BTreeMap<Vec<u8>, Snapshot>,
    now: Monotonic,
    probes: Vec<IpAddr>,
    orders: Vec<Order>,
}

impl World {
    fn new(sort: Sort) -> World {
        let (table, probes, orders) = Default::default();
        let choice = ProbeChoice::new(&sort, NOW);
        World { sets: Sets::new(&sort), choice, table, now: NOW, probes, orders }
    }

    fn update(&mut self, name: &str, addresses: &[IpAddr], found_by: FoundBy) {
        self.update_with(snapshot(name, addresses, false), found_by);
    }

    fn update_with(&mut self, snapshot: Snapshot, found_by: FoundBy) {
        self.sets.update(&snapshot, found_by, &mut self.choice, self.now);
        self.table.insert(snapshot.name().to_vec(), snapshot);
    }

    fn send_orders(&mut self) {
        while let Some((number, name, _)) = self.sets.next_ready() {
            let order = self.sets.order(number, &self.table[&*name], 3, &self.choice, self.now);
            self.sets.note_ordered(number, order.is_some(), self.now);
            self.orders.extend(order);
        }
    }

    /// Lets this many milliseconds pass, in which every probe is answered at once.
    fn wait(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now = Monotonic(self.now.0 + 1_000_000);
            self.sets.on_time(self.now);
            while let Some(sent) = self.choice.next_probe(self.now) {
                let address = sent.address;
                self.probes.push(address);
                let IpAddr::V4(v4) = address else { panic!("no set has another family") };
                let rtt = Duration::from_millis(u64::from(255 - v4.octets()[3]));
                if self.choice.probe_ended(sent, ProbeResult::Answered(rtt), self.now) {
                    self.sets.measured(address, self.now);
                }
            }
            self.send_orders();
        }
    }

    fn is_at_rest(&self) -> bool {
        self.sets.is_empty() && self.choice.waiting() == 0
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
    world.update("a.example", &few(&[1, 2]), FoundBy::Change);
    world.update("b.example", &few(&[2, 3]), FoundBy::Change);
    world.wait(10);
    assert_eq!((world.probes.len(), world.orders.len(), world.is_at_rest()), (3, 2, true));
    assert_eq!(world.orders[0].addresses[0].address, ip(0, 2));
    assert_eq!(world.orders[1].addresses[0].address, ip(0, 3));
    world.update("c.example", &few(&[3, 1]), FoundBy::Change);
    world.wait(1);
    // It is in the best order already, and its order says so.
    assert_eq!((world.probes.len(), world.orders.len()), (3, 3), "known addresses are not measured again");
}

/// The daemon would put them behind again, and the sorter would send the same order again and again.
#[test]
fn extra_addresses_are_not_ordered_to_the_front() {
    let mut world = World::new(Config::default().sort);
    world.update_with(snapshot_with("a.example", &few(&[10, 20]), &few(&[30, 40]), false), FoundBy::Change);
    world.wait(10);
    let sent: Vec<IpAddr> = world.orders[0].addresses.iter().map(|a| a.address).collect();
    assert_eq!(sent, few(&[20, 10, 40, 30]));
    let is_sent_again = |first: &[u16], extra: &[u16]| {
        let record = snapshot_with("a.example", &few(first), &few(extra), true);
        let view = record.family(Family::A).expect("addresses");
        let measured = Measured::of(&view, record.name(), &world.choice, NOW);
        measured.is_worth_sending(&view, world.sets.hysteresis, true)
    };
    assert!(!is_sent_again(&[20, 10], &[40, 30]), "it is in the best order already");
    assert!(is_sent_again(&[10, 20], &[40, 30]) && is_sent_again(&[20, 10], &[30, 40]));
}

#[test]
fn sets_that_need_no_order_or_cannot_be_measured_are_ignored() {
    let mut world = World::new(Config::default().sort);
    world.update("a.example", &few(&[1]), FoundBy::Change);
    world.update("c.example", &["10.0.0.1", "127.0.0.1"].map(|a| a.parse().expect("one")), FoundBy::Change);
    world.now = Monotonic::from_ms(NOW.as_ms() + 60_000);
    world.update("b.example", &few(&[1, 2]), FoundBy::Change);
    assert!(world.is_at_rest());
}

#[test]
fn a_newer_set_replaces_the_one_that_waits() {
    let mut world = World::new(Config::default().sort);
    world.update("a.example", &few(&[1, 2]), FoundBy::Change);
    world.update("a.example", &few(&[8, 9]), FoundBy::Change);
    world.wait(10);
    assert_eq!((world.orders.len(), world.is_at_rest()), (1, true));
    assert!(world.orders[0].addresses.iter().all(|a| a.address >= ip(0, 8)));
    assert_eq!(world.probes.len(), 2, "addresses that no set has any more are not probed");
}

#[test]
fn sixteen_addresses_of_a_large_set_are_measured_and_its_order_has_all() {
    let mut world = World::new(Config::default().sort);
    let set = many(1, 250);
    world.update("a.example", &set, FoundBy::Change);
    world.wait(300);
    assert_eq!(world.probes.iter().copied().collect::<BTreeSet<_>>(), set[..16].iter().copied().collect());
    let order: Vec<IpAddr> = world.orders[0].addresses.iter().map(|a| a.address).collect();
    let expected: Vec<IpAddr> = set[..16].iter().rev().chain(&set[16..]).copied().collect();
    assert_eq!(order, expected, "the others follow in their places");
    assert!(world.orders[0].addresses[16..].iter().all(|a| a.reachable.is_none() && a.rtt_us.is_none()));
    world.update("a.example", &order, FoundBy::Change);
    world.update("a.example", &order, FoundBy::Walk);
    world.wait(300);
    assert_eq!((world.probes.len(), world.is_at_rest()), (16, true), "not sixteen more each time");
    world.update("b.example", &[&set[100..102], &set[..8]].concat(), FoundBy::Change);
    world.wait(300);
    assert_eq!(world.probes.len(), 18, "measurements for other sets count");
}

#[test]
fn thousands_of_large_sets_take_bounded_memory_and_small_ones_do_not_wait_for_them() {
    let mut world = World::new(Config::default().sort);
    for n in 0..2000 {
        world.update(&format!("n{n}.large.example"), &many(n, 250), FoundBy::Change);
        assert!(world.choice.waiting() <= WAITING_MAX && world.sets.sets.len() <= SETS_MAX);
        assert!(world.sets.waiting.len() <= SETS_MAX * PROBED_MAX);
    }
    let waiting = world.sets.sets.len() as u64;
    assert_eq!(waiting, WAITING_MAX as u64 / 16, "as many as fit");
    assert_eq!(world.sets.passed_over, 2000 - waiting);
    assert!(
        !world.sets.numbers.contains_key(&b"\x02n0\x05large\x07example\0"[..]),
        "the oldest was displaced"
    );
    // While more are published, a small set is still ordered, whether it is published or found by a walk.
    for (n, found_by) in [(1, FoundBy::Change), (5, FoundBy::Walk)] {
        world.update(&format!("s{n}.small.example"), &few(&[n, n + 1, n + 2, n + 3]), found_by);
        for more in 0..20 {
            world.update(&format!("more{more}.large.example"), &many(7000 + more, 250), FoundBy::Change);
            world.wait(5);
        }
        let of_small = |order: &&Order| order.name == format!("s{n}.small.example.");
        let ordered = world.orders.iter().rfind(of_small).expect("within a tenth of a second");
        assert!(ordered.addresses.iter().all(|address| address.reachable == Some(true)));
    }
    let before = world.orders.len();
    world.wait(2000);
    assert!(world.orders.len() > before + 20, "large sets are ordered too");
}

#[test]
fn large_sets_get_their_share_while_small_ones_keep_coming() {
    let mut world = World::new(Sort { rate: 1000, ..Config::default().sort });
    for n in 0..200 {
        // When probes are already scarce.
        if n == 50 {
            world.update("large.example", &many(1, 250), FoundBy::Change);
        }
        world.update(&format!("s{n}.example"), &many(10 + n, 4), FoundBy::Change);
        world.wait(1);
    }
    assert!(world.choice.waiting() > 500, "small sets wait");
    assert!(world.orders.iter().any(|order| order.name == "large.example."));
}

#[test]
fn an_address_of_many_names_waits_once_and_the_number_of_sets_has_its_own_bound() {
    let mut world = World::new(Config::default().sort);
    for n in 0..2 * SETS_MAX {
        world.update(&format!("n{n}.example"), &few(&[1, 2]), FoundBy::Change);
    }
    assert_eq!((world.sets.sets.len(), world.choice.waiting()), (SETS_MAX, 2));
    assert_eq!(world.sets.passed_over, SETS_MAX as u64);
    // Their orders are not sent.
    for address in few(&[1, 2]) {
        let sent = world.choice.next_probe(world.now).expect("a probe");
        assert!(world.choice.probe_ended(sent, ProbeResult::Answered(Duration::ZERO), world.now));
        world.sets.measured(address, world.now);
    }
    assert_eq!((world.sets.ready.len(), world.sets.sets.len()), (READY_MAX, READY_MAX));
    assert!(world.sets.is_backed_up());
    world.sets.drop_ready();
    assert!(world.is_at_rest());
}

#[test]
fn a_walk_lowers_no_priority_and_adds_the_sets_that_fit() {
    let mut world = World::new(Config::default().sort);
    world.update("a.example", &few(&[1, 2]), FoundBy::Change);
    world.update("b.example", &few(&[3, 4]), FoundBy::Change);
    world.update("b.example", &few(&[3, 4]), FoundBy::Walk);
    world.update("c.example", &few(&[5, 6]), FoundBy::Walk);
    let queue: Vec<&[u8]> =
        world.sets.queue.iter().map(|(_, number)| &world.sets.sets[*number].name[1..2]).collect();
    assert_eq!(queue, [b"c", b"a", b"b"], "the first would be displaced first");
    world.wait(1);
    assert_eq!((world.probes.clone(), world.orders.len()), (few(&[3, 4, 1, 2, 5, 6]), 3));
}

#[test]
fn in_another_network_all_measurements_are_stale_and_probes_in_flight_begin_anew() {
    let mut world = World::new(Config::default().sort);
    world.update("a.example", &few(&[1, 2]), FoundBy::Change);
    world.wait(5);
    world.update("b.example", &few(&[3, 4]), FoundBy::Change);
    let in_flight = world.choice.next_probe(world.now).expect("a probe");
    world.now = Monotonic(world.now.0 + 1);
    world.choice.network_changed();
    assert!(
        !world.choice.probe_ended(in_flight, ProbeResult::Answered(Duration::ZERO), world.now),
        "measured in another network"
    );
    world.update("a.example", &few(&[1, 2]), FoundBy::Walk);
    world.wait(100);
    assert_eq!(world.probes.len(), 2 + 4);
    assert!(world.is_at_rest());
}

#[test]
fn after_a_change_of_network_probes_stay_within_the_rate() {
    let mut world = World::new(Sort { rate: 50, ..Config::default().sort });
    for n in 0..300 {
        world.update(&format!("n{n}.example"), &many(n, 4), FoundBy::Change);
    }
    world.wait(30_000);
    for _ in 0..20 {
        world.choice.network_changed();
        let known: Vec<Snapshot> = world.table.values().cloned().collect();
        for snapshot in &known {
            world.sets.update(snapshot, FoundBy::Walk, &mut world.choice, world.now);
        }
        let before = world.probes.len();
        world.wait(100);
        assert!(world.probes.len() - before <= 20 + 5, "a burst and a tenth of a second at 50 a second");
    }
}

/// A set is ordered by what is known, not when its slowest address is.
#[test]
fn a_set_with_missing_addresses_is_ordered_by_those_that_are_known() {
    let mut world = World::new(Sort { probes: vec![Probe::Icmp], ..Config::default().sort });
    let addresses = few(&[1, 2, 3, 4, 5]);
    world.update("a.example", &addresses, FoundBy::Change);
    let sent: Vec<Sent> = std::iter::from_fn(|| world.choice.next_probe(world.now)).collect();
    assert_eq!(sent.len(), 5);
    let answer = |world: &mut World, nth: usize, rtt_ms: u64| {
        world.now = NOW.plus(Duration::from_millis(rtt_ms));
        let rtt = Duration::from_millis(rtt_ms);
        assert!(world.choice.probe_ended(sent[nth], ProbeResult::Answered(rtt), world.now));
        world.sets.measured(sent[nth].address, world.now);
        world.sets.on_time(world.now);
        world.send_orders();
        world.orders.len()
    };
    assert_eq!(answer(&mut world, 3, 10), 0, "one alone says nothing");
    assert_eq!(answer(&mut world, 1, 20), 1);
    let order = |world: &World, at: usize| -> Vec<IpAddr> {
        world.orders[at].addresses.iter().map(|a| a.address).collect()
    };
    assert_eq!(order(&world, 0), few(&[4, 2, 1, 3, 5]), "the others stay behind");
    assert_eq!(answer(&mut world, 4, 30), 1, "too early for another");
    world.now = world.sets.timeout().expect("a time");
    assert!(world.now < NOW.plus(Duration::from_millis(90)));
    world.sets.on_time(world.now);
    world.send_orders();
    assert_eq!(order(&world, 1), few(&[4, 2, 5, 1, 3]));
    // Its own order is published; what is missing stays missed.
    world.update_with(snapshot("a.example", &order(&world, 1), true), FoundBy::Change);
    for nth in [0, 2] {
        assert!(world.choice.probe_ended(sent[nth], ProbeResult::Silent, world.now));
        world.sets.measured(sent[nth].address, world.now);
    }
    world.send_orders();
    let last = world.orders.last().expect("orders");
    assert_eq!((world.orders.len(), last.addresses[4].reachable), (3, Some(false)));
    assert!(world.is_at_rest() && world.sets.timeout().is_none());
}

/// Judges every certificate that is wished for, by the last octet of the address.
fn judge(world: &mut World, name: &str, verdict: impl Fn(u8) -> Trust) {
    let name: Name = name.parse().expect("a name");
    world.choice.judging.note_clock(true);
    while let Some(sent) = world.choice.next_probe(world.now) {
        let IpAddr::V4(v4) = sent.address else { panic!("no set has another family") };
        let handshake = sent.handshake.expect("nothing else is due");
        let rtt = Duration::from_millis(u64::from(255 - v4.octets()[3]));
        world.choice.probe_ended(sent, ProbeResult::Answered(rtt), world.now);
        let judgement = Judgement::without_certificate(verdict(v4.octets()[3]));
        world.choice.judged(handshake, judgement, world.now);
    }
    while let Some(judged) = world.choice.judging.next_judged(world.now) {
        assert_eq!(*judged, *name.as_wire());
        let record = &world.table[&*judged];
        world.sets.update(record, FoundBy::Walk, &mut world.choice, world.now);
    }
    world.send_orders();
}

#[test]
fn an_order_does_not_wait_for_certificates_and_another_one_follows_them() {
    let mut world = World::new(Config::default().sort);
    let record = snapshot("www.example", &few(&[1, 2, 3, 4]), false);
    world.choice.judging.consider(&record, FoundBy::Change, |_| false, NOW);
    world.update_with(record, FoundBy::Change);
    world.wait(10);
    let ends = |order: &Order| {
        let end = |one: &OrderedAddress| one.address.to_string().rsplit('.').next().map(str::to_owned);
        order.addresses.iter().filter_map(end).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(world.orders.iter().map(ends).collect::<Vec<_>>(), ["4 3 2 1"], "the clock is not known yet");
    judge(&mut world, "www.example", |n| if n == 4 { Trust::OtherName } else { Trust::Verified });
    assert_eq!(world.orders.iter().map(ends).collect::<Vec<_>>().last().map(String::as_str), Some("3 2 1 4"));
    let verdicts: Vec<Verdict> = world.orders[1].addresses.iter().map(|one| one.verdict).collect();
    assert_eq!(verdicts, [Verdict::Verified, Verdict::Verified, Verdict::Verified, Verdict::OtherName]);
    assert_eq!(world.orders.len(), 2);
    assert!(world.is_at_rest());
}
