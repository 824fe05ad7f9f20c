//! Lines of block lists in the formats in which lists are published: plain names, hosts(5), adblock's
//! `||name^`, settings of dnsmasq and unbound.
//!
//! A rule with conditions beyond the name is rejected as a whole rather than applied in part.

use crate::address::read_address;
use crate::text::{shown, words};

/// Which names a name in a line stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    /// The name alone is blocked.
    Exact,
    /// The operator's `match` decides which names are blocked.
    Configured,
    /// The name and all names below it are blocked.
    Subtree,
    /// An exception: the name and all names below it are not blocked.
    Allowed,
}

/// The kind of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Line {
    /// An empty line or a comment.
    Empty,
    /// A comment, a heading or a setting of another format.
    Remark,
    /// A line that blocks names or excepts them.
    Rule,
}

/// Reads a line and passes each of its names to `add`, which returns the fault of a name.
///
/// # Errors
/// The reason why the line is not understood, or the fault of one of its names; the other names
/// have been passed on.
pub(crate) fn read(
    line: &[u8],
    mut add: impl FnMut(&[u8], Scope) -> Result<(), String>,
) -> Result<Line, String> {
    let start = line.iter().position(|octet| !octet.is_ascii_whitespace()).unwrap_or(line.len());
    match line.get(start) {
        None => return Ok(Line::Empty),
        Some(b'!' | b';' | b'[' | b'$') => return Ok(Line::Remark),
        Some(_) => {}
    }
    if is_element_rule(line) {
        return Err("it hides parts of web pages, and blocks no name".to_owned());
    }
    // A '#' at the end of a dnsmasq setting begins no comment.
    let setting = line[start..].split(u8::is_ascii_whitespace).next().unwrap_or_default();
    for (before, is_server) in [(&b"address=/"[..], false), (b"local=/", false), (b"server=/", true)] {
        if let Some(rest) = setting.strip_prefix(before) {
            dnsmasq(rest, is_server, &mut add)?;
            return Ok(Line::Rule);
        }
    }
    let mut words = words(line);
    let Some(first) = words.next() else { return Ok(Line::Empty) };
    match first {
        b"server:" => return Ok(Line::Remark),
        b"local-zone:" => unbound_zone(words, &mut add)?,
        b"local-data:" => unbound_data(words, &mut add)?,
        first if read_address(first).is_some() => hosts_line(words, &mut add)?,
        first if words.next().is_some() => {
            return Err(format!("{} is not an address, and a name has to stand alone", shown(first)));
        }
        first => single_word(first, &mut add)?,
    }
    Ok(Line::Rule)
}

/// Whether the line is an adblock rule for elements of web pages, such as `example.com##.banner`.
fn is_element_rule(line: &[u8]) -> bool {
    let Some(at) = line.iter().position(|octet| *octet == b'#') else { return false };
    let follows_text = at > 0 && !line[at - 1].is_ascii_whitespace();
    follows_text && matches!(line.get(at + 1), Some(b'#' | b'@' | b'?' | b'$' | b'%'))
}

type Add<'a> = dyn FnMut(&[u8], Scope) -> Result<(), String> + 'a;

fn hosts_line<'a>(names: impl Iterator<Item = &'a [u8]>, add: &mut Add<'_>) -> Result<(), String> {
    let mut all = None;
    for name in names {
        let added = add(name, Scope::Exact);
        all = Some(all.unwrap_or(Ok(())).and(added));
    }
    all.unwrap_or_else(|| Err("a name is missing after the address".to_owned()))
}

fn single_word(word: &[u8], add: &mut Add<'_>) -> Result<(), String> {
    if let Some(rest) = word.strip_prefix(b"@@||") {
        return add(adblock(rest)?, Scope::Allowed);
    }
    if let Some(rest) = word.strip_prefix(b"||") {
        return add(adblock(rest)?, Scope::Subtree);
    }
    match word {
        [b'*', b'.', rest @ ..] | [b'.', rest @ ..] => add(rest, Scope::Subtree),
        word => add(word, Scope::Configured),
    }
}

/// `name^`, and the options after it that do not change which names are blocked.
fn adblock(rest: &[u8]) -> Result<&[u8], String> {
    let end = rest.iter().position(|octet| *octet == b'^').ok_or("'^' is missing after the name")?;
    match &rest[end + 1..] {
        b"" | b"|" | b"$important" | b"$all" => {
            let name = &rest[..end];
            Ok(name.strip_prefix(b"*.").unwrap_or(name))
        }
        more => Err(format!("{} is a condition, which cannot be checked here", shown(more))),
    }
}

/// `name/name/value`. A `server` setting with a value forwards the names to a server and blocks nothing.
fn dnsmasq(rest: &[u8], is_server: bool, add: &mut Add<'_>) -> Result<(), String> {
    let end = rest.iter().rposition(|octet| *octet == b'/').ok_or("'/' is missing after the name")?;
    if is_server && rest.len() > end + 1 {
        return Err("it names a server to ask, and blocks nothing".to_owned());
    }
    let mut all = Ok(());
    for name in rest[..end].split(|octet| *octet == b'/') {
        all = all.and(add(name.strip_prefix(b"*.").unwrap_or(name), Scope::Subtree));
    }
    all
}

/// `local-zone: "name" type`.
fn unbound_zone<'a>(mut words: impl Iterator<Item = &'a [u8]>, add: &mut Add<'_>) -> Result<(), String> {
    let (name, kind) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match kind {
        b"static" | b"redirect" | b"deny" | b"refuse" | b"inform_deny" | b"inform_redirect"
        | b"always_nxdomain" | b"always_nodata" | b"always_null" | b"always_deny" | b"always_refuse" => {
            add(unquoted(name), Scope::Subtree)
        }
        kind => Err(format!("a zone of type {} blocks nothing", shown(kind))),
    }
}

/// `local-data: "name [ttl] [IN] A address"`.
fn unbound_data<'a>(words: impl Iterator<Item = &'a [u8]>, add: &mut Add<'_>) -> Result<(), String> {
    let mut words = words.map(unquoted).filter(|word| !word.is_empty());
    let name = words.next().unwrap_or_default();
    let rest: Vec<&[u8]> = words.collect();
    match rest.as_slice() {
        [.., b"A" | b"AAAA", data] if read_address(data).is_some() => add(name, Scope::Exact),
        _ => Err("only addresses block a name".to_owned()),
    }
}

fn unquoted(word: &[u8]) -> &[u8] {
    let word = word.strip_prefix(b"\"").unwrap_or(word);
    word.strip_suffix(b"\"").unwrap_or(word)
}
