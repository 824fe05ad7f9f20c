//! Support for tests of the real daemon: scripted upstreams, a daemon in a directory of its own,
//! clients.
#![allow(dead_code, unused_imports)] // Each test file uses its own part.

pub mod engine;
pub mod journal;
mod retry;
pub mod sets;
mod skip;
mod upstream;

use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::{Asked, Composer, Owner, QueryBits, flags, query};
use hither_wire::message::{Message, Section};
use hither_wire::name::Name;
use hither_wire::query::Query;
use nix::sched::{CloneFlags, unshare};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

pub use retry::retried;
pub use skip::skip;
pub use upstream::{HELD, Upstream};

/// Timeout for events that must come; long enough that no test fails only because a machine is busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn frame(octets: &[u8]) -> Vec<u8> {
    [&u16::try_from(octets.len()).expect("short").to_be_bytes()[..], octets].concat()
}

pub fn framed(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut octets = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut octets).ok()?;
    Some(octets)
}

/// A response to `query` with addresses 198.18.0.n.
pub fn answer(query: &[u8], ends: &[u8], ttl_s: u32) -> Vec<u8> {
    compose(query, Rcode::NOERROR, 0, |composer| {
        for end in ends {
            assert!(composer.record(
                Section::Answer,
                Owner::At(12),
                Rtype::A,
                ttl_s,
                &Ipv4Addr::new(198, 18, 0, *end).octets()
            ));
        }
    })
}

pub fn compose(query: &[u8], rcode: Rcode, more: u16, write: impl FnOnce(&mut Composer<'_>)) -> Vec<u8> {
    let read = Query::read(query).expect("the daemon's own query");
    let mut out = vec![0; 65_535];
    let mut composer = Composer::new(&mut out, 65_535).expect("room");
    composer.set_header(read.id(), flags::QR | flags::RA | flags::RD | more | u16::from(rcode.0));
    assert!(composer.question_octets(read.question()));
    write(&mut composer);
    let len = composer.finish();
    out.truncate(len);
    out
}

pub fn ask_for(name: &str, rtype: Rtype, edns: Option<u16>, id: u16) -> Vec<u8> {
    let name: Name = name.parse().expect("a name");
    let mut out = [0; 300];
    let bits = QueryBits { rd: true, cd: false, edns: edns.map(|size| (size, false)) };
    let len = query(&mut out, id, &Asked { name: &name, rtype }, bits);
    out[..len].to_vec()
}

/// The addresses of a reply by their last octet.
pub fn ends(reply: &[u8]) -> Vec<u8> {
    let message = Message::read(reply).expect("a readable reply");
    let address = |r: hither_wire::message::Record<'_>| r.address();
    message
        .records()
        .filter_map(address)
        .map(|a| if let std::net::IpAddr::V4(v4) = a { v4.octets()[3] } else { 0 })
        .collect()
}

/// A running daemon, which is killed when this is dropped.
pub struct Daemon {
    pub dir: PathBuf,
    pub server: SocketAddr,
    pub process: Child,
    log: Arc<Mutex<String>>,
    lines: mpsc::Receiver<String>,
}

static DIRECTORIES: AtomicUsize = AtomicUsize::new(0);

pub fn directory() -> PathBuf {
    let n = DIRECTORIES.fetch_add(1, Ordering::SeqCst);
    let dir = std::env::temp_dir().join(format!("hither-test-{}-{n}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(dir.join("run")).expect("a directory");
    dir
}

/// Compiles a library for LD_PRELOAD; `None` without a C compiler.
pub fn preloaded(dir: &std::path::Path, source: &str) -> Option<PathBuf> {
    let library = dir.join("preloaded.so");
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
    command.status().is_ok_and(|status| status.success()).then_some(library)
}

impl Daemon {
    pub fn start(upstreams: &[&Upstream], more: &str) -> Daemon {
        Daemon::start_in(directory(), upstreams, more)
    }

    pub fn start_in(dir: PathBuf, upstreams: &[&Upstream], more: &str) -> Daemon {
        Daemon::configure(&dir, upstreams, more);
        let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
        command.arg("--config").arg(dir.join("hither.toml"));
        Daemon::spawn(dir, &mut command)
    }

    pub fn configure(dir: &std::path::Path, upstreams: &[&Upstream], more: &str) {
        let mut text = format!(
            "runtime_dir = {:?}\n[listen]\ndns = [\"127.0.0.1:0\"]\n",
            dir.join("run").display().to_string()
        );
        upstreams.iter().for_each(|u| text += &format!("[[upstream]]\naddress = \"{}\"\n", u.address));
        std::fs::write(dir.join("hither.toml"), text + more).expect("writable");
    }

    pub fn spawn(dir: PathBuf, command: &mut Command) -> Daemon {
        let mut process = command.stderr(Stdio::piped()).spawn().expect("started");
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, lines) = mpsc::channel();
        let stderr = process.stderr.take().expect("piped");
        std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    *log.lock().expect("no panic") += &(line.clone() + "\n");
                    let _ = sender.send(line);
                }
            }
        });
        let mut daemon = Daemon { dir, server: SocketAddr::from(([127, 0, 0, 1], 0)), process, log, lines };
        let ready = daemon.wait_for("ready at ");
        let first =
            ready.split("ready at ").nth(1).and_then(|rest| rest.split(',').next()).expect("an address");
        daemon.server = first.trim().parse().expect("an address");
        daemon
    }

    /// Waits for a line of the log.
    pub fn wait_for(&self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(_) => panic!("the log never says '{text}':\n{}", self.log.lock().expect("no panic")),
            }
        }
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.process.id()).expect("small"));
        nix::sys::signal::kill(pid, signal).expect("it runs");
    }

    pub fn client(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(self.server).expect("a route");
        socket.set_read_timeout(Some(PATIENCE)).expect("an option");
        socket
    }

    /// Sends octets and returns the reply.
    pub fn exchange(&self, octets: &[u8]) -> Vec<u8> {
        let socket = self.client();
        socket.send(octets).expect("sent");
        let mut buffer = [0; 65_535];
        let len = retried(|| socket.recv(&mut buffer)).expect("a reply");
        buffer[..len].to_vec()
    }

    pub fn ask(&self, name: &str) -> Vec<u8> {
        self.exchange(&ask_for(name, Rtype::A, Some(1232), 7))
    }

    pub fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        stream
    }

    pub fn ctl(&self, args: &[&str]) -> std::process::Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hitherctl"));
        command.arg("--runtime-dir").arg(self.dir.join("run")).args(args).output().expect("started")
    }

    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let output = self.ctl(&[&["--json"], args].concat());
        serde_json::from_slice(&output.stdout).unwrap_or(serde_json::Value::Null)
    }

    /// Polls until a condition holds that no event announces, such as the value of a counter.
    pub fn until(&self, what: &str, holds: impl Fn(&Daemon) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < end, "not in time: {what}; {}\n{}", self.json(&["stats"]), self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).expect("it runs").count()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Polls until a condition holds that no event announces.
pub fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Enters a network and a mount namespace, for this thread and what it starts; `false` where that
/// is not allowed.
pub fn alone(test: &str) -> bool {
    let made = unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS);
    if made.is_err() || !ip("link set lo up") {
        skip(test, "needs root, namespaces and ip(8)");
        return false;
    }
    assert!(sh("mount --make-rprivate /"), "mounts are private");
    true
}

pub fn sh(line: &str) -> bool {
    Command::new("sh").args(["-c", line]).status().is_ok_and(|status| status.success())
}

pub fn ip(line: &str) -> bool {
    sh(&format!("ip {line}"))
}

/// A program of `tests/native` or of the examples, in `dir`.
pub fn compile(dir: &Path, source: &str, flags: &[&str]) -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = dir.join(format!("{}{}", source.replace('/', "-"), flags.len()));
    let compiled = Command::new("gcc")
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-pthread", "-I"])
        .arg(top.join("include"))
        .args(flags)
        .arg(top.join(source))
        .arg("-o")
        .arg(&program)
        .arg("-L")
        .arg(libraries())
        .arg("-lhither")
        .output()
        .expect("gcc runs");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    program
}

/// A library that is loaded by another program and needs libhither.
pub fn compile_library(source: &Path, library: &Path, headers: &Path) {
    let compiled = Command::new("gcc")
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "-I"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"))
        .arg("-isystem")
        .arg(headers)
        .arg(source)
        .arg("-o")
        .arg(library)
        .arg("-L")
        .arg(libraries())
        .arg("-lhither")
        .output()
        .expect("gcc runs");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
}

/// The folder with both libraries under the names they are installed by.
pub fn libraries() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let target =
            Path::new(env!("CARGO_BIN_EXE_hitherd")).ancestors().nth(2).expect("target/debug/hitherd");
        let built = Command::new(env!("CARGO"))
            .args([
                "build",
                "-q",
                "--locked",
                "--profile",
                "loadable",
                "-p",
                "hither-nss",
                "-p",
                "hither-capi",
            ])
            .arg("--target-dir")
            .arg(target)
            .status();
        assert!(
            built.expect("cargo runs").success(),
            "the libraries do not link; perhaps a panic can be reached"
        );
        let folder = target.join("loadable/installed");
        std::fs::create_dir_all(&folder).expect("a directory");
        for (built, names) in [
            ("libnss_hither.so", &["libnss_hither.so.2"][..]),
            ("libhither_c.so", &["libhither.so.1", "libhither.so"]),
        ] {
            for name in names {
                // By rename: another test program may have the library mapped.
                let new = folder.join(format!("{name}.{}", std::process::id()));
                std::fs::copy(target.join("loadable").join(built), &new).expect("a built library");
                std::fs::rename(&new, folder.join(name)).expect("a folder of our own");
            }
        }
        folder
    })
}
