//! The addresses of a name that a race tries, in their order: that over both families, but the families
//! in turn (RFC 8305 section 4), so that a family that fails costs one attempt.

use crate::race::CANDIDATES_MAX;
use core::net::IpAddr;
use hither_table::{Address, Entry, Family, FamilyOrder, Monotonic, Rtt, Trust, Wanted};

/// An address, and its round-trip time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The address to connect to.
    pub address: IpAddr,
    /// The round-trip time that was measured last.
    pub rtt: Rtt,
}

/// The addresses that one race tries, at most sixteen, best first.
#[derive(Clone, Debug)]
pub struct Candidates {
    all: [Option<Candidate>; CANDIDATES_MAX],
    len: usize,
}

impl Candidates {
    /// The addresses of an entry that may be tried, by its order over both families: those of sets that
    /// have not expired at `now`, or of all sets if the daemon `serves_expired` ones. Left out are
    /// addresses that no host can have, such as 0.0.0.0: the kernel would connect to this host in place of
    /// them.
    #[must_use]
    pub fn of(entry: &Entry<'_>, order: FamilyOrder, now: Monotonic, serves_expired: bool) -> Candidates {
        let may_be_used =
            |family| entry.family(family).is_some_and(|set| serves_expired || !set.expired(now));
        let usable = [Family::A, Family::Aaaa].map(may_be_used);
        Candidates::in_turn(|| {
            let ordered = entry.ordered(Wanted::Both, order);
            ordered.filter(move |one| {
                let [v4, v6] = usable;
                let is_usable = if one.address.is_ipv6() { v6 } else { v4 };
                is_usable && is_of_a_host(one.address)
            })
        })
    }

    /// Addresses in the order over both families, but the families in turn, beginning with that of the
    /// first one. Last come addresses that did not answer the sorter, and before these, if a certificate of
    /// another address is verified, those whose certificates are for other names or not to be trusted.
    fn in_turn<I: Iterator<Item = Address>>(ordered: impl Fn() -> I) -> Candidates {
        let mut all = Candidates { all: [None; CANDIDATES_MAX], len: 0 };
        let is_any_verified = ordered().any(|one| one.trust == Trust::Verified);
        for class in [Class::Good, Class::Distrusted, Class::Unreachable] {
            let part = || ordered().filter(move |one| Class::of(one, is_any_verified) == class);
            let Some(first) = part().next() else { continue };
            let is_v6 = first.address.is_ipv6();
            let mut same = part().filter(|one| one.address.is_ipv6() == is_v6);
            let mut other = part().filter(|one| one.address.is_ipv6() != is_v6);
            let mut is_turn_of_other = false;
            loop {
                let next = if is_turn_of_other { other.next() } else { same.next() };
                let Some(one) = next.or_else(|| if is_turn_of_other { same.next() } else { other.next() })
                else {
                    break;
                };
                all.push(&one);
                is_turn_of_other = !is_turn_of_other;
            }
        }
        all
    }

    fn push(&mut self, one: &Address) {
        if let Some(place) = self.all.get_mut(self.len) {
            *place = Some(Candidate { address: one.address, rtt: one.rtt });
            self.len += 1;
        }
    }

    /// Whether no address may be tried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The candidates in the order in which a race begins with them.
    pub fn iter(&self) -> impl Iterator<Item = Candidate> + '_ {
        self.all.iter().flatten().copied()
    }

    /// The candidate with which a race begins after `n` others; `None` behind the last one.
    pub(crate) fn get(&self, n: usize) -> Option<Candidate> {
        *self.all.get(n)?
    }
}

/// A part of the order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Good,
    Distrusted,
    Unreachable,
}

impl Class {
    fn of(one: &Address, is_any_verified: bool) -> Class {
        match (one.rtt, one.trust) {
            (Rtt::Unreachable, _) => Class::Unreachable,
            (_, trust) if is_any_verified && trust.is_bad() => Class::Distrusted,
            _ => Class::Good,
        }
    }
}

fn is_of_a_host(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !is_broadcast
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::string::{String, ToString as _};
    use std::vec::Vec;

    /// Addresses as `ADDRESS RTT_MS [VERDICT]`; `-` unmeasured, `x` unreachable.
    fn set(lines: &[&str]) -> Vec<Address> {
        let address = |line: &&str| {
            let words: Vec<&str> = line.split(' ').collect();
            let rtt = match words[1] {
                "-" => Rtt::Unmeasured,
                "x" => Rtt::Unreachable,
                ms => Rtt::Micros(ms.parse::<u32>().expect("a number") * 1000),
            };
            let trust =
                words.get(2).and_then(|word| Trust::ALL.into_iter().find(|one| one.as_str() == *word));
            let trust = trust.unwrap_or_default();
            let address = words[0].parse().expect("an address");
            Address { address, rtt, chain: 0, upstreams: 0, sources: 1, trust }
        };
        lines.iter().map(address).collect()
    }

    fn order(ordered: &[&str]) -> Vec<String> {
        let all = Candidates::in_turn(|| set(ordered).into_iter());
        all.iter().map(|one| one.address.to_string()).collect()
    }

    /// So many candidates.
    pub(crate) fn candidates(count: usize) -> Candidates {
        let lines: Vec<String> = (0..count).map(|n| std::format!("192.0.2.{n} 5")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        Candidates::in_turn(|| set(&lines).into_iter())
    }

    #[test]
    fn families_take_turns_beginning_with_that_of_the_first_address() {
        let v6_first = ["::1 8", "192.0.2.1 9", "192.0.2.2 20", "192.0.2.3 30", "::2 90"];
        assert_eq!(order(&v6_first), ["::1", "192.0.2.1", "::2", "192.0.2.2", "192.0.2.3"]);
        assert_eq!(order(&["192.0.2.1 7", "192.0.2.2 8", "::1 8"]), ["192.0.2.1", "::1", "192.0.2.2"]);
        assert_eq!(order(&["192.0.2.1 1", "192.0.2.2 2"]), ["192.0.2.1", "192.0.2.2"]);
        assert!(order(&[]).is_empty());
    }

    #[test]
    fn an_address_that_did_not_answer_is_last() {
        assert_eq!(order(&["192.0.2.1 9", "192.0.2.2 x", "::1 x"]), ["192.0.2.1", "192.0.2.2", "::1"]);
        assert_eq!(order(&["192.0.2.1 x", "::1 -"]), ["::1", "192.0.2.1"], "whatever sort.families says");
    }

    #[test]
    fn certificates_for_other_names_are_behind_a_verified_one_of_either_family() {
        let wrong = ["192.0.2.1 1 other_name", "192.0.2.2 9 untrusted"];
        let with = |last: &[&'static str]| order(&[&wrong, last].concat());
        assert_eq!(with(&["::1 90 verified"]), ["::1", "192.0.2.1", "192.0.2.2"]);
        assert_eq!(with(&["::1 90 expired"]), ["192.0.2.1", "::1", "192.0.2.2"], "none is verified");
        assert_eq!(with(&["::1 90 verified", "::2 x"]), ["::1", "192.0.2.1", "192.0.2.2", "::2"]);
    }

    #[test]
    fn there_are_sixteen_at_most_of_both_families() {
        let mut lines: Vec<String> = (0..40).map(|n| std::format!("192.0.2.{n} 5")).collect();
        lines.push("2001:db8::1 900".into());
        let all = order(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((all.len(), all[1].as_str()), (CANDIDATES_MAX, "2001:db8::1"));
    }

    #[test]
    fn addresses_that_no_host_has_are_left_out() {
        for text in ["0.0.0.0", "::", "::ffff:0.0.0.0", "255.255.255.255", "224.0.0.1", "ff02::1"] {
            assert!(!is_of_a_host(text.parse().expect("an address")), "{text}");
        }
        for text in ["127.0.0.1", "::1", "192.0.2.1", "fe80::1", "2001:db8::1"] {
            assert!(is_of_a_host(text.parse().expect("an address")), "{text}");
        }
    }
}
