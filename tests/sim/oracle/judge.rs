//! Judgements of a reply and of a published set, and the content of a message, read without the core.

use super::known::{Content, Denial, Known, SeenRound};
use super::provenance::{Set, trusted};
use super::trust::{judge_agreement, judge_place};
use crate::sim::upstreams::{address, alias, moved};
use hither_rounds::{Question, Settings};
use hither_table::{FamilyView, Monotonic, Negative, Rtt, State};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::message::Message;
use hither_wire::name::Name;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Judges a reply from the table: it is the live round's answer, or one that was fresh already. It is stale
/// only if no upstream has answered in time.
pub(super) fn judge_record(
    now: Monotonic,
    settings: &Settings,
    untrusted: &BTreeSet<usize>,
    known: &Known,
    (view, stale): (&FamilyView<'_>, bool),
) {
    if !stale && view.version() == known.version && view.round() == known.round_id {
        // The set is from the cache, and was judged when it was published. A refresh may be under way.
        assert!(!view.expired(now), "expired data in a reply as fresh data");
        return;
    }
    let round = known.rounds.last().expect("there was a round");
    judge_place(view);
    let set: BTreeSet<IpAddr> = view.addresses().map(|a| a.address).collect();
    if stale {
        let waited = now.since(round.started) >= settings.stale_wait
            || now >= round.deadline
            || round.open.is_empty()
            || round.evicted
            || known.failed_until.is_some_and(|until| now < until);
        assert!(
            waited && round.good.is_empty() && view.expired(now),
            "stale data too early, or in place of fresh data"
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
            assert!(round.good.is_empty(), "a denial although an upstream answered");
            let first = round.dissent.denials.first().expect("an upstream denied");
            let same = round.dissent.denials.iter().filter(|denial| denial.kind == kind).count();
            assert!(same > 0, "a denial that no upstream gave");
            let agreed = same >= 2;
            let waited = now >= first.came.plus(settings.negative_grace) || now >= round.deadline;
            let alone = round.open.values().all(|upstream| untrusted.contains(&usize::from(upstream.0)));
            assert!(
                agreed || waited || alone || round.evicted || view.version() == known.version,
                "a denial is accepted too early"
            );
        }
    }
}

/// Judges a published set: it is the union of those responses to the round that may join.
pub(super) fn judge_set(
    settings: &Settings,
    (name, round): (&Name, &SeenRound),
    (view, set): (&FamilyView<'_>, &BTreeSet<IpAddr>),
    now: Monotonic,
) {
    if let Some(kind) = view.negative() {
        assert!(
            set.is_empty() && round.good.is_empty(),
            "a denial although an upstream answered, or with addresses"
        );
        // The TTL counts from the receipt, however long the denial waited for a second one.
        let until = |denial: &Denial| denial.kind == kind && denial.until_ms == view.expire_ms();
        assert!(round.dissent.denials.iter().any(until), "a denial expires with its SOA record");
        let soa_ms = view.soa().map(|(_, at, _)| at);
        let proof = (kind != Negative::Withheld).then_some(view.expire_ms());
        assert_eq!(soa_ms, proof, "the SOA record expires with the denial, and withheld addresses have none");
        return;
    }
    let stated = Set::of(name, &round.good);
    assert!(stated.has(set), "the set is not the union of the round's responses: {set:?}, {stated:?}");
    let expire = stated.until_ms.expect("an upstream stated it");
    assert_eq!(view.expire_ms(), expire, "the set expires with the shortest TTL that counts");
    assert_eq!(
        trusted(view),
        stated.trusted,
        "the trusted addresses are not those of the responses: {:?}",
        round.good
    );
    let mut links = (0..view.chain_count()).flat_map(|n| view.chain(n));
    assert!(links.all(|(_, at)| at >= expire), "a CNAME expires before its set");
    judge_agreement(name, round, view);
    let complete = round.open.is_empty() && round.all_asked();
    match view.state() {
        State::Complete => {
            assert!(complete || !settings.complete, "complete although an upstream may still respond")
        }
        State::Partial => {
            let over = now >= round.deadline || now.as_ms() >= expire;
            assert!(over || round.evicted, "partial before its time");
        }
        State::First => {}
    }
    let unmeasured = view.addresses().all(|a| a.rtt == Rtt::Unmeasured);
    assert!(view.sorted() || unmeasured || settings.complete, "measurements without an order");
}

/// The CNAMEs that lead to the content of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Path {
    /// The query was for an alias.
    pub chased: bool,
    /// Octets that the CNAMEs take in a reply.
    pub octets: usize,
}

/// Reads a message without the core: its content, its TTL, and the CNAMEs before the content. `None`: the
/// message responds to another question.
pub(super) fn read(octets: &[u8], question: &Question) -> Option<(Content, u32, Path)> {
    let message = Message::open(octets).ok()?;
    let asked = message.question().map_or(question.name, |asked| asked.name.to_lower());
    let chased = [alias(&question.name), moved(&question.name)];
    if asked != question.name && !chased.contains(&asked) {
        return None;
    }
    // Only forged messages have this address, so the oracle need not compare ids.
    let marked = message.records().any(|r| r.address() == Some(IpAddr::from(address(66))));
    if marked {
        return None;
    }
    let header = message.header();
    if header.tc() {
        return Some((Content::Truncated, 0, Path { chased: false, octets: 0 }));
    }
    let addresses: Vec<IpAddr> = message.records().filter_map(|r| r.address()).collect();
    let ttl_s = message.records().filter(|r| r.rtype != Rtype::OPT).map(|r| r.ttl).min().unwrap_or(0);
    let soa = message.records().find_map(|r| r.soa());
    let (denied, ttl_s) = (soa.is_some(), soa.map_or(ttl_s, |soa| ttl_s.min(soa.minimum)));
    let content = match header.rcode() {
        Rcode::NOERROR if !addresses.is_empty() => Content::Addresses(addresses),
        Rcode::NOERROR if denied => Content::Denied(Negative::NoData),
        Rcode::NOERROR => Content::Dangling,
        Rcode::NXDOMAIN => Content::Denied(Negative::NxDomain),
        _ => Content::Error,
    };
    let target = match asked != question.name {
        true => Some(asked),
        false => message.records().any(|r| r.rtype == Rtype::CNAME).then_some(chased[0]),
    };
    let octets = target.map_or(0, |target| 12 + target.as_wire().len());
    Some((content, ttl_s, Path { chased: asked != question.name, octets }))
}
