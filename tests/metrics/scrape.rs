//! `hitherctl metrics`: what it prints while the daemon runs, hangs and is gone, and the file for
//! node_exporter.

use super::support::{Daemon, Upstream, answer, ask_for, directory, skip, until};
use hither_wire::codes::Rtype;
use nix::sys::signal::Signal;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

pub const CTL: &str = env!("CARGO_BIN_EXE_hitherctl");

pub fn good() -> Upstream {
    Upstream::start(|query, _| vec![(0, answer(query, &[1, 2], 300))])
}

pub fn of(run: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(CTL);
    command.arg("--runtime-dir").arg(run).arg("metrics").args(args).output().expect("started")
}

fn text(daemon: &Daemon) -> String {
    let output = daemon.ctl(&["metrics"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The value of a sample, with its labels as they are written.
pub fn value(text: &str, sample: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

/// Whether promtool has nothing to say about a text, with what it says.
fn is_sound(text: &[u8]) -> Option<(bool, String)> {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    child.stdin.take().expect("piped").write_all(text).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success() && said.is_empty(), String::from_utf8_lossy(&said).into_owned()))
}

/// The metrics that need more than a plain upstream and a few queries.
pub const RARE: [&str; 2] =
    ["hither_upstream_handshakes_total", "hither_upstream_certificate_expiry_timestamp_seconds"];

#[test]
fn every_metric_is_there_and_promtool_has_nothing_to_say() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], "");
    daemon.ask("a.example");
    daemon.ask("a.example");
    daemon
        .until("two queries are counted", |daemon| value(&text(daemon), "hither_queries_total") >= Some(2.0));
    let plain = daemon.ctl(&["metrics", "--format", "prometheus"]).stdout;
    let text = text(&daemon);
    for heading in hither::ctl::metric_headings() {
        let name = heading.split(' ').next().expect("a name");
        let is_there = |text: &str| {
            let plain = format!("\n{name} ");
            [&plain, &format!("\n{name}{{"), &format!("\n{name}_bucket{{")]
                .iter()
                .any(|start| text.contains(*start))
        };
        assert_eq!(is_there(&text), !RARE.contains(&name), "{heading}:\n{text}");
    }
    assert_eq!(value(&text, "hither_up"), Some(1.0));
    assert_eq!(value(&text, "hither_lookups_total{result=\"miss\"}"), Some(1.0));
    assert!(text.ends_with("\n# EOF\n") && text.contains("# UNIT hither_table_size_bytes bytes\n"), "{text}");
    let stats = daemon.json(&["stats"]);
    assert_eq!(value(&text, "hither_publishes_total"), stats["publishes"].as_f64(), "{stats}\n{text}");
    match is_sound(&plain) {
        Some((sound, said)) => assert!(sound, "{said}\n{}", String::from_utf8_lossy(&plain)),
        None => skip("promtool check metrics", "promtool is not installed (package prometheus)"),
    }
}

#[test]
fn a_daemon_that_hangs_or_is_killed_is_down_and_its_counts_stay() {
    let (good, silent) = (good(), Upstream::start(|_, _| Vec::new()));
    let more = format!("[[domain]]\nnames = [\"held.example\"]\nupstreams = [\"{}\"]\n", silent.address);
    let mut daemon = Daemon::start(&[&good], &more);
    daemon.ask("a.example");
    daemon.until("the query is counted", |daemon| value(&text(daemon), "hither_queries_total") == Some(1.0));
    // The event loop sleeps until the next deadline of this round; it does not wake up for it.
    let client = daemon.client();
    client.send(&ask_for("held.example", Rtype::A, None, 9)).expect("sent");
    daemon.until("the round is live", |daemon| value(&text(daemon), "hither_rounds_live") == Some(1.0));
    daemon.signal(Signal::SIGSTOP);
    daemon.until("a stopped daemon is down", |daemon| value(&text(daemon), "hither_up") == Some(0.0));
    let stopped = text(&daemon);
    assert!(value(&stopped, "hither_overdue_seconds") >= Some(5.0), "{stopped}");
    assert!(value(&stopped, "hither_sign_of_life_age_seconds") >= Some(5.0), "{stopped}");
    assert_eq!(value(&stopped, "hither_uptime_seconds"), None);
    assert_eq!(value(&stopped, "hither_queries_total"), Some(2.0));
    daemon.signal(Signal::SIGCONT);
    daemon.until("it goes on", |daemon| value(&text(daemon), "hither_up") == Some(1.0));
    daemon.process.kill().expect("it runs");
    daemon.process.wait().expect("a child");
    let killed = text(&daemon);
    assert_eq!(
        (value(&killed, "hither_up"), value(&killed, "hither_rounds_started_total")),
        (Some(0.0), Some(2.0))
    );
}

#[test]
fn without_a_table_hither_is_down_and_a_table_that_cannot_be_read_is_an_error() {
    let dir = directory();
    let run = dir.join("run");
    for absent in [run.as_path(), Path::new("/nonexistent")] {
        let output = of(absent, &[]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && value(&text, "hither_up") == Some(0.0), "{text}");
        assert!(text.contains("hither_build_info{version=") && text.ends_with("# EOF\n"), "{text}");
    }
    std::fs::write(run.join("hosts"), vec![7; 8192]).expect("writable");
    let file = dir.join("hither.prom");
    std::fs::write(&file, "before").expect("writable");
    for args in [&["--format", "prometheus"][..], &["--textfile", file.to_str().expect("UTF-8")]] {
        let output = of(&run, args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
        assert!(said.contains("not a table of this version of hither"), "{said}");
    }
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "before");
    let json = Command::new(CTL).args(["metrics", "--json"]).output().expect("started");
    assert_eq!((json.status.code(), json.stdout.len()), (Some(1), 0), "JSON is not ignored");
    std::fs::remove_dir_all(&dir).expect("removable");
}

#[test]
fn the_file_for_node_exporter_is_replaced_at_once_and_all_may_read_it() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], "");
    let files = daemon.dir.join("files");
    std::fs::create_dir(&files).expect("a directory");
    let file = files.join("hither.prom");
    let write = || {
        let mut command = Command::new("sh");
        command.args(["-c", "umask 077; exec \"$@\"", "sh", CTL, "metrics", "--textfile"]).arg(&file);
        command.arg("--runtime-dir").arg(daemon.dir.join("run")).output().expect("started")
    };
    let output = write();
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o7777, 0o644);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..20).for_each(|_| assert!(write().status.success())));
        while !writer.is_finished() {
            let text = std::fs::read_to_string(&file).expect("always there");
            assert!(value(&text, "hither_up") == Some(1.0) && text.ends_with('\n'), "{text}");
            assert!(value(&text, "hither_network_changes_total").is_some(), "cut off:\n{text}");
        }
    });
    let names: Vec<_> =
        std::fs::read_dir(&files).expect("readable").flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["hither.prom"]);
    let output = of(&daemon.dir.join("run"), &["--textfile", "/nonexistent/hither.prom"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("'/nonexistent/hither.prom' cannot be replaced"), "{said}");
    collected(&files);
}

#[test]
fn only_a_regular_file_is_replaced_and_what_a_killed_process_left_is_no_obstacle() {
    let dir = directory();
    let text = |file: &Path| {
        let output = of(&dir, &["--textfile", file.to_str().expect("UTF-8")]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (target, link) = (dir.join("target"), dir.join("link"));
    std::fs::write(&target, "kept").expect("writable");
    std::os::unix::fs::symlink(&target, &link).expect("a link");
    for odd in [&link, Path::new("/dev/null"), dir.as_path()] {
        let (status, said) = text(odd);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("it is no regular file"), "{said}");
    }
    assert_eq!(std::fs::read_to_string(&link).expect("still a link"), "kept");
    let again = "touch \"$1/hither.prom.$$\" && exec \"$0\" metrics --runtime-dir \"$1\" --textfile \"$1/hither.prom\"";
    let output = Command::new("sh").args(["-c", again, CTL]).arg(&dir).output().expect("started");
    assert!(output.status.success(), "{output:?}");
    let names = std::fs::read_dir(&dir).expect("readable").flatten().map(|entry| entry.file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().starts_with("hither.prom")).count(), 1);
    std::fs::remove_dir_all(&dir).expect("removable");
}

/// node_exporter exports the file's metrics.
fn collected(files: &Path) {
    let mut command = Command::new("prometheus-node-exporter");
    command.args([
        "--collector.disable-defaults",
        "--collector.textfile",
        "--web.listen-address=127.0.0.1:0",
    ]);
    command.arg(format!("--collector.textfile.directory={}", files.display()));
    let Some(exporter) = super::prometheus::Server::start(&mut command) else {
        return skip("the textfile collector", "prometheus-node-exporter is not installed");
    };
    until("node_exporter has the metrics", || {
        let (_, text) = exporter.get("/metrics");
        value(&text, "hither_up") == Some(1.0) && value(&text, "node_textfile_scrape_error") == Some(0.0)
    });
    let (_, text) = exporter.get("/metrics");
    assert!(text.contains("# TYPE hither_queries_total counter\n"), "{text}");
    assert!(text.contains("node_textfile_mtime_seconds{file="), "{text}");
}
