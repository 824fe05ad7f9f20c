//! Reads the facts about a host below one root directory. Nothing is judged, and every wait is
//! bounded by seconds.

use super::facts::{
    Answering, Configuration, Daemon, Facts, KnownUpstream, Lookups, Module, Names, Ping, Resolv, Table,
};
use super::units::{Systemd, Unit};
use super::{containers, ini, order, plan, site, sockets, units};
use crate::config::Config;
use crate::ctl::{Context, ask, files};
use crate::host::resolvers;
use hither_client::OpenError;
use hither_control::{SorterState, UpstreamStatus};
use hither_rounds::Server;
use hither_secure::Roots;
use hither_table::paths::TABLE_FILE;
use hither_table::trust::{self, judge_directory};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Directories that the dynamic loader searches.
const LIBRARIES: [&str; 4] = ["lib", "usr/lib", "lib64", "usr/lib64"];
/// A directory that the dynamic loader searches only if its cache has it.
const LIBRARIES_LOCAL: &str = "usr/local/lib";
const MODULE: &str = "libnss_hither.so.2";

/// Reads all facts.
pub(super) fn facts(context: &Context, root: &Path) -> Facts {
    let containers = containers::found::gather(root, &context.dir);
    let dir = root.join(context.dir.strip_prefix("/").unwrap_or(&context.dir));
    let systemd = units::systemd(root, Path::new("systemctl"));
    let context = Context { dir, json: context.json };
    let daemon = daemon(&context, &systemd);
    let lookups = lookups(root, &context.dir, &systemd);
    let mut facts = Facts {
        is_root: nix::unistd::geteuid().is_root(),
        config: configuration(root),
        held: Vec::new(),
        table: table(&context.dir, &text(root, "etc/passwd")),
        daemon,
        upstreams: Vec::new(),
        names: names(root, &context.dir),
        lookups,
        containers,
        ping: ping(root),
        exposed: Vec::new(),
        systemd,
    };
    if let Configuration::Good(config) = &facts.config {
        facts.exposed = site::exposed(&config.site.key, root);
    }
    let mut ports: Vec<u16> = facts.listen_addresses().iter().map(SocketAddr::port).collect();
    ports.push(53);
    facts.held = sockets::held(root, &ports);
    facts.upstreams = match (&facts.daemon, &facts.config) {
        (Daemon::Answers(daemon), _) => daemon.upstreams.clone(),
        (_, Configuration::Good(config)) if !config.upstreams.usual.is_empty() => {
            let addresses = config.upstreams.usual.iter().flat_map(crate::config::Upstream::addresses);
            addresses.map(KnownUpstream::Plain).collect()
        }
        _ => of_system(root, &context.dir, &|server| facts.is_own(server.ip()) && server.port() == 53),
    };
    facts
}

/// The upstreams of the system for all names without another upstream, by its files alone.
fn of_system(root: &Path, dir: &Path, is_ours: &dyn Fn(&SocketAddr) -> bool) -> Vec<KnownUpstream> {
    let files = resolvers::ResolverFiles::read(root, dir);
    let plan = resolvers::plan(&files, &resolvers::BusLinks::default(), &Roots::System, is_ours);
    let known = |server: &Server| match plan.encrypted.iter().find(|one| one.server == *server) {
        Some(one) => KnownUpstream::Encrypted { label: one.label.clone(), problem: None },
        None => KnownUpstream::Plain(server.address),
    };
    plan.routes.usual.iter().map(known).collect()
}

/// The text of a file; empty if it cannot be read.
fn text(root: &Path, path: &str) -> String {
    files::text(&root.join(path)).ok().flatten().unwrap_or_default()
}

fn configuration(root: &Path) -> Configuration {
    let main = root.join("etc/hither/hither.toml");
    let drop_ins = files::beside(&main, ".d");
    let hidden = [crate::host::files::open_regular(&main).err(), std::fs::read_dir(&drop_ins).err()];
    if let Some(error) =
        hidden.into_iter().flatten().find(|error| error.kind() == ErrorKind::PermissionDenied)
    {
        return Configuration::Hidden(format!("'{}': {error}", main.display()));
    }
    // Only for this host drop-ins are read without a main file.
    let loaded = match (root == Path::new("/"), main.exists()) {
        (true, _) => Config::load(None),
        (false, true) => Config::load(Some(&main)),
        (false, false) => Ok(Config::default()),
    };
    match loaded {
        Ok(config) => Configuration::Good(Box::new(config)),
        Err(error) => Configuration::Bad(error.to_string()),
    }
}

/// Whether a request to the daemon would start it.
pub(super) fn is_started_by_requests(systemd: &Systemd) -> bool {
    let Systemd::Running(units) = systemd else { return false };
    let is_active = |name: &str| units.get(name).is_some_and(Unit::is_active);
    is_active("hitherd-control.socket") && !is_active("hitherd.service")
}

fn daemon(context: &Context, systemd: &Systemd) -> Daemon {
    if is_started_by_requests(systemd) {
        return Daemon::Stopped;
    }
    match ask::daemon_status(context) {
        Ok(status) => Daemon::Answers(Answering {
            pid: status.pid,
            uptime_s: status.uptime_s,
            listen: status.listen.iter().filter_map(|address| address.parse().ok()).collect(),
            sorter: status.sorter.pid.filter(|_| status.sorter.connected),
            sorter_starts: status.sorter.state == SorterState::Starting,
            lacks: status.sorter.lacks,
            site: status.site,
            problems: status.problems,
            upstreams: usual(&status.upstreams),
            names_upstreams: status
                .upstreams
                .iter()
                .any(|one| is_usual(one) && one.origin.ends_with(".toml")),
        }),
        Err(why) => Daemon::Silent(why),
    }
}

fn is_usual(upstream: &UpstreamStatus) -> bool {
    upstream.domains.is_empty() || upstream.domains.iter().any(|at| at == ".")
}

/// The upstreams for all names without another upstream, each once.
fn usual(all: &[UpstreamStatus]) -> Vec<KnownUpstream> {
    let mut found = Vec::new();
    for one in all.iter().filter(|one| is_usual(one)) {
        let known = match (&one.tls, one.address.parse()) {
            (Some(tls), _) => {
                KnownUpstream::Encrypted { label: one.address.clone(), problem: tls.problem.clone() }
            }
            (None, Ok(address)) => KnownUpstream::Plain(address),
            (None, Err(_)) => continue,
        };
        if !found.contains(&known) {
            found.push(known);
        }
    }
    found
}

fn table(dir: &Path, passwd: &str) -> Table {
    match hither_client::Table::open_any_network(Some(dir)) {
        Ok(table) => {
            let reader = table.reader();
            let report = reader.verify();
            let uid = std::fs::metadata(dir.join(TABLE_FILE)).map(|metadata| metadata.uid());
            let owner = uid.map_or_else(|_| "?".to_owned(), |uid| name_of(passwd, uid));
            Table::Open { entries: report.entries, damaged: report.bad.len(), owner, live: reader.live() }
        }
        Err(OpenError::Io(error)) if error.kind() == ErrorKind::NotFound => Table::Missing,
        Err(OpenError::Io(error)) if error.kind() == ErrorKind::PermissionDenied => Table::Hidden,
        Err(error) if is_exposed(dir) => Table::Exposed { dir: dir.to_owned(), why: error.to_string() },
        Err(error) => Table::Bad(error.to_string()),
    }
}

/// Whether others than its owner can write the runtime directory.
fn is_exposed(dir: &Path) -> bool {
    let found =
        std::fs::symlink_metadata(dir).map(|found| trust::Facts { mode: found.mode(), uid: found.uid() });
    found.is_ok_and(|found| judge_directory(found) == Err(trust::Distrust::DirectoryWritable))
}

fn names(root: &Path, dir: &Path) -> Names {
    let path = root.join("etc/resolv.conf");
    let read = files::text(&path);
    let link = std::fs::read_link(&path).ok();
    let is_denied = read.as_ref().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
    let real = std::fs::canonicalize(&path).ok();
    let upstreams_file = std::fs::canonicalize(dir.join(crate::host::resolv_conf::OWN_FILE)).ok();
    let resolv = Resolv {
        is_no_file: link.is_none() && path.exists() && !path.is_file(),
        is_ours: link.is_some() && real.is_some() && real == upstreams_file,
        is_broken: link.is_some() && !matches!(read, Ok(Some(_))) && !is_denied,
        real: real.map(|real| Path::new("/").join(real.strip_prefix(root).unwrap_or(&real))),
        link,
        error: read.as_ref().err().map(ToString::to_string),
        text: read.ok().flatten(),
    };
    let share = ["usr/share/hither", "usr/local/share/hither"]
        .into_iter()
        .find(|dir| root.join(dir).join("bridge.conf").exists())
        .unwrap_or("usr/share/hither");
    Names {
        resolv,
        resolved: ini::resolved(root),
        resolved_uses: ini::nameservers(&text(root, "run/systemd/resolve/resolv.conf")),
        manager: ini::manager(root),
        dhclient_conf: text(root, "etc/dhcp/dhclient.conf"),
        dhcpcd_head: text(root, "etc/resolv.conf.head"),
        resolvconf: plan::has_resolvconf(root),
        processes: sockets::pids(root).into_iter().filter_map(|pid| sockets::name(root, pid)).collect(),
        share: Path::new("/").join(share),
    }
}

fn lookups(root: &Path, dir: &Path, systemd: &Systemd) -> Lookups {
    let nsswitch = files::read(&root.join("etc/nsswitch.conf")).map_err(|error| error.to_string());
    let runs = match systemd {
        Systemd::Running(units) => {
            ["nscd.service", "nsncd.service"].iter().any(|name| units.get(name).is_some_and(Unit::is_active))
        }
        Systemd::Absent | Systemd::Silent(_) => true,
    };
    Lookups {
        nsswitch,
        module: module(root),
        nscd: runs && root.join("run/nscd/socket").exists(),
        nscd_conf: text(root, "etc/nscd.conf"),
        order: order::gather(root, dir, text(root, "etc/gai.conf")),
    }
}

fn module(root: &Path) -> Module {
    let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
    let find = |dirs: &[&str]| {
        let both = dirs.iter().flat_map(|dir| [Path::new(dir).join(&multiarch), PathBuf::from(dir)]);
        both.map(|dir| dir.join(MODULE))
            .find(|path| root.join(path).exists())
            .map(|path| Path::new("/").join(path))
    };
    let cache = files::read(&root.join("etc/ld.so.cache")).unwrap_or_default();
    if let Some(path) =
        find(&LIBRARIES).or_else(|| cached(&cache).filter(|path| in_root(root, path).exists()))
    {
        return Module { path: Some(path), loadable: true };
    }
    Module { path: find(&[LIBRARIES_LOCAL]), loadable: false }
}

/// The place of an absolute path of the host.
fn in_root(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The module's path in the loader's cache, whose texts each end with a NUL.
fn cached(cache: &[u8]) -> Option<PathBuf> {
    let mut texts = cache.split(|c| *c == 0).filter_map(|text| std::str::from_utf8(text).ok());
    texts.find(|text| text.starts_with('/') && text.ends_with(&format!("/{MODULE}"))).map(PathBuf::from)
}

fn ping(root: &Path) -> Ping {
    let range = text(root, "proc/sys/net/ipv4/ping_group_range");
    let numbers: Vec<u32> = range.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let groups = match numbers.as_slice() {
        [first, last] => Some((*first, *last)),
        _ => None,
    };
    Ping { groups, sorter: id_of(&text(root, "etc/group"), "hither-sorter") }
}

/// The id of a name in passwd(5) or group(5).
fn id_of(text: &str, name: &str) -> Option<u32> {
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.first() == Some(&name))?.get(2)?.parse().ok()
}

/// The name of an id in passwd(5), or else the id.
fn name_of(text: &str, id: u32) -> String {
    let id = id.to_string();
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = lines.find(|fields| fields.get(2) == Some(&id.as_str()));
    found.and_then(|fields| fields.first().map(|name| (*name).to_owned())).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Root(PathBuf);

    impl Root {
        fn new(name: &str, files: &[(&str, &str)]) -> Root {
            let root = std::env::temp_dir().join(format!("hither-doctor-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
                std::fs::write(path, text).expect("written");
            }
            Root(root)
        }

        fn facts(&self) -> Facts {
            facts(&Context { dir: PathBuf::from("/run/hither"), json: false }, &self.0)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn all_facts_are_read_below_the_root() {
        let cache = "ld.so\0\0/opt/lib/libnss_hither.so.2\0x";
        let root = Root::new(
            "host",
            &[
                ("etc/hither/hither.toml", "[listen]\ndns = [\"127.0.0.1:53\"]\n"),
                ("etc/nsswitch.conf", "hosts: files dns\n"),
                ("etc/group", "root:x:0:\nhither-sorter:x:991:\n"),
                ("etc/ld.so.cache", cache),
                ("opt/lib/libnss_hither.so.2", ""),
                ("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.1\nnameserver 127.0.0.1\n"),
                ("run/systemd/resolve/stub-resolv.conf", "nameserver 127.0.0.53\n"),
                ("run/nscd/socket", ""),
                ("usr/local/share/hither/bridge.conf", ""),
                ("proc/sys/net/ipv4/ping_group_range", "1\t0\n"),
                ("proc/7/comm", "systemd-resolve\n"),
                (
                    "proc/net/udp",
                    "  sl\n 1: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000  101  0 23456 2\n",
                ),
            ],
        );
        symlink("../run/systemd/resolve/stub-resolv.conf", root.0.join("etc/resolv.conf")).expect("a link");
        std::fs::create_dir_all(root.0.join("proc/7/fd")).expect("a directory");
        symlink("socket:[23456]", root.0.join("proc/7/fd/3")).expect("a link");
        let facts = root.facts();
        assert!(matches!(facts.systemd, Systemd::Absent) && matches!(facts.table, Table::Missing));
        assert!(matches!(&facts.daemon, Daemon::Silent(why) if why.contains("run/hither/control.sock")));
        let first = KnownUpstream::Plain("192.0.2.1:53".parse().expect("an address"));
        assert_eq!(facts.upstreams, [first], "without ourselves");
        assert_eq!(facts.lookups.module.path.as_deref(), Some(Path::new("/opt/lib/libnss_hither.so.2")));
        assert!(facts.lookups.module.loadable && facts.lookups.nscd);
        assert_eq!((facts.ping.groups, facts.ping.sorter), (Some((1, 0)), Some(991)));
        assert_eq!(facts.names.share, Path::new("/usr/local/share/hither"));
        assert_eq!(facts.names.resolv.text.as_deref(), Some("nameserver 127.0.0.53\n"));
        let [held] = facts.held.as_slice() else { panic!("one socket") };
        assert_eq!(
            (held.uid, held.holders[0].pid, held.holders[0].name.as_str()),
            (101, 7, "systemd-resolve")
        );
    }

    #[test]
    fn an_empty_and_a_damaged_host_are_read_too() {
        let root = Root::new("empty", &[("x", "")]);
        let facts = root.facts();
        assert!(
            matches!(facts.config, Configuration::Good(_))
                && facts.held.is_empty()
                && facts.upstreams.is_empty()
        );
        let root = Root::new(
            "broken",
            &[
                ("etc/hither/hither.toml", "listen = 3\n"),
                ("etc/nsswitch.conf", "\0\0"),
                ("etc/group", "hither-sorter::::\n"),
                ("proc/sys/net/ipv4/ping_group_range", "many"),
                ("proc/net/udp", "a b c\n"),
                ("run/hither/hosts", "no table"),
            ],
        );
        std::fs::create_dir_all(root.0.join("etc/resolv.conf")).expect("a directory in its place");
        let facts = root.facts();
        assert!(matches!(&facts.config, Configuration::Bad(why) if why.contains("hither.toml:1")));
        assert!(matches!(&facts.table, Table::Bad(_)), "{:?}", facts.table);
        assert!(facts.names.resolv.error.is_some() && facts.ping.groups.is_none());
        assert!(super::super::judge(&facts).len() > 8);
        let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(root.0.join("run/hither"), mode(0o775)).expect("ours");
        let table = root.facts().table;
        assert!(matches!(&table, Table::Exposed { why, .. } if why.contains("group")), "{table:?}");
    }

    #[test]
    fn names_and_ids_are_found_in_passwd_and_group() {
        let text = "root:x:0:0::/root:/bin/sh\nhither:x:990:990::/:\n";
        assert_eq!((name_of(text, 990).as_str(), name_of(text, 5).as_str()), ("hither", "5"));
        assert_eq!((id_of(text, "hither"), id_of(text, "x")), (Some(990), None));
    }
}
