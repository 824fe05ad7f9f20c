//! The event loop, a turn at a time, with every source fed as fast as it reads: no kind of source has
//! more than its budget between two looks at queries by UDP, and each has some of it.

use crate::config::Config;
use crate::daemon::clients::due_replies::JOINED_MAX;
use crate::daemon::event_loop::Daemon;
use crate::daemon::sources::Source;
use crate::daemon::turn::{Budget, Kind, Share};
use hither_control::{
    CONTROL_SOCKET, OFFERS_MAX, OfferedAddress, OfferedSet, OfferedTimes, Request, SITE_SOCKET, SITE_VERSION,
    SORTER_SOCKET, SiteMessage, SorterCounts, SorterMessage, encode,
};
use hither_net::clock::now;
use hither_net::seqpacket::Connection;
use hither_rounds::{Input, Question, Routes};
use hither_table::{Counter, Draft, FamilyDraft, Monotonic};
use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, QueryBits, query};
use hither_wire::name::Name;
use mio::Events;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

const NAME: &str = "www.example";
const PEERS: usize = 12;
const CLIENTS: usize = 40;
/// Turns within which each source has to be handled, on however slow a host: each takes some
/// milliseconds.
const TURNS: usize = 3_000;

fn ask(name: &str, id: u16) -> Vec<u8> {
    let (mut octets, name) = ([0; 300], name.parse::<Name>().expect("a name"));
    let bits = QueryBits { rd: true, cd: false, edns: None };
    let len = query(&mut octets, id, &Asked { name: &name, rtype: Rtype::A }, bits);
    octets[..len].to_vec()
}

/// A daemon whose cache has one name, and its upstream, which does not respond by itself.
fn daemon(dir: &Path) -> (Daemon, UdpSocket) {
    daemon_with(dir, "dns = [\"127.0.0.1:0\"]")
}

/// The same with more lines in `[listen]` or after it.
fn daemon_with(dir: &Path, listen: &str) -> (Daemon, UdpSocket) {
    let upstream = UdpSocket::bind("127.0.0.1:0").expect("a port");
    upstream.set_nonblocking(true).expect("an option");
    let address = upstream.local_addr().expect("bound");
    std::fs::create_dir_all(dir.join("run")).expect("a directory");
    let text = format!(
        "runtime_dir = {:?}\n[listen]\n{listen}\n[[upstream]]\naddress = \"{address}\"\n",
        dir.join("run").display().to_string()
    );
    std::fs::write(dir.join("hither.toml"), text).expect("writable");
    let path = dir.join("hither.toml");
    let config = Config::load(Some(&path)).expect("right");
    let mut daemon = Daemon::start(config, Some(path), &[]).expect("started");
    let (version, time) = (daemon.core.table().writer().next_version(), now());
    let address = Ipv4Addr::new(192, 0, 2, 1).into();
    let set = FamilyDraft::of(version, [address], time.as_ms() + 1_000_000, 1000);
    let name = NAME.parse().expect("a name");
    daemon.core.table().writer().put(&Draft { name, a: Some(set), aaaa: None }, time).expect("room");
    (daemon, upstream)
}

/// Hints that were taken or dropped, since the start.
fn hints_of(daemon: &Daemon) -> u64 {
    let counts = daemon.admin.counts();
    counts.hints + counts.hints_dropped
}

/// Feeds all sources of the daemon.
struct Feeders {
    dir: PathBuf,
    server: SocketAddr,
    peers: Vec<(Connection, usize)>,
    sorter: Connection,
    probes: u64,
    /// The companion that shares answers, and the number of its next set.
    site: (Connection, usize),
    hints: UnixDatagram,
    clients: Vec<(TcpStream, usize)>,
    /// How far each client is in the octets that it sends again and again.
    sent: Vec<usize>,
    new_connections: Vec<TcpStream>,
    upstream: UdpSocket,
    /// The socket of the daemon to the upstream.
    daemon_socket: Option<SocketAddr>,
}

/// As many sets of the site as fit into a message.
fn offers(next: usize) -> SiteMessage {
    let now_ms = now().as_ms();
    let address = [198, 18, 0, 1].into();
    let times =
        OfferedTimes { asked_ms: now_ms, learned_ms: now_ms, expire_ms: now_ms + 60_000, lifetime_s: 60 };
    let set = |n: usize| OfferedSet {
        name: format!("n{}.example.com.", n % 10_000),
        rtype: "A".to_owned(),
        host: "web1".to_owned(),
        said_by: Vec::new(),
        times,
        answered: 1,
        disputes: 0,
        negative: None,
        addresses: vec![OfferedAddress { address, chain: 0, trusted: true, sources: 1 }],
        chains: vec![Vec::new()],
        soa: None,
    };
    SiteMessage::Offers { sets: (next..next + OFFERS_MAX).map(set).collect() }
}

impl Feeders {
    fn new(dir: &Path, server: SocketAddr, upstream: UdpSocket) -> Feeders {
        let local = |name| Connection::connect(&dir.join("run").join(name), None).expect("connected");
        let client = |_| {
            let stream = TcpStream::connect(server).expect("connected");
            stream.set_nonblocking(true).expect("an option");
            (stream, 0)
        };
        let site = local(SITE_SOCKET);
        let hello = SiteMessage::Hello { version: SITE_VERSION };
        site.send(&encode(&hello).expect("short")).expect("sent");
        let hints = UnixDatagram::unbound().expect("a socket");
        hints.set_nonblocking(true).expect("an option");
        Feeders {
            dir: dir.to_owned(),
            server,
            peers: (0..PEERS).map(|_| (local(CONTROL_SOCKET), 0)).collect(),
            sorter: local(SORTER_SOCKET),
            probes: 0,
            site: (site, 0),
            hints,
            clients: (0..CLIENTS).map(client).collect(),
            sent: vec![0; CLIENTS],
            new_connections: Vec::new(),
            upstream,
            daemon_socket: None,
        }
    }

    /// Fills all sources, and reads the replies. Returns how many replies came at the control socket.
    fn feed(&mut self) -> usize {
        let (mut buffer, mut replies) = (vec![0; 65_536], 0);
        let status = encode(&Request::Status).expect("short");
        for (peer, received) in &mut self.peers {
            while peer.receive(&mut buffer).is_ok_and(|octets| !octets.is_empty()) {
                *received += 1;
                replies += 1;
            }
            while peer.send(&status).is_ok() {}
        }
        let stats = |sent| {
            encode(&SorterMessage::Stats(SorterCounts { sent, ..SorterCounts::default() })).expect("short")
        };
        while self.sorter.send(&stats(self.probes + 1)).is_ok() {
            self.probes += 1;
        }
        let (site, next) = &mut self.site;
        while site.send(&encode(&offers(*next)).expect("short")).is_ok() {
            *next += OFFERS_MAX;
        }
        let hint = [&[1, 3][..], b"\x07nowhere\x07example\0"].concat();
        while self.hints.send_to(&hint, self.dir.join("run/hint")).is_ok() {}
        let octets = ask(NAME, 1);
        let framed = [&(octets.len() as u16).to_be_bytes()[..], &octets].concat().repeat(100);
        for ((client, received), at) in self.clients.iter_mut().zip(&mut self.sent) {
            while let Ok(len @ 1..) = client.read(&mut buffer) {
                *received += len;
            }
            while let Ok(len) = client.write(&framed[*at..]) {
                *at = (*at + len) % framed.len();
            }
        }
        self.new_connections.clear();
        self.new_connections.extend((0..20).filter_map(|_| TcpStream::connect(self.server).ok()));
        let _ = (0..20)
            .filter_map(|_| Connection::connect(&self.dir.join("run").join(CONTROL_SOCKET), None).ok())
            .count();
        while let Ok((_, daemon_socket)) = self.upstream.recv_from(&mut buffer) {
            self.daemon_socket.get_or_insert(daemon_socket);
        }
        if let Some(daemon_socket) = self.daemon_socket {
            (0..500).for_each(|_| drop(self.upstream.send_to(&[0x80; 512], daemon_socket)));
        }
        replies
    }

    fn all_have_replies(&self) -> bool {
        self.peers.iter().all(|(_, received)| *received > 0)
            && self.clients.iter().all(|(_, received)| *received > 0)
    }
}

#[test]
fn under_load_on_every_source_each_kind_stays_within_its_budget_and_a_hit_gets_its_reply() {
    let dir = std::env::temp_dir().join(format!("hither-turns-{}", std::process::id()));
    let listen = "dns = [\"127.0.0.1:0\"]\n[site]\nengine = \"valkey://127.0.0.1:1\"";
    let (mut daemon, upstream) = daemon_with(&dir, listen);
    let server = daemon.clients.addresses()[0];
    let mut feeders = Feeders::new(&dir, server, upstream);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(server).expect("a route");
    socket.set_nonblocking(true).expect("an option");
    socket.send(&ask("miss.example", 7)).expect("sent");
    let (mut events, mut buffer) = (Events::with_capacity(256), [0; 512]);
    let local = Kind::Local.share().messages;
    let (mut upstream_messages, mut hints, mut turns) = (0, 0, 0);
    while turns < TURNS && !(feeders.all_have_replies() && upstream_messages > 0 && hints > 0) {
        turns += 1;
        let statuses = feeders.feed();
        assert!(statuses <= local, "{statuses} statuses in the turn before");
        daemon.reload.waker().wake().expect("it can be woken");
        let (queries, probes) =
            (daemon.counters().get(Counter::Queries), daemon.admin.sorter_status().probes);
        let offers = daemon.counters().get(Counter::SiteOffers);
        let received = hints_of(&daemon);
        socket.send(&ask(NAME, 8)).expect("sent");
        daemon.poll.poll(&mut events, Some(Duration::ZERO)).expect("polled");
        daemon.ready.used.clear();
        daemon.turn(&events);

        let replied =
            std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|_| buffer[1])).any(|id| id == 8);
        assert!(replied, "a hit is answered in the turn that it comes in, the {turns}th");
        let queries = (daemon.counters().get(Counter::Queries) - queries) as usize;
        assert!(queries <= Kind::Connections.share().messages + 2, "{queries} queries by TCP");
        let hints_now = (hints_of(&daemon) - received) as usize;
        assert!(hints_now <= local, "{hints_now} hints");
        let reports = (daemon.admin.sorter_status().probes - probes) as usize;
        assert!(reports <= local, "{reports} messages of the sorter");
        let offers_now = (daemon.counters().get(Counter::SiteOffers) - offers) as usize;
        assert!(offers_now <= 4 * OFFERS_MAX, "{offers_now} sets of the site");
        hints += hints_now;
        let mut seen: Vec<Kind> = Vec::new();
        for (kind, budget) in &daemon.ready.used {
            let share = kind.share();
            // The last may go beyond it, by what one message and one batch can have.
            assert!(budget.messages <= share.messages + 16, "{kind:?} {budget:?}");
            assert!(budget.octets <= share.octets + 2 * 65_537, "{kind:?} {budget:?}");
            if *kind == Kind::Datagrams {
                seen.clear();
            }
            assert!(!seen.contains(kind), "{kind:?} has two shares between two looks at queries");
            seen.push(*kind);
            upstream_messages += if *kind == Kind::Upstreams { budget.messages } else { 0 };
        }
    }
    let received: Vec<usize> = feeders.peers.iter().map(|(_, received)| *received).collect();
    let read: Vec<usize> = feeders.clients.iter().map(|(_, received)| *received).collect();
    assert!(feeders.all_have_replies(), "a source is left out: {received:?} {read:?} after {turns}");
    assert!(upstream_messages > 0 && hints > 0, "{upstream_messages} of the upstream, {hints} hints");
    assert!(daemon.admin.sorter_status().connected, "the sorter has its place");
    assert!(daemon.counters().get(Counter::SitePublished) > 0, "and the companion that shares answers");
    drop(daemon);
    std::fs::remove_dir_all(&dir).expect("removable");
}

#[test]
fn a_status_is_composed_anew_after_a_change_and_not_for_other_requests() {
    let dir = std::env::temp_dir().join(format!("hither-status-{}", std::process::id()));
    let (mut daemon, _upstream) = daemon(&dir);
    let peer = Connection::connect(&dir.join("run").join(CONTROL_SOCKET), None).expect("connected");
    let (mut events, mut buffer) = (Events::with_capacity(256), vec![0; 65_536]);
    let mut ask = |request: &Request| {
        peer.send(&encode(request).expect("short")).expect("sent");
        for _ in 0..TURNS {
            daemon.poll.poll(&mut events, Some(Duration::from_millis(10))).expect("polled");
            daemon.turn(&events);
            if peer.receive(&mut buffer).is_ok() {
                return daemon.admin.has_status();
            }
        }
        panic!("{request:?} has no answer");
    };
    let names = vec!["nowhere.example".to_owned()];
    assert!(ask(&Request::Status));
    assert!(
        ask(&Request::Query { name: "localhost".to_owned(), rtype: "A".to_owned() }),
        "nothing has changed"
    );
    assert!(!ask(&Request::Flush { names }), "something has");
    assert!(ask(&Request::Status));
    drop(daemon);
    std::fs::remove_dir_all(&dir).expect("removable");
}

/// A query joins a crowded round where its source has no slot left among the misses, but only while few
/// replies are due.
#[test]
fn a_client_that_repeats_one_question_under_many_ids_gets_no_more_replies_than_some_turns_can_send() {
    const ROUNDS: u16 = 40;
    let dir = std::env::temp_dir().join(format!("hither-due-{}", std::process::id()));
    let listen = "dns = [\"127.0.0.1:0\", \"127.0.0.2:0\"]\n[limits]\nclients = 4";
    let (mut daemon, _upstream) = daemon_with(&dir, listen);
    let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let peer = client.local_addr().expect("bound");
    let question = Question { name: Name::ROOT, rtype: Rtype::A, dnssec_ok: false, checking_disabled: false };
    let (mut events, mut most) = (Events::with_capacity(256), 0);
    for round in 0..ROUNDS {
        for server in daemon.clients.addresses().to_vec() {
            // Datagrams that do not fit the buffer of the socket are lost.
            (0..256).for_each(|n| drop(client.send_to(&ask("slow.example", 256 * round + n), server)));
        }
        // The queue of misses is full, but for the two queries that begin the round which the others
        // join.
        if round > 0 {
            daemon.clients.fill_misses(peer, question);
        }
        daemon.poll.poll(&mut events, Some(Duration::ZERO)).expect("polled");
        daemon.turn(&events);
        most = most.max(daemon.clients.due_replies());
    }
    assert!(most > JOINED_MAX / 2, "no query joins: {most}");
    assert!(most <= JOINED_MAX, "{most} replies are due");
    drop(daemon);
    std::fs::remove_dir_all(&dir).expect("removable");
}

/// Has the daemon ask these upstreams.
fn reroute(daemon: &mut Daemon, upstreams: &[SocketAddr]) {
    let settings = daemon.reload.config().settings.clone();
    daemon.tell(now(), Input::Reload { settings, routes: Routes::from(upstreams) });
}

/// Runs turns until the condition holds.
fn until(daemon: &mut Daemon, what: &str, mut holds: impl FnMut(&mut Daemon) -> bool) {
    let mut events = Events::with_capacity(256);
    for _ in 0..TURNS {
        if holds(daemon) {
            return;
        }
        daemon.poll.poll(&mut events, Some(Duration::from_millis(5))).expect("polled");
        daemon.turn(&events);
    }
    panic!("{what}: not after {TURNS} turns");
}

#[test]
fn queries_to_upstreams_that_cannot_be_reached_fail_after_all_actions_have_been_executed() {
    let dir = std::env::temp_dir().join(format!("hither-unroutable-{}", std::process::id()));
    let (mut daemon, _upstream) = daemon(&dir);
    // Broadcast addresses: the kernel refuses to connect a socket to them.
    reroute(&mut daemon, &[1, 2].map(|port| SocketAddr::from(([127, 255, 255, 255], port))));
    let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
    client.set_nonblocking(true).expect("an option");
    let server = daemon.clients.addresses()[0];
    (0..8).for_each(|n| drop(client.send_to(&ask(&format!("n{n}.example"), n), server)));
    let (mut buffer, mut replies) = ([0; 512], 0);
    until(&mut daemon, "eight replies", |_| {
        replies += std::iter::from_fn(|| client.recv(&mut buffer).ok()).count();
        replies == 8
    });
    drop(daemon);
    std::fs::remove_dir_all(&dir).expect("removable");
}

/// A response with NXDOMAIN to a query.
fn nxdomain(query: &[u8]) -> Vec<u8> {
    let mut response = query.to_vec();
    (response[2], response[3]) = (response[2] | 0x80, 3);
    response
}

#[test]
fn queries_that_the_kernel_refuses_when_they_are_sent_together_fail_one_by_one() {
    const QUERIES: u16 = 8;
    let dir = std::env::temp_dir().join(format!("hither-refused-{}", std::process::id()));
    let (mut daemon, upstream) = daemon(&dir);
    let other = UdpSocket::bind("127.0.0.1:0").expect("a port");
    other.set_nonblocking(true).expect("an option");
    reroute(&mut daemon, &[&upstream, &other].map(|socket| socket.local_addr().expect("bound")));
    let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
    client.set_nonblocking(true).expect("an option");
    let server = daemon.clients.addresses()[0];
    (0..QUERIES).for_each(|n| drop(client.send_to(&ask(&format!("n{n}.example"), n), server)));
    daemon.on_udp(0, now(), &mut Budget::new(Share::ALL, now));
    daemon.begin_all_rounds(now());
    let refused = daemon.upstreams.lengthen_queries();
    assert!(refused >= usize::from(QUERIES), "only {refused} queries are sent");
    // The core must not get the second failure before the actions that follow from the first one are
    // executed: it asserts that. The queries that follow are sent, too.
    daemon.send_queries(now());
    let (mut buffer, mut replies) = ([0; 512], 0);
    until(&mut daemon, "a reply to each query", |_| {
        for socket in [&upstream, &other] {
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                socket.send_to(&nxdomain(&buffer[..len]), from).expect("sent");
            }
        }
        replies += std::iter::from_fn(|| client.recv(&mut buffer).ok()).count();
        replies == usize::from(QUERIES)
    });
    drop(daemon);
    std::fs::remove_dir_all(&dir).expect("removable");
}

#[test]
fn a_reply_that_ends_its_connection_reports_the_other_clients_on_it_after_all_actions() {
    let dir = std::env::temp_dir().join(format!("hither-gone-{}", std::process::id()));
    let (mut daemon, upstream) = daemon(&dir);
    let mut client = TcpStream::connect(daemon.clients.addresses()[0]).expect("connected");
    for (name, id) in [("one.example", 1), ("two.example", 2)] {
        let octets = ask(name, id);
        let framed = [&(octets.len() as u16).to_be_bytes()[..], &octets].concat();
        client.write_all(&framed).expect("sent");
    }
    let (mut buffer, mut asked) = ([0; 512], Vec::new());
    until(&mut daemon, "both are asked", |_| {
        while let Ok((len, from)) = upstream.recv_from(&mut buffer) {
            asked.push((buffer[..len].to_vec(), from));
        }
        asked.len() == 2
    });
    // The client resets the connection. The daemon notices that when it sends the reply to one query,
    // and the client of the other query is gone with the connection.
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("an option");
    drop(client);
    let (query, from) = asked.swap_remove(0);
    upstream.send_to(&nxdomain(&query), from).expect("sent");
    // No connection is read here: only the reply can end it.
    let mut events = Events::with_capacity(256);
    let has_ended = (0..TURNS).any(|_| {
        daemon.poll.poll(&mut events, Some(Duration::from_millis(5))).expect("polled");
        for event in &events {
            if let Source::Upstream(slot) = Source::of(event.token()) {
                daemon.on_upstream(slot, now(), &mut Budget::new(Share::ALL, now));
            }
        }
        let (core, mut executor) = daemon.executor();
        core.on_time(now(), &mut executor);
        daemon.clients.is_empty()
    });
    assert!(has_ended, "a client still waits");
    drop(daemon);
    std::fs::remove_dir_all(&dir).expect("removable");
}

/// Waits until so many queries are counted: workers are threads of their own.
fn until_counted(daemon: &mut Daemon, queries: u64, end: Monotonic) {
    while daemon.counters().get(Counter::Queries) < queries {
        assert!(now() < end, "{queries} queries are not taken");
        std::thread::yield_now();
    }
}

#[test]
fn misses_of_one_client_that_a_worker_hands_over_do_not_fill_the_queue_for_others() {
    let dir = std::env::temp_dir().join(format!("hither-handed-{}", std::process::id()));
    let (mut daemon, upstream) = daemon_with(&dir, "workers = 2\ndns = [\"127.0.0.1:0\"]");
    let (server, end) = (daemon.clients.addresses()[0], now().plus(Duration::from_secs(30)));
    let one = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let (mut events, mut sent) = (Events::with_capacity(256), 0);
    for _ in 0..3 {
        // One client by one worker, until there is no slot for more.
        let shed = daemon.counters().get(Counter::ShedQueries);
        while daemon.counters().get(Counter::ShedQueries) == shed {
            for _ in 0..64 {
                sent += 1;
                one.send_to(&ask(&format!("n{sent}.flood.example"), sent as u16), server).expect("sent");
            }
            until_counted(&mut daemon, sent, end);
        }
        daemon.poll.poll(&mut events, Some(Duration::ZERO)).expect("polled");
        daemon.turn(&events);
        assert!(daemon.clients.next_handed().is_none(), "something is left in the queue between threads");
    }
    // The query of another client is among those whose rounds begin, however many of the first one
    // wait.
    let other = UdpSocket::bind("127.0.0.1:0").expect("a port");
    other.send_to(&ask("other.example", 1), server).expect("sent");
    until_counted(&mut daemon, sent + 1, end);
    let mut buffer = [0; 512];
    let mut is_asked = || {
        let mut asked = std::iter::from_fn(|| {
            upstream.recv(&mut buffer).ok().map(|len| buffer[..len].to_ascii_lowercase())
        });
        asked.any(|query| query.windows(6).any(|label| label == b"\x05other"))
    };
    let turns = (0..TURNS).find(|_| {
        daemon.poll.poll(&mut events, Some(Duration::from_millis(10))).expect("polled");
        daemon.turn(&events);
        is_asked()
    });
    assert!(turns.is_some(), "its turn never comes");
    daemon.clients.stop_workers();
    drop(daemon);
    std::fs::remove_dir_all(&dir).expect("removable");
}
