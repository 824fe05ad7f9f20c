//! Real servers of DNS over TLS, HTTPS and QUIC, each a process with a certificate of its own. Some answer by
//! themselves, and some ask a backend, which the test scripts.

use crate::backend::{self, page};
use crate::certificates::{Authority, Leaf};
use crate::seven;
use crate::support::{PATIENCE, Upstream, directory, until};
use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

/// The address that the servers give for each name.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 7);

/// A protocol of encrypted upstreams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Tls,
    Https,
    Quic,
}

/// A program that serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    Unbound,
    /// Answers by itself, or asks a backend: over TCP what it was asked over TLS.
    Dnsdist,
    Kresd,
    /// Asks a backend over HTTP/1.1.
    Nginx,
    /// Asks a backend over UDP.
    Aioquic,
    AioquicThatResets,
}

/// A server that ends with its test, and its directory.
pub struct Server {
    pub address: SocketAddr,
    protocol: Protocol,
    process: Child,
    command: Vec<String>,
    directory: PathBuf,
}

/// The files and addresses of a server that is about to start.
struct Site<'a> {
    protocol: Protocol,
    address: SocketAddr,
    directory: &'a Path,
    backend: Option<SocketAddr>,
}

/// An address of the loopback network that no other test uses, with a free port of it. Nothing else binds
/// it before the server does.
pub fn own_address() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, high | 0x80, low, COUNT.fetch_add(1, Ordering::SeqCst));
    TcpListener::bind((address, 0)).and_then(|listener| listener.local_addr()).expect("a port")
}

impl Server {
    /// Starts a server that gives [`ADDRESS`] for each name. `None` if the program is not installed.
    pub fn start(program: Program, protocol: Protocol, authority: &Authority) -> Option<Server> {
        let backend = match program {
            Program::Unbound | Program::Dnsdist | Program::Kresd => None,
            Program::Nginx => Some(backend::start(|query| page("200 OK", backend::DNS, &seven(query)))),
            Program::Aioquic | Program::AioquicThatResets => {
                Some(Upstream::start(|query, _| vec![(0, seven(query))]).address)
            }
        };
        Server::begin(program, protocol, authority, backend)
    }

    /// Starts a server that asks this backend. `None` if the program is not installed.
    pub fn before(
        backend: SocketAddr,
        program: Program,
        protocol: Protocol,
        authority: &Authority,
    ) -> Option<Server> {
        Server::begin(program, protocol, authority, Some(backend))
    }

    /// Starts a server of DNS over QUIC that loses its state with each query, and says so by a stateless
    /// reset (RFC 9000, section 10.3). `None` if aioquic is not installed.
    pub fn that_resets(backend: SocketAddr, authority: &Authority) -> Option<Server> {
        Server::begin(Program::AioquicThatResets, Protocol::Quic, authority, Some(backend))
    }

    fn begin(
        program: Program,
        protocol: Protocol,
        authority: &Authority,
        backend: Option<SocketAddr>,
    ) -> Option<Server> {
        let (address, directory) = (own_address(), directory());
        let identity = authority.issue(&Leaf::default());
        std::fs::write(directory.join("chain.pem"), &identity.chain_pem).expect("written");
        std::fs::write(directory.join("key.pem"), &identity.key_pem).expect("written");
        let command = command(program, &Site { protocol, address, directory: &directory, backend })?;
        let process = spawn(&command, &directory)?;
        let mut server = Server { address, protocol, process, command, directory };
        server.wait();
        Some(server)
    }

    /// Waits until the server listens. One of QUIC says so.
    fn wait(&mut self) {
        let log = self.directory.join("log");
        let text = || std::fs::read_to_string(&log).unwrap_or_default();
        let (address, protocol, process) = (self.address, self.protocol, RefCell::new(&mut self.process));
        until("the server listens", || {
            let has_ended = process.borrow_mut().try_wait().expect("a child").is_some();
            assert!(!has_ended, "the server has ended: {}", text());
            match protocol {
                Protocol::Tls | Protocol::Https => TcpStream::connect_timeout(&address, PATIENCE).is_ok(),
                Protocol::Quic => text().contains("ready"),
            }
        });
    }

    /// Kills the server and starts it again.
    pub fn restart(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.process = spawn(&self.command, &self.directory).expect("it was there");
        self.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn spawn(command: &[String], directory: &Path) -> Option<Child> {
    let log = std::fs::File::create(directory.join("log")).expect("a file");
    // Programs of administrators are not in everyone's path.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    Command::new(&command[0])
        .args(&command[1..])
        .env("PATH", path)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a descriptor"))
        .stderr(log)
        .spawn()
        .ok()
}

/// The command line of a server, whose configuration is written before. `None` without a part that is not
/// in every installation.
fn command(program: Program, site: &Site<'_>) -> Option<Vec<String>> {
    let (words, text): (&[&str], String) = match program {
        Program::Unbound => (&["unbound", "-d", "-c"], unbound(site)),
        Program::Dnsdist => (&["dnsdist", "--supervised", "--disable-syslog", "-C"], dnsdist(site)),
        Program::Kresd => (&["kresd", "-n", "-q", "-c"], kresd(site)),
        Program::Nginx => (&["nginx", "-e", "stderr", "-p", ".", "-c"], nginx(site)),
        Program::Aioquic => return aioquic(site, &[]),
        Program::AioquicThatResets => return aioquic(site, &["reset"]),
    };
    let file = site.directory.join("conf");
    std::fs::write(&file, text).expect("written");
    let words = words.iter().map(|word| (*word).to_owned());
    Some(words.chain([file.display().to_string()]).collect())
}

fn unbound(site: &Site<'_>) -> String {
    let (ip, port, directory) = (site.address.ip(), site.address.port(), site.directory.display());
    let kind = if site.protocol == Protocol::Https { "https" } else { "tls" };
    format!(
        "server:\n directory: \"{directory}\"\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n \
         interface: {ip}@{port}\n {kind}-port: {port}\n tls-service-key: \"{directory}/key.pem\"\n \
         tls-service-pem: \"{directory}/chain.pem\"\n module-config: \"iterator\"\n num-threads: 1\n \
         local-zone: example. redirect\n local-data: \"example. 300 A {ADDRESS}\"\n\
         remote-control:\n control-enable: no\n"
    )
}

fn dnsdist(site: &Site<'_>) -> String {
    let address = site.address;
    let files = format!("'{0}/chain.pem', '{0}/key.pem'", site.directory.display());
    let local = match site.protocol {
        Protocol::Https => format!("addDOHLocal('{address}', {files}, '/dns-query')"),
        // Answers may leave in another order than their queries came.
        Protocol::Tls | Protocol::Quic => format!("addTLSLocal('{address}', {files}, {{maxInFlight=100}})"),
    };
    let source = match site.backend {
        Some(backend) => format!("newServer({{address='{backend}', healthCheckMode='up', maxInFlight=100}})"),
        None => format!("addAction(AllRule(), SpoofAction('{ADDRESS}', {{ttl=300}}))"),
    };
    // Plain DNS is served too, somewhere.
    let plain = SocketAddr::new(address.ip(), 0);
    format!("setLocal('{plain}') setACL('127.0.0.0/8') setSecurityPollSuffix('')\n{local}\n{source}\n")
}

fn kresd(site: &Site<'_>) -> String {
    let (ip, port, directory) = (site.address.ip(), site.address.port(), site.directory.display());
    let kind = if site.protocol == Protocol::Https { "doh2" } else { "tls" };
    // The modules would ask the servers of the root.
    format!(
        "net.listen('{ip}', {port}, {{ kind = '{kind}' }}) net.tls('{directory}/chain.pem', '{directory}/key.pem')\n\
         cache.size = 1 * MB modules.unload('priming') modules.unload('detect_time_skew')\n\
         modules.unload('ta_update') trust_anchors.remove('.')\n\
         policy.add(policy.all(policy.ANSWER({{ [kres.type.A] = {{ rdata = kres.str2ip('{ADDRESS}'), ttl = 300 }} }})))\n"
    )
}

fn nginx(site: &Site<'_>) -> String {
    let (address, directory) = (site.address, site.directory.display());
    let backend = site.backend.expect("nginx answers no query by itself");
    // One process: it leaves no other behind when it is killed.
    let temporary =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|of| format!("{of}_temp_path {directory};"));
    format!(
        "daemon off; master_process off; pid {directory}/pid; error_log stderr;\n\
         events {{ worker_connections 256; }}\n\
         http {{ access_log off; {}\n\
         server {{ listen {address} ssl http2;\n\
         ssl_certificate {directory}/chain.pem; ssl_certificate_key {directory}/key.pem;\n\
         location /dns-query {{ proxy_pass http://{backend}; }} }} }}\n",
        temporary.concat()
    )
}

/// The library is in a Python environment that `.ci/run` makes, or in that of the host.
fn aioquic(site: &Site<'_>, more: &[&str]) -> Option<Vec<String>> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = top.join("target/ci/python/bin/python3").display().to_string();
    let has_it = |python: &String| {
        let mut command = Command::new(python);
        command.args(["-c", "import aioquic"]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let python = [made, "python3".to_owned()].into_iter().find(has_it)?;
    let script = top.join("tests/encrypted/doq.py").display().to_string();
    let backend = site.backend.expect("the script answers no query by itself");
    let words = [python, script, site.address.to_string(), backend.to_string()];
    Some(words.into_iter().chain(more.iter().map(|word| (*word).to_owned())).collect())
}
