//! Looking things up, from any process, without a system call, a lock or a writer's help.

use crate::counters::{COUNT, Counters};
#[cfg(not(loom))]
use crate::distant::Distant;
use crate::key::{Key, Place};
use crate::layout::{self, LINE, LIVE, SUPERSEDED, TRIES, head};
use crate::memory::{Memory, OpenError};
use crate::plan::Plan;
use crate::record::Snapshot;
use crate::ring::Follower;
use crate::seqlock::after_read;
use crate::successor::FileId;
use crate::sync::AtomicU64;
use crate::view::{NoEntry, View};
use core::net::SocketAddr;
use std::sync::Arc;

/// A view of a table. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    memory: Arc<Memory>,
    pub(crate) plan: Plan,
    /// The file, where it was opened by name.
    pub(crate) file: Option<FileId>,
}

impl Reader {
    /// Reads `dir/hosts`, read-only, if [`crate::trust`] has nothing against it. A process that can be root does not map what is not
    /// root's; one that gives its rights up later goes on like that with this reader, and opens another one to be quicker.
    ///
    /// # Errors
    /// An [`OpenError`] that says what is wrong.
    #[cfg(not(loom))]
    pub fn open(dir: &std::path::Path) -> Result<Reader, OpenError> {
        let found = crate::file::find(dir, nix::fcntl::OFlag::O_RDONLY)?;
        let may_map = crate::map::rights().may_map(found.owner);
        Reader::of_found(found, may_map)
    }

    /// [`Reader::open`] as for a process that must not map the table, whoever owns it: for the torture test.
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

    /// Whether the table's words are asked of the kernel although this process could map them by now.
    #[cfg(not(loom))]
    #[must_use]
    pub fn could_be_mapped(&self) -> bool {
        self.memory.asked().is_some() && crate::map::rights().may_map(u32::MAX)
    }

    /// Reads a table in memory that is already at hand.
    ///
    /// # Errors
    /// If it is no table.
    pub fn over(memory: Arc<Memory>) -> Result<Reader, OpenError> {
        let plan = memory.plan()?;
        Ok(Reader { memory, plan, file: None })
    }

    #[cfg(feature = "writer")]
    pub(crate) fn memory(&self) -> Arc<Memory> {
        Arc::clone(&self.memory)
    }

    /// What is mapped, see [`Memory::words`].
    pub(crate) fn words(&self) -> &[AtomicU64] {
        self.memory.words()
    }

    /// A word on its own, that orders nothing; 0 where there is none any more.
    pub(crate) fn peek(&self, at: usize) -> u64 {
        self.memory.peek(at).unwrap_or(0)
    }

    /// A word that orders what is read after it, see `seqlock.rs`.
    pub(crate) fn observe(&self, at: usize) -> Option<u64> {
        let word = self.memory.peek(at);
        after_read();
        word
    }

    /// Waits for a change.
    #[cfg(not(loom))]
    pub(crate) fn wait(&self, seen: u32, timeout: core::time::Duration) {
        let word = self.words().get(head::CHANGES);
        match (self.memory.asked(), word) {
            (Some(asked), _) => asked.wait(seen, timeout),
            (None, Some(word)) => crate::futex::wait(word, seen, timeout),
            (None, None) => {}
        }
    }

    pub(crate) fn view(&self) -> View<'_> {
        View::new(self.memory.words(), &self.plan)
    }

    /// Copies the entry of `key` into `out`, all of one publish. It may have expired: see [`Snapshot::freshness`]. Does not
    /// allocate, and ends after a bounded number of tries.
    ///
    /// # Errors
    /// A [`NoEntry`], never [`NoEntry::TooLarge`]; what `out` holds then means nothing.
    #[inline]
    pub fn lookup(&self, key: &Key, out: &mut Snapshot) -> Result<(), NoEntry> {
        self.lookup_at(key, None, out, |_| ())
    }

    /// [`Reader::lookup`] for a key whose place may be known already. `used` receives the line of the entry, for
    /// [`crate::Uses::note`].
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
        if let Some(asked) = self.memory.asked() {
            let found = Distant::new(asked, &self.plan).find(key, place, &mut out.words);
            out.shape = found.unwrap_or_default();
            return found.map(|_| ());
        }
        let found = self.view().lookup(key, place, &mut out.words);
        out.shape = found.map_or_else(|_| Default::default(), |(shape, _)| shape);
        found.map(|(_, line)| used(line))
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

    /// Copies the record that an index word points to, from words that are at hand.
    #[cfg(feature = "writer")]
    #[inline]
    pub(crate) fn copy_from(&self, words: &[AtomicU64], word: u64, out: &mut Snapshot) -> bool {
        let shape =
            View::new(words, &self.plan).copy(word as u32, Some((word >> 32) & 0xffff), &mut out.words);
        out.shape = shape.unwrap_or_default();
        shape.is_some()
    }

    /// Copies the record that an index word points to.
    pub(crate) fn copy(&self, word: u64, out: &mut Snapshot) -> bool {
        self.copy_at(word as u32, Some((word >> 32) & 0xffff), out)
    }

    pub(crate) fn copy_at(&self, line: u32, nonce: Option<u64>, out: &mut Snapshot) -> bool {
        #[cfg(not(loom))]
        let shape = match self.memory.asked() {
            Some(asked) => Distant::new(asked, &self.plan).copy(line, nonce, &mut out.words).ok(),
            None => self.view().copy(line, nonce, &mut out.words),
        };
        #[cfg(loom)]
        let shape = self.view().copy(line, nonce, &mut out.words);
        out.shape = shape.unwrap_or_default();
        shape.is_some()
    }

    /// Whether the daemon has this table in use.
    #[must_use]
    pub fn live(&self) -> bool {
        self.peek(head::STATE) == LIVE
    }

    /// Whether this process and the daemon agree about the clocks: in another time namespace nobody can tell when entries expire.
    #[cfg(not(loom))]
    #[must_use]
    pub fn same_clock(&self) -> bool {
        crate::time::clock_offset_ms().abs_diff(self.peek(head::CLOCK_OFFSET)) <= layout::CLOCK_SLACK_MS
    }

    /// The number of the network namespace that the answers hold in; 0 if it is not told.
    #[must_use]
    pub fn network(&self) -> u32 {
        self.peek(head::NETWORK) as u32
    }

    /// Whether the answers hold in the network namespace of this thread, as far as the table says; a system call. Who cannot tell where
    /// it is itself is elsewhere.
    #[cfg(not(loom))]
    #[must_use]
    pub fn same_network(&self) -> bool {
        self.network() == 0 || self.network() == crate::network::here()
    }

    /// Whether another file has taken its place, or there is nothing in its own any more.
    #[must_use]
    pub fn replaced(&self) -> bool {
        // Who sees it opens the file by its name, and must find the new one there.
        self.observe(head::STATE).is_none_or(|state| state == SUPERSEDED)
    }

    /// A number that no other table has.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.peek(head::GENERATION)
    }

    /// The last version published.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.peek(head::VERSION)
    }

    /// Whether the daemon lives, as the kernel says. A daemon that was killed is no reason to distrust what it published.
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

    /// Where the daemon answers DNS queries.
    #[must_use]
    pub fn dns_address(&self) -> Option<SocketAddr> {
        crate::view::dns_address([0, 1, 2].map(|n| self.peek(head::DNS + n)))
    }

    /// The daemon's counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        for (value, at) in counters.0.iter_mut().zip(head::COUNTERS..head::COUNTERS + COUNT) {
            *value = self.peek(at);
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
        (0..self.plan.data + self.plan.lines * LINE).map(|at| self.peek(at)).collect()
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
        for at in self.plan.index..self.plan.data {
            if self.peek(at) == 0 {
                continue;
            }
            report.entries += 1;
            let fault = (0..TRIES).find_map(|_| self.fault(at, &mut snapshot));
            if let Some(Some(fault)) = fault {
                report.bad.push(format!("index word {}: {fault}", at - self.plan.index));
            } else if fault.is_none() {
                report.busy += 1;
            }
        }
        report
    }

    /// What is wrong with the entry of the index word at a place; `None` when it moved.
    fn fault(&self, at: usize, out: &mut Snapshot) -> Option<Option<&'static str>> {
        let word = self.observe(at).unwrap_or(0);
        if word == 0 {
            return Some(None);
        }
        let copied = self.copy(word, out);
        if self.peek(at) != word {
            return None;
        }
        if !copied {
            return Some(Some("its record cannot be read"));
        }
        Some(self.misfit(word, (at - self.plan.index) / LINE, out))
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
        while self.at < self.end {
            let at = self.at;
            self.at += 1;
            for _ in 0..TRIES {
                let word = self.reader.observe(at).unwrap_or(0);
                if word == 0 {
                    break;
                }
                if self.reader.copy(word, out) {
                    if out.version() >= self.reader.peek(head::FLUSHED) {
                        return true;
                    }
                    break;
                }
                if self.reader.peek(at) == word {
                    break;
                }
            }
        }
        false
    }
}
