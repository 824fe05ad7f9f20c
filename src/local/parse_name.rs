//! Domain names as operators write them: plain, internationalized, with `*.` in front, or in the syntax
//! of another program.

use crate::text::shown;
use hither_wire::name::{Name, NameError};
use std::net::IpAddr;

/// A name read from a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParsedName {
    /// The name in lower case.
    pub name: Name,
    /// Whether `*.` stood in front of the name, so that the name and all names below it are meant.
    pub wildcard: bool,
    /// Whether the name was an internationalized one, which was converted to A-labels (RFC 5890).
    pub idn: bool,
}

/// Why a text is not a name, and the name that was probably meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotAName {
    why: String,
    /// The name that was probably meant, or several joined by `", "`.
    suggestion: Option<String>,
}

impl std::fmt::Display for NotAName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.suggestion {
            Some(meant) => write!(f, "{}; write \"{meant}\"", self.why),
            None => write!(f, "{}; expected a name such as \"example.com\"", self.why),
        }
    }
}

impl NotAName {
    /// The same error without the suggestion to write `.`, for places where the root is not allowed
    /// either.
    #[must_use]
    pub fn without_suggested_root(self) -> NotAName {
        NotAName { suggestion: self.suggestion.filter(|meant| meant != "."), ..self }
    }
}

/// Reads a name of the configuration. Octets other than letters, digits, `-` and `_` are written as in
/// RFC 1035, section 5.1: `\047`. Only a slash between numbers below in-addr.arpa needs no escape (RFC
/// 2317).
///
/// # Errors
/// If the text is not a name; the error suggests the name that was probably meant.
pub fn parse_name(text: &str) -> Result<ParsedName, NotAName> {
    if text == "." {
        return Ok(ParsedName { name: Name::ROOT, wildcard: false, idn: false });
    }
    if let Some(zones) = reverse_zones(text) {
        return Err(NotAName { why: "it is an address, not a name".to_owned(), suggestion: zones });
    }
    let (wildcard, rest) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
    match name_of(rest) {
        Ok(name) => Ok(ParsedName { name, wildcard, idn: !rest.is_ascii() }),
        Err(_) if rest.split('.').skip(1).any(|label| label == "*") && !rest.contains("*.*.") => {
            Err(NotAName { why: "a '*' is allowed only in front of a name".to_owned(), suggestion: None })
        }
        Err(why) => Err(NotAName { why, suggestion: suggestion(text) }),
    }
}

/// The reverse zones of an address or a network. Outer `None`: the text is neither. Inner `None`: the
/// network is malformed, or has more than 16 zones.
#[expect(
    clippy::option_option,
    reason = "not an address, and an address with too many zones, are different results"
)]
fn reverse_zones(text: &str) -> Option<Option<String>> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.trim_end_matches('.').parse().ok()?;
    let (value, width, step) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32, 8),
        IpAddr::V6(v6) => (v6.to_bits(), 128, 4),
    };
    let Ok(bits) = bits.map_or(Ok(width), str::parse::<u32>) else { return Some(None) };
    let digits = bits.div_ceil(step);
    let free_bits = digits * step - bits.min(width);
    if bits > width || free_bits > 4 {
        return Some(None);
    }
    let first = value & !u128::MAX.checked_shr(bits).unwrap_or(0);
    let zone = |at: u128| {
        let value = first | at.checked_shl(128 - digits * step).unwrap_or(0);
        let digit = |place: u32| value << (place * step) >> (128 - step);
        let labels = (0..digits).rev().map(|place| match address {
            IpAddr::V4(_) => format!("{}.", digit(place)),
            IpAddr::V6(_) => format!("{:x}.", digit(place)),
        });
        labels.collect::<String>() + if address.is_ipv4() { "in-addr.arpa" } else { "ip6.arpa" }
    };
    Some(Some((0..1 << free_bits).map(zone).collect::<Vec<_>>().join("\", \"")))
}

fn name_of(text: &str) -> Result<Name, String> {
    if text.is_ascii() { escaped(text.as_bytes()) } else { to_a_labels(text) }
}

/// Reads a name that may have escapes.
fn escaped(text: &[u8]) -> Result<Name, String> {
    let mut plain = text.iter();
    let slash = is_classless(text);
    while let Some(octet) = plain.next() {
        match octet {
            b'\\' => drop(plain.next()),
            b'/' if slash => {}
            octet if is_plain(*octet) => {}
            octet => return Err(cannot_be(char::from(*octet))),
        }
    }
    read(text)
}

/// Whether the name is below in-addr.arpa and each slash in it stands between numbers (RFC 2317).
fn is_classless(text: &[u8]) -> bool {
    let text = text.to_ascii_lowercase();
    let number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    text.strip_suffix(b".").unwrap_or(&text).ends_with(b".in-addr.arpa")
        && text.split(|octet| *octet == b'.').all(|label| {
            let parts: Vec<&[u8]> = label.split(|octet| *octet == b'/').collect();
            parts.len() == 1 || parts.len() == 2 && parts.into_iter().all(number)
        })
}

/// Reads a name of a file; only letters, digits, `-` and `_` are allowed in its labels.
pub(crate) fn plain(text: &[u8]) -> Result<Name, String> {
    match text.iter().find(|octet| !is_plain(**octet)) {
        Some(octet) => Err(cannot_be(char::from(*octet))),
        None => read(text),
    }
}

/// Reads a name of a file, which may be internationalized. If so, `as_octets` also gets the name that
/// the UTF-8 octets form, since programs without IDNA ask for that.
pub(crate) fn maybe_idn(text: &[u8], mut as_octets: impl FnMut(Name)) -> Result<Name, String> {
    if text.is_ascii() {
        return plain(text);
    }
    let letters = std::str::from_utf8(text).map_err(|_| "it is neither ASCII nor UTF-8".to_owned())?;
    let name = to_a_labels(letters)?;
    if let Ok(octets) = read(text) {
        as_octets(octets);
    }
    Ok(name)
}

fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.')
}

fn cannot_be(octet: char) -> String {
    format!("{} cannot be part of it", shown(octet.to_string().as_bytes()))
}

/// Converts a name to A-labels (UTS 46, non-transitional).
fn to_a_labels(text: &str) -> Result<Name, String> {
    let ascii =
        idna::domain_to_ascii(text).map_err(|_| "it has letters that a name cannot have".to_owned())?;
    plain(ascii.as_bytes())
}

fn read(text: &[u8]) -> Result<Name, String> {
    match Name::from_text(text) {
        Ok(name) => Ok(name.to_lower()),
        Err(NameError::BadLabel) if text.is_empty() => Err("it is empty".to_owned()),
        Err(NameError::BadLabel) if text.starts_with(b".") => Err("it begins with a dot".to_owned()),
        Err(NameError::BadLabel) if text.windows(2).any(|two| two == b"..") => {
            Err("a label is empty".to_owned())
        }
        Err(NameError::BadLabel) => Err("a label has more than 63 octets".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Prefixes that other programs write in front of a name, in lower case.
const PREFIXES: [&str; 16] = [
    "address=/",
    "local=/",
    "server=/",
    "local-zone:",
    "domain-suffix,",
    "domain,",
    "suffix:",
    "domain:",
    "full:",
    "@@",
    "|",
    "~",
    "+",
    "*",
    "/",
    ".",
];

/// The text that was probably meant: a name, or several joined by `", "`. [`parse_name`]
/// accepts each of them.
fn suggestion(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    let parts = text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';'));
    let words: Vec<&str> = parts
        .filter(|word| !word.is_empty() && crate::address::read_address(word.as_bytes()).is_none())
        .collect();
    let is_name = |word: &&str| word.contains('.') && is_accepted(word);
    if words.len() > 1 && words.iter().all(is_name) {
        return Some(words.join("\", \""));
    }
    let name_within = match words.as_slice() {
        [_, _, ..] if !words.iter().any(|word| word.starts_with('.') || word.ends_with('.')) => {
            words.iter().filter_map(|word| name_within(word)).find(|name| name.contains('.'))
        }
        _ => name_within(&words.concat()),
    };
    name_within.filter(|name| is_accepted(name))
}

/// Whether [`parse_name`] accepts a text.
fn is_accepted(text: &str) -> bool {
    let rest = text.strip_prefix("*.").unwrap_or(text);
    text == "." || reverse_zones(text).is_none() && name_of(rest).is_ok()
}

/// The name within a text in the syntax of another program or of a URL.
fn name_within(text: &str) -> Option<String> {
    let mut rest = match text.split_once("://") {
        Some((_, rest)) => rest.split(['/', '?', '#']).next().unwrap_or(rest),
        None => text,
    };
    let odd = |c: char| c.is_ascii() && !is_plain(c as u8) && c != '\\';
    loop {
        let less = PREFIXES
            .iter()
            .find_map(|before| rest.strip_prefix(before))
            .or_else(|| rest.strip_prefix(|c| odd(c) && c != ':'));
        let Some(less) = less else { break };
        rest = less;
    }
    if rest.is_empty() && matches!(text, "*" | "*." | "~" | "~." | ".") {
        return Some(".".to_owned());
    }
    // A URL or mail address may have a user in front of the name.
    rest = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let end = rest.find(odd).unwrap_or(rest.len());
    let (name, behind) = rest.split_at_checked(end)?;
    // After a name a port, a path or a mark may follow. If anything else follows, this was a keyword,
    // not the name.
    let of_format =
        behind.strip_prefix(':').is_some_and(|more| !more.starts_with(|c: char| c.is_ascii_digit()));
    let within = !name.contains('.') && behind.contains(|c: char| c.is_alphanumeric());
    if of_format || within {
        return None;
    }
    let name = name.trim_end_matches('\\');
    if name.contains('\\') {
        return None;
    }
    let labels: Vec<&str> = name.split('.').filter(|label| !label.is_empty()).collect();
    Some(labels.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown_name(text: &str) -> String {
        match parse_name(text) {
            Ok(parsed) => parsed.name.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn names_are_read_in_each_spelling() {
        assert_eq!(shown_name("Corp.Example."), "corp.example.");
        assert_eq!(shown_name("_dmarc.x-y.example"), "_dmarc.x-y.example.");
        assert_eq!(shown_name("."), ".");
        assert_eq!(shown_name("0\\04725.2.0.192.in-addr.arpa"), "0/25.2.0.192.in-addr.arpa.");
        assert_eq!(shown_name("0/25.2.0.192.in-addr.arpa"), "0/25.2.0.192.in-addr.arpa.");
        let star = parse_name("*.corp.example").expect("a name");
        assert!(star.wildcard && !star.idn && star.name.to_string() == "corp.example.");
        let idn = parse_name("Bücher.example").expect("a name");
        assert!(idn.idn && idn.name.to_string() == "xn--bcher-kva.example.");
        assert_eq!(shown_name("*.faß。example"), "xn--fa-hia.example.");
    }

    #[test]
    fn a_text_that_is_no_name_is_refused_with_a_suggestion() {
        for (text, why, meant) in [
            (".corp.example", "begins with a dot", "corp.example"),
            ("/corp.example/", "'/' cannot be part", "corp.example"),
            ("~corp.example", "'~' cannot be part", "corp.example"),
            ("~.", "'~' cannot be part", "."),
            ("*", "'*' cannot be part", "."),
            ("+.corp.example", "'+' cannot be part", "corp.example"),
            ("corp.example/", "'/' cannot be part", "corp.example"),
            ("https://Corp.example/a?b", "':' cannot be part", "corp.example"),
            ("corp.example:53", "':' cannot be part", "corp.example"),
            ("domain:corp.example", "':' cannot be part", "corp.example"),
            ("corp .example", "' ' cannot be part", "corp.example"),
            (" corp.example", "' ' cannot be part", "corp.example"),
            ("a.example b.example", "' ' cannot be part", "a.example\", \"b.example"),
            ("a.example, b.example", "',' cannot be part", "a.example\", \"b.example"),
            ("0.0.0.0 ads.example", "' ' cannot be part", "ads.example"),
            ("||corp.example^", "'|' cannot be part", "corp.example"),
            ("@@||corp.example^$important", "'@' cannot be part", "corp.example"),
            ("address=/corp.example/0.0.0.0", "'=' cannot be part", "corp.example"),
            ("*corp.example", "'*' cannot be part", "corp.example"),
            ("*.*.corp.example", "'*' cannot be part", "corp.example"),
            ("corp..example", "a label is empty", "corp.example"),
            ("a.example,b.example", "',' cannot be part", "a.example\", \"b.example"),
            ("https://user@corp.example:8443/x?y#z", "':' cannot be part", "corp.example"),
            ("a@corp.example", "'@' cannot be part", "corp.example"),
            ("%corp.example", "'%' cannot be part", "corp.example"),
            ("local-zone: \"corp.example\" static", "':' cannot be part", "corp.example"),
            ("local-data: \"corp.example A 192.0.2.1\"", "':' cannot be part", "corp.example"),
            ("192.168.1.1", "it is an address", "1.1.168.192.in-addr.arpa"),
            ("10.0.0.0/8", "it is an address", "10.in-addr.arpa"),
            ("192.0.2.9/24", "it is an address", "2.0.192.in-addr.arpa"),
            ("192.0.2.0/23", "it is an address", "2.0.192.in-addr.arpa\", \"3.0.192.in-addr.arpa"),
            ("0.0.0.0/0", "it is an address", "in-addr.arpa"),
            ("2001:db8::/32", "it is an address", "8.b.d.0.1.0.0.2.ip6.arpa"),
            ("fd00::/8", "it is an address", "d.f.ip6.arpa"),
            ("~bücher.example", "'~' cannot be part", "bücher.example"),
        ] {
            let said = parse_name(text).expect_err(text).to_string();
            assert!(said.contains(why) && said.ends_with(&format!("write \"{meant}\"")), "{text:?}: {said}");
            assert!(meant.split("\", \"").all(|name| parse_name(name).is_ok()), "{text:?}: {said}");
        }
        for (text, why) in [
            ("", "it is empty"),
            ("[::1]", "'[' cannot be part"),
            ("corp.*.example", "a '*' is allowed only in front"),
            ("corp.*", "a '*' is allowed only in front"),
            ("keyword:corp", "':' cannot be part"),
            ("regexp:^corp$", "':' cannot be part"),
            ("/^corp\\.example$/", "'/' cannot be part"),
            ("bad/name", "'/' cannot be part"),
            ("a/b.example", "'/' cannot be part"),
            ("corp example", "' ' cannot be part"),
            ("10.0.0.0/33", "it is an address"),
            ("10.0.0.0/9", "it is an address"),
        ] {
            let said = parse_name(text).expect_err(text).to_string();
            assert!(said.contains(why) && said.contains("; expected a name such as"), "{text:?}: {said}");
        }
        let root = parse_name("*").expect_err("no name").without_suggested_root().to_string();
        assert!(!root.contains("write"), "{root}");
        let long = format!("{}.example", "x".repeat(64));
        assert!(shown_name(&long).contains("more than 63 octets"));
        assert!(shown_name(&"ü".repeat(80)).contains("more than 63 octets"));
    }

    proptest! {
        #[test]
        fn every_suggestion_is_a_name(text in "[|~*./@:a-cü1\" ,;^=\\\\-]{0,14}") {
            if let Err(NotAName { suggestion: Some(meant), .. }) = parse_name(&text) {
                for name in meant.split("\", \"") {
                    prop_assert!(parse_name(name).is_ok(), "{text:?} gave {meant:?}");
                }
            }
        }
    }
}
