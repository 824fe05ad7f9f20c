//! A zone of a few names, and the messages of an upstream about them.

use super::super::picks::{Picks, Seeded};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::{Composer, Owner, flags};
use hither_wire::message::{Record, Section};
use hither_wire::name::Name;
use hither_wire::query::Query;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One record of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    pub owner: Name,
    pub rtype: Rtype,
    /// Whether the record is of class CH, so that it does not count.
    pub chaos: bool,
    pub ttl: u32,
    /// The RDATA, with names that are not compressed.
    pub rdata: Vec<u8>,
}

impl Line {
    fn new(owner: Name, rtype: Rtype, ttl: u32, rdata: &[u8]) -> Line {
        Line { owner, rtype, chaos: false, ttl, rdata: rdata.to_vec() }
    }

    pub fn of(record: &Record<'_>) -> Line {
        let rdata = record.target().map_or(record.rdata.to_vec(), |target| target.as_wire().to_vec());
        let owner = record.owner().to_lower();
        Line { owner, rtype: record.rtype, chaos: record.class.0 == 3, ttl: record.ttl, rdata }
    }

    /// Whether `other` is the same record with the same TTL.
    pub fn is(&self, other: &Line) -> bool {
        self.owner.eq_ignore_case(&other.owner)
            && (self.rtype, self.ttl) == (other.rtype, other.ttl)
            && self.rdata.eq_ignore_ascii_case(&other.rdata)
    }

    pub fn target(&self) -> Name {
        Name::from_wire(&self.rdata).expect("a name")
    }

    /// The type that a signature covers.
    pub fn covered(&self) -> Rtype {
        Rtype(u16::from_be_bytes([self.rdata[0], self.rdata[1]]))
    }

    pub fn is_signature_of(&self, rtype: Rtype) -> bool {
        self.rtype == Rtype::RRSIG && self.covered() == rtype
    }
}

/// The records of a message about a name.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub rcode: Rcode,
    pub answers: Vec<Line>,
    pub authority: Vec<Line>,
}

#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // A handful of them.
enum Kind {
    Alias(Vec<(Name, u32)>),
    /// A DNAME record above, and the TTL of its CNAME if the message has that too.
    Moved {
        zone: Name,
        to: Name,
        ttl: u32,
        cname: Option<u32>,
    },
    Data(Vec<(Vec<u8>, u32)>),
    Nothing {
        rcode: Rcode,
        ttl: u32,
        minimum: u32,
    },
}

pub struct Zone {
    /// The names of the zone. The client asks for the first.
    pub names: Vec<Name>,
    pub said: BTreeMap<Name, Said>,
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, said) in &self.said {
            writeln!(f, "{name} {}", said.rcode)?;
            for line in said.answers.iter().chain(&said.authority) {
                let class = if line.chaos { "CH" } else { "IN" };
                writeln!(f, "    {} {} {class} {} {:02x?}", line.owner, line.ttl, line.rtype, line.rdata)?;
            }
        }
        Ok(())
    }
}

const TTLS: [u32; 6] = [0, 1, 5, 25, 70, 300];

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

impl Zone {
    pub fn draw(draw: &mut Seeded, rtype: Rtype, dnssec_ok: bool) -> Zone {
        let texts = ["n0.test", "n1.test", "N2.test", "n3.d0.test", "k.d0.test", "k.d1.test", "n4.test"];
        let mut names: Vec<Name> = texts.map(name).to_vec();
        let first = draw.below(names.len() as u64) as usize;
        names.swap(0, first);
        let kinds: BTreeMap<Name, Kind> =
            names.iter().map(|own| (own.to_lower(), kind(draw, own, &names, rtype))).collect();
        names[0] = names[0].to_lower();
        let said = names.iter().map(|own| (own.to_lower(), say(draw, own, &kinds, (rtype, dnssec_ok))));
        Zone { said: said.collect(), names }
    }

    /// The response to a query.
    pub fn message(&self, octets: &[u8]) -> Vec<u8> {
        let query = Query::read(octets).expect("the core's own query");
        let empty = Said { rcode: Rcode::NXDOMAIN, ..Said::default() };
        let said = self.said.get(&query.name_lower()).unwrap_or(&empty);
        let mut out = vec![0; 65_535];
        let mut composer = Composer::new(&mut out, 65_535).expect("room");
        composer.set_header(query.id(), flags::QR | flags::RD | flags::RA | u16::from(said.rcode.0));
        assert!(composer.question_octets(query.question()));
        let mut chaos = Vec::new();
        for (section, lines) in [(Section::Answer, &said.answers), (Section::Authority, &said.authority)] {
            for line in lines {
                // QNAME is written as a pointer to the question.
                let wire = line.owner.as_wire();
                let owner = if line.owner == query.name_lower() { Owner::At(12) } else { Owner::Wire(wire) };
                let at = composer.position() + if matches!(owner, Owner::At(_)) { 2 } else { wire.len() };
                assert!(composer.record(section, owner, line.rtype, line.ttl, &line.rdata));
                chaos.extend(line.chaos.then_some(at + 3));
            }
        }
        let len = composer.finish();
        out.truncate(len);
        chaos.into_iter().for_each(|at| out[at] = 3);
        out
    }
}

fn ttl(draw: &mut Seeded) -> u32 {
    TTLS[draw.below(TTLS.len() as u64) as usize]
}

fn data(rtype: Rtype, n: u16) -> Vec<u8> {
    let [high, n] = n.to_be_bytes();
    match rtype {
        Rtype::A => vec![198, 18, high, n],
        Rtype::AAAA => [&[0x20, 1, 13, 184][..], &[0; 10], &[high, n]].concat(),
        Rtype::MX => [&[high, n][..], name("mx.n1.test").as_wire()].concat(),
        Rtype::HTTPS => vec![high, n, 0],
        _ => vec![2, high, n],
    }
}

fn kind(draw: &mut Seeded, own: &Name, names: &[Name], rtype: Rtype) -> Kind {
    let other = |draw: &mut Seeded| names[draw.below(names.len() as u64) as usize];
    match draw.below(8) {
        0..=2 => {
            let count = 1 + usize::from(draw.below(4) == 0);
            Kind::Alias((0..count).map(|_| (other(draw), ttl(draw))).collect())
        }
        3 | 4 if own.label_count() == 3 => {
            let zone = own.parent().expect("it has three labels");
            let to = [name("d1.test"), name("d0.test"), name("test")][draw.below(3) as usize];
            Kind::Moved { zone, to, ttl: ttl(draw), cname: (draw.below(2) == 0).then(|| ttl(draw)) }
        }
        3..=6 if rtype != Rtype::CNAME => {
            // Few addresses, or more than a set of the table may have.
            let count = if draw.below(12) == 0 { 300 } else { 1 + draw.below(3) as u16 };
            let lowest = ttl(draw);
            Kind::Data((1..=count).map(|n| (data(rtype, n), ttl(draw).max(lowest))).collect())
        }
        _ => {
            let rcode = if draw.below(2) == 0 { Rcode::NXDOMAIN } else { Rcode::NOERROR };
            Kind::Nothing { rcode, ttl: ttl(draw), minimum: ttl(draw) }
        }
    }
}

fn soa(zone: &str, ttl: u32, minimum: u32) -> Line {
    let rdata = [&b"\x02ns\0\x04host\0"[..], &[0; 16], &minimum.to_be_bytes()].concat();
    Line::new(name(zone), Rtype::SOA, ttl, &rdata)
}

/// A message about `asked`: that name and the names that its CNAMEs lead to, up to a hop that is drawn.
fn say(
    draw: &mut Seeded,
    asked: &Name,
    kinds: &BTreeMap<Name, Kind>,
    (rtype, dnssec_ok): (Rtype, bool),
) -> Said {
    let (mut said, mut here) = (Said::default(), *asked);
    let mut seen = BTreeSet::new();
    let cut = draw.below(5);
    for hop in 0..20 {
        let Some(kind) = kinds.get(&here.to_lower()) else {
            said.rcode = Rcode::NXDOMAIN;
            break;
        };
        let next = match kind {
            Kind::Alias(targets) => {
                let line =
                    |(target, ttl): &(Name, u32)| Line::new(here, Rtype::CNAME, *ttl, target.as_wire());
                said.answers.extend(targets.iter().map(line));
                targets[0].0
            }
            Kind::Moved { zone, to, ttl, cname } => {
                said.answers.push(Line::new(*zone, Rtype::DNAME, *ttl, to.as_wire()));
                let next = here.with_suffix_replaced(zone, to).expect("below it").expect("short");
                said.answers.extend(cname.map(|ttl| Line::new(here, Rtype::CNAME, ttl, next.as_wire())));
                next
            }
            Kind::Data(all) => {
                said.answers.extend(all.iter().map(|(rdata, ttl)| Line::new(here, rtype, *ttl, rdata)));
                break;
            }
            Kind::Nothing { rcode, ttl, minimum } => {
                said.rcode = *rcode;
                said.authority.push(soa("test", *ttl, *minimum));
                break;
            }
        };
        if hop >= cut || rtype == Rtype::CNAME || !seen.insert(here.to_lower()) {
            // The SOA record of another zone is no denial of the next name.
            said.authority.extend((draw.below(3) == 0).then(|| soa("elsewhere.example", 300, 300)));
            break;
        }
        here = next;
    }
    if dnssec_ok {
        if draw.below(3) == 0 {
            // A proof that a name comes from a wildcard, with an owner that only this message has.
            let owner = name(&format!("nsec.{asked}"));
            said.authority.push(Line::new(owner, Rtype::NSEC, ttl(draw), name("z.test").as_wire()));
        }
        sign(&mut said.answers);
        sign(&mut said.authority);
    }
    disturb(draw, &mut said, asked, rtype);
    said
}

/// Adds a signature for each RRset.
fn sign(lines: &mut Vec<Line>) {
    let mut signatures: Vec<Line> = Vec::new();
    for line in &*lines {
        let known = |s: &Line| s.owner.eq_ignore_case(&line.owner) && s.is_signature_of(line.rtype);
        if !signatures.iter().any(known) {
            let rdata = [&line.rtype.0.to_be_bytes()[..], &[8; 16], &[0], b"signature"].concat();
            signatures.push(Line::new(line.owner, Rtype::RRSIG, line.ttl, &rdata));
        }
    }
    lines.append(&mut signatures);
}

/// Adds unrelated records, repeats a record, and changes the order. Of two CNAMEs, the first stays first.
fn disturb(draw: &mut Seeded, said: &mut Said, asked: &Name, rtype: Rtype) {
    let unrelated = name("unrelated.example");
    if draw.below(4) == 0 {
        said.answers.push(Line::new(
            unrelated,
            rtype,
            9_999,
            &match rtype {
                Rtype::CNAME => asked.as_wire().to_vec(),
                _ => data(rtype, 99),
            },
        ));
    }
    if draw.below(4) == 0 {
        let line = Line::new(*asked, Rtype::CNAME, 9_999, unrelated.as_wire());
        said.answers.insert(0, Line { chaos: true, ..line });
    }
    if draw.below(4) == 0 {
        let rdata = [&Rtype::NSEC.0.to_be_bytes()[..], &[8; 16], &[0], b"signature"].concat();
        said.answers.push(Line::new(unrelated, Rtype::RRSIG, 9_999, &rdata));
    }
    if draw.below(4) == 0 {
        // In the authority section: a name server, and the address of another name.
        said.authority.push(Line::new(name("test"), Rtype::NS, 9_999, unrelated.as_wire()));
        said.authority.push(Line::new(unrelated, Rtype::A, 9_999, &[203, 0, 113, 66]));
    }
    if draw.below(3) == 0 && !said.answers.is_empty() {
        let mut twice = said.answers[draw.below(said.answers.len() as u64) as usize].clone();
        twice.ttl = if draw.below(2) == 0 { twice.ttl } else { ttl(draw) };
        said.answers.push(twice);
    }
    if draw.below(2) == 0 {
        let mut keyed: Vec<(u64, Line)> =
            said.answers.drain(..).map(|line| (draw.below(100), line)).collect();
        for n in 1..keyed.len() {
            let first = keyed[..n]
                .iter()
                .filter(|(_, l)| l.rtype == Rtype::CNAME && keyed[n].1.rtype == Rtype::CNAME);
            let first =
                first.filter(|(_, l)| l.owner.eq_ignore_case(&keyed[n].1.owner)).map(|(key, _)| *key).max();
            keyed[n].0 = keyed[n].0.max(first.unwrap_or(0));
        }
        keyed.sort_by_key(|(key, _)| *key);
        said.answers = keyed.into_iter().map(|(_, line)| line).collect();
    }
}
