//! Messages of a scenario: an upstream's response to a query, and a reply as scenarios write it.

use super::language::Act;
use super::records::{Data, Record};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::{Composer, Owner, flags};
use hither_wire::message::{Message, Section};
use hither_wire::name::Name;
use hither_wire::query::Query;

/// The response of an upstream to a query.
pub fn response(act: &Act, octets: &[u8]) -> Vec<u8> {
    let (rcode, truncated, records) = match act {
        Act::Answer { rcode, truncated, records } => (*rcode, *truncated, &records[..]),
        Act::WrongCase(records) => (Rcode::NOERROR, false, &records[..]),
        Act::Unchecked(_) if octets[3] & 0x10 == 0 => (Rcode::SERVFAIL, false, &[][..]),
        Act::Unchecked(records) => (Rcode::NOERROR, false, &records[..]),
        Act::InLower(_) if name_of(octets) != name_of(octets).to_lower() => (Rcode::NXDOMAIN, false, &[][..]),
        Act::InLower(records) => (Rcode::NOERROR, false, &records[..]),
        Act::Broken { truncated, records, .. } => (Rcode::NOERROR, *truncated, &records[..]),
        Act::Unasked(rcode, records) => (*rcode, false, &records[..]),
        Act::Garbage => return vec![0xff; 40],
        _ => (
            Rcode::NOERROR,
            false,
            &[Record { owner: None, authority: false, data: Data::Address([203, 0, 113, 66].into(), 300) }][..],
        ),
    };
    let read = Query::read(octets).expect("the core's own query");
    let mut out = vec![0; 65_535];
    let mut composer = Composer::new(&mut out, 65_535).expect("room");
    let more = if truncated { flags::TC } else { 0 };
    composer.set_header(read.id(), flags::QR | flags::RD | flags::RA | more | u16::from(rcode.0));
    assert!(composer.question_octets(read.question()));
    put(&mut composer, read.name_lower(), records);
    let len = composer.finish();
    out.truncate(len);
    match act {
        Act::Broken { with_edns, .. } if !with_edns || read.edns().is_some() => out.truncate(out.len() - 2),
        Act::Unasked(..) => {
            out[5] = 0;
            out.drain(12..12 + read.question().len());
        }
        Act::WrongId => out[0] ^= 0x55,
        Act::WrongQuestion => out[13] ^= 0x15,
        Act::WrongCase(_) => {
            let lower = read.name_lower();
            let folded = if read.qname() == lower.as_wire() {
                read.qname().to_ascii_uppercase()
            } else {
                lower.as_wire().to_vec()
            };
            out[12..12 + folded.len()].copy_from_slice(&folded);
        }
        _ => {}
    }
    out
}

/// Writes records, those of the answer section first. The owner of a record without one is the question's
/// name, or the target of the CNAME before it.
fn put(composer: &mut Composer<'_>, mut owner: Name, records: &[Record]) {
    let (authority, answers): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.authority);
    let mut before = Rtype::A;
    for record in answers.into_iter().chain(authority) {
        let mut wire = record.owner.unwrap_or(owner);
        let section = if record.authority { Section::Authority } else { Section::Answer };
        let (rtype, ttl, rdata) = match &record.data {
            Data::Address(std::net::IpAddr::V4(a), ttl) => (Rtype::A, *ttl, a.octets().to_vec()),
            Data::Address(std::net::IpAddr::V6(a), ttl) => (Rtype::AAAA, *ttl, a.octets().to_vec()),
            Data::Cname(target, ttl) => {
                owner = target.to_lower();
                (Rtype::CNAME, *ttl, target.as_wire().to_vec())
            }
            Data::Dname(target, ttl) => (Rtype::DNAME, *ttl, target.as_wire().to_vec()),
            Data::Ns(server, ttl) => (Rtype::NS, *ttl, server.as_wire().to_vec()),
            Data::Nsec(next, ttl) => (Rtype::NSEC, *ttl, [next.as_wire(), &[0, 1, 0x40]].concat()),
            Data::Text(text, ttl) => (Rtype::TXT, *ttl, [&[text.len() as u8], text.as_bytes()].concat()),
            Data::Rrsig(ttl) => {
                let rdata = [&before.0.to_be_bytes()[..], &[7; 16], &[0], b"signature"].concat();
                (Rtype::RRSIG, *ttl, rdata)
            }
            Data::Soa(zone, ttl, minimum) => {
                wire = record.owner.unwrap_or(*zone);
                let rdata = [&b"\x02ns\0\x04host\0"[..], &[0; 16], &minimum.to_be_bytes()].concat();
                (Rtype::SOA, *ttl, rdata)
            }
        };
        assert!(composer.record(section, Owner::Wire(wire.as_wire()), rtype, ttl, &rdata));
        before = rtype;
    }
}

/// A reply as scenarios write it: its RCODE, then its records.
///
/// # Errors
/// If the id, the question with its letter case, or the EDNS of the reply does not match the client's query.
pub fn shown(reply: &[u8], query: &[u8]) -> Result<String, String> {
    let message = Message::read(reply).map_err(|error| format!("an unreadable reply: {error}"))?;
    let asked = Query::read(query).expect("an own query");
    if reply.get(12..12 + asked.question().len()) != Some(asked.question())
        || message.header().id != asked.id()
    {
        return Err("a reply with another question or id".to_owned());
    }
    if message.edns().is_some() != asked.edns().is_some() || reply.len() > asked.udp_limit() {
        return Err("OPT or size are not the client's".to_owned());
    }
    let mut text = message.header().rcode().to_string();
    if message.header().tc() {
        text += " TC";
    }
    for record in message.records().filter(|r| r.rtype != Rtype::OPT) {
        text += &match (record.address(), record.rtype) {
            (Some(address), rtype) => format!(" {rtype} {address}"),
            (None, rtype @ (Rtype::CNAME | Rtype::DNAME)) => {
                format!(" {rtype} {}", record.target().ok_or("a broken name")?)
            }
            (None, Rtype::TXT) => format!(" TXT {}", String::from_utf8_lossy(&record.rdata[1..])),
            (None, rtype) => format!(" {rtype}"),
        };
        if record.ttl != 0 {
            text += &format!(" ttl {}", record.ttl);
        }
    }
    let ede = message
        .edns()
        .and_then(|edns| edns.options().find(|(code, _)| *code == 15).map(|(_, data)| data.to_vec()));
    if let Some([high, low, ..]) = ede.as_deref() {
        text += &format!(" EDE {}", u16::from_be_bytes([*high, *low]));
    }
    Ok(text)
}

fn name_of(query: &[u8]) -> Name {
    Name::read(query, 12).expect("the core's own query").0
}
