use super::*;
use nix::sys::socket::{Shutdown, shutdown};
use std::os::fd::AsRawFd as _;

fn upstream() -> (std::net::UdpSocket, Server) {
    let listening = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    listening.set_read_timeout(Some(Duration::from_secs(10))).expect("an option");
    let server = Server::from(listening.local_addr().expect("bound"));
    (listening, server)
}

fn outside(sockets: usize) -> Outside {
    let shares = Shares { attempts: 64, tcp: 1, sockets, idle: 64, lingering: 8 };
    Outside::new(Random::new().expect("random numbers"), &shares)
}

#[test]
fn idle_sockets_give_way_and_there_are_no_more_than_may_be() {
    let ((_one, first), (_other, second), now) = (upstream(), upstream(), Monotonic(0));
    let poll = mio::Poll::new().expect("a poll");
    let mut outside = outside(4);
    let ask = |outside: &mut Outside, id: u16, server: Server| {
        let (attempt, octets) = (AttemptId(u64::from(id)), Rc::from(id.to_be_bytes()));
        outside.send(poll.registry(), now, attempt, (server, Transport::Udp), octets).expect("a socket");
        assert!(outside.send_queries(poll.registry(), now).is_empty());
        outside.tidy(poll.registry(), now);
        assert!(outside.len() <= 4, "{} sockets", outside.len());
    };
    ask(&mut outside, 1, first);
    assert_eq!(outside.len(), 4, "others are opened ahead");
    (2..=4).for_each(|id| ask(&mut outside, id, second));
    assert_eq!(outside.give_up(9), 0, "all of them are used");
    outside.close(AttemptId(1), Some(now.plus(Duration::from_secs(3))), now);
    ask(&mut outside, 5, second);
    assert!(outside.lingering.is_empty(), "who waits for stragglers alone gives way too");
    outside.close(AttemptId(2), None, now);
    let later = now.plus(Duration::from_secs(61));
    assert_eq!(outside.timeout(), Some(now.plus(Duration::from_secs(60))));
    outside.sweep(later);
    outside.tidy(poll.registry(), later);
    assert_eq!((outside.len(), outside.timeout()), (3, None), "nobody has needed it for a minute");
}

#[test]
fn only_our_own_query_is_known_for_one_that_came_back() {
    let ((listening, server), now) = (upstream(), Monotonic(0));
    let poll = mio::Poll::new().expect("a poll");
    let mut outside = outside(9);
    // "a.", A, IN.
    let query =
        |id: u16| [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'A', 0, 0, 1, 0, 1]].concat();
    let octets: Rc<[u8]> = Rc::from(query(7));
    outside.send(poll.registry(), now, AttemptId(7), (server, Transport::Udp), octets).expect("a socket");
    assert!(outside.send_queries(poll.registry(), now).is_empty());
    let mut heard = [0; 64];
    let (len, peer) = listening.recv_from(&mut heard).expect("it came");
    let read = hither_wire::query::Query::read(&heard[..len]).expect("a query");
    let question = Question::of(&read);
    assert!(outside.is_own(peer, 7, &question));
    assert!(!outside.is_own(peer, 8, &question), "another id");
    let elsewhere = SocketAddr::new([192, 0, 2, 1].into(), peer.port());
    assert!(!outside.is_own(elsewhere, 7, &question), "another address");
    let other = Question { rtype: hither_wire::codes::Rtype::AAAA, ..question };
    assert!(!outside.is_own(peer, 7, &other), "another question");
}

#[test]
fn a_query_that_a_socket_does_not_take_is_sent_from_a_new_one() {
    let ((listening, upstream), now) = (upstream(), Monotonic(0));
    let poll = mio::Poll::new().expect("a poll");
    let mut outside = outside(99);
    let ask = |outside: &mut Outside, id: u16| {
        let octets = Rc::from(id.to_be_bytes());
        let attempt = AttemptId(u64::from(id));
        outside.send(poll.registry(), now, attempt, (upstream, Transport::Udp), octets).expect("a socket");
    };
    ask(&mut outside, 1);
    assert!(outside.send_queries(poll.registry(), now).is_empty());
    outside.tidy(poll.registry(), now);
    assert!(outside.len() > 2, "others are opened ahead");
    // As if their addresses had gone: none of them takes anything any more.
    for (_, socket) in &outside.sockets {
        if let (Line::Udp(line), None) = (&socket.line, socket.attempt) {
            shutdown(line.socket.as_raw_fd(), Shutdown::Write).expect("connected");
        }
    }
    ask(&mut outside, 2);
    assert!(outside.send_queries(poll.registry(), now).is_empty(), "no failure");
    let mut heard = [0; 2];
    for id in [1, 2] {
        listening.recv(&mut heard).expect("both came");
        assert_eq!(u16::from_be_bytes(heard), id);
    }
    outside.tidy(poll.registry(), now);
    assert!(outside.attempts.contains_key(&AttemptId(2)));
}
