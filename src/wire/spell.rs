//! The names of a message in other words of the same meaning: letters put back, a question put in.

use crate::codes::{Class, Rtype};
use crate::copy::{Copier, Part, is_formed, parts};
use crate::header::HEADER_LEN;
use crate::message::{Message, Question, Record, Section};
use crate::name::{NAME_MAX, NameError};
use crate::place;

/// RDATA with names whose letter case a signature covers (RFC 4034 section 6.2, as RFC 6840 section 5.1 amends it).
pub(crate) const fn lettered(rtype: Rtype) -> &'static [Part] {
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

/// Whether the letters of such a type are signed.
fn signs_letters(record: &Record<'_>) -> bool {
    record.rtype == Rtype::RRSIG && !lettered(record.set_type()).is_empty()
}

/// Labels of a name, each with its length octet, the root included.
const LABELS_MAX: usize = NAME_MAX.div_ceil(2);

/// The labels of a question that were sent in other letters than meant.
struct Drawn<'q> {
    sent: &'q [u8],
    meant: &'q [u8],
    at: [u8; LABELS_MAX],
    count: usize,
    /// A bit for each of their lengths: most labels of a message have none of them.
    lengths: u64,
}

impl<'q> Drawn<'q> {
    fn of(sent: &'q [u8], meant: &'q [u8]) -> Result<Drawn<'q>, NameError> {
        let mut drawn = Drawn { sent, meant, at: [0; LABELS_MAX], count: 0, lengths: 0 };
        place::walk(sent, 0, |at, label| {
            if meant.get(at..at + label.len()).is_some_and(|meant| meant != label) {
                let room = drawn.at.get_mut(drawn.count).ok_or(NameError::TooLong)?;
                *room = u8::try_from(at).map_err(|_| NameError::TooLong)?;
                drawn.count += 1;
                drawn.lengths |= 1 << (label.len() - 1);
            }
            Ok(())
        })?;
        Ok(drawn)
    }

    /// Whether one of them is as long as a label, given with its length octet.
    fn may_be(&self, label: &[u8]) -> bool {
        self.lengths >> (label.len() - 1) & 1 != 0
    }

    /// What was meant by a label; of two that were sent alike, the first.
    fn meant_by(&self, label: &[u8]) -> Option<&'q [u8]> {
        let mut all = self.at.iter().take(self.count).map(|at| usize::from(*at));
        let at = all.find(|at| self.sent.get(*at..at + label.len()) == Some(label))?;
        self.meant.get(at..at + label.len())
    }
}

/// Labels that compression pointers can lead to, by where they stand: each is looked at once, however many names end in it.
struct Seen([u64; 256]);

impl Seen {
    /// Whether `at` is new.
    fn insert(&mut self, at: usize) -> bool {
        let Some(bits) = self.0.get_mut(at / 64) else { return true };
        let new = *bits >> (at % 64) & 1 == 0;
        *bits |= 1 << (at % 64);
        new
    }
}

/// Puts the question of `message` into `out`, a copy of its octets, in the letters of `meant`, and does so with each label of the names
/// of its answer and authority sections that is one of `sent`, letter by letter: those are ours, drawn against forgery, and nobody
/// else's, wherever a server writes them (the ends of aliases that it makes up from QNAME, RFC 6672 section 3.1). What a signature
/// covers letter by letter stays. Both are the question's name in wire form.
pub fn put_back(message: &Message<'_>, out: &mut [u8], sent: &[u8], meant: &[u8]) {
    if message.asked().is_some()
        && let Some(question) = out.get_mut(HEADER_LEN..HEADER_LEN + meant.len())
        && question.eq_ignore_ascii_case(meant)
    {
        question.copy_from_slice(meant);
    }
    let Ok(drawn) = Drawn::of(sent, meant) else { return };
    if drawn.count == 0 {
        return;
    }
    let mut seen = Seen([0; 256]);
    let mut mend = |at: usize| {
        // Every name has been followed before: nothing is left half mended.
        let _ = place::walk(message.octets(), at, |at, label| {
            if !seen.insert(at) {
                // So was all that follows.
                return Err(NameError::Trailing);
            }
            if drawn.may_be(label)
                && let Some(meant) = drawn.meant_by(label)
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
            mend(record.owner_at);
        }
        let parts = match (parts(record.rtype), lettered(record.rtype)) {
            ([], []) => continue,
            ([], _) if *signed.get_or_insert_with(|| message.records().any(|r| signs_letters(&r))) => {
                continue;
            }
            ([], parts) | (parts, _) => parts,
        };
        names(&record, parts, &mut mend);
    }
}

/// Gives where each name of an RDATA of these parts stands; none of one that is not so formed.
fn names(record: &Record<'_>, parts: &[Part], mut each: impl FnMut(usize)) {
    if !is_formed(record, parts) {
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

/// Writes a message without a question as the answer to one, its records written anew. Returns its length, or `None` when it does not fit.
pub fn put_question(message: &Message<'_>, question: &Question, out: &mut [u8]) -> Option<usize> {
    let header = message.header();
    let asked = (&question.name, question.rtype, Class::IN);
    let mut copier = Copier::new(out, header.flags, asked)?;
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
