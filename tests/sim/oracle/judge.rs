//! Judgements: of a reply, of a published set, and what a message says to one who knows nothing of the core.

use super::*;

/// A reply from the table is what the live round says, or what was fresh already; stale only when nobody answered in time.
pub(super) fn judge_record(
    now: Monotonic,
    settings: &Settings,
    (round, untrusted): (Option<&Seen>, &BTreeSet<usize>),
    known: &Known,
    (view, stale): (&FamilyView<'_>, bool),
) {
    if !stale && view.version() == known.version && view.round() == known.round_id {
        // From the cache: judged when it was published. A refresh may be under way meanwhile.
        assert!(!view.expired(now), "expired data as if it were fresh");
        return;
    }
    let round = round.expect("there was a round");
    judge_place(view);
    let set: BTreeSet<IpAddr> = view.addresses().map(|a| a.address).collect();
    if stale {
        let waited = now.since(round.started) >= settings.stale_wait
            || now >= round.deadline
            || round.open.is_empty()
            || round.gave_way
            || known.failed_until.is_some_and(|until| now < until);
        assert!(
            waited && round.good.is_empty() && view.expired(now),
            "stale data too early, or in place of fresh"
        );
        return;
    }
    match view.negative() {
        None => {
            let stated: BTreeSet<IpAddr> =
                round.good.iter().flat_map(|answer| answer.addresses.iter().copied()).collect();
            assert!(set.is_subset(&stated), "a reply states {set:?}, upstreams stated {stated:?}");
            assert!(!set.is_empty());
        }
        Some(kind) => {
            assert!(round.good.is_empty(), "a denial although there was a good answer");
            let (first, ..) = round.denials.first().expect("somebody denied");
            assert!(
                round.denials.iter().any(|(_, denied, _)| *denied == kind),
                "a denial that nobody stated"
            );
            let agreed = round.denials.iter().filter(|(_, denied, _)| *denied == kind).count() >= 2;
            let waited = now >= later(*first, settings.negative_grace) || now >= round.deadline;
            let alone = round.open.values().all(|upstream| untrusted.contains(&usize::from(upstream.0)));
            assert!(
                agreed || waited || alone || round.gave_way || view.version() == known.version,
                "a denial is believed too early"
            );
        }
    }
}

/// A published set is exactly what the round was told so far, as far as that may join.
pub(super) fn judge_set(
    settings: &Settings,
    (name, round): (&Name, &Seen),
    (view, set): (&FamilyView<'_>, &BTreeSet<IpAddr>),
    now: Monotonic,
) {
    if let Some(kind) = view.negative() {
        assert!(set.is_empty() && round.good.is_empty(), "a denial beside an answer");
        // Whatever it has waited for: its time runs from when it came.
        let until = |(_, denied, at): &(Monotonic, Negative, u64)| *denied == kind && *at == view.expire_ms();
        assert!(round.denials.iter().any(until), "a denial lives as long as its SOA record says");
        let soa_ms = view.soa().map(|(_, at, _)| at);
        let proof = (kind != Negative::Withheld).then_some(view.expire_ms());
        assert_eq!(soa_ms, proof, "the proof lives as long as the denial, and we have none of our own");
        return;
    }
    let stated = Set::of(name, &round.good);
    assert!(stated.has(set), "the set is not the union of what this round was told: {set:?}, {stated:?}");
    let expire = stated.until.expect("somebody stated it");
    assert_eq!(view.expire_ms(), expire, "the set lives as long as its shortest TTL that counts");
    assert_eq!(
        trusted(view),
        stated.trusted,
        "who said what is not what is published of it: {:?}",
        round.good
    );
    let mut links = (0..view.chain_count()).flat_map(|n| view.chain(n));
    assert!(links.all(|(_, at)| at >= expire), "a CNAME that runs out before its set");
    let heard = round.open.is_empty()
        && (0..round.upstreams)
            .all(|n| round.excused.contains(&n) || round.asked.contains(&UpstreamId(n as u16)));
    match view.state() {
        State::Complete => {
            assert!(heard || !settings.complete, "complete although an upstream may still add to it")
        }
        State::Partial => {
            let over = now >= round.deadline || now.as_ms() >= expire;
            assert!(over || round.gave_way, "partial before its time");
        }
        State::First => {}
    }
    let unmeasured = view.addresses().all(|a| a.rtt == Rtt::Unmeasured);
    assert!(view.sorted() || unmeasured || settings.complete, "measurements without an order");
}

/// What leads to what a message says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Path {
    /// It is of an alias that was asked for.
    pub chased: bool,
    /// Octets that the CNAMEs take in a reply.
    pub octets: usize,
}

/// Reads a message as one who knows nothing of the core would: what it says, for how long, and what leads there; `None` when it
/// answers something else.
pub(super) fn read(octets: &[u8], question: &Question) -> Option<(Said, u32, Path)> {
    let message = Message::open(octets).ok()?;
    let asked = message.question().map_or(question.name, |asked| asked.name.to_lower());
    let chased =
        [super::super::upstreams::alias(&question.name), super::super::upstreams::moved(&question.name)];
    if asked != question.name && !chased.contains(&asked) {
        return None;
    }
    // The script's wrong id is the right one with some bits changed, and only such messages carry this address.
    let marked =
        message.records().any(|r| r.address() == Some(IpAddr::from(super::super::upstreams::address(66))));
    if marked {
        return None;
    }
    let header = message.header();
    if header.tc() {
        return Some((Said::Truncated, 0, Path { chased: false, octets: 0 }));
    }
    let addresses: Vec<IpAddr> = message.records().filter_map(|r| r.address()).collect();
    let ttl_s = message.records().filter(|r| r.rtype != Rtype::OPT).map(|r| r.ttl).min().unwrap_or(0);
    let soa = message.records().find_map(|r| r.soa());
    let (denied, ttl_s) = (soa.is_some(), soa.map_or(ttl_s, |soa| ttl_s.min(soa.minimum)));
    let said = match header.rcode() {
        Rcode::NOERROR if !addresses.is_empty() => Said::Addresses(addresses),
        Rcode::NOERROR if denied => Said::Denied(Negative::NoData),
        Rcode::NOERROR => Said::Bare,
        Rcode::NXDOMAIN => Said::Denied(Negative::NxDomain),
        _ => Said::Error,
    };
    let target = match asked != question.name {
        true => Some(asked),
        false => message.records().any(|r| r.rtype == Rtype::CNAME).then_some(chased[0]),
    };
    let octets = target.map_or(0, |target| 12 + target.as_wire().len());
    Some((said, ttl_s, Path { chased: asked != question.name, octets }))
}
