//! What the core knows of a name, as `hitherctl explain` gets it.

use crate::daemon::admin::answer_source::{from_site, withheld};
use crate::daemon::admin::operator_query::attempts;
use crate::daemon::upstreams::Labels;
use hither_control::{
    AddressReport, AskedBy, Explanation, NextReport, RoundReport, SetReport, SiteAskReport, SourceKind,
    VersionReport,
};
use hither_local::{LocalAnswer, Reason, standard};
use hither_rounds::reply::ede;
use hither_rounds::{Answer, Explained, Origin, Question, SiteTrace, Standing, Trace, VersionTrace, Within};
use hither_table::{Address, Family, FamilyDraft, Monotonic, Part, Rtt, Trust};

/// Addresses that are reported; the others are counted.
const ADDRESSES_MAX: usize = 128;
/// Attempts that are reported, and addresses of each.
const ATTEMPTS_MAX: usize = 32;

/// The explanation without the sorter's part. `None`: nothing is known of the question.
pub(crate) fn explanation(
    question: &Question,
    known: &Explained<'_>,
    labels: &Labels,
    now: Monotonic,
) -> Option<Explanation> {
    let is_unknown = known.answer.is_none() && known.set.is_none() && known.trace.is_none();
    if is_unknown && known.versions.is_empty() {
        return None;
    }
    let (source, source_detail) = source(known, question).unzip();
    let set = known.set.as_ref();
    let all = set.map(|set| &set.addresses[..]).unwrap_or_default();
    let addresses = all.iter().zip(&known.standings).enumerate().take(ADDRESSES_MAX);
    let addresses: Vec<AddressReport> = addresses
        .map(|(at, (address, standing))| address_report(at, address, standing, known, labels))
        .collect();
    Some(Explanation {
        name: question.name.to_string(),
        rtype: question.rtype.to_string(),
        source,
        source_detail: source_detail.flatten(),
        set: set.map(|set| set_report(set, known, labels, now)),
        versions: known.versions.iter().map(|version| version_report(version, now)).collect(),
        versions_earlier: known.earlier.count,
        versions_earlier_or_more: known.earlier.or_more,
        round: known.trace.map(|trace| round_report(trace, labels, now)),
        addresses_more: (all.len() - addresses.len()) as u64,
        addresses,
        next: next_report(known, now),
        sorter: String::new(),
        asked_by: AskedBy::default(),
    })
}

/// The source of the answer that a client gets now.
fn source(known: &Explained<'_>, question: &Question) -> Option<(SourceKind, Option<String>)> {
    let round = || known.set.as_ref().map(|set| format!("round {}", set.round));
    Some(match known.answer.as_ref()? {
        Answer::Record { stale_ttl_s: Some(_), .. } | Answer::Stored { stale_ttl_s: Some(_), .. } => {
            (SourceKind::Stale, round())
        }
        Answer::Record { .. } => match known.origin {
            Origin::Round => (SourceKind::Cache, round()),
            Origin::Restored => (SourceKind::Restored, None),
            Origin::Site => (SourceKind::Site, known.site.as_ref().and_then(|site| from_site(site).detail)),
            Origin::TakenOver => {
                (SourceKind::Cache, Some("a round of the daemon before this one".to_owned()))
            }
        },
        Answer::Stored { .. } => (SourceKind::Cache, Some("a complete answer of one upstream".to_owned())),
        Answer::Local(said) => local_source(said, question),
        Answer::Filtered { why } => (SourceKind::Cache, Some(withheld(*why))),
        Answer::Empty { ede: Some(ede::CACHED_ERROR), .. } => {
            (SourceKind::Failure, Some("it is cached for some seconds".to_owned()))
        }
        Answer::Empty { .. } => (SourceKind::Failure, None),
    })
}

fn local_source(said: &LocalAnswer, question: &Question) -> (SourceKind, Option<String>) {
    match said.reason {
        Reason::Special => (SourceKind::Special, Some(standard(&question.name).to_owned())),
        Reason::Hosts => (SourceKind::Hosts, None),
        Reason::Blocked => (SourceKind::Block, None),
    }
}

fn set_report(set: &FamilyDraft, known: &Explained<'_>, labels: &Labels, now: Monotonic) -> SetReport {
    SetReport {
        version: set.version,
        set_version: set.set_version,
        round: set.round,
        state: set.state.as_str().to_owned(),
        sorted: set.sorted,
        stale: now.as_ms() >= set.expire_ms,
        negative: set.negative.map(|negative| negative.as_str().to_owned()),
        answered: set.agreement.answered,
        disputes: set.agreement.reasons().map(str::to_owned).collect(),
        dissenters: given_by(set.agreement.dissenters, known, labels),
    }
}

fn version_report(version: &VersionTrace, now: Monotonic) -> VersionReport {
    VersionReport {
        version: version.version,
        set_version: version.set_version,
        round: version.round,
        ago_ms: ago(version.at, now),
        cause: version.cause.as_str().to_owned(),
        state: version.state.as_str().to_owned(),
        negative: version.negative.map(|negative| negative.as_str().to_owned()),
        sorted: version.sorted,
        lifetime_ms: version.expire_ms.saturating_sub(version.at.as_ms()),
        addresses: version.addresses.iter().map(|address| address.address).collect(),
        addresses_more: (version.count - version.addresses.len()) as u64,
    }
}

fn round_report(trace: &Trace, labels: &Labels, now: Monotonic) -> RoundReport {
    let mut attempts = attempts(trace, labels);
    let attempts_more = attempts.len().saturating_sub(ATTEMPTS_MAX) as u64;
    attempts.truncate(ATTEMPTS_MAX);
    for attempt in &mut attempts {
        attempt.addresses_more = attempt.addresses.len().saturating_sub(ATTEMPTS_MAX) as u64;
        attempt.addresses.truncate(ATTEMPTS_MAX);
    }
    RoundReport {
        round: trace.round,
        began_ms_ago: ago(trace.started, now),
        lasted_us: trace.ended.map(|end| end.at.since(trace.started).as_micros() as u64),
        end: trace.ended.map_or("live", |end| end.how).to_owned(),
        site: trace.site.map(|site| site_report(&site, trace.started)),
        attempts,
        attempts_more,
    }
}

fn site_report(site: &SiteTrace, started: Monotonic) -> SiteAskReport {
    let after = |at: Monotonic| at.since(started).as_micros() as u64;
    SiteAskReport {
        asked_us: after(site.asked),
        ended_us: site.ended.map(after),
        outcome: site.outcome.as_str().to_owned(),
    }
}

fn address_report(
    at: usize,
    address: &Address,
    standing: &Standing,
    known: &Explained<'_>,
    labels: &Labels,
) -> AddressReport {
    let (rtt_us, reachable) = match address.rtt {
        Rtt::Micros(micros) => (Some(micros), Some(true)),
        Rtt::Unmeasured => (None, None),
        Rtt::Unreachable => (None, Some(false)),
    };
    AddressReport {
        address: address.address.to_string(),
        position: at as u64 + 1,
        why: why(standing, address.trust, known.standings.first()),
        rtt_us,
        reachable,
        trust: address.trust.as_str().to_owned(),
        sources: address.sources,
        given_by: given_by(address.given_by(), known, labels),
        sorter: None,
    }
}

/// The upstreams of the bits of [`Address::given_by`]. Those beyond the first 22 share a bit.
fn given_by(given: u32, known: &Explained<'_>, labels: &Labels) -> Vec<String> {
    let bits = Address::TRUSTED.trailing_zeros();
    let given = (0..bits).filter(|bit| given & 1 << bit != 0);
    let name = |bit: u32| match known.upstreams.get(bit as usize) {
        Some(_) if bit + 1 == bits && known.upstreams.len() > bits as usize => "one of the others".to_owned(),
        Some(server) => labels.of(server),
        None => "an upstream that is gone".to_owned(),
    };
    if known.upstreams.is_empty() { Vec::new() } else { given.map(name).collect() }
}

/// Why an address stands where it stands, as the rule that orders a set has decided it.
/// `first` stands first in the set.
fn why(standing: &Standing, trust: Trust, first: Option<&Standing>) -> String {
    let Standing { part, place, of, within } = *standing;
    let is_behind_verified = first.is_some_and(|first| first.part == Part::Verified);
    let among = match (part, of) {
        (Part::Verified, _) => {
            "first, since its certificate is for the name and upstreams disagree".to_owned()
        }
        (Part::WrongCertificate, _) if trust == Trust::Untrusted => {
            "last, since no known authority vouches for its certificate or the server lacks its key, \
             and another address is verified"
                .to_owned()
        }
        (Part::WrongCertificate, _) => {
            "last, since its server shows no certificate for the name, and another address is verified"
                .to_owned()
        }
        (Part::Confirmed, 1) if is_behind_verified => {
            "behind the verified addresses, since upstreams disagree".to_owned()
        }
        (Part::Confirmed, of) if is_behind_verified => {
            format!("one of {of} confirmed addresses behind the verified ones, since upstreams disagree")
        }
        (Part::Confirmed, 1) => "the only confirmed address".to_owned(),
        (Part::Confirmed, of) => format!("one of {of} confirmed addresses"),
        (Part::Unconfirmed, _) => {
            "behind all confirmed addresses, since one later upstream alone gave it".to_owned()
        }
    };
    let within = match within {
        Within::Arrived => "in the order of arrival",
        _ if of == 1 => return among,
        Within::Latency if place == 0 => "the quickest of these",
        Within::Latency => "by its round-trip time",
        Within::Unmeasured => "behind those that answer, since it is not measured",
        Within::Unreachable => "last of these, since it does not answer",
        Within::Kept => "at its place, since another order would gain less than sort.hysteresis",
    };
    format!("{among}; {within}")
}

fn next_report(known: &Explained<'_>, now: Monotonic) -> NextReport {
    let until = |at: Monotonic| at.since(now).as_millis() as u64;
    NextReport {
        expiry_in_ms: known.due.expiry.map(until),
        refresh_in_ms: known.due.refresh.map(until),
        stale_until_in_ms: known.due.stale_until.map(until),
        deadline_in_ms: known.due.deadline.map(until),
        sample_in_ms: None,
        certificate_in_ms: None,
    }
}

fn ago(at: Monotonic, now: Monotonic) -> u64 {
    now.since(at).as_millis() as u64
}

/// The family that a word of the operator names.
pub(crate) fn family(rtype: &str) -> Option<Family> {
    match rtype.to_ascii_uppercase().as_str() {
        "A" => Some(Family::A),
        "AAAA" => Some(Family::Aaaa),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(part: Part, of: usize, trust: Trust, first: Part) -> String {
        let standing = |part| Standing { part, place: 0, of, within: Within::Latency };
        why(&standing(part), trust, Some(&standing(first)))
    }

    #[test]
    fn the_reason_of_a_place_is_that_of_the_verdict_and_of_the_parts_before() {
        let (confirmed, wrong, verified) = (Part::Confirmed, Part::WrongCertificate, Part::Verified);
        for (is, begin, end) in [
            (said(confirmed, 1, Trust::Unknown, confirmed), "the only confirmed address", ""),
            (
                said(confirmed, 3, Trust::Unknown, confirmed),
                "one of 3 confirmed addresses;",
                " the quickest of these",
            ),
            (
                said(confirmed, 1, Trust::Unknown, verified),
                "behind the verified addresses, since",
                " disagree",
            ),
            (
                said(confirmed, 2, Trust::Unknown, verified),
                "one of 2 confirmed addresses behind",
                " of these",
            ),
            (said(wrong, 1, Trust::Untrusted, confirmed), "last, since no known authority", " is verified"),
            (said(wrong, 1, Trust::OtherName, confirmed), "last, since its server shows no", " is verified"),
        ] {
            assert!(is.starts_with(begin) && is.ends_with(end), "{is}");
        }
    }
}
