//! Composing messages in a caller's buffer. A part that does not fit is not written; the call then
//! returns `false`.

use crate::codes::{Class, Rtype};
use crate::header::HEADER_LEN;
use crate::message::Section;
use crate::name::Name;

pub use crate::header::flags;

/// The owner name of a record to be written.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'a> {
    /// The name at this offset of the message, below 16384: written as a compression pointer.
    At(usize),
    /// A name in uncompressed wire form.
    Wire(&'a [u8]),
}

/// A message that is being composed.
#[derive(Debug)]
pub struct Composer<'b> {
    out: &'b mut [u8],
    len: usize,
    /// Octets that the message may have, including reserved ones.
    limit: usize,
    /// Octets that are kept free for OPT.
    reserved: usize,
    question_end: usize,
    counts: [u16; 4],
}

impl<'b> Composer<'b> {
    /// Begins a message of at most `limit` octets; `None` if a header does not fit.
    #[inline]
    #[must_use]
    pub fn new(out: &'b mut [u8], limit: usize) -> Option<Composer<'b>> {
        let limit = limit.min(out.len()).min(usize::from(u16::MAX));
        *out.get_mut(..limit)?.first_chunk_mut::<HEADER_LEN>()? = [0; HEADER_LEN];
        Some(Composer { out, len: HEADER_LEN, limit, reserved: 0, question_end: HEADER_LEN, counts: [0; 4] })
    }

    /// Sets the id and the flags word.
    #[inline]
    pub fn set_header(&mut self, id: u16, flags: u16) {
        self.put(0, &(u32::from(id) << 16 | u32::from(flags)).to_be_bytes());
    }

    #[inline]
    fn put(&mut self, at: usize, octets: &[u8]) {
        if let Some(room) = self.out.get_mut(at..at + octets.len()) {
            room.copy_from_slice(octets);
        }
    }

    #[inline]
    fn append(&mut self, octets: &[u8]) {
        self.put(self.len, octets);
        self.len += octets.len();
    }

    #[inline]
    fn fits(&self, octets: usize) -> bool {
        self.len + octets + self.reserved <= self.limit
    }

    /// Appends a question that is given as the octets of another message's. `false`: it does not fit,
    /// or there is a question already.
    #[inline]
    pub fn question_octets(&mut self, question: &[u8]) -> bool {
        if !self.fits(question.len()) || self.counts[0] != 0 {
            return false;
        }
        self.append(question);
        self.counts[0] = 1;
        self.question_end = self.len;
        true
    }

    /// Appends a question: QNAME, QTYPE and QCLASS. `false`: it does not fit, or there is a question
    /// already.
    pub fn question(&mut self, name: &Name, rtype: Rtype, class: Class) -> bool {
        if !self.fits(name.as_wire().len() + 4) || self.counts[0] != 0 {
            return false;
        }
        self.append(name.as_wire());
        self.append(&rtype.0.to_be_bytes());
        self.append(&class.0.to_be_bytes());
        self.counts[0] = 1;
        self.question_end = self.len;
        true
    }

    /// Reserves octets at the end for [`Composer::opt`]. `false`: there are not so many left.
    #[inline]
    pub fn reserve(&mut self, octets: usize) -> bool {
        let fits = self.fits(octets);
        if fits {
            self.reserved += octets;
        }
        fits
    }

    /// Appends a record of class IN. Sections must come in order. `false`: it does not fit, and
    /// nothing was written.
    pub fn record(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: Rtype,
        ttl: u32,
        rdata: &[u8],
    ) -> bool {
        let pointer;
        let owner = match owner {
            Owner::At(at) if at < 0x4000 => {
                pointer = (0xc000 | at as u16).to_be_bytes();
                &pointer[..]
            }
            Owner::At(_) => return false,
            Owner::Wire(wire) => wire,
        };
        let Ok(length) = u16::try_from(rdata.len()) else { return false };
        if !self.fits(owner.len() + 10 + rdata.len()) {
            return false;
        }
        let mut fixed = [0; 10];
        fixed[..2].copy_from_slice(&rtype.0.to_be_bytes());
        fixed[2..4].copy_from_slice(&Class::IN.0.to_be_bytes());
        fixed[4..8].copy_from_slice(&ttl.to_be_bytes());
        fixed[8..].copy_from_slice(&length.to_be_bytes());
        self.append(owner);
        self.append(&fixed);
        self.append(rdata);
        self.add_count(section, 1);
        true
    }

    /// Appends an answer of class IN for each RDATA, all with one TTL and the owner name at offset
    /// `owner`. `false`: not all of them fit.
    ///
    /// Faster than [`Composer::record`], since the length is known to the compiler.
    #[inline]
    pub fn answers<const N: usize>(
        &mut self,
        owner: usize,
        rtype: Rtype,
        ttl: u32,
        all: impl Iterator<Item = [u8; N]>,
    ) -> bool {
        let Some(pointer) = u16::try_from(owner).ok().filter(|at| *at < 0x4000) else { return false };
        let mut fixed = [0; 12];
        fixed[..2].copy_from_slice(&(0xc000 | pointer).to_be_bytes());
        fixed[2..4].copy_from_slice(&rtype.0.to_be_bytes());
        fixed[4..6].copy_from_slice(&Class::IN.0.to_be_bytes());
        fixed[6..10].copy_from_slice(&ttl.to_be_bytes());
        fixed[10..].copy_from_slice(&(N as u16).to_be_bytes());
        let limit = self.limit.saturating_sub(self.reserved);
        let Some(mut room) = self.out.get_mut(self.len..limit) else { return false };
        let mut count = 0;
        for rdata in all {
            let Some((head, rest)) = room.split_first_chunk_mut() else { return false };
            let Some((tail, rest)) = rest.split_first_chunk_mut() else { return false };
            (*head, *tail, room) = (fixed, rdata, rest);
            count += 1;
        }
        self.len += count * (fixed.len() + N);
        self.add_count(Section::Answer, count as u16);
        true
    }

    fn add_count(&mut self, section: Section, records: u16) {
        let at = match section {
            Section::Answer => 1,
            Section::Authority => 2,
            Section::Additional => 3,
        };
        self.counts[at] = self.counts[at].saturating_add(records);
    }

    /// Appends encoded records; `counts` says how many of them are in the answer and in the authority
    /// section. Compression pointers in them stay valid if the question is as long as the one after
    /// which they were encoded.
    pub fn body(&mut self, octets: &[u8], counts: [u16; 2]) -> bool {
        if !self.fits(octets.len()) {
            return false;
        }
        self.append(octets);
        self.add_count(Section::Answer, counts[0]);
        self.add_count(Section::Authority, counts[1]);
        true
    }

    /// Overwrites four written octets, such as a TTL.
    pub fn patch_u32(&mut self, at: usize, value: u32) {
        if at + 4 <= self.len {
            self.put(at, &value.to_be_bytes());
        }
    }

    /// Appends OPT (RFC 6891, section 6.1.2) in the reserved octets.
    pub fn opt(&mut self, udp_size: u16, extended_rcode: u8, dnssec_ok: bool, options: &[u8]) -> bool {
        self.reserved = 0;
        if !self.fits(11 + options.len()) {
            return false;
        }
        let mut fixed = [0; 11];
        fixed[2] = 41;
        fixed[3..5].copy_from_slice(&udp_size.to_be_bytes());
        fixed[5] = extended_rcode;
        fixed[7] = if dnssec_ok { 0x80 } else { 0 };
        fixed[9..].copy_from_slice(&u16::try_from(options.len()).unwrap_or(0).to_be_bytes());
        self.append(&fixed);
        self.append(options);
        self.add_count(Section::Additional, 1);
        true
    }

    /// The offset of the next octet.
    #[must_use]
    pub fn position(&self) -> usize {
        self.len
    }

    /// Removes every record, to write others instead.
    pub fn back_to_question(&mut self) {
        self.len = self.question_end;
        self.counts = [self.counts[0], 0, 0, 0];
    }

    /// Removes every record and sets TC, since a client could take part of an answer for the
    /// complete one (RFC 2181, section 9).
    pub fn truncate_to_question(&mut self) {
        self.back_to_question();
        if let Some(high) = self.out.get_mut(2) {
            *high |= (flags::TC >> 8) as u8;
        }
    }

    /// Writes the counts into the header; returns the message's length.
    #[inline]
    #[must_use]
    pub fn finish(mut self) -> usize {
        let [questions, answers, authority, additional] = self.counts.map(u64::from);
        let counts = questions << 48 | answers << 32 | authority << 16 | additional;
        self.put(4, &counts.to_be_bytes());
        self.len
    }
}

/// The question of a query to an upstream.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // QNAME and QTYPE; the class is IN.
pub struct Asked<'a> {
    pub name: &'a Name,
    pub rtype: Rtype,
}

/// The header bits and the OPT record of a query to an upstream.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueryBits {
    /// Whether RD is set: recursion is desired.
    pub rd: bool,
    /// Whether CD is set: checking is disabled.
    pub cd: bool,
    /// The UDP payload size in octets, and the DO bit; `None` for a query without OPT.
    pub edns: Option<(u16, bool)>,
}

/// Writes a query and returns its length, at most 282 octets; 0 if `out` is too small.
pub fn query(out: &mut [u8], id: u16, asked: &Asked<'_>, bits: QueryBits) -> usize {
    let Some(mut composer) = Composer::new(out, usize::from(u16::MAX)) else { return 0 };
    let rd = if bits.rd { flags::RD } else { 0 };
    composer.set_header(id, rd | if bits.cd { flags::CD } else { 0 });
    if !composer.question(asked.name, asked.rtype, Class::IN) {
        return 0;
    }
    match bits.edns {
        Some((size, dnssec_ok)) if !composer.opt(size, 0, dnssec_ok, &[]) => 0,
        _ => composer.finish(),
    }
}
