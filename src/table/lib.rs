//! The shared table: names and their addresses in memory that every process of the host may read
//! without a query to the daemon.
//!
//! There is one `Writer`, in the daemon, and any number of [`Reader`]s, in any process. A reader
//! can rely on this:
//!
//! * **One publish.** What a lookup returns was published together; it is never a mix of two
//!   versions (I1).
//! * **Versions grow.** A later lookup of the same name never returns a lower version (I2).
//! * **Bounded work.** A lookup ends after at most [`layout::TRIES_MAX`] tries, even if the writer is
//!   fast or has died. It takes no lock, allocates nothing, and makes no system call on a mapped
//!   table.
//! * **No trust in the memory.** Every offset and length is checked in a private copy, so a damaged
//!   or malicious table gives wrong answers at worst: no panic and no access outside the table.
//! * **Expiry is absolute**, in [`Monotonic`] time. A lookup also returns expired entries;
//!   [`Snapshot::freshness`] distinguishes them.
//!
//! Mechanism: a record is written to space that no reader uses, and published by one store of a
//! 64-bit index word. The record's first word is its version and at the same time a seqlock
//! (`seqlock.rs`). The layout is described in [`layout`] and hither-table(5).
//!
//! Not here: which answers to store (`hither-rounds`), and what a DNS message means
//! (`hither-wire`).

#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]
// The models use a part of the table only.
#![cfg_attr(loom, allow(dead_code))]

mod counters;
mod families;
mod family;
mod key;
pub mod layout;
pub mod network;
pub mod paths;
mod plan;
mod record;
mod seqlock;
mod shape;
mod stale;
mod standing;
mod successor;
mod sync;
mod time;
pub mod trust;
mod types;
mod unmapped;
mod view;

#[cfg(all(feature = "std", not(loom)))]
mod file;
#[cfg(all(feature = "std", not(loom)))]
mod futex;
#[cfg(all(feature = "std", not(loom)))]
mod map;
#[cfg(feature = "std")]
mod memory;
#[cfg(feature = "std")]
mod metrics;
#[cfg(feature = "std")]
mod reader;
#[cfg(feature = "std")]
mod ring;
#[cfg(feature = "std")]
mod scan;
#[cfg(feature = "std")]
mod verify;

#[cfg(feature = "writer")]
mod adopt;
#[cfg(all(feature = "writer", not(loom)))]
mod alive;
#[cfg(feature = "writer")]
mod alloc;
#[cfg(feature = "writer")]
mod announce;
#[cfg(all(test, feature = "writer", not(loom)))]
mod chosen_names;
#[cfg(feature = "writer")]
mod draft;
#[cfg(feature = "writer")]
mod evict;
#[cfg(feature = "writer")]
mod fifo;
#[cfg(all(feature = "writer", not(loom)))]
mod fit;
#[cfg(all(test, loom, feature = "writer"))]
mod models;
#[cfg(feature = "writer")]
mod owned;
#[cfg(feature = "writer")]
mod put;
#[cfg(all(feature = "writer", not(loom)))]
mod share;
#[cfg(feature = "writer")]
mod space;
#[cfg(feature = "writer")]
mod steps;
#[cfg(all(feature = "writer", not(loom)))]
mod wake;
#[cfg(feature = "writer")]
mod writer;

pub use counters::{Counter, Counters};
pub use families::{FamilyOrder, FamilyPolicy, Withheld};
pub use family::FamilyView;
pub use key::{Key, Place};
pub use plan::{Invalid, Plan};
pub use record::{Entry, Freshness, Snapshot, Wanted};
pub use shape::Shape;
pub use stale::{StaleTime, Use};
pub use standing::{Part, Parts};
pub use successor::{FileId, Recheck};
pub use time::Monotonic;
pub use types::{Address, Agreement, Family, Negative, Rtt, State, Trust};
pub use unmapped::{Head, Source, UnmappedTable};
pub use view::{NoEntry, View, activity};

#[cfg(feature = "std")]
pub use memory::{Memory, OpenError};
#[cfg(feature = "std")]
pub use metrics::histogram::{Histogram, Timing};
#[cfg(feature = "std")]
pub use metrics::kinds::{
    AnswerSource, ProbeMethod, ProbeOutcome, UpstreamFailure, UpstreamState, UpstreamTransport,
};
#[cfg(feature = "std")]
pub use metrics::life::{Doing, SignOfLife};
#[cfg(feature = "writer")]
pub use metrics::record::{BatchCounts, Recorder, UpstreamGauges, WorkerSlot, WorkerSlots};
#[cfg(feature = "std")]
pub use metrics::{
    HandshakeCounts, Metrics, SorterMetrics, Timed, UpstreamCounts, UpstreamMetrics, WorkerMetrics,
};
#[cfg(feature = "std")]
pub use reader::Reader;
#[cfg(feature = "std")]
pub use ring::{Follower, Step};
#[cfg(feature = "std")]
pub use scan::Scan;
#[cfg(feature = "std")]
pub use verify::VerifyReport;

#[cfg(feature = "steps")]
pub use steps::counted::die_after;

#[cfg(feature = "writer")]
pub use adopt::{Adopted, Doubt};
#[cfg(feature = "writer")]
pub use alloc::Uses;
#[cfg(feature = "writer")]
pub use draft::{Chain, Draft, FamilyDraft, Link, PutError, SoaRecord};
#[cfg(all(feature = "writer", not(loom)))]
pub use fit::{Opened, entries_of_existing, entries_that_fit, is_there_more_room, open_as_it_fits};
#[cfg(feature = "writer")]
pub use owned::Record;
#[cfg(feature = "writer")]
pub use put::Slot;
#[cfg(all(feature = "writer", not(loom)))]
pub use share::{Held, Origin, ShareError, open_or_create, rotate};
#[cfg(feature = "writer")]
pub use writer::{Geometry, Writer, first_version};
