use super::*;
use crate::host::resolvers::link::shown;

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn pair(key: &str, value: Value) -> Value {
    Value::List(vec![text(key), value])
}

#[test]
fn properties_of_network_manager_become_links() {
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
    let link = |servers: &[&str], priority: i64| {
        let all = Value::List(vec![entry(servers, &[], Some("tun0"), priority, 1)]);
        shown(&links_of(Answers { configuration: &all, objects: &objects }, index, &[])[0])
    };
    assert_eq!(
        link(&["10.7.0.1"], 50),
        "3 10.7.0.1:53 [.] own 50",
        "the root domain is known only from the addresses' configuration"
    );
    assert_eq!(
        link(&["10.6.0.1"], 50),
        "3 10.6.0.1:53 [] own 50",
        "a configuration of another device does not count"
    );
    assert_eq!(link(&["10.8.0.1"], -5), "3 10.8.0.1:53 [.] own -5", "a negative priority without a domain");

    let links = |default_links: &[&str]| -> Vec<String> {
        let default_links: Vec<String> = default_links.iter().map(ToString::to_string).collect();
        links_of(Answers { configuration: &all, objects: &objects }, index, &default_links)
            .iter()
            .map(shown)
            .collect()
    };
    let expected = |wlan: &str, vpn: &str, host: &str| {
        [
            format!("2 192.0.2.1:53 [fe80::1]:53 [home.test.] {wlan} 100"),
            format!("3 10.8.0.1:53 [corp.example. lab.example.] {vpn} 50"),
            format!("0 203.0.113.5:53 [only.example.] {host} 100"),
        ]
    };
    assert_eq!(links(&["wlan0"]), expected("default", "own", "own"));
    assert_eq!(links(&["wlan0", "tun0"]), expected("default", "default", "own"));
    assert_eq!(links(&[]), expected("default", "own", "default"), "without any default route");
}

#[test]
fn a_server_with_the_scheme_of_tls_is_asked_over_tls() {
    let servers = ["dns+tls://10.7.7.1:8853#dns.example", "dns+udp://10.7.7.2", "10.7.7.3#dns.example"];
    let servers = Value::List(servers.iter().map(|server| text(server)).collect());
    let entry = Value::List(vec![pair("nameservers", servers), pair("interface", text("wlan0"))]);
    let answers = Answers { configuration: &Value::List(vec![entry]), objects: &Value::List(Vec::new()) };
    assert_eq!(
        shown(&links_of(answers, |_| Some(2), &[])[0]),
        "2 10.7.7.1:8853#dns.example Yes 10.7.7.2:53 10.7.7.3:53#dns.example [] default 100"
    );
}

#[test]
fn every_domain_of_a_link_is_taken() {
    let names: Vec<String> = (0..1024).map(|n| format!("d{n}.corp.example")).collect();
    let entry = Value::List(vec![
        pair("nameservers", Value::List(vec![text("10.8.0.1")])),
        pair("domains", Value::List(names.iter().map(|name| text(name)).collect())),
        pair("interface", text("tun0")),
    ]);
    let answers = Answers { configuration: &Value::List(vec![entry]), objects: &Value::List(Vec::new()) };
    let links = links_of(answers, |_| Some(7), &[]);
    let last = links[0].domains.last().map(ToString::to_string);
    assert_eq!((links[0].domains.len(), last.as_deref()), (1024, Some("d1023.corp.example.")));
}

#[test]
fn default_routes_are_found() {
    let dir = std::env::temp_dir().join(format!("hither-routes-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\neth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n";
    let v6 = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003    wlan0\n00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\nfe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001    eth1\n";
    std::fs::write(dir.join("route"), v4).expect("written");
    std::fs::write(dir.join("ipv6_route"), v6).expect("written");
    assert_eq!(links_with_default_route(&dir), ["eth0", "wlan0"]);
    std::fs::remove_dir_all(dir).expect("removable");
}
