//! The real daemon with peculiar upstreams: cookies of other clients, case-sensitive names, mixed
//! letter case in records, connections that end early.

mod support;

use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::Owner;
use hither_wire::message::{Message, Section};
use hither_wire::query::Query;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{Daemon, Upstream, answer, ask_for, compose, ends};

/// An answer with a cookie for `client`, or for the querier.
fn with_cookie(query: &[u8], client: Option<&[u8]>) -> Vec<u8> {
    let edns = Query::read(query).expect("a query").edns();
    let own =
        edns.and_then(|e| e.options().find(|(code, _)| *code == 10)).map(|(_, data)| data[..8].to_vec());
    compose(query, Rcode::NOERROR, 0, |composer| {
        assert!(composer.record(Section::Answer, Owner::At(12), Rtype::A, 300, &[198, 18, 0, 1]));
        if let Some(own) = own {
            let option = [&[0, 10, 0, 16][..], client.unwrap_or(&own), b"serverck"].concat();
            assert!(composer.opt(1232, 0, false, &option));
        }
    })
}

/// The number in the name n<number>.example that is asked for. Retransmissions have the same.
fn number(query: &[u8]) -> usize {
    let name = Query::read(query).expect("a query").name_lower().to_string();
    name.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("n<number>.example")
}

/// Asks for the names of a range; returns how many TCP connections that took.
fn connections(daemon: &Daemon, counted: &AtomicUsize, names: std::ops::Range<usize>) -> usize {
    let before = counted.load(Ordering::SeqCst);
    for n in names {
        assert_eq!(ends(&daemon.ask(&format!("n{n}.example"))), [1], "{n}");
    }
    counted.load(Ordering::SeqCst) - before
}

#[test]
fn cookies_of_other_clients_cost_a_few_connections_and_no_answer() {
    for kind in ["others", "every second"] {
        let tcp_queries = Arc::new(AtomicUsize::new(0));
        let upstream = Upstream::start({
            let tcp_queries = Arc::clone(&tcp_queries);
            move |query, tcp| {
                tcp_queries.fetch_add(usize::from(tcp), Ordering::SeqCst);
                let nth = number(query);
                vec![(
                    0,
                    match kind {
                        "others" if nth > 1 => with_cookie(query, Some(b"somebody")),
                        "every second" if nth.is_multiple_of(2) => answer(query, &[1], 300),
                        _ => with_cookie(query, None),
                    },
                )]
            }
        });
        let daemon = Daemon::start(&[&upstream], "");
        let first = connections(&daemon, &tcp_queries, 0..12);
        assert!(first <= 3, "{kind}: {first}");
        let later = connections(&daemon, &tcp_queries, 12..40);
        assert!(later <= 2 && first + later <= 3, "{kind}: not learned, {first} and {later} connections");
        assert_eq!(daemon.json(&["status"])["upstreams"][0]["state"], "up");
    }
}

#[test]
fn a_server_that_wants_its_new_cookie_gets_it_by_udp() {
    let upstream = Upstream::start(|query, tcp| {
        assert!(!tcp, "TCP is not needed");
        let edns = Query::read(query).expect("a query").edns().expect("EDNS");
        let (_, data) = edns.options().find(|(code, _)| *code == 10).expect("a cookie");
        let (client, server) = data.split_at(8);
        let reply = match server {
            b"serverck" => with_cookie(query, None),
            _ => compose(query, Rcode(7), 0, |composer| {
                let option = [&[0, 10, 0, 16][..], client, b"serverck"].concat();
                assert!(composer.opt(1232, 1, false, &option));
            }),
        };
        vec![(0, reply)]
    });
    let daemon = Daemon::start(&[&upstream], "");
    assert_eq!(ends(&daemon.ask("a.example")), [1]);
    assert_eq!((ends(&daemon.ask("b.example")), upstream.count()), (vec![1], 3));
}

#[test]
fn an_upstream_that_drops_cookies_is_asked_without_them() {
    let upstream = Upstream::start(|query, _| {
        let edns = Query::read(query).expect("a query").edns();
        let dropped = edns.is_some_and(|edns| edns.options().count() > 0);
        let reply = compose(query, Rcode::NOERROR, 0, |composer| {
            assert!(composer.record(Section::Answer, Owner::At(12), Rtype::A, 300, &[198, 18, 0, 1]));
            assert!(edns.is_none() || composer.opt(1232, 0, true, &[]));
        });
        if dropped { vec![] } else { vec![(0, reply)] }
    });
    let daemon = Daemon::start(&[&upstream], "");
    for n in 0..4 {
        let mut query = ask_for(&format!("n{n}.example"), Rtype::A, Some(1232), 7);
        let flags = query.len() - 4;
        query[flags] |= 0x80;
        assert_eq!(ends(&daemon.exchange(&query)), [1]);
    }
    let seen = upstream.seen.lock().expect("no panic");
    let signed = |query: &&Vec<u8>| Query::read(query).expect("a query").dnssec_ok();
    assert!(seen.iter().filter(signed).count() >= 4, "it is never asked without EDNS");
    assert!(seen.len() <= 6, "not learned: {} queries", seen.len());
}

/// Whether a query's name has a letter in upper case.
fn is_mixed(query: &[u8]) -> bool {
    let read = Query::read(query).expect("a query");
    read.qname() != read.name_lower().as_wire()
}

fn denied(query: &[u8], zone: &[u8]) -> Vec<u8> {
    let rdata = [&[0, 0][..], &[0; 16], &60u32.to_be_bytes()].concat();
    compose(query, Rcode::NXDOMAIN, 0, |composer| {
        assert!(composer.record(Section::Authority, Owner::Wire(zone), Rtype::SOA, 60, &rdata));
    })
}

#[test]
fn names_at_a_case_sensitive_upstream_are_found_and_denials_are_not_repeated_for_ever() {
    let upstream = Upstream::start(|query, _| {
        let name = Query::read(query).expect("a query").name_lower().to_string();
        let reply = match name.as_str() {
            _ if name.ends_with(".lan.test.") && !is_mixed(query) => answer(query, &[1], 300),
            _ if name.ends_with(".lan.test.") => denied(query, b"\x03lan\x04test\0"),
            _ if name.starts_with("no-") => denied(query, b"\x05other\x04test\0"),
            _ => answer(query, &[2], 300),
        };
        vec![(0, reply)]
    });
    let daemon = Daemon::start(&[&upstream], "");
    for n in 0..8 {
        assert_eq!(ends(&daemon.ask(&format!("host-with-letters-{n}.lan.test"))), [1]);
        assert_eq!(ends(&daemon.ask(&format!("host-with-letters-{n}.other.test"))), [2]);
    }
    let before = upstream.count();
    assert!(before <= 17, "one more query per domain, not per name: {before}");
    for n in 0..8 {
        assert!(ends(&daemon.ask(&format!("no-such-host-{n}.other.test"))).is_empty());
    }
    assert_eq!(
        upstream.count() - before,
        8,
        "answers to mixed case have shown that the upstream ignores case"
    );
}

/// The response of an upstream that repeats the query's letter case in all records, without compression.
fn repeated(query: &[u8]) -> Vec<u8> {
    let read = Query::read(query).expect("a query");
    let own = read.qname().to_vec();
    let (label, zone) = own.split_at(1 + usize::from(own[0]));
    let under = |labels: &[u8], suffix: &[u8]| [labels, suffix].concat();
    let (edge, elsewhere) = (under(b"\x04edge", zone), under(label, b"\x03tgt\x07example\0"));
    let whole = under(&own[..own.len() - 1], b"\x03cdn\x07example\0");
    compose(query, Rcode::NOERROR, 0, |composer| {
        let mut put = |section, owner: &[u8], rtype, rdata: &[u8]| {
            assert!(composer.record(section, Owner::Wire(owner), rtype, 300, rdata));
        };
        match (read.qtype(), own[1].to_ascii_lowercase()) {
            // A DNAME answer as in RFC 6672, section 3.1.
            (Rtype::A, b'd') => {
                put(Section::Answer, zone, Rtype::DNAME, b"\x03tgt\x07example\0");
                put(Section::Answer, &own, Rtype::CNAME, &elsewhere);
                put(Section::Answer, &elsewhere, Rtype::A, &[198, 18, 0, 1]);
            }
            (Rtype::A, b'c') => {
                put(Section::Answer, &own, Rtype::CNAME, &whole);
                put(Section::Answer, &whole, Rtype::A, &[198, 18, 0, 1]);
            }
            (Rtype::A, _) => {
                put(Section::Answer, &own, Rtype::CNAME, &edge);
                put(Section::Answer, &edge, Rtype::A, &[198, 18, 0, 1]);
            }
            (Rtype::MX, _) => put(Section::Answer, &own, Rtype::MX, &under(&[0, 10], &edge)),
            (Rtype::SRV, _) => put(Section::Answer, &own, Rtype::SRV, &under(&[0; 6], &edge)),
            (Rtype::PTR, _) => put(Section::Answer, &own, Rtype::PTR, &elsewhere),
            (Rtype::RP, _) => put(Section::Answer, &own, Rtype::RP, &under(&elsewhere, &whole)),
            (Rtype::HTTPS, _) => put(Section::Answer, &own, Rtype::HTTPS, &under(&[0, 1], &elsewhere)),
            // The target is in another domain, and is asked for in a letter case of its own.
            (Rtype::LOC, b'w') => put(Section::Answer, &own, Rtype::CNAME, &under(b"\x01x", &elsewhere)),
            (Rtype::LOC, _) => put(Section::Answer, &own, Rtype::LOC, &[0; 16]),
            _ => {
                let soa = [&edge[..], &own, &[0; 16], &60u32.to_be_bytes()].concat();
                put(Section::Authority, zone, Rtype::SOA, &soa);
            }
        }
    })
}

#[test]
fn mixed_letter_case_reaches_no_client_wherever_an_upstream_writes_it() {
    let upstream = Upstream::start(|query, _| vec![(0, repeated(query))]);
    let daemon = Daemon::start(&[&upstream], "");
    let denied = [Rtype::AAAA, Rtype::TXT, Rtype::NAPTR];
    let types = [Rtype::A, Rtype::MX, Rtype::SRV, Rtype::PTR, Rtype::RP, Rtype::HTTPS, Rtype::LOC];
    for rtype in types.into_iter().chain(denied) {
        for first in ["w0", "w1", "c2", "d3"] {
            let name = format!("{first}-a-host.letters-of-a-long-name.example");
            let reply = daemon.exchange(&ask_for(&name, rtype, Some(1232), 7));
            assert!(Message::read(&reply).is_ok_and(|m| m.records().count() > 1), "{name} {rtype}");
            // Next to another letter only, since an octet of a pointer may look like a letter.
            let letters = |two: &[u8]| two.iter().all(u8::is_ascii_alphabetic);
            let mut pairs = reply.windows(2).filter(|two| letters(two));
            let shown = pairs.any(|two| two.iter().any(u8::is_ascii_uppercase));
            assert!(!shown, "{name} {rtype}: {}", String::from_utf8_lossy(&reply));
        }
    }
    for (first, canonical) in [
        ("w0", "edge.letters-of-a-long-name.example."),
        ("c2", "c2-a-host.letters-of-a-long-name.example.cdn.example."),
        ("d3", "d3-a-host.tgt.example."),
    ] {
        let entry = daemon.json(&["lookup", &format!("{first}-a-host.letters-of-a-long-name.example"), "A"]);
        assert_eq!(entry["canonical"], canonical, "{entry}");
    }
}

fn has_edns(query: &[u8]) -> bool {
    Query::read(query).expect("a query").edns().is_some()
}

fn has_cookie(query: &[u8]) -> bool {
    let edns = Query::read(query).expect("a query").edns();
    edns.is_some_and(|edns| edns.options().any(|(code, _)| code == 10))
}

fn error(query: &[u8], rcode: Rcode) -> Vec<u8> {
    compose(query, rcode, 0, |_| {})
}

/// The response of an upstream with one peculiarity; `None` when it stays silent.
type Says = fn(&[u8], bool) -> Option<Vec<u8>>;

/// Asks a peculiar upstream for names in four domains; returns how many queries that took.
fn answers_all(kind: &str, says: Says, names: usize) -> usize {
    let upstream =
        Upstream::start(move |query, tcp| says(query, tcp).map(|reply| (0, reply)).into_iter().collect());
    let daemon = Daemon::start(&[&upstream], "");
    for n in 0..names {
        assert_eq!(ends(&daemon.ask(&format!("host-{n}.letters-{}.test", n % 4))), [1], "{kind}: {n}");
    }
    assert_eq!(daemon.json(&["status"])["upstreams"][0]["state"], "up", "{kind}");
    upstream.count()
}

#[test]
fn a_denial_of_mixed_letter_case_waits_for_the_response_to_lower_case() {
    const TC: u16 = 0x0200;
    let ways: [(&str, Says); 5] = [
        ("TC, then TCP", |query, tcp| {
            Some(match (is_mixed(query), tcp) {
                (true, _) => denied(query, b"\x04test\0"),
                (false, false) => compose(query, Rcode::NOERROR, TC, |_| {}),
                (false, true) => answer(query, &[1], 300),
            })
        }),
        ("cut, then TCP", |query, tcp| {
            Some(match (is_mixed(query), tcp) {
                (true, _) => denied(query, b"\x04test\0"),
                (false, false) => answer(query, &[1], 300)[..20].to_vec(),
                (false, true) => answer(query, &[1], 300),
            })
        }),
        ("FORMERR for EDNS", |query, _| {
            Some(match (is_mixed(query), has_edns(query)) {
                (true, _) => denied(query, b"\x04test\0"),
                (false, true) => error(query, Rcode::FORMERR),
                (false, false) => answer(query, &[1], 300),
            })
        }),
        ("denied over TCP", |query, tcp| {
            Some(match (is_mixed(query), tcp) {
                (_, false) => compose(query, Rcode::NOERROR, TC, |_| {}),
                (true, true) => denied(query, b"\x04test\0"),
                (false, true) => answer(query, &[1], 300),
            })
        }),
        ("refused", |query, _| {
            Some(if is_mixed(query) { error(query, Rcode::REFUSED) } else { answer(query, &[1], 300) })
        }),
    ];
    for (kind, says) in ways {
        answers_all(kind, says, 8);
    }
}

#[test]
fn errors_due_to_cookies_edns_or_mixed_letter_case_are_worked_around_and_learned() {
    let ways: [(&str, Says); 5] = [
        ("SERVFAIL for cookies", |query, _| {
            Some(if has_cookie(query) { error(query, Rcode::SERVFAIL) } else { answer(query, &[1], 300) })
        }),
        ("REFUSED for EDNS", |query, _| {
            Some(if has_edns(query) { error(query, Rcode::REFUSED) } else { answer(query, &[1], 300) })
        }),
        ("SERVFAIL for drawn letters", |query, _| {
            Some(if is_mixed(query) { error(query, Rcode::SERVFAIL) } else { answer(query, &[1], 300) })
        }),
        ("FORMERR for drawn letters", |query, _| {
            Some(if is_mixed(query) { error(query, Rcode::FORMERR) } else { answer(query, &[1], 300) })
        }),
        ("NOTIMP for drawn letters", |query, _| {
            Some(if is_mixed(query) { error(query, Rcode::NOTIMP) } else { answer(query, &[1], 300) })
        }),
    ];
    for (kind, says) in ways {
        let queries = answers_all(kind, says, 24);
        assert!(queries <= 40, "{kind}: {queries}");
    }
}

#[test]
fn an_upstream_that_later_drops_edns_and_cookies_gets_queries_without_them() {
    for kind in ["EDNS", "cookies"] {
        let asked = AtomicUsize::new(0);
        let upstream = Upstream::start(move |query, _| {
            let first = asked.fetch_add(1, Ordering::SeqCst) < 3;
            let dropped = if kind == "EDNS" { has_edns(query) } else { has_cookie(query) };
            let reply = compose(query, Rcode::NOERROR, 0, |composer| {
                assert!(composer.record(Section::Answer, Owner::At(12), Rtype::A, 300, &[198, 18, 0, 1]));
                assert!(!has_edns(query) || composer.opt(1232, 0, false, &[]));
            });
            if first || !dropped { vec![(0, reply)] } else { vec![] }
        });
        let daemon = Daemon::start(&[&upstream], "");
        for n in 0..16 {
            assert_eq!(ends(&daemon.ask(&format!("n{n}.example"))), [1], "{kind}: {n}");
        }
        let queries = upstream.count();
        assert!(queries <= 40, "{kind}: not learned, {queries} queries");
        assert_eq!(daemon.json(&["status"])["upstreams"][0]["edns"], kind != "EDNS");
    }
}

#[test]
fn a_letter_case_that_changes_only_over_udp_costs_a_few_connections() {
    let connections = Arc::new(AtomicUsize::new(0));
    let upstream = Upstream::start({
        let connections = Arc::clone(&connections);
        move |query, tcp| {
            connections.fetch_add(usize::from(tcp), Ordering::SeqCst);
            let mut reply = answer(query, &[1], 300);
            if !tcp {
                let lower = Query::read(query).expect("a query").name_lower().as_wire().to_vec();
                reply[12..12 + lower.len()].copy_from_slice(&lower);
            }
            vec![(0, reply)]
        }
    });
    let daemon = Daemon::start(&[&upstream], "");
    for n in 0..16 {
        assert_eq!(ends(&daemon.ask(&format!("n{n}.letters-of-a-name.example"))), [1]);
    }
    let connections = connections.load(Ordering::SeqCst);
    assert!(connections <= 3, "{connections}");
}
