//! One upstream's answer, as it is kept.

use hither_table::Monotonic;
use hither_wire::codes::Rcode;
use hither_wire::message::{Message, Record, Section};
use std::time::Duration;

/// Octets of the note of a TTL behind the message: where it stands, and the TTL as it came.
const NOTE: usize = 6;

/// One upstream's answer, without its OPT and additional records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The message from its question to the end of its authority section; then a note of each TTL.
    octets: Box<[u8]>,
    /// Where the notes begin.
    notes_at: u16,
    /// Length of the question's name.
    name_len: u8,
    rcode: Rcode,
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
        let (mut end, mut counts, mut notes) = (body_at, [0u16; 2], Vec::new());
        for record in message.records() {
            match record.section {
                Section::Additional => break,
                section if section > last => break,
                Section::Answer => counts[0] += 1,
                Section::Authority => counts[1] += 1,
            }
            notes.extend(u16::try_from(record.ttl_at - body_at).ok()?.to_le_bytes());
            notes.extend(ttl_s(&record).min(lifetime_s).to_le_bytes());
            end = record.rdata_at + record.rdata.len();
        }
        let kept = message.octets().get(12..end)?;
        Some(Self {
            octets: [kept, &notes].concat().into(),
            notes_at: u16::try_from(kept.len()).ok()?,
            name_len: u8::try_from(question.name.as_wire().len()).ok()?,
            rcode: message.header().rcode(),
            counts,
            received: now,
            expires: now.plus(Duration::from_secs(u64::from(lifetime_s))),
        })
    }

    /// Whether it stands for one that is withheld from clients. Only such has no record at all and a time to live: an upstream's denial has that of
    /// its SOA record.
    #[must_use]
    pub fn is_withheld(&self) -> bool {
        self.rcode == Rcode::NOERROR && self.counts == [0, 0] && self.expires > self.received
    }

    /// The same for a name that exists whatever the upstream says: a denial of the name without a chain denies the type alone.
    #[must_use]
    pub fn of_existing(&self) -> Stored {
        let is_bare = self.counts[0] == 0 && self.rcode == Rcode::NXDOMAIN;
        Stored { rcode: if is_bare { Rcode::NOERROR } else { self.rcode }, ..self.clone() }
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
        self.rcode
    }

    /// Whether it says that there is nothing.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        self.counts[0] == 0 || self.rcode != Rcode::NOERROR
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
