//! Reading a message: one pass checks header, question, and every name, length and count; then
//! records are read one by one.

use crate::codes::{Class, Rtype};
use crate::edns::Edns;
use crate::header::{HEADER_LEN, Header};
use crate::name::Name;
use crate::{in_place, u16_at};

pub use crate::error::WireError;
pub use crate::record::{Record, Section, Soa};

/// Labels and compression pointers that are followed to read the names of a message, for each of its
/// octets. An A record has 16 octets and seldom more than five labels; only an attacker puts a
/// hundred labels into each of a thousand records.
const STEPS_PER_OCTET_MAX: u32 = 3;
/// Labels and pointers that are followed in a message even if it is so short that
/// [`STEPS_PER_OCTET_MAX`] allows fewer.
const SHORT_MESSAGE_STEPS_MAX: u32 = 8_192;

/// The question of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // QNAME, QTYPE, QCLASS.
pub struct Question {
    pub name: Name,
    pub rtype: Rtype,
    pub class: Class,
}

/// A message whose header and question have been read, and whose records have been checked.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    octets: &'a [u8],
    header: Header,
    /// QTYPE and QCLASS.
    asked: Option<(Rtype, Class)>,
    records_at: usize,
    /// How many records of each section [`Message::records`] gives.
    readable: [u16; 3],
    fault: Option<Fault>,
    edns: Option<Edns<'a>>,
}

/// The first fault in the records of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The section with the fault. The sections before it have none.
    pub section: Section,
    /// Why that section cannot be read completely.
    pub error: WireError,
}

impl<'a> Message<'a> {
    /// Reads a message that must not have a fault. Octets after the last record are ignored.
    ///
    /// # Errors
    /// The error of [`Message::open`], or the first fault.
    pub fn read(octets: &'a [u8]) -> Result<Message<'a>, WireError> {
        let message = Message::open(octets)?;
        message.fault.map_or(Ok(message), |fault| Err(fault.error))
    }

    /// Reads a message that may have a fault after its question, see [`Message::fault`]. The work
    /// is bounded by the message's length: if its names take more than three labels and pointers
    /// for each octet, that is a fault where it is reached.
    ///
    /// RDATA is checked for A, AAAA, NS, CNAME, PTR, DNAME, MX, SRV and SOA. For other types it is
    /// opaque (RFC 3597), but the names of known types count towards that bound.
    ///
    /// # Errors
    /// A [`WireError`] of the header or the question.
    pub fn open(octets: &'a [u8]) -> Result<Message<'a>, WireError> {
        let header = Header::parse(octets).ok_or(WireError::Short)?;
        let (mut asked, mut at) = (None, HEADER_LEN);
        match header.qdcount {
            0 => {}
            1 => {
                let next = Name::skip(octets, at)?;
                let rtype = Rtype(u16_at(octets, next).ok_or(WireError::Short)?);
                let class = Class(u16_at(octets, next + 2).ok_or(WireError::Short)?);
                asked = Some((rtype, class));
                at = next + 4;
            }
            _ => return Err(WireError::Questions),
        }
        let readable = [header.ancount, header.nscount, header.arcount];
        let mut message =
            Message { octets, header, asked, records_at: at, readable, fault: None, edns: None };
        message.check_records();
        Ok(message)
    }

    /// Checks the records up to the first fault.
    fn check_records(&mut self) {
        let mut budget =
            (self.octets.len() as u32).saturating_mul(STEPS_PER_OCTET_MAX).max(SHORT_MESSAGE_STEPS_MAX);
        let mut records = self.records();
        let total = records.left.iter().map(|count| u32::from(*count)).sum();
        for _ in 0..total {
            let section = records.section();
            let read = in_place::skip_within(self.octets, records.at, &mut budget).map_err(WireError::from);
            let record = match read.and_then(|next| records.read_after_owner(next)) {
                Ok(record) => record,
                Err(error) => return self.note_fault(section, error, true),
            };
            if record.rtype == Rtype::OPT {
                self.take_opt(&record);
            } else if !record.is_sound_within(&mut budget) {
                self.note_fault(section, WireError::Rdata(record.rtype), false);
            }
        }
    }

    /// Notes a fault, so that [`Message::records`] gives no record of that section and of those after
    /// it. Exception: unless the records are `cut`, so that the next one cannot be found, all answer
    /// records are given, and the caller checks those that matter with [`Record::is_sound`].
    fn note_fault(&mut self, section: Section, error: WireError, cut: bool) {
        self.fault.get_or_insert(Fault { section, error });
        let [answers, authority, additional] = &mut self.readable;
        match section {
            Section::Answer if cut => (*answers, *authority, *additional) = (0, 0, 0),
            Section::Answer => {}
            Section::Authority => (*authority, *additional) = (0, 0),
            Section::Additional => *additional = 0,
        }
    }

    /// Keeps the first OPT record, which must be in the additional section and owned by the root. Its
    /// options are kept if all of them are well formed.
    fn take_opt(&mut self, record: &Record<'a>) {
        let placed = record.section == Section::Additional && self.octets.get(record.owner_at) == Some(&0);
        if !placed || self.edns.is_some() {
            return self.note_fault(record.section, WireError::Opt, false);
        }
        let edns = |options| Edns::new(record.class.0, record.raw_ttl, options);
        self.edns = edns(record.rdata).or_else(|| {
            self.note_fault(Section::Additional, WireError::Opt, false);
            edns(&[])
        });
    }

    /// The first fault after the question, if there is one.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// The header of the message.
    #[must_use]
    pub fn header(&self) -> Header {
        self.header
    }

    /// The octets of the message.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// The question, if there is one.
    #[must_use]
    pub fn question(&self) -> Option<Question> {
        let (rtype, class) = self.asked?;
        let (name, _) = Name::read(self.octets, HEADER_LEN).ok()?;
        Some(Question { name, rtype, class })
    }

    /// QTYPE and QCLASS, if there is a question.
    #[must_use]
    pub fn asked(&self) -> Option<(Rtype, Class)> {
        self.asked
    }

    /// Whether QNAME is `name` (in uncompressed wire form) in the same letter case.
    #[must_use]
    pub fn asks_exactly(&self, name: &[u8]) -> bool {
        self.asked.is_some() && in_place::has_labels(self.octets, HEADER_LEN, name, <[u8]>::eq)
    }

    /// Whether QNAME is `name` in any letter case.
    #[must_use]
    pub fn asks(&self, name: &Name) -> bool {
        self.asked.is_some() && name.stands_at(self.octets, HEADER_LEN)
    }

    /// The same message in other octets, which must differ only in letter case.
    #[must_use]
    pub fn respelled<'b>(self, octets: &'b [u8]) -> Message<'b>
    where
        'a: 'b,
    {
        let same: Message<'b> = self;
        Message { octets, ..same }
    }

    /// The contents of the OPT record, if there is one.
    #[must_use]
    pub fn edns(&self) -> Option<Edns<'a>> {
        self.edns
    }

    /// All records in order, including OPT, of the sections without a fault.
    #[must_use]
    pub fn records(&self) -> Records<'a> {
        Records { octets: self.octets, at: self.records_at, left: self.readable }
    }
}

/// An iterator over records, see [`Message::records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    octets: &'a [u8],
    at: usize,
    /// How many records of each section are left.
    left: [u16; 3],
}

/// A place between two records, which holds no borrow of the message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    at: usize,
    left: [u16; 3],
}

impl Position {
    /// The records that follow in `octets`, the message of the position.
    pub(crate) fn records(self, octets: &[u8]) -> Records<'_> {
        Records { octets, at: self.at, left: self.left }
    }
}

impl<'a> Records<'a> {
    pub(crate) fn position(&self) -> Position {
        Position { at: self.at, left: self.left }
    }

    /// The section of the next record.
    fn section(&self) -> Section {
        match self.left {
            [answers, _, _] if answers > 0 => Section::Answer,
            [_, authority, _] if authority > 0 => Section::Authority,
            _ => Section::Additional,
        }
    }

    /// Reads the next record, whose owner name ends before the offset `next`.
    #[inline]
    fn read_after_owner(&mut self, next: usize) -> Result<Record<'a>, WireError> {
        let section = self.section();
        let owner_at = self.at;
        let fixed = self.octets.get(next..).and_then(<[u8]>::first_chunk).ok_or(WireError::Short)?;
        let [t0, t1, c0, c1, ttl @ .., l0, l1]: [u8; 10] = *fixed;
        let (rtype, class) = (Rtype(u16::from_be_bytes([t0, t1])), Class(u16::from_be_bytes([c0, c1])));
        let raw_ttl = u32::from_be_bytes(ttl);
        let rdata_at = next + 10;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let rdata = self.octets.get(rdata_at..rdata_at + length).ok_or(WireError::Short)?;
        self.at = rdata_at + length;
        if let Some(left) = self.left.iter_mut().find(|left| **left > 0) {
            *left -= 1;
        }
        // A TTL with the top bit set is 0 (RFC 2181, section 8).
        let ttl = if raw_ttl > i32::MAX as u32 { 0 } else { raw_ttl };
        let message = self.octets;
        Ok(Record {
            message,
            section,
            owner_at,
            rtype,
            class,
            ttl,
            raw_ttl,
            ttl_at: next + 4,
            rdata_at,
            rdata,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        if self.left == [0; 3] {
            return None;
        }
        // `Message::open` has checked every name.
        let next = in_place::end(self.octets, self.at)?;
        self.read_after_owner(next).ok()
    }
}
