//! The servers that resolve the names of upstreams. None of them needs a name to be resolved itself, so
//! that no upstream waits for itself.

use crate::config::Config;
use hither_rounds::{Routes, Server};
use hither_wire::name::Name;
use std::collections::BTreeMap;

/// The servers for the name of each upstream that is looked up: `bootstrap` if there are any, else the
/// upstreams of that name that are addresses, else the other upstreams that are, else those of `system`.
pub(super) fn names(
    config: &Config,
    bootstrap: &[Server],
    routes: &Routes,
    system: &Routes,
) -> BTreeMap<Name, Vec<Server>> {
    let servers = |name: &Name| -> Vec<Server> {
        let groups = [bootstrap, group(routes, name), &routes.usual, group(system, name), &system.usual];
        let known = groups.iter().map(|group| group.iter().filter(|server| is_known(server)).copied());
        known.map(Iterator::collect).find(|servers: &Vec<Server>| !servers.is_empty()).unwrap_or_default()
    };
    let lookups = config.upstreams.all().filter_map(|upstream| upstream.lookup);
    lookups.map(|name| (name, servers(&name))).collect()
}

/// The upstreams of the domain that a name is in; none outside of all domains.
fn group<'r>(routes: &'r Routes, name: &Name) -> &'r [Server] {
    routes.domain(name).and_then(|domain| routes.domains.get(domain)).map_or(&[], Vec::as_slice)
}

/// Whether the address of a server is known without a look-up.
fn is_known(server: &Server) -> bool {
    !server.address.ip().is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check_text;
    use std::net::SocketAddr;

    fn server(text: &str) -> Server {
        text.parse::<SocketAddr>().expect("an address").into()
    }

    fn routes(usual: &[&str], domains: &[(&str, &str)]) -> Routes {
        let domains = domains.iter().map(|(name, at)| (name.parse().expect("a name"), vec![server(at)]));
        Routes {
            usual: usual.iter().map(|at| server(at)).collect(),
            domains: domains.collect(),
            ..Routes::default()
        }
    }

    #[test]
    fn names_are_asked_of_servers_that_need_no_name() {
        let text = "[[upstream]]\naddress = \"tls://dns.example\"\n[[upstream]]\naddress = \"quic://dns.corp.example\"\n";
        let config = check_text(text).expect("right");
        let shown = |bootstrap: &[&str], own: &Routes, system: &Routes| {
            let bootstrap: Vec<Server> = bootstrap.iter().map(|at| server(at)).collect();
            let names = names(&config, &bootstrap, own, system);
            let all = names.iter().map(|(name, servers)| {
                format!("{name} {}", servers.iter().map(|one| format!("{one} ")).collect::<String>())
            });
            all.collect::<String>()
        };
        let own = routes(&["0.0.0.0:853", "192.0.2.1:53"], &[("corp.example", "10.0.0.1:53")]);
        let none = routes(&["0.0.0.0:853"], &[("corp.example", "0.0.0.0:853")]);
        let system = routes(&["198.51.100.1:53"], &[("example", "198.51.100.2:53")]);
        let cases = [
            (&["203.0.113.1:53"][..], &own, "dns.corp.example. 203.0.113.1:53 dns.example. 203.0.113.1:53 "),
            (&[], &own, "dns.corp.example. 10.0.0.1:53 dns.example. 192.0.2.1:53 "),
            (&[], &none, "dns.corp.example. 198.51.100.2:53 dns.example. 198.51.100.2:53 "),
        ];
        for (bootstrap, own, expected) in cases {
            assert_eq!(shown(bootstrap, own, &system), expected);
        }
        assert_eq!(
            shown(&[], &none, &Routes::default()),
            "dns.corp.example. dns.example. ",
            "status says so"
        );
    }
}
