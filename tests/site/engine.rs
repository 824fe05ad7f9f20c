//! A real engine: redis-server or valkey-server, at a socket of its own or at a port.

use crate::support::{PATIENCE, directory, retried, skip};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// An engine, killed when this is dropped.
pub struct Engine {
    pub dir: PathBuf,
    /// Its port, if it has one.
    pub port: u16,
    process: Child,
    args: Vec<String>,
}

/// The server of this host, of either name.
fn program() -> Option<&'static str> {
    let runs = |name: &&str| {
        let mut command = Command::new(name);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    ["valkey-server", "redis-server"].into_iter().find(runs)
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

impl Engine {
    /// An engine at a socket; `None` where no server is installed.
    pub fn start(more: &[&str]) -> Option<Engine> {
        Engine::start_at(0, more)
    }

    /// An engine that also listens at a port of 127.0.0.1.
    pub fn start_with_port(more: &[&str]) -> Option<Engine> {
        Engine::start_at(free_port(), more)
    }

    fn start_at(port: u16, more: &[&str]) -> Option<Engine> {
        if program().is_none() {
            skip("tests with an engine", "needs valkey-server or redis-server");
            return None;
        }
        let dir = directory();
        let socket = dir.join("engine.sock").display().to_string();
        let shown = (port.to_string(), dir.display().to_string());
        let own = ["--port", &shown.0, "--bind", "127.0.0.1", "--unixsocket", &socket, "--dir", &shown.1];
        let own = own.into_iter().chain(["--save", "", "--appendonly", "no", "--loglevel", "warning"]);
        let args: Vec<String> = own.chain(more.iter().copied()).map(str::to_owned).collect();
        let process = spawn(&args);
        let engine = Engine { dir, port, process, args };
        engine.until_ready();
        Some(engine)
    }

    fn until_ready(&self) {
        let end = Instant::now() + PATIENCE;
        while self.try_cli(&["PING"]).is_none() {
            assert!(Instant::now() < end, "the engine is not ready");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("engine.sock")
    }

    /// A section `[site]` with the socket of this engine.
    pub fn config(&self, more: &str) -> String {
        format!("[site]\nengine = \"unix:{}\"\n{more}", self.socket().display())
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The engine is killed, and loses what it has.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(self.socket());
    }

    pub fn restart(&mut self) {
        self.process = spawn(&self.args);
        self.until_ready();
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.process.id()).expect("small"));
        nix::sys::signal::kill(pid, signal).expect("it runs");
    }

    /// The reply to a command as text: of a list its strings, each on a line.
    pub fn cli(&self, command: &[&str]) -> String {
        self.try_cli(command).expect("the engine answers")
    }

    fn try_cli(&self, command: &[&str]) -> Option<String> {
        exchange(&self.socket(), command)
    }

    pub fn keys(&self) -> Vec<String> {
        self.cli(&["KEYS", "*"]).lines().map(str::to_owned).collect()
    }

    /// How often each command was called.
    pub fn calls(&self) -> impl Fn(&str) -> u64 + use<> {
        let text = self.cli(&["INFO", "commandstats"]);
        move |command| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
            line.and_then(|rest| rest.split(',').next()).map_or(0, |count| count.parse().expect("a number"))
        }
    }
}

fn spawn(args: &[String]) -> Child {
    let mut command = Command::new(program().expect("installed"));
    command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started")
}

/// One command on a connection of its own.
fn exchange(socket: &Path, command: &[&str]) -> Option<String> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut octets = format!("*{}\r\n", command.len());
    command.iter().for_each(|part| octets += &format!("${}\r\n{part}\r\n", part.len()));
    // QUIT ends the connection after the reply.
    octets += "*1\r\n$4\r\nQUIT\r\n";
    stream.write_all(octets.as_bytes()).ok()?;
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match retried(|| stream.read(&mut buffer)).ok()? {
            0 => break,
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
    let text = String::from_utf8_lossy(&all);
    let text = text.strip_suffix("+OK\r\n")?;
    let is_length = |line: &&str| !(line.starts_with('$') || line.starts_with('*')) || line.len() < 2;
    let lines: Vec<_> = text.split("\r\n").filter(is_length).collect();
    let text = lines.join("\n");
    Some(text.trim_end_matches('\n').trim_start_matches([':', '+']).to_owned())
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
