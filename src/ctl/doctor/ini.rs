//! Configuration of other programs: resolv.conf(5), and resolved.conf(5) and NetworkManager.conf(5)
//! with their drop-ins.

use crate::ctl::files;
use crate::host::resolv_conf::{self, as_programs_ask, parse_server};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The configuration of systemd-resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Resolved {
    /// `DNS=`: its upstreams besides those of links.
    pub dns: Vec<SocketAddr>,
    /// `Domains=`; with `~.` its upstreams are asked for every name.
    pub domains: Vec<String>,
    /// `DNSStubListener=`: whether it listens at 127.0.0.53.
    pub stub: bool,
}

impl Default for Resolved {
    fn default() -> Self {
        Resolved { dns: Vec::new(), domains: Vec::new(), stub: true }
    }
}

/// The configuration of NetworkManager.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Manager {
    /// `dns=`; empty: NetworkManager decides itself.
    pub dns: String,
    /// `rc-manager=`: how it writes resolv.conf; empty: it decides itself.
    pub rc_manager: String,
}

impl Manager {
    /// Whether it does not write resolv.conf.
    pub fn leaves_resolv_conf(&self) -> bool {
        self.dns == "none" || self.dns == "systemd-resolved" || self.rc_manager == "unmanaged"
    }
}

impl Resolved {
    /// Whether it asks only servers for which `is_own` holds, and for every name. With several
    /// servers it would keep using one of them.
    pub fn forwards(&self, is_own: impl Fn(&SocketAddr) -> bool) -> bool {
        !self.dns.is_empty()
            && self.dns.iter().all(is_own)
            && self.domains.iter().any(|domain| domain == "~.")
    }
}

/// The servers that a resolv.conf names, including stubs and hitherd.
pub(super) fn nameservers(text: &str) -> Vec<SocketAddr> {
    resolv_conf::read(text.as_bytes()).nameservers.into_iter().map(as_programs_ask).collect()
}

/// Directories of drop-ins. A file replaces those of the same name in earlier directories; all
/// files are read in the order of their names, and later settings win.
const RESOLVED_DIRS: [&str; 4] = [
    "usr/lib/systemd/resolved.conf.d",
    "usr/local/lib/systemd/resolved.conf.d",
    "run/systemd/resolved.conf.d",
    "etc/systemd/resolved.conf.d",
];
/// The same for NetworkManager, which reads these before its main file, and those in /etc after it.
const MANAGER_DIRS: [&str; 3] =
    ["usr/lib/NetworkManager/conf.d", "run/NetworkManager/conf.d", "etc/NetworkManager/conf.d"];

/// Reads resolved.conf and its drop-ins below `root`.
pub(super) fn resolved(root: &Path) -> Resolved {
    let main =
        ["etc", "run", "usr/local/lib", "usr/lib"].map(|dir| root.join(dir).join("systemd/resolved.conf"));
    let main = main.into_iter().find(|path| path.exists());
    let mut config = Resolved::default();
    for path in main.into_iter().chain(drop_ins(root, &RESOLVED_DIRS)) {
        resolved_of(&mut config, &files::text(&path).ok().flatten().unwrap_or_default());
    }
    config
}

fn resolved_of(config: &mut Resolved, text: &str) {
    for (key, value) in settings(text, "Resolve") {
        match key {
            // An empty list removes the earlier entries; another one adds to them.
            "DNS" if value.is_empty() => config.dns.clear(),
            "DNS" => {
                config.dns.extend(value.split_whitespace().filter_map(parse_server).map(as_programs_ask))
            }
            "Domains" if value.is_empty() => config.domains.clear(),
            "Domains" => config.domains.extend(value.split_whitespace().map(str::to_owned)),
            "DNSStubListener" => {
                config.stub =
                    !matches!(value.to_ascii_lowercase().as_str(), "no" | "false" | "0" | "off" | "n" | "f");
            }
            _ => {}
        }
    }
}

/// Reads NetworkManager.conf and its drop-ins below `root`.
pub(super) fn manager(root: &Path) -> Manager {
    let (etc, others): (Vec<PathBuf>, Vec<PathBuf>) =
        drop_ins(root, &MANAGER_DIRS).into_iter().partition(|path| path.starts_with(root.join("etc")));
    let main = root.join("etc/NetworkManager/NetworkManager.conf");
    let mut config = Manager::default();
    for path in others.into_iter().chain([main]).chain(etc) {
        manager_of(&mut config, &files::text(&path).ok().flatten().unwrap_or_default());
    }
    config
}

fn manager_of(config: &mut Manager, text: &str) {
    for (key, value) in settings(text, "main") {
        match key {
            "dns" => value.clone_into(&mut config.dns),
            "rc-manager" => value.clone_into(&mut config.rc_manager),
            _ => {}
        }
    }
}

/// The `.conf` files of directories in the order of their names; of two with one name that of the
/// later directory.
fn drop_ins(root: &Path, dirs: &[&str]) -> Vec<PathBuf> {
    let mut drop_ins = BTreeMap::new();
    for dir in dirs {
        let dir = root.join(dir);
        for name in files::names(&dir) {
            let path = dir.join(&name);
            if path.extension().is_some_and(|end| end == "conf") {
                drop_ins.insert(name, path);
            }
        }
    }
    drop_ins.into_values().collect()
}

/// The settings of one section.
fn settings<'t>(text: &'t str, section: &str) -> Vec<(&'t str, &'t str)> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            inside = name.strip_suffix(']') == Some(section);
        } else if inside
            && !line.starts_with(['#', ';'])
            && let Some((key, value)) = line.split_once('=')
        {
            found.push((key.trim(), value.trim()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::doctor::facts::tests::address;
    use proptest::prelude::*;

    #[test]
    fn drop_ins_add_to_reset_and_replace_one_another() {
        let root = std::env::temp_dir().join(format!("hither-ini-{}", std::process::id()));
        for (path, text) in [
            ("etc/systemd/resolved.conf", "[Resolve]\n#DNS=192.0.2.9\nDNS=192.0.2.1\nDNSStubListener=no\n"),
            ("usr/lib/systemd/resolved.conf.d/a.conf", "[Resolve]\nDNS=192.0.2.2\n"),
            (
                "etc/systemd/resolved.conf.d/a.conf",
                "[Resolve]\nDNS=\nDNS=127.0.0.1#name [::1]:53\nDomains=~.\n",
            ),
            ("etc/systemd/resolved.conf.d/b.conf.bak", "[Resolve]\nDNS=192.0.2.3\n"),
            (
                "etc/NetworkManager/NetworkManager.conf",
                "[main]\nplugins=keyfile\ndns=default\n[x]\ndns=none\n",
            ),
            ("usr/lib/NetworkManager/conf.d/z.conf", "[main]\ndns=dnsmasq\nrc-manager=file\n"),
            ("etc/NetworkManager/conf.d/hither.conf", "[main]\nrc-manager = unmanaged\n"),
        ] {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            std::fs::write(path, text).expect("written");
        }
        let config = resolved(&root);
        assert_eq!(config.dns, [address("127.0.0.1:53"), address("[::1]:53")]);
        assert!(!config.stub && config.forwards(|server| server.ip().is_loopback()));
        assert!(!config.forwards(|_| false));
        let config = manager(&root);
        assert_eq!((config.dns.as_str(), config.rc_manager.as_str()), ("default", "unmanaged"));
        assert!(config.leaves_resolv_conf());
        std::fs::remove_dir_all(&root).expect("removable");
        assert_eq!((resolved(&root), manager(&root)), (Resolved::default(), Manager::default()));
    }

    /// Doctor recognizes the files that are shipped.
    #[test]
    fn the_shipped_drop_ins_have_their_effect() {
        let mut config = Resolved::default();
        resolved_of(&mut config, include_str!("../../../systemd/resolved.conf"));
        assert!(config.forwards(|server| *server == address("127.0.0.1:53")) && config.stub);
        let mut config = Manager::default();
        manager_of(&mut config, include_str!("../../../systemd/NetworkManager.conf"));
        assert!(config.leaves_resolv_conf());
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "([a-zA-Z=#;. \n]|\\[Resolve\\]|\\[main\\]|DNS=){0,60}") {
            resolved_of(&mut Resolved::default(), &text);
            manager_of(&mut Manager::default(), &text);
            assert!(nameservers(&text).is_empty());
        }
    }
}
