//! A record in a private copy: where its parts stand, and what they say.

use crate::key::Key;
use crate::layout::{BLOCK, RECORD_HEAD, RECORD_MAX, VERSION_MAX, checksum};
use crate::time::Monotonic;
use crate::types::{Address, Family, Negative, Rtt, State};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Beside the code of a denial: it is one of ours. The bit between them says whether the set is sorted.
pub(crate) const WITHHELD: u64 = 1 << 3;

/// Where the parts of a record stand, in words; a function of its word 1 alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shape(u64);

impl Shape {
    #[inline]
    pub(crate) fn of(word: u64) -> Option<Shape> {
        let shape = Shape(word);
        let families = (shape.has(0) || shape.n4() == 0) && (shape.has(1) || shape.n6() == 0);
        let any = matches!(word >> 40, 1..=3);
        let fits = shape.words() <= RECORD_MAX && shape.tail() <= shape.words() && shape.key_len() > 0;
        (families && any && fits).then_some(shape)
    }

    /// Of a record with so many octets of key and addresses of each family that it has; its words are not counted yet.
    #[cfg(feature = "writer")]
    pub(crate) fn new(key_len: usize, [n4, n6]: [usize; 2], has: [bool; 2]) -> Shape {
        let has = u64::from(has[0]) | u64::from(has[1]) << 1;
        Shape((key_len as u64) << 16 | (n4 as u64) << 24 | (n6 as u64) << 32 | has << 40)
    }

    #[cfg(feature = "writer")]
    pub(crate) fn with_words(self, words: usize) -> Shape {
        Shape(self.0 & !0xffff | words as u64 & 0xffff)
    }

    #[cfg(feature = "writer")]
    pub(crate) fn word(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn words(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    #[inline]
    pub(crate) fn key_len(self) -> usize {
        (self.0 >> 16 & 0xff) as usize
    }

    #[inline]
    pub(crate) fn n4(self) -> usize {
        (self.0 >> 24 & 0xff) as usize
    }

    #[inline]
    pub(crate) fn n6(self) -> usize {
        (self.0 >> 32 & 0xff) as usize
    }

    #[inline]
    pub(crate) fn has(self, family: u32) -> bool {
        self.0 >> (40 + family) & 1 != 0
    }

    /// Blocks of families.
    #[inline]
    pub(crate) fn blocks(self) -> usize {
        usize::from(self.has(0)) + usize::from(self.has(1))
    }

    pub(crate) fn block(self, family: Family) -> Option<usize> {
        match family {
            Family::A => self.has(0).then_some(RECORD_HEAD),
            Family::Aaaa => self.has(1).then_some(RECORD_HEAD + BLOCK * usize::from(self.has(0))),
        }
    }

    pub(crate) fn key(self) -> usize {
        RECORD_HEAD + BLOCK * self.blocks()
    }

    pub(crate) fn v4(self) -> usize {
        self.key() + self.key_len().div_ceil(8)
    }

    pub(crate) fn v4_meta(self) -> usize {
        self.v4() + self.n4()
    }

    pub(crate) fn v6(self) -> usize {
        self.v4_meta() + self.n4().div_ceil(2)
    }

    pub(crate) fn tail(self) -> usize {
        self.v6() + 3 * self.n6()
    }
}

/// A private copy of one record: one publish, whole. Made once and filled by any number of lookups.
pub struct Snapshot {
    pub(crate) words: [u64; RECORD_MAX],
    pub(crate) shape: Shape,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for Snapshot {
    fn clone(&self) -> Self {
        let mut copy = Self::new();
        let n = self.shape.words();
        copy.words[..n].copy_from_slice(&self.words[..n]);
        copy.shape = self.shape;
        copy
    }
}

impl core::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Snapshot")
            .field("version", &self.version())
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { words: [0; RECORD_MAX], shape: Shape(0) }
    }

    /// What it holds.
    #[must_use]
    pub fn entry(&self) -> Entry<'_> {
        Entry::of(&self.words, self.shape)
    }

    /// See [`Entry::version`].
    #[must_use]
    pub fn version(&self) -> u64 {
        self.entry().version()
    }

    /// See [`Entry::name`].
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.entry().name()
    }

    /// See [`Entry::intact`].
    #[must_use]
    pub fn intact(&self) -> bool {
        self.entry().intact()
    }

    /// See [`Entry::family`].
    #[must_use]
    pub fn family(&self, family: Family) -> Option<FamilyView<'_>> {
        self.entry().family(family)
    }

    /// See [`Entry::freshness`].
    #[must_use]
    pub fn freshness(&self, wanted: Wanted, now: Monotonic) -> Freshness {
        self.entry().freshness(wanted, now)
    }
}

/// Which families somebody asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// One of them.
    One(Family),
    /// Both.
    Both,
}

impl Wanted {
    /// Whether it includes the family.
    #[must_use]
    pub fn includes(self, family: Family) -> bool {
        self == Self::Both || self == Self::One(family)
    }
}

/// How far an entry answers what is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// Whole and in time.
    Fresh,
    /// A family that is asked for has expired.
    Stale,
    /// A family that is asked for is not known.
    Partial,
}

/// A copied record: one publish, whole.
#[derive(Clone, Copy)]
pub struct Entry<'s> {
    words: &'s [u64],
    shape: Shape,
}

impl core::fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Entry")
            .field("version", &self.version())
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl<'s> Entry<'s> {
    /// The entry that [`crate::View::find`] has copied into `words`, found again by its shape.
    #[must_use]
    pub fn of(words: &'s [u64], shape: Shape) -> Self {
        Self { words, shape }
    }

    /// How many words its record has.
    #[must_use]
    pub fn words(&self) -> usize {
        self.shape.words()
    }

    /// Where its parts stand.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    #[inline]
    fn word(&self, at: usize) -> u64 {
        self.words.get(at).copied().unwrap_or(0)
    }

    /// The version of its newest family; 0 when it is empty.
    #[must_use]
    pub fn version(&self) -> u64 {
        if self.shape.words() == 0 { 0 } else { self.word(0) >> 1 }
    }

    /// The name, in lower-case wire form.
    #[must_use]
    pub fn name(&self) -> &'s [u8] {
        self.octets(self.shape.key(), self.shape.key_len())
    }

    #[inline]
    pub(crate) fn is(&self, key: &Key) -> bool {
        let own = self.words.get(self.shape.key()..self.shape.v4()).unwrap_or_default();
        // A loop of words beats a call for what is mostly four of them.
        self.shape.key_len() == key.len && own.iter().zip(key.padded()).all(|(own, other)| own == other)
    }

    fn octets(&self, at: usize, len: usize) -> &'s [u8] {
        let words = self.words.get(at..self.shape.words()).unwrap_or_default();
        bytemuck::cast_slice::<u64, u8>(words).get(..len).unwrap_or_default()
    }

    /// Whether the copy is what the writer wrote; a lookup does not need it, an inspection does.
    #[must_use]
    pub fn intact(&self) -> bool {
        let words = self.words.get(..self.shape.words()).unwrap_or_default();
        words.len() > RECORD_HEAD && words.get(2).is_some_and(|own| *own == sum(words))
    }

    /// One of its families, if it holds it.
    #[inline]
    #[must_use]
    pub fn family(&self, family: Family) -> Option<FamilyView<'s>> {
        let at = self.shape.block(family)?;
        let block = *self.words.get(at..)?.first_chunk::<BLOCK>()?;
        let own = (block[3] & 0xffff) as usize;
        if own == 0 {
            return Some(FamilyView { entry: *self, family, block, tail: &[] });
        }
        let before = match family {
            Family::A => 0,
            Family::Aaaa => self.shape.block(Family::A).map_or(0, |a| (self.word(a + 3) & 0xffff) as usize),
        };
        let tail = self.octets(self.shape.tail(), before + own).get(before..).unwrap_or_default();
        Some(FamilyView { entry: *self, family, block, tail })
    }

    /// How far it answers what is asked. A name that does not exist has neither family (RFC 8020 section 2).
    #[must_use]
    pub fn freshness(&self, wanted: Wanted, now: Monotonic) -> Freshness {
        let sets = [Family::A, Family::Aaaa].map(|family| (family, self.family(family)));
        let denied = |set: &FamilyView<'_>| set.negative() == Some(Negative::NxDomain) && !set.expired(now);
        let denied = sets.iter().any(|(_, set)| set.as_ref().is_some_and(denied));
        let mut freshness = Freshness::Fresh;
        for (_, set) in sets.iter().filter(|(family, _)| wanted.includes(*family)) {
            match set {
                Some(set) if !set.expired(now) => {}
                // Addresses whose time is over are not for the denial to vouch for.
                Some(set) if !set.is_empty() || !denied => {
                    if freshness == Freshness::Fresh {
                        freshness = Freshness::Stale;
                    }
                }
                None if !denied => freshness = Freshness::Partial,
                Some(_) | None => {}
            }
        }
        freshness
    }
}

/// A number of seconds as [`FamilyView::lifetime_s`] reads it.
#[cfg(feature = "writer")]
pub(crate) fn lifetime_code(seconds: u32) -> u64 {
    let bits = 32 - seconds.leading_zeros();
    match bits {
        0..=6 => u64::from(seconds),
        _ => u64::from(bits - 6) << 6 | u64::from(seconds >> (bits - 7)) & 0x3f,
    }
}

/// The checksum of a record: all words but the version and the sum itself.
pub(crate) fn sum(words: &[u64]) -> u64 {
    let (shape, rest) = (words.get(1..2).unwrap_or_default(), words.get(3..).unwrap_or_default());
    checksum(shape.iter().chain(rest).copied())
}

/// One family of a record.
#[derive(Clone, Copy, Debug)]
pub struct FamilyView<'s> {
    entry: Entry<'s>,
    family: Family,
    block: [u64; BLOCK],
    tail: &'s [u8],
}

impl<'s> FamilyView<'s> {
    /// The version of this family's publish.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.block[0] & (VERSION_MAX - 1)
    }

    /// The version at which the set of addresses last changed: an order is measured for this.
    #[must_use]
    pub fn set_version(&self) -> u64 {
        self.block[1] & (VERSION_MAX - 1)
    }

    /// The round that gathered the set.
    #[must_use]
    pub fn round(&self) -> u64 {
        self.block[2] & (VERSION_MAX - 1)
    }

    /// How far that round has come.
    #[must_use]
    pub fn state(&self) -> State {
        match (self.block[0] >> 53) & 3 {
            0 => State::First,
            1 => State::Partial,
            _ => State::Complete,
        }
    }

    /// Whether it is a denial.
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

    /// Whether the addresses are in measured order, rather than in that of arrival.
    #[must_use]
    pub fn sorted(&self) -> bool {
        (self.block[0] >> 57) & 1 == 1
    }

    /// When it expires, in milliseconds of [`Monotonic`].
    #[must_use]
    pub fn expire_ms(&self) -> u64 {
        self.block[3] >> 16
    }

    /// Whether its time is over.
    #[must_use]
    pub fn expired(&self, now: Monotonic) -> bool {
        now.as_ms() >= self.expire_ms()
    }

    /// The TTL it was published with, in seconds, rounded down to seven binary digits.
    #[must_use]
    pub fn lifetime_s(&self) -> u32 {
        let code = self.block[1] >> 53;
        let (exponent, mantissa) = ((code >> 6) as u32, code & 0x3f);
        let value = if exponent == 0 { mantissa } else { (64 + mantissa) << (exponent - 1).min(32) };
        u32::try_from(value).unwrap_or(u32::MAX)
    }

    /// Whether less than a fifth of its time is left, so that who still wants it says so in time to the daemon.
    #[must_use]
    pub fn is_ending(&self, now: Monotonic) -> bool {
        let left_ms = self.expire_ms().saturating_sub(now.as_ms());
        left_ms < u64::from(self.lifetime_s()) * 200
    }

    /// Seconds left, rounded down; 0 when expired.
    #[must_use]
    pub fn ttl(&self, now: Monotonic) -> u32 {
        u32::try_from(self.expire_ms().saturating_sub(now.as_ms()) / 1000).unwrap_or(u32::MAX)
    }

    /// How many addresses it has.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.family {
            Family::A => self.entry.shape.n4(),
            Family::Aaaa => self.entry.shape.n6(),
        }
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The addresses, best first.
    pub fn addresses(&self) -> impl ExactSizeIterator<Item = Address> + use<'s> {
        let (entry, family) = (self.entry, self.family);
        let word = move |at: usize| entry.word(at);
        let shape = entry.shape;
        (0..self.len()).map(move |n| {
            let (address, rtt, meta): (IpAddr, u32, u32) = match family {
                Family::A => {
                    let own = word(shape.v4() + n);
                    let octets = (own as u32).to_le_bytes();
                    let meta = word(shape.v4_meta() + n / 2) >> (32 * (n % 2));
                    (Ipv4Addr::from(octets).into(), (own >> 32) as u32, meta as u32)
                }
                Family::Aaaa => {
                    let at = shape.v6() + 3 * n;
                    let octets = (u128::from(word(at + 1)) << 64 | u128::from(word(at))).to_le_bytes();
                    let own = word(at + 2);
                    (Ipv6Addr::from(octets).into(), own as u32, (own >> 32) as u32)
                }
            };
            Address { address, rtt: Rtt::from_word(rtt), chain: meta as u8, upstreams: meta >> 8 }
        })
    }

    /// The addresses of one chain, as octets, best first; none where the family is another. Less to do than
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

    /// The same for IPv6.
    pub fn v6(&self, chain: u8) -> impl Iterator<Item = [u8; 16]> + use<'s> {
        let shape = self.entry.shape;
        let count = if self.family == Family::Aaaa { shape.n6() } else { 0 };
        let own = self.entry.words.get(shape.v6()..shape.v6() + 3 * count).unwrap_or_default();
        own.as_chunks::<3>().0.iter().filter_map(move |[low, high, meta]| {
            let octets = u128::from(*high) << 64 | u128::from(*low);
            ((meta >> 32) as u8 == chain).then_some(octets.to_le_bytes())
        })
    }

    /// The addresses that stand first because not one upstream alone gave them, see [`Address::is_trusted`].
    pub fn trusted(&self) -> impl Iterator<Item = Address> {
        self.addresses().take_while(Address::is_trusted)
    }

    /// Whether all of its addresses are the name's own, with no CNAME in between, and nothing else is said of it.
    #[inline]
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.tail.is_empty()
    }

    /// How many chains of CNAMEs it has; an empty one, the name itself, counts.
    #[must_use]
    pub fn chain_count(&self) -> u8 {
        self.tail.first().copied().unwrap_or(0).max(1)
    }

    /// The CNAMEs of one chain: target in wire form, and when it expires in milliseconds.
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

    /// The SOA record of a denial: owner in wire form, when it expires, data in uncompressed wire form.
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

    /// The last name of the chain that owns the first address; the name itself without one.
    #[must_use]
    pub fn canonical(&self) -> &'s [u8] {
        let chain = self.addresses().next().map_or(0, |first| first.chain);
        self.chain(chain).last().map_or(self.entry.name(), |(target, _)| target)
    }
}

/// Reads the octets behind the words; anything unexpected ends it.
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

    /// Six octets of time, one of length, a name.
    fn link(&mut self) -> Option<(&'a [u8], u64)> {
        let mut time = [0; 8];
        for (to, from) in time.iter_mut().zip(self.take(6)?) {
            *to = *from;
        }
        let length = usize::from(self.octet()?);
        Some((self.take(length)?, u64::from_le_bytes(time)))
    }
}
