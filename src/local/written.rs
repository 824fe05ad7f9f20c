//! Names as people write them: plain, in their own script, with `*.` before them, or wrapped in what other programs want around one.

use crate::text::shown;
use hither_wire::name::{Name, NameError};

/// A name that somebody wrote down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// In lower case.
    pub name: Name,
    /// `*.` stood before it: all below it is meant, and it.
    pub below: bool,
    /// It was written in letters that the DNS does not have, and stands as A-labels (RFC 5890).
    pub mapped: bool,
}

/// Why a text is no name, and what was probably meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotAName {
    why: String,
    nearest: Option<String>,
}

impl std::fmt::Display for NotAName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let meant = self.nearest.as_deref().unwrap_or("example.com");
        write!(f, "{}; write \"{meant}\"", self.why)
    }
}

/// Reads a name of the configuration. An octet other than letters, digits, `-` and `_` is written as in RFC 1035 section 5.1: `\047`.
///
/// # Errors
/// If it is none, with the nearest text that is one.
pub fn written(text: &str) -> Result<Written, NotAName> {
    if text == "." {
        return Ok(Written { name: Name::ROOT, below: false, mapped: false });
    }
    let (below, rest) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
    match name_of(rest) {
        Ok(name) => Ok(Written { name, below, mapped: !rest.is_ascii() }),
        Err(why) => Err(NotAName { why, nearest: nearest(text) }),
    }
}

fn name_of(text: &str) -> Result<Name, String> {
    if text.is_ascii() { escaped(text.as_bytes()) } else { mapped(text) }
}

/// A name with escapes.
fn escaped(text: &[u8]) -> Result<Name, String> {
    let mut plain = text.iter();
    while let Some(octet) = plain.next() {
        match octet {
            b'\\' => drop(plain.next()),
            octet if is_plain(*octet) => {}
            octet => return Err(cannot_be(char::from(*octet))),
        }
    }
    read(text)
}

/// A name of a file, of octets that names of hosts and services have.
pub(crate) fn plain(text: &[u8]) -> Result<Name, String> {
    match text.iter().find(|octet| !is_plain(**octet)) {
        Some(octet) => Err(cannot_be(char::from(*octet))),
        None => read(text),
    }
}

/// A name of a file, also in letters that the DNS does not have: then `as_octets` too, since programs ask so that know nothing of IDNA.
pub(crate) fn in_any_letters(text: &[u8], mut as_octets: impl FnMut(Name)) -> Result<Name, String> {
    if text.is_ascii() {
        return plain(text);
    }
    let letters = std::str::from_utf8(text).map_err(|_| "it is neither ASCII nor UTF-8".to_owned())?;
    let name = mapped(letters)?;
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

/// As A-labels (UTS 46, not transitional).
fn mapped(text: &str) -> Result<Name, String> {
    let ascii =
        idna::domain_to_ascii(text).map_err(|_| "its letters are none that a name can have".to_owned())?;
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

/// What other programs put before a name.
const BEFORE: [&str; 16] = [
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

/// The name that a text is wrapped around, if it is one.
fn nearest(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    let words: Vec<&str> =
        text.split_whitespace().filter(|word| crate::address(word.as_bytes()).is_none()).collect();
    let is_name = |word: &&str| word.contains('.') && plain(word.as_bytes()).is_ok();
    if words.len() > 1 && words.iter().all(|word| is_name(&word.trim_end_matches(','))) {
        return Some(words.iter().map(|word| word.trim_end_matches(',')).collect::<Vec<_>>().join("\", \""));
    }
    let joined = words.concat();
    let mut rest = joined.split_once("://").map_or(joined.as_str(), |(_, rest)| rest);
    while let Some(less) = BEFORE.iter().chain(&["\"", "'"]).find_map(|before| rest.strip_prefix(before)) {
        rest = less;
    }
    if rest.is_empty() && !joined.is_empty() {
        return Some(".".to_owned());
    }
    let end = rest.find(|c: char| c.is_ascii() && !is_plain(c as u8)).unwrap_or(rest.len());
    let labels: Vec<&str> = rest[..end].split('.').filter(|label| !label.is_empty()).collect();
    let name = labels.join(".");
    name_of(&name).is_ok().then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn says(text: &str) -> String {
        match written(text) {
            Ok(written) => written.name.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn names_are_taken_as_they_are_meant() {
        assert_eq!(says("Corp.Example."), "corp.example.");
        assert_eq!(says("_dmarc.x-y.example"), "_dmarc.x-y.example.");
        assert_eq!(says("."), ".");
        assert_eq!(says("0\\04725.2.0.192.in-addr.arpa"), "0/25.2.0.192.in-addr.arpa.");
        let star = written("*.corp.example").expect("a name");
        assert!(star.below && !star.mapped && star.name.to_string() == "corp.example.");
        let idn = written("Bücher.example").expect("a name");
        assert!(idn.mapped && idn.name.to_string() == "xn--bcher-kva.example.");
        assert_eq!(says("*.faß。example"), "xn--fa-hia.example.");
    }

    #[test]
    fn what_is_no_name_is_refused_with_what_was_meant() {
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
            ("", "it is empty", "example.com"),
            ("[::1]", "'[' cannot be part", "example.com"),
            ("~bücher.example", "'~' cannot be part", "bücher.example"),
        ] {
            let said = written(text).expect_err(text).to_string();
            assert!(said.contains(why) && said.ends_with(&format!("write \"{meant}\"")), "{text:?}: {said}");
        }
        let long = format!("{}.example", "x".repeat(64));
        assert!(says(&long).contains("more than 63 octets"));
        assert!(says(&"ü".repeat(80)).contains("more than 63 octets"));
    }

    proptest! {
        #[test]
        fn what_is_meant_is_a_name(text in "[|~*./@:a-cü\" ,^=-]{0,14}") {
            if let Err(NotAName { nearest: Some(meant), .. }) = written(&text) {
                for name in meant.split("\", \"") {
                    prop_assert!(written(name).is_ok(), "{text:?} gave {meant:?}");
                }
            }
        }
    }
}
