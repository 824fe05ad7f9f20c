//! What clients notice when upstreams lose queries, fail, become slow or disappear, and during floods
//! of random names. Each figure is printed with the same one without the fault, from the same run.
//! `cargo build --release && cargo bench --bench faults
//! [loss|dead|slow|gone|flood|silent|greedy|million]`.
#![allow(clippy::print_stdout)] // It is what a benchmark is for.

mod upstream;

use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, QueryBits, query};
use hither_wire::name::Name;
use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use upstream::{Upstream, upstream};

struct Daemon {
    process: Child,
    server: SocketAddr,
    dir: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn daemon(upstreams: &[&Upstream], more: &str) -> Daemon {
    static N: AtomicU64 = AtomicU64::new(0);
    let dir = std::env::temp_dir().join(format!(
        "hither-faults-{}-{}",
        std::process::id(),
        N.fetch_add(1, Ordering::SeqCst)
    ));
    std::fs::create_dir_all(dir.join("run")).expect("a directory");
    let server = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let mut text = format!(
        "runtime_dir = {:?}\n[listen]\ndns = [\"{server}\"]\n[log]\nlevel = \"error\"\n",
        dir.join("run")
    );
    upstreams.iter().for_each(|u| text += &format!("[[upstream]]\naddress = \"{}\"\n", u.address));
    std::fs::write(dir.join("hither.toml"), text + more).expect("written");
    let exe = std::env::current_exe().expect("this program");
    let hitherd = exe.parent().and_then(|deps| deps.parent()).expect("its directory").join("hitherd");
    let process = Command::new(hitherd)
        .arg("--config")
        .arg(dir.join("hither.toml"))
        .spawn()
        .expect("hitherd, built for release");
    let daemon = Daemon { process, server, dir };
    let socket = client(&daemon, Duration::from_millis(100));
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        let _ = socket.send(&ask("localhost", 1));
        if socket.recv(&mut [0; 512]).is_ok() {
            return daemon;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("hitherd does not answer");
}

fn client(daemon: &Daemon, patience: Duration) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(daemon.server).expect("a route");
    socket.set_read_timeout(Some(patience)).expect("an option");
    socket
}

fn ask(name: &str, id: u16) -> Vec<u8> {
    let name: Name = name.parse().expect("a name");
    let mut out = [0; 300];
    let len = query(
        &mut out,
        id,
        &Asked { name: &name, rtype: Rtype::A },
        QueryBits { rd: true, cd: false, edns: None },
    );
    out[..len].to_vec()
}

/// The replies that clients received.
struct Seen {
    asked: usize,
    good: usize,
    /// Times to the reply in microseconds, sorted.
    times: Vec<u64>,
}

impl Seen {
    fn at(&self, of_thousand: usize) -> f64 {
        self.times
            .get((self.times.len() * of_thousand / 1000).min(self.times.len().saturating_sub(1)))
            .map_or(f64::NAN, |us| *us as f64 / 1000.0)
    }

    fn say(&self, what: &str) {
        println!(
            "{what:<44} {:>7.3} % answered, p50 {:>8.3} ms, p99 {:>8.3} ms, of {}",
            self.good as f64 * 100.0 / self.asked as f64,
            self.at(500),
            self.at(990),
            self.asked
        );
    }
}

/// How many queries are sent, and how many per second.
#[derive(Clone, Copy)]
struct Load {
    count: usize,
    rate: f64,
}

/// Names per second, and the number of ports that they are sent from.
#[derive(Clone, Copy)]
struct Flood {
    rate: f64,
    ports: usize,
}

/// Asks for names that are not cached and waits up to five seconds for each reply. Replies with the
/// RCODE `good` are successes.
fn ask_fresh(daemon: &Daemon, prefix: &str, count: usize, rate: f64, good: u8) -> Seen {
    let names = |n: usize| format!("{prefix}{n}.faults.example");
    ask_names(daemon, Load { count, rate }, names, good)
}

fn ask_names(daemon: &Daemon, load: Load, names: impl Fn(usize) -> String, good: u8) -> Seen {
    let Load { count, rate } = load;
    let socket = client(daemon, Duration::from_micros(200));
    let (began, mut sent, mut open, mut seen) =
        (Instant::now(), 0, HashMap::new(), Seen { asked: count, good: 0, times: Vec::new() });
    let mut buffer = [0; 2048];
    let mut last = Instant::now();
    while sent < count || !open.is_empty() && last.elapsed() < Duration::from_secs(5) {
        while sent < count && began.elapsed().as_secs_f64() * rate >= sent as f64 {
            let id = sent as u16;
            let _ = socket.send(&ask(&names(sent), id));
            open.insert(id, Instant::now());
            (sent, last) = (sent + 1, Instant::now());
        }
        while let Ok(len) = socket.recv(&mut buffer) {
            if let Some(at) = open.remove(&u16::from_be_bytes([buffer[0], buffer[1]])).filter(|_| len > 12) {
                seen.times.push(at.elapsed().as_micros() as u64);
                seen.good += usize::from(buffer[3] & 15 == good);
            }
            if sent < count && began.elapsed().as_secs_f64() * rate >= sent as f64 {
                break;
            }
        }
    }
    seen.times.sort_unstable();
    seen
}

fn loss() {
    println!(
        "-- 20 % loss at both of two upstreams, 10 ms away (wanted: 99.9 % answered, p99 at most 120 ms)"
    );
    let (a, b) = (upstream(10, 200), upstream(10, 200));
    let daemon = daemon(&[&a, &b], "");
    ask_fresh(&daemon, "w", 200, 200.0, 0);
    ask_fresh(&daemon, "l", 5000, 500.0, 0).say("20 % lost");
    a.behaviour.lost.store(0, Ordering::SeqCst);
    b.behaviour.lost.store(0, Ordering::SeqCst);
    ask_fresh(&daemon, "k", 2000, 500.0, 0).say("nothing lost");
}

fn dead() {
    println!("-- one of two dead, first or second (wanted: 100 %, p99 at most 25 ms)");
    for (at, what) in [(0, "the first of two is dead"), (1, "the second of two is dead")] {
        let both = [upstream(10, 0), upstream(10, 0)];
        both[at].behaviour.lost.store(1000, Ordering::SeqCst);
        ask_fresh(&daemon(&[&both[0], &both[1]], ""), "d", 2000, 300.0, 0).say(what);
    }
    println!("-- one or two of three dead beside none (wanted: no slower)");
    for dead in 0..3 {
        let all = [upstream(10, 0), upstream(10, 0), upstream(10, 0)];
        all[..dead].iter().for_each(|u| u.behaviour.lost.store(1000, Ordering::SeqCst));
        let daemon = daemon(&[&all[0], &all[1], &all[2]], "");
        ask_fresh(&daemon, "d", 1500, 200.0, 0).say(&format!("{dead} of three dead, addresses"));
        ask_fresh(&daemon, "no", 1500, 200.0, 3).say(&format!("{dead} of three dead, NXDOMAIN"));
    }
}

fn slow() {
    println!("-- the only upstream goes from 10 ms to 1 s (wanted: still answered from)");
    let one = upstream(10, 0);
    let daemon = daemon(&[&one], "");
    ask_fresh(&daemon, "s", 500, 200.0, 0).say("10 ms");
    one.behaviour.delay_ms.store(1000, Ordering::SeqCst);
    ask_fresh(&daemon, "t", 500, 100.0, 0).say("1 s");
}

fn gone() {
    println!(
        "-- all upstreams gone, then back (wanted: SERVFAIL within 2 s, hits untouched; back within 1 s, at most twice the queries)"
    );
    let (a, b) = (upstream(10, 0), upstream(10, 0));
    let daemon = daemon(&[&a, &b], "");
    ask_fresh(&daemon, "h", 100, 200.0, 0);
    let queries = || a.behaviour.queries.load(Ordering::SeqCst) + b.behaviour.queries.load(Ordering::SeqCst);
    let before = queries();
    ask_fresh(&daemon, "i", 300, 100.0, 0).say("all there");
    let steady = (queries() - before) as f64 / 3.0;
    let lost = |n| [&a, &b].iter().for_each(|u| u.behaviour.lost.store(n, Ordering::SeqCst));
    lost(1000);
    ask_fresh(&daemon, "j", 300, 100.0, 2).say("gone, at first (SERVFAIL counts)");
    ask_fresh(&daemon, "k", 300, 100.0, 2).say("gone, known (SERVFAIL counts)");
    ask_names(&daemon, Load { count: 1000, rate: 1000.0 }, |n| format!("h{}.faults.example", n % 100), 0)
        .say("hits meanwhile");
    lost(0);
    let (began, before) = (Instant::now(), queries());
    let mut n = 0;
    while ask_fresh(&daemon, &format!("b{n}x"), 1, 1.0, 0).good == 0 {
        n += 1;
    }
    println!("first answer {:.0} ms after they are back", began.elapsed().as_secs_f64() * 1e3);
    ask_fresh(&daemon, "m", 100, 100.0, 0).say("back");
    let rate = (queries() - before) as f64 / began.elapsed().as_secs_f64();
    println!("{rate:.0} queries a second then, {steady:.0} before: {:.2} times", rate / steady);
}

fn memory(daemon: &Daemon) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", daemon.process.id())).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0) / 1024
}

/// Sends queries for random names that begin with `prefix`, from the ports in turn, without waiting for
/// replies. Returns how many.
fn flood(server: SocketAddr, load: Flood, prefix: &str, stop: &AtomicBool) -> u64 {
    let Flood { rate, ports } = load;
    let socket = || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(server).expect("a route");
        socket
    };
    let sockets: Vec<UdpSocket> = (0..ports).map(|_| socket()).collect();
    let (began, mut sent) = (Instant::now(), 0u64);
    let mut octets = ask("aaaaaaaaaaaa.flood.example", 0);
    octets[13..13 + prefix.len()].copy_from_slice(prefix.as_bytes());
    while !stop.load(Ordering::Relaxed) {
        while (began.elapsed().as_secs_f64() * rate) as u64 > sent {
            let mut n = sent.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            octets[13 + prefix.len()..25].iter_mut().for_each(|octet| {
                *octet = b'a' + (n % 26) as u8;
                n /= 26;
            });
            let _ = sockets[sent as usize % ports].send(&octets);
            sent += 1;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    sent
}

/// Runs `act` during a flood, and prints how large the flood was.
fn beside<R>(daemon: &Daemon, load: Flood, prefix: &'static str, act: impl FnOnce() -> R) -> R {
    let stop = Arc::new(AtomicBool::new(false));
    let (server, over) = (daemon.server, Arc::clone(&stop));
    let thread = std::thread::spawn(move || flood(server, load, prefix, &over));
    // Until the flood has its full effect.
    std::thread::sleep(Duration::from_secs(2));
    let began = Instant::now();
    let seen = act();
    let elapsed = began.elapsed().as_secs_f64() + 2.0;
    stop.store(true, Ordering::Relaxed);
    let sent = thread.join().expect("no panic") as f64;
    println!("{:.0} flooding queries a second were sent, from {} ports", sent / elapsed, load.ports);
    seen
}

fn silent() {
    println!("-- 2000 names a second that nobody answers, beside 20 new ones (wanted: 95 % answered)");
    for ports in [1, 5000] {
        let (a, b) = (upstream(10, 0), upstream(10, 0));
        let daemon = daemon(&[&a, &b], "");
        beside(&daemon, Flood { rate: 2000.0, ports }, "mute", || ask_fresh(&daemon, "q", 300, 20.0, 0))
            .say("quick names");
        stats(&daemon);
    }
}

fn greedy() {
    println!(
        "-- 60 000 new names a second from one client beside 20 of another (wanted: 98 % answered, all from a second after the end on)"
    );
    let (a, b) = (upstream(10, 0), upstream(10, 0));
    for ports in [1, 64, 1000] {
        let daemon = daemon(&[&a, &b], "");
        let hot = |n: usize| format!("h{}.faults.example", n % 1000);
        ask_names(&daemon, Load { count: 1000, rate: 500.0 }, hot, 0);
        beside(&daemon, Flood { rate: 60_000.0, ports }, "", || {
            ask_fresh(&daemon, "v", 200, 20.0, 0).say("another client's new names");
            ask_names(&daemon, Load { count: 10_000, rate: 2000.0 }, hot, 0).say("another client's hits");
        });
        ask_fresh(&daemon, "w", 100, 100.0, 0).say("new names in the second after its end");
        ask_fresh(&daemon, "x", 200, 200.0, 0).say("new names after that");
        stats(&daemon);
    }
}

fn flooded() {
    println!(
        "-- 100 000 random names a second for 20 s while 1000 names are hit (wanted: rate and latency of hits within 20 %)"
    );
    let (a, b) = (upstream(10, 0), upstream(10, 0));
    let daemon = daemon(&[&a, &b], "");
    let hot = |n: usize| format!("h{}.faults.example", n % 1000);
    ask_names(&daemon, Load { count: 1000, rate: 500.0 }, hot, 0);
    let before = memory(&daemon);
    ask_names(&daemon, Load { count: 10_000, rate: 2000.0 }, hot, 0).say("hits, undisturbed");
    beside(&daemon, Flood { rate: 100_000.0, ports: 1 }, "", || {
        ask_names(&daemon, Load { count: 40_000, rate: 2000.0 }, hot, 0)
    })
    .say("hits, beside the flood");
    println!("{} MiB before, {} MiB after", before, memory(&daemon));
    stats(&daemon);
}

fn million() {
    println!("-- a million unique names (wanted: memory bounded, popular ones still there)");
    let (a, b) = (upstream(0, 0), upstream(0, 0));
    let daemon = daemon(&[&a, &b], "[round]\nfirst = 1\ncomplete = false\n");
    let hot = |n: usize| format!("h{}.faults.example", n % 1000);
    ask_names(&daemon, Load { count: 3000, rate: 2000.0 }, hot, 0);
    let before = memory(&daemon);
    for part in 0..20 {
        ask_fresh(&daemon, &format!("u{part}x"), 50_000, 12_000.0, 0);
        ask_names(&daemon, Load { count: 1000, rate: 5000.0 }, hot, 0);
    }
    let asked = a.behaviour.queries.load(Ordering::SeqCst) + b.behaviour.queries.load(Ordering::SeqCst);
    ask_names(&daemon, Load { count: 1000, rate: 2000.0 }, hot, 0).say("popular names afterwards");
    let again =
        a.behaviour.queries.load(Ordering::SeqCst) + b.behaviour.queries.load(Ordering::SeqCst) - asked;
    println!("{again} of 1000 had to be asked for again; {before} MiB before, {} MiB after", memory(&daemon));
    stats(&daemon);
}

fn stats(daemon: &Daemon) {
    let exe = std::env::current_exe().expect("this program");
    let ctl = exe.parent().and_then(|deps| deps.parent()).expect("its directory").join("hitherctl");
    let out =
        Command::new(ctl).arg("--runtime-dir").arg(daemon.dir.join("run")).args(["--json", "stats"]).output();
    let text = out.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    let wanted =
        ["\"queries\"", "\"hits\"", "\"misses\"", "\"shed_queries\"", "\"entries\"", "\"evictions\""];
    let shown: Vec<&str> =
        text.split([',', '{', '}']).filter(|part| wanted.iter().any(|w| part.starts_with(w))).collect();
    println!("{}", shown.join(", "));
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let parts: [(&str, fn()); 8] = [
        ("loss", loss),
        ("dead", dead),
        ("slow", slow),
        ("gone", gone),
        ("flood", flooded),
        ("silent", silent),
        ("greedy", greedy),
        ("million", million),
    ];
    for (_, part) in parts.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name)) {
        part();
    }
}
