//! The facts about a host, as they were read and not yet judged.

use super::containers::found::Containers;
use super::ini::Manager;
use super::order::Order;
use super::sockets::Held;
use super::units::{Systemd, Unit};
use crate::config::Config;
use crate::host::resolved_conf::Resolved;
use hither_control::SiteStatus;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// All facts.
#[derive(Debug)]
pub(super) struct Facts {
    /// Whether root runs doctor: for other users the sockets of other processes are hidden.
    pub is_root: bool,
    pub config: Configuration,
    /// Sockets at the ports that hitherd listens at, and at 53.
    pub held: Vec<Held>,
    pub systemd: Systemd,
    pub daemon: Daemon,
    pub table: Table,
    /// The upstreams of hitherd: those of its configuration, or of the system.
    pub upstreams: Vec<KnownUpstream>,
    pub names: Names,
    pub lookups: Lookups,
    pub containers: Containers,
    pub ping: Ping,
    /// Files with the key of the site or the password of its engine that other users may read.
    pub exposed: Vec<PathBuf>,
}

/// The configuration of hitherd.
#[derive(Debug)]
pub(super) enum Configuration {
    Good(Box<Config>),
    Bad(String),
    /// This user may not read it.
    Hidden(String),
}

/// The daemon's answer to a request for its status.
#[derive(Debug)]
pub(super) enum Daemon {
    /// The daemon does not run. No request was sent, since that would start it.
    Stopped,
    /// The daemon did not answer, for this reason.
    Silent(String),
    Answers(Answering),
}

/// The daemon's status, as far as it is judged.
#[derive(Clone, Debug)]
pub(super) struct Answering {
    pub pid: u32,
    pub uptime_s: u64,
    pub listen: Vec<SocketAddr>,
    /// The sorter's process, if one is connected.
    pub sorter: Option<i32>,
    /// The sorter need not be connected yet: hitherd has just been started.
    pub sorter_starts: bool,
    /// Kinds of probes that the sorter cannot send.
    pub lacks: Vec<String>,
    /// The companion that shares answers; `None` if nothing is shared.
    pub site: Option<Box<SiteStatus>>,
    /// The problems that the daemon reports.
    pub problems: Vec<String>,
    /// The upstreams for all names without another upstream.
    pub upstreams: Vec<KnownUpstream>,
    /// Whether a configuration file that the daemon has read names one of them.
    pub names_upstreams: bool,
}

/// An upstream of hitherd, whoever has named it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum KnownUpstream {
    Plain(SocketAddr),
    /// One that is asked over an encrypted connection, as operators know it.
    Encrypted {
        label: String,
        /// What hitherd says is wrong with it.
        problem: Option<String>,
    },
}

impl KnownUpstream {
    /// Its address, if it is asked in clear text.
    pub fn plain(&self) -> Option<SocketAddr> {
        if let KnownUpstream::Plain(address) = self { Some(*address) } else { None }
    }
}

impl fmt::Display for KnownUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KnownUpstream::Plain(address) => address.fmt(f),
            KnownUpstream::Encrypted { label, .. } => f.write_str(label),
        }
    }
}

/// The shared table.
#[derive(Debug)]
pub(super) enum Table {
    Missing,
    /// This user may not read it.
    Hidden,
    Bad(String),
    /// Others can write its directory, so no program reads it.
    Exposed {
        dir: PathBuf,
        why: String,
    },
    Open {
        entries: usize,
        damaged: usize,
        owner: String,
        /// Whether its writer is alive.
        live: bool,
    },
}

/// resolv.conf, and the programs that write it or answer behind it.
#[derive(Debug)]
pub(super) struct Names {
    pub resolv: Resolv,
    pub resolved: Resolved,
    /// The servers that systemd-resolved uses now, including those of links.
    pub resolved_uses: Vec<SocketAddr>,
    pub manager: Manager,
    /// The text of `/etc/dhcp/dhclient.conf`.
    pub dhclient_conf: String,
    /// The text of `/etc/resolv.conf.head`.
    pub dhcpcd_head: String,
    /// Whether any resolvconf(8) is installed.
    pub resolvconf: bool,
    /// The names of all processes.
    pub processes: BTreeSet<String>,
    /// The directory of our example files.
    pub share: PathBuf,
}

/// The file `/etc/resolv.conf`.
#[derive(Clone, Default, Debug)]
pub(super) struct Resolv {
    /// The target, if it is a link.
    pub link: Option<PathBuf>,
    /// The file at the end of all links, if it exists.
    pub real: Option<PathBuf>,
    /// Whether it is a link without a readable file at its end.
    pub is_broken: bool,
    /// Whether it is a link to the file that hitherd writes for containers.
    pub is_ours: bool,
    /// Whether it is no file but, for instance, a directory.
    pub is_no_file: bool,
    /// The text of the file; `None` if there is no file.
    pub text: Option<String>,
    /// Why it cannot be read.
    pub error: Option<String>,
}

/// How glibc looks names up.
#[derive(Debug)]
pub(super) struct Lookups {
    /// The text of `/etc/nsswitch.conf`, or why it cannot be read.
    pub nsswitch: Result<Vec<u8>, String>,
    pub module: Module,
    /// Whether nscd answers glibc before the module is asked.
    pub nscd: bool,
    /// The text of `/etc/nscd.conf`.
    pub nscd_conf: String,
    /// What getaddrinfo makes of hither's order.
    pub order: Order,
}

/// The file of the NSS module.
#[derive(Debug)]
pub(super) struct Module {
    /// The path of the module, if it was found.
    pub path: Option<PathBuf>,
    /// Whether the dynamic loader finds it there.
    pub loadable: bool,
}

/// The groups that may send ICMP echo without a capability.
#[derive(Debug)]
pub(super) struct Ping {
    /// The first and last group; `None` if that cannot be read.
    pub groups: Option<(u32, u32)>,
    /// The sorter's group, if it exists.
    pub sorter: Option<u32>,
}

impl Facts {
    /// The addresses at which hitherd listens or should: by its own status, else by its socket
    /// unit, else by its configuration.
    pub fn listen_addresses(&self) -> Vec<SocketAddr> {
        if let Daemon::Answers(daemon) = &self.daemon {
            return daemon.listen.clone();
        }
        let unit = self.unit("hitherd.socket").map(|unit| unit.listen.clone()).unwrap_or_default();
        match (&self.config, unit.is_empty()) {
            (_, false) => unit,
            (Configuration::Good(config), true) => config.listen.addresses.clone(),
            (_, true) => Config::default().listen.addresses,
        }
    }

    /// The first of [`Facts::listen_addresses`] that resolv.conf can name.
    pub fn own_nameserver(&self) -> Option<IpAddr> {
        self.listen_addresses().iter().find(|address| address.port() == 53).map(|address| {
            match (address.ip().is_unspecified(), address.is_ipv4()) {
                (false, _) => address.ip(),
                (true, true) => IpAddr::from([127, 0, 0, 1]),
                (true, false) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
            }
        })
    }

    /// Whether hitherd gets the queries to `server`.
    pub fn is_own(&self, server: IpAddr) -> bool {
        // A socket at the address itself gets them before one at the wildcard address.
        let has_other_socket = self.held.iter().any(|held| held.address == SocketAddr::new(server, 53));
        self.listen_addresses().iter().filter(|own| own.port() == 53).any(|own| {
            own.ip() == server || own.ip().is_unspecified() && server.is_loopback() && !has_other_socket
        })
    }

    /// A unit, if it is installed.
    pub fn unit(&self, name: &str) -> Option<&Unit> {
        match &self.systemd {
            Systemd::Running(units) => units.get(name),
            Systemd::Absent | Systemd::Silent(_) => None,
        }
    }

    /// Whether a unit is active.
    pub fn is_active(&self, name: &str) -> bool {
        self.unit(name).is_some_and(Unit::is_active)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ctl::doctor::units::Units;

    pub fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    /// A host without a fault: hitherd is started by its sockets, and resolv.conf and nsswitch.conf name it.
    pub fn faultless() -> Facts {
        let listen = vec![address("127.0.0.1:53"), address("[::1]:53")];
        let text = "nameserver 127.0.0.1\nnameserver 192.0.2.1\n";
        let mut units = Units::default();
        for name in ["hitherd.socket", "hitherd.service", "hither-sorter.service"] {
            units.put(name, "active", "enabled");
        }
        units.units.get_mut("hitherd.socket").expect("put").listen = listen.clone();
        units.sockets = listen.iter().map(|a| (*a, "hitherd.socket".to_owned())).collect();
        Facts {
            is_root: true,
            config: Configuration::Good(Box::default()),
            held: Held::some(&[
                "udp 127.0.0.1:53 1 systemd,812 hitherd",
                "tcp 127.0.0.1:53 1 systemd,812 hitherd",
                "udp [::1]:53 1 systemd,812 hitherd",
                "tcp [::1]:53 1 systemd,812 hitherd",
            ]),
            systemd: Systemd::Running(units),
            daemon: Daemon::Answers(Answering {
                pid: 812,
                uptime_s: 60,
                listen,
                sorter: Some(820),
                sorter_starts: false,
                lacks: Vec::new(),
                site: None,
                problems: Vec::new(),
                upstreams: vec![KnownUpstream::Plain(address("192.0.2.1:53"))],
                names_upstreams: false,
            }),
            table: Table::Open { entries: 12, damaged: 0, owner: "hither".to_owned(), live: true },
            upstreams: vec![KnownUpstream::Plain(address("192.0.2.1:53"))],
            names: Names {
                resolv: Resolv { text: Some(text.to_owned()), ..Resolv::default() },
                resolved: Resolved::default(),
                resolved_uses: Vec::new(),
                manager: Manager::default(),
                dhclient_conf: String::new(),
                dhcpcd_head: String::new(),
                resolvconf: true,
                processes: BTreeSet::new(),
                share: PathBuf::from("/usr/share/hither"),
            },
            lookups: Lookups {
                nsswitch: Ok(b"hosts: files hither [NOTFOUND=return] dns\n".to_vec()),
                module: Module { path: Some(PathBuf::from("/usr/lib/libnss_hither.so.2")), loadable: true },
                nscd: false,
                nscd_conf: String::new(),
                order: Order::default(),
            },
            containers: Containers::default(),
            ping: Ping { groups: Some((0, 2_147_483_647)), sorter: Some(990) },
            exposed: Vec::new(),
        }
    }

    impl Facts {
        /// The units, for a change.
        pub fn units(&mut self) -> &mut Units {
            match &mut self.systemd {
                Systemd::Running(units) => units,
                _ => panic!("systemd does not run here"),
            }
        }

        /// The same host behind systemd-resolved, as Debian's package configures it.
        pub fn behind_resolved(mut self) -> Facts {
            self.units().put("systemd-resolved.service", "active", "enabled");
            self.names.resolv = Resolv {
                link: Some(PathBuf::from("../run/systemd/resolve/stub-resolv.conf")),
                text: Some("nameserver 127.0.0.53\noptions edns0 trust-ad\n".to_owned()),
                ..Resolv::default()
            };
            self.names.resolved_uses = vec![address("192.0.2.1:53")];
            self.held.extend(Held::some(&[
                "udp 127.0.0.53:53 300 systemd-resolve",
                "tcp 127.0.0.53:53 300 systemd-resolve",
            ]));
            self
        }
    }

    #[test]
    fn the_daemons_status_counts_before_units_and_configuration() {
        let mut facts = faultless();
        assert!(facts.is_own(IpAddr::from([127, 0, 0, 1])) && !facts.is_own(IpAddr::from([127, 0, 0, 53])));
        let Daemon::Answers(daemon) = &mut facts.daemon else { panic!("it answers") };
        daemon.listen = vec![address("0.0.0.0:53")];
        assert!(facts.is_own(IpAddr::from([127, 0, 0, 53])));
        facts.held.extend(Held::some(&["udp 127.0.0.53:53 300 systemd-resolve"]));
        assert!(!facts.is_own(IpAddr::from([127, 0, 0, 53])));
        assert_eq!(facts.own_nameserver(), Some(IpAddr::from([127, 0, 0, 1])));
        facts.daemon = Daemon::Stopped;
        assert_eq!(facts.listen_addresses(), [address("127.0.0.1:53"), address("[::1]:53")]);
        facts.systemd = Systemd::Absent;
        let config = crate::config::check_text("[listen]\ndns = [\"127.0.0.1:5300\"]").expect("right");
        facts.config = Configuration::Good(Box::new(config));
        assert_eq!(facts.listen_addresses(), [address("127.0.0.1:5300")]);
        assert_eq!(facts.own_nameserver(), None, "resolv.conf has no ports");
    }
}
