//! The effect of attacks on other clients: round-trip times of hits and misses during each attack and
//! without one, of hither and of unbound in the same run. `cargo build --release && cargo bench --bench
//! siege -- [ATTACKS] [--seconds N]`
//!
//! Attacks: `none control hints orders tcp sleepers reload unique ports silent handshakes`; without one, all
//! of them. Each is a process of its own, which runs as the user nobody if this one is root.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

mod attacks;
mod handshakes;
#[path = "../peers/load.rs"]
#[allow(dead_code)] // Another benchmark uses the rest.
mod load;
#[path = "../peers/roles.rs"]
#[allow(dead_code)]
mod roles;
#[path = "../peers/servers.rs"]
#[allow(dead_code)]
mod servers;
mod upstream;

use attacks::{ATTACKS, Attack};
use hither_wire::codes::Rtype;
use load::{Load, Names, Outcome, Until};
use servers::{HITHER, KINDS, Server, Task};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

/// Names that are hit.
const POPULAR: u64 = 1000;
/// Hits and misses a second.
const HITS: f64 = 2000.0;
const MISSES: f64 = 20.0;
/// The time between the beginning of an attack and the measurement.
const BEFORE: Duration = Duration::from_secs(1);

/// A process that is killed when the value is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command that runs this program in another role.
fn again(role: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("known"));
    command.arg("--role").args(role);
    command
}

fn play(args: &[String]) -> Option<()> {
    let at = args.iter().position(|arg| arg == "--role")?;
    let role = args.get(at + 1)?;
    if role == "upstream" {
        upstream::run(args.get(at + 2)?.parse().ok()?);
    }
    attacks::play(role, args.get(at + 2..)?);
    Some(())
}

struct Siege {
    dir: PathBuf,
    upstream: SocketAddr,
    seconds: u64,
    /// The cores on which servers may run, as taskset(1) takes them.
    cores: String,
    port: u16,
    fresh: u64,
}

impl Siege {
    fn start(&mut self, name: &str) -> Result<(Server, PathBuf), String> {
        let kind = KINDS.iter().find(|kind| kind.name == name).ok_or("is unknown here")?;
        self.port += 1;
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let dir = self.dir.join(self.port.to_string());
        std::fs::create_dir_all(dir.join("conf.d")).map_err(|error| error.to_string())?;
        let more = format!("[[block]]\nfiles = [{:?}]\n[log]\nlevel = \"error\"\n", dir.join("list"));
        std::fs::write(dir.join("conf.d/siege.toml"), more).map_err(|error| error.to_string())?;
        std::fs::write(dir.join("list"), "blocked.siege.example\n").map_err(|error| error.to_string())?;
        let task = Task { dir: &dir, address, upstreams: &[self.upstream], names: 65_536 };
        let server = Server::start(kind, &task, (&self.cores, None))?;
        let warm = Load { until: Until::Count(POPULAR), ..Self::load(Names::Fresh(0), HITS) };
        load::run(address, warm);
        load::run(address, warm);
        Ok((server, dir))
    }

    fn load(names: Names, rate: f64) -> Load {
        let until = Until::Time(Duration::from_secs(1));
        Load {
            names,
            rtype: Rtype::A,
            window: 4000,
            rate: Some(rate),
            until,
            timeout: Duration::from_secs(4),
        }
    }

    /// Measures hits and misses at the same time.
    fn look(&mut self, server: SocketAddr) -> [Outcome; 2] {
        let until = Until::Time(Duration::from_secs(self.seconds));
        self.fresh += 100_000;
        let misses = Load { until, ..Self::load(Names::Fresh(self.fresh), MISSES) };
        let misses = std::thread::spawn(move || load::run(server, misses));
        let hits = load::run(server, Load { until, ..Self::load(Names::Of(POPULAR), HITS) });
        [hits, misses.join().unwrap_or_default()]
    }

    fn besiege(&mut self, server: &str, attack: &Attack) {
        let (running, dir) = match self.start(server) {
            Ok(started) => started,
            Err(why) => return println!("| {} | {server} | MISSING: {why} |", attack.name),
        };
        let attackers = attack.begin(running.address, &dir);
        std::thread::sleep(BEFORE);
        let [hits, misses] = self.look(running.address);
        drop(attackers);
        let share = |o: &Outcome| (o.lost + o.bad) as f64 * 100.0 / o.sent.max(1) as f64;
        println!(
            "| {} | {server} | {:.2} | {:.2} | {:.2} | {:.2} % | {:.2} | {:.2} % | {} |",
            attack.name,
            hits.quantile(0.5),
            hits.quantile(0.99),
            hits.quantile(1.0),
            share(&hits),
            misses.quantile(0.99),
            share(&misses),
            running.memory() >> 20
        );
    }
}

/// Moves this process to the second core, with a higher priority than the attackers there. Returns the
/// cores for servers, which are all, as on a host that serves itself. Servers get no real-time priority,
/// since the kernel throttles a process that has one and is never idle.
fn place(root: bool) -> String {
    let own = std::process::id().to_string();
    let quiet = |command: &mut Command| {
        command.stdout(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let last = std::thread::available_parallelism().map_or(1, usize::from) - 1;
    quiet(Command::new("taskset").args(["-pc", &last.min(1).to_string(), &own]));
    let _ = nix::sys::prctl::set_timerslack(1);
    // -R resets the class in children, so that attackers do not have it.
    if !root || !quiet(Command::new("chrt").args(["-R", "-r", "-p", "5", &own])) {
        println!("Without real-time priority (not root): delays of this process show in the figures.");
    }
    format!("0-{last}")
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if play(&args).is_some() {
        return;
    }
    let value = |key: &str| args.iter().position(|arg| arg == key).and_then(|at| args.get(at + 1));
    let seconds = value("--seconds").and_then(|n| n.parse().ok()).unwrap_or(5);
    let wanted: Vec<&String> = args.iter().filter(|arg| ATTACKS.iter().any(|a| a.name == **arg)).collect();
    let root = nix::unistd::geteuid().is_root();
    let memory = Path::new("/dev/shm");
    let place_of_files = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let dir = place_of_files.join(format!("hither-siege-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let port = if root { 700 } else { 20_700 };
    let upstream = SocketAddr::from(([127, 0, 0, 1], port));
    let _upstream = Ended(again(&["upstream", &upstream.to_string()]).spawn().expect("started"));
    let mut siege = Siege { dir, upstream, seconds, cores: place(root), port, fresh: 1_000_000 };
    println!("Milliseconds; the last column is the server's memory afterwards, MiB.\n");
    println!(
        "| attack | server | hits p50 | p99 | slowest | failed | misses p99 | failed | memory |\n|{}",
        "---|".repeat(9)
    );
    for attack in
        ATTACKS.iter().filter(|attack| wanted.is_empty() || wanted.iter().any(|w| *w == attack.name))
    {
        siege.besiege(HITHER, attack);
        if attack.is_for_all {
            siege.besiege("unbound", attack);
        }
    }
    let _ = std::fs::remove_dir_all(&siege.dir);
}
