//! One upstream's answer, in the form in which it is stored.

use hither_table::Monotonic;
use hither_wire::codes::{Class, Rcode, Rtype};
use hither_wire::compose::flags;
use hither_wire::copy::Copier;
use hither_wire::header::HEADER_LEN;
use hither_wire::message::{Message, Record, Section};
use hither_wire::name::Name;
use std::time::Duration;

/// Octets of a note after the message: the offset of a TTL (2), and the TTL as received (4).
const NOTE_LEN: usize = 6;

/// The bits of an RCODE in a header (RFC 1035 section 4.1.1).
const RCODE_BITS: u8 = 0xf;
/// Set in `marks` if the answer has records that only queries with DO get (RFC 4035 section 3.2.1).
const SIGNED: u8 = 0x80;

/// Whether only queries with DO get a record: it is of a DNSSEC type that was not asked for.
fn is_for_dnssec(record: &Record<'_>, asked: Rtype) -> bool {
    let is_dnssec_type = matches!(record.rtype, Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3);
    is_dnssec_type && record.rtype != asked && asked != Rtype::ANY
}

/// One upstream's answer, without its additional section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The message from its question to the end of its authority section; then a note of each TTL.
    octets: Box<[u8]>,
    /// The offset of the notes in `octets`.
    notes_at: u16,
    /// The length of QNAME in octets.
    name_len: u8,
    /// The RCODE, in four bits, and [`SIGNED`].
    marks: u8,
    /// How many records the answer and the authority section have.
    counts: [u16; 2],
    received: Monotonic,
    expires: Monotonic,
}

impl Stored {
    /// Stores `message` up to the end of section `last`, for `lifetime_s`. Each record gets the TTL that
    /// `ttl_s` returns, at most `lifetime_s`: clients must not keep a record for longer than it is kept
    /// here (RFC 2308 section 5). `None` if the message has no question, has a fault in its answer
    /// section, or is too large.
    #[must_use]
    pub fn new(
        message: &Message<'_>,
        now: Monotonic,
        lifetime_s: u32,
        last: Section,
        ttl_s: impl Fn(&Record<'_>) -> u32,
    ) -> Option<Self> {
        let question = message.question()?;
        // A fault after the answer section only ends the records.
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
            marks: (message.header().rcode().0 & RCODE_BITS) | if is_signed { SIGNED } else { 0 },
            counts,
            received: now,
            expires: now.plus(Duration::from_secs(u64::from(lifetime_s))),
        })
    }

    /// Whether this stands for an answer that is withheld from clients. No other answer has a lifetime
    /// without any record: an upstream's denial has it from its SOA record.
    #[must_use]
    pub fn is_withheld(&self) -> bool {
        self.rcode() == Rcode::NOERROR && self.counts == [0, 0] && self.expires > self.received
    }

    /// Whether the answer has records that only queries with DO get.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.marks & SIGNED != 0
    }

    /// The answer without the records that only queries with DO get; `None` if it does not fit into a
    /// message.
    #[must_use]
    pub fn without_signatures(&self) -> Option<Stored> {
        let octets = self.message();
        let message = Message::read(&octets).ok()?;
        let question = message.question()?;
        let mut out = vec![0; usize::from(u16::MAX)];
        let flags = flags::QR | u16::from(self.marks & RCODE_BITS);
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

    /// The answer with other RDATA of the same length: `change` gets the owner and the RDATA of each record
    /// of type `rtype` in the answer section, and returns whether it has changed the RDATA. `None`: nothing
    /// has changed.
    #[must_use]
    pub fn with_rdata(
        &self,
        rtype: Rtype,
        mut change: impl FnMut(&Name, &mut [u8]) -> bool,
    ) -> Option<Stored> {
        let message = self.message();
        let read = Message::read(&message).ok()?;
        let records = read.records().filter(|record| {
            record.section == Section::Answer && record.rtype == rtype && record.class == Class::IN
        });
        let mut octets = self.octets.clone();
        let mut changed = false;
        for record in records {
            let at = record.rdata_at - HEADER_LEN;
            if let Some(rdata) = octets.get_mut(at..at + record.rdata.len()) {
                changed |= change(&record.owner(), rdata);
            }
        }
        changed.then(|| Stored { octets, ..self.clone() })
    }

    /// The message with a header, as far as it is kept.
    fn message(&self) -> Vec<u8> {
        let mut octets = vec![0; HEADER_LEN];
        octets[4..6].copy_from_slice(&1u16.to_be_bytes());
        octets[6..8].copy_from_slice(&self.counts[0].to_be_bytes());
        octets[8..10].copy_from_slice(&self.counts[1].to_be_bytes());
        octets.extend_from_slice(self.octets.get(..usize::from(self.notes_at)).unwrap_or_default());
        octets
    }

    /// The answer for a name that exists although the upstream may deny it: NXDOMAIN without a CNAME
    /// becomes NODATA.
    #[must_use]
    pub fn for_existing_name(&self) -> Stored {
        let is_denied = self.counts[0] == 0 && self.rcode() == Rcode::NXDOMAIN;
        let rcode = if is_denied { Rcode::NOERROR } else { self.rcode() };
        Stored { marks: self.marks & !RCODE_BITS | rcode.0 & RCODE_BITS, ..self.clone() }
    }

    /// The question, as the upstream wrote it.
    pub(crate) fn question(&self) -> &[u8] {
        self.octets.get(..self.question_len()).unwrap_or_default()
    }

    /// The octets after the question, with TTLs as received.
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
        notes.as_chunks::<NOTE_LEN>().0.iter().map(move |[low, high, ttl @ ..]| {
            (usize::from(u16::from_le_bytes([*low, *high])), u32::from_le_bytes(*ttl).saturating_sub(age_s))
        })
    }

    /// The length of the question in octets, which is also that of a client's question.
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
        Rcode(self.marks & RCODE_BITS)
    }

    /// Whether this is a negative response or an error.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        self.counts[0] == 0 || self.rcode() != Rcode::NOERROR
    }

    /// The time at which the answer expires, by the table's clock.
    #[must_use]
    pub fn expires(&self) -> Monotonic {
        self.expires
    }

    /// Whether the answer has expired at `now`.
    #[must_use]
    pub fn expired(&self, now: Monotonic) -> bool {
        now >= self.expires
    }

    /// The octets of the message and its notes.
    pub(crate) fn len(&self) -> usize {
        self.octets.len()
    }
}
