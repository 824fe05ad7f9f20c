//! The shape of hither.toml: which sections there are, which keys they have, and of what kind each value is. What does not fit is said in the
//! file's own words, before the values themselves are looked at.

use super::error::ConfigError;
use super::slips::{self, header, taken};
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is written behind a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A duration in quotes.
    Time,
    /// A whole number.
    Number,
    /// true or false.
    Switch,
    /// Something else in quotes.
    Text,
    /// A list of such.
    Texts,
    /// One or a list.
    TextOrTexts,
}

use Kind::{Number, Switch, Text, TextOrTexts, Texts, Time};

/// A section: its name, whether there may be several, and its keys.
pub(super) type Section = (&'static str, bool, &'static [(&'static str, Kind)]);

/// Keys before the first section.
pub(super) const TOP: &[(&str, Kind)] = &[("runtime_dir", Text), ("state_dir", Text)];

pub(super) const SECTIONS: &[Section] = &[
    ("listen", false, &[("dns", Texts), ("allow", Texts), ("workers", Number)]),
    ("upstream", true, &[("address", Text)]),
    ("domain", true, &[("names", Texts), ("upstreams", Texts)]),
    ("hosts", false, &[("files", Texts), ("own_name", Switch)]),
    ("block", true, &[("files", Texts), ("names", Texts), ("match", Text), ("answer", TextOrTexts)]),
    (
        "limits",
        false,
        &[
            ("rounds", Number),
            ("attempts", Number),
            ("clients", Number),
            ("clients_per_network", Number),
            ("tcp", Number),
            ("tcp_per_network", Number),
            ("replies_per_second", Number),
        ],
    ),
    (
        "round",
        false,
        &[
            ("first", Number),
            ("fallback", Time),
            ("batch", Number),
            ("stagger", Time),
            ("complete", Switch),
            ("deadline", Time),
            ("negative_grace", Time),
            ("deny", Text),
            ("mix_case", Switch),
        ],
    ),
    ("rebinding", false, &[("protect", Switch), ("allow", Texts)]),
    (
        "cache",
        false,
        &[
            ("entries", Number),
            ("min_ttl", Time),
            ("max_ttl", Time),
            ("max_negative_ttl", Time),
            ("failure_ttl", Time),
            ("stale", Time),
            ("stale_wait", Time),
            ("stale_ttl", Time),
            ("prefetch", Switch),
            ("save", Time),
        ],
    ),
    ("table", false, &[("entries", Number), ("mode", Text)]),
    (
        "sort",
        false,
        &[
            ("enabled", Switch),
            ("probes", Texts),
            ("timeout", Time),
            ("remeasure", Time),
            ("private", Switch),
            ("rate", Number),
            ("hysteresis", Time),
        ],
    ),
    ("log", false, &[("level", Text)]),
];

/// Keys that a block cannot be without, each with a line that is right.
pub(super) const REQUIRED: &[(&str, &str, &str)] = &[
    ("upstream", "address", "address = \"192.0.2.1\""),
    ("domain", "names", "names = [\"example.com\"]"),
    ("domain", "upstreams", "upstreams = [\"192.0.2.1\"]"),
];

/// What does not fit: where, and what to write.
type Misfit = (Range<usize>, String);

/// Checks the shape of a file.
pub(super) fn check(path: &Path, text: &str) -> Result<(), ConfigError> {
    let misfit = match DeTable::parse(text) {
        Ok(table) => top(table.get_ref()),
        // What is there twice is told by who reads the values.
        Err(error) if error.message() == "duplicate key" => Ok(()),
        Err(error) => {
            let span = error.span().unwrap_or_default();
            let said = slips::explain(error.message(), text, span.start);
            Err((span, said))
        }
    };
    misfit.map_err(|(span, message)| ConfigError::at(path, text, span.start, &message))
}

fn top(table: &DeTable<'_>) -> Result<(), Misfit> {
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        if let Some((_, kind)) = TOP.iter().find(|(key, _)| *key == name) {
            fits(None, (name, *kind), value)?;
        } else if let Some(section) = SECTIONS.iter().find(|(section, ..)| *section == name) {
            of_section(section, value)?;
        } else if let Some(section) = SECTIONS.iter().find(|(section, ..)| is_meant(name, section)) {
            let (section, several, keys) = section;
            let message = match value.get_ref() {
                DeValue::Array(all) if *several && all.iter().all(|one| !one.get_ref().is_table()) => {
                    several_lines(section, keys, all.first().map_or(value.get_ref(), Spanned::get_ref))
                }
                _ => format!("write {}", header(section, *several)),
            };
            return Err((key.span(), format!("there is no '{name}'; {message}")));
        } else {
            belongs(key, None)?;
        }
    }
    Ok(())
}

/// Whether somebody wrote the name of a section in capitals, or as one of many.
fn is_meant(name: &str, section: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == section || name.strip_suffix('s') == Some(section)
}

fn of_section((name, several, keys): &Section, value: &Spanned<DeValue<'_>>) -> Result<(), Misfit> {
    let misfit = |message: String| Err((value.span(), message));
    match (value.get_ref(), several) {
        (DeValue::Table(table), false) => of_keys(name, keys, table),
        (DeValue::Table(_), true) => {
            misfit(format!("write [[{name}]], in double brackets: there may be several"))
        }
        (DeValue::Array(all), true) => all.iter().try_for_each(|one| match one.get_ref() {
            DeValue::Table(table) => {
                of_keys(name, keys, table).and_then(|()| lacks(name, keys, table, one.span()))
            }
            other => Err((one.span(), several_lines(name, keys, other))),
        }),
        (DeValue::Array(all), false) if all.iter().any(|one| one.get_ref().is_table()) => {
            misfit(format!("write [{name}], in single brackets and once: there is one"))
        }
        (other, true) => misfit(several_lines(name, keys, other)),
        (_, false) => {
            misfit(format!("'{name}' is a section: write [{name}], and its keys on the lines below"))
        }
    }
}

/// A block without a key that it needs, where nothing in it is perhaps that key.
fn lacks(
    section: &str,
    keys: &[(&str, Kind)],
    table: &DeTable<'_>,
    span: Range<usize>,
) -> Result<(), Misfit> {
    let is_known = |name: &str| keys.iter().any(|(known, _)| *known == name);
    let missing = REQUIRED.iter().find(|(of, key, _)| *of == section && !table.contains_key(*key));
    match missing {
        Some((_, key, example)) if table.keys().all(|key| is_known(key.get_ref())) => {
            Err((span, format!("[[{section}]] lacks {key}: write {example}")))
        }
        _ => Ok(()),
    }
}

/// How a block is written, with the value that somebody gave it as if it were a key.
fn several_lines(name: &str, keys: &[(&str, Kind)], value: &DeValue<'_>) -> String {
    let example = match (value.as_str(), keys) {
        (Some(text), [(key, Text), ..]) => format!(", and below it {key} = \"{text}\""),
        _ => ", and its keys on the lines below".to_owned(),
    };
    format!("'{name}' is a section of which there may be several: write [[{name}]]{example}")
}

fn of_keys(section: &str, keys: &[(&str, Kind)], table: &DeTable<'_>) -> Result<(), Misfit> {
    table.iter().try_for_each(|(key, value)| {
        let name = key.get_ref().as_ref();
        match keys.iter().find(|(key, _)| *key == name) {
            Some((_, kind)) => fits(Some(section), (name, *kind), value),
            None => belongs(key, Some(section)),
        }
    })
}

/// Where a key belongs that is not known where it stands. What is known nowhere is left to who knows the nearest.
fn belongs(key: &Spanned<std::borrow::Cow<'_, str>>, here: Option<&str>) -> Result<(), Misfit> {
    let name = key.get_ref().as_ref();
    let is_here =
        here.map_or(TOP, |here| SECTIONS.iter().find(|(s, ..)| *s == here).map_or(&[], |(_, _, keys)| keys));
    let near = |other: &str| strsim::jaro_winkler(name, other) > 0.9;
    if is_here.iter().any(|(known, _)| near(known)) {
        return Ok(());
    }
    if TOP.iter().any(|(known, _)| *known == name) {
        return Err((
            key.span(),
            format!("'{name}' belongs to no section: write it before the first line in brackets"),
        ));
    }
    if let Some((section, several, _)) = SECTIONS.iter().find(|(section, ..)| *section == name) {
        let (open, close) = if *several { ("[[", "]]") } else { ("[", "]") };
        return Err((
            key.span(),
            format!(
                "'{name}' is a section of its own: write {open}{section}{close} without anything before it"
            ),
        ));
    }
    let places: Vec<String> = SECTIONS
        .iter()
        .filter(|(.., keys)| keys.iter().any(|(known, _)| *known == name))
        .map(|(section, several, _)| if *several { format!("[[{section}]]") } else { format!("[{section}]") })
        .collect();
    match places.as_slice() {
        [] => Ok(()),
        places => Err((
            key.span(),
            format!("'{name}' is a key of {}: write it below that line", places.join(" or ")),
        )),
    }
}

fn fits(
    section: Option<&str>,
    (key, kind): (&str, Kind),
    value: &Spanned<DeValue<'_>>,
) -> Result<(), Misfit> {
    let found = value.get_ref();
    let right = match (kind, found) {
        (Time | Text | TextOrTexts, DeValue::String(_)) | (Switch, DeValue::Boolean(_)) => true,
        (Number, DeValue::Integer(number)) => {
            if i64::from_str_radix(number.as_str(), number.radix()).is_err() {
                let range = "expected a whole number from 1 to 2147483647";
                return Err((value.span(), format!("{key}: {number} is out of range; {range}")));
            }
            true
        }
        (Texts | TextOrTexts, DeValue::Array(all)) => {
            if let Some(odd) = all.iter().find(|one| one.get_ref().as_str().is_none()) {
                return Err((
                    odd.span(),
                    format!("{key}: {}; write each in quotes", described(odd.get_ref())),
                ));
            }
            true
        }
        _ => false,
    };
    if right {
        Ok(())
    } else {
        Err((value.span(), format!("{key}: {}; {}", described(found), wanted(section, (key, kind), found))))
    }
}

fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{text}\" is a text"),
        DeValue::Integer(number) => format!("{number} is a number without quotes"),
        DeValue::Float(number) => format!("{number} is a number without quotes"),
        DeValue::Boolean(value) => format!("{value} is neither a text nor a number"),
        DeValue::Datetime(_) => "this is a date".to_owned(),
        DeValue::Array(_) => "this is a list".to_owned(),
        DeValue::Table(_) => "this is a section".to_owned(),
    }
}

/// What to write instead.
fn wanted(section: Option<&str>, (key, kind): (&str, Kind), found: &DeValue<'_>) -> String {
    let text = match found {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Array(all) if all.len() == 1 => all[0].get_ref().as_str().unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    let unit = if kind == Time && !found.is_array() { ", with its unit" } else { "" };
    let list = if kind == Texts && found.is_str() { "a list, " } else { "" };
    match meant(key, kind, &text).filter(|line| taken(section, line)) {
        Some(line) => format!("write {list}{line}{unit}"),
        None => expected(kind).to_owned(),
    }
}

/// The line that somebody probably meant who gave a key this text. It may be wrong, too.
pub(super) fn meant(key: &str, kind: Kind, text: &str) -> Option<String> {
    let words: Vec<&str> = text.split([',', ' ']).filter(|word| !word.is_empty()).collect();
    let text = text.trim();
    Some(match kind {
        _ if words.is_empty() => return None,
        Time if text.parse::<f64>().is_ok() => format!("{key} = \"{text}s\""),
        Number => format!("{key} = {text}"),
        Switch => match text.to_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => format!("{key} = true"),
            "false" | "no" | "off" | "0" => format!("{key} = false"),
            _ => return None,
        },
        Text if key == "mode" && text.len() == 3 => format!("{key} = \"0{text}\""),
        TextOrTexts if words.len() == 1 => format!("{key} = \"{text}\""),
        Time | Text => format!("{key} = \"{text}\""),
        Texts | TextOrTexts => format!("{key} = [\"{}\"]", words.join("\", \"")),
    })
}

/// What a key takes.
pub(super) fn expected(kind: Kind) -> &'static str {
    match kind {
        Time => "expected a number with a unit in quotes, such as \"60s\"",
        Number => "expected a whole number in digits",
        Switch => "write true or false",
        Text => "expected a text in quotes",
        Texts | TextOrTexts => "expected a list of texts in quotes",
    }
}
