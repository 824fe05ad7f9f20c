//! The answer for a name: found in the table, resolved by the daemon, denied, or left to the next
//! NSS module.

use crate::search::{Asked, NOALIASES, Rules, walk};
use hither_native::{Found, Full, Handle, Resolver, host_name, is_in_environment, is_special};
use hither_table::{Entry, Family, FamilyView, Monotonic, Negative, NoEntry, Wanted};
use hither_wire::name::Name;

/// The one handle of the process.
pub static HANDLE: Handle = Handle::new();

/// The result that the program gets for a name. It may take several lookups in the table, each of
/// which may end with a [`NoEntry`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The addresses were found and stored in the caller's buffer.
    Found,
    /// The addresses were found and do not fit in the caller's buffer.
    Full,
    /// The name does not exist.
    NoName,
    /// The name exists without addresses of the wanted families.
    NoData,
    /// The name is an alias of a name without addresses of the wanted families.
    Alias,
    /// No result: the next NSS module has to look up the name.
    Pass,
}

impl Verdict {
    /// Whether the search continues with the next name of the search list.
    pub fn may_continue_search(&self) -> bool {
        matches!(self, Verdict::NoName | Verdict::NoData)
    }
}

/// Stores a found entry in the caller's buffer.
pub type Fill<'f> = dyn FnMut(&Found<'_>) -> Result<(), Full> + 'f;

/// Looks up `text`, and has `fill` store the entry that is found.
pub fn resolve(text: &[u8], wanted: Wanted, fill: &mut Fill<'_>) -> Verdict {
    // Text that is not a domain name has no addresses in any module.
    let Ok(name) = Name::from_text(text) else { return Verdict::NoName };
    if is_special(&name) || name.is_root() {
        return Verdict::Pass;
    }
    // glibc's own DNS module does not look up names that are not host names either.
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

/// Looks up one name, without the search list. `until` is the time at which the program's call stops
/// waiting for the daemon; `None` before its first query.
fn find(name: &Name, wanted: Wanted, fill: &mut Fill<'_>, until: &mut Option<Monotonic>) -> Verdict {
    // A small buffer first: stacks may be small, and few entries are large.
    match search(name, wanted, &mut [0; 128], fill, until) {
        Some(verdict) => verdict,
        None => search_large(name, wanted, fill, until),
    }
}

/// [`search`] with room for the largest record.
#[inline(never)]
fn search_large(name: &Name, wanted: Wanted, fill: &mut Fill<'_>, until: &mut Option<Monotonic>) -> Verdict {
    search(name, wanted, &mut [0; hither_table::layout::RECORD_MAX], fill, until).unwrap_or(Verdict::Pass)
}

/// Looks up one name, and asks the daemon once if the table has no fresh entry. `None`: `room` is too
/// small for the record.
#[inline(never)]
fn search(
    name: &Name,
    wanted: Wanted,
    room: &mut [u64],
    fill: &mut Fill<'_>,
    until: &mut Option<Monotonic>,
) -> Option<Verdict> {
    for has_asked in [false, true] {
        match HANDLE.look(name, wanted, room) {
            Ok(Ok(found)) => {
                if found.is_answer(wanted, has_asked) {
                    return Some(verdict(&found, wanted, fill));
                }
            }
            Ok(Err(NoEntry::TooLarge)) => return None,
            Ok(Err(NoEntry::Missing | NoEntry::Replaced | NoEntry::Busy)) => {}
            Err(_) => return Some(Verdict::Pass),
        }
        if has_asked || !HANDLE.ask(name, wanted, until) {
            break;
        }
    }
    Some(Verdict::Pass)
}

/// The verdict for an entry. Addresses are stored by `fill`.
fn verdict(result: &Found<'_>, wanted: Wanted, fill: &mut Fill<'_>) -> Verdict {
    let (entry, now) = (&result.entry, result.now);
    let (mut found, mut denied, mut alias) = (false, false, false);
    for family in FAMILIES {
        let Some(set) = entry.family(family) else { continue };
        // A denial of a wanted family counts even if it has expired, since the daemon has just given it.
        denied |=
            set.negative() == Some(Negative::NxDomain) && (wanted.includes(family) || !set.expired(now));
        if !wanted.includes(family) {
            continue;
        }
        found |= !set.is_empty();
        alias |= set.is_empty() && set.chain(0).next().is_some();
    }
    match (found, denied, alias) {
        (true, ..) => fill(result).map_or(Verdict::Full, |()| Verdict::Found),
        (false, true, _) => Verdict::NoName,
        (false, false, true) => Verdict::Alias,
        (false, false, false) => Verdict::NoData,
    }
}

/// The families in the order of the result; glibc sorts the addresses of both.
pub const FAMILIES: [Family; 2] = [Family::A, Family::Aaaa];

/// The set of a family, if it is wanted and has addresses.
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
    fn only_names_of_hosts_are_converted_to_text() {
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
