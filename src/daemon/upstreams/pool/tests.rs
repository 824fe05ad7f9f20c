use super::*;
use hither_rounds::Question;
use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, QueryBits, query};

const IDLE_ALL: usize = 1024;
const START: Monotonic = Monotonic(1_000_000_000_000);

fn bound() -> (std::net::UdpSocket, Server) {
    let bound = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    let server = Server::from(bound.local_addr().expect("bound"));
    (bound, server)
}

fn random() -> Random {
    Random::new().expect("random numbers")
}

fn asking(name: &str, id: u16) -> Rc<[u8]> {
    let (mut out, name) = ([0; 300], name.parse().expect("a name"));
    let bits = QueryBits { rd: true, cd: false, edns: None };
    let len = query(&mut out, id, &Asked { name: &name, rtype: Rtype::A }, bits);
    Rc::from(&out[..len])
}

#[test]
fn ports_and_ids_are_not_used_again_together() {
    let (_bound, upstream) = bound();
    let (mut pool, mut random) = (Pool::new(IDLE_ALL), random());
    let now = Monotonic(0);
    let mut line = pool.open(upstream, 7, now, &mut random).expect("a socket");
    assert!(line.may_send(7, now));
    line.send(&asking("a.example", 7), AttemptId(1)).expect("sent");
    line.send(&asking("B.example", 8), AttemptId(2)).expect("sent");
    assert!(!line.may_send(7, now) && !line.may_send(8, now) && line.may_send(9, now));
    assert!(!line.may_send(9, now.plus(AGE_MAX)), "it is too old");
    assert!(line.may_still_send(9) && !line.may_still_send(8), "where no other can be had");
    let whose = |id: u16| line.attempt_of(&id.to_be_bytes());
    assert_eq!(
        [whose(7), whose(8), whose(9), line.attempt_of(b"")],
        [0, 2, 2, 2].map(|n| Some(AttemptId(n)))
    );
    let question = |name: &str, rtype| Question {
        name: name.parse::<hither_wire::name::Name>().expect("a name").to_lower(),
        rtype,
        dnssec_ok: false,
        checking_disabled: false,
    };
    assert!(line.has_asked(8, &question("b.example", Rtype::A)), "letter case is not part of the question");
    assert!(!line.has_asked(8, &question("a.example", Rtype::A)), "another name");
    assert!(!line.has_asked(8, &question("b.example", Rtype::AAAA)), "another type");
    assert!(!line.has_asked(9, &question("b.example", Rtype::A)), "another id");
    let port = line.port;
    pool.note_opened(port, 5);
    pool.note_closed(line, 6);
    assert_eq!(pool.key_of(port), Some(5), "another socket has the port");
    let (socket, again) =
        ports::udp(upstream.address, upstream.link, || u64::from(port) - 1024).expect("a socket");
    assert_eq!(again, port);
    drop(socket);
    let draw_again = pool.spent.iter().any(|(spent, ids)| *spent == port && ids == &[7, 8]);
    assert!(draw_again, "what was sent from a closed socket is remembered");
}

#[test]
fn an_idle_socket_is_used_again_only_where_there_are_many() {
    let (_bound, upstream) = bound();
    let (mut pool, mut random) = (Pool::new(IDLE_ALL), random());
    let now = Monotonic(0);
    let line = || pool_line(upstream);
    for key in 0..=IDLE_MIN {
        assert_eq!(pool.take_back(&line(), key, now), None);
    }
    let fresh =
        (0..FRESH_BURST_MAX).filter(|_| pool.draw(upstream, now, &mut random).is_none()).count() as u64;
    assert_eq!(fresh, FRESH_BURST_MAX, "as many as may be opened");
    assert!(pool.open_ahead(99, now, &mut random).0.is_empty(), "no more than may be opened");
    assert!(pool.draw(upstream, now, &mut random).is_some());
    assert_eq!(pool.draw(upstream, now, &mut random), None, "few are idle");
    for key in 100..100 + IDLE_MAX - IDLE_MIN {
        assert_eq!(pool.take_back(&line(), key, now), None);
    }
    assert!(pool.take_back(&line(), 7, now).is_some_and(|oldest| oldest <= IDLE_MIN), "room is made");
    let mut worn = line();
    (0..USES_MAX as u16).for_each(|id| worn.sent.push(id));
    assert_eq!(pool.take_back(&worn, 99, now), Some(99), "it has been used often enough");
    assert_eq!(pool.empty().len(), IDLE_MAX);
}

#[test]
fn new_sockets_are_opened_ahead_of_their_first_query() {
    let (_bound, upstream) = bound();
    let (mut pool, mut random) = (Pool::new(IDLE_ALL), random());
    let now = Monotonic(0);
    assert_eq!(pool.draw(upstream, now, &mut random), None);
    for _ in 0..3 {
        let (lines, outcome) = pool.open_ahead(99, now, &mut random);
        outcome.expect("there are descriptors");
        (0..lines.len()).for_each(|key| pool.add_ahead(upstream, key, now));
        assert!(pool.draw(upstream, now, &mut random).is_some());
    }
    assert!(pool.open_ahead(99, now, &mut random).0.len() <= AHEAD_PER_TURN_MAX);
    assert!(pool.open_ahead(99, now, &mut random).0.is_empty(), "no upstream was used");
    assert!(pool.empty().len() < AHEAD_MAX);
    let mut pool = Pool::new(3);
    pool.draw(upstream, now, &mut random);
    assert_eq!(pool.open_ahead(99, now, &mut random).0.len(), 3, "no more than may be kept");
    let mut pool = Pool::new(IDLE_ALL);
    pool.draw(upstream, now, &mut random);
    assert_eq!(pool.open_ahead(2, now, &mut random).0.len(), 2, "no more than there is room for");
}

#[test]
fn sockets_that_are_idle_for_a_minute_are_closed_and_then_there_is_nothing_to_do() {
    let (_bound, upstream) = bound();
    let mut pool = Pool::new(IDLE_ALL);
    let line = pool_line(upstream);
    let after = |s: u64| START.plus(Duration::from_secs(s));
    assert_eq!(pool.timeout(), None, "no socket is idle");
    for (key, at) in [(1, 0), (2, 3), (3, 30)] {
        assert_eq!(pool.take_back(&line, key, after(at)), None);
    }
    pool.add_ahead(upstream, 4, after(31));
    assert_eq!(pool.timeout(), Some(after(60)));
    assert_eq!(pool.sweep(after(59)), [0; 0]);
    assert_eq!(pool.sweep(after(60)), [1]);
    assert_eq!(pool.timeout(), Some(after(65)), "not for each of them alone");
    assert_eq!(pool.sweep(after(65)), [2]);
    assert_eq!(pool.timeout(), Some(after(90)));
    let mut random = random();
    assert_eq!(pool.draw(upstream, after(89), &mut random), Some(4), "it is needed after all");
    assert_eq!(pool.sweep(after(90)), [3]);
    assert_eq!((pool.timeout(), pool.len()), (None, 0));
    assert!(pool.idle_by_upstream.is_empty(), "nothing is kept of an upstream without sockets");
}

#[test]
fn the_sockets_that_are_idle_longest_are_given_up_first_whichever_upstream_they_are_for() {
    let (_bounds, servers): (Vec<_>, Vec<_>) = (0..3).map(|_| bound()).unzip();
    let mut pool = Pool::new(IDLE_ALL);
    for key in 0..9 {
        let line = pool_line(servers[key % 3]);
        assert_eq!(pool.take_back(&line, key, START.plus(Duration::from_millis(key as u64))), None);
    }
    pool.add_ahead(servers[0], 9, START);
    let mut given = pool.remove_oldest(3);
    given.sort_unstable();
    assert_eq!(given, [0, 1, 9]);
    assert_eq!(pool.remove_oldest(99), [2, 3, 4, 5, 6, 7, 8]);
    assert!(pool.remove_oldest(1).is_empty() && pool.len() == 0);
}

#[test]
fn any_idle_socket_that_fits_is_used_where_no_other_can_be_had() {
    let (_bound, upstream) = bound();
    let (_other_bound, other) = bound();
    let (mut pool, mut random) = (Pool::new(IDLE_ALL), random());
    assert_eq!(pool.take_back(&pool_line(upstream), 1, START), None);
    pool.add_ahead(upstream, 2, START);
    assert_eq!(pool.take_back(&pool_line(other), 3, START), None);
    assert_eq!(pool.draw_any(upstream, &mut random, |key| key == 2), Some(2));
    assert_eq!(pool.draw_any(upstream, &mut random, |key| key == 2), None);
    assert_eq!(pool.draw_any(upstream, &mut random, |_| true), Some(1));
    assert_eq!(pool.draw_any(upstream, &mut random, |_| true), None, "sockets to other upstreams do not fit");
    assert_eq!(pool.len(), 1);
}

fn pool_line(upstream: Server) -> UdpLine {
    Pool::new(0).open(upstream, 0, Monotonic(0), &mut random()).expect("a socket")
}
