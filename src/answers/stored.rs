//! One upstream's answer, as it is kept.

use hither_table::Monotonic;
use hither_wire::codes::{Class, Rcode, Rtype};
use hither_wire::compose::flags;
use hither_wire::copy::Copier;
use hither_wire::message::{Message, Record, Section};
use std::time::Duration;

/// Octets of the note of a TTL behind the message: where it stands, and the TTL as it came.
const NOTE: usize = 6;

/// The bits of an RCODE in a header (RFC 1035 section 4.1.1).
const RCODE: u8 = 0xf;
/// There are records that only those get who want DNSSEC (RFC 4035 section 3.2.1).
const SIGNED: u8 = 0x80;

/// Whether a record is for those alone who want DNSSEC records, where it was not asked for by its type.
fn is_for_dnssec(record: &Record<'_>, asked: Rtype) -> bool {
    let is_one = matches!(record.rtype, Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3);
    is_one && record.rtype != asked && asked != Rtype::ANY
}

/// One upstream's answer, without its OPT and additional records.
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
    /// Keeps what `message` says up to the end of section `last`, for `lifetime_s`, each record with the TTL that `ttl_s` gives it, and with no more than that of the
    /// whole: who keeps a record for longer would know more of it than is known here (RFC 2308 section 5).
    #[must_use]
    pub fn new(
        message: &Message<'_>,
        now: Monotonic,
        (lifetime_s, last): (u32, Section),
        ttl_s: impl Fn(&Record<'_>) -> u32,
    ) -> Option<Self> {
        let question = message.question()?;
        // What is broken behind the answers is not among the records.
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

    /// Whether it stands for one that is withheld from clients. Only such has no record at all and a time to live: an upstream's denial has that of
    /// its SOA record.
    #[must_use]
    pub fn is_withheld(&self) -> bool {
        self.rcode() == Rcode::NOERROR && self.counts == [0, 0] && self.expires > self.received
    }

    /// Whether there are records that only those get who want DNSSEC.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.marks & SIGNED != 0
    }

    /// The same for those who do not; `None` if it does not fit into a message.
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
        let mut copier = Copier::new(&mut out, flags, (&question.name, question.rtype, Class::IN))?;
        for (record, (_, ttl)) in message.records().zip(self.ttls(self.received)) {
            if !is_for_dnssec(&record, question.rtype) {
                copier.copy(&record.owner(), &record, ttl).then_some(())?;
            }
        }
        let len = copier.finish();
        let lifetime_s = self.expires.since(self.received).as_secs();
        let lifetime_s = u32::try_from(lifetime_s).unwrap_or(u32::MAX);
        let message = Message::read(out.get(..len)?).ok()?;
        Stored::new(&message, self.received, (lifetime_s, Section::Authority), |record| record.ttl)
    }

    /// The same for a name that exists whatever the upstream says: a denial of the name without a chain denies the type alone.
    #[must_use]
    pub fn of_existing(&self) -> Stored {
        let is_bare = self.counts[0] == 0 && self.rcode() == Rcode::NXDOMAIN;
        let rcode = if is_bare { Rcode::NOERROR } else { self.rcode() };
        Stored { marks: self.marks & !RCODE | rcode.0 & RCODE, ..self.clone() }
    }

    /// The question it answers, as the upstream wrote it.
    pub(crate) fn question(&self) -> &[u8] {
        self.octets.get(..self.question_len()).unwrap_or_default()
    }

    /// What follows the question, TTLs as they came.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.octets.get(self.question_len()..usize::from(self.notes_at)).unwrap_or_default()
    }

    /// Where in [`Stored::body`] each TTL stands, and what it is at `now`. A second that has begun is over, so that nobody keeps a
    /// record for longer than it is kept here.
    pub fn ttls(&self, now: Monotonic) -> impl Iterator<Item = (usize, u32)> + '_ {
        let age_ns = now.0.saturating_sub(self.received.0);
        let age_s = u32::try_from(age_ns.div_ceil(1_000_000_000)).unwrap_or(u32::MAX);
        let notes = self.octets.get(usize::from(self.notes_at)..).unwrap_or_default();
        notes.as_chunks::<NOTE>().0.iter().map(move |[low, high, ttl @ ..]| {
            (usize::from(u16::from_le_bytes([*low, *high])), u32::from_le_bytes(*ttl).saturating_sub(age_s))
        })
    }

    /// Length of the question it answers, in octets; a client's question has the same.
    #[must_use]
    pub fn question_len(&self) -> usize {
        usize::from(self.name_len) + 4
    }

    /// Records in the answer and in the authority section.
    #[must_use]
    pub fn counts(&self) -> [u16; 2] {
        self.counts
    }

    /// The upstream's RCODE.
    #[must_use]
    pub fn rcode(&self) -> Rcode {
        Rcode(self.marks & RCODE)
    }

    /// Whether it says that there is nothing.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        self.counts[0] == 0 || self.rcode() != Rcode::NOERROR
    }

    /// When its time is over.
    #[must_use]
    pub fn expires(&self) -> Monotonic {
        self.expires
    }

    /// Whether its time is over.
    #[must_use]
    pub fn expired(&self, now: Monotonic) -> bool {
        now >= self.expires
    }

    /// Octets on the heap.
    pub(crate) fn len(&self) -> usize {
        self.octets.len()
    }
}
