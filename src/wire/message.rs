//! A message, checked in one walk: header and question first, then every name, length and count as far as they are whole; then read
//! record by record.

use crate::codes::{Class, Rtype};
use crate::copy::parts;
use crate::edns::Edns;
use crate::header::{HEADER_LEN, Header};
use crate::name::{Name, NameError};
use crate::spell::lettered;
use crate::{place, u16_at, u32_at};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use crate::error::WireError;

/// Labels and pointers that names may take for each octet of a message. An address takes 16 octets, its owner mostly a handful of labels:
/// only who wants a reader to work names a thousand records by a hundred labels each.
const STEPS_PER_OCTET: u32 = 3;
/// So many they may take in any message.
const STEPS_LEAST: u32 = 8_192;

/// Where a record stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)] // The sections of RFC 1035.
pub enum Section {
    Answer,
    Authority,
    Additional,
}

/// A question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // QNAME, QTYPE, QCLASS.
pub struct Question {
    pub name: Name,
    pub rtype: Rtype,
    pub class: Class,
}

/// A message whose header and question have been read, and whose records have been walked.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    octets: &'a [u8],
    header: Header,
    /// QTYPE and QCLASS.
    asked: Option<(Rtype, Class)>,
    records_at: usize,
    /// Records of each section that are given out.
    readable: [u16; 3],
    fault: Option<Fault>,
    edns: Option<Edns<'a>>,
}

/// The first thing that is wrong with the records of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Where: sections before it are whole.
    pub section: Section,
    /// What.
    pub error: WireError,
}

impl<'a> Message<'a> {
    /// Reads a message of which everything has to be right. Octets after the last record are ignored.
    ///
    /// # Errors
    /// A [`WireError`]: that of [`Message::open`], or its first fault.
    pub fn read(octets: &'a [u8]) -> Result<Message<'a>, WireError> {
        let message = Message::open(octets)?;
        message.fault.map_or(Ok(message), |fault| Err(fault.error))
    }

    /// Reads a message that may be broken behind its question: [`Message::fault`] says whether and where. Work is bounded by the octets
    /// there are: a message whose names lead over more labels and pointers than three to each of its octets is broken where that is reached.
    ///
    /// RDATA is checked for A, AAAA, NS, CNAME, PTR, DNAME, MX, SRV and SOA, and opaque otherwise (RFC 3597), except that names of other known
    /// types count among those labels and pointers.
    ///
    /// # Errors
    /// A [`WireError`] for a broken header or question.
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
        message.walk();
        Ok(message)
    }

    /// Walks the records as far as they can be told apart.
    fn walk(&mut self) {
        let mut budget = (self.octets.len() as u32).saturating_mul(STEPS_PER_OCTET).max(STEPS_LEAST);
        let mut records = self.records();
        let total = records.left.iter().map(|count| u32::from(*count)).sum();
        for _ in 0..total {
            let section = records.section();
            let read = place::skip_within(self.octets, records.at, &mut budget).map_err(WireError::from);
            let record = match read.and_then(|next| records.read_on(next)) {
                Ok(record) => record,
                Err(error) => return self.fails(section, error, true),
            };
            if record.rtype == Rtype::OPT {
                self.take_opt(&record);
            } else if !record.is_sound_within(&mut budget) {
                self.fails(section, WireError::Rdata(record.rtype), false);
            }
        }
    }

    /// Notes a fault: what is behind it is not given out. In the answer section records that have their right length can be told apart,
    /// and it is for the reader to say whether those that matter are sound.
    fn fails(&mut self, section: Section, error: WireError, cut: bool) {
        self.fault.get_or_insert(Fault { section, error });
        let [answers, authority, additional] = &mut self.readable;
        match section {
            Section::Answer if cut => (*answers, *authority, *additional) = (0, 0, 0),
            Section::Answer => {}
            Section::Authority => (*authority, *additional) = (0, 0),
            Section::Additional => *additional = 0,
        }
    }

    /// The first OPT record at its place counts; its options do if all of them are well formed.
    fn take_opt(&mut self, record: &Record<'a>) {
        let placed = record.section == Section::Additional && self.octets.get(record.owner_at) == Some(&0);
        if !placed || self.edns.is_some() {
            return self.fails(record.section, WireError::Opt, false);
        }
        let edns = |options| Edns::new(record.class.0, record.raw_ttl, options);
        self.edns = edns(record.rdata).or_else(|| {
            self.fails(Section::Additional, WireError::Opt, false);
            edns(&[])
        });
    }

    /// What is wrong behind the question.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> Header {
        self.header
    }

    /// The message as it came.
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

    /// Whether QNAME is `name`, in uncompressed wire form, letter case included.
    #[must_use]
    pub fn asks_exactly(&self, name: &[u8]) -> bool {
        self.asked.is_some() && place::is(self.octets, HEADER_LEN, name, <[u8]>::eq)
    }

    /// Whether QNAME is `name` without regard to letter case.
    #[must_use]
    pub fn asks(&self, name: &Name) -> bool {
        self.asked.is_some() && name.stands_at(self.octets, HEADER_LEN)
    }

    /// The same message in other octets, which must differ in the case of letters alone.
    #[must_use]
    pub fn respelled<'b>(self, octets: &'b [u8]) -> Message<'b>
    where
        'a: 'b,
    {
        let same: Message<'b> = self;
        Message { octets, ..same }
    }

    /// What the OPT record says.
    #[must_use]
    pub fn edns(&self) -> Option<Edns<'a>> {
        self.edns
    }

    /// All records, OPT included, in order, as far as their sections are whole.
    #[must_use]
    pub fn records(&self) -> Records<'a> {
        Records { octets: self.octets, at: self.records_at, left: self.readable }
    }
}

/// See [`Message::records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    octets: &'a [u8],
    at: usize,
    left: [u16; 3],
}

impl<'a> Records<'a> {
    /// Where the record at hand stands.
    fn section(&self) -> Section {
        match self.left {
            [answers, _, _] if answers > 0 => Section::Answer,
            [_, authority, _] if authority > 0 => Section::Authority,
            _ => Section::Additional,
        }
    }

    /// Reads the record at hand, whose owner name ends at `next`.
    #[inline]
    fn read_on(&mut self, next: usize) -> Result<Record<'a>, WireError> {
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
        // A TTL with the top bit set is 0 (RFC 2181 section 8).
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
        // `Message::open` has followed every name.
        let next = place::end(self.octets, self.at)?;
        self.read_on(next).ok()
    }
}

/// A record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub(crate) message: &'a [u8],
    /// Where it stands.
    pub section: Section,
    /// Offset of its owner name.
    pub owner_at: usize,
    /// Its type.
    pub rtype: Rtype,
    /// Its class.
    pub class: Class,
    /// Its TTL in seconds.
    pub ttl: u32,
    /// The TTL field as sent.
    raw_ttl: u32,
    /// Offset of its TTL field.
    pub ttl_at: usize,
    /// Offset of its RDATA.
    pub rdata_at: usize,
    /// Its RDATA; names in it may be compressed.
    pub rdata: &'a [u8],
}

/// The data of an SOA record (RFC 1035 section 3.3.13).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // The fields are those of the RFC.
pub struct Soa {
    pub mname: Name,
    pub rname: Name,
    pub serial: u32,
    pub refresh: u32,
    pub retry: u32,
    pub expire: u32,
    pub minimum: u32,
}

impl Record<'_> {
    /// The name it belongs to.
    #[must_use]
    pub fn owner(&self) -> Name {
        Name::read(self.message, self.owner_at).map_or(Name::ROOT, |(name, _)| name)
    }

    /// Whether it belongs to `name`, without regard to letter case.
    #[must_use]
    pub fn owner_is(&self, name: &Name) -> bool {
        name.stands_at(self.message, self.owner_at)
    }

    /// Where its owner name stands, when all that is written of it here is a compression pointer.
    #[must_use]
    pub fn owner_pointer(&self) -> Option<usize> {
        let pointer = u16_at(self.message, self.owner_at)?;
        (pointer >= 0xc000).then_some(usize::from(pointer & 0x3fff))
    }

    /// The type of the RRset that it belongs to: for a signature that which it covers (RFC 4034 section 3).
    #[must_use]
    pub fn set_type(&self) -> Rtype {
        match self.rtype {
            Rtype::RRSIG => u16_at(self.rdata, 0).map_or(Rtype::RRSIG, Rtype),
            rtype => rtype,
        }
    }

    /// [`Name::folded_hash`] of its owner.
    #[must_use]
    pub fn owner_hash(&self) -> u64 {
        let mut hash = place::FOLD_START;
        let walked = place::walk(self.message, self.owner_at, |_, label| {
            hash = place::folded(hash, label);
            Ok(())
        });
        debug_assert!(walked.is_ok(), "the owner has been followed before");
        hash
    }

    /// The address of an A or AAAA record of class IN.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match (self.rtype, self.class) {
            (Rtype::A, Class::IN) => <[u8; 4]>::try_from(self.rdata).ok().map(|a| Ipv4Addr::from(a).into()),
            (Rtype::AAAA, Class::IN) => {
                <[u8; 16]>::try_from(self.rdata).ok().map(|a| Ipv6Addr::from(a).into())
            }
            _ => None,
        }
    }

    /// The name that a CNAME, DNAME, NS or PTR record leads to.
    #[must_use]
    pub fn target(&self) -> Option<Name> {
        match self.rtype {
            Rtype::CNAME | Rtype::DNAME | Rtype::NS | Rtype::PTR => {
                self.name_at(self.rdata_at, 0).map(|(name, _)| name)
            }
            _ => None,
        }
    }

    /// The data of an SOA record.
    #[must_use]
    pub fn soa(&self) -> Option<Soa> {
        if self.rtype != Rtype::SOA {
            return None;
        }
        let (mname, at) = self.name_at(self.rdata_at, 0)?;
        let (rname, at) = self.name_at(at, 20)?;
        if at + 20 != self.rdata_at + self.rdata.len() {
            return None;
        }
        let number = |n: usize| u32_at(self.message, at + 4 * n);
        Some(Soa {
            mname,
            rname,
            serial: number(0)?,
            refresh: number(1)?,
            retry: number(2)?,
            expire: number(3)?,
            minimum: number(4)?,
        })
    }

    /// The name at `at`, which must end inside the RDATA with at least `after` octets behind it.
    fn name_at(&self, at: usize, after: usize) -> Option<(Name, usize)> {
        let (name, next) = Name::read(self.message, at).ok()?;
        (next + after <= self.rdata_at + self.rdata.len()).then_some((name, next))
    }

    /// Whether its RDATA has the form that its type asks for, where that is known here.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let mut budget = u32::MAX;
        self.is_sound_within(&mut budget)
    }

    /// The same, the steps of its names taken from `budget`.
    fn is_sound_within(&self, budget: &mut u32) -> bool {
        let end = self.rdata_at + self.rdata.len();
        let mut skip = |at: usize| place::skip_within(self.message, at, budget);
        match self.rtype {
            Rtype::A if self.class == Class::IN => self.rdata.len() == 4,
            Rtype::AAAA if self.class == Class::IN => self.rdata.len() == 16,
            Rtype::CNAME | Rtype::DNAME | Rtype::NS | Rtype::PTR => skip(self.rdata_at) == Ok(end),
            Rtype::MX => self.rdata.len() > 2 && skip(self.rdata_at + 2) == Ok(end),
            Rtype::SRV => self.rdata.len() > 6 && skip(self.rdata_at + 6) == Ok(end),
            Rtype::SOA => skip(self.rdata_at).and_then(&mut skip).is_ok_and(|at| at + 20 == end),
            // Octets (RFC 3597), but for who writes the names in them anew: nor do those lead further than a message may.
            rtype => {
                let mut parts = parts(rtype).iter().chain(lettered(rtype));
                let walked =
                    parts.try_fold(self.rdata_at, |at, part| part.end_within(self.message, at, budget));
                walked != Err(NameError::TooDeep)
            }
        }
    }
}
