//! Answers that certify themselves: the address is a hash of the name, so that each reader can
//! check whether an answer belongs to its name. The daemon is killed once a second while the test holds
//! its sockets, as systemd would; upstreams lose one datagram in twenty.
//!
//! `HITHER_SELFCERT_S` is the duration in seconds.
#![allow(clippy::print_stdout)] // The counts are printed.

mod support;

use hither_table::{Family, Key, Reader, Snapshot};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::Owner;
use hither_wire::message::{Message, Section};
use hither_wire::name::Name;
use hither_wire::query::Query;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::{Upstream, ask_for, compose, directory, frame, framed, retried, skip};

const NAMES: u64 = 2000;
/// Queries per second over UDP.
const RATE: u32 = 3000;

fn name(n: u64) -> String {
    format!("h{n}.self.example")
}

/// FNV-1a of the name in lower case, in 198.18.0.0/15.
fn address(wire: &[u8]) -> Ipv4Addr {
    let hash = wire.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(octet.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
    });
    let [a, b, ..] = hash.to_be_bytes();
    Ipv4Addr::new(198, 18 + (hash >> 20 & 1) as u8, a, b)
}

fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

fn upstream(seed: u64) -> Upstream {
    let state = std::sync::Mutex::new(seed);
    Upstream::start(move |query, _| {
        let lost = draw(&mut state.lock().expect("no panic")).is_multiple_of(20);
        let Ok(read) = Query::read(query) else { return vec![] };
        let right = address(read.qname());
        let reply = compose(query, Rcode::NOERROR, 0, |composer| {
            assert!(composer.record(Section::Answer, Owner::At(12), Rtype::A, 2, &right.octets()));
        });
        if lost { vec![] } else { vec![(0, reply)] }
    })
}

#[derive(Default)]
struct Seen {
    right: AtomicU64,
    wrong: AtomicU64,
    unanswered: AtomicU64,
}

impl Seen {
    fn judge(&self, wire: &[u8], addresses: &[IpAddr]) {
        let wrong = addresses.iter().any(|a| *a != IpAddr::V4(address(wire)));
        match addresses {
            [] => &self.unanswered,
            _ if wrong => &self.wrong,
            _ => &self.right,
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    fn judge_reply(&self, reply: &[u8]) {
        let Ok(message) = Message::read(reply) else {
            self.wrong.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let addresses: Vec<IpAddr> = message.records().filter_map(|r| r.address()).collect();
        let asked = message.question().map_or(Name::ROOT, |q| q.name);
        self.judge(asked.as_wire(), &addresses);
    }

    fn say(&self, what: &str) -> (u64, u64) {
        let [right, wrong, none] =
            [&self.right, &self.wrong, &self.unanswered].map(|n| n.load(Ordering::SeqCst));
        println!("{what}: {right} right, {wrong} wrong, {none} without an answer");
        (right, wrong)
    }
}

/// Starts the daemon with the two sockets as its third and fourth descriptor, as systemd does.
fn start(config: &Path, udp: &UdpSocket, tcp: &TcpListener) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=2 exec \"$0\" --config \"$1\" 2>>\"$2\""]);
    command.arg(env!("CARGO_BIN_EXE_hitherd")).arg(config).arg(config.with_extension("log"));
    let (udp, tcp) = (udp.as_raw_fd(), tcp.as_raw_fd());
    // SAFETY: between fork and exec only dup2 and fcntl are called, which are safe after fork; the
    // descriptors are open, since their owners live until the child has been started.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || {
            let spare = |fd| libc::fcntl(fd, libc::F_DUPFD, 10);
            let (udp, tcp) = (spare(udp), spare(tcp));
            (libc::dup2(udp, 3) == 3 && libc::dup2(tcp, 4) == 4)
                .then_some(())
                .ok_or_else(std::io::Error::last_os_error)
        });
    }
    command.spawn().expect("started")
}

fn ask_udp(socket: &UdpSocket, seen: &Seen, stop: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(1))).expect("an option");
    let (began, mut sent, mut state, mut buffer) = (Instant::now(), 0u32, 7u64, [0; 2048]);
    while !stop.load(Ordering::SeqCst) {
        while f64::from(sent) < began.elapsed().as_secs_f64() * f64::from(RATE) {
            let _ = socket.send(&ask_for(&name(draw(&mut state) % NAMES), Rtype::A, None, sent as u16));
            sent += 1;
            socket.set_nonblocking(true).expect("an option");
            while let Ok(len) = retried(|| socket.recv(&mut buffer)) {
                seen.judge_reply(&buffer[..len]);
            }
            socket.set_nonblocking(false).expect("an option");
        }
        if let Ok(len) = retried(|| socket.recv(&mut buffer)) {
            seen.judge_reply(&buffer[..len]);
        }
    }
}

fn ask_tcp(server: std::net::SocketAddr, seen: &Seen, stop: &AtomicBool) {
    let mut state = 11u64;
    while !stop.load(Ordering::SeqCst) {
        let Ok(mut stream) = TcpStream::connect(server) else { continue };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(4)));
        for id in 0..50 {
            let query = frame(&ask_for(&name(draw(&mut state) % NAMES), Rtype::A, None, id));
            match stream.write_all(&query).ok().and_then(|()| framed(&mut stream)) {
                Some(reply) => seen.judge_reply(&reply),
                None => break,
            }
        }
    }
}

fn read_table(dir: &Path, seen: &Seen, stop: &AtomicBool) {
    let (mut state, mut snapshot) = (13u64, Snapshot::new());
    while !stop.load(Ordering::SeqCst) {
        let Ok(reader) = Reader::open(dir) else { continue };
        for _ in 0..10_000 {
            let asked: Name = name(draw(&mut state) % NAMES).parse().expect("a name");
            if reader.lookup(&Key::of(&asked), &mut snapshot).is_ok() {
                let addresses: Vec<IpAddr> = snapshot
                    .family(Family::A)
                    .map_or(Vec::new(), |view| view.addresses().map(|a| a.address).collect());
                seen.judge(asked.as_wire(), &addresses);
            }
            if reader.replaced() {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A program that uses the NSS module; `None` without a C compiler.
fn ask_module(dir: &Path, seconds: u64) -> Option<Child> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/native/selfcert.c");
    let program = dir.join("selfcert");
    let built = Command::new("cc").args(["-O1", "-o"]).arg(&program).arg(source).arg("-ldl").status();
    if !built.is_ok_and(|status| status.success()) {
        skip("the NSS module in no_answer_belongs_to_another_name", "there is no C compiler");
        return None;
    }
    let mut command = Command::new(program);
    command.arg(support::libraries().join("libnss_hither.so.2"));
    command.arg(seconds.to_string()).arg(NAMES.to_string()).env("HITHER_RUNTIME_DIR", dir.join("run"));
    Some(command.stdout(Stdio::piped()).spawn().expect("started"))
}

#[test]
fn no_answer_belongs_to_another_name() {
    let seconds = std::env::var("HITHER_SELFCERT_S").ok().and_then(|text| text.parse().ok()).unwrap_or(5u64);
    let upstreams = [upstream(1), upstream(2)];
    let dir = directory();
    let text = format!(
        "runtime_dir = {:?}\n[[upstream]]\naddress = \"{}\"\n[[upstream]]\naddress = \"{}\"\n[log]\nlevel = \"warn\"\n",
        dir.join("run"),
        upstreams[0].address,
        upstreams[1].address
    );
    let config = dir.join("hither.toml");
    std::fs::write(&config, text).expect("written");
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("bound")) {
            break (udp, tcp);
        }
    };
    let server = udp.local_addr().expect("bound");
    let (seen, stop) =
        (Arc::new([Seen::default(), Seen::default(), Seen::default()]), Arc::new(AtomicBool::new(false)));
    let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
    client.connect(server).expect("a route");
    let mut threads = Vec::new();
    let share = || (Arc::clone(&seen), Arc::clone(&stop));
    let (all, over) = share();
    threads.push(std::thread::spawn(move || ask_udp(&client, &all[0], &over)));
    let (all, over) = share();
    threads.push(std::thread::spawn(move || ask_tcp(server, &all[1], &over)));
    let (all, over) = share();
    let run = dir.join("run");
    threads.push(std::thread::spawn(move || read_table(&run, &all[2], &over)));
    let module = ask_module(&dir, seconds);
    let (end, mut kills) = (Instant::now() + Duration::from_secs(seconds), 0);
    // A busy machine runs longer, until enough answers were checked.
    let latest = end + Duration::from_secs(60);
    let is_enough = || seen.iter().all(|seen| seen.right.load(Ordering::Relaxed) > 100 * seconds);
    while Instant::now() < end || (!is_enough() && Instant::now() < latest) {
        let mut daemon = start(&config, &udp, &tcp);
        std::thread::sleep(Duration::from_secs(1));
        daemon.kill().expect("it ran until now");
        daemon.wait().expect("it has ended");
        kills += 1;
    }
    stop.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    println!("{kills} kills in {seconds} s");
    if let Some(module) = module {
        let output = module.wait_with_output().expect("it ran");
        let counts: Vec<u64> = String::from_utf8_lossy(&output.stdout)
            .split_whitespace()
            .map(|n| n.parse().expect("a count"))
            .collect();
        println!("NSS: {} right, {} wrong, {} without an answer", counts[0], counts[1], counts[2]);
        assert!(counts[1] == 0 && counts[0] > 100 * seconds, "the module: {counts:?}");
    }
    for (seen, what) in seen.iter().zip(["UDP", "TCP", "table"]) {
        let (right, wrong) = seen.say(what);
        assert_eq!(wrong, 0, "{what}: an address of another name");
        assert!(
            right > 100 * seconds,
            "{what}: too few answers were checked:\n{}",
            std::fs::read_to_string(config.with_extension("log")).unwrap_or_default()
        );
    }
    let _ = std::fs::remove_dir_all(dir);
}
