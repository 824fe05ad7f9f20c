//! The system's own resolvers, for a configuration that names none: resolv.conf(5), and what systemd-resolved, systemd-networkd and
//! NetworkManager know of each link.

use super::resolv_conf::{self, is_stub, server};
use super::{containers, open};
use hither_rounds::Routes;
use hither_wire::name::Name;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Files with `nameserver` lines, the first that names somebody else than us or a local stub counts.
const RESOLV_CONF: [&str; 4] = [
    "etc/resolv.conf",
    "run/systemd/resolve/resolv.conf",
    "run/NetworkManager/no-stub-resolv.conf",
    "run/NetworkManager/resolv.conf",
];
/// Octets read of each file.
const LENGTH_MAX: u64 = 1 << 20;
/// Directories with a file for each link, of resolved and of networkd.
const LINKS: [&str; 2] = ["run/systemd/resolve/netif", "run/systemd/netif/links"];

/// The files to follow, below `root`. In directories of links any file may come and go, so the directories themselves are followed too.
pub(super) fn paths(root: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = RESOLV_CONF.iter().map(|path| root.join(path)).collect();
    for dir in LINKS.map(|dir| root.join(dir)) {
        let files =
            std::fs::read_dir(&dir).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
        paths.extend(files);
        paths.push(dir);
    }
    paths
}

/// The domains in which the system searches for names.
pub(super) fn search(root: &Path) -> Vec<Name> {
    let files = RESOLV_CONF.iter().filter_map(|path| open::octets(&root.join(path), LENGTH_MAX).ok());
    files.flat_map(|text| resolv_conf::read(&text).search).collect()
}

/// Whom the system asks, without those for whom `is_ours` holds, and not by what we write in our runtime directory ourselves.
pub(crate) fn routes(root: &Path, runtime_dir: &Path, is_ours: impl Fn(&SocketAddr) -> bool) -> Routes {
    let other = |upstream: &SocketAddr| !is_ours(upstream);
    let mut routes = Routes::default();
    for path in RESOLV_CONF.map(|path| root.join(path)) {
        if containers::is_own(&path, runtime_dir) {
            continue;
        }
        let found = open::octets(&path, LENGTH_MAX).map(|text| resolv_conf::read(&text)).unwrap_or_default();
        let servers = found.nameservers.into_iter();
        routes.usual = servers.filter(|server| !is_stub(server) && other(server)).collect();
        if !routes.usual.is_empty() {
            break;
        }
    }
    let mut links = Vec::new();
    for dir in LINKS.map(|dir| root.join(dir)) {
        let mut files: Vec<PathBuf> = std::fs::read_dir(&dir)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .collect();
        files.sort();
        links.extend(
            files
                .iter()
                .filter_map(|path| open::octets(path, LENGTH_MAX).ok())
                .map(|text| link(&String::from_utf8_lossy(&text))),
        );
    }
    let mut domains: BTreeMap<Name, Vec<SocketAddr>> = BTreeMap::new();
    for link in links {
        let upstreams: Vec<SocketAddr> = link.upstreams.into_iter().filter(other).collect();
        for domain in link.domains.into_iter().filter(|domain| !domain.is_root() && !upstreams.is_empty()) {
            let place = domains.entry(domain).or_default();
            upstreams
                .iter()
                .filter(|u| !place.contains(u))
                .copied()
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|u| place.push(u));
        }
        if routes.usual.is_empty() {
            routes.usual = upstreams;
        }
    }
    routes.domains = domains;
    routes
}

#[derive(Default)]
struct Link {
    upstreams: Vec<SocketAddr>,
    domains: Vec<Name>,
}

/// A link's state file: `SERVERS` and `DOMAINS` of resolved, `DNS`, `DOMAINS` and `ROUTE_DOMAINS` of networkd. A domain that is searched is asked
/// there as well as one that is only routed, which resolved marks with `~`.
fn link(text: &str) -> Link {
    let mut link = Link::default();
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        let words = value.trim_matches('"').split_whitespace();
        match key {
            "SERVERS" | "DNS" => words.for_each(|word| add(&mut link.upstreams, word)),
            "DOMAINS" | "ROUTE_DOMAINS" => {
                let names =
                    words.filter_map(|word| word.strip_prefix('~').unwrap_or(word).parse::<Name>().ok());
                link.domains.extend(names.map(|name| name.to_lower()));
            }
            _ => {}
        }
    }
    link
}

fn add(found: &mut Vec<SocketAddr>, word: &str) {
    if let Some(address) = server(word)
        && !found.contains(&address)
        && !is_stub(&address)
    {
        found.push(address);
    }
}

/// Whether a query to `upstream` would come back to us; `host` are this host's addresses.
pub(super) fn is_ours(upstream: &SocketAddr, ourselves: &[SocketAddr], host: &[IpAddr]) -> bool {
    let here = upstream.ip().is_loopback() || host.contains(&upstream.ip());
    ourselves.iter().any(|own| {
        own.port() == upstream.port() && (own.ip() == upstream.ip() || own.ip().is_unspecified() && here)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn addresses(all: &[SocketAddr]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
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
            routes(Path::new("/nonexistent"), Path::new("/nonexistent"), |_| false),
            Routes::default()
        );
    }

    #[test]
    fn behind_a_stub_the_real_upstreams_are_found_and_links_keep_their_domains() {
        let root = root(&[
            ("etc/resolv.conf", "nameserver 127.0.0.53\noptions edns0 trust-ad\n"),
            ("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.1\nnameserver 192.0.2.2\n"),
            (
                "run/systemd/resolve/netif/3",
                "# private\nLLMNR=yes\nSERVERS=10.8.0.1 10.8.0.2\nDOMAINS=~corp.example lab.example\n",
            ),
            (
                "run/systemd/netif/links/2",
                "ADMIN_STATE=configured\nDNS=192.0.2.1\nDOMAINS=home.example\nROUTE_DOMAINS=.\n",
            ),
        ]);
        let routes = routes(&root, &root, |_| false);
        assert_eq!(addresses(&routes.usual), ["192.0.2.1:53", "192.0.2.2:53"]);
        let domains: Vec<String> = routes.domains.keys().map(ToString::to_string).collect();
        assert_eq!(domains, ["lab.example.", "corp.example.", "home.example."]);
        assert_eq!(
            addresses(&routes.domains[&"corp.example".parse().expect("a name")]),
            ["10.8.0.1:53", "10.8.0.2:53"]
        );
        assert!(paths(&root).contains(&root.join("run/systemd/resolve/netif/3")));
        std::fs::remove_dir_all(root).expect("removable");
    }
}
