//! Which addresses are probed. A DNS answer names the target, so a hostile one could make us knock on our neighbours' doors.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address may be probed; `private` lets loopback, private and link-local ones in.
pub(super) fn may_be_probed(address: IpAddr, private: bool) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_a_host_v4(v4) && (private || !is_private_v4(v4)),
        IpAddr::V6(v6) => is_a_host_v6(v6) && (private || !is_private_v6(v6)),
    }
}

fn is_a_host_v4(v4: Ipv4Addr) -> bool {
    // "This network", multicast, reserved and broadcast (RFC 6890).
    !(v4.octets()[0] == 0 || v4.octets()[0] >= 224)
}

fn is_private_v4(v4: Ipv4Addr) -> bool {
    let [a, b, ..] = v4.octets();
    v4.is_loopback() || v4.is_private() || v4.is_link_local() || (a == 100 && b & 0xc0 == 64)
}

fn is_a_host_v6(v6: Ipv6Addr) -> bool {
    !v6.is_unspecified() && !v6.is_multicast()
}

fn is_private_v6(v6: Ipv6Addr) -> bool {
    v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn neighbours_are_left_alone_unless_the_operator_says_otherwise() {
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
        ] {
            assert!(!may_be_probed(ip(address), false), "{address}");
            assert!(may_be_probed(ip(address), true), "{address}");
        }
    }

    #[test]
    fn what_is_no_host_is_never_probed() {
        for address in ["0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "240.0.0.1", "::", "ff02::1"] {
            assert!(!may_be_probed(ip(address), true), "{address}");
        }
        assert!(may_be_probed(ip("192.0.2.1"), false) && may_be_probed(ip("2001:db8::1"), false));
    }
}
