//! A reader of an upstream's messages that shares no code with the core: it gives the expected reply.

use super::zone::{Line, Said, Zone};
use hither_rounds::{Question, Settings};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::name::Name;
use std::collections::BTreeSet;

/// Upper bound of the CNAMEs that are followed.
const LINKS_MAX: usize = 16;
/// Upper bound of the addresses of a set. One record of a message may be repeated.
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
    /// Whether the CNAME is a record of the message; otherwise a DNAME record implies it.
    pub stated: bool,
    leg: usize,
}

/// The expected reply to a client.
#[derive(Debug)]
pub struct Expected {
    pub rcode: Rcode,
    pub links: Vec<ExpectedLink>,
    pub data: Vec<Line>,
    /// Proofs that names of the chain come from a wildcard.
    pub proofs: Vec<Line>,
    /// The lowest TTL of the DNAME records above names of the chain, if they are in the reply.
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

    /// The lowest TTL of the DNAME records above a name.
    fn above(&self, name: &Name) -> Option<u32> {
        let above =
            self.answers.iter().filter(|l| !l.chaos && l.rtype == Rtype::DNAME && name.is_below(&l.owner));
        above.map(|line| self.lowest(&line.owner, Rtype::DNAME)).min()
    }

    /// The target of a name, its TTL, and whether a CNAME record of the message gives it.
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
        // Of several with one owner, the first counts.
        let nearest = self.records(&nearest.owner, Rtype::DNAME)[0];
        let next = name.with_suffix_replaced(&nearest.owner, &nearest.target())?.ok()?;
        Some((next, self.lowest(&nearest.owner, Rtype::DNAME), false))
    }
}

/// A TTL, and the number of the message with the record.
type Timed = (u32, usize);

/// The records of the messages read so far that belong to the chain.
struct Walk<'z> {
    question: &'z Question,
    bounds: Bounds,
    seen: BTreeSet<Name>,
    here: Name,
    links: Vec<ExpectedLink>,
    above: Vec<Timed>,
    proofs: Vec<(Line, usize)>,
    legs: usize,
}

impl Walk<'_> {
    /// Reads the CNAMEs of one message; `None` if they are too many or form a loop.
    fn read(&mut self, said: &Said) -> Option<()> {
        self.legs += 1;
        let (bounds, leg, rtype) = (self.bounds, self.legs, self.question.rtype);
        let own = said.authority.iter().filter(|line| line.rtype == Rtype::NSEC);
        self.proofs.extend(own.map(|line| (line.clone(), leg)));
        let mut next = said.next(&self.here, rtype);
        if rtype == Rtype::CNAME || next.is_some() {
            self.above.extend(said.above(&self.here).map(|ttl| (bounds.data(ttl), leg)));
        }
        while let Some((target, ttl, stated)) = next {
            if !self.seen.insert(target.to_lower()) || self.links.len() == LINKS_MAX {
                return None;
            }
            let (ttl, rdata) = (bounds.data(ttl), target.as_wire().to_vec());
            let line = Line { owner: self.here, rtype: Rtype::CNAME, chaos: false, ttl, rdata };
            self.links.push(ExpectedLink { line, stated, leg });
            self.here = target;
            next = said.next(&target, rtype).filter(|_| rtype != Rtype::CNAME);
            if next.is_some() {
                self.above.extend(said.above(&target).map(|ttl| (bounds.data(ttl), leg)));
            }
        }
        Some(())
    }

    /// The TTL when the last message is received. Earlier messages are less than a second older, which
    /// counts as a full one.
    fn aged(&self, (ttl, leg): Timed) -> u32 {
        ttl.saturating_sub(u32::from(leg < self.legs))
    }

    fn aged_links(&mut self) -> Vec<ExpectedLink> {
        let links = std::mem::take(&mut self.links);
        let aged = |mut link: ExpectedLink| {
            link.line.ttl = self.aged((link.line.ttl, link.leg));
            link
        };
        links.into_iter().map(aged).collect()
    }

    fn above_s(&self) -> Option<u32> {
        self.above.iter().map(|above| self.aged(*above)).min()
    }

    fn answer(mut self, data: Vec<Line>, lowest: u32) -> Expected {
        let (links, mut ttl) = (self.aged_links(), self.bounds.data(lowest));
        let is_set = self.question.family().is_some() && data.len() <= ADDRESSES_MAX + 1;
        if is_set {
            // A set expires with the first CNAME that leads to it, or before.
            ttl = links.iter().map(|link| link.line.ttl).chain([ttl]).min().unwrap_or(ttl);
        }
        let data = data.into_iter().map(|line| Line { ttl, ..line }).collect();
        let proof = |(line, leg): &(Line, usize)| Line {
            ttl: self.aged((self.bounds.data(line.ttl), *leg)),
            ..line.clone()
        };
        let proofs = self.proofs.iter().map(proof).collect();
        let above_s = self.above_s().filter(|_| !is_set);
        let expected =
            Expected { rcode: Rcode::NOERROR, links, data, proofs, above_s, denies: false, denied_s: None };
        if is_set { expected } else { expected.with_least_ttl() }
    }

    fn denial(mut self, said: &Said, soa: Option<&Line>) -> Expected {
        let (rcode, links) = (said.rcode, self.aged_links());
        let above_s = self.above_s().filter(|_| self.question.family().is_none());
        let proof = |(line, leg): &(Line, usize)| match *leg < self.legs {
            true => self.aged((self.bounds.data(line.ttl), *leg)),
            false => line.ttl.min(self.bounds.negative),
        };
        let proven = self.proofs.iter().map(proof).min();
        let denied = |soa: &Line| {
            let minimum = u32::from_be_bytes(*soa.rdata.last_chunk().expect("an SOA record"));
            let own = soa.ttl.min(minimum).min(self.bounds.negative);
            let all = links.iter().map(|link| link.line.ttl).chain([own]).chain(above_s).chain(proven);
            all.min().unwrap_or(own)
        };
        let denied_s = soa.map(denied);
        // Proofs of a denial have the TTL of the denial.
        let proof = |(line, _): &(Line, usize)| Line { ttl: denied_s.unwrap_or(0), ..line.clone() };
        let proofs = self.proofs.iter().map(proof).collect();
        let expected = Expected { rcode, links, data: Vec::new(), proofs, above_s, denies: true, denied_s };
        if self.question.family().is_some() { expected } else { expected.with_least_ttl() }
    }
}

impl Expected {
    /// The time in seconds for which the answer is cached: until the first of its records expires. A denial
    /// without an SOA record is not cached.
    pub fn least_s(&self) -> u32 {
        let links = self.links.iter().map(|link| &link.line);
        let all = links.chain(&self.data).map(|line| line.ttl).chain(self.denied_s).chain(self.above_s);
        let all = all.chain(self.proofs.iter().map(|line| line.ttl));
        if self.denies && self.denied_s.is_none() { 0 } else { all.min().unwrap_or(0) }
    }

    /// The answer with no record's TTL longer than the answer's own.
    fn with_least_ttl(mut self) -> Expected {
        let least = self.least_s();
        let links = self.links.iter_mut().map(|link| &mut link.line);
        links.chain(&mut self.data).chain(&mut self.proofs).for_each(|line| line.ttl = line.ttl.min(least));
        self.above_s = self.above_s.map(|ttl| ttl.min(least));
        self.denied_s = self.denied_s.map(|ttl| ttl.min(least));
        self
    }
}

/// The expected reply to a client, and the number of messages before it; `None` for a failure.
pub fn expected(zone: &Zone, question: &Question, bounds: Bounds) -> Option<(Expected, usize)> {
    let nothing = Said { rcode: Rcode::NXDOMAIN, ..Said::default() };
    let mut walk = Walk {
        question,
        bounds,
        seen: BTreeSet::from([question.name.to_lower()]),
        here: question.name,
        links: Vec::new(),
        above: Vec::new(),
        proofs: Vec::new(),
        legs: 0,
    };
    loop {
        let said = zone.said.get(&walk.here.to_lower()).unwrap_or(&nothing);
        let before = walk.links.len();
        walk.read(said)?;
        let legs = walk.legs;
        if question.rtype == Rtype::CNAME && !walk.links.is_empty() {
            return Some((walk.answer(Vec::new(), 0), legs));
        }
        let data: Vec<Line> = said.records(&walk.here, question.rtype).into_iter().cloned().collect();
        if !data.is_empty() && said.rcode == Rcode::NOERROR {
            let lowest = said.lowest(&walk.here, question.rtype);
            return Some((walk.answer(data, lowest), legs));
        }
        let denies = |line: &&Line| line.rtype == Rtype::SOA && walk.here.is_below(&line.owner);
        let denial = said.authority.iter().find(denies);
        if said.rcode != Rcode::NOERROR || denial.is_some() || walk.links.len() == before {
            return Some((walk.denial(said, denial), legs));
        }
    }
}
