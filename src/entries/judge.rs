//! The judge of received entries: how old each is, whether it is older than one before it, and what time it
//! has left here.
//!
//! The age of an entry is uncertain, since its times are those of another host's clock. Two guesses bound
//! it: that the wall clock of this host agrees with it, and that the host's clock is as far ahead as it was
//! ever seen (`hosts.rs`). The higher age decides when the entry expires and how long ago an upstream was
//! asked; the lower one decides when it was learned. So what replaces a set is not older than it, whichever
//! guess is right. An engine can also say what a key has left; that only makes an entry older.
//!
//! Where the engine is honest or the clocks agree, nothing lasts longer here than it had left. An engine that
//! delays entries on purpose can make them last longer by no more than the clock of their host is ahead.

use crate::entry::{Content, Entry, TIME_MAX};
use crate::hosts::Hosts;
use crate::refusal::Refusal;
use crate::seen::{Order, Seen};
use hither_saved::Clocks;
use hither_table::{Monotonic, Rtt};

/// By how much the clocks of hosts that agree may differ, in milliseconds, and by how much later the engine
/// may get a value than it was written. Each age is at least as much higher or lower, to the safe side.
pub const MARGIN_MS: u32 = 1_000;

/// How an entry has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// By the subscription, when a host wrote it.
    Published,
    /// Read from the engine, which keeps it.
    Kept {
        /// The time in milliseconds that its key has left, as the engine says; `None` if it was not asked.
        left_ms: Option<u64>,
    },
}

/// What is to be done with an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// It is news.
    New(Judged),
    /// One of the same key, learned in the same millisecond, was judged before: mostly this one, which came
    /// both by the subscription and by reading. This is neither news nor an attack. It is still the answer
    /// to a question.
    Known(Judged),
    /// This host wrote it and hears it by the subscription.
    Own,
    /// It is refused.
    Refused(Refusal),
}

/// An entry that was accepted, with times of the table's clock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judged {
    /// The entry. It has round-trip times only if its host is of this host's group.
    pub entry: Entry,
    /// An upstream was not asked before this time.
    pub asked: Monotonic,
    /// It was not learned after this time.
    pub learned: Monotonic,
    /// When the set expires, in milliseconds; later than the time of the judgement.
    pub expire_ms: u64,
    /// The greatest age, with the margin, at `now_ms` by the boot clock.
    age_ms: u64,
    now_ms: u64,
}

impl Judged {
    /// When a part of the entry, such as a CNAME, expires that had `left_ms` left when it was learned.
    #[must_use]
    pub const fn expire_ms_of(&self, left_ms: u64) -> u64 {
        self.now_ms.saturating_add(left_ms.saturating_sub(self.age_ms))
    }
}

/// Judges the entries that one host receives.
#[derive(Clone, Debug)]
pub struct Judge {
    host: Box<str>,
    group: Box<str>,
    hosts: Hosts,
    seen: Seen,
}

impl Judge {
    /// The judge of a host of a group, which may be empty. `seed` must be random.
    #[must_use]
    pub fn new(host: &str, group: &str, seed: [u64; 2]) -> Judge {
        Judge { host: host.into(), group: group.into(), hosts: Hosts::default(), seen: Seen::new(seed) }
    }

    /// Judges an entry that [`crate::Seal::open`] has accepted, at the time `now`.
    pub fn judge(&mut self, mut entry: Entry, arrival: Arrival, now: Clocks) -> Judgement {
        if arrival == Arrival::Published && entry.host == self.host {
            return Judgement::Own;
        }
        let (learned_ms, left_ms) = (signed(entry.times.learned_ms), i64::from(entry.times.left_ms));
        let (wall_ms, boot_ms) = (signed(now.wall_ms), signed(now.boot_ms));
        if learned_ms - wall_ms > left_ms {
            return Judgement::Refused(Refusal::Clock);
        }
        let offset_ms = self.hosts.note(&entry.host, learned_ms, boot_ms);
        let by_wall_ms = (wall_ms - learned_ms).max(0);
        let by_host_ms = boot_ms + offset_ms - learned_ms;
        let by_engine_ms = match arrival {
            Arrival::Kept { left_ms: Some(kept_ms) } => left_ms - signed(kept_ms).min(left_ms),
            Arrival::Published | Arrival::Kept { left_ms: None } => 0,
        };
        let margin_ms = i64::from(MARGIN_MS);
        let age_ms = by_wall_ms.max(by_host_ms).max(by_engine_ms) + margin_ms;
        let age_ms_min = (by_wall_ms.min(by_host_ms) - margin_ms).max(0);
        let order = self.seen.note(&entry.name, entry.family, entry.times.learned_ms);
        if order == Order::Older {
            return Judgement::Refused(Refusal::Replayed);
        }
        if age_ms >= left_ms {
            // The engine would have forgotten it if its time were over.
            let is_alive =
                matches!(arrival, Arrival::Kept { left_ms: Some(_) }) && by_engine_ms + margin_ms < left_ms;
            return Judgement::Refused(if is_alive { Refusal::Clock } else { Refusal::Expired });
        }
        if entry.group != self.group {
            remove_hints(&mut entry);
        }
        let asked_ms = age_ms + (learned_ms - signed(entry.times.asked_ms));
        let judged = Judged {
            asked: ago(boot_ms, asked_ms),
            learned: ago(boot_ms, age_ms_min),
            expire_ms: unsigned(boot_ms + left_ms - age_ms),
            age_ms: unsigned(age_ms),
            now_ms: unsigned(boot_ms),
            entry,
        };
        if order == Order::Same { Judgement::Known(judged) } else { Judgement::New(judged) }
    }
}

/// The time of the boot clock that lies `age_ms` back. What lies before the start of this host is still later
/// than 0, which stands for never.
fn ago(boot_ms: i64, age_ms: i64) -> Monotonic {
    Monotonic::from_ms(unsigned(boot_ms - age_ms).max(1))
}

/// A time at which no sum or difference of a few overflows.
fn signed(ms: u64) -> i64 {
    i64::try_from(ms.min(TIME_MAX)).unwrap_or(i64::MAX >> 8)
}

/// Zero if it is negative.
fn unsigned(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}

fn remove_hints(entry: &mut Entry) {
    if let Content::Addresses(addresses) = &mut entry.content {
        addresses.iter_mut().for_each(|address| address.rtt = Rtt::Unmeasured);
    }
}
