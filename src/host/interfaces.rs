//! The addresses and routes of this host: the addresses themselves, and a fingerprint of both by which
//! a change is noticed.

use hither_net::shortage::is_shortage;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::Read as _;
use std::net::IpAddr;

/// Octets read of a routing table; the table of a router can be very long, and changes near its start
/// are enough to notice.
const ROUTES_MAX: u64 = 256 * 1024;

/// The addresses of this host; none if the kernel cannot be asked.
pub(crate) fn addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let mut all: Vec<IpAddr> = interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .collect();
    all.dedup();
    all
}

/// A number that differs when addresses, the state of interfaces, or routes differ. `None` if it cannot
/// be computed for lack of descriptors or memory.
pub(crate) fn fingerprint() -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    let mut lines: BTreeSet<String> = BTreeSet::new();
    let interfaces = nix::ifaddrs::getifaddrs().map_err(std::io::Error::from);
    if interfaces.as_ref().is_err_and(is_shortage) {
        return None;
    }
    if let Ok(interfaces) = interfaces {
        let up = nix::net::if_::InterfaceFlags::IFF_RUNNING | nix::net::if_::InterfaceFlags::IFF_UP;
        for interface in interfaces {
            let address =
                interface.address.filter(|a| a.as_sockaddr_in().is_some() || a.as_sockaddr_in6().is_some());
            // As text, since the type of `address` has no other common form for IPv4 and IPv6.
            let address = address.map(|address| address.to_string()).unwrap_or_default();
            lines.insert(format!("{} {address} {:?}", interface.interface_name, interface.flags & up));
        }
    }
    // The columns that are no counters. IPv4: interface, destination, gateway, flags, metric, mask.
    // IPv6: destination, its length, next hop, metric, flags, interface.
    for (path, columns) in
        [("/proc/net/route", &[0, 1, 2, 3, 6, 7][..]), ("/proc/net/ipv6_route", &[0, 1, 4, 5, 8, 9])]
    {
        let mut text = String::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(ROUTES_MAX).read_to_string(&mut text));
        if read.as_ref().is_err_and(is_shortage) {
            return None;
        }
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let kept: Vec<&str> = columns.iter().filter_map(|n| words.get(*n).copied()).collect();
            lines.insert(kept.join(" "));
        }
    }
    lines.iter().for_each(|line| hasher.write(line.as_bytes()));
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_network_has_the_same_fingerprint() {
        assert_eq!(fingerprint(), fingerprint());
    }
}
