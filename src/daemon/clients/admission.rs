//! The limit on waiting queries of one client network beyond this host.
//!
//! Clients of this host are not counted: they share one address, and the kernel's limits on processes
//! apply to them.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// A network of clients: a /24 of IPv4, a /56 of IPv6, as most hosters and providers assign them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ClientNetwork([u8; 8]);

impl ClientNetwork {
    /// The network of a client beyond this host.
    pub fn of(address: IpAddr) -> Option<ClientNetwork> {
        let address = address.to_canonical();
        match address {
            _ if address.is_loopback() => None,
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Some(ClientNetwork([4, a, b, c, 0, 0, 0, 0]))
            }
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, ..] = v6.octets();
                Some(ClientNetwork([6, a, b, c, d, e, f, g]))
            }
        }
    }

    /// The address family and the octets of the network's prefix.
    pub fn octets(self) -> [u8; 8] {
        self.0
    }
}

/// Counts the queries of each network that wait.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    waiting: BTreeMap<ClientNetwork, usize>,
}

impl Admission {
    /// Admits a query to wait. `false` if its network is at its limit.
    pub fn admit(&mut self, network: Option<ClientNetwork>, most: usize) -> bool {
        let Some(network) = network else { return true };
        let waiting = self.waiting.entry(network).or_default();
        let free = *waiting < most;
        *waiting += usize::from(free);
        free
    }

    /// Notes that a query of this network no longer waits.
    pub fn release(&mut self, network: Option<ClientNetwork>) {
        let Some(network) = network else { return };
        if let Some(waiting) = self.waiting.get_mut(&network) {
            *waiting -= 1;
            if *waiting == 0 {
                self.waiting.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_waits_for_no_more_than_it_may_and_the_host_itself_is_not_counted() {
        let mut admission = Admission::default();
        let (a, b) = (ClientNetwork::of(ip("192.0.2.1")), ClientNetwork::of(ip("192.0.2.200")));
        assert_eq!(a, b);
        assert_eq!(ClientNetwork::of(ip("::ffff:127.0.0.1")), None);
        assert_ne!(ClientNetwork::of(ip("2001:db8:0:100::1")), ClientNetwork::of(ip("2001:db8:0:200::1")));
        assert!(admission.admit(a, 2) && admission.admit(b, 2) && !admission.admit(a, 2));
        assert!(admission.admit(ClientNetwork::of(ip("198.51.100.1")), 2) && admission.admit(None, 0));
        admission.release(b);
        assert!(admission.admit(a, 2));
        admission.release(None);
        (0..2).for_each(|_| admission.release(a));
        admission.release(ClientNetwork::of(ip("198.51.100.1")));
        assert!(admission.waiting.is_empty(), "no query waits, nothing is kept");
    }
}
