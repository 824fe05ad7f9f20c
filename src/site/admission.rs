//! Whether this host may use the engines of its configuration, and with which secrets. Whoever can write to
//! an engine can lie to the site, so without a key only engines on this host are used.

use super::engine::connection::{Access, Password};
use crate::config::Config;
use hither_entries::{CREDENTIAL_MAX, Key, Keys, Seal};
use hither_secure::{Roots, TlsClient, Trust};
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The credential with the engine's password.
const PASSWORD: &str = "site.password";
/// The key's name unless the configuration has another one; it need not exist.
const KEY_DEFAULT: &str = "site.key";
/// Octets of a file with a secret, one more than a secret and its newline.
const FILE_MAX: u64 = CREDENTIAL_MAX as u64 + 2;

/// What the configuration allows.
#[derive(Debug)]
pub(super) enum Admission {
    /// No engine is configured.
    Off,
    /// Our own rules forbid it, for this reason.
    Refused(String),
    Given(Box<Given>),
}

/// With what the engines are used.
#[derive(Debug)]
pub(super) struct Given {
    pub access: Access,
    pub seal: Seal,
}

impl Admission {
    pub fn of(config: &Config) -> Admission {
        if config.site.engines.is_empty() {
            return Admission::Off;
        }
        given(config).unwrap_or_else(Admission::Refused)
    }
}

fn given(config: &Config) -> Result<Admission, String> {
    let site = &config.site;
    let key = key(&site.key)?;
    if let Some(remote) = site.engines.iter().find(|engine| !engine.is_on_this_host())
        && key.is_none()
    {
        return Err(format!(
            "{remote} is not on this host, and entries cannot be signed: the credential '{}' is missing; give all hosts of the site the same key of at least 16 octets",
            site.key
        ));
    }
    let tls = match site.engines.iter().any(|engine| engine.tls) {
        true => Some(tls(config)?),
        false => None,
    };
    let keys = Keys::new(&site.prefix).map_err(|error| error.to_string())?;
    let access =
        Access { engines: site.engines.clone(), password: password()?, tls, may_be_remote: key.is_some() };
    Ok(Admission::Given(Box::new(Given { access, seal: Seal::new(keys, key) })))
}

fn tls(config: &Config) -> Result<TlsClient, String> {
    let roots = config.site.ca_file.clone().map_or_else(|| config.upstreams.tls.roots(), Roots::File);
    let trust = Trust::load(&roots).map_err(|error| error.to_string())?;
    TlsClient::new(&trust).map_err(|error| error.to_string())
}

/// The key that signs entries. It is missing if the configuration does not name one and there is none.
fn key(name: &str) -> Result<Option<Key>, String> {
    let octets = match Path::new(name).is_absolute() {
        true => Some(secret_file(Path::new(name))?),
        false => credential(name)?,
    };
    let Some(octets) = octets else {
        if name == KEY_DEFAULT {
            return Ok(None);
        }
        return Err(format!("there is no credential '{name}', which 'site.key' names"));
    };
    Key::from_credential(&octets).map(Some).map_err(|error| format!("the key '{name}' is of no use: {error}"))
}

fn password() -> Result<Option<Password>, String> {
    let octets = credential(PASSWORD)?;
    Ok(octets.map(|octets| Password::new(octets.strip_suffix(b"\n").unwrap_or(&octets))))
}

/// A credential that the service manager passes, if it passes such a one.
fn credential(name: &str) -> Result<Option<Vec<u8>>, String> {
    let Some(dir) = std::env::var_os("CREDENTIALS_DIRECTORY") else { return Ok(None) };
    let path = PathBuf::from(dir).join(name);
    match read(&path).map(|(octets, _)| octets) {
        Ok(octets) => Ok(Some(octets)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("the credential '{name}' cannot be read: {error}")),
    }
}

/// A file that only its owner can read, who is this user or root.
fn secret_file(path: &Path) -> Result<Vec<u8>, String> {
    let shown = format!("'{}', which 'site.key' names,", path.display());
    let (octets, metadata) = read(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let own = nix::unistd::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != own {
        return Err(format!("{shown} belongs to user {}; expected this user or root", metadata.uid()));
    }
    // A group may read what root gives it, such as a secret of several services.
    let forbidden = if metadata.uid() == 0 && own != 0 { 0o027 } else { 0o077 };
    if metadata.mode() & forbidden != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(format!(
            "{shown} has mode {mode:04o}, so that others can read or write it; expected 0600"
        ));
    }
    Ok(octets)
}

/// The octets of a file, and what it is; of a FIFO nothing is read, since that would wait for its writer.
fn read(path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no file"));
    }
    let file = File::open(path)?;
    let (metadata, mut octets) = (file.metadata()?, Vec::new());
    file.take(FILE_MAX).read_to_end(&mut octets)?;
    Ok((octets, metadata))
}
