//! From a name to what is to be told: found in the table, found out by the daemon, denied, or left to the next source.

use crate::search::{Asked, NOALIASES, Rules, walk};
use hither_native::{Found, Full, Handle, Resolver, host_name, is_in_environment};
use hither_table::{Entry, Family, FamilyView, Freshness, Monotonic, Negative, NoEntry, Wanted};
use hither_wire::name::Name;

/// The one handle of the process.
pub static HANDLE: Handle = Handle::new();

/// What a name comes to, for a caller who has to be told so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It was found, and told.
    Found,
    /// It was found, and the caller's buffer is too small for it.
    Full,
    /// The name does not exist.
    NoName,
    /// It exists without such addresses.
    NoData,
    /// It exists, as an alias of a name without such addresses.
    Alias,
    /// This is for the next source to find out.
    Pass,
}

impl Verdict {
    /// Whether a name for which the asked one may stand besides can still be found.
    pub fn lets_search_go_on(&self) -> bool {
        matches!(self, Verdict::NoName | Verdict::NoData)
    }
}

/// Names that other sources answer, or that must not leave the host (RFC 6761, 6762): `localhost` and multicast DNS.
pub fn is_special(name: &Name) -> bool {
    let last = name.labels().last().unwrap_or_default();
    last.eq_ignore_ascii_case(b"localhost") || last.eq_ignore_ascii_case(b"local") || is_numeric(name)
}

/// `192.0.2.1` is an address, whatever the DNS says of it; getaddrinfo does not ask us, others may.
fn is_numeric(name: &Name) -> bool {
    name.label_count() <= 4 && name.labels().all(|label| label.iter().all(u8::is_ascii_digit))
}

/// Tells what was found.
pub type Fill<'f> = dyn FnMut(&Entry<'_>, Monotonic) -> Result<(), Full> + 'f;

/// Finds `text` and lets `fill` tell what was found.
pub fn resolve(text: &[u8], wanted: Wanted, fill: &mut Fill<'_>) -> Verdict {
    // What is no domain name cannot be one's owner, here or elsewhere.
    let Ok(name) = Name::from_text(text) else { return Verdict::NoName };
    if is_special(&name) || name.is_root() {
        return Verdict::Pass;
    }
    // What is no name of a host is not looked for by the C library's own source either.
    if host_name(name.as_wire()).is_none() {
        return Verdict::NoName;
    }
    let dots = text.iter().filter(|octet| **octet == b'.').count();
    let resolver = Resolver::of_thread();
    let rules = Rules::of(resolver.as_ref());
    if dots == 0 && rules.options & NOALIASES == 0 && is_in_environment(c"HOSTALIASES") {
        return Verdict::Pass;
    }
    let asked = Asked { name: &name.to_lower(), dots, absolute: text.last() == Some(&b'.') };
    let mut until = None;
    walk(&asked, &rules, &mut |name| find(name, wanted, fill, &mut until))
}

/// Finds one name, as it stands.
fn find(name: &Name, wanted: Wanted, fill: &mut Fill<'_>, until: &mut Option<Monotonic>) -> Verdict {
    // A small room first: stacks may be small, and few entries are large.
    match search(name, wanted, &mut [0; 128], fill, until) {
        Some(verdict) => verdict,
        None => search_large(name, wanted, fill, until),
    }
}

#[inline(never)]
fn search_large(name: &Name, wanted: Wanted, fill: &mut Fill<'_>, until: &mut Option<Monotonic>) -> Verdict {
    search(name, wanted, &mut [0; hither_table::layout::RECORD_MAX], fill, until).unwrap_or(Verdict::Pass)
}

/// `None`: the room is too small.
#[inline(never)]
fn search(
    name: &Name,
    wanted: Wanted,
    room: &mut [u64],
    fill: &mut Fill<'_>,
    until: &mut Option<Monotonic>,
) -> Option<Verdict> {
    for asked in [false, true] {
        match HANDLE.look(name, wanted, room) {
            Ok(Ok(Found { entry, freshness, now })) => {
                // The daemon has answered and the entry is still over: it serves stale data (RFC 8767).
                let good = freshness == Freshness::Fresh || (asked && freshness == Freshness::Stale);
                if good {
                    return Some(verdict(&entry, wanted, now, fill));
                }
            }
            Ok(Err(NoEntry::TooLarge)) => return None,
            Ok(Err(NoEntry::Missing | NoEntry::Replaced | NoEntry::Busy)) => {}
            Err(_) => return Some(Verdict::Pass),
        }
        if asked || !HANDLE.ask(name, wanted, until) {
            break;
        }
    }
    Some(Verdict::Pass)
}

fn verdict(entry: &Entry<'_>, wanted: Wanted, now: Monotonic, fill: &mut Fill<'_>) -> Verdict {
    let (mut found, mut denied, mut alias) = (false, false, false);
    for family in FAMILIES {
        let Some(set) = entry.family(family) else { continue };
        // What was wanted may be over already: the daemon has just said it.
        denied |=
            set.negative() == Some(Negative::NxDomain) && (wanted.includes(family) || !set.expired(now));
        if !wanted.includes(family) {
            continue;
        }
        found |= !set.is_empty();
        alias |= set.is_empty() && set.chain(0).next().is_some();
    }
    match (found, denied, alias) {
        (true, ..) => fill(entry, now).map_or(Verdict::Full, |()| Verdict::Found),
        (false, true, _) => Verdict::NoName,
        (false, false, true) => Verdict::Alias,
        (false, false, false) => Verdict::NoData,
    }
}

/// IPv4 first, as the daemon stores them; glibc sorts the families.
pub const FAMILIES: [Family; 2] = [Family::A, Family::Aaaa];

/// The set of a family, if that is wanted and it is not empty.
pub fn set<'e>(entry: &Entry<'e>, family: Family, wanted: Wanted) -> Option<FamilyView<'e>> {
    entry.family(family).filter(|set| wanted.includes(family) && !set.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn what_others_answer_is_left_to_them() {
        for text in ["localhost", "foo.localhost", "printer.local", "PRINTER.Local", "192.0.2.1", "10"] {
            assert!(is_special(&name(text)), "{text}");
        }
        for text in ["www.example.com", "local.example", "1.2.3.4.example", "1.2.3.4.5", "mail"] {
            assert!(!is_special(&name(text)), "{text}");
        }
    }

    #[test]
    fn names_of_hosts_are_text_and_others_are_not() {
        let text = |name: &Name| {
            host_name(name.as_wire()).map(|octets| String::from_utf8(octets.collect()).expect("ASCII"))
        };
        assert_eq!(text(&name("www.example.com")).as_deref(), Some("www.example.com"));
        assert_eq!(text(&name("_x-1.a.")).as_deref(), Some("_x-1.a"));
        assert_eq!(text(&name("a.-b.example")).as_deref(), Some("a.-b.example"), "options begin with a dash");
        for odd in [
            "a\\046b.example",
            "a\\000b.example",
            "$(reboot).example",
            "\\195\\164.example",
            "a b.example",
            "a;id.example",
            "*.example",
            "-oProxyCommand.example",
            ".",
        ] {
            assert_eq!(text(&name(odd)), None, "{odd}");
        }
    }
}
