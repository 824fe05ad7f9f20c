//! Names that standards reserve: the registry of RFC 6761, and the zones of RFC 6303 and RFC 7793.

use crate::{Data, Reason, SPECIAL_TTL_S, Said, reverse};
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Top-level names that are nobody's in the DNS: RFC 6761 (invalid), 6762 (local), 7686 (onion), 9476 (alt). `test` and `example` are
/// forwarded: networks have servers for them.
pub const NOBODYS: [&[u8]; 4] = [b"invalid", b"local", b"onion", b"alt"];

/// Zones that are served here without content: reverse zones of addresses that mean nothing elsewhere (RFC 6303 section 4, RFC 7793). `172.16.0.0/12` and `100.64.0.0/10` are matched by number.
const EMPTY: [&str; 12] = [
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

/// Further ones, whose names a network's own servers may know, as they may those that are matched by number: RFC 8375 section 4 and RFC 6303
/// section 4 let who runs a network serve them.
const OF_NETWORKS: [&str; 10] = [
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

/// The reserved zones whose names a network's own servers may know, each as it is served here where nobody is asked for it.
pub fn of_networks() -> impl Iterator<Item = Name> {
    let private = (16..=31).map(|second| format!("{second}.172.in-addr.arpa."));
    let shared = (64..=127).map(|second| format!("{second}.100.in-addr.arpa."));
    let others = OF_NETWORKS.iter().map(|zone| (*zone).to_owned());
    others.chain(private).chain(shared).filter_map(|zone| zone.parse().ok())
}

/// Whether a name in lower case is in a reserved zone that a network may have names of its own in: one of [`of_networks`], or `local`, which some
/// use without multicast. That is so only where the network says it, by a search list.
#[must_use]
pub fn may_be_of_a_network(name: &Name) -> bool {
    let labels: Vec<&[u8]> = name.labels().collect();
    match labels.last() {
        Some(&b"local") => true,
        Some(&b"arpa") => zone(name, &labels, b"arpa").is_some_and(|zone| of_networks().any(|of| of == zone)),
        _ => false,
    }
}

/// The answer to a reserved name. A zone whose suffix `route` has upstreams of its own, at it or above the name within it, is asked there.
pub(crate) fn answer(name: &Name, rtype: Rtype, route: Option<&Name>) -> Option<Said> {
    let (below, top) = name
        .labels()
        .fold((0, None), |(below, top), label| (below + usize::from(top.is_some()), Some(label)));
    let top = top?;
    // All but few names are under none of these.
    if below > 0 && top != b"localhost" && top != b"arpa" && !NOBODYS.contains(&top) {
        return None;
    }
    let labels: Vec<&[u8]> = name.labels().collect();
    if top == b"localhost" {
        return Some(localhost(rtype));
    }
    if let Some(pointer) = pointer(name, rtype) {
        return Some(pointer);
    }
    if name.as_wire() == b"\x08ipv4only\x04arpa\0" && rtype != Rtype::DS {
        return Some(ipv4only(rtype));
    }
    let zone = zone(name, &labels, top)?;
    // Whether a zone below arpa is signed is for its parent to say, and validators behind us need to hear it (RFC 8375 section 4).
    if rtype == Rtype::DS && top == b"arpa" && zone == *name {
        return None;
    }
    if route.is_some_and(|route| route.ends_with(&zone)) {
        return None;
    }
    if labels.len() == 1 && !NOBODYS.contains(&top) {
        // A host somebody left the domain off of, unless it is the top level itself that is asked about.
        let address = matches!(rtype, Rtype::A | Rtype::AAAA | Rtype::HTTPS | Rtype::SVCB);
        return address.then(|| Said::nothing(Reason::Special, false, SPECIAL_TTL_S));
    }
    Some(served(name, rtype, zone))
}

/// RFC 6761 section 6.3.
fn localhost(rtype: Rtype) -> Said {
    let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    Said::new(Reason::Special, Data::addresses(&both, rtype), SPECIAL_TTL_S)
}

/// RFC 8880 section 7.1: the well-known addresses, and nothing made up from them.
fn ipv4only(rtype: Rtype) -> Said {
    let both = [170, 171].map(|end| IpAddr::from([192, 0, 0, end]));
    Said::new(Reason::Special, Data::addresses(&both, rtype), SPECIAL_TTL_S)
}

fn pointer(name: &Name, rtype: Rtype) -> Option<Said> {
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
    Some(Said::new(Reason::Special, vec![Data::Pointer(target.parse().ok()?)], SPECIAL_TTL_S))
}

/// The reserved zone that `name` is in.
fn zone(name: &Name, labels: &[&[u8]], top: &[u8]) -> Option<Name> {
    if labels.len() == 1 {
        return Some(*name);
    }
    if NOBODYS.contains(&top) {
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
    let mut zones = EMPTY.iter().chain(&OF_NETWORKS).filter_map(|zone| zone.parse::<Name>().ok());
    zones.find(|zone| name.ends_with(zone))
}

/// The last `count` labels.
fn last(name: &Name, count: usize) -> Option<Name> {
    let mut suffix = *name;
    for _ in count..name.label_count() {
        suffix = suffix.parent()?;
    }
    Some(suffix)
}

/// A zone with nothing but its apex. Names below resolver.arpa are said to be without data (RFC 9462 section 6.4).
fn served(name: &Name, rtype: Rtype, zone: Name) -> Said {
    let apex = *name == zone;
    let mut said =
        Said::nothing(Reason::Special, apex || zone.as_wire() == b"\x08resolver\x04arpa\0", SPECIAL_TTL_S);
    match rtype {
        Rtype::SOA | Rtype::ANY if apex => said.data.push(Data::Authority),
        Rtype::NS if apex => said.data.push(Data::Server(zone)),
        _ => {}
    }
    said.zone = Some(zone);
    said
}
