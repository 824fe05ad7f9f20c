//! Saved address sets, as the shell hands them in after a start of the host.

use hither_table::{Address, Chain, Family};
use hither_wire::name::Name;

/// An address set as it was saved, its times by the table's clock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SavedSet {
    /// Owner, in lower case.
    pub name: Name,
    /// The family of all its addresses.
    pub family: Family,
    /// [`crate::Routes::mark`] of the name when it was saved.
    pub route: u64,
    /// Whether every upstream had answered or failed.
    pub complete: bool,
    /// Whether the order is a measured one.
    pub sorted: bool,
    /// When it expires, in milliseconds.
    pub expire_ms: u64,
    /// The TTL with which it was published.
    pub lifetime_s: u32,
    /// Its addresses in order, each of one of the chains.
    pub addresses: Vec<Address>,
    /// The CNAMEs before them: at least one chain.
    pub chains: Vec<Chain>,
}

/// An event of a restore.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Restore {
    /// The restore begins. To be reported before the first question, since questions are noted from
    /// then on.
    Begin {
        /// [`crate::Rounds::default_upstreams`] at the time they were saved.
        usual: Vec<u64>,
    },
    /// Some sets: a slice, since nothing else happens meanwhile.
    Sets(Vec<SavedSet>),
    /// The restore is complete.
    End,
    /// The sets may be older than they seemed: those that are left are void.
    Void,
}

/// The outcome of a restore.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Restored {
    /// Sets that are in the table now.
    pub sets: u64,
    /// Sets that had expired.
    pub expired: u64,
    /// Sets that were not restored: their names were asked for or flushed meanwhile, are local, have
    /// other upstreams, or do not fit.
    pub left_out: u64,
    /// Why the rest was not restored, in a few words.
    pub cut: Option<&'static str>,
}
