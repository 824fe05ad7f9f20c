//! The `hosts` line of nsswitch.conf(5): which sources it names, and the text with hither added or
//! removed. Pure; the file is read and written in `nss`.
//!
//! The line is read as glibc reads it. All octets but those of hither's own words stay as they are.
//! A line that glibc would silently ignore is an error here, and is not changed.

use std::fmt;
use std::ops::Range;

/// The words that are added. The sources after them would ask the DNS the same question again, so a
/// name that hither denies is denied.
pub(super) const WORDS: &str = "hither [NOTFOUND=return]";
/// The words that are added before a source that knows other names than the DNS.
const WORDS_OPEN: &str = "hither";
/// Sources that know no name that hither denies: those that ask the DNS, and those whose names
/// hither does not deny.
const KNOW_NO_MORE: [&[u8]; 5] = [b"resolve", b"dns", b"files", b"myhostname", b"hither"];
/// The source's name.
const NAME: &[u8] = b"hither";
/// Sources that ask the DNS: hither has to be named before them.
const DNS: [&[u8]; 2] = [b"resolve", b"dns"];

/// The line, as positions in the text.
#[derive(Debug)]
struct HostsLine {
    /// The number of the line, from 1.
    line: usize,
    sources: Vec<Source>,
}

/// A source, as positions in the text.
#[derive(Debug)]
struct Source {
    name: Range<usize>,
    /// The end of the source's actions, or of its name if it has none.
    end: usize,
}

/// Why the line cannot be changed. Lines are counted from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum LineError {
    /// There is no such line.
    Missing,
    /// There are two; glibc uses the last one.
    Twice(usize, usize),
    /// The line with this number cannot be parsed, for this reason.
    Unreadable(usize, &'static str),
    /// hither is named after a source that asks the DNS, so that it is asked too late.
    Late(usize, String),
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no hosts line; expected one such as 'hosts: files dns'"),
            Self::Twice(first, second) => {
                write!(f, "lines {first} and {second} are both hosts lines; expected one")
            }
            Self::Unreadable(line, what) => {
                write!(f, "line {line}: {what}; expected sources such as 'hosts: files dns'")
            }
            Self::Late(line, before) => write!(
                f,
                "line {line}: hither is named after {before}; expected it before (hitherctl disable-nss && hitherctl enable-nss)"
            ),
        }
    }
}

/// The text with hither before the first source that asks the DNS, or else at the end of the line;
/// `None` if it is there already.
///
/// # Errors
/// If the line is missing or cannot be read.
pub(super) fn enabled(text: &[u8]) -> Result<Option<Vec<u8>>, LineError> {
    let hosts = hosts(text)?;
    let dns = hosts.sources.iter().find(|source| DNS.contains(&&text[source.name.clone()]));
    let ours = hosts.sources.iter().find(|source| &text[source.name.clone()] == NAME);
    let last = hosts.sources.last().ok_or(LineError::Unreadable(hosts.line, "it names no source"))?;
    match (ours, dns) {
        (Some(ours), Some(dns)) if dns.end < ours.end => {
            Err(LineError::Late(hosts.line, String::from_utf8_lossy(&text[dns.name.clone()]).into_owned()))
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

/// The text without hither, its actions and the space that belongs to it; `None` if it is not there.
///
/// # Errors
/// If the line is missing or cannot be read, or would name no source any more.
pub(super) fn disabled(text: &[u8]) -> Result<Option<Vec<u8>>, LineError> {
    let hosts = hosts(text)?;
    let mut ours = hosts.sources.iter().enumerate().filter(|(_, source)| &text[source.name.clone()] == NAME);
    let Some((at, source)) = ours.next() else { return Ok(None) };
    if ours.next().is_some() {
        return Err(LineError::Unreadable(hosts.line, "hither is named more than once"));
    }
    let before = at.checked_sub(1).and_then(|at| hosts.sources.get(at));
    let removed = match (before, hosts.sources.get(at + 1)) {
        (_, Some(next)) => source.name.start..next.name.start,
        (Some(before), None) => before.end..source.end,
        (None, None) => return Err(LineError::Unreadable(hosts.line, "hither is its only source")),
    };
    Ok(Some([&text[..removed.start], &text[removed.end..]].concat()))
}

/// How adding hither changes which sources are asked.
#[derive(PartialEq, Eq, Debug, Default)]
struct Effect {
    /// Sources that are no longer asked for names that hither denies.
    cut: Vec<String>,
    /// Sources that still are, since hither is added without `[NOTFOUND=return]` for their sake.
    /// Then `cut` is empty.
    kept: Vec<String>,
}

/// How adding hither changes which sources are asked, for the operator; `None` if it does not.
pub(super) fn effect(text: &[u8]) -> Option<String> {
    let Effect { cut, kept } = effect_of(text);
    match (cut.as_slice(), kept.as_slice()) {
        ([], []) => None,
        ([], kept) => Some(format!(
            "without [NOTFOUND=return], so that {} is asked as before for names that the DNS denies",
            kept.join(", ")
        )),
        (cut, _) => {
            Some(format!("takes away: {} is no longer asked for names that hither denies", cut.join(", ")))
        }
    }
}

fn effect_of(text: &[u8]) -> Effect {
    let Ok(hosts) = hosts(text) else { return Effect::default() };
    let is_dns = |source: &&Source| DNS.contains(&&text[source.name.clone()]);
    let Some(dns) = hosts.sources.iter().find(is_dns) else { return Effect::default() };
    let kept = hosts.know_more(text, dns);
    let from = hosts.sources.iter().skip_while(|source| source.name.start < dns.name.start);
    let cut =
        from.filter(is_dns).map(|source| String::from_utf8_lossy(&text[source.name.clone()]).into_owned());
    Effect { cut: if kept.is_empty() { cut.collect() } else { Vec::new() }, kept }
}

impl HostsLine {
    /// Sources that are asked for names that the DNS denies, and that know other names.
    fn know_more(&self, text: &[u8], dns: &Source) -> Vec<String> {
        let mut found = Vec::new();
        for source in self.sources.iter().skip_while(|source| source.name.start < dns.name.start) {
            let name = &text[source.name.clone()];
            if !KNOW_NO_MORE.contains(&name) {
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

/// Whether hither is asked, and before the DNS.
pub(super) fn is_enabled(text: &[u8]) -> Result<bool, LineError> {
    enabled(text).map(|changed| changed.is_none())
}

/// The sources of the line, for the operator.
///
/// # Errors
/// If the line is missing or cannot be read.
pub(super) fn shown(text: &[u8]) -> Result<String, LineError> {
    let hosts = hosts(text)?;
    let range = match (hosts.sources.first(), hosts.sources.last()) {
        (Some(first), Some(last)) => first.name.start..last.end,
        _ => 0..0,
    };
    let words = String::from_utf8_lossy(&text[range]).into_owned();
    Ok(words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

/// Finds and reads the line.
fn hosts(text: &[u8]) -> Result<HostsLine, LineError> {
    let mut found: Option<HostsLine> = None;
    let mut start = 0;
    for (n, full_line) in text.split_inclusive(|c| *c == b'\n').enumerate() {
        let line = n + 1;
        // There is no quoting: a line ends at its first '#'.
        let end = full_line.iter().position(|c| matches!(c, b'#' | b'\n')).unwrap_or(full_line.len());
        let visible = &full_line[..end];
        let word = skip(visible, 0);
        let after = until(visible, word, |c| is_space(c) || c == b':');
        if &visible[word..after] == b"hosts" {
            if let Some(first) = found {
                return Err(LineError::Twice(first.line, line));
            }
            if visible.get(after) != Some(&b':') {
                return Err(LineError::Unreadable(line, "there is no colon after 'hosts'"));
            }
            found = Some(HostsLine { line, sources: sources(visible, after + 1, start, line)? });
        }
        start += full_line.len();
    }
    found.ok_or(LineError::Missing)
}

/// Reads the sources of line number `line` from `at`; the line begins at `start` in the text.
fn sources(visible: &[u8], mut at: usize, start: usize, line: usize) -> Result<Vec<Source>, LineError> {
    if visible.contains(&0) {
        return Err(LineError::Unreadable(line, "it has a NUL"));
    }
    let mut sources = Vec::new();
    loop {
        let name = skip(visible, at);
        if name == visible.len() {
            return Ok(sources);
        }
        let mut end = until(visible, name, |c| is_space(c) || c == b'[');
        if end == name {
            return Err(LineError::Unreadable(line, "actions in brackets without a source before them"));
        }
        let source = name..end;
        let bracket = skip(visible, end);
        if visible.get(bracket) == Some(&b'[') {
            let close = until(visible, bracket, |c| c == b']');
            if close == visible.len() {
                return Err(LineError::Unreadable(line, "a bracket is not closed"));
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

/// The position of the first character from there that is no space.
fn skip(line: &[u8], from: usize) -> usize {
    until(line, from, |c| !is_space(c))
}

/// The position of the first character from there for which `stop` holds.
fn until(line: &[u8], from: usize, stop: impl Fn(u8) -> bool) -> usize {
    line.iter().skip(from).position(|c| stop(*c)).map_or(line.len(), |n| from + n)
}

#[cfg(test)]
mod tests;
