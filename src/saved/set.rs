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

use crate::octets::{
    Fault, Link, Octets, UNTRUSTED, check_addresses, check_chains, push_address, push_chains, push_name,
    push_rtt,
};
use hither_table::{Address, Agreement, Family, Trust};
use hither_wire::name::Name;

const IPV6: u8 = 1;
const COMPLETE: u8 = 2;
const SORTED: u8 = 4;

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

impl Set {
    /// Reads a set with nothing after it.
    ///
    /// # Errors
    /// A [`Fault`] if the octets are not those of [`Set::encode`].
    pub fn decode(octets: &[u8]) -> Result<Set, Fault> {
        let mut from = Octets::new(octets);
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
        let count = from.octet()?;
        let addresses = (0..count).map(|_| address(&mut from, family)).collect::<Result<_, _>>()?;
        from.end()?;
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
        push_chains(out, &self.chains);
        out.push(self.addresses.len() as u8);
        for address in &self.addresses {
            push_address(out, address.address);
            push_rtt(out, address.rtt);
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
        check_chains(&self.chains)?;
        check_addresses(&self.addresses, self.family, &self.chains)
    }
}

fn address(from: &mut Octets<'_>, family: Family) -> Result<Address, Fault> {
    let address = from.address(family)?;
    let (rtt, chain) = (from.rtt()?, from.octet()?);
    let upstreams = if chain & UNTRUSTED == 0 { Address::TRUSTED } else { 0 };
    let verdict = from.octet()?;
    let trust = Trust::ALL.get(usize::from(verdict & 7)).copied().ok_or(Fault("a verdict is unknown"))?;
    Ok(Address { address, rtt, chain: chain & !UNTRUSTED, upstreams, sources: verdict >> 3, trust })
}
