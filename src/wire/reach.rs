//! The reach of an address: public, private, or no host at all (IANA's special-purpose registries,
//! RFC 6890).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The reach of an address.
///
/// Ranges for documentation and benchmarks (RFC 5737, RFC 3849, RFC 2544) count as public: no host
/// of a private network has them, and laboratories use them instead of public ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// An address that no host has: unspecified, "this network", multicast, reserved, broadcast,
    /// discard-only (RFC 6666).
    Nowhere,
    /// An address of this host or its network: loopback, private, shared (RFC 6598), between a host
    /// and its translator (RFC 7335), link-local, unique local.
    Private,
    /// An address of a host on the Internet.
    Public,
}

impl Reach {
    /// The reach of `address`. An IPv6 address that contains an IPv4 address has the reach of
    /// that one: mapped and
    /// compatible addresses (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056), Teredo (RFC 4380) and
    /// ISATAP (RFC 5214). The prefix of local NAT64 (RFC 8215) is always private.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => Self::of_v6(v6),
        }
    }

    fn of_v4(v4: Ipv4Addr) -> Self {
        let [a, b, c, d] = v4.octets();
        if a == 0 || a >= 224 {
            return Self::Nowhere;
        }
        let shared = a == 100 && b & 0xc0 == 64;
        let service_continuity = [a, b, c] == [192, 0, 0] && d < 8;
        if v4.is_loopback() || v4.is_private() || v4.is_link_local() || shared || service_continuity {
            return Self::Private;
        }
        Self::Public
    }

    fn of_v6(v6: Ipv6Addr) -> Self {
        let discard_only = matches!(v6.segments(), [0x100, 0, 0, 0, ..]);
        if v6.is_unspecified() || v6.is_multicast() || discard_only {
            return Self::Nowhere;
        }
        let site_local = v6.segments()[0] & 0xffc0 == 0xfec0;
        let local_nat64 = matches!(v6.segments(), [0x64, 0xff9b, 1, ..]);
        if v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() || site_local || local_nat64
        {
            return Self::Private;
        }
        match embedded_v4(v6) {
            Some(v4) => Self::of_v4(v4),
            None => Self::Public,
        }
    }
}

/// The IPv4 address that an IPv6 address contains, if there is one.
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => v4(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        // Teredo: the client's address with each bit inverted.
        [0x2001, 0, .., high, low] => v4(!high, !low),
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => v4(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn of<const N: usize>(texts: &[&str; N]) -> [Reach; N] {
        texts.map(|text| Reach::of(text.parse().expect("an address")))
    }

    #[test]
    fn private_addresses_are_private_in_every_notation() {
        let plain = [
            "127.0.0.9",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.0",
            "192.0.0.7",
            "::1",
            "fd00::1",
            "fc00::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "64:ff9b:1::8.8.8.8",
        ];
        let wrapped = [
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b::192.168.1.1",
            "64:ff9b::7f00:1",
            "2002:a00:1::1",
            "2002:c0a8:101::",
            "2001:0:4136:e378:8000:63bf:f5ff:fffe",
            "2001:db8::5efe:10.0.0.1",
            "2001:db8::200:5efe:192.168.0.1",
        ];
        assert_eq!(of(&plain), [Reach::Private; 17]);
        assert_eq!(of(&wrapped), [Reach::Private; 10]);
    }

    #[test]
    fn addresses_that_no_host_has_are_nowhere() {
        let nowhere = [
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "ff02::1",
            "100::1",
            "::ffff:0.0.0.0",
            "64:ff9b::224.0.0.1",
            "2002:ffff:ffff::",
        ];
        assert_eq!(of(&nowhere), [Reach::Nowhere; 12]);
    }

    #[test]
    fn other_addresses_are_public() {
        let public = [
            "192.0.0.8",
            "100:0:1::1",
            "192.0.2.1",
            "198.18.0.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "2001:db8::1",
            "2606:4700::1111",
            "64:ff9b::8.8.8.8",
            "::ffff:8.8.8.8",
            "2002:808:808::1",
            "fbff::1",
        ];
        assert_eq!(of(&public), [Reach::Public; 15]);
    }
}
