//! The servers that are compared. Each is started so that all do the same work, and its processor time
//! and memory can be read.

use super::load::{self, Load, Names, Until};
use hither_wire::codes::Rtype;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The work of a server.
pub struct Task<'a> {
    pub dir: &'a Path,
    pub address: SocketAddr,
    pub upstreams: &'a [SocketAddr],
    /// Names that the cache must hold.
    pub names: usize,
}

/// A kind of server: its name, the program it needs, and a function that writes its configuration and
/// returns its command line. All run without DNSSEC and query log, with one worker and minimal replies,
/// and with caches large enough for the names.
pub struct Kind {
    pub name: &'static str,
    pub program: &'static str,
    pub(crate) command: fn(&Task<'_>, Command) -> Command,
}

pub const FLIP: &str = "header flip";
pub const HITHER: &str = "hither";

pub const KINDS: [Kind; 14] = [
    Kind { name: FLIP, program: "", command: |task, c| role(task, c, "flip") },
    Kind { name: "header flip, singly", program: "", command: |task, c| role(task, c, "flip-singly") },
    Kind { name: HITHER, program: "hitherd", command: |task, c| hither(task, c, "") },
    Kind {
        name: "hither, 2 workers",
        program: "hitherd",
        command: |task, c| hither(task, c, "workers = 2\n"),
    },
    Kind { name: "unbound", program: "unbound", command: unbound },
    Kind { name: "bind9", program: "named", command: bind9 },
    Kind { name: "pdns-recursor", program: "pdns_recursor", command: pdns },
    Kind { name: "knot-resolver", program: "kresd", command: kresd },
    Kind { name: "dnsdist", program: "dnsdist", command: |task, c| dnsdist(task, c, "") },
    Kind {
        name: "dnsdist, recvmmsg",
        program: "dnsdist",
        command: |task, c| dnsdist(task, c, "setUDPMultipleMessagesVectorSize(64)\n"),
    },
    Kind { name: "dnsmasq", program: "dnsmasq", command: |task, c| dnsmasq(task, c, &[]) },
    Kind {
        name: "dnsmasq, all",
        program: "dnsmasq",
        command: |task, c| dnsmasq(task, c, &["--all-servers"]),
    },
    Kind { name: "smartdns", program: "smartdns", command: smartdns },
    Kind { name: "systemd-resolved", program: "systemd-resolved", command: resolved },
];

pub(crate) fn write(task: &Task<'_>, text: &str) -> PathBuf {
    let path = task.dir.join("conf");
    std::fs::write(&path, text).expect("writable");
    path
}

fn role(task: &Task<'_>, mut command: Command, role: &str) -> Command {
    command.args(["--role", role]).arg(task.address.to_string());
    command
}

fn hither(task: &Task<'_>, mut command: Command, listen: &str) -> Command {
    let Task { dir, address, names, .. } = task;
    let mut text = format!(
        "runtime_dir = {dir:?}\n[listen]\ndns = [\"{address}\"]\n{listen}[table]\nentries = {names}\n[cache]\nentries = {names}\n[sort]\nenabled = false\n"
    );
    for upstream in task.upstreams {
        let _ = write!(text, "[[upstream]]\naddress = \"{upstream}\"\n");
    }
    command.arg("--config").arg(write(task, &text));
    command
}

fn unbound(task: &Task<'_>, mut command: Command) -> Command {
    let (ip, port, dir, mb) =
        (task.address.ip(), task.address.port(), task.dir.display(), task.names / 1000 + 64);
    let mut text = format!(
        "server:\n interface: {ip}@{port}\n port: {port}\n chroot: \"\"\n username: \"\"\n directory: \"{dir}\"\n pidfile: \"{dir}/pid\"\n use-syslog: no\n verbosity: 0\n num-threads: 1\n module-config: \"iterator\"\n do-not-query-localhost: no\n access-control: 127.0.0.0/8 allow\n minimal-responses: yes\n so-rcvbuf: 4m\n so-sndbuf: 4m\n outgoing-range: 8192\n num-queries-per-thread: 4096\n msg-cache-size: {mb}m\n rrset-cache-size: {}m\n msg-cache-slabs: 1\n rrset-cache-slabs: 1\n infra-cache-slabs: 1\nremote-control:\n control-enable: no\nforward-zone:\n name: \".\"\n",
        mb * 2
    );
    for upstream in task.upstreams {
        let _ = writeln!(text, " forward-addr: {}@{}", upstream.ip(), upstream.port());
    }
    command.arg("-d").arg("-c").arg(write(task, &text));
    command
}

fn bind9(task: &Task<'_>, mut command: Command) -> Command {
    let (ip, port, dir) = (task.address.ip(), task.address.port(), task.dir.display());
    let forwarders: String =
        task.upstreams.iter().map(|u| format!("{} port {}; ", u.ip(), u.port())).collect();
    let text = format!(
        "options {{ directory \"{dir}\"; pid-file none; session-keyfile none; listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }}; recursion yes; allow-query {{ 127.0.0.0/8; }}; forward only; forwarders {{ {forwarders} }}; dnssec-validation no; empty-zones-enable no; minimal-responses yes; notify no; max-cache-size {}M; recursive-clients 10000; querylog no; geoip-directory none; }};\ncontrols {{ }};\nlogging {{ category default {{ null; }}; }};\n",
        task.names / 1000 * 2 + 100
    );
    command.args(["-f", "-n", "1", "-c"]).arg(write(task, &text));
    command
}

fn pdns(task: &Task<'_>, mut command: Command) -> Command {
    let upstreams = task.upstreams.iter().map(ToString::to_string).collect::<Vec<_>>().join(";");
    let dir = task.dir.display();
    command.args(["--daemon=no", "--write-pid=no", "--disable-syslog=yes", "--loglevel=2", "--quiet=yes"]);
    command.args([
        "--threads=1",
        "--pdns-distributes-queries=no",
        "--allow-from=127.0.0.0/8",
        "--dont-query=",
    ]);
    command.args(["--dnssec=off", "--security-poll-suffix=", "--hint-file=no", "--max-mthreads=8192"]);
    command.args([
        "--nothing-below-nxdomain=no",
        "--aggressive-nsec-cache-size=0",
        "--edns-subnet-whitelist=",
    ]);
    command.args(["--cpu-map=", "--server-id=bench", "--packetcache-ttl=86400"]);
    command.arg(format!("--config-dir={dir}")).arg(format!("--socket-dir={dir}"));
    command.arg(format!("--local-address={}", task.address.ip()));
    command.arg(format!("--local-port={}", task.address.port()));
    command.arg(format!("--forward-zones-recurse=.={upstreams}"));
    command.arg(format!("--max-cache-entries={}", task.names + 1000));
    command.arg(format!("--max-packetcache-entries={}", task.names + 1000));
    command
}

fn kresd(task: &Task<'_>, mut command: Command) -> Command {
    let list: String = task.upstreams.iter().map(|u| format!("'{}@{}',", u.ip(), u.port())).collect();
    let (ip, port, dir) = (task.address.ip(), task.address.port(), task.dir.display());
    let text = format!(
        "net.listen('{ip}', {port}, {{ kind = 'dns' }})\nnet.ipv6 = false\ncache.open({} * MB, 'lmdb://{dir}/cache')\ntrust_anchors.remove('.')\nmodules.unload('ta_update')\nmodules.unload('ta_signal_query')\nmodules.unload('detect_time_skew')\nmodules.unload('priming')\npolicy.add(policy.all(policy.FORWARD({{ {list} }})))\nlog_level('crit')\n",
        task.names / 1000 * 3 + 100
    );
    command.args(["-n", "-c"]).arg(write(task, &text)).arg(task.dir);
    command
}

fn dnsdist(task: &Task<'_>, mut command: Command, more: &str) -> Command {
    let mut text = format!(
        "setLocal(\"{}\")\nsetACL(\"127.0.0.0/8\")\nsetSecurityPollSuffix(\"\")\nsetMaxUDPOutstanding(65535)\nsetServerPolicy(leastOutstanding)\npc = newPacketCache({}, {{maxTTL=86400, numberOfShards=1}})\ngetPool(\"\"):setCache(pc)\n{more}",
        task.address, task.names
    );
    for upstream in task.upstreams {
        let _ = writeln!(text, "newServer(\"{upstream}\")");
    }
    if task.upstreams.len() == 1 {
        text.push_str("getServer(0):setUp()\n");
    }
    command.args(["--supervised", "--disable-syslog", "-C"]).arg(write(task, &text));
    command
}

fn dnsmasq(task: &Task<'_>, mut command: Command, more: &[&str]) -> Command {
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--bind-interfaces"]);
    command.args(["--no-resolv", "--no-hosts", "--dns-forward-max=8192", "--no-poll"]).args(more);
    command.arg(format!("--pid-file={}/pid", task.dir.display()));
    command.arg(format!("--log-facility={}/log", task.dir.display()));
    command.arg(format!("--listen-address={}", task.address.ip()));
    command.arg(format!("--port={}", task.address.port()));
    command.arg(format!("--cache-size={}", task.names));
    for upstream in task.upstreams {
        command.arg(format!("--server={}#{}", upstream.ip(), upstream.port()));
    }
    command
}

fn smartdns(task: &Task<'_>, mut command: Command) -> Command {
    let Task { dir, address, names, .. } = task;
    let mut text = format!(
        "bind {address}\ncache-size {names}\ncache-persist no\nprefetch-domain no\nserve-expired no\ndualstack-ip-selection no\nspeed-check-mode none\nresponse-mode fastest-response\nlog-level error\nlog-file {}/log\n",
        dir.display()
    );
    for upstream in task.upstreams {
        let _ = writeln!(text, "server {upstream}");
    }
    command.args(["-f", "-p", "-", "-c"]).arg(write(task, &text));
    command
}

/// systemd-resolved runs in a mount namespace of its own, since it writes below /run/systemd and has a
/// user of its own.
fn resolved(task: &Task<'_>, command: Command) -> Command {
    let upstreams = task.upstreams.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let text = format!(
        "[Resolve]\nDNS={upstreams}\nFallbackDNS=\nDomains=~.\nLLMNR=no\nMulticastDNS=no\nDNSSEC=no\nDNSOverTLS=no\nCache=yes\nCacheFromLocalhost=yes\nDNSStubListener=no\nDNSStubListenerExtra={}\nReadEtcHosts=no\n",
        task.address
    );
    let path = write(task, &text);
    let program = command.get_args().last().map(ToOwned::to_owned).unwrap_or_default();
    let wrapper: Vec<_> = command.get_args().take(command.get_args().len().saturating_sub(1)).collect();
    let mut own = Command::new(command.get_program());
    own.args(wrapper).args(["unshare", "-m", "--propagation", "private", "sh", "-c"]);
    own.arg(concat!(
        "grep -q ^systemd-resolve: /etc/passwd || { cp /etc/passwd /etc/group \"$0\"; echo systemd-resolve:x:990:990::/:/bin/false >> \"$0/passwd\"; ",
        "echo systemd-resolve:x:990: >> \"$0/group\"; mount --bind \"$0/passwd\" /etc/passwd; mount --bind \"$0/group\" /etc/group; }; ",
        "mkdir -p /run/systemd && mount -t tmpfs none /run/systemd && mkdir -p /run/systemd/resolve /run/systemd/resolved.conf.d && ",
        "cp \"$1\" /run/systemd/resolved.conf.d/bench.conf && chown -R systemd-resolve: /run/systemd/resolve && exec \"$2\""
    ));
    own.arg(task.dir).arg(path).arg(program);
    own
}

/// The path of a program, if it is installed.
pub fn find(program: &str) -> Option<PathBuf> {
    if program.is_empty() {
        return std::env::current_exe().ok();
    }
    let beside = std::env::current_exe().ok()?.parent()?.parent()?.to_path_buf();
    let own = std::env::var_os("HITHER_BENCH_PATH").unwrap_or_default();
    let usual =
        ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/lib/systemd"].map(PathBuf::from);
    std::iter::once(beside)
        .chain(std::env::split_paths(&own).collect::<Vec<_>>())
        .chain(usual)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// The command on the cores given, if possible with a real-time priority, so that other work on the
/// machine does not disturb it.
pub fn pinned(program: &Path, cores: &str, priority: Option<u8>) -> Command {
    let mut command = Command::new(if priority.is_some() { "chrt" } else { "taskset" });
    if let Some(priority) = priority {
        command.args(["-r", &priority.to_string(), "taskset"]);
    }
    command.args(["-c", cores]).arg(program);
    command
}

pub struct Server {
    pub name: &'static str,
    pub address: SocketAddr,
    process: Child,
}

/// The output of a server that does not start.
fn log_of(task: &Task<'_>) -> PathBuf {
    task.dir.join("stderr")
}

/// Spawns the server. `manager` is the socket at which it is to report that it is ready.
fn spawn(
    kind: &Kind,
    task: &Task<'_>,
    (cores, priority): (&str, Option<u8>),
    manager: Option<&Path>,
) -> Result<Server, String> {
    let program = find(kind.program).ok_or("is not installed")?;
    let _ = std::fs::create_dir_all(task.dir);
    let mut command = (kind.command)(task, pinned(&program, cores, priority));
    let errors = std::fs::File::create(log_of(task)).map_err(|error| error.to_string())?;
    command.current_dir(task.dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    command.envs(manager.map(|path| ("NOTIFY_SOCKET", path)));
    let process = command.spawn().map_err(|error| error.to_string())?;
    Ok(Server { name: kind.name, address: task.address, process })
}

impl Server {
    /// Starts a server that reports readiness to a service manager. Returns also the time that took.
    pub fn start_notifying(
        kind: &Kind,
        task: &Task<'_>,
        place: (&str, Option<u8>),
    ) -> Result<(Server, Duration), String> {
        let path = task.dir.join("notify");
        let _ = std::fs::remove_file(&path);
        let manager = UnixDatagram::bind(&path).map_err(|error| error.to_string())?;
        manager.set_read_timeout(Some(Duration::from_secs(15))).map_err(|error| error.to_string())?;
        let began = Instant::now();
        let server = spawn(kind, task, place, Some(&path))?;
        let mut buffer = [0; 4096];
        loop {
            let len = manager.recv(&mut buffer).map_err(|error| format!("is never ready: {error}"))?;
            if buffer[..len].split(|octet| *octet == b'\n').any(|line| line == b"READY=1") {
                return Ok((server, began.elapsed()));
            }
        }
    }

    /// Starts a server and waits until it answers.
    pub fn start(kind: &Kind, task: &Task<'_>, place: (&str, Option<u8>)) -> Result<Server, String> {
        let mut server = spawn(kind, task, place, None)?;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(15) {
            if server.process.try_wait().is_ok_and(|ended| ended.is_some()) {
                break;
            }
            if server.answers() {
                return Ok(server);
            }
        }
        let said = std::fs::read_to_string(log_of(task)).unwrap_or_default();
        let said: Vec<&str> = said.lines().rev().take(3).collect();
        Err(format!("does not answer; {}", said.join("; ")))
    }

    pub fn answers(&self) -> bool {
        let one = Load {
            names: Names::Fresh(99_999_999),
            rtype: Rtype::A,
            window: 1,
            rate: None,
            until: Until::Count(1),
            timeout: Duration::from_millis(200),
        };
        let got = load::run(self.address, one);
        got.received > got.bad
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Processor time of all threads so far, in nanoseconds.
    pub fn time(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).into_iter().flatten();
        tasks
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
            .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    /// Octets of memory that the server occupies, mapped files on a tmpfs included.
    pub fn memory(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Asks the server to end. Returns how long that took.
    pub fn stop(mut self) -> Duration {
        let began = Instant::now();
        let id = nix::unistd::Pid::from_raw(self.process.id() as i32);
        let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM);
        while began.elapsed() < Duration::from_secs(3)
            && self.process.try_wait().is_ok_and(|ended| ended.is_none())
        {
            std::thread::yield_now();
        }
        began.elapsed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The number of queries that an upstream of ours has received.
pub fn queries_of(upstream: SocketAddr) -> u64 {
    use hither_wire::compose::{Asked, QueryBits, query};
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("an option");
    let name = "stats.bench.example".parse().expect("a name");
    let mut buffer = [0; 512];
    let bits = QueryBits { rd: true, cd: false, edns: None };
    let len = query(&mut buffer, 7, &Asked { name: &name, rtype: Rtype::A }, bits);
    socket.send_to(&buffer[..len], upstream).expect("sent");
    let len = socket.recv(&mut buffer).unwrap_or(0);
    let address: [u8; 4] = buffer[len.saturating_sub(4)..len].try_into().unwrap_or_default();
    u64::from(u32::from(Ipv4Addr::from(address)))
}
