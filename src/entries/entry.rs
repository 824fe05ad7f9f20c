//! One entry of the site as octets: what one host has learned of one name and family.
//!
//! The format, with numbers in little-endian order and sizes in octets:
//!
//! * Flags (1): 1 the family is IPv6, 2 no data of this type, 4 the name does not exist, 8 an SOA record.
//! * Host: length (1), printable ASCII. Group: length (1), printable ASCII.
//! * By the wall clock of the host, in milliseconds since 1970: the earliest time at which an upstream can
//!   have been asked (8), and the time at which the set was complete (8).
//! * The time that the set had left then in milliseconds (4), the TTL with which it was published in
//!   seconds (4).
//! * How many upstreams had answered (1), why the set is disputed (1).
//! * Upstreams that gave it: their number (1), for each its length (1) and its label in UTF-8.
//! * Name: length (1), wire form in lower case.
//! * Chains: their number (1); for each chain the number of links (1); for each link the time left in
//!   milliseconds (8), and length (1) and wire form of its target.
//! * Without the flags 2 and 4, addresses: their number (1); for each address its octets (4 or 16), the
//!   number of its chain (1), plus 128 if the address is not trusted, and the number of upstreams that gave
//!   it (1). If the group is not empty, there follows the round-trip time in microseconds (4; 2^32-1
//!   unreachable, 2^32-2 unmeasured).
//! * With the flag 8: the time that the denial had left in milliseconds (4), the zone as length (1) and wire
//!   form, and length (2) and octets of the RDATA.

use crate::sign::{FRAME, VALUE_MAX};
use hither_saved::octets::{
    Fault, Link, Octets, UNTRUSTED, check_addresses, check_chains, push_address, push_chains, push_name,
    push_rtt,
};
use hither_table::{Address, Agreement, Family, Negative, Rtt, Trust};
use hither_wire::name::Name;

/// Octets of the largest entry, without its signature.
pub const BODY_MAX: usize = VALUE_MAX - FRAME;
/// Octets of the longest name of a host.
pub const HOST_MAX: usize = 64;
/// Octets of the longest name of a group.
pub const GROUP_MAX: usize = 32;
/// Upstreams that an entry names.
pub const SAID_BY_MAX: usize = 8;
/// Octets of the longest label of an upstream.
pub const LABEL_MAX: usize = 64;
/// The greatest time of an entry in milliseconds since 1970. Differences of such times never overflow.
pub const TIME_MAX: u64 = (1 << 48) - 1;

const IPV6: u8 = 1;
const NODATA: u8 = 2;
const NXDOMAIN: u8 = 4;
const SOA: u8 = 8;
const NODATA_SOA: u8 = NODATA | SOA;
const NXDOMAIN_SOA: u8 = NXDOMAIN | SOA;

/// What a host has learned of one name and family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The host, 1 to [`HOST_MAX`] printable characters of ASCII.
    pub host: Box<str>,
    /// The hosts whose round-trip times are hints for each other, at most [`GROUP_MAX`] characters. If it is
    /// empty, no round-trip times are written.
    pub group: Box<str>,
    /// When it was learned, and what it had left then.
    pub times: Times,
    /// How far the upstreams agreed. `dissenters` is not written.
    pub agreement: Agreement,
    /// The upstreams that gave it, as the host names them: at most [`SAID_BY_MAX`], each of 1 to
    /// [`LABEL_MAX`] octets without control characters.
    pub said_by: Vec<Box<str>>,
    /// The name, in lower case.
    pub name: Name,
    /// The family of the set.
    pub family: Family,
    /// The CNAME chains that lead to the addresses, at least one. A chain without links is the name itself.
    pub chains: Vec<Vec<Link>>,
    /// The addresses or the denial.
    pub content: Content,
}

/// The times of an entry. The first two are those of the wall clock of its host, at most [`TIME_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// The earliest time at which an upstream can have been asked, in milliseconds since 1970.
    pub asked_ms: u64,
    /// When the set was complete, in milliseconds since 1970; not before `asked_ms`.
    pub learned_ms: u64,
    /// The time that the set had left at `learned_ms`, in milliseconds.
    pub left_ms: u32,
    /// The TTL with which the set was published, in seconds.
    pub lifetime_s: u32,
}

/// What the upstreams have said of the name and family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// The addresses, best first: 1 to 255, each once. Of `upstreams` only [`Address::TRUSTED`] is written,
    /// and no verdict is.
    Addresses(Vec<Address>),
    /// There are none.
    Denial {
        /// What does not exist; never [`Negative::Withheld`].
        negative: Negative,
        /// The SOA record that says so.
        soa: Option<Box<Soa>>,
    },
}

/// The SOA record of a denial.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Soa {
    /// The zone; the end of the first chain is in it.
    pub owner: Name,
    /// The time that the denial had left when it was learned, in milliseconds.
    pub left_ms: u32,
    /// The RDATA, with uncompressed names.
    pub rdata: Vec<u8>,
}

impl Entry {
    /// Reads an entry with nothing after it.
    ///
    /// # Errors
    /// A [`Fault`] if the octets are not those of [`Entry::encode`].
    pub fn decode(octets: &[u8]) -> Result<Entry, Fault> {
        if octets.len() > BODY_MAX {
            return Err(LARGE);
        }
        let mut from = Octets::new(octets);
        let flags = from.octet()?;
        let negative = match flags & !IPV6 {
            0 => None,
            NODATA | NODATA_SOA => Some(Negative::NoData),
            NXDOMAIN | NXDOMAIN_SOA => Some(Negative::NxDomain),
            _ => return Err(Fault("it has unknown flags")),
        };
        let family = if flags & IPV6 == 0 { Family::A } else { Family::Aaaa };
        let (host, group) = (text(&mut from)?, text(&mut from)?);
        let (asked_ms, learned_ms) = (from.u64()?, from.u64()?);
        let times = Times { asked_ms, learned_ms, left_ms: from.u32()?, lifetime_s: from.u32()? };
        let agreement = Agreement { answered: from.octet()?, disputes: from.octet()?, dissenters: 0 };
        let count = from.octet()?;
        let said_by = (0..count).map(|_| text(&mut from)).collect::<Result<_, _>>()?;
        let (name, chains) = (from.name()?, from.chains()?);
        let content = match negative {
            None => {
                let count = from.octet()?;
                let address = |_| address(&mut from, family, !group.is_empty());
                Content::Addresses((0..count).map(address).collect::<Result<_, _>>()?)
            }
            Some(negative) => {
                let soa = if flags & SOA == 0 { None } else { Some(Box::new(Soa::decode(&mut from)?)) };
                Content::Denial { negative, soa }
            }
        };
        from.end()?;
        let entry = Entry { host, group, times, agreement, said_by, name, family, chains, content };
        entry.check()?;
        Ok(entry)
    }

    /// Appends the entry to `out`.
    ///
    /// # Errors
    /// A [`Fault`] if the entry could not be decoded again; `out` is unchanged then.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.check()?;
        let start = out.len();
        out.push(self.flags());
        push_text(out, &self.host);
        push_text(out, &self.group);
        let Times { asked_ms, learned_ms, left_ms, lifetime_s } = self.times;
        out.extend(asked_ms.to_le_bytes());
        out.extend(learned_ms.to_le_bytes());
        out.extend(left_ms.to_le_bytes());
        out.extend(lifetime_s.to_le_bytes());
        out.extend([self.agreement.answered, self.agreement.disputes]);
        out.push(self.said_by.len() as u8);
        self.said_by.iter().for_each(|label| push_text(out, label));
        push_name(out, &self.name);
        push_chains(out, &self.chains);
        match &self.content {
            Content::Addresses(addresses) => {
                out.push(addresses.len() as u8);
                for address in addresses {
                    push_address(out, address.address);
                    out.push(address.chain | if address.is_trusted() { 0 } else { UNTRUSTED });
                    out.push(address.sources.min(Address::SOURCES_MAX));
                    if !self.group.is_empty() {
                        push_rtt(out, address.rtt);
                    }
                }
            }
            Content::Denial { soa: Some(soa), .. } => soa.encode(out),
            Content::Denial { soa: None, .. } => {}
        }
        if out.len() - start > BODY_MAX {
            out.truncate(start);
            return Err(LARGE);
        }
        Ok(())
    }

    fn flags(&self) -> u8 {
        let family = if self.family == Family::Aaaa { IPV6 } else { 0 };
        let content = match &self.content {
            Content::Addresses(_) => 0,
            Content::Denial { negative, soa } => {
                let kind = if *negative == Negative::NxDomain { NXDOMAIN } else { NODATA };
                kind | if soa.is_some() { SOA } else { 0 }
            }
        };
        family | content
    }

    /// Checks that the parts fit together, and that each number fits its octets.
    fn check(&self) -> Result<(), Fault> {
        if self.host.is_empty() || !is_word(&self.host, HOST_MAX) {
            return Err(Fault("the name of its host is empty, too long or not printable"));
        }
        if !is_word(&self.group, GROUP_MAX) {
            return Err(Fault("the name of its group is too long or not printable"));
        }
        if self.times.asked_ms > self.times.learned_ms {
            return Err(Fault("it was learned before it was asked for"));
        }
        if self.times.learned_ms > TIME_MAX {
            return Err(Fault("its time is too great"));
        }
        let is_label =
            |label: &str| (1..=LABEL_MAX).contains(&label.len()) && !label.contains(char::is_control);
        if self.said_by.len() > SAID_BY_MAX || !self.said_by.iter().all(|label| is_label(label)) {
            return Err(Fault("its upstreams are too many, or a label is empty, too long or not printable"));
        }
        if self.name.to_lower() != self.name {
            return Err(Fault("its name is not in lower case"));
        }
        check_chains(&self.chains)?;
        match &self.content {
            Content::Addresses(addresses) => check_addresses(addresses, self.family, &self.chains),
            Content::Denial { negative: Negative::Withheld, .. } => Err(Fault("its addresses are withheld")),
            Content::Denial { soa: None, .. } => Ok(()),
            Content::Denial { soa: Some(soa), .. } => {
                let end = self.chains.first().and_then(|chain| chain.last());
                soa.check(end.map_or(&self.name, |link| &link.target))
            }
        }
    }
}

impl Soa {
    fn decode(from: &mut Octets<'_>) -> Result<Soa, Fault> {
        let (left_ms, owner) = (from.u32()?, from.name()?);
        let length = from.u16()?;
        Ok(Soa { owner, left_ms, rdata: from.take(usize::from(length))?.to_vec() })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.left_ms.to_le_bytes());
        push_name(out, &self.owner);
        out.extend((self.rdata.len() as u16).to_le_bytes());
        out.extend(&self.rdata);
    }

    /// Checks that it can deny `name`, and that its RDATA is that of an SOA record: two names that are not
    /// compressed, and five numbers of four octets (RFC 1035, section 3.3.13).
    fn check(&self, name: &Name) -> Result<(), Fault> {
        if !name.ends_with(&self.owner) {
            return Err(Fault("its SOA record is that of another zone"));
        }
        let mut at = 0;
        for _ in 0..2 {
            let (name, end) = Name::read(&self.rdata, at).map_err(|_| BAD_SOA)?;
            if end.checked_sub(at) != Some(name.as_wire().len()) {
                return Err(BAD_SOA);
            }
            at = end;
        }
        if self.rdata.len() == at + 20 { Ok(()) } else { Err(BAD_SOA) }
    }
}

const LARGE: Fault = Fault("it is too large");
const BAD_SOA: Fault = Fault("its SOA record is malformed");

/// Whether a text is at most `octets_max` characters of printable ASCII without spaces.
fn is_word(text: &str, octets_max: usize) -> bool {
    text.len() <= octets_max && text.bytes().all(|octet| octet.is_ascii_graphic())
}

fn text(from: &mut Octets<'_>) -> Result<Box<str>, Fault> {
    core::str::from_utf8(from.short()?).map(Box::from).map_err(|_| Fault("a text is not UTF-8"))
}

/// Appends a text whose length has been checked.
fn push_text(out: &mut Vec<u8>, text: &str) {
    out.push(text.len() as u8);
    out.extend(text.as_bytes());
}

fn address(from: &mut Octets<'_>, family: Family, has_rtt: bool) -> Result<Address, Fault> {
    let address = from.address(family)?;
    let (chain, sources) = (from.octet()?, from.octet()?);
    if sources > Address::SOURCES_MAX {
        return Err(Fault("an address has too many sources"));
    }
    let rtt = if has_rtt { from.rtt()? } else { Rtt::Unmeasured };
    let upstreams = if chain & UNTRUSTED == 0 { Address::TRUSTED } else { 0 };
    Ok(Address { address, rtt, chain: chain & !UNTRUSTED, upstreams, sources, trust: Trust::Unknown })
}
