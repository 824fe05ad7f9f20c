//! dnstap: with the tools of the collectors' side, and with collectors that are away or hang.

use crate::support::{Daemon, directory, ends, frame, framed, retried, skip, until};
use crate::upstream;
use hither_wire::codes::Rtype;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Debian's fstrm_capture, which writes to a file.
struct Capture {
    process: Child,
    file: PathBuf,
}

impl Capture {
    /// `None` without the program.
    fn start(dir: &Path) -> Option<Capture> {
        let (socket, file) = (dir.join("dnstap.sock"), dir.join("captured"));
        let mut command = Command::new("fstrm_capture");
        command.args(["-t", "protobuf:dnstap.Dnstap", "-u"]).arg(&socket).arg("-w").arg(&file);
        let process = command.stderr(Stdio::null()).spawn().ok()?;
        until("the collector listens", || socket.exists());
        Some(Capture { process, file })
    }

    /// Ends it, and reads what it has got by Debian's dnstap.
    fn end(mut self) -> Option<Vec<serde_json::Value>> {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).expect("small"));
        kill(pid, Signal::SIGTERM).expect("it runs");
        self.process.wait().expect("a child");
        let output =
            Command::new("dnstap").arg("-r").arg(&self.file).args(["-j", "-w", "-"]).output().ok()?;
        let values = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
        Some(values.map(|value| value.expect("JSON")).collect())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn until_said(daemon: &Daemon, text: &str, times: usize) {
    daemon.until(text, |daemon| daemon.log().matches(text).count() >= times);
}

fn setting(dir: &Path) -> String {
    format!("[log]\ndnstap = \"{}\"\n", dir.join("dnstap.sock").display())
}

#[test]
fn debians_tools_read_the_messages_of_clients_and_upstreams() {
    let test = "debians_tools_read_the_messages_of_clients_and_upstreams";
    let dir = directory();
    let Some(capture) = Capture::start(&dir) else {
        return skip(test, "fstrm_capture (fstrm-bin) is missing");
    };
    let upstream = upstream();
    let mut daemon = Daemon::start_in(dir.clone(), &[&upstream], &setting(&dir));
    until_said(&daemon, "takes messages", 1);
    assert_eq!(ends(&daemon.ask("www.example")), [1]);
    assert_eq!(ends(&daemon.ask("www.example")), [1], "a hit");
    let mut stream = daemon.tcp();
    stream.write_all(&frame(&crate::ask_for("www.example", Rtype::A, None, 9))).expect("sent");
    framed(&mut stream).expect("a reply");
    assert_eq!(daemon.json(&["stats"])["dnstap_dropped"], 0);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.process.wait().expect("a child").code(), Some(0));
    let Some(messages) = capture.end() else {
        return skip(test, "dnstap (golang-github-dnstap-golang-dnstap-cli) is missing");
    };
    let of = |kind: &str| -> Vec<&serde_json::Value> {
        let is_it = |said: &&serde_json::Value| said["message"]["type"] == kind;
        messages.iter().filter(is_it).collect()
    };
    let counts = ["CLIENT_QUERY", "CLIENT_RESPONSE", "FORWARDER_QUERY", "FORWARDER_RESPONSE"]
        .map(|kind| of(kind).len());
    assert_eq!(counts, [3, 3, 1, 1], "{messages:#?}");
    for said in &messages {
        assert!(said["version"].as_str().is_some_and(|version| version.starts_with("hitherd ")), "{said}");
        let message = if said["message"]["type"].as_str().is_some_and(|kind| kind.ends_with("QUERY")) {
            &said["message"]["query_message"]
        } else {
            &said["message"]["response_message"]
        };
        assert!(message.to_string().to_lowercase().contains("www.example."), "{said}");
    }
    assert_eq!(of("FORWARDER_QUERY")[0]["message"]["response_port"], upstream.address.port());
    let by_tcp =
        of("CLIENT_RESPONSE").iter().filter(|said| said["message"]["socket_protocol"] == "TCP").count();
    assert_eq!(by_tcp, 1, "{messages:#?}");
}

#[test]
fn a_collector_that_comes_late_goes_and_comes_back_is_found() {
    let test = "a_collector_that_comes_late_goes_and_comes_back_is_found";
    let dir = directory();
    let upstream = upstream();
    let daemon = Daemon::start_in(dir.clone(), &[&upstream], &setting(&dir));
    until_said(&daemon, "takes no messages", 1);
    daemon.ask("lost.example");
    daemon.until("frames are counted", |daemon| daemon.json(&["stats"])["dnstap_dropped"].as_u64() > Some(0));
    for round in 0..2 {
        let Some(capture) = Capture::start(&dir) else {
            return skip(test, "fstrm_capture (fstrm-bin) is missing");
        };
        until_said(&daemon, "takes messages", round + 1);
        daemon.ask(&format!("got{round}.example"));
        // The frames are written within 100 ms; the file shows when.
        drop(capture);
        until_said(&daemon, "takes no messages", round + 2);
        std::fs::remove_file(dir.join("dnstap.sock")).expect("removable");
    }
    assert_eq!(daemon.log().matches("takes no messages").count(), 3, "{}", daemon.log());
}

#[test]
fn a_collector_that_hangs_delays_no_client() {
    let dir = directory();
    let listener = UnixListener::bind(dir.join("dnstap.sock")).expect("a socket");
    let upstream = upstream();
    let daemon = Daemon::start_in(dir.clone(), &[&upstream], &setting(&dir));
    // It accepts dnstap, and reads nothing after that.
    let (mut near, _) = listener.accept().expect("a connection");
    let mut ready = [0; 8 + 4 + 8 + 22];
    near.read_exact(&mut ready).expect("a frame");
    assert_eq!(ready[8..12], [0, 0, 0, 4]);
    ready[11] = 1;
    near.write_all(&ready).expect("written");
    until_said(&daemon, "takes messages", 1);
    let socket = daemon.client();
    let (mut buffer, mut slowest) = ([0; 1500], Duration::ZERO);
    for id in 0..20_000_u16 {
        let began = Instant::now();
        socket.send(&crate::ask_for("www.example", Rtype::A, Some(1232), id)).expect("sent");
        retried(|| socket.recv(&mut buffer)).expect("a reply");
        slowest = slowest.max(began.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    daemon.until("frames are dropped", |daemon| daemon.json(&["stats"])["dnstap_dropped"].as_u64() > Some(0));
    until_said(&daemon, "takes no messages", 1);
    // Nothing accepts the next connection, and the daemon ends all the same.
    daemon.signal(Signal::SIGTERM);
    let mut daemon = daemon;
    assert_eq!(daemon.process.wait().expect("a child").code(), Some(0));
}
