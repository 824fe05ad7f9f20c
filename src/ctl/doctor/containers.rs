//! Containers have a loopback interface of their own, so that a resolv.conf which names 127.0.0.1 leads them astray: Docker and Podman leave
//! such servers out and ask public ones, and behind the kubelet CoreDNS asks itself.

use super::facts::{Configuration, Facts};
use super::finding::Finding;
use super::ini;
use crate::config::{Config, Network};
use crate::ctl::files;
use hither_control::UPSTREAMS_FILE;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Files that are there where Docker is.
const DOCKER: [&str; 5] = [
    "run/docker.sock",
    "etc/docker/daemon.json",
    "usr/bin/dockerd",
    "usr/lib/systemd/system/docker.service",
    "etc/systemd/system/docker.service",
];
const DOCKER_JSON: &str = "etc/docker/daemon.json";
const PODMAN: [&str; 3] =
    ["usr/bin/podman", "run/podman/podman.sock", "usr/lib/systemd/system/podman.service"];
/// Where Podman's settings are, later ones win; and the directory of drop-ins.
const PODMAN_CONF: [&str; 2] = ["usr/share/containers/containers.conf", "etc/containers/containers.conf"];
const PODMAN_CONF_D: &str = "etc/containers/containers.conf.d";
/// The kubelet's configuration: kubeadm's place, and those of distributions.
const KUBELET: [&str; 4] = [
    "var/lib/kubelet/config.yaml",
    "etc/kubernetes/kubelet/kubelet-config.json",
    "etc/kubernetes/kubelet/config.json",
    "etc/kubernetes/kubelet/kubelet.conf",
];
/// Where its command line comes from, which counts before the configuration.
const KUBELET_FLAGS: [&str; 3] =
    ["var/lib/kubelet/kubeadm-flags.env", "etc/default/kubelet", "etc/sysconfig/kubelet"];
/// systemd closes sockets in the background, so that the first try may find the old ones in use.
const RESTART: &str = "systemctl daemon-reload && { systemctl restart hitherd.socket hitherd.service || systemctl restart hitherd.socket hitherd.service; }";
const FLAG: &str = "--resolv-conf";
const CONFIGURATION_D: &str = "etc/hither/hither.toml.d";
const SHIPPED: &str = "bridge.toml";
/// What comes behind another file's name, so that ours counts after it.
const BEHIND: &str = ".zz-bridge";

/// What there is of them.
#[derive(Clone, Default, Debug)]
pub(super) struct Containers {
    docker: Option<Docker>,
    podman: Option<Podman>,
    kubelet: Option<Kubelet>,
    /// The name of a drop-in of hitherd that counts after those that are there; empty: the shipped one's does.
    allowed_in: String,
}

/// Where containers reach this host.
#[derive(Clone, Copy, Debug)]
struct Bridge {
    address: IpAddr,
    bits: u8,
}

#[derive(Clone, Debug)]
struct Docker {
    /// `/etc/docker/daemon.json`, if there is one.
    json: Option<String>,
    bridge: Bridge,
}

#[derive(Clone, Debug)]
struct Podman {
    /// `dns_servers`, if they are set.
    servers: Vec<String>,
    /// The name of a drop-in that counts after the file where they are.
    drop_in: String,
    bridge: Bridge,
}

#[derive(Clone, Debug)]
struct Kubelet {
    /// Its configuration: where, and what.
    config: Option<(PathBuf, String)>,
    /// The file whose words name another resolv.conf on the command line.
    flags: Option<(PathBuf, String)>,
    /// The servers of the file that pods get.
    servers: Vec<IpAddr>,
    /// Whether there is that file.
    is_there: bool,
    /// The file that hitherd writes for them, and whether it names somebody.
    real: PathBuf,
    is_real_there: bool,
}

/// Looks for them; `runtime_dir` as it is on that host.
pub(super) fn gather(root: &Path, runtime_dir: &Path) -> Containers {
    let text = |path: &str| files::text(&root.join(path)).ok().flatten();
    let is_there = |paths: &[&str]| paths.iter().any(|path| root.join(path).exists());
    let docker = is_there(&DOCKER).then(|| {
        let json = text(DOCKER_JSON);
        let said = json.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let said = said.and_then(|said| bridge(said["bip"].as_str()?));
        Docker {
            json,
            bridge: said.or_else(|| interface(root, "docker0")).unwrap_or(bridge_of([172, 17, 0, 1])),
        }
    });
    let podman = is_there(&PODMAN).then(|| {
        let (servers, drop_in) = podman_servers(root);
        let bridge = interface(root, "podman0").unwrap_or(bridge_of([10, 88, 0, 1]));
        Podman { servers, drop_in, bridge }
    });
    let found = |paths: &[&str]| paths.iter().find_map(|path| Some((Path::new("/").join(path), text(path)?)));
    let config = found(&KUBELET);
    let is_kubelet = config.is_some() || is_there(&["usr/bin/kubelet", "usr/local/bin/kubelet"]);
    let kubelet = is_kubelet.then(|| {
        let flags: Vec<&str> = KUBELET_FLAGS
            .into_iter()
            .filter(|path| text(path).is_some_and(|text| flag(&text).is_some()))
            .collect();
        let real = runtime_dir.join(UPSTREAMS_FILE);
        let below = |path: &Path| text(path.strip_prefix("/").unwrap_or(path).to_str()?);
        let mut kubelet = Kubelet {
            config,
            flags: found(&flags),
            servers: Vec::new(),
            is_there: false,
            is_real_there: below(&real).is_some_and(|text| !servers(&text).is_empty()),
            real,
        };
        let given = below(&kubelet.resolv_conf());
        kubelet.is_there = given.is_some();
        kubelet.servers = given.map(|text| servers(&text)).unwrap_or_default();
        kubelet
    });
    Containers { docker, podman, kubelet, allowed_in: allowed_in(root) }
}

/// Where `listen.allow` is to be set: the last file that has it decides.
fn allowed_in(root: &Path) -> String {
    let names = files::names(&root.join(CONFIGURATION_D));
    let last = names.iter().rev().filter_map(|name| name.to_str()?.strip_suffix(".toml"));
    // One of our making counts for ours.
    let last = last.map(|stem| stem.trim_end_matches(BEHIND)).next();
    last.filter(|stem| *stem > "bridge").map(|stem| format!("{stem}{BEHIND}.toml")).unwrap_or_default()
}

fn servers(text: &str) -> Vec<IpAddr> {
    ini::nameservers(text).iter().map(SocketAddr::ip).collect()
}

fn bridge_of(address: [u8; 4]) -> Bridge {
    Bridge { address: IpAddr::from(address), bits: 16 }
}

fn bridge(text: &str) -> Option<Bridge> {
    let (address, bits) = text.split_once('/')?;
    Some(Bridge { address: address.parse().ok()?, bits: bits.parse().ok().filter(|bits| *bits <= 32)? })
}

/// The address of an interface of this host.
fn interface(root: &Path, name: &str) -> Option<Bridge> {
    let all = (root == Path::new("/")).then(|| nix::ifaddrs::getifaddrs().ok()).flatten()?;
    let v4 = |address: Option<nix::sys::socket::SockaddrStorage>| Some(address?.as_sockaddr_in()?.ip());
    let mut own = all.filter(|interface| interface.interface_name == name);
    own.find_map(|interface| {
        let mask = v4(interface.netmask)?;
        let bits = u8::try_from(mask.to_bits().leading_ones()).ok()?;
        Some(Bridge { address: v4(interface.address)?.into(), bits })
    })
}

fn podman_servers(root: &Path) -> (Vec<String>, String) {
    let mut paths: Vec<PathBuf> = PODMAN_CONF.iter().map(|path| root.join(path)).collect();
    let dir = root.join(PODMAN_CONF_D);
    let more = files::names(&dir).into_iter().map(|name| dir.join(name));
    paths.extend(more.filter(|path| path.extension().is_some_and(|ending| ending == "conf")));
    let own = || "hither.conf".to_owned();
    let set = |path: &PathBuf| {
        let table: toml::Table = files::text(path).ok().flatten()?.parse().ok()?;
        let servers = table.get("containers")?.get("dns_servers")?.as_array()?.clone();
        let servers = servers.iter().filter_map(|server| server.as_str().map(str::to_owned)).collect();
        // A file of our own comes behind the one that is last by its name.
        let last = path.strip_prefix(root.join(PODMAN_CONF_D)).ok().and_then(Path::file_stem);
        let last = last.map(|stem| stem.to_string_lossy().into_owned());
        let behind = last.filter(|stem| stem.as_str() > "hither");
        Some((servers, behind.map_or_else(own, |stem| format!("{stem}.hither.conf"))))
    };
    paths.iter().rev().find_map(set).unwrap_or_else(|| (Vec::new(), own()))
}

/// What the flag says.
fn flag<'t>(text: &'t str) -> Option<&'t str> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let value = |line: &'t str| {
        let (_, rest) = line.split_once(FLAG)?;
        let rest = rest.strip_prefix(['=', ' ', '\t'])?.trim_start_matches([' ', '\t']);
        // The value may have quotes of its own, and be behind those of the whole line.
        let quoted = rest.strip_prefix(['"', '\'']);
        let rest = quoted.filter(|rest| !rest.starts_with([' ', '\t'])).unwrap_or(rest);
        rest.split(['"', '\'', ' ', '\t']).next()
    };
    lines.filter_map(value).next_back()
}

/// A finding for each that is there.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let Containers { docker, podman, kubelet, .. } = &facts.containers;
    let docker = docker.as_ref().map(|docker| docker.judge(facts));
    let podman = podman.as_ref().map(|podman| podman.judge(facts));
    [docker, podman, kubelet.as_ref().map(Kubelet::judge)].into_iter().flatten().collect()
}

/// Servers of the file that Docker and Podman copy: resolv.conf, or resolved's own behind its stub. Those on this host they leave out.
fn copied(facts: &Facts) -> Vec<IpAddr> {
    let mut found = servers(facts.names.resolv.text.as_deref().unwrap_or_default());
    if found == [IpAddr::from([127, 0, 0, 53])] {
        found = facts.names.resolved_uses.iter().map(SocketAddr::ip).collect();
    }
    found.retain(|server| !server.is_loopback());
    found
}

fn joined<T: ToString>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The command that names the bridge in the place of a server.
type ToBridge<'t> = &'t dyn Fn(&str) -> String;

impl Bridge {
    fn is_served(&self, facts: &Facts) -> bool {
        let at = SocketAddr::new(self.address, 53);
        let any = |own: &SocketAddr| own.port() == 53 && own.ip().is_unspecified() && own.is_ipv4();
        facts.wanted().iter().any(|own| *own == at || any(own))
    }

    /// Its network, as listen.allow is to have it.
    fn network(&self) -> String {
        match self.address {
            IpAddr::V4(address) if address.octets()[0] == 172 && address.octets()[1] & 0xf0 == 16 => {
                "172.16.0.0/12".to_owned()
            }
            address => format!("{address}/{}", self.bits),
        }
    }

    /// What makes hitherd answer there; nothing if it does. `None` where listen.allow is not known.
    fn steps(&self, facts: &Facts, name: &str) -> Option<Vec<String>> {
        let Configuration::Good(config) = &facts.config else { return None };
        let share = facts.names.share.display();
        let mut steps = Vec::new();
        if !self.is_served(facts) {
            let place = format!("/etc/systemd/system/hitherd.socket.d/{name}.conf");
            steps.push(if self.address == IpAddr::from([172, 17, 0, 1]) {
                format!("install -b -D -m 644 {share}/bridge.conf {place}")
            } else {
                let here = format!("sed 's/172.17.0.1/{}/' {share}/bridge.conf", self.address);
                format!("{here} | install -b -D -m 644 /dev/stdin {place}")
            });
        }
        if !config.allow.iter().any(|network| network.contains(self.address)) {
            steps.push(self.allowed(facts, config));
        }
        if !steps.is_empty() {
            steps.push(RESTART.to_owned());
        }
        Some(steps)
    }

    fn allowed(&self, facts: &Facts, config: &Config) -> String {
        let share = facts.names.share.display();
        let containers = &facts.containers;
        let name = Some(&containers.allowed_in[..]).filter(|name| !name.is_empty()).unwrap_or(SHIPPED);
        let place = format!("/{CONFIGURATION_D}/{name}");
        let shipped = [bridge_of([172, 17, 0, 1]), bridge_of([10, 88, 0, 1])];
        let is_shipped = shipped.iter().any(|known| known.address == self.address);
        if is_shipped && config.allow == [Network::LOOPBACK_V4, Network::LOOPBACK_V6] {
            return format!("install -b -D -m 644 {share}/bridge.toml {place}");
        }
        let mut all: Vec<String> = config.allow.iter().map(|network| format!("\"{network}\"")).collect();
        // One file for all of them: who writes it for the second does not forget the first.
        let of_docker = containers.docker.as_ref().map(|docker| docker.bridge);
        let of_podman = containers.podman.as_ref().map(|podman| podman.bridge);
        for bridge in [Some(*self), of_docker, of_podman].into_iter().flatten() {
            let network = format!("\"{}\"", bridge.network());
            if !config.allow.iter().any(|known| known.contains(bridge.address)) && !all.contains(&network) {
                all.push(network);
            }
        }
        format!(
            "printf '[listen]\\nallow = [{}]\\n' | install -b -D -m 644 /dev/stdin {place}",
            all.join(", ")
        )
    }

    /// Where somebody is told to ask `servers`.
    fn told(&self, facts: &Facts, name: &str, (servers, by): (&[String], &str), then: ToBridge) -> Finding {
        let found = format!("containers ask {}, by {by}", servers.join(", "));
        let is_loopback = |server: &&String| server.parse().is_ok_and(|server: IpAddr| server.is_loopback());
        let is_meant = |server: &String| server.parse() == Ok(self.address);
        if let Some(itself) = servers.iter().find(is_loopback).filter(|_| !servers.iter().any(is_meant)) {
            let why = format!("{found}: {itself} is each container itself, and not this host");
            let finding = Finding::problem(name, why);
            let Some(mut steps) = self.steps(facts, name) else { return finding };
            steps.push(then(itself));
            return finding.fixed_by(steps.join(" && "));
        }
        if !servers.iter().any(|server| server.parse() == Ok(self.address)) {
            return Finding::ok(name, format!("{found}: not hitherd"));
        }
        match self.steps(facts, name) {
            Some(steps) if steps.is_empty() => Finding::ok(name, format!("{found}: hitherd")),
            Some(steps) => {
                let why = if self.is_served(facts) { "it refuses them" } else { "it does not listen there" };
                Finding::problem(name, format!("{found}: meant is hitherd, but {why}"))
                    .fixed_by(steps.join(" && "))
            }
            None => Finding::unknown(name, format!("{found}; whom hitherd answers cannot be seen")),
        }
    }

    /// Where nobody is told whom to ask; `then` tells it.
    fn untold(&self, facts: &Facts, name: &str, then: Option<String>) -> Finding {
        let copied = copied(facts);
        if !copied.is_empty() {
            return Finding::ok(
                name,
                format!("containers ask {}, as in resolv.conf: not hitherd", joined(&copied)),
            );
        }
        let found = "containers ask public servers, for resolv.conf names none but this host; running ones keep theirs";
        let finding = Finding::warning(name, found);
        match (self.steps(facts, name), then) {
            (Some(mut steps), Some(then)) => {
                steps.push(then);
                finding.fixed_by(steps.join(" && "))
            }
            _ => finding,
        }
    }
}

impl Docker {
    /// With what its restart costs, if it is restarted: it stops all containers, unless told that they live on.
    fn judge(&self, facts: &Facts) -> Finding {
        let finding = self.judged(facts);
        let said = self.json.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let lives_on = said.is_some_and(|said| said["live-restore"] == Value::Bool(true));
        let restarts = finding.fix.as_deref().is_some_and(|fix| fix.contains("restart docker"));
        if restarts && !lives_on {
            return finding.taking_away(
                "the containers that run: a restart of Docker stops them, for \"live-restore\" is not set",
            );
        }
        finding
    }

    fn judged(&self, facts: &Facts) -> Finding {
        let name = "docker";
        let place = "/etc/docker/daemon.json";
        let address = self.bridge.address;
        let set = format!("\"dns\": [\"{address}\"]");
        let restart = "systemctl restart docker.service";
        let text = self.json.as_deref().filter(|text| !text.trim().is_empty());
        let Some(text) = text else {
            let then =
                format!("printf '{{ {set} }}\\n' | install -b -D -m 644 /dev/stdin {place} && {restart}");
            return self.bridge.untold(facts, name, Some(then));
        };
        let Ok(Value::Object(said)) = serde_json::from_str::<Value>(text) else {
            return Finding::unknown(name, format!("{place} is no JSON object"));
        };
        match said.get("dns").and_then(Value::as_array) {
            Some(servers) if !servers.is_empty() => {
                let servers: Vec<String> =
                    servers.iter().filter_map(|server| server.as_str().map(str::to_owned)).collect();
                let to_bridge = |server: &str| {
                    let server = server.replace('.', "\\.");
                    format!(
                        "sed -z -i.before-hither --follow-symlinks 's/\\(\"dns\"[[:space:]]*:[[:space:]]*\\[[^]]*\\)\"{server}\"/\\1\"{address}\"/' {place} && {restart}"
                    )
                };
                self.bridge.told(facts, name, (&servers, place), &to_bridge)
            }
            // An empty list would stand there twice.
            Some(_) => self.bridge.untold(facts, name, None),
            None => {
                // The first brace is the object's; what is in it stays as it is.
                let more = if said.is_empty() { " " } else { "," };
                let then = format!(
                    "sed -i.before-hither --follow-symlinks '0,/{{/s//{{ {set}{more}/' {place} && {restart}"
                );
                self.bridge.untold(facts, name, Some(then))
            }
        }
    }
}

impl Podman {
    fn judge(&self, facts: &Facts) -> Finding {
        let address = self.bridge.address.to_string();
        let then = |servers: &[String]| {
            let servers: Vec<String> = servers.iter().map(|server| format!("\"{server}\"")).collect();
            format!(
                "printf '[containers]\\ndns_servers = [{}]\\n' | install -b -D -m 644 /dev/stdin /{PODMAN_CONF_D}/{}",
                servers.join(", "),
                self.drop_in
            )
        };
        if !self.servers.is_empty() {
            // The others stay, in their order.
            let to_bridge = |itself: &str| {
                let put = |server: &String| if server == itself { address.clone() } else { server.clone() };
                then(&self.servers.iter().map(put).collect::<Vec<String>>())
            };
            return self.bridge.told(facts, "podman", (&self.servers, "containers.conf"), &to_bridge);
        }
        self.bridge.untold(facts, "podman", Some(then(std::slice::from_ref(&address))))
    }
}

impl Kubelet {
    /// The file that pods get.
    fn resolv_conf(&self) -> PathBuf {
        if let Some(path) = self.flags.as_ref().and_then(|(_, text)| flag(text)) {
            return PathBuf::from(path);
        }
        let said = self.config.as_ref().and_then(|(_, text)| resolv_conf_of(text));
        PathBuf::from(said.unwrap_or_else(|| "/etc/resolv.conf".to_owned()))
    }

    fn judge(&self) -> Finding {
        let name = "kubelet";
        let (path, real) = (self.resolv_conf(), self.real.display());
        let found = format!("pods get {}", path.display());
        if path == self.real {
            return Finding::ok(name, format!("{found}: the upstreams of hitherd"));
        }
        if path.as_os_str().is_empty() {
            return Finding::ok(name, "pods get no servers of this host");
        }
        if !self.servers.is_empty() && !self.servers.iter().any(IpAddr::is_loopback) {
            return Finding::ok(name, format!("{found}: {}", joined(&self.servers)));
        }
        let found = if self.is_there {
            format!("{found}, which names this host: CoreDNS asks itself, a loop")
        } else {
            format!("{found}, which is missing: none can be started")
        };
        if !self.is_real_there {
            return Finding::problem(
                name,
                format!("{found}; hitherd has to write {real} before that can be put right"),
            );
        }
        match self.fix() {
            Some(fix) => {
                Finding::problem(name, found).fixed_by(format!("{fix} && systemctl restart kubelet.service"))
            }
            None => Finding::problem(name, format!("{found}; start it with {FLAG}={real}")),
        }
    }

    fn fix(&self) -> Option<String> {
        let edit = "sed -i.before-hither --follow-symlinks";
        let real = self.real.display();
        if let Some((path, _)) = &self.flags {
            let path = path.display();
            // With the quotes around the value, if it has its own.
            let value = r#"\("/[^"]*"\|'"'"'/[^'"'"']*'"'"'\|[^ "'"'"']*\)"#;
            return Some(format!("{edit} 's,{FLAG}[= ] *{value},{FLAG}={real},' {path}"));
        }
        let (path, text) = self.config.as_ref().filter(|(_, text)| !text.trim().is_empty())?;
        let (path, is_json) = (path.display(), text.trim_start().starts_with('{'));
        Some(match (is_json, resolv_conf_of(text).is_some()) {
            (true, true) => {
                format!("{edit} 's|\"resolvConf\" *: *\"[^\"]*\"|\"resolvConf\": \"{real}\"|' {path}")
            }
            (true, false) if text.trim().trim_matches(['{', '}']).trim().is_empty() => return None,
            (true, false) => format!("{edit} '0,/{{/s||{{ \"resolvConf\": \"{real}\",|' {path}"),
            (false, true) => format!("{edit} 's|^resolvConf *:.*|resolvConf: {real}|' {path}"),
            (false, false) => format!("{edit} '$aresolvConf: {real}' {path}"),
        })
    }
}

/// `resolvConf` of a kubelet's configuration, YAML or JSON, which is one key at its top either way.
fn resolv_conf_of(text: &str) -> Option<String> {
    if text.trim_start().starts_with('{') {
        let said: Value = serde_json::from_str(text).ok()?;
        return said["resolvConf"].as_str().map(str::to_owned);
    }
    let line =
        text.lines().find_map(|line| line.strip_prefix("resolvConf")?.trim_start().strip_prefix(':'))?;
    let value = line.split(" #").next().unwrap_or_default().trim();
    Some(value.trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
#[path = "containers_tests.rs"]
mod tests;
