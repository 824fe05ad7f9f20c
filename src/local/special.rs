//! Names that standards reserve: the registry of RFC 6761, and the zones of RFC 6303 and RFC 7793.

use crate::{Data, LocalAnswer, Reason, SPECIAL_TTL_S, reverse};
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Top-level names that are not part of the global DNS: RFC 6761 (invalid), RFC 6762 (local), RFC 7686
/// (onion), RFC 9476 (alt). `test` and `example` are forwarded, since some networks have servers for
/// them.
pub const NON_DNS_TLDS: [&[u8]; 4] = [b"invalid", b"local", b"onion", b"alt"];

/// Empty zones that are always served here: reverse zones of addresses without global meaning (RFC
/// 6303, section 4, and RFC 7793). The zones of `172.16.0.0/12` and `100.64.0.0/10` are matched by
/// number instead.
const ALWAYS_EMPTY: [&str; 12] = [
    "0.in-addr.arpa.",
    "127.in-addr.arpa.",
    "2.0.192.in-addr.arpa.",
    "100.51.198.in-addr.arpa.",
    "113.0.203.in-addr.arpa.",
    "255.255.255.255.in-addr.arpa.",
    "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.",
    "8.b.d.0.1.0.0.2.ip6.arpa.",
    "170.0.0.192.in-addr.arpa.",
    "171.0.0.192.in-addr.arpa.",
    "resolver.arpa.",
];

/// Empty zones that are served here unless the network's own servers have them, like the zones that are
/// matched by number: RFC 8375, section 4, and RFC 6303, section 4, allow a network's operator to serve
/// them.
const LOCALLY_SERVED: [&str; 10] = [
    "home.arpa.",
    "10.in-addr.arpa.",
    "254.169.in-addr.arpa.",
    "168.192.in-addr.arpa.",
    "8.e.f.ip6.arpa.",
    "9.e.f.ip6.arpa.",
    "a.e.f.ip6.arpa.",
    "b.e.f.ip6.arpa.",
    "d.f.ip6.arpa.",
    "c.f.ip6.arpa.",
];

/// The reserved zones that a network's own servers may serve. Without upstreams for them, each is
/// served here as empty.
pub fn locally_served_zones() -> impl Iterator<Item = Name> {
    let private = (16..=31).map(|second| format!("{second}.172.in-addr.arpa."));
    let shared = (64..=127).map(|second| format!("{second}.100.in-addr.arpa."));
    let others = LOCALLY_SERVED.iter().map(|zone| (*zone).to_owned());
    others.chain(private).chain(shared).filter_map(|zone| zone.parse().ok())
}

/// Whether a name in lower case is in a reserved zone that a network may serve itself: one of
/// [`locally_served_zones`], or `local`, which some networks serve by unicast DNS. The caller
/// learns from the search list whether this network does.
#[must_use]
pub fn may_be_locally_served(name: &Name) -> bool {
    let labels: Vec<&[u8]> = name.labels().collect();
    match labels.last() {
        Some(&b"local") => true,
        Some(&b"arpa") => {
            zone(name, &labels, b"arpa").is_some_and(|zone| locally_served_zones().any(|of| of == zone))
        }
        _ => false,
    }
}

/// Answers a question for a reserved name. `None` if it is forwarded: the name is not reserved, or
/// `route`, the suffix of the name that has upstreams of its own, is the reserved zone or within it.
pub(crate) fn answer(name: &Name, rtype: Rtype, route: Option<&Name>) -> Option<LocalAnswer> {
    let (below, top) = name
        .labels()
        .fold((0, None), |(below, top), label| (below + usize::from(top.is_some()), Some(label)));
    let top = top?;
    // Almost all names are decided here, without memory for their labels.
    if below > 0 && top != b"localhost" && top != b"arpa" && !NON_DNS_TLDS.contains(&top) {
        return None;
    }
    let labels: Vec<&[u8]> = name.labels().collect();
    if top == b"localhost" {
        return Some(localhost(rtype));
    }
    if let Some(pointer) = well_known_pointer(name, rtype) {
        return Some(pointer);
    }
    if name.as_wire() == b"\x08ipv4only\x04arpa\0" && rtype != Rtype::DS {
        return Some(ipv4only(rtype));
    }
    let zone = zone(name, &labels, top)?;
    // The DS record of a zone below arpa is its parent's, and validating clients need it (RFC 8375,
    // section 4).
    if rtype == Rtype::DS && top == b"arpa" && zone == *name {
        return None;
    }
    if route.is_some_and(|route| route.ends_with(&zone)) {
        return None;
    }
    if labels.len() == 1 && !NON_DNS_TLDS.contains(&top) {
        // A host name without its domain, unless the question is about the top-level domain itself.
        let address = matches!(rtype, Rtype::A | Rtype::AAAA | Rtype::HTTPS | Rtype::SVCB);
        return address.then(|| LocalAnswer::negative(Reason::Special, false, SPECIAL_TTL_S));
    }
    Some(empty_zone(name, rtype, zone))
}

/// The loopback addresses (RFC 6761, section 6.3).
fn localhost(rtype: Rtype) -> LocalAnswer {
    let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    LocalAnswer::positive(Reason::Special, Data::of_type(&both, rtype), SPECIAL_TTL_S)
}

/// The well-known addresses, which must not be synthesized by DNS64 (RFC 8880, section 7.1).
fn ipv4only(rtype: Rtype) -> LocalAnswer {
    let both = [170, 171].map(|end| IpAddr::from([192, 0, 0, end]));
    LocalAnswer::positive(Reason::Special, Data::of_type(&both, rtype), SPECIAL_TTL_S)
}

/// The PTR record of an address that a standard names.
fn well_known_pointer(name: &Name, rtype: Rtype) -> Option<LocalAnswer> {
    if rtype != Rtype::PTR && rtype != Rtype::ANY {
        return None;
    }
    let address = reverse::address(name)?;
    let target = match address {
        IpAddr::V4(v4) if v4 == Ipv4Addr::LOCALHOST => "localhost.",
        IpAddr::V6(v6) if v6 == Ipv6Addr::LOCALHOST => "localhost.",
        IpAddr::V4(v4) if matches!(v4.octets(), [192, 0, 0, 170 | 171]) => "ipv4only.arpa.",
        _ => return None,
    };
    Some(LocalAnswer::positive(Reason::Special, vec![Data::Pointer(target.parse().ok()?)], SPECIAL_TTL_S))
}

/// The reserved zone that `name` is in.
fn zone(name: &Name, labels: &[&[u8]], top: &[u8]) -> Option<Name> {
    if labels.len() == 1 {
        return Some(*name);
    }
    if NON_DNS_TLDS.contains(&top) {
        return last(name, 1);
    }
    if top != b"arpa" {
        return None;
    }
    if labels.get(labels.len() - 2) == Some(&&b"in-addr"[..]) && labels.len() >= 4 {
        let number = |back: usize| {
            labels.get(labels.len() - back).and_then(|l| std::str::from_utf8(l).ok()?.parse::<u8>().ok())
        };
        match (number(3), number(4)) {
            (Some(172), Some(16..=31)) | (Some(100), Some(64..=127)) => return last(name, 4),
            _ => {}
        }
    }
    let mut zones = ALWAYS_EMPTY.iter().chain(&LOCALLY_SERVED).filter_map(|zone| zone.parse::<Name>().ok());
    zones.find(|zone| name.ends_with(zone))
}

/// The name that the last `count` labels form.
fn last(name: &Name, count: usize) -> Option<Name> {
    let mut suffix = *name;
    for _ in count..name.label_count() {
        suffix = suffix.parent()?;
    }
    Some(suffix)
}

/// The answer from a zone that has only its apex. Names below resolver.arpa have NODATA (RFC 9462,
/// section 6.4).
fn empty_zone(name: &Name, rtype: Rtype, zone: Name) -> LocalAnswer {
    let apex = *name == zone;
    let mut answer = LocalAnswer::negative(
        Reason::Special,
        apex || zone.as_wire() == b"\x08resolver\x04arpa\0",
        SPECIAL_TTL_S,
    );
    match rtype {
        Rtype::SOA | Rtype::ANY if apex => answer.data.push(Data::Authority),
        Rtype::NS if apex => answer.data.push(Data::Server(zone)),
        _ => {}
    }
    answer.zone = Some(zone);
    answer
}

#[cfg(test)]
mod tests;
