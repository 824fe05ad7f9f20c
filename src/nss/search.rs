//! The search list: the names that are looked up for a requested name, one after the other, as in
//! glibc's own DNS module (`res_nsearch`), so that both modules give the same result.

use crate::answer::Verdict;
use hither_native::{Resolver, host_name, is_special};
use hither_wire::name::{NAME_MAX, Name};

/// Option of `<resolv.h>`: names without a dot are completed by the first domain.
const DEFNAMES: u64 = 0x80;
/// Option: names are completed by each domain of the list.
const DNSRCH: u64 = 0x200;
/// Option: the file that `HOSTALIASES` names is not used.
pub const NOALIASES: u64 = 0x1000;
/// Option: names without a dot are not looked up as they are.
const NOTLDQUERY: u64 = 0x0100_0000;

/// Domains of the search list that the resolver's public state shows (`MAXDNSRCH`).
const DOMAINS_MAX: usize = 6;
/// Octets of all domains up to which a list of fewer than [`DOMAINS_MAX`] is complete: the state has 256
/// octets for them, so a further domain would be shown.
const COMPLETE_OCTETS_MAX: usize = 128;

/// How a thread's resolver completes names.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'r> {
    /// `RES_` options of `<resolv.h>`.
    pub options: u64,
    /// A name with fewer dots than this is completed by the list before it is looked up as it is.
    pub ndots: usize,
    /// The domains of the list that the resolver's state shows, in order.
    pub domains: [Option<&'r [u8]>; DOMAINS_MAX],
    /// Whether the list may have further domains, which the state does not show.
    pub may_have_more_domains: bool,
}

impl<'r> Rules<'r> {
    /// The rules of a thread's resolver. Without a resolver the thread may have any list.
    pub fn of(resolver: Option<&'r Resolver>) -> Rules<'r> {
        let Some(resolver) = resolver else {
            return Rules {
                options: DEFNAMES | DNSRCH,
                ndots: 1,
                domains: [None; DOMAINS_MAX],
                may_have_more_domains: true,
            };
        };
        let mut domains = [None; DOMAINS_MAX];
        let mut octets = 0;
        for (n, place) in domains.iter_mut().enumerate() {
            let Some(domain) = resolver.domain(n) else { break };
            octets += domain.len() + 1;
            *place = Some(domain);
        }
        let may_have_more_domains =
            octets > COMPLETE_OCTETS_MAX || domains.last().is_some_and(Option::is_some);
        Rules { options: resolver.options, ndots: resolver.ndots, domains, may_have_more_domains }
    }
}

/// A name as the caller requested it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'n> {
    /// The name in wire form.
    pub name: &'n Name,
    /// The number of dots in the text, including a final one.
    pub dots: usize,
    /// Whether the text has a final dot, so that the list is not used.
    pub absolute: bool,
}

/// Looks up one name.
pub type LookUp<'l> = dyn FnMut(&Name) -> Verdict + 'l;

/// Looks up the requested name and, while the result is a denial, its completions, in the order of
/// the rules.
pub fn walk(asked: &Asked<'_>, rules: &Rules<'_>, look_up: &mut LookUp<'_>) -> Verdict {
    let mut first = None;
    if asked.absolute || asked.dots >= rules.ndots {
        let verdict = look_up_as_is(asked, look_up);
        if asked.absolute || !verdict.may_continue_search() {
            return verdict;
        }
        first = Some(verdict);
    }
    let listed = rules.options & if asked.dots == 0 { DEFNAMES } else { DNSRCH } != 0;
    let count = match (listed, rules.options & DNSRCH) {
        (false, _) => 0,
        (true, 0) => 1,
        (true, _) => DOMAINS_MAX,
    };
    let (mut searched, mut root, mut no_data) = (false, false, false);
    for domain in rules.domains.iter().take(count).map_while(|domain| *domain) {
        searched = true;
        // As after a failure of a server, the rest of the list is not tried, but the name itself is.
        let Some(name) = completed(asked.name, domain) else { break };
        root |= name == *asked.name;
        let foreign = is_special(&name) || name.label_count() < 2 || host_name(name.as_wire()).is_none();
        let verdict = if foreign { Verdict::Pass } else { look_up(&name) };
        if !verdict.may_continue_search() {
            return verdict;
        }
        no_data |= matches!(verdict, Verdict::NoData);
    }
    if count == DOMAINS_MAX && rules.may_have_more_domains {
        return Verdict::Pass;
    }
    let alone = asked.dots > 0 || !searched || rules.options & NOTLDQUERY == 0;
    if first.is_none() && !root && alone {
        let verdict = look_up_as_is(asked, look_up);
        if !verdict.may_continue_search() {
            return verdict;
        }
        no_data |= matches!(verdict, Verdict::NoData);
    }
    first.unwrap_or(if no_data { Verdict::NoData } else { Verdict::NoName })
}

/// Looks up the requested name itself. A name of one label is left to other modules, since hither does
/// not forward it.
fn look_up_as_is(asked: &Asked<'_>, look_up: &mut LookUp<'_>) -> Verdict {
    if asked.dots == 0 { Verdict::Pass } else { look_up(asked.name) }
}

/// The name completed by a domain; `None` if the result is too long, or the domain is not a name.
fn completed(name: &Name, domain: &[u8]) -> Option<Name> {
    let domain = domain.strip_prefix(b".").unwrap_or(domain);
    if domain.is_empty() {
        return Some(*name);
    }
    let domain = Name::from_text(domain).ok()?.to_lower();
    let (last, labels) = name.as_wire().split_last()?;
    let mut octets = [*last; NAME_MAX];
    let mut len = 0;
    for octet in labels.iter().chain(domain.as_wire()) {
        *octets.get_mut(len)? = *octet;
        len += 1;
    }
    Name::from_wire(octets.get(..len)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: u64 = DEFNAMES | DNSRCH;

    fn rules<'r>(ndots: usize, list: &[&'r str]) -> Rules<'r> {
        let mut domains = [None; DOMAINS_MAX];
        for (place, domain) in domains.iter_mut().zip(list) {
            *place = Some(domain.as_bytes());
        }
        Rules { options: DEFAULT, ndots, domains, may_have_more_domains: false }
    }

    /// The names that are looked up for `text`, and the verdict. `known` has the verdicts of names that
    /// exist.
    fn tried(text: &str, rules: &Rules<'_>, known: &[(&str, Verdict)]) -> (String, Verdict) {
        let name: Name = text.parse().expect("a name");
        let dots = text.matches('.').count();
        let asked = Asked { name: &name, dots, absolute: text.ends_with('.') };
        let mut seen = Vec::new();
        let verdict = walk(&asked, rules, &mut |name| {
            let name = name.to_string();
            seen.push(name.trim_end_matches('.').to_owned());
            known.iter().find(|(known, _)| **known == name).map_or(Verdict::NoName, |(_, verdict)| *verdict)
        });
        (seen.join(" "), verdict)
    }

    #[test]
    fn names_with_enough_dots_come_first_and_others_last() {
        let plain = rules(1, &["corp.example", "example"]);
        let all = tried("db.prod", &plain, &[]);
        assert_eq!(all, ("db.prod db.prod.corp.example db.prod.example".into(), Verdict::NoName));
        let found = [("db.prod.corp.example.", Verdict::Found)];
        assert_eq!(tried("db.prod", &plain, &found), ("db.prod db.prod.corp.example".into(), Verdict::Found));
        let both = [("db.prod.", Verdict::Found), found[0]];
        assert_eq!(tried("db.prod", &plain, &both), ("db.prod".into(), Verdict::Found));
        let five = rules(5, &["corp.example", "example"]);
        assert_eq!(tried("db.prod", &five, &both), ("db.prod.corp.example".into(), Verdict::Found));
        assert_eq!(tried("db.prod.", &five, &both), ("db.prod".into(), Verdict::Found));
        assert_eq!(tried("db.prod.", &five, &[]), ("db.prod".into(), Verdict::NoName));
        let last = "db.prod.corp.example db.prod.example db.prod";
        assert_eq!(tried("db.prod", &five, &[]), (last.into(), Verdict::NoName));
        assert_eq!(tried("a.b.c.d.e.f", &five, &both[..1]).0.split(' ').next(), Some("a.b.c.d.e.f"));
        assert_eq!(tried("db.prod", &rules(0, &[]), &[]), ("db.prod".into(), Verdict::NoName), "no list");
    }

    #[test]
    fn a_name_of_one_label_is_completed_and_never_denied() {
        let plain = rules(1, &["corp.example", "example"]);
        assert_eq!(tried("db", &plain, &[]), ("db.corp.example db.example".into(), Verdict::Pass));
        let found = [("db.example.", Verdict::Found)];
        assert_eq!(tried("db", &plain, &found).1, Verdict::Found);
        assert_eq!(tried("db", &rules(0, &["example"]), &found), (String::new(), Verdict::Pass));
        assert_eq!(tried("db", &rules(1, &[]), &[]), (String::new(), Verdict::Pass));
        let not_alone = Rules { options: DEFAULT | NOTLDQUERY, ..plain };
        assert_eq!(tried("db", &not_alone, &[]).1, Verdict::NoName);
        assert_eq!(tried("com.", &plain, &[]), ("com".into(), Verdict::NoName));
    }

    #[test]
    fn denials_are_distinguished_and_a_failure_ends_the_search() {
        let plain = rules(1, &["corp.example", "example"]);
        let no_data = |name| [(name, Verdict::NoData)];
        assert_eq!(tried("db.prod", &plain, &no_data("db.prod.")).1, Verdict::NoData);
        let searched = tried("db.prod", &plain, &no_data("db.prod.example."));
        assert_eq!(searched.1, Verdict::NoName, "the name itself was denied first");
        let five = rules(5, &["corp.example", "example"]);
        assert_eq!(tried("db.prod", &five, &no_data("db.prod.corp.example.")).1, Verdict::NoData);
        assert_eq!(tried("db.prod", &five, &no_data("db.prod.")).1, Verdict::NoData);
        for end in [Verdict::Pass, Verdict::Alias] {
            let (seen, verdict) = tried("db.prod", &plain, &[("db.prod.corp.example.", end)]);
            assert_eq!((seen.as_str(), verdict), ("db.prod db.prod.corp.example", end));
        }
    }

    #[test]
    fn odd_domains_of_the_list_are_handled_as_by_glibc() {
        let long = format!("{0}.{0}.{0}.{0}", "x".repeat(62));
        let one = |domain: &str| tried("db.prod", &rules(5, &[domain, "example"]), &[]);
        assert_eq!(
            one("."),
            ("db.prod db.prod.example".into(), Verdict::NoName),
            "the root adds nothing to the name"
        );
        assert_eq!(one(".example").0, "db.prod.example db.prod.example db.prod");
        assert_eq!(one("Corp.Example.").0, "db.prod.corp.example db.prod.example db.prod");
        assert_eq!(one(&long), ("db.prod".into(), Verdict::NoName), "too long: the rest is not tried");
        assert_eq!(one("a..b").0, "db.prod");
        assert_eq!(one("local"), (String::new(), Verdict::Pass), "multicast DNS");
        assert_eq!(one("a b"), (String::new(), Verdict::Pass), "not a host name");
        let more = Rules { may_have_more_domains: true, ..rules(1, &["example"]) };
        assert_eq!(tried("db.prod", &more, &[]), ("db.prod db.prod.example".into(), Verdict::Pass));
        assert_eq!(tried("db.prod.", &more, &[]).1, Verdict::NoName);
        let none = Rules { options: DEFNAMES, ..more };
        assert_eq!(tried("db.prod", &none, &[]), ("db.prod".into(), Verdict::NoName), "the list is not used");
        assert_eq!(
            tried("db", &none, &[]),
            ("db.example".into(), Verdict::Pass),
            "only the first domain is used"
        );
    }
}
