//! One upstream's answer, in the form in which it is stored.

use hither_table::Monotonic;
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::flags;
use hither_wire::copy::Copier;
use hither_wire::message::{Message, Record, Section};
use std::time::Duration;

/// Octets of a note behind the message: the offset of a TTL, and the TTL as received.
const NOTE: usize = 6;

/// The bits of an RCODE in a header (RFC 1035 section 4.1.1).
const RCODE: u8 = 0xf;
/// There are records that only queries with DO get (RFC 4035 section 3.2.1).
const SIGNED: u8 = 0x80;

/// Whether only queries with DO get a record, because its type was not asked for.
fn is_for_dnssec(record: &Record<'_>, asked: Rtype) -> bool {
    let is_one = matches!(record.rtype, Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3);
    is_one && record.rtype != asked && asked != Rtype::ANY
}

/// One upstream's answer, without its additional section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The message from its question to the end of its authority section; then a note of each TTL.
    octets: Box<[u8]>,
    /// Where the notes begin.
    notes_at: u16,
    /// Length of the question's name.
    name_len: u8,
    /// The RCODE, in its four bits; `SIGNED`.
    marks: u8,
    /// Records in the answer and in the authority section.
    counts: [u16; 2],
    received: Monotonic,
    expires: Monotonic,
}

impl Stored {
    /// Stores `message` up to the end of section `last`, for `lifetime_s`. Each record has the TTL
    /// that `ttl_s` gives it, but not more than `lifetime_s`: clients must not keep a record for
    /// longer than it is kept here (RFC 2308 section 5). `None` if the message has no question, or
    /// is broken or too large.
    #[must_use]
    pub fn new(
        message: &Message<'_>,
        now: Monotonic,
        lifetime_s: u32,
        last: Section,
        ttl_s: impl Fn(&Record<'_>) -> u32,
    ) -> Option<Self> {
        let question = message.question()?;
        // A fault behind the answer section only ends the records.
        if message.fault().is_some_and(|fault| fault.section == Section::Answer) {
            return None;
        }
        let body_at = 12 + question.name.as_wire().len() + 4;
        let (mut end, mut counts, mut notes, mut is_signed) = (body_at, [0u16; 2], Vec::new(), false);
        for record in message.records() {
            match record.section {
                Section::Additional => break,
                section if section > last => break,
                Section::Answer => counts[0] += 1,
                Section::Authority => counts[1] += 1,
            }
            is_signed |= is_for_dnssec(&record, question.rtype);
            notes.extend(u16::try_from(record.ttl_at - body_at).ok()?.to_le_bytes());
            notes.extend(ttl_s(&record).min(lifetime_s).to_le_bytes());
            end = record.rdata_at + record.rdata.len();
        }
        let kept = message.octets().get(12..end)?;
        Some(Self {
            octets: [kept, &notes].concat().into(),
            notes_at: u16::try_from(kept.len()).ok()?,
            name_len: u8::try_from(question.name.as_wire().len()).ok()?,
            marks: (message.header().rcode().0 & RCODE) | if is_signed { SIGNED } else { 0 },
            counts,
            received: now,
            expires: now.plus(Duration::from_secs(u64::from(lifetime_s))),
        })
    }

    /// Whether it stands for an answer that is withheld from clients. Only that has a TTL without
    /// any record: an upstream's denial has its TTL from the SOA record.
    #[must_use]
    pub fn is_withheld(&self) -> bool {
        self.rcode() == Rcode::NOERROR && self.counts == [0, 0] && self.expires > self.received
    }

    /// Whether there are records that only queries with DO get.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.marks & SIGNED != 0
    }

    /// The answer to queries without DO; `None` if it does not fit into a message.
    #[must_use]
    pub fn without_signatures(&self) -> Option<Stored> {
        let mut octets = vec![0; 12];
        octets[4..6].copy_from_slice(&1u16.to_be_bytes());
        octets[6..8].copy_from_slice(&self.counts[0].to_be_bytes());
        octets[8..10].copy_from_slice(&self.counts[1].to_be_bytes());
        octets.extend_from_slice(self.octets.get(..usize::from(self.notes_at))?);
        let message = Message::read(&octets).ok()?;
        let question = message.question()?;
        let mut out = vec![0; usize::from(u16::MAX)];
        let flags = flags::QR | u16::from(self.marks & RCODE);
        let mut copier = Copier::new(&mut out, flags, &question.name, question.rtype)?;
        for (record, (_, ttl)) in message.records().zip(self.ttls(self.received)) {
            if !is_for_dnssec(&record, question.rtype) {
                copier.copy(&record.owner(), &record, ttl).then_some(())?;
            }
        }
        let len = copier.finish();
        let lifetime_s = self.expires.since(self.received).as_secs();
        let lifetime_s = u32::try_from(lifetime_s).unwrap_or(u32::MAX);
        let message = Message::read(out.get(..len)?).ok()?;
        Stored::new(&message, self.received, lifetime_s, Section::Authority, |record| record.ttl)
    }

    /// The answer about a name that exists whatever the upstream says: NXDOMAIN without a chain
    /// becomes NODATA.
    #[must_use]
    pub fn of_existing(&self) -> Stored {
        let is_denied = self.counts[0] == 0 && self.rcode() == Rcode::NXDOMAIN;
        let rcode = if is_denied { Rcode::NOERROR } else { self.rcode() };
        Stored { marks: self.marks & !RCODE | rcode.0 & RCODE, ..self.clone() }
    }

    /// The question, as the upstream wrote it.
    pub(crate) fn question(&self) -> &[u8] {
        self.octets.get(..self.question_len()).unwrap_or_default()
    }

    /// The octets behind the question, with TTLs as received.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.octets.get(self.question_len()..usize::from(self.notes_at)).unwrap_or_default()
    }

    /// The offset of each TTL in [`Stored::body`], and the TTL at `now`. A second that has begun
    /// counts as over, so that no client keeps a record for longer than it is kept here.
    pub fn ttls(&self, now: Monotonic) -> impl Iterator<Item = (usize, u32)> + '_ {
        let age_ns = now.0.saturating_sub(self.received.0);
        let age_s = u32::try_from(age_ns.div_ceil(1_000_000_000)).unwrap_or(u32::MAX);
        let notes = self.octets.get(usize::from(self.notes_at)..).unwrap_or_default();
        notes.as_chunks::<NOTE>().0.iter().map(move |[low, high, ttl @ ..]| {
            (usize::from(u16::from_le_bytes([*low, *high])), u32::from_le_bytes(*ttl).saturating_sub(age_s))
        })
    }

    /// The length of the question, in octets; a client's question has the same.
    #[must_use]
    pub fn question_len(&self) -> usize {
        usize::from(self.name_len) + 4
    }

    /// How many records the answer and the authority section have.
    #[must_use]
    pub fn counts(&self) -> [u16; 2] {
        self.counts
    }

    /// The RCODE of the upstream's response.
    #[must_use]
    pub fn rcode(&self) -> Rcode {
        Rcode(self.marks & RCODE)
    }

    /// Whether it is a negative response, or an error.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        self.counts[0] == 0 || self.rcode() != Rcode::NOERROR
    }

    /// The time at which the answer expires, by the table's clock.
    #[must_use]
    pub fn expires(&self) -> Monotonic {
        self.expires
    }

    /// Whether it has expired.
    #[must_use]
    pub fn expired(&self, now: Monotonic) -> bool {
        now >= self.expires
    }

    /// The octets of the message and its notes.
    pub(crate) fn len(&self) -> usize {
        self.octets.len()
    }
}
