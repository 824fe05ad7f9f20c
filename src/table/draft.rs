//! An entry in owned form, as the daemon builds it, and its encoding as a record.

use crate::family::{FamilyView, WITHHELD};
use crate::key::Key;
use crate::layout::{ADDRESSES_MAX, BLOCK, RECORD_MAX, VERSION_MAX};
use crate::record::{Snapshot, lifetime_code, sum};
use crate::shape::Shape;
use crate::types::{Address, Agreement, Family, Negative, State};
use core::fmt;
use core::net::IpAddr;
use hither_wire::name::Name;

/// One CNAME of a chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// The name to which it points.
    pub target: Name,
    /// When it expires, in milliseconds of [`crate::Monotonic`].
    pub expire_ms: u64,
}

/// The CNAMEs from the entry's name to the name that has the addresses; none if that is the entry's
/// own name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Chain {
    /// The CNAMEs in order.
    pub links: Vec<Link>,
}

/// The SOA record that came with a denial.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SoaRecord {
    /// The name of the zone, owner of the SOA.
    pub owner: Name,
    /// When the denial expires, in milliseconds of [`crate::Monotonic`].
    pub expire_ms: u64,
    /// The RDATA of the SOA, with uncompressed names.
    pub rdata: Vec<u8>,
}

/// One family of an entry. The fields are those of [`FamilyView`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct FamilyDraft {
    pub version: u64,
    pub set_version: u64,
    pub round: u64,
    pub state: State,
    pub negative: Option<Negative>,
    pub sorted: bool,
    pub expire_ms: u64,
    pub lifetime_s: u32,
    pub agreement: Agreement,
    pub addresses: Vec<Address>,
    pub chains: Vec<Chain>,
    /// Boxed, since few sets have it.
    pub soa: Option<Box<SoaRecord>>,
}

impl FamilyDraft {
    /// A complete, unmeasured set of addresses that one upstream gave without a CNAME. Its round
    /// has the number of its version.
    pub fn of(
        version: u64,
        addresses: impl IntoIterator<Item = IpAddr>,
        expire_ms: u64,
        lifetime_s: u32,
    ) -> Self {
        Self {
            version,
            set_version: version,
            round: version,
            state: State::Complete,
            negative: None,
            sorted: false,
            expire_ms,
            lifetime_s,
            agreement: Agreement { answered: 1, ..Agreement::default() },
            addresses: addresses.into_iter().map(|address| Address::new(address, 0, 1)).collect(),
            chains: vec![Chain::default()],
            soa: None,
        }
    }
}

/// An entry: what the table has for one name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    /// The name, in lower case.
    pub name: Name,
    /// The set of IPv4 addresses.
    pub a: Option<FamilyDraft>,
    /// The set of IPv6 addresses.
    pub aaaa: Option<FamilyDraft>,
}

/// The reason why an entry cannot be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutError {
    /// The entry has more addresses or longer chains than fit in a record.
    TooLarge,
    /// The entry has no family, an address of the other family, or a version that is not below 2^53.
    Malformed,
    /// No entry could be evicted for it.
    Full,
}

impl PutError {
    /// The reason in a few words.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TooLarge => "larger than a record of the table",
            Self::Malformed => "not an entry",
            Self::Full => "no space in the table",
        }
    }
}

impl fmt::Display for PutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for PutError {}

impl Draft {
    /// The version of the newest family.
    #[must_use]
    pub fn version(&self) -> u64 {
        [&self.a, &self.aaaa].into_iter().flatten().map(|f| f.version).max().unwrap_or(0)
    }

    /// Encodes the record into `out`, with 0 for its version word. `key` is that of the name.
    pub(crate) fn encode(&self, key: &Key, out: &mut Vec<u64>) -> Result<(), PutError> {
        let (tail_a, tail_aaaa) = (tail(self.a.as_ref())?, tail(self.aaaa.as_ref())?);
        let count = |family: &Option<FamilyDraft>| family.as_ref().map_or(0, |f| f.addresses.len());
        let (n4, n6) = (count(&self.a), count(&self.aaaa));
        if n4 > ADDRESSES_MAX || n6 > ADDRESSES_MAX {
            return Err(PutError::TooLarge);
        }
        let shape = Shape::new(key.len, [n4, n6], [self.a.is_some(), self.aaaa.is_some()]);
        let trust_at = shape.tail() + (tail_a.len() + tail_aaaa.len()).div_ceil(8);
        let trust: Vec<u8> = [&self.a, &self.aaaa].into_iter().flatten().flat_map(trust).collect();
        let words = trust_at + trust.len().div_ceil(8);
        let shape = shape.with_words(words);
        if words > RECORD_MAX {
            return Err(PutError::TooLarge);
        }
        out.clear();
        out.resize(words, 0);
        out[1] = Shape::of(shape.word()).ok_or(PutError::Malformed)?.word();
        for (family, draft, tail) in [(Family::A, &self.a, &tail_a), (Family::Aaaa, &self.aaaa, &tail_aaaa)] {
            if let (Some(at), Some(draft)) = (shape.block(family), draft) {
                out[at..at + BLOCK].copy_from_slice(&block(draft, tail.len())?);
                addresses(out, &shape, family, &draft.addresses)?;
            }
        }
        out[shape.key()..shape.v4()].copy_from_slice(key.padded());
        for (at, octet) in tail_a.iter().chain(&tail_aaaa).enumerate() {
            out[shape.tail() + at / 8] |= u64::from(*octet) << (at % 8 * 8);
        }
        for (at, octet) in trust.iter().enumerate() {
            out[trust_at + at / 8] |= u64::from(*octet) << (at % 8 * 8);
        }
        out[2] = sum(out);
        Ok(())
    }
}

fn block(draft: &FamilyDraft, tail: usize) -> Result<[u64; BLOCK], PutError> {
    if [draft.version, draft.set_version, draft.round].iter().any(|v| *v >= VERSION_MAX) {
        return Err(PutError::Malformed);
    }
    let state = match draft.state {
        State::First => 0,
        State::Partial => 1,
        State::Complete => 2,
    };
    let negative = match draft.negative {
        None => 0,
        Some(Negative::NoData) => 1,
        Some(Negative::NxDomain) => 2,
        Some(Negative::Withheld) => 1 | WITHHELD,
    };
    let tail = u16::try_from(tail).map_err(|_| PutError::TooLarge)?;
    let flags = state << 53 | negative << 55 | u64::from(draft.sorted) << 57;
    let expire = draft.expire_ms.min((1 << 48) - 1) << 16;
    let lifetime = lifetime_code(draft.lifetime_s) << 53;
    Ok([draft.version | flags, draft.set_version | lifetime, draft.round, expire | u64::from(tail)])
}

fn addresses(out: &mut [u64], shape: &Shape, family: Family, addresses: &[Address]) -> Result<(), PutError> {
    for (n, address) in addresses.iter().enumerate() {
        let rtt = u64::from(address.rtt.to_word());
        let meta = u64::from(address.chain) | u64::from(address.upstreams & 0x00ff_ffff) << 8;
        match (family, address.address) {
            (Family::A, IpAddr::V4(v4)) => {
                out[shape.v4() + n] = u64::from(u32::from_le_bytes(v4.octets())) | rtt << 32;
                out[shape.v4_meta() + n / 2] |= meta << (32 * (n % 2));
            }
            (Family::Aaaa, IpAddr::V6(v6)) => {
                let octets = v6.octets();
                let (low, high) = octets.split_at(8);
                let word =
                    |octets: &[u8]| octets.iter().rev().fold(0, |word, octet| word << 8 | u64::from(*octet));
                out[shape.v6() + 3 * n..][..3].copy_from_slice(&[word(low), word(high), rtt | meta << 32]);
            }
            _ => return Err(PutError::Malformed),
        }
    }
    Ok(())
}

/// Agreement, and sources and verdict of each address, as octets.
fn trust(family: &FamilyDraft) -> Vec<u8> {
    let Agreement { answered, disputes, dissenters } = family.agreement;
    let mut out = vec![answered, disputes];
    if disputes != 0 {
        out.extend_from_slice(&dissenters.to_le_bytes()[..3]);
    }
    let verdict = |a: &Address| a.trust as u8 | a.sources.min(Address::SOURCES_MAX) << 3;
    out.extend(family.addresses.iter().map(verdict));
    out
}

/// Chains and SOA record as octets; empty if there are only addresses of the name itself.
fn tail(family: Option<&FamilyDraft>) -> Result<Vec<u8>, PutError> {
    let mut out = Vec::new();
    let Some(family) = family else { return Ok(out) };
    if family.soa.is_none()
        && family.chains.iter().all(|chain| chain.links.is_empty())
        && family.chains.len() <= 1
    {
        return Ok(out);
    }
    let short = |n: usize| u8::try_from(n).map_err(|_| PutError::TooLarge);
    out.push(short(family.chains.len())?);
    for chain in &family.chains {
        out.push(short(chain.links.len())?);
        for link in &chain.links {
            self::link(&mut out, link.target.as_wire(), link.expire_ms);
        }
    }
    match &family.soa {
        None => out.push(0),
        Some(soa) => {
            out.push(1);
            link(&mut out, soa.owner.as_wire(), soa.expire_ms);
            let length = u16::try_from(soa.rdata.len()).map_err(|_| PutError::TooLarge)?;
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&soa.rdata);
        }
    }
    Ok(out)
}

fn link(out: &mut Vec<u8>, name: &[u8], expire_ms: u64) {
    out.extend_from_slice(&expire_ms.min((1 << 48) - 1).to_le_bytes()[..6]);
    out.push(name.len() as u8);
    out.extend_from_slice(name);
}

impl Snapshot {
    /// The entry in owned form; `None` if the record is damaged.
    #[must_use]
    pub fn to_draft(&self) -> Option<Draft> {
        let owned = |family| match self.family(family) {
            None => Some(None),
            Some(view) => owned(&view).map(Some),
        };
        Some(Draft {
            name: Name::from_wire(self.name()).ok()?,
            a: owned(Family::A)?,
            aaaa: owned(Family::Aaaa)?,
        })
    }
}

fn owned(view: &FamilyView<'_>) -> Option<FamilyDraft> {
    let mut chains = Vec::new();
    for n in 0..view.chain_count() {
        let mut links = Vec::new();
        for (target, expire_ms) in view.chain(n) {
            links.push(Link { target: Name::from_wire(target).ok()?, expire_ms });
        }
        chains.push(Chain { links });
    }
    let soa = match view.soa() {
        Some((owner, expire_ms, rdata)) => {
            let owner = Name::from_wire(owner).ok()?;
            Some(Box::new(SoaRecord { owner, expire_ms, rdata: rdata.to_vec() }))
        }
        None => None,
    };
    Some(FamilyDraft {
        version: view.version(),
        set_version: view.set_version(),
        round: view.round(),
        state: view.state(),
        negative: view.negative(),
        sorted: view.sorted(),
        expire_ms: view.expire_ms(),
        lifetime_s: view.lifetime_s(),
        agreement: view.agreement(),
        addresses: view.addresses().collect(),
        chains,
        soa,
    })
}
