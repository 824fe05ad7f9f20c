//! Hosts files (hosts(5)) and the host's own name.

use crate::{Data, FILE_TTL_S, Names, Reason, Said, address, lines, reverse};
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What hosts files say.
#[derive(Debug, Default)]
pub struct Hosts {
    names: Names,
    addresses: Vec<Vec<IpAddr>>,
    /// The first name of each address.
    pointers: BTreeMap<IpAddr, Box<[u8]>>,
}

/// Addresses of one name; more say nothing that helps.
const ADDRESSES_MAX: usize = 255;

impl Hosts {
    /// Adds a file. Returns how many of its lines are neither empty nor an address with names.
    pub fn add(&mut self, text: &[u8]) -> usize {
        let mut bad = 0;
        for mut words in lines(text) {
            let Some(first) = words.next() else { continue };
            let mut names = words.peekable();
            match address(first) {
                Some(address) if names.peek().is_some() => {
                    let known =
                        names.map(Name::from_text).filter(|name| !self.add_name(address, name)).count();
                    bad += usize::from(known > 0);
                }
                _ => bad += 1,
            }
        }
        bad
    }

    fn add_name<E>(&mut self, address: IpAddr, name: &Result<Name, E>) -> bool {
        let Ok(name) = name else { return false };
        let name = name.to_lower();
        let next = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX);
        let Some(number) = self.names.insert(&name, next) else { return false };
        if number == next {
            self.addresses.push(Vec::new());
        }
        if let Some(addresses) = self.addresses.get_mut(number as usize)
            && !addresses.contains(&address)
            && addresses.len() < ADDRESSES_MAX
        {
            addresses.push(address);
        }
        self.pointers.entry(address).or_insert_with(|| name.as_wire().into());
        true
    }

    /// Gives back what was reserved while reading.
    pub fn shrink(&mut self) {
        self.names.shrink();
    }

    /// How many names are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether none are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The answer for addresses and pointers; other types of the same names are asked for elsewhere, but for the two that name
    /// addresses too (RFC 9460 section 7.3).
    #[must_use]
    pub fn answer(&self, name: &Name, rtype: Rtype) -> Option<Said> {
        if rtype == Rtype::PTR {
            let wire = self.pointers.get(&reverse::address(name)?)?;
            let target = Name::from_wire(wire).ok()?;
            return Some(Said::new(Reason::Hosts, vec![Data::Pointer(target)], FILE_TTL_S));
        }
        let number = self.names.get(name.as_wire())?;
        addresses(self.addresses.get(number as usize)?, rtype)
    }
}

fn addresses(known: &[IpAddr], rtype: Rtype) -> Option<Said> {
    let wanted = |address: &&IpAddr| match rtype {
        Rtype::A => address.is_ipv4(),
        Rtype::AAAA => address.is_ipv6(),
        _ => false,
    };
    match rtype {
        Rtype::A | Rtype::AAAA | Rtype::HTTPS | Rtype::SVCB | Rtype::ANY => {
            let data = known.iter().filter(wanted).copied().map(Data::Address).collect();
            Some(Said::new(Reason::Hosts, data, FILE_TTL_S))
        }
        _ => None,
    }
}

/// The host's own name and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnName {
    /// Its names in lower case: as set, and the first label alone.
    pub names: Vec<Name>,
    /// Its addresses, those that others can reach first.
    pub addresses: Vec<IpAddr>,
}

impl OwnName {
    /// That of a host whose name is set to `text`. None where that is no name that others could ask for: not set, an address, no host name
    /// (RFC 952, with underscores as people write them), or `localhost`, which is everybody's.
    #[must_use]
    pub fn of(text: &str, addresses: Vec<IpAddr>) -> Option<OwnName> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let is_host = text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet));
        if !is_host || text.parse::<IpAddr>().is_ok() {
            return None;
        }
        let full = text.parse::<Name>().ok().filter(|full| !full.is_root())?.to_lower();
        let first =
            text.split('.').next().and_then(|label| label.parse::<Name>().ok()).map(|name| name.to_lower());
        let mut names = vec![full];
        names.extend(first.filter(|first| *first != full));
        let localhost = |name: &Name| name.labels().any(|label| label == b"localhost");
        (!names.iter().any(localhost)).then_some(OwnName { names, addresses })
    }

    pub(crate) fn answer(&self, name: &Name, rtype: Rtype) -> Option<Said> {
        if rtype == Rtype::PTR {
            let address = reverse::address(name)?;
            let own = self.names.first().filter(|_| self.addresses.contains(&address))?;
            return Some(Said::new(Reason::Hosts, vec![Data::Pointer(*own)], FILE_TTL_S));
        }
        self.names.contains(name).then(|| addresses(&self.addresses, rtype)).flatten()
    }
}
