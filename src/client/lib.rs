//! hither's answers for Rust programs: read from shared memory, without a system call and without asking the daemon.
//!
//! ```no_run
//! use hither_client::{Family, Lookup, Snapshot, Table};
//!
//! let table = Table::open(None)?;
//! let mut entry = Snapshot::new();
//! if table.lookup(&"www.example.com".parse()?, &mut entry) == Lookup::Hit {
//!     let addresses = entry.family(Family::A).map(|set| set.addresses().map(|a| a.address).collect::<Vec<_>>());
//!     assert!(addresses.is_some());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(unsafe_code)]

mod raw;

pub use hither_table::{
    Address, Counter, Counters, Family, FamilyView, Follower, Key, Lookup, Monotonic, Negative, OpenError,
    Reader, Rtt, Scan, Snapshot, State, Step, VerifyReport,
};
pub use hither_wire::name::Name;
use std::path::{Path, PathBuf};

/// Where the table is when nobody says otherwise.
pub const RUNTIME_DIR: &str = "/run/hither";

/// The runtime directory: `HITHER_RUNTIME_DIR` where it is set and this is not a setuid program, else [`RUNTIME_DIR`].
#[must_use]
pub fn runtime_dir() -> PathBuf {
    let chosen = std::env::var_os("HITHER_RUNTIME_DIR").filter(|dir| !raw::is_secure() && !dir.is_empty());
    chosen.map_or_else(|| PathBuf::from(RUNTIME_DIR), PathBuf::from)
}

/// A table that is followed when the daemon puts another in its place. To be shared between threads.
#[derive(Debug)]
pub struct Table {
    dir: PathBuf,
    current: raw::Current,
}

impl Table {
    /// Opens the table in `dir`, or where [`runtime_dir`] says.
    ///
    /// # Errors
    /// If there is none, or none that can be trusted.
    pub fn open(dir: Option<&Path>) -> Result<Table, OpenError> {
        let dir = dir.map_or_else(runtime_dir, Path::to_owned);
        let reader = Reader::open(&dir)?;
        Ok(Table { dir, current: raw::Current::new(reader) })
    }

    /// Copies the entry of `name` out, all of one publish; opens the table anew when it was replaced. Letter case does not matter.
    pub fn lookup(&self, name: &Name, out: &mut Snapshot) -> Lookup {
        let key = Key::of(&name.to_lower());
        match self.current.with(|reader| reader.lookup(&key, out)) {
            Lookup::Replaced if self.reopen() => self.current.with(|reader| reader.lookup(&key, out)),
            other => other,
        }
    }

    /// The table as it is now; it stays readable as long as this is held.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.current.with(Reader::clone)
    }

    /// Maps the file that took the table's place; `false` if that cannot be read.
    pub fn reopen(&self) -> bool {
        let Ok(reader) = Reader::open(&self.dir) else { return false };
        self.current.replace(reader);
        true
    }
}
