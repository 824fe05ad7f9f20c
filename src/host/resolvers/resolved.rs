//! The links that systemd-resolved publishes on the message bus (org.freedesktop.resolve1(5)).

use super::dbus::{Connection, Destination, Value};
use super::link::{Domain, INTERFACES_MAX, Link, SERVERS_MAX, is_default_route_by_domains, link_name};
use super::over_tls::{LinkServer, OverTls};
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

const NAME: &str = "org.freedesktop.resolve1";
const OBJECT: &str = "/org/freedesktop/resolve1";
/// The bit of `ScopesMask` for unicast DNS, as opposed to LLMNR and mDNS: the link is up and has servers.
const SCOPE_DNS: i64 = 1;

/// Asks systemd-resolved for its links; `None` if it does not run.
pub(super) fn links(bus: &mut Connection, until: Instant) -> io::Result<Option<Vec<Link>>> {
    let manager = Destination { name: NAME, object: OBJECT };
    let interface = "org.freedesktop.resolve1.Manager";
    let Some(servers) = bus.property(manager, interface, "DNSEx", until)? else { return Ok(None) };
    let Some(domains) = bus.property(manager, interface, "Domains", until)? else { return Ok(None) };
    let of_host = bus.property(manager, interface, "DNSOverTLS", until)?;
    let mut links = links_of(&servers, &domains);
    for link in &mut links {
        if link.index == 0 {
            set_over_tls(link, of_host.as_ref());
            continue;
        }
        // The object's path has the first digit of the index escaped as hexadecimal.
        let index = link.index.to_string();
        let first = index.bytes().next().unwrap_or(b'0');
        let object = format!("{OBJECT}/link/_{first:x}{}", index.get(1..).unwrap_or_default());
        let at = Destination { name: NAME, object: &object };
        let interface = "org.freedesktop.resolve1.Link";
        let scopes = bus.property(at, interface, "ScopesMask", until)?;
        let default_route = bus.property(at, interface, "DefaultRoute", until)?;
        // A link without a setting of its own has that of the host here.
        set_over_tls(link, bus.property(at, interface, "DNSOverTLS", until)?.as_ref());
        if let Some(default_route) = default_route.as_ref().and_then(Value::number) {
            link.is_default_route = default_route != 0;
        }
        if scopes.as_ref().and_then(Value::number).is_none_or(|mask| mask & SCOPE_DNS == 0) {
            link.servers.clear();
        }
    }
    Ok(Some(links))
}

/// Reads the property `DNSOverTLS` of a link or of the host. A resolved without it has no DNS over TLS.
fn set_over_tls(link: &mut Link, value: Option<&Value>) {
    let Some(value) = value else { return };
    let over_tls = OverTls::read(value.text().unwrap_or_default(), &link.origin, &mut link.problems);
    let servers = std::mem::take(&mut link.servers);
    link.servers = servers.into_iter().map(|server| server.with(over_tls)).collect();
}

/// Reads the properties `DNSEx`, of type a(iiayqs), and `Domains`, of type a(isb). Index 0 is the whole
/// host.
fn links_of(servers: &Value, domains: &Value) -> Vec<Link> {
    let mut links: Vec<(Link, Vec<Domain>)> = Vec::new();
    let number = |value: &Value| value.number().and_then(|number| u32::try_from(number).ok());
    for row in servers.list() {
        let [index, _, address, port, name, ..] = row.list() else { continue };
        let (Some(index), Some(ip)) = (number(index), address.ip()) else { continue };
        let port = number(port).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
        let name = name.text().filter(|name| !name.is_empty()).map(str::to_owned);
        let server = SocketAddr::new(ip, port.unwrap_or(53));
        let server = LinkServer { name, ..LinkServer::from(server) };
        match links.iter().position(|(link, _)| link.index == index) {
            Some(at) if links[at].0.servers.len() < SERVERS_MAX => links[at].0.servers.push(server),
            None if links.len() < INTERFACES_MAX => {
                let origin = match index {
                    0 => "systemd-resolved".to_owned(),
                    _ => format!("{} (systemd-resolved)", link_name(index)),
                };
                let link =
                    Link { index, servers: vec![server], is_default_route: true, origin, ..Link::default() };
                links.push((link, Vec::new()));
            }
            _ => {}
        }
    }
    for row in domains.list() {
        let [index, name, routing_only] = row.list() else { continue };
        let domain = name.text().and_then(|text| Domain::read(if text.is_empty() { "." } else { text }));
        let (Some(index), Some(domain), Some(routing_only)) = (number(index), domain, routing_only.number())
        else {
            continue;
        };
        if let Some((_, domains)) = links.iter_mut().find(|(link, _)| link.index == index) {
            domains.push(Domain { is_routing_only: routing_only != 0, ..domain });
        }
    }
    let complete = |(mut link, domains): (Link, Vec<Domain>)| {
        link.set_domains(domains.iter().map(|domain| domain.name));
        link.is_default_route = link.index == 0 || is_default_route_by_domains(&domains);
        link
    };
    links.into_iter().map(complete).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::resolvers::link::shown;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn properties_of_resolved_become_links() {
        let named = |index: i64, octets: &[u8], port: i64, name: &str| {
            let octets = Value::Octets(octets.to_vec());
            Value::List(vec![Value::Number(index), Value::Number(2), octets, Value::Number(port), text(name)])
        };
        let row = |index: i64, octets: &[u8], port: i64| named(index, octets, port, "");
        let domain = |index: i64, name: &str, routed: i64| {
            Value::List(vec![Value::Number(index), text(name), Value::Number(routed)])
        };
        let servers = Value::List(vec![
            row(0, &[203, 0, 113, 5], 0),
            row(12, &[10, 8, 0, 1], 0),
            named(12, &[10, 8, 0, 2], 5353, "dns.example"),
            row(2, &[192, 0, 2, 1], 0),
            row(3, &[1, 2, 3], 0),
            Value::Number(7),
        ]);
        let domains = Value::List(vec![
            domain(12, "corp.example", 1),
            domain(2, "home.test", 0),
            domain(0, ".", 1),
            domain(9, "nobody.test", 1),
        ]);
        let links: Vec<String> = links_of(&servers, &domains).iter().map(shown).collect();
        assert_eq!(
            links,
            [
                "0 203.0.113.5:53 [.] default",
                "12 10.8.0.1:53 10.8.0.2:5353#dns.example [corp.example.] own",
                "2 192.0.2.1:53 [home.test.] default"
            ]
        );
    }

    #[test]
    fn the_setting_of_a_link_holds_for_all_its_servers() {
        let with = |value: Option<&Value>| {
            let servers = ["192.0.2.1:53", "192.0.2.2:53"].map(|at| at.parse::<SocketAddr>().expect("one"));
            let servers = servers.into_iter().map(LinkServer::from).collect();
            let mut link = Link { index: 2, servers, ..Link::default() };
            set_over_tls(&mut link, value);
            format!("{}{}", shown(&link), link.problems.len())
        };
        assert_eq!(with(None), "2 192.0.2.1:53 192.0.2.2:53 [] own0");
        assert_eq!(with(Some(&text("no"))), "2 192.0.2.1:53 192.0.2.2:53 [] own0");
        assert_eq!(with(Some(&text("yes"))), "2 192.0.2.1:53 Yes 192.0.2.2:53 Yes [] own0");
        assert_eq!(
            with(Some(&text("opportunistic"))),
            "2 192.0.2.1:53 Opportunistic 192.0.2.2:53 Opportunistic [] own0"
        );
        assert_eq!(with(Some(&Value::Number(7))), "2 192.0.2.1:53 Yes 192.0.2.2:53 Yes [] own1");
    }

    #[test]
    fn every_domain_of_a_link_is_taken() {
        let names: Vec<String> = (0..1024).map(|n| format!("d{n}.corp.example")).collect();
        let octets = Value::Octets(vec![10, 8, 0, 1]);
        let servers =
            vec![Value::List(vec![Value::Number(7), Value::Number(2), octets, Value::Number(0), text("")])];
        let domains =
            names.iter().map(|name| Value::List(vec![Value::Number(7), text(name), Value::Number(1)]));
        let links = links_of(&Value::List(servers), &Value::List(domains.collect()));
        let last = links[0].domains.last().map(ToString::to_string);
        assert_eq!((links[0].domains.len(), last.as_deref()), (1024, Some("d1023.corp.example.")));
    }
}
