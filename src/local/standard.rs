//! The standard that reserves a special-use name, for explanations to the operator.

use crate::reverse;
use hither_wire::name::Name;
use std::net::IpAddr;

/// The RFC that reserves a special-use name in lower case, so that it is not forwarded.
#[must_use]
pub fn standard(name: &Name) -> &'static str {
    let labels: Vec<&[u8]> = name.labels().collect();
    let Some(top) = labels.last() else { return "RFC 6761" };
    let below = labels.len().checked_sub(2).and_then(|at| labels.get(at)).copied();
    match (below, *top) {
        (_, b"local") => "RFC 6762",
        (_, b"onion") => "RFC 7686",
        (_, b"alt") => "RFC 9476",
        (_, b"localhost" | b"invalid") => "RFC 6761",
        (None, _) => "a host name without a domain",
        (Some(b"home"), b"arpa") => "RFC 8375",
        (Some(b"ipv4only"), b"arpa") => "RFC 8880",
        (Some(b"resolver"), b"arpa") => "RFC 9462",
        _ => match reverse::address(name) {
            Some(IpAddr::V4(v4)) if matches!(v4.octets(), [192, 0, 0, 170 | 171]) => "RFC 8880",
            _ if labels.ends_with(&[b"100", b"in-addr", b"arpa"]) => "RFC 7793",
            _ => "RFC 6303",
        },
    }
}
