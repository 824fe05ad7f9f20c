//! The servers that ask their upstreams by an encrypted transport. All know one authority, and verify
//! the upstream's name.

use super::{CA_FILE, NAME};
use crate::servers::{Kind, Task, write};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// A transport of queries to upstreams.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tls,
    Https,
    Quic,
}

pub const TRANSPORTS: [Transport; 4] = [Transport::Udp, Transport::Tls, Transport::Https, Transport::Quic];

impl Transport {
    pub fn role(self) -> &'static str {
        match self {
            Transport::Udp => "upstream",
            Transport::Tls => "dot",
            Transport::Https => "doh",
            Transport::Quic => "doq",
        }
    }

    pub fn hither(self) -> &'static Kind {
        &KINDS[self as usize].1
    }
}

/// Each server with the transport that it asks by; first hither, by each of [`TRANSPORTS`].
pub const KINDS: [(Transport, Kind); 11] = [
    (Transport::Udp, kind("hither by UDP", "hitherd", |task, c| hither(task, c, Transport::Udp))),
    (Transport::Tls, kind("hither by DoT", "hitherd", |task, c| hither(task, c, Transport::Tls))),
    (Transport::Https, kind("hither by DoH", "hitherd", |task, c| hither(task, c, Transport::Https))),
    (Transport::Quic, kind("hither by DoQ", "hitherd", |task, c| hither(task, c, Transport::Quic))),
    (Transport::Tls, kind("dnsdist by DoT", "dnsdist", |task, c| dnsdist(task, c, ""))),
    (
        Transport::Https,
        kind("dnsdist by DoH", "dnsdist", |task, c| dnsdist(task, c, ", dohPath=\"/dns-query\"")),
    ),
    (Transport::Tls, kind("unbound by DoT", "unbound", unbound)),
    (Transport::Tls, kind("knot-resolver by DoT", "kresd", kresd)),
    (Transport::Tls, kind("smartdns by DoT", "smartdns", |task, c| smartdns(task, c, "server-tls "))),
    (Transport::Tls, kind("stubby by DoT", "stubby", stubby)),
    (Transport::Udp, kind("dnsdist by UDP", "dnsdist", |task, c| dnsdist(task, c, "UDP"))),
];

/// hither with one upstream that has two addresses, of which nobody is at the first.
pub const WITH_A_DEAD_ADDRESS: [(Transport, Kind); 3] = [
    (Transport::Tls, kind("hither by DoT", "hitherd", |task, c| with_addresses(task, c, "tls", ""))),
    (
        Transport::Https,
        kind("hither by DoH", "hitherd", |task, c| with_addresses(task, c, "https", "/dns-query")),
    ),
    (Transport::Quic, kind("hither by DoQ", "hitherd", |task, c| with_addresses(task, c, "quic", ""))),
];

const fn kind(name: &'static str, program: &'static str, command: fn(&Task<'_>, Command) -> Command) -> Kind {
    Kind { name, program, command }
}

fn ca_file(task: &Task<'_>) -> PathBuf {
    task.dir.with_file_name(CA_FILE)
}

fn beginning(task: &Task<'_>) -> String {
    let Task { dir, address, names, .. } = task;
    format!(
        "runtime_dir = {dir:?}\n[listen]\ndns = [\"{address}\"]\n[table]\nentries = {names}\n[cache]\nentries = {names}\n[sort]\nenabled = false\n[tls]\nca_file = {:?}\n",
        ca_file(task)
    )
}

fn with_addresses(task: &Task<'_>, mut command: Command, scheme: &str, path: &str) -> Command {
    let addresses: Vec<String> = task.upstreams.iter().map(ToString::to_string).collect();
    let text = beginning(task)
        + &format!("[[upstream]]\naddress = \"{scheme}://{NAME}{path}\"\naddresses = {addresses:?}\n");
    command.arg("--config").arg(write(task, &text));
    command
}

fn hither(task: &Task<'_>, mut command: Command, transport: Transport) -> Command {
    let mut text = beginning(task);
    for upstream in task.upstreams {
        let address = match transport {
            Transport::Udp => upstream.to_string(),
            Transport::Tls => format!("tls://{NAME}@{upstream}"),
            Transport::Https => format!("https://{NAME}@{upstream}/dns-query"),
            Transport::Quic => format!("quic://{NAME}@{upstream}"),
        };
        let _ = write!(text, "[[upstream]]\naddress = \"{address}\"\n");
    }
    command.arg("--config").arg(write(task, &text));
    command
}

fn unbound(task: &Task<'_>, mut command: Command) -> Command {
    let (ip, port, dir, mb) =
        (task.address.ip(), task.address.port(), task.dir.display(), task.names / 1000 + 64);
    let mut text = format!(
        "server:\n interface: {ip}@{port}\n port: {port}\n chroot: \"\"\n username: \"\"\n directory: \"{dir}\"\n pidfile: \"{dir}/pid\"\n use-syslog: no\n verbosity: 0\n num-threads: 1\n module-config: \"iterator\"\n do-not-query-localhost: no\n access-control: 127.0.0.0/8 allow\n minimal-responses: yes\n so-rcvbuf: 4m\n so-sndbuf: 4m\n outgoing-range: 8192\n num-queries-per-thread: 4096\n msg-cache-size: {mb}m\n rrset-cache-size: {}m\n msg-cache-slabs: 1\n rrset-cache-slabs: 1\n infra-cache-slabs: 1\n tls-cert-bundle: \"{}\"\n outgoing-num-tcp: 100\n max-reuse-tcp-queries: 1000000\n tcp-reuse-timeout: 60000\nremote-control:\n control-enable: no\nforward-zone:\n name: \".\"\n forward-tls-upstream: yes\n",
        mb * 2,
        ca_file(task).display()
    );
    for upstream in task.upstreams {
        let _ = writeln!(text, " forward-addr: {}@{}#{NAME}", upstream.ip(), upstream.port());
    }
    command.arg("-d").arg("-c").arg(write(task, &text));
    command
}

fn kresd(task: &Task<'_>, mut command: Command) -> Command {
    let ca = ca_file(task);
    let entry = |upstream: &std::net::SocketAddr| {
        let (ip, port, ca) = (upstream.ip(), upstream.port(), ca.display());
        format!("{{'{ip}@{port}', hostname='{NAME}', ca_file='{ca}'}},")
    };
    let list: String = task.upstreams.iter().map(entry).collect();
    let (ip, port, dir) = (task.address.ip(), task.address.port(), task.dir.display());
    let text = format!(
        "net.listen('{ip}', {port}, {{ kind = 'dns' }})\nnet.ipv6 = false\ncache.open({} * MB, 'lmdb://{dir}/cache')\ntrust_anchors.remove('.')\nmodules.unload('ta_update')\nmodules.unload('ta_signal_query')\nmodules.unload('detect_time_skew')\nmodules.unload('priming')\npolicy.add(policy.all(policy.TLS_FORWARD({{ {list} }})))\nlog_level('crit')\n",
        task.names / 1000 * 3 + 100
    );
    command.args(["-n", "-c"]).arg(write(task, &text)).arg(task.dir);
    command
}

/// With `UDP` as `more` it asks by UDP.
fn dnsdist(task: &Task<'_>, mut command: Command, more: &str) -> Command {
    let mut text = format!(
        "setLocal(\"{}\")\nsetACL(\"127.0.0.0/8\")\nsetSecurityPollSuffix(\"\")\nsetMaxUDPOutstanding(65535)\nsetServerPolicy(leastOutstanding)\npc = newPacketCache({}, {{maxTTL=86400, numberOfShards=1}})\ngetPool(\"\"):setCache(pc)\n",
        task.address, task.names
    );
    for upstream in task.upstreams {
        let tls = format!(
            ", tls=\"openssl\", subjectName=\"{NAME}\", caStore=\"{}\", validateCertificates=true{more}",
            ca_file(task).display()
        );
        let tls = if more == "UDP" { String::new() } else { tls };
        let _ = writeln!(text, "newServer({{address=\"{upstream}\"{tls}}})");
    }
    if task.upstreams.len() == 1 {
        text.push_str("getServer(0):setUp()\n");
    }
    command.args(["--supervised", "--disable-syslog", "-C"]).arg(write(task, &text));
    command
}

fn smartdns(task: &Task<'_>, mut command: Command, server: &str) -> Command {
    let Task { dir, address, names, .. } = task;
    let mut text = format!(
        "bind {address}\ncache-size {names}\ncache-persist no\nprefetch-domain no\nserve-expired no\ndualstack-ip-selection no\nspeed-check-mode none\nresponse-mode fastest-response\nlog-level error\nlog-file {}/log\nca-file {}\n",
        dir.display(),
        ca_file(task).display()
    );
    for upstream in task.upstreams {
        let _ = writeln!(text, "{server}{upstream} -host-name {NAME} -tls-host-verify {NAME}");
    }
    command.args(["-f", "-p", "-", "-c"]).arg(write(task, &text));
    command
}

/// Stubby has no cache; each query is a miss.
fn stubby(task: &Task<'_>, mut command: Command) -> Command {
    let mut text = format!(
        "resolution_type: GETDNS_RESOLUTION_STUB\ndns_transport_list:\n  - GETDNS_TRANSPORT_TLS\ntls_authentication: GETDNS_AUTHENTICATION_REQUIRED\ntls_query_padding_blocksize: 128\nedns_client_subnet_private: 1\nround_robin_upstreams: 0\nidle_timeout: 60000\ntls_ca_file: \"{}\"\nlisten_addresses:\n  - {}@{}\nupstream_recursive_servers:\n",
        ca_file(task).display(),
        task.address.ip(),
        task.address.port()
    );
    for upstream in task.upstreams {
        let (ip, port) = (upstream.ip(), upstream.port());
        let _ = write!(text, "  - address_data: {ip}\n    tls_port: {port}\n    tls_auth_name: \"{NAME}\"\n");
    }
    // It reads YAML only from files with this ending.
    let (path, named) = (write(task, &text), task.dir.join("conf.yml"));
    std::fs::rename(path, &named).expect("renamed");
    command.arg("-C").arg(named);
    command
}
