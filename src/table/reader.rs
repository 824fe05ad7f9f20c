//! Looking things up, from any process, without a system call, a lock or a writer's help.

use crate::counters::{COUNT, Counters};
use crate::key::{Key, Place};
use crate::layout::{self, LINE, LIVE, TRIES, head};
use crate::memory::{Memory, OpenError};
use crate::plan::Plan;
use crate::record::Snapshot;
use crate::ring::Follower;
use crate::seqlock::{observe, peek};
use crate::sync::AtomicU64;
use crate::view::{NoEntry, View};
use core::net::SocketAddr;
use std::sync::Arc;

/// What came of a lookup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// The snapshot holds the entry. It may have expired: ask its [`crate::Freshness`].
    Hit,
    /// The table does not have the name.
    Missing,
    /// The writer was faster on every try; ask the daemon, or try again.
    Busy,
    /// Another file has taken this table's place: open that.
    Replaced,
}

/// A view of a table. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    memory: Arc<Memory>,
    pub(crate) plan: Plan,
    /// Device and inode, where it was opened by name.
    file: Option<(u64, u64)>,
}

impl Reader {
    /// Reads `dir/hosts`, read-only. The file must be regular and belong to root, to us, or to the directory's owner.
    ///
    /// # Errors
    /// An [`OpenError`] that says what is wrong.
    #[cfg(not(loom))]
    pub fn open(dir: &std::path::Path) -> Result<Reader, OpenError> {
        use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
        let path = dir.join("hosts");
        let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
        let file =
            std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(OpenError::Io)?;
        let (ours, directory) =
            (file.metadata().map_err(OpenError::Io)?, std::fs::metadata(dir).map_err(OpenError::Io)?);
        let me = nix::unistd::geteuid().as_raw();
        if ![0, me, directory.uid()].contains(&ours.uid()) || ours.mode() & 0o002 != 0 {
            return Err(OpenError::Foreign("others than the daemon's user can write it"));
        }
        if !ours.is_file() {
            return Err(OpenError::Foreign("it is not a regular file"));
        }
        let mut reader = Reader::over(Arc::new(Memory::map_reader(&file)?))?;
        reader.file = Some((ours.dev(), ours.ino()));
        Ok(reader)
    }

    /// Reads a table in memory that is already at hand.
    ///
    /// # Errors
    /// If it is no table.
    pub fn over(memory: Arc<Memory>) -> Result<Reader, OpenError> {
        let plan = Plan::read(memory.words())?;
        Ok(Reader { memory, plan, file: None })
    }

    #[cfg(feature = "writer")]
    pub(crate) fn memory(&self) -> Arc<Memory> {
        Arc::clone(&self.memory)
    }

    pub(crate) fn words(&self) -> &[AtomicU64] {
        self.memory.words()
    }

    pub(crate) fn view(&self) -> View<'_> {
        View::new(self.memory.words(), &self.plan)
    }

    /// Copies the entry of `key` out, all of one publish. Does not allocate; ends after a bounded number of tries.
    #[inline]
    pub fn lookup(&self, key: &Key, out: &mut Snapshot) -> Lookup {
        self.lookup_at(key, None, out, |_| ())
    }

    /// The same for a key whose place may be known; `used` is told where the entry stands, for [`crate::Uses::note`].
    #[inline]
    pub fn lookup_at(
        &self,
        key: &Key,
        place: Option<Place>,
        out: &mut Snapshot,
        used: impl FnOnce(u32),
    ) -> Lookup {
        let found = self.view().lookup(key, place, &mut out.words);
        out.shape = found.map_or_else(|_| Default::default(), |(shape, _)| shape);
        match found {
            Ok((_, line)) => {
                used(line);
                Lookup::Hit
            }
            Err(NoEntry::Missing) => Lookup::Missing,
            Err(NoEntry::Replaced) => Lookup::Replaced,
            Err(NoEntry::Busy | NoEntry::TooLarge) => Lookup::Busy,
        }
    }

    /// Where a key may stand: its hash, to be made once for [`Reader::fetch`] and [`Reader::lookup_at`].
    #[inline]
    #[must_use]
    pub fn place(&self, key: &Key) -> Place {
        key.place(&self.plan.secrets, self.plan.mask)
    }

    /// Has what lookups at `places` will read fetched from memory. One lookup alone waits for memory twice, for the index and for the record; here
    /// each step is taken for all of them, and none waits for another.
    pub fn fetch<'p>(&self, places: impl Iterator<Item = &'p Place> + Clone) {
        self.view().fetch(places);
    }

    /// How many tries a lookup takes at this moment, more than [`layout::TRIES`] where it says busy: for measurements.
    pub fn tries(&self, key: &Key, out: &mut Snapshot) -> usize {
        self.view().tries(key, &mut out.words)
    }

    /// Copies the record that an index word points to.
    pub(crate) fn copy(&self, words: &[AtomicU64], word: u64, out: &mut Snapshot) -> bool {
        self.copy_at(words, word as u32, Some((word >> 32) & 0xffff), out)
    }

    pub(crate) fn copy_at(
        &self,
        words: &[AtomicU64],
        line: u32,
        nonce: Option<u64>,
        out: &mut Snapshot,
    ) -> bool {
        let shape = View::new(words, &self.plan).copy(line, nonce, &mut out.words);
        out.shape = shape.unwrap_or_default();
        shape.is_some()
    }

    /// Whether the daemon has this table in use.
    #[must_use]
    pub fn live(&self) -> bool {
        peek(&self.words()[head::STATE]) == LIVE
    }

    /// Whether this process and the daemon agree about the clocks: in another time namespace nobody can tell when entries expire.
    #[cfg(not(loom))]
    #[must_use]
    pub fn same_clock(&self) -> bool {
        crate::time::clock_offset_ms().abs_diff(self.view().clock_offset_ms()) <= layout::CLOCK_SLACK_MS
    }

    /// The number of the network namespace that the answers hold in; 0 if it is not told.
    #[must_use]
    pub fn network(&self) -> u32 {
        self.view().network()
    }

    /// Whether the answers hold in the network namespace of this thread, as far as the table says; a system call. Who cannot tell where
    /// it is itself is elsewhere.
    #[cfg(not(loom))]
    #[must_use]
    pub fn same_network(&self) -> bool {
        self.network() == 0 || self.network() == crate::network::here()
    }

    /// Whether `dir/hosts` is still the file that was opened: a daemon that is killed while it replaces the table may not have told.
    #[cfg(not(loom))]
    #[must_use]
    pub fn is_current(&self, dir: &std::path::Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let there = std::fs::symlink_metadata(dir.join("hosts")).ok().map(|file| (file.dev(), file.ino()));
        there.is_none() || there == self.file
    }

    /// Whether another file has taken its place.
    #[must_use]
    pub fn replaced(&self) -> bool {
        self.view().replaced()
    }

    /// A number that no other table has.
    #[must_use]
    pub fn generation(&self) -> u64 {
        peek(&self.words()[head::GENERATION])
    }

    /// The last version published.
    #[must_use]
    pub fn version(&self) -> u64 {
        peek(&self.words()[head::VERSION])
    }

    /// Whether the daemon lives, as the kernel says. A daemon that was killed is no reason to distrust what it published.
    #[must_use]
    pub fn writer_lives(&self) -> Option<bool> {
        let word = peek(&self.words()[head::ALIVE]) as u32;
        (word != 0).then_some(word & layout::OWNER_DIED == 0)
    }

    /// The daemon's process id.
    #[must_use]
    pub fn writer_pid(&self) -> u32 {
        peek(&self.words()[head::PID]) as u32
    }

    /// Where the daemon answers DNS queries.
    #[must_use]
    pub fn dns_address(&self) -> Option<SocketAddr> {
        self.view().dns_address()
    }

    /// The daemon's counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        for (value, word) in counters.0.iter_mut().zip(&self.words()[head::COUNTERS..head::COUNTERS + COUNT])
        {
            *value = peek(word);
        }
        counters
    }

    /// Goes through all entries, in no order; what changes meanwhile may be missed or seen.
    #[must_use]
    pub fn entries(&self) -> Scan<'_> {
        self.entries_at(0, self.places())
    }

    /// Places that an entry may be at.
    #[must_use]
    pub fn places(&self) -> usize {
        self.plan.data - self.plan.index
    }

    /// Like [`Reader::entries`], those of `count` places from the `first` on.
    #[must_use]
    pub fn entries_at(&self, first: usize, count: usize) -> Scan<'_> {
        let at = |place: usize| self.plan.index + place.min(self.places());
        Scan { reader: self, at: at(first), end: at(first.saturating_add(count)) }
    }

    /// All words as they are at this moment, each by itself: for inspection.
    #[must_use]
    pub fn copy_words(&self) -> Vec<u64> {
        self.words().iter().map(peek).collect()
    }

    /// Follows the changes from now on.
    #[must_use]
    pub fn follow(&self) -> Follower {
        Follower::new(self.clone())
    }

    /// Walks the whole table and checks every entry.
    #[must_use]
    pub fn verify(&self) -> VerifyReport {
        let mut report = VerifyReport::default();
        let mut snapshot = Snapshot::new();
        let words = self.words();
        for (at, slot) in words[self.plan.index..self.plan.data].iter().enumerate() {
            if peek(slot) == 0 {
                continue;
            }
            report.entries += 1;
            let fault = (0..TRIES).find_map(|_| self.fault(words, slot, at / LINE, &mut snapshot));
            if let Some(Some(fault)) = fault {
                report.bad.push(format!("index word {at}: {fault}"));
            } else if fault.is_none() {
                report.busy += 1;
            }
        }
        report
    }

    /// What is wrong with the entry of an index word; `None` when it moved.
    fn fault(
        &self,
        words: &[AtomicU64],
        slot: &AtomicU64,
        bucket: usize,
        out: &mut Snapshot,
    ) -> Option<Option<&'static str>> {
        let word = observe(slot);
        if word == 0 {
            return Some(None);
        }
        let copied = self.copy(words, word, out);
        if peek(slot) != word {
            return None;
        }
        if !copied {
            return Some(Some("its record cannot be read"));
        }
        Some(self.misfit(word, bucket, out))
    }

    pub(crate) fn misfit(&self, word: u64, bucket: usize, entry: &Snapshot) -> Option<&'static str> {
        if !entry.intact() {
            return Some("the checksum of its record is wrong");
        }
        let Ok(name) = hither_wire::name::Name::from_wire(entry.name()) else {
            return Some("its name is none");
        };
        if name.to_lower() != name {
            return Some("its name is not in lower case");
        }
        let place = self.place(&Key::of(&name));
        if !place.buckets.contains(&bucket) || place.tag != word >> 48 {
            return Some("it does not belong there");
        }
        None
    }
}

/// What [`Reader::verify`] found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VerifyReport {
    /// Entries looked at.
    pub entries: usize,
    /// Entries that moved under every try.
    pub busy: usize,
    /// What is wrong, an entry a line.
    pub bad: Vec<String>,
}

/// See [`Reader::entries`].
#[derive(Debug)]
pub struct Scan<'r> {
    reader: &'r Reader,
    at: usize,
    end: usize,
}

impl Scan<'_> {
    /// The next entry; `false` at the end.
    pub fn next(&mut self, out: &mut Snapshot) -> bool {
        let words = self.reader.words();
        while self.at < self.end {
            let slot = &words[self.at];
            self.at += 1;
            for _ in 0..TRIES {
                let word = observe(slot);
                if word == 0 {
                    break;
                }
                if self.reader.copy(words, word, out) {
                    if out.version() >= peek(&words[head::FLUSHED]) {
                        return true;
                    }
                    break;
                }
                if peek(slot) == word {
                    break;
                }
            }
        }
        false
    }
}
