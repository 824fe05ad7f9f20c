//! The measurements: hits, misses, several upstreams, start and stop. Memory is in `memory.rs`.

use super::backlog;
use super::load::{self, Load, Names, Outcome, Until};
use super::report::Report;
use super::roles::Manner;
use super::servers::{self, FLIP, HITHER, KINDS, Kind, Server, Task, queries_of};
use hither_wire::codes::Rtype;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const SLICE: Duration = Duration::from_millis(800);
const PAUSE: Duration = Duration::from_millis(300);

pub struct Bench {
    pub(crate) rounds: usize,
    only: Option<Vec<String>>,
    pub(crate) report: Report,
    pub(crate) dir: PathBuf,
    pub(crate) priority: Option<u8>,
    cores: usize,
    /// The number of the next name for a miss. No name is asked for twice.
    fresh: u64,
    port: u16,
}

pub(crate) struct Upstream(Child, pub(crate) SocketAddr);

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn closed(names: Names, window: usize) -> Load {
    let timeout = Duration::from_secs(2);
    Load { names, rtype: Rtype::A, window, rate: None, until: Until::Time(SLICE), timeout }
}

pub(crate) fn open(names: Names, rate: f64) -> Load {
    Load { rate: Some(rate), ..closed(names, 4000) }
}

impl Bench {
    pub fn new(rounds: usize, only: Option<Vec<String>>, report: Report) -> Bench {
        let root = nix::unistd::geteuid().is_root();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let core = (cores - 1).min(1).to_string();
        let own = std::process::id().to_string();
        let quiet = |command: &mut Command| {
            command.stdout(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
        };
        if cores == 1 {
            println!("One core for all: rates say little, processor time a query does.");
        }
        quiet(Command::new("taskset").args(["-pc", &core, &own]));
        let _ = std::fs::write("/proc/self/autogroup", "-20");
        let priority = (root && quiet(Command::new("chrt").args(["-r", "-p", "5", &own]))).then_some(5);
        if priority.is_none() {
            println!(
                "Without real-time priority (not root): other work on this machine shows in the figures."
            );
        }
        let _ = nix::sys::prctl::set_timerslack(1);
        // A real runtime directory is in memory. On a disk, pages of the table would be written back.
        let memory = PathBuf::from("/dev/shm");
        let place = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let dir = place.join(format!("hither-peers-{own}"));
        std::fs::create_dir_all(&dir).expect("a directory");
        // Below the range of ephemeral ports, so that no outgoing query takes one.
        let port = if root { 600 } else { 20_600 };
        Bench { rounds, only, report, dir, priority, cores, fresh: 0, port }
    }

    pub(crate) fn address(&mut self) -> SocketAddr {
        self.port += 1;
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Starts an upstream of UDP.
    pub(crate) fn upstream(&mut self, delay_ms: u64, loss: u64, addresses: u32) -> Upstream {
        self.upstream_as("upstream", Manner { loss, addresses, ..Manner::delayed(delay_ms) })
    }

    /// Starts an upstream on the load's core, with a higher priority.
    pub(crate) fn upstream_as(&mut self, role: &str, manner: Manner) -> Upstream {
        let address = self.address();
        self.upstream_at(role, address, manner)
    }

    pub(crate) fn upstream_at(&self, role: &str, address: SocketAddr, manner: Manner) -> Upstream {
        let exe = std::env::current_exe().expect("known");
        let core = (self.cores - 1).min(1).to_string();
        let mut command = servers::pinned(&exe, &core, self.priority.map(|p| p + 1));
        command.args(["--role", role, &address.to_string()]);
        command.args(manner.arguments()).arg(&self.dir);
        Upstream(command.spawn().expect("started"), address)
    }

    pub(crate) fn wanted(&self, names: &[&str]) -> Vec<&'static Kind> {
        KINDS.iter().filter(|kind| names.contains(&kind.name)).filter(|kind| self.is_wanted(kind)).collect()
    }

    pub(crate) fn is_wanted(&self, kind: &Kind) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|name| name == kind.name))
    }

    pub(crate) fn start_one(
        &mut self,
        kind: &Kind,
        upstreams: &[SocketAddr],
        names: usize,
        cores: &str,
    ) -> Option<Server> {
        let address = self.address();
        let dir = self.dir.join(address.port().to_string());
        let started =
            Server::start(kind, &Task { dir: &dir, address, upstreams, names }, (cores, self.priority));
        started.map_err(|why| println!("MISSING {}: {why}", kind.name)).ok()
    }

    /// The directory for the files of a server.
    pub(crate) fn dir_of(&self, server: &Server) -> PathBuf {
        self.dir.join(server.address.port().to_string())
    }

    fn start_all(&mut self, names: &[&str], upstreams: &[SocketAddr], entries: usize) -> Vec<Server> {
        let kinds = self.wanted(names);
        kinds.into_iter().filter_map(|kind| self.start_one(kind, upstreams, entries, "0")).collect()
    }

    pub(crate) fn next_names(&mut self, count: u64) -> Names {
        self.fresh += count;
        Names::Fresh(self.fresh)
    }

    /// Runs one slice of load. Also returns the server's processor time per reply, in microseconds.
    pub(crate) fn slice(server: &Server, load: Load) -> (Outcome, f64) {
        let before = server.time();
        let outcome = load::run(server.address, load);
        let spent = server.time() - before;
        std::thread::sleep(PAUSE);
        let per_reply = spent as f64 / 1000.0 / outcome.received.max(1) as f64;
        (outcome, per_reply)
    }

    pub fn hits(&mut self) {
        const NAMES: u64 = 10_000;
        let upstream = self.upstream(0, 0, 1);
        let all: Vec<&str> = KINDS
            .iter()
            .map(|k| k.name)
            .filter(|name| !["hither, 2 workers", "dnsmasq, all"].contains(name))
            .collect();
        let live = self.start_all(&all, &[upstream.1], 2 * NAMES as usize);
        let warm = Load { until: Until::Count(NAMES), ..closed(Names::Fresh(0), 50) };
        for server in live.iter().filter(|server| !server.name.starts_with("header")) {
            load::run(server.address, warm);
            load::run(server.address, warm);
        }
        for round in 0..self.rounds {
            for n in 0..live.len() {
                let server = &live[(n + round) % live.len()];
                let asked = queries_of(upstream.1);
                let (full, cpu) = Self::slice(server, closed(Names::Of(NAMES), 100));
                let missed = queries_of(upstream.1) - asked;
                let (steady, _) = Self::slice(server, open(Names::Of(1000), 20_000.0));
                let (alone, _) = Self::slice(server, closed(Names::Of(1000), 1));
                self.report.add(
                    "hits",
                    server.name,
                    round,
                    &[
                        ("rate", full.rate() / 1000.0, "k/s"),
                        ("processor time", cpu, "us"),
                        ("p50 at 20 k/s", steady.quantile(0.5) * 1000.0, "us"),
                        ("p99 at 20 k/s", steady.quantile(0.99) * 1000.0, "us"),
                        ("one at a time, p50", alone.quantile(0.5) * 1000.0, "us"),
                        ("not from the cache", missed as f64 / full.received.max(1) as f64, "share"),
                        ("lost", (full.lost + steady.lost) as f64, "queries"),
                    ],
                );
            }
        }
        self.report.table("hits", FLIP);
    }

    /// Compares two workers on two cores with one event loop: see `backlog.rs`.
    pub fn workers(&mut self) {
        let upstream = self.upstream(0, 0, 1);
        let cores = format!("0-{}", (self.cores - 1).min(1));
        let kinds = self.wanted(&[HITHER, "hither, 2 workers"]);
        let live: Vec<Server> = kinds
            .into_iter()
            .filter_map(|kind| self.start_one(kind, &[upstream.1], 20_000, &cores))
            .collect();
        for server in &live {
            load::run(server.address, Load { until: Until::Count(1000), ..closed(Names::Fresh(0), 50) });
            std::thread::sleep(PAUSE);
        }
        for round in 0..3 * self.rounds {
            for server in &live {
                let figures = [("rate of a backlog", backlog::rate(server) / 1000.0, "k/s")];
                self.report.add("workers", server.name, round, &figures);
            }
        }
        self.report.table("workers", HITHER);
    }

    pub fn misses(&mut self) {
        let near = self.upstream(0, 0, 1);
        let far = self.upstream(10, 0, 1);
        let all: Vec<&str> =
            KINDS[4..].iter().map(|k| k.name).filter(|name| *name != "dnsmasq, all").collect();
        let all = [&[HITHER][..], &all].concat();
        let live = self.start_all(&all, &[near.1], 200_000);
        for round in 0..self.rounds {
            for n in 0..live.len() {
                let server = &live[(n + round) % live.len()];
                let names = self.next_names(200_000);
                let (full, cpu) = Self::slice(server, closed(names, 100));
                let names = self.next_names(100_000);
                let (alone, _) = Self::slice(server, closed(names, 1));
                self.report.add(
                    "misses",
                    server.name,
                    round,
                    &[
                        ("rate", full.rate() / 1000.0, "k/s"),
                        ("processor time", cpu, "us"),
                        ("one at a time, p50", alone.quantile(0.5) * 1000.0, "us"),
                        ("lost or bad", (full.lost + full.bad) as f64, "queries"),
                    ],
                );
            }
        }
        self.report.table("misses", HITHER);
        drop(live);
        let live = self.start_all(&all, &[far.1], 200_000);
        for round in 0..self.rounds {
            let names = self.next_names(10_000);
            let direct = load::run(far.1, open(names, 1000.0));
            for n in 0..live.len() {
                let server = &live[(n + round) % live.len()];
                let names = self.next_names(10_000);
                let (steady, _) = Self::slice(server, open(names, 1000.0));
                let names = self.next_names(50_000);
                let (window, _) = Self::slice(server, closed(names, 200));
                let names = self.next_names(10_000);
                let burst = Load { until: Until::Count(1000), ..closed(names, 1000) };
                let (burst, _) = Self::slice(server, burst);
                let added = |q| (steady.quantile(q) - direct.quantile(q)) * 1000.0;
                self.report.add(
                    "10 ms away",
                    server.name,
                    round,
                    &[
                        ("added p50", added(0.5), "us"),
                        ("added p99", added(0.99), "us"),
                        ("rate, 200 at once", window.rate() / 1000.0, "k/s"),
                        ("lost of 1000 at once", (burst.lost + burst.bad) as f64, "queries"),
                    ],
                );
            }
        }
        self.report.table("10 ms away", HITHER);
    }

    pub fn race(&mut self) {
        let [quick, middle, slow] = [5, 20, 80].map(|ms| self.upstream(ms, 0, 1));
        let (lossy, dead) = (self.upstream(5, 10, 1), self.upstream(5, 100, 1));
        // The best upstream is last in the configuration, so that a server that uses them in order is seen.
        let sets = [
            ("5, 20, 80 ms", vec![slow.1, middle.1, quick.1]),
            ("5 ms with loss, 20, 80 ms", vec![slow.1, middle.1, lossy.1]),
            ("20 ms and a dead one", vec![dead.1, middle.1]),
        ];
        let all: Vec<&str> =
            KINDS[4..].iter().map(|k| k.name).filter(|n| *n != "dnsdist, recvmmsg").collect();
        let all = [&[HITHER][..], &all].concat();
        for (name, upstreams) in sets {
            for round in 0..self.rounds {
                for kind in self.wanted(&all) {
                    let Some(server) = self.start_one(kind, &upstreams, 50_000, "0") else { continue };
                    let patient = Duration::from_secs(6);
                    let names = self.next_names(10_000);
                    let first = Load { until: Until::Count(50), timeout: patient, ..open(names, 100.0) };
                    let first = load::run(server.address, first);
                    let names = self.next_names(10_000);
                    let rest = Load { until: Until::Count(600), timeout: patient, ..open(names, 300.0) };
                    let rest = load::run(server.address, rest);
                    self.report.add(
                        name,
                        server.name,
                        round,
                        &[
                            ("mean of the first 50", first.mean(), "ms"),
                            ("p50", rest.quantile(0.5), "ms"),
                            ("p99", rest.quantile(0.99), "ms"),
                            ("mean", rest.mean(), "ms"),
                            ("slowest", rest.quantile(1.0).max(first.quantile(1.0)), "ms"),
                            (
                                "lost or bad",
                                (first.lost + first.bad + rest.lost + rest.bad) as f64,
                                "queries",
                            ),
                        ],
                    );
                    server.stop();
                }
            }
            self.report.table(name, HITHER);
        }
    }

    /// Asks for each name once, in slices, so that all of them are cached.
    pub(crate) fn fill(server: &Server, names: std::ops::Range<u64>, rtype: Rtype) {
        let mut at = names.start;
        while at < names.end {
            let count = (names.end - at).min(10_000);
            let load = Load {
                rtype,
                until: Until::Count(count),
                timeout: Duration::from_secs(3),
                ..closed(Names::Fresh(at), 50)
            };
            load::run(server.address, load);
            at += count;
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    pub fn start(&mut self) {
        const NAMES: usize = 1_000_000;
        const FEW: &str = "1 k names";
        let upstream = self.upstream(0, 0, 1);
        let Some(kind) = self.wanted(&[HITHER]).pop() else { return };
        let Some(server) = self.start_one(kind, &[upstream.1], NAMES, "0") else { return };
        Self::fill(&server, 0..NAMES as u64, Rtype::A);
        for round in 0..self.rounds {
            for (names, what) in [(1000, FEW), (NAMES as u64, "1 M names")] {
                let (outcome, cpu) = Self::slice(&server, closed(Names::Of(names), 100));
                let figures = [("rate", outcome.rate() / 1000.0, "k/s"), ("processor time", cpu, "us")];
                self.report.add("hits by number of names", what, round, &figures);
            }
        }
        self.report.table("hits by number of names", FEW);
        let (dir, address) = (self.dir.join(server.address.port().to_string()), server.address);
        let mut server = Some(server);
        for round in 0..self.rounds {
            let Some(running) = server.take() else { return };
            let busy = std::thread::spawn(move || {
                load::run(
                    address,
                    Load {
                        until: Until::Time(Duration::from_millis(500)),
                        timeout: Duration::from_millis(300),
                        ..closed(Names::Of(NAMES as u64), 50)
                    },
                )
            });
            std::thread::sleep(Duration::from_millis(100));
            let stopped = running.stop();
            let _ = busy.join();
            let task = Task { dir: &dir, address, upstreams: &[upstream.1], names: NAMES };
            let began = Instant::now();
            let started = Server::start_notifying(kind, &task, ("0", self.priority));
            let (next, ready) = match started {
                Ok(started) => started,
                Err(why) => return println!("MISSING a start of hither: it {why}"),
            };
            while !next.answers() && began.elapsed() < Duration::from_secs(15) {}
            self.report.add(
                "start and stop",
                "hither, 1 M names",
                round,
                &[
                    ("start to ready", ready.as_secs_f64() * 1000.0, "ms"),
                    ("start to first answer", began.elapsed().as_secs_f64() * 1000.0, "ms"),
                    ("stop under load", stopped.as_secs_f64() * 1000.0, "ms"),
                ],
            );
            server = Some(next);
        }
        self.report.table("start and stop", "");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
