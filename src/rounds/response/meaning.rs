//! The meaning of a response without an error: addresses, a denial, a dangling CNAME, or a complete
//! answer.

use crate::response::cname_chain::{End, answers, follow, is_asked_itself};
use crate::response::{Expected, Meaning, is_error, may_deny};
use crate::settings::ADDRESSES_MAX;
use hither_table::{Monotonic, Negative, SoaRecord};
use hither_wire::codes::{Class, Rcode, Rtype};
use hither_wire::header::HEADER_LEN;
use hither_wire::message::{Message, Section, Soa};
use hither_wire::name::Name;
use std::net::IpAddr;
use std::time::Duration;

pub(crate) fn meaning(
    message: &Message<'_>,
    rcode: Rcode,
    expected: &Expected<'_>,
    now: Monotonic,
    mut addresses: Vec<IpAddr>,
) -> Meaning {
    let Some(end) = follow(message, expected, now) else { return Meaning::Failed(Rcode::SERVFAIL) };
    if end.too_long || (is_asked_itself(expected) && !end.chain.is_empty()) {
        let rcode = if end.too_long { Rcode::YXDOMAIN } else { Rcode::NOERROR };
        return Meaning::Complete { chain: end.chain, rcode };
    }
    if is_error(rcode) {
        return Meaning::Failed(rcode);
    }
    let name = end.name(expected);
    // Most owners are the same compression pointer, which is compared only once. The question's name
    // has been compared already.
    let mut known = (end.chain.is_empty() && message.asked().is_some()).then_some(HEADER_LEN);
    let mut found = false;
    let mut ttl_s = end.ttl_s;
    for record in answers(message) {
        let wanted = record.rtype == expected.rtype || expected.rtype == Rtype::ANY;
        let pointer = record.owner_pointer();
        if !wanted || !((pointer.is_some() && pointer == known) || record.is_owned_by(name)) {
            continue;
        }
        known = pointer.or(known);
        found = true;
        ttl_s = ttl_s.min(record.ttl);
        // One address more than a set may have suffices to show that there are too many.
        if let Some(address) = record.address()
            && addresses.len() <= ADDRESSES_MAX
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    if found && rcode == Rcode::NOERROR {
        return if expected.addresses && addresses.len() <= ADDRESSES_MAX {
            Meaning::Addresses { chain: end.chain, addresses, ttl_s: expected.bounds.data(ttl_s) }
        } else {
            Meaning::Complete { chain: end.chain, rcode }
        };
    }
    without_data(message, rcode, expected, end, now)
}

fn without_data(
    message: &Message<'_>,
    rcode: Rcode,
    expected: &Expected<'_>,
    end: End,
    now: Monotonic,
) -> Meaning {
    let soa = soa_of(message, expected, end.name(expected), now);
    let kind = if rcode == Rcode::NXDOMAIN { Negative::NxDomain } else { Negative::NoData };
    if kind == Negative::NoData && soa.is_none() {
        if !end.chain.is_empty() {
            return Meaning::Dangling { chain: end.chain };
        }
        if message.records().any(|r| r.section == Section::Authority && r.rtype == Rtype::NS) {
            // A referral: this server does not recurse for us.
            return Meaning::Failed(Rcode::REFUSED);
        }
    }
    let (soa, ttl_s) = match soa {
        Some((record, ttl_s)) => (Some(Box::new(record)), ttl_s.min(end.lives_s(expected.bounds))),
        None => (None, 0),
    };
    if expected.addresses {
        Meaning::Negative { kind, chain: end.chain, soa, ttl_s }
    } else {
        Meaning::CompleteDenial { kind, chain: end.chain, ttl_s }
    }
}

/// The SOA record of a zone that contains `name`, and its negative TTL: the lower of its TTL and
/// MINIMUM (RFC 2308 section 5). The SOA record of another zone, such as that of an alias, is no
/// denial.
fn soa_of(
    message: &Message<'_>,
    expected: &Expected<'_>,
    name: &Name,
    now: Monotonic,
) -> Option<(SoaRecord, u32)> {
    let authority = message.records().filter(|r| r.section == Section::Authority && r.class == Class::IN);
    let (record, soa) = authority
        .filter_map(|record| record.soa().map(|soa| (record, soa)))
        .find(|(record, _)| may_deny(&record.owner(), name, expected.faults))?;
    let ttl_s = expected.bounds.denial(record.ttl.min(soa.minimum));
    let expire_ms = now.plus(Duration::from_secs(u64::from(ttl_s))).as_ms();
    Some((SoaRecord { owner: record.owner(), expire_ms, rdata: soa_octets(&soa) }, ttl_s))
}

fn soa_octets(soa: &Soa) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(soa.mname.as_wire());
    out.extend_from_slice(soa.rname.as_wire());
    for number in [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out
}
