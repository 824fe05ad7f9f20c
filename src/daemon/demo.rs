//! `hitherd --demo`: shows how the table's entry for one name develops, without network, root or
//! configuration.
//!
//! Only the upstreams are simulated: three threads on loopback that answer with hickory-proto. The
//! daemon and the sorter are real processes, and the output is read from the table by another
//! process.

#![allow(clippy::print_stdout)] // The demo is output for a terminal.

use crate::daemon::companion_child::ourselves_as;
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType, rdata};
use hither_table::Monotonic;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const NAME: &str = "www.hither.example.";

/// An upstream: its latency, and the last octets of the addresses that it answers with.
struct Upstream {
    delay: Duration,
    addresses: &'static [u8],
}

const UPSTREAMS: [Upstream; 3] = [
    Upstream { delay: Duration::from_millis(20), addresses: &[11, 12] },
    Upstream { delay: Duration::from_millis(140), addresses: &[12, 13] },
    Upstream { delay: Duration::from_millis(320), addresses: &[13, 14] },
];

/// Runs the demo until Ctrl-C.
pub(crate) fn run() -> ExitCode {
    match show() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("the demo cannot continue: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show() -> Result<(), Box<dyn std::error::Error>> {
    let signals = hither_net::signals::Signals::new()?;
    let scene = Scene::start()?;
    println!("Three upstreams on loopback, each with its own delay and its own addresses for {NAME}");
    for (upstream, at) in UPSTREAMS.iter().zip(&scene.upstreams) {
        let addresses: Vec<String> = upstream.addresses.iter().map(|n| address(*n).to_string()).collect();
        println!("    {at:<22} {:>4} ms   {}", upstream.delay.as_millis(), addresses.join(", "));
    }
    println!("No server listens at {}; the other addresses accept connections.\n", address(13));
    let asked = hither_net::clock::now();
    let answer = ask(scene.server)?;
    println!("{:>9.1} ms  a client has sent a query and has its reply: {answer}", since(asked));
    println!("\nThe entry as another process reads it from the table, without a query:");
    scene.watch(asked)?;
    println!("\nServing at {} until Ctrl-C. Try, in another terminal:", scene.server);
    println!("    dig -p {} @{} {NAME}", scene.server.port(), scene.server.ip());
    println!("    HITHER_RUNTIME_DIR={} hitherctl watch {NAME}", scene.dir.display());
    scene.serve(signals)?;
    Ok(())
}

fn since(start: Monotonic) -> f64 {
    hither_net::clock::now().since(start).as_secs_f64() * 1e3
}

fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, n)
}

/// The processes and files of the demo. Dropping it ends and removes them.
struct Scene {
    dir: PathBuf,
    server: SocketAddr,
    upstreams: Vec<SocketAddr>,
    daemon: Child,
    watcher: Option<Child>,
    lines: mpsc::Receiver<String>,
    _listeners: Vec<TcpListener>,
}

impl Scene {
    fn start() -> Result<Scene, Box<dyn std::error::Error>> {
        let dir = std::env::temp_dir().join(format!("hither-demo-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let (listeners, port) = listeners()?;
        let upstreams: Vec<SocketAddr> = UPSTREAMS.iter().map(start_upstream).collect::<Result<_, _>>()?;
        let server = free_address()?;
        let config = dir.join("hither.toml");
        std::fs::write(&config, configuration(&dir, server, &upstreams, port))?;
        let mut command = ourselves_as("hitherctl")?;
        command.arg("--runtime-dir").arg(&dir).args(["--json", "watch", NAME]);
        let (watcher, lines) = spawn_and_read(&mut command)?;
        let mut command = ourselves_as("hitherd")?;
        command.arg("--config").arg(&config).arg("--with-sorter");
        let mut daemon = command.stderr(Stdio::piped()).spawn()?;
        wait_until_ready(&mut daemon)?;
        Ok(Scene { dir, server, upstreams, daemon, watcher: Some(watcher), lines, _listeners: listeners })
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

    fn serve(mut self, mut signals: hither_net::signals::Signals) -> Result<(), Box<dyn std::error::Error>> {
        let mut poll = mio::Poll::new()?;
        poll.registry().register(&mut signals, mio::Token(0), mio::Interest::READABLE)?;
        let mut events = mio::Events::with_capacity(4);
        loop {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
            while let Some(signal) = signals.take() {
                match signal {
                    hither_net::signals::Signal::Terminate => return Ok(()),
                    _ if self.daemon.try_wait()?.is_some() => return Err("the daemon has ended".into()),
                    _ => {}
                }
            }
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let term = |child: &Child| {
            let pid = nix::unistd::Pid::from_raw(child.id() as i32);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        };
        if let Some(mut watcher) = self.watcher.take() {
            let _ = watcher.kill();
            let _ = watcher.wait();
        }
        term(&self.daemon);
        let _ = self.daemon.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
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

/// A loopback address with a port that is free for UDP and TCP.
fn free_address() -> std::io::Result<SocketAddr> {
    for _ in 0..20 {
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        if TcpListener::bind(udp.local_addr()?).is_ok() {
            return udp.local_addr();
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

fn spawn_and_read(command: &mut Command) -> std::io::Result<(Child, mpsc::Receiver<String>)> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let (sender, receiver) = mpsc::channel();
    if let Some(out) = child.stdout.take() {
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
    }
    Ok((child, receiver))
}

/// Waits until the daemon's log reports that it is ready. Later lines are read and dropped.
fn wait_until_ready(daemon: &mut Child) -> Result<(), String> {
    let Some(log) = daemon.stderr.take() else { return Err("the daemon has no log".to_owned()) };
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut waiting = Some(sender);
        let mut lines = String::new();
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            lines += &line;
            lines += "\n";
            if line.contains("ready at")
                && let Some(sender) = waiting.take()
                && sender.send(Ok(())).is_err()
            {
                // The receiver is gone: the demo has failed and ends the daemon.
                return Ok(());
            }
        }
        waiting.map_or(Ok(()), |sender| sender.send(Err(lines)))
    });
    receiver.recv_timeout(Duration::from_secs(10)).map_err(|_| "the daemon does not start".to_owned())?
}

/// Sends one query, as a client does, and returns the addresses of the reply.
fn ask(server: SocketAddr) -> Result<String, Box<dyn std::error::Error>> {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(hickory_proto::op::Query::query(NAME.parse()?, RecordType::A));
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.send(&query.to_vec()?)?;
    let mut buffer = [0; 1232];
    let len = socket.recv(&mut buffer)?;
    let reply = Message::from_vec(&buffer[..len])?;
    let addresses: Vec<String> = reply.answers.iter().map(|record| record.data.to_string()).collect();
    Ok(addresses.join(", "))
}

/// Starts an upstream in a thread. It answers every query for A records after its delay.
fn start_upstream(upstream: &Upstream) -> std::io::Result<SocketAddr> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let at = socket.local_addr()?;
    let (delay, addresses) = (upstream.delay, upstream.addresses);
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((len, peer)) = socket.recv_from(&mut buffer) {
            let Some(reply) =
                Message::from_vec(&buffer[..len]).ok().and_then(|query| respond(query, addresses))
            else {
                continue;
            };
            let Ok(socket) = socket.try_clone() else { continue };
            std::thread::spawn(move || {
                std::thread::sleep(delay);
                let _ = socket.send_to(&reply, peer);
            });
        }
    });
    Ok(at)
}

fn respond(query: Message, addresses: &[u8]) -> Option<Vec<u8>> {
    let asked = query.queries.first()?.clone();
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.recursion_available = true;
    reply.metadata.response_code = ResponseCode::NoError;
    if asked.query_type == RecordType::A {
        for n in addresses {
            reply.add_answer(Record::from_rdata(asked.name.clone(), 300, RData::A(rdata::A(address(*n)))));
        }
    } else {
        reply.metadata.response_code = ResponseCode::Refused;
    }
    reply.add_query(asked);
    reply.to_vec().ok()
}
