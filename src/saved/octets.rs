//! The parts of a set as octets: numbers, names, addresses, CNAME chains; for saved sets, and for those that
//! hosts share.
//!
//! Reading gives a value or a [`Fault`], and takes no more memory than the octets warrant. Writing expects
//! what the two checks accept.

use core::fmt;
use core::net::IpAddr;
use hither_table::{Address, Family, Rtt};
use hither_wire::name::Name;

/// CNAME chains of one set.
pub const CHAINS_MAX: usize = 8;
/// CNAMEs of one chain: those of a response, and those that were found by following its last CNAME.
pub const CNAMES_MAX: usize = 32;
/// Bit beside the number of a chain, which is below [`CHAINS_MAX`]: the address is not trusted.
pub const UNTRUSTED: u8 = 128;

const UNREACHABLE: u32 = u32::MAX;
const UNMEASURED: u32 = u32::MAX - 1;

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

/// Octets that are read from their beginning.
#[derive(Clone, Debug)]
pub struct Octets<'a> {
    rest: &'a [u8],
}

const SHORT: Fault = Fault("it ends too early");

/// Each of these functions fails if the octets end too early.
#[allow(clippy::missing_errors_doc)]
impl<'a> Octets<'a> {
    /// Begins to read octets at the first one.
    #[must_use]
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    /// Fails if octets are left.
    pub const fn end(&self) -> Result<(), Fault> {
        if self.rest.is_empty() { Ok(()) } else { Err(Fault("octets follow the set")) }
    }

    /// The next `count` octets.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` octets.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// The next octet alone.
    pub fn octet(&mut self) -> Result<u8, Fault> {
        self.array::<1>().map(|[octet]| octet)
    }

    /// A number of two octets, in little-endian order.
    pub fn u16(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_le_bytes)
    }

    /// A number of four octets, in little-endian order.
    pub fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    /// A number of eight octets, in little-endian order.
    pub fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length of one octet, and as many octets.
    pub fn short(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.octet()?;
        self.take(usize::from(length))
    }

    /// A name in wire form after its length. It also fails if they are not a name.
    pub fn name(&mut self) -> Result<Name, Fault> {
        Name::from_wire(self.short()?).map_err(|_| Fault("a name is malformed"))
    }

    /// An address of a family.
    pub fn address(&mut self, family: Family) -> Result<IpAddr, Fault> {
        Ok(match family {
            Family::A => IpAddr::from(self.array::<4>()?),
            Family::Aaaa => IpAddr::from(self.array::<16>()?),
        })
    }

    /// A round-trip time of four octets.
    pub fn rtt(&mut self) -> Result<Rtt, Fault> {
        Ok(match self.u32()? {
            UNREACHABLE => Rtt::Unreachable,
            UNMEASURED => Rtt::Unmeasured,
            micros => Rtt::Micros(micros),
        })
    }

    /// CNAME chains as [`push_chains`] writes them. It also fails if they are too many or too long.
    pub fn chains(&mut self) -> Result<Vec<Vec<Link>>, Fault> {
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
}

/// Checks the number of chains and their lengths.
///
/// # Errors
/// A [`Fault`] if they could not be read again.
pub fn check_chains(chains: &[Vec<Link>]) -> Result<(), Fault> {
    if chains.is_empty() || chains.len() > CHAINS_MAX {
        return Err(Fault("it has no chain, or too many"));
    }
    if chains.iter().any(|chain| chain.len() > CNAMES_MAX) {
        return Err(Fault("a chain is too long"));
    }
    Ok(())
}

/// Checks that addresses are 1 to 255, each once, of this family and of one of these chains.
///
/// # Errors
/// A [`Fault`] if not.
pub fn check_addresses(addresses: &[Address], family: Family, chains: &[Vec<Link>]) -> Result<(), Fault> {
    if addresses.is_empty() || addresses.len() > usize::from(u8::MAX) {
        return Err(Fault("it has no address, or too many"));
    }
    for (n, address) in addresses.iter().enumerate() {
        if Family::of(&address.address) != family {
            return Err(Fault("an address is of the other family"));
        }
        if usize::from(address.chain) >= chains.len() {
            return Err(Fault("an address belongs to no chain"));
        }
        let before = addresses.get(..n).unwrap_or_default();
        if before.iter().any(|other| other.address == address.address) {
            return Err(Fault("an address is in it twice"));
        }
    }
    Ok(())
}

/// Appends the length of a name, and its wire form.
pub fn push_name(out: &mut Vec<u8>, name: &Name) {
    let octets = name.as_wire();
    out.push(octets.len() as u8);
    out.extend(octets);
}

/// Appends the number of chains; for each chain the number of its links; and for each link its time left
/// and its target.
pub fn push_chains(out: &mut Vec<u8>, chains: &[Vec<Link>]) {
    out.push(chains.len() as u8);
    for chain in chains {
        out.push(chain.len() as u8);
        for link in chain {
            out.extend(link.left_ms.to_le_bytes());
            push_name(out, &link.target);
        }
    }
}

/// Appends the 4 or 16 octets of an address.
pub fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => out.extend(v4.octets()),
        IpAddr::V6(v6) => out.extend(v6.octets()),
    }
}

/// Appends a round-trip time: microseconds, 2^32-1 for unreachable, or 2^32-2 for unmeasured.
pub fn push_rtt(out: &mut Vec<u8>, rtt: Rtt) {
    let word = match rtt {
        Rtt::Unreachable => UNREACHABLE,
        Rtt::Unmeasured => UNMEASURED,
        Rtt::Micros(micros) => micros.min(UNMEASURED - 1),
    };
    out.extend(word.to_le_bytes());
}
