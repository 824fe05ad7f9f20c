//! The sections and keys of hither.toml as they are written. Each struct has a field for each key of
//! its section.

use super::log_values::{Level, QueryLog, SocketPath};
use super::site::{CredentialName, Engines, GroupName, Prefix};
use super::upstream::{CaFile, CertificateName, ConnectAddress, PinText, UpstreamAddress, VerifyWord};
use super::values::{
    AtLeastOne, BlockAnswer, Blocked, Covers, DenyWord, FamiliesWord, ListenAddress, LocalFile, Mode,
    Network, Probes, SocketMode, Suffix, Suffixes, Time,
};
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub runtime_dir: Option<PathBuf>,
    pub state_dir: Option<PathBuf>,
    #[serde(default)]
    pub listen: Listen,
    #[serde(default)]
    pub upstream: Vec<Upstream>,
    #[serde(default)]
    pub domain: Vec<Domain>,
    #[serde(default)]
    pub tls: TlsFile,
    #[serde(default)]
    pub hosts: HostsFile,
    #[serde(default)]
    pub block: Vec<BlockFile>,
    #[serde(default)]
    pub limits: LimitsFile,
    #[serde(default)]
    pub round: Round,
    #[serde(default)]
    pub rebinding: RebindingFile,
    #[serde(default)]
    pub cache: Cache,
    #[serde(default)]
    pub table: Table,
    #[serde(default)]
    pub sort: SortFile,
    #[serde(default)]
    pub feed: FeedFile,
    #[serde(default)]
    pub site: SiteFile,
    #[serde(default)]
    pub log: Log,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct SiteFile {
    pub engine: Option<Engines>,
    pub key: Option<CredentialName>,
    pub ask: Option<bool>,
    pub wait: Option<Time>,
    pub group: Option<GroupName>,
    pub prefix: Option<Prefix>,
    pub domains: Option<Vec<Suffix>>,
    pub ttl_floor: Option<Time>,
    pub rate: Option<AtLeastOne>,
    pub ca_file: Option<CaFile>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Listen {
    pub dns: Option<Vec<ListenAddress>>,
    pub allow: Option<Vec<Network>>,
    pub workers: Option<AtLeastOne>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Upstream {
    pub address: UpstreamAddress,
    #[serde(default)]
    pub addresses: Vec<ConnectAddress>,
    pub name: Option<CertificateName>,
    #[serde(default)]
    pub pins: Vec<PinText>,
    pub ca_file: Option<CaFile>,
    pub verify: Option<VerifyWord>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsFile {
    pub ca_file: Option<CaFile>,
    pub bootstrap: Option<Vec<UpstreamAddress>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Round {
    pub first: Option<AtLeastOne>,
    pub fallback: Option<Time>,
    pub batch: Option<AtLeastOne>,
    pub stagger: Option<Time>,
    pub complete: Option<bool>,
    pub deadline: Option<Time>,
    pub negative_grace: Option<Time>,
    pub deny: Option<DenyWord>,
    pub mix_case: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RebindingFile {
    pub protect: Option<bool>,
    pub allow: Option<Vec<Suffix>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Cache {
    pub entries: Option<AtLeastOne>,
    pub min_ttl: Option<Time>,
    pub max_ttl: Option<Time>,
    pub max_negative_ttl: Option<Time>,
    pub failure_ttl: Option<Time>,
    pub stale: Option<Time>,
    pub stale_wait: Option<Time>,
    pub stale_ttl: Option<Time>,
    pub prefetch: Option<bool>,
    pub save: Option<Time>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub entries: Option<AtLeastOne>,
    pub mode: Option<Mode>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct SortFile {
    pub enabled: Option<bool>,
    pub probes: Option<Probes>,
    pub timeout: Option<Time>,
    pub remeasure: Option<Time>,
    pub private: Option<bool>,
    pub rate: Option<AtLeastOne>,
    pub hysteresis: Option<Time>,
    pub families: Option<FamiliesWord>,
    pub family_margin: Option<Time>,
    pub withhold: Option<bool>,
    pub tls_rate: Option<u32>,
    pub tls_except: Option<Vec<Suffix>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct FeedFile {
    pub mode: Option<SocketMode>,
    pub names: Option<u32>,
    pub names_per_user: Option<AtLeastOne>,
    pub rounds: Option<AtLeastOne>,
    pub rounds_per_user: Option<AtLeastOne>,
    pub subscribers_per_user: Option<AtLeastOne>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub level: Option<Level>,
    pub queries: Option<QueryLog>,
    pub dnstap: Option<SocketPath>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Domain {
    pub names: Suffixes,
    pub upstreams: Vec<UpstreamAddress>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct HostsFile {
    pub files: Option<Vec<LocalFile>>,
    pub own_name: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockFile {
    #[serde(default)]
    pub files: Vec<LocalFile>,
    #[serde(default)]
    pub names: Vec<Blocked>,
    #[serde(default, rename = "match")]
    pub covers: Covers,
    #[serde(default)]
    pub answer: BlockAnswer,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsFile {
    pub rounds: Option<AtLeastOne>,
    pub attempts: Option<AtLeastOne>,
    pub clients: Option<AtLeastOne>,
    pub clients_per_network: Option<AtLeastOne>,
    pub tcp: Option<AtLeastOne>,
    pub tcp_per_network: Option<AtLeastOne>,
    pub replies_per_second: Option<u32>,
}
