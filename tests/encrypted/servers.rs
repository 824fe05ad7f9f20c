//! Real servers of DNS over TLS and HTTPS, each a process with a certificate of its own.

use crate::certificates::{Authority, Leaf};
use crate::support::{PATIENCE, directory, until};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

/// The address that the servers give for each name.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 7);

/// A protocol that both programs speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Tls,
    Https,
}

/// A program that serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    Unbound,
    Dnsdist,
}

/// A server that ends with its test, and its directory.
pub struct Server {
    pub address: SocketAddr,
    process: Child,
    command: Vec<String>,
    directory: PathBuf,
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
    /// Starts a server. `None` if the program is not installed.
    pub fn start(program: Program, protocol: Protocol, authority: &Authority) -> Option<Server> {
        let (address, directory) = (own_address(), directory());
        let identity = authority.issue(&Leaf::default());
        std::fs::write(directory.join("chain.pem"), &identity.chain_pem).expect("written");
        std::fs::write(directory.join("key.pem"), &identity.key_pem).expect("written");
        let file = directory.join("conf");
        let text = match program {
            Program::Unbound => unbound(protocol, address, &directory),
            Program::Dnsdist => dnsdist(protocol, address, &directory),
        };
        std::fs::write(&file, text).expect("written");
        let arguments: &[&str] = match program {
            Program::Unbound => &["unbound", "-d", "-c"],
            Program::Dnsdist => &["dnsdist", "--supervised", "--disable-syslog", "-C"],
        };
        let mut command: Vec<String> = arguments.iter().map(|part| (*part).to_owned()).collect();
        command.push(file.display().to_string());
        let process = spawn(&command, &directory)?;
        let server = Server { address, process, command, directory };
        server.wait();
        Some(server)
    }

    /// Waits until the server listens.
    fn wait(&self) {
        until("the server listens", || TcpStream::connect_timeout(&self.address, PATIENCE).is_ok());
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

fn unbound(protocol: Protocol, address: SocketAddr, directory: &Path) -> String {
    let (ip, port, directory) = (address.ip(), address.port(), directory.display());
    let kind = if protocol == Protocol::Https { "https" } else { "tls" };
    format!(
        "server:\n directory: \"{directory}\"\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n \
         interface: {ip}@{port}\n {kind}-port: {port}\n tls-service-key: \"{directory}/key.pem\"\n \
         tls-service-pem: \"{directory}/chain.pem\"\n module-config: \"iterator\"\n num-threads: 1\n \
         local-zone: example. redirect\n local-data: \"example. 300 A {ADDRESS}\"\n\
         remote-control:\n control-enable: no\n"
    )
}

fn dnsdist(protocol: Protocol, address: SocketAddr, directory: &Path) -> String {
    let files = format!("'{0}/chain.pem', '{0}/key.pem'", directory.display());
    let local = match protocol {
        Protocol::Tls => format!("addTLSLocal('{address}', {files})"),
        Protocol::Https => format!("addDOHLocal('{address}', {files}, '/dns-query')"),
    };
    // Plain DNS is served too, somewhere.
    let plain = SocketAddr::new(address.ip(), 0);
    format!(
        "setLocal('{plain}') setACL('127.0.0.0/8') setSecurityPollSuffix('')\n{local}\n\
         addAction(AllRule(), SpoofAction('{ADDRESS}', {{ttl=300}}))\n"
    )
}
