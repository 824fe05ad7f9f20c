//! The configuration of systemd-resolved: resolved.conf(5) and its drop-ins.

use crate::host::ini::{drop_ins, settings, text};
use crate::host::resolv_conf::as_programs_ask;
use crate::host::resolvers::LinkServer;
use std::net::SocketAddr;
use std::path::Path;

/// Directories of drop-ins. A file replaces those of the same name in earlier directories; all
/// files are read in the order of their names, and later settings win.
const DIRS: [&str; 4] = [
    "usr/lib/systemd/resolved.conf.d",
    "usr/local/lib/systemd/resolved.conf.d",
    "run/systemd/resolved.conf.d",
    "etc/systemd/resolved.conf.d",
];

/// The configuration of systemd-resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Resolved {
    /// `DNS=`: its upstreams besides those of links.
    pub dns: Vec<SocketAddr>,
    /// The names behind the `#` of some of them.
    pub names: Vec<(SocketAddr, String)>,
    /// `Domains=`; with `~.` its upstreams are asked for every name.
    pub domains: Vec<String>,
    /// `DNSStubListener=`: whether it listens at 127.0.0.53.
    pub stub: bool,
    /// `DNSOverTLS=` as it is written; empty without it.
    pub over_tls: String,
}

impl Default for Resolved {
    fn default() -> Self {
        let (dns, names, domains, over_tls) = Default::default();
        Resolved { dns, names, domains, stub: true, over_tls }
    }
}

impl Resolved {
    /// Reads resolved.conf and its drop-ins below `root`. `problems` get what is left out.
    pub fn read(root: &Path, problems: &mut Vec<String>) -> Resolved {
        let main = ["etc", "run", "usr/local/lib", "usr/lib"]
            .map(|dir| root.join(dir).join("systemd/resolved.conf"));
        let main = main.into_iter().find(|path| path.exists());
        let mut config = Resolved::default();
        for path in main.into_iter().chain(drop_ins(root, &DIRS, problems)) {
            config.add(&text(&path));
        }
        config
    }

    /// Adds the text of one file, after those before it.
    pub fn add(&mut self, text: &str) {
        for (key, value) in settings(text, "Resolve") {
            match key {
                // An empty list removes the earlier entries; another one adds to them.
                "DNS" if value.is_empty() => (self.dns, self.names) = Default::default(),
                "DNS" => {
                    for server in value.split_whitespace().filter_map(LinkServer::read) {
                        let address = as_programs_ask(server.address);
                        self.dns.push(address);
                        self.names.extend(server.name.map(|name| (address, name)));
                    }
                }
                "Domains" if value.is_empty() => self.domains.clear(),
                "Domains" => self.domains.extend(value.split_whitespace().map(str::to_owned)),
                "DNSStubListener" => {
                    let value = value.to_ascii_lowercase();
                    self.stub = !matches!(value.as_str(), "no" | "false" | "0" | "off" | "n" | "f");
                }
                "DNSOverTLS" => value.clone_into(&mut self.over_tls),
                _ => {}
            }
        }
    }

    /// Whether it asks only servers for which `is_own` holds, and for every name. With several
    /// servers it would keep using one of them.
    pub fn forwards(&self, is_own: impl Fn(&SocketAddr) -> bool) -> bool {
        !self.dns.is_empty()
            && self.dns.iter().all(is_own)
            && self.domains.iter().any(|domain| domain == "~.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn drop_ins_add_to_reset_and_replace_one_another() {
        let root = std::env::temp_dir().join(format!("hither-resolved-conf-{}", std::process::id()));
        for (path, text) in [
            ("etc/systemd/resolved.conf", "[Resolve]\n#DNS=192.0.2.9\nDNS=192.0.2.1\nDNSStubListener=no\n"),
            ("usr/lib/systemd/resolved.conf.d/a.conf", "[Resolve]\nDNS=192.0.2.2\nDNSOverTLS=yes\n"),
            (
                "etc/systemd/resolved.conf.d/a.conf",
                "[Resolve]\nDNS=\nDNS=127.0.0.1#name [::1]:53\nDomains=~.\nDNSOverTLS = opportunistic\n",
            ),
            ("etc/systemd/resolved.conf.d/b.conf.bak", "[Resolve]\nDNS=192.0.2.3\n"),
        ] {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            std::fs::write(path, text).expect("written");
        }
        let mut problems = Vec::new();
        let config = Resolved::read(&root, &mut problems);
        assert_eq!(config.dns, [address("127.0.0.1:53"), address("[::1]:53")]);
        assert_eq!(config.names, [(address("127.0.0.1:53"), "name".to_owned())]);
        assert_eq!(config.over_tls, "opportunistic");
        assert!(!config.stub && config.forwards(|server| server.ip().is_loopback()));
        assert!(!config.forwards(|_| false));
        std::fs::remove_dir_all(&root).expect("removable");
        assert_eq!((Resolved::read(&root, &mut problems), problems), (Resolved::default(), Vec::new()));
    }

    /// Doctor recognizes the file that is shipped.
    #[test]
    fn the_shipped_drop_in_has_its_effect() {
        let mut config = Resolved::default();
        config.add(include_str!("../../systemd/resolved.conf"));
        assert!(config.forwards(|server| *server == address("127.0.0.1:53")) && config.stub);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "([a-zA-Z=#;. \n]|\\[Resolve\\]|DNS=|DNSOverTLS=){0,60}") {
            Resolved::default().add(&text);
        }
    }
}
