//! Letters drawn against forgery, and upstreams to which they make another name: some forwarders look names of a domain of their own up
//! octet by octet. So a denial of such letters is asked once more in lower case before it is believed, and what comes of it is learned.
//!
//! It is learned by upstream and domain, and mostly for nothing: an answer to drawn letters shows as well that they do not matter there.
//! What one domain shows says nothing of others, since most such upstreams hand on what is not theirs.

use crate::attempt::{Attempt, Way};
use crate::hear::When;
use crate::mutant::Mutant;
use crate::response::{Heard, read};
use crate::round::{Phase, Round};
use crate::settings::CONFIRM_WITHIN;
use crate::shared::Shared;
use hither_table::{Monotonic, Negative};
use hither_wire::codes::{Class, Rtype};
use hither_wire::message::{Message, Section};
use hither_wire::name::Name;
use std::time::Duration;

/// How long it is remembered what letters are to an upstream.
const LEARNED_FOR: Duration = Duration::from_secs(3_600);
/// Domains remembered in which they matter.
const APART_MAX: usize = 16;
/// Places for domains in which they do not; two that meet cost a question more.
const ALIKE_MAX: usize = 256;
/// Denials of a domain that were the same in lower case, after which the next are believed. One says little: most names that are asked
/// for in vain are there in no letters.
const ALIKE_AFTER: u8 = 4;

/// What is known of an upstream's way with letters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Letters {
    /// Domains whose names it tells apart by them.
    apart: Vec<(Name, Monotonic)>,
    /// Domains where it does not, by hash.
    alike: Vec<Alike>,
}

#[derive(Clone, Copy, Debug)]
struct Alike {
    hash: u64,
    count: u8,
    until: Monotonic,
}

impl Letters {
    /// Whether a name is to be asked for in lower case.
    pub fn tells_apart(&self, now: Monotonic, name: &Name) -> bool {
        self.apart.iter().any(|(domain, until)| now < *until && name.ends_with(domain))
    }

    fn differ(&mut self, now: Monotonic, domain: Name) {
        self.apart.retain(|(known, until)| now < *until && *known != domain);
        if self.apart.len() == APART_MAX {
            self.apart.remove(0);
        }
        self.apart.push((domain, now.plus(LEARNED_FOR)));
    }

    /// What was asked for in drawn letters had no answer, and has one as it is meant.
    pub fn are_dropped(&mut self, now: Monotonic, name: &Name) {
        if let Ok(domain) = Name::from_wire(above(name)) {
            self.differ(now, domain);
        }
    }

    fn are_alike(&self, now: Monotonic, domain: &[u8]) -> bool {
        let (hash, at) = place(domain);
        self.alike.get(at).is_some_and(|a| a.hash == hash && a.count >= ALIKE_AFTER && now < a.until)
    }

    fn agree(&mut self, now: Monotonic, domain: &[u8], weight: u8) {
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

/// The domain that an answer for `name` says something of, in wire form: the one above it, unless that is everybody's.
fn above(name: &Name) -> &[u8] {
    let behind = |octets: &'_ [u8]| octets.first().map_or(0, |length| 1 + usize::from(*length));
    let wire = name.as_wire();
    let parent = wire.get(behind(wire)..).unwrap_or_default();
    match parent.get(behind(parent)) {
        Some(1..) => parent,
        Some(0) | None => wire,
    }
}

/// The domain that a denial is of: its zone, if that is not everybody's.
fn denied_domain(name: &Name, message: &Message<'_>) -> Name {
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

/// A denial that is asked once more in lower case.
#[derive(Debug)]
pub(crate) struct Denied {
    kind: Negative,
    domain: Name,
    came: Monotonic,
    octets: Vec<u8>,
    /// When it is believed unless there was a word against it.
    pub until: Monotonic,
}

enum Said {
    Something,
    Denial(Negative),
    Neither,
}

fn said(heard: &Heard) -> Said {
    match heard {
        Heard::Negative { kind, .. } | Heard::WholeNegative { kind, .. } => Said::Denial(*kind),
        Heard::Addresses { .. } | Heard::Bare { .. } | Heard::Whole { .. } => Said::Something,
        Heard::Truncated | Heard::Failed(_) => Said::Neither,
    }
}

impl Round {
    /// Learns from what attempt `at` heard what letters are to its upstream. Whether that has to wait: it denies letters that were
    /// drawn, and is asked in lower case.
    pub fn asks_in_lower(
        &mut self,
        shared: &mut Shared,
        When { now, came }: When,
        at: usize,
        (heard, message): (&Heard, &Message<'_>),
    ) -> bool {
        let said = said(heard);
        if self.attempts[at].denied.is_some() {
            self.second_word(shared, now, at, &said);
            return false;
        }
        let attempt = &self.attempts[at];
        if !attempt.is_mixed() || shared.mutants.has(Mutant::MixedDenialIsBelieved) {
            return false;
        }
        let (name, way) = (attempt.target.name(), attempt.way);
        let domain = above(name);
        let Some(upstream) = shared.upstream(way.upstream) else { return false };
        let known = upstream.letters.are_alike(now, domain);
        let kind = match said {
            Said::Denial(kind) if !known && matches!(self.phase, Phase::Racing { .. }) => kind,
            Said::Something if !known => {
                upstream.letters.agree(now, domain, ALIKE_AFTER);
                return false;
            }
            Said::Denial(_) | Said::Something | Said::Neither => return false,
        };
        let domain = denied_domain(name, message);
        if upstream.letters.are_alike(now, domain.as_wire()) {
            return false;
        }
        let until = now.plus(CONFIRM_WITHIN).min(self.deadline);
        let denied = Denied { kind, domain, came, octets: message.octets().to_vec(), until };
        let target = attempt.target.clone();
        // By the way that its denial came: what was too long for UDP will be again.
        if !self.send(shared, now, &target, Way { lower: true, again: false, ..way }) {
            return false;
        }
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.denied = Some(Box::new(denied));
        }
        let attempt = self.close(shared, now, at, kind.as_str());
        self.alive(shared, now, attempt.upstream, (attempt.rtt(came), true));
        true
    }

    /// Attempt `at` asked once more in lower case, and this is what came. An answer decides; whatever else it is goes its usual way first.
    fn second_word(&mut self, shared: &mut Shared, now: Monotonic, at: usize, said: &Said) {
        let attempt = &mut self.attempts[at];
        let (Some(upstream), false) = (shared.upstream(attempt.upstream), matches!(said, Said::Neither))
        else {
            return;
        };
        let Some(denied) = attempt.denied.take() else { return };
        match said {
            Said::Denial(kind) if *kind == denied.kind => {
                upstream.letters.agree(now, denied.domain.as_wire(), 1)
            }
            Said::Something | Said::Denial(_) | Said::Neither => upstream.letters.differ(now, denied.domain),
        }
    }

    /// Asks once more, another way, what an attempt that is over has asked; a denial that it was to look into waits for that.
    pub fn follow(&mut self, shared: &mut Shared, now: Monotonic, attempt: &mut Attempt, way: Way) -> bool {
        if !self.send(shared, now, &attempt.target, way) {
            return false;
        }
        if let (Some(mut denied), Some(next)) = (attempt.denied.take(), self.attempts.last_mut()) {
            denied.until = now.plus(CONFIRM_WITHIN).min(self.deadline);
            next.denied = Some(denied);
        }
        true
    }

    /// An attempt that is over came to nothing: what was denied before it stands, or the next is asked.
    pub fn in_vain(&mut self, shared: &mut Shared, now: Monotonic, attempt: &mut Attempt) {
        if !self.stands(shared, now, attempt) {
            self.next_after_failure(shared, now);
        }
    }

    /// What was denied before an attempt that is over is believed; `false`: nothing was.
    pub fn stands(&mut self, shared: &mut Shared, now: Monotonic, attempt: &mut Attempt) -> bool {
        let Some(denied) = attempt.denied.take() else { return false };
        let Ok(message) = Message::open(&denied.octets) else { return false };
        let when = When { now, came: denied.came };
        let heard = read(&message, &self.expected(shared, attempt), when.came, Vec::new());
        self.take_up(shared, when, attempt, heard, &message)
    }

    /// Denials that had their time are believed.
    pub fn stop_waiting_for_lower(&mut self, shared: &mut Shared, now: Monotonic) {
        let due = |a: &Attempt| a.denied.as_ref().is_some_and(|denied| now >= denied.until);
        while let Some(at) = self.attempts.iter().position(due) {
            let mut attempt = self.close(shared, now, at, "not contradicted");
            // It has answered, if not this.
            self.alive(shared, now, attempt.upstream, (None, true));
            self.in_vain(shared, now, &mut attempt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn what_a_domain_shows_is_known_of_that_domain_for_an_hour() {
        let (mut letters, at) = (Letters::default(), |s: u64| Monotonic::from_ms(s * 1000));
        letters.differ(at(0), name("lan.test"));
        assert!(
            letters.tells_apart(at(1), &name("me.lan.test")) && !letters.tells_apart(at(1), &name("me.test"))
        );
        assert!(!letters.tells_apart(at(3600), &name("me.lan.test")));
        for n in 1..=ALIKE_AFTER {
            assert!(!letters.are_alike(at(1), name("a.test").as_wire()));
            letters.agree(at(1), name("a.test").as_wire(), 1);
            assert_eq!(letters.are_alike(at(1), name("a.test").as_wire()), n == ALIKE_AFTER);
        }
        assert!(
            !letters.are_alike(at(1), name("b.test").as_wire())
                && !letters.are_alike(at(3602), name("a.test").as_wire())
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut letters = Letters::default();
        for n in 0..1000 {
            letters.differ(Monotonic(1), name(&format!("d{n}.test")));
            letters.agree(Monotonic(1), name(&format!("d{n}.test")).as_wire(), 1);
        }
        assert_eq!((letters.apart.len(), letters.alike.len()), (APART_MAX, ALIKE_MAX));
        assert!(letters.tells_apart(Monotonic(2), &name("d999.test")), "the latest are kept");
    }

    #[test]
    fn a_domain_is_never_everybodys() {
        for (asked, domain) in [("me.lan", "me.lan"), ("me.x.lan", "x.lan"), ("lan", "lan"), (".", ".")] {
            assert_eq!(above(&name(asked)), name(domain).as_wire());
        }
    }
}
