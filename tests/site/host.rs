//! One host: the companion as a process, with a table and a socket that play the daemon.

use crate::support::{PATIENCE, directory};
use hither_control::{OfferedSet, SITE_SOCKET, SiteMessage, SiteReply, SiteReport, decode, encode};
use hither_net::seqpacket::{Connection, Listener};
use hither_table::{Draft, FamilyDraft, Geometry, Held, Writer, open_or_create};
use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// A host of the site; its companion is killed when this is dropped.
pub struct Host {
    pub dir: PathBuf,
    pub name: String,
    writer: Writer,
    _held: Held,
    process: Option<Child>,
    log: Arc<Mutex<String>>,
    daemon: Daemon,
}

/// The daemon's end of the socket.
struct Daemon {
    messages: mpsc::Receiver<SiteMessage>,
    connection: Arc<Mutex<Option<Connection>>>,
    reads: Arc<AtomicBool>,
    report: Option<SiteReport>,
    /// Messages that came while a report was waited for.
    kept: VecDeque<SiteMessage>,
}

impl Host {
    /// A companion whose daemon reads what it sends.
    pub fn start(name: &str, config: &str) -> Host {
        Host::start_reading(name, config, true)
    }

    /// A companion whose daemon reads from the beginning, or after [`Host::read`].
    pub fn start_reading(name: &str, config: &str, reads: bool) -> Host {
        let mut host = Host::prepare(name);
        host.daemon.reads.store(reads, Ordering::SeqCst);
        host.run(config);
        host
    }

    /// A host without a companion.
    pub fn prepare(name: &str) -> Host {
        let dir = directory();
        let geometry = Geometry { entries: 8192 };
        let (writer, _, held) =
            open_or_create(&dir.join("run"), &geometry, 0o644, [1, 2, 3], 1_000_000_000).expect("a table");
        let daemon = Daemon::start(&dir);
        let log = Arc::default();
        Host { dir, name: name.to_owned(), writer, _held: held, process: None, log, daemon }
    }

    /// Starts the companion.
    pub fn run(&mut self, config: &str) {
        self.configure(config);
        let mut command = Command::new(env!("CARGO_BIN_EXE_hither-site"));
        command.arg("--config").arg(self.dir.join("hither.toml")).args(["--host", &self.name]);
        command.env("CREDENTIALS_DIRECTORY", self.dir.join("credentials")).env_remove("NOTIFY_SOCKET");
        let mut process = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started");
        let lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let log = Arc::clone(&self.log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *log.lock().expect("no panic") += &(line + "\n");
            }
        });
        self.process = Some(process);
    }

    pub fn configure(&self, config: &str) {
        let run = self.dir.join("run");
        let text =
            format!("runtime_dir = {:?}\n{config}\n[log]\nlevel = \"debug\"\n", run.display().to_string());
        std::fs::write(self.dir.join("hither.toml"), text).expect("writable");
    }

    /// Writes a credential for the companion.
    pub fn credential(&self, name: &str, text: &str) {
        let dir = self.dir.join("credentials");
        std::fs::create_dir_all(&dir).expect("writable");
        std::fs::write(dir.join(name), text).expect("writable");
    }

    /// Publishes addresses 198.18.0.n, as if upstreams had given them just now.
    pub fn publish(&mut self, name: &str, ends: &[u8], ttl_s: u32) -> u64 {
        self.put(name, |set| {
            let now_ms = hither_net::clock::now().as_ms();
            let addresses = ends.iter().map(|end| IpAddr::from([198, 18, 0, *end]));
            let (version, lifetime_ms) = (set.version, u64::from(ttl_s) * 1000);
            *set = FamilyDraft::of(version, addresses, now_ms + lifetime_ms, ttl_s);
        })
    }

    /// Publishes a set that is made of a good one; returns its version.
    pub fn put(&mut self, name: &str, change: impl FnOnce(&mut FamilyDraft)) -> u64 {
        let now = hither_net::clock::now();
        let version = self.writer.next_version();
        let mut set = FamilyDraft::of(version, [IpAddr::from([198, 18, 0, 1])], now.as_ms() + 60_000, 60);
        change(&mut set);
        let draft = Draft { name: name.parse().expect("a name"), a: Some(set), aaaa: None };
        self.writer.put(&draft, now).expect("room");
        self.writer.wake_followers();
        version
    }

    /// Sends the companion a message of the daemon, once it is connected.
    pub fn send(&self, message: &SiteReply) {
        let octets = encode(message).expect("short");
        let end = Instant::now() + PATIENCE;
        loop {
            let connection = self.daemon.connection.lock().expect("no panic");
            if let Some(connection) = &*connection {
                return connection.send(&octets).expect("sent");
            }
            drop(connection);
            assert!(Instant::now() < end, "no companion is connected:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The daemon begins to read.
    pub fn read(&self) {
        self.daemon.reads.store(true, Ordering::SeqCst);
    }

    /// The next message of the companion.
    pub fn next(&mut self) -> SiteMessage {
        let kept = self.daemon.kept.pop_front();
        kept.unwrap_or_else(|| self.receive())
    }

    fn receive(&mut self) -> SiteMessage {
        match self.daemon.messages.recv_timeout(PATIENCE) {
            Ok(message) => {
                if let SiteMessage::State(report) = &message {
                    self.daemon.report = Some(SiteReport::clone(report));
                }
                message
            }
            Err(_) => panic!("the companion says nothing; last {:?}:\n{}", self.daemon.report, self.log()),
        }
    }

    /// The next set that is offered.
    pub fn next_offer(&mut self) -> OfferedSet {
        loop {
            if let SiteMessage::Offers { mut sets } = self.next() {
                assert_eq!(sets.len(), 1, "{sets:?}");
                return sets.remove(0);
            }
        }
    }

    /// The answer to a question.
    pub fn answer(&mut self, number: u64) -> Option<OfferedSet> {
        loop {
            if let SiteMessage::Answer { ask, set } = self.next() {
                assert_eq!(ask, number);
                return set.map(|set| *set);
            }
        }
    }

    /// The next report for which a condition holds, or the last one.
    pub fn report(&mut self, holds: impl Fn(&SiteReport) -> bool) -> SiteReport {
        loop {
            if let Some(report) = self.daemon.report.as_ref().filter(|report| holds(report)) {
                return report.clone();
            }
            let message = self.receive();
            if !matches!(message, SiteMessage::State(_)) {
                self.daemon.kept.push_back(message);
            }
        }
    }

    pub fn until_up(&mut self) {
        self.report(|report| report.state == "up");
    }

    pub fn until_written(&mut self, count: u64) {
        let report = self.report(|report| report.counts.written >= count);
        assert_eq!(report.counts.written, count);
    }

    pub fn until_log(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            assert!(Instant::now() < end, "the log never says '{text}':\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).expect("small"));
        nix::sys::signal::kill(pid, signal).expect("it runs");
    }

    /// Waits for the end of the companion; returns whether it was a success.
    pub fn end(&mut self) -> bool {
        let end = Instant::now() + PATIENCE;
        loop {
            let process = self.process.as_mut().expect("it runs");
            if let Some(status) = process.try_wait().expect("a child") {
                return status.success();
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The companion's own memory at its peak, without its mapping of the table.
    pub fn memory_kib(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
        let kib = field("RssAnon:").expect("a field");
        kib.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// How often the companion's threads have run.
    pub fn switches(&self) -> Vec<(String, u64)> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs");
        let mut all: Vec<_> = threads
            .map(|thread| {
                let path = thread.expect("readable").path();
                let status = std::fs::read_to_string(path.join("status")).expect("it runs");
                let count = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
                let count = count.map(|(_, count)| count.trim().parse::<u64>().expect("a number")).sum();
                let name = std::fs::read_to_string(path.join("comm")).expect("it runs");
                (format!("{} {}", path.display(), name.trim()), count)
            })
            .collect();
        all.sort();
        all
    }

    /// Waits until no thread of the companion has run for a second.
    pub fn rest(&self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let before = self.switches();
            std::thread::sleep(Duration::from_secs(2));
            if self.switches() == before {
                return;
            }
            assert!(Instant::now() < end, "it never rests");
        }
    }
}

impl Daemon {
    fn start(dir: &std::path::Path) -> Daemon {
        let listener = Listener::bind(&dir.join("run").join(SITE_SOCKET), 0o600).expect("bound");
        let (sender, messages) = mpsc::channel();
        let (connection, reads) = (Arc::new(Mutex::new(None)), Arc::new(AtomicBool::new(true)));
        let daemon = Daemon {
            messages,
            connection: Arc::clone(&connection),
            reads: Arc::clone(&reads),
            report: None,
            kept: VecDeque::new(),
        };
        std::thread::spawn(move || serve(&listener, &connection, &reads, &sender));
        daemon
    }
}

/// Accepts one companion after the other, and passes their messages on.
fn serve(
    listener: &Listener,
    connection: &Mutex<Option<Connection>>,
    reads: &AtomicBool,
    sender: &mpsc::Sender<SiteMessage>,
) {
    let mut buffer = vec![0; hither_control::MESSAGE_MAX];
    loop {
        let mut current = connection.lock().expect("no panic");
        if let Ok(Some(accepted)) = listener.accept() {
            let unshared = encode(&SiteReply::Unshared { domains: Vec::new(), is_cut: false });
            accepted.send(&unshared.expect("short")).expect("sent");
            *current = Some(accepted);
        }
        if !reads.load(Ordering::SeqCst) {
            drop(current);
            std::thread::sleep(Duration::from_millis(10));
            continue;
        }
        let received = current.as_ref().map(|connection| connection.receive(&mut buffer));
        match received {
            Some(Ok([])) | Some(Err(_)) if !would_block(&received) => *current = None,
            Some(Ok(octets)) => {
                let message = decode(octets).expect("a message");
                if sender.send(message).is_err() {
                    return;
                }
                continue;
            }
            _ => {}
        }
        drop(current);
        wait(listener);
    }
}

fn would_block(received: &Option<std::io::Result<&[u8]>>) -> bool {
    matches!(received, Some(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Waits a moment for a connection.
fn wait(listener: &Listener) {
    let mut fds = [nix::poll::PollFd::new(listener.as_fd(), nix::poll::PollFlags::POLLIN)];
    nix::poll::poll(&mut fds, nix::poll::PollTimeout::from(2u8)).expect("polled");
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The last octets of a set's addresses.
pub fn addresses(set: &OfferedSet) -> Vec<u8> {
    let end = |address: IpAddr| if let IpAddr::V4(v4) = address { v4.octets()[3] } else { 0 };
    set.addresses.iter().map(|address| end(address.address)).collect()
}
