//! Configuration of other programs: resolv.conf(5), and resolved.conf(5) and NetworkManager.conf(5)
//! with their drop-ins.

use crate::ctl::remark;
use crate::host::ini::{drop_ins, settings, text};
use crate::host::resolv_conf::{self, as_programs_ask};
use crate::host::resolved_conf::Resolved;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

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

/// The servers that a resolv.conf names, including stubs and hitherd.
pub(super) fn nameservers(text: &str) -> Vec<SocketAddr> {
    resolv_conf::read(text.as_bytes()).nameservers.into_iter().map(as_programs_ask).collect()
}

/// Directories of drop-ins of NetworkManager, which reads these before its main file, and those in /etc
/// after it.
const MANAGER_DIRS: [&str; 3] =
    ["usr/lib/NetworkManager/conf.d", "run/NetworkManager/conf.d", "etc/NetworkManager/conf.d"];

/// Reads resolved.conf and its drop-ins below `root`.
pub(super) fn resolved(root: &Path) -> Resolved {
    let mut problems = Vec::new();
    let config = Resolved::read(root, &mut problems);
    problems.iter().for_each(|problem| remark(problem));
    config
}

/// Reads NetworkManager.conf and its drop-ins below `root`.
pub(super) fn manager(root: &Path) -> Manager {
    let mut problems = Vec::new();
    let drop_ins = drop_ins(root, &MANAGER_DIRS, &mut problems);
    problems.iter().for_each(|problem| remark(problem));
    let (etc, others): (Vec<PathBuf>, Vec<PathBuf>) =
        drop_ins.into_iter().partition(|path| path.starts_with(root.join("etc")));
    let main = root.join("etc/NetworkManager/NetworkManager.conf");
    let mut config = Manager::default();
    for path in others.into_iter().chain([main]).chain(etc) {
        manager_of(&mut config, &text(&path));
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn drop_ins_add_to_reset_and_replace_one_another() {
        let root = std::env::temp_dir().join(format!("hither-ini-{}", std::process::id()));
        for (path, text) in [
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
        let config = manager(&root);
        assert_eq!((config.dns.as_str(), config.rc_manager.as_str()), ("default", "unmanaged"));
        assert!(config.leaves_resolv_conf());
        std::fs::remove_dir_all(&root).expect("removable");
        assert_eq!(manager(&root), Manager::default());
    }

    /// Doctor recognizes the file that is shipped.
    #[test]
    fn the_shipped_drop_in_has_its_effect() {
        let mut config = Manager::default();
        manager_of(&mut config, include_str!("../../../systemd/NetworkManager.conf"));
        assert!(config.leaves_resolv_conf());
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "([a-zA-Z=#;. \n]|\\[main\\]|dns=){0,60}") {
            manager_of(&mut Manager::default(), &text);
            assert!(nameservers(&text).is_empty());
        }
    }
}
