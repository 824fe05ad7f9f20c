//! A site: an engine and scripted upstreams that say a generation, and hosts that must never answer an
//! older one after a newer one.

use super::network::{Network, bridge};
use super::support::engine::{Client, Engine};
use super::support::{Daemon, PATIENCE, alone, answer, ask_for, compose, directory, retried, skip};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::Owner;
use hither_wire::message::{Message, Section};
use hither_wire::query::Query;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{File, Permissions};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// The upstreams of all hosts.
const UPSTREAMS: [&str; 2] = ["10.19.0.2", "10.19.0.3"];
/// The number of the engine's network.
pub const ENGINE: u8 = 6;
const KEY: &str = "the key of all hosts of this site";

/// What the upstreams say and count, for all tests of a site.
#[derive(Default)]
pub struct Said {
    /// The third octet of all addresses.
    pub generation: AtomicU8,
    pub queries: AtomicUsize,
}

/// Responds to one query: by the first label of the name.
fn respond(query: &[u8], generation: u8) -> Vec<u8> {
    let read = Query::read(query).expect("the daemon's own query");
    let label = query[13..13 + usize::from(query[12])].to_ascii_lowercase();
    let ttl_s = if label.starts_with(b"short") { 2 } else { 300 };
    let address = match &label {
        private if private.starts_with(b"private") => [192, 168, generation, 1],
        _ => [198, 18, generation, 1],
    };
    if label.starts_with(b"no") {
        return denial(query);
    }
    if read.qtype() != Rtype::A {
        return answer(query, &[], ttl_s);
    }
    compose(query, Rcode::NOERROR, 0, |composer| {
        assert!(composer.record(Section::Answer, Owner::At(12), Rtype::A, ttl_s, &address));
    })
}

/// NXDOMAIN with a SOA record of the root.
fn denial(query: &[u8]) -> Vec<u8> {
    let rdata = [&b"\x02ns\0\x04host\0"[..], &[0; 16], &300_u32.to_be_bytes()].concat();
    compose(query, Rcode::NXDOMAIN, 0, |composer| {
        assert!(composer.record(Section::Authority, Owner::Wire(&[0]), Rtype::SOA, 300, &rdata));
    })
}

fn upstream(address: &str, said: &Arc<Said>) {
    let socket = UdpSocket::bind((address, 53)).expect("a port");
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((len, peer)) = retried(|| socket.recv_from(&mut buffer)) {
            said.queries.fetch_add(1, Ordering::SeqCst);
            let generation = said.generation.load(Ordering::SeqCst);
            let _ = socket.send_to(&respond(&buffer[..len], generation), peer);
        }
    });
}

/// An engine in a network of its own, upstreams, and the highest generation that each host has answered.
pub struct Site {
    pub said: Arc<Said>,
    pub network: Network,
    pub engine: Option<Engine>,
    dir: PathBuf,
    seen: RefCell<HashMap<(u8, String), u8>>,
}

impl Site {
    /// `None` without root, namespaces or an engine.
    pub fn new(test: &str) -> Option<Site> {
        if super::support::engine::program().is_none() {
            skip(test, "needs valkey-server or redis-server");
            return None;
        }
        if !alone(test) {
            return None;
        }
        bridge(&UPSTREAMS);
        let said = Arc::new(Said::default());
        said.generation.store(1, Ordering::SeqCst);
        UPSTREAMS.iter().for_each(|address| upstream(address, &said));
        let (network, dir, seen) = (Network::new(ENGINE), directory(), RefCell::default());
        let mut site = Site { said, network, engine: None, dir, seen };
        site.start_engine(&[]);
        Some(site)
    }

    /// The engine, empty.
    pub fn start_engine(&mut self, more: &[&'static str]) {
        let (dir, more) = (self.dir.clone(), more.to_vec());
        let address = SocketAddr::from(([10, 19, 0, ENGINE], 6379));
        self.engine = Some(self.network.there(move || Engine::start(&dir, address, &more)));
    }

    pub fn client(&self) -> Client {
        let address = self.engine.as_ref().expect("started").address;
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()));
        self.network.there(move || Client::connect(here)).expect("connected")
    }

    /// From now on upstreams say the next generation.
    pub fn next_generation(&self) -> u8 {
        self.said.generation.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub fn queries(&self) -> usize {
        self.said.queries.load(Ordering::SeqCst)
    }

    /// Whether the engine has a set of this name, by the octets of its keys.
    pub fn has(&self, name: &str) -> bool {
        let end = format!(":{name}");
        let keys = self.client().everything();
        keys.keys().any(|key| {
            let key = String::from_utf8_lossy(key).into_owned();
            key.trim_end_matches('.').ends_with(&end)
        })
    }

    /// The generation that a host answers, which is no older one than before.
    pub fn ask(&self, host: &Host, name: &str) -> u8 {
        let generation = host.ask(name);
        let mut seen = self.seen.borrow_mut();
        let newest = seen.entry((host.network.number, name.to_owned())).or_default();
        assert!(
            generation >= *newest,
            "host {} answers {name} with generation {generation} after {newest}\n{}",
            host.network.number,
            host.say()
        );
        *newest = generation;
        generation
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// How a host differs from the others.
#[derive(Clone)]
pub struct Traits {
    pub asks: bool,
    pub key: &'static str,
    /// More lines of the configuration, after section `[site]`.
    pub more: String,
}

impl Default for Traits {
    fn default() -> Self {
        Traits { asks: true, key: KEY, more: String::new() }
    }
}

/// A real daemon and its companion in a network of their own.
pub struct Host {
    pub network: Network,
    pub daemon: Daemon,
    companion: Child,
    client: UdpSocket,
    log: PathBuf,
}

impl Host {
    /// Starts a host with this number; its companion need not have reached the engine yet.
    pub fn start(number: u8, traits: &Traits) -> Host {
        let (network, dir) = (Network::new(number), directory());
        let key = dir.join("site.key");
        std::fs::write(&key, traits.key).expect("written");
        std::fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("ours");
        let mut text = format!(
            "runtime_dir = {:?}\n[listen]\ndns = [\"127.0.0.1:53\"]\n",
            dir.join("run").display().to_string()
        );
        UPSTREAMS.iter().for_each(|address| text += &format!("[[upstream]]\naddress = \"{address}\"\n"));
        // A second is long for an answer of the site, also on a busy machine; the engine answers in less.
        text += &format!(
            "[site]\nengine = \"valkey://10.19.0.{ENGINE}\"\nkey = {key:?}\nask = {}\nwait = \"100ms\"\n{}",
            traits.asks, traits.more
        );
        std::fs::write(dir.join("hither.toml"), text).expect("written");
        let log = dir.join("companion.log");
        let (daemon, companion, client) = network.there({
            let log = log.clone();
            move || {
                let daemon = start_daemon(dir.clone());
                let client = daemon.client();
                (daemon, start_companion(&dir, &log, number), client)
            }
        });
        Host { network, daemon, companion, client, log }
    }

    /// Starts one and waits until its companion has reached the engine.
    pub fn joined(number: u8, traits: &Traits) -> Host {
        let host = Host::start(number, traits);
        host.until_site("up");
        host
    }

    /// Waits until the companion says that its engine is in this state.
    pub fn until_site(&self, state: &str) {
        self.until(state, |host| host.site()["state"] == state);
    }

    pub fn until(&self, what: &str, holds: impl Fn(&Host) -> bool) {
        let end = std::time::Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(std::time::Instant::now() < end, "not in time: {what}\n{}", self.say());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// The site as `hitherctl status` shows it.
    pub fn site(&self) -> Value {
        self.daemon.json(&["status"])["site"].clone()
    }

    /// A number of `hitherctl stats`.
    pub fn count(&self, name: &str) -> u64 {
        self.daemon.json(&["stats"])[name].as_u64().unwrap_or_else(|| panic!("stats has no {name}"))
    }

    /// How many entries the companion refused for this reason.
    pub fn refused(&self, why: &str) -> u64 {
        self.site()["refused"][why].as_u64().unwrap_or(0)
    }

    pub fn reply(&self, query: &[u8]) -> Vec<u8> {
        self.client.send(query).expect("sent");
        let mut buffer = [0; 65_535];
        loop {
            let len = retried(|| self.client.recv(&mut buffer)).expect("every query has a reply");
            if buffer[..2] == query[..2] {
                return buffer[..len].to_vec();
            }
        }
    }

    /// The generation of the reply, or 0 if it has no address.
    fn ask(&self, name: &str) -> u8 {
        let reply = self.reply(&ask_for(name, Rtype::A, Some(1232), 7));
        let message = Message::read(&reply).expect("readable");
        let rcode = message.header().rcode();
        assert!(rcode != Rcode::SERVFAIL && rcode != Rcode::REFUSED, "{name}: {rcode:?}\n{}", self.say());
        let addresses = message.records().filter_map(|record| record.address());
        let mut generations = addresses.map(|address| match address {
            IpAddr::V4(v4) => v4.octets()[2],
            IpAddr::V6(_) => 0,
        });
        generations.next().unwrap_or(0)
    }

    /// Drops what the host has of these names, or all; or by an option.
    pub fn flush(&self, what: &[&str]) {
        let done = self.daemon.ctl(&[&["flush"], what].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Waits until no round is open, so that all that was asked is published.
    pub fn settles(&self) {
        self.until("no round is open", |host| host.count("rounds_live") == 0);
    }

    /// All that is known of the host, for the message of a failure.
    pub fn say(&self) -> String {
        let companion = std::fs::read_to_string(&self.log).unwrap_or_default();
        let (site, stats) = (self.site(), self.daemon.json(&["stats"]));
        format!("site {site}\nstats {stats}\ndaemon:\n{}companion:\n{companion}", self.daemon.log())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.companion.kill();
        let _ = self.companion.wait();
    }
}

fn start_daemon(dir: PathBuf) -> Daemon {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    Daemon::spawn(dir, &mut command)
}

fn start_companion(dir: &Path, log: &Path, number: u8) -> Child {
    let program = Path::new(env!("CARGO_BIN_EXE_hitherd")).with_file_name("hither-site");
    let mut command = Command::new(program);
    command.arg("--config").arg(dir.join("hither.toml")).args(["--host", &format!("host{number}")]);
    command.stderr(File::create(log).expect("a file"));
    command.spawn().expect("started")
}

/// Waits until the engine has a set of this name.
pub fn until_written(site: &Site, host: &Host, name: &str) {
    host.until(&format!("{name} is written"), |_| site.has(name));
}
