//! The CNAME chain of a response, followed from QNAME to its end, with the CNAMEs that DNAME records
//! imply (RFC 6672).

use crate::response::Expected;
use crate::settings::{Bounds, CNAMES_MAX, DNAMES_MAX};
use hither_table::{Link, Monotonic};
use hither_wire::codes::{Class, Rtype};
use hither_wire::message::{Message, Record, Section};
use hither_wire::name::{Name, NameError};
use std::time::Duration;

/// The end of the CNAME chain that begins at QNAME.
pub(crate) struct End {
    pub chain: Vec<Link>,
    pub ttl_s: u32,
    /// Whether a DNAME record would make a name of more than 255 octets (RFC 6672 section 2.2).
    pub too_long: bool,
}

impl End {
    pub fn name<'a>(&'a self, expected: &Expected<'a>) -> &'a Name {
        self.chain.last().map_or(expected.name, |link| &link.target)
    }

    /// The lowest TTL of the CNAMEs within the bounds, in seconds; `u32::MAX` without CNAMEs.
    pub fn lives_s(&self, bounds: Bounds) -> u32 {
        if self.chain.is_empty() { u32::MAX } else { bounds.data(self.ttl_s) }
    }
}

/// The records of the answer section.
pub(crate) fn answers<'a>(message: &Message<'a>) -> impl Iterator<Item = Record<'a>> {
    message.records().take_while(|r| r.section == Section::Answer).filter(|r| r.class == Class::IN)
}

/// Whether the question asks for CNAME or ANY, so that no CNAME is followed.
pub(crate) fn is_asked_itself(expected: &Expected<'_>) -> bool {
    expected.rtype == Rtype::CNAME || expected.rtype == Rtype::ANY
}

/// Follows the CNAMEs from QNAME on. `None`: they form a loop, or are more than [`CNAMES_MAX`].
pub(crate) fn follow(message: &Message<'_>, expected: &Expected<'_>, now: Monotonic) -> Option<End> {
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
        if back || end.chain.len() == CNAMES_MAX {
            return None;
        }
        end.ttl_s = end.ttl_s.min(ttl_s);
        let lives = Duration::from_secs(u64::from(expected.bounds.data(ttl_s)));
        end.chain.push(Link { target, expire_ms: now.plus(lives).as_ms() });
        if is_asked_itself(expected) {
            return Some(end);
        }
    }
}

/// Hashes of owner names. The last one is kept, since most owners are the same compression pointer.
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

/// The records of an answer section that continue a chain. Each owner is read once.
#[derive(Default)]
struct Leads<'m> {
    cnames: Vec<(u64, Record<'m>)>,
    /// DNAME records: owner, target and TTL.
    above: Vec<(Name, Name, u32)>,
    /// Hashes of the owners that have records of QTYPE.
    own: Vec<u64>,
}

impl<'m> Leads<'m> {
    pub fn of(message: &Message<'m>, expected: &Expected<'_>) -> Leads<'m> {
        let (mut leads, mut owners) = (Leads::default(), Owners::default());
        let asked_itself = is_asked_itself(expected);
        for record in answers(message) {
            match record.rtype {
                Rtype::CNAME if !asked_itself => leads.cnames.push((owners.hash(&record), record)),
                Rtype::DNAME if leads.above.len() < DNAMES_MAX => {
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

    /// The target of the name's first CNAME, with the lowest TTL of its CNAMEs. For a name without
    /// CNAME and data, the target that the nearest DNAME record above it implies (RFC 6672 section 2.3).
    pub fn next(&self, name: &Name) -> Result<Option<(Name, u32)>, NameError> {
        let hash = if self.cnames.is_empty() && self.above.is_empty() { 0 } else { name.folded_hash() };
        let mut led = None::<(Name, u32)>;
        for (_, record) in self.cnames.iter().filter(|(of, record)| *of == hash && record.is_owned_by(name)) {
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
        name.with_suffix_replaced(owner, target).transpose().map(|moved| moved.map(|moved| (moved, least_s)))
    }
}
