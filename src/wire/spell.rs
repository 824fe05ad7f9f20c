//! The names of a message in other words of the same meaning: letters put back, a question put in.

use crate::codes::{Class, Rtype};
use crate::compose::{Composer, Owner};
use crate::header::HEADER_LEN;
use crate::message::{Message, Question, Record, Section};
use crate::name::{NAME_MAX, Name, NameError};
use crate::place;

/// Where names stand in RDATA of a type: octets before the first, and how many follow one another. Their letter case has no meaning, not
/// even to a signature (RFC 4034 section 6.2, without what RFC 6840 section 5.1 takes out of its list).
fn names_in(rtype: Rtype) -> (usize, usize) {
    match rtype {
        Rtype::CNAME | Rtype::DNAME | Rtype::NS | Rtype::PTR => (0, 1),
        Rtype::SOA => (0, 2),
        Rtype::MX | Rtype::AFSDB | Rtype::KX => (2, 1),
        Rtype::SRV => (6, 1),
        Rtype::RRSIG => (18, 1),
        _ => (0, 0),
    }
}

/// Labels of a name, each with its length octet, the root included.
const LABELS_MAX: usize = NAME_MAX.div_ceil(2);

/// Where the labels of a name stand, from the first to the root.
struct Places {
    at: [u16; LABELS_MAX],
    count: usize,
    next: usize,
}

impl Places {
    fn of(message: &[u8], at: usize) -> Result<Places, NameError> {
        let mut places = Places { at: [0; LABELS_MAX], count: 0, next: 0 };
        places.next = place::walk(message, at, |at, _| {
            let room = places.at.get_mut(places.count).ok_or(NameError::TooLong)?;
            *room = u16::try_from(at).map_err(|_| NameError::TooLong)?;
            places.count += 1;
            Ok(())
        })?;
        Ok(places)
    }

    /// From the root to the first.
    fn up(&self) -> impl Iterator<Item = usize> {
        self.at.iter().take(self.count).rev().map(|at| usize::from(*at))
    }
}

/// The label at `at`, with its length octet.
fn label(octets: &[u8], at: usize) -> Option<&[u8]> {
    octets.get(at..=at + usize::from(*octets.get(at)?))
}

/// Puts the question of `message` into `out`, a copy of its octets, in the letters of `meant`, and does so with each name of its answer
/// and authority sections too, as far as it ends as the question does and repeats the letters of `sent`: they are ours, drawn against
/// forgery, and nobody else's. Both are the question's name in wire form.
pub fn put_back(message: &Message<'_>, out: &mut [u8], sent: &[u8], meant: &[u8]) {
    if message.asked().is_some()
        && let Some(question) = out.get_mut(HEADER_LEN..HEADER_LEN + meant.len())
        && question.eq_ignore_ascii_case(meant)
    {
        question.copy_from_slice(meant);
    }
    let (octets, mut drawn_at) = (message.octets(), None);
    let mut mend = |at: usize| {
        let (places, own) =
            (Places::of(octets, at).ok()?, drawn_at.get_or_insert_with(|| Places::of(sent, 0)));
        let Ok(own) = own else { return None };
        for (here, there) in places.up().zip(own.up()) {
            let (written, drawn) = (label(octets, here)?, label(sent, there)?);
            if !written.eq_ignore_ascii_case(drawn) {
                break;
            }
            if written == drawn {
                out.get_mut(here..here + written.len())?.copy_from_slice(label(meant, there)?);
            }
        }
        Some(places.next)
    };
    for record in message.records().take_while(|record| record.section != Section::Additional) {
        if record.owner_pointer() != Some(HEADER_LEN) {
            mend(record.owner_at);
        }
        let (before, count) = names_in(record.rtype);
        let (mut at, end) = (record.rdata_at + before, record.rdata_at + record.rdata.len());
        for _ in 0..count {
            let Some(next) = (at < end).then(|| mend(at)).flatten() else { break };
            at = next;
        }
    }
}

/// Writes a message without a question as the answer to one, its names in full. Returns its length, or `None` when it does not fit.
pub fn put_question(message: &Message<'_>, question: &Question, out: &mut [u8]) -> Option<usize> {
    let mut composer = Composer::new(out, usize::from(u16::MAX))?;
    let header = message.header();
    composer.set_header(header.id, header.flags);
    if !composer.question(&question.name, question.rtype, Class::IN) {
        return None;
    }
    let mut room = [0; RDATA_MAX];
    let kept = |r: &Record<'_>| r.section != Section::Additional && r.class == Class::IN;
    for record in message.records().filter(kept) {
        let rdata = in_full(message.octets(), &record, &mut room)?;
        let owner = record.owner();
        if !composer.record(record.section, Owner::Wire(owner.as_wire()), record.rtype, record.ttl, rdata) {
            return None;
        }
    }
    Some(composer.finish())
}

/// Octets of RDATA with names: both names of an SOA record and its numbers.
const RDATA_MAX: usize = 2 * NAME_MAX + 20;

/// RDATA with its names in full.
fn in_full<'r>(octets: &[u8], record: &Record<'r>, room: &'r mut [u8; RDATA_MAX]) -> Option<&'r [u8]> {
    let (before, count) = names_in(record.rtype);
    if count == 0 || record.rtype == Rtype::RRSIG {
        return Some(record.rdata);
    }
    let mut len = 0;
    let mut put = |octets: &[u8]| {
        room.get_mut(len..len + octets.len())?.copy_from_slice(octets);
        len += octets.len();
        Some(())
    };
    put(record.rdata.get(..before)?)?;
    let (mut at, end) = (record.rdata_at + before, record.rdata_at + record.rdata.len());
    for _ in 0..count {
        let (name, next) = Name::read(octets, at).ok()?;
        put(name.as_wire())?;
        at = next;
    }
    put(octets.get(at..end)?)?;
    room.get(..len)
}
