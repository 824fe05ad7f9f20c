//! The shared table: answers that other processes read without asking the daemon.
//!
//! One writer, any number of readers, in any process of the host. Records are written out of place and published by one 64-bit store of an
//! index word; a record's first word is its version and its seqlock. What a reader may rely on: a [`Snapshot`] is one publish,
//! never a mix (I1); the versions of a name only grow (I2); a lookup ends after a bounded number of tries, whatever writers do.
//! Nothing that is read from the memory is trusted: every offset and length is checked in a private copy.
//!
//! Not here: what to store (`hither-rounds`), what a DNS message means (`hither-wire`).

#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]

mod counters;
mod distant;
mod key;
pub mod layout;
pub mod network;
pub mod paths;
mod plan;
mod record;
mod seqlock;
mod successor;
mod sync;
mod time;
pub mod trust;
mod types;
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
mod reader;
#[cfg(feature = "std")]
mod ring;

#[cfg(feature = "writer")]
mod adopt;
#[cfg(all(test, feature = "writer", not(loom)))]
mod aimed;
#[cfg(all(feature = "writer", not(loom)))]
mod alive;
#[cfg(feature = "writer")]
mod alloc;
#[cfg(feature = "writer")]
mod announce;
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
#[cfg(feature = "writer")]
mod room;
#[cfg(all(feature = "writer", not(loom)))]
mod rouse;
#[cfg(all(feature = "writer", not(loom)))]
mod share;
#[cfg(feature = "writer")]
mod steps;
#[cfg(feature = "writer")]
mod writer;

pub use counters::{Counter, Counters};
pub use distant::{Distant, Head, Source};
pub use key::{Key, Place};
pub use plan::{Invalid, Plan};
pub use record::{Entry, FamilyView, Freshness, Shape, Snapshot, Wanted};
pub use successor::{FileId, Recheck};
pub use time::Monotonic;
pub use types::{Address, Family, Negative, Rtt, State};
pub use view::{NoEntry, View, pulse};

#[cfg(feature = "std")]
pub use memory::{Memory, OpenError};
#[cfg(feature = "std")]
pub use reader::{Reader, Scan, VerifyReport};
#[cfg(feature = "std")]
pub use ring::{Follower, Step};

#[cfg(feature = "steps")]
pub use steps::counted::die_after;

#[cfg(feature = "writer")]
pub use adopt::{Adopted, Doubt};
#[cfg(feature = "writer")]
pub use alloc::Uses;
#[cfg(feature = "writer")]
pub use draft::{Chain, Draft, FamilyDraft, Link, PutError, SoaRecord};
#[cfg(all(feature = "writer", not(loom)))]
pub use fit::{Opened, is_there_more_room, names_of, open_as_it_fits, rotate_as_it_fits, usual};
#[cfg(feature = "writer")]
pub use owned::Record;
#[cfg(feature = "writer")]
pub use put::Slot;
#[cfg(all(feature = "writer", not(loom)))]
pub use share::{Held, Origin, ShareError, open_or_create, rotate};
#[cfg(feature = "writer")]
pub use writer::{Geometry, Writer, first_version};
