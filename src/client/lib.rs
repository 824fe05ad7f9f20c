//! hither's answers for Rust programs: read from shared memory, without a system call and without asking the daemon.
//!
//! ```no_run
//! use hither_client::{Answer, Family, Snapshot, Table, Wanted};
//!
//! let table = Table::open(None)?;
//! let mut entry = Snapshot::new();
//! let now = hither_client::now();
//! if table.answer(&"www.example.com".parse()?, Wanted::One(Family::A), now, &mut entry) == Answer::Fresh {
//!     let addresses = entry.family(Family::A).map(|set| set.addresses().map(|a| a.address).collect::<Vec<_>>());
//!     assert!(addresses.is_some());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(unsafe_code)]

mod raw;

use hither_table::Recheck;
use hither_table::network::{self, Network};
pub use hither_table::{
    Address, Counter, Counters, Family, FamilyView, Follower, Freshness, Key, Monotonic, Negative, NoEntry,
    OpenError, Reader, Rtt, Scan, Snapshot, State, Step, VerifyReport, Wanted,
};
pub use hither_wire::name::Name;
use std::path::{Path, PathBuf};

pub use hither_table::paths::RUNTIME_DIR;

/// The runtime directory: `HITHER_RUNTIME_DIR` where it is set and this is not a setuid program, else [`RUNTIME_DIR`].
#[must_use]
pub fn runtime_dir() -> PathBuf {
    let chosen = std::env::var_os(hither_table::paths::RUNTIME_DIR_VARIABLE)
        .filter(|dir| !raw::is_secure() && !dir.is_empty());
    chosen.map_or_else(|| PathBuf::from(RUNTIME_DIR), PathBuf::from)
}

/// The table's clock.
#[must_use]
pub fn now() -> Monotonic {
    raw::now()
}

/// A table that is followed when the daemon puts another in its place. To be shared between threads.
///
/// A process that can be root does not map what is not root's, since whoever may cut a file ends those who have it mapped: lookups then
/// take some system calls, about a microsecond. Who gives its rights up for good maps the table
/// once [`Table::answer`] finds nothing fresh, in another second than it last did.
#[derive(Debug)]
pub struct Table {
    dir: PathBuf,
    current: raw::Current,
    /// Whether answers that hold in another network namespace are wanted too.
    anywhere: bool,
    network: Network,
    recheck: Recheck,
}

impl Table {
    /// Opens the table in `dir`, or where [`runtime_dir`] says.
    ///
    /// # Errors
    /// If there is none, none that can be trusted, one whose times mean nothing here, or one whose answers hold in another network
    /// namespace than the calling thread's.
    pub fn open(dir: Option<&Path>) -> Result<Table, OpenError> {
        let table = Table::open_anywhere(dir)?;
        if !table.is_of_here() {
            return Err(OpenError::OtherNetwork);
        }
        Ok(Table { anywhere: false, ..table })
    }

    /// The same for those who want to see what the daemon says, whatever network namespace it says it in; [`Table::is_of_here`] tells.
    ///
    /// # Errors
    /// As of [`Table::open`], but for the last.
    pub fn open_anywhere(dir: Option<&Path>) -> Result<Table, OpenError> {
        let dir = dir.map_or_else(runtime_dir, Path::to_owned);
        let current = raw::Current::new(open(&dir)?);
        Ok(Table { dir, current, anywhere: true, network: Network::new(), recheck: Recheck::new() })
    }

    /// Whether the answers hold in the network namespace of the calling thread, as far as the table says. Asks the kernel.
    pub fn is_of_here(&self) -> bool {
        self.current.with(Reader::same_network)
    }

    /// Copies the entry of `name` out, all of one publish; opens the table anew when it was replaced. Letter case does not matter.
    /// Whether the entry has expired, and whether it holds in the thread's network namespace, is not looked at: [`Table::answer`] does.
    ///
    /// # Errors
    /// A [`NoEntry`].
    pub fn lookup(&self, name: &Name, out: &mut Snapshot) -> Result<(), NoEntry> {
        let key = Key::of(&name.to_lower());
        match self.current.with(|reader| reader.lookup(&key, out)) {
            Err(NoEntry::Replaced) if self.reopen() => self.current.with(|reader| reader.lookup(&key, out)),
            other => other,
        }
    }

    /// What the table has to say of the wanted families of `name` at `now`.
    pub fn answer(&self, name: &Name, wanted: Wanted, now: Monotonic, out: &mut Snapshot) -> Answer {
        let answer = self.answer_here(name, wanted, now, out);
        let doubt =
            matches!(answer, Answer::Missing | Answer::Stale | Answer::Elsewhere) && self.is_outdated(now);
        if doubt && self.reopen() { self.answer_here(name, wanted, now, out) } else { answer }
    }

    fn answer_here(&self, name: &Name, wanted: Wanted, now: Monotonic, out: &mut Snapshot) -> Answer {
        if self.is_elsewhere(now) {
            return Answer::Elsewhere;
        }
        match self.lookup(name, out) {
            Ok(()) => match out.freshness(wanted, now) {
                Freshness::Fresh => Answer::Fresh,
                Freshness::Stale => Answer::Stale,
                Freshness::Partial => Answer::Partial,
            },
            Err(NoEntry::Missing) => Answer::Missing,
            Err(NoEntry::Busy | NoEntry::Replaced | NoEntry::TooLarge) => Answer::Busy,
        }
    }

    /// Whether the thread is in another network namespace than the answers hold in. Asks the kernel now and then, see [`network`].
    fn is_elsewhere(&self, now: Monotonic) -> bool {
        let told = self.current.with(|reader| if reader.replaced() { 0 } else { reader.network() });
        !self.anywhere && told != 0 && told != self.network.of_thread(now, network::here)
    }

    /// Whether another file is there than the one that is read, or it could be read quicker; asks the kernel at most once a second.
    fn is_outdated(&self, now: Monotonic) -> bool {
        self.recheck.is_due(now)
            && self.current.with(|reader| !reader.is_current(&self.dir) || reader.could_be_mapped())
    }

    /// Follows every publish from now on. After [`Step::Replaced`] call [`Table::reopen`] and follow anew.
    #[must_use]
    pub fn watch(&self) -> Follower {
        self.reader().follow()
    }

    /// The table as it is now; it stays readable as long as this is held.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.current.with(Reader::clone)
    }

    /// Maps the file that took the table's place; `false` if that cannot be read.
    pub fn reopen(&self) -> bool {
        let Ok(reader) = open(&self.dir) else { return false };
        self.current.replace(reader);
        true
    }
}

/// What [`Table::answer`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The snapshot answers all that was asked: addresses, or a denial.
    Fresh,
    /// It has what was asked, but the time of some of it is over.
    Stale,
    /// A family that was asked for is not known.
    Partial,
    /// The name is not in the table.
    Missing,
    /// It changed under every try: ask the daemon, or try again.
    Busy,
    /// The thread has entered another network namespace, where other answers hold: ask that one's resolver.
    Elsewhere,
}

fn open(dir: &Path) -> Result<Reader, OpenError> {
    let reader = Reader::open(dir)?;
    if reader.same_clock() { Ok(reader) } else { Err(OpenError::OtherClock) }
}
