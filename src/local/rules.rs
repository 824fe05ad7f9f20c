//! Lines of block lists, in the formats in which lists are published: names, hosts(5), adblock's `||name^`, settings of dnsmasq and unbound.
//!
//! A rule that says more than which names are blocked is not understood, rather than understood in part.

use crate::address;
use crate::text::{shown, words};

/// What a name in a line stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Means {
    /// The name alone.
    Exactly,
    /// What the operator chose for plain names.
    AsChosen,
    /// The name and all below it.
    Below,
    /// The name and all below it are not blocked.
    Allowed,
}

/// What a line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Line {
    /// Empty or a comment.
    Nothing,
    /// A comment, a heading or a setting of another format.
    Remark,
    /// It says something of names.
    Rule,
}

/// Reads a line and hands its names to `add`, which says what is wrong with one.
///
/// # Errors
/// Why it means nothing, or what is wrong with one of its names; the others have been handed over.
pub(crate) fn read(
    line: &[u8],
    mut add: impl FnMut(&[u8], Means) -> Result<(), String>,
) -> Result<Line, String> {
    let start = line.iter().position(|octet| !octet.is_ascii_whitespace()).unwrap_or(line.len());
    match line.get(start) {
        None => return Ok(Line::Nothing),
        Some(b'!' | b';' | b'[' | b'$') => return Ok(Line::Remark),
        Some(_) => {}
    }
    if is_about_pages(line) {
        return Err("it is about parts of pages, not names".to_owned());
    }
    // A setting may end in '#', which begins no comment there.
    let setting = line[start..].split(u8::is_ascii_whitespace).next().unwrap_or_default();
    for (before, is_server) in [(&b"address=/"[..], false), (b"local=/", false), (b"server=/", true)] {
        if let Some(rest) = setting.strip_prefix(before) {
            dnsmasq(rest, is_server, &mut add)?;
            return Ok(Line::Rule);
        }
    }
    let mut words = words(line);
    let Some(first) = words.next() else { return Ok(Line::Nothing) };
    match first {
        b"server:" => return Ok(Line::Remark),
        b"local-zone:" => unbound_zone(words, &mut add)?,
        b"local-data:" => unbound_data(words, &mut add)?,
        first if address(first).is_some() => of_hosts(words, &mut add)?,
        first if words.next().is_some() => {
            return Err(format!("{} is no address, and a name stands alone", shown(first)));
        }
        first => alone(first, &mut add)?,
    }
    Ok(Line::Rule)
}

/// `example.com##.banner` and its kin: rules of adblock for elements of pages.
fn is_about_pages(line: &[u8]) -> bool {
    let Some(at) = line.iter().position(|octet| *octet == b'#') else { return false };
    let glued = at > 0 && !line[at - 1].is_ascii_whitespace();
    glued && matches!(line.get(at + 1), Some(b'#' | b'@' | b'?' | b'$' | b'%'))
}

type Add<'a> = dyn FnMut(&[u8], Means) -> Result<(), String> + 'a;

fn of_hosts<'a>(names: impl Iterator<Item = &'a [u8]>, add: &mut Add<'_>) -> Result<(), String> {
    let mut all = None;
    for name in names {
        let added = add(name, Means::Exactly);
        all = Some(all.unwrap_or(Ok(())).and(added));
    }
    all.unwrap_or_else(|| Err("a name is missing behind the address".to_owned()))
}

fn alone(word: &[u8], add: &mut Add<'_>) -> Result<(), String> {
    if let Some(rest) = word.strip_prefix(b"@@||") {
        return add(adblock(rest)?, Means::Allowed);
    }
    if let Some(rest) = word.strip_prefix(b"||") {
        return add(adblock(rest)?, Means::Below);
    }
    match word {
        [b'*', b'.', rest @ ..] | [b'.', rest @ ..] => add(rest, Means::Below),
        word => add(word, Means::AsChosen),
    }
}

/// `name^`, and what may follow it without changing what is blocked.
fn adblock(rest: &[u8]) -> Result<&[u8], String> {
    let end = rest.iter().position(|octet| *octet == b'^').ok_or("'^' is missing behind the name")?;
    match &rest[end + 1..] {
        b"" | b"|" | b"$important" | b"$all" => {
            let name = &rest[..end];
            Ok(name.strip_prefix(b"*.").unwrap_or(name))
        }
        more => Err(format!("{} says when it counts, which cannot be known here", shown(more))),
    }
}

/// `name/name/value`. A `server` with a value says whom to ask, and blocks nothing.
fn dnsmasq(rest: &[u8], is_server: bool, add: &mut Add<'_>) -> Result<(), String> {
    let end = rest.iter().rposition(|octet| *octet == b'/').ok_or("'/' is missing behind the name")?;
    if is_server && rest.len() > end + 1 {
        return Err("it says whom to ask, and blocks nothing".to_owned());
    }
    let mut all = Ok(());
    for name in rest[..end].split(|octet| *octet == b'/') {
        all = all.and(add(name.strip_prefix(b"*.").unwrap_or(name), Means::Below));
    }
    all
}

/// `"name" type`.
fn unbound_zone<'a>(mut words: impl Iterator<Item = &'a [u8]>, add: &mut Add<'_>) -> Result<(), String> {
    let (name, kind) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match kind {
        b"static" | b"redirect" | b"deny" | b"refuse" | b"inform_deny" | b"inform_redirect"
        | b"always_nxdomain" | b"always_nodata" | b"always_null" | b"always_deny" | b"always_refuse" => {
            add(unquoted(name), Means::Below)
        }
        kind => Err(format!("a zone of type {} blocks nothing", shown(kind))),
    }
}

/// `"name [ttl] [IN] A address"`.
fn unbound_data<'a>(words: impl Iterator<Item = &'a [u8]>, add: &mut Add<'_>) -> Result<(), String> {
    let mut words = words.map(unquoted).filter(|word| !word.is_empty());
    let name = words.next().unwrap_or_default();
    let rest: Vec<&[u8]> = words.collect();
    match rest.as_slice() {
        [.., b"A" | b"AAAA", data] if address(data).is_some() => add(name, Means::Exactly),
        _ => Err("only addresses block a name".to_owned()),
    }
}

fn unquoted(word: &[u8]) -> &[u8] {
    let word = word.strip_prefix(b"\"").unwrap_or(word);
    word.strip_suffix(b"\"").unwrap_or(word)
}
