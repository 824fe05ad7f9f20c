//! What clients notice of an engine that fails: hosts that differ in nothing else, asked in turns.

use super::engine::Engine;
use super::host::{Host, Plan};
use super::load::Load;
use super::network::{Network, bridge};
use super::question::Draws;
use super::summary::{Times, median};
use super::upstream::{Manner, Upstream};
use super::{Options, Sharing, directory};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

const UPSTREAMS: [&str; 2] = ["10.19.0.2", "10.19.0.3"];
const MISSES: Duration = Duration::from_secs(2);
const HITS: Duration = Duration::from_secs(1);
/// Queries a second.
const RATE: f64 = 300.0;
/// Names that are hit.
const HOT: u64 = 200;

/// What a host is asked, and how it fared in each round.
struct Case {
    what: String,
    host: Host,
    misses: Vec<Times>,
    hits: Vec<Times>,
    lost: u64,
}

pub fn run(options: &Options) {
    if unshare(CloneFlags::CLONE_NEWNET).is_err() {
        return println!("SKIPPED faults: needs root and namespaces");
    }
    assert!(
        std::process::Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status()
            .is_ok_and(|s| s.success())
    );
    println!(
        "-- faults: {} rounds of {RATE} queries a second; wanted: the p99 of misses within 5 % of those without a site, hits identical",
        options.rounds
    );
    bridge(&UPSTREAMS);
    let manner = Manner { delay: Duration::from_millis(20), ttl_s: 86_400 };
    let upstreams = UPSTREAMS.map(|address| SocketAddr::new(address.parse().expect("one"), 53));
    let _running = upstreams.map(|address| Upstream::start(address, manner));
    let dir = directory("faults");
    let (cut, place) = (Network::new(6), dir.clone());
    let far = cut.there(move || Engine::start(&place, SocketAddr::from(([10, 19, 0, 6], 6379)), &[]));
    let [up, gone, hangs] = [(); 3].map(|()| Engine::start_here(&dir, &[]));
    let slow = proxy(up.address);
    let places = [
        ("engine up", up.address),
        ("engine gone", gone.address),
        ("engine hangs", hangs.address),
        ("engine slow", slow),
        ("engine cut off", far.address),
    ];
    let mut cases = Vec::new();
    let mut add = |what: String, engine: SocketAddr, sharing: Sharing| {
        let n = cases.len();
        cases.push(case((n, what), &dir, &upstreams, engine, sharing));
    };
    add("without a site".to_owned(), up.address, Sharing::Off);
    add("without a site, again".to_owned(), up.address, Sharing::Off);
    for sharing in [Sharing::Ask, Sharing::Quiet] {
        for (what, engine) in places {
            add(format!("{what}, {}", sharing.name()), engine, sharing);
        }
    }
    cases.iter().for_each(|case| case.host.is_ready());
    drop(gone);
    kill(Pid::from_raw(hangs.id() as i32), Signal::SIGSTOP).expect("ours");
    cut.connect(false);
    measure(options.rounds, &mut cases);
    kill(Pid::from_raw(hangs.id() as i32), Signal::SIGCONT).expect("ours");
    say(&cases);
}

fn case(
    (n, what): (usize, String),
    dir: &Path,
    upstreams: &[SocketAddr],
    engine: SocketAddr,
    sharing: Sharing,
) -> Case {
    let address = SocketAddr::from(([127, 19, 0, n as u8 + 1], 5300));
    let host = Host::start(&Plan {
        dir: dir.into(),
        name: format!("host{n}"),
        address,
        upstreams,
        engine,
        sharing,
        more: "",
    });
    Case { what, host, misses: Vec::new(), hits: Vec::new(), lost: 0 }
}

fn measure(rounds: usize, cases: &mut [Case]) {
    let (mut draws, mut fresh) = (Draws::new(5), 1_000_000);
    for round in 0..=rounds {
        let count = cases.len();
        for n in 0..count {
            // Each round begins with another host.
            let case = &mut cases[(n + round) % count];
            let address = case.host.address;
            let mut load = Load::new(None);
            load.run((MISSES, RATE), &[address], &mut draws, |_| {
                fresh += 1;
                (0, fresh)
            });
            load.finish();
            let misses = std::mem::take(&mut load.times);
            load.run((HITS, 10.0 * RATE), &[address], &mut draws, |draws| {
                (0, (draws.draw() * HOT as f64) as u64)
            });
            load.finish();
            case.lost += load.counts.lost + load.counts.late;
            // The first round fills the caches with what is hit, and finds the faults.
            if round > 0 {
                case.misses.push(misses);
                case.hits.push(load.times);
            }
        }
    }
}

fn say(cases: &[Case]) {
    let quantiles = |times: &[Times], q: f64| times.iter().map(|times| times.quantile(q)).collect::<Vec<_>>();
    let Some(base) = cases.first() else { return };
    for case in cases {
        let ratio = |own: &[Times], base: &[Times], q: f64| {
            let pairs = quantiles(own, q).into_iter().zip(quantiles(base, q));
            (median(pairs.map(|(own, base)| own / base).collect()) - 1.0) * 100.0
        };
        let shown = |times: &[Times], base: &[Times], q: f64| {
            format!("{:.3} ms ({:+.1} %)", median(quantiles(times, q)), ratio(times, base, q))
        };
        println!(
            "   {}: misses p50 {}, p99 {}; hits p50 {}, p99 {}; {} lost",
            case.what,
            shown(&case.misses, &base.misses, 0.5),
            shown(&case.misses, &base.misses, 0.99),
            shown(&case.hits, &base.hits, 0.5),
            shown(&case.hits, &base.hits, 0.99),
            case.lost
        );
        let counts = super::summary::of_all(std::slice::from_ref(&case.host));
        println!("      {counts:?}");
    }
}

/// Passes everything on, and what the engine says a second late.
fn proxy(engine: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(engine) else { continue };
            let (from, to) = (client.try_clone().expect("one"), server.try_clone().expect("one"));
            std::thread::spawn(move || pass(from, to, Duration::ZERO));
            std::thread::spawn(move || pass(server, client, Duration::from_secs(1)));
        }
    });
    address
}

fn pass(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, receiver) = std::sync::mpsc::channel::<(Instant, Vec<u8>)>();
    let mut other = to.try_clone().expect("one");
    std::thread::spawn(move || {
        for (at, octets) in receiver {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if other.write_all(&octets).is_err() {
                return;
            }
        }
    });
    let mut buffer = [0; 16_384];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        if sender.send((Instant::now() + delay, buffer[..len].to_vec())).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = to.flush();
}
