//! Messages of 64 KiB that are expensive to read: thousands of records, owners, CNAMEs, signatures,
//! and names of a hundred compression pointers.

use hither_wire::codes::{Class, Rtype};
use hither_wire::query::Query;

/// A kind of message: its name, QTYPE, and whether DO is set.
pub const KINDS: [(&str, Rtype, bool); 12] = [
    ("addresses", Rtype::A, false),
    ("owners", Rtype::TXT, true),
    ("signatures", Rtype::TXT, true),
    ("proofs", Rtype::TXT, true),
    ("aliases", Rtype::A, false),
    ("signed-aliases", Rtype::TXT, true),
    ("moved", Rtype::TXT, true),
    ("deep-owners", Rtype::TXT, true),
    ("deep-name", Rtype::TXT, true),
    ("broken-data", Rtype::TXT, true),
    ("rp", Rtype::TXT, true),
    ("https", Rtype::TXT, true),
];

/// The QNAME.
pub fn asked(kind: &str, n: usize) -> String {
    let deep = if kind == "deep-name" { "a.".repeat(100) } else { String::new() };
    format!("{deep}h{n}.large.example")
}

struct Draft {
    octets: Vec<u8>,
    counts: [u16; 2],
}

const QNAME: [u8; 2] = [0xc0, 12];

impl Draft {
    /// Appends a record to a section; `false` when the message is full.
    fn record(&mut self, section: usize, owner: &[u8], rtype: Rtype, rdata: &[u8]) -> bool {
        if self.octets.len() + owner.len() + 10 + rdata.len() > 65_535 {
            return false;
        }
        self.octets.extend(owner);
        self.octets.extend(rtype.0.to_be_bytes());
        self.octets.extend(Class::IN.0.to_be_bytes());
        self.octets.extend(300_u32.to_be_bytes());
        self.octets.extend((rdata.len() as u16).to_be_bytes());
        self.octets.extend(rdata);
        self.counts[section] += 1;
        true
    }
}

/// A distinct label for each number, below the QNAME.
fn below(n: usize) -> Vec<u8> {
    let [.., high, low] = n.to_be_bytes();
    [&[4, b'a' + (high >> 4), b'a' + (high & 15), b'a' + (low >> 4), b'a' + (low & 15)][..], &QNAME].concat()
}

fn signature(of: Rtype) -> Vec<u8> {
    [&of.0.to_be_bytes()[..], &[8; 16], &[0], b"signature"].concat()
}

/// Names of up to `labels` labels, each one label and a pointer to the previous name, as octets for
/// offset `at`; and the offset of the longest.
fn stairs(at: usize, labels: usize) -> (Vec<u8>, [u8; 2]) {
    let pointer = |to: usize| [0xc0 | (to >> 8) as u8, to as u8];
    let mut octets = vec![1, b'a', 0];
    let mut last = at;
    for _ in 1..labels {
        let here = at + octets.len();
        octets.extend([1, b'a']);
        octets.extend(pointer(last));
        last = here;
    }
    (octets, pointer(last))
}

/// The answer of this kind to a query.
pub fn message(kind: &str, query: &[u8]) -> Vec<u8> {
    let read = Query::read(query).expect("a query");
    let mut octets = [&query[..2], &[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0], read.question()].concat();
    if kind == "proofs" {
        octets[3] |= 3;
    }
    let mut draft = Draft { octets, counts: [0; 2] };
    // The offset of the name without its first label.
    let parent = [0xc0, 12 + 1 + read.qname()[0]];
    if kind == "proofs" {
        let rdata = [&[0, 0][..], &[0; 16], &300_u32.to_be_bytes()].concat();
        assert!(draft.record(1, &[0], Rtype::SOA, &rdata));
    } else if !["addresses", "aliases", "signed-aliases", "moved", "deep-name"].contains(&kind) {
        assert!(draft.record(0, &QNAME, Rtype::TXT, b"\x01x"));
    }
    // The names are in the opaque RDATA of a record with the root as owner, so they are not read
    // there.
    let (octets, deep) = stairs(draft.octets.len() + 11, if kind == "broken-data" { 128 } else { 127 });
    if ["broken-data", "rp", "https"].contains(&kind) {
        assert!(draft.record(0, &[0], Rtype(65_280), &octets));
    }
    let mut before = 12;
    for n in 0.. {
        let at = draft.octets.len();
        let went = match kind {
            "addresses" => draft.record(0, &QNAME, Rtype::A, &(0xc612_0000 + n as u32).to_be_bytes()),
            "owners" => draft.record(0, &below(n), Rtype::TXT, b"\x01x"),
            "signatures" => draft.record(0, &QNAME, Rtype::RRSIG, &signature(Rtype::TXT)),
            "proofs" => {
                draft.record(1, &below(n), Rtype::NSEC, &[0, 0, 1, 0x40])
                    && draft.record(1, &below(n), Rtype::RRSIG, &signature(Rtype::NSEC))
            }
            "aliases" => draft.record(0, &QNAME, Rtype::CNAME, &below(n)),
            "signed-aliases" => {
                draft.record(0, &QNAME, Rtype::CNAME, &below(n))
                    && draft.record(0, &QNAME, Rtype::RRSIG, &signature(Rtype::CNAME))
            }
            "moved" => draft.record(0, &parent, Rtype::DNAME, &[&[1, b'a'][..], &below(n)].concat()),
            "deep-owners" => {
                // One label more than the previous owner.
                let to = if n % 40 == 0 { 12 } else { before };
                before = if at < 0x3f00 { at } else { before };
                let owner = [1, b'a' + (n % 26) as u8, 0xc0 | (to >> 8) as u8, to as u8];
                draft.record(0, &owner, Rtype::TXT, b"\x01x")
            }
            "broken-data" => draft.record(0, &[0], Rtype::NS, &deep),
            "rp" => draft.record(0, &[0], Rtype(17), &[deep, deep].concat()),
            "https" => draft.record(0, &[0], Rtype(65), &[&[0, 1][..], &deep].concat()),
            _ => draft.record(0, &[1, b'a', 0xc0, 14], Rtype::TXT, b"\x01x"),
        };
        if !went {
            break;
        }
    }
    for (n, count) in draft.counts.iter().enumerate() {
        draft.octets[6 + 2 * n..8 + 2 * n].copy_from_slice(&count.to_be_bytes());
    }
    draft.octets
}
