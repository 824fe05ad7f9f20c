//! What one network of clients beyond this host may use: waiting queries, and replies alike.
//!
//! Clients on this host are not counted: they share one address, and their own limits are the kernel's.

use hither_table::Monotonic;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};
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
}

/// What becomes of a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ruling {
    Send,
    /// Cut to TC: a real client asks again over TCP, a victim of a forged address gets no more than was sent.
    Cut,
    Drop,
}

/// Replies alike that are counted at once. Others that fall on the same place share its count.
const PLACES: usize = 8192;

#[derive(Debug)]
pub(crate) struct Admission {
    /// Queries of each network that wait.
    waiting: BTreeMap<ClientNetwork, usize>,
    /// The second that is counted, and how many replies it has seen.
    places: Vec<(u32, u32)>,
    seed: u64,
}

impl Admission {
    pub fn new(seed: u64) -> Admission {
        Admission { waiting: BTreeMap::new(), places: vec![(0, 0); PLACES], seed }
    }

    /// Lets a query wait; `false` when its network has as many as it may.
    pub fn admit(&mut self, network: Option<ClientNetwork>, most: usize) -> bool {
        let Some(network) = network else { return true };
        let waiting = self.waiting.entry(network).or_default();
        let free = *waiting < most;
        *waiting += usize::from(free);
        free
    }

    /// One waits no longer.
    pub fn release(&mut self, network: Option<ClientNetwork>) {
        let Some(network) = network else { return };
        if let Some(waiting) = self.waiting.get_mut(&network) {
            *waiting -= 1;
            if *waiting == 0 {
                self.waiting.remove(&network);
            }
        }
    }

    /// Judges a reply by UDP, `most` alike a second to one network; 0: no bound.
    pub fn judge(&mut self, client: IpAddr, reply: &[u8], most: u32, now: Monotonic) -> Ruling {
        let Some(ClientNetwork(network)) = ClientNetwork::of(client).filter(|_| most > 0) else {
            return Ruling::Send;
        };
        let second = u32::try_from(now.0 / 1_000_000_000).unwrap_or(u32::MAX);
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write(&network);
        hasher.write(&alike(reply));
        let place = &mut self.places[hasher.finish() as usize % PLACES];
        if place.0 != second {
            *place = (second, 0);
        }
        place.1 += 1;
        match place.1.checked_sub(most + 1) {
            None => Ruling::Send,
            Some(beyond) if beyond % 2 == 0 => Ruling::Cut,
            Some(_) => Ruling::Drop,
        }
    }
}

/// What replies have in common that an amplifier would repeat: the name of an answer; of everything else its code, since an attacker
/// may vary the name without end.
fn alike(reply: &[u8]) -> Vec<u8> {
    let code = reply.get(3).map_or(0, |octet| octet & 15);
    let answers = reply.get(6..8).is_some_and(|count| count != [0, 0]);
    let mut key = vec![code];
    if code == 0 && answers {
        let name = reply.get(12..).unwrap_or_default();
        let end = name.iter().position(|octet| *octet == 0).unwrap_or(name.len());
        key.extend(name[..end].to_ascii_lowercase());
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_waits_for_no_more_than_it_may_and_the_host_itself_is_not_counted() {
        let mut admission = Admission::new(1);
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
        assert!(admission.waiting.is_empty(), "nobody waits, nothing is kept");
    }

    #[test]
    fn replies_alike_are_held_back_and_others_are_not() {
        let mut admission = Admission::new(2);
        let reply = |code: u8, answers: u8, name: &[u8]| {
            [&[0, 0, 0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0][..], name, &[0, 0, 1, 0, 1]].concat()
        };
        let (www, other, denied) =
            (reply(0, 1, b"\x03www"), reply(0, 1, b"\x05other"), reply(3, 0, b"\x01a"));
        let second = |n: u64| Monotonic(n * 1_000_000_000);
        let mut judge = |client: &str, reply: &[u8], n| admission.judge(ip(client), reply, 2, second(n));
        let all: Vec<Ruling> = (0..5).map(|_| judge("192.0.2.1", &www, 7)).collect();
        assert_eq!(all, [Ruling::Send, Ruling::Send, Ruling::Cut, Ruling::Drop, Ruling::Cut]);
        assert_eq!(judge("192.0.2.1", &other, 7), Ruling::Send);
        assert_eq!(judge("198.51.100.1", &www, 7), Ruling::Send);
        assert_eq!(judge("127.0.0.1", &www, 7), Ruling::Send);
        assert_eq!(judge("192.0.2.1", &www, 8), Ruling::Send, "another second");
        let names: Vec<Ruling> =
            (0..3).map(|n| judge("192.0.2.9", &reply(3, 0, &[1, b'a' + n]), 9)).collect();
        assert_eq!(names[2], Ruling::Cut, "denials of any names are alike");
        assert_eq!(judge("192.0.2.77", &denied, 9), Ruling::Drop);
    }
}
