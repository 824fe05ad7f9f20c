use super::*;
use crate::host::resolvers::link::{DOMAINS_MAX, Domain};
use crate::host::resolvers::over_tls::OverTls;

fn link(index: u32, servers: &[&str], domains: &[&str], is_default_route: bool) -> Link {
    let domains = domains.iter().map(|text| Domain::read(text).expect("a domain").name).collect();
    let servers = servers.iter().map(|text| LinkServer::read(text).expect("an address")).collect();
    Link { index, servers, domains, is_default_route, origin: format!("link {index}"), ..Link::default() }
}

fn plan_of(sources: &[Vec<Link>]) -> Plan {
    let host_addresses = ["198.51.100.9".parse().expect("an address")];
    let is_ours = |server: &SocketAddr| server.port() == 1053;
    plan(sources, &Surroundings { is_ours: &is_ours, host_addresses: &host_addresses, roots: &Roots::System })
}

fn shown(servers: &[Server]) -> String {
    let all: Vec<String> = servers.iter().map(|s| format!("{}%{}", s.address.ip(), s.link)).collect();
    all.join(" ")
}

fn asked(plan: &Plan, name: &str) -> String {
    let name = name.parse().expect("a name");
    let domain = plan.routes.domain(&name);
    shown(domain.map_or(&plan.routes.usual, |domain| &plan.routes.domains[domain]))
}

const HOME: [&str; 1] = ["192.0.2.1:53"];
const VPN: [&str; 2] = ["10.8.0.1:53", "10.8.0.2:53"];

#[test]
fn the_longest_suffix_of_all_links_decides() {
    let plan = plan_of(&[vec![
        link(2, &HOME, &["example", "home.arpa"], true),
        link(7, &VPN, &["~corp.example", "lab.example"], false),
        link(8, &["10.9.0.1:53"], &["~x.corp.example"], false),
    ]]);
    assert_eq!(asked(&plan, "www.example"), "192.0.2.1%2");
    assert_eq!(asked(&plan, "a.corp.example"), "10.8.0.1%7 10.8.0.2%7");
    assert_eq!(asked(&plan, "lab.example"), "10.8.0.1%7 10.8.0.2%7", "search domains are routed too");
    assert_eq!(asked(&plan, "a.x.corp.example"), "10.9.0.1%8");
    assert_eq!(asked(&plan, "other.test"), "192.0.2.1%2");
    let server = plan.routes.usual[0];
    assert_eq!(plan.report.origins[&server], "link 2");
}

#[test]
fn the_root_domain_beats_default_routes_and_other_links_are_not_asked() {
    let global = link(0, &["203.0.113.5:53"], &[], true);
    let home = link(2, &HOME, &["home.test"], true);
    let split = link(7, &VPN, &["~corp.example"], false);
    let plan = plan_of(&[vec![global.clone(), home.clone(), split.clone()]]);
    assert_eq!(asked(&plan, "www.test"), "203.0.113.5%0 192.0.2.1%2");
    let full = link(9, &["10.9.0.1:53"], &["~."], false);
    let plan = plan_of(&[vec![global.clone(), home.clone(), split.clone(), full]]);
    assert_eq!(asked(&plan, "www.test"), "10.9.0.1%9");
    assert_eq!(asked(&plan, "a.corp.example"), "10.8.0.1%7 10.8.0.2%7");
    assert_eq!(asked(&plan, "a.home.test"), "192.0.2.1%2", "its own domains stay with a link");
    // Without a default route there is no server for names in no domain.
    assert_eq!(asked(&plan_of(&[vec![split.clone()]]), "www.test"), "");
    // Not even if a file lists its server, as the resolv.conf that resolved writes for other programs
    // does.
    let file = link(0, &["10.8.0.1:53", "192.0.2.7:53"], &[], true);
    assert_eq!(asked(&plan_of(&[vec![split.clone()], vec![file.clone()]]), "www.test"), "192.0.2.7%0");
    // A later source does not count if an earlier one has servers.
    assert_eq!(asked(&plan_of(&[vec![home, split], vec![file]]), "www.test"), "192.0.2.1%2");
}

#[test]
fn one_address_on_two_links_is_two_servers_and_one_on_this_host_has_no_link() {
    let plan = plan_of(&[vec![
        link(2, &["10.0.0.1:53", "127.0.0.5:53", "198.51.100.9:53", "127.0.0.1:1053"], &[], true),
        link(7, &["10.0.0.1:53", "[fe80::1]:53"], &["~corp.example"], false),
    ]]);
    assert_eq!(asked(&plan, "www.test"), "10.0.0.1%2 127.0.0.5%0 198.51.100.9%0", "and not ourselves");
    assert_eq!(asked(&plan, "corp.example"), "10.0.0.1%7 fe80::1%7");
    assert_eq!(plan.routes.domains.values().next().expect("one")[1].address.to_string(), "[fe80::1%7]:53");
    assert_eq!(plan.routes.all().len(), 5);
}

#[test]
fn the_better_priority_decides_and_a_negative_one_takes_all_below() {
    let of = |priority: i32, link: Link| Link { priority, ..link };
    let home = of(100, link(2, &HOME, &["example", "lab.corp.example"], true));
    let vpn = of(50, link(7, &VPN[..1], &["example", "~corp.example"], false));
    let plan = plan_of(&[vec![home.clone(), vpn.clone()]]);
    assert_eq!(asked(&plan, "www.example"), "10.8.0.1%7");
    assert_eq!(asked(&plan, "a.lab.corp.example"), "192.0.2.1%2");
    assert_eq!(asked(&plan, "www.test"), "192.0.2.1%2");
    let plan = plan_of(&[vec![home.clone(), of(-10, vpn.clone())]]);
    assert_eq!(asked(&plan, "a.lab.corp.example"), "10.8.0.1%7", "what is below its domain");
    assert_eq!(asked(&plan, "www.test"), "192.0.2.1%2", "but not all");
    let full = of(-10, Link { is_default_route: true, ..vpn });
    let plan = plan_of(&[vec![home, full]]);
    assert_eq!(asked(&plan, "www.test"), "10.8.0.1%7");
    assert_eq!(asked(&plan, "a.lab.corp.example"), "10.8.0.1%7");
}

#[test]
fn beyond_the_bound_of_domains_no_domain_of_a_link_is_sent_to_other_links() {
    let of = |count: usize| {
        let mut vpn = link(7, &VPN[..1], &[], false);
        let own = |n: usize| format!("d{n}.corp.example").parse().expect("a name");
        vpn.set_domains((0..count).map(own).chain(["lab.test".parse().expect("a name")]));
        plan_of(&[vec![link(2, &HOME, &[], true), vpn]])
    };
    let plan = of(DOMAINS_MAX - 1);
    assert_eq!(asked(&plan, "x.d4094.corp.example"), "10.8.0.1%7");
    assert_eq!(asked(&plan, "x.other.corp.example"), "192.0.2.1%2");
    assert_eq!((plan.routes.domains.len(), plan.report.problems.len()), (DOMAINS_MAX, 0));
    let plan = of(DOMAINS_MAX);
    for name in ["x.d0.corp.example", "x.d4095.corp.example", "lab.test"] {
        assert_eq!(asked(&plan, name), "10.8.0.1%7", "{name}");
    }
    assert_eq!(asked(&plan, "www.test"), "192.0.2.1%2");
    assert_eq!(
        plan.report.problems,
        [
            "link 7 has 4097 domains, more than 4096: its servers are asked for the domains above the longest of them, too"
        ]
    );
}

#[test]
fn an_address_that_cannot_be_an_upstream_is_refused_and_the_others_are_asked() {
    let unusable = [
        "0.0.0.0:53",
        "[::]:53",
        "224.0.0.251:53",
        "[ff02::fb]:53",
        "255.255.255.255:53",
        "192.0.2.7:0",
        "[::ffff:0.0.0.0]:53",
        "240.0.0.1:53",
    ];
    let named = [&unusable[..], &["[::ffff:192.0.2.1]:53", "[fe80::1]:53"]].concat();
    for index in [0, 7] {
        let plan =
            plan_of(&[vec![link(index, &named, &["corp.example"], true)], vec![link(0, &HOME, &[], true)]]);
        let own = if index == 0 { "192.0.2.1%0" } else { "192.0.2.1%7 fe80::1%7" };
        assert_eq!((asked(&plan, "www.test").as_str(), asked(&plan, "corp.example").as_str()), (own, own));
        // 0.0.0.0 is there in two forms; a link-local address without a link is refused too.
        assert_eq!(
            plan.report.refused.len(),
            unusable.len() - 1 + usize::from(index == 0),
            "{:?}",
            plan.report.refused
        );
        assert_eq!(
            plan.report.refused[0],
            format!(
                "0.0.0.0:53, named by link {index}, is this host itself, so that hitherd would query itself: it is not used"
            )
        );
    }
    // A source with unusable addresses alone leaves the decision to the next.
    let plan = plan_of(&[vec![link(0, &unusable, &[], true)], vec![link(0, &HOME, &[], true)]]);
    assert_eq!(asked(&plan, "www.test"), "192.0.2.1%0");
}

/// A link whose servers are asked over TLS.
fn secured(over_tls: OverTls, link: Link) -> Link {
    Link { servers: link.servers.into_iter().map(|server| server.with(over_tls)).collect(), ..link }
}

/// The servers of a name as operators see them, with their links.
fn labels(plan: &Plan, name: &str) -> String {
    let name = name.parse().expect("a name");
    let domain = plan.routes.domain(&name);
    let servers = domain.map_or(&plan.routes.usual, |domain| &plan.routes.domains[domain]);
    let label = |server: &Server| match plan.encrypted.iter().find(|one| one.server == *server) {
        Some(one) => format!("{}%{}", one.label, server.link),
        None => format!("{}%{}", server.address, server.link),
    };
    servers.iter().map(label).collect::<Vec<_>>().join(" ")
}

#[test]
fn each_link_says_whether_its_servers_are_asked_over_tls() {
    let home = link(2, &HOME, &[], true);
    let vpn = link(7, &["10.8.0.1#dns.corp.example", "10.8.0.2"], &["~corp.example"], false);
    let plan = plan_of(&[vec![home.clone(), secured(OverTls::Yes, vpn.clone())]]);
    assert_eq!(labels(&plan, "www.test"), "192.0.2.1:53%2");
    assert_eq!(labels(&plan, "a.corp.example"), "tls://10.8.0.1#dns.corp.example%7 tls://10.8.0.2%7");
    assert_eq!(plan.encrypted.len(), 2);
    assert_eq!(plan.report.origins[&plan.encrypted[0].server], "link 7");
    let plan = plan_of(&[vec![home, secured(OverTls::Opportunistic, vpn.clone())]]);
    assert_eq!(labels(&plan, "a.corp.example"), "tls://10.8.0.1#dns.corp.example%7 10.8.0.2:53%7");
    // The same server twice is there once; one on this host has no link; ourselves we do not ask.
    let own = link(3, &["198.51.100.9#a.example", "192.0.2.1:1053#b.example"], &["~corp.example"], false);
    let plan = plan_of(&[vec![secured(OverTls::Yes, vpn.clone()), vpn, secured(OverTls::Yes, own)]]);
    assert_eq!(
        labels(&plan, "corp.example"),
        "tls://10.8.0.1#dns.corp.example%7 tls://10.8.0.2%7 10.8.0.1:53%7 10.8.0.2:53%7 tls://198.51.100.9#a.example%0"
    );
    assert_eq!(plan.encrypted.len(), 3);
}

#[test]
fn a_server_that_a_manager_has_asked_over_tls_only_is_not_asked_in_clear_text_for_a_file() {
    let file = link(0, &["192.0.2.1:53", "192.0.2.7:53"], &[], true);
    let named = link(2, &["192.0.2.1#dns.example"], &[], true);
    let usual = |over_tls, servers: &Link| {
        labels(&plan_of(&[vec![servers.clone()], vec![secured(over_tls, named.clone())]]), "www.test")
    };
    assert_eq!(usual(OverTls::No, &file), "192.0.2.1:53%0 192.0.2.7:53%0");
    assert_eq!(usual(OverTls::Yes, &file), "192.0.2.7:53%0");
    let alone = link(0, &HOME, &[], true);
    assert_eq!(usual(OverTls::Yes, &alone), "tls://192.0.2.1#dns.example%2", "the link's own way counts");
    // The host's own servers may have the setting, too.
    let host = secured(OverTls::Yes, link(0, &["192.0.2.1#dns.example"], &[], true));
    assert_eq!(labels(&plan_of(&[vec![host], vec![file]]), "www.test"), "tls://192.0.2.1#dns.example%0");
}

#[test]
fn a_server_with_a_name_that_no_certificate_states_is_refused() {
    let named = secured(OverTls::Yes, link(2, &["192.0.2.1#a..b", "192.0.2.2"], &[], true));
    let plan = plan_of(&[vec![named]]);
    assert_eq!(labels(&plan, "www.test"), "tls://192.0.2.2%2");
    let expected =
        "192.0.2.1:53, named by link 2, has the name 'a..b', which no certificate can state: it is not used";
    assert_eq!(plan.report.refused, [expected]);
}
