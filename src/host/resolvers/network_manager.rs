//! The links that NetworkManager publishes on the message bus (its D-Bus interface DnsManager).

use super::dbus::{Connection, Destination, Value};
use super::link::{Domain, INTERFACES_MAX, Link, SERVERS_MAX};
use super::over_tls::LinkServer;
use crate::host::files;
use hither_wire::name::Name;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Instant;

const NAME: &str = "org.freedesktop.NetworkManager";
/// Octets read of the kernel's routing tables: the default routes are among the first.
const ROUTES_MAX: u64 = 4 << 20;

/// The links that NetworkManager publishes, and whether it writes resolv.conf.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct NetworkManagerLinks {
    pub links: Vec<Link>,
    /// Whether NetworkManager writes resolv.conf.
    pub writes_resolv_conf: bool,
}

/// Asks NetworkManager for its links; `None` if it does not run.
pub(super) fn links(bus: &mut Connection, until: Instant) -> io::Result<Option<NetworkManagerLinks>> {
    let at = Destination { name: NAME, object: "/org/freedesktop/NetworkManager/DnsManager" };
    let interface = "org.freedesktop.NetworkManager.DnsManager";
    let Some(configuration) = bus.property(at, interface, "Configuration", until)? else { return Ok(None) };
    let mode = bus.property(at, interface, "Mode", until)?;
    let manager = bus.property(at, interface, "RcManager", until)?;
    let is = |value: &Option<Value>, text: &str| value.as_ref().and_then(Value::text) == Some(text);
    let writes = !is(&mode, "none") && !is(&manager, "unmanaged");
    let index = |name: &str| nix::net::if_::if_nametoindex(name).ok();
    let all = Destination { name: NAME, object: "/org/freedesktop" };
    let objects = bus.objects(all, until)?.unwrap_or(Value::List(Vec::new()));
    let answers = Answers { configuration: &configuration, objects: &objects };
    let links = links_of(answers, index, &links_with_default_route(Path::new("/proc/net")));
    Ok(Some(NetworkManagerLinks { links, writes_resolv_conf: writes }))
}

/// The answers of NetworkManager.
#[derive(Clone, Copy)]
struct Answers<'a> {
    /// The property `Configuration` of its DnsManager, of type aa{sv}.
    configuration: &'a Value,
    /// All its objects.
    objects: &'a Value,
}

/// The links of the answers. The configuration leaves out the root as a domain; that is found in the
/// objects. A link with a default route is asked for all names, as if it had the root as a domain.
fn links_of(
    answers: Answers<'_>,
    index: impl Fn(&str) -> Option<u32>,
    default_links: &[String],
) -> Vec<Link> {
    let mut links = Vec::new();
    let mut vpns = Vec::new();
    for entry in answers.configuration.list().iter().take(INTERFACES_MAX) {
        let texts = |key: &str| entry.get(key).map(Value::list).unwrap_or_default().iter();
        let interface = entry.get("interface").and_then(Value::text);
        let servers = texts("nameservers").filter_map(|text| LinkServer::read(text.text()?));
        let servers: Vec<LinkServer> = servers.take(SERVERS_MAX).collect();
        let mut domains: Vec<Name> = texts("domains")
            .filter_map(|text| Domain::read(text.text()?))
            .map(|domain| domain.name)
            .collect();
        let priority = entry.get("priority").and_then(Value::number).and_then(|n| i32::try_from(n).ok());
        let priority = priority.unwrap_or(100);
        // A negative priority takes the names of its domains from other links; without domains it takes
        // all names.
        if has_root_domain(answers.objects, interface.unwrap_or_default(), &servers)
            || priority < 0 && domains.is_empty()
        {
            domains.push(Name::ROOT);
        }
        let number = match interface {
            // Servers of the whole host ([global-dns] of NetworkManager.conf).
            None => 0,
            Some(name) => match index(name) {
                Some(index) => index,
                None => continue,
            },
        };
        let is_vpn = entry.get("vpn").and_then(Value::number).is_some_and(|vpn| vpn != 0);
        vpns.push(is_vpn);
        let mut link = Link {
            index: number,
            servers,
            is_default_route: match interface {
                None => domains.is_empty(),
                Some(name) => default_links.iter().any(|own| own == name),
            },
            priority,
            origin: match interface {
                None => "NetworkManager".to_owned(),
                Some(name) => format!("link {name} (NetworkManager)"),
            },
            ..Link::default()
        };
        link.set_domains(domains);
        links.push(link);
    }
    // Without any default route the servers of local networks are asked for all names, those of VPNs
    // for their domains only.
    if !links.iter().any(Link::takes_other_names) {
        links.iter_mut().zip(vpns).for_each(|(link, is_vpn)| link.is_default_route = !is_vpn);
    }
    links
}

/// Whether the IP configuration of a link has the root among its domains. It is recognized by its
/// servers, and belongs to the link or to no device at all, as those of VPNs.
fn has_root_domain(objects: &Value, link: &str, servers: &[LinkServer]) -> bool {
    let all = || objects.list().iter().filter_map(|entry| <&[Value; 2]>::try_from(entry.list()).ok());
    let is_of_other_device = |path: &Value| {
        all().filter_map(|[_, object]| object.get("org.freedesktop.NetworkManager.Device")).any(|device| {
            let has = |key: &str| device.get(key) == Some(path);
            let is_named = |key: &str| device.get(key).and_then(Value::text) == Some(link);
            (has("Ip4Config") || has("Ip6Config")) && !is_named("Interface") && !is_named("IpInterface")
        })
    };
    let servers: BTreeSet<IpAddr> = servers.iter().map(|server| server.address.ip()).collect();
    let has = |properties: &Value| {
        let list = |key: &str| properties.get(key).map(Value::list).unwrap_or_default();
        let of_text = |server: &Value| Some(LinkServer::read(server.get("address")?.text()?)?.address.ip());
        let v4 = list("NameserverData").iter().filter_map(of_text);
        let v6 = list("Nameservers").iter().filter_map(Value::ip);
        let own: BTreeSet<IpAddr> = v4.chain(v6).collect();
        own == servers
            && list("Searches")
                .iter()
                .any(|word| word.text().and_then(Domain::read).is_some_and(|domain| domain.name.is_root()))
    };
    let interfaces = ["org.freedesktop.NetworkManager.IP4Config", "org.freedesktop.NetworkManager.IP6Config"];
    all().any(|[path, object]| {
        interfaces.iter().filter_map(|interface| object.get(interface)).any(has) && !is_of_other_device(path)
    })
}

/// The names of the links with a default route, from the kernel's tables below `proc`.
fn links_with_default_route(proc: &Path) -> Vec<String> {
    let read = |name: &str| {
        files::read_up_to(&proc.join(name), ROUTES_MAX)
            .map(|octets| String::from_utf8_lossy(&octets).into_owned())
            .unwrap_or_default()
    };
    let mut links: Vec<String> = Vec::new();
    for (text, destination, length, link, none) in
        [(read("route"), 1, 7, 0, "00000000"), (read("ipv6_route"), 0, 1, 9, "00")]
    {
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let word = |at: usize| words.get(at).copied().unwrap_or_default();
            let all = word(length) == none && !word(destination).is_empty();
            if all && word(destination).bytes().all(|digit| digit == b'0') && word(link) != "lo" {
                links.push(word(link).to_owned());
            }
        }
    }
    links
}

#[cfg(test)]
mod tests;
