//! The `hosts` line of nsswitch.conf(5), as octets: which sources it names, and the text with hither put in or taken out.
//!
//! It is read as glibc reads it, and everything but hither's own words stays as it is, octet for octet. What glibc would pass over in
//! silence is an [`Odd`] line here, and is not touched. Not here: the file (`nss`).

use std::fmt;
use std::ops::Range;

/// What is put in. Who stands behind would ask the DNS the same again, so what hither denies is denied.
pub(super) const WORDS: &str = "hither [NOTFOUND=return]";
/// What is put in where somebody behind knows names that the DNS does not.
const WORDS_OPEN: &str = "hither";
/// Sources that add nothing to what hither denies: those that ask the DNS, and those whose names hither leaves to others.
const NOTHING_MORE: [&[u8]; 5] = [b"resolve", b"dns", b"files", b"myhostname", b"hither"];
/// The module's name.
const NAME: &[u8] = b"hither";
/// Sources that ask the DNS: hither has to come before them.
const DNS: [&[u8]; 2] = [b"resolve", b"dns"];

/// The line, as places in the text.
#[derive(Debug)]
pub(super) struct Hosts {
    line: usize,
    sources: Vec<Source>,
}

/// One source.
#[derive(Debug)]
struct Source {
    name: Range<usize>,
    /// Behind its actions, or behind its name if it has none.
    end: usize,
}

/// Why the line is left alone. Lines are counted from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Odd {
    /// There is none.
    Missing,
    /// There are two; glibc takes the last.
    Twice(usize, usize),
    /// It cannot be read: where, and what is odd.
    Unreadable(usize, &'static str),
    /// hither stands behind a source that asks the DNS, where it is asked too late.
    Late(usize, String),
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => {
                f.write_str("there is no line of hosts; expected one such as 'hosts: files dns'")
            }
            Self::Twice(first, second) => {
                write!(f, "lines {first} and {second} are both of hosts; expected one")
            }
            Self::Unreadable(line, what) => {
                write!(f, "line {line}: {what}; expected sources such as 'hosts: files dns'")
            }
            Self::Late(line, before) => write!(
                f,
                "line {line}: hither stands behind {before}; expected it before (hitherctl disable-nss && hitherctl enable-nss)"
            ),
        }
    }
}

/// The text with hither before what asks the DNS, at the end where nothing does; `None` if it is there already.
///
/// # Errors
/// If the line is missing or odd.
pub(super) fn enabled(text: &[u8]) -> Result<Option<Vec<u8>>, Odd> {
    let hosts = hosts(text)?;
    let dns = hosts.sources.iter().find(|source| DNS.contains(&&text[source.name.clone()]));
    let ours = hosts.sources.iter().find(|source| &text[source.name.clone()] == NAME);
    let last = hosts.sources.last().ok_or(Odd::Unreadable(hosts.line, "it names no source"))?;
    match (ours, dns) {
        (Some(ours), Some(dns)) if dns.end < ours.end => {
            Err(Odd::Late(hosts.line, String::from_utf8_lossy(&text[dns.name.clone()]).into_owned()))
        }
        (Some(_), _) => Ok(None),
        (None, Some(dns)) => {
            let at = dns.name.start;
            let words = if hosts.know_more(text, dns).is_empty() { WORDS } else { WORDS_OPEN };
            Ok(Some([&text[..at], words.as_bytes(), b" ", &text[at..]].concat()))
        }
        (None, None) => Ok(Some([&text[..last.end], b" ", WORDS.as_bytes(), &text[last.end..]].concat())),
    }
}

/// The text without hither, its actions and the space that came with it; `None` if it is not there.
///
/// # Errors
/// If the line is missing or odd, or would name nobody any more.
pub(super) fn disabled(text: &[u8]) -> Result<Option<Vec<u8>>, Odd> {
    let hosts = hosts(text)?;
    let mut ours = hosts.sources.iter().enumerate().filter(|(_, source)| &text[source.name.clone()] == NAME);
    let Some((at, source)) = ours.next() else { return Ok(None) };
    if ours.next().is_some() {
        return Err(Odd::Unreadable(hosts.line, "hither is named more than once"));
    }
    let before = at.checked_sub(1).and_then(|at| hosts.sources.get(at));
    let gone = match (before, hosts.sources.get(at + 1)) {
        (_, Some(next)) => source.name.start..next.name.start,
        (Some(before), None) => before.end..source.end,
        (None, None) => return Err(Odd::Unreadable(hosts.line, "hither is its only source")),
    };
    Ok(Some([&text[..gone.start], &text[gone.end..]].concat()))
}

/// What hither, put in, changes for the sources behind it.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct Behind {
    /// Those that are not asked any more for what hither denies.
    pub cut: Vec<String>,
    /// Those for whose sake it is put in without `[NOTFOUND=return]`, so that nothing is cut.
    pub kept: Vec<String>,
}

/// What [`enabled`] would change for others; nothing where it changes nothing.
pub(super) fn behind(text: &[u8]) -> Behind {
    let Ok(hosts) = hosts(text) else { return Behind::default() };
    let is_dns = |source: &&Source| DNS.contains(&&text[source.name.clone()]);
    let Some(dns) = hosts.sources.iter().find(is_dns) else { return Behind::default() };
    let kept = hosts.know_more(text, dns);
    let from = hosts.sources.iter().skip_while(|source| source.name.start < dns.name.start);
    let cut =
        from.filter(is_dns).map(|source| String::from_utf8_lossy(&text[source.name.clone()]).into_owned());
    Behind { cut: if kept.is_empty() { cut.collect() } else { Vec::new() }, kept }
}

impl Hosts {
    /// Sources behind the first that asks the DNS which are asked for what that denies, and know more than the DNS.
    fn know_more(&self, text: &[u8], dns: &Source) -> Vec<String> {
        let mut found = Vec::new();
        for source in self.sources.iter().skip_while(|source| source.name.start < dns.name.start) {
            let name = &text[source.name.clone()];
            if !NOTHING_MORE.contains(&name) {
                found.push(String::from_utf8_lossy(name).into_owned());
            }
            if returns_denials(&text[source.name.end..source.end]) {
                break;
            }
        }
        found
    }
}

/// Whether actions such as `[NOTFOUND=return]` or `[!UNAVAIL=return]` end a lookup that found nothing.
fn returns_denials(actions: &[u8]) -> bool {
    let text = String::from_utf8_lossy(actions).to_ascii_lowercase();
    let words = text.split(|c: char| c.is_whitespace() || c == '[' || c == ']');
    words.filter_map(|word| word.split_once('=')).filter(|(_, action)| *action == "return").any(
        |(status, _)| match status.strip_prefix('!') {
            Some(other) => other != "notfound",
            None => status == "notfound",
        },
    )
}

/// Whether hither is asked, and before the DNS: what [`enabled`] would leave as it is.
pub(super) fn is_enabled(text: &[u8]) -> Result<bool, Odd> {
    enabled(text).map(|changed| changed.is_none())
}

/// What the line names, for people.
///
/// # Errors
/// If the line is missing or odd.
pub(super) fn shown(text: &[u8]) -> Result<String, Odd> {
    let hosts = hosts(text)?;
    let range = match (hosts.sources.first(), hosts.sources.last()) {
        (Some(first), Some(last)) => first.name.start..last.end,
        _ => 0..0,
    };
    let words = String::from_utf8_lossy(&text[range]).into_owned();
    Ok(words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

fn hosts(text: &[u8]) -> Result<Hosts, Odd> {
    let mut found: Option<Hosts> = None;
    let mut start = 0;
    for (n, whole) in text.split_inclusive(|c| *c == b'\n').enumerate() {
        let line = n + 1;
        // There is no quoting: the first '#' ends a line wherever it stands.
        let end = whole.iter().position(|c| matches!(c, b'#' | b'\n')).unwrap_or(whole.len());
        let visible = &whole[..end];
        let word = skip(visible, 0);
        let after = until(visible, word, |c| is_space(c) || c == b':');
        if &visible[word..after] == b"hosts" {
            if let Some(first) = found {
                return Err(Odd::Twice(first.line, line));
            }
            if visible.get(after) != Some(&b':') {
                return Err(Odd::Unreadable(line, "there is no colon behind 'hosts'"));
            }
            found = Some(Hosts { line, sources: sources(visible, after + 1, start, line)? });
        }
        start += whole.len();
    }
    found.ok_or(Odd::Missing)
}

fn sources(visible: &[u8], mut at: usize, start: usize, line: usize) -> Result<Vec<Source>, Odd> {
    if visible.contains(&0) {
        return Err(Odd::Unreadable(line, "it has a NUL"));
    }
    let mut sources = Vec::new();
    loop {
        let name = skip(visible, at);
        if name == visible.len() {
            return Ok(sources);
        }
        let mut end = until(visible, name, |c| is_space(c) || c == b'[');
        if end == name {
            return Err(Odd::Unreadable(line, "actions in brackets without a source before them"));
        }
        let source = name..end;
        let bracket = skip(visible, end);
        if visible.get(bracket) == Some(&b'[') {
            let close = until(visible, bracket, |c| c == b']');
            if close == visible.len() {
                return Err(Odd::Unreadable(line, "a bracket is not closed"));
            }
            end = close + 1;
        }
        sources.push(Source { name: start + source.start..start + source.end, end: start + end });
        at = end;
    }
}

/// C's `isspace`, without the line feed that ends a line.
fn is_space(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\r' | 0x0b | 0x0c)
}

fn skip(line: &[u8], from: usize) -> usize {
    until(line, from, |c| !is_space(c))
}

fn until(line: &[u8], from: usize, stop: impl Fn(u8) -> bool) -> usize {
    line.iter().skip(from).position(|c| stop(*c)).map_or(line.len(), |n| from + n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn enable(text: &str) -> Result<String, Odd> {
        let changed = enabled(text.as_bytes())?;
        Ok(changed.map_or_else(|| text.to_owned(), |text| String::from_utf8(text).expect("as before")))
    }

    #[test]
    fn hither_stands_before_what_asks_the_dns_and_behind_all_else() {
        for (before, after) in [
            ("hosts: files dns\n", "hosts: files hither [NOTFOUND=return] dns\n"),
            (
                "hosts:\t\tfiles mymachines resolve [!UNAVAIL=return] myhostname dns # x\n",
                "hosts:\t\tfiles mymachines hither [NOTFOUND=return] resolve [!UNAVAIL=return] myhostname dns # x\n",
            ),
            (
                "hosts: files mdns4_minimal [NOTFOUND=return]dns",
                "hosts: files mdns4_minimal [NOTFOUND=return]hither [NOTFOUND=return] dns",
            ),
            (
                "passwd: files\n  hosts:files  \n#hosts: x",
                "passwd: files\n  hosts:files hither [NOTFOUND=return]  \n#hosts: x",
            ),
            ("hosts: files hither dns", "hosts: files hither dns"),
            ("hosts: hither[!UNAVAIL=return] dns", "hosts: hither[!UNAVAIL=return] dns"),
            ("hosts:dns\r\n", "hosts:hither [NOTFOUND=return] dns\r\n"),
        ] {
            assert_eq!(enable(before).as_deref(), Ok(after));
        }
    }

    #[test]
    fn who_knows_more_than_the_dns_is_still_asked() {
        for (before, after, cut, kept) in [
            ("hosts: files dns", "hosts: files hither [NOTFOUND=return] dns", "dns", ""),
            ("hosts: files dns wins", "hosts: files hither dns wins", "", "wins"),
            ("hosts: files dns mdns4 myhostname", "hosts: files hither dns mdns4 myhostname", "", "mdns4"),
            (
                "hosts: files resolve [!UNAVAIL=return] dns wins",
                "hosts: files hither [NOTFOUND=return] resolve [!UNAVAIL=return] dns wins",
                "resolve dns",
                "",
            ),
            (
                "hosts: files mdns4_minimal [NOTFOUND=return] dns mymachines",
                "hosts: files mdns4_minimal [NOTFOUND=return] hither dns mymachines",
                "",
                "mymachines",
            ),
            (
                "hosts: dns [notfound=RETURN] wins",
                "hosts: hither [NOTFOUND=return] dns [notfound=RETURN] wins",
                "dns",
                "",
            ),
            ("hosts: dns [!NOTFOUND=return] wins", "hosts: hither dns [!NOTFOUND=return] wins", "", "wins"),
            ("hosts: dns [SUCCESS=return] nis", "hosts: hither dns [SUCCESS=return] nis", "", "nis"),
        ] {
            assert_eq!(enable(before).as_deref(), Ok(after));
            let behind = behind(before.as_bytes());
            assert_eq!(
                (behind.cut.join(" ").as_str(), behind.kept.join(" ").as_str()),
                (cut, kept),
                "{before}"
            );
            assert_eq!(enable(after).as_deref(), Ok(after));
            assert_eq!(disabled(after.as_bytes()), Ok(Some(before.as_bytes().to_vec())));
        }
    }

    #[test]
    fn odd_lines_are_refused_and_said() {
        for (text, expected) in [
            ("", "there is no line of hosts"),
            ("# hosts: files dns\npasswd: files", "there is no line of hosts"),
            ("hosts: files\n\nhosts: dns\n", "lines 1 and 3 are both of hosts"),
            ("hosts:\n", "line 1: it names no source"),
            ("hosts files dns\n", "line 1: there is no colon"),
            ("hosts : files dns\n", "line 1: there is no colon"),
            ("hosts: [NOTFOUND=return] dns\n", "line 1: actions in brackets"),
            ("hosts: files [NOTFOUND=return] [SUCCESS=merge] dns\n", "line 1: actions in brackets"),
            ("hosts: files [NOTFOUND=return dns\n", "line 1: a bracket is not closed"),
            ("hosts: files \0dns\n", "line 1: it has a NUL"),
            ("hosts: files dns hither\n", "line 1: hither stands behind dns"),
        ] {
            let odd = enabled(text.as_bytes()).expect_err(text).to_string();
            assert!(odd.contains(expected) && odd.contains("expected"), "{text:?}: {odd}");
        }
        for text in ["hosts: hither\n", "hosts: hither files hither\n"] {
            assert!(disabled(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_somebody_else_put_in_is_taken_out_with_its_actions() {
        let disabled = |text: &str| disabled(text.as_bytes()).expect("plain").map(String::from_utf8);
        assert_eq!(
            disabled("hosts: files hither[!UNAVAIL=return]\tresolve dns"),
            Some(Ok("hosts: files resolve dns".to_owned()))
        );
        assert_eq!(disabled("hosts: files dns  hither # end"), Some(Ok("hosts: files dns # end".to_owned())));
        assert_eq!(disabled("hosts: hither dns"), Some(Ok("hosts: dns".to_owned())));
        assert_eq!(disabled("hosts: files dns"), None);
    }

    fn space() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["", " ", "\t", "   ", " \t"]).prop_map(str::to_owned)
    }

    fn source() -> impl Strategy<Value = String> {
        let names =
            vec!["files", "dns", "resolve", "myhostname", "mymachines", "mdns4_minimal", "nis", "hithers"];
        let actions =
            vec!["", "", " [NOTFOUND=return]", "[!UNAVAIL=return]", "  [ SUCCESS=merge  TRYAGAIN=continue ]"];
        (prop::sample::select(names), prop::sample::select(actions))
            .prop_map(|(name, actions)| format!("{name}{actions}"))
    }

    fn file() -> impl Strategy<Value = String> {
        let other =
            vec!["passwd: files\n", "\n", "# hosts: no\n", "hostsx: files dns\n", "networks: files # x\n"];
        let others = || prop::collection::vec(prop::sample::select(other.clone()), 0..4);
        let end = vec!["", "\n", " \n", "# comment\n", " # hosts: dns", "\r\n"];
        let sources = prop::collection::vec((source(), prop::sample::select(vec![" ", "\t", "  "])), 1..6);
        (others(), space(), space(), sources, prop::sample::select(end), others()).prop_map(
            |(before, indent, gap, sources, end, after)| {
                let words: String = sources.iter().map(|(source, gap)| format!("{source}{gap}")).collect();
                let after = if end.ends_with('\n') { after.concat() } else { String::new() };
                format!("{}{indent}hosts:{gap}{words}{end}{after}", before.concat())
            },
        )
    }

    proptest! {
        #[test]
        fn taking_out_what_was_put_in_gives_the_file_as_it_was(text in file()) {
            let with = enabled(text.as_bytes()).expect("a plain line").expect("a change");
            prop_assert_eq!(disabled(&with).expect("our own").expect("a change"), text.as_bytes());
            prop_assert_eq!(disabled(text.as_bytes()).expect("a plain line"), None);
        }

        #[test]
        fn putting_it_in_twice_is_putting_it_in_once(text in file()) {
            let with = enabled(text.as_bytes()).expect("a plain line").expect("a change");
            prop_assert_eq!(enabled(&with).expect("our own"), None);
            prop_assert!(is_enabled(&with).expect("our own"));
            let more = with.len() - text.len() - 1;
            prop_assert!(more == WORDS.len() || more == WORDS_OPEN.len());
        }

        #[test]
        fn any_octets_are_read_and_change_back(mut text in prop::collection::vec(any::<u8>(), 0..200), odd in prop::collection::vec(prop::sample::select(b"hosts: dnither[]#\n\t\0".to_vec()), 0..80)) {
            text.extend(b"\nhosts:");
            text.extend(odd);
            let _ = shown(&text);
            if let Ok(Some(with)) = enabled(&text) {
                prop_assert_eq!(disabled(&with).expect("our own").expect("a change"), text);
            }
        }
    }
}
