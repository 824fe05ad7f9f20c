//! What a reader who knows nothing of the core makes of an upstream's messages.

use super::zone::{Line, Said, Zone};
use hither_rounds::{Question, Settings};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::name::Name;
use std::collections::BTreeSet;

/// CNAMEs that are followed.
const LINKS_MAX: usize = 16;
/// Addresses that a set of the table has; one record of a message may be said twice.
const ADDRESSES_MAX: usize = 255;

#[derive(Clone, Copy)]
pub struct Bounds {
    least: u32,
    most: u32,
    negative: u32,
}

impl Bounds {
    pub fn of(settings: &Settings) -> Bounds {
        let [least, most, negative] = [settings.min_ttl, settings.max_ttl, settings.max_negative_ttl]
            .map(|bound| u32::try_from(bound.as_secs()).expect("short"));
        Bounds { least, most, negative }
    }

    fn data(self, ttl: u32) -> u32 {
        ttl.clamp(self.least, self.most)
    }
}

#[derive(Debug)]
pub struct ExpectedLink {
    pub line: Line,
    /// As a CNAME; else it follows from a DNAME record.
    pub stated: bool,
    leg: usize,
}

/// What a client is to be told.
#[derive(Debug)]
pub struct Expected {
    pub rcode: Rcode,
    pub links: Vec<ExpectedLink>,
    pub data: Vec<Line>,
    /// The least TTL of DNAME records that stand above names of the chain, where they are told.
    pub above_s: Option<u32>,
    pub denies: bool,
    /// The TTL of a denial's SOA record.
    pub denied_s: Option<u32>,
}

fn same(a: &Name, b: &Name) -> bool {
    a.eq_ignore_case(b)
}

impl Said {
    fn records(&self, owner: &Name, rtype: Rtype) -> Vec<&Line> {
        let own = |line: &&Line| !line.chaos && line.rtype == rtype && same(&line.owner, owner);
        self.answers.iter().filter(own).collect()
    }

    /// The lowest TTL of an RRset and its signatures.
    fn lowest(&self, owner: &Name, rtype: Rtype) -> u32 {
        let of = |line: &&Line| line.rtype == rtype || line.is_signature_of(rtype);
        let own = self.answers.iter().filter(|line| !line.chaos && same(&line.owner, owner)).filter(of);
        own.map(|line| line.ttl).min().unwrap_or(0)
    }

    /// The least TTL of DNAME records above a name.
    fn above(&self, name: &Name) -> Option<u32> {
        let above =
            self.answers.iter().filter(|l| !l.chaos && l.rtype == Rtype::DNAME && name.is_below(&l.owner));
        above.map(|line| self.lowest(&line.owner, Rtype::DNAME)).min()
    }

    /// What a name leads to, for how long, and whether a CNAME says so.
    fn next(&self, name: &Name, rtype: Rtype) -> Option<(Name, u32, bool)> {
        if rtype != Rtype::CNAME
            && let Some(first) = self.records(name, Rtype::CNAME).first()
        {
            return Some((first.target(), self.lowest(name, Rtype::CNAME), true));
        }
        if !self.records(name, rtype).is_empty() {
            return None;
        }
        let above =
            self.answers.iter().filter(|l| !l.chaos && l.rtype == Rtype::DNAME && name.is_below(&l.owner));
        let nearest = above.max_by_key(|line| line.owner.label_count())?;
        // Of several with one owner the first.
        let nearest = self.records(&nearest.owner, Rtype::DNAME)[0];
        let next = name.moved(&nearest.owner, &nearest.target())?.ok()?;
        Some((next, self.lowest(&nearest.owner, Rtype::DNAME), false))
    }
}

/// Links as they are told after the last message: a second that has begun is over for what was said before.
fn told(links: Vec<ExpectedLink>, legs: usize) -> Vec<ExpectedLink> {
    let aged = |link: ExpectedLink| {
        let ttl = link.line.ttl.saturating_sub(u32::from(link.leg < legs));
        ExpectedLink { line: Line { ttl, ..link.line }, ..link }
    };
    links.into_iter().map(aged).collect()
}

/// What is to be told, and after how many messages; `None`: nothing can be told.
pub fn expected(zone: &Zone, question: &Question, bounds: Bounds) -> Option<(Expected, usize)> {
    let nothing = Said { rcode: Rcode::NXDOMAIN, ..Said::default() };
    let mut seen = BTreeSet::from([question.name.to_lower()]);
    let mut above: Vec<(u32, usize)> = Vec::new();
    let (mut links, mut here, mut legs): (Vec<ExpectedLink>, Name, usize) = (Vec::new(), question.name, 0);
    loop {
        legs += 1;
        let said = zone.said.get(&here.to_lower()).unwrap_or(&nothing);
        let before = links.len();
        let mut note = |name: &Name| above.extend(said.above(name).map(|ttl| (bounds.data(ttl), legs)));
        if question.rtype == Rtype::CNAME {
            note(&here);
        }
        while let Some((target, ttl, stated)) = said.next(&here, question.rtype) {
            note(&here);
            if !seen.insert(target.to_lower()) || links.len() == LINKS_MAX {
                return None;
            }
            let rdata = target.as_wire().to_vec();
            let ttl = bounds.data(ttl);
            let line = Line { owner: here, rtype: Rtype::CNAME, chaos: false, ttl, rdata };
            links.push(ExpectedLink { line, stated, leg: legs });
            here = target;
            if question.rtype == Rtype::CNAME {
                break;
            }
        }
        let aged = |(ttl, leg): &(u32, usize)| ttl.saturating_sub(u32::from(*leg < legs));
        let above_s = above.iter().map(aged).min();
        let asked_itself = question.rtype == Rtype::CNAME && !links.is_empty();
        let data: Vec<Line> = match asked_itself {
            true => Vec::new(),
            false => said.records(&here, question.rtype).into_iter().cloned().collect(),
        };
        if asked_itself || (!data.is_empty() && said.rcode == Rcode::NOERROR) {
            let links = told(links, legs);
            let mut ttl = bounds.data(said.lowest(&here, question.rtype));
            let is_set = question.family().is_some() && data.len() <= ADDRESSES_MAX + 1;
            if is_set {
                // A set lives no longer than what leads to it.
                ttl = links.iter().map(|link| link.line.ttl).chain([ttl]).min().unwrap_or(ttl);
            }
            let above_s = above_s.filter(|_| !is_set);
            let data = data.into_iter().map(|line| Line { ttl, ..line }).collect();
            return Some((
                Expected { rcode: Rcode::NOERROR, links, data, above_s, denies: false, denied_s: None },
                legs,
            ));
        }
        let denies = |line: &&Line| line.rtype == Rtype::SOA && here.is_below(&line.owner);
        let denial = said.authority.iter().find(denies);
        if said.rcode == Rcode::NOERROR && denial.is_none() && links.len() > before {
            continue;
        }
        let (links, above_s) = (told(links, legs), above_s.filter(|_| question.family().is_none()));
        let denied = |soa: &Line| {
            let minimum = u32::from_be_bytes(*soa.rdata.last_chunk().expect("an SOA record"));
            let own = soa.ttl.min(minimum).min(bounds.negative);
            links.iter().map(|link| link.line.ttl).chain([own]).chain(above_s).min().unwrap_or(own)
        };
        let denied_s = denial.map(denied);
        return Some((
            Expected { rcode: said.rcode, links, data: Vec::new(), above_s, denies: true, denied_s },
            legs,
        ));
    }
}
