//! The signature of an entry: only hosts with the site's key can make it, for one name of one site.
//!
//! A value in the engine is, with sizes in octets: `HSE1` (4), whether it is signed (1; 0 or 1), the entry as
//! described in `entry.rs`, and if it is signed, HMAC-SHA256 (32) of the prefix, the key in the engine, and
//! all octets of the value before the signature, each preceded by its length (4, little-endian).

use crate::entry::{BODY_MAX, Entry};
use crate::keys::{KEY_MAX, Keys};
use crate::refusal::Refusal;
use core::fmt;
use hither_saved::Fault;
use ring::hmac;

/// Octets of the largest value in the engine.
pub const VALUE_MAX: usize = 4096;
/// Octets of the shortest credential.
pub const CREDENTIAL_MIN: usize = 16;
/// Octets of the longest credential.
pub const CREDENTIAL_MAX: usize = 4096;
/// Octets of a value that are not the entry, if it is signed.
pub(crate) const FRAME: usize = MAGIC.len() + 1 + SIGNATURE;

/// The first octets of a value: this format, version 1.
const MAGIC: [u8; 4] = *b"HSE1";
const UNSIGNED: u8 = 0;
const SIGNED: u8 = 1;
const SIGNATURE: usize = 32;

/// The secret that the hosts of a site share.
pub struct Key(hmac::Key);

/// Why a credential is no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyError {
    /// It has fewer octets than [`CREDENTIAL_MIN`].
    Short {
        /// How many it has, without the newline at its end.
        octets: usize,
    },
    /// It has more octets than [`CREDENTIAL_MAX`].
    Long,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { octets } => {
                write!(f, "the key has {octets} octets, expected at least {CREDENTIAL_MIN}")
            }
            Self::Long => write!(f, "the key has more than {CREDENTIAL_MAX} octets"),
        }
    }
}

impl std::error::Error for KeyError {}

impl Key {
    /// The key in a credential. A newline at its end is not part of it.
    ///
    /// # Errors
    /// If it is too short to be secret, or too long.
    pub fn from_credential(octets: &[u8]) -> Result<Key, KeyError> {
        let secret = octets.strip_suffix(b"\n").unwrap_or(octets);
        if secret.len() < CREDENTIAL_MIN {
            return Err(KeyError::Short { octets: secret.len() });
        }
        if secret.len() > CREDENTIAL_MAX {
            return Err(KeyError::Long);
        }
        Ok(Key(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }
}

/// Without the secret.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Makes values of entries and entries of values, for one site.
#[derive(Debug)]
pub struct Seal {
    keys: Keys,
    secret: Option<Key>,
}

impl Seal {
    /// With a key, values are signed, and values without a signature are refused. Without one it is the
    /// other way round, which is only for an engine that no other host can reach.
    #[must_use]
    pub const fn new(keys: Keys, secret: Option<Key>) -> Seal {
        Seal { keys, secret }
    }

    /// The keys of the site.
    #[must_use]
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The key and the value of an entry for the engine.
    ///
    /// # Errors
    /// A [`Fault`] if the entry could not be read again.
    pub fn seal(&self, entry: &Entry) -> Result<(String, Vec<u8>), Fault> {
        let key = self.keys.key(&entry.name, entry.family);
        let mut value = Vec::with_capacity(512);
        value.extend(MAGIC);
        value.push(if self.secret.is_some() { SIGNED } else { UNSIGNED });
        entry.encode(&mut value)?;
        if let Some(Key(secret)) = &self.secret {
            let tag = hmac::sign(secret, &self.signed(key.as_bytes(), &value));
            value.extend(tag.as_ref());
        }
        Ok((key, value))
    }

    /// The entry of a value that the engine has under a key. Comparing signatures takes the same time
    /// wherever they differ, and nothing of the entry is read before its signature is known to be right.
    ///
    /// # Errors
    /// Any [`Refusal`] up to `Malformed`.
    pub fn open(&self, key: &[u8], value: &[u8]) -> Result<Entry, Refusal> {
        if value.len() > VALUE_MAX || key.len() > KEY_MAX {
            return Err(Refusal::Size);
        }
        let (name, family) = self.keys.parse(key).ok_or(Refusal::Prefix)?;
        let other = Refusal::Malformed(Fault("its first octets are others"));
        let after = value.strip_prefix(&MAGIC).ok_or(other)?;
        let body = match (after.split_first(), &self.secret) {
            (Some((&SIGNED, _)), Some(Key(secret))) => {
                let (before, tag) = value.split_last_chunk::<SIGNATURE>().ok_or(Refusal::Signature)?;
                let signed = self.signed(key, before);
                hmac::verify(secret, &signed, tag).map_err(|_| Refusal::Signature)?;
                before.get(MAGIC.len() + 1..).ok_or(Refusal::Signature)?
            }
            (Some((&UNSIGNED, body)), None) => body,
            (Some((&(SIGNED | UNSIGNED), _)), _) => return Err(Refusal::Signature),
            _ => return Err(other),
        };
        if body.len() > BODY_MAX {
            return Err(Refusal::Size);
        }
        let entry = Entry::decode(body).map_err(Refusal::Malformed)?;
        if (entry.name, entry.family) != (name, family) {
            return Err(Refusal::Prefix);
        }
        Ok(entry)
    }

    /// The octets that are signed.
    fn signed(&self, key: &[u8], value: &[u8]) -> Vec<u8> {
        let parts = [self.keys.prefix().as_bytes(), key, value];
        let mut all = Vec::with_capacity(parts.iter().map(|part| 4 + part.len()).sum());
        for part in parts {
            // No part is longer than a value.
            all.extend((part.len() as u32).to_le_bytes());
            all.extend(part);
        }
        all
    }
}
