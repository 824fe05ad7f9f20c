use super::*;
use nix::sys::socket::{Shutdown, shutdown};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

fn upstream() -> (std::net::UdpSocket, Server) {
    let listening = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    listening.set_read_timeout(Some(Duration::from_secs(10))).expect("an option");
    let server = Server::from(listening.local_addr().expect("bound"));
    (listening, server)
}

fn upstreams(sockets: usize) -> Upstreams {
    let shares =
        Shares { attempts: 64, tcp: 1, sockets, idle: 64, lingering: 8, encrypted: 8, subscribers: 2 };
    let random = || Random::new().expect("random numbers");
    let poll = mio::Poll::new().expect("a poll");
    let waker = mio::Waker::new(poll.registry(), mio::Token(0)).expect("a waker");
    let encrypted = Encrypted::new(random(), shares.encrypted, Arc::new(waker), Monotonic(0));
    Upstreams::new(random(), &shares, encrypted)
}

fn by_udp(attempt: AttemptId, server: Server, octets: Rc<[u8]>) -> Sending {
    Sending { attempt, server, transport: Transport::Udp, octets }
}

#[test]
fn idle_sockets_are_closed_for_new_ones_and_the_limit_is_kept() {
    let ((_one, first), (_other, second), now) = (upstream(), upstream(), Monotonic(0));
    let poll = mio::Poll::new().expect("a poll");
    let mut upstreams = upstreams(4);
    let ask = |upstreams: &mut Upstreams, id: u16, server: Server| {
        let (attempt, octets) = (AttemptId(u64::from(id)), Rc::from(id.to_be_bytes()));
        upstreams.send(poll.registry(), now, by_udp(attempt, server, octets)).expect("a socket");
        assert!(upstreams.send_queries(poll.registry(), now).is_empty());
        upstreams.tidy(poll.registry(), now);
        assert!(upstreams.len() <= 4, "{} sockets", upstreams.len());
    };
    ask(&mut upstreams, 1, first);
    assert_eq!(upstreams.len(), 4, "others are opened ahead");
    (2..=4).for_each(|id| ask(&mut upstreams, id, second));
    assert_eq!(upstreams.give_up(9), 0, "all of them are used");
    upstreams.close(AttemptId(1), Some(now.plus(Duration::from_secs(3))), now);
    ask(&mut upstreams, 5, second);
    assert!(upstreams.lingering.is_empty(), "sockets that wait for late responses are closed too");
    upstreams.close(AttemptId(2), None, now);
    let later = now.plus(Duration::from_secs(61));
    assert_eq!(upstreams.timeout(), Some(now.plus(Duration::from_secs(60))));
    upstreams.on_time(later);
    upstreams.tidy(poll.registry(), later);
    assert_eq!((upstreams.len(), upstreams.timeout()), (3, None), "it was not needed for a minute");
}

#[test]
fn only_a_query_that_we_sent_is_recognized_as_our_own() {
    let ((listening, server), now) = (upstream(), Monotonic(0));
    let poll = mio::Poll::new().expect("a poll");
    let mut upstreams = upstreams(9);
    // "a.", A, IN.
    let query =
        |id: u16| [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'A', 0, 0, 1, 0, 1]].concat();
    let octets: Rc<[u8]> = Rc::from(query(7));
    upstreams.send(poll.registry(), now, by_udp(AttemptId(7), server, octets)).expect("a socket");
    assert!(upstreams.send_queries(poll.registry(), now).is_empty());
    let mut received = [0; 64];
    let (len, peer) = listening.recv_from(&mut received).expect("it came");
    let read = hither_wire::query::Query::read(&received[..len]).expect("a query");
    let question = Question::of(&read);
    assert!(upstreams.is_own(peer, 7, &question));
    assert!(!upstreams.is_own(peer, 8, &question), "another id");
    let other_address = SocketAddr::new([192, 0, 2, 1].into(), peer.port());
    assert!(!upstreams.is_own(other_address, 7, &question), "another address");
    let other = Question { rtype: hither_wire::codes::Rtype::AAAA, ..question };
    assert!(!upstreams.is_own(peer, 7, &other), "another question");
}

#[test]
fn a_query_that_a_socket_does_not_take_is_sent_from_a_new_one() {
    let ((listening, upstream), now) = (upstream(), Monotonic(0));
    let poll = mio::Poll::new().expect("a poll");
    let mut upstreams = upstreams(99);
    let ask = |upstreams: &mut Upstreams, id: u16| {
        let octets = Rc::from(id.to_be_bytes());
        let attempt = AttemptId(u64::from(id));
        upstreams.send(poll.registry(), now, by_udp(attempt, upstream, octets)).expect("a socket");
    };
    ask(&mut upstreams, 1);
    assert!(upstreams.send_queries(poll.registry(), now).is_empty());
    upstreams.tidy(poll.registry(), now);
    assert!(upstreams.len() > 2, "others are opened ahead");
    // As if their addresses had gone: none of them takes anything any more.
    for (_, socket) in &upstreams.sockets {
        if let (Line::Udp(line), None) = (&socket.line, socket.attempt) {
            shutdown(line.socket.as_raw_fd(), Shutdown::Write).expect("connected");
        }
    }
    ask(&mut upstreams, 2);
    assert!(upstreams.send_queries(poll.registry(), now).is_empty(), "no failure");
    let mut received = [0; 2];
    for id in [1, 2] {
        listening.recv(&mut received).expect("both came");
        assert_eq!(u16::from_be_bytes(received), id);
    }
    upstreams.tidy(poll.registry(), now);
    assert!(upstreams.attempts.contains_key(&AttemptId(2)));
}
