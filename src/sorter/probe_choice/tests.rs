//! Tests of the choice of probes, with the times and results that a test gives.

use super::*;
use crate::config::Config;
use crate::sorter::sets::FoundBy;
use hither_client::Snapshot;
use hither_secure::Judgement;
use hither_table::{Draft, FamilyDraft, Geometry, Key, Memory, Trust, Writer};

fn sort(probes: &[Probe], rate: u32) -> Sort {
    Sort { probes: probes.to_vec(), rate, ..Config::default().sort }
}

fn ip(n: u16) -> IpAddr {
    let [high, low] = n.to_be_bytes();
    IpAddr::from([198, 18, high, low])
}

const fn at(ms: u64) -> Monotonic {
    Monotonic::from_ms(1_000_000 + ms)
}

const SMALL: Priority = Priority { size: SetSize::Small, recency: 0, address: 0 };

impl ProbeChoice {
    /// The next probe, which there must be.
    fn next(&mut self, now: Monotonic) -> Sent {
        self.next_probe(now).expect("a probe")
    }

    /// The outcome of an address if it is settled; otherwise the address is enqueued, as a set does it.
    fn settled_or_enqueued(&mut self, address: IpAddr, now: Monotonic) -> Option<Outcome> {
        if self.check_settled(&address, now) {
            return Some(self.outcome(&address));
        }
        self.enqueue(address, SMALL);
        None
    }
}

#[test]
fn a_silent_address_costs_one_probe_a_method_and_period_however_many_sets_have_it() {
    let methods = [Probe::Icmp, Probe::Tcp(443), Probe::Tcp(80)];
    let mut choice = ProbeChoice::new(&sort(&methods, 1000), at(0));
    let mut sent = Vec::new();
    for round in 0..50 {
        for n in 0..8 {
            choice.settled_or_enqueued(ip(n), at(round));
        }
        while let Some(probe) = choice.next_probe(at(round)) {
            sent.push(probe);
            choice.probe_ended(probe, ProbeResult::Silent, at(round));
        }
    }
    assert_eq!(sent.len(), 8 * 3);
    assert_eq!(choice.outcome(&ip(3)), Outcome::Silent);
    assert_eq!(choice.settled_or_enqueued(ip(3), at(599_000)), Some(Outcome::Silent));
    assert_eq!(choice.settled_or_enqueued(ip(3), at(700_000)), None, "a new period");
}

#[test]
fn no_method_is_tried_after_one_that_was_answered() {
    let mut choice = ProbeChoice::new(&sort(&[Probe::Icmp, Probe::Tcp(443), Probe::Tcp(80)], 100), at(0));
    choice.settled_or_enqueued(ip(1), at(0));
    let first = choice.next(at(0));
    assert_eq!((first.address, first.probe), (ip(1), Probe::Icmp));
    assert!(!choice.probe_ended(first, ProbeResult::Refused, at(1)));
    let second = choice.next(at(1));
    assert_eq!((second.address, second.probe), (ip(1), Probe::Tcp(443)));
    assert!(choice.probe_ended(second, ProbeResult::Answered(Duration::from_millis(7)), at(8)));
    assert_eq!(choice.next_probe(at(9)), None);
    assert_eq!(choice.outcome(&ip(1)), Outcome::Answered(Duration::from_millis(7)));
}

#[test]
fn a_refusal_counts_more_than_a_later_silence() {
    let mut choice = ProbeChoice::new(&sort(&[Probe::Tcp(443), Probe::Tcp(80)], 100), at(0));
    choice.settled_or_enqueued(ip(1), at(0));
    for result in [ProbeResult::Refused, ProbeResult::Silent] {
        let sent = choice.next(at(0));
        choice.probe_ended(sent, result, at(0));
    }
    assert_eq!(choice.outcome(&ip(1)), Outcome::Refused);
}

#[test]
fn a_probe_that_could_not_be_sent_replaces_no_measurement() {
    let mut choice = ProbeChoice::new(&sort(&[Probe::Icmp, Probe::Tcp(443)], 100), at(0));
    let probe = |choice: &mut ProbeChoice, results: [ProbeResult; 2], ms: u64| {
        assert_eq!(choice.settled_or_enqueued(ip(1), at(ms)), None);
        for result in results {
            let sent = choice.next(at(ms));
            if choice.probe_ended(sent, result, at(ms)) {
                return;
            }
        }
    };
    probe(&mut choice, [ProbeResult::Answered(Duration::from_millis(7)); 2], 0);
    probe(&mut choice, [ProbeResult::NotSent; 2], 700_000);
    assert_eq!(choice.outcome(&ip(1)), Outcome::Answered(Duration::from_millis(7)));
    choice.network_changed();
    probe(&mut choice, [ProbeResult::NotSent; 2], 700_001);
    assert_eq!(choice.outcome(&ip(1)), Outcome::Unmeasured, "measured in another network");
}

#[test]
fn a_measurement_does_not_count_in_another_network() {
    let mut choice = ProbeChoice::new(&sort(&[Probe::Icmp], 100), at(0));
    choice.settled_or_enqueued(ip(1), at(0));
    let sent = choice.next(at(0));
    assert!(choice.probe_ended(sent, ProbeResult::Silent, at(1)));
    // Noticed in the same turn, at the same time.
    choice.network_changed();
    assert_eq!(choice.settled_or_enqueued(ip(1), at(1)), None, "measured in the network before");
    let sent = choice.next(at(1));
    assert!(choice.probe_ended(sent, ProbeResult::Silent, at(1)));
    assert_eq!(choice.settled_or_enqueued(ip(1), at(1)), Some(Outcome::Silent));
}

#[test]
fn probes_are_bounded_in_rate_and_in_flight() {
    let mut choice = ProbeChoice::new(&sort(&[Probe::Icmp], 50), at(0));
    (0..2000).for_each(|n| assert_eq!(choice.settled_or_enqueued(ip(n), at(0)), None));
    let mut sent = 0;
    for ms in 0..2000 {
        while let Some(probe) = choice.next_probe(at(ms)) {
            sent += 1;
            choice.probe_ended(probe, ProbeResult::Silent, at(ms));
        }
    }
    assert!((100..=125).contains(&sent), "{sent} in two seconds at 50 a second");
    let mut choice = ProbeChoice::new(&sort(&[Probe::Icmp], 100_000), at(0));
    (0..2000).for_each(|n| assert_eq!(choice.settled_or_enqueued(ip(n), at(0)), None));
    let mut in_flight = 0;
    for ms in 0..100 {
        while choice.next_probe(at(ms)).is_some() {
            in_flight += 1;
        }
    }
    assert_eq!(in_flight, IN_FLIGHT_MAX);
}

#[test]
fn silent_addresses_of_large_sets_do_not_hold_up_those_of_small_sets() {
    let mut choice = ProbeChoice::new(&sort(&[Probe::Icmp], 100_000), at(0));
    (0..2000).for_each(|n| choice.enqueue(ip(n), Priority { size: SetSize::Large, ..SMALL }));
    let mut in_flight = 0;
    for ms in 0..100 {
        while choice.next_probe(at(ms)).is_some() {
            in_flight += 1;
        }
    }
    assert_eq!((in_flight, choice.timeout()), (LARGE_IN_FLIGHT_MAX, None));
    choice.enqueue(ip(3000), SMALL);
    assert_eq!(choice.next(at(100)).address, ip(3000));
}

#[test]
fn a_full_queue_still_raises_the_priority_of_a_waiting_address() {
    let mut choice = ProbeChoice::new(&sort(&[Probe::Icmp], 100), at(0));
    let large = Priority { size: SetSize::Large, ..SMALL };
    (0..WAITING_MAX).for_each(|n| choice.enqueue(ip(n as u16), large));
    // The queue is full, and this address is in it.
    choice.enqueue(ip(7), SMALL);
    assert_eq!(choice.next(at(0)).address, ip(7));
    choice.dequeue(&ip(7));
    assert_eq!(choice.waiting(), WAITING_MAX, "its probe is in flight");
    choice.dequeue(&ip(8));
    assert_eq!((choice.waiting(), choice.is_waiting(&ip(8))), (WAITING_MAX - 1, false));
}

#[test]
fn without_a_method_no_address_is_measured_or_waits() {
    let mut choice = ProbeChoice::new(&sort(&[Probe::Icmp], 50), at(0));
    choice.leave_out(Probe::Icmp);
    assert_eq!(choice.settled_or_enqueued(ip(1), at(0)), Some(Outcome::Unmeasured));
    assert_eq!((choice.next_probe(at(0)), choice.timeout()), (None, None));
}

#[test]
fn the_next_method_is_tried_beside_one_that_takes_long() {
    let mut choice = ProbeChoice::new(&sort(&[Probe::Icmp, Probe::Tcp(443)], 100), at(0));
    choice.settled_or_enqueued(ip(1), at(0));
    let echo = choice.next(at(0));
    let impatient_at = choice.timeout().expect("a time");
    assert!(impatient_at > at(20) && impatient_at < at(200), "{impatient_at:?}");
    assert_eq!(choice.next_probe(at(10)), None);
    let connection = choice.next(impatient_at);
    assert_eq!((connection.address, connection.probe), (ip(1), Probe::Tcp(443)));
    assert_eq!((choice.next_probe(at(400)), choice.timeout()), (None, None), "all methods are tried");
    assert!(choice.probe_ended(connection, ProbeResult::Answered(Duration::from_millis(9)), at(400)));
    assert!(!choice.probe_ended(echo, ProbeResult::Silent, at(1000)), "it ends later, and counts no more");
    assert_eq!(choice.outcome(&ip(1)), Outcome::Answered(Duration::from_millis(9)));
    assert_eq!((choice.in_flight, choice.waiting()), (0, 0));
}

#[test]
fn an_address_is_silent_once_all_of_its_methods_are() {
    let mut choice = ProbeChoice::new(&sort(&[Probe::Icmp, Probe::Tcp(443)], 100), at(0));
    choice.settled_or_enqueued(ip(1), at(0));
    let (echo, connection) = (choice.next(at(0)), choice.next(at(250)));
    assert!(!choice.probe_ended(echo, ProbeResult::Silent, at(1000)));
    assert_eq!((choice.outcome(&ip(1)), choice.waiting()), (Outcome::Unmeasured, 1));
    assert!(choice.probe_ended(connection, ProbeResult::Silent, at(1250)));
    assert_eq!((choice.outcome(&ip(1)), choice.waiting()), (Outcome::Silent, 0));
}

#[test]
fn results_of_an_earlier_measurement_do_not_count_for_the_next() {
    let mut choice = ProbeChoice::new(&sort(&[Probe::Icmp, Probe::Tcp(443)], 100), at(0));
    choice.settled_or_enqueued(ip(1), at(0));
    let (echo, connection) = (choice.next(at(0)), choice.next(at(250)));
    assert!(choice.probe_ended(connection, ProbeResult::Answered(Duration::from_millis(9)), at(260)));
    choice.enqueue(ip(1), SMALL);
    let again = choice.next(at(300));
    assert!(!choice.probe_ended(echo, ProbeResult::Refused, at(310)));
    assert!(choice.probe_ended(again, ProbeResult::Answered(Duration::from_millis(8)), at(320)));
    assert_eq!(choice.in_flight, 0);
}

#[test]
fn the_first_samples_follow_each_other_soon_and_later_ones_do_not() {
    let mut choice = ProbeChoice::new(&sort(&[Probe::Icmp], 100), at(0));
    let mut sampled = Vec::new();
    for second in 0..700 {
        let now = at(second * 1000);
        if choice.settled_or_enqueued(ip(1), now).is_none() {
            let sent = choice.next(now);
            choice.probe_ended(sent, ProbeResult::Answered(Duration::from_millis(20)), now);
            sampled.push(second);
        }
    }
    assert_eq!(sampled, [0, 1, 5, 20, 80, 680]);
}

#[test]
fn no_sample_follows_soon_where_probes_cannot_be_sent() {
    let mut choice = ProbeChoice::new(&sort(&[Probe::Icmp], 100), at(0));
    let mut probes = 0;
    for second in 0..500 {
        let now = at(second * 1000);
        if choice.settled_or_enqueued(ip(1), now).is_none() {
            let sent = choice.next(now);
            let first = ProbeResult::Answered(Duration::from_millis(20));
            choice.probe_ended(sent, if probes == 0 { first } else { ProbeResult::NotSent }, now);
            probes += 1;
        }
    }
    assert_eq!(probes, 2);
}

/// One lost packet does not put a live address last for ten minutes.
#[test]
fn an_address_that_had_answered_is_silent_after_the_second_time() {
    let mut choice = ProbeChoice::new(&sort(&[Probe::Icmp], 100), at(0));
    let mut probe = |ms: u64, result: ProbeResult| {
        assert_eq!(choice.settled_or_enqueued(ip(1), at(ms)), None);
        let sent = choice.next(at(ms));
        choice.probe_ended(sent, result, at(ms));
        choice.outcome(&ip(1))
    };
    let answered = Outcome::Answered(Duration::from_millis(20));
    assert_eq!(probe(0, ProbeResult::Answered(Duration::from_millis(20))), answered);
    assert_eq!(probe(1_000, ProbeResult::Silent), answered);
    assert_eq!(probe(2_000, ProbeResult::Silent), Outcome::Silent, "it is asked again soon");
    assert_eq!(choice.settled_or_enqueued(ip(1), at(3_000)), Some(Outcome::Silent));
}

/// A set of `count` addresses for which certificates are to be judged.
fn judged_set(choice: &mut ProbeChoice, name: &str, count: u16, now: Monotonic) {
    let geometry = Geometry { entries: 64 };
    let writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10);
    let mut writer = writer.expect("a table");
    let name: hither_wire::name::Name = name.parse().expect("a name");
    let set = FamilyDraft::of(11, (0..count).map(ip), now.as_ms() + 60_000, 60);
    writer.put(&Draft { name, a: Some(set), aaaa: None }, now).expect("room");
    let mut record = Snapshot::new();
    assert!(writer.get(&Key::of(&name), &mut record));
    choice.judging.note_clock(true);
    choice.judging.consider(&record, FoundBy::Change, |_| false, now);
}

#[test]
fn a_handshake_is_the_measurement_of_its_address() {
    let methods = [Probe::Tls(443), Probe::Icmp, Probe::Tcp(443), Probe::Tcp(80)];
    let mut choice = ProbeChoice::new(&sort(&methods, 1000), at(0));
    judged_set(&mut choice, "www.example", 4, at(0));
    (0..4).for_each(|n| choice.enqueue(ip(n), SMALL));
    let mut handshakes = Vec::new();
    while let Some(sent) = choice.next_probe(at(0)) {
        assert_eq!(sent.probe, Probe::Tls(443));
        handshakes.extend(sent.handshake);
        assert!(choice.probe_ended(sent, ProbeResult::Answered(Duration::from_millis(7)), at(7)));
    }
    assert_eq!((handshakes.len(), choice.waiting()), (4, 0), "and no other probe");
    assert_eq!(choice.outcome(&ip(3)), Outcome::Answered(Duration::from_millis(7)), "before the verdict");
    // Further samples are cheap ones.
    choice.enqueue(ip(1), SMALL);
    assert_eq!(choice.next(at(1000)).probe, Probe::Icmp);
    // Another name at the same addresses needs handshakes of its own, and each is a sample.
    judged_set(&mut choice, "ftp.example", 3, at(1000));
    let free: Vec<Sent> = std::iter::from_fn(|| choice.next_probe(at(1000))).collect();
    assert_eq!(
        free.iter().map(|sent| sent.serial).collect::<Vec<_>>(),
        [0, 0],
        "one address is being measured"
    );
    for sent in free {
        assert!(!choice.probe_ended(sent, ProbeResult::Answered(Duration::from_millis(5)), at(1005)));
        assert_eq!(choice.outcome(&sent.address), Outcome::Answered(Duration::from_millis(5)));
    }
}

#[test]
fn an_address_that_refuses_the_handshake_is_measured_by_other_methods() {
    let methods = [Probe::Tls(443), Probe::Icmp, Probe::Tcp(443), Probe::Tcp(80)];
    let mut choice = ProbeChoice::new(&sort(&methods, 1000), at(0));
    judged_set(&mut choice, "www.example", 2, at(0));
    (0..2).for_each(|n| choice.enqueue(ip(n), SMALL));
    let mut probes = Vec::new();
    while let Some(sent) = choice.next_probe(at(0)) {
        probes.extend((sent.address == ip(0)).then_some(sent.probe));
        choice.probe_ended(sent, ProbeResult::Refused, at(0));
    }
    assert_eq!(probes, [Probe::Tls(443), Probe::Icmp, Probe::Tcp(80)]);
    let name: hither_wire::name::Name = "www.example".parse().expect("a name");
    assert_eq!(choice.judging.trust(name.as_wire(), &ip(0), at(0)), Some(Trust::NoTls));
}

#[test]
fn addresses_beyond_the_rate_of_handshakes_are_measured_without() {
    let methods = [Probe::Tls(443), Probe::Icmp, Probe::Tcp(443), Probe::Tcp(80)];
    let sort = Sort { tls_rate: 2, ..sort(&methods, 1000) };
    let mut choice = ProbeChoice::new(&sort, at(0));
    judged_set(&mut choice, "www.example", 5, at(0));
    (0..5).for_each(|n| choice.enqueue(ip(n), SMALL));
    let mut sent = Vec::new();
    while let Some(probe) = choice.next_probe(at(0)) {
        sent.push(probe.probe);
        choice.probe_ended(probe, ProbeResult::Answered(Duration::from_millis(7)), at(7));
        if let Some(handshake) = probe.handshake {
            choice.judged(handshake, Judgement::without_certificate(Trust::Verified), at(7));
        }
    }
    let by = |probe| sent.iter().filter(|one| **one == probe).count();
    assert_eq!((by(Probe::Tls(443)), by(Probe::Icmp), sent.len()), (2, 3, 5), "none waits");
    while choice.judging.next_judged(at(7)).is_some() {}
    let due = choice.timeout().expect("more handshakes");
    assert!(at(400) <= due && due <= at(510), "{due:?}");
    assert_eq!(choice.next(at(1007)).probe, Probe::Tls(443));
}
