//! What an upstream's message says about a question: octets in, one of a few meanings out.
//!
//! Header and question are checked first, then whether what is needed of the rest is whole. Only records that belong to the asked name's
//! own chain are looked at; whatever else a message carries is never stored under another name (RFC 5452 section 6).

use crate::cookie::Cookie;
use crate::mutant::{Mutant, Mutants};
use crate::settings::{ABOVE_MAX, ADDRESSES_MAX, Bounds, LINKS_MAX};
use hither_table::{Link, Monotonic, Negative, SoaRecord};
use hither_wire::{
    codes::{Class, Rcode, Rtype},
    header::HEADER_LEN,
    message::{Message, Record, Section, Soa},
    name::{Name, NameError},
};
use std::net::IpAddr;
use std::time::Duration;

/// What an attempt waits for: a message counts only if it answers exactly this (RFC 5452 section 9.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    pub id: u16,
    /// QNAME, in some letter case.
    pub name: &'a Name,
    /// QNAME as it was sent, in wire form.
    pub sent: &'a [u8],
    /// By UDP anybody may have sent it.
    pub udp: bool,
    /// Whether its letter case has to come back, since it was drawn for that.
    pub exact: bool,
    /// Nothing else is tried if this cannot be read: a name that does not exist need not be denied by a whole message.
    pub last: bool,
    /// The cookie that has to come back.
    pub cookie: Option<&'a Cookie>,
    pub rtype: Rtype,
    /// Plain addresses are wanted, so that chains and sets are taken apart.
    pub addresses: bool,
    pub bounds: Bounds,
    pub mutants: Mutants,
}

/// Why a message does not count, or not yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Doubt {
    /// It has another id: somebody may be guessing (RFC 5452 section 9.1).
    Forged,
    /// It has our id and another question.
    Other,
    /// It has our id, and what it says cannot be told.
    Unreadable,
    /// Right but for the letter case of the question: the upstream's own perhaps, if that is its way.
    Letters,
    /// Right but for the question, which it lacks: likewise. Some servers send the bare header with an error.
    Unasked,
    /// Right but for the cookie: it is not ours, or missing where there was one.
    Cookie,
}

/// A meaning.
#[derive(Debug)]
pub(crate) enum Heard {
    /// TC: the whole answer is to be had over TCP.
    Truncated,
    /// The upstream cannot or does not want to answer.
    Failed(Rcode),
    /// A set of addresses at the end of `chain`; `ttl_s` is the least of all records that lead to it.
    Addresses { chain: Vec<Link>, addresses: Vec<IpAddr>, ttl_s: u32 },
    /// The name or the type does not exist. Without an SOA record it must not be cached (RFC 2308 section 5).
    Negative { kind: Negative, chain: Vec<Link>, soa: Option<Box<SoaRecord>>, ttl_s: u32 },
    /// Only CNAMEs: the name at their end was not looked up.
    Bare { chain: Vec<Link> },
    /// An answer that is kept whole: of another type, with signatures, or too large for a set.
    Whole { chain: Vec<Link>, rcode: Rcode },
    /// A denial that is kept whole.
    WholeNegative { kind: Negative, chain: Vec<Link>, ttl_s: u32 },
}

/// The message, if it answers what is expected; whoever sent one that does not, the upstream may still answer.
pub(crate) fn check<'m>(octets: &'m [u8], expected: &Expected<'_>) -> Result<Message<'m>, Doubt> {
    let id = octets.first_chunk().map(|id| u16::from_be_bytes(*id));
    if id != Some(expected.id) && !expected.mutants.has(Mutant::MismatchIsAccepted) {
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
        // There is nothing in it to fall back on.
        Some(_) if header.tc() => Err(Doubt::Unreadable),
        Some(doubt) => Err(doubt),
    }
}

/// What a right answer by UDP lacks of what a forger would have to guess.
fn unusual(message: &Message<'_>, expected: &Expected<'_>, exactly: bool) -> Option<Doubt> {
    let believed = expected.mutants.has(Mutant::BareErrorIsBelieved) && is_error(full_rcode(message));
    if expected.cookie.is_some_and(|known| !known.fits(cookie_of(message))) {
        return Some(Doubt::Cookie);
    }
    match message.asked() {
        Some(_) => (expected.exact && !exactly).then_some(Doubt::Letters),
        None => (expected.udp && !believed).then_some(Doubt::Unasked),
    }
}

/// Whether what is broken of a message does not matter. An error needs no records, and an answer no section behind its own. A denial
/// needs its SOA record, and an empty answer section that nothing was meant to be in.
fn suffices(message: &Message<'_>, expected: &Expected<'_>) -> bool {
    let Some(fault) = message.fault() else { return true };
    let rcode = full_rcode(message);
    if is_error(rcode) || (expected.last && rcode == Rcode::NXDOMAIN) {
        return true;
    }
    if fault.section == Section::Additional {
        return true;
    }
    // What is kept as it is, is kept whole.
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

/// What a message says that [`check`] has let pass; addresses are written to `memory`, an empty list.
pub(crate) fn read(
    message: &Message<'_>,
    expected: &Expected<'_>,
    now: Monotonic,
    memory: Vec<IpAddr>,
) -> Heard {
    let rcode = full_rcode(message);
    if message.header().tc() && !expected.mutants.has(Mutant::TruncatedIsAnAnswer) {
        return Heard::Truncated;
    }
    if is_error(rcode) && rcode != Rcode::YXDOMAIN {
        return Heard::Failed(rcode);
    }
    meaning(message, rcode, expected, (now, memory))
}

pub(crate) fn is_error(rcode: Rcode) -> bool {
    rcode != Rcode::NOERROR && rcode != Rcode::NXDOMAIN
}

/// The response code with its upper bits from OPT (RFC 6891 section 6.1.3); what has no name here is a server failure.
pub(crate) fn full_rcode(message: &Message<'_>) -> Rcode {
    let low = message.header().rcode();
    match message.edns().map_or(0, |edns| edns.extended_rcode) {
        0 => low,
        high @ 1..=15 => Rcode(high << 4 | low.0),
        _ => Rcode::SERVFAIL,
    }
}

/// The cookie option's data.
pub(crate) fn cookie_of<'a>(message: &Message<'a>) -> Option<&'a [u8]> {
    message.edns()?.options().find(|(code, _)| *code == hither_wire::edns::COOKIE).map(|(_, data)| data)
}

fn meaning(
    message: &Message<'_>,
    rcode: Rcode,
    expected: &Expected<'_>,
    (now, mut addresses): (Monotonic, Vec<IpAddr>),
) -> Heard {
    let Some(end) = follow(message, expected, now) else { return Heard::Failed(Rcode::SERVFAIL) };
    if end.too_long || (is_asked_itself(expected) && !end.chain.is_empty()) {
        let rcode = if end.too_long { Rcode::YXDOMAIN } else { Rcode::NOERROR };
        return Heard::Whole { chain: end.chain, rcode };
    }
    if is_error(rcode) {
        return Heard::Failed(rcode);
    }
    let name = end.name(expected);
    // Most owners are pointers to one place, whose name is compared once; that of the question has been.
    let mut known = (end.chain.is_empty() && message.asked().is_some()).then_some(HEADER_LEN);
    let mut found = false;
    let mut ttl_s = end.ttl_s;
    for record in answers(message) {
        let wanted = record.rtype == expected.rtype || expected.rtype == Rtype::ANY;
        let pointer = record.owner_pointer();
        if !wanted || !((pointer.is_some() && pointer == known) || record.owner_is(name)) {
            continue;
        }
        known = pointer.or(known);
        found = true;
        ttl_s = ttl_s.min(record.ttl);
        // One more than a set has is as many as need be told apart.
        if let Some(address) = record.address()
            && addresses.len() <= ADDRESSES_MAX
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    if found && rcode == Rcode::NOERROR {
        return if expected.addresses && addresses.len() <= ADDRESSES_MAX {
            Heard::Addresses { chain: end.chain, addresses, ttl_s: expected.bounds.data(ttl_s) }
        } else {
            Heard::Whole { chain: end.chain, rcode }
        };
    }
    without_data(message, rcode, expected, end, now)
}

fn without_data(
    message: &Message<'_>,
    rcode: Rcode,
    expected: &Expected<'_>,
    end: End,
    now: Monotonic,
) -> Heard {
    let soa = soa_of(message, expected, end.name(expected), now);
    let kind = if rcode == Rcode::NXDOMAIN { Negative::NxDomain } else { Negative::NoData };
    if kind == Negative::NoData && soa.is_none() {
        if !end.chain.is_empty() {
            return Heard::Bare { chain: end.chain };
        }
        if message.records().any(|r| r.section == Section::Authority && r.rtype == Rtype::NS) {
            // A referral: a server that does not recurse for us.
            return Heard::Failed(Rcode::REFUSED);
        }
    }
    let (soa, ttl_s) = match soa {
        Some((record, ttl_s)) => (Some(Box::new(record)), ttl_s.min(end.lives_s(expected.bounds))),
        None => (None, 0),
    };
    if expected.addresses {
        Heard::Negative { kind, chain: end.chain, soa, ttl_s }
    } else {
        Heard::WholeNegative { kind, chain: end.chain, ttl_s }
    }
}

/// Where the CNAMEs end that begin at the asked name.
struct End {
    chain: Vec<Link>,
    ttl_s: u32,
    /// A DNAME record leads on to a name of more than 255 octets (RFC 6672 section 2.2).
    too_long: bool,
}

impl End {
    fn name<'a>(&'a self, expected: &Expected<'a>) -> &'a Name {
        self.chain.last().map_or(expected.name, |link| &link.target)
    }

    /// For how long the CNAMEs hold.
    fn lives_s(&self, bounds: Bounds) -> u32 {
        if self.chain.is_empty() { u32::MAX } else { bounds.data(self.ttl_s) }
    }
}

/// The records of the answer section.
pub(crate) fn answers<'a>(message: &Message<'a>) -> impl Iterator<Item = Record<'a>> {
    message.records().take_while(|r| r.section == Section::Answer).filter(|r| r.class == Class::IN)
}

/// Whether CNAMEs are what is asked for, so that none is followed.
fn is_asked_itself(expected: &Expected<'_>) -> bool {
    expected.rtype == Rtype::CNAME || expected.rtype == Rtype::ANY
}

/// Follows the CNAMEs from the asked name on; `None` for a loop, or too long a chain.
fn follow(message: &Message<'_>, expected: &Expected<'_>, now: Monotonic) -> Option<End> {
    let mut end = End { chain: Vec::new(), ttl_s: u32::MAX, too_long: false };
    let leads = Leads::of(message, expected);
    loop {
        let (target, ttl_s) = match leads.next(end.name(expected)) {
            Ok(Some(next)) => next,
            Ok(None) => return Some(end),
            Err(_) => return Some(End { too_long: true, ..end }),
        };
        let back = target.eq_ignore_case(expected.name)
            || end.chain.iter().any(|l| l.target.eq_ignore_case(&target));
        if back || end.chain.len() == LINKS_MAX {
            return None;
        }
        end.ttl_s = end.ttl_s.min(ttl_s);
        let spared = expected.mutants.has(Mutant::BoundsSpareTheChain);
        let lives_s = if spared { ttl_s } else { expected.bounds.data(ttl_s) };
        let lives = Duration::from_secs(u64::from(lives_s));
        end.chain.push(Link { target, expire_ms: now.plus(lives).as_ms() });
        if is_asked_itself(expected) {
            return Some(end);
        }
    }
}

/// Hashes of owner names, most of which are pointers to one place.
#[derive(Default)]
pub(crate) struct Owners {
    last: Option<(usize, u64)>,
}

impl Owners {
    pub fn hash(&mut self, record: &Record<'_>) -> u64 {
        let pointer = record.owner_pointer();
        match self.last {
            Some((at, hash)) if pointer == Some(at) => hash,
            _ => {
                let hash = record.owner_hash();
                self.last = pointer.map(|at| (at, hash)).or(self.last);
                hash
            }
        }
    }
}

/// The records of an answer section that lead on, each owner read once.
#[derive(Default)]
struct Leads<'m> {
    cnames: Vec<(u64, Record<'m>)>,
    /// DNAME records: owner, target and TTL.
    above: Vec<(Name, Name, u32)>,
    /// Hashes of the owners of what is asked for, where there are such.
    own: Vec<u64>,
}

impl<'m> Leads<'m> {
    fn of(message: &Message<'m>, expected: &Expected<'_>) -> Leads<'m> {
        let (mut leads, mut owners) = (Leads::default(), Owners::default());
        let asked_itself = is_asked_itself(expected);
        for record in answers(message) {
            match record.rtype {
                Rtype::CNAME if !asked_itself => leads.cnames.push((owners.hash(&record), record)),
                Rtype::DNAME if leads.above.len() < ABOVE_MAX => {
                    leads.above.extend(record.target().map(|target| (record.owner(), target, record.ttl)));
                }
                _ => {}
            }
        }
        if !leads.above.is_empty() {
            let own = answers(message).filter(|record| asked_itself || record.rtype == expected.rtype);
            leads.own = own.map(|record| owners.hash(&record)).collect();
        }
        leads
    }

    /// The first CNAME of a name, with the least TTL of all of them; without one, and without data of the name's own, what the nearest DNAME record
    /// above makes of the name (RFC 6672 section 2.3): who says that one alone leaves it to us.
    fn next(&self, name: &Name) -> Result<Option<(Name, u32)>, NameError> {
        let hash = if self.cnames.is_empty() && self.above.is_empty() { 0 } else { name.folded_hash() };
        let mut led = None::<(Name, u32)>;
        for (_, record) in self.cnames.iter().filter(|(of, record)| *of == hash && record.owner_is(name)) {
            let first = led.map(|(target, _)| target).or_else(|| record.target());
            let least_s = led.map_or(u32::MAX, |(_, ttl_s)| ttl_s).min(record.ttl);
            led = first.map(|target| (target, least_s));
        }
        let mut above = None::<&(Name, Name, u32)>;
        let mut least_s = u32::MAX;
        for lead in self.above.iter().filter(|(owner, ..)| name.is_below(owner)) {
            match above {
                Some((nearest, ..)) if nearest.eq_ignore_case(&lead.0) => least_s = least_s.min(lead.2),
                Some((nearest, ..)) if nearest.is_below(&lead.0) => {}
                Some(_) | None => (above, least_s) = (Some(lead), lead.2),
            }
        }
        let Some((owner, target, _)) = above.filter(|_| led.is_none() && !self.own.contains(&hash)) else {
            return Ok(led);
        };
        name.moved(owner, target).transpose().map(|moved| moved.map(|moved| (moved, least_s)))
    }
}

/// The SOA record of a zone that holds `name`, and for how long it denies: the lesser of its TTL and MINIMUM (RFC 2308 section 5). One of
/// another zone, such as that of an alias, says nothing of the name.
fn soa_of(
    message: &Message<'_>,
    expected: &Expected<'_>,
    name: &Name,
    now: Monotonic,
) -> Option<(SoaRecord, u32)> {
    let any = expected.mutants.has(Mutant::SoaOfAnotherZoneDenies);
    let authority = message.records().filter(|r| r.section == Section::Authority && r.class == Class::IN);
    let (record, soa) = authority
        .filter_map(|record| record.soa().map(|soa| (record, soa)))
        .find(|(record, _)| any || name.ends_with(&record.owner()))?;
    let ttl_s = expected.bounds.denial(record.ttl.min(soa.minimum));
    let expire_ms = now.plus(Duration::from_secs(u64::from(ttl_s))).as_ms();
    Some((SoaRecord { owner: record.owner(), expire_ms, rdata: soa_octets(&soa) }, ttl_s))
}

fn soa_octets(soa: &Soa) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(soa.mname.as_wire());
    out.extend_from_slice(soa.rname.as_wire());
    for number in [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out
}

/// 0.0.0.0, ::, 127.0.0.1 and ::1: what filtering resolvers say for a name they hide.
pub(crate) fn is_sinkhole(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_unspecified() || a.octets() == [127, 0, 0, 1],
        IpAddr::V6(a) => a.is_unspecified() || a.is_loopback(),
    }
}
