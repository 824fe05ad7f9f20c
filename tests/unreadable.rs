//! Upstreams whose responses cannot be read completely: usable records are used; otherwise the question
//! is asked over TCP, then without EDNS, and the round fails at once if both fail.
#![allow(clippy::print_stdout)] // The slowest time is printed.

#[path = "unreadable/shapes.rs"]
mod shapes;
mod support;

use hither_rounds::{
    Action, Answer, ClientId, Failure, Input, Question, Rounds, Routes, Settings, Transport, reply,
};
use hither_table::{Geometry, Memory, Monotonic, Writer};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::message::Message;
use hither_wire::query::Query;
use shapes::Shape;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use support::{Daemon, Upstream, ask_for};

/// Which transports of an upstream are broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// Only UDP is broken.
    Udp,
    /// Only queries with EDNS get broken responses.
    Edns,
    /// There is no TCP, and responses without EDNS are good.
    EdnsWithoutTcp,
    Always,
    AlwaysWithoutTcp,
}

/// Runs one shape on a new core, where an exchange takes a millisecond. Returns the reply and the
/// number of exchanges.
fn play(shape: &Shape, way: Way) -> (Vec<u8>, u64) {
    let geometry = Geometry { entries: 16 };
    let writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10).expect("a table");
    let mut seed = 7u64;
    let random = Box::new(move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed
    });
    let upstream = SocketAddr::from(([192, 0, 2, 1], 53));
    let mut core = Rounds::new(Settings::default(), Routes::from(&[upstream][..]), writer, random);
    let name = "www.shape.test".parse().expect("a name");
    let question = Question { name, rtype: shape.rtype, dnssec_ok: false, checking_disabled: false };
    let asked = ask_for("www.shape.test", shape.rtype, Some(1232), 9);
    let (mut now, mut told, mut exchanges) = (Monotonic::from_ms(1_000_000), None::<Answer>, 0);
    core.handle(now, Input::Ask { client: ClientId(1), question: &question, recursion: true });
    // Responses and failures are handed in after all earlier actions have been executed.
    let mut arrived = VecDeque::new();
    while told.is_none() {
        core.check_invariants();
        match core.poll_action() {
            Some(Action::Send { attempt, transport, octets, .. }) => {
                let (tcp, edns) =
                    (transport == Transport::Tcp, Query::read(&octets).expect("ours").edns().is_some());
                let well = match way {
                    Way::Udp => tcp,
                    Way::Edns | Way::EdnsWithoutTcp => !edns,
                    Way::Always | Way::AlwaysWithoutTcp => false,
                };
                if tcp && matches!(way, Way::EdnsWithoutTcp | Way::AlwaysWithoutTcp) {
                    arrived.push_back((attempt, None));
                    continue;
                }
                exchanges += 1;
                let octets = if well { shapes::good(&octets) } else { shape.reply(&octets) };
                arrived.push_back((attempt, Some(octets)));
            }
            Some(Action::Reply { answer, .. }) => told = Some(answer),
            Some(_) => {}
            None => match arrived.pop_front() {
                Some((attempt, Some(octets))) => {
                    now = now.plus(Duration::from_millis(1));
                    core.handle(now, Input::Message { attempt, octets: &octets });
                }
                Some((attempt, None)) => {
                    core.handle(now, Input::Failed { attempt, failure: Failure::Refused });
                }
                None => {
                    now = core.poll_timeout().expect("a client waits");
                    core.handle_timeout(now);
                }
            },
        }
    }
    let read = Query::read(&asked).expect("a query");
    let mut out = vec![0; 4096];
    let len = reply::compose(now, &read, &told.expect("just seen"), 1232, &mut out);
    out.truncate(len);
    (
        out,
        if now.since(Monotonic::from_ms(1_000_000)) > Duration::from_millis(700) { 1000 } else { exchanges },
    )
}

/// The RDATA of the addresses of a reply.
fn addresses(reply: &[u8], rtype: Rtype) -> (Rcode, Vec<Vec<u8>>) {
    let message = Message::read(reply).expect("a readable reply");
    let own = message.records().filter(|r| r.rtype == rtype).map(|r| r.rdata.to_vec());
    (message.header().rcode(), own.collect())
}

/// Whether a shape is readable, but as something other than a good answer.
fn says_something(shape: &Shape) -> bool {
    let octets = shape.reply(&ask_for("www.shape.test", shape.rtype, Some(1232), 9));
    let Ok(message) = Message::read(&octets) else { return false };
    let ours = message.question().is_some_and(|q| q.rtype == shape.rtype && q.class.0 == 1);
    let header = message.header();
    (ours || header.qdcount == 0) && header.qr() && header.opcode().0 == 0 && !header.tc()
}

#[test]
fn unreadable_responses_are_replaced_over_tcp_or_without_edns_and_fail_at_once_otherwise() {
    let (all, mut wrong) = (shapes::all(), Vec::new());
    assert!(all.len() > 150, "{}", all.len());
    for shape in &all {
        for way in [Way::Udp, Way::Edns, Way::EdnsWithoutTcp, Way::Always, Way::AlwaysWithoutTcp] {
            let (reply, exchanges) = play(shape, way);
            let (rcode, found) = addresses(&reply, shape.rtype);
            let good = found == [shapes::address(shape.rtype)];
            let ends = matches!(way, Way::Always | Way::AlwaysWithoutTcp);
            // A response with our id and another question may be forged. Without TCP the round still
            // waits for the upstream.
            let strange = way != Way::Udp && shape.name.starts_with("another");
            let right = good || (found.is_empty() && (ends || strange || says_something(shape)));
            // A denial is confirmed by one more query in lower case.
            let most = if rcode == Rcode::NXDOMAIN { 4 } else { 3 };
            if !right || (exchanges > most && !strange) {
                wrong.push(format!("{}, {way:?}: {rcode} {found:?} after {exchanges} exchanges", shape.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The number of the shape that a query's name selects, and the way in which it is broken.
fn numbered(query: &[u8]) -> Option<(char, usize)> {
    let name = Query::read(query).ok()?.name_lower();
    let label = String::from_utf8(name.labels().next()?.to_vec()).ok()?;
    Some((label.chars().next()?, label.get(1..)?.parse().ok()?))
}

fn broken(all: &'static [Shape]) -> Upstream {
    Upstream::start(move |query, tcp| {
        let reply = match numbered(query) {
            Some(('t', _)) if tcp => shapes::good(query),
            Some((_, n)) => all[n].reply(query),
            None => shapes::good(query),
        };
        vec![(0, reply)]
    })
}

#[test]
fn an_unreadable_response_is_replaced_at_once_and_does_not_count_against_the_upstream() {
    let all: &'static [Shape] = shapes::all().leak();
    let (alone, beside) = (broken(all), broken(all));
    let well = Upstream::start(|query, _| vec![(0, shapes::good(query))]);
    // The deadline is later than a client waits here, so that no reply is due to the deadline.
    let more = "[round]\ndeadline = \"60s\"\n";
    let (one, two) = (Daemon::start(&[&alone], more), Daemon::start(&[&beside, &well], more));
    let (mut wrong, mut slowest) = (Vec::new(), Duration::ZERO);
    for (n, shape) in all.iter().enumerate().filter(|(_, shape)| !shape.name.starts_with("another")) {
        for (daemon, kind) in [(&one, 't'), (&one, 'b'), (&two, 'b')] {
            let begun = Instant::now();
            let reply =
                daemon.exchange(&ask_for(&format!("{kind}{n}.shape.test"), shape.rtype, Some(1232), 9));
            slowest = slowest.max(begun.elapsed());
            let (rcode, found) = addresses(&reply, shape.rtype);
            let good = found == [shapes::address(shape.rtype)];
            let lone = std::ptr::eq(daemon, &raw const one);
            let right = good || (found.is_empty() && (lone && kind == 'b' || says_something(shape)));
            if !right {
                wrong.push(format!("{}, {kind}, alone {lone}: {rcode} {found:?}", shape.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    println!("{} shapes, the slowest took {slowest:?}", all.len());
    for daemon in [&one, &two] {
        let status = daemon.json(&["status"]);
        for upstream in status["upstreams"].as_array().expect("a list") {
            assert_eq!(upstream["state"], "up", "{status}");
        }
    }
}
