//! Writes `resolv.conf` in the runtime directory. It names the upstreams for containers and other
//! network namespaces, which cannot reach this host's 127.0.0.1.

use crate::config::Config;
use crate::host::files;
use crate::host::resolv_conf::OWN_FILE;
use crate::host::resolvers::{ResolverFiles, SEARCH_LIST_FILES};
use crate::logging::Event;
use hither_rounds::{Server, Transport};
use hither_wire::name::Name;
use nix::fcntl::OFlag;
use std::fmt::Write as _;
use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Octets read of the existing file.
const LENGTH_MAX: u64 = 1 << 20;
/// Search domains, as many as container runtimes accept.
const SEARCH_MAX: usize = 32;

const HEAD: &str = "# Written by hitherd(8): the upstreams that it asks, for containers and others that do not reach hitherd at 127.0.0.1.
# It is written anew when they change. In the place of /etc/resolv.conf it would have programs ask others than hitherd.
";

/// The system's files on which the text depends.
pub(crate) fn paths(root: &Path) -> impl Iterator<Item = PathBuf> {
    SEARCH_LIST_FILES.map(|path| root.join(path)).into_iter()
}

/// Writes the upstreams, if the file has others. A failure is logged, and the daemon continues
/// without the file.
pub(crate) fn offer(config: &Config, upstreams: &[Server], files: &ResolverFiles) {
    // With an invalid configuration the upstreams are not known. Those in the file may still be right.
    if config.findings.error.is_none() {
        offer_in(&config.runtime_dir, upstreams, files);
    }
}

fn offer_in(runtime_dir: &Path, upstreams: &[Server], files: &ResolverFiles) {
    let new = text(upstreams, search(files));
    let path = runtime_dir.join(OWN_FILE);
    if files::read_up_to(&path, LENGTH_MAX).is_ok_and(|old| old == new.as_bytes()) {
        return;
    }
    if let Err(error) = replace(&path, new.as_bytes()) {
        log::warn!(
            event = Event::FileNotWritten, path:% = path.display(), reason:% = error;
            "'{}', the upstreams for containers, cannot be written: {error}; going on without it",
            path.display()
        );
    }
}

/// The text of the file.
fn text(upstreams: &[Server], search: &[Name]) -> String {
    let mut text = HEAD.to_owned();
    let mut left_out = |upstream: &SocketAddr, why: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# {upstream} is left out: {why}");
    };
    let mut servers = Vec::new();
    // Programs would ask these in clear text, or by UDP.
    let (by_udp, others): (Vec<&Server>, Vec<&Server>) =
        upstreams.iter().partition(|server| server.transport == Transport::Udp);
    for upstream in by_udp.iter().map(|server| &server.address) {
        match upstream {
            _ if upstream.port() != 53 => left_out(upstream, "resolv.conf(5) has no ports"),
            SocketAddr::V6(address) if address.ip().is_unicast_link_local() => {
                // The zone of an address names a link of this host. In a container it means another
                // link or none.
                left_out(upstream, "it is known on a link of this host only");
            }
            _ => servers.push(upstream.ip().to_canonical()),
        }
    }
    if !others.is_empty() {
        let _ =
            writeln!(text, "# {} more are left out: resolv.conf(5) has no transport but UDP", others.len());
    }
    let (near, far): (Vec<IpAddr>, Vec<IpAddr>) = servers.into_iter().partition(IpAddr::is_loopback);
    // A container has a loopback interface of its own, so upstreams on this host are named only if
    // there are no others.
    let shown = if far.is_empty() { &near } else { &far };
    if far.is_empty() {
        text += match near.is_empty() {
            true => "# No upstream can be named here.\n",
            false => "# They are on this host: another network namespace does not reach them.\n",
        };
    } else {
        near.iter().for_each(|server| {
            let _ = writeln!(text, "# {server} is left out: it is on this host");
        });
    }
    shown.iter().for_each(|server| {
        let _ = writeln!(text, "nameserver {server}");
    });
    if !search.is_empty() {
        let names: Vec<String> =
            search.iter().map(|name| name.to_string().trim_end_matches('.').to_owned()).collect();
        let _ = writeln!(text, "search {}", names.join(" "));
    }
    text
}

/// The system's search domains.
fn search(files: &ResolverFiles) -> &[Name] {
    let names = files.search_list_of_programs();
    &names[..names.len().min(SEARCH_MAX)]
}

/// Replaces the file atomically: a reader gets either the old text or the new one.
fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("conf.new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o644).custom_flags(OFlag::O_NOFOLLOW.bits());
    let mut file = options.open(&new)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(text)?;
    std::fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::resolv_conf::is_own;
    use std::os::unix::fs::MetadataExt as _;

    fn written(upstreams: &[&str], search: &[&str]) -> (Vec<String>, usize) {
        let server = |text: &&str| {
            let (transport, text) = match text.strip_prefix("tls://") {
                Some(rest) => (Transport::Tls, rest),
                None => (Transport::Udp, *text),
            };
            Server { transport, ..Server::from(text.parse::<SocketAddr>().expect("an address")) }
        };
        let upstreams: Vec<Server> = upstreams.iter().map(server).collect();
        let search: Vec<Name> = search.iter().map(|text| text.parse().expect("a name")).collect();
        let text = text(&upstreams, &search);
        let lines = text.strip_prefix(HEAD).expect("the head").lines();
        let (comments, others): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with('#'));
        (others.into_iter().map(str::to_owned).collect(), comments.len())
    }

    #[test]
    fn what_resolv_conf_cannot_express_becomes_a_comment() {
        let (lines, comments) = written(
            &[
                "192.0.2.1:53",
                "127.0.0.2:53",
                "192.0.2.2:5353",
                "[2001:db8::1]:53",
                "[fe80::1%2]:53",
                "[::ffff:192.0.2.3]:53",
            ],
            &["example.com", "lab.example"],
        );
        let servers = ["nameserver 192.0.2.1", "nameserver 2001:db8::1", "nameserver 192.0.2.3"];
        assert_eq!(lines, [&servers[..], &["search example.com lab.example"]].concat());
        assert_eq!(comments, 3);
        assert_eq!(written(&["127.0.0.2:53"], &[]), (vec!["nameserver 127.0.0.2".to_owned()], 1));
        assert_eq!(written(&[], &[]), (vec![], 1));
        assert_eq!(written(&["192.0.2.2:5353"], &[]), (vec![], 2));
        let private = ["tls://192.0.2.2:53", "tls://0.0.0.0:853", "192.0.2.1:53"];
        assert_eq!(
            written(&private, &[]),
            (vec!["nameserver 192.0.2.1".to_owned()], 1),
            "never in clear text"
        );
    }

    #[test]
    fn the_file_is_written_when_it_changes_readable_for_all_and_recognised() {
        let root = std::env::temp_dir().join(format!("hither-containers-{}", std::process::id()));
        let run = root.join("run/hither");
        std::fs::create_dir_all(&run).expect("a directory");
        std::fs::create_dir_all(root.join("etc")).expect("a directory");
        let etc = root.join("etc/resolv.conf");
        std::fs::write(&etc, "domain a.example\nsearch b.example c.example .\nnameserver 127.0.0.1\n")
            .expect("written");
        let upstreams = [Server::from("192.0.2.1:53".parse::<SocketAddr>().expect("an address"))];
        let files = || ResolverFiles::read(&root, &run);
        offer_in(&run, &upstreams, &files());
        let path = run.join(OWN_FILE);
        let found = || std::fs::metadata(&path).expect("there");
        let text = std::fs::read_to_string(&path).expect("there");
        assert!(text.ends_with("nameserver 192.0.2.1\nsearch b.example c.example\n"), "{text}");
        assert_eq!(found().mode() & 0o777, 0o644);
        let first = found().ino();
        offer_in(&run, &upstreams, &files());
        assert_eq!(found().ino(), first, "the same is not written again");
        assert!(
            is_own(&path, &run) && !is_own(&etc, &run) && !is_own(&root.join("none"), &root.join("none"))
        );
        std::fs::remove_file(&etc).expect("removed");
        std::os::unix::fs::symlink(&path, &etc).expect("a link");
        assert!(is_own(&etc, &run));
        offer_in(&run, &[], &files());
        assert!(!std::fs::read_to_string(&path).expect("there").contains("\nsearch"), "not from itself");
        assert!(found().ino() != first && std::fs::read_dir(&run).expect("there").count() == 1);
        std::fs::remove_dir_all(root).expect("removable");
    }
}
