//! The mapping of the table that a process uses, exchanged when the daemon puts another file in its place, without a lock that
//! anybody waits for and without memory of its own.
//!
//! Who reads counts itself in at the mapping and looks again whether it is still the current one; who exchanges first makes another
//! the current one and then unmaps what nobody is counted in at. A child that was forked while another thread read inherits a
//! count that never falls: it keeps that mapping, and there are places for others.
#![allow(unsafe_code)]

use crate::RUNTIME_DIR;
use crate::sys::{self, FileId, Mapped, Path};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use hither_table::layout::CLOCK_SLACK_MS;
use hither_table::network::Network;
use hither_table::{Monotonic, Plan, View};

/// Mappings held at most: the current one and those that are still read.
const SLOTS: usize = 4;
/// Entries about which the daemon was told, by a few bits of their version.
const HINTED: usize = 64;
/// How often a thread gives way to another one that is opening the table (some ten microseconds) before it goes on without.
const PATIENCE: usize = 200;

/// Why there is no table to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// There is no file, or this process may not read it.
    NoTable,
    /// Somebody other than root and the daemon's user could have written it.
    NotTrusted,
    /// It is no table, or one of another ABI.
    NotATable,
    /// This process lives in another time namespace: it cannot tell when entries expire.
    OtherClock,
    /// This thread is in another network namespace, where other answers hold, or cannot tell in which it is.
    OtherNetwork,
}

/// The tables of one runtime directory. All zeros is a valid one that has nothing open yet.
#[repr(C)]
pub struct Handle {
    dir: [u8; 96],
    /// 0: none; else the slot's number and one.
    current: AtomicU32,
    /// The process in which a thread is exchanging mappings at this moment, or 0.
    exchanging: AtomicU32,
    checked_s: AtomicU64,
    network: Network,
    /// Until when the daemon is not asked, since it hangs: nanoseconds of the table's clock.
    silent_until: AtomicU64,
    hinted: [AtomicU64; HINTED],
    slots: [Slot; SLOTS],
}

#[repr(C)]
struct Slot {
    users: AtomicU32,
    /// What it holds; only changed by who exchanges, while the slot is not current and nobody is counted in.
    held: UnsafeCell<MaybeUninit<Held>>,
    mapped: AtomicU32,
}

impl Slot {
    const fn new() -> Slot {
        Slot {
            users: AtomicU32::new(0),
            held: UnsafeCell::new(MaybeUninit::zeroed()),
            mapped: AtomicU32::new(0),
        }
    }
}

#[derive(Clone, Copy)]
struct Held {
    memory: Mapped,
    plan: Plan,
}

// SAFETY: `held` is written only by the one thread that has `exchanging`, in a slot that is not current and that nobody is counted in
// at; readers look at it only while they are counted in at the current slot. The pointers in it lead to shared, read-only words.
unsafe impl Sync for Slot {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Slot {}

impl Handle {
    /// One that looks where the environment or else the default says.
    #[must_use]
    pub const fn new() -> Handle {
        Handle {
            dir: [0; 96],
            current: AtomicU32::new(0),
            exchanging: AtomicU32::new(0),
            checked_s: AtomicU64::new(0),
            network: Network::new(),
            silent_until: AtomicU64::new(0),
            hinted: [const { AtomicU64::new(0) }; HINTED],
            slots: [const { Slot::new() }; SLOTS],
        }
    }

    /// Looks in `dir` instead; `None` if that is too long. Before the first lookup.
    pub fn set_dir(&mut self, dir: &[u8]) -> Option<()> {
        let room = self.dir.get_mut(..dir.len())?;
        if dir.is_empty() || dir.contains(&0) || dir.len() == 96 {
            return None;
        }
        for (to, from) in room.iter_mut().zip(dir) {
            *to = *from;
        }
        Some(())
    }

    /// Path of `file` in the runtime directory (empty: the directory itself).
    pub(crate) fn path(&self, file: &[u8]) -> Option<Path> {
        let mut path = Path::new();
        let len = self.dir.iter().position(|octet| *octet == 0).unwrap_or(self.dir.len());
        match self.dir.get(..len) {
            Some(dir) if !dir.is_empty() => path.push(dir)?,
            _ => {
                if sys::chosen_dir(&mut path).is_none() {
                    path = Path::new();
                    path.push(RUNTIME_DIR)?;
                }
            }
        }
        path.push(file)?;
        Some(path)
    }

    /// Lets `look` read the current table, opening one where there is none yet.
    ///
    /// # Errors
    /// Why there is none.
    pub fn with<T>(&self, look: impl FnOnce(View<'_>) -> T) -> Result<T, Unusable> {
        for _ in 0..SLOTS {
            let current = self.current.load(SeqCst);
            let Some(slot) = self.slots.get((current as usize).wrapping_sub(1)) else {
                self.exchange(0)?;
                continue;
            };
            slot.users.fetch_add(1, SeqCst);
            if self.current.load(SeqCst) == current {
                // SAFETY: counted in at the current slot: it is filled, and neither changed nor unmapped before we are counted out.
                // The words are those of a mapping, aligned to a page, of so many words; all accesses are atomic.
                let result = unsafe {
                    let held = (*slot.held.get()).assume_init_ref();
                    let words = core::slice::from_raw_parts(held.memory.words, held.memory.count);
                    look(View::new(words, &held.plan))
                };
                slot.users.fetch_sub(1, SeqCst);
                return Ok(result);
            }
            slot.users.fetch_sub(1, SeqCst);
        }
        Err(Unusable::NoTable)
    }

    /// Opens what is there, if nothing is open yet.
    ///
    /// # Errors
    /// Why there is no table here.
    pub fn open(&self) -> Result<(), Unusable> {
        let now = sys::now();
        match self.far(now) {
            Some(far) => far.map(drop),
            None => self.with_here(now, |_| ()),
        }
    }

    /// Like [`Handle::with`], where the table's answers hold: in the network namespace of the daemon.
    ///
    /// # Errors
    /// Why there is no table here.
    pub fn with_here<T>(&self, now: Monotonic, look: impl FnOnce(View<'_>) -> T) -> Result<T, Unusable> {
        let looked = self.with(|view| {
            // Of a table that was replaced only that is wanted to know.
            let told = view.network() != 0 && !view.replaced();
            let here = !told || self.is_here(view.network(), now);
            here.then(|| look(view))
        });
        looked?.ok_or(Unusable::OtherNetwork)
    }

    /// Whether this thread is in the network namespace with that number.
    pub(crate) fn is_here(&self, network: u32, now: Monotonic) -> bool {
        network == self.network.of_thread(now, sys::network)
    }

    /// The number of the table that is read now, for [`Handle::exchange`].
    pub(crate) fn current(&self) -> u32 {
        self.current.load(SeqCst)
    }

    /// Opens the file that is there now in place of the table `before`, unless somebody else has done so.
    #[cold]
    pub(crate) fn exchange(&self, before: u32) -> Result<(), Unusable> {
        let me = sys::process();
        let mut taken = self.exchanging.load(SeqCst);
        for _ in 0..PATIENCE {
            if taken != me {
                break;
            }
            sys::give_way();
            taken = self.exchanging.load(SeqCst);
        }
        // Somebody else's process: left by the parent of a forked child, whose thread does not exist here. Taken over.
        if taken == me || self.exchanging.compare_exchange(taken, me, SeqCst, SeqCst).is_err() {
            return Err(Unusable::NoTable);
        }
        let result = if self.current.load(SeqCst) == before { self.fill(before) } else { Ok(()) };
        self.exchanging.store(0, SeqCst);
        result
    }

    #[cold]
    fn fill(&self, before: u32) -> Result<(), Unusable> {
        let path = self.path(b"").ok_or(Unusable::NoTable)?;
        let free = |(n, slot): &(usize, &Slot)| *n as u32 + 1 != before && slot.users.load(SeqCst) == 0;
        let (n, slot) = self.slots.iter().enumerate().find(free).ok_or(Unusable::NoTable)?;
        let table = sys::open_table(&path)?;
        if !sys::rights().may_map(table.owner) {
            // Root's own table was mapped, and what has taken its place is not root's: from now on this is for `far`.
            self.let_go(before);
            return Err(Unusable::NoTable);
        }
        let memory = sys::map_table(&table)?;
        drop(table);
        // SAFETY: just mapped, and unmapped only below or after it is in a slot.
        let words = unsafe { core::slice::from_raw_parts(memory.words, memory.count) };
        let plan = Plan::read(words)
            .map_err(|_| Unusable::NotATable)
            .and_then(|plan| same_clock(View::new(words, &plan).clock_offset_ms()).map(|()| plan));
        let plan = match plan {
            Ok(plan) => plan,
            Err(why) => {
                // SAFETY: mapped above, and nobody else knows of it.
                unsafe { sys::unmap(memory.words, memory.count) };
                return Err(why);
            }
        };
        Self::empty(slot);
        // SAFETY: not current, nobody counted in, and we are the one who exchanges. Who counts itself in now sees that it is not
        // current and does not look.
        unsafe { *slot.held.get() = MaybeUninit::new(Held { memory, plan }) };
        slot.mapped.store(1, SeqCst);
        self.current.store(n as u32 + 1, SeqCst);
        self.unmap(before);
        Ok(())
    }

    /// Has no table be the current one in place of `before`. For who exchanges.
    fn let_go(&self, before: u32) {
        self.current.store(0, SeqCst);
        self.unmap(before);
    }

    /// Unmaps what was the current one, if nobody reads it.
    fn unmap(&self, before: u32) {
        if let Some(old) = self.slots.get((before as usize).wrapping_sub(1))
            && old.users.load(SeqCst) == 0
        {
            Self::empty(old);
        }
    }

    /// Unmaps what a slot holds that is not current and that nobody is counted in at.
    fn empty(slot: &Slot) {
        if slot.mapped.swap(0, SeqCst) == 1 {
            // SAFETY: `mapped` was 1, so it is filled; it is not current, and whoever counts itself in from now on sees that.
            unsafe {
                let held = (*slot.held.get()).assume_init_ref();
                sys::unmap(held.memory.words, held.memory.count);
            }
        }
    }

    /// Whether another file is in the place of the one that is read. Asks the kernel at most once a second.
    pub(crate) fn is_outdated(&self, now_s: u64) -> bool {
        if self.checked_s.swap(now_s, SeqCst) == now_s {
            return false;
        }
        let current = self.current.load(SeqCst);
        let Some(slot) = self.slots.get((current as usize).wrapping_sub(1)) else { return false };
        slot.users.fetch_add(1, SeqCst);
        let mut held = FileId(0, 0);
        if self.current.load(SeqCst) == current {
            // SAFETY: counted in at the current slot, as in `with`.
            held = unsafe { (*slot.held.get()).assume_init_ref().memory.file };
        }
        slot.users.fetch_sub(1, SeqCst);
        let there = self.path(b"").and_then(|path| sys::table_file(&path));
        there.is_some_and(|file| file != held)
    }

    /// Whether the daemon hung when it was last asked, and it is too soon to ask again.
    pub(crate) fn is_silent(&self, now: Monotonic) -> bool {
        now.0 < self.silent_until.load(SeqCst)
    }

    pub(crate) fn keep_from_asking(&self, until: Monotonic) {
        self.silent_until.store(until.0, SeqCst);
    }

    /// Whether the daemon has not been told of this version yet.
    pub(crate) fn first_hint(&self, version: u64) -> bool {
        let at = (version as usize) % HINTED;
        self.hinted.get(at).is_some_and(|last| last.swap(version, SeqCst) != version)
    }

    /// Unmaps everything.
    ///
    /// # Safety
    /// No other thread uses the handle, now or later.
    pub unsafe fn close(&self) {
        self.current.store(0, SeqCst);
        self.slots.iter().for_each(Self::empty);
    }
}

/// Whether the table's times mean something to this process.
pub(crate) fn same_clock(offset_ms: u64) -> Result<(), Unusable> {
    let apart = sys::clock_offset_ms().abs_diff(offset_ms);
    if apart > CLOCK_SLACK_MS { Err(Unusable::OtherClock) } else { Ok(()) }
}

impl Default for Handle {
    fn default() -> Self {
        Self::new()
    }
}
