//! Replies to names that hither answers itself.

use crate::reply::{OPT, OPT_WITH_EDE, close, ede, open};
use hither_local::{Data, LocalAnswer, Reason, SPECIAL_TTL_S};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::{Composer, Owner};
use hither_wire::message::Section;
use hither_wire::name::Name;
use hither_wire::query::Query;

/// Composes the reply in at most `limit` octets of `out`. Returns its length, or 0 if `out` cannot hold
/// even the question.
pub(crate) fn compose(query: &Query<'_>, said: &LocalAnswer, limit: usize, out: &mut [u8]) -> usize {
    let rcode = if said.exists { Rcode::NOERROR } else { Rcode::NXDOMAIN };
    let blocked = (said.reason == Reason::Blocked).then_some(ede::BLOCKED);
    let reserve = if blocked.is_some() { OPT_WITH_EDE } else { OPT };
    let Some(mut composer) = open(query, rcode, reserve, limit, out) else { return 0 };
    if !records(&mut composer, said) {
        composer.truncate_to_question();
    }
    close(composer, query, blocked)
}

fn records(composer: &mut Composer<'_>, said: &LocalAnswer) -> bool {
    let soa = said.zone.as_ref().map(authority).unwrap_or_default();
    let all = said.data.iter().all(|data| {
        let mut put =
            |rtype, rdata: &[u8]| composer.record(Section::Answer, Owner::At(12), rtype, said.ttl_s, rdata);
        match data {
            Data::Address(std::net::IpAddr::V4(address)) => put(Rtype::A, &address.octets()),
            Data::Address(std::net::IpAddr::V6(address)) => put(Rtype::AAAA, &address.octets()),
            Data::Pointer(name) => put(Rtype::PTR, name.as_wire()),
            Data::Server(name) => put(Rtype::NS, name.as_wire()),
            Data::Authority => put(Rtype::SOA, &soa),
        }
    });
    let denied = said.data.is_empty();
    all && match &said.zone {
        Some(zone) if denied => {
            composer.record(Section::Authority, Owner::Wire(zone.as_wire()), Rtype::SOA, said.ttl_s, &soa)
        }
        _ => true,
    }
}

/// The SOA record of a zone that is served locally (RFC 6303 section 3).
fn authority(zone: &Name) -> Vec<u8> {
    let numbers = [1, 3600, 1200, 604_800, SPECIAL_TTL_S];
    let numbers: Vec<u8> = numbers.iter().flat_map(|number: &u32| number.to_be_bytes()).collect();
    [zone.as_wire(), b"\x06nobody\x07invalid\0", &numbers].concat()
}
