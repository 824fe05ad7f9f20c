//! The lookup for processes that must not map the table: each part is read by a system call, which
//! fails if the file has been truncated.
//!
//! The steps are those of `view.rs`, with the same fences: pread(2) loads in this thread, so a
//! fence between two reads orders their loads. Within one read no order is assumed, only that the
//! kernel copies each aligned word of eight octets as a whole. That is not documented, but a 64-bit
//! kernel copies by words or larger units.

use crate::families::FamilyPolicy;
use crate::key::{Key, Place};
use crate::layout::{LINE, SUPERSEDED, head};
use crate::plan::{Invalid, Plan};
use crate::record::Entry;
use crate::seqlock::after_read;
use crate::shape::Shape;
use crate::stale::StaleTime;
use crate::view::{NoEntry, dns_address};
use core::net::SocketAddr;

/// Tries of a lookup before it returns busy; each takes several system calls.
const TRIES_MAX: usize = 16;
/// Words of the header that a lookup needs.
const HEAD: usize = head::HASH + 8;

/// A source of a table's words.
pub trait Source {
    /// Copies the words from `at` on into `out`; `None` if the table no longer has all of them.
    fn read(&self, at: usize, out: &mut [u64]) -> Option<()>;

    /// The word at `at`.
    fn word(&self, at: usize) -> Option<u64> {
        let mut word = [0];
        self.read(at, &mut word)?;
        let [word] = word;
        Some(word)
    }
}

/// A copy of the header.
#[derive(Clone, Copy, Debug)]
pub struct Head([u64; HEAD]);

impl Head {
    /// Reads the header; `None` if the file is too short.
    #[must_use]
    pub fn read(source: &impl Source) -> Option<Head> {
        let mut words = [0; HEAD];
        source.read(0, &mut words)?;
        // As in `View::replaced`: a reader that sees the mark opens the file by its name and must
        // find the new one.
        after_read();
        Some(Head(words))
    }

    fn at(&self, at: usize) -> u64 {
        self.0.get(at).copied().unwrap_or(0)
    }

    /// The positions of the parts of a table with `words` words.
    ///
    /// # Errors
    /// This is not the header of such a table.
    pub fn plan(&self, words: usize) -> Result<Plan, Invalid> {
        Plan::of(&|at| self.at(at), words)
    }

    /// Whether another file replaced it, as [`crate::View::replaced`].
    #[must_use]
    pub fn replaced(&self) -> bool {
        self.at(head::STATE) == SUPERSEDED
    }

    /// The network namespace, as [`crate::View::network`].
    #[must_use]
    pub fn network(&self) -> u32 {
        self.at(head::NETWORK) as u32
    }

    /// The policy for families, as [`crate::View::families`].
    #[must_use]
    pub fn families(&self) -> FamilyPolicy {
        FamilyPolicy::from_word(self.at(head::FAMILIES))
    }

    /// The difference of the clocks, as [`crate::View::clock_offset_ms`].
    #[must_use]
    pub fn clock_offset_ms(&self) -> u64 {
        self.at(head::CLOCK_OFFSET)
    }

    /// The time for stale addresses, as [`crate::View::stale_time`].
    #[must_use]
    pub fn stale_time(&self) -> StaleTime {
        StaleTime::from_word(self.at(head::STALE))
    }

    /// The daemon's address, as [`crate::View::dns_address`].
    #[must_use]
    pub fn dns_address(&self) -> Option<SocketAddr> {
        dns_address([0, 1, 2].map(|n| self.at(head::DNS + n)))
    }

    /// The number of changes, as [`crate::View::changes`].
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.at(head::CHANGES)
    }
}

/// A table whose words come from a [`Source`].
#[derive(Clone, Copy, Debug)]
pub struct UnmappedTable<'s, S> {
    source: &'s S,
    plan: &'s Plan,
}

impl<'s, S: Source> UnmappedTable<'s, S> {
    /// `plan` must be that of the source's table.
    #[must_use]
    pub fn new(source: &'s S, plan: &'s Plan) -> Self {
        Self { source, plan }
    }

    /// Copies the entry of `key` into `out`, all of one publish. An entry in a part of the file
    /// that has been truncated is missing. Ends after a bounded number of reads.
    ///
    /// # Errors
    /// A [`NoEntry`].
    pub fn find(&self, key: &Key, place: Option<Place>, out: &mut [u64]) -> Result<Shape, NoEntry> {
        let mut state = [0; 2];
        const _: () = assert!(head::FLUSHED == head::STATE + 1);
        self.source.read(head::STATE, &mut state).ok_or(NoEntry::Missing)?;
        after_read();
        let [state, flushed] = state;
        if state == SUPERSEDED {
            return Err(NoEntry::Replaced);
        }
        let place = place.unwrap_or_else(|| key.place(&self.plan.secrets, self.plan.mask));
        for _ in 0..TRIES_MAX {
            match self.attempt(key, &place, flushed, out) {
                Err(NoEntry::Busy) => {}
                ended => return ended,
            }
        }
        Err(NoEntry::Busy)
    }

    /// One try. [`NoEntry::Busy`]: the entry moved meanwhile, so another try may succeed.
    /// [`NoEntry::Missing`] also if the file has been truncated.
    fn attempt(&self, key: &Key, place: &Place, flushed: u64, out: &mut [u64]) -> Result<Shape, NoEntry> {
        for bucket in place.buckets {
            let first = bucket.checked_mul(LINE).and_then(|at| self.plan.index.checked_add(at));
            let first = first.ok_or(NoEntry::Missing)?;
            let mut slots = [0; LINE];
            self.source.read(first, &mut slots).ok_or(NoEntry::Missing)?;
            after_read();
            for (n, word) in slots.into_iter().enumerate() {
                if word == 0 || word >> 48 != place.tag {
                    continue;
                }
                let copied = self.copy(word as u32, Some((word >> 32) & 0xffff), out);
                if let Ok(shape) = copied
                    && Entry::of(out, shape).is(key)
                {
                    let gone = out.first().is_none_or(|mark| mark >> 1 < flushed);
                    return if gone { Err(NoEntry::Missing) } else { Ok(shape) };
                }
                if self.source.word(first + n).ok_or(NoEntry::Missing)? != word {
                    return Err(NoEntry::Busy);
                }
                // The record is that of another name with this tag.
                copied?;
            }
        }
        Err(NoEntry::Missing)
    }

    /// Copies the record at a line, all of one version, as `seqlock::read` does; `nonce` is the
    /// part of the version that is in the index word.
    ///
    /// # Errors
    /// Missing: the file has been truncated. Busy: the record moved, or is not one. Too large for `out`.
    pub(crate) fn copy(&self, line: u32, nonce: Option<u64>, out: &mut [u64]) -> Result<Shape, NoEntry> {
        let (from, most) = self.plan.place_of(line).ok_or(NoEntry::Busy)?;
        let mut start = [0; 2];
        self.source.read(from, &mut start).ok_or(NoEntry::Missing)?;
        let [mark, shape] = start;
        let other = nonce.is_some_and(|nonce| (mark >> 1) & 0xffff != nonce);
        if mark & 1 == 1 || other {
            return Err(NoEntry::Busy);
        }
        // Of this first read only the mark is before the fence; the shape is read again with the
        // rest.
        after_read();
        let words = Shape::of(shape).map(Shape::words).filter(|words| *words <= most);
        let words = words.ok_or(NoEntry::Busy)?;
        let room = out.get_mut(..words).ok_or(NoEntry::TooLarge)?;
        let (first, rest) = room.split_first_mut().ok_or(NoEntry::Busy)?;
        self.source.read(from + 1, rest).ok_or(NoEntry::Missing)?;
        after_read();
        let again = self.source.word(from).ok_or(NoEntry::Missing)?;
        *first = mark;
        let copied = rest.first().copied().unwrap_or(0);
        let fits = Shape::of(copied).filter(|shape| shape.words() == words);
        fits.filter(|_| again == mark).ok_or(NoEntry::Busy)
    }
}

#[cfg(all(test, feature = "writer", not(loom)))]
mod tests {
    use super::*;
    use crate::seqlock::peek;
    use crate::{Draft, FamilyDraft, Geometry, Memory, Monotonic, Reader, Snapshot, Writer};

    struct Words<'r>(&'r Reader, usize);

    impl Source for Words<'_> {
        fn read(&self, at: usize, out: &mut [u64]) -> Option<()> {
            let end = at.checked_add(out.len()).filter(|end| *end <= self.1)?;
            for (to, from) in out.iter_mut().zip(self.0.words().get(at..end)?) {
                *to = peek(from);
            }
            Some(())
        }
    }

    #[test]
    fn a_lookup_without_mapping_finds_the_same_entries_and_truncated_records_are_missing() {
        let geometry = Geometry { entries: 64 };
        let memory = Memory::heap(geometry.words());
        let mut writer = Writer::create(memory, &geometry, [1, 2], 3, 1).expect("a table");
        let name = |n: u8| format!("n{n}.example").parse().expect("a name");
        for n in 0..48 {
            let version = writer.next_version();
            let draft = Draft { name: name(n), a: Some(set(version, n)), aaaa: None };
            writer.put(&draft, Monotonic(0)).expect("room");
        }
        let reader = writer.reader();
        let all = reader.words().len();
        let source = Words(&reader, all);
        let plan = Head::read(&source).expect("there").plan(all).expect("a table");
        assert_eq!(plan, reader.plan);
        let (mut mapped, mut copied) = (Box::new(Snapshot::new()), vec![0; 2048]);
        for n in 0..64 {
            let key = Key::of(&name(n));
            let found = UnmappedTable::new(&source, &plan).find(&key, None, &mut copied);
            match reader.lookup(&key, &mut mapped) {
                Ok(()) => {
                    let shape = found.expect("both find it");
                    assert_eq!(copied[..shape.words()], mapped.words[..shape.words()]);
                    assert_eq!(
                        UnmappedTable::new(&source, &plan).find(&key, None, &mut [0; 2]),
                        Err(NoEntry::TooLarge)
                    );
                }
                Err(why) => assert_eq!((why, found), (NoEntry::Missing, Err(NoEntry::Missing))),
            }
        }
        for left in (0..all).step_by(97) {
            let source = Words(&reader, left);
            let _ = Head::read(&source);
            for n in 0..48 {
                let found = UnmappedTable::new(&source, &plan).find(&Key::of(&name(n)), None, &mut copied);
                assert!(matches!(found, Ok(_) | Err(NoEntry::Missing)), "{found:?}");
            }
        }
        writer.flush_all();
        let found = UnmappedTable::new(&source, &plan).find(&Key::of(&name(1)), None, &mut copied);
        assert_eq!(found, Err(NoEntry::Missing), "flushed");
    }

    fn set(version: u64, n: u8) -> FamilyDraft {
        FamilyDraft::of(version, (0..=n % 20).map(|end| [192, 0, 2, end].into()), 1 << 40, 60)
    }
}
