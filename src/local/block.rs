//! Block lists: names that are denied, or answered with an address of the operator's choice.

use crate::{Data, FILE_TTL_S, Names, Reason, Said, address, lines};
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use std::net::IpAddr;

/// What is said of a blocked name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Verdict {
    /// NXDOMAIN.
    #[default]
    NxDomain,
    /// NOERROR without records.
    NoData,
    /// These addresses; NODATA for other types.
    Addresses(Vec<IpAddr>),
}

/// What a plain name in a list covers. A line of a hosts file covers its names alone, `*.name` what is below and the name itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Match {
    /// The name and everything below it.
    #[default]
    Subtree,
    /// The name alone.
    Exact,
}

/// One block of lists and what is said of their names.
#[derive(Debug, Default)]
pub struct Block {
    names: Names,
    verdict: Verdict,
}

const EXACT: u32 = 0;
const SUBTREE: u32 = 1;

/// Names at the top of many hosts files that block nothing.
const NOT_BLOCKED: [&str; 4] = ["localhost", "localhost.localdomain", "local", "broadcasthost"];

impl Block {
    /// An empty one.
    #[must_use]
    pub fn new(verdict: Verdict) -> Block {
        Block { names: Names::default(), verdict }
    }

    /// Adds a list: lines of hosts(5), or a name each. Returns how many lines are neither.
    pub fn add(&mut self, text: &[u8], covers: Match) -> usize {
        let mut bad = 0;
        for mut words in lines(text) {
            let Some(first) = words.next() else { continue };
            let good = match address(first) {
                Some(_) => words
                    .fold(None, |good, word| Some(good.unwrap_or(true) & self.add_name(word, Match::Exact))),
                None if words.next().is_some() => Some(false),
                None => Some(match first.strip_prefix(b"*.") {
                    Some(rest) => self.add_name(rest, Match::Subtree),
                    None => self.add_name(first, covers),
                }),
            };
            bad += usize::from(good != Some(true));
        }
        bad
    }

    /// Adds a name; `false` when it is none.
    pub fn add_name(&mut self, text: &[u8], covers: Match) -> bool {
        let Ok(name) = Name::from_text(text) else { return false };
        let name = name.to_lower();
        if covers == Match::Exact && NOT_BLOCKED.iter().any(|kept| text.eq_ignore_ascii_case(kept.as_bytes()))
        {
            return true;
        }
        if name.is_root() {
            return false;
        }
        let number = if covers == Match::Subtree { SUBTREE } else { EXACT };
        match self.names.insert(&name, number) {
            Some(EXACT) if number == SUBTREE => self.names.set(&name, SUBTREE),
            Some(_) => {}
            None => return false,
        }
        true
    }

    /// Gives back what was reserved while reading.
    pub fn shrink(&mut self) {
        self.names.shrink();
    }

    /// How many names are blocked, with what is below them or without.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether none are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Octets of memory in use.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.names.memory()
    }

    pub(crate) fn answer(&self, name: &Name, rtype: Rtype) -> Option<Said> {
        if !self.blocks(name) {
            return None;
        }
        let fits = |address: &&IpAddr| match rtype {
            Rtype::A => address.is_ipv4(),
            Rtype::AAAA => address.is_ipv6(),
            _ => false,
        };
        Some(match &self.verdict {
            Verdict::NxDomain => Said::nothing(Reason::Blocked, false, FILE_TTL_S),
            Verdict::NoData => Said::nothing(Reason::Blocked, true, FILE_TTL_S),
            Verdict::Addresses(addresses) => {
                let data = addresses.iter().filter(fits).copied().map(Data::Address).collect();
                Said::new(Reason::Blocked, data, FILE_TTL_S)
            }
        })
    }

    fn blocks(&self, name: &Name) -> bool {
        if self.names.is_empty() {
            return false;
        }
        let mut wire = name.as_wire();
        if self.names.get(wire).is_some() {
            return true;
        }
        while let Some((length @ 1.., rest)) = wire.split_first() {
            wire = rest.get(usize::from(*length)..).unwrap_or_default();
            if self.names.get(wire) == Some(SUBTREE) {
                return true;
            }
        }
        false
    }
}
