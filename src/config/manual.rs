//! Tests that hither.toml(5) and the shipped hither.toml name each key of the configuration, with the
//! default that the code has.

use super::*;
use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer as _, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../man/hither.toml.5");
const SHIPPED: &str = include_str!("../../systemd/hither.toml");

/// Keys that have no default, or one that depends on the environment.
const WITHOUT_DEFAULT: [&str; 11] = [
    "runtime_dir",
    "state_dir",
    "upstream.address",
    "upstream.name",
    "upstream.ca_file",
    "site.ca_file",
    "domain.names",
    "domain.upstreams",
    "block.files",
    "block.names",
    "table.entries",
];
/// The repeated sections.
const BLOCKS: [&str; 3] = ["upstream", "domain", "block"];

/// Deserializes along a path of keys into [`File`], and ends with an error that describes the end
/// of the path.
struct Walk<'p> {
    path: &'p [&'static str],
}

#[derive(Debug)]
enum There {
    Section(&'static [&'static str]),
    Value,
    Unexpected(String),
}

impl std::fmt::Display for There {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for There {}

impl Error for There {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        There::Unexpected(message.to_string())
    }
}

impl<'de> Deserializer<'de> for Walk<'_> {
    type Error = There;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, There> {
        Err(There::Value)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, There> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, There> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, There> {
        visitor.visit_seq(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, There> {
        if self.path.is_empty() { Err(There::Section(keys)) } else { visitor.visit_map(self) }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct map enum
        identifier ignored_any
    }
}

impl<'de> SeqAccess<'de> for Walk<'_> {
    type Error = There;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, There> {
        seed.deserialize(Walk { path: self.path }).map(Some)
    }
}

impl<'de> MapAccess<'de> for Walk<'_> {
    type Error = There;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, There> {
        seed.deserialize(self.path[0].into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, There> {
        seed.deserialize(Walk { path: &self.path[1..] })
    }
}

fn keys_below(path: &mut Vec<&'static str>, keys: &mut BTreeSet<String>) {
    match File::deserialize(Walk { path }) {
        Ok(_) => unreachable!("a walk ends with an error"),
        Err(There::Value) => assert!(keys.insert(path.join("."))),
        Err(There::Section(names)) => {
            for name in names {
                path.push(name);
                keys_below(path, keys);
                path.pop();
            }
        }
        Err(There::Unexpected(message)) => panic!("at {}: {message}", path.join(".")),
    }
}

fn keys() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    keys_below(&mut Vec::new(), &mut keys);
    keys
}

/// Each key of the manual page with its text.
fn described() -> Vec<(&'static str, &'static str)> {
    let list = PAGE.split(".Bl ").nth(1).and_then(|rest| rest.split("\n.El").next()).expect("a list");
    list.split("\n.It Cm ").skip(1).map(|item| item.split_once('\n').expect("a text")).collect()
}

#[test]
fn every_key_is_described_and_every_described_one_exists() {
    let keys = keys();
    assert!(keys.contains("cache.stale_wait") && keys.contains("block.match"), "{keys:?}");
    let names: Vec<String> = described().iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(names.iter().cloned().collect::<BTreeSet<_>>(), keys);
    assert_eq!(names.len(), keys.len(), "one is described twice");
}

#[test]
fn the_shape_has_every_key() {
    let keys_of = |section: &shape::Section| {
        section.keys.iter().map(|(key, _)| format!("{}.{key}", section.name)).collect::<Vec<_>>()
    };
    let top = shape::TOP.iter().map(|(key, _)| (*key).to_owned());
    assert_eq!(top.chain(shape::SECTIONS.iter().flat_map(keys_of)).collect::<BTreeSet<_>>(), keys());
    let several: Vec<&str> =
        shape::SECTIONS.iter().filter(|section| section.is_repeated).map(|section| section.name).collect();
    assert_eq!(several, BLOCKS);
}

#[test]
fn the_shipped_file_names_every_key() {
    let text: String = SHIPPED
        .lines()
        .map(|line| Some(line.trim_start_matches('#')).filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .fold(String::new(), |out, line| out + line + "\n");
    let mut named = BTreeSet::new();
    for (section, value) in toml::from_str::<toml::Table>(&text).expect("TOML") {
        match value {
            toml::Value::Table(table) => named.extend(table.keys().map(|key| format!("{section}.{key}"))),
            toml::Value::Array(blocks) if BLOCKS.contains(&section.as_str()) => {
                let tables = blocks.iter().map(|block| block.as_table().expect("a block"));
                named.extend(tables.flat_map(|table| table.keys()).map(|key| format!("{section}.{key}")));
            }
            _ => drop(named.insert(section)),
        }
    }
    assert_eq!(named, keys());
}

#[test]
fn every_default_that_is_described_is_the_one_of_the_code() {
    for (key, text) in described() {
        if WITHOUT_DEFAULT.contains(&key) {
            continue;
        }
        let default = text.lines().find_map(|line| line.strip_prefix("Default: ")?.strip_suffix('.'));
        let default = default.unwrap_or_else(|| panic!("{key} has no line 'Default: VALUE.'"));
        let (section, name) = key.split_once('.').expect("in a section");
        let header =
            if BLOCKS.contains(&section) { format!("[[{section}]]") } else { format!("[{section}]") };
        let load = |text: &str| check_text(text).unwrap_or_else(|error| panic!("{key}: {error}"));
        // The other keys of an upstream are those of encrypted ones.
        let more = if section == "upstream" { "address = \"tls://192.0.2.1\"\n" } else { "" };
        let without = load(&format!("{header}\n{more}"));
        assert_eq!(load(&format!("{header}\n{more}{name} = {default}\n")), without, "{key}");
    }
}
