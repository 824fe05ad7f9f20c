//! Generated broken and odd messages, each with the reply that the RFCs require (RFC 1035, 6891,
//! 7873, 8906, 9619).

use hither_wire::message::Message as Read;
use hither_wire::query::{Query, Refusal};

pub struct Message {
    pub name: String,
    pub octets: Vec<u8>,
    pub expected: Expected,
    /// The daemon counts it in `malformed_queries`.
    pub malformed: bool,
    /// It is a miss that needs a round.
    pub asks_upstream: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    Silence,
    /// This RCODE, with the upper bits in OPT.
    Code(u16),
    /// NOERROR with the question as it was sent.
    Answer,
    /// Any harmless reply, or none.
    Harmless,
}

impl Message {
    pub fn judge(&self, replies: &[Vec<u8>]) -> Result<(), String> {
        let reply = match replies {
            [] if matches!(self.expected, Expected::Silence | Expected::Harmless) => return Ok(()),
            [] => return Err("no reply".to_owned()),
            [reply] => reply,
            _ => return Err(format!("{} replies", replies.len())),
        };
        if self.expected == Expected::Silence {
            return Err("a reply".to_owned());
        }
        let message = Read::read(reply).map_err(|error| format!("an unreadable reply: {error}"))?;
        let header = message.header();
        if reply[..2] != self.octets[..2] || !header.qr() || reply[2] & 0x78 != self.octets[2] & 0x78 {
            return Err("another id or opcode, or no response".to_owned());
        }
        if reply.len() > 512.max(self.octets.len()) {
            return Err(format!("{} octets", reply.len()));
        }
        let code = message.edns().map_or(0, |edns| u16::from(edns.extended_rcode) << 4)
            | u16::from(header.rcode().0);
        match self.expected {
            Expected::Code(wanted) if code != wanted => Err(format!("code {code}")),
            Expected::Answer if code != 0 => Err(format!("code {code}")),
            Expected::Answer => {
                let end = 12 + message.question().map_or(0, |q| q.name.as_wire().len() + 4);
                (reply[12..end] == self.octets[12..end]).then_some(()).ok_or("another question".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// All messages, the same in each run.
pub fn all() -> Vec<Message> {
    let mut all = List::default();
    all.headers();
    all.questions();
    all.kinds();
    all.edns();
    all.names();
    all.mutants();
    all.0
}

const FORMERR: Expected = Expected::Code(1);
const NOTIMP: Expected = Expected::Code(4);
const REFUSED: Expected = Expected::Code(5);
const BADVERS: Expected = Expected::Code(16);

#[derive(Default)]
struct List(Vec<Message>);

/// A query for another name, with its id and flags.
fn query(n: usize, rtype: u16) -> Vec<u8> {
    let name = format!("m{n}");
    let mut octets = vec![(n >> 8) as u8, n as u8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8];
    octets.extend(name.as_bytes());
    octets.extend(b"\x07example\0");
    octets.extend(rtype.to_be_bytes());
    octets.extend([0, 1]);
    octets
}

fn with_opt(mut octets: Vec<u8>, size: u16, ttl: u32, rdata: &[u8]) -> Vec<u8> {
    octets[11] += 1;
    octets.extend([0, 0, 41]);
    octets.extend(size.to_be_bytes());
    octets.extend(ttl.to_be_bytes());
    octets.extend((rdata.len() as u16).to_be_bytes());
    octets.extend(rdata);
    octets
}

fn option(code: u16, data: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat()
}

impl List {
    fn add(&mut self, name: impl Into<String>, expected: Expected, octets: Vec<u8>) {
        let malformed = matches!(expected, Expected::Silence | Expected::Code(1));
        let asks_upstream = expected == Expected::Answer;
        self.0.push(Message { name: name.into(), octets, expected, malformed, asks_upstream });
    }

    fn fresh(&self) -> Vec<u8> {
        query(self.0.len() + 1, 1)
    }

    fn headers(&mut self) {
        for len in 0..12 {
            self.add(format!("{len} octets"), Expected::Silence, self.fresh()[..len].to_vec());
        }
        for opcode in 0..16u8 {
            let mut octets = self.fresh();
            octets[2] = 0x80 | opcode << 3;
            self.add(format!("a response, opcode {opcode}"), Expected::Silence, octets);
        }
        self.add("512 times ff", Expected::Silence, vec![0xff; 512]);
        for opcode in 1..16u8 {
            let mut octets = self.fresh();
            octets[2] = opcode << 3;
            self.add(format!("opcode {opcode}"), NOTIMP, octets);
        }
        for (at, name) in [(4, "qdcount"), (6, "ancount"), (8, "nscount"), (10, "arcount")] {
            for count in [0u16, 1, 2, 3, 255, 65_535] {
                if (name == "qdcount" && count == 1) || (name != "qdcount" && count == 0) {
                    continue;
                }
                let mut octets = self.fresh();
                octets[at..at + 2].copy_from_slice(&count.to_be_bytes());
                self.add(format!("{name} {count}"), FORMERR, octets);
            }
        }
        for bits in [0x10u8, 0x20, 0x40, 0x50, 0x70] {
            let mut octets = self.fresh();
            octets[3] |= bits;
            self.add(format!("bits {bits:02x}"), Expected::Answer, octets);
        }
        for bits in [0x02u8, 0x04, 0x06] {
            let mut octets = self.fresh();
            octets[2] |= bits;
            self.add(format!("aa and tc {bits:02x}"), Expected::Answer, octets);
        }
        for code in 1..16u8 {
            let mut octets = self.fresh();
            octets[3] |= code;
            self.add(format!("a query with rcode {code}"), Expected::Answer, octets);
        }
    }

    fn questions(&mut self) {
        let whole = self.fresh();
        for len in 12..whole.len() {
            self.add(format!("cut at {len}"), FORMERR, self.fresh()[..len].to_vec());
        }
        for (label, what) in [(0x40u8, "01"), (0x41, "01"), (0x80, "10"), (0xbf, "10")] {
            let mut octets = self.fresh();
            octets[12] = label;
            self.add(format!("label type {what}, {label:02x}"), FORMERR, octets);
        }
        for target in [0u16, 2, 11, 12, 13, 14, 20, 40, 0x3fff] {
            let mut octets = self.fresh();
            octets.splice(12..octets.len() - 4, (0xc000 | target).to_be_bytes());
            self.add(format!("a pointer to {target}"), FORMERR, octets);
        }
        for labels in [5usize, 6, 20] {
            let mut octets = self.fresh()[..12].to_vec();
            (0..labels).for_each(|_| octets.extend([&[63][..], &[b'x'; 63]].concat()));
            octets.extend([0, 0, 1, 0, 1]);
            self.add(format!("a name of {labels} labels of 63"), FORMERR, octets);
        }
        let mut octets = self.fresh()[..12].to_vec();
        (0..128).for_each(|_| octets.extend([1, b'x']));
        octets.extend([0, 0, 1, 0, 1]);
        self.add("a name of 257 octets", FORMERR, octets);
        for extra in [1usize, 5, 100, 400] {
            let mut octets = self.fresh();
            octets.extend(vec![0xaa; extra]);
            self.add(format!("{extra} octets behind"), Expected::Answer, octets);
        }
    }

    fn kinds(&mut self) {
        for class in [0u16, 2, 3, 4, 5, 254, 255, 256, 65_280, 65_535] {
            let mut octets = self.fresh();
            let at = octets.len() - 2;
            octets[at..].copy_from_slice(&class.to_be_bytes());
            self.add(format!("class {class}"), REFUSED, octets);
        }
        for rtype in [0u16, 41, 249, 250, 251, 252, 253, 254] {
            let octets = query(self.0.len() + 1, rtype);
            self.add(format!("type {rtype}"), REFUSED, octets);
        }
        for rtype in [
            2u16, 5, 6, 12, 13, 15, 16, 17, 24, 25, 29, 33, 35, 36, 37, 39, 42, 43, 44, 45, 46, 47, 48, 49,
            50, 51, 52, 53, 55, 59, 60, 61, 62, 63, 64, 65, 99, 108, 109, 255, 256, 257, 258, 32_768, 65_280,
            65_535,
        ] {
            let octets = query(self.0.len() + 1, rtype);
            self.add(format!("type {rtype}"), Expected::Answer, octets);
        }
    }

    fn edns(&mut self) {
        for version in [1u32, 2, 3, 7, 100, 128, 255] {
            let octets = with_opt(self.fresh(), 1232, version << 16, &[]);
            self.add(format!("EDNS version {version}"), BADVERS, octets);
        }
        for size in [0u16, 1, 12, 511, 512, 513, 1232, 4096, 65_535] {
            let octets = with_opt(self.fresh(), size, 0, &[]);
            self.add(format!("EDNS size {size}"), Expected::Answer, octets);
        }
        for bit in 0..16 {
            let octets = with_opt(self.fresh(), 1232, 1 << bit, &[]);
            self.add(format!("EDNS flag {bit}"), Expected::Answer, octets);
        }
        for code in [1u16, 3, 8, 9, 11, 12, 13, 14, 16, 26_946, 65_001, 65_535] {
            let octets = with_opt(self.fresh(), 1232, 0, &option(code, &[1, 2, 3, 4, 5, 6, 7, 8]));
            self.add(format!("option {code}"), Expected::Answer, octets);
        }
        for len in 0..=60usize {
            let legal = len == 8 || (16..=40).contains(&len);
            let octets = with_opt(self.fresh(), 1232, 0, &option(10, &vec![5; len]));
            self.add(format!("a cookie of {len}"), if legal { Expected::Answer } else { FORMERR }, octets);
        }
        let twice = with_opt(with_opt(self.fresh(), 1232, 0, &[]), 512, 0, &[]);
        self.add("two OPT records", FORMERR, twice);
        let mut named = self.fresh();
        named[11] = 1;
        named.extend(b"\x01x\0\0\x29\x04\xd0\0\0\0\0\0\0");
        self.add("OPT below the root", FORMERR, named);
        for (claimed, there) in [(1u16, 0usize), (4, 3), (65_535, 10)] {
            let mut octets = with_opt(self.fresh(), 1232, 0, &vec![0; there]);
            let at = octets.len() - there - 2;
            octets[at..at + 2].copy_from_slice(&claimed.to_be_bytes());
            self.add(format!("OPT of {claimed} octets with {there}"), FORMERR, octets);
        }
        for rdata in [&[0u8, 3][..], &[0, 3, 0], &[0, 3, 0, 5, 1], &[0, 3, 0xff, 0xff]] {
            let octets = with_opt(self.fresh(), 1232, 0, rdata);
            self.add(format!("options {rdata:?}"), FORMERR, octets);
        }
        let mut tsig = self.fresh();
        tsig[11] = 1;
        tsig.extend(b"\x03key\0\0\xfa\0\xff\0\0\0\0\0\x03abc");
        self.add("TSIG of an unknown key", Expected::Answer, tsig);
    }

    fn names(&mut self) {
        let mut odd = |what: &str, labels: &[u8]| {
            let mut octets = self.fresh()[..12].to_vec();
            octets.extend(labels);
            octets.extend([0, 0, 1, 0, 1]);
            self.add(what, Expected::Answer, octets);
        };
        odd("a NUL", b"\x03a\0b\x04odd1");
        odd("a dot in a label", b"\x03a.b\x04odd2");
        odd("a newline", b"\x03a\nb\x04odd3");
        odd("a backslash and a quote", b"\x04\\\"%s\x04odd4");
        odd("high octets", b"\x03\xff\xfe\x80\x04odd5");
        odd("upper case", b"\x05UPPER\x04OdD6");
        odd("spaces", b"\x03   \x04odd7");
        odd("an underscore and a star", b"\x02_*\x04odd8");
        odd("a digit on top", b"\x01a\x03999");
        odd("127 labels", &[1, b'x'].repeat(127));
        odd(
            "255 octets",
            &[[&[63][..], &[b'y'; 63]].concat().repeat(3), [&[61][..], &[b'z'; 61]].concat()].concat(),
        );
        let mut root = self.fresh()[..12].to_vec();
        root.extend([0, 0, 2, 0, 1]);
        self.add("the root's servers", Expected::Answer, root);
    }

    /// Messages with random octets changed; the expected reply follows from the changed message.
    fn mutants(&mut self) {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for n in 0..80 {
            let mut octets = with_opt(self.fresh(), 1232, 0, &option(10, &[5; 8]));
            for _ in 0..1 + draw(3) {
                let at = 2 + draw(octets.len() - 2);
                octets[at] = draw(256) as u8;
            }
            let read = Query::read(&octets);
            let malformed = matches!(read, Err(Refusal::Silent | Refusal::Reply { malformed: true, .. }));
            let asks_upstream = read.is_ok();
            self.0.push(Message {
                name: format!("mutant {n}"),
                octets,
                expected: Expected::Harmless,
                malformed,
                asks_upstream,
            });
        }
    }
}
