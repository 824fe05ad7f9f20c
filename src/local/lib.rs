//! Names that are answered here and never forwarded: special-use names, the host's own name, hosts
//! files, block lists.
//!
//! No I/O: files come in as octets, questions are answered from memory. Any octets give entries and a
//! count of the lines that were not understood.
//!
//! Not here: when files are read again (`src/daemon/reload`), how a reply is composed
//! (`src/rounds/local.rs`).

#![forbid(unsafe_code)]

mod address;
mod block;
mod hosts;
mod layered;
mod names;
mod parse_name;
mod reverse;
mod rules;
mod special;
mod standard;
pub mod text;

pub use block::{Block, List, Match, Verdict};
pub use hosts::{Hosts, HostsFile, OwnName};
pub use names::Names;
pub use parse_name::{NotAName, ParsedName, parse_name};
pub use special::{NON_DNS_TLDS, locally_served_zones, may_be_locally_served};
pub use standard::standard;

use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use std::any::Any;
use std::net::IpAddr;

/// Everything that is answered without an upstream.
#[derive(Debug, Default)]
pub struct Local {
    /// The entries of the hosts files.
    pub hosts: Hosts,
    /// This host's own name.
    pub own: Option<OwnName>,
    /// Block lists; the first that contains a name decides.
    pub blocks: Vec<Block>,
    /// A value that is dropped after the lists. With it the caller can keep shared lists alive and free
    /// them on another thread, since freeing millions of names takes time.
    pub keep_alive: Option<Box<dyn Any + Send + Sync>>,
}

/// Why a question is answered here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// A standard reserves the name.
    Special,
    /// A hosts file has the name, or it is the host's own.
    Hosts,
    /// A block list contains the name.
    Blocked,
}

/// The answer to a question that is not forwarded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalAnswer {
    /// Why the question is answered here.
    pub reason: Reason,
    /// Whether the name exists; otherwise the reply is NXDOMAIN.
    pub exists: bool,
    /// The data of the answer's records; empty for NODATA and NXDOMAIN.
    pub data: Vec<Data>,
    /// The TTL of the records, in seconds.
    pub ttl_s: u32,
    /// The locally served zone whose SOA goes with a denial (RFC 6303, section 3).
    pub zone: Option<Name>,
}

/// The data of one record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Data {
    /// The data of an A or AAAA record.
    Address(IpAddr),
    /// The target of a PTR record.
    Pointer(Name),
    /// The NS record of a zone that is served here.
    Server(Name),
    /// The SOA record of a zone that is served here.
    Authority,
}

/// TTL of records from files, in seconds: clients see a change after at most this long.
pub const FILE_TTL_S: u32 = 10;
/// TTL of records that a standard defines, and MINIMUM of the zones that are served here, in
/// seconds (RFC 6303, section 3).
pub const SPECIAL_TTL_S: u32 = 10_800;

impl LocalAnswer {
    fn positive(reason: Reason, data: Vec<Data>, ttl_s: u32) -> LocalAnswer {
        LocalAnswer { reason, exists: true, data, ttl_s, zone: None }
    }

    /// NODATA if the name `exists`, else NXDOMAIN.
    fn negative(reason: Reason, exists: bool, ttl_s: u32) -> LocalAnswer {
        LocalAnswer { reason, exists, data: Vec::new(), ttl_s, zone: None }
    }
}

/// Whether a name exists on this host, regardless of upstreams and block lists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Presence {
    /// Neither the name nor a name below it is known here.
    Absent,
    /// The name is above one that is listed: an empty non-terminal (RFC 9499, section 7).
    Ancestor,
    /// The name is the host's own or in a hosts file.
    Listed,
}

impl Local {
    /// Answers a question of class IN, unless it has to be forwarded. `name` is in lower case. `route`
    /// is the longest suffix of the name that has upstreams of its own: reserved zones at or below that
    /// suffix are forwarded to them.
    #[must_use]
    pub fn answer(&self, name: &Name, rtype: Rtype, route: Option<&Name>) -> Option<LocalAnswer> {
        if let Some(answer) = self.hosts.answer(name, rtype) {
            return Some(answer);
        }
        if let Some(answer) = self.own.as_ref().and_then(|own| own.answer(name, rtype)) {
            return Some(answer);
        }
        if let Some(answer) = self.blocks.iter().find_map(|block| block.answer(name, rtype)) {
            return Some(self.not_denied(name, Presence::Listed, answer));
        }
        special::answer(name, rtype, route).map(|answer| self.not_denied(name, Presence::Ancestor, answer))
    }

    /// Turns NXDOMAIN into NODATA for a name whose presence here is at least `least`: NXDOMAIN would deny
    /// all names below it too (RFC 8020).
    fn not_denied(&self, name: &Name, least: Presence, mut answer: LocalAnswer) -> LocalAnswer {
        if !answer.exists && self.presence(name) >= least {
            (answer.exists, answer.ttl_s) = (true, FILE_TTL_S);
        }
        answer
    }

    /// Whether a name in lower case exists on this host.
    #[must_use]
    pub fn presence(&self, name: &Name) -> Presence {
        let own = self.own.as_ref().map_or(Presence::Absent, |own| own.presence(name));
        own.max(self.hosts.presence(name))
    }

    /// The index of the first block that blocks a name in lower case.
    #[must_use]
    pub fn blocked_by(&self, name: &Name) -> Option<usize> {
        self.blocks.iter().position(|block| block.answer(name, Rtype::A).is_some())
    }

    /// Whether a hosts file or block list has the name, or it is the host's own, so that its cached
    /// answers are void.
    #[must_use]
    pub fn covers(&self, name: &Name) -> bool {
        self.presence(name) == Presence::Listed
            || self.blocks.iter().any(|block| block.answer(name, Rtype::A).is_some())
    }
}

impl Data {
    /// The `addresses` that a question of this type asks for.
    fn of_type(addresses: &[IpAddr], rtype: Rtype) -> Vec<Data> {
        let is_of_type = |address: &&IpAddr| match rtype {
            Rtype::A => address.is_ipv4(),
            Rtype::AAAA => address.is_ipv6(),
            Rtype::ANY => true,
            _ => false,
        };
        addresses.iter().filter(is_of_type).copied().map(Data::Address).collect()
    }
}

#[cfg(test)]
mod tests;
