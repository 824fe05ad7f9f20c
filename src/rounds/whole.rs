//! Answers that are kept whole: which records of a message belong to one, and how long each of them counts.
//!
//! An answer is the CNAMEs from the asked name on and what is at their end; whatever stands beside is left out (RFC 5452 section 6). What nothing
//! has to be left out of is kept as its upstream wrote it. A chain that was found by asking on is put together from several messages, each RRset as one
//! upstream said it (I6).

use crate::Question;
use crate::mutant::{Mutant, Mutants};
use crate::response::answers;
use crate::settings::Bounds;
use hither_answers::Stored;
use hither_table::{Link, Monotonic};
use hither_wire::codes::{Class, Rcode, Rtype};
use hither_wire::compose::flags;
use hither_wire::copy::Copier;
use hither_wire::message::{Message, Record, Section};
use hither_wire::name::Name;

/// Proofs of one message that are kept while its chain is followed; a name that a wildcard made needs up to three, and their signatures.
const PROOFS_MAX: usize = 32;
/// RRsets whose TTLs are told apart; the rest of an answer that has more gets the least of all.
const SETS_MAX: usize = 64;

/// The records that led to a name which is asked for next, as an answer to the round's question.
#[derive(Debug)]
pub(crate) struct Before {
    octets: Vec<u8>,
    /// When the first of them was heard; all TTLs are as of then.
    at: Monotonic,
}

/// What a message is of an answer.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'a> {
    /// The round's.
    pub question: &'a Question,
    /// What was found before it.
    pub before: Option<&'a Before>,
    /// What the message was asked for.
    pub asked: &'a Name,
    /// The CNAMEs from there on.
    pub chain: &'a [Link],
    pub rcode: Rcode,
    pub bounds: Bounds,
    pub mutants: Mutants,
}

/// What is taken from a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Take {
    /// The CNAMEs, and what proves them.
    Chain,
    /// The CNAMEs, and the whole authority section.
    Denial,
    /// All of it.
    Data,
}

impl Piece<'_> {
    /// The message's CNAMEs, which nothing has followed yet; `None` when they do not fit with what was before.
    pub fn before(&self, message: &Message<'_>, now: Monotonic) -> Option<Before> {
        let kept = self.belonging(message, Take::Chain);
        let at = self.before.map_or(now, |before| before.at);
        Some(Before { octets: self.written(message, (&kept, Take::Chain), now)?, at })
    }

    /// The answer that ends with this message; a denial counts for `denied_s`. `None` when it does not fit into a message.
    pub fn stored(&self, message: &Message<'_>, now: Monotonic, denied_s: Option<u32>) -> Option<Stored> {
        let take = if denied_s.is_some() { Take::Denial } else { Take::Data };
        let kept = self.belonging(message, take);
        let as_it_is = message.asked().is_some()
            && self.before.is_none()
            && message.header().rcode() == self.rcode
            && kept.len() == usize::from(message.header().ancount)
            && kept.is_sorted_by_key(|(hop, _)| *hop)
            && (0..self.chain.len()).all(|hop| is_led(&kept, hop));
        if as_it_is {
            let lowest = Lowest::of(message, self.mutants);
            return kept_for(message, now, denied_s, |record| self.ttl(&lowest, record, take));
        }
        let octets = self.written(message, (&kept, take), now)?;
        kept_for(&Message::read(&octets).ok()?, now, denied_s, |record| record.ttl)
    }

    fn name(&self, hop: usize) -> &Name {
        hop.checked_sub(1).and_then(|n| self.chain.get(n)).map_or(self.asked, |link| &link.target)
    }

    /// The records of the answer section that belong to the answer, each with the CNAMEs that lead there.
    fn belonging<'m>(&self, message: &Message<'m>, take: Take) -> Vec<(usize, Record<'m>)> {
        let mut wanted = self.question.rtype;
        if wanted == Rtype::ANY {
            // Of all types one is enough (RFC 8482 section 4.1).
            let first = answers(message).find(|record| record.owner_is(self.asked));
            wanted = first.map_or(wanted, |record| record.rtype);
        }
        let mut kept: Vec<(usize, Record<'m>)> = Vec::new();
        for record in answers(message) {
            if let Some(hop) = self.hop(&record, (take, wanted)) {
                // A name has one CNAME (RFC 1034 section 3.6.2): of more the first, which is the one that is followed.
                let second = record.rtype == Rtype::CNAME && hop < self.chain.len() && is_led(&kept, hop);
                if !second {
                    kept.push((hop, record));
                }
            }
        }
        kept
    }

    /// How many CNAMEs lead to a record, if it belongs to the answer.
    fn hop(&self, record: &Record<'_>, (take, wanted): (Take, Rtype)) -> Option<usize> {
        let end = self.chain.len();
        let signature = record.rtype == Rtype::RRSIG && wanted != Rtype::RRSIG;
        if signature && !self.question.dnssec_ok {
            return None;
        }
        // A CNAME that was asked for is not followed, though a DNAME record may be what says it.
        let asked_for = wanted != Rtype::CNAME || end == 0;
        let data = take == Take::Data && asked_for && (record.rtype == wanted || signature);
        if data && record.owner_is(self.name(end)) {
            return Some(end);
        }
        if record.set_type() == Rtype::DNAME {
            let owner = record.owner();
            // It makes a CNAME that was asked for, or a name that would be too long; else what is at the end has nothing to do with it.
            let last = self.rcode == Rcode::YXDOMAIN || wanted == Rtype::CNAME;
            return (0..end + usize::from(last)).find(|hop| self.name(*hop).is_below(&owner));
        }
        let leads = record.rtype == Rtype::CNAME || signature;
        (0..end).find(|hop| leads && record.owner_is(self.name(*hop)))
    }

    /// A message of its own.
    fn written(
        &self,
        message: &Message<'_>,
        (kept, take): (&[(usize, Record<'_>)], Take),
        now: Monotonic,
    ) -> Option<Vec<u8>> {
        let mut out = vec![0; usize::from(u16::MAX)];
        let question = (&self.question.name, self.question.rtype, Class::IN);
        let flags = flags::QR | flags::RD | flags::RA | u16::from(self.rcode.0 & 0xf);
        let mut copier = Copier::new(&mut out, flags, question)?;
        let before = self.before.and_then(|before| Message::read(&before.octets).ok());
        let led: Vec<Record<'_>> = before.iter().flat_map(Message::records).collect();
        let lowest = Lowest::of(message, self.mutants);
        let (led_ago_s, later_s) = self.ages_s(take, now);
        let led_ttl = |record: &Record<'_>| record.ttl.saturating_sub(led_ago_s);
        let ttl = |record: &Record<'_>| self.ttl(&lowest, record, take).saturating_add(later_s);
        for record in led.iter().filter(|record| record.section == Section::Answer) {
            copier.copy(&record.owner(), record, led_ttl(record)).then_some(())?;
        }
        for hop in 0..=self.chain.len() {
            let here = self.name(hop);
            for (_, record) in kept.iter().filter(|(of, _)| *of == hop) {
                let owner = if record.owner_is(here) { *here } else { record.owner() };
                copier.copy(&owner, record, ttl(record)).then_some(())?;
            }
            if let Some(link) = self.chain.get(hop).filter(|_| !is_led(kept, hop)) {
                // The DNAME record that it follows from may stand above other names of the chain too.
                let above =
                    kept.iter().map(|(_, record)| record).filter(|record| record.rtype == Rtype::DNAME);
                let ttl = above.filter(|record| here.is_below(&record.owner())).map(ttl).min()?;
                copier.cname(here, &link.target, ttl).then_some(())?;
            }
        }
        let proofs: Vec<_> = led.iter().filter(|record| record.section == Section::Authority).collect();
        for record in &proofs {
            copier.copy(&record.owner(), record, led_ttl(record)).then_some(())?;
        }
        let most = if take == Take::Chain { PROOFS_MAX } else { usize::MAX };
        let authority = message.records().filter(|record| record.section == Section::Authority);
        let authority = authority.filter(|record| take != Take::Chain || self.is_proof(record)).take(most);
        for record in authority.filter(|record| !proofs.iter().any(|known| is_same_set(known, record))) {
            copier.copy(&record.owner(), &record, ttl(&record)).then_some(())?;
        }
        let len = copier.finish();
        out.truncate(len);
        Some(out)
    }

    /// Whether a record proves that a wildcard may stand for a name, or the signature of such a one (RFC 4035 section 3.1.3.3).
    fn is_proof(&self, record: &Record<'_>) -> bool {
        self.question.dnssec_ok && matches!(record.set_type(), Rtype::NSEC | Rtype::NSEC3)
    }

    /// By how much TTLs that were heard before are lessened, and those of a message that is chased on from are raised, to be all as of one time.
    /// A second that has begun is over for what was said before it, so that nobody is told more than is left.
    fn ages_s(&self, take: Take, now: Monotonic) -> (u32, u32) {
        let Some(before) = self.before else { return (0, 0) };
        let seconds = |millis: u128| u32::try_from(millis / 1000).unwrap_or(u32::MAX);
        let ms = now.since(before.at).as_millis();
        match take {
            Take::Chain => (0, seconds(ms)),
            _ if self.mutants.has(Mutant::ChasedLinksDoNotAge) => (0, 0),
            Take::Denial | Take::Data => (seconds(ms + 999), 0),
        }
    }

    /// The TTL of a record of a message: an RRset has one, its lowest (RFC 2181 section 5.2), within the bounds.
    fn ttl(&self, lowest: &Lowest<'_>, record: &Record<'_>, take: Take) -> u32 {
        match (take, record.section) {
            (Take::Denial, Section::Authority) => self.bounds.denial(lowest.ttl(record)),
            _ => self.bounds.data(lowest.ttl(record)),
        }
    }
}

/// Keeps a message that is one answer, as long as the first of its records runs out. What proves a denial counts no longer than that does
/// (RFC 2308 section 5, RFC 9077).
fn kept_for(
    message: &Message<'_>,
    now: Monotonic,
    denied_s: Option<u32>,
    ttl: impl Fn(&Record<'_>) -> u32,
) -> Option<Stored> {
    let kept = message.records().take_while(|record| record.section != Section::Additional);
    let least_s = kept.map(|record| ttl(&record)).chain(denied_s).min().unwrap_or(0);
    Stored::new(message, now, least_s, |record| match (denied_s, record.section) {
        (Some(_), Section::Authority) => least_s,
        _ => ttl(record),
    })
}

/// Whether the CNAME that leads on from a name is there.
fn is_led(kept: &[(usize, Record<'_>)], hop: usize) -> bool {
    kept.iter().any(|(of, record)| *of == hop && record.rtype == Rtype::CNAME)
}

/// Whether two records are of one RRset, or sign it.
fn is_same_set(a: &Record<'_>, b: &Record<'_>) -> bool {
    let key = |record: &Record<'_>| (record.set_type(), record.class, record.section);
    key(a) == key(b) && (a.is_beside(b) || b.owner_is(&a.owner()))
}

/// The lowest TTL of each RRset of a message, signatures included (RFC 4034 section 3).
struct Lowest<'m> {
    sets: Vec<(Record<'m>, u32)>,
    rest: u32,
}

impl<'m> Lowest<'m> {
    fn of(message: &Message<'m>, mutants: Mutants) -> Self {
        let mut lowest = Self { sets: Vec::new(), rest: u32::MAX };
        if mutants.has(Mutant::RecordsKeepTheirOwnTtl) {
            return lowest;
        }
        for record in message.records().take_while(|record| record.section != Section::Additional) {
            lowest.rest = lowest.rest.min(record.ttl);
            let known = lowest.sets.iter_mut().find(|(known, _)| is_same_set(known, &record));
            if let Some((_, ttl)) = known {
                *ttl = (*ttl).min(record.ttl);
            } else if lowest.sets.len() < SETS_MAX {
                lowest.sets.push((record, record.ttl));
            }
        }
        lowest
    }

    fn ttl(&self, record: &Record<'_>) -> u32 {
        let known = self.sets.iter().find(|(known, _)| is_same_set(known, record));
        known.map_or(self.rest.min(record.ttl), |(_, ttl)| *ttl)
    }
}
