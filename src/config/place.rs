//! The place in the files of an error that is found only when all files have been merged.

use super::error::ConfigError;
use super::upstream::Written;
use hither_wire::name::Name;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A key that an error is about.
pub(super) struct Place {
    pub section: &'static str,
    pub key: &'static str,
    pub of: Of,
}

/// The occurrence of a key that an error is about.
pub(super) enum Of {
    /// The last one.
    Last,
    /// The one that names the upstream with this address.
    Upstream(String),
    /// The last one that names it.
    Repeated(String),
    /// The one in the `[[domain]]` with this name.
    Domain(Box<Name>),
}

impl Place {
    /// The error at the key, in the last file that has it.
    pub(super) fn error(&self, main: &Path, files: &[(PathBuf, String)], message: String) -> ConfigError {
        let found = files.iter().rev().find_map(|(path, text)| Some((path, text, self.find(text)?)));
        match found {
            Some((path, text, at)) => ConfigError::at(path, text, at, &message),
            None => ConfigError::of_file(main, message),
        }
    }

    fn find(&self, text: &str) -> Option<usize> {
        let Place { section, key, of } = self;
        let parsed = DeTable::parse(text).ok()?;
        let values = |section: &str, key: &str| -> Vec<Spanned<DeValue<'_>>> {
            blocks(parsed.get_ref(), section)
                .into_iter()
                .filter_map(|block| block.get(key).cloned())
                .collect()
        };
        match of {
            Of::Last => values(section, key).last().map(|value| value.span().start),
            Of::Upstream(id) if matches!(*key, "address" | "bootstrap") => {
                let all = ["upstream.address", "domain.upstreams", "tls.bootstrap"].into_iter();
                let all = all.filter(|name| *section != "tls" || name.starts_with(section));
                let mut all = all.filter_map(|name| name.split_once('.')).flat_map(|(s, k)| values(s, k));
                all.find_map(|value| texts(&value).into_iter().find(|(text, _)| is_address(text, id)))
                    .map(|(_, at)| at)
            }
            Of::Upstream(id) | Of::Repeated(id) => {
                let is_it = |block: &&DeTable<'_>| {
                    block
                        .get("address")
                        .is_some_and(|a| texts(a).iter().any(|(text, _)| is_address(text, id)))
                };
                let mut all = blocks(parsed.get_ref(), section).into_iter();
                let block = if matches!(of, Of::Repeated(_)) { all.rfind(is_it) } else { all.find(is_it) }?;
                block.get(*key).map(|value| value.span().start)
            }
            Of::Domain(domain) => {
                let is_it = |(text, _): &(String, usize)| {
                    hither_local::parse_name(text).is_ok_and(|parsed| parsed.name == **domain)
                };
                let mut all = blocks(parsed.get_ref(), section).into_iter();
                let block =
                    all.find(|block| block.get("names").is_some_and(|n| texts(n).iter().any(is_it)))?;
                block.get(*key).map(|value| value.span().start)
            }
        }
    }
}

/// Whether a text is the address with this id, in whatever form.
fn is_address(text: &str, id: &str) -> bool {
    Written::read(text).is_ok_and(|written| written.id() == id)
}

/// The tables of a section.
fn blocks<'a, 'i>(table: &'a DeTable<'i>, section: &str) -> Vec<&'a DeTable<'i>> {
    match table.get(section).map(Spanned::get_ref) {
        Some(DeValue::Table(one)) => vec![one],
        Some(DeValue::Array(all)) => all.iter().filter_map(|one| one.get_ref().as_table()).collect(),
        _ => Vec::new(),
    }
}

/// The strings in a value, each with its offset.
fn texts(value: &Spanned<DeValue<'_>>) -> Vec<(String, usize)> {
    match value.get_ref() {
        DeValue::String(text) => vec![(text.to_string(), value.span().start)],
        DeValue::Array(all) => all.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// The offset of the list item that `message` begins with; the list is at `from` in the text.
pub(super) fn item(text: &str, from: std::ops::Range<usize>, message: &str) -> Option<usize> {
    let start = from.start;
    let list = DeValue::parse(text.get(from).filter(|list| list.starts_with('['))?).ok()?;
    let items = texts(&list);
    items.iter().find(|(item, _)| message.starts_with(&format!("'{item}'"))).map(|(_, at)| start + at)
}

/// A remark on each `[[block]]` of a file that has neither files nor names.
pub(super) fn empty_blocks(path: &Path, text: &str) -> Vec<String> {
    let Ok(parsed) = DeTable::parse(text) else { return Vec::new() };
    let Some(DeValue::Array(all)) = parsed.get_ref().get("block").map(Spanned::get_ref) else {
        return Vec::new();
    };
    let has = |table: &DeTable<'_>, key: &str| table.get(key).is_some_and(|value| !texts(value).is_empty());
    let empty = all.iter().filter(|one| {
        one.get_ref().as_table().is_some_and(|table| !has(table, "files") && !has(table, "names"))
    });
    empty
        .map(|one| {
            let line = text.get(..one.span().start).map_or(0, |before| before.matches('\n').count()) + 1;
            format!(
                "{}:{line}: this [[block]] has neither files nor names, and blocks nothing",
                path.display()
            )
        })
        .collect()
}
