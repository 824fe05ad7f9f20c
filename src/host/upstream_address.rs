//! Addresses that no upstream can have, whether the configuration, a file or a manager of links names them.

use hither_wire::reach::Reach;
use std::net::{IpAddr, SocketAddr};

/// Why no upstream can be at an address, as the end of a sentence that begins with it; `None` if one can.
#[must_use]
pub(crate) fn why_unusable(address: &SocketAddr) -> Option<&'static str> {
    why_unusable_on_any_link(address).or_else(|| why_link_is_missing(address))
}

/// [`why_unusable`] for a link-local address without the link that it is on.
#[must_use]
pub(crate) fn why_link_is_missing(address: &SocketAddr) -> Option<&'static str> {
    let is_without_link =
        matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0);
    is_without_link.then_some("is a link-local address without its interface")
}

/// [`why_unusable`] without regard to links.
#[must_use]
pub(crate) fn why_unusable_on_any_link(address: &SocketAddr) -> Option<&'static str> {
    let ip = address.ip().to_canonical();
    if ip.is_unspecified() {
        return Some("is this host itself, so that hitherd would query itself");
    }
    if ip.is_multicast() || ip == IpAddr::from([255; 4]) {
        return Some("is a multicast or broadcast address, and an upstream is one host");
    }
    if Reach::of(ip) == Reach::Nowhere {
        return Some("is an address that no host has");
    }
    (address.port() == 0).then_some("has port 0, which cannot be reached")
}
