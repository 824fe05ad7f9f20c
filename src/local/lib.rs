//! What is answered here and never forwarded: special-use names, the host's own name, hosts files, block lists.
//!
//! No I/O: texts come in as octets, questions are answered from memory. Any octets give entries or a count of lines that are none.
//!
//! Not here: when files are read again (the daemon), what a reply looks like (`hither-rounds`).

#![forbid(unsafe_code)]

mod block;
mod hosts;
mod names;
mod reverse;
mod special;
pub mod text;

pub use block::{Block, Match, Verdict};
pub use hosts::{Hosts, OwnName};
pub use names::Names;

use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use std::net::IpAddr;

/// Everything that is answered here.
#[derive(Debug, Default)]
pub struct Local {
    /// From hosts files.
    pub hosts: Hosts,
    /// This host's own name.
    pub own: Option<OwnName>,
    /// Block lists; the first that knows a name decides.
    pub blocks: Vec<Block>,
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
            return Some(said);
        }
        special::answer(name, rtype, route)
    }

    /// Whether anything is known of a name, so that what was cached before is void.
    #[must_use]
    pub fn covers(&self, name: &Name) -> bool {
        [Rtype::A, Rtype::AAAA].iter().any(|rtype| {
            self.answer(name, *rtype, Some(name)).is_some_and(|said| said.reason != Reason::Special)
        })
    }
}

/// The lines of a text without comments, and the words of each.
fn lines(text: &[u8]) -> impl Iterator<Item = impl Iterator<Item = &[u8]>> {
    text.split(|octet| *octet == b'\n').map(|line| {
        let end = line.iter().position(|octet| *octet == b'#').unwrap_or(line.len());
        line[..end].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
    })
}

fn address(word: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(word).ok()?;
    // A zone, as in fe80::1%eth0, says where it is, not what it is.
    text.split('%').next()?.parse().ok()
}

#[cfg(test)]
mod tests;
