//! Scripted upstreams: every query has a fate, which decides the messages of the response.

use super::picks::Picks;
use hither_rounds::Failure;
use hither_table::Monotonic;
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::{Composer, Owner, flags};
use hither_wire::message::Section;
use hither_wire::name::Name;
use hither_wire::query::Query;
use std::net::Ipv4Addr;

/// The fate of one query: how its upstream or the network treats it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Good,
    ServFail,
    Lost,
    Late,
    Twice,
    Unreachable,
    /// The host has no descriptor or port left.
    NoSocket,
    /// A response with another id, then the right one.
    WrongId,
    /// A response to another question, then the right one.
    WrongQuestion,
    /// TC, with a part of the set.
    Truncated,
    /// A TTL of 0, or one with the top bit set.
    LyingTtl,
    NxDomain,
    NoData,
    /// A CNAME and the addresses of its target.
    Chain,
    /// A CNAME without its target.
    Dangling,
    /// The right response, with its question in lower case.
    Lowered,
    /// The right response, without its question.
    NoQuestion,
    /// TC, cut in the middle of a record.
    Cut,
    /// Cut in the middle of a record, unless the query came over TCP without EDNS.
    Broken,
    /// A connection that ends without a message; by UDP a good answer.
    Closed,
    /// NXDOMAIN in mixed letter case, addresses in lower case.
    CaseSensitive,
    /// Two CNAMEs of one name, and the addresses of the first one's target.
    TwoNames,
    /// A DNAME record without the CNAME that it implies.
    Moved,
    /// A header alone with an error, which is easy to forge; then the right response.
    Header,
    /// The right addresses, behind more false ones than a reply can hold.
    Many,
    /// The right addresses, behind a private one.
    Private,
    /// A private address alone.
    PrivateOnly,
    /// One address, the same every time.
    One,
    /// The address of `One` and another, every time.
    OneAndMore,
    /// The query waits for a connection, then the right response.
    Waits,
    /// The query waits for a connection, which ends; it is sent again on another.
    WaitsTwice,
    /// The query waits for a connection, and no other can be had when that one ends.
    Dies,
    /// The handshake of the connection fails.
    Handshake,
    /// Connecting failed just before, so the query is not sent.
    Backoff,
}

pub const FATES: [Fate; 26] = [
    Fate::Good,
    Fate::ServFail,
    Fate::Lost,
    Fate::Late,
    Fate::Twice,
    Fate::Unreachable,
    Fate::NoSocket,
    Fate::WrongId,
    Fate::WrongQuestion,
    Fate::Truncated,
    Fate::LyingTtl,
    Fate::NxDomain,
    Fate::NoData,
    Fate::Chain,
    Fate::Dangling,
    Fate::Lowered,
    Fate::NoQuestion,
    Fate::Cut,
    Fate::Broken,
    Fate::Closed,
    Fate::TwoNames,
    Fate::Moved,
    Fate::Header,
    Fate::Many,
    Fate::Private,
    Fate::PrivateOnly,
];

/// Fates at upstreams that give the same addresses every time.
pub const FATES_STEADY: &[Fate] = &[Fate::One, Fate::OneAndMore];

/// Fates at upstreams that give false addresses.
pub const FATES_LIES: &[Fate] =
    &[Fate::Good, Fate::NxDomain, Fate::LyingTtl, Fate::Many, Fate::Private, Fate::PrivateOnly];

/// Fates at upstreams with unusual responses, few enough that all worlds can be run.
pub const FATES_ODD: &[Fate] = &[
    Fate::Good,
    Fate::NxDomain,
    Fate::NoQuestion,
    Fate::Cut,
    Fate::Broken,
    Fate::Closed,
    Fate::CaseSensitive,
];

/// Fates for small worlds, few enough that every combination can be run.
pub const FATES_SMALL: &[Fate] = FATES.split_at(15).0;

/// Fates of queries over encrypted transports.
pub const FATES_ENCRYPTED: &[Fate] = &[
    Fate::Good,
    Fate::Waits,
    Fate::WaitsTwice,
    Fate::Dies,
    Fate::Handshake,
    Fate::Backoff,
    Fate::WrongId,
    Fate::WrongQuestion,
    Fate::Truncated,
    Fate::Lost,
    Fate::Late,
    Fate::ServFail,
    Fate::NxDomain,
    Fate::NoQuestion,
    Fate::Broken,
    Fate::Dangling,
];

/// Fates for worlds in which actions fail, with queries by UDP and over TCP.
pub const FATES_DRAIN: &[Fate] = &[Fate::Good, Fate::Truncated];

/// The event that follows a query.
pub enum Echo {
    Message(Vec<u8>),
    Failed(Failure),
    Transmitted,
}

/// The set that an upstream knows: the last octets of its addresses, and their TTL.
#[derive(Clone, Debug)]
pub struct Knowledge {
    pub ends: Vec<u8>,
    pub ttl_s: u32,
}

pub fn address(end: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, end)
}

/// The target of a name's CNAME.
pub fn alias(name: &Name) -> Name {
    format!("edge.{name}").parse().expect("a name")
}

/// The name that the zone's DNAME record leads to.
pub fn moved(name: &Name) -> Name {
    let (zone, to) = (name.parent().expect("two labels"), "moved.test".parse().expect("a name"));
    name.with_suffix_replaced(&zone, &to).expect("below it").expect("short")
}

/// The messages of a fate, each with the milliseconds from the query to its arrival.
pub fn script(fate: Fate, query: &[u8], tcp: bool, known: &Knowledge, after_ms: u64) -> Vec<(u64, Echo)> {
    let full = |ttl_s| Echo::Message(answer(query, &known.ends, ttl_s, 0));
    let good = || full(known.ttl_s);
    match fate {
        // Over TCP, the whole message is sent.
        Fate::Truncated | Fate::Cut if tcp => vec![(after_ms, good())],
        Fate::Closed if tcp => vec![(after_ms, Echo::Failed(Failure::Closed))],
        Fate::Broken if tcp && !has_edns(query) => vec![(after_ms, good())],
        Fate::CaseSensitive if is_mixed(query) => {
            vec![(after_ms, Echo::Message(empty(query, Rcode::NXDOMAIN, true)))]
        }
        Fate::Good | Fate::Closed | Fate::CaseSensitive => vec![(after_ms, good())],
        Fate::ServFail => vec![(after_ms, Echo::Message(empty(query, Rcode::SERVFAIL, false)))],
        Fate::Lost => Vec::new(),
        Fate::Late => vec![(1_500, good())],
        Fate::Twice => vec![(after_ms, good()), (after_ms, good()), (after_ms + 40, good())],
        Fate::Unreachable => vec![(after_ms, Echo::Failed(Failure::Unreachable))],
        Fate::NoSocket => vec![(0, Echo::Failed(Failure::NoSocket))],
        Fate::WrongId => {
            vec![(after_ms, Echo::Message(damaged(answer(query, &[66], 300, 0), 0))), (after_ms + 5, good())]
        }
        Fate::WrongQuestion => {
            vec![(after_ms, Echo::Message(damaged(answer(query, &[66], 300, 0), 13))), (after_ms + 5, good())]
        }
        Fate::Truncated => {
            vec![(after_ms, Echo::Message(answer(query, &known.ends[..1], known.ttl_s, flags::TC)))]
        }
        Fate::LyingTtl => vec![(after_ms, full(if known.ttl_s.is_multiple_of(2) { 0 } else { 1 << 31 }))],
        Fate::NxDomain => vec![(after_ms, Echo::Message(empty(query, Rcode::NXDOMAIN, true)))],
        Fate::NoData => vec![(after_ms, Echo::Message(empty(query, Rcode::NOERROR, true)))],
        Fate::Chain => vec![(after_ms, Echo::Message(chain(query, &known.ends, known.ttl_s)))],
        Fate::Lowered => vec![(after_ms, Echo::Message(lowered(answer(query, &known.ends, known.ttl_s, 0))))],
        Fate::Dangling => vec![(after_ms, Echo::Message(chain(query, &[], known.ttl_s)))],
        Fate::NoQuestion => {
            vec![(after_ms, Echo::Message(without_question(query, &known.ends, known.ttl_s)))]
        }
        Fate::Cut => vec![(after_ms, Echo::Message(cut(answer(query, &known.ends, known.ttl_s, flags::TC))))],
        Fate::Broken => vec![(after_ms, Echo::Message(cut(answer(query, &known.ends, known.ttl_s, 0))))],
        Fate::Many => vec![(after_ms, lie(query, known, (0..90).map(|end| [198, 19, 0, end].into()), true))],
        Fate::Private => vec![(after_ms, lie(query, known, [Ipv4Addr::new(10, 0, 0, known.ends[0])], true))],
        Fate::PrivateOnly => {
            vec![(after_ms, lie(query, known, [Ipv4Addr::new(10, 0, 0, known.ends[0])], false))]
        }
        Fate::One => vec![(after_ms, lie(query, known, [Ipv4Addr::new(198, 20, 0, 1)], false))],
        Fate::OneAndMore => {
            vec![(after_ms, lie(query, known, [1, 2].map(|end| Ipv4Addr::new(198, 20, 0, end)), false))]
        }
        Fate::TwoNames => vec![(after_ms, Echo::Message(two_names(query, &known.ends, known.ttl_s)))],
        Fate::Header => {
            vec![(after_ms, Echo::Message(header(query, Rcode::REFUSED))), (after_ms + 5, good())]
        }
        Fate::Moved => vec![(after_ms, Echo::Message(dname(query, known.ttl_s)))],
        Fate::Waits => vec![(after_ms, Echo::Transmitted), (after_ms + 20, good())],
        Fate::WaitsTwice => {
            vec![(after_ms, Echo::Transmitted), (after_ms + 30, Echo::Transmitted), (after_ms + 50, good())]
        }
        Fate::Dies => vec![(after_ms, Echo::Transmitted), (after_ms + 20, Echo::Failed(Failure::Closed))],
        Fate::Handshake => vec![(after_ms, Echo::Failed(Failure::Handshake))],
        Fate::Backoff => vec![(0, Echo::Failed(Failure::Backoff))],
    }
}

/// False addresses, and behind them the right ones if `true_ones`.
fn lie(query: &[u8], known: &Knowledge, more: impl IntoIterator<Item = Ipv4Addr>, true_ones: bool) -> Echo {
    let ends = if true_ones { &known.ends[..] } else { &[] };
    let all = more.into_iter().chain(ends.iter().map(|end| address(*end)));
    Echo::Message(compose(query, Rcode::NOERROR, 0, |composer| {
        all.for_each(|a| {
            assert!(composer.record(Section::Answer, Owner::At(12), Rtype::A, known.ttl_s, &a.octets()))
        });
    }))
}

pub fn has_edns(query: &[u8]) -> bool {
    Query::read(query).expect("the core's own query").edns().is_some()
}

/// Whether the query's name has letters in upper case, which no question of a world has.
pub fn is_mixed(query: &[u8]) -> bool {
    let read = Query::read(query).expect("the core's own query");
    read.qname() != read.name_lower().as_wire()
}

fn cut(mut octets: Vec<u8>) -> Vec<u8> {
    octets.truncate(octets.len() - 2);
    octets
}

fn header(query: &[u8], rcode: Rcode) -> Vec<u8> {
    let mut octets = empty(query, rcode, false);
    octets.truncate(12);
    octets[5] = 0;
    octets
}

fn without_question(query: &[u8], ends: &[u8], ttl_s: u32) -> Vec<u8> {
    let read = Query::read(query).expect("the core's own query");
    let mut octets = compose(query, Rcode::NOERROR, 0, |composer| {
        ends.iter().for_each(|end| {
            let owner = Owner::Wire(read.qname());
            assert!(composer.record(Section::Answer, owner, Rtype::A, ttl_s, &address(*end).octets()))
        });
    });
    octets[5] = 0;
    octets.drain(12..12 + read.question().len());
    octets
}

fn open<'b>(query: &Query<'_>, out: &'b mut [u8], rcode: Rcode, more: u16) -> Composer<'b> {
    let mut composer = Composer::new(out, 4096).expect("room");
    composer.set_header(query.id(), flags::QR | flags::RD | flags::RA | more | u16::from(rcode.0));
    assert!(composer.question_octets(query.question()));
    composer
}

fn answer(query: &[u8], ends: &[u8], ttl_s: u32, more: u16) -> Vec<u8> {
    compose(query, Rcode::NOERROR, more, |composer| {
        ends.iter().for_each(|end| {
            assert!(composer.record(Section::Answer, Owner::At(12), Rtype::A, ttl_s, &address(*end).octets()))
        });
    })
}

fn compose(query: &[u8], rcode: Rcode, more: u16, write: impl FnOnce(&mut Composer<'_>)) -> Vec<u8> {
    let read = Query::read(query).expect("the core's own query");
    let mut out = vec![0; 4096];
    let mut composer = open(&read, &mut out, rcode, more);
    write(&mut composer);
    let len = composer.finish();
    out.truncate(len);
    out
}

fn empty(query: &[u8], rcode: Rcode, soa: bool) -> Vec<u8> {
    compose(query, rcode, 0, |composer| {
        if soa {
            let rdata = [&b"\x02ns\0\x04host\0"[..], &[0; 16], &60u32.to_be_bytes()].concat();
            assert!(composer.record(Section::Authority, Owner::Wire(b"\x03sim\0"), Rtype::SOA, 300, &rdata));
        }
    })
}

fn chain(query: &[u8], ends: &[u8], ttl_s: u32) -> Vec<u8> {
    let read = Query::read(query).expect("the core's own query");
    let target = alias(&read.name_lower());
    compose(query, Rcode::NOERROR, 0, |composer| {
        assert!(composer.record(Section::Answer, Owner::At(12), Rtype::CNAME, ttl_s, target.as_wire()));
        let at = composer.position() - target.as_wire().len();
        ends.iter().for_each(|end| {
            assert!(composer.record(Section::Answer, Owner::At(at), Rtype::A, ttl_s, &address(*end).octets()))
        });
    })
}

fn two_names(query: &[u8], ends: &[u8], ttl_s: u32) -> Vec<u8> {
    let read = Query::read(query).expect("the core's own query");
    let (first, second) = (alias(&read.name_lower()), moved(&read.name_lower()));
    compose(query, Rcode::NOERROR, 0, |composer| {
        for target in [&first, &second] {
            assert!(composer.record(Section::Answer, Owner::At(12), Rtype::CNAME, ttl_s, target.as_wire()));
        }
        ends.iter().for_each(|end| {
            let owner = Owner::Wire(first.as_wire());
            assert!(composer.record(Section::Answer, owner, Rtype::A, ttl_s, &address(*end).octets()))
        });
    })
}

fn dname(query: &[u8], ttl_s: u32) -> Vec<u8> {
    let name = Query::read(query).expect("the core's own query").name_lower();
    let (zone, to) = (name.parent().expect("two labels"), moved(&name).parent().expect("three labels"));
    compose(query, Rcode::NOERROR, 0, |composer| {
        let owner = Owner::Wire(zone.as_wire());
        assert!(composer.record(Section::Answer, owner, Rtype::DNAME, ttl_s, to.as_wire()));
    })
}

/// The message with one octet changed: at 0 the id, at 13 a letter of the question.
fn damaged(mut octets: Vec<u8>, at: usize) -> Vec<u8> {
    octets[at] ^= 0x15;
    octets
}

/// The message with its question in lower case.
fn lowered(mut octets: Vec<u8>) -> Vec<u8> {
    let name = Name::read(&octets, 12).expect("an own message").0;
    let lower = name.to_lower();
    octets[12..12 + lower.as_wire().len()].copy_from_slice(lower.as_wire());
    octets
}

/// Draws a fate and the milliseconds until its first event.
pub fn draw(picks: &mut dyn Picks, fates: &[Fate], delays_ms: &[u64]) -> (Fate, u64) {
    let fate = fates[picks.below(fates.len() as u64) as usize];
    // For other fates, the time only decides when the next upstream is queried.
    let timed =
        matches!(fate, Fate::Good | Fate::NxDomain | Fate::NoData | Fate::Dangling | Fate::PrivateOnly)
            || delays_ms.len() > 2;
    let delay = if timed { delays_ms[picks.below(delays_ms.len() as u64) as usize] } else { delays_ms[0] };
    (fate, delay)
}

/// When a message arrives that takes `after_ms`.
pub fn arrival(now: Monotonic, after_ms: u64) -> Monotonic {
    Monotonic(now.0 + after_ms * 1_000_000)
}
