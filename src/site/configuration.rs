//! The configuration that the companion has read, so that another one is noticed.

use crate::config::{Config, ConfigError};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;

/// The configuration that was read: from which file, if it is not the usual one, and a hash of it.
#[derive(Debug)]
pub(super) struct ConfigurationRead {
    file: Option<PathBuf>,
    hash: u64,
}

impl ConfigurationRead {
    pub fn new(file: Option<PathBuf>, config: &Config) -> ConfigurationRead {
        ConfigurationRead { file, hash: hash_of(config) }
    }

    /// Reads the configuration again.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(self.file.as_deref())
    }

    /// Whether the file has another valid configuration by now.
    pub fn is_outdated(&self) -> bool {
        self.load().is_ok_and(|config| hash_of(&config) != self.hash)
    }
}

fn hash_of(config: &Config) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{config:?}").hash(&mut hasher);
    hasher.finish()
}
