//! The interface between containers and this host, and whether hitherd answers there.

use super::found::{Bridge, CONFIGURATION_D, bridge_of, servers};
use crate::config::{Config, Network};
use crate::ctl::doctor::facts::{Configuration, Facts};
use crate::ctl::doctor::finding::Finding;
use crate::ctl::doctor::plan::joined;
use std::net::{IpAddr, SocketAddr};

/// Restarts hitherd with other sockets. Twice, since systemd closes the old ones in the background
/// and the first restart may fail.
const RESTART: &str = "systemctl daemon-reload && { systemctl restart hitherd.socket hitherd.service || systemctl restart hitherd.socket hitherd.service; }";
/// The drop-in that is shipped as an example.
const SHIPPED: &str = "bridge.toml";

/// The servers that an engine is configured to give to its containers.
pub(super) struct Configured<'a> {
    pub servers: &'a [String],
    /// The file that names them.
    pub by: &'a str,
}

/// Gives the command that replaces a configured server by the bridge.
type ToBridge<'t> = &'t dyn Fn(&str) -> String;

impl Bridge {
    /// Whether hitherd listens at the bridge.
    fn is_served(&self, facts: &Facts) -> bool {
        let at = SocketAddr::new(self.address, 53);
        let is_any = |own: &SocketAddr| own.port() == 53 && own.ip().is_unspecified() && own.is_ipv4();
        facts.listen_addresses().iter().any(|own| *own == at || is_any(own))
    }

    /// Its network, for `listen.allow`.
    fn network(&self) -> String {
        match self.address {
            IpAddr::V4(address) if address.octets()[0] == 172 && address.octets()[1] & 0xf0 == 16 => {
                "172.16.0.0/12".to_owned()
            }
            address => format!("{address}/{}", self.bits),
        }
    }

    /// The commands after which hitherd answers there; none if it does. `None` if `listen.allow`
    /// cannot be read.
    fn steps(&self, facts: &Facts, name: &str) -> Option<Vec<String>> {
        let Configuration::Good(config) = &facts.config else { return None };
        let share = facts.names.share.display();
        let mut steps = Vec::new();
        if !self.is_served(facts) {
            let place = format!("/etc/systemd/system/hitherd.socket.d/{name}.conf");
            steps.push(if self.address == IpAddr::from([172, 17, 0, 1]) {
                format!("install -b -D -m 644 {share}/bridge.conf {place}")
            } else {
                let here = format!("sed 's/172.17.0.1/{}/' {share}/bridge.conf", self.address);
                format!("{here} | install -b -D -m 644 /dev/stdin {place}")
            });
        }
        if !config.listen.allow.iter().any(|network| network.contains(self.address)) {
            steps.push(self.allow(facts, config));
        }
        if !steps.is_empty() {
            steps.push(RESTART.to_owned());
        }
        Some(steps)
    }

    /// The command that adds the bridge to `listen.allow`.
    fn allow(&self, facts: &Facts, config: &Config) -> String {
        let share = facts.names.share.display();
        let containers = &facts.containers;
        let name = Some(&containers.allowed_in[..]).filter(|name| !name.is_empty()).unwrap_or(SHIPPED);
        let place = format!("/{CONFIGURATION_D}/{name}");
        let shipped = [bridge_of([172, 17, 0, 1]), bridge_of([10, 88, 0, 1])];
        let is_shipped = shipped.iter().any(|known| known.address == self.address);
        if is_shipped && config.listen.allow == [Network::LOOPBACK_V4, Network::LOOPBACK_V6] {
            return format!("install -b -D -m 644 {share}/bridge.toml {place}");
        }
        let mut all: Vec<String> =
            config.listen.allow.iter().map(|network| format!("\"{network}\"")).collect();
        // All engines share one drop-in, so that the second one does not undo the first.
        let of_docker = containers.docker.as_ref().map(|docker| docker.bridge);
        let of_podman = containers.podman.as_ref().map(|podman| podman.bridge);
        for bridge in [Some(*self), of_docker, of_podman].into_iter().flatten() {
            let network = format!("\"{}\"", bridge.network());
            if !config.listen.allow.iter().any(|known| known.contains(bridge.address))
                && !all.contains(&network)
            {
                all.push(network);
            }
        }
        format!(
            "printf '[listen]\\nallow = [{}]\\n' | install -b -D -m 644 /dev/stdin {place}",
            all.join(", ")
        )
    }

    /// Judges an engine called `name` that is configured with servers; `to_bridge` replaces one by
    /// the bridge.
    pub(super) fn judge_configured(
        &self,
        facts: &Facts,
        name: &str,
        configured: Configured<'_>,
        to_bridge: ToBridge,
    ) -> Finding {
        let Configured { servers, by } = configured;
        let found = format!("containers ask {}, by {by}", servers.join(", "));
        let is_loopback = |server: &&String| server.parse().is_ok_and(|server: IpAddr| server.is_loopback());
        let is_meant = |server: &String| server.parse() == Ok(self.address);
        if let Some(itself) = servers.iter().find(is_loopback).filter(|_| !servers.iter().any(is_meant)) {
            let why = format!("{found}: {itself} is each container itself, not this host");
            let finding = Finding::problem(name, why);
            let Some(mut steps) = self.steps(facts, name) else { return finding };
            steps.push(to_bridge(itself));
            return finding.fixed_by(steps.join(" && "));
        }
        if !servers.iter().any(|server| server.parse() == Ok(self.address)) {
            return Finding::ok(name, format!("{found}: not hitherd"));
        }
        match self.steps(facts, name) {
            Some(steps) if steps.is_empty() => Finding::ok(name, format!("{found}: hitherd")),
            Some(steps) => {
                let why = if self.is_served(facts) { "it refuses them" } else { "it does not listen there" };
                Finding::problem(name, format!("{found}: this is the address for hitherd, but {why}"))
                    .fixed_by(steps.join(" && "))
            }
            None => {
                Finding::unknown(name, format!("{found}; the clients that hitherd answers are not known"))
            }
        }
    }

    /// Judges an engine called `name` that is not configured with servers; `then` is the command
    /// that configures the bridge.
    pub(super) fn judge_unconfigured(&self, facts: &Facts, name: &str, then: Option<String>) -> Finding {
        let copied = copied(facts);
        if !copied.is_empty() {
            return Finding::ok(
                name,
                format!("containers ask {}, as in resolv.conf: not hitherd", joined(&copied)),
            );
        }
        let found = "containers ask public servers, since resolv.conf names only this host; running containers keep their servers";
        let finding = Finding::warning(name, found);
        match (self.steps(facts, name), then) {
            (Some(mut steps), Some(then)) => {
                steps.push(then);
                finding.fixed_by(steps.join(" && "))
            }
            _ => finding,
        }
    }
}

/// The servers that Docker and Podman copy: of resolv.conf, or of systemd-resolved behind its stub,
/// without those of this host.
fn copied(facts: &Facts) -> Vec<IpAddr> {
    let mut found = servers(facts.names.resolv.text.as_deref().unwrap_or_default());
    if found == [IpAddr::from([127, 0, 0, 53])] {
        found = facts.names.resolved_uses.iter().map(SocketAddr::ip).collect();
    }
    found.retain(|server| !server.is_loopback());
    found
}
