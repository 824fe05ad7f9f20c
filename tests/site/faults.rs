//! The engine fails: it is absent, killed, slow, a replica, out of memory, flushed, or hangs. The companion
//! says so, backs off and comes back, and the daemon's questions get an answer at once.

use crate::engine::{Engine, free_port};
use crate::host::{Host, addresses};
use hither_control::SiteReply;
use nix::sys::signal::Signal;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

fn ask(host: &Host, number: u64, name: &str) {
    host.send(&SiteReply::Ask { ask: number, name: name.into(), rtype: "A".into() });
}

#[test]
fn an_engine_that_is_absent_at_the_start_and_killed_later_comes_back_empty() {
    let Some(mut engine) = Engine::start(&[]) else { return };
    engine.kill();
    let mut host = Host::start("a", &engine.config(""));
    let report = host.report(|report| report.problem.is_some());
    assert_eq!(report.state, "connecting");
    ask(&host, 1, "www.example.com.");
    assert_eq!(host.answer(1), None);
    host.publish("www.example.com", &[1], 300);
    engine.restart();
    host.until_written(1);
    assert_eq!(host.report(|report| report.problem.is_none()).state, "up");

    engine.kill();
    host.report(|report| report.state == "connecting");
    host.publish("two.example.com", &[2], 300);
    engine.restart();
    host.until_written(2);
    assert_eq!(engine.keys(), ["{hither}:a:two.example.com."]);
    // The subscription came back, too.
    let mut other = Host::start("b", &engine.config(""));
    other.until_up();
    other.publish("two.example.com", &[3], 300);
    // Before that the daemon may be offered what this host itself wrote, as after a reboot.
    let mut offer = host.next_offer();
    while offer.host != "b" {
        offer = host.next_offer();
    }
    assert_eq!((offer.name.as_str(), addresses(&offer)), ("two.example.com.", vec![3]));
    assert!(host.report(|_| true).counts.reconnects >= 2);
}

#[test]
fn a_flushed_engine_is_filled_by_what_is_learned_next() {
    let Some(engine) = Engine::start(&[]) else { return };
    let mut host = Host::start("a", &engine.config(""));
    host.until_up();
    host.publish("one.example.com", &[1], 300);
    host.until_written(1);
    engine.cli(&["FLUSHALL"]);
    host.publish("two.example.com", &[1], 300);
    host.until_written(2);
    assert_eq!(engine.keys(), ["{hither}:a:two.example.com."]);
    assert_eq!(host.report(|_| true).counts.reconnects, 0);
}

/// Passes octets on after a second, in both directions.
fn slow_proxy(to: SocketAddr) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.expect("accepted");
            let server = TcpStream::connect(to).expect("connected");
            for (mut from, mut to) in
                [(client.try_clone().expect("a copy"), server.try_clone().expect("a copy")), (server, client)]
            {
                std::thread::spawn(move || {
                    let mut buffer = [0; 65_536];
                    while let Ok(count @ 1..) = crate::support::retried(|| from.read(&mut buffer)) {
                        std::thread::sleep(Duration::from_millis(500));
                        if to.write_all(&buffer[..count]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    port
}

#[test]
fn an_engine_that_needs_a_second_for_each_reply_still_shares() {
    let Some(engine) = Engine::start_with_port(&[]) else { return };
    let port = slow_proxy(engine.address());
    let mut host = Host::start("a", &format!("[site]\nengine = \"valkey://127.0.0.1:{port}\"\n"));
    host.until_up();
    host.publish("www.example.com", &[1], 300);
    host.until_written(1);
    ask(&host, 1, "www.example.com.");
    assert!(host.answer(1).is_some());
    // What waited for longer than the daemon does is not even asked for.
    let before = engine.calls()("get");
    ask(&host, 2, "www.example.com.");
    crate::support::until("the engine is asked", || engine.calls()("get") > before);
    ask(&host, 3, "www.example.com.");
    assert!(host.answer(2).is_some());
    assert_eq!(host.answer(3), None);
}

#[test]
fn a_replica_is_only_read_until_it_or_another_engine_is_a_primary() {
    let Some(primary) = Engine::start_with_port(&[]) else { return };
    let of = primary.port.to_string();
    let Some(replica) = Engine::start_with_port(&["--replicaof", "127.0.0.1", &of]) else { return };
    let mut first = Host::start("first", &primary.config(""));
    first.until_up();
    first.publish("www.example.com", &[1], 300);
    first.until_written(1);

    let mut reader = Host::start("reader", &replica.config(""));
    let report = reader.report(|report| report.state == "read_only");
    assert!(report.problem.is_some_and(|problem| problem.contains("primary")));
    crate::support::until("the replica has it", || {
        replica.cli(&["EXISTS", "{hither}:a:www.example.com."]) == "1"
    });
    ask(&reader, 1, "www.example.com.");
    assert!(reader.answer(1).is_some());
    reader.publish("mine.example.com", &[2], 300);

    let both = format!(
        "[site]\nengine = [\"unix:{}\", \"unix:{}\"]\n",
        replica.socket().display(),
        primary.socket().display()
    );
    let mut third = Host::start("third", &both);
    let report = third.report(|report| report.state == "up");
    assert!(report.engine.contains(&primary.dir.display().to_string()), "{report:?}");

    // Failed over: what waited is written.
    drop(primary);
    third.report(|report| report.state != "up");
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    third.report(|report| report.state == "up" && report.engine.contains(&replica.dir.display().to_string()));
    reader.until_up();
    reader.until_written(1);
    assert!(replica.keys().contains(&"{hither}:a:mine.example.com.".to_owned()));
}

#[test]
fn an_engine_without_memory_is_read_and_written_again_when_it_has_some() {
    let Some(engine) = Engine::start(&["--maxmemory", "1", "--maxmemory-policy", "noeviction"]) else {
        return;
    };
    let mut host = Host::start("a", &engine.config(""));
    host.until_up();
    host.publish("one.example.com", &[1], 300);
    let report = host.report(|report| report.problem.is_some());
    assert!(report.state == "up" && report.problem.is_some_and(|problem| problem.contains("maxmemory")));
    ask(&host, 1, "one.example.com.");
    assert_eq!(host.answer(1), None);
    engine.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    host.publish("two.example.com", &[1], 300);
    host.until_written(1);
    let report = host.report(|report| report.problem.is_none());
    assert!(report.counts.errors >= 1 && report.counts.dropped >= 1, "{report:?}");
}

#[test]
fn an_engine_that_accepts_no_more_clients_says_so() {
    let Some(engine) = Engine::start(&[]) else { return };
    engine.cli(&["CONFIG", "SET", "maxclients", "1"]);
    let _client = std::os::unix::net::UnixStream::connect(engine.socket()).expect("connected");
    let mut host = Host::start("a", &engine.config(""));
    let report = host.report(|report| report.problem.is_some());
    assert!(report.problem.as_ref().is_some_and(|problem| problem.contains("maxclients")), "{report:?}");
}

#[test]
fn a_hanging_engine_does_not_delay_the_end_nor_the_answers() {
    let Some(engine) = Engine::start(&[]) else { return };
    let mut host = Host::start("a", &engine.config(""));
    host.until_up();
    engine.signal(Signal::SIGSTOP);
    ask(&host, 1, "one.example.com.");
    host.report(|report| report.state == "connecting");
    assert_eq!(host.answer(1), None);
    ask(&host, 2, "one.example.com.");
    assert_eq!(host.answer(2), None);
    let begin = Instant::now();
    host.signal(Signal::SIGTERM);
    assert!(host.end(), "a success");
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    engine.signal(Signal::SIGCONT);
}

#[test]
fn a_reload_reads_the_configuration_again_in_the_same_process() {
    let (Some(engine), Some(other)) = (Engine::start(&[]), Engine::start(&[])) else { return };
    let mut host = Host::start("a", &engine.config(""));
    host.until_up();
    let pid = host.pid();
    host.configure(&other.config(""));
    host.signal(Signal::SIGHUP);
    host.report(|report| report.state == "up" && report.engine.contains(&other.dir.display().to_string()));
    host.publish("one.example.com", &[1], 300);
    crate::support::until("it is written", || !other.keys().is_empty());
    assert_eq!(host.pid(), pid);

    // The daemon was told of a domain that has upstreams of its own: its names stay on this host.
    let routed = "[[domain]]\nnames = [\"corp.example.com\"]\nupstreams = [\"192.0.2.1\"]\n";
    host.configure(&engine.config(routed));
    host.send(&SiteReply::Reload);
    host.report(|report| report.state == "up" && report.engine.contains(&engine.dir.display().to_string()));
    host.publish("www.corp.example.com", &[1], 300);
    host.publish("last.example.com", &[1], 300);
    crate::support::until("it is written", || engine.cli(&["EXISTS", "{hither}:a:last.example.com."]) == "1");
    assert_eq!(engine.cli(&["EXISTS", "{hither}:a:www.corp.example.com."]), "0");
    assert_eq!(host.pid(), pid);
}

#[test]
fn a_connection_that_is_refused_is_tried_less_and_less_often() {
    let port = free_port();
    let mut host = Host::start("a", &format!("[site]\nengine = \"valkey://127.0.0.1:{port}\"\n"));
    let report = host.report(|report| report.counts.reconnects >= 5);
    assert_eq!(report.state, "connecting");
    // 100 ms, doubled four times, each at least half as long.
    let begin = Instant::now();
    host.report(|report| report.counts.reconnects >= 7);
    assert!(begin.elapsed() > Duration::from_millis(1600), "{:?}", begin.elapsed());
}
