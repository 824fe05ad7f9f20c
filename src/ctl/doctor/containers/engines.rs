//! Docker and Podman.

use super::bridge::Configured;
use super::found::{Docker, PODMAN_CONF_D, Podman};
use crate::ctl::doctor::facts::Facts;
use crate::ctl::doctor::finding::Finding;
use serde_json::Value;

impl Docker {
    /// Judges Docker, with the cost of a restart: it stops all containers unless "live-restore" is set.
    pub fn judge(&self, facts: &Facts) -> Finding {
        let finding = self.judge_configuration(facts);
        let json = self.json.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let lives_on = json.is_some_and(|json| json["live-restore"] == Value::Bool(true));
        let restarts = finding.fix.as_deref().is_some_and(|fix| fix.contains("restart docker"));
        if restarts && !lives_on {
            return finding.taking_away(
                "the containers that run: a restart of Docker stops them, since \"live-restore\" is not set",
            );
        }
        finding
    }

    fn judge_configuration(&self, facts: &Facts) -> Finding {
        let name = "docker";
        let place = "/etc/docker/daemon.json";
        let address = self.bridge.address;
        let set = format!("\"dns\": [\"{address}\"]");
        let restart = "systemctl restart docker.service";
        let text = self.json.as_deref().filter(|text| !text.trim().is_empty());
        let Some(text) = text else {
            let then =
                format!("printf '{{ {set} }}\\n' | install -b -D -m 644 /dev/stdin {place} && {restart}");
            return self.bridge.judge_unconfigured(facts, name, Some(then));
        };
        let Ok(Value::Object(json)) = serde_json::from_str::<Value>(text) else {
            return Finding::unknown(name, format!("{place} is no JSON object"));
        };
        match json.get("dns").and_then(Value::as_array) {
            Some(servers) if !servers.is_empty() => {
                let servers: Vec<String> =
                    servers.iter().filter_map(|server| server.as_str().map(str::to_owned)).collect();
                let to_bridge = |server: &str| {
                    let server = server.replace('.', "\\.");
                    format!(
                        "sed -z -i.before-hither --follow-symlinks 's/\\(\"dns\"[[:space:]]*:[[:space:]]*\\[[^]]*\\)\"{server}\"/\\1\"{address}\"/' {place} && {restart}"
                    )
                };
                let configured = Configured { servers: &servers, by: place };
                self.bridge.judge_configured(facts, name, configured, &to_bridge)
            }
            // Adding a list would give the key twice.
            Some(_) => self.bridge.judge_unconfigured(facts, name, None),
            None => {
                // The first brace begins the object, whose other members stay as they are.
                let more = if json.is_empty() { " " } else { "," };
                let then = format!(
                    "sed -i.before-hither --follow-symlinks '0,/{{/s//{{ {set}{more}/' {place} && {restart}"
                );
                self.bridge.judge_unconfigured(facts, name, Some(then))
            }
        }
    }
}

impl Podman {
    pub fn judge(&self, facts: &Facts) -> Finding {
        let address = self.bridge.address.to_string();
        let then = |servers: &[String]| {
            let servers: Vec<String> = servers.iter().map(|server| format!("\"{server}\"")).collect();
            format!(
                "printf '[containers]\\ndns_servers = [{}]\\n' | install -b -D -m 644 /dev/stdin /{PODMAN_CONF_D}/{}",
                servers.join(", "),
                self.drop_in
            )
        };
        if !self.servers.is_empty() {
            // The other servers keep their places.
            let to_bridge = |itself: &str| {
                let put = |server: &String| if server == itself { address.clone() } else { server.clone() };
                then(&self.servers.iter().map(put).collect::<Vec<String>>())
            };
            let configured = Configured { servers: &self.servers, by: "containers.conf" };
            return self.bridge.judge_configured(facts, "podman", configured, &to_bridge);
        }
        self.bridge.judge_unconfigured(facts, "podman", Some(then(std::slice::from_ref(&address))))
    }
}
