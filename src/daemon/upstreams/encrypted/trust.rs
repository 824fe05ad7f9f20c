//! The certificate authorities, each file read once, when an upstream first needs it.

use hither_secure::{Policy, Roots, Trust, TrustError, Verify};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The authorities that have been read.
#[derive(Debug, Default)]
pub(super) struct Authorities {
    read: Vec<Read>,
}

#[derive(Debug)]
struct Read {
    roots: Roots,
    trust: Trust,
    /// The file as it was when it was read.
    state: Option<FileState>,
}

/// What shows that a file has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct FileState {
    inode: u64,
    octets: u64,
    modified: (i64, i64),
}

impl FileState {
    fn of(file: &Path) -> Option<FileState> {
        let found = fs::metadata(file).ok()?;
        let modified = (found.mtime(), found.mtime_nsec());
        Some(FileState { inode: found.ino(), octets: found.len(), modified })
    }
}

impl Authorities {
    /// The authorities for a policy. The first call for a file reads it, which takes some milliseconds.
    ///
    /// # Errors
    /// [`TrustError`] if the policy needs authorities and the file has none.
    pub fn of(&mut self, policy: &Policy) -> Result<Trust, TrustError> {
        if policy.verify == Verify::Pin {
            return Ok(Trust::none());
        }
        if let Some(known) = self.read.iter().find(|known| known.roots == policy.roots) {
            return Ok(known.trust.clone());
        }
        match Trust::load(&policy.roots) {
            Ok(trust) => {
                let state = FileState::of(trust.file());
                self.read.push(Read { roots: policy.roots.clone(), trust: trust.clone(), state });
                Ok(trust)
            }
            // What they would have found is only reported.
            Err(error) if policy.verify == Verify::Opportunistic => {
                log::debug!("going on without certificate authorities: {error}");
                Ok(Trust::none())
            }
            Err(error) => Err(error),
        }
    }

    /// Forgets files that have changed since they were read. Returns the roots that they were read for.
    pub fn forget_changed(&mut self) -> Vec<Roots> {
        let is_same = |read: &mut Read| read.state == FileState::of(read.trust.file());
        let changed = self.read.extract_if(.., |read| !is_same(read));
        changed.map(|read| read.roots).collect()
    }
}
