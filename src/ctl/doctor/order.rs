//! Judges what getaddrinfo makes of hither's order: it sorts what the NSS module gives by RFC 6724, see
//! nss-hither(8). A finding only names what the measured times of this host show.

use super::facts::{Configuration, Facts};
use super::finding::Finding;
use crate::config::{Config, Sort};
use crate::ctl::nsswitch;
use hither_client::{Address, Family, FamilyOrder, Monotonic, Rtt, Snapshot, Table};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

/// How many names with IPv6 addresses are compared with what getaddrinfo makes of them at most; each
/// takes some system calls.
const NAMES_MAX: usize = 1000;
/// How much farther the first address must be to be counted: less is within the noise of measuring.
const FARTHER: Duration = Duration::from_millis(5);

/// What the table and gai.conf(5) say.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The text of `/etc/gai.conf`.
    pub gai_conf: String,
    /// Best round-trip times of names that have measured addresses of both families: of IPv4, of IPv6.
    pub families: Vec<(Duration, Duration)>,
    /// How many names have several measured IPv6 addresses.
    pub several_v6: usize,
    /// For how many of these getaddrinfo puts an address first that is farther by [`FARTHER`].
    pub farther_v6: usize,
}

/// Reads the facts. Those of the table are only read for this host.
pub(super) fn gather(root: &Path, dir: &Path, gai_conf: String) -> Order {
    let mut order = Order { gai_conf, ..Order::default() };
    if root != Path::new("/") {
        return order;
    }
    let Ok(table) = Table::open(Some(dir)) else { return order };
    let (reader, now) = (table.reader(), Monotonic::now());
    let (mut entries, mut entry) = (reader.entries(), Box::new(Snapshot::new()));
    while entries.next(&mut entry) {
        let set = |family| entry.family(family).filter(|set| !set.expired(now) && set.sorted());
        let times = |family| set(family).into_iter().flat_map(|set| set.addresses()).filter_map(time);
        if let (Some(v4), Some(v6)) = (times(Family::A).min(), times(Family::Aaaa).min()) {
            order.families.push((v4, v6));
        }
        if order.several_v6 < NAMES_MAX && times(Family::Aaaa).count() > 1 {
            order.several_v6 += 1;
            let measured = set(Family::Aaaa).into_iter().flat_map(|set| set.addresses());
            let measured: Vec<(IpAddr, Duration)> =
                measured.filter_map(|one| Some((one.address, time(one)?))).collect();
            let first = first_of_getaddrinfo(&measured, source_for);
            let best = measured.iter().map(|(_, time)| *time).min();
            let is_farther = first.zip(best).is_some_and(|(first, best)| first >= best + FARTHER);
            order.farther_v6 += usize::from(is_farther);
        }
    }
    order
}

fn time(address: Address) -> Option<Duration> {
    if let Rtt::Micros(micros) = address.rtt { Some(Duration::from_micros(micros.into())) } else { None }
}

/// The source address that the kernel chooses for a destination. Nothing is sent.
fn source_for(to: Ipv6Addr) -> Option<Ipv6Addr> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((to, 53)).ok()?;
    if let SocketAddr::V6(v6) = socket.local_addr().ok()? { Some(*v6.ip()) } else { None }
}

/// The time of the IPv6 address that getaddrinfo puts first, of a set in hither's order: of those that
/// this host has a way to (rule 1), the one with the longest prefix in common with its source address
/// (rule 9), else the first.
fn first_of_getaddrinfo(
    set: &[(IpAddr, Duration)],
    source_for: impl Fn(Ipv6Addr) -> Option<Ipv6Addr>,
) -> Option<Duration> {
    let mut first: Option<(Ipv6Addr, Ipv6Addr, Duration)> = None;
    for (address, time) in set {
        let IpAddr::V6(address) = *address else { continue };
        let Some(source) = source_for(address) else { continue };
        let is_before = first
            .is_none_or(|(other, its_source, _)| has_longer_prefix((address, source), (other, its_source)));
        if is_before {
            first = Some((address, source, *time));
        }
    }
    first.map(|(_, _, time)| time)
}

/// Whether an address has a longer prefix in common with its source than another one. glibc compares only
/// the first 32 bits, of the four times 32, in which one of both differs from its source.
fn has_longer_prefix(one: (Ipv6Addr, Ipv6Addr), other: (Ipv6Addr, Ipv6Addr)) -> bool {
    let apart = |(to, from): (Ipv6Addr, Ipv6Addr)| u128::from(to) ^ u128::from(from);
    let words = |bits: u128| [96, 64, 32, 0].map(|shift| (bits >> shift) as u32);
    let (one, other) = (words(apart(one)), words(apart(other)));
    let differing = one.iter().zip(other).find(|(one, other)| (**one, *other) != (0, 0));
    differing.is_some_and(|(one, other)| one.leading_zeros() > other.leading_zeros())
}

/// Findings, if the module is in use and times were measured.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let is_used =
        facts.lookups.nsswitch.as_ref().is_ok_and(|text| nsswitch::is_enabled(text).unwrap_or(false));
    let order = &facts.lookups.order;
    if !is_used || !facts.lookups.module.loadable {
        return Vec::new();
    }
    let mut findings = Vec::new();
    findings.extend(families(order, &sort(facts)));
    findings.extend(within_v6(order));
    findings
}

/// The settings of `[sort]`, or the defaults if they are not known.
fn sort(facts: &Facts) -> Sort {
    match &facts.config {
        Configuration::Good(config) => config.sort.clone(),
        _ => Config::default().sort,
    }
}

fn families(order: &Order, sort: &Sort) -> Option<Finding> {
    let (check, margin) = ("families", sort.family_margin);
    let all = order.families.len();
    if all == 0 {
        return None;
    }
    let nearer = order.families.iter().filter(|(v4, v6)| *v4 + margin < *v6).count();
    let lines = precedences(&order.gai_conf);
    if is_equal(&lines) {
        return Some(Finding::ok(check, "gai.conf leaves the order of IPv4 and IPv6 to hither"));
    }
    let (wanted, is_v4_wanted) = match sort.families {
        FamilyOrder::Measured => (
            format!("IPv4 is nearer by more than {} ms for {nearer} of {all} names", margin.as_millis()),
            nearer > 0,
        ),
        FamilyOrder::V4First => ("sort.families puts IPv4 first".to_owned(), true),
        order => {
            (format!("the order by sort.families = \"{}\" is not a measured one", order.as_str()), false)
        }
    };
    if !is_v4_wanted || precedence(&lines, MAPPED) > precedence(&lines, ALL) {
        return Some(Finding::ok(check, wanted));
    }
    let found = format!("{wanted}, and getaddrinfo puts IPv6 first all the same");
    if lines.is_empty() {
        let fix = format!(
            "printf 'precedence %s\\n' {} >> /etc/gai.conf",
            EQUAL.map(|line| format!("'{line}'")).join(" ")
        );
        let cost = "IPv6 comes no longer first where hither does not answer; programs that run must be started again";
        return Some(Finding::warning(check, found).fixed_by(fix).taking_away(cost));
    }
    let found = format!("{found}; in gai.conf give ::ffff:0:0/96 the precedence of ::/0");
    Some(Finding::warning(check, found))
}

fn within_v6(order: &Order) -> Option<Finding> {
    let (several, farther) = (order.several_v6, order.farther_v6);
    if several == 0 {
        return None;
    }
    let names = format!("{farther} of {several} names with several IPv6 addresses");
    if farther == 0 {
        return Some(Finding::ok(
            "IPv6 order",
            format!("getaddrinfo puts a farther address first for {names}"),
        ));
    }
    let found = format!(
        "getaddrinfo puts an address first that is farther by at least {} ms for {names}: it prefers a prefix like \
         the host's, which no line of gai.conf prevents; hither_connect, libhither(3), keeps the order",
        FARTHER.as_millis()
    );
    Some(Finding::warning("IPv6 order", found))
}

/// The prefix of IPv4 in gai.conf(5), and that of all addresses.
const MAPPED: &str = "::ffff:0:0/96";
const ALL: &str = "::/0";

/// The default precedences, but IPv4's is that of IPv6. One line alone would replace them all.
const EQUAL: [&str; 5] = ["::1/128 50", "::/0 40", "2002::/16 30", "::/96 20", "::ffff:0:0/96 40"];

/// The lines with a precedence: prefix and number.
fn precedences(gai_conf: &str) -> Vec<(&str, u32)> {
    let lines = gai_conf.lines().map(|line| line.split('#').next().unwrap_or_default());
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    words
        .filter_map(|words| match words.as_slice() {
            ["precedence", prefix, number, ..] => Some((*prefix, number.parse().ok()?)),
            _ => None,
        })
        .collect()
}

/// The precedence of a prefix by these lines, which replace the defaults if there are any.
fn precedence(lines: &[(&str, u32)], prefix: &str) -> u32 {
    let written = |prefix: &str| lines.iter().find(|(own, _)| *own == prefix).map(|(_, number)| *number);
    match (written(prefix), lines.is_empty()) {
        (Some(number), _) => number,
        (None, true) if prefix == MAPPED => 10,
        (None, true) => 40,
        // Without a line of its own IPv4 has the precedence of all addresses.
        (None, false) => written(ALL).unwrap_or(40),
    }
}

fn is_equal(lines: &[(&str, u32)]) -> bool {
    precedence(lines, MAPPED) == precedence(lines, ALL)
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::faultless;
    use super::super::finding::State;
    use super::super::finding::tests::finding_of;
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn host(gai_conf: &str) -> Facts {
        let mut facts = faultless();
        facts.lookups.order = Order {
            gai_conf: gai_conf.to_owned(),
            families: vec![(ms(10), ms(90)), (ms(20), ms(21)), (ms(30), ms(5))],
            several_v6: 4,
            farther_v6: 0,
        };
        facts
    }

    #[test]
    fn equal_precedences_are_advised_only_where_ipv4_is_nearer() {
        let (state, found, fix) = finding_of(judge(&host("# precedence ::ffff:0:0/96 100\n")), "families");
        assert!(state == State::Warning && found.contains("for 1 of 3 names"), "{found}");
        assert_eq!(
            fix,
            "printf 'precedence %s\\n' '::1/128 50' '::/0 40' '2002::/16 30' '::/96 20' '::ffff:0:0/96 40' >> /etc/gai.conf"
        );
        let mut near = host("");
        near.lookups.order.families = vec![(ms(20), ms(30))];
        assert_eq!(finding_of(judge(&near), "families").0, State::Ok);
        for (order, state, words) in [
            (FamilyOrder::V6First, State::Ok, "\"v6\" is not a measured one"),
            (FamilyOrder::V4First, State::Warning, "puts IPv4 first, and getaddrinfo"),
        ] {
            let mut config = Config::default();
            config.sort.families = order;
            let configured = Facts { config: Configuration::Good(Box::new(config)), ..host("") };
            let (is, found, _) = finding_of(judge(&configured), "families");
            assert!(is == state && found.contains(words), "{found}");
        }
        near.lookups.order.families.clear();
        assert!(judge(&near).iter().all(|finding| finding.check != "families"), "nothing was measured");
        near.lookups.nsswitch = Ok(b"hosts: files dns\n".to_vec());
        assert!(judge(&near).is_empty(), "the module is not in use");
    }

    #[test]
    fn precedences_of_gai_conf_are_read_as_glibc_does() {
        let fixed: String = EQUAL.iter().map(|line| format!("precedence {line}\n")).collect();
        assert_eq!(finding_of(judge(&host(&fixed)), "families").0, State::Ok);
        let (state, _, fix) = finding_of(judge(&host("precedence ::ffff:0:0/96 100\n")), "families");
        assert_eq!((state, fix.as_str()), (State::Ok, ""), "IPv4 is always first");
        let (state, found, fix) =
            finding_of(judge(&host("precedence ::ffff:0:0/96  10 # last\n")), "families");
        assert!(state == State::Warning && fix.is_empty() && found.contains("in gai.conf give"), "{found}");
        assert!(is_equal(&precedences("precedence 2002::/16 30\n")), "one line replaces all defaults");
        assert!(!is_equal(&precedences("label ::/0 1\nprecedence nonsense\n")));
    }

    #[test]
    fn the_first_ipv6_address_is_that_of_the_longest_common_prefix() {
        let address = |text: &str| text.parse::<Ipv6Addr>().expect("an address");
        let first = |addresses: &[&str]| {
            let set: Vec<(IpAddr, Duration)> =
                addresses.iter().zip(1..).map(|(one, n)| (address(one).into(), ms(n))).collect();
            let far = |to: Ipv6Addr| (to.segments()[0] != 0xfd00).then_some(address("2001:db8:1::10"));
            first_of_getaddrinfo(&set, far).map(|time| time.as_millis())
        };
        // As `tests/glibc/order.rs` sees of glibc itself.
        assert_eq!(first(&["2a00:1450:1::1", "2a00:1450:4001::2", "2a00:1450::3"]), Some(1));
        assert_eq!(first(&["2a00:1450:1::1", "2606:4700::1", "2001:4860::8"]), Some(3));
        assert_eq!(first(&["2a00:1450:1::1", "2001:db8:ffff::1"]), Some(2));
        assert_eq!(first(&["2001:db8:ffff::1", "2001:db8:8000::1", "2001:db8:2::1"]), Some(3));
        assert_eq!(first(&["2001:db8:1::f00", "2001:db8:1:0:8000::1", "2001:db8:1::11"]), Some(3));
        assert_eq!(first(&["fd00::1", "2a00:1450:1::1"]), Some(2), "no way to the first");
        assert_eq!(first(&["fd00::1"]), None);
    }

    #[test]
    fn farther_ipv6_addresses_are_counted() {
        let mut facts = host("");
        assert_eq!(finding_of(judge(&facts), "IPv6 order").0, State::Ok);
        facts.lookups.order.farther_v6 = 3;
        let (state, found, fix) = finding_of(judge(&facts), "IPv6 order");
        assert!(state == State::Warning && fix.is_empty() && found.contains("for 3 of 4 names"), "{found}");
        facts.lookups.order.several_v6 = 0;
        assert!(judge(&facts).iter().all(|finding| finding.check != "IPv6 order"));
    }
}
