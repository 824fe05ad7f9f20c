//! The configuration without any file, as hither.toml(5) documents it.

use super::{
    Config, Feed, Findings, HOSTS_FILE, Hosts, Limits, Listen, Log, Network, Probe, QueryLog, Site, Sort,
    State, Table, Upstreams,
};
use hither_rounds::Settings;
use hither_table::FamilyOrder;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

impl Default for Config {
    fn default() -> Self {
        Self {
            runtime_dir: default_runtime_dir(),
            state: State { dir: first_of("STATE_DIRECTORY"), save_every: Duration::from_secs(300) },
            listen: Listen {
                addresses: vec![
                    SocketAddr::from(([127, 0, 0, 1], 53)),
                    SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 53)),
                ],
                allow: vec![Network::LOOPBACK_V4, Network::LOOPBACK_V6],
                workers: 1,
            },
            upstreams: Upstreams::default(),
            hosts: Hosts { files: vec![PathBuf::from(HOSTS_FILE)], own_name: true },
            blocks: Vec::new(),
            limits: Limits {
                clients_per_network: 1_000,
                tcp: 1_000,
                tcp_per_network: 100,
                replies_per_second: 100,
                feed: Feed { mode: 0o666, limits: hither_feed::server::Limits::default() },
            },
            settings: Settings::default(),
            table: Table { entries: None, mode: 0o644 },
            sort: Sort {
                enabled: true,
                probes: vec![Probe::Tls(443), Probe::Icmp, Probe::Tcp(443), Probe::Tcp(80)],
                timeout: Duration::from_secs(1),
                remeasure: Duration::from_secs(600),
                private: false,
                rate: 200,
                hysteresis: Duration::from_millis(2),
                families: FamilyOrder::Measured,
                family_margin: Duration::from_millis(25),
                withhold: false,
                tls_rate: 20,
                tls_except: BTreeSet::new(),
            },
            site: Site::default(),
            log: Log { level: log::LevelFilter::Info, queries: QueryLog::Off, dnstap: None },
            findings: Findings::default(),
        }
    }
}

impl Config {
    /// Whether the service manager made the runtime directory.
    #[must_use]
    pub fn is_runtime_dir_managed(&self) -> bool {
        first_of("RUNTIME_DIRECTORY").as_ref() == Some(&self.runtime_dir)
    }
}

fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The first directory of a variable that systemd sets; it separates several by colons.
fn first_of(name: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let dirs = variable(name)?;
    let first = dirs.as_bytes().split(|octet| *octet == b':').next().unwrap_or_default();
    Some(PathBuf::from(std::ffi::OsString::from_vec(first.to_vec())))
}

fn default_runtime_dir() -> PathBuf {
    if let Some(dir) = first_of("RUNTIME_DIRECTORY") {
        return dir;
    }
    match variable("XDG_RUNTIME_DIR") {
        Some(dir) if !nix::unistd::geteuid().is_root() => Path::new(&dir).join("hither"),
        _ => PathBuf::from(hither_client::RUNTIME_DIR),
    }
}
