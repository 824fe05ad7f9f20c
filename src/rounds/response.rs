//! Responses of upstreams: checked against the query, and read as one of a few meanings.
//!
//! Header and question are checked first, then whether the needed part can be read. Only records of
//! QNAME's own chain are used. Other records are ignored, so that no name gets data from the response
//! to another (RFC 5452 section 6).

pub(crate) mod cname_chain;
mod meaning;

use crate::faults::Faults;
use crate::settings::Bounds;
use crate::upstream::cookie::Cookie;
use hither_table::{Link, Monotonic, Negative, SoaRecord};
use hither_wire::codes::{Class, Rcode, Rtype};
use hither_wire::message::{Message, Record, Section};
use hither_wire::name::Name;
use std::net::IpAddr;

/// The values that a response must match to be accepted (RFC 5452 section 9.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    pub id: u16,
    /// QNAME, in any letter case.
    pub name: &'a Name,
    /// QNAME as it was sent, in wire form.
    pub sent: &'a [u8],
    /// Whether the response came by UDP, so that another host may have sent it.
    pub udp: bool,
    /// Whether the letter case must match exactly, since it was random.
    pub exact: bool,
    /// Whether no further query follows if this response cannot be read. Then an NXDOMAIN counts
    /// although the message is damaged.
    pub last: bool,
    /// The cookie that the response must have.
    pub cookie: Option<&'a Cookie>,
    pub rtype: Rtype,
    /// Whether the question is A or AAAA without DNSSEC: chains and addresses are then read into a set.
    pub addresses: bool,
    pub bounds: Bounds,
    pub faults: Faults,
}

/// Why a response is not accepted, or not yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Doubt {
    /// The response has another id: another host may be guessing (RFC 5452 section 9.1).
    Forged,
    /// The response has our id and another question.
    Other,
    /// The response has our id and cannot be read.
    Unreadable,
    /// Only the letter case of the question is wrong. The upstream may not preserve case.
    Letters,
    /// Only the question is missing. Some servers send an error as a header alone.
    Unasked,
    /// Only the cookie is wrong, or missing where the upstream had sent one.
    Cookie,
}

/// The meaning of a response.
#[derive(Debug)]
pub(crate) enum Meaning {
    /// TC: the complete answer is available over TCP.
    Truncated,
    /// The upstream cannot or will not answer.
    Failed(Rcode),
    /// Addresses at the end of `chain`; `ttl_s` is the lowest TTL of the CNAMEs and addresses.
    Addresses { chain: Vec<Link>, addresses: Vec<IpAddr>, ttl_s: u32 },
    /// The name or the type does not exist. Without an SOA record it must not be cached (RFC 2308
    /// section 5).
    Negative { kind: Negative, chain: Vec<Link>, soa: Option<Box<SoaRecord>>, ttl_s: u32 },
    /// A dangling CNAME: the upstream did not look up the target of the last CNAME.
    Dangling { chain: Vec<Link> },
    /// A complete answer: of another type, with signatures, or too large for a set.
    Complete { chain: Vec<Link>, rcode: Rcode },
    /// A denial as a complete answer.
    CompleteDenial { kind: Negative, chain: Vec<Link>, ttl_s: u32 },
}

/// Accepts a response that matches the query. After one that does not, the upstream's own response may
/// still arrive.
pub(crate) fn check<'m>(octets: &'m [u8], expected: &Expected<'_>) -> Result<Message<'m>, Doubt> {
    let id = octets.first_chunk().map(|id| u16::from_be_bytes(*id));
    if id != Some(expected.id) {
        return Err(Doubt::Forged);
    }
    let message = Message::open(octets).map_err(|_| Doubt::Unreadable)?;
    let header = message.header();
    if !header.qr() || header.opcode().0 != 0 {
        return Err(Doubt::Unreadable);
    }
    let exactly = message.asks_exactly(expected.sent);
    let ours = match message.asked() {
        Some(asked) => asked == (expected.rtype, Class::IN) && (exactly || message.asks(expected.name)),
        None => true,
    };
    if !ours {
        return Err(Doubt::Other);
    }
    if !header.tc() && !suffices(&message, expected) {
        return Err(Doubt::Unreadable);
    }
    match unusual(&message, expected, exactly) {
        None => Ok(message),
        // A truncated response has no answer that could be kept.
        Some(_) if header.tc() => Err(Doubt::Unreadable),
        Some(doubt) => Err(doubt),
    }
}

/// The first value that a UDP response does not have and a forger would have to guess.
fn unusual(message: &Message<'_>, expected: &Expected<'_>, exactly: bool) -> Option<Doubt> {
    if expected.cookie.is_some_and(|known| !known.fits(cookie_of(message))) {
        return Some(Doubt::Cookie);
    }
    match message.asked() {
        Some(_) => (expected.exact && !exactly).then_some(Doubt::Letters),
        None => expected.udp.then_some(Doubt::Unasked),
    }
}

/// Whether the needed part of a message can be read, even if another part is damaged. An error needs no
/// records, and an answer needs no later section. A denial needs its SOA record, and an answer section
/// that is empty and not merely unreadable.
fn suffices(message: &Message<'_>, expected: &Expected<'_>) -> bool {
    let Some(fault) = message.fault() else { return true };
    let rcode = full_rcode(message);
    if is_error(rcode) || (expected.last && rcode == Rcode::NXDOMAIN) {
        return true;
    }
    if fault.section == Section::Additional {
        return true;
    }
    // A complete answer is stored with all of its records.
    if rcode != Rcode::NOERROR || (fault.section == Section::Answer && !expected.addresses) {
        return false;
    }
    let matters = |record: &Record<'_>| {
        let (own, any) = (record.rtype == expected.rtype, expected.rtype == Rtype::ANY);
        own || any || matches!(record.rtype, Rtype::CNAME | Rtype::DNAME)
    };
    let mut all = message.records().take_while(|r| r.section == Section::Answer).filter(matters).peekable();
    all.peek().is_some() && all.all(|record| record.is_sound())
}

/// The meaning of a response that [`check`] has accepted. `memory` is an empty list for its addresses.
pub(crate) fn read(
    message: &Message<'_>,
    expected: &Expected<'_>,
    now: Monotonic,
    memory: Vec<IpAddr>,
) -> Meaning {
    let rcode = full_rcode(message);
    if message.header().tc() {
        return Meaning::Truncated;
    }
    if is_error(rcode) && rcode != Rcode::YXDOMAIN {
        return Meaning::Failed(rcode);
    }
    meaning::meaning(message, rcode, expected, now, memory)
}

pub(crate) fn is_error(rcode: Rcode) -> bool {
    rcode != Rcode::NOERROR && rcode != Rcode::NXDOMAIN
}

/// Whether the SOA record of `owner` can deny `name`: only that of a zone that contains the name.
pub(crate) fn may_deny(owner: &Name, name: &Name, faults: Faults) -> bool {
    name.ends_with(owner) || faults.may_believe_any_soa()
}

/// The RCODE with its upper bits from OPT (RFC 6891 section 6.1.3). RCODEs of more than 8 bits count as
/// SERVFAIL.
pub(crate) fn full_rcode(message: &Message<'_>) -> Rcode {
    let low = message.header().rcode();
    match message.edns().map_or(0, |edns| edns.extended_rcode) {
        0 => low,
        high @ 1..=15 => Rcode(high << 4 | low.0),
        _ => Rcode::SERVFAIL,
    }
}

/// The data of the cookie option.
pub(crate) fn cookie_of<'a>(message: &Message<'a>) -> Option<&'a [u8]> {
    message.edns()?.options().find(|(code, _)| *code == hither_wire::edns::COOKIE).map(|(_, data)| data)
}
