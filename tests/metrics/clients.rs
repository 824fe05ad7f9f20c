//! One process for each client, as `hither-metrics@.service` is started: whatever the client does, the
//! process ends.

use super::scrape::{CTL, good, value};
use super::support::{Daemon, PATIENCE, directory};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A client's end, and the process at the other one.
fn connected(run: &Path) -> (UnixStream, Child) {
    let (client, server) = UnixStream::pair().expect("a pair");
    client.set_read_timeout(Some(PATIENCE)).expect("an option");
    let mut command = Command::new(CTL);
    command.arg("--runtime-dir").arg(run).args(["metrics", "--http"]);
    let child = command.stdin(OwnedFd::from(server)).stdout(Stdio::piped()).stderr(Stdio::piped());
    (client, child.spawn().expect("started"))
}

/// The response to octets; empty without one.
fn said(run: &Path, octets: &[u8]) -> String {
    let (mut client, child) = connected(run);
    // The process may have answered, and ended, before it has read everything.
    let _ = client.write_all(octets);
    let response = rest(&mut client);
    ended(child);
    response
}

fn rest(client: &mut UnixStream) -> String {
    let mut response = Vec::new();
    match client.read_to_end(&mut response) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => String::from_utf8(response).expect("UTF-8"),
    }
}

/// The client's fault is no failure of the unit, and nothing goes to standard output.
fn ended(child: Child) -> String {
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn get(fields: &str) -> Vec<u8> {
    format!("GET /metrics HTTP/1.1\r\nHost: localhost:9953\r\n{fields}\r\n").into_bytes()
}

#[test]
fn a_scrape_gets_the_format_that_it_prefers() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], "");
    let run = daemon.dir.join("run");
    for (fields, media, is_openmetrics) in [
        ("", "text/plain; version=0.0.4; charset=utf-8", false),
        ("Accept: */*\r\n", "text/plain; version=0.0.4; charset=utf-8", false),
        (
            "accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            true,
        ),
    ] {
        let response = said(&run, &get(fields));
        let (head, body) = response.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains(media), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        assert_eq!((value(body, "hither_up"), body.ends_with("# EOF\n")), (Some(1.0), is_openmetrics));
    }
    let head = said(&run, b"HEAD /metrics HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(!head.contains("Content-Length: 0\r\n"), "{head}");
}

#[test]
fn what_is_no_scrape_is_refused() {
    let dir = directory();
    let run = dir.join("run");
    let large = get(&format!("X: {}\r\n", "y".repeat(20_000)));
    for (octets, status) in [
        (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], "404"),
        (b"GET /../metrics HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", "405"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"),
        (b"\0\0\0\0", "400"),
        (&large, "431"),
        (&get(&"X: y\r\n".repeat(100)), "431"),
    ] {
        let response = said(&run, octets);
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response:?} for {octets:?}");
        assert_eq!(response.contains("\r\nAllow: GET, HEAD\r\n"), status == "405", "{response}");
    }
    // No table: hither is down. One that cannot be read: nothing is known, and the journal has the reason.
    let response = said(&run, &get(""));
    assert!(
        response.starts_with("HTTP/1.1 200 ") && value(&response, "hither_up") == Some(0.0),
        "{response}"
    );
    std::fs::write(run.join("hosts"), vec![7; 8192]).expect("writable");
    let (mut client, child) = connected(&run);
    client.write_all(&get("")).expect("it reads");
    let response = rest(&mut client);
    assert!(response.starts_with("HTTP/1.1 503 ") && response.contains("not a table"), "{response}");
    assert!(ended(child).contains("not a table of this version of hither"));
    let plain = Command::new(CTL).args(["metrics", "--http"]).stdin(Stdio::null()).output().expect("started");
    let said = String::from_utf8_lossy(&plain.stderr);
    assert_eq!(plain.status.code(), Some(1));
    assert!(said.contains("standard input is no connection"), "{said}");
    std::fs::remove_dir_all(&dir).expect("removable");
}

#[test]
fn a_client_that_hesitates_is_not_waited_for_long() {
    let dir = directory();
    let run = dir.join("run");
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let response = said(&run, b"");
            assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
        });
        scope.spawn(|| {
            // An octet every tenth of a second: each comes in time, the whole never.
            let (mut client, child) = connected(&run);
            let request = get(&format!("X: {}\r\n", "y".repeat(4000)));
            let mut left = request.iter();
            while let Some(octet) = left.next()
                && client.write_all(&[*octet]).is_ok()
            {
                std::thread::sleep(Duration::from_millis(100));
            }
            assert!(left.len() > 0, "the whole request was waited for");
            ended(child);
        });
        scope.spawn(|| {
            // The response is not read.
            let (mut client, child) = connected(&run);
            client.write_all(&get("")).expect("it reads");
            ended(child);
        });
        scope.spawn(|| {
            // After a refusal the client goes on sending.
            let (mut client, child) = connected(&run);
            while client.write_all(b"no request at all\r\n").is_ok() {}
            ended(child);
        });
        for octets in [&b""[..], b"GET /met", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"] {
            let run = &run;
            scope.spawn(move || {
                let (mut client, child) = connected(run);
                client.write_all(octets).expect("it reads");
                client.shutdown(Shutdown::Write).expect("connected");
                let response = rest(&mut client);
                let wanted = ["", "HTTP/1.1 400 ", "HTTP/1.1 200 "]
                    [usize::from(!octets.is_empty()) + usize::from(octets.len() > 20)];
                assert!(
                    response.starts_with(wanted) && response.is_empty() == wanted.is_empty(),
                    "{response}"
                );
                ended(child);
            });
        }
    });
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    std::fs::remove_dir_all(&dir).expect("removable");
}
