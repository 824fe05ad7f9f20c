//! The alert rules and the board for Grafana: they name metrics that exist, the rules fire when they
//! should, and Debian's Prometheus, which scrapes a real daemon, has data for every query.

use super::scrape::{CTL, RARE, good};
use super::support::{Daemon, directory, skip, until};
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Metrics that a host with two plain upstreams and without a sorter does not have.
const ELSEWHERE: [&str; 2] = ["hither_sorter_probes_total", "hither_sorter_verdicts_total"];

/// The alert whose condition is met there, for less than its ten minutes: no sorter runs.
const PENDING: &str = "HitherSorterAway";

fn packaged(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(packaged(path)).expect("there")
}

/// A program of Prometheus, at the address that it says it listens at.
pub struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// `None` if the program is not installed.
    pub fn start(command: &mut Command) -> Option<Server> {
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().ok()?;
        let mut log = BufReader::new(process.stderr.take().expect("piped"));
        let (mut line, mut said) = (String::new(), String::new());
        let address = loop {
            line.clear();
            let len = log.read_line(&mut line).expect("readable");
            assert!(len > 0, "it ends without listening:\n{said}");
            said += &line;
            let stated = line.split("address=").nth(1).filter(|_| line.contains("istening on"));
            if let Some(address) = stated.and_then(|rest| rest.split_whitespace().next()) {
                break address.parse().expect("an address");
            }
        };
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Some(Server { process, address })
    }

    /// The status and the body of a page.
    pub fn get(&self, target: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).expect("connected");
        write!(stream, "GET {target} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address).expect("sent");
        let mut octets = Vec::new();
        stream.read_to_end(&mut octets).expect("a response");
        let response = String::from_utf8(octets).expect("UTF-8");
        let (head, body) = response.split_once("\r\n\r\n").expect("a head");
        (head.split(' ').nth(1).expect("a status").parse().expect("a number"), body.to_owned())
    }

    fn json(&self, target: &str) -> Value {
        let (status, body) = self.get(target);
        assert!(status == 200 || status == 400, "{target}: {status} {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{target}: {error}: {body}"))
    }

    /// The result of a query: a list of series.
    fn query(&self, query: &str) -> Vec<Value> {
        let escaped: String = query.bytes().map(|octet| format!("%{octet:02x}")).collect();
        let answer = self.json(&format!("/api/v1/query?query={escaped}"));
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().expect("a list").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Accepts connections, and starts a process for each, as the socket unit does.
struct Socket {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Socket {
    fn start(run: PathBuf) -> Socket {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let mut command = Command::new(CTL);
                command.arg("--runtime-dir").arg(&run).args(["metrics", "--http"]);
                let child = command.stdin(OwnedFd::from(stream)).stdout(Stdio::null()).spawn();
                let ended = child.expect("started").wait().expect("it ends");
                assert!(ended.success());
            }
        });
        Socket { address, stop }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// All queries of the board: of panels, variables and annotations.
fn queries_of_board() -> Vec<String> {
    fn collect(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                into.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| collect(value, into));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, into)),
            _ => {}
        }
    }
    let board: Value = serde_json::from_str(&text("grafana/hither.json")).expect("JSON");
    let mut found = Vec::new();
    collect(&board, &mut found);
    assert!(found.len() > 30, "{found:?}");
    found
}

/// The alerts, each with its expression, as far as YAML is needed for that.
fn alerts() -> Vec<(String, String)> {
    let text = text("prometheus/hither.rules.yml");
    let found = text.split("- alert: ").skip(1).map(|alert| {
        let (name, rest) = alert.split_once('\n').expect("lines");
        let from = rest.split_once("expr: ").expect("an expression").1;
        let ends = |line: &str| ["for:", "labels:"].iter().any(|key| line.trim_start().starts_with(key));
        let lines = from.lines().take_while(|line| !ends(line));
        let expression = lines.collect::<Vec<_>>().join(" ");
        (name.to_owned(), expression.trim_start_matches('|').to_owned())
    });
    found.collect()
}

/// The metrics that a query names.
fn named(query: &str) -> BTreeSet<&str> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("hither_")).collect()
}

/// The names of all samples.
fn samples() -> BTreeSet<String> {
    let headings = hither::ctl::metric_headings();
    headings
        .iter()
        .flat_map(|heading| {
            let name = heading.split(' ').next().expect("a name").to_owned();
            let ends =
                if heading.contains("(histogram") { &["_bucket", "_sum", "_count"][..] } else { &[""] };
            ends.iter().map(move |end| format!("{name}{end}"))
        })
        .collect()
}

#[test]
fn rules_and_board_name_metrics_that_exist() {
    let (samples, alerts) = (samples(), alerts());
    let expressions = alerts.iter().map(|(_, expression)| expression.clone());
    for query in queries_of_board().into_iter().chain(expressions) {
        let unknown: Vec<_> = named(&query).into_iter().filter(|name| !samples.contains(*name)).collect();
        assert!(unknown.is_empty(), "{unknown:?} in {query}");
    }
    // Each alert is seen to fire, and each but one not to.
    let tests = text("prometheus/hither.rules.test.yml");
    for (name, _) in &alerts {
        let of = |what: &str| tests.contains(&format!("alertname: {name}\n        exp_alerts:{what}\n"));
        assert!(of("") && of(" []"), "hither.rules.test.yml does not try {name} both ways");
    }
    assert!(alerts.len() > 10, "{alerts:?}");
}

#[test]
fn the_rules_fire_when_they_should() {
    for args in [["check", "rules", "hither.rules.yml"], ["test", "rules", "hither.rules.test.yml"]] {
        let mut command = Command::new("promtool");
        let Ok(output) = command.args(args).current_dir(packaged("prometheus")).output() else {
            return skip("the_rules_fire_when_they_should", "promtool is not installed (package prometheus)");
        };
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said));
    }
}

fn prometheus(dir: &Path, target: SocketAddr) -> Option<Server> {
    let rules = packaged("prometheus/hither.rules.yml");
    let configuration = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: [{:?}]\nscrape_configs:\n  - job_name: hither\n    static_configs: [{{targets: ['{target}']}}]\n",
        rules.display()
    );
    std::fs::write(dir.join("prometheus.yml"), configuration).expect("writable");
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", dir.join("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()));
    let server = Server::start(command.arg("--web.listen-address=127.0.0.1:0"))?;
    until("Prometheus is ready", || server.get("/-/ready").0 == 200);
    Some(server)
}

#[test]
fn prometheus_scrapes_the_daemon_and_has_data_for_every_query() {
    let dir = directory();
    let (first, second) = (good(), good());
    let daemon = Daemon::start(&[&first, &second], "");
    let socket = Socket::start(daemon.dir.join("run"));
    let Some(prometheus) = prometheus(&dir, socket.address) else {
        return skip("prometheus_scrapes_the_daemon…", "prometheus is not installed");
    };
    let asked = Cell::new(0);
    // A rate needs two scrapes, and something between them.
    until("Prometheus has scraped several times", || {
        asked.set(asked.get() + 1);
        daemon.ask(&format!("n{}.example", asked.get() % 50));
        let scrapes = prometheus.query("count_over_time(hither_up[1m])");
        scrapes.first().and_then(|one| one["value"][1].as_str()?.parse().ok()) >= Some(4.0)
    });
    let target = &prometheus.json("/api/v1/targets")["data"]["activeTargets"][0];
    assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()), "{target}");
    for query in queries_of_board() {
        let query = query.replace("$instance", ".+").replace("$__rate_interval", "1m");
        let found = prometheus.query(&query);
        let may_lack = query.ends_with("> 0")
            || named(&query)
                .iter()
                .any(|name| RARE.contains(&name.trim_end_matches("_bucket")) || ELSEWHERE.contains(name));
        assert!(may_lack || !found.is_empty(), "no data for {query}");
    }
    for (name, expression) in alerts() {
        let is_met = !prometheus.query(&expression).is_empty();
        assert_eq!(is_met, name == PENDING, "{name}: {expression}");
    }
    let rules = prometheus.json("/api/v1/rules");
    let rules = rules["data"]["groups"][0]["rules"].as_array().expect("rules").clone();
    assert_eq!(rules.len(), alerts().len());
    for rule in rules {
        let state = if rule["name"] == PENDING { "pending" } else { "inactive" };
        assert_eq!((&rule["health"], &rule["state"]), (&"ok".into(), &state.into()), "{rule}");
    }
    // What Prometheus has is what the table says, with its type and unit by OpenMetrics.
    let described = prometheus.json("/api/v1/metadata");
    for heading in hither::ctl::metric_headings()
        .iter()
        .filter(|heading| !RARE.iter().any(|name| heading.contains(name)))
    {
        let (name, rest) = heading.split_once(" (").expect("a name and a type");
        let family = name.strip_suffix("_total").or(name.strip_suffix("_info")).unwrap_or(name);
        let kind = rest.split([',', ';', ')']).next().expect("a type");
        assert_eq!(described["data"][family][0]["type"], kind, "{heading}: {described}");
    }
    drop(daemon);
    until("the end of the daemon is seen", || {
        prometheus.query("hither_up").first().is_some_and(|one| one["value"][1] == "0")
    });
    std::fs::remove_dir_all(&dir).expect("removable");
}
