//! A real valkey-server or redis-server, and a client that speaks little more than the protocol. Also
//! included by path from the benchmark of the site.
#![allow(dead_code)] // Each program uses its own part.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Error, ErrorKind, Read as _, Result, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The path of the first of the two that is installed.
pub fn program() -> Option<PathBuf> {
    let places = ["/usr/bin", "/usr/local/bin"].map(Path::new);
    let programs = ["valkey-server", "redis-server"];
    programs.iter().flat_map(|name| places.map(|place| place.join(name))).find(|path| path.is_file())
}

/// A server without files, which is killed when this is dropped.
pub struct Engine {
    pub address: SocketAddr,
    process: Child,
}

impl Engine {
    /// Starts one at this address, and at 127.0.0.1 of the calling thread's network, and waits until it
    /// answers. `dir` is its working directory.
    pub fn start(dir: &Path, address: SocketAddr, more: &[&str]) -> Engine {
        let program = program().expect("the caller has looked for it");
        let (ip, here) = (address.ip().to_string(), Ipv4Addr::LOCALHOST.to_string());
        let mut command = Command::new(program);
        command.args(["--port", &address.port().to_string(), "--bind", &here]);
        command.args((ip != here).then_some(&ip));
        command.args(["--protected-mode", "no", "--save", "", "--appendonly", "no", "--dir"]).arg(dir);
        command.args(more).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut engine = Engine { address, process: command.spawn().expect("started") };
        let end = Instant::now() + Duration::from_secs(30);
        while engine.client().and_then(|mut client| client.call(&["PING"])).is_err() {
            let ended = engine.process.try_wait().expect("a child");
            assert!(ended.is_none() && Instant::now() < end, "the engine does not start: {ended:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        engine
    }

    /// Starts one at a free port of loopback.
    pub fn start_here(dir: &Path, more: &[&str]) -> Engine {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = free.local_addr().expect("bound");
        drop(free);
        Engine::start(dir, address, more)
    }

    /// A connection over loopback; the calling thread must be in the engine's network.
    pub fn client(&self) -> Result<Client> {
        Client::connect(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.address.port()))
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What an engine replies.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    Octets(Vec<u8>),
    Number(i64),
    List(Vec<Reply>),
    Nothing,
}

impl Reply {
    pub fn octets(self) -> Vec<u8> {
        if let Reply::Octets(octets) = self { octets } else { panic!("{self:?} is not a text") }
    }

    pub fn text(self) -> String {
        String::from_utf8_lossy(&self.octets()).into_owned()
    }

    pub fn list(self) -> Vec<Reply> {
        if let Reply::List(list) = self { list } else { panic!("{self:?} is not a list") }
    }
}

/// A connection to an engine.
pub struct Client(BufReader<TcpStream>);

impl Client {
    pub fn connect(address: SocketAddr) -> Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Client(BufReader::new(stream)))
    }

    /// Sends a command and waits for its reply; an error of the engine is an error.
    pub fn call<P: AsRef<[u8]>>(&mut self, parts: &[P]) -> Result<Reply> {
        let mut octets = format!("*{}\r\n", parts.len()).into_bytes();
        for part in parts.iter().map(AsRef::as_ref) {
            octets.extend(format!("${}\r\n", part.len()).into_bytes());
            octets.extend([part, b"\r\n"].concat());
        }
        self.0.get_mut().write_all(&octets)?;
        self.reply()
    }

    fn reply(&mut self) -> Result<Reply> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let broken = || Error::from(ErrorKind::UnexpectedEof);
        let (kind, rest) = (line.chars().next().ok_or_else(broken)?, line[1..].trim_end());
        let number = || rest.parse::<i64>().map_err(|_| broken());
        Ok(match kind {
            '+' => Reply::Octets(rest.as_bytes().to_vec()),
            ':' => Reply::Number(number()?),
            '$' if number()? >= 0 => {
                let mut octets = vec![0; usize::try_from(number()?).unwrap_or(0) + 2];
                self.0.read_exact(&mut octets)?;
                octets.truncate(octets.len() - 2);
                Reply::Octets(octets)
            }
            '*' if number()? >= 0 => {
                let all = (0..number()?).map(|_| self.reply());
                Reply::List(all.collect::<Result<_>>()?)
            }
            '$' | '*' => Reply::Nothing,
            _ => return Err(Error::other(rest.to_owned())),
        })
    }

    /// All keys with their values.
    pub fn everything(&mut self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let (mut cursor, mut all) = ("0".to_owned(), BTreeMap::new());
        loop {
            let mut page = self.call(&["SCAN", &cursor, "COUNT", "1000"]).expect("answered").list();
            for key in page.pop().expect("keys").list() {
                let key = key.octets();
                // It may have expired since.
                if let Reply::Octets(value) = self.call(&[&b"GET"[..], &key[..]]).expect("answered") {
                    all.insert(key, value);
                }
            }
            cursor = page.pop().expect("a cursor").text();
            if cursor == "0" {
                return all;
            }
        }
    }

    /// A section of INFO, by the names of its lines.
    pub fn info(&mut self, section: &str) -> BTreeMap<String, String> {
        let text = self.call(&["INFO", section]).expect("answered").text();
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// How often each command was executed, since the last CONFIG RESETSTAT.
    pub fn commands(&mut self) -> BTreeMap<String, u64> {
        let calls = |value: &str| value.strip_prefix("calls=")?.split(',').next()?.parse().ok();
        let all = self.info("commandstats");
        all.iter()
            .filter_map(|(name, value)| Some((name.strip_prefix("cmdstat_")?.to_owned(), calls(value)?)))
            .collect()
    }
}
