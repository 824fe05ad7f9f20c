//! The attacks. Each runs in a process of its own.

use super::{Ended, again, handshakes};
use hither_client::Table;
use hither_control::{Order, OrderedAddress, SorterMessage, VERSION, Verdict};
use hither_net::seqpacket::Connection;
use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, QueryBits, query};
use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::time::Duration;

const NOBODY: u32 = 65_534;
/// Connections of the process that asks for the status.
const CONNECTIONS: usize = 64;

pub struct Attack {
    pub name: &'static str,
    /// Whether the attack works against any DNS server, so that unbound is compared.
    pub is_for_all: bool,
    /// Whether the socket in question refuses other users, so that the attack needs this one.
    privileged: bool,
    role: Option<fn(SocketAddr, &Path)>,
}

pub const ATTACKS: [Attack; 11] = [
    Attack { name: "none", is_for_all: true, privileged: false, role: None },
    Attack { name: "control", is_for_all: false, privileged: false, role: Some(control) },
    Attack { name: "hints", is_for_all: false, privileged: false, role: Some(hints) },
    Attack { name: "orders", is_for_all: false, privileged: true, role: Some(orders) },
    Attack { name: "tcp", is_for_all: true, privileged: false, role: Some(tcp) },
    Attack { name: "sleepers", is_for_all: false, privileged: false, role: Some(sleepers) },
    Attack { name: "reload", is_for_all: false, privileged: true, role: Some(reload) },
    Attack { name: "unique", is_for_all: true, privileged: false, role: Some(unique) },
    Attack { name: "ports", is_for_all: true, privileged: false, role: Some(ports) },
    Attack { name: "silent", is_for_all: true, privileged: false, role: Some(silent) },
    Attack { name: "handshakes", is_for_all: false, privileged: true, role: Some(handshakes::attack) },
];

impl Attack {
    pub fn begin(&self, server: SocketAddr, dir: &Path) -> Option<Ended> {
        self.role?;
        let mut command = again(&[self.name, &server.to_string()]);
        command.arg(dir);
        if !self.privileged && nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        Some(Ended(command.spawn().expect("started")))
    }
}

/// Runs an attack until the process is ended.
pub fn play(name: &str, args: &[String]) {
    let role = ATTACKS.iter().find(|attack| attack.name == name).and_then(|attack| attack.role);
    if let (Some(role), [server, dir]) = (role, args) {
        role(server.parse().expect("an address"), Path::new(dir));
    }
}

/// Raises the limit of descriptors to the hard limit.
fn raise_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Asks for the status on many connections without end, on each as often as the kernel accepts, and
/// reads the replies. A connection that is closed is opened again.
fn control(_: SocketAddr, dir: &Path) {
    let mut all: Vec<Option<Connection>> = (0..CONNECTIONS).map(|_| None).collect();
    let mut buffer = vec![0; 65_536];
    loop {
        for one in &mut all {
            if one.is_none() {
                *one = Connection::connect(&dir.join("control.sock"), None).ok();
            }
            let Some(connection) = one else { continue };
            let would_wait = |error: &std::io::Error| error.kind() == ErrorKind::WouldBlock;
            let is_gone = loop {
                match connection.send(b"\"status\"") {
                    Ok(()) => {}
                    Err(error) => break !would_wait(&error),
                }
            };
            let is_over = loop {
                match connection.receive(&mut buffer) {
                    Ok([]) => break true,
                    Ok(_) => {}
                    Err(error) => break !would_wait(&error),
                }
            };
            if is_gone || is_over {
                *one = None;
            }
        }
    }
}

/// Sends hints without end.
fn hints(_: SocketAddr, dir: &Path) {
    let socket = UnixDatagram::unbound().expect("a socket");
    loop {
        let _ = socket.send_to(b"\x01\x01\x09h00000001\x05bench\x07example\0", dir.join("hint"));
    }
}

/// Acts as a sorter that sends orders for address sets that do not exist.
fn orders(_: SocketAddr, dir: &Path) {
    let encoded = |message: &SorterMessage| serde_json::to_vec(message).expect("it can be written");
    let hello = encoded(&SorterMessage::Hello { version: VERSION, lacks: Vec::new() });
    let address = OrderedAddress {
        address: [192, 0, 2, 1].into(),
        rtt_us: Some(1),
        reachable: Some(true),
        verdict: Verdict::Unknown,
    };
    let order = encoded(&SorterMessage::Order(Order {
        generation: 1,
        name: "h00000001.bench.example.".to_owned(),
        rtype: "A".to_owned(),
        set_version: 1,
        addresses: vec![address; 200],
    }));
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok(connection) = Connection::connect(&dir.join("sorter.sock"), Some(Duration::from_millis(100)))
        else {
            continue;
        };
        let _ = connection.send(&hello);
        while connection.send(&order).is_ok() {
            let _ = connection.receive(&mut buffer);
        }
    }
}

pub fn asked(name: &str, rtype: Rtype) -> Vec<u8> {
    let mut out = [0; 300];
    let bits = QueryBits { rd: true, cd: false, edns: None };
    let len = query(&mut out, 7, &Asked { name: &name.parse().expect("a name"), rtype }, bits);
    [&u16::try_from(len).expect("short").to_be_bytes()[..], &out[..len]].concat()
}

/// Holds 900 connections with a few queries each, whose responses are as large as a message can be.
fn tcp(server: SocketAddr, _: &Path) {
    raise_limit();
    let query = asked("large.siege.example", Rtype::TXT);
    let threads: Vec<_> = (0..9)
        .map(|_| {
            let query = query.clone();
            std::thread::spawn(move || {
                let mut streams: Vec<TcpStream> = Vec::new();
                let mut buffer = vec![0; 1 << 20];
                loop {
                    while streams.len() < 100
                        && let Ok(stream) = TcpStream::connect_timeout(&server, Duration::from_millis(200))
                    {
                        let _ = stream.set_nonblocking(true);
                        streams.push(stream);
                    }
                    streams.retain_mut(|stream| {
                        let _ = stream.write(&query);
                        !matches!(stream.read(&mut buffer), Ok(0))
                    });
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| drop(thread.join()));
}

/// Has 8000 threads wait for changes of the table.
fn sleepers(_: SocketAddr, dir: &Path) {
    let table = Table::open(Some(dir)).expect("a table");
    let reader = table.reader();
    for _ in 0..8000 {
        let mut follower = reader.follow();
        let sleep = move || {
            let mut snapshot = hither_client::Snapshot::new();
            loop {
                while follower.step(&mut snapshot) != hither_client::Step::Nothing {}
                follower.wait(Duration::from_secs(60));
            }
        };
        let thread = std::thread::Builder::new().stack_size(128 * 1024).spawn(sleep);
        if let Err(error) = thread {
            return println!("cannot start all 8000 threads: {error}");
        }
    }
    std::thread::park();
}

/// Writes a block list of a million names and has it reloaded, again and again.
fn reload(_: SocketAddr, dir: &Path) {
    let exe = std::env::current_exe().expect("known");
    let ctl = exe.parent().and_then(|deps| deps.parent()).expect("its directory").join("hitherctl");
    for turn in 0_u64.. {
        let mut list = String::new();
        for n in 0..1_000_000_u64 {
            let _ = writeln!(list, "n{}.blocked{turn}.example", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
        let _ = std::fs::write(dir.join("list"), list);
        let _ = std::process::Command::new(&ctl).arg("--runtime-dir").arg(dir).arg("reload").output();
    }
}

/// Asks for 60 000 new names a second from one socket.
fn unique(server: SocketAddr, _: &Path) {
    fresh(server, b'u', (60_000.0, 1));
}

/// Asks for 60 000 new names a second from 1000 sockets.
fn ports(server: SocketAddr, _: &Path) {
    raise_limit();
    fresh(server, b'u', (60_000.0, 1000));
}

/// Asks for 2000 names a second that no upstream answers.
fn silent(server: SocketAddr, _: &Path) {
    fresh(server, b's', (2000.0, 1));
}

/// Asks for new names that begin with `first`, at `rate` queries a second.
fn fresh(server: SocketAddr, first: u8, (rate, sockets): (f64, usize)) {
    let sockets: Vec<_> = (0..sockets)
        .map(|_| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
            socket.connect(server).expect("a route");
            socket.set_nonblocking(true).expect("an option");
            socket
        })
        .collect();
    let mut replies = [0; 2048];
    let text = if first == b's' { "silent00000000.siege.example" } else { "unique00000000.siege.example" };
    let (mut octets, began) = (asked(text, Rtype::A).split_off(2), std::time::Instant::now());
    for sent in 0_u64.. {
        while began.elapsed().as_secs_f64() * rate < sent as f64 {
            std::thread::sleep(Duration::from_micros(200));
        }
        let mut left = sent;
        for digit in octets[19..27].iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
        let socket = &sockets[sent as usize % sockets.len()];
        let _ = socket.send(&octets);
        // The replies are read and discarded, as a real client would.
        while socket.recv(&mut replies).is_ok() {}
    }
}
