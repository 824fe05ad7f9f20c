//! The reader for programs with the standard library: lookups in an open table, and access to its
//! header.

use crate::counters::{COUNT, Counters};
use crate::families::FamilyPolicy;
use crate::key::{Key, Place};
use crate::layout::{self, LINE, LIVE, SUPERSEDED, head};
use crate::memory::{Memory, OpenError};
use crate::plan::Plan;
use crate::record::Snapshot;
use crate::ring::Follower;
use crate::seqlock::after_read;
use crate::stale::StaleTime;
use crate::successor::FileId;
use crate::sync::AtomicU64;
#[cfg(not(loom))]
use crate::unmapped::UnmappedTable;
use crate::view::{NoEntry, View};
use core::net::SocketAddr;
use std::sync::Arc;

/// An open table. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    memory: Arc<Memory>,
    pub(crate) plan: Plan,
    /// The file, if it was opened by name.
    pub(crate) file: Option<FileId>,
}

impl Reader {
    /// Opens the table in `dir` for reading, if [`crate::trust`] accepts it. A process that can
    /// become root does not map a file that is not root's, so its lookups make system calls. If it
    /// gives up that right later, it has to open another reader to map the table, see
    /// [`Reader::could_be_mapped`].
    ///
    /// # Errors
    /// An [`OpenError`].
    #[cfg(not(loom))]
    pub fn open(dir: &std::path::Path) -> Result<Reader, OpenError> {
        let found = crate::file::find(dir, nix::fcntl::OFlag::O_RDONLY)?;
        let may_map = crate::map::rights().may_map(found.owner);
        Reader::of_found(found, may_map)
    }

    /// [`Reader::open`] without a mapping, whatever the table's owner: for the torture test.
    ///
    /// # Errors
    /// As of [`Reader::open`].
    #[cfg(feature = "steps")]
    pub fn open_unmapped(dir: &std::path::Path) -> Result<Reader, OpenError> {
        Reader::of_found(crate::file::find(dir, nix::fcntl::OFlag::O_RDONLY)?, false)
    }

    #[cfg(not(loom))]
    fn of_found(found: crate::file::Found, may_map: bool) -> Result<Reader, OpenError> {
        let mut reader = Reader::over(Arc::new(Memory::of_file(found.file, may_map)?))?;
        reader.file = Some(found.id);
        Ok(reader)
    }

    /// Whether the table is not mapped although this process may map it by now.
    #[cfg(not(loom))]
    #[must_use]
    pub fn could_be_mapped(&self) -> bool {
        self.memory.unmapped().is_some() && crate::map::rights().may_map(u32::MAX)
    }

    /// A reader of a table in memory.
    ///
    /// # Errors
    /// If it is not a table.
    pub fn over(memory: Arc<Memory>) -> Result<Reader, OpenError> {
        let plan = memory.plan()?;
        Ok(Reader { memory, plan, file: None })
    }

    #[cfg(feature = "writer")]
    pub(crate) fn memory(&self) -> Arc<Memory> {
        Arc::clone(&self.memory)
    }

    /// See [`Memory::words`].
    pub(crate) fn words(&self) -> &[AtomicU64] {
        self.memory.words()
    }

    /// Loads one word without ordering other loads; 0 if the file has been truncated.
    pub(crate) fn peek(&self, at: usize) -> u64 {
        self.memory.peek(at).unwrap_or(0)
    }

    /// Copies the words from `at` on, each loaded on its own; `None` if the table does not have them.
    #[cfg(not(loom))]
    pub(crate) fn copy_range(&self, at: usize, out: &mut [u64]) -> Option<()> {
        if let Some(file) = self.memory.unmapped() {
            return crate::unmapped::Source::read(file, at, out);
        }
        let words = self.words().get(at..at.checked_add(out.len())?)?;
        out.iter_mut().zip(words).for_each(|(out, word)| *out = crate::seqlock::peek(word));
        Some(())
    }

    /// Loads one word; later loads see what was written before it, see `seqlock.rs`.
    pub(crate) fn observe(&self, at: usize) -> Option<u64> {
        let word = self.memory.peek(at);
        after_read();
        word
    }

    /// Waits until [`head::CHANGES`] is no longer `seen`; may return early.
    #[cfg(not(loom))]
    pub(crate) fn wait(&self, seen: u32, timeout: core::time::Duration) {
        let word = self.words().get(head::CHANGES);
        match (self.memory.unmapped(), word) {
            (Some(file), _) => file.wait(seen, timeout),
            (None, Some(word)) => crate::futex::wait(word, seen, timeout),
            (None, None) => {}
        }
    }

    /// Wakes every thread that waits for a change of this table in [`crate::Follower::wait`], in any
    /// process.
    #[cfg(all(feature = "writer", not(loom)))]
    pub fn wake_waiting(&self) {
        match (self.memory.unmapped(), self.words().get(head::CHANGES)) {
            (Some(file), _) => file.wake(),
            (None, Some(word)) => crate::futex::wake(word),
            (None, None) => {}
        }
    }

    pub(crate) fn view(&self) -> View<'_> {
        View::new(self.memory.words(), &self.plan)
    }

    /// Copies the entry of `key` into `out`, all of one publish. It may have expired: see
    /// [`Snapshot::freshness`]. Does not allocate, and ends after a bounded number of tries.
    ///
    /// # Errors
    /// A [`NoEntry`], never [`NoEntry::TooLarge`]; the contents of `out` are then undefined.
    #[inline]
    pub fn lookup(&self, key: &Key, out: &mut Snapshot) -> Result<(), NoEntry> {
        self.lookup_at(key, None, out, |_| ())
    }

    /// [`Reader::lookup`] for a key whose place may be known already. `used` receives the line of
    /// the entry, for `Uses::note`.
    ///
    /// # Errors
    /// As of [`Reader::lookup`].
    #[inline]
    pub fn lookup_at(
        &self,
        key: &Key,
        place: Option<Place>,
        out: &mut Snapshot,
        used: impl FnOnce(u32),
    ) -> Result<(), NoEntry> {
        #[cfg(not(loom))]
        if let Some(file) = self.memory.unmapped() {
            let found = UnmappedTable::new(file, &self.plan).find(key, place, &mut out.words);
            out.shape = found.unwrap_or_default();
            return found.map(|_| ());
        }
        let found = self.view().lookup(key, place, &mut out.words);
        out.shape = found.map_or_else(|_| Default::default(), |(shape, _)| shape);
        found.map(|(_, line)| used(line))
    }

    /// The place where the index may have a key. Computed once for [`Reader::fetch`] and
    /// [`Reader::lookup_at`].
    #[inline]
    #[must_use]
    pub fn place(&self, key: &Key) -> Place {
        key.place(&self.plan.secrets, self.plan.mask)
    }

    /// Prefetches the memory that lookups at `places` will read. A lookup waits for memory twice:
    /// for the index and for the record. Here all places take each of the two steps together, so
    /// that the waits overlap.
    pub fn fetch<'p>(&self, places: impl Iterator<Item = &'p Place> + Clone) {
        self.view().fetch(places);
    }

    /// How many tries a lookup takes at this moment, for measurements; more than [`layout::TRIES_MAX`]
    /// means busy.
    pub fn tries(&self, key: &Key, out: &mut Snapshot) -> usize {
        self.view().tries(key, &mut out.words)
    }

    /// [`Reader::copy`] from a mapped table's words.
    #[cfg(feature = "writer")]
    #[inline]
    pub(crate) fn copy_from(&self, words: &[AtomicU64], word: u64, out: &mut Snapshot) -> bool {
        let shape =
            View::new(words, &self.plan).copy(word as u32, Some((word >> 32) & 0xffff), &mut out.words);
        out.shape = shape.unwrap_or_default();
        shape.is_some()
    }

    /// Copies the record that an index word points to; `false` if it moved or cannot be read.
    pub(crate) fn copy(&self, word: u64, out: &mut Snapshot) -> bool {
        self.copy_at(word as u32, Some((word >> 32) & 0xffff), out)
    }

    /// Copies the record at a line, if its version ends in `nonce`.
    pub(crate) fn copy_at(&self, line: u32, nonce: Option<u64>, out: &mut Snapshot) -> bool {
        #[cfg(not(loom))]
        let shape = match self.memory.unmapped() {
            Some(file) => UnmappedTable::new(file, &self.plan).copy(line, nonce, &mut out.words).ok(),
            None => self.view().copy(line, nonce, &mut out.words),
        };
        #[cfg(loom)]
        let shape = self.view().copy(line, nonce, &mut out.words);
        out.shape = shape.unwrap_or_default();
        shape.is_some()
    }

    /// Whether the daemon uses this table now.
    #[must_use]
    pub fn live(&self) -> bool {
        self.peek(head::STATE) == LIVE
    }

    /// Whether this process is in the daemon's time namespace, by their clocks. In another one
    /// expiry times mean nothing.
    #[cfg(not(loom))]
    #[must_use]
    pub fn same_clock(&self) -> bool {
        crate::time::clock_offset_ms().abs_diff(self.peek(head::CLOCK_OFFSET)) <= layout::CLOCK_SLACK_MS
    }

    /// The number of the network namespace in which the answers are valid; 0 if unknown.
    #[must_use]
    pub fn network(&self) -> u32 {
        self.peek(head::NETWORK) as u32
    }

    /// How readers use the two families of a name.
    #[must_use]
    pub fn families(&self) -> FamilyPolicy {
        FamilyPolicy::from_word(self.peek(head::FAMILIES))
    }

    /// The round of the sets that were restored after a boot, so that no client has asked for them since;
    /// 0 if none was.
    #[must_use]
    pub fn restored_round(&self) -> u64 {
        self.peek(head::RESTORED)
    }

    /// The first of the [`layout::SITE_ROUNDS`] rounds of the sets that other hosts of the site have learned;
    /// 0 if there are no such sets.
    #[must_use]
    pub fn site_rounds(&self) -> u64 {
        self.peek(head::SITE)
    }

    /// Whether a set with this round was learned by another host of the site.
    #[must_use]
    pub fn is_of_site(&self, round: u64) -> bool {
        let first = self.site_rounds();
        first != 0 && round.wrapping_sub(first) < layout::SITE_ROUNDS
    }

    /// Whether the answers are valid in this thread's network namespace, or the table does not name
    /// a namespace. Makes a system call. A thread that cannot find out its namespace gets `false`.
    #[cfg(not(loom))]
    #[must_use]
    pub fn same_network(&self) -> bool {
        self.network() == 0 || self.network() == crate::network::here()
    }

    /// For how long expired addresses may be used.
    #[must_use]
    pub fn stale_time(&self) -> StaleTime {
        StaleTime::from_word(self.peek(head::STALE))
    }

    /// Whether another file has replaced this one, or this one has been truncated.
    #[must_use]
    pub fn replaced(&self) -> bool {
        // `observe`, since a reader that sees the mark opens the file by its name and must find the
        // new one.
        self.observe(head::STATE).is_none_or(|state| state == SUPERSEDED)
    }

    /// The random number that distinguishes this table from every other.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.peek(head::GENERATION)
    }

    /// The ABI of the writer: the major version in the upper half, the minor version in the lower half.
    #[must_use]
    pub fn abi(&self) -> u64 {
        self.peek(head::ABI)
    }

    /// The size of the table in octets.
    #[must_use]
    pub fn size_octets(&self) -> u64 {
        ((self.plan.data + self.plan.lines * LINE) * size_of::<u64>()) as u64
    }

    /// The last version published.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.peek(head::VERSION)
    }

    /// Whether the writer is alive, by the kernel's mark; `None` if the table has no sign of life.
    /// Entries of a killed daemon are valid.
    #[must_use]
    pub fn writer_lives(&self) -> Option<bool> {
        let word = self.peek(head::ALIVE) as u32;
        (word != 0).then_some(word & layout::OWNER_DIED == 0)
    }

    /// The daemon's process id.
    #[must_use]
    pub fn writer_pid(&self) -> u32 {
        self.peek(head::PID) as u32
    }

    /// The address at which the daemon answers DNS queries.
    #[must_use]
    pub fn dns_address(&self) -> Option<SocketAddr> {
        crate::view::dns_address([0, 1, 2].map(|n| self.peek(head::DNS + n)))
    }

    /// The values of the daemon's counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        for (value, at) in counters.0.iter_mut().zip(head::COUNTERS..head::COUNTERS + COUNT) {
            *value = self.peek(at);
        }
        counters
    }

    /// All words of the table, each loaded on its own: for inspection.
    #[must_use]
    pub fn copy_words(&self) -> Vec<u64> {
        (0..self.plan.data + self.plan.lines * LINE).map(|at| self.peek(at)).collect()
    }

    /// A follower of all changes from now on.
    #[must_use]
    pub fn follow(&self) -> Follower {
        Follower::new(self.clone())
    }
}
