//! Which addresses may be probed. A hostile DNS answer could name addresses in our own network, and
//! make us scan it.

use hither_wire::reach::Reach;
use std::net::IpAddr;

/// Whether an address may be probed; `private` (`sort.private`) also allows those of this host and
/// of private networks.
pub(super) fn may_be_probed(address: IpAddr, private: bool) -> bool {
    match Reach::of(address) {
        Reach::Nowhere => false,
        Reach::Private => private,
        Reach::Public => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn private_addresses_are_probed_only_if_the_operator_allows_it() {
        for address in [
            "127.0.0.9",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
        ] {
            assert!(!may_be_probed(ip(address), false), "{address}");
            assert!(may_be_probed(ip(address), true), "{address}");
        }
    }

    #[test]
    fn addresses_of_no_host_are_never_probed() {
        for address in ["0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "240.0.0.1", "::", "ff02::1"] {
            assert!(!may_be_probed(ip(address), true), "{address}");
        }
        assert!(may_be_probed(ip("192.0.2.1"), false) && may_be_probed(ip("2001:db8::1"), false));
    }
}
