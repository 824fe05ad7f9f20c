//! The verdicts on the certificates that servers show, for each name and address. Pure, and bounded: names
//! that were published once are dropped before those that were published again, so that a flood of names
//! displaces no name in use.

use hither_secure::{Judgement, Shown};
use hither_table::{Family, Monotonic, Trust};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

/// Verdicts that are kept; with certificates and indexes less than 10 MiB.
pub(super) const VERDICTS_MAX: usize = 16_384;
/// How long a verdict counts.
const COUNTS_FOR: Duration = Duration::from_secs(24 * 3600);
/// The ages at which verdicts are renewed if the name is in use: good ones, others, and handshakes without a
/// verdict.
const RENEWED_AFTER: Duration = Duration::from_secs(20 * 3600);
const DOUBTED_AFTER: Duration = Duration::from_secs(3600);
const TRIED_AFTER: Duration = Duration::from_secs(600);

/// A verdict.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::sorter) struct Verdict {
    pub address: IpAddr,
    pub trust: Trust,
    /// When it was given.
    pub at: Monotonic,
    /// When a handshake was tried last, with or without a verdict.
    tried: Monotonic,
    /// Whether the host has moved to another network since.
    is_doubted: bool,
    /// The certificate; shared by the addresses of a name that show the same one.
    pub shown: Option<Rc<Shown>>,
}

impl Verdict {
    /// When it is renewed, if the name is in use then.
    pub fn due(&self) -> Monotonic {
        let age = match self.trust {
            _ if self.is_doubted => return self.at,
            Trust::Verified => RENEWED_AFTER,
            Trust::Unknown => TRIED_AFTER,
            _ => DOUBTED_AFTER,
        };
        self.at.plus(age).max(self.tried.plus(TRIED_AFTER))
    }

    /// The verdict at this time: unknown when it is too old.
    fn trust_at(&self, now: Monotonic) -> Trust {
        if now.since(self.at) < COUNTS_FOR { self.trust } else { Trust::Unknown }
    }
}

#[derive(Debug)]
struct Known {
    verdicts: Vec<Verdict>,
    /// The number of the latest round that published it, for each family.
    rounds: [u64; 2],
    /// Its place in `by_use`.
    used: Use,
}

/// Whether a name was published again after it became known, and its last use.
type Use = (bool, u64);

#[derive(Debug, Default)]
pub(super) struct Verdicts {
    names: BTreeMap<Rc<[u8]>, Known>,
    by_use: BTreeMap<Use, Rc<[u8]>>,
    uses: u64,
    count: usize,
}

impl Verdicts {
    /// The verdict for a name and address, however old.
    pub fn get(&self, name: &[u8], address: &IpAddr) -> Option<&Verdict> {
        self.names.get(name)?.verdicts.iter().find(|known| known.address == *address)
    }

    /// The verdict that counts; `None` if there never was one, [`Trust::Unknown`] if it is too old.
    pub fn trust(&self, name: &[u8], address: &IpAddr, now: Monotonic) -> Option<Trust> {
        self.get(name, address).map(|known| known.trust_at(now))
    }

    /// Whether a handshake is due: there was none, or it was long ago.
    pub fn is_due(&self, name: &[u8], address: &IpAddr, now: Monotonic) -> bool {
        self.get(name, address).is_none_or(|known| known.due() <= now)
    }

    /// Notes the set of a known name that a round has published. Verdicts on addresses that have left it are
    /// dropped. Returns whether the name was known.
    pub fn note_set(&mut self, name: &[u8], family: Family, round: u64, set: &[IpAddr]) -> bool {
        let Some(known) = self.names.get_mut(name) else { return false };
        let place = &mut known.rounds[usize::from(family == Family::Aaaa)];
        let is_again = *place != 0 && *place != round;
        *place = round;
        let before = known.verdicts.len();
        known.verdicts.retain(|one| Family::of(&one.address) != family || set.contains(&one.address));
        self.count -= before - known.verdicts.len();
        if is_again {
            self.uses += 1;
            if let Some(name) = self.by_use.remove(&known.used) {
                known.used = (true, self.uses);
                self.by_use.insert(known.used, name);
            }
        }
        true
    }

    /// Notes the end of a handshake. One without a verdict does not replace an earlier verdict. Returns
    /// whether the verdict is another one than before.
    pub fn note(&mut self, name: &Rc<[u8]>, address: IpAddr, judgement: Judgement, now: Monotonic) -> bool {
        let known = self.names.entry(Rc::clone(name)).or_insert_with(|| {
            self.uses += 1;
            self.by_use.insert((false, self.uses), Rc::clone(name));
            Known { verdicts: Vec::new(), rounds: [0; 2], used: (false, self.uses) }
        });
        let same = known.verdicts.iter().filter_map(|one| one.shown.as_ref());
        let same = same.filter(|shown| Some(&***shown) == judgement.shown.as_ref()).map(Rc::clone).next();
        let shown = same.or(judgement.shown.map(Rc::new));
        let new =
            Verdict { address, trust: judgement.verdict, at: now, tried: now, is_doubted: false, shown };
        let is_other = match known.verdicts.iter_mut().find(|one| one.address == address) {
            None => {
                let is_verdict = new.trust != Trust::Unknown;
                known.verdicts.push(new);
                self.count += 1;
                is_verdict
            }
            Some(before) if new.trust == Trust::Unknown => {
                (before.tried, before.is_doubted) = (now, false);
                false
            }
            Some(before) => {
                let is_other = before.trust_at(now) != new.trust;
                *before = new;
                is_other
            }
        };
        self.make_room();
        is_other
    }

    fn make_room(&mut self) {
        while self.count > VERDICTS_MAX
            && let Some((_, name)) = self.by_use.pop_first()
        {
            self.count -= self.names.remove(&name).map_or(0, |known| known.verdicts.len());
        }
    }

    /// In another network other servers may answer: all but good verdicts are to be renewed.
    pub fn doubt(&mut self) {
        for one in self.names.values_mut().flat_map(|known| &mut known.verdicts) {
            one.is_doubted = one.trust != Trust::Verified;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    fn said(verdict: Trust) -> Judgement {
        let shown = Shown { names: vec!["www.example".to_owned()], names_more: 0, validity: None };
        Judgement { verdict, shown: (verdict == Trust::Verified).then_some(shown) }
    }

    #[test]
    fn a_verdict_counts_for_a_day_and_is_renewed_before() {
        let (mut verdicts, name, begin) = (Verdicts::default(), Rc::from(*b"a"), Monotonic::from_ms(1000));
        assert!(verdicts.is_due(&name, &ip(1), begin) && verdicts.trust(&name, &ip(1), begin).is_none());
        assert!(verdicts.note(&name, ip(1), said(Trust::Verified), begin));
        assert!(verdicts.note(&name, ip(2), said(Trust::OtherName), begin));
        assert!(!verdicts.is_due(&name, &ip(1), begin.plus(19 * HOUR)));
        assert!(verdicts.is_due(&name, &ip(1), begin.plus(20 * HOUR)));
        assert!(verdicts.is_due(&name, &ip(2), begin.plus(HOUR)), "a bad verdict sooner");
        assert!(!verdicts.note(&name, ip(1), said(Trust::Unknown), begin.plus(20 * HOUR)));
        assert_eq!(verdicts.trust(&name, &ip(1), begin.plus(23 * HOUR)), Some(Trust::Verified));
        assert!(!verdicts.is_due(&name, &ip(1), begin.plus(20 * HOUR)), "it has just been tried");
        assert_eq!(verdicts.trust(&name, &ip(1), begin.plus(24 * HOUR)), Some(Trust::Unknown));
        assert!(!verdicts.note(&name, ip(2), said(Trust::OtherName), begin.plus(HOUR)), "the same again");
        assert!(verdicts.note(&name, ip(2), said(Trust::Verified), begin.plus(HOUR)));
        let shown = |n| verdicts.get(&name, &ip(n)).and_then(|one| one.shown.clone()).expect("shown");
        assert!(Rc::ptr_eq(&shown(1), &shown(2)), "one certificate, kept once");
    }

    #[test]
    fn a_verdict_ends_when_its_address_leaves_the_set() {
        let (mut verdicts, name, now) = (Verdicts::default(), Rc::from(*b"a"), Monotonic::from_ms(1000));
        assert!(!verdicts.note_set(&name, Family::A, 1, &[ip(1)]), "not known");
        verdicts.note(&name, ip(1), said(Trust::Verified), now);
        verdicts.note(&name, ip(2), said(Trust::Verified), now);
        assert!(verdicts.note_set(&name, Family::Aaaa, 1, &[]), "the other family");
        assert!(verdicts.note_set(&name, Family::A, 2, &[ip(2), ip(3)]));
        let of = |n| verdicts.trust(&name, &ip(n), now);
        assert_eq!([of(1), of(2), of(3)], [None, Some(Trust::Verified), None]);
        assert_eq!(verdicts.count, 1);
    }

    #[test]
    fn another_network_leaves_good_verdicts_alone() {
        let (mut verdicts, name, now) = (Verdicts::default(), Rc::from(*b"a"), Monotonic::from_ms(5_000_000));
        verdicts.note(&name, ip(1), said(Trust::Verified), now);
        verdicts.note(&name, ip(2), said(Trust::Untrusted), now);
        verdicts.doubt();
        assert!(!verdicts.is_due(&name, &ip(1), now) && verdicts.is_due(&name, &ip(2), now));
        assert_eq!(verdicts.trust(&name, &ip(2), now), Some(Trust::Untrusted), "until then it stays");
        verdicts.note(&name, ip(2), said(Trust::Unknown), now);
        assert!(!verdicts.is_due(&name, &ip(2), now));
    }

    #[test]
    fn a_flood_of_names_displaces_no_name_that_was_published_again() {
        let (mut verdicts, now) = (Verdicts::default(), Monotonic::from_ms(1000));
        let name = |n: usize| Rc::from(n.to_be_bytes());
        let used: Rc<[u8]> = name(0);
        verdicts.note(&used, ip(1), said(Trust::Verified), now);
        verdicts.note_set(&used, Family::A, 7, &[ip(1)]);
        verdicts.note_set(&used, Family::A, 8, &[ip(1)]);
        for n in 1..2 * VERDICTS_MAX {
            verdicts.note(&name(n), ip(1), said(Trust::Verified), now);
        }
        assert_eq!((verdicts.count, verdicts.names.len()), (VERDICTS_MAX, VERDICTS_MAX));
        assert_eq!(verdicts.by_use.len(), VERDICTS_MAX);
        assert_eq!(verdicts.trust(&used, &ip(1), now), Some(Trust::Verified));
        assert_eq!(verdicts.trust(&name(1), &ip(1), now), None);
    }
}
