//! Composing a message from records of other messages. Their names are written uncompressed, since
//! compression pointers of the other message mean nothing here.

use crate::codes::{Class, Rtype};
use crate::header::HEADER_LEN;
use crate::in_place;
use crate::message::{Record, Section};
use crate::name::{Name, NameError};

/// Names of a message that are remembered as targets of compression pointers.
const TARGETS_MAX: usize = 24;

/// A part of RDATA. The parts of a type describe its RDATA from the start to the last name; octets
/// after that are opaque.
pub(crate) enum Part {
    /// So many octets without a name.
    Octets(usize),
    /// A length octet and that many octets.
    Text,
    Name,
}

impl Part {
    /// The offset after the part at `at`.
    pub(crate) fn end(&self, message: &[u8], at: usize) -> Option<usize> {
        let mut budget = u32::MAX;
        self.end_within(message, at, &mut budget).ok()
    }

    /// [`Part::end`]. Each label and compression pointer that is followed takes one from `budget`.
    pub(crate) fn end_within(&self, message: &[u8], at: usize, budget: &mut u32) -> Result<usize, NameError> {
        match self {
            Part::Octets(count) => Ok(at + count),
            Part::Text => Ok(at + 1 + usize::from(*message.get(at).ok_or(NameError::Short)?)),
            Part::Name => in_place::skip_within(message, at, budget),
        }
    }
}

/// Whether the RDATA begins with these parts.
pub(crate) fn has_parts(record: &Record<'_>, parts: &[Part]) -> bool {
    let end = parts.iter().try_fold(record.rdata_at, |at, part| part.end(record.message, at));
    end.is_some_and(|end| end <= record.rdata_at + record.rdata.len())
}

/// The parts of RDATA in which names may be compressed: the types of RFC 3597, section 4, and
/// RRSIG, whose signer's name some servers compress although they must not.
pub(crate) const fn parts(rtype: Rtype) -> &'static [Part] {
    use Part::{Name, Octets, Text};
    match rtype.0 {
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, NXT, DNAME
        2..=5 | 7..=9 | 12 | 30 | 39 => &[Name],
        // SOA, MINFO, RP
        6 | 14 | 17 => &[Name, Name],
        // MX, AFSDB, RT, KX
        15 | 18 | 21 | 36 => &[Octets(2), Name],
        // SIG, RRSIG
        24 | 46 => &[Octets(18), Name],
        // PX
        26 => &[Octets(2), Name, Name],
        // SRV
        33 => &[Octets(6), Name],
        // NAPTR
        35 => &[Octets(4), Text, Text, Text, Name],
        _ => &[],
    }
}

/// A response that is being composed: a question, and records of the answer and the authority
/// section.
#[derive(Debug)]
pub struct Copier<'b> {
    out: &'b mut [u8],
    len: usize,
    counts: [u16; 2],
    /// Offsets of names that owner names may point to; the first `target_count` are in use.
    targets: [u16; TARGETS_MAX],
    target_count: usize,
}

impl<'b> Copier<'b> {
    /// Begins a response with these flags and a question of class IN; `None` if they do not fit.
    #[must_use]
    pub fn new(out: &'b mut [u8], flags: u16, name: &Name, rtype: Rtype) -> Option<Copier<'b>> {
        let limit = out.len().min(usize::from(u16::MAX));
        let out = out.get_mut(..limit)?;
        let mut copier = Copier { out, len: 0, counts: [0; 2], targets: [0; TARGETS_MAX], target_count: 0 };
        let mut header = [0; HEADER_LEN];
        header[2..4].copy_from_slice(&flags.to_be_bytes());
        header[5] = 1;
        copier.put(&header)?;
        copier.remember_target(HEADER_LEN);
        copier.put(name.as_wire())?;
        copier.put(&rtype.0.to_be_bytes())?;
        copier.put(&Class::IN.0.to_be_bytes())?;
        Some(copier)
    }

    fn put(&mut self, octets: &[u8]) -> Option<()> {
        let end = self.len + octets.len();
        self.out.get_mut(self.len..end)?.copy_from_slice(octets);
        self.len = end;
        Some(())
    }

    /// Remembers the name at `at` as a target, if there is room and a compression pointer can reach it.
    fn remember_target(&mut self, at: usize) {
        if let (Some(target), Ok(at @ ..0x4000)) =
            (self.targets.get_mut(self.target_count), u16::try_from(at))
        {
            *target = at;
            self.target_count += 1;
        }
    }

    /// Appends a copy of a record of the answer or the authority section with this TTL and owner
    /// name. Answers come first. `false`: the record is of another section or does not fit, and
    /// nothing was written.
    pub fn copy(&mut self, owner: &Name, record: &Record<'_>, ttl: u32) -> bool {
        let (Section::Answer | Section::Authority) = record.section else { return false };
        let key = (*owner, record.rtype, record.class);
        let written = self.append(&key, ttl, |copier| copier.data(record));
        if written {
            self.counts[usize::from(record.section == Section::Authority)] += 1;
        }
        written
    }

    /// Appends a CNAME record to the answer section. `false`: the record does not fit, and nothing
    /// was written.
    pub fn cname(&mut self, owner: &Name, target: &Name, ttl: u32) -> bool {
        let written = self.append(&(*owner, Rtype::CNAME, Class::IN), ttl, |copier| copier.name(target));
        if written {
            self.counts[0] += 1;
        }
        written
    }

    /// Appends a record whose RDATA `data` writes. `false`: the record does not fit, and nothing was
    /// written.
    fn append(
        &mut self,
        key: &(Name, Rtype, Class),
        ttl: u32,
        data: impl FnOnce(&mut Self) -> Option<()>,
    ) -> bool {
        let before = (self.len, self.target_count);
        let written = self.record(key, ttl, data);
        if written.is_none() {
            (self.len, self.target_count) = before;
        }
        written.is_some()
    }

    fn record(
        &mut self,
        (owner, rtype, class): &(Name, Rtype, Class),
        ttl: u32,
        data: impl FnOnce(&mut Self) -> Option<()>,
    ) -> Option<()> {
        let targets = self.targets.get(..self.target_count).unwrap_or_default();
        // The targets are uncompressed, so comparing octets is enough.
        let is_owner = |at: &&u16| {
            self.out.get(usize::from(**at)..).is_some_and(|name| name.starts_with(owner.as_wire()))
        };
        match targets.iter().find(is_owner).copied() {
            Some(at) => self.put(&(0xc000 | at).to_be_bytes())?,
            None => self.name(owner)?,
        }
        self.put(&rtype.0.to_be_bytes())?;
        self.put(&class.0.to_be_bytes())?;
        self.put(&ttl.to_be_bytes())?;
        let length_at = self.len;
        self.put(&[0; 2])?;
        data(self)?;
        let length = u16::try_from(self.len - length_at - 2).ok()?;
        self.out.get_mut(length_at..length_at + 2)?.copy_from_slice(&length.to_be_bytes());
        Some(())
    }

    fn name(&mut self, name: &Name) -> Option<()> {
        let at = self.len;
        self.put(name.as_wire())?;
        if !name.is_root() {
            self.remember_target(at);
        }
        Some(())
    }

    /// Appends the RDATA of `record` with its names uncompressed. RDATA that does not have the form
    /// of its type is copied unchanged.
    fn data(&mut self, record: &Record<'_>) -> Option<()> {
        let mut at = record.rdata_at;
        let parts = parts(record.rtype);
        for part in parts.iter().filter(|_| has_parts(record, parts)) {
            let next = part.end(record.message, at)?;
            match part {
                Part::Name => {
                    let (name, _) = Name::read(record.message, at).ok()?;
                    if record.rtype == Rtype::CNAME { self.name(&name)? } else { self.put(name.as_wire())? }
                }
                Part::Octets(_) | Part::Text => self.put(record.message.get(at..next)?)?,
            }
            at = next;
        }
        self.put(record.message.get(at..record.rdata_at + record.rdata.len())?)
    }

    /// Writes the counts into the header; returns the message's length.
    #[must_use]
    pub fn finish(self) -> usize {
        for (n, count) in self.counts.iter().enumerate() {
            if let Some(field) = self.out.get_mut(6 + 2 * n..8 + 2 * n) {
                field.copy_from_slice(&count.to_be_bytes());
            }
        }
        self.len
    }
}
