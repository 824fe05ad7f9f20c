//! Keys of the engine: that of an entry from its name and family and back, the channel of changes, and the
//! messages on it.
//!
//! The prefix of the site stands in braces, so that a cluster keeps all keys of a site on one node.

use crate::refusal::Refusal;
use crate::sign::VALUE_MAX;
use core::fmt;
use hither_saved::Fault;
use hither_table::Family;
use hither_wire::name::{NAME_MAX, Name};

/// Octets of the longest prefix.
const PREFIX_MAX: usize = 32;
/// Octets of the longest key: each octet of a name is written in four characters at most.
pub const KEY_MAX: usize = PREFIX_MAX + "{}:a:".len() + 4 * NAME_MAX;
/// Octets of the longest message on the channel.
pub const MESSAGE_MAX: usize = 2 + KEY_MAX + VALUE_MAX;

/// The keys of one site.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keys {
    prefix: Box<str>,
}

/// The prefix is not 1 to 32 letters, digits, `-`, `_` and `.`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadPrefix;

impl fmt::Display for BadPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a prefix is 1 to {PREFIX_MAX} letters, digits, '-', '_' and '.'")
    }
}

impl std::error::Error for BadPrefix {}

impl Keys {
    /// The keys that begin with a prefix.
    ///
    /// # Errors
    /// If the prefix has characters that mean something in keys or patterns, or is empty or too long.
    pub fn new(prefix: &str) -> Result<Keys, BadPrefix> {
        let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
        if prefix.is_empty() || prefix.len() > PREFIX_MAX || !prefix.bytes().all(is_plain) {
            return Err(BadPrefix);
        }
        Ok(Keys { prefix: prefix.into() })
    }

    /// The prefix without braces.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of a name, in lower case, and a family, such as `{hither}:6:www.example.`.
    #[must_use]
    pub fn key(&self, name: &Name, family: Family) -> String {
        let family = match family {
            Family::A => 'a',
            Family::Aaaa => '6',
        };
        format!("{{{}}}:{family}:{}", self.prefix, name.to_lower())
    }

    /// The name and family of a key; `None` if [`Keys::key`] does not give it for any name.
    #[must_use]
    pub fn parse(&self, key: &[u8]) -> Option<(Name, Family)> {
        if key.len() > KEY_MAX {
            return None;
        }
        let rest = key.strip_prefix(b"{")?.strip_prefix(self.prefix.as_bytes())?.strip_prefix(b"}:")?;
        let (family, text) = match rest {
            [b'a', b':', text @ ..] => (Family::A, text),
            [b'6', b':', text @ ..] => (Family::Aaaa, text),
            _ => return None,
        };
        let name = Name::from_text(text).ok()?;
        (self.key(&name, family).as_bytes() == key).then_some((name, family))
    }

    /// The channel on which each host publishes what it writes.
    #[must_use]
    pub fn channel(&self) -> String {
        format!("{{{}}}:sets", self.prefix)
    }

    /// The pattern of all keys of the site, for SCAN.
    #[must_use]
    pub fn pattern(&self) -> String {
        format!("{{{}}}:[a6]:*", self.prefix)
    }
}

/// The message that announces a value: the length of its key in two octets, the key, the value. Both are
/// those of [`crate::Seal::seal`].
#[must_use]
pub fn encode_message(key: &str, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(key.len()).unwrap_or(u16::MAX);
    [&length.to_le_bytes(), key.as_bytes(), value].concat()
}

/// The key and the value of a message.
///
/// # Errors
/// [`Refusal::Size`] or [`Refusal::Malformed`].
pub fn decode_message(message: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if message.len() > MESSAGE_MAX {
        return Err(Refusal::Size);
    }
    let (length, rest) = message.split_first_chunk::<2>().ok_or(SHORT)?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*length))).ok_or(SHORT)
}

const SHORT: Refusal = Refusal::Malformed(Fault("the message ends too early"));
