//! What systemd-resolved and NetworkManager tell any user on the message bus, and systemd-networkd in files, as links.

use super::bus::Bus;
use super::link::{Link, called, domain, volunteers};
use super::message::Value;
use crate::host::open::{self, Names};
use hither_wire::name::Name;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Links that have servers, or a file of networkd.
pub(super) const LINKS_MAX: usize = 4096;
/// Servers of one link, as many as systemd-resolved allows; others of the same link are asked for what they would be.
const SERVERS_MAX: usize = 256;
/// Octets read of a file of networkd, more than it can have to say.
const FILE_MAX: u64 = 4 << 20;
/// Octets read of the kernel's routes: the default ones are among the first.
const ROUTES_MAX: u64 = 4 << 20;

const RESOLVED: &str = "org.freedesktop.resolve1";
const NETWORK_MANAGER: &str = "org.freedesktop.NetworkManager";
/// What we ask to be told: who comes and goes, and what changes of theirs.
pub(super) const RULES: [&str; 6] = [
    "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.freedesktop.resolve1'",
    "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.freedesktop.NetworkManager'",
    "type='signal',sender='org.freedesktop.resolve1',interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'",
    "type='signal',sender='org.freedesktop.NetworkManager',path='/org/freedesktop/NetworkManager/DnsManager',interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'",
    "type='signal',sender='org.freedesktop.NetworkManager',path_namespace='/org/freedesktop/NetworkManager/IP4Config',member='PropertiesChanged'",
    "type='signal',sender='org.freedesktop.NetworkManager',path_namespace='/org/freedesktop/NetworkManager/IP6Config',member='PropertiesChanged'",
];
/// The bit of `ScopesMask` for DNS, as opposed to LLMNR and mDNS: the link is up and has servers.
const SCOPE_DNS: i64 = 1;

/// What was heard on the message bus.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Heard {
    /// systemd-resolved's links, if it is there.
    pub resolved: Option<Vec<Link>>,
    /// NetworkManager's, and whether resolv.conf is of its making.
    pub network_manager: Option<(Vec<Link>, bool)>,
}

impl Heard {
    pub fn is_nothing(&self) -> bool {
        *self == Heard::default()
    }
}

/// Asks both.
pub(super) fn hear(bus: &mut Bus, until: Instant) -> io::Result<Heard> {
    Ok(Heard { resolved: resolved(bus, until)?, network_manager: network_manager(bus, until)? })
}

fn resolved(bus: &mut Bus, until: Instant) -> io::Result<Option<Vec<Link>>> {
    let at = (RESOLVED, "/org/freedesktop/resolve1");
    let interface = "org.freedesktop.resolve1.Manager";
    let Some(servers) = bus.property(at, interface, "DNSEx", until)? else { return Ok(None) };
    let Some(domains) = bus.property(at, interface, "Domains", until)? else { return Ok(None) };
    let mut links = resolved_links(&servers, &domains);
    for (link, _) in links.iter_mut().filter(|(link, _)| link.index != 0) {
        // Its path: the first character of the number is escaped.
        let number = link.index.to_string();
        let first = number.bytes().next().unwrap_or(b'0');
        let path =
            format!("/org/freedesktop/resolve1/link/_{first:x}{}", number.get(1..).unwrap_or_default());
        let at = (RESOLVED, &path[..]);
        let interface = "org.freedesktop.resolve1.Link";
        let scopes = bus.property(at, interface, "ScopesMask", until)?;
        let usual = bus.property(at, interface, "DefaultRoute", until)?;
        if let Some(usual) = usual.as_ref().and_then(Value::number) {
            link.usual = usual != 0;
        }
        if scopes.as_ref().and_then(Value::number).is_none_or(|mask| mask & SCOPE_DNS == 0) {
            link.servers.clear();
        }
    }
    Ok(Some(links.into_iter().map(|(link, _)| link).collect()))
}

/// Links with their domains, and the whole host as link 0, from `DNSEx` a(iiayqs) and `Domains` a(isb).
fn resolved_links(servers: &Value, domains: &Value) -> Vec<(Link, Vec<(Name, bool)>)> {
    let mut links: Vec<(Link, Vec<(Name, bool)>)> = Vec::new();
    let number = |value: &Value| value.number().and_then(|number| u32::try_from(number).ok());
    for row in servers.list() {
        let [index, _, Value::Octets(address), port, ..] = row.list() else { continue };
        let (Some(index), Some(ip)) = (number(index), ip_of(address)) else { continue };
        let port = number(port).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
        let address = SocketAddr::new(ip, port.unwrap_or(53));
        match links.iter().position(|(link, _)| link.index == index) {
            Some(at) if links[at].0.servers.len() < SERVERS_MAX => links[at].0.servers.push(address),
            None if links.len() < LINKS_MAX => {
                let origin = match index {
                    0 => "systemd-resolved".to_owned(),
                    _ => format!("{} (systemd-resolved)", called(index)),
                };
                let link = Link { index, servers: vec![address], usual: true, origin, ..Link::default() };
                links.push((link, Vec::new()));
            }
            _ => {}
        }
    }
    for row in domains.list() {
        let [index, name, routed] = row.list() else { continue };
        let name = name.text().and_then(|text| domain(if text.is_empty() { "." } else { text }));
        let (Some(index), Some((name, _)), Some(routed)) = (number(index), name, routed.number()) else {
            continue;
        };
        if let Some((_, domains)) = links.iter_mut().find(|(link, _)| link.index == index) {
            domains.push((name, routed != 0));
        }
    }
    for (link, domains) in &mut links {
        link.claim(domains.iter().map(|(name, _)| *name));
        link.usual = link.index == 0 || volunteers(domains);
    }
    links
}

fn ip_of(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(octets).ok().map(Ipv6Addr::from).map(IpAddr::from),
        _ => None,
    }
}

fn network_manager(bus: &mut Bus, until: Instant) -> io::Result<Option<(Vec<Link>, bool)>> {
    let at = (NETWORK_MANAGER, "/org/freedesktop/NetworkManager/DnsManager");
    let interface = "org.freedesktop.NetworkManager.DnsManager";
    let Some(configuration) = bus.property(at, interface, "Configuration", until)? else { return Ok(None) };
    let mode = bus.property(at, interface, "Mode", until)?;
    let manager = bus.property(at, interface, "RcManager", until)?;
    let is = |value: &Option<Value>, text: &str| value.as_ref().and_then(Value::text) == Some(text);
    let writes = !is(&mode, "none") && !is(&manager, "unmanaged");
    let index = |name: &str| nix::net::if_::if_nametoindex(name).ok();
    let objects =
        bus.objects((NETWORK_MANAGER, "/org/freedesktop"), until)?.unwrap_or(Value::List(Vec::new()));
    let leads_out = default_routes(Path::new("/proc/net"));
    Ok(Some((network_manager_links((&configuration, &objects), index, &leads_out), writes)))
}

/// Links from `Configuration` aa{sv}, which does not tell of the root, and from all objects, which do. Of a link with a default route
/// NetworkManager asks everything, as if that had the root for a domain.
fn network_manager_links(
    (configuration, objects): (&Value, &Value),
    index: impl Fn(&str) -> Option<u32>,
    leads_out: &[String],
) -> Vec<Link> {
    let mut links = Vec::new();
    let mut of_vpns = Vec::new();
    for entry in configuration.list().iter().take(LINKS_MAX) {
        let texts = |key: &str| entry.get(key).map(Value::list).unwrap_or_default().iter();
        let interface = entry.get("interface").and_then(Value::text);
        let servers: Vec<SocketAddr> =
            texts("nameservers").filter_map(|text| super::server(text.text()?)).take(SERVERS_MAX).collect();
        let mut domains: Vec<Name> =
            texts("domains").filter_map(|text| domain(text.text()?)).map(|(name, _)| name).collect();
        let priority = entry.get("priority").and_then(Value::number).and_then(|n| i32::try_from(n).ok());
        let priority = priority.unwrap_or(100);
        // A priority that takes what is below its domains from others, without any, is for everything.
        if wants_all(objects, interface.unwrap_or_default(), &servers) || priority < 0 && domains.is_empty() {
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
        of_vpns.push(is_vpn);
        let mut link = Link {
            index: number,
            servers,
            usual: match interface {
                None => domains.is_empty(),
                Some(name) => leads_out.iter().any(|own| own == name),
            },
            priority,
            origin: match interface {
                None => "NetworkManager".to_owned(),
                Some(name) => format!("link {name} (NetworkManager)"),
            },
            ..Link::default()
        };
        link.claim(domains);
        links.push(link);
    }
    // In a network that leads nowhere its own servers know what there is; a VPN's are asked for its domains all the same.
    if !links.iter().any(|link| link.usual || link.domains.iter().any(Name::is_root)) {
        links.iter_mut().zip(of_vpns).for_each(|(link, is_vpn)| link.usual = !is_vpn);
    }
    links
}

/// Whether the configuration of a link's addresses, known by its servers, has the root among its domains. It is the link's own, or one that
/// no device has, as those of VPNs.
fn wants_all(objects: &Value, link: &str, servers: &[SocketAddr]) -> bool {
    let all = || objects.list().iter().filter_map(|entry| <&[Value; 2]>::try_from(entry.list()).ok());
    let is_of_another = |path: &Value| {
        all().filter_map(|[_, object]| object.get("org.freedesktop.NetworkManager.Device")).any(|device| {
            let has = |key: &str| device.get(key) == Some(path);
            let called = |key: &str| device.get(key).and_then(Value::text) == Some(link);
            (has("Ip4Config") || has("Ip6Config")) && !called("Interface") && !called("IpInterface")
        })
    };
    let wanted: BTreeSet<IpAddr> = servers.iter().map(SocketAddr::ip).collect();
    let has = |properties: &Value| {
        let list = |key: &str| properties.get(key).map(Value::list).unwrap_or_default();
        let v4 =
            list("NameserverData").iter().filter_map(|server| server.get("address")?.text()?.parse().ok());
        let v6 = list("Nameservers").iter().filter_map(|server| match server {
            Value::Octets(octets) => ip_of(octets),
            _ => None,
        });
        let own: BTreeSet<IpAddr> = v4.chain(v6).collect();
        own == wanted
            && list("Searches")
                .iter()
                .any(|word| word.text().and_then(domain).is_some_and(|(name, _)| name.is_root()))
    };
    let interfaces = ["org.freedesktop.NetworkManager.IP4Config", "org.freedesktop.NetworkManager.IP6Config"];
    all().any(|[path, object]| {
        interfaces.iter().filter_map(|interface| object.get(interface)).any(has) && !is_of_another(path)
    })
}

/// The links that have a default route.
fn default_routes(proc: &Path) -> Vec<String> {
    let read = |name: &str| {
        open::octets(&proc.join(name), ROUTES_MAX)
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

/// networkd's links: a file each, whose name is the link's number. And what is to be said where they are too many.
pub(super) fn networkd(dir: &Path) -> (Vec<Link>, Option<String>) {
    let Ok(Names { all: names, is_cut }) = open::names(dir, LINKS_MAX) else { return Default::default() };
    let shown = dir.display();
    let problem = is_cut.then(|| {
        format!("'{shown}' has more than {LINKS_MAX} entries: what others say of their links is not known")
    });
    let numbered = |name: OsString| Some((name.to_str()?.parse().ok()?, dir.join(name)));
    let mut files: Vec<(u32, PathBuf)> = names.into_iter().filter_map(numbered).collect();
    files.sort();
    let read = |(index, path): (u32, PathBuf)| {
        let text = String::from_utf8_lossy(&open::octets(&path, FILE_MAX).ok()?).into_owned();
        networkd_link(index, &text)
    };
    (files.into_iter().filter_map(read).collect(), problem)
}

/// `None`: it is down.
fn networkd_link(index: u32, text: &str) -> Option<Link> {
    let mut link = Link { index, origin: format!("{} (systemd-networkd)", called(index)), ..Link::default() };
    let mut domains: Vec<(Name, bool)> = Vec::new();
    let mut says = None;
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        let words = value.split_whitespace();
        match key {
            "OPER_STATE" if matches!(value, "missing" | "off" | "no-carrier") => return None,
            "DNS" => link.servers = words.filter_map(super::server).take(SERVERS_MAX).collect(),
            "DOMAINS" => domains.extend(words.filter_map(domain)),
            "ROUTE_DOMAINS" => domains.extend(words.filter_map(domain).map(|(name, _)| (name, true))),
            "DNS_DEFAULT_ROUTE" => says = Some(value == "yes"),
            _ => {}
        }
    }
    link.usual = says.unwrap_or_else(|| volunteers(&domains));
    link.claim(domains.into_iter().map(|(name, _)| name));
    Some(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(link: &Link) -> String {
        let servers: Vec<String> = link.servers.iter().map(ToString::to_string).collect();
        let domains: Vec<String> = link.domains.iter().map(ToString::to_string).collect();
        format!(
            "{} {} [{}] {}{}",
            link.index,
            servers.join(" "),
            domains.join(" "),
            if link.usual { "usual" } else { "own" },
            if link.priority == 0 { String::new() } else { format!(" {}", link.priority) }
        )
    }

    #[test]
    fn networkds_files_are_read_as_it_writes_them() {
        let shown = |text: &str| networkd_link(4, text).map(|link| shown(&link));
        let text = "# private\nADMIN_STATE=configured\nOPER_STATE=routable\nDNS=192.0.2.1 fe80::1%4 [fe80::2]:5353%4#dns.example [fe80::3%4]:53 192.0.2.2:54#x\nDOMAINS=home.example\nROUTE_DOMAINS=Corp.example\n";
        assert_eq!(
            shown(text).as_deref(),
            Some(
                "4 192.0.2.1:53 [fe80::1%4]:53 [fe80::2%4]:5353 [fe80::3%4]:53 192.0.2.2:54 [home.example. corp.example.] own"
            )
        );
        assert_eq!(shown("DNS=192.0.2.1\nROUTE_DOMAINS=.\n").as_deref(), Some("4 192.0.2.1:53 [.] usual"));
        assert_eq!(shown("DNS=192.0.2.1\nDNS_DEFAULT_ROUTE=no\n").as_deref(), Some("4 192.0.2.1:53 [] own"));
        assert_eq!(shown("DNS_DEFAULT_ROUTE=yes\nROUTE_DOMAINS=a\n").as_deref(), Some("4  [a.] usual"));
        assert_eq!(shown("OPER_STATE=no-carrier\nDNS=192.0.2.1\n"), None);
    }

    #[test]
    fn what_resolved_says_becomes_links() {
        let text = |text: &str| Value::Text(text.to_owned());
        let row = |index: i64, octets: &[u8], port: i64| {
            let octets = Value::Octets(octets.to_vec());
            Value::List(vec![Value::Number(index), Value::Number(2), octets, Value::Number(port), text("")])
        };
        let domain = |index: i64, name: &str, routed: i64| {
            Value::List(vec![Value::Number(index), text(name), Value::Number(routed)])
        };
        let servers = Value::List(vec![
            row(0, &[203, 0, 113, 5], 0),
            row(12, &[10, 8, 0, 1], 0),
            row(12, &[10, 8, 0, 2], 5353),
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
        let links: Vec<String> = resolved_links(&servers, &domains).iter().map(|(l, _)| shown(l)).collect();
        assert_eq!(
            links,
            [
                "0 203.0.113.5:53 [.] usual",
                "12 10.8.0.1:53 10.8.0.2:5353 [corp.example.] own",
                "2 192.0.2.1:53 [home.test.] usual"
            ]
        );
    }

    #[test]
    fn what_network_manager_says_becomes_links() {
        let text = |text: &str| Value::Text(text.to_owned());
        let texts = |all: &[&str]| Value::List(all.iter().map(|one| text(one)).collect());
        let entry = |servers: &[&str], domains: &[&str], interface: Option<&str>, priority: i64, vpn: i64| {
            let mut entry = vec![
                ("nameservers", texts(servers)),
                ("domains", texts(domains)),
                ("priority", Value::Number(priority)),
                ("vpn", Value::Number(vpn)),
            ];
            entry.extend(interface.map(|name| ("interface", text(name))));
            let pairs = entry.into_iter().map(|(key, value)| Value::List(vec![text(key), value]));
            Value::List(pairs.collect())
        };
        let index =
            |name: &str| ["lo", "wlan0", "tun0"].iter().position(|own| *own == name).map(|n| n as u32 + 1);
        let all = Value::List(vec![
            entry(&["192.0.2.1", "fe80::1"], &["home.test"], Some("wlan0"), 100, 0),
            entry(&["10.8.0.1"], &["~corp.example", "lab.example"], Some("tun0"), 50, 1),
            entry(&["10.9.0.1"], &[], Some("gone0"), 50, 1),
            entry(&["203.0.113.5"], &["only.example"], None, 100, 0),
        ]);
        let pair = |key: &str, value: Value| Value::List(vec![text(key), value]);
        let config = |server: &str, search: &str| {
            let properties = vec![
                pair("NameserverData", Value::List(vec![Value::List(vec![pair("address", text(server))])])),
                pair("Searches", texts(&[search])),
            ];
            let interface = pair("org.freedesktop.NetworkManager.IP4Config", Value::List(properties));
            pair(&format!("/config/{server}"), Value::List(vec![interface]))
        };
        let device = pair(
            "org.freedesktop.NetworkManager.Device",
            Value::List(vec![pair("Interface", text("wlan0")), pair("Ip4Config", text("/config/10.6.0.1"))]),
        );
        let objects = Value::List(vec![
            config("10.8.0.1", "~corp.example"),
            config("10.7.0.1", "~"),
            config("10.6.0.1", "~."),
            pair("/device", Value::List(vec![device])),
        ]);
        let of = |servers: &[&str], priority: i64| {
            let all = Value::List(vec![entry(servers, &[], Some("tun0"), priority, 1)]);
            shown(&network_manager_links((&all, &objects), index, &[])[0])
        };
        assert_eq!(of(&["10.7.0.1"], 50), "3 10.7.0.1:53 [.] own 50", "which is told by its addresses alone");
        assert_eq!(of(&["10.6.0.1"], 50), "3 10.6.0.1:53 [] own 50", "which another device has");
        assert_eq!(of(&["10.8.0.1"], -5), "3 10.8.0.1:53 [.] own -5", "a negative priority without a domain");

        let links = |leads_out: &[&str]| -> Vec<String> {
            let leads_out: Vec<String> = leads_out.iter().map(ToString::to_string).collect();
            network_manager_links((&all, &objects), index, &leads_out).iter().map(shown).collect()
        };
        let expected = |wlan: &str, vpn: &str, host: &str| {
            [
                format!("2 192.0.2.1:53 [fe80::1]:53 [home.test.] {wlan} 100"),
                format!("3 10.8.0.1:53 [corp.example. lab.example.] {vpn} 50"),
                format!("0 203.0.113.5:53 [only.example.] {host} 100"),
            ]
        };
        assert_eq!(links(&["wlan0"]), expected("usual", "own", "own"));
        assert_eq!(links(&["wlan0", "tun0"]), expected("usual", "usual", "own"));
        assert_eq!(links(&[]), expected("usual", "own", "usual"), "a network that leads nowhere");
    }

    #[test]
    fn every_domain_of_a_link_is_taken() {
        let names: Vec<String> = (0..1024).map(|n| format!("d{n}.corp.example")).collect();
        let has = |link: &Link| (link.domains.len(), link.domains.last().map(ToString::to_string));
        let all = (1024, Some("d1023.corp.example.".to_owned()));
        let text = format!("DNS=10.8.0.1\nDNS_DEFAULT_ROUTE=no\nROUTE_DOMAINS={}\n", names.join(" "));
        assert_eq!(networkd_link(4, &text).as_ref().map(has), Some(all.clone()));
        let text = |text: &str| Value::Text(text.to_owned());
        let octets = Value::Octets(vec![10, 8, 0, 1]);
        let servers =
            vec![Value::List(vec![Value::Number(7), Value::Number(2), octets, Value::Number(0), text("")])];
        let domains =
            names.iter().map(|name| Value::List(vec![Value::Number(7), text(name), Value::Number(1)]));
        let links = resolved_links(&Value::List(servers), &Value::List(domains.collect()));
        assert_eq!(has(&links[0].0), all);
        let texts = |all: Vec<Value>| Value::List(all);
        let pair = |key: &str, value: Value| Value::List(vec![text(key), value]);
        let entry = texts(vec![
            pair("nameservers", texts(vec![text("10.8.0.1")])),
            pair("domains", texts(names.iter().map(|name| text(name)).collect())),
            pair("interface", text("tun0")),
        ]);
        let links = network_manager_links((&texts(vec![entry]), &texts(Vec::new())), |_| Some(7), &[]);
        assert_eq!(has(&links[0]), all);
    }

    #[test]
    fn default_routes_are_found() {
        let dir = std::env::temp_dir().join(format!("hither-routes-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\neth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n";
        let v6 = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003    wlan0\n00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\nfe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001    eth1\n";
        std::fs::write(dir.join("route"), v4).expect("written");
        std::fs::write(dir.join("ipv6_route"), v6).expect("written");
        assert_eq!(default_routes(&dir), ["eth0", "wlan0"]);
        std::fs::remove_dir_all(dir).expect("removable");
    }
}
