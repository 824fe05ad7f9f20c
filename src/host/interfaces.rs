//! The addresses and routes of this host, as one number by which a change is noticed.

use hither_net::shortage::is_shortage;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::Read as _;

/// Octets read of a routing table.
const ROUTES_MAX: u64 = 256 * 1024;

/// Addresses, and the columns of the routing tables that are not counters. `None`: there is no descriptor to look at them.
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
            // As text: the structure does not show its address otherwise.
            let address = address.map(|address| address.to_string()).unwrap_or_default();
            lines.insert(format!("{} {address} {:?}", interface.interface_name, interface.flags & up));
        }
    }
    // Interface, destination, gateway, flags; metric, mask. Of IPv6: destination and its length, next hop, metric, flags, interface.
    for (path, columns) in
        [("/proc/net/route", &[0, 1, 2, 3, 6, 7][..]), ("/proc/net/ipv6_route", &[0, 1, 4, 5, 8, 9])]
    {
        let mut text = String::new();
        // The first routes of a router with a million of them will do.
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
    fn the_network_looks_the_same_twice() {
        assert_eq!(fingerprint(), fingerprint());
    }
}
