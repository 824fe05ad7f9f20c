//! The shape of hither.toml: its sections, their keys, and the kind of each value. It is checked before
//! the values are read, so that an error can show the line that was probably meant.

use super::error::ConfigError;
use super::slips::{self, is_accepted};
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The kind of value that a key takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A duration in quotes.
    Time,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Switch,
    /// Any other string.
    Text,
    /// A list of strings.
    Texts,
    /// A string or a list of strings.
    TextOrTexts,
}

use Kind::{Number, Switch, Text, TextOrTexts, Texts, Time};

/// A section of the file.
pub(super) struct Section {
    pub name: &'static str,
    /// Whether it is written `[[name]]` and may be there several times.
    pub is_repeated: bool,
    pub keys: &'static [(&'static str, Kind)],
}

impl Section {
    /// The line that begins the section.
    pub fn header(&self) -> String {
        let Section { name, is_repeated, .. } = self;
        if *is_repeated { format!("[[{name}]]") } else { format!("[{name}]") }
    }
}

/// A key, the section that it is in, and the kind of value that it takes.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    /// `None`: before the first section, or named together with the section.
    pub section: Option<&'a str>,
    pub name: &'a str,
    pub kind: Kind,
}

/// The section with this name.
pub(super) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// Keys before the first section.
pub(super) const TOP: &[(&str, Kind)] = &[("runtime_dir", Text), ("state_dir", Text)];

/// All sections, in the order of hither.toml(5).
pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "listen",
        is_repeated: false,
        keys: &[("dns", Texts), ("allow", Texts), ("workers", Number)],
    },
    Section {
        name: "upstream",
        is_repeated: true,
        keys: &[
            ("address", Text),
            ("addresses", Texts),
            ("name", Text),
            ("pins", Texts),
            ("ca_file", Text),
            ("verify", Text),
        ],
    },
    Section { name: "domain", is_repeated: true, keys: &[("names", Texts), ("upstreams", Texts)] },
    Section { name: "tls", is_repeated: false, keys: &[("ca_file", Text), ("bootstrap", Texts)] },
    Section { name: "hosts", is_repeated: false, keys: &[("files", Texts), ("own_name", Switch)] },
    Section {
        name: "block",
        is_repeated: true,
        keys: &[("files", Texts), ("names", Texts), ("match", Text), ("answer", TextOrTexts)],
    },
    Section {
        name: "limits",
        is_repeated: false,
        keys: &[
            ("rounds", Number),
            ("attempts", Number),
            ("clients", Number),
            ("clients_per_network", Number),
            ("tcp", Number),
            ("tcp_per_network", Number),
            ("replies_per_second", Number),
        ],
    },
    Section {
        name: "round",
        is_repeated: false,
        keys: &[
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
    },
    Section { name: "rebinding", is_repeated: false, keys: &[("protect", Switch), ("allow", Texts)] },
    Section {
        name: "cache",
        is_repeated: false,
        keys: &[
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
    },
    Section { name: "table", is_repeated: false, keys: &[("entries", Number), ("mode", Text)] },
    Section {
        name: "sort",
        is_repeated: false,
        keys: &[
            ("enabled", Switch),
            ("probes", Texts),
            ("timeout", Time),
            ("remeasure", Time),
            ("private", Switch),
            ("rate", Number),
            ("hysteresis", Time),
            ("families", Text),
            ("family_margin", Time),
            ("withhold", Switch),
            ("tls_rate", Number),
            ("tls_except", Texts),
        ],
    },
    Section {
        name: "feed",
        is_repeated: false,
        keys: &[
            ("mode", Text),
            ("names", Number),
            ("names_per_user", Number),
            ("rounds", Number),
            ("rounds_per_user", Number),
            ("subscribers_per_user", Number),
        ],
    },
    Section {
        name: "site",
        is_repeated: false,
        keys: &[
            ("engine", TextOrTexts),
            ("key", Text),
            ("ask", Switch),
            ("wait", Time),
            ("group", Text),
            ("prefix", Text),
            ("domains", Texts),
            ("ttl_floor", Time),
            ("rate", Number),
            ("ca_file", Text),
        ],
    },
    Section {
        name: "log",
        is_repeated: false,
        keys: &[("level", Text), ("queries", Text), ("dnstap", Text)],
    },
];

/// Keys that a section must have: the section, the key, and an example.
pub(super) const REQUIRED: &[(&str, &str, &str)] = &[
    ("upstream", "address", "address = \"192.0.2.1\""),
    ("domain", "names", "names = [\"example.com\"]"),
    ("domain", "upstreams", "upstreams = [\"192.0.2.1\"]"),
];

/// The place of an error, and its message.
type Misfit = (Range<usize>, String);

/// Checks the shape of a file.
pub(super) fn check(path: &Path, text: &str) -> Result<(), ConfigError> {
    let misfit = match DeTable::parse(text) {
        Ok(table) => top(table.get_ref()),
        // The parser of the values reports duplicate keys with a better place.
        Err(error) if error.message() == "duplicate key" => Ok(()),
        Err(error) => {
            let span = error.span().unwrap_or_default();
            let message = slips::explain(error.message(), text, span.start);
            Err((span, message))
        }
    };
    misfit.map_err(|(span, message)| ConfigError::at(path, text, span.start, &message))
}

fn top(table: &DeTable<'_>) -> Result<(), Misfit> {
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        if let Some((_, kind)) = TOP.iter().find(|(key, _)| *key == name) {
            check_kind(Key { section: None, name, kind: *kind }, value)?;
        } else if let Some(section) = section(name) {
            check_section(section, value)?;
        } else if let Some(section) = SECTIONS.iter().find(|section| is_meant(name, section.name)) {
            let message = match value.get_ref() {
                DeValue::Array(all)
                    if section.is_repeated && all.iter().all(|one| !one.get_ref().is_table()) =>
                {
                    suggest_repeated(section, all.first().map_or(value.get_ref(), Spanned::get_ref))
                }
                _ => format!("write {}", section.header()),
            };
            return Err((key.span(), format!("unknown section '{name}'; {message}")));
        } else {
            check_place(key, None)?;
        }
    }
    Ok(())
}

/// Whether a name is that of a section in capitals or in the plural.
fn is_meant(name: &str, section: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == section || name.strip_suffix('s') == Some(section)
}

fn check_section(section: &Section, value: &Spanned<DeValue<'_>>) -> Result<(), Misfit> {
    let name = section.name;
    let misfit = |message: String| Err((value.span(), message));
    match (value.get_ref(), section.is_repeated) {
        (DeValue::Table(table), false) => check_keys(section, table),
        (DeValue::Table(_), true) => {
            misfit(format!("write [[{name}]], in double brackets: the section may occur several times"))
        }
        (DeValue::Array(all), true) => all.iter().try_for_each(|one| match one.get_ref() {
            DeValue::Table(table) => {
                check_keys(section, table).and_then(|()| check_required(section, table, one.span()))
            }
            other => Err((one.span(), suggest_repeated(section, other))),
        }),
        (DeValue::Array(all), false) if all.iter().any(|one| one.get_ref().is_table()) => {
            misfit(format!("write [{name}], in single brackets and only once"))
        }
        (other, true) => misfit(suggest_repeated(section, other)),
        (_, false) => {
            misfit(format!("'{name}' is a section: write [{name}], and its keys on the lines below"))
        }
    }
}

/// Checks that a section has the keys that it must have. An unknown key may be a misspelling of
/// one; then the unknown key is reported instead.
fn check_required(section: &Section, table: &DeTable<'_>, span: Range<usize>) -> Result<(), Misfit> {
    let is_known = |name: &str| section.keys.iter().any(|(known, _)| *known == name);
    let missing = REQUIRED.iter().find(|(of, key, _)| *of == section.name && !table.contains_key(*key));
    match missing {
        Some((_, key, example)) if table.keys().all(|key| is_known(key.get_ref())) => {
            Err((span, format!("{} lacks {key}: write {example}", section.header())))
        }
        _ => Ok(()),
    }
}

/// How a repeated section is written, with the value that was given as if the section were a key.
fn suggest_repeated(section: &Section, value: &DeValue<'_>) -> String {
    let name = section.name;
    let example = match (value.as_str(), section.keys) {
        (Some(text), [(key, Text), ..]) => format!(", and below it {key} = \"{text}\""),
        _ => ", and its keys on the lines below".to_owned(),
    };
    format!("'{name}' is a section that may occur several times: write [[{name}]]{example}")
}

fn check_keys(section: &Section, table: &DeTable<'_>) -> Result<(), Misfit> {
    table.iter().try_for_each(|(key, value)| {
        let name = key.get_ref().as_ref();
        match section.keys.iter().find(|(key, _)| *key == name) {
            Some((_, kind)) => check_kind(Key { section: Some(section.name), name, kind: *kind }, value),
            None => check_place(key, Some(section)),
        }
    })
}

/// Reports where a key belongs that is unknown in this place. A key that no section has is left to
/// the parser of the values, which names the nearest known key.
fn check_place(key: &Spanned<std::borrow::Cow<'_, str>>, here: Option<&Section>) -> Result<(), Misfit> {
    let name = key.get_ref().as_ref();
    let keys_here = here.map_or(TOP, |section| section.keys);
    let near = |other: &str| strsim::jaro_winkler(name, other) > 0.9;
    if keys_here.iter().any(|(known, _)| near(known)) {
        return Ok(());
    }
    if TOP.iter().any(|(known, _)| *known == name) {
        return Err((
            key.span(),
            format!("'{name}' belongs to no section: write it before the first line in brackets"),
        ));
    }
    if let Some(section) = section(name) {
        let header = section.header();
        return Err((
            key.span(),
            format!("'{name}' is a section of its own: write {header} on a line of its own"),
        ));
    }
    let places: Vec<String> = SECTIONS
        .iter()
        .filter(|section| section.keys.iter().any(|(known, _)| *known == name))
        .map(Section::header)
        .collect();
    match places.as_slice() {
        [] => Ok(()),
        places => Err((
            key.span(),
            format!("'{name}' is a key of {}: write it below that line", places.join(" or ")),
        )),
    }
}

fn check_kind(key: Key<'_>, value: &Spanned<DeValue<'_>>) -> Result<(), Misfit> {
    let Key { name, kind, .. } = key;
    let found = value.get_ref();
    let right = match (kind, found) {
        (Time | Text | TextOrTexts, DeValue::String(_)) | (Switch, DeValue::Boolean(_)) => true,
        (Number, DeValue::Integer(number)) => {
            if i64::from_str_radix(number.as_str(), number.radix()).is_err() {
                let range = "expected a whole number from 1 to 2147483647";
                return Err((value.span(), format!("{name}: {number} is out of range; {range}")));
            }
            true
        }
        (Texts | TextOrTexts, DeValue::Array(all)) => {
            if let Some(odd) = all.iter().find(|one| one.get_ref().as_str().is_none()) {
                return Err((
                    odd.span(),
                    format!("{name}: {}; write each in quotes", described(odd.get_ref())),
                ));
            }
            true
        }
        _ => false,
    };
    if right {
        Ok(())
    } else {
        Err((value.span(), format!("{name}: {}; {}", described(found), suggestion(key, found))))
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

/// The suggestion in place of a value of another kind.
fn suggestion(key: Key<'_>, found: &DeValue<'_>) -> String {
    let kind = key.kind;
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
    match meant(key.name, kind, &text).filter(|line| is_accepted(key.section, line)) {
        Some(line) => format!("write {list}{line}{unit}"),
        None => expected(kind).to_owned(),
    }
}

/// The line that was probably meant by giving a key this text. It may be wrong too.
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

/// The expected form of a value of this kind.
pub(super) fn expected(kind: Kind) -> &'static str {
    match kind {
        Time => "expected a number with a unit in quotes, such as \"60s\"",
        Number => "expected a whole number in digits",
        Switch => "write true or false",
        Text => "expected a text in quotes",
        Texts | TextOrTexts => "expected a list of texts in quotes",
    }
}
