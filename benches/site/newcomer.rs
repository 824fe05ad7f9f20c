//! A host that has just been started joins a site that knows all names.

use super::engine::Engine;
use super::host::{Host, Plan};
use super::load::Load;
use super::network::{Network, bridge};
use super::question::{Draws, Zipf, ask};
use super::summary::{Times, of_all};
use super::upstream::{Manner, Upstream};
use super::{Options, Sharing, directory};
use nix::sched::{CloneFlags, unshare};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

const UPSTREAMS: [&str; 2] = ["10.19.0.2", "10.19.0.3"];
const DELAY: Duration = Duration::from_millis(20);
/// How many names the newcomer is asked for.
const FIRST: usize = 1000;

pub fn run(options: &Options) {
    if unshare(CloneFlags::CLONE_NEWNET).is_err() {
        return println!("SKIPPED newcomer: needs root and namespaces");
    }
    println!("-- newcomer: {FIRST} different names by Zipf of {} that the site knows", options.names);
    bridge(&UPSTREAMS);
    let manner = Manner { delay: DELAY, ttl_s: 3600 };
    let upstreams =
        UPSTREAMS.map(|address| Upstream::start(SocketAddr::new(address.parse().expect("one"), 53), manner));
    let dir = directory("newcomer");
    let place = Network::new(6);
    let engine = place.there({
        let dir = dir.clone();
        move || Engine::start(&dir, SocketAddr::from(([10, 19, 0, 6], 6379)), &[])
    });
    let warm = host(11, Sharing::Quiet, &dir, engine.address);
    warm.0.there({
        let (names, address) = (options.names as u64, warm.1.address);
        move || {
            let (mut load, mut name) = (Load::new(None), 0);
            let time = Duration::from_secs_f64(names as f64 / 800.0);
            load.run((time, 800.0), &[address], &mut Draws::new(1), |_| {
                name = (name + 1) % names;
                (0, name)
            });
            load.finish();
        }
    });
    println!("   the site: {:?}", of_all(&[warm.1]));
    for (number, sharing) in [(12, Sharing::Off), (13, Sharing::Quiet), (14, Sharing::Ask)] {
        let before: u64 = upstreams.iter().map(Upstream::queries).sum();
        let (network, host) = host(number, sharing, &dir, engine.address);
        let began = Instant::now();
        if sharing == Sharing::Quiet {
            until_offered(&host);
        }
        let waited = began.elapsed();
        let (address, zipf) = (host.address, Zipf::new(options.names));
        let times = network.there(move || ask_in_turn(address, &zipf));
        let queries = upstreams.iter().map(Upstream::queries).sum::<u64>() - before;
        let (own, quick) = (times.below(u32::try_from(DELAY.as_micros()).unwrap_or(0)), times.below(1000));
        println!(
            "{}: {:.1} % without an upstream, {:.1} % in less than 1 ms (wanted: 95 %); {}; {queries} queries to the upstreams; asked {:.2} s after the engine was reached",
            sharing.name(),
            own as f64 / 10.0,
            quick as f64 / 10.0,
            times.shown(),
            waited.as_secs_f64()
        );
        println!("   its first 100: {}; {:?}", times.first(100).shown(), of_all(&[host]));
    }
}

/// Waits until no more sets arrive.
fn until_offered(host: &Host) {
    let (mut seen, mut since) = (0, Instant::now());
    while seen == 0 || since.elapsed() < Duration::from_millis(500) {
        let now = host.json("stats")["site_published"].as_u64().unwrap_or(0);
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        if since.elapsed() > Duration::from_secs(20) {
            return println!("   nothing is offered");
        }
    }
}

fn host(number: u8, sharing: Sharing, dir: &Path, engine: SocketAddr) -> (Network, Host) {
    let (network, dir) = (Network::new(number), dir.to_path_buf());
    let host = network.there(move || {
        let upstreams = UPSTREAMS.map(|address| SocketAddr::new(address.parse().expect("one"), 53));
        let address = SocketAddr::from(([127, 0, 0, 1], 53));
        let host = Host::start(&Plan {
            dir,
            name: format!("host{number}"),
            address,
            upstreams: &upstreams,
            engine,
            sharing,
            more: "",
        });
        host.is_ready();
        host
    });
    (network, host)
}

/// Asks for different names, drawn by Zipf, one after the other.
fn ask_in_turn(address: SocketAddr, zipf: &Zipf) -> Times {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("an option");
    socket.connect(address).expect("a route");
    let (mut draws, mut asked, mut times) =
        (Draws::new(3), std::collections::HashSet::new(), Times::default());
    let mut buffer = [0; 2048];
    while asked.len() < FIRST {
        let name = zipf.draw(&mut draws);
        if asked.insert(name) {
            let began = Instant::now();
            socket.send(&ask(name, asked.len() as u16)).expect("sent");
            let _ = socket.recv(&mut buffer);
            times.add(began.elapsed());
        }
    }
    times
}
