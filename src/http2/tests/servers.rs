//! Real servers of five makes, over TCP with prior knowledge (RFC 9113, section 3.3): hyper-h2, nginx,
//! nghttpd, dnsdist and unbound. Each is skipped where it is not installed.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)] // The crate does no I/O; its servers do.

#[path = "../../../tests/support/skip.rs"]
mod skip;

use hither_http2::{Config, Connection, Event, Refused, Request, Response, StreamId};
use skip::skip;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Timeout for events that must come.
const PATIENCE: Duration = Duration::from_secs(30);
/// The query `a.test. A`.
const QUERY: &[u8] = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";
const MEDIA_TYPE: &str = "application/dns-message";

/// A server that ends with its test, and its directory.
struct Server {
    child: Child,
    port: u16,
    dir: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Server {
    /// Starts a program that needs a port and a directory; `arguments` writes its files.
    fn start(program: &str, arguments: impl FnOnce(u16, &Path) -> Vec<String>) -> Option<Self> {
        let dirs = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
        let found = dirs.iter().map(|dir| Path::new(dir).join(program)).find(|path| path.exists());
        let Some(path) = found else {
            skip(&format!("HTTP/2 with {program}"), "it is not installed");
            return None;
        };
        let dir = std::env::temp_dir().join(format!("hither-http2-{program}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let log = std::fs::File::create(dir.join("log")).expect("a file");
        let child = Command::new(path)
            .args(arguments(port, &dir))
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .spawn()
            .expect("a process");
        Some(Self { child, port, dir })
    }

    fn connect(&mut self) -> Client {
        let end = Instant::now() + PATIENCE;
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(stream) => break stream,
                Err(error) => assert!(
                    Instant::now() < end && self.child.try_wait().expect("a child").is_none(),
                    "{error}: {}",
                    std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
                ),
            }
            std::thread::yield_now();
        };
        Client { stream, connection: Connection::new(Config::default()), events: Vec::new() }
    }
}

/// A connection and its socket.
struct Client {
    stream: TcpStream,
    connection: Connection,
    events: Vec<Event>,
}

impl Client {
    fn ask(&mut self, path: &str, body: &[u8]) -> Result<StreamId, Refused> {
        let asked =
            self.connection.request(&Request { authority: "dns.example", path, body, accept: MEDIA_TYPE });
        self.send();
        asked
    }

    fn send(&mut self) {
        let mut octets = Vec::new();
        self.connection.transmit(&mut octets);
        self.stream.write_all(&octets).expect("the server reads");
    }

    /// Reads until no stream is open.
    fn finish(&mut self) {
        let mut octets = [0; 4096];
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        while self.connection.streams() > 0 {
            let count = match (&self.stream).read(&mut octets) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result.expect("the server answers in time"),
            };
            assert!(count > 0, "the server closed the connection after {} events", self.events.len());
            self.connection.receive(&octets[..count]).expect("a sound server");
            self.events.extend(std::iter::from_fn(|| self.connection.poll_event()));
            self.send();
        }
    }

    fn responses(&self) -> BTreeMap<StreamId, &Response> {
        let responses = self.events.iter().filter_map(|event| match event {
            Event::Response(response) => Some((response.stream, response)),
            _ => None,
        });
        responses.collect()
    }
}

/// Asks a server that answers DNS many times at once, and checks each answer.
fn assert_answers_dns(client: &mut Client) {
    for _ in 0..3 {
        let asked: Vec<StreamId> =
            (0..50).map(|_| client.ask("/dns-query", QUERY).expect("a stream")).collect();
        client.finish();
        for stream in asked {
            let responses = client.responses();
            let response = responses.get(&stream).expect("a response");
            assert_eq!(response.status, 200, "{response:?}");
            assert_eq!(response.headers.content_type.as_deref(), Some(MEDIA_TYPE));
            assert!(response.body.windows(4).any(|address| address == [192, 0, 2, 1]), "{response:?}");
        }
    }
}

#[test]
fn hyper_h2_is_understood_in_all_its_moods() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/echo.py");
    let has_h2 = |python: &&str| {
        let checked = Command::new(python).args(["-c", "import h2"]).stderr(Stdio::null()).status();
        checked.is_ok_and(|status| status.success())
    };
    let Some(python) = ["/usr/bin/python3", "python3"].into_iter().find(has_h2) else {
        return skip("HTTP/2 with hyper-h2", "python3-h2 is not installed");
    };
    let mut child = Command::new(python).arg(script).stdout(Stdio::piped()).spawn().expect("a process");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    let dir = std::env::temp_dir().join(format!("hither-http2-hyper-{}", std::process::id()));
    let mut server = Server { child, port: line.trim().parse().expect("a port"), dir };
    let mut client = server.connect();
    let paths = ["/late", "/pieces", "/refused", "/any", "/late", "/any"];
    let asked: Vec<StreamId> = paths.iter().map(|path| client.ask(path, QUERY).expect("a stream")).collect();
    client.finish();
    assert!(client.events.contains(&Event::Limits { streams_max: 50 }), "{:?}", client.events);
    for (path, stream) in paths.iter().zip(asked) {
        let responses = client.responses();
        let Some(response) = responses.get(&stream) else {
            assert_eq!(*path, "/refused");
            let is_it = |event: &Event| matches!(event, Event::Reset { stream: id, may_retry: true, .. } if *id == stream);
            assert!(client.events.iter().any(is_it), "{:?}", client.events);
            continue;
        };
        assert_eq!((&*response.body, response.headers.age_s), (QUERY, Some(5)), "{path}");
    }
    for length in [1, 1000, 5000] {
        let body = vec![7; length];
        let stream = client.ask("/large", &body).expect("a stream");
        client.finish();
        assert!(client.responses()[&stream].body == body, "{length} octets");
    }
}

#[test]
fn nginx_answers_every_request_before_the_end_that_it_announces() {
    let Some(mut server) = Server::start("nginx", |port, dir| {
        let config = format!(
            "daemon off; master_process off; pid {0}/pid; error_log stderr;
             events {{ worker_connections 64; }}
             http {{
               access_log off; keepalive_requests 120; client_body_temp_path {0}; proxy_temp_path {0};
               fastcgi_temp_path {0}; uwsgi_temp_path {0}; scgi_temp_path {0};
               server {{ listen 127.0.0.1:{port} http2;
                 location /dns-query {{ default_type {MEDIA_TYPE}; add_header cache-control max-age=9; return 200 answer; }} }}
             }}",
            dir.display()
        );
        std::fs::write(dir.join("conf"), config).expect("a file");
        ["-e", "stderr", "-p", ".", "-c"]
            .map(String::from)
            .into_iter()
            .chain([dir.join("conf").display().to_string()])
            .collect()
    }) else {
        return;
    };
    let mut client = server.connect();
    let mut asked = 0;
    while asked < 200 {
        match client.ask("/dns-query", QUERY) {
            Ok(_) => asked += 1,
            Err(Refused::Draining) => break,
            Err(refused) => panic!("{refused}"),
        }
        if asked % 40 == 0 {
            client.finish();
        }
    }
    client.finish();
    let has_goaway = client.events.iter().any(|event| matches!(event, Event::GoAway { .. }));
    assert!(has_goaway, "{} events", client.events.len());
    let retried =
        client.events.iter().filter(|event| matches!(event, Event::Reset { may_retry: true, .. })).count();
    let responses = client.responses();
    assert_eq!(responses.len() + retried, asked, "each request is answered, or may be made again");
    assert!(responses.len() >= 120);
    let response = responses[&StreamId(1)];
    assert_eq!((response.status, &*response.body), (200, &b"answer"[..]));
    assert_eq!(response.headers.cache_control.as_deref(), Some("max-age=9"));
    let mut client = server.connect();
    let missing = client.ask("/missing", QUERY).expect("a stream");
    client.finish();
    assert_eq!(client.responses()[&missing].status, 404);
}

#[test]
fn nghttpd_echoes_requests_of_all_sizes() {
    let Some(mut server) = Server::start("nghttpd", |port, dir| {
        let arguments = ["--no-tls", "--echo-upload", "--address=127.0.0.1", "-d"].map(String::from);
        arguments.into_iter().chain([dir.display().to_string(), port.to_string()]).collect()
    }) else {
        return;
    };
    let mut client = server.connect();
    let bodies = [1, 40, 16_384, 16_385, 65_535, 2, 30_000].map(|length| vec![length as u8; length]);
    let asked: Vec<StreamId> =
        bodies.iter().map(|body| client.ask("/any", body).expect("a stream")).collect();
    client.finish();
    for (body, stream) in bodies.iter().zip(asked) {
        assert!(client.responses()[&stream].body == *body, "{} octets", body.len());
    }
}

#[test]
fn dnsdist_answers_dns() {
    let Some(mut server) = Server::start("dnsdist", |port, dir| {
        let config = format!(
            "setACL('127.0.0.1') setSecurityPollSuffix('')
             addDOHLocal('127.0.0.1:{port}', nil, nil, '/dns-query')
             addAction(AllRule(), SpoofAction('192.0.2.1'))"
        );
        std::fs::write(dir.join("conf"), config).expect("a file");
        let arguments = ["--supervised", "--disable-syslog", "-C"].map(String::from);
        arguments.into_iter().chain([dir.join("conf").display().to_string()]).collect()
    }) else {
        return;
    };
    assert_answers_dns(&mut server.connect());
}

#[test]
fn unbound_answers_dns() {
    let Some(mut server) = Server::start("unbound", |port, dir| {
        let config = format!(
            "server:\n do-daemonize: no\n use-syslog: no\n username: \"\"\n chroot: \"\"\n directory: \"{0}\"\n pidfile: \"\"
 interface: 127.0.0.1@{port}\n https-port: {port}\n http-notls-downstream: yes\n num-threads: 1
 local-data: \"a.test. A 192.0.2.1\"\nremote-control:\n control-enable: no\n",
            dir.display()
        );
        std::fs::write(dir.join("conf"), config).expect("a file");
        ["-d", "-c"].map(String::from).into_iter().chain([dir.join("conf").display().to_string()]).collect()
    }) else {
        return;
    };
    assert_answers_dns(&mut server.connect());
}
