//! Saved address sets, which the shell hands to the core after the host has started.

use hither_table::{Address, Agreement, Chain, Family};
use hither_wire::name::Name;

/// A saved address set. Its times are those of the table's clock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SavedSet {
    /// Owner, in lower case.
    pub name: Name,
    /// The family of all addresses of the set.
    pub family: Family,
    /// [`crate::Routes::mark`] of the name when the set was saved.
    pub route: u64,
    /// Whether the set's round was complete: every upstream had answered or failed.
    pub complete: bool,
    /// Whether the order is a measured one.
    pub sorted: bool,
    /// When the set expires, in milliseconds.
    pub expire_ms: u64,
    /// The TTL in seconds with which the set was published.
    pub lifetime_s: u32,
    /// How far the upstreams agreed; which of them did not is forgotten.
    pub agreement: Agreement,
    /// The addresses in order, each with the index of its chain.
    pub addresses: Vec<Address>,
    /// The CNAME chains that lead to the addresses: at least one, which may be empty.
    pub chains: Vec<Chain>,
}

/// An event of a restore.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Restore {
    /// The restore begins. The shell reports this before the first question, since questions are noted
    /// from then on.
    Begin {
        /// [`crate::Rounds::default_upstreams`] at the time the sets were saved.
        usual: Vec<u64>,
    },
    /// Some of the sets. The shell hands them over in slices, since no other event is handled
    /// meanwhile.
    Sets(Vec<SavedSet>),
    /// The restore is complete.
    End,
    /// The clock was set, so that the sets may be older than assumed. Restored sets are removed, and no
    /// more are restored.
    Void,
}

/// The outcome of a restore.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Restored {
    /// Sets that are in the table now.
    pub sets: u64,
    /// Sets that had expired.
    pub expired: u64,
    /// Sets that were not restored: their names were queried or flushed meanwhile, are local, have
    /// other upstreams, or do not fit.
    pub left_out: u64,
    /// Why the restore ended early, in a few words.
    pub cut: Option<&'static str>,
}
