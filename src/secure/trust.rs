//! The authorities of the system or of a file. They are read once, when an upstream first needs them.

use crate::policy::Roots;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fmt};

/// The files in which distributions keep the system's authorities, in the order of trial.
const SYSTEM: [&str; 6] = [
    // Debian, Ubuntu, Arch, Gentoo.
    "/etc/ssl/certs/ca-certificates.crt",
    // Fedora, RHEL.
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    // openSUSE.
    "/etc/ssl/ca-bundle.pem",
    // Alpine.
    "/etc/ssl/cert.pem",
    // OpenELEC.
    "/etc/pki/tls/cacert.pem",
];
/// The environment variable that names another file, as OpenSSL and the other TLS libraries read it.
const VARIABLE: &str = "SSL_CERT_FILE";
/// Octets of a file of authorities; those of distributions have about 220 000.
const FILE_OCTETS_MAX: u64 = 8 << 20;
/// What editors of other systems write in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The authorities that upstreams' certificates may be issued by. A copy is cheap.
#[derive(Clone, Debug)]
pub struct Trust {
    pub(crate) roots: Arc<RootCertStore>,
    file: PathBuf,
    skipped: usize,
}

/// Why the authorities cannot be read.
#[derive(Debug)]
pub enum TrustError {
    /// None of the places where distributions keep the system's authorities exists.
    NoSystemFile,
    /// The file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// The file is larger than 8 MiB.
    TooLarge(PathBuf),
    /// The file has no certificate that can be used.
    Empty(PathBuf),
}

impl Trust {
    /// Reads the authorities. This takes some milliseconds, so it belongs into a thread beside the event
    /// loop. The system's are in the file that `SSL_CERT_FILE` names, else in the first of the known
    /// places that exists.
    ///
    /// # Errors
    /// [`TrustError`] if there is no file, or no usable certificate in it. Single certificates that
    /// cannot be used are skipped and counted.
    pub fn load(roots: &Roots) -> Result<Trust, TrustError> {
        let file = match roots {
            Roots::File(file) => file.clone(),
            Roots::System => system_file().ok_or(TrustError::NoSystemFile)?,
        };
        match octets_of(&file) {
            Err(error) => Err(TrustError::Unreadable(file, error)),
            Ok(octets) if octets.len() as u64 > FILE_OCTETS_MAX => Err(TrustError::TooLarge(file)),
            Ok(octets) => Trust::read(&octets, &file),
        }
    }

    /// Reads authorities from the octets of a PEM file; `file` names it in errors.
    ///
    /// # Errors
    /// [`TrustError::Empty`] if no certificate in it can be used.
    pub fn read(octets: &[u8], file: &Path) -> Result<Trust, TrustError> {
        let octets = octets.strip_prefix(BYTE_ORDER_MARK).unwrap_or(octets);
        let (mut roots, mut skipped) = (RootCertStore::empty(), 0);
        for certificate in CertificateDer::pem_slice_iter(octets) {
            let is_added = certificate.is_ok_and(|certificate| roots.add(certificate).is_ok());
            skipped += usize::from(!is_added);
        }
        if roots.is_empty() {
            return Err(TrustError::Empty(file.to_owned()));
        }
        Ok(Trust { roots: Arc::new(roots), file: file.to_owned(), skipped })
    }

    /// No authorities at all, for upstreams whose pins decide alone.
    #[must_use]
    pub fn none() -> Trust {
        Trust { roots: Arc::new(RootCertStore::empty()), file: PathBuf::new(), skipped: 0 }
    }

    /// How many authorities there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.roots.len()
    }

    /// How many certificates of the file could not be used.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The file that was read.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }
}

/// The first octets of a file, one more than a file of authorities may have. Opening a FIFO would wait for
/// its writer, so anything but a file is an error.
fn octets_of(file: &Path) -> io::Result<Vec<u8>> {
    let found = fs::metadata(file)?;
    if found.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !found.is_file() {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "it is a FIFO, a socket or a device, not a file",
        ));
    }
    let mut octets = Vec::new();
    File::open(file)?.take(FILE_OCTETS_MAX + 1).read_to_end(&mut octets)?;
    Ok(octets)
}

fn system_file() -> Option<PathBuf> {
    let named = env::var_os(VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from);
    named.or_else(|| SYSTEM.iter().map(PathBuf::from).find(|file| file.exists()))
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSystemFile => write!(
                f,
                "the system has no file of certificate authorities (expected one like {}); install the package \
                 'ca-certificates' or set 'ca_file'",
                SYSTEM[0]
            ),
            Self::Unreadable(file, error) => {
                write!(f, "cannot read the certificate authorities in {}: {error}", file.display())
            }
            Self::TooLarge(file) => {
                write!(f, "{} is larger than 8 MiB; expected certificate authorities", file.display())
            }
            Self::Empty(file) => write!(
                f,
                "{} has no usable certificate; expected certificate authorities in PEM form",
                file.display()
            ),
        }
    }
}

impl std::error::Error for TrustError {}
