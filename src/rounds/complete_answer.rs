//! Complete answers: the selection of the records of a message that belong to an answer, and their TTLs.
//!
//! An answer has the CNAMEs from QNAME on and the records at their end, with signatures. From the
//! authority section, it has only the proofs of a denial or a wildcard. Other records are left out (RFC
//! 5452 section 6). A message from which nothing is left out is stored as the upstream wrote it. A chain
//! that was chased is composed from several messages; each RRset comes from one upstream (I6).

use crate::faults::Faults;
use crate::question::Question;
use crate::response::cname_chain::{Owners, answers};
use crate::response::may_deny;
use crate::settings::{Bounds, DNAMES_MAX};
use hither_answers::Stored;
use hither_table::{Link, Monotonic};
use hither_wire::codes::{Class, Rcode, Rtype};
use hither_wire::compose::flags;
use hither_wire::copy::Copier;
use hither_wire::message::{Message, Record, Section};
use hither_wire::name::Name;
use std::net::IpAddr;

/// NSEC and NSEC3 records of one message, with signatures, that are kept while a chain is chased. A
/// wildcard name needs up to three records and their signatures.
const PROOFS_MAX: usize = 32;

/// The records of the chain so far, as an answer to the round's question. The next query asks for the
/// last target.
#[derive(Debug)]
pub(crate) struct ChainSoFar {
    octets: Box<[u8]>,
    /// When the first of the records was received; all TTLs count from then.
    at: Monotonic,
}

/// Builds an answer to the round's question from a message, and from the chain before it.
#[derive(Clone, Copy)]
pub(crate) struct AnswerBuilder<'a> {
    /// The question of the round.
    pub question: &'a Question,
    /// The chain before this message.
    pub before: Option<&'a ChainSoFar>,
    /// The QNAME that the message responds to.
    pub asked: &'a Name,
    /// The CNAMEs from `asked` on.
    pub chain: &'a [Link],
    pub rcode: Rcode,
    pub bounds: Bounds,
    pub faults: Faults,
}

/// The kind of records that are taken from a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Selection {
    /// The CNAMEs and their proofs.
    Chain,
    /// The CNAMEs and the records of the denial.
    Denial,
    /// The whole answer of the message.
    Data,
}

/// The records of an answer section that belong to the answer.
struct OwnRecords<'m> {
    /// Each record with the number of CNAMEs that lead to its owner.
    records: Vec<(usize, Record<'m>)>,
    /// Bit n is set when the CNAME of the chain's name n is one of the records.
    led: u32,
}

impl OwnRecords<'_> {
    /// Whether the CNAME of the chain's name `hop` is one of the records.
    fn is_led(&self, hop: usize) -> bool {
        self.led >> hop & 1 != 0
    }
}

impl AnswerBuilder<'_> {
    /// The chain so far, extended by this message's CNAMEs. `None`: it does not fit into a message.
    pub fn chain_so_far(&self, message: &Message<'_>, now: Monotonic) -> Option<ChainSoFar> {
        let kept = self.belonging(message, Selection::Chain);
        let at = self.before.map_or(now, |before| before.at);
        let octets = self.written(message, &kept, Selection::Chain, now)?.into_boxed_slice();
        Some(ChainSoFar { octets, at })
    }

    /// The answer that ends with this message. `denied_s` is the TTL of a denial in seconds, `None` for
    /// data. Returns `None` if the answer does not fit into a message.
    pub fn stored(&self, message: &Message<'_>, now: Monotonic, denied_s: Option<u32>) -> Option<Stored> {
        let selection = if denied_s.is_some() { Selection::Denial } else { Selection::Data };
        let kept = self.belonging(message, selection);
        let (all, own) = self.authority(message, selection);
        let as_it_is = message.asked().is_some()
            && self.before.is_none()
            && message.header().rcode() == self.rcode
            && kept.records.len() == usize::from(message.header().ancount)
            && kept.records.is_sorted_by_key(|(hop, _)| *hop)
            && (0..self.chain.len()).all(|hop| kept.is_led(hop))
            && (own == 0 || own == all);
        if as_it_is {
            // Names in the answer section never point to a later section.
            let last = if own == 0 { Section::Answer } else { Section::Authority };
            let lowest = Lowest::of(message, self.faults);
            return kept_for(message, now, denied_s, last, |record| self.ttl(&lowest, record, selection));
        }
        let octets = self.written(message, &kept, selection, now)?;
        kept_for(&Message::read(&octets).ok()?, now, denied_s, Section::Authority, |record| record.ttl)
    }

    /// The addresses of the answer section that belong to the answer.
    pub fn addresses(&self, message: &Message<'_>) -> Vec<IpAddr> {
        let kept = self.belonging(message, Selection::Data);
        kept.records.iter().filter_map(|(_, record)| record.address()).collect()
    }

    /// The number of records in the authority section, and the number of those that belong to the
    /// answer.
    fn authority(&self, message: &Message<'_>, selection: Selection) -> (usize, usize) {
        let mut all = (0, 0);
        for record in message.records().filter(|record| record.section == Section::Authority) {
            all.0 += 1;
            all.1 += usize::from(self.is_beside(&record, selection));
        }
        all
    }

    /// Whether a record of the authority section belongs to the answer: the SOA record of a denial, and
    /// the proofs that a name or type does not exist.
    fn is_beside(&self, record: &Record<'_>, selection: Selection) -> bool {
        let signs = record.rtype != Rtype::RRSIG || self.question.dnssec_ok;
        if self.faults.may_keep_strangers() {
            return selection != Selection::Chain || self.is_proof(record);
        }
        let denies =
            || selection == Selection::Denial && record.set_type() == Rtype::SOA && self.denies(record);
        record.class == Class::IN && signs && (self.is_proof(record) || denies())
    }

    /// Whether an SOA record, or its signature, is of a zone that contains the last name of the chain.
    fn denies(&self, record: &Record<'_>) -> bool {
        may_deny(&record.owner(), self.name(self.chain.len()), self.faults)
    }

    pub fn name(&self, hop: usize) -> &Name {
        hop.checked_sub(1).and_then(|n| self.chain.get(n)).map_or(self.asked, |link| &link.target)
    }

    /// The type of QNAME's first record, for a question of type ANY: one RRset of any type is enough
    /// (RFC 8482 section 4.1).
    fn first_type_for_any(&self, message: &Message<'_>) -> Rtype {
        let first = answers(message).find(|record| record.is_owned_by(self.asked));
        first.map_or(Rtype::ANY, |record| record.rtype)
    }

    /// The records of the answer section that belong to the answer.
    fn belonging<'m>(&self, message: &Message<'m>, selection: Selection) -> OwnRecords<'m> {
        let wanted = match self.question.rtype {
            Rtype::ANY => self.first_type_for_any(message),
            rtype => rtype,
        };
        let hashes: Vec<u64> = (0..=self.chain.len()).map(|hop| self.name(hop).folded_hash()).collect();
        let (mut owners, mut above) = (Owners::default(), 0);
        let mut kept = OwnRecords { records: Vec::new(), led: 0 };
        for record in answers(message) {
            let mut hop = self.hop(&record, selection, wanted, |record, hop| {
                hashes.get(hop) == Some(&owners.hash(record)) && record.is_owned_by(self.name(hop))
            });
            if hop.is_none() && record.set_type() == Rtype::DNAME && above < DNAMES_MAX {
                above += 1;
                hop = self.above(&record, wanted);
            }
            let Some(hop) = hop else { continue };
            // A name has one CNAME (RFC 1034 section 3.6.2). Of several, the first is used, which was
            // followed.
            if record.rtype == Rtype::CNAME && hop < self.chain.len() && kept.is_led(hop) {
                continue;
            }
            kept.led |= u32::from(record.rtype == Rtype::CNAME) << hop;
            kept.records.push((hop, record));
        }
        kept
    }

    /// The number of CNAMEs that lead to a record. `None`: the record does not belong to the answer.
    /// `is` says whether the record's owner is the chain's name `hop`.
    fn hop(
        &self,
        record: &Record<'_>,
        selection: Selection,
        wanted: Rtype,
        mut is: impl FnMut(&Record<'_>, usize) -> bool,
    ) -> Option<usize> {
        let end = self.chain.len();
        let signature = record.rtype == Rtype::RRSIG && wanted != Rtype::RRSIG;
        if signature && !self.question.dnssec_ok {
            return None;
        }
        let of = if signature { record.set_type() } else { record.rtype };
        // A CNAME that the question asks for is not followed.
        let asked_for = wanted != Rtype::CNAME || end == 0;
        if selection == Selection::Data && asked_for && of == wanted && is(record, end) {
            return Some(end);
        }
        (0..end).find(|hop| of == Rtype::CNAME && is(record, *hop))
    }

    /// The first name of the chain that is below the owner of a DNAME record or of its signature.
    fn above(&self, record: &Record<'_>, wanted: Rtype) -> Option<usize> {
        if record.rtype == Rtype::RRSIG && wanted != Rtype::RRSIG && !self.question.dnssec_ok {
            return None;
        }
        let (owner, end) = (record.owner(), self.chain.len());
        // A DNAME above the last name belongs to the answer if it implies the CNAME that the question
        // asks for, or a name that is too long.
        let last = self.rcode == Rcode::YXDOMAIN || wanted == Rtype::CNAME;
        (0..end + usize::from(last)).find(|hop| self.name(*hop).is_below(&owner))
    }

    /// Composes a message with the answer.
    fn written(
        &self,
        message: &Message<'_>,
        kept: &OwnRecords<'_>,
        selection: Selection,
        now: Monotonic,
    ) -> Option<Vec<u8>> {
        let mut out = vec![0; usize::from(u16::MAX)];
        let flags = flags::QR | flags::RD | flags::RA | u16::from(self.rcode.0 & 0xf);
        let mut copier = Copier::new(&mut out, flags, &self.question.name, self.question.rtype)?;
        let before = self.before.and_then(|before| Message::read(&before.octets).ok());
        let led: Vec<Record<'_>> = before.iter().flat_map(Message::records).collect();
        let lowest = Lowest::of(message, self.faults);
        let (led_ago_s, later_s) = self.ages_s(selection, now);
        let led_ttl = |record: &Record<'_>| record.ttl.saturating_sub(led_ago_s);
        let ttl = |record: &Record<'_>| self.ttl(&lowest, record, selection).saturating_add(later_s);
        for record in led.iter().filter(|record| record.section == Section::Answer) {
            copier.copy(&record.owner(), record, led_ttl(record)).then_some(())?;
        }
        for hop in 0..=self.chain.len() {
            let here = self.name(hop);
            for (_, record) in kept.records.iter().filter(|(of, _)| *of == hop) {
                let owner = if record.is_owned_by(here) { *here } else { record.owner() };
                copier.copy(&owner, record, ttl(record)).then_some(())?;
            }
            if let Some(link) = self.chain.get(hop).filter(|_| !kept.is_led(hop)) {
                // The DNAME record that implies this CNAME may be above other names of the chain too.
                let all = kept.records.iter().map(|(_, record)| record);
                let above = all.filter(|record| record.rtype == Rtype::DNAME);
                let ttl = above.filter(|record| here.is_below(&record.owner())).map(ttl).min()?;
                copier.cname(here, &link.target, ttl).then_some(())?;
            }
        }
        let proofs = led.iter().filter(|record| record.section == Section::Authority);
        let mut known: Vec<(u64, Record<'_>)> = Vec::new();
        for record in proofs {
            known.push((set_key(record.owner_hash(), record), *record));
            copier.copy(&record.owner(), record, led_ttl(record)).then_some(())?;
        }
        let most = if selection == Selection::Chain { PROOFS_MAX } else { usize::MAX };
        let authority = message.records().filter(|record| record.section == Section::Authority);
        for record in authority.filter(|record| self.is_beside(record, selection)).take(most) {
            let (owner, key) = (record.owner(), set_key(record.owner_hash(), &record));
            if !known.iter().any(|(of, other)| *of == key && other.is_owned_by(&owner)) {
                copier.copy(&owner, &record, ttl(&record)).then_some(())?;
            }
        }
        let len = copier.finish();
        out.truncate(len);
        Some(out)
    }

    /// Whether a record, or the record it signs, proves that a wildcard may answer for a name (RFC 4035
    /// section 3.1.3.3).
    fn is_proof(&self, record: &Record<'_>) -> bool {
        self.question.dnssec_ok && matches!(record.set_type(), Rtype::NSEC | Rtype::NSEC3)
    }

    /// The seconds to subtract from the TTLs of the chain so far, and the seconds to add to the TTLs of
    /// a message in mid-chain, so that all count from one time. For older records, a second that has
    /// begun counts as a full one, so that no client gets a TTL that is too long.
    fn ages_s(&self, selection: Selection, now: Monotonic) -> (u32, u32) {
        let Some(before) = self.before else { return (0, 0) };
        let seconds = |millis: u128| u32::try_from(millis / 1000).unwrap_or(u32::MAX);
        let ms = now.since(before.at).as_millis();
        match selection {
            Selection::Chain => (0, seconds(ms)),
            _ if self.faults.may_stop_ageing() => (0, 0),
            Selection::Denial | Selection::Data => (seconds(ms + 999), 0),
        }
    }

    /// The TTL of a record within the bounds: the lowest of its RRset (RFC 2181 section 5.2).
    fn ttl(&self, lowest: &Lowest, record: &Record<'_>, selection: Selection) -> u32 {
        match (selection, record.section) {
            (Selection::Denial, Section::Authority) => self.bounds.denial(lowest.ttl(record)),
            _ => self.bounds.data(lowest.ttl(record)),
        }
    }
}

/// Stores a message up to the end of section `last`, until its first record expires. The proofs of a
/// denial are kept no longer than the denial (RFC 2308 section 5, RFC 9077).
fn kept_for(
    message: &Message<'_>,
    now: Monotonic,
    denied_s: Option<u32>,
    last: Section,
    ttl: impl Fn(&Record<'_>) -> u32,
) -> Option<Stored> {
    let kept = message.records().take_while(|record| record.section <= last);
    let least_s = kept.map(|record| ttl(&record)).chain(denied_s).min().unwrap_or(0);
    Stored::new(message, now, least_s, last, ttl)
}

/// A hash that the records of an RRset and its signatures share; other RRsets may collide with it.
fn set_key(owner: u64, record: &Record<'_>) -> u64 {
    let kind = u64::from(record.set_type().0) << 32 | u64::from(record.class.0) << 8 | record.section as u64;
    (owner ^ kind).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The lowest TTL of each RRset, signatures included (RFC 4034 section 3), by the position of each
/// record's TTL. RRsets whose hashes collide share the lower one.
struct Lowest(Vec<(usize, u32)>);

impl Lowest {
    pub fn of(message: &Message<'_>, faults: Faults) -> Self {
        if faults.may_keep_own_ttls() {
            return Self(Vec::new());
        }
        let mut owners = Owners::default();
        let records = message.records().take_while(|record| record.section != Section::Additional);
        let mut keyed: Vec<(u64, u32, usize)> =
            records.map(|r| (set_key(owners.hash(&r), &r), r.ttl, r.ttl_at)).collect();
        keyed.sort_unstable();
        let sets = keyed.chunk_by(|a, b| a.0 == b.0);
        let least = sets.flat_map(|set| set.iter().map(|(.., at)| (*at, set[0].1)));
        let mut lowest: Vec<(usize, u32)> = least.collect();
        lowest.sort_unstable();
        Self(lowest)
    }

    fn ttl(&self, record: &Record<'_>) -> u32 {
        let found = self.0.binary_search_by_key(&record.ttl_at, |(at, _)| *at);
        found.ok().and_then(|n| self.0.get(n)).map_or(record.ttl, |(_, ttl)| *ttl)
    }
}
