//! From what is known of links to whom to ask for what: pure, and the rules of systemd-resolved and NetworkManager in one place.
//!
//! The longest domain that a name ends with decides, over all links. What no domain claims goes to those that have the root for a domain (`~.`),
//! or, where nobody has, to those that volunteer (the default route). Where two have the same domain the better priority decides, and both are
//! asked where it is the same.

use crate::config::why_not_asked;
use crate::logging::Event;
use hither_rounds::{Routes, Server};
use hither_wire::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Of those who are named and nobody, so many are told.
const REFUSED_MAX: usize = 32;
/// Domains of one link; systemd-resolved allows 1024.
const DOMAINS_MAX: usize = 4096;

/// What is known of one link, or of the whole host.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Link {
    /// Its number; 0: the whole host.
    pub index: u32,
    pub servers: Vec<SocketAddr>,
    /// What is asked there, in lower case, whether it is searched too or only routed.
    pub domains: Vec<Name>,
    /// How many it has, if they are more than are kept one by one.
    pub folded: Option<usize>,
    /// Whether it volunteers for what nobody claims.
    pub usual: bool,
    /// The lower the better; below 0 it takes what is below its domains from others, too.
    pub priority: i32,
    /// Who says so, and of which link.
    pub origin: String,
}

/// Whom to ask for what.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Plan {
    pub routes: Routes,
    pub whom: Whom,
}

/// What there is to say of those who are asked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Whom {
    /// Who named them.
    pub origins: BTreeMap<Server, String>,
    /// What is not followed as it is meant.
    pub problems: Vec<String>,
    /// Who was named and is not asked, and why.
    pub refused: Vec<String>,
}

impl Plan {
    /// A server that `origin` names. Who was first is told.
    pub fn name(&mut self, server: Server, origin: &str) {
        self.whom.origins.entry(server).or_insert_with(|| origin.to_owned());
    }

    /// Both parts; what the log has not been told of those `before` it is.
    pub fn split(self, before: Option<&Whom>) -> (Routes, Whom) {
        let known = before.map(|before| &before.problems[..]).unwrap_or_default();
        for problem in self.whom.problems.iter().filter(|problem| !known.contains(problem)) {
            log::warn!(event = Event::NotFollowed, what = "links", reason:% = problem; "{problem}");
        }
        let known = before.map(|before| &before.refused[..]).unwrap_or_default();
        for refused in self.whom.refused.iter().filter(|refused| !known.contains(refused)) {
            log::warn!(event = Event::UpstreamRefused, reason:% = refused; "{refused}");
        }
        (self.routes, self.whom)
    }
}

/// What the host says, source after source. A link is as the first says that knows it; what nobody claims goes to those who volunteer in the first
/// source that has some.
pub(super) fn plan(sources: &[Vec<Link>], is_ours: &dyn Fn(&SocketAddr) -> bool, here: &[IpAddr]) -> Plan {
    let mut plan = Plan::default();
    let sources = proper(sources, &mut plan.whom.refused);
    let sources = usable(&sources, is_ours);
    let claims: Vec<Claims<'_>> = sources.iter().map(|links| claims(links)).collect();
    for claims in &claims {
        claimed(&mut plan, claims, here);
    }
    for (links, claims) in sources.iter().zip(&claims) {
        plan.whom.problems.extend(links.iter().filter_map(Link::problem));
        if plan.routes.usual.is_empty() {
            let volunteers =
                links.iter().filter(|link| link.usual && !is_shadowed(link, &Name::ROOT, claims));
            let volunteers: Vec<&Link> = volunteers.collect();
            plan.routes.usual = best(&volunteers, &mut plan, here);
        }
    }
    plan
}

/// The links with their servers as they are, those left out who are nobody. A source that names nobody else is as one that names nobody.
fn proper(sources: &[Vec<Link>], refused: &mut Vec<String>) -> Vec<Vec<Link>> {
    let mut link = |link: &Link| {
        let mut servers = Vec::new();
        for address in link.servers.iter().map(|address| link.proper(*address)) {
            match why_not_asked(&address) {
                None => servers.push(address),
                Some(why) if refused.len() < REFUSED_MAX => {
                    let said = format!("{address}, named by {}, {why}: it is not asked", link.origin);
                    if !refused.contains(&said) {
                        refused.push(said);
                    }
                }
                Some(_) => {}
            }
        }
        Link { servers, ..link.clone() }
    };
    sources.iter().map(|links| links.iter().map(&mut link).collect()).collect()
}

/// Links with servers that may be asked, each once.
fn usable(sources: &[Vec<Link>], is_ours: &dyn Fn(&SocketAddr) -> bool) -> Vec<Vec<Link>> {
    let mut known: Vec<u32> = Vec::new();
    // Servers that are asked for a link's own domains only, whoever else names them.
    let (usual, own): (Vec<&Link>, Vec<&Link>) =
        sources.iter().flatten().filter(|link| link.index != 0).partition(|link| link.is_usual());
    let names = |links: &[&Link], server: &SocketAddr| links.iter().any(|link| link.servers.contains(server));
    let only_own = |server: &SocketAddr| names(&own, server) && !names(&usual, server);
    let mut all = Vec::new();
    for source in sources {
        let mut links = Vec::new();
        let mut told = Vec::new();
        for link in source.iter().filter(|link| link.index == 0 || !known.contains(&link.index)) {
            let asked = |server: &&SocketAddr| !is_ours(server) && (link.index != 0 || !only_own(server));
            let servers: Vec<SocketAddr> = link.servers.iter().filter(asked).copied().collect();
            // One without any is known to be down; one with ourselves alone may be known better to others.
            if link.servers.is_empty() || !servers.is_empty() {
                told.push(link.index);
            }
            if !servers.is_empty() {
                links.push(Link { servers, ..link.clone() });
            }
        }
        known.extend(told);
        all.push(links);
    }
    all
}

/// The links of one source, by the domains that they have.
struct Claims<'a> {
    links: &'a [Link],
    by_domain: BTreeMap<Name, Vec<&'a Link>>,
}

fn claims(links: &[Link]) -> Claims<'_> {
    let mut by_domain: BTreeMap<Name, Vec<&Link>> = BTreeMap::new();
    for link in links {
        for domain in link.domains.iter().copied().collect::<BTreeSet<Name>>() {
            by_domain.entry(domain).or_default().push(link);
        }
    }
    Claims { links, by_domain }
}

/// Who is asked for the domains that links have, the root among them.
fn claimed(plan: &mut Plan, claims: &Claims<'_>, here: &[IpAddr]) {
    for (domain, links) in &claims.by_domain {
        let links: Vec<&Link> =
            links.iter().filter(|link| !is_shadowed(link, domain, claims)).copied().collect();
        let servers = best(&links, plan, here);
        if domain.is_root() {
            if plan.routes.usual.is_empty() {
                plan.routes.usual = servers;
            }
        } else if !servers.is_empty() {
            plan.routes.domains.entry(*domain).or_insert(servers);
        }
    }
}

/// Whether another link with a priority below 0 has this domain, or one above it, for itself.
fn is_shadowed(link: &Link, domain: &Name, claims: &Claims<'_>) -> bool {
    let takes = |other: &Link| other.priority < 0 && other.priority < link.priority;
    if !claims.links.iter().any(takes) {
        return false;
    }
    let above = std::iter::successors(Some(*domain), Name::parent);
    let has =
        |name: Name| claims.by_domain.get(&name).is_some_and(|links| links.iter().any(|own| takes(own)));
    claims.links.iter().any(|other| other.usual && takes(other)) || above.into_iter().any(has)
}

/// The servers of those with the best priority.
fn best(links: &[&Link], plan: &mut Plan, here: &[IpAddr]) -> Vec<Server> {
    let best = links.iter().map(|link| link.priority).min();
    let mut servers = Vec::new();
    for link in links.iter().filter(|link| Some(link.priority) == best) {
        for server in link.servers.iter().map(|address| link.server(*address, here)) {
            if !servers.contains(&server) {
                servers.push(server);
            }
            plan.name(server, &link.origin);
        }
    }
    servers
}

impl Link {
    fn is_usual(&self) -> bool {
        self.usual || self.domains.iter().any(Name::is_root)
    }

    /// Puts `domains` in force, each once. Too many are not cut, for a name of a VPN would go to the provider: the longest give way to what is above
    /// them, so that the link is asked for more rather than for less.
    pub fn claim(&mut self, domains: impl IntoIterator<Item = Name>) {
        let mut domains: Vec<Name> = domains.into_iter().collect();
        let said = domains.iter().collect::<BTreeSet<_>>().len();
        if said > DOMAINS_MAX {
            self.folded = Some(said);
            let mut kept: BTreeSet<Name> = domains.into_iter().collect();
            // It ends: at each turn the longest are shorter by a label, and of no labels there is one.
            while kept.len() > DOMAINS_MAX {
                let most = kept.iter().map(Name::label_count).max().unwrap_or_default();
                let short = |name: Name| if name.label_count() == most { name.parent() } else { Some(name) };
                kept = kept.into_iter().map(|name| short(name).unwrap_or(Name::ROOT)).collect();
            }
            domains = kept.into_iter().collect();
        }
        self.domains = domains;
    }

    fn problem(&self) -> Option<String> {
        let said = self.folded?;
        Some(format!(
            "{} has {said} domains, more than {DOMAINS_MAX}: its servers are asked for the domains above the longest of them, too",
            self.origin
        ))
    }

    /// A server's address as it is: an IPv4 address in IPv6 clothes without them, one of the link with the link.
    fn proper(&self, mut address: SocketAddr) -> SocketAddr {
        if let IpAddr::V4(v4) = address.ip().to_canonical() {
            return (v4, address.port()).into();
        }
        if let SocketAddr::V6(v6) = &mut address
            && v6.ip().is_unicast_link_local()
            && v6.scope_id() == 0
        {
            v6.set_scope_id(self.index);
        }
        address
    }

    /// A server as it is asked: through the link, unless it is on this host, where no link leads.
    fn server(&self, address: SocketAddr, here: &[IpAddr]) -> Server {
        let is_here = address.ip().is_loopback() || here.contains(&address.ip());
        Server { address, link: if is_here { 0 } else { self.index } }
    }
}

/// A domain as others write it, and whether it is only routed: `corp.example`, `~corp.example`, `~.`.
pub(super) fn domain(word: &str) -> Option<(Name, bool)> {
    let (word, routed) = word.strip_prefix('~').map_or((word, false), |rest| (rest, true));
    // NetworkManager has no dot at the end.
    let name: Name = if routed && word.is_empty() { Name::ROOT } else { word.parse().ok()? };
    Some((name.to_lower(), routed))
}

/// Whether a link volunteers when nobody has said: not when it has domains that are only routed, unless it has the root.
pub(super) fn volunteers(domains: &[(Name, bool)]) -> bool {
    domains.iter().any(|(name, _)| name.is_root()) || !domains.iter().any(|(_, routed)| *routed)
}

/// How a link is called.
pub(super) fn called(index: u32) -> String {
    match nix::net::if_::if_indextoname(index) {
        Ok(name) => format!("link {}", name.to_string_lossy()),
        Err(_) => format!("link {index}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, servers: &[&str], domains: &[&str], usual: bool) -> Link {
        let domains = domains.iter().map(|text| domain(text).expect("a domain").0).collect();
        let servers = servers.iter().map(|text| text.parse().expect("an address")).collect();
        Link { index, servers, domains, usual, origin: format!("link {index}"), ..Link::default() }
    }

    fn plan_of(sources: &[Vec<Link>]) -> Plan {
        plan(sources, &|server| server.port() == 1053, &["198.51.100.9".parse().expect("an address")])
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
        assert_eq!(asked(&plan, "lab.example"), "10.8.0.1%7 10.8.0.2%7", "what is searched is routed too");
        assert_eq!(asked(&plan, "a.x.corp.example"), "10.9.0.1%8");
        assert_eq!(asked(&plan, "other.test"), "192.0.2.1%2");
        let server = plan.routes.usual[0];
        assert_eq!(plan.whom.origins[&server], "link 2");
    }

    #[test]
    fn the_root_beats_the_usual_servers_and_what_is_no_default_route_is_not_among_them() {
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
        // Nobody volunteers: nobody is asked for what nobody claims.
        assert_eq!(asked(&plan_of(&[vec![split.clone()]]), "www.test"), "");
        // Not even when a file names its server, as the resolv.conf does that resolved writes for others.
        let file = link(0, &["10.8.0.1:53", "192.0.2.7:53"], &[], true);
        assert_eq!(asked(&plan_of(&[vec![split.clone()], vec![file.clone()]]), "www.test"), "192.0.2.7%0");
        // A later source is not asked where one before knows somebody.
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
        assert_eq!(
            plan.routes.domains.values().next().expect("one")[1].address.to_string(),
            "[fe80::1%7]:53"
        );
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
        let full = of(-10, Link { usual: true, ..vpn });
        let plan = plan_of(&[vec![home, full]]);
        assert_eq!(asked(&plan, "www.test"), "10.8.0.1%7");
        assert_eq!(asked(&plan, "a.lab.corp.example"), "10.8.0.1%7");
    }

    #[test]
    fn of_too_many_domains_none_goes_to_others() {
        let of = |count: usize| {
            let mut vpn = link(7, &VPN[..1], &[], false);
            let own = |n: usize| format!("d{n}.corp.example").parse().expect("a name");
            vpn.claim((0..count).map(own).chain(["lab.test".parse().expect("a name")]));
            plan_of(&[vec![link(2, &HOME, &[], true), vpn]])
        };
        let plan = of(DOMAINS_MAX - 1);
        assert_eq!(asked(&plan, "x.d4094.corp.example"), "10.8.0.1%7");
        assert_eq!(asked(&plan, "x.other.corp.example"), "192.0.2.1%2");
        assert_eq!((plan.routes.domains.len(), plan.whom.problems.len()), (DOMAINS_MAX, 0));
        let plan = of(DOMAINS_MAX);
        for name in ["x.d0.corp.example", "x.d4095.corp.example", "lab.test"] {
            assert_eq!(asked(&plan, name), "10.8.0.1%7", "{name}");
        }
        assert_eq!(asked(&plan, "www.test"), "192.0.2.1%2");
        assert_eq!(
            plan.whom.problems,
            [
                "link 7 has 4097 domains, more than 4096: its servers are asked for the domains above the longest of them, too"
            ]
        );
    }

    #[test]
    fn who_is_nobody_is_not_asked_whoever_names_it_and_the_others_are() {
        let nobody = [
            "0.0.0.0:53",
            "[::]:53",
            "224.0.0.251:53",
            "[ff02::fb]:53",
            "255.255.255.255:53",
            "192.0.2.7:0",
            "[::ffff:0.0.0.0]:53",
            "240.0.0.1:53",
        ];
        let named = [&nobody[..], &["[::ffff:192.0.2.1]:53", "[fe80::1]:53"]].concat();
        for index in [0, 7] {
            let plan = plan_of(&[
                vec![link(index, &named, &["corp.example"], true)],
                vec![link(0, &HOME, &[], true)],
            ]);
            let own = if index == 0 { "192.0.2.1%0" } else { "192.0.2.1%7 fe80::1%7" };
            assert_eq!(
                (asked(&plan, "www.test").as_str(), asked(&plan, "corp.example").as_str()),
                (own, own)
            );
            // Of the first one there are two forms; at no link an address of a link is nobody's either.
            assert_eq!(
                plan.whom.refused.len(),
                nobody.len() - 1 + usize::from(index == 0),
                "{:?}",
                plan.whom.refused
            );
            assert_eq!(
                plan.whom.refused[0],
                format!(
                    "0.0.0.0:53, named by link {index}, is this host itself, which is who would ask: it is not asked"
                )
            );
        }
        // A source that names nobody else leaves the word to the next.
        let plan = plan_of(&[vec![link(0, &nobody, &[], true)], vec![link(0, &HOME, &[], true)]]);
        assert_eq!(asked(&plan, "www.test"), "192.0.2.1%0");
    }

    #[test]
    fn who_volunteers_when_nobody_says() {
        let of = |words: &[&str]| {
            let domains: Vec<_> = words.iter().filter_map(|word| domain(word)).collect();
            volunteers(&domains)
        };
        assert!(of(&[]) && of(&["search.example"]) && of(&["~corp.example", "~."]) && of(&["~."]));
        assert!(!of(&["~corp.example"]) && !of(&["search.example", "~corp.example"]));
        assert_eq!(domain("~CORP.example."), domain("~corp.example"));
        assert_eq!(domain("~"), domain("~."));
        assert_eq!([domain("a..b"), domain("")], [None, None]);
    }
}
