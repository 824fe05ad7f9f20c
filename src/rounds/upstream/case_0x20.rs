//! Mixed letter case (0x20): the domains in which an upstream treats names in different case as
//! different.
//!
//! Some forwarders compare names of their own domain octet by octet. This is learned per upstream and
//! domain, since most such upstreams forward all other names.

use hither_table::Monotonic;
use hither_wire::codes::{Class, Rtype};
use hither_wire::message::{Message, Section};
use hither_wire::name::Name;
use std::time::Duration;

/// How one upstream treats letter case, by domain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Letters {
    /// Domains in which the upstream distinguishes case, and until when this is remembered.
    apart: Vec<(Name, Monotonic)>,
    /// Domains in which the upstream ignores case, by hash.
    alike: Vec<Alike>,
}

#[derive(Clone, Copy, Debug)]
struct Alike {
    hash: u64,
    count: u8,
    until: Monotonic,
}

impl Letters {
    /// Whether queries for a name must be in lower case.
    pub fn distinguishes_case(&self, now: Monotonic, name: &Name) -> bool {
        self.apart.iter().any(|(domain, until)| now < *until && name.ends_with(domain))
    }

    pub fn note_distinguished_case(&mut self, now: Monotonic, domain: Name) {
        self.apart.retain(|(known, until)| now < *until && *known != domain);
        if self.apart.len() == APART_MAX {
            self.apart.remove(0);
        }
        self.apart.push((domain, now.plus(LEARNED_FOR)));
    }

    /// Notes that the upstream answered a name in its own letter case and not in mixed case.
    pub fn note_dropped(&mut self, now: Monotonic, name: &Name) {
        if let Ok(domain) = Name::from_wire(above(name)) {
            self.note_distinguished_case(now, domain);
        }
    }

    pub fn ignores_case(&self, now: Monotonic, domain: &[u8]) -> bool {
        let (hash, at) = place(domain);
        self.alike.get(at).is_some_and(|a| a.hash == hash && a.count >= ALIKE_AFTER && now < a.until)
    }

    pub fn note_ignored_case(&mut self, now: Monotonic, domain: &[u8], weight: u8) {
        if self.alike.is_empty() {
            self.alike.resize(ALIKE_MAX, Alike { hash: 0, count: 0, until: Monotonic(0) });
        }
        let (hash, at) = place(domain);
        let Some(known) = self.alike.get_mut(at) else { return };
        let before = if known.hash == hash && now < known.until { known.count } else { 0 };
        *known = Alike { hash, count: before.saturating_add(weight), until: now.plus(LEARNED_FOR) };
    }
}

fn place(domain: &[u8]) -> (u64, usize) {
    let fold = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = domain.iter().fold(0xcbf2_9ce4_8422_2325, fold);
    (hash, (hash >> 32) as usize % ALIKE_MAX)
}

/// The domain for which an answer to `name` shows how letter case is treated, in wire form: the parent
/// domain, unless that is a top-level domain.
pub(crate) fn above(name: &Name) -> &[u8] {
    let behind = |octets: &'_ [u8]| octets.first().map_or(0, |length| 1 + usize::from(*length));
    let wire = name.as_wire();
    let parent = wire.get(behind(wire)..).unwrap_or_default();
    match parent.get(behind(parent)) {
        Some(1..) => parent,
        Some(0) | None => wire,
    }
}

/// The domain for which a denial shows how letter case is treated: the zone, unless that is a top-level
/// domain.
pub(crate) fn denied_domain(name: &Name, message: &Message<'_>) -> Name {
    let soa = |r: &hither_wire::message::Record<'_>| (r.section, r.rtype, r.class);
    let wanted = (Section::Authority, Rtype::SOA, Class::IN);
    let zone = message.records().find(|r| soa(r) == wanted).map(|r| r.owner());
    let Some(zone) = zone.filter(|zone| name.ends_with(zone)) else {
        return Name::from_wire(above(name)).unwrap_or(*name);
    };
    let mut domain = *name;
    while domain.label_count() > zone.label_count().max(2) {
        let Some(parent) = domain.parent() else { break };
        domain = parent;
    }
    domain
}

/// Time for which an upstream's treatment of letter case is remembered.
const LEARNED_FOR: Duration = Duration::from_secs(3_600);

/// Upper bound of the domains in [`Letters::apart`].
const APART_MAX: usize = 16;

/// Slots for domains in which case is ignored; a collision costs one more query.
const ALIKE_MAX: usize = 256;

/// Denials of a domain that were the same in lower case, after which further denials count at once. One
/// alone shows little: most denied names exist in no letter case.
pub(crate) const ALIKE_AFTER: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn how_a_domain_treats_letter_case_is_known_for_that_domain_for_an_hour() {
        let (mut letters, at) = (Letters::default(), |s: u64| Monotonic::from_ms(s * 1000));
        letters.note_distinguished_case(at(0), name("lan.test"));
        assert!(
            letters.distinguishes_case(at(1), &name("me.lan.test"))
                && !letters.distinguishes_case(at(1), &name("me.test"))
        );
        assert!(!letters.distinguishes_case(at(3600), &name("me.lan.test")));
        for n in 1..=ALIKE_AFTER {
            assert!(!letters.ignores_case(at(1), name("a.test").as_wire()));
            letters.note_ignored_case(at(1), name("a.test").as_wire(), 1);
            assert_eq!(letters.ignores_case(at(1), name("a.test").as_wire()), n == ALIKE_AFTER);
        }
        assert!(
            !letters.ignores_case(at(1), name("b.test").as_wire())
                && !letters.ignores_case(at(3602), name("a.test").as_wire())
        );
    }

    #[test]
    fn the_number_of_remembered_domains_is_bounded() {
        let mut letters = Letters::default();
        for n in 0..1000 {
            letters.note_distinguished_case(Monotonic(1), name(&format!("d{n}.test")));
            letters.note_ignored_case(Monotonic(1), name(&format!("d{n}.test")).as_wire(), 1);
        }
        assert_eq!((letters.apart.len(), letters.alike.len()), (APART_MAX, ALIKE_MAX));
        assert!(letters.distinguishes_case(Monotonic(2), &name("d999.test")), "the latest are kept");
    }

    #[test]
    fn letter_case_is_never_learned_for_a_top_level_domain_from_a_name_below_it() {
        for (asked, domain) in [("me.lan", "me.lan"), ("me.x.lan", "x.lan"), ("lan", "lan"), (".", ".")] {
            assert_eq!(above(&name(asked)), name(domain).as_wire());
        }
    }
}
