//! DNS over HTTPS with HTTP/2 that the test plays: what of it becomes a response, and what does not.

use crate::support::{Authority, Leaf, Server, message, policy, shared};
use hither_secure::{
    DohSession, Error, Event, Freshness, Http2, HttpEvent, HttpHeaders, HttpRequest, HttpResponse, Limits,
    Reason, Refused, Scheme,
};
use rustls::ServerConnection;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// HTTP/2 that sends each body as it is, and reports what the test queues.
#[derive(Clone, Debug, Default)]
struct Fake(Rc<RefCell<Script>>);

#[derive(Debug, Default)]
struct Script {
    events: VecDeque<HttpEvent>,
    requests: Vec<(String, Vec<u8>)>,
    unsent: Vec<u8>,
    cancelled: Vec<u32>,
    broken: Option<String>,
}

impl Http2 for Fake {
    fn request(&mut self, request: &HttpRequest<'_>) -> Result<u32, Refused> {
        let mut script = self.0.borrow_mut();
        if script.requests.len() == 100 {
            return Err(Refused::Full);
        }
        let head = format!("{}{} {}", request.authority, request.path, request.accept);
        script.requests.push((head, request.body.to_vec()));
        script.unsent.extend(request.body);
        Ok(script.requests.len() as u32 * 2 - 1)
    }

    fn receive(&mut self, _octets: &[u8]) -> Result<(), String> {
        self.0.borrow_mut().broken.take().map_or(Ok(()), Err)
    }

    fn poll_event(&mut self) -> Option<HttpEvent> {
        self.0.borrow_mut().events.pop_front()
    }

    fn transmit(&mut self, octets: &mut Vec<u8>) {
        octets.append(&mut self.0.borrow_mut().unsent);
    }

    fn cancel(&mut self, stream: u32) {
        self.0.borrow_mut().cancelled.push(stream);
    }

    fn close(&mut self) {
        self.0.borrow_mut().unsent.extend(b"GOAWAY");
    }
}

struct Pair {
    session: DohSession<Fake>,
    server: ServerConnection,
    fake: Fake,
    heard: Vec<u8>,
}

impl Pair {
    fn new(alpn: &[&[u8]]) -> Pair {
        let authority = Authority::new();
        let shared = shared(policy(Scheme::Doh), &authority.trust());
        let alpn = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let config = Server { alpn, ..Server::default() }.config(&authority.issue(&Leaf::default()));
        let fake = Fake::default();
        let session = DohSession::with_http(&shared, fake.clone()).expect("a session");
        let server = ServerConnection::new(Arc::clone(&config)).expect("a server");
        Pair { session, server, fake, heard: Vec::new() }
    }

    /// Carries octets both ways until both sides are silent, and returns the events.
    fn run(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..50 {
            let (mut out, mut back) = (Vec::new(), Vec::new());
            self.session.transmit(&mut out).expect("memory takes everything");
            let mut rest = out.as_slice();
            while !rest.is_empty() && self.server.read_tls(&mut rest).is_ok_and(|count| count > 0) {
                let _ = self.server.process_new_packets();
                let _ = self.server.reader().read_to_end(&mut self.heard);
            }
            while self.server.wants_write() {
                self.server.write_tls(&mut back).expect("memory takes everything");
            }
            if !back.is_empty() {
                self.session.receive_octets(&back);
            }
            events.extend(std::iter::from_fn(|| self.session.poll_event()));
            if out.is_empty() && back.is_empty() {
                return events;
            }
        }
        panic!("the two sides never come to rest");
    }

    /// Lets HTTP/2 report this event.
    fn report(&mut self, event: HttpEvent) -> Vec<Event> {
        self.fake.0.borrow_mut().events.push_back(event);
        self.server.writer().write_all(b"x").expect("taken");
        self.run()
    }
}

fn headers(content_type: &str) -> HttpHeaders {
    HttpHeaders { content_type: Some(content_type.to_owned()), ..HttpHeaders::default() }
}

fn good(body: Vec<u8>) -> HttpResponse {
    HttpResponse { status: 200, headers: headers("application/dns-message"), body }
}

#[test]
fn queries_are_posts_with_the_id_0() {
    let mut pair = Pair::new(&[b"h2"]);
    pair.session.query(40, &message(0x1234, 30)).expect("taken");
    let events = pair.run();
    assert!(matches!(events.as_slice(), [Event::Ready(ready)] if ready.has_alpn), "{events:?}");
    assert_eq!(pair.heard, message(0, 30));
    assert_eq!(pair.fake.0.borrow().requests[0].0, "dns.example/dns-query application/dns-message");
    assert!(!pair.session.wants_write());
    let mut response = good(message(0, 50));
    response.headers.age_s = Some(7);
    response.headers.cache_control = Some("max-age=60".to_owned());
    let freshness = Freshness { age_s: 7, lifetime_s: Some(60) };
    let events = pair.report(HttpEvent::Response { stream: 1, response: response.clone() });
    assert_eq!(events, [Event::Response { channel: 40, octets: message(0, 50), freshness }]);
    assert_eq!(pair.report(HttpEvent::Response { stream: 1, response }), [], "a second response is none");
}

#[test]
fn what_is_no_dns_message_fails_its_query_alone() {
    let status = |status, retry_after: Option<&str>| HttpResponse {
        status,
        headers: HttpHeaders { retry_after: retry_after.map(str::to_owned), ..headers("text/html") },
        body: Vec::new(),
    };
    let bad = [
        (status(302, None), Reason::Status(302, None)),
        (status(429, Some("30")), Reason::Status(429, Some(30))),
        (status(503, Some("Fri, 31 Dec 1999 23:59:59 GMT")), Reason::Status(503, None)),
        (HttpResponse { headers: headers("text/html"), ..good(message(0, 30)) }, Reason::ContentType),
        (good(message(0, 11)), Reason::Size),
        (good(vec![0; 65_536]), Reason::Size),
    ];
    let mut pair = Pair::new(&[b"h2"]);
    pair.run();
    for (at, (response, reason)) in (0..).zip(bad) {
        pair.session.query(at, &message(0, 12)).expect("taken");
        let events = pair.report(HttpEvent::Response { stream: at as u32 * 2 + 1, response });
        let left_alone = matches!(reason, Reason::Status(429, _)).then(|| Duration::from_secs(30));
        assert_eq!(reason.left_alone(), left_alone);
        assert_eq!(events, [Event::Reset { channel: at, may_retry: false, reason }]);
    }
    pair.session.query(6, &message(0, 12)).expect("taken");
    let cut = HttpEvent::Reset { stream: 13, code: 8, may_retry: false, is_too_large: true };
    assert_eq!(pair.report(cut), [Event::Reset { channel: 6, may_retry: false, reason: Reason::Size }]);
}

#[test]
fn resets_limits_and_goaway_name_channels() {
    let mut pair = Pair::new(&[b"h2"]);
    pair.run();
    for channel in 10..15 {
        pair.session.query(channel, &message(0, 12)).expect("taken");
    }
    let limits = Limits { streams_max: Some(3), idle: None };
    assert_eq!(pair.report(HttpEvent::Limits { streams_max: 3 }), [Event::Limits(limits)]);
    let reset = HttpEvent::Reset { stream: 3, code: 7, may_retry: true, is_too_large: false };
    assert_eq!(
        pair.report(reset),
        [Event::Reset { channel: 11, may_retry: true, reason: Reason::Stream(7) }]
    );
    pair.session.cancel(10);
    pair.session.cancel(99);
    assert_eq!(pair.fake.0.borrow().cancelled, [1]);
    assert_eq!(pair.report(HttpEvent::GoAway { last: 5 }), [Event::Drain { last: Some(12) }]);
    assert_eq!(pair.session.query(15, &message(0, 12)), Err(Refused::NotReady));
    let late = HttpEvent::Response { stream: 9, response: good(message(0, 12)) };
    assert_eq!(pair.report(late), [], "its query is sent again elsewhere");
    assert_eq!(pair.report(HttpEvent::GoAway { last: 0 }), [Event::Drain { last: None }]);
}

#[test]
fn an_orderly_close_says_so_in_http_too() {
    let mut pair = Pair::new(&[b"h2"]);
    pair.run();
    pair.session.close();
    assert_eq!(pair.run(), [Event::Closed(Error::Closed)]);
    assert_eq!(pair.heard, b"GOAWAY");
}

#[test]
fn a_server_without_http2_is_refused() {
    let mut pair = Pair::new(&[]);
    pair.session.query(1, &message(0, 12)).expect("taken");
    assert_eq!(pair.run(), [Event::Closed(Error::Protocol("h2"))]);
    assert!(pair.heard.is_empty());
}

#[test]
fn broken_http2_ends_the_connection() {
    let mut pair = Pair::new(&[b"h2"]);
    pair.run();
    pair.fake.0.borrow_mut().broken = Some("a frame of 16 MiB".to_owned());
    pair.server.writer().write_all(b"x").expect("taken");
    assert_eq!(pair.run(), [Event::Closed(Error::Http("a frame of 16 MiB".to_owned()))]);
    assert_eq!(pair.session.query(1, &message(0, 12)), Err(Refused::NotReady));
}
