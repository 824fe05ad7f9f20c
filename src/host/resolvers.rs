//! The resolvers that the system is configured with, used if hither's configuration names no upstream:
//! those of resolv.conf(5) and those that systemd-resolved, NetworkManager and systemd-networkd name
//! for each link.
//!
//! systemd-resolved and NetworkManager publish theirs on the message bus, for any user;
//! systemd-networkd writes files. [`plan`] decides which server is asked for which names.

mod bus_follower;
mod dbus;
mod link;
mod managers;
mod network_manager;
mod networkd;
mod over_tls;
mod plan;
mod resolved;
mod resolved_file;

pub(crate) use bus_follower::BusFollower;
pub(crate) use managers::BusLinks;
pub(crate) use over_tls::{EncryptedServer, LinkServer};
pub(crate) use plan::{Plan, PlanReport};

use crate::host::resolv_conf::{ResolvConfFile, is_own, is_stub, lead_to_one};
use crate::host::{files, interfaces};
use hither_secure::Roots;
use hither_wire::name::Name;
use link::{INTERFACES_MAX, Link};
use plan::Surroundings;
use resolved_file::ResolvedFile;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// The system's resolv.conf, below the root directory.
const RESOLV_CONF: &str = "etc/resolv.conf";
/// The file in which systemd-resolved lists its servers for other programs.
const RESOLVED_FILE: &str = "run/systemd/resolve/resolv.conf";
/// The files from which programs take the search list; the first one that has a search list counts.
pub(crate) const SEARCH_LIST_FILES: [&str; 2] = [RESOLV_CONF, RESOLVED_FILE];
/// Files that managers write for other programs; the first one with servers other than ours or a local
/// stub counts.
const MANAGER_FILES: [&str; 3] =
    [RESOLVED_FILE, "run/NetworkManager/no-stub-resolv.conf", "run/NetworkManager/resolv.conf"];
/// The directory in which systemd-networkd has a file for each link.
const NETWORKD: &str = "run/systemd/netif/links";

/// The files below `root` whose changes can change the plan. The directory of systemd-networkd is one
/// of them, since files come and go in it. The socket of the message bus is another: when it appears,
/// the managers can be asked.
pub(crate) fn followed_paths(root: &Path) -> Vec<PathBuf> {
    let files = [RESOLV_CONF].into_iter().chain(MANAGER_FILES).chain([bus_follower::SOCKET]);
    let mut paths: Vec<PathBuf> = files.map(|path| root.join(path)).collect();
    let dir = root.join(NETWORKD);
    // If there are more, they are not read either, and `networkd::links` reports it.
    let links = files::entries(&dir, INTERFACES_MAX).map(|entries| entries.names).unwrap_or_default();
    paths.extend(links.into_iter().map(|name| dir.join(name)));
    paths.push(dir);
    paths
}

/// The system's resolv.conf and the files that managers write, each read once.
#[derive(Debug)]
pub(crate) struct ResolverFiles {
    resolv_conf: ResolvConfFile,
    /// Whether that is the file of systemd-resolved, by a symbolic link.
    is_of_resolved: bool,
    of_managers: [ResolvConfFile; MANAGER_FILES.len()],
    root: PathBuf,
}

impl ResolverFiles {
    /// Reads the files below `root`. The contents of a file that hither itself wrote into `runtime_dir`
    /// do not count.
    pub fn read(root: &Path, runtime_dir: &Path) -> ResolverFiles {
        let read = |path: &str| {
            let path = root.join(path);
            let is_own = is_own(&path, runtime_dir);
            ResolvConfFile::read(path, is_own)
        };
        ResolverFiles {
            resolv_conf: read(RESOLV_CONF),
            is_of_resolved: lead_to_one(&root.join(RESOLV_CONF), &root.join(RESOLVED_FILE)),
            of_managers: MANAGER_FILES.map(read),
            root: root.to_owned(),
        }
    }

    /// The content of the system's resolv.conf.
    pub fn resolv_conf(&self) -> &ResolvConfFile {
        &self.resolv_conf
    }

    /// The search list of each file: of the system's resolv.conf, then of the managers' files.
    pub fn search_lists(&self) -> impl Iterator<Item = &[Name]> {
        let all = std::iter::once(&self.resolv_conf).chain(&self.of_managers);
        all.map(|file| file.foreign_contents().map_or(&[][..], |contents| &contents.search))
    }

    /// The search list that programs use, by [`SEARCH_LIST_FILES`].
    pub fn search_list_of_programs(&self) -> &[Name] {
        let [resolved, ..] = &self.of_managers;
        let contents = [&self.resolv_conf, resolved].into_iter().filter_map(ResolvConfFile::foreign_contents);
        contents.map(|contents| &contents.search[..]).find(|names| !names.is_empty()).unwrap_or_default()
    }
}

/// The servers that the system uses for each name, by its files and the links on the message bus.
/// Servers for which `is_ours` holds lead back to us and are left out. `roots` are the authorities of
/// servers that are asked over TLS.
pub(crate) fn plan(
    files: &ResolverFiles,
    bus: &BusLinks,
    roots: &Roots,
    is_ours: &dyn Fn(&SocketAddr) -> bool,
) -> Plan {
    let resolved_file = ResolvedFile::new(&files.root, bus);
    let host_of = |file: &ResolvConfFile, is_of_resolved: bool| {
        let servers = file.foreign_contents().map(|contents| &contents.nameservers[..]).unwrap_or_default();
        let servers = servers.iter().copied().filter(|server| !is_stub(server));
        let named = |server| if is_of_resolved { resolved_file.server(server) } else { server.into() };
        let (servers, origin) = (servers.map(named).collect(), file.path.display().to_string());
        vec![Link { servers, is_default_route: true, origin, ..Link::default() }]
    };
    let own = host_of(&files.resolv_conf, files.is_of_resolved);
    let mut sources: Vec<Vec<Link>> = bus.resolved.iter().cloned().collect();
    match &bus.network_manager {
        // If NetworkManager writes resolv.conf, that file is an excerpt of its links.
        Some(manager) if manager.writes_resolv_conf => sources.extend([manager.links.clone(), own]),
        Some(manager) => sources.extend([own, manager.links.clone()]),
        None => sources.push(own),
    }
    let (links, problem) = networkd::links(&files.root.join(NETWORKD));
    sources.push(links);
    let [resolved, others @ ..] = &files.of_managers;
    sources.push(host_of(resolved, true));
    sources.extend(others.iter().map(|file| host_of(file, false)));
    let around = Surroundings { is_ours, host_addresses: &interfaces::addresses(), roots };
    let mut plan = plan::plan(&sources, &around);
    plan.report.problems.extend(problem.into_iter().chain(resolved_file.problems));
    plan
}

/// Whether a query to `upstream` would come back to us. `ourselves` are the addresses that we listen
/// at, `host_addresses` those of this host.
pub(crate) fn is_ours(upstream: &SocketAddr, ourselves: &[SocketAddr], host_addresses: &[IpAddr]) -> bool {
    let is_on_this_host = upstream.ip().is_loopback() || host_addresses.contains(&upstream.ip());
    ourselves.iter().any(|own| {
        own.port() == upstream.port()
            && (own.ip() == upstream.ip() || own.ip().is_unspecified() && is_on_this_host)
    })
}

#[cfg(test)]
mod tests {
    use super::network_manager::NetworkManagerLinks;
    use super::*;
    use hither_rounds::Server;

    fn root(files: &[(&str, &str)]) -> PathBuf {
        static N: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let n = N.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let root = std::env::temp_dir().join(format!("hither-system-{}-{n}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            std::fs::write(path, text).expect("written");
        }
        root
    }

    #[test]
    fn an_upstream_that_leads_back_to_us_is_recognized() {
        let ours: [SocketAddr; 1] = ["127.0.0.1:53".parse().expect("an address")];
        let host = ["192.0.2.9".parse().expect("an address")];
        let upstream = |text: &str| text.parse::<SocketAddr>().expect("an address");
        assert!(
            is_ours(&upstream("127.0.0.1:53"), &ours, &host)
                && !is_ours(&upstream("127.0.0.2:53"), &ours, &host)
        );
        let any = [upstream("0.0.0.0:53")];
        assert!(
            is_ours(&upstream("127.0.0.2:53"), &any, &host)
                && is_ours(&upstream("192.0.2.9:53"), &any, &host)
        );
        assert!(!is_ours(&upstream("192.0.2.1:53"), &any, &host));
        assert_eq!(
            plan(
                &ResolverFiles::read(Path::new("/nonexistent"), Path::new("/nonexistent")),
                &BusLinks::default(),
                &Roots::System,
                &|_| false
            ),
            Plan::default()
        );
    }

    #[test]
    fn a_file_that_hither_wrote_gives_neither_upstreams_nor_a_search_list() {
        let root = root(&[
            ("run/hither/resolv.conf", "nameserver 192.0.2.9\nsearch old.home.arpa\n"),
            ("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.1\nsearch new.home.arpa\n"),
        ]);
        std::fs::create_dir_all(root.join("etc")).expect("a directory");
        std::os::unix::fs::symlink("../run/hither/resolv.conf", root.join(RESOLV_CONF)).expect("a link");
        let files = ResolverFiles::read(&root, &root.join("run/hither"));
        let searched: Vec<String> = files.search_lists().flatten().map(ToString::to_string).collect();
        assert_eq!(searched, ["new.home.arpa."]);
        assert_eq!(files.search_list_of_programs(), ["new.home.arpa".parse().expect("a name")]);
        let asked = plan(&files, &BusLinks::default(), &Roots::System, &|_| false).routes.usual;
        assert_eq!(asked, [Server::from("192.0.2.1:53".parse::<SocketAddr>().expect("an address"))]);
        std::fs::remove_dir_all(root).expect("removable");
    }

    #[test]
    fn the_file_of_resolved_is_asked_as_its_configuration_says_until_the_bus_is_there() {
        let root = root(&[
            ("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.1\nnameserver 192.0.2.2\n"),
            ("etc/systemd/resolved.conf", "[Resolve]\nDNS=192.0.2.1#dns.example\nDNSOverTLS=yes\n"),
        ]);
        let asked = || {
            let plan =
                plan(&ResolverFiles::read(&root, &root), &BusLinks::default(), &Roots::System, &|_| false);
            let labels = plan.encrypted.iter().map(|one| one.label.clone()).collect::<Vec<_>>();
            (plan.routes.usual.len(), labels.join(" "))
        };
        let both = "tls://192.0.2.1#dns.example tls://192.0.2.2".to_owned();
        assert_eq!(asked(), (2, both.clone()));
        let conf = root.join(RESOLV_CONF);
        std::os::unix::fs::symlink("../run/systemd/resolve/resolv.conf", &conf).expect("a link");
        assert_eq!(asked(), (2, both));
        // A file of the operator, who asks for no encryption of its servers.
        std::fs::remove_file(&conf).expect("removable");
        std::fs::write(&conf, "nameserver 192.0.2.3\n").expect("written");
        assert_eq!(asked(), (1, String::new()));
        std::fs::remove_dir_all(root).expect("removable");
    }

    #[test]
    fn programs_do_not_use_the_search_list_of_network_managers_files() {
        let search = "nameserver 192.0.2.1\nsearch home.arpa\n";
        let root = root(&[
            ("etc/resolv.conf", "nameserver 192.0.2.1\n"),
            ("run/NetworkManager/resolv.conf", search),
            ("run/NetworkManager/no-stub-resolv.conf", search),
        ]);
        let files = ResolverFiles::read(&root, &root);
        assert_eq!((files.search_list_of_programs(), files.search_lists().flatten().count()), (&[][..], 2));
        std::fs::remove_dir_all(root).expect("removable");
    }

    #[test]
    fn a_fifo_in_place_of_a_file_does_not_block() {
        let root = root(&[
            ("run/systemd/netif/links/2", "OPER_STATE=routable\nDNS=192.0.2.1\n"),
            ("run/systemd/resolve/stub", ""),
            ("run/NetworkManager/stub", ""),
            ("etc/stub", ""),
        ]);
        let link = format!("{NETWORKD}/7");
        for path in [RESOLV_CONF, &link].into_iter().chain(MANAGER_FILES) {
            nix::unistd::mkfifo(&root.join(path), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
        }
        let (sender, asked) = std::sync::mpsc::channel();
        let dir = root.clone();
        std::thread::spawn(move || {
            let plan =
                plan(&ResolverFiles::read(&dir, &dir), &BusLinks::default(), &Roots::System, &|_| false);
            sender.send((followed_paths(&dir).len(), plan.routes.usual)).expect("sent");
        });
        let (followed, usual) =
            asked.recv_timeout(std::time::Duration::from_secs(30)).expect("it does not block");
        let asked: Vec<String> = usual.iter().map(|server| server.address.to_string()).collect();
        // resolv.conf, the managers' files, the socket of the bus, the directory, and its two files.
        assert_eq!((followed, asked), (1 + MANAGER_FILES.len() + 2 + 2, vec!["192.0.2.1:53".to_owned()]));
        std::fs::remove_dir_all(root).expect("removable");
    }

    #[test]
    fn a_directory_with_too_many_links_is_reported() {
        let root = root(&[("run/systemd/netif/links/1", "OPER_STATE=routable\nDNS=192.0.2.1\n")]);
        let problems = |root: &Path| {
            plan(&ResolverFiles::read(root, root), &BusLinks::default(), &Roots::System, &|_| false)
                .report
                .problems
        };
        for n in 2..=INTERFACES_MAX {
            std::fs::write(root.join(NETWORKD).join(n.to_string()), "").expect("written");
        }
        assert_eq!(problems(&root), Vec::<String>::new());
        std::fs::write(root.join(NETWORKD).join("one more"), "").expect("written");
        let problems = problems(&root);
        assert!(problems.len() == 1 && problems[0].contains("has more than 4096 entries"), "{problems:?}");
        std::fs::remove_dir_all(root).expect("removable");
    }

    #[test]
    fn upstreams_behind_a_stub_are_found_and_links_keep_their_domains() {
        let root = root(&[
            ("etc/resolv.conf", "nameserver 127.0.0.53\noptions edns0 trust-ad\n"),
            ("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.1\nnameserver 10.8.0.1\n"),
            ("run/systemd/netif/links/7", "OPER_STATE=routable\nDNS=10.8.0.1\nROUTE_DOMAINS=corp.example\n"),
            ("run/systemd/netif/links/2", "OPER_STATE=routable\nDNS=192.0.2.1\nDOMAINS=home.example\n"),
            ("run/systemd/netif/links/.#x", "DNS=192.0.2.9\n"),
        ]);
        let of = |bus: &BusLinks| {
            let plan = plan(&ResolverFiles::read(&root, &root), bus, &Roots::System, &|_| false);
            let shown = |servers: &[Server]| -> String {
                servers.iter().map(|s| format!("{}%{} ", s.address.ip(), s.link)).collect()
            };
            let domains =
                plan.routes.domains.iter().map(|(name, servers)| format!("{name} {}", shown(servers)));
            format!("{}; {}", shown(&plan.routes.usual), domains.collect::<String>())
        };
        assert_eq!(
            of(&BusLinks::default()),
            "192.0.2.1%2 ; corp.example. 10.8.0.1%7 home.example. 192.0.2.1%2 "
        );
        let link = |index: u32, address: &str, is_default_route: bool| Link {
            index,
            servers: vec![LinkServer::read(address).expect("an address")],
            is_default_route,
            ..Link::default()
        };
        let resolved = Some(vec![link(2, "192.0.2.3:53", true), link(7, "10.8.0.3:53", false)]);
        let bus = BusLinks { resolved: resolved.clone(), ..BusLinks::default() };
        assert_eq!(of(&bus), "192.0.2.3%2 ; ", "a source with a default route is asked alone");
        let resolved = Some(vec![link(7, "10.8.0.3:53", false)]);
        let links = vec![link(2, "192.0.2.4:53", true)];
        let network_manager = Some(NetworkManagerLinks { links, writes_resolv_conf: false });
        let bus = BusLinks { resolved, network_manager, ..BusLinks::default() };
        assert_eq!(
            of(&bus),
            "192.0.2.4%2 ; ",
            "a source with only a VPN leaves other names to the next source"
        );
        assert!(followed_paths(&root).contains(&root.join("run/systemd/netif/links/7")));
        std::fs::write(root.join("etc/resolv.conf"), "nameserver 198.51.100.1\n").expect("written");
        assert!(
            of(&BusLinks::default()).starts_with("198.51.100.1%0 ;"),
            "the administrator's file counts first"
        );
        std::fs::write(root.join("run/systemd/netif/links/7"), "DNS=10.8.0.1\nROUTE_DOMAINS=.\n")
            .expect("written");
        assert!(
            of(&BusLinks::default()).starts_with("10.8.0.1%7 ;"),
            "except for a VPN with the root as its domain"
        );
        std::fs::remove_dir_all(root).expect("removable");
    }
}
