//! Generated broken responses: each is a good one with one fault, and has the query's id unless its
//! name says otherwise.

use hither_wire::codes::Rtype;
use hither_wire::query::Query;
use std::net::Ipv6Addr;

pub struct Shape {
    pub name: String,
    pub rtype: Rtype,
    make: Box<dyn Fn(Parts) -> Vec<u8> + Send + Sync>,
}

impl Shape {
    pub fn reply(&self, query: &[u8]) -> Vec<u8> {
        (self.make)(Parts::of(query))
    }
}

/// A good response in pieces.
#[derive(Clone)]
pub struct Parts {
    id: [u8; 2],
    flags: [u8; 2],
    counts: [u16; 4],
    question: Vec<u8>,
    records: Vec<Record>,
}

#[derive(Clone)]
struct Record {
    owner: Vec<u8>,
    rtype: u16,
    rdata: Vec<u8>,
    /// The error in its RDLENGTH, in octets.
    off: i32,
}

fn record(owner: &[u8], rtype: Rtype, rdata: &[u8]) -> Record {
    Record { owner: owner.to_vec(), rtype: rtype.0, rdata: rdata.to_vec(), off: 0 }
}

const AT_QUESTION: &[u8] = &[0xc0, 12];

/// The address in every good response.
pub fn address(rtype: Rtype) -> Vec<u8> {
    match rtype {
        Rtype::AAAA => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets().to_vec(),
        _ => vec![198, 18, 0, 1],
    }
}

impl Parts {
    /// One address, an NS record, and OPT if the query has one.
    fn of(query: &[u8]) -> Parts {
        let read = Query::read(query).expect("the daemon's own query");
        let rtype = read.qtype();
        let mut records = vec![record(AT_QUESTION, rtype, &address(rtype))];
        records.push(record(b"\x04test\0", Rtype::NS, b"\x02ns\x04test\0"));
        if read.edns().is_some() {
            records.push(record(b"\0", Rtype::OPT, &[]));
        }
        let counts = [1, 1, 1, records.len() as u16 - 2];
        let id = read.id().to_be_bytes();
        Parts { id, flags: [0x81, 0x80], counts, question: read.question().to_vec(), records }
    }

    fn octets(&self) -> Vec<u8> {
        let mut octets = [self.id, self.flags].concat();
        self.counts.iter().for_each(|count| octets.extend(count.to_be_bytes()));
        octets.extend(&self.question);
        for record in &self.records {
            octets.extend(&record.owner);
            octets.extend(record.rtype.to_be_bytes());
            octets.extend(if record.rtype == 41 { [4, 0xd0] } else { [0, 1] });
            octets.extend(if record.rtype == 41 { 0u32 } else { 300 }.to_be_bytes());
            octets.extend(((record.rdata.len() as i32 + record.off) as u16).to_be_bytes());
            octets.extend(&record.rdata);
        }
        octets
    }
}

pub fn good(query: &[u8]) -> Vec<u8> {
    Parts::of(query).octets()
}

#[derive(Default)]
struct List(Vec<Shape>);

impl List {
    fn add(&mut self, name: impl Into<String>, make: impl Fn(&mut Parts) + Send + Sync + 'static) {
        self.add_for(Rtype::A, name, make);
    }

    fn add_for(
        &mut self,
        rtype: Rtype,
        name: impl Into<String>,
        make: impl Fn(&mut Parts) + Send + Sync + 'static,
    ) {
        let make = move |mut parts: Parts| {
            make(&mut parts);
            parts.octets()
        };
        self.0.push(Shape { name: name.into(), rtype, make: Box::new(make) });
    }

    fn cut(&mut self, name: String, len: impl Fn(usize) -> usize + Send + Sync + 'static, tc: bool) {
        let make = move |mut parts: Parts| {
            parts.flags[0] |= if tc { 2 } else { 0 };
            let mut octets = parts.octets();
            octets.truncate(len(octets.len()));
            octets
        };
        self.0.push(Shape { name, rtype: Rtype::A, make: Box::new(make) });
    }

    /// Adds a record to a section, and to its count.
    fn with(&mut self, name: &str, section: usize, more: Record) {
        self.add(name, move |parts| {
            let at = if section == 0 { 0 } else { section + usize::from(section == 1) };
            parts.records.insert(at.min(parts.records.len()), more.clone());
            parts.counts[section + 1] += 1;
        });
    }
}

pub fn all() -> Vec<Shape> {
    let mut all = List::default();
    headers(&mut all);
    questions(&mut all);
    records(&mut all);
    edns(&mut all);
    all.0
}

fn headers(all: &mut List) {
    for len in [2, 3, 4, 6, 8, 11, 12, 13, 16, 20, 24] {
        all.cut(format!("cut at {len}"), move |_| len, false);
        if len > 2 {
            all.cut(format!("TC, cut at {len}"), move |_| len, true);
        }
    }
    for back in 1..48 {
        all.cut(format!("cut by {back}"), move |len| len - back, false);
    }
    for back in (1..48).step_by(3) {
        all.cut(format!("TC, cut by {back}"), move |len| len - back, true);
    }
    for (section, what) in ["QDCOUNT", "ANCOUNT", "NSCOUNT", "ARCOUNT"].into_iter().enumerate() {
        for count in [0u16, 1, 2, 3, 255, 65_535] {
            all.add(format!("{what} {count}"), move |parts| parts.counts[section] = count);
        }
    }
    for opcode in [1u8, 2, 4, 5, 6, 15] {
        all.add(format!("opcode {opcode}"), move |parts| parts.flags[0] |= opcode << 3);
    }
    all.add("no response", |parts| parts.flags[0] &= 0x7f);
    all.add("TC", |parts| parts.flags[0] |= 2);
}

fn questions(all: &mut List) {
    all.add("no question, and all else", |parts| {
        parts.counts[0] = 0;
        parts.records[0].owner = parts.question[..parts.question.len() - 4].to_vec();
        parts.question.clear();
    });
    all.add("no question, TC", |parts| {
        parts.flags[0] |= 2;
        parts.counts = [0; 4];
        parts.question.clear();
        parts.records.clear();
    });
    all.add("two questions", |parts| {
        parts.counts[0] = 2;
        parts.question = parts.question.repeat(2);
    });
    all.add("another type", |parts| {
        let at = parts.question.len() - 3;
        parts.question[at] = 16;
    });
    all.add("another class", |parts| {
        let at = parts.question.len() - 1;
        parts.question[at] = 3;
    });
    all.add("another name", |parts| parts.question[2] ^= 1);
    for label in [0x40u8, 0x7f, 0x80, 0xbf, 0xff] {
        all.add(format!("a label of type {label:02x}"), move |parts| parts.question[0] = label);
    }
    for target in [0u8, 12, 13, 40] {
        all.add(format!("another question, which points to {target}"), move |parts| {
            let end = parts.question.split_off(parts.question.len() - 4);
            parts.question = [&[0xc0, target][..], &end].concat();
        });
    }
}

fn records(all: &mut List) {
    for off in [-4i32, -1, 1, 4, 100, 65_000] {
        all.add(format!("RDLENGTH of A {off:+}"), move |parts| parts.records[0].off = off);
        all.add(format!("RDLENGTH of NS {off:+}"), move |parts| parts.records[1].off = off);
        all.add(format!("RDLENGTH of OPT {off:+}"), move |parts| {
            if let Some(opt) = parts.records.get_mut(2) {
                opt.off = off.max(1);
            }
        });
    }
    for len in [0usize, 3, 5, 16] {
        all.add(format!("A of {len}"), move |parts| parts.records[0].rdata.resize(len, 9));
    }
    for len in [0usize, 4, 15, 17] {
        all.add_for(Rtype::AAAA, format!("AAAA of {len}"), move |parts| {
            parts.records[0].rdata.resize(len, 9)
        });
    }
    for owner in [&[0xc0, 200][..], &[0xc0, 0xff], &[0x40], &[0x80, 1], &[63, b'x', 0], &[0xff; 9]] {
        all.add(format!("the owner {owner:02x?}"), move |parts| parts.records[0].owner = owner.to_vec());
        all.add(format!("the second owner {owner:02x?}"), move |parts| {
            parts.records[1].owner = owner.to_vec()
        });
    }
    all.add("an owner that points to itself", |parts| {
        let at = 12 + parts.question.len();
        parts.records[0].owner = vec![0xc0 | (at >> 8) as u8, at as u8];
    });
    let long = [&[63][..], &[b'x'; 63]].concat().repeat(5);
    all.with(
        "a name of 320 octets in the answer",
        0,
        record(AT_QUESTION, Rtype::CNAME, &[&long[..], &[0]].concat()),
    );
    for (rtype, rdata) in [
        (Rtype::CNAME, &b"\x04edge"[..]),
        (Rtype::DNAME, b"\xc0\xff"),
        (Rtype::PTR, b""),
        (Rtype::MX, b"\0"),
        (Rtype::SRV, b"\0\0\0\0\0\0\x40"),
        (Rtype::SOA, b"\0\0\0\0\0\x01"),
    ] {
        for (section, place) in ["answer", "authority"].into_iter().enumerate() {
            all.with(
                &format!("a broken {rtype} in the {place} section"),
                section,
                record(AT_QUESTION, rtype, rdata),
            );
        }
    }
    for rtype in [Rtype::A, Rtype::AAAA] {
        for (section, place) in ["answer", "authority"].into_iter().enumerate() {
            all.with(
                &format!("another {rtype} of 5 in the {place} section"),
                section,
                record(AT_QUESTION, rtype, &[7; 5]),
            );
        }
    }
    for rcode in [0u8, 3] {
        all.add(format!("a denial with a broken SOA, RCODE {rcode}"), move |parts| {
            (parts.flags[1], parts.counts) = (0x80 | rcode, [1, 0, 1, 0]);
            parts.records = vec![record(b"\x04test\0", Rtype::SOA, &[0; 9])];
        });
    }
}

fn edns(all: &mut List) {
    for (section, place) in ["answer", "authority", "additional"].into_iter().enumerate() {
        all.with(&format!("one more OPT in the {place} section"), section, record(&[0], Rtype::OPT, &[]));
        all.with(
            &format!("a named OPT in the {place} section"),
            section,
            record(&[1, b'x', 0], Rtype::OPT, &[]),
        );
    }
    all.add("OPT in place of the answer, which is additional", |parts| {
        if parts.records.len() == 3 {
            parts.records = vec![parts.records[2].clone(), parts.records[0].clone()];
            parts.counts = [1, 1, 0, 1];
        }
    });
    for rdata in [&[0u8, 3][..], &[0, 3, 0], &[0, 3, 0, 5, 1], &[0, 10, 0, 3, 1, 2, 3], &[0, 10, 0xff, 0xff]]
    {
        all.add(format!("options {rdata:02x?}"), move |parts| {
            if let Some(opt) = parts.records.get_mut(2) {
                opt.rdata = rdata.to_vec();
            }
        });
    }
}
