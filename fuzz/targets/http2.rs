//! Any octets as what an HTTP/2 server sends: in pieces of whatever size there are the same events, the
//! same frames are sent, and memory is bounded. The first octet is the size, the second the number of
//! requests; its highest bit says whether SETTINGS come first.
#![no_main]

use hither_http2::{BODY_MAX, Config, Connection, Error, Event, Request};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;

/// What a connection made of its octets.
#[derive(Debug, PartialEq)]
struct Outcome {
    result: Result<(), Error>,
    events: Vec<Event>,
    sent: Vec<u8>,
}

fn outcome(octets: &[u8], requests: u8, size: usize) -> Outcome {
    let mut connection = Connection::new(Config::default());
    let (mut events, mut sent) = (Vec::new(), Vec::new());
    if requests & 0x80 != 0 {
        connection.receive(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).expect("SETTINGS");
    }
    for n in 0..requests & 7 {
        let body = vec![n; 40 << n];
        let request = Request {
            authority: "dns.example",
            path: "/dns-query",
            body: &body,
            accept: "application/dns-message",
        };
        let stream = connection.request(&request).expect("a stream");
        if requests & 8 != 0 && n == 1 {
            connection.cancel(stream);
        }
    }
    connection.transmit(&mut sent);
    let result = octets.chunks(size).try_for_each(|piece| connection.receive(piece));
    events.extend(std::iter::from_fn(|| connection.poll_event()));
    let mut before = usize::MAX;
    while sent.len() != before {
        before = sent.len();
        connection.transmit(&mut sent);
    }
    assert_eq!(connection.is_closed(), result.is_err());
    Outcome { result, events, sent }
}

fuzz_target!(|input: &[u8]| {
    let [size, requests, octets @ ..] = input else { return };
    let all = outcome(octets, *requests, octets.len().max(1));
    assert_eq!(outcome(octets, *requests, usize::from(*size).max(1)), all);
    let mut ended = BTreeSet::new();
    for event in &all.events {
        match event {
            Event::Response(response) => {
                assert!(response.body.len() <= BODY_MAX && response.status >= 200);
                assert!(ended.insert(response.stream), "one end for each stream");
            }
            Event::Reset { stream, .. } => assert!(ended.insert(*stream), "one end for each stream"),
            Event::Ready { .. } | Event::Limits { .. } | Event::GoAway { .. } => {}
        }
    }
    assert!(ended.len() <= usize::from(requests & 7));
    assert!(
        all.sent.len() <= 20_000 + 3 * octets.len(),
        "{} octets sent for {}",
        all.sent.len(),
        octets.len()
    );
});
