//! Normalising a response: restoring the letter case of names after mixed letter case (0x20), and
//! adding a missing question.

use crate::codes::{Class, Rtype};
use crate::copy::{Copier, Part, has_parts, parts};
use crate::header::HEADER_LEN;
use crate::in_place;
use crate::message::{Message, Question, Record, Section};
use crate::name::{NAME_MAX, NameError};

/// The parts of RDATA of the types in which a signature covers the letter case of names (RFC 4034,
/// section 6.2, amended by RFC 6840, section 5.1).
pub(crate) const fn case_signed_parts(rtype: Rtype) -> &'static [Part] {
    use Part::{Name, Octets};
    match rtype.0 {
        // NSEC
        47 => &[Name],
        // SVCB, HTTPS, LP
        64 | 65 | 107 => &[Octets(2), Name],
        // DSYNC
        66 => &[Octets(5), Name],
        _ => &[],
    }
}

/// Whether the record is a signature that covers letter case.
fn signs_letter_case(record: &Record<'_>) -> bool {
    record.rtype == Rtype::RRSIG && !case_signed_parts(record.set_type()).is_empty()
}

/// Labels of a name, including the root.
const LABELS_MAX: usize = NAME_MAX.div_ceil(2);

/// The labels of QNAME that were sent upstream in another letter case than the client's.
struct MixedLabels<'q> {
    /// QNAME as it was sent upstream, in wire form.
    sent: &'q [u8],
    /// QNAME as the client wrote it, in wire form.
    meant: &'q [u8],
    /// The offsets of the labels in both; the first `count` are in use.
    at: [u8; LABELS_MAX],
    count: usize,
    /// A bit for each length that one of the labels has, by which most labels of a message are ruled
    /// out at once.
    lengths: u64,
}

impl<'q> MixedLabels<'q> {
    fn of(sent: &'q [u8], meant: &'q [u8]) -> Result<MixedLabels<'q>, NameError> {
        let mut mixed = MixedLabels { sent, meant, at: [0; LABELS_MAX], count: 0, lengths: 0 };
        in_place::walk(sent, 0, |at, label| {
            if meant.get(at..at + label.len()).is_some_and(|meant| meant != label) {
                let room = mixed.at.get_mut(mixed.count).ok_or(NameError::TooLong)?;
                *room = u8::try_from(at).map_err(|_| NameError::TooLong)?;
                mixed.count += 1;
                mixed.lengths |= 1 << (label.len() - 1);
            }
            Ok(())
        })?;
        Ok(mixed)
    }

    /// Whether one of the labels has the length of `label`, which includes its length octet.
    fn has_length_of(&self, label: &[u8]) -> bool {
        self.lengths >> (label.len() - 1) & 1 != 0
    }

    /// The label in the client's letter case; if two labels were sent alike, in that of the first.
    fn in_clients_case(&self, label: &[u8]) -> Option<&'q [u8]> {
        let mut all = self.at.iter().take(self.count).map(|at| usize::from(*at));
        let at = all.find(|at| self.sent.get(*at..at + label.len()) == Some(label))?;
        self.meant.get(at..at + label.len())
    }
}

/// The offsets of labels that have been processed, a bit each, as far as compression pointers reach.
/// Each label is processed once, however many names share it.
struct SeenOffsets([u64; 256]);

impl SeenOffsets {
    /// Adds an offset. `true`: it is new, or beyond the reach of compression pointers.
    fn insert(&mut self, at: usize) -> bool {
        let Some(bits) = self.0.get_mut(at / 64) else { return true };
        let new = *bits >> (at % 64) & 1 == 0;
        *bits |= 1 << (at % 64);
        new
    }
}

/// Restores letter case in `out`, a copy of the octets of `message`. `sent` is QNAME in the mixed
/// letter case that was sent upstream, `meant` is QNAME in the client's; both in wire form. The
/// question gets the letter case of `meant`, and so does each label in the answer and authority
/// sections that is exactly a label of `sent`, since servers copy labels from QNAME, for instance into
/// synthesised CNAME records (RFC 6672, section 3.1). RDATA whose letter case a signature covers is
/// not changed.
pub fn restore_letter_case(message: &Message<'_>, out: &mut [u8], sent: &[u8], meant: &[u8]) {
    if message.asked().is_some()
        && let Some(question) = out.get_mut(HEADER_LEN..HEADER_LEN + meant.len())
        && question.eq_ignore_ascii_case(meant)
    {
        question.copy_from_slice(meant);
    }
    let Ok(mixed) = MixedLabels::of(sent, meant) else { return };
    if mixed.count == 0 {
        return;
    }
    let mut seen = SeenOffsets([0; 256]);
    let mut restore = |at: usize| {
        // Every name has been checked, so no name is restored only in part.
        let _ = in_place::walk(message.octets(), at, |at, label| {
            if !seen.insert(at) {
                // The labels after this one have been processed too.
                return Err(NameError::Trailing);
            }
            if mixed.has_length_of(label)
                && let Some(meant) = mixed.in_clients_case(label)
                && let Some(written) = out.get_mut(at..at + label.len())
            {
                written.copy_from_slice(meant);
            }
            Ok(())
        });
    };
    let mut signed = None;
    for record in message.records().take_while(|record| record.section != Section::Additional) {
        if record.owner_pointer() != Some(HEADER_LEN) {
            restore(record.owner_at);
        }
        let parts = match (parts(record.rtype), case_signed_parts(record.rtype)) {
            ([], []) => continue,
            ([], _) if *signed.get_or_insert_with(|| message.records().any(|r| signs_letter_case(&r))) => {
                continue;
            }
            ([], parts) | (parts, _) => parts,
        };
        each_name(&record, parts, &mut restore);
    }
}

/// Calls `each` with the offset of each name in RDATA of these parts. RDATA of another form has no
/// names.
fn each_name(record: &Record<'_>, parts: &[Part], mut each: impl FnMut(usize)) {
    if !has_parts(record, parts) {
        return;
    }
    let mut at = record.rdata_at;
    for part in parts {
        if matches!(part, Part::Name) {
            each(at);
        }
        let Some(next) = part.end(record.message, at) else { return };
        at = next;
    }
}

/// Writes a response that lacks the question again with `question`, without its additional section.
/// Returns the length; `None` if it does not fit.
pub fn add_question(message: &Message<'_>, question: &Question, out: &mut [u8]) -> Option<usize> {
    let header = message.header();
    let mut copier = Copier::new(out, header.flags, &question.name, question.rtype)?;
    let kept = |r: &Record<'_>| r.section != Section::Additional && r.class == Class::IN;
    for record in message.records().filter(kept) {
        if !copier.copy(&record.owner(), &record, record.ttl) {
            return None;
        }
    }
    let len = copier.finish();
    out.get_mut(..2)?.copy_from_slice(&header.id.to_be_bytes());
    Some(len)
}
