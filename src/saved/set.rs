//! One saved set as octets. The format, with sizes in octets:
//!
//! * Flags (1): 1 the addresses are IPv6, 2 the set is complete, 4 it is sorted.
//! * Route (8), time left in milliseconds (8), the TTL with which it was published in seconds (4).
//! * How many upstreams had answered (1), why the set is disputed (1).
//! * Name: length (1), wire form.
//! * Chains: their number (1); for each chain the number of links (1); for each link the time left
//!   in milliseconds (8), and length (1) and wire form of its target.
//! * Addresses: their number (1); for each address its octets (4 or 16), the round-trip time in
//!   microseconds (4; 2^32-1 unreachable, 2^32-2 unmeasured), the number of its chain (1), plus 128 if
//!   the address is not trusted, and the verdict on its certificate plus 8 times the number of
//!   upstreams that gave it (1).

use core::fmt;
use core::net::IpAddr;
use hither_table::{Address, Agreement, Family, Rtt, Trust};
use hither_wire::name::Name;

/// CNAME chains of one set.
pub const CHAINS_MAX: usize = 8;
/// CNAMEs of one chain: those of a response, and those that were found by following its last CNAME.
pub const CNAMES_MAX: usize = 32;

const IPV6: u8 = 1;
const COMPLETE: u8 = 2;
const SORTED: u8 = 4;
/// Bit beside the number of a chain, which is below [`CHAINS_MAX`]: the address is not trusted.
const UNTRUSTED: u8 = 128;
const UNREACHABLE: u32 = u32::MAX;
const UNMEASURED: u32 = u32::MAX - 1;

/// A saved address set: the addresses of one name and family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Set {
    /// The name, in lower case.
    pub name: Name,
    /// The family of all addresses.
    pub family: Family,
    /// A hash of the upstreams that were asked.
    pub route: u64,
    /// Whether every upstream had answered or failed when the set was published.
    pub complete: bool,
    /// Whether the addresses are in the order of measured latency.
    pub sorted: bool,
    /// The time that the set had left when it was saved, in milliseconds.
    pub left_ms: u64,
    /// The TTL with which the set was published, in seconds.
    pub lifetime_s: u32,
    /// How far the upstreams agreed. `dissenters` is not saved.
    pub agreement: Agreement,
    /// The addresses, best first: 1 to 255, each once. Of `upstreams` only [`Address::TRUSTED`] is saved.
    pub addresses: Vec<Address>,
    /// The CNAME chains that led to them, at least one. A chain without links is the name itself.
    pub chains: Vec<Vec<Link>>,
}

/// One CNAME of a chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// The name that the CNAME points to.
    pub target: Name,
    /// The time that the CNAME had left when it was saved, in milliseconds.
    pub left_ms: u64,
}

/// Why octets are not a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault(pub &'static str);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Fault {}

impl Set {
    /// Reads a set with nothing after it.
    ///
    /// # Errors
    /// A [`Fault`] if the octets are not those of [`Set::encode`].
    pub fn decode(octets: &[u8]) -> Result<Set, Fault> {
        let mut from = Cursor { rest: octets };
        let flags = from.octet()?;
        if flags & !(IPV6 | COMPLETE | SORTED) != 0 {
            return Err(Fault("it has unknown flags"));
        }
        let family = if flags & IPV6 == 0 { Family::A } else { Family::Aaaa };
        let (route, left_ms) = (from.u64()?, from.u64()?);
        let lifetime_s = from.u32()?;
        let agreement = Agreement { answered: from.octet()?, disputes: from.octet()?, dissenters: 0 };
        let name = from.name()?;
        let chains = from.chains()?;
        let addresses = from.addresses(family)?;
        if !from.rest.is_empty() {
            return Err(Fault("octets follow the set"));
        }
        let (complete, sorted) = (flags & COMPLETE != 0, flags & SORTED != 0);
        let set =
            Set { name, family, route, complete, sorted, left_ms, lifetime_s, agreement, addresses, chains };
        set.check()?;
        Ok(set)
    }

    /// Appends the set to `out`.
    ///
    /// # Errors
    /// A [`Fault`] if the set could not be decoded again; `out` is unchanged then.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.check()?;
        let flag = |bit, set: bool| if set { bit } else { 0 };
        let ipv6 = flag(IPV6, self.family == Family::Aaaa);
        out.push(ipv6 | flag(COMPLETE, self.complete) | flag(SORTED, self.sorted));
        out.extend(self.route.to_le_bytes());
        out.extend(self.left_ms.to_le_bytes());
        out.extend(self.lifetime_s.to_le_bytes());
        out.extend([self.agreement.answered, self.agreement.disputes]);
        push_name(out, &self.name);
        out.push(self.chains.len() as u8);
        for chain in &self.chains {
            out.push(chain.len() as u8);
            for link in chain {
                out.extend(link.left_ms.to_le_bytes());
                push_name(out, &link.target);
            }
        }
        out.push(self.addresses.len() as u8);
        for address in &self.addresses {
            match address.address {
                IpAddr::V4(v4) => out.extend(v4.octets()),
                IpAddr::V6(v6) => out.extend(v6.octets()),
            }
            out.extend(rtt_word(address.rtt).to_le_bytes());
            out.push(address.chain | if address.is_trusted() { 0 } else { UNTRUSTED });
            out.push(address.trust as u8 | address.sources.min(Address::SOURCES_MAX) << 3);
        }
        Ok(())
    }

    /// Checks that the parts fit together, and that each number fits its octet.
    fn check(&self) -> Result<(), Fault> {
        if self.name.to_lower() != self.name {
            return Err(Fault("its name is not in lower case"));
        }
        if self.chains.is_empty() || self.chains.len() > CHAINS_MAX {
            return Err(Fault("it has no chain, or too many"));
        }
        if self.chains.iter().any(|chain| chain.len() > CNAMES_MAX) {
            return Err(Fault("a chain is too long"));
        }
        if self.addresses.is_empty() || self.addresses.len() > usize::from(u8::MAX) {
            return Err(Fault("it has no address, or too many"));
        }
        for (n, address) in self.addresses.iter().enumerate() {
            if Family::of(&address.address) != self.family {
                return Err(Fault("an address is of the other family"));
            }
            if usize::from(address.chain) >= self.chains.len() {
                return Err(Fault("an address belongs to no chain"));
            }
            let before = self.addresses.get(..n).unwrap_or_default();
            if before.iter().any(|other| other.address == address.address) {
                return Err(Fault("an address is in it twice"));
            }
        }
        Ok(())
    }
}

fn push_name(out: &mut Vec<u8>, name: &Name) {
    let octets = name.as_wire();
    out.push(octets.len() as u8);
    out.extend(octets);
}

fn rtt_word(rtt: Rtt) -> u32 {
    match rtt {
        Rtt::Unreachable => UNREACHABLE,
        Rtt::Unmeasured => UNMEASURED,
        Rtt::Micros(micros) => micros.min(UNMEASURED - 1),
    }
}

fn rtt_of(word: u32) -> Rtt {
    match word {
        UNREACHABLE => Rtt::Unreachable,
        UNMEASURED => Rtt::Unmeasured,
        micros => Rtt::Micros(micros),
    }
}

struct Cursor<'a> {
    rest: &'a [u8],
}

const SHORT: Fault = Fault("it ends too early");

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn octet(&mut self) -> Result<u8, Fault> {
        self.array::<1>().map(|[octet]| octet)
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }

    fn name(&mut self) -> Result<Name, Fault> {
        let length = self.octet()?;
        let octets = self.take(usize::from(length))?;
        Name::from_wire(octets).map_err(|_| Fault("a name is malformed"))
    }

    fn chains(&mut self) -> Result<Vec<Vec<Link>>, Fault> {
        let count = usize::from(self.octet()?);
        if count > CHAINS_MAX {
            return Err(Fault("it has no chain, or too many"));
        }
        (0..count).map(|_| self.chain()).collect()
    }

    fn chain(&mut self) -> Result<Vec<Link>, Fault> {
        let count = usize::from(self.octet()?);
        if count > CNAMES_MAX {
            return Err(Fault("a chain is too long"));
        }
        (0..count)
            .map(|_| {
                let left_ms = self.u64()?;
                Ok(Link { target: self.name()?, left_ms })
            })
            .collect()
    }

    fn addresses(&mut self, family: Family) -> Result<Vec<Address>, Fault> {
        let count = self.octet()?;
        (0..count)
            .map(|_| {
                let address = match family {
                    Family::A => IpAddr::from(self.array::<4>()?),
                    Family::Aaaa => IpAddr::from(self.array::<16>()?),
                };
                let (rtt, chain) = (rtt_of(self.u32()?), self.octet()?);
                let upstreams = if chain & UNTRUSTED == 0 { Address::TRUSTED } else { 0 };
                let verdict = self.octet()?;
                let Some(trust) = Trust::ALL.get(usize::from(verdict & 7)).copied() else {
                    return Err(Fault("a verdict is unknown"));
                };
                let sources = verdict >> 3;
                Ok(Address { address, rtt, chain: chain & !UNTRUSTED, upstreams, sources, trust })
            })
            .collect()
    }
}
