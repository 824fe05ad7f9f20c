//! hither's answers for Rust programs, read from shared memory.
//!
//! The daemon publishes the addresses of every name that it resolves in a table below
//! [`RUNTIME_DIR`]. A lookup here reads that table: it needs no system call, does not ask the
//! daemon, and takes less than a microsecond. The table has only names that some program on this
//! host has asked for lately. A program that needs an answer in any case asks the resolver, for
//! instance with getaddrinfo(3), unless the answer here is [`Answer::Fresh`].
//!
//! ```no_run
//! use hither_client::{Answer, Family, Monotonic, Snapshot, Table, Wanted};
//!
//! // Once per process; threads can share it.
//! let table = Table::open(None)?;
//!
//! // Once per thread: room for one entry, so that lookups do not allocate.
//! let mut entry = Snapshot::new();
//!
//! let name = "www.example.com".parse()?;
//! match table.answer(&name, Wanted::One(Family::A), Monotonic::now(), &mut entry) {
//!     Answer::Fresh => {
//!         // Nearest first. There are none if the name, or its addresses of this family, do not exist.
//!         for address in entry.family(Family::A).into_iter().flat_map(|set| set.addresses()) {
//!             println!("{}", address.address);
//!         }
//!     }
//!     _ => println!("ask the resolver"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Table::connect`] connects to the address that answers first, and [`Table::subscribe`] has the daemon
//! report changes of names. `examples/lookup.rs` prints an entry with its TTLs and measurements,
//! `examples/connect.rs` connects, `examples/subscribe.rs` follows names, and `examples/watch.rs` follows
//! every change of the table.

#![deny(unsafe_code)]

mod connect;
mod raw;
mod subscribe;

pub use connect::ConnectError;
use hither_latest::Latest;
use hither_table::Recheck;
use hither_table::network::{self, Network};
pub use hither_table::paths::RUNTIME_DIR;
pub use hither_table::{
    Address, Agreement, Counter, Counters, Family, FamilyOrder, FamilyPolicy, FamilyView, Follower,
    Freshness, Key, Monotonic, Negative, NoEntry, OpenError, Reader, Rtt, Scan, Snapshot, StaleTime, State,
    Step, Trust, Use, VerifyReport, Wanted,
};
pub use hither_wire::name::Name;
use std::path::{Path, PathBuf};
pub use subscribe::{Cause, Change, Missed, Refusal, SubscribeError, Subscription};

/// The runtime directory: `HITHER_RUNTIME_DIR` if that is set and the program is not setuid, otherwise
/// [`RUNTIME_DIR`].
#[must_use]
pub fn runtime_dir() -> PathBuf {
    let chosen = std::env::var_os(hither_table::paths::RUNTIME_DIR_VARIABLE)
        .filter(|dir| !raw::has_raised_rights() && !dir.is_empty());
    chosen.map_or_else(|| PathBuf::from(RUNTIME_DIR), PathBuf::from)
}

/// The daemon's table, and its successors: when the daemon replaces the table, lookups go on in the
/// new one. Threads can share it.
///
/// A process that can become root does not map a table that another user owns, since the owner of a
/// file can truncate it, which kills every process that has it mapped. Lookups then take some
/// system calls, about a microsecond. A process that gives up its rights for good maps the table
/// later, when [`Table::answer`] finds nothing fresh.
#[derive(Debug)]
pub struct Table {
    dir: PathBuf,
    current: Latest<Reader>,
    /// Whether answers are given that hold in another network namespace.
    any_network: bool,
    network: Network,
    recheck: Recheck,
}

impl Table {
    /// Opens the table in `dir`, or in [`runtime_dir`].
    ///
    /// # Errors
    /// If there is no table; if it is not to be trusted; if it is from before the last boot or from
    /// another time namespace, so that its times mean nothing here; or if its answers hold in
    /// another network namespace than the calling thread's.
    pub fn open(dir: Option<&Path>) -> Result<Table, OpenError> {
        let table = Table::open_any_network(dir)?;
        if !table.is_same_network() {
            return Err(OpenError::OtherNetwork);
        }
        Ok(Table { any_network: false, ..table })
    }

    /// Opens the table whatever network namespace its answers hold in, to show the daemon's entries.
    /// [`Table::is_same_network`] says whether they hold in the calling thread's.
    ///
    /// # Errors
    /// As [`Table::open`], except for the network namespace.
    pub fn open_any_network(dir: Option<&Path>) -> Result<Table, OpenError> {
        let dir = dir.map_or_else(runtime_dir, Path::to_owned);
        let current = Latest::new(open(&dir)?);
        let (network, recheck) = (Network::new(), Recheck::new());
        Ok(Table { dir, current, any_network: true, network, recheck })
    }

    /// Whether the answers hold in the network namespace of the calling thread, as far as the table
    /// says. Makes a system call.
    pub fn is_same_network(&self) -> bool {
        self.current.with(Reader::same_network)
    }

    /// Gives the answer of the table about `name` at `now`, for the families that are wanted.
    /// Letter case does not matter.
    ///
    /// After [`Answer::Fresh`] and [`Answer::Stale`] the entry is in `out`, all of it from one
    /// publish. A fresh answer of a mapped table takes no system call, except now and then to determine
    /// the network namespace.
    pub fn answer(&self, name: &Name, wanted: Wanted, now: Monotonic, out: &mut Snapshot) -> Answer {
        let answer = self.answer_of_current(name, wanted, now, out);
        let outdated = !matches!(answer, Answer::Fresh | Answer::Busy) && self.check_outdated(now);
        if outdated && self.reopen() { self.answer_of_current(name, wanted, now, out) } else { answer }
    }

    fn answer_of_current(&self, name: &Name, wanted: Wanted, now: Monotonic, out: &mut Snapshot) -> Answer {
        if self.is_other_network(now) {
            return Answer::OtherNetwork;
        }
        match self.lookup(name, out) {
            Ok(()) => match out.freshness(wanted, self.stale_time(), now) {
                Freshness::Fresh => Answer::Fresh,
                Freshness::Stale => Answer::Stale,
                Freshness::Partial => Answer::Partial,
            },
            Err(NoEntry::Missing) => Answer::Missing,
            Err(NoEntry::Busy | NoEntry::Replaced | NoEntry::TooLarge) => Answer::Busy,
        }
    }

    /// Copies the entry of `name` into `out`, expired or not, and whatever network namespace it holds in.
    /// Letter case does not matter. If the table was replaced, its successor is opened first.
    ///
    /// # Errors
    /// If the table has no entry of that name, or its entry could not be read.
    pub fn lookup(&self, name: &Name, out: &mut Snapshot) -> Result<(), NoEntry> {
        let key = Key::of(&name.to_lower());
        match self.current.with(|reader| reader.lookup(&key, out)) {
            Err(NoEntry::Replaced) if self.reopen() => self.current.with(|reader| reader.lookup(&key, out)),
            other => other,
        }
    }

    /// For how long expired addresses may be used, for [`FamilyView::usable`].
    #[must_use]
    pub fn stale_time(&self) -> StaleTime {
        self.current.with(Reader::stale_time)
    }

    /// The addresses of an entry for a program that takes both families, in the order that the daemon's
    /// configuration says (`sort.families`): by default by measured round-trip time over both. Makes no
    /// system call.
    ///
    /// A reload of the daemon changes the order at once. The table of an older daemon has IPv4 first.
    pub fn ordered<'s>(
        &self,
        entry: &'s Snapshot,
        wanted: Wanted,
    ) -> impl Iterator<Item = Address> + use<'s> {
        entry.entry().ordered(wanted, self.families().order)
    }

    /// How programs are to use the two families of a name, as the daemon's configuration says.
    pub fn families(&self) -> FamilyPolicy {
        self.current.with(Reader::families)
    }

    /// Whether the calling thread is in another network namespace than the answers hold in. Makes a
    /// system call now and then, see [`network`].
    fn is_other_network(&self, now: Monotonic) -> bool {
        let stated = self.current.with(|reader| if reader.replaced() { 0 } else { reader.network() });
        !self.any_network && stated != 0 && stated != self.network.of_thread(now, network::here)
    }

    /// Checks whether the directory has another table than the current one, or whether the current one
    /// may be mapped by now. Makes system calls at most once a second; `false` in between.
    fn check_outdated(&self, now: Monotonic) -> bool {
        self.recheck.is_due(now)
            && self.current.with(|reader| !reader.is_current(&self.dir) || reader.could_be_mapped())
    }

    /// Follows every publish from now on. After [`Step::Replaced`], call [`Table::reopen`] and follow the new
    /// table.
    #[must_use]
    pub fn watch(&self) -> Follower {
        self.reader().follow()
    }

    /// A reader of the current table, which it can read as long as it exists, even if the daemon
    /// replaces the table.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.current.with(Reader::clone)
    }

    /// Opens the table that the directory has now; `false` if there is none that can be read.
    pub fn reopen(&self) -> bool {
        let Ok(reader) = open(&self.dir) else { return false };
        self.current.set(reader);
        true
    }
}

/// The result of a lookup by [`Table::answer`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The snapshot has every family that is wanted: addresses, or a denial.
    Fresh,
    /// The snapshot has every family that is wanted, but some of it has expired: to be used only if the
    /// resolver gives no answer.
    Stale,
    /// The table has the name, but not every family that is wanted, or one has expired for longer than
    /// it may be used ([`Table::stale_time`]).
    Partial,
    /// The table does not have the name.
    Missing,
    /// The entry changed during every try: ask the resolver, or try again.
    Busy,
    /// The thread is in another network namespace than the answers hold in: ask the resolver there.
    OtherNetwork,
}

/// Opens the table in `dir`, if its times mean something here.
fn open(dir: &Path) -> Result<Reader, OpenError> {
    let reader = Reader::open(dir)?;
    if reader.same_clock() { Ok(reader) } else { Err(OpenError::OtherClock) }
}
