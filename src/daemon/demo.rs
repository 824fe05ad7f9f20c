//! `hitherd --demo`: shows how the table's entry for one name develops, without network, root or
//! configuration.
//!
//! Only the upstreams are simulated: three threads on loopback that answer with hickory-proto. The
//! daemon and the sorter are real processes, and the output is read from the table by another
//! process.

#![allow(clippy::print_stdout)] // The demo is output for a terminal.

mod engine;
mod processes;
mod site;
mod upstream;

use crate::daemon::companion_child::ourselves_as;
use hither_net::signals::{Signal, Signals};
use hither_table::Monotonic;
use processes::{Process, ask, free_address, spawn_and_read, start_daemon};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode};
use std::sync::mpsc;
use std::time::Duration;
use upstream::Upstream;

const NAME: &str = "www.hither.example.";

const LOOPBACK: [u8; 3] = [127, 0, 0];
const UPSTREAMS: [Upstream; 3] = [
    Upstream { delay: Duration::from_millis(20), network: LOOPBACK, addresses: &[11, 12] },
    Upstream { delay: Duration::from_millis(140), network: LOOPBACK, addresses: &[12, 13] },
    Upstream { delay: Duration::from_millis(320), network: LOOPBACK, addresses: &[13, 14] },
];

/// Runs the demo until Ctrl-C: that of one host, or that of two hosts of a site.
pub(crate) fn run(with_site: bool) -> ExitCode {
    match if with_site { site::show() } else { show() } {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("the demo cannot continue: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show() -> Result<(), Box<dyn std::error::Error>> {
    let signals = Signals::new()?;
    let scene = Scene::start()?;
    println!("Three upstreams on loopback, each with its own delay and its own addresses for {NAME}");
    for (upstream, at) in UPSTREAMS.iter().zip(&scene.upstreams) {
        let addresses: Vec<String> = upstream.answers().map(|address| address.to_string()).collect();
        println!("    {at:<22} {:>4} ms   {}", upstream.delay.as_millis(), addresses.join(", "));
    }
    println!("No server listens at {}; the other addresses accept connections.\n", address(13));
    let asked = hither_net::clock::now();
    let answer = ask(scene.server, NAME)?;
    println!("{:>9.1} ms  a client has sent a query and has its reply: {answer}", since(asked));
    println!("\nThe entry as another process reads it from the table, without a query:");
    scene.watch(asked)?;
    println!("\nServing at {} until Ctrl-C. Try, in another terminal:", scene.server);
    println!("    dig -p {} @{} {NAME}", scene.server.port(), scene.server.ip());
    println!("    HITHER_RUNTIME_DIR={} hitherctl watch {NAME}", scene.dir.0.display());
    scene.serve(signals)?;
    Ok(())
}

fn since(start: Monotonic) -> f64 {
    hither_net::clock::now().since(start).as_secs_f64() * 1e3
}

/// An address of the answers, by its last octet.
fn address(n: u8) -> Ipv4Addr {
    let [a, b, c] = LOOPBACK;
    Ipv4Addr::new(a, b, c, n)
}

/// Waits for Ctrl-C, while none of the processes ends.
fn serve_until_interrupted(
    mut signals: Signals,
    processes: &mut [(&str, &mut Process)],
) -> Result<(), Box<dyn std::error::Error>> {
    let mut poll = mio::Poll::new()?;
    poll.registry().register(&mut signals, mio::Token(0), mio::Interest::READABLE)?;
    let mut events = mio::Events::with_capacity(4);
    loop {
        while let Some(signal) = signals.take() {
            if signal == Signal::Terminate {
                return Ok(());
            }
            for (name, process) in processes.iter_mut() {
                if process.0.try_wait()?.is_some() {
                    return Err(format!("{name} has ended").into());
                }
            }
        }
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
    }
}

/// The processes and files of the demo. Dropping it ends and removes them.
struct Scene {
    server: SocketAddr,
    upstreams: Vec<SocketAddr>,
    _watcher: Watcher,
    lines: mpsc::Receiver<String>,
    daemon: Process,
    _listeners: Vec<TcpListener>,
    /// Last: it is removed when nobody uses it.
    dir: Directory,
}

impl Scene {
    fn start() -> Result<Scene, Box<dyn std::error::Error>> {
        let dir = Directory::new()?;
        let (listeners, port) = listeners()?;
        let upstreams: Vec<SocketAddr> = UPSTREAMS
            .iter()
            .map(|one| upstream::start(one).map(|running| running.at))
            .collect::<Result<_, _>>()?;
        let server = free_address()?;
        let config = dir.0.join("hither.toml");
        std::fs::write(&config, configuration(&dir.0, server, &upstreams, port))?;
        let mut command = ourselves_as("hitherctl")?;
        command.arg("--runtime-dir").arg(&dir.0).args(["--json", "watch", NAME]);
        let (watcher, lines) = spawn_and_read(&mut command)?;
        let watcher = Watcher(watcher);
        let mut command = ourselves_as("hitherd")?;
        let daemon = start_daemon(command.arg("--config").arg(&config).arg("--with-sorter"))?;
        Ok(Scene { server, upstreams, _watcher: watcher, lines, daemon, _listeners: listeners, dir })
    }

    /// Prints each version until the set is complete and sorted.
    fn watch(&self, asked: Monotonic) -> Result<(), Box<dyn std::error::Error>> {
        loop {
            let line = self
                .lines
                .recv_timeout(Duration::from_secs(15))
                .map_err(|_| "the table does not show a sorted set")?;
            let entry: serde_json::Value = serde_json::from_str(&line)?;
            println!("{:>9.1} ms  {}", since(asked), describe(&entry));
            if entry["state"] == "complete" && entry["sorted"] == true {
                return Ok(());
            }
        }
    }

    fn serve(mut self, signals: Signals) -> Result<(), Box<dyn std::error::Error>> {
        serve_until_interrupted(signals, &mut [("the daemon", &mut self.daemon)])
    }
}

/// A process that waits for the table without an end of its own.
struct Watcher(Child);

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory that is removed when this is dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> std::io::Result<Directory> {
        let path = std::env::temp_dir().join(format!("hither-demo-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Directory(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn describe(entry: &serde_json::Value) -> String {
    let state = match entry["state"].as_str() {
        Some("first") => "more to come",
        Some("partial") => "the addresses that came in time",
        _ => "complete",
    };
    let order =
        if entry["sorted"] == true { "in the order of measured latency" } else { "in the order of arrival" };
    let mut out = format!("version {}  {state}, {order}", entry["version"]);
    for shown in entry["addresses"].as_array().into_iter().flatten() {
        let _ = write!(out, "\n                  {:<15}", shown["address"].as_str().unwrap_or_default());
        let _ = match (shown["reachable"].as_bool(), shown["rtt_us"].as_u64()) {
            (Some(true), Some(micros)) => write!(out, " {:.3} ms", micros as f64 / 1000.0),
            (Some(false), _) => write!(out, " not reachable"),
            _ => Ok(()),
        };
    }
    out
}

/// Listeners at all addresses of the answers except one, with the same port.
fn listeners() -> std::io::Result<(Vec<TcpListener>, u16)> {
    for _ in 0..20 {
        let first = TcpListener::bind((address(11), 0))?;
        let port = first.local_addr()?.port();
        let others: std::io::Result<Vec<_>> =
            [12, 14].map(|n| TcpListener::bind((address(n), port))).into_iter().collect();
        if let Ok(others) = others {
            return Ok((std::iter::once(first).chain(others).collect(), port));
        }
    }
    Err(std::io::ErrorKind::AddrInUse.into())
}

fn configuration(dir: &Path, server: SocketAddr, upstreams: &[SocketAddr], port: u16) -> String {
    let mut text = format!(
        "runtime_dir = {:?}\n[listen]\ndns = [\"{server}\"]\n[sort]\nprobes = [\"tcp:{port}\"]\nprivate = true\n[cache]\nsave = \"0s\"\n[log]\nlevel = \"info\"\n",
        dir.display().to_string()
    );
    for upstream in upstreams {
        let _ = write!(text, "[[upstream]]\naddress = \"{upstream}\"\n");
    }
    text
}
