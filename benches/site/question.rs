//! The names that are asked for, how often each, and what upstreams answer.

use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, Composer, Owner, QueryBits, flags, query};
use hither_wire::message::Section;
use hither_wire::query::Query;

/// The query for the name with this number.
pub fn ask(name: u64, id: u16) -> Vec<u8> {
    let mut out = [0; 300];
    let name = format!("n{name}.hosts-of-one-site.org").parse().expect("a name");
    let bits = QueryBits { rd: true, cd: false, edns: None };
    let len = query(&mut out, id, &Asked { name: &name, rtype: Rtype::A }, bits);
    out[..len].to_vec()
}

/// One address, the same one for the same name.
pub fn answer(query: &[u8], ttl_s: u32) -> Option<Vec<u8>> {
    let read = Query::read(query).ok()?;
    let mut out = vec![0; 1232];
    let mut composer = Composer::new(&mut out, 1232)?;
    composer.set_header(read.id(), flags::QR | flags::RD | flags::RA);
    composer.question_octets(read.question());
    let label = query.get(14..12 + 1 + usize::from(*query.get(12)?))?;
    let number = label.iter().fold(0_u32, |n, octet| n.wrapping_mul(10).wrapping_add(u32::from(*octet & 15)));
    if read.qtype() == Rtype::A {
        let address = (0xc612_0000 + (number & 0xffff)).to_be_bytes();
        composer.record(Section::Answer, Owner::At(12), Rtype::A, ttl_s, &address);
    }
    if read.edns().is_some() {
        composer.opt(1232, 0, false, &[]);
    }
    let len = composer.finish();
    out.truncate(len);
    Some(out)
}

/// Random numbers, the same ones in each run.
pub struct Draws(u64);

impl Draws {
    pub fn new(seed: u64) -> Draws {
        Draws(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Between 0 and 1.
    pub fn draw(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Zipf's distribution with the exponent 1.
pub struct Zipf(Vec<f64>);

impl Zipf {
    pub fn new(names: usize) -> Zipf {
        let mut sum = 0.0;
        Zipf((1..=names).map(|rank| (sum += 1.0 / rank as f64, sum).1).collect())
    }

    /// The number of a name, from 0 on; a small one is likely.
    pub fn draw(&self, draws: &mut Draws) -> u64 {
        let at = draws.draw() * self.0.last().copied().unwrap_or(0.0);
        self.0.partition_point(|sum| *sum < at).min(self.0.len() - 1) as u64
    }

    /// The probability of a name.
    pub fn share(&self, name: usize) -> f64 {
        1.0 / (name + 1) as f64 / self.0.last().copied().unwrap_or(1.0)
    }
}
