//! Errors of TOML syntax, explained by the line itself and with the line that was probably meant.

use super::file::File;
use super::shape::{Key, Kind, REQUIRED, SECTIONS, TOP, expected, meant, section};

/// Whether a line that a message would suggest is accepted in that section.
pub(super) fn is_accepted(section: Option<&str>, line: &str) -> bool {
    let mut text = String::new();
    if let Some(section) = section.and_then(super::shape::section) {
        text = section.header() + "\n";
        for (_, key, example) in REQUIRED.iter().filter(|(of, ..)| *of == section.name) {
            if !line.starts_with(key) {
                text = text + example + "\n";
            }
        }
    }
    toml::from_str::<File>(&(text + line)).is_ok()
}

/// Explains the error `message` of the TOML parser at an octet of the text.
pub(super) fn explain(message: &str, text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let above = text.get(..start).unwrap_or_default();
    if message.starts_with("carriage return") {
        return "the lines end in CR alone; save the file with LF line ends".to_owned();
    }
    if line.trim_start().starts_with([';', '/']) && list_above(above).is_none() {
        return "a comment begins with #".to_owned();
    }
    if let Some(plain) = plain_quotes(line) {
        return plain;
    }
    if message.starts_with("missing escaped") || message.starts_with("invalid escape") {
        return "a \\ between double quotes begins an escape: write it twice, or put the text in single quotes"
            .to_owned();
    }
    let odd =
        text.get(at..).and_then(|rest| rest.chars().next()).filter(|c| c.is_whitespace() && !c.is_ascii());
    if let Some(space) = odd {
        return format!("{} is not a space in TOML; write a plain one", space.escape_unicode());
    }
    let line = without_comment(line).trim();
    let explanation = if let Some(key) = list_above(above) {
        Some(in_list(&key, line))
    } else if line.starts_with('[') {
        Some(heading(line))
    } else if let Some((name, value)) = line.split_once('=') {
        key_of(name.trim(), above).map(|key| of_value(&key, value.trim(), message))
    } else {
        without_equals(line, above)
    };
    explanation.unwrap_or_else(|| {
        "this is not understood; expected key = value, a section in brackets, or a comment that begins with #"
            .to_owned()
    })
}

/// Suggests the line with plain quotes, if it has typographic ones.
fn plain_quotes(line: &str) -> Option<String> {
    let plain =
        line.replace(['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{ab}', '\u{bb}'], "\"");
    (plain != line)
        .then(|| format!("typographic quotes do not count in TOML; write {}", without_comment(&plain).trim()))
}

/// The line up to a `#` outside of quotes.
fn without_comment(line: &str) -> &str {
    let mut within = None;
    for (at, c) in line.char_indices() {
        match (within, c) {
            (None, '#') => return line.get(..at).unwrap_or(line),
            (None, '"' | '\'') => within = Some(c),
            (Some(open), c) if c == open => within = None,
            _ => {}
        }
    }
    line
}

fn key_of<'a>(name: &'a str, above: &str) -> Option<Key<'a>> {
    let last =
        above.lines().rev().map(str::trim).find(|line| line.starts_with('[') && !line.contains(['"', ',']));
    let last = last.map(|line| line.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    let find = |section: &str, key: &str| {
        let section = self::section(section)?;
        section.keys.iter().find(|(known, _)| *known == key).map(|(_, kind)| (section.name, *kind))
    };
    let (section, kind) = match (name.split_once('.'), last) {
        (Some((section, key)), None) => (None, find(section, key)?.1),
        (None, None) => (None, TOP.iter().find(|(known, _)| *known == name)?.1),
        (_, Some(last)) => find(last, name).map(|(section, kind)| (Some(section), kind))?,
    };
    Some(Key { section, name, kind })
}

/// The key whose list is not closed at the end of the lines above.
fn list_above(above: &str) -> Option<Key<'_>> {
    let mut rest = above;
    for line in above.lines().rev() {
        rest = rest.trim_end_matches('\n').strip_suffix(line).unwrap_or_default();
        let line = without_comment(line).trim();
        if let Some((name, value)) = line.split_once('=') {
            let open = value.trim_start().starts_with('[') && !value.trim_end().ends_with(']');
            return open.then(|| key_of(name.trim(), rest)).flatten();
        }
        if line.ends_with(']') {
            return None;
        }
    }
    None
}

fn heading(line: &str) -> String {
    let name: String =
        line.trim_start_matches('[').chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    match SECTIONS.iter().find(|section| name.eq_ignore_ascii_case(section.name)) {
        Some(section) => {
            let right = section.header();
            match line.strip_prefix(&right) {
                Some(more) if more.starts_with(char::is_whitespace) => {
                    format!("the text after {right} belongs on the next line")
                }
                _ => format!("write {right} on a line of its own"),
            }
        }
        None => "a section is written [name], or [[name]] if it may occur several times".to_owned(),
    }
}

/// The fault after the `=` of a key.
fn of_value(key: &Key<'_>, value: &str, message: &str) -> String {
    let Key { section, name, kind } = key;
    if value.is_empty() {
        return format!("no value is given for {name}; {}", expected(*kind));
    }
    if let Some(value) = value.strip_prefix('=') {
        return match Some(format!("{name} = {}", value.trim())).filter(|line| is_accepted(*section, line)) {
            Some(line) => format!("write {line}"),
            None => "expected one = between key and value".to_owned(),
        };
    }
    if !value.contains(['"', '\'']) {
        return unquoted(key, value);
    }
    if message.starts_with("invalid basic string") || message.starts_with("invalid literal string") {
        let whole = ["\"", "'", "\"]", "']"].iter().map(|end| format!("{name} = {value}{end}"));
        return match whole.into_iter().find(|line| is_accepted(*section, line)) {
            Some(line) => format!("the closing quote is missing; write {line}"),
            None => {
                "the closing quote is missing, or the text has a character that a text in quotes cannot have"
                    .to_owned()
            }
        };
    }
    if message.contains("comma") {
        return comma();
    }
    if (*section, *name) == (Some("upstream"), "address") && value.contains(',') {
        return format!("{name} takes one address; write [[upstream]] and {name} again for each further one");
    }
    format!("nothing may follow the value of {name} on its line, except for a comment that begins with #")
}

fn comma() -> String {
    "expected a comma between the texts of a list, and ] after the last".to_owned()
}

/// The fault of a value without quotes.
fn unquoted(key: &Key<'_>, value: &str) -> String {
    let text = value.trim_matches(|c: char| c.is_whitespace() || matches!(c, ',' | ';'));
    // The brackets of a list, not those of an IPv6 address.
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text).trim();
    let line = meant(key.name, key.kind, text).filter(|line| is_accepted(key.section, line));
    let how = match key.kind {
        Kind::Time | Kind::Text => ", in quotes",
        Kind::Texts | Kind::TextOrTexts => ", each in quotes",
        Kind::Number | Kind::Switch => "",
    };
    match line {
        Some(line) => format!("write {line}{how}"),
        None => format!("{}: '{text}' is not accepted; {}", key.name, expected(key.kind)),
    }
}

/// The fault of a line within a list.
fn in_list(key: &Key<'_>, line: &str) -> String {
    let item = line.trim_end_matches([',', ';', ']']).trim();
    if item.contains(['"', '\'']) || item.is_empty() || line.contains('=') {
        return comma();
    }
    let whole =
        if line.starts_with('[') && !item.contains(']') { format!("{item}]") } else { item.to_owned() };
    [item, &whole]
        .into_iter()
        .find(|item| is_accepted(key.section, &format!("{} = [\"{item}\"]", key.name)))
        .map_or_else(
            || format!("{}: {}", key.name, expected(key.kind)),
            |item| format!("write \"{item}\", in quotes"),
        )
}

/// The fault of a line without `=`.
fn without_equals(line: &str, above: &str) -> Option<String> {
    let (name, value) = line.split_once([':', ' '])?;
    let key = key_of(name.trim(), above)?;
    let value = value.trim_start_matches([':', ' ']);
    let as_it_is = Some(format!("{} = {value}", key.name)).filter(|line| is_accepted(key.section, line));
    let line = as_it_is.or_else(|| {
        meant(key.name, key.kind, value.trim_matches(['"', '\''])).filter(|l| is_accepted(key.section, l))
    });
    Some(line.map_or_else(
        || format!("write {} = and its value: {}", key.name, expected(key.kind)),
        |line| format!("write {line}"),
    ))
}

#[cfg(test)]
mod tests;
