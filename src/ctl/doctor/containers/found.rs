//! The container engines of a host, and where their containers send queries.

use crate::ctl::doctor::ini;
use crate::ctl::files;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Files by which Docker is recognized.
const DOCKER: [&str; 5] = [
    "run/docker.sock",
    "etc/docker/daemon.json",
    "usr/bin/dockerd",
    "usr/lib/systemd/system/docker.service",
    "etc/systemd/system/docker.service",
];
const DOCKER_JSON: &str = "etc/docker/daemon.json";
/// Files by which Podman is recognized.
const PODMAN: [&str; 3] =
    ["usr/bin/podman", "run/podman/podman.sock", "usr/lib/systemd/system/podman.service"];
/// Podman's configuration files, of which later ones win, and the directory of its drop-ins.
const PODMAN_CONF: [&str; 2] = ["usr/share/containers/containers.conf", "etc/containers/containers.conf"];
pub(super) const PODMAN_CONF_D: &str = "etc/containers/containers.conf.d";
/// The kubelet's configuration files: that of kubeadm, and those of distributions.
const KUBELET: [&str; 4] = [
    "var/lib/kubelet/config.yaml",
    "etc/kubernetes/kubelet/kubelet-config.json",
    "etc/kubernetes/kubelet/config.json",
    "etc/kubernetes/kubelet/kubelet.conf",
];
/// Files with options of its command line, which override the configuration.
const KUBELET_FLAGS: [&str; 3] =
    ["var/lib/kubelet/kubeadm-flags.env", "etc/default/kubelet", "etc/sysconfig/kubelet"];
/// The kubelet's option for the file that pods get as resolv.conf.
pub(super) const FLAG: &str = "--resolv-conf";
/// The directory of hitherd's drop-ins.
pub(super) const CONFIGURATION_D: &str = "etc/hither/hither.toml.d";
/// The ending that is appended to the name of another drop-in, so that the result is read after it.
const BEHIND: &str = ".zz-bridge";

/// The engines of the host.
#[derive(Clone, Default, Debug)]
pub(in crate::ctl::doctor) struct Containers {
    pub docker: Option<Docker>,
    pub podman: Option<Podman>,
    pub kubelet: Option<Kubelet>,
    /// The name of a drop-in of hitherd that is read after all others; empty if the shipped name is.
    pub allowed_in: String,
}

/// The interface at which containers reach this host.
#[derive(Clone, Copy, Debug)]
pub(in crate::ctl::doctor) struct Bridge {
    pub address: IpAddr,
    /// The length of its network's prefix.
    pub bits: u8,
}

#[derive(Clone, Debug)]
pub(in crate::ctl::doctor) struct Docker {
    /// The text of `/etc/docker/daemon.json`, if there is one.
    pub json: Option<String>,
    pub bridge: Bridge,
}

#[derive(Clone, Debug)]
pub(in crate::ctl::doctor) struct Podman {
    /// `dns_servers` of containers.conf(5), if they are set.
    pub servers: Vec<String>,
    /// The name of a drop-in that is read after the file that sets them.
    pub drop_in: String,
    pub bridge: Bridge,
}

#[derive(Clone, Debug)]
pub(in crate::ctl::doctor) struct Kubelet {
    /// The path and text of its configuration.
    pub config: Option<(PathBuf, String)>,
    /// The path and text of the file that has [`FLAG`].
    pub flags: Option<(PathBuf, String)>,
    /// The servers in the file that pods get.
    pub servers: Vec<IpAddr>,
    /// Whether that file exists.
    pub has_file: bool,
    /// The file that hitherd writes for containers, and whether it names a server.
    pub upstreams_file: PathBuf,
    pub has_upstreams_file: bool,
}

/// Reads the engines' configuration below `root`; `runtime_dir` is a path of that host.
pub(in crate::ctl::doctor) fn gather(root: &Path, runtime_dir: &Path) -> Containers {
    let text = |path: &str| files::text(&root.join(path)).ok().flatten();
    let is_there = |paths: &[&str]| paths.iter().any(|path| root.join(path).exists());
    let docker = is_there(&DOCKER).then(|| {
        let json = text(DOCKER_JSON);
        let parsed = json.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let configured = parsed.and_then(|json| bridge(json["bip"].as_str()?));
        Docker {
            json,
            bridge: configured.or_else(|| interface(root, "docker0")).unwrap_or(bridge_of([172, 17, 0, 1])),
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
        let upstreams_file = runtime_dir.join(crate::host::resolv_conf::OWN_FILE);
        let below = |path: &Path| text(path.strip_prefix("/").unwrap_or(path).to_str()?);
        let mut kubelet = Kubelet {
            config,
            flags: found(&flags),
            servers: Vec::new(),
            has_file: false,
            has_upstreams_file: below(&upstreams_file).is_some_and(|text| !servers(&text).is_empty()),
            upstreams_file,
        };
        let given = below(&kubelet.resolv_conf());
        kubelet.has_file = given.is_some();
        kubelet.servers = given.map(|text| servers(&text)).unwrap_or_default();
        kubelet
    });
    Containers { docker, podman, kubelet, allowed_in: allowed_in(root) }
}

/// The drop-in in which to set `listen.allow`, which the last file decides.
pub(super) fn allowed_in(root: &Path) -> String {
    let names = files::names(&root.join(CONFIGURATION_D));
    let last = names.iter().rev().filter_map(|name| name.to_str()?.strip_suffix(".toml"));
    // A drop-in of ours is used again.
    let last = last.map(|stem| stem.trim_end_matches(BEHIND)).next();
    last.filter(|stem| *stem > "bridge").map(|stem| format!("{stem}{BEHIND}.toml")).unwrap_or_default()
}

pub(super) fn servers(text: &str) -> Vec<IpAddr> {
    ini::nameservers(text).iter().map(SocketAddr::ip).collect()
}

pub(super) fn bridge_of(address: [u8; 4]) -> Bridge {
    Bridge { address: IpAddr::from(address), bits: 16 }
}

/// Reads an address with the length of its prefix.
fn bridge(text: &str) -> Option<Bridge> {
    let (address, bits) = text.split_once('/')?;
    Some(Bridge { address: address.parse().ok()?, bits: bits.parse().ok().filter(|bits| *bits <= 32)? })
}

/// The IPv4 address of an interface, if `root` is this host.
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

/// Podman's servers, and the name of a drop-in that is read after the file that sets them.
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
        // Drop-ins are read in the order of their names.
        let last = path.strip_prefix(root.join(PODMAN_CONF_D)).ok().and_then(Path::file_stem);
        let last = last.map(|stem| stem.to_string_lossy().into_owned());
        let behind = last.filter(|stem| stem.as_str() > "hither");
        Some((servers, behind.map_or_else(own, |stem| format!("{stem}.hither.conf"))))
    };
    paths.iter().rev().find_map(set).unwrap_or_else(|| (Vec::new(), own()))
}

/// The value of [`FLAG`] in a file with options.
pub(super) fn flag<'t>(text: &'t str) -> Option<&'t str> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let value = |line: &'t str| {
        let (_, rest) = line.split_once(FLAG)?;
        let rest = rest.strip_prefix(['=', ' ', '\t'])?.trim_start_matches([' ', '\t']);
        // The value may be quoted, within the quotes of the whole variable.
        let quoted = rest.strip_prefix(['"', '\'']);
        let rest = quoted.filter(|rest| !rest.starts_with([' ', '\t'])).unwrap_or(rest);
        rest.split(['"', '\'', ' ', '\t']).next()
    };
    lines.filter_map(value).next_back()
}

impl Kubelet {
    /// The path of the file that pods get.
    pub fn resolv_conf(&self) -> PathBuf {
        if let Some(path) = self.flags.as_ref().and_then(|(_, text)| flag(text)) {
            return PathBuf::from(path);
        }
        let configured = self.config.as_ref().and_then(|(_, text)| resolv_conf_of(text));
        PathBuf::from(configured.unwrap_or_else(|| "/etc/resolv.conf".to_owned()))
    }
}

/// `resolvConf` of a kubelet's configuration. In YAML and in JSON it is a key at the top level.
pub(super) fn resolv_conf_of(text: &str) -> Option<String> {
    if text.trim_start().starts_with('{') {
        let json: Value = serde_json::from_str(text).ok()?;
        return json["resolvConf"].as_str().map(str::to_owned);
    }
    let line =
        text.lines().find_map(|line| line.strip_prefix("resolvConf")?.trim_start().strip_prefix(':'))?;
    let value = line.split(" #").next().unwrap_or_default().trim();
    Some(value.trim_matches(['"', '\'']).to_owned())
}
