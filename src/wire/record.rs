//! A record of a message, and the data of some types.

use crate::codes::{Class, Rtype};
use crate::copy::parts;
use crate::name::{Name, NameError};
use crate::spell::case_signed_parts;
use crate::{in_place, u16_at, u32_at};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The section of a record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)] // The sections of RFC 1035.
pub enum Section {
    Answer,
    Authority,
    Additional,
}

/// A record of a message.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub(crate) message: &'a [u8],
    /// The section that the record is in.
    pub section: Section,
    /// The offset of the owner name in the message.
    pub owner_at: usize,
    /// The TYPE of the record.
    pub rtype: Rtype,
    /// The CLASS of the record.
    pub class: Class,
    /// The TTL in seconds.
    pub ttl: u32,
    /// The TTL field as it was sent.
    pub(crate) raw_ttl: u32,
    /// The offset of the TTL field in the message.
    pub ttl_at: usize,
    /// The offset of the RDATA in the message.
    pub rdata_at: usize,
    /// The RDATA; names in it may be compressed.
    pub rdata: &'a [u8],
}

/// The data of an SOA record (RFC 1035, section 3.3.13).
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
    /// The owner name of the record.
    #[must_use]
    pub fn owner(&self) -> Name {
        Name::read(self.message, self.owner_at).map_or(Name::ROOT, |(name, _)| name)
    }

    /// Whether the owner name is `name` in any letter case.
    #[must_use]
    pub fn is_owned_by(&self, name: &Name) -> bool {
        name.stands_at(self.message, self.owner_at)
    }

    /// The offset that the owner name points to, if the owner name is only a compression pointer.
    #[must_use]
    pub fn owner_pointer(&self) -> Option<usize> {
        let pointer = u16_at(self.message, self.owner_at)?;
        (pointer >= 0xc000).then_some(usize::from(pointer & 0x3fff))
    }

    /// The type of the RRset that the record belongs to: for a signature, the type that it covers
    /// (RFC 4034, section 3).
    #[must_use]
    pub fn set_type(&self) -> Rtype {
        match self.rtype {
            Rtype::RRSIG => u16_at(self.rdata, 0).map_or(Rtype::RRSIG, Rtype),
            rtype => rtype,
        }
    }

    /// The [`Name::folded_hash`] of the owner name.
    #[must_use]
    pub fn owner_hash(&self) -> u64 {
        let mut hash = in_place::FOLD_START;
        let walked = in_place::walk(self.message, self.owner_at, |_, label| {
            hash = in_place::folded(hash, label);
            Ok(())
        });
        debug_assert!(walked.is_ok(), "the owner name has been checked");
        hash
    }

    /// The address of an A or AAAA record of class IN; `None` for other records.
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

    /// The target of a CNAME, DNAME, NS or PTR record; `None` for other records.
    #[must_use]
    pub fn target(&self) -> Option<Name> {
        match self.rtype {
            Rtype::CNAME | Rtype::DNAME | Rtype::NS | Rtype::PTR => {
                self.name_at(self.rdata_at, 0).map(|(name, _)| name)
            }
            _ => None,
        }
    }

    /// The data of an SOA record; `None` for other records.
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

    /// The name at `at`, which must end in the RDATA with at least `after` octets after it.
    fn name_at(&self, at: usize, after: usize) -> Option<(Name, usize)> {
        let (name, next) = Name::read(self.message, at).ok()?;
        (next + after <= self.rdata_at + self.rdata.len()).then_some((name, next))
    }

    /// Whether the RDATA has the form of its type; `true` for types that are not known here.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let mut budget = u32::MAX;
        self.is_sound_within(&mut budget)
    }

    /// [`Record::is_sound`]. Each label and compression pointer that is followed takes one from
    /// `budget`.
    pub(crate) fn is_sound_within(&self, budget: &mut u32) -> bool {
        let end = self.rdata_at + self.rdata.len();
        let mut skip = |at: usize| in_place::skip_within(self.message, at, budget);
        match self.rtype {
            Rtype::A if self.class == Class::IN => self.rdata.len() == 4,
            Rtype::AAAA if self.class == Class::IN => self.rdata.len() == 16,
            Rtype::CNAME | Rtype::DNAME | Rtype::NS | Rtype::PTR => skip(self.rdata_at) == Ok(end),
            Rtype::MX => self.rdata.len() > 2 && skip(self.rdata_at + 2) == Ok(end),
            Rtype::SRV => self.rdata.len() > 6 && skip(self.rdata_at + 6) == Ok(end),
            Rtype::SOA => skip(self.rdata_at).and_then(&mut skip).is_ok_and(|at| at + 20 == end),
            // Opaque (RFC 3597). Names of known types count towards the bound nevertheless, since they
            // may have to be followed later.
            rtype => {
                let mut parts = parts(rtype).iter().chain(case_signed_parts(rtype));
                let walked =
                    parts.try_fold(self.rdata_at, |at, part| part.end_within(self.message, at, budget));
                walked != Err(NameError::TooDeep)
            }
        }
    }
}
