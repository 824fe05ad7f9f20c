//! The system's own resolvers, for a configuration that names none: resolv.conf(5), and what systemd-resolved, NetworkManager and
//! systemd-networkd know of each link.
//!
//! resolved and NetworkManager are asked on the message bus, as any user may; the files that resolved has of its links are its own.

mod bus;
mod follow;
mod link;
mod managers;
mod message;

pub(crate) use follow::BusFollower;
pub(crate) use link::{Link, Plan, Whom};
pub(crate) use managers::Heard;

use crate::config::Config;
use crate::daemon::reload::containers;
use crate::host::open;
use crate::host::resolv_conf::{Found, is_stub, server};
use crate::logging::Event;
use hither_wire::name::Name;
use mio::Waker;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file of the system's administrator, or of whoever manages it.
const RESOLV_CONF: &str = "etc/resolv.conf";
/// systemd-resolved's for programs that do not ask it.
const RESOLVED: &str = "run/systemd/resolve/resolv.conf";
/// Where programs find in which domains to search, the first that says so.
pub(crate) const SEARCHED: [&str; 2] = [RESOLV_CONF, RESOLVED];
/// What managers write for others; the first that names somebody else than us or a local stub counts.
const WRITTEN: [&str; 3] =
    [RESOLVED, "run/NetworkManager/no-stub-resolv.conf", "run/NetworkManager/resolv.conf"];
/// networkd's directory with a file for each link.
const NETWORKD: &str = "run/systemd/netif/links";

/// The files to follow, below `root`. In the directory of links any file may come and go, so the directory itself is followed too. That the
/// message bus is there, or what resolved writes for others is new, is a reason to ask on the bus.
pub(crate) fn paths(root: &Path) -> Vec<PathBuf> {
    let files = [RESOLV_CONF].into_iter().chain(WRITTEN).chain([follow::SOCKET]);
    let mut paths: Vec<PathBuf> = files.map(|path| root.join(path)).collect();
    let dir = root.join(NETWORKD);
    // Of more, which are not read either, [`managers::networkd`] says so.
    let links = open::names(&dir, managers::LINKS_MAX).map(|names| names.all).unwrap_or_default();
    paths.extend(links.into_iter().map(|name| dir.join(name)));
    paths.push(dir);
    paths
}

/// What files say of the system's resolvers, each of them read once.
#[derive(Debug)]
pub(crate) struct Files {
    own: Found,
    written: [Found; WRITTEN.len()],
    root: PathBuf,
}

impl Files {
    /// Reads those below `root`; what we write into our runtime directory ourselves says nothing.
    pub fn read(root: &Path, runtime_dir: &Path) -> Files {
        let read = |path: &str| {
            let path = root.join(path);
            let is_own = containers::is_own(&path, runtime_dir);
            Found::at(path, is_own)
        };
        Files { own: read(RESOLV_CONF), written: WRITTEN.map(read), root: root.to_owned() }
    }

    /// resolv.conf itself.
    pub fn resolv_conf(&self) -> &Found {
        &self.own
    }

    /// The domains in which names are searched for, as each file has them: the system's own first, then that of systemd-resolved.
    pub fn searched(&self) -> impl Iterator<Item = &[Name]> {
        let all = std::iter::once(&self.own).chain(&self.written);
        all.map(|found| found.of_others().map_or(&[][..], |says| &says.search))
    }

    /// Those in which programs search, by the files of [`SEARCHED`].
    pub fn searched_by_programs(&self) -> &[Name] {
        let [resolved, ..] = &self.written;
        let says = [&self.own, resolved].into_iter().filter_map(Found::of_others);
        says.map(|says| &says.search[..]).find(|names| !names.is_empty()).unwrap_or_default()
    }
}

/// Follows what is told on the message bus, where nobody is configured.
pub(crate) fn bus_follower(config: &Config, waker: &Arc<Waker>) -> Option<BusFollower> {
    let started =
        config.upstreams.is_empty().then(|| BusFollower::start(Path::new("/"), Arc::clone(waker)))?;
    let failed = |error: std::io::Error| {
        log::warn!(
            event = Event::NotFollowed, what = "the message bus", reason:% = error;
            "the message bus cannot be followed: {error}; the servers of links are not known"
        );
    };
    started.map_err(failed).ok()
}

/// Whom the system asks, by its files and by what was heard on the message bus, without those for whom `is_ours` holds.
pub(crate) fn plan(files: &Files, heard: &Heard, is_ours: &dyn Fn(&SocketAddr) -> bool) -> Plan {
    let file = |found: &Found| {
        let servers = found.of_others().map(|says| &says.nameservers[..]).unwrap_or_default();
        let servers = servers.iter().filter(|server| !is_stub(server)).copied().collect();
        vec![Link { servers, usual: true, origin: found.path.display().to_string(), ..Link::default() }]
    };
    let own = file(&files.own);
    let mut sources: Vec<Vec<Link>> = heard.resolved.iter().cloned().collect();
    match &heard.network_manager {
        // It writes resolv.conf, for programs that cannot tell whom to ask for what.
        Some((links, true)) => sources.extend([links.clone(), own]),
        Some((links, false)) => sources.extend([own, links.clone()]),
        None => sources.push(own),
    }
    let (links, problem) = managers::networkd(&files.root.join(NETWORKD));
    sources.push(links);
    sources.extend(files.written.iter().map(file));
    let mut plan = link::plan(&sources, is_ours, &crate::daemon::reload::local::addresses());
    plan.whom.problems.extend(problem);
    plan
}

/// Whether a query to `upstream` would come back to us; `host` are this host's addresses.
pub(crate) fn is_ours(upstream: &SocketAddr, ourselves: &[SocketAddr], host: &[IpAddr]) -> bool {
    let here = upstream.ip().is_loopback() || host.contains(&upstream.ip());
    ourselves.iter().any(|own| {
        own.port() == upstream.port() && (own.ip() == upstream.ip() || own.ip().is_unspecified() && here)
    })
}

#[cfg(test)]
mod tests {
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
    fn a_query_that_would_come_back_to_us_is_ours() {
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
                &Files::read(Path::new("/nonexistent"), Path::new("/nonexistent")),
                &Heard::default(),
                &|_| false
            ),
            Plan::default()
        );
    }

    #[test]
    fn our_own_file_says_neither_whom_to_ask_nor_where_to_search() {
        let root = root(&[
            ("run/hither/resolv.conf", "nameserver 192.0.2.9\nsearch old.home.arpa\n"),
            ("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.1\nsearch new.home.arpa\n"),
        ]);
        std::fs::create_dir_all(root.join("etc")).expect("a directory");
        std::os::unix::fs::symlink("../run/hither/resolv.conf", root.join(RESOLV_CONF)).expect("a link");
        let files = Files::read(&root, &root.join("run/hither"));
        let searched: Vec<String> = files.searched().flatten().map(ToString::to_string).collect();
        assert_eq!(searched, ["new.home.arpa."]);
        assert_eq!(files.searched_by_programs(), ["new.home.arpa".parse().expect("a name")]);
        let asked = plan(&files, &Heard::default(), &|_| false).routes.usual;
        assert_eq!(asked, [Server::from("192.0.2.1:53".parse::<SocketAddr>().expect("an address"))]);
        std::fs::remove_dir_all(root).expect("removable");
    }

    #[test]
    fn programs_do_not_search_by_what_network_manager_writes_for_others() {
        let search = "nameserver 192.0.2.1\nsearch home.arpa\n";
        let root = root(&[
            ("etc/resolv.conf", "nameserver 192.0.2.1\n"),
            ("run/NetworkManager/resolv.conf", search),
            ("run/NetworkManager/no-stub-resolv.conf", search),
        ]);
        let files = Files::read(&root, &root);
        assert_eq!((files.searched_by_programs(), files.searched().flatten().count()), (&[][..], 2));
        std::fs::remove_dir_all(root).expect("removable");
    }

    #[test]
    fn a_fifo_in_the_place_of_any_of_the_systems_files_holds_nobody_up() {
        let root = root(&[
            ("run/systemd/netif/links/2", "OPER_STATE=routable\nDNS=192.0.2.1\n"),
            ("run/systemd/resolve/stub", ""),
            ("run/NetworkManager/stub", ""),
            ("etc/stub", ""),
        ]);
        let link = format!("{NETWORKD}/7");
        for path in [RESOLV_CONF, &link].into_iter().chain(WRITTEN) {
            nix::unistd::mkfifo(&root.join(path), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
        }
        let (sender, asked) = std::sync::mpsc::channel();
        let dir = root.clone();
        std::thread::spawn(move || {
            let plan = plan(&Files::read(&dir, &dir), &Heard::default(), &|_| false);
            sender.send((paths(&dir).len(), plan.routes.usual)).expect("heard");
        });
        let (followed, usual) = asked.recv_timeout(std::time::Duration::from_secs(30)).expect("nobody waits");
        let asked: Vec<String> = usual.iter().map(|server| server.address.to_string()).collect();
        // resolv.conf, what others write, the socket of the bus, the directory, and what is in it.
        assert_eq!((followed, asked), (1 + WRITTEN.len() + 2 + 2, vec!["192.0.2.1:53".to_owned()]));
        std::fs::remove_dir_all(root).expect("removable");
    }

    #[test]
    fn of_a_directory_with_too_many_links_that_is_said() {
        let root = root(&[("run/systemd/netif/links/1", "OPER_STATE=routable\nDNS=192.0.2.1\n")]);
        let problems =
            |root: &Path| plan(&Files::read(root, root), &Heard::default(), &|_| false).whom.problems;
        for n in 2..=managers::LINKS_MAX {
            std::fs::write(root.join(NETWORKD).join(n.to_string()), "").expect("written");
        }
        assert_eq!(problems(&root), Vec::<String>::new());
        std::fs::write(root.join(NETWORKD).join("one more"), "").expect("written");
        let problems = problems(&root);
        assert!(problems.len() == 1 && problems[0].contains("has more than 4096 entries"), "{problems:?}");
        std::fs::remove_dir_all(root).expect("removable");
    }

    #[test]
    fn behind_a_stub_the_real_upstreams_are_found_and_links_keep_their_domains() {
        let root = root(&[
            ("etc/resolv.conf", "nameserver 127.0.0.53\noptions edns0 trust-ad\n"),
            ("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.1\nnameserver 10.8.0.1\n"),
            ("run/systemd/netif/links/7", "OPER_STATE=routable\nDNS=10.8.0.1\nROUTE_DOMAINS=corp.example\n"),
            ("run/systemd/netif/links/2", "OPER_STATE=routable\nDNS=192.0.2.1\nDOMAINS=home.example\n"),
            ("run/systemd/netif/links/.#x", "DNS=192.0.2.9\n"),
        ]);
        let of = |heard: &Heard| {
            let plan = plan(&Files::read(&root, &root), heard, &|_| false);
            let shown = |servers: &[Server]| -> String {
                servers.iter().map(|s| format!("{}%{} ", s.address.ip(), s.link)).collect()
            };
            let domains =
                plan.routes.domains.iter().map(|(name, servers)| format!("{name} {}", shown(servers)));
            format!("{}; {}", shown(&plan.routes.usual), domains.collect::<String>())
        };
        assert_eq!(
            of(&Heard::default()),
            "192.0.2.1%2 ; corp.example. 10.8.0.1%7 home.example. 192.0.2.1%2 "
        );
        let link = |index: u32, address: &str, usual: bool| Link {
            index,
            servers: vec![address.parse().expect("an address")],
            usual,
            ..Link::default()
        };
        let resolved = Some(vec![link(2, "192.0.2.3:53", true), link(7, "10.8.0.3:53", false)]);
        let heard = Heard { resolved: resolved.clone(), network_manager: None };
        assert_eq!(of(&heard), "192.0.2.3%2 ; ", "who has all is asked alone");
        let resolved = Some(vec![link(7, "10.8.0.3:53", false)]);
        let network_manager = Some((vec![link(2, "192.0.2.4:53", true)], false));
        let heard = Heard { resolved, network_manager };
        assert_eq!(of(&heard), "192.0.2.4%2 ; ", "who knows only a VPN leaves the rest to others");
        assert!(paths(&root).contains(&root.join("run/systemd/netif/links/7")));
        std::fs::write(root.join("etc/resolv.conf"), "nameserver 198.51.100.1\n").expect("written");
        assert!(of(&Heard::default()).starts_with("198.51.100.1%0 ;"), "the administrator's word");
        std::fs::write(root.join("run/systemd/netif/links/7"), "DNS=10.8.0.1\nROUTE_DOMAINS=.\n")
            .expect("written");
        assert!(of(&Heard::default()).starts_with("10.8.0.1%7 ;"), "but for a VPN that wants everything");
        std::fs::remove_dir_all(root).expect("removable");
    }
}
