//! nginx before a backend whose address changes, with the example of `packaging/examples` as it stands.

use crate::Ends;
use crate::support::{Daemon, PATIENCE, Upstream, compose, retried, skip, until};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::Owner;
use hither_wire::message::Section;
use hither_wire::query::Query;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

const TTL: Duration = Duration::from_secs(6);

/// An upstream at which the backend has the address 127.0.0.n.
fn upstream(n: &Arc<AtomicU8>) -> Upstream {
    let n = Arc::clone(n);
    Upstream::start(move |query, _| {
        let is_a = Query::read(query).expect("the daemon's own").qtype() == Rtype::A;
        let soa = [&b"\x02ns\0\x04host\0"[..], &[0; 16], &60_u32.to_be_bytes()].concat();
        let reply = compose(query, Rcode::NOERROR, 0, |composer| {
            let done = if is_a {
                let address = Ipv4Addr::new(127, 0, 0, n.load(Ordering::SeqCst)).octets();
                let ttl = u32::try_from(TTL.as_secs()).expect("short");
                composer.record(Section::Answer, Owner::At(12), Rtype::A, ttl, &address)
            } else {
                composer.record(Section::Authority, Owner::Wire(b"\x07example\0"), Rtype::SOA, 60, &soa)
            };
            assert!(done);
        });
        vec![(0, reply)]
    })
}

/// A server at 127.0.0.n that replies with its number; to `/slow` only when it is told to.
struct Backend {
    open: Arc<AtomicBool>,
    address: (Ipv4Addr, u16),
    release: mpsc::Sender<()>,
}

impl Backend {
    fn start(n: u8, port: u16) -> Option<(Backend, u16)> {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, n), port)).ok()?;
        let port = listener.local_addr().expect("bound").port();
        let open = Arc::new(AtomicBool::new(true));
        let (release, released) = mpsc::channel();
        let (released, is_open) = (Arc::new(Mutex::new(released)), Arc::clone(&open));
        std::thread::spawn(move || {
            for stream in listener.incoming().take_while(|_| is_open.load(Ordering::SeqCst)) {
                let (stream, released) = (stream.expect("accepted"), Arc::clone(&released));
                std::thread::spawn(move || serve(stream, n, &released));
            }
        });
        Some((Backend { open, address: (Ipv4Addr::new(127, 0, 0, n), port), release }, port))
    }

    /// Closes its port.
    fn close(&self) {
        self.open.store(false, Ordering::SeqCst);
        // It is noticed with the next connection.
        drop(TcpStream::connect(self.address));
        until("the port is closed", || TcpStream::connect(self.address).is_err());
    }
}

fn serve(mut stream: TcpStream, n: u8, released: &Mutex<mpsc::Receiver<()>>) {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match retried(|| stream.read(&mut buffer)) {
            Ok(len) if len > 0 => request.extend_from_slice(&buffer[..len]),
            _ => return,
        }
    }
    if request.starts_with(b"GET /slow") {
        let _ = released.lock().expect("no panic").recv();
    }
    let _ = write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n{n}");
}

/// Sends a request to nginx, and returns the number of the backend that replied.
fn get(front: &Path, path: &str) -> Result<u8, String> {
    let mut stream = UnixStream::connect(front).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").map_err(|error| error.to_string())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).map_err(|error| error.to_string())?;
    let is_ok = reply.starts_with("HTTP/1.1 200");
    let last = reply.bytes().last().filter(|_| is_ok).map(|octet| octet.wrapping_sub(b'0'));
    last.ok_or(reply)
}

/// The configuration of an nginx of its own around the example.
fn configure(dir: &Path, front: &Path) -> String {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = std::fs::read_to_string(top.join("packaging/examples/nginx/backend.conf")).expect("there");
    let example = example
        .replace("listen 80;", &format!("listen unix:{};", front.display()))
        .replace("/etc/nginx/hither", &dir.join("hither").display().to_string())
        .replace("backend.example.com.servers", "backend.example.servers");
    std::fs::write(dir.join("backend.conf"), example).expect("writable");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", dir.display()))
        .concat();
    let text = format!(
        "pid {0}/nginx.pid;\nerror_log {0}/error.log;\nworker_processes 2;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}include {0}/backend.conf;\n}}\n",
        dir.display()
    );
    std::fs::write(dir.join("nginx.conf"), text).expect("writable");
    format!("nginx -e {0}/error.log -p {0} -c {0}/nginx.conf", dir.display())
}

fn watch(daemon: &Daemon, nginx: &str, port: u16) -> Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/examples/nginx/changed");
    Command::new(env!("CARGO_BIN_EXE_hitherctl"))
        .arg("--runtime-dir")
        .arg(daemon.dir.join("run"))
        .args(["watch", "--now", "--exec", script.to_str().expect("UTF-8"), "backend.example"])
        .env("COMMAND", nginx)
        .env("PORT", port.to_string())
        .env("FOLDER", daemon.dir.join("hither"))
        .spawn()
        .expect("started")
}

/// Two backends with the same port.
fn backends() -> (Backend, Backend, u16) {
    loop {
        let (old, port) = Backend::start(2, 0).expect("a port");
        if let Some((new, port)) = Backend::start(3, port) {
            return (old, new, port);
        }
    }
}

/// Requests without a pause, by four clients, each on a connection of its own.
struct Traffic {
    ended: Arc<AtomicBool>,
    clients: Vec<std::thread::JoinHandle<()>>,
    /// The last reply of the old backend, and the first one of the new one.
    old: Arc<Mutex<Option<Instant>>>,
    new: Arc<Mutex<Option<Instant>>>,
    count: Arc<AtomicUsize>,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Traffic {
    fn start(front: &Path) -> Traffic {
        let mut traffic = Traffic {
            ended: Arc::default(),
            clients: Vec::new(),
            old: Arc::default(),
            new: Arc::default(),
            count: Arc::default(),
            failures: Arc::default(),
        };
        for _ in 0..4 {
            let (ended, count) = (Arc::clone(&traffic.ended), Arc::clone(&traffic.count));
            let (old, new) = (Arc::clone(&traffic.old), Arc::clone(&traffic.new));
            let (failures, front) = (Arc::clone(&traffic.failures), PathBuf::from(front));
            traffic.clients.push(std::thread::spawn(move || {
                while !ended.load(Ordering::SeqCst) {
                    match get(&front, "/") {
                        Ok(2) => *old.lock().expect("no panic") = Some(Instant::now()),
                        Ok(3) => drop(new.lock().expect("no panic").get_or_insert_with(Instant::now)),
                        Ok(other) => failures.lock().expect("no panic").push(other.to_string()),
                        Err(error) => failures.lock().expect("no panic").push(error),
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                }
            }));
        }
        traffic
    }

    fn await_more(&self, more: usize) {
        let from = self.count.load(Ordering::SeqCst);
        until("requests", || self.count.load(Ordering::SeqCst) >= from + more);
    }
}

#[test]
fn nginx_follows_a_backend_within_two_ttls_and_drops_no_connection() {
    let test = "nginx_follows_a_backend_within_two_ttls_and_drops_no_connection";
    if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_err() {
        return skip(test, "nginx is not installed");
    }
    let number = Arc::new(AtomicU8::new(2));
    let upstream = upstream(&number);
    let more = "[sort]\nenabled = false\n[rebinding]\nallow = [\"example\"]\n";
    let daemon = Daemon::start(&[&upstream], more);
    let front = daemon.dir.join("front");
    let nginx = configure(&daemon.dir, &front);
    let (old, _new, port) = backends();
    // Nothing has asked for the name, and nginx does not run yet.
    let mut ends = Ends(vec![watch(&daemon, &nginx, port)]);
    let servers = daemon.dir.join("hither/backend.example.servers");
    until("the servers of nginx", || servers.exists());
    let foreground = format!("exec {nginx} -g 'daemon off;'");
    ends.0.push(Command::new("sh").args(["-c", &foreground]).spawn().expect("started"));
    until("nginx serves", || get(&front, "/") == Ok(2));
    let traffic = Traffic::start(&front);
    let slow = std::thread::spawn({
        let front = front.clone();
        move || get(&front, "/slow")
    });
    traffic.await_more(100);
    let changed = Instant::now();
    number.store(3, Ordering::SeqCst);
    until("the new backend has requests", || traffic.new.lock().expect("no panic").is_some());
    // What the old workers had accepted is over with the next requests.
    traffic.await_more(200);
    let at = traffic.old.lock().expect("no panic").expect("it had requests");
    let took = at.saturating_duration_since(changed);
    assert!(took < 2 * TTL, "{took:?}");
    old.release.send(()).expect("it waits");
    assert_eq!(slow.join().expect("no panic"), Ok(2), "an open connection goes on");
    let master = ends.0.last().expect("nginx").id();
    until("the old workers have ended", || {
        let workers = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
        workers.expect("Linux").split_whitespace().count() == 2
    });
    old.close();
    traffic.await_more(200);
    traffic.ended.store(true, Ordering::SeqCst);
    for client in traffic.clients {
        client.join().expect("no panic");
    }
    let failures = traffic.failures.lock().expect("no panic");
    assert!(failures.is_empty(), "{} of {:?}: {failures:?}", failures.len(), traffic.count);
    let line = format!("traffic followed in {took:?}; {:?} requests, 0 failures\n", traffic.count);
    std::io::stderr().write_all(line.as_bytes()).expect("written");
}
