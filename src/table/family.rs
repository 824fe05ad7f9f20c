//! One family of an entry, decoded from its record.

use crate::layout::{BLOCK, VERSION_MAX};
use crate::record::Entry;
use crate::time::Monotonic;
use crate::types::{Address, Agreement, Family, Negative, Rtt, State, Trust};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Set in the code of a denial, together with NODATA: the daemon withholds addresses. The bit
/// between them is the one for a sorted set.
pub(crate) const WITHHELD: u64 = 1 << 3;

/// One family of an entry: its addresses or denial, with versions, state and times.
#[derive(Clone, Copy, Debug)]
pub struct FamilyView<'s> {
    pub(crate) entry: Entry<'s>,
    pub(crate) family: Family,
    pub(crate) block: [u64; BLOCK],
    /// CNAME chains and the SOA record; empty without either.
    pub(crate) tail: &'s [u8],
}

impl<'s> FamilyView<'s> {
    /// The version under which this family was published.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.block[0] & (VERSION_MAX - 1)
    }

    /// The version at which the set of addresses last changed. An order of the sorter is for one
    /// set version.
    #[must_use]
    pub fn set_version(&self) -> u64 {
        self.block[1] & (VERSION_MAX - 1)
    }

    /// The number of the round that gathered the set.
    #[must_use]
    pub fn round(&self) -> u64 {
        self.block[2] & (VERSION_MAX - 1)
    }

    /// The progress of that round.
    #[must_use]
    pub fn state(&self) -> State {
        match (self.block[0] >> 53) & 3 {
            0 => State::First,
            1 => State::Partial,
            _ => State::Complete,
        }
    }

    /// The denial; `None` if there are addresses.
    #[must_use]
    pub fn negative(&self) -> Option<Negative> {
        let code = self.block[0] >> 55;
        match code & 3 {
            1 if code & WITHHELD != 0 => Some(Negative::Withheld),
            1 => Some(Negative::NoData),
            2 => Some(Negative::NxDomain),
            _ => None,
        }
    }

    /// Whether the addresses are in order of measured latency, not of arrival.
    #[must_use]
    pub fn sorted(&self) -> bool {
        (self.block[0] >> 57) & 1 == 1
    }

    /// When it expires, in milliseconds of [`Monotonic`].
    #[must_use]
    pub fn expire_ms(&self) -> u64 {
        self.block[3] >> 16
    }

    /// Whether it has expired.
    #[must_use]
    pub fn expired(&self, now: Monotonic) -> bool {
        now.as_ms() >= self.expire_ms()
    }

    /// The TTL with which it was published, in seconds, rounded down to seven significant bits.
    #[must_use]
    pub fn lifetime_s(&self) -> u32 {
        let code = self.block[1] >> 53;
        let (exponent, mantissa) = ((code >> 6) as u32, code & 0x3f);
        let value = if exponent == 0 { mantissa } else { (64 + mantissa) << (exponent - 1).min(32) };
        u32::try_from(value).unwrap_or(u32::MAX)
    }

    /// Whether less than a fifth of its TTL is left. Readers that still use it then send a hint.
    #[must_use]
    pub fn is_ending(&self, now: Monotonic) -> bool {
        let left_ms = self.expire_ms().saturating_sub(now.as_ms());
        left_ms < u64::from(self.lifetime_s()) * 200
    }

    /// The TTL that is left, in seconds, rounded down; 0 when it has expired.
    #[must_use]
    pub fn ttl(&self, now: Monotonic) -> u32 {
        u32::try_from(self.expire_ms().saturating_sub(now.as_ms()) / 1000).unwrap_or(u32::MAX)
    }

    /// The number of addresses.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entry.count(self.family)
    }

    /// Whether there are no addresses.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How far the upstreams agree. Tables before ABI 1.3 do not say it.
    #[must_use]
    pub fn agreement(&self) -> Agreement {
        let own = self.entry.trust_octets(self.family);
        let octet = |at: usize| own.get(at).copied().unwrap_or(0);
        let (answered, disputes) = (octet(0), octet(1));
        let dissenters =
            if disputes == 0 { 0 } else { u32::from_le_bytes([octet(2), octet(3), octet(4), 0]) };
        Agreement { answered, disputes, dissenters }
    }

    /// The addresses, best first.
    pub fn addresses(&self) -> impl ExactSizeIterator<Item = Address> + use<'s> {
        let (entry, family) = (self.entry, self.family);
        (0..self.len()).map(move |n| entry.address(family, n))
    }

    /// The IPv4 addresses of one chain, best first; none of an AAAA family. Faster than
    /// [`FamilyView::addresses`], for replies.
    pub fn v4(&self, chain: u8) -> impl Iterator<Item = [u8; 4]> + use<'s> {
        let shape = self.entry.shape;
        let count = if self.family == Family::A { shape.n4() } else { 0 };
        let own = self.entry.words.get(shape.v4()..shape.v4() + count).unwrap_or_default();
        let meta = self.entry.words.get(shape.v4_meta()..).unwrap_or_default();
        own.iter().enumerate().filter_map(move |(n, own)| {
            let meta = meta.get(n / 2).copied().unwrap_or(0) >> (32 * (n % 2));
            (meta as u8 == chain).then_some((*own as u32).to_le_bytes())
        })
    }

    /// The IPv6 addresses of one chain, see [`FamilyView::v4`].
    pub fn v6(&self, chain: u8) -> impl Iterator<Item = [u8; 16]> + use<'s> {
        let shape = self.entry.shape;
        let count = if self.family == Family::Aaaa { shape.n6() } else { 0 };
        let own = self.entry.words.get(shape.v6()..shape.v6() + 3 * count).unwrap_or_default();
        own.as_chunks::<3>().0.iter().filter_map(move |[low, high, meta]| {
            let octets = u128::from(*high) << 64 | u128::from(*low);
            ((meta >> 32) as u8 == chain).then_some(octets.to_le_bytes())
        })
    }

    /// The addresses at the beginning that several upstreams or the first answer gave, or whose
    /// certificates are for the name. The others come after them.
    pub fn trusted(&self) -> impl Iterator<Item = Address> {
        self.addresses().take_while(Address::is_confirmed)
    }

    /// Whether all addresses are the name's own, without a CNAME, and there is no SOA record.
    #[inline]
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.tail.is_empty()
    }

    /// The number of chains of CNAMEs, at least one. An empty chain is the name itself.
    #[must_use]
    pub fn chain_count(&self) -> u8 {
        self.tail.first().copied().unwrap_or(0).max(1)
    }

    /// The CNAMEs of one chain: target in wire form, and when it expires, in milliseconds of
    /// [`Monotonic`].
    pub fn chain(&self, chain: u8) -> impl Iterator<Item = (&'s [u8], u64)> + use<'s> {
        let mut at = Cursor { rest: self.tail };
        let mut left = 0;
        if chain < at.octet().unwrap_or(0) {
            for _ in 0..chain {
                let links = at.octet().unwrap_or(0);
                for _ in 0..links {
                    at.link();
                }
            }
            left = at.octet().unwrap_or(0);
        }
        core::iter::from_fn(move || {
            left = u8::checked_sub(left, 1)?;
            at.link()
        })
    }

    /// The SOA record of a denial: owner in wire form, when it expires in milliseconds, RDATA with
    /// uncompressed names.
    #[must_use]
    pub fn soa(&self) -> Option<(&'s [u8], u64, &'s [u8])> {
        let mut at = Cursor { rest: self.tail };
        for _ in 0..at.octet()? {
            for _ in 0..at.octet()? {
                at.link()?;
            }
        }
        if at.octet()? == 0 {
            return None;
        }
        let (owner, expire_ms) = at.link()?;
        let length = usize::from(u16::from_le_bytes([at.octet()?, at.octet()?]));
        Some((owner, expire_ms, at.take(length)?))
    }

    /// The canonical name: the last name of the first address's chain, or the name itself.
    #[must_use]
    pub fn canonical(&self) -> &'s [u8] {
        let chain = self.addresses().next().map_or(0, |first| first.chain);
        self.chain(chain).last().map_or(self.entry.name(), |(target, _)| target)
    }
}

impl Entry<'_> {
    /// The number of addresses of a family.
    pub(crate) fn count(&self, family: Family) -> usize {
        match family {
            Family::A => self.shape.n4(),
            Family::Aaaa => self.shape.n6(),
        }
    }

    /// Address number `n` of a family, from 0 on. Not inlined, since the module that is in every process
    /// uses it in many places.
    #[inline(never)]
    pub(crate) fn address(&self, family: Family, n: usize) -> Address {
        let shape = self.shape;
        let (address, rtt, meta): (IpAddr, u32, u32) = match family {
            Family::A => {
                let own = self.word(shape.v4() + n);
                let octets = (own as u32).to_le_bytes();
                let meta = self.word(shape.v4_meta() + n / 2) >> (32 * (n % 2));
                (Ipv4Addr::from(octets).into(), (own >> 32) as u32, meta as u32)
            }
            Family::Aaaa => {
                let at = shape.v6() + 3 * n;
                let octets = (u128::from(self.word(at + 1)) << 64 | u128::from(self.word(at))).to_le_bytes();
                let own = self.word(at + 2);
                (Ipv6Addr::from(octets).into(), own as u32, (own >> 32) as u32)
            }
        };
        let own = self.trust_octets(family);
        let verdict = own.get(trust_head(own) + n).copied().unwrap_or(0);
        Address {
            address,
            rtt: Rtt::from_word(rtt),
            chain: meta as u8,
            upstreams: meta >> 8,
            sources: verdict >> 3,
            trust: Trust::from_number(verdict & 7),
        }
    }
}

/// The octets before the verdicts of a family: how many upstreams answered, why the set is disputed, and,
/// if it is, three octets with the upstreams that disagree.
pub(crate) fn trust_head(own: &[u8]) -> usize {
    if own.get(1).is_some_and(|disputes| *disputes != 0) { 5 } else { 2 }
}

/// Reads the octets after a record's words. Unexpected octets end the reading.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let taken = self.rest.get(..n)?;
        self.rest = self.rest.get(n..)?;
        Some(taken)
    }

    fn octet(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// Six octets of expiry time, one of length, then a name.
    fn link(&mut self) -> Option<(&'a [u8], u64)> {
        let mut time = [0; 8];
        for (to, from) in time.iter_mut().zip(self.take(6)?) {
            *to = *from;
        }
        let length = usize::from(self.octet()?);
        Some((self.take(length)?, u64::from_le_bytes(time)))
    }
}
