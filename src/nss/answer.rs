//! From a name to what is to be told: found in the table, found out by the daemon, denied, or left to the next source.

use hither_native::{Handle, Look};
use hither_table::{Entry, Family, FamilyView, Freshness, Monotonic, Negative, Wanted};
use hither_wire::name::Name;

/// The one handle of the process.
pub static HANDLE: Handle = Handle::new();

/// What a name comes to, for a caller who has to be told so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict<T> {
    /// It was found.
    Found(T),
    /// The name does not exist.
    NoName,
    /// It exists without such addresses.
    NoData,
    /// This is for the next source to find out.
    Pass,
}

/// Names that other sources answer, or that must not leave the host (RFC 6761, 6762): everything without a dot, for which resolvers
/// have search lists that are not ours, `localhost`, and multicast DNS.
pub fn is_special(name: &Name, absolute: bool) -> bool {
    let last = name.labels().last().unwrap_or_default();
    let single = name.label_count() < 2 && !absolute;
    single
        || last.eq_ignore_ascii_case(b"localhost")
        || last.eq_ignore_ascii_case(b"local")
        || is_numeric(name)
}

/// `192.0.2.1` is an address, whatever the DNS says of it; getaddrinfo does not ask us, others may.
fn is_numeric(name: &Name) -> bool {
    name.label_count() <= 4 && name.labels().all(|label| label.iter().all(u8::is_ascii_digit))
}

/// Finds `text` and lets `fill` tell what was found.
pub fn resolve<T>(
    text: &[u8],
    wanted: Wanted,
    mut fill: impl FnMut(&Entry<'_>, Monotonic) -> T,
) -> Verdict<T> {
    // What is no domain name cannot be one's owner, here or elsewhere.
    let Ok(name) = Name::from_text(text) else { return Verdict::NoName };
    if is_special(&name, text.last() == Some(&b'.')) {
        return Verdict::Pass;
    }
    let name = name.to_lower();
    // A small room first: stacks may be small, and few entries are large.
    match search(&name, wanted, &mut [0; 128], &mut fill) {
        Some(verdict) => verdict,
        None => search_large(&name, wanted, &mut fill),
    }
}

#[inline(never)]
fn search_large<T>(
    name: &Name,
    wanted: Wanted,
    fill: &mut impl FnMut(&Entry<'_>, Monotonic) -> T,
) -> Verdict<T> {
    search(name, wanted, &mut [0; hither_table::layout::RECORD_MAX], fill).unwrap_or(Verdict::Pass)
}

/// `None`: the room is too small.
fn search<T>(
    name: &Name,
    wanted: Wanted,
    room: &mut [u64],
    fill: &mut impl FnMut(&Entry<'_>, Monotonic) -> T,
) -> Option<Verdict<T>> {
    for asked in [false, true] {
        match HANDLE.look(name, wanted, room) {
            Look::Found(entry, freshness, now) => {
                // The daemon has answered and the entry is still over: it serves stale data (RFC 8767).
                let good = freshness == Freshness::Fresh || (asked && freshness == Freshness::Stale);
                if good {
                    return Some(verdict(&entry, wanted, now, fill));
                }
            }
            Look::TooLarge => return None,
            Look::None(_) => return Some(Verdict::Pass),
            Look::Missing | Look::Busy => {}
        }
        if asked || !HANDLE.ask(name, wanted) {
            break;
        }
    }
    Some(Verdict::Pass)
}

fn verdict<T>(
    entry: &Entry<'_>,
    wanted: Wanted,
    now: Monotonic,
    fill: &mut impl FnMut(&Entry<'_>, Monotonic) -> T,
) -> Verdict<T> {
    let sets = [Family::A, Family::Aaaa].map(|family| entry.family(family));
    let [a, aaaa] = &sets;
    let mut any = false;
    let mut denied = false;
    for (family, set) in [(Family::A, a), (Family::Aaaa, aaaa)] {
        let Some(set) = set else { continue };
        any |= wanted.includes(family) && !set.is_empty();
        denied |= set.negative() == Some(Negative::NxDomain) && !set.expired(now);
    }
    match (any, denied) {
        (true, _) => Verdict::Found(fill(entry, now)),
        (false, true) => Verdict::NoName,
        (false, false) => Verdict::NoData,
    }
}

/// The sets that are wanted and not empty, IPv4 first as the daemon stores them; glibc sorts the families.
pub fn sets<'e>(entry: &Entry<'e>, wanted: Wanted) -> impl Iterator<Item = FamilyView<'e>> + Clone + use<'e> {
    let entry = *entry;
    let families = [Family::A, Family::Aaaa].into_iter().filter(move |family| wanted.includes(*family));
    families.filter_map(move |family| entry.family(family)).filter(|set| !set.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hither_native::host_name;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn what_others_answer_is_left_to_them() {
        for text in
            ["localhost", "foo.localhost", "printer.local", "PRINTER.Local", "mail", "192.0.2.1", "10"]
        {
            assert!(is_special(&name(text), false), "{text}");
        }
        for text in ["www.example.com", "local.example", "1.2.3.4.example", "1.2.3.4.5"] {
            assert!(!is_special(&name(text), false), "{text}");
        }
        assert!(!is_special(&name("com."), true), "a final dot asks for just that name");
    }

    #[test]
    fn names_of_hosts_are_text_and_others_are_not() {
        let text = |name: &Name| {
            host_name(name.as_wire()).map(|octets| String::from_utf8(octets.collect()).expect("ASCII"))
        };
        assert_eq!(text(&name("www.example.com")).as_deref(), Some("www.example.com"));
        assert_eq!(text(&name("_x-1.a.")).as_deref(), Some("_x-1.a"));
        for odd in [
            "a\\046b.example",
            "a\\000b.example",
            "$(reboot).example",
            "\\195\\164.example",
            "a b.example",
            ".",
        ] {
            assert_eq!(text(&name(odd)), None, "{odd}");
        }
    }
}
