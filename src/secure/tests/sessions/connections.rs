//! Connections with honest servers: queries and responses, versions, resumption, limits, the end.

use crate::support::{
    Authority, Leaf, Pair, Server, TLS12_ALONE, TLS13_ALONE, framed, message, policy, shared,
};
use hither_secure::{Error, Event, Limits, Phase, Policy, Received, Refused, Scheme, Shared, Trust, Verify};
use std::io::{self, Read, Write};
use std::time::Duration;

/// An authority and a pair with an honest server.
fn pair_with(server: &Server) -> Pair {
    let authority = Authority::new();
    let shared = shared(policy(Scheme::Dot), &authority.trust());
    Pair::new(&shared, &server.config(&authority.issue(&Leaf::default())))
}

#[test]
fn queries_get_their_channel_as_id_and_responses_report_theirs() {
    let mut pair = pair_with(&Server::default());
    pair.run(usize::MAX);
    for channel in [5, 0xfffe, 0] {
        pair.session.query(channel, &message(0x1234, 40)).expect("taken");
    }
    pair.run(usize::MAX);
    let sent = [framed(&message(5, 40)), framed(&message(0xfffe, 40)), framed(&message(0, 40))].concat();
    assert_eq!(pair.heard, sent);
    let (first, second) = (message(0xfffe, 65_535), message(5, 12));
    pair.say(&[framed(&first), framed(&second)].concat());
    assert_eq!(pair.responses(), [(0xfffe, first.as_slice()), (5, second.as_slice())]);
    assert_eq!(pair.error(), None);
}

#[test]
fn queries_that_come_before_the_handshake_are_sent_after_it() {
    let mut pair = pair_with(&Server::default());
    pair.session.query(9, &message(0, 30)).expect("taken");
    pair.run(1);
    assert!(pair.ready().is_some());
    assert_eq!(pair.heard, framed(&message(9, 30)));
}

#[test]
fn queries_of_one_turn_share_a_record() {
    let mut pair = pair_with(&Server::default());
    pair.run(usize::MAX);
    for channel in 0..100 {
        pair.session.query(channel, &message(0, 30)).expect("taken");
    }
    let mut out = Vec::new();
    pair.session.transmit(&mut out).expect("memory takes everything");
    assert!(out.len() < 100 * 32 + 64, "{} octets", out.len());
    assert!(!pair.session.wants_write());
}

#[test]
fn both_versions_and_either_answer_to_alpn_are_accepted() {
    let versions: [(&'static [_], _); 2] = [(&TLS13_ALONE, "1.3"), (&TLS12_ALONE, "1.2")];
    for (versions, version) in versions {
        for (alpn, has_alpn) in [(vec![], false), (vec![b"dot".to_vec()], true)] {
            let mut pair = pair_with(&Server { versions, alpn, ..Server::default() });
            let ready = pair.run(usize::MAX).ready().expect("ready").clone();
            assert_eq!((ready.version, ready.has_alpn, ready.is_resumed), (version, has_alpn, false));
        }
    }
}

#[test]
fn a_later_connection_is_resumed_until_tickets_are_void() {
    let authority = Authority::new();
    let mut shared = shared(policy(Scheme::Dot), &authority.trust());
    let server = Server::default().config(&authority.issue(&Leaf::default()));
    let resumed = |shared: &Shared| {
        let mut pair = Pair::new(shared, &server);
        pair.session.query(1, &message(0, 12)).expect("taken");
        let ready = pair.run(usize::MAX).ready().expect("ready").clone();
        assert!(ready.expires_s.is_some());
        ready.is_resumed
    };
    assert_eq!([resumed(&shared), resumed(&shared), resumed(&shared)], [false, true, true]);
    let open = Pair::new(&shared, &server);
    shared.void_tickets();
    assert!(!resumed(&shared), "tickets are void");
    shared.void_tickets();
    let mut open = open;
    assert!(open.run(usize::MAX).ready().is_some(), "it brings tickets, which are of the old network");
    assert!(!resumed(&shared));
}

#[test]
fn tickets_are_of_one_upstream() {
    let authority = Authority::new();
    let server = Server::default().config(&authority.issue(&Leaf::default()));
    for _ in 0..2 {
        let shared = shared(policy(Scheme::Dot), &authority.trust());
        assert!(!Pair::new(&shared, &server).run(usize::MAX).ready().expect("ready").is_resumed);
    }
    let loose = Policy { verify: Verify::Opportunistic, ..policy(Scheme::Dot) };
    let loose = shared(loose, &Trust::none());
    Pair::new(&loose, &server).run(usize::MAX);
    assert!(Pair::new(&loose, &server).run(usize::MAX).ready().expect("ready").is_resumed);
}

/// A response whose OPT record says how long the server keeps an idle connection.
fn keepalive(units: u16) -> Vec<u8> {
    let mut octets = message(3, 12);
    octets[11] = 1;
    octets.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 6, 0, 11, 0, 2]);
    octets.extend(units.to_be_bytes());
    octets
}

#[test]
fn the_idle_time_of_the_server_is_reported_when_it_changes() {
    let mut pair = pair_with(&Server::default());
    pair.run(usize::MAX);
    for units in [100, 100, 0] {
        pair.say(&framed(&keepalive(units)));
    }
    // The octets of the option within a name say nothing.
    let mut odd = message(3, 40);
    odd[20..24].copy_from_slice(&[0, 11, 0, 2]);
    pair.say(&framed(&odd));
    let limits: Vec<_> = pair.events.iter().filter(|event| matches!(event, Event::Limits(_))).collect();
    let idle = |time| Event::Limits(Limits { streams_max: None, idle: Some(time) });
    assert_eq!(limits, [&idle(Duration::from_secs(10)), &idle(Duration::ZERO)]);
    assert_eq!(pair.responses().len(), 4);
}

#[test]
fn queries_that_cannot_be_sent_are_refused_whole() {
    let mut pair = pair_with(&Server::default());
    assert_eq!(pair.session.query(1, &[0; 11]), Err(Refused::Unfit));
    assert_eq!(pair.session.query(1, &vec![0; 65_536]), Err(Refused::Unfit));
    assert_eq!(pair.session.query(65_536, &[0; 12]), Err(Refused::Unfit));
    let taken = (0..100).take_while(|_| pair.session.query(1, &vec![0; 65_535]).is_ok()).count();
    assert_eq!(taken, 3, "256 KiB may wait");
    pair.run(usize::MAX);
    assert_eq!(pair.heard.len(), taken * 65_537);
    assert_eq!(pair.session.query(1, &[0; 12]), Ok(()));
}

#[test]
fn an_orderly_close_is_sent_and_ends_the_session() {
    let mut pair = pair_with(&Server::default());
    pair.run(usize::MAX);
    pair.session.close();
    let mut last = Vec::new();
    pair.session.transmit(&mut last).expect("memory takes everything");
    let mut rest = last.as_slice();
    pair.server.read_tls(&mut rest).expect("readable");
    assert!(pair.server.process_new_packets().expect("good TLS").peer_has_closed());
    assert_eq!(pair.session.poll_event(), Some(Event::Closed(Error::Closed)));
    assert_eq!(pair.session.query(1, &[0; 12]), Err(Refused::NotReady));
}

#[test]
fn an_orderly_close_of_the_server_comes_after_its_responses() {
    let mut pair = pair_with(&Server::default());
    pair.run(usize::MAX);
    pair.server.writer().write_all(&framed(&message(3, 12))).expect("taken");
    pair.server.send_close_notify();
    pair.run(usize::MAX);
    assert_eq!(pair.responses().len(), 1);
    assert_eq!(pair.error(), Some(&Error::Ended(Phase::Ready)));
}

/// A stream that gives and takes a few octets at a time.
struct Slow {
    octets: Vec<u8>,
    written: Vec<u8>,
    left: usize,
}

impl Read for Slow {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.octets.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.octets.len().min(into.len());
        into[..count].copy_from_slice(&self.octets[..count]);
        self.octets.drain(..count);
        Ok(count)
    }
}

impl Write for Slow {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.left.min(octets.len());
        self.left -= count;
        self.written.extend(&octets[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn streams_that_take_few_octets_lose_none() {
    let mut pair = pair_with(&Server::default());
    pair.run(usize::MAX);
    let query = message(8, 40_000);
    pair.session.query(8, &query).expect("taken");
    let mut slow = Slow { octets: Vec::new(), written: Vec::new(), left: 0 };
    for turn in 0..200 {
        slow.left = 977;
        pair.session.transmit(&mut slow).expect("no error");
        if !pair.session.wants_write() {
            break;
        }
        assert!(turn < 199, "the query is never sent");
    }
    pair.serve(&slow.written);
    assert_eq!(pair.heard, framed(&query));
}

#[test]
fn one_call_reads_no_more_than_its_share() {
    let mut pair = pair_with(&Server::default());
    pair.run(usize::MAX);
    for _ in 0..10 {
        pair.server.writer().write_all(&framed(&message(3, 16_000))).expect("taken");
    }
    let octets = pair.serve(&[]);
    let mut stream = Slow { octets, written: Vec::new(), left: 0 };
    assert_eq!(pair.session.receive(&mut stream).expect("no error"), Received::Part);
    assert!(!stream.octets.is_empty());
    while pair.session.receive(&mut stream).expect("no error") == Received::Part {}
    assert_eq!(std::iter::from_fn(|| pair.session.poll_event()).count(), 10);
    assert_eq!(pair.session.receive(&mut io::empty()).expect("no error"), Received::End);
    assert_eq!(pair.session.poll_event(), Some(Event::Closed(Error::Ended(Phase::Ready))));
}
