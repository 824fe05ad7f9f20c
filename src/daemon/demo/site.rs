//! `hitherd --demo --site`: two hosts that share their answers through an engine.
//!
//! Each host is a daemon with its companion, and has an upstream of its own that counts. The engine is
//! a real one.

use super::engine::Engine;
use super::processes::{Process, ask, free_address, start_daemon};
use super::upstream::{self, Upstream};
use super::{Directory, ourselves_as, serve_until_interrupted, since};
use hither_net::signals::{Signal, Signals};
use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Names of `.example` belong to nobody, and are not shared.
const NAME: &str = "www.example.com.";
const UPSTREAM: Upstream =
    Upstream { delay: Duration::from_millis(40), network: [192, 0, 2], addresses: &[11, 12] };
/// How long a state is waited for, and the interval of the questions for it.
const PATIENCE: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_millis(20);

/// The processes of one host, and what belongs to it.
struct Host {
    name: &'static str,
    server: SocketAddr,
    upstream: upstream::Running,
    dir: PathBuf,
    companion: Process,
    daemon: Process,
}

/// Runs the demo until Ctrl-C.
pub(super) fn show() -> Result<(), Box<dyn Error>> {
    let mut signals = Signals::new()?;
    let dir = Directory::new()?;
    let engine = Engine::start(&dir.0)?;
    let key = dir.0.join("site.key");
    write_key(&key)?;
    let [mut one, mut two] =
        [Host::start("one", &dir.0, &engine, &key)?, Host::start("two", &dir.0, &engine, &key)?];
    let delay = UPSTREAM.delay.as_millis();
    println!(
        "One engine, {}, and two hosts, each with an upstream of its own that takes {delay} ms",
        engine.program
    );
    for host in [&one, &two] {
        println!(
            "    host {}   {:<22} its upstream {}",
            host.name,
            host.server.to_string(),
            host.upstream.at
        );
    }
    println!();
    for host in [&one, &two] {
        host.until(&mut signals, "is connected to the engine", |site| site["state"] == "up")?;
    }
    one.tell("is asked")?;
    one.until(&mut signals, "has written the answer", |site| site["written"].as_u64() >= Some(1))?;
    two.tell("is asked")?;
    two.flush()?;
    two.tell("is asked again")?;
    println!("\nServing at {} and {} until Ctrl-C. Try, in another terminal:", one.server, two.server);
    println!("    dig -p {} @{} other.example.com", two.server.port(), two.server.ip());
    println!("    hitherctl --runtime-dir {} status", two.dir.display());
    let mut processes = [
        ("the daemon of host one", &mut one.daemon),
        ("hither-site of host one", &mut one.companion),
        ("the daemon of host two", &mut two.daemon),
        ("hither-site of host two", &mut two.companion),
    ];
    serve_until_interrupted(signals, &mut processes)
}

/// Writes a new key, which nobody else can read.
fn write_key(path: &Path) -> std::io::Result<()> {
    let mut octets = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut octets)?;
    let digits: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(digits.as_bytes())
}

impl Host {
    fn start(name: &'static str, within: &Path, engine: &Engine, key: &Path) -> Result<Host, Box<dyn Error>> {
        let dir = within.join(name);
        std::fs::create_dir(&dir)?;
        let (server, upstream) = (free_address()?, upstream::start(&UPSTREAM)?);
        let config = dir.join("hither.toml");
        let text = format!(
            "runtime_dir = {dir:?}\n[listen]\ndns = [\"{server}\"]\n[[upstream]]\naddress = \"{}\"\n\
             [site]\nengine = \"unix:{}\"\nkey = {key:?}\nask = true\nwait = \"100ms\"\n\
             [sort]\nenabled = false\n[cache]\nsave = \"0s\"\n",
            upstream.at,
            engine.socket.display(),
        );
        std::fs::write(&config, text)?;
        let daemon = start_daemon(ourselves_as("hitherd")?.arg("--config").arg(&config))?;
        // Both hosts are this one, so that they need other names.
        let mut companion = ourselves_as("hither-site")?;
        companion.arg("--config").arg(&config).args(["--with-parent", "--host", name]);
        let companion = companion.env_remove("NOTIFY_SOCKET").stdin(Stdio::piped()).stderr(Stdio::null());
        let companion = Process(companion.spawn()?);
        Ok(Host { name, server, upstream, dir, companion, daemon })
    }

    fn hitherctl(&self, arguments: &[&str]) -> Result<Command, std::io::Error> {
        let mut command = ourselves_as("hitherctl")?;
        command.arg("--runtime-dir").arg(&self.dir).args(arguments);
        Ok(command)
    }

    /// What hitherctl prints as JSON.
    fn json(&self, arguments: &[&str]) -> Result<serde_json::Value, Box<dyn Error>> {
        let output = self.hitherctl(arguments)?.output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned().into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Waits for a state of the companion.
    fn until(
        &self,
        signals: &mut Signals,
        what: &str,
        holds: impl Fn(&serde_json::Value) -> bool,
    ) -> Result<(), Box<dyn Error>> {
        let until = Instant::now() + PATIENCE;
        loop {
            let site = self.json(&["status", "--json"])?["site"].take();
            if holds(&site) {
                return Ok(());
            }
            if signals.take() == Some(Signal::Terminate) {
                return Err("it is interrupted".into());
            }
            if Instant::now() > until {
                return Err(format!("host {} never {what}: {site}", self.name).into());
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    /// Sends a query to this host, and prints how long the reply took and where it comes from.
    fn tell(&self, what: &str) -> Result<(), Box<dyn Error>> {
        let before = self.upstream.questions();
        let asked = hither_net::clock::now();
        let answer = ask(self.server, NAME)?;
        let took = since(asked);
        let asked = self.upstream.questions() - before;
        println!("{took:>9.1} ms  host {} {what}, and replies: {answer}", self.name);
        println!("              queries to its upstream: {asked}; {}", self.origin()?);
        Ok(())
    }

    /// Where the set in the table comes from, as the daemon says.
    fn origin(&self) -> Result<String, Box<dyn Error>> {
        let answer = self.json(&["query", "--json", NAME])?;
        let word = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        Ok(format!("from: {} {}", word("source"), word("source_detail")).trim_end().to_owned())
    }

    fn flush(&self) -> Result<(), Box<dyn Error>> {
        let status = self.hitherctl(&["flush", "--site"])?.stdout(Stdio::null()).status()?;
        if !status.success() {
            return Err("hitherctl flush --site fails".into());
        }
        println!("               at host {}: hitherctl flush --site", self.name);
        Ok(())
    }
}
