//! Cached queries over UDP, beside a responder that only flips the header bit in the same batch calls: processes of their own, the same
//! load in turns, processor time a query and queries a second. `cargo bench --bench udp_hits`
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use hither_net::batch::Batch;
use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, Composer, Owner, QueryBits, flags, query};
use hither_wire::message::Section;
use hither_wire::query::Query;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const NAMES: usize = 1000;
const WINDOW: usize = 64;
const ROUNDS: usize = 7;

fn pin(core: usize) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut set = nix::sched::CpuSet::new();
    if set.set(core % cores).is_ok() {
        let _ = nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set);
    }
}

fn ask_for(n: usize) -> Vec<u8> {
    let name = format!("h{n:07}.bench.example").parse().expect("a name");
    let mut out = [0; 300];
    let len = query(
        &mut out,
        n as u16,
        &Asked { name: &name, rtype: Rtype::A },
        QueryBits { rd: true, cd: false, edns: None },
    );
    out[..len].to_vec()
}

/// Flips QR and sends the query back: what any server must do at the least.
fn responder() {
    pin(0);
    let socket = hither_net::listen::udp("127.0.0.1:0".parse().expect("an address")).expect("bound");
    println!("ready at {}", socket.local_addr().expect("bound"));
    let mut mio = mio::net::UdpSocket::from_std(socket.try_clone().expect("a descriptor"));
    let (mut poll, mut events) = (mio::Poll::new().expect("a poll"), mio::Events::with_capacity(8));
    poll.registry().register(&mut mio, mio::Token(0), mio::Interest::READABLE).expect("registered");
    let mut batch = Batch::new();
    loop {
        poll.poll(&mut events, None).expect("polled");
        while let Ok(count) = batch.receive(&socket) {
            for n in 0..count {
                let (query, out) = batch.pair(n);
                let len = query.len();
                out[..len].copy_from_slice(query);
                out[2] |= 0x80;
                batch.set_reply(n, len);
            }
            batch.send(&socket);
            if count < hither_net::batch::SIZE {
                break;
            }
        }
    }
}

/// An upstream with one address for every name.
fn upstream() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let at = socket.local_addr().expect("bound");
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((len, peer)) = socket.recv_from(&mut buffer) {
            let Ok(read) = Query::read(&buffer[..len]) else { continue };
            let mut out = [0; 1500];
            let mut composer = Composer::new(&mut out, 1500).expect("room");
            composer.set_header(read.id(), flags::QR | flags::RD | flags::RA);
            composer.question_octets(read.question());
            composer.record(Section::Answer, Owner::At(12), Rtype::A, 86_400, &[198, 18, 0, 1]);
            let len = composer.finish();
            let _ = socket.send_to(&out[..len], peer);
        }
    });
    at
}

struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(command: &mut Command, log: bool) -> Server {
        let command = if log { command.stderr(Stdio::piped()) } else { command.stdout(Stdio::piped()) };
        let mut process = command.spawn().expect("started");
        let out: Box<dyn std::io::Read + Send> = if log {
            Box::new(process.stderr.take().expect("piped"))
        } else {
            Box::new(process.stdout.take().expect("piped"))
        };
        let mut lines = BufReader::new(out).lines();
        let ready = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split("ready at ").nth(1).map(str::to_owned));
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Server { process, address: ready.expect("it starts").trim().parse().expect("an address") }
    }

    /// Nanoseconds of processor time so far.
    fn time(&self) -> u64 {
        let text =
            std::fs::read_to_string(format!("/proc/{}/schedstat", self.process.id())).expect("it runs");
        text.split(' ').next().and_then(|n| n.parse().ok()).expect("a number")
    }

    /// Queries a second and processor nanoseconds a query, in one round.
    fn round(&self, queries: &[Vec<u8>], time: Duration) -> (f64, f64) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        socket.connect(self.address).expect("a route");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("an option");
        let (before, began, mut answered, mut at) = (self.time(), Instant::now(), 0_u64, 0);
        let mut buffer = [0; 1500];
        while began.elapsed() < time {
            for _ in 0..WINDOW {
                socket.send(&queries[at % queries.len()]).expect("sent");
                at += 1;
            }
            answered += (0..WINDOW).map_while(|_| socket.recv(&mut buffer).ok()).count() as u64;
        }
        let spent = self.time() - before;
        (answered as f64 / began.elapsed().as_secs_f64(), spent as f64 / answered as f64)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() {
    if std::env::args().any(|arg| arg == "--responder") {
        return responder();
    }
    let daemon = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.join("hitherd")));
    let Some(daemon) = daemon.filter(|path: &PathBuf| path.exists()) else {
        return println!(
            "SKIPPED: there is no hitherd beside this benchmark; run cargo build --release first"
        );
    };
    let dir = std::env::temp_dir().join(format!("hither-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let config = format!(
        "runtime_dir = {:?}\n[listen]\ndns = [\"127.0.0.1:0\"]\n[[upstream]]\naddress = \"{}\"\n",
        dir.display().to_string(),
        upstream()
    );
    std::fs::write(dir.join("hither.toml"), config).expect("writable");
    let queries: Vec<Vec<u8>> = (0..NAMES).map(ask_for).collect();
    let responder =
        Server::start(Command::new(std::env::current_exe().expect("known")).arg("--responder"), false);
    let mut pinned = Command::new("taskset");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    pinned.args(["-c", "0"]).arg(&daemon).arg("--config").arg(dir.join("hither.toml"));
    let hither = Server::start(&mut pinned, true);
    pin(cores - 1);
    hither.round(&queries, Duration::from_millis(500));
    let (mut rates, mut times) = (Vec::new(), Vec::new());
    let mut each = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    for _ in 0..ROUNDS {
        let one = Duration::from_secs(1);
        let (flip, own) = (responder.round(&queries, one), hither.round(&queries, one));
        rates.push(own.0 / flip.0);
        times.push(flip.1 / own.1);
        for (all, result) in each.iter_mut().zip([flip, own]) {
            all.0.push(result.0);
            all.1.push(result.1);
        }
    }
    for (name, (rate, time)) in ["header flip", "hitherd"].into_iter().zip(each) {
        println!(
            "{name:<12} {:>9.0} queries/s   {:>7.0} ns processor time a query",
            median(rate),
            median(time)
        );
    }
    println!(
        "hitherd / header flip: {:.2} of the queries a second, {:.2} by processor time (at least 0.60)",
        median(rates),
        median(times)
    );
    let _ = std::fs::remove_dir_all(&dir);
}
