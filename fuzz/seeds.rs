//! Writes seeds for each target below `target/fuzz`, so that a short run begins with genuine messages.

#[allow(dead_code)]
#[path = "../tests/hostile/messages.rs"]
mod messages;

use hither_wire::codes::{Class, Rcode, Rtype};
use hither_wire::compose::{Composer, Owner, flags};
use hither_wire::message::Section;
use hither_wire::name::Name;
use std::path::Path;

fn write(target: &str, n: usize, octets: &[u8]) {
    let dir = Path::new("target/fuzz").join(target);
    std::fs::create_dir_all(&dir).expect("a directory");
    std::fs::write(dir.join(format!("seed-{n:03}")), octets).expect("written");
}

fn response(n: usize) -> Vec<u8> {
    let name: Name = "www.example.com".parse().expect("a name");
    let target: Name = "edge.example.net".parse().expect("a name");
    let mut out = vec![0; 4096];
    let mut composer = Composer::new(&mut out, 4096).expect("room");
    let rcode = [Rcode::NOERROR, Rcode::NXDOMAIN, Rcode::SERVFAIL][n % 3];
    composer.set_header(
        1,
        flags::QR | flags::RD | flags::RA | u16::from(rcode.0) | if n % 7 == 6 { flags::TC } else { 0 },
    );
    composer.question(&name, [Rtype::A, Rtype::AAAA, Rtype::TXT][n % 3], Class::IN);
    let mut owner = Owner::At(12);
    if n % 2 == 1 {
        composer.record(Section::Answer, owner, Rtype::CNAME, 300, target.as_wire());
        owner = Owner::Wire(target.as_wire());
    }
    for end in 0..n as u8 % 5 {
        composer.record(Section::Answer, owner, Rtype::A, 300, &[198, 18, 0, end]);
        composer.record(Section::Answer, owner, Rtype::AAAA, 300, &[end; 16]);
        composer.record(Section::Answer, owner, Rtype::TXT, 300, &[3, b'a', b'b', end]);
    }
    if n % 4 == 0 {
        let soa = [&b"\x02ns\0\x04host\0"[..], &[0; 16], &60u32.to_be_bytes()].concat();
        composer.record(Section::Authority, Owner::Wire(b"\x07example\x03com\0"), Rtype::SOA, 300, &soa);
    }
    composer.opt(1232, 0, false, &[0, 10, 0, 16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
    let len = composer.finish();
    out.truncate(len);
    out
}

/// Saved sets, each preceded by its length, as the target reads them, and a file of them.
fn saved() {
    use hither_saved::{Header, Link, Set, Writer};
    use hither_table::{Address, Agreement, Family, Rtt, Trust};
    let mut file =
        Writer::begin(Vec::new(), &Header { saved_ms: 1, version: 2, usual: [0; 8] }).expect("memory");
    let mut sets = Vec::new();
    for n in 0..8_u8 {
        let v6 = n % 2 == 1;
        let address = |end: u8| Address {
            address: if v6 { [end; 16].into() } else { [198, 18, n, end].into() },
            rtt: [Rtt::Unmeasured, Rtt::Unreachable, Rtt::Micros(u32::from(end))][usize::from(end) % 3],
            chain: end % (1 + n / 4),
            upstreams: 0,
            sources: end % 32,
            trust: Trust::ALL[usize::from(end) % Trust::ALL.len()],
        };
        let link = Link { target: "edge.example.net".parse().expect("a name"), left_ms: 100_000 };
        let set = Set {
            name: format!("h{n}.example.com").parse().expect("a name"),
            family: if v6 { Family::Aaaa } else { Family::A },
            route: u64::from(n / 6),
            complete: n % 3 == 0,
            sorted: n % 3 == 1,
            left_ms: 300_000,
            lifetime_s: 300,
            agreement: Agreement { answered: n, disputes: n % 8, dissenters: 0 },
            addresses: (1..=n + 1).map(address).collect(),
            chains: [Vec::new(), vec![link]][..1 + usize::from(n / 4)].to_vec(),
        };
        let mut octets = Vec::new();
        set.encode(&mut octets).expect("a set");
        sets.extend((octets.len() as u16).to_le_bytes());
        sets.extend(octets);
        file.add(&set).expect("memory");
        write("saved", usize::from(n), &sets);
    }
    write("saved", 100, &file.finish().expect("memory"));
}

/// Messages of a site's channel: addresses of both families, with and without a chain and round-trip times,
/// and denials with and without an SOA record. They have no signatures, which a fuzzer hardly guesses.
fn entries() {
    use hither_entries::{Content, Entry, Keys, Link, Seal, Soa, Times, encode_message};
    use hither_table::{Address, Agreement, Family, Negative, Rtt};
    let seal = Seal::new(Keys::new("h").expect("a prefix"), None);
    let rdata = [&b"\x02ns\0\x04host\0"[..], &[1; 20]].concat();
    for n in 0..16_u8 {
        let family = if n % 2 == 1 { Family::Aaaa } else { Family::A };
        let address = |end: u8| {
            let octets = [end; 16];
            let address = if n % 2 == 1 { octets.into() } else { [198, 18, n, end].into() };
            Address { rtt: Rtt::Micros(u32::from(end)), ..Address::new(address, end % (1 + n / 8), 0) }
        };
        let soa = Soa { owner: "example".parse().expect("a name"), left_ms: 9_000, rdata: rdata.clone() };
        let negative = if n % 8 == 4 { Negative::NoData } else { Negative::NxDomain };
        let link = Link { target: "edge.example".parse().expect("a name"), left_ms: 100_000 };
        let entry = Entry {
            host: "alpha".into(),
            group: if n % 3 == 0 { "rack".into() } else { "".into() },
            times: Times { asked_ms: 99_000, learned_ms: 99_900, left_ms: 60_000, lifetime_s: 60 },
            agreement: Agreement { answered: n, disputes: n % 8, dissenters: 0 },
            said_by: vec!["quad9".into(); usize::from(n % 3)],
            name: format!("h{n}.example").parse().expect("a name"),
            family,
            chains: [Vec::new(), vec![link]][..1 + usize::from(n / 8)].to_vec(),
            content: match n % 8 {
                4 | 5 => Content::Denial { negative, soa: (n % 2 == 0).then(|| Box::new(soa)) },
                _ => Content::Addresses((1..=n % 4 + 1).map(address).collect()),
            },
        };
        let (key, value) = seal.seal(&entry).expect("an entry");
        let message = encode_message(&key, &value);
        write("entries", usize::from(n), &[&[n, n * 7, n * 16][..], &message].concat());
    }
}

/// Events of connections, three octets each: a race that is won, queries, and what ends them.
fn connections() {
    let begin = [0, 0, 1, 0, 0, 2, 5, 0, 0, 6, 0, 255];
    let ends: [&[u8]; 8] = [
        &[8, 0, 1, 8, 1, 1],
        &[2, 0, 1, 8, 1, 1, 8, 1, 1],
        &[10, 0, 0, 6, 0, 255, 8, 0, 1],
        &[11, 0, 0, 6, 0, 255, 8, 0, 1],
        &[13, 0, 2, 6, 0, 255, 13, 0, 2],
        &[14, 0, 0, 6, 0, 255, 8, 0, 1],
        &[15, 0, 0, 15, 0, 0, 15, 0, 0, 15, 0, 0],
        &[12, 0, 1, 0, 0, 3, 6, 0, 255, 13, 0, 3, 15, 0, 0],
    ];
    for (n, end) in ends.iter().enumerate() {
        for numbering in 0..2 {
            write("connections", n * 2 + usize::from(numbering), &[&[numbering][..], &begin, end].concat());
        }
    }
}

/// Messages of rtnetlink (a link, an address, a route, a neighbour, an error), and ICMP echoes.
fn kernel() {
    let message = |kind: u16, payload: &[u8]| {
        let len = 16 + payload.len() as u32;
        let mut octets = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], payload].concat();
        octets.resize(octets.len().next_multiple_of(4), 0);
        octets
    };
    let address = [2, 32, 0x80, 0, 1, 0, 0, 0, 8, 0, 1, 0, 198, 18, 0, 1];
    let route = [2, 24, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0, 8, 0, 1, 0, 198, 18, 0, 0, 8, 0, 4, 0, 1, 0, 0, 0];
    let all = [
        message(16, &[0; 32]),
        message(20, &address),
        message(24, &route),
        message(28, &[0; 12]),
        message(2, &[0; 20]),
        message(3, &[]),
    ];
    all.iter().enumerate().for_each(|(n, octets)| write("netlink", n, octets));
    write("netlink", 100, &all[3..].concat());
    write("netlink", 101, &[&all[4][..], &all[1]].concat());
    for (n, v4) in [true, false].into_iter().enumerate() {
        let mut echo = hither::sorter::echo::request(v4, 7, 1, 0x0123_4567_89ab_cdef);
        write("icmp", n, &echo);
        echo[0] = if v4 { 0 } else { 129 };
        write("icmp", 10 + n, &echo);
        write("icmp", 20 + n, &[&[0x45][..], &[0; 19], &echo].concat());
        write("icmp", 30 + n, &[&[0x46][..], &[0; 23], &echo].concat());
    }
}

/// Octets of HTTP/2 servers with the two octets before them that the target reads, and header sections.
fn http2() {
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    let literal =
        |name: &[u8], value: &[u8]| [&[0x40, name.len() as u8], name, &[value.len() as u8], value].concat();
    let head =
        [&[0x88][..], &literal(b"content-type", b"application/dns-message"), &literal(b"age", b"7")].concat();
    let huffman = [0x48, 0x82, 0x64, 0x02, 0x58, 0x85, 0xae, 0xc3, 0x77, 0x1a, 0x4b];
    let frames = [
        [frame(1, 4, 1, &head), frame(0, 1, 1, &[7; 60]), frame(1, 5, 3, &[0x88, 0xbf, 0xbe])].concat(),
        [frame(1, 0, 1, &head[..9]), frame(9, 4, 1, &head[9..]), frame(0, 9, 1, b"\x02body\0\0")].concat(),
        [frame(1, 4, 1, &[8, 3, b'1', b'0', b'3']), frame(1, 0x2c, 1, &[&[0; 6][..], &huffman].concat())]
            .concat(),
        [
            frame(4, 0, 0, &[0, 4, 0, 0, 0, 9, 0, 3, 0, 0, 0, 2]),
            frame(8, 0, 0, &[0, 0, 0, 9]),
            frame(8, 0, 5, &[0, 0, 0, 90]),
        ]
        .concat(),
        [frame(6, 0, 0, &[1; 8]), frame(3, 0, 1, &[0, 0, 0, 7]), frame(7, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0])]
            .concat(),
        [
            frame(4, 1, 0, &[]),
            frame(2, 0, 1, &[0; 5]),
            frame(5, 4, 1, &[0, 0, 0, 2, 0x88]),
            frame(0xfe, 0, 0, &[]),
        ]
        .concat(),
    ];
    for (n, octets) in frames.iter().enumerate() {
        write("http2", n, &[&[n as u8 * 7, 0x83 + n as u8][..], octets].concat());
        write("http2", 10 + n, &[&[1, 5][..], &frame(4, 0, 0, &[]), octets].concat());
    }
    let sections =
        [&head[..], &[0x88, 0xbf, 0xbe], &huffman, &[0x3f, 0xe1, 0x1f, 0x88], &[0x20, 0x0f, 0x10, 1, b'x']];
    let framed: Vec<Vec<u8>> =
        sections.iter().map(|section| [&[0, section.len() as u8], *section].concat()).collect();
    framed.iter().enumerate().for_each(|(n, octets)| write("hpack", n, octets));
    write("hpack", 10, &framed.concat());
}

/// Streams of DNS over QUIC, and frames in first packets: PADDING, PING, ACK, CRYPTO, CONNECTION_CLOSE.
fn doq() {
    let message = response(1);
    let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
    for (n, octets) in [&framed[..], &framed[1..], &[0, 0]].iter().enumerate() {
        write("doq", n, &[&[0, n as u8 * 9 + 1], *octets].concat());
    }
    let hello = [&[6, 0, 40, 2, 0, 0, 36, 3, 3][..], &[9; 32], &[0, 0x13, 0x01]].concat();
    let frames: [&[u8]; 5] = [&[0; 30], &[1], &[2, 0, 0, 0, 0], &hello, &[0x1c, 0x01, 0x28, 0, 0]];
    for (n, frame) in frames.iter().enumerate() {
        let packet = |kind: u8| [&[kind, frame.len() as u8], *frame].concat();
        write("doq", 10 + n, &[&[1][..], &packet(3), &[0xfe, 0, 7, 0], &packet(3)].concat());
        write("doq", 20 + n, &[&[1][..], &packet(n as u8 % 3), &packet(4)].concat());
    }
    write("doq", 30, &[1, 1, 8, 0x1a, 0x2a, 0x3a, 0x4a, 0, 0, 0, 2]);
}

/// Addresses in an order, then RDATA of an HTTPS record with both lists of hints.
fn svcb() {
    let order = [[7; 16], [2; 16], [1; 16]].concat();
    let hints = |key: u8, size: usize| {
        let octets: Vec<u8> = [1_u8, 2, 3].iter().flat_map(|end| vec![*end; size]).collect();
        [&[0, key, 0, octets.len() as u8][..], &octets].concat()
    };
    let params = [&[0, 1, 0, 3, 2, b'h', b'2'][..], &hints(4, 4), &[0, 5, 0, 1, 9], &hints(6, 16)].concat();
    for (n, target) in [&[0][..], b"\x03www\x07example\0"].iter().enumerate() {
        write("svcb", n, &[&[order.len() as u8][..], &order, &[0, 1], *target, &params].concat());
        write("svcb", 10 + n, &[&[4, 2, 2, 2, 2, 0, 1][..], *target, &hints(4, 4)].concat());
    }
}

fn main() {
    kernel();
    svcb();
    http2();
    let all = messages::all();
    for (n, message) in all.iter().enumerate() {
        write("query", n, &message.octets);
        write("views", n, &message.octets);
    }
    for n in 0..32 {
        let octets = response(n);
        write("views", 1000 + n, &octets);
        write("response", n, &[&[n as u8], &octets[..]].concat());
        let frame = [&(octets.len() as u16).to_be_bytes()[..], &octets].concat();
        write("framing", n, &[&[n as u8][..], &frame, &frame].concat());
    }
    let config = include_str!("../systemd/hither.toml");
    for (n, text) in [config.to_owned(), config.replace("\n##", "\n").replace("\n#", "\n")].iter().enumerate()
    {
        write("config", n, text.as_bytes());
    }
    let hosts = "127.0.0.1 localhost\n::1 ip6-localhost # here\n192.0.2.1\tnas.home nas\n";
    let block = "0.0.0.0 ads.example tracker.example\nbad.example\n*.star.example\n# comment\n";
    let formats = "||a.example^\n@@||b.a.example^$important\naddress=/c.example/0.0.0.0\nserver=/d.example/\nlocal-zone: \"e.example\" static\nlocal-data: \"f.example A ::\"\n.g.example\n! x\n0 h.example b\u{fc}ro.example\n";
    [hosts, block, formats].iter().enumerate().for_each(|(n, text)| write("lists", n, text.as_bytes()));
    let control = [
        r#""status""#,
        r#"{"flush":{"names":["a.example"]}}"#,
        r#"{"query":{"name":"a.example","rtype":"A"}}"#,
        r#"{"order":{"generation":1,"name":"a.example.","family":"a","set_version":1,"addresses":[]}}"#,
    ];
    saved();
    entries();
    connections();
    doq();
    control.iter().enumerate().for_each(|(n, text)| write("control", n, text.as_bytes()));
}
