//! What is known of a host, as it was found and not yet judged.

use super::containers::Containers;
use super::ini::{Manager, Resolved};
use super::sockets::Held;
use super::units::{Systemd, Unit};
use crate::config::Config;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Everything that is judged.
#[derive(Debug)]
pub(super) struct Facts {
    /// Whether we may see everything: without, processes of others hide what they hold.
    pub is_root: bool,
    pub config: Configuration,
    /// Sockets at the ports that hitherd listens at, and at 53.
    pub held: Vec<Held>,
    pub systemd: Systemd,
    pub daemon: Daemon,
    pub table: Table,
    /// Whom hitherd asks: those of the configuration, or of the system.
    pub upstreams: Vec<SocketAddr>,
    pub names: Names,
    pub lookups: Lookups,
    pub containers: Containers,
    pub ping: Ping,
}

/// hither.toml.
#[derive(Debug)]
pub(super) enum Configuration {
    Good(Box<Config>),
    Bad(String),
    /// This user may not read it.
    Hidden(String),
}

/// What came of asking the daemon how it is.
#[derive(Debug)]
pub(super) enum Daemon {
    /// It was not asked, since that would start it.
    Stopped,
    Silent(String),
    Answers(Answering),
}

/// What the daemon says of itself.
#[derive(Clone, Debug)]
pub(super) struct Answering {
    pub pid: u32,
    pub uptime_s: u64,
    pub listen: Vec<SocketAddr>,
    /// The sorter's process, if one is connected.
    pub sorter: Option<i32>,
    /// It has not had the time to connect since hitherd's own start.
    pub sorter_starts: bool,
    /// What the sorter cannot do.
    pub lacks: Vec<String>,
    /// What is not as the configuration wants it.
    pub problems: Vec<String>,
    /// Whom it asks for everything else than some domains.
    pub upstreams: Vec<SocketAddr>,
}

/// The shared table.
#[derive(Debug)]
pub(super) enum Table {
    Missing,
    /// This user may not read it.
    Hidden,
    Bad(String),
    Open {
        entries: usize,
        damaged: usize,
        owner: String,
        /// Whether its writer is alive.
        live: bool,
    },
}

/// Who answers what `resolv.conf` leads to, and who writes it.
#[derive(Debug)]
pub(super) struct Names {
    pub resolv: Resolv,
    pub resolved: Resolved,
    /// The servers that resolved uses now, its links' included.
    pub resolved_uses: Vec<SocketAddr>,
    pub manager: Manager,
    /// `/etc/dhcp/dhclient.conf`.
    pub dhclient_conf: String,
    /// `/etc/resolv.conf.head`.
    pub dhcpcd_head: String,
    /// Whether resolvconf(8), of whichever kind, is installed.
    pub resolvconf: bool,
    /// Names of processes that are alive.
    pub processes: BTreeSet<String>,
    /// Where our examples for others are.
    pub share: PathBuf,
}

/// `/etc/resolv.conf`.
#[derive(Clone, Default, Debug)]
pub(super) struct Resolv {
    /// Where it leads to if it is a link.
    pub link: Option<PathBuf>,
    /// Where that ends, if it ends somewhere.
    pub real: Option<PathBuf>,
    /// It is a link, and what could be read is not at its end.
    pub is_broken: bool,
    /// It ends at the file that hitherd itself writes, for containers.
    pub is_ours: bool,
    /// Something else than a file is in its place.
    pub is_in_the_way: bool,
    /// Its text; `None` if there is none.
    pub text: Option<String>,
    /// Why it cannot be read.
    pub error: Option<String>,
}

/// How the C library looks names up.
#[derive(Debug)]
pub(super) struct Lookups {
    /// `/etc/nsswitch.conf`, or why it cannot be read.
    pub nsswitch: Result<Vec<u8>, String>,
    pub module: Module,
    /// Whether somebody listens for glibc in front of the module.
    pub nscd: bool,
    /// `/etc/nscd.conf`.
    pub nscd_conf: String,
}

/// The NSS module's file.
#[derive(Debug)]
pub(super) struct Module {
    /// Where it was found.
    pub path: Option<PathBuf>,
    /// Whether the loader looks there.
    pub loadable: bool,
}

/// Who may send ICMP echo without a capability.
#[derive(Debug)]
pub(super) struct Ping {
    /// The groups, first and last; `None` if the kernel does not say.
    pub groups: Option<(u32, u32)>,
    /// The sorter's group, if there is one.
    pub sorter: Option<u32>,
}

impl Facts {
    /// Where clients ask hitherd: what it says itself, else its socket unit, else the configuration.
    pub fn wanted(&self) -> Vec<SocketAddr> {
        if let Daemon::Answers(daemon) = &self.daemon {
            return daemon.listen.clone();
        }
        let unit = self.unit("hitherd.socket").map(|unit| unit.listen.clone()).unwrap_or_default();
        match (&self.config, unit.is_empty()) {
            (_, false) => unit,
            (Configuration::Good(config), true) => config.listen.clone(),
            (_, true) => Config::default().listen,
        }
    }

    /// The first of [`Facts::wanted`] that resolv.conf can name.
    pub fn own_nameserver(&self) -> Option<IpAddr> {
        self.wanted().iter().find(|address| address.port() == 53).map(|address| {
            match (address.ip().is_unspecified(), address.is_ipv4()) {
                (false, _) => address.ip(),
                (true, true) => IpAddr::from([127, 0, 0, 1]),
                (true, false) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
            }
        })
    }

    /// Whether a query to `server` comes to hitherd.
    pub fn is_own(&self, server: IpAddr) -> bool {
        // Whoever has the address itself gets what is sent there, before a wildcard.
        let elses = self.held.iter().any(|held| held.address == SocketAddr::new(server, 53));
        self.wanted()
            .iter()
            .filter(|own| own.port() == 53)
            .any(|own| own.ip() == server || own.ip().is_unspecified() && server.is_loopback() && !elses)
    }

    /// A unit that is installed.
    pub fn unit(&self, name: &str) -> Option<&Unit> {
        match &self.systemd {
            Systemd::Running(units) => units.get(name),
            Systemd::Absent | Systemd::Silent(_) => None,
        }
    }

    /// Whether a unit runs.
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

    /// A host where everything is as it should be: hither by socket activation, resolv.conf and nsswitch.conf lead to it.
    pub fn well() -> Facts {
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
                problems: Vec::new(),
                upstreams: vec![address("192.0.2.1:53")],
            }),
            table: Table::Open { entries: 12, damaged: 0, owner: "hither".to_owned(), live: true },
            upstreams: vec![address("192.0.2.1:53")],
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
            },
            containers: Containers::default(),
            ping: Ping { groups: Some((0, 2_147_483_647)), sorter: Some(990) },
        }
    }

    impl Facts {
        /// The units, to change them.
        pub fn units(&mut self) -> &mut Units {
            match &mut self.systemd {
                Systemd::Running(units) => units,
                _ => panic!("systemd does not run here"),
            }
        }

        /// The same host with systemd-resolved before it, as Debian's package sets it up.
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
    fn the_daemons_own_word_counts_before_units_and_configuration() {
        let mut facts = well();
        assert!(facts.is_own(IpAddr::from([127, 0, 0, 1])) && !facts.is_own(IpAddr::from([127, 0, 0, 53])));
        let Daemon::Answers(daemon) = &mut facts.daemon else { panic!("it answers") };
        daemon.listen = vec![address("0.0.0.0:53")];
        assert!(facts.is_own(IpAddr::from([127, 0, 0, 53])));
        facts.held.extend(Held::some(&["udp 127.0.0.53:53 300 systemd-resolve"]));
        assert!(!facts.is_own(IpAddr::from([127, 0, 0, 53])));
        assert_eq!(facts.own_nameserver(), Some(IpAddr::from([127, 0, 0, 1])));
        facts.daemon = Daemon::Stopped;
        assert_eq!(facts.wanted(), [address("127.0.0.1:53"), address("[::1]:53")]);
        facts.systemd = Systemd::Absent;
        let config = crate::config::check_text("[listen]\ndns = [\"127.0.0.1:5300\"]").expect("right");
        facts.config = Configuration::Good(Box::new(config));
        assert_eq!(facts.wanted(), [address("127.0.0.1:5300")]);
        assert_eq!(facts.own_nameserver(), None, "resolv.conf has no ports");
    }
}
