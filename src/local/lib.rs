//! What is answered here and never forwarded: special-use names, the host's own name, hosts files, block lists.
//!
//! No I/O: texts come in as octets, questions are answered from memory. Any octets give entries or a count of lines that are none.
//!
//! Not here: when files are read again (the daemon), what a reply looks like (`hither-rounds`).

#![forbid(unsafe_code)]

mod block;
mod hosts;
mod layered;
mod names;
mod reverse;
mod rules;
mod special;
mod standard;
pub mod text;
mod written;

pub use block::{Block, List, Match, Verdict};
pub use hosts::{Hosts, HostsFile, OwnName};
pub use names::Names;
pub use special::{NOBODYS, may_be_of_a_network, of_networks};
pub use standard::standard;
pub use written::{NotAName, Written, written};

use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use std::any::Any;
use std::net::{IpAddr, Ipv4Addr};

/// Everything that is answered here.
#[derive(Debug, Default)]
pub struct Local {
    /// From hosts files.
    pub hosts: Hosts,
    /// This host's own name.
    pub own: Option<OwnName>,
    /// Block lists; the first that knows a name decides.
    pub blocks: Vec<Block>,
    /// What is to be dropped after them, whatever it is: who made this may have what is large in it outlive it, and drop that where nobody waits.
    pub held: Option<Box<dyn Any + Send + Sync>>,
}

/// Why it is answered here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// It is reserved by a standard.
    Special,
    /// A hosts file or the host's own name says so.
    Hosts,
    /// A block list says so.
    Blocked,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// Why.
    pub reason: Reason,
    /// Whether the name exists at all; without it NXDOMAIN.
    pub exists: bool,
    /// The records' data; none: NODATA or NXDOMAIN.
    pub data: Vec<Data>,
    /// Their TTL in seconds.
    pub ttl_s: u32,
    /// The zone that is served here, whose SOA goes with a denial (RFC 6303 section 3).
    pub zone: Option<Name>,
}

/// A record's data.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // The types' own data.
pub enum Data {
    Address(IpAddr),
    Pointer(Name),
    /// NS of a zone that is served here.
    Server(Name),
    /// Its SOA.
    Authority,
}

/// TTL of what a file says: a change is seen by everybody after so many seconds.
pub const FILE_TTL_S: u32 = 10;
/// TTL of what a standard says, and MINIMUM of the zones that are served here (RFC 6303 section 3).
pub const SPECIAL_TTL_S: u32 = 10_800;

impl Said {
    fn new(reason: Reason, data: Vec<Data>, ttl_s: u32) -> Said {
        Said { reason, exists: true, data, ttl_s, zone: None }
    }

    fn nothing(reason: Reason, exists: bool, ttl_s: u32) -> Said {
        Said { reason, exists, data: Vec::new(), ttl_s, zone: None }
    }
}

/// Whether a name exists here, whatever is said of it elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Known {
    /// Nothing is known of it.
    No,
    /// A name below it is one of this host's or of its hosts files (an empty non-terminal of RFC 8499 section 2).
    Above,
    /// It is one of them.
    Itself,
}

impl Local {
    /// The answer to a question of class IN, if it is one of ours. `name` is in lower case. `route` is the suffix whose own upstreams
    /// were configured for it: what is reserved at or above that suffix is asked there.
    #[must_use]
    pub fn answer(&self, name: &Name, rtype: Rtype, route: Option<&Name>) -> Option<Said> {
        if let Some(said) = self.hosts.answer(name, rtype) {
            return Some(said);
        }
        if let Some(said) = self.own.as_ref().and_then(|own| own.answer(name, rtype)) {
            return Some(said);
        }
        if let Some(said) = self.blocks.iter().find_map(|block| block.answer(name, rtype)) {
            return Some(self.not_denied(name, Known::Itself, said));
        }
        special::answer(name, rtype, route).map(|said| self.not_denied(name, Known::Above, said))
    }

    /// A name that exists here has no data of the type rather than that it does not exist, which would deny all below it too (RFC 8020).
    fn not_denied(&self, name: &Name, least: Known, mut said: Said) -> Said {
        if !said.exists && self.known(name) >= least {
            (said.exists, said.ttl_s) = (true, FILE_TTL_S);
        }
        said
    }

    /// Whether a name in lower case exists here, whatever others say.
    #[must_use]
    pub fn known(&self, name: &Name) -> Known {
        let own = self.own.as_ref().map_or(Known::No, |own| own.known(name));
        own.max(self.hosts.known(name))
    }

    /// The place of the first block that blocks a name in lower case.
    #[must_use]
    pub fn blocked_by(&self, name: &Name) -> Option<usize> {
        self.blocks.iter().position(|block| block.answer(name, Rtype::A).is_some())
    }

    /// Whether anything is said of a name, so that what was cached before is void.
    #[must_use]
    pub fn covers(&self, name: &Name) -> bool {
        self.known(name) == Known::Itself
            || self.blocks.iter().any(|block| block.answer(name, Rtype::A).is_some())
    }
}

impl Data {
    /// Those of some addresses that a question of this type asks for.
    fn addresses(all: &[IpAddr], rtype: Rtype) -> Vec<Data> {
        let wanted = |address: &&IpAddr| match rtype {
            Rtype::A => address.is_ipv4(),
            Rtype::AAAA => address.is_ipv6(),
            Rtype::ANY => true,
            _ => false,
        };
        all.iter().filter(wanted).copied().map(Data::Address).collect()
    }
}

/// An address as hosts files and lists have it, also in the short forms of inet_aton(3). One in IPv6 clothes is what it is.
fn address(word: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(word).ok()?;
    // A zone, as in fe80::1%eth0, says where it is, not what it is.
    let bare = text.split('%').next()?;
    let address = bare.parse().ok().or_else(|| short(text).map(IpAddr::V4));
    address.map(|address: IpAddr| address.to_canonical())
}

/// `0`, `127.1`, `0x7f.1`: the last number fills what is left. Octal and decimal are not told apart where they differ.
fn short(text: &str) -> Option<Ipv4Addr> {
    let numbers: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = numbers.split_last()?;
    let room = 4usize.checked_sub(first.len()).filter(|room| *room > 0)?;
    let limit = 1u64 << (8 * room);
    if u64::from(*last) >= limit || first.iter().any(|octet| *octet > 255) {
        return None;
    }
    let above = first.iter().enumerate().map(|(at, octet)| octet << (24 - 8 * at)).sum::<u32>();
    Some(Ipv4Addr::from(above | last))
}

fn number(text: &str) -> Option<u32> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u32::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+'));
    }
    let decimal = text.parse().ok().filter(|_| !text.starts_with('+'))?;
    let is_octal = text.len() > 1 && text.starts_with('0');
    (!is_octal || u32::from_str_radix(text, 8) == Ok(decimal)).then_some(decimal)
}

#[cfg(test)]
mod tests;
