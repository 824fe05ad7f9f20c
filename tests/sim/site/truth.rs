//! What the zone of each name says: generations, one after the other. An answer shows its generation: in its
//! address, or in the serial number of its SOA record.

use hither_table::{FamilyView, Monotonic};
use hither_wire::codes::Rtype;
use hither_wire::compose::{Composer, Owner, flags};
use hither_wire::message::Section;
use hither_wire::name::Name;
use hither_wire::query::Query;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The names are public: others are not shared.
pub fn name(n: usize) -> Name {
    format!("h{n}.example.com").parse().expect("a name")
}

/// The TTL of a generation, in seconds.
pub fn ttl_s(generation: u64) -> u32 {
    [5, 20, 7][generation as usize % 3]
}

fn is_denial(generation: u64) -> bool {
    generation % 4 == 3
}

/// The RDATA of the SOA record of a generation.
fn soa(generation: u64) -> Vec<u8> {
    let mut rdata = b"\x02ns\x07example\x03com\x00\x01h\x00".to_vec();
    for number in [generation as u32, 60, 60, 60, ttl_s(generation)] {
        rdata.extend(number.to_be_bytes());
    }
    rdata
}

/// The upstream's response to a query while a generation is current.
pub fn response(query: &[u8], generation: u64) -> Vec<u8> {
    let read = Query::read(query).expect("the core's query");
    let mut out = vec![0; 1232];
    let mut composer = Composer::new(&mut out, 1232).expect("room");
    composer.set_header(read.id(), flags::QR | flags::RD | flags::RA);
    assert!(composer.question_octets(read.question()));
    let ttl_s = ttl_s(generation);
    if is_denial(generation) {
        let zone = b"\x07example\x03com\x00";
        let owner = Owner::Wire(zone);
        assert!(composer.record(Section::Authority, owner, Rtype::SOA, ttl_s, &soa(generation)));
    } else {
        let address = [198, 18, generation as u8, 1];
        assert!(composer.record(Section::Answer, Owner::At(12), Rtype::A, ttl_s, &address));
    }
    composer.opt(1232, 0, read.dnssec_ok(), &[]);
    let len = composer.finish();
    out.truncate(len);
    out
}

/// The generation that a set shows; `None` if it is of no zone.
pub fn generation_of(set: &FamilyView<'_>) -> Option<u64> {
    if set.negative().is_some() {
        let (_, _, rdata) = set.soa()?;
        let serial = rdata.get(rdata.len().checked_sub(20)?..)?.first_chunk()?;
        return Some(u64::from(u32::from_be_bytes(*serial)));
    }
    match set.addresses().next()?.address {
        IpAddr::V4(v4) => Some(u64::from(v4.octets()[2])),
        IpAddr::V6(_) => None,
    }
}

/// The generations of all names.
#[derive(Debug)]
pub struct Truth {
    now: Vec<u64>,
    /// When an upstream gave a generation of a name to a host, most lately.
    given: BTreeMap<(usize, u64), Monotonic>,
}

impl Truth {
    pub fn new(names: usize) -> Truth {
        Truth { now: vec![0; names], given: BTreeMap::new() }
    }

    pub fn change(&mut self, name: usize) {
        self.now[name] += 1;
    }

    pub fn of(&self, name: usize) -> u64 {
        self.now[name]
    }

    /// A host receives the response with a generation.
    pub fn give(&mut self, name: usize, generation: u64, now: Monotonic) {
        self.given.insert((name, generation), now);
    }

    /// When a set of a generation expires at the latest, in milliseconds.
    pub fn expires(&self, name: usize, generation: u64) -> u64 {
        let given = self.given.get(&(name, generation)).expect("a generation that no upstream gave");
        given.as_ms() + u64::from(ttl_s(generation)) * 1000
    }
}
