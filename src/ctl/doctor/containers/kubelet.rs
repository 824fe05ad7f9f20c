//! The kubelet, which gives pods the resolv.conf that its configuration names.

use super::found::{FLAG, Kubelet, resolv_conf_of};
use crate::ctl::doctor::finding::Finding;
use crate::ctl::doctor::plan::joined;
use std::net::IpAddr;

impl Kubelet {
    pub fn judge(&self) -> Finding {
        let name = "kubelet";
        let (path, real) = (self.resolv_conf(), self.upstreams_file.display());
        let found = format!("pods get {}", path.display());
        if path == self.upstreams_file {
            return Finding::ok(name, format!("{found}: the upstreams of hitherd"));
        }
        if path.as_os_str().is_empty() {
            return Finding::ok(name, "pods get no servers of this host");
        }
        if !self.servers.is_empty() && !self.servers.iter().any(IpAddr::is_loopback) {
            return Finding::ok(name, format!("{found}: {}", joined(&self.servers)));
        }
        let found = if self.has_file {
            format!("{found}, which names this host: CoreDNS asks itself, a loop")
        } else {
            format!("{found}, which is missing: no pod can be started")
        };
        if !self.has_upstreams_file {
            return Finding::problem(
                name,
                format!("{found}; hitherd has to write {real} before this can be fixed"),
            );
        }
        match self.fix() {
            Some(fix) => {
                Finding::problem(name, found).fixed_by(format!("{fix} && systemctl restart kubelet.service"))
            }
            None => Finding::problem(name, format!("{found}; start it with {FLAG}={real}")),
        }
    }

    /// The command that makes the kubelet give pods hitherd's resolv.conf, in its options or its
    /// configuration.
    fn fix(&self) -> Option<String> {
        let edit = "sed -i.before-hither --follow-symlinks";
        let real = self.upstreams_file.display();
        if let Some((path, _)) = &self.flags {
            let path = path.display();
            // The value with its own quotes, if it has some.
            let value = r#"\("/[^"]*"\|'"'"'/[^'"'"']*'"'"'\|[^ "'"'"']*\)"#;
            return Some(format!("{edit} 's,{FLAG}[= ] *{value},{FLAG}={real},' {path}"));
        }
        let (path, text) = self.config.as_ref().filter(|(_, text)| !text.trim().is_empty())?;
        let (path, is_json) = (path.display(), text.trim_start().starts_with('{'));
        Some(match (is_json, resolv_conf_of(text).is_some()) {
            (true, true) => {
                format!("{edit} 's|\"resolvConf\" *: *\"[^\"]*\"|\"resolvConf\": \"{real}\"|' {path}")
            }
            (true, false) if text.trim().trim_matches(['{', '}']).trim().is_empty() => return None,
            (true, false) => format!("{edit} '0,/{{/s||{{ \"resolvConf\": \"{real}\",|' {path}"),
            (false, true) => format!("{edit} 's|^resolvConf *:.*|resolvConf: {real}|' {path}"),
            (false, false) => format!("{edit} '$aresolvConf: {real}' {path}"),
        })
    }
}
