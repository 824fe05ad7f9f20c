//! The mapping of the table that a process reads, exchanged when the daemon replaces the file. No
//! reader waits for a lock, and nothing is allocated.
//!
//! Hazard counting: a handle has a few slots for mappings, and each slot counts its readers. A
//! reader adds itself to the count of the current slot and then checks that the slot is still
//! current. A thread that exchanges mappings first makes another slot current and then unmaps slots
//! that have no reader. A child that is forked while another thread reads inherits a count that
//! never falls; that mapping stays, and the other slots are used.
//!
//! The kernel may stop the thread that exchanges at any moment, for long. A thread that needs the
//! table meanwhile does not wait: it maps the table for its own lookup and unmaps it again.
#![allow(unsafe_code)]

use crate::sys::{self, Held, Path};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use hither_table::layout::CLOCK_SLACK_MS;
use hither_table::network::Network;
use hither_table::paths::RUNTIME_DIR;
use hither_table::{Monotonic, Recheck, View};

/// Slots for mappings: the current one, and replaced ones that are still read.
const SLOTS: usize = 4;
/// Slots for the versions for which hints were sent, so that each gets one hint. The lowest bits of a
/// version choose its slot, in which it replaces another.
const HINT_SLOTS: usize = 64;
/// Octets of the longest runtime directory, including its NUL.
const DIR_MAX: usize = 96;

/// Why there is no table to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// The directory has no table, or this process may not read it.
    NoTable,
    /// A user other than root and the daemon's could have written the table.
    NotTrusted,
    /// The file is not a table, or is a table of another ABI.
    NotATable,
    /// This process is in another time namespace, where the table's expiry times mean nothing.
    OtherClock,
    /// This thread is in another network namespace, where other answers hold, or cannot determine its
    /// namespace.
    OtherNetwork,
}

/// Reads the table of one runtime directory and those that replace it. All zeros is a valid handle
/// that has nothing open yet.
#[repr(C)]
pub struct Handle {
    /// The runtime directory, ended by a NUL; empty: that of the environment, else the default one.
    dir: [u8; DIR_MAX],
    /// The number of the current slot plus one; 0 if no table is open.
    current: AtomicU32,
    /// The id of the process in which a thread is exchanging mappings at this moment, or 0.
    exchanging: AtomicU32,
    recheck: Recheck,
    network: Network,
    /// The time before which the daemon is not asked since it hangs, in nanoseconds of the table's
    /// clock.
    silent_until: AtomicU64,
    /// The versions for which hints were sent, see [`HINT_SLOTS`].
    hinted: [AtomicU64; HINT_SLOTS],
    slots: [Slot; SLOTS],
}

#[repr(C)]
struct Slot {
    /// How many threads read this slot, or are about to find that it is not current.
    users: AtomicU32,
    /// Written only by the thread that exchanges, while the slot is not current and has no user.
    held: UnsafeCell<MaybeUninit<Held>>,
    /// 1 while `held` is a mapping.
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

/// What became of an exchange of mappings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exchanged {
    /// The table that the directory has is current.
    Done,
    /// Another thread is exchanging at this moment, or no slot is free.
    Busy,
}

// SAFETY: `held` is written only by the one thread that has `exchanging`, in a slot that is not
// current and has no user; readers look at it only while they are counted as users of the current
// slot. The pointers in it lead to shared, read-only words.
unsafe impl Sync for Slot {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Slot {}

impl Handle {
    /// A handle for the directory that the environment names, else the default one.
    #[must_use]
    pub const fn new() -> Handle {
        Handle {
            dir: [0; DIR_MAX],
            current: AtomicU32::new(0),
            exchanging: AtomicU32::new(0),
            recheck: Recheck::new(),
            network: Network::new(),
            silent_until: AtomicU64::new(0),
            hinted: [const { AtomicU64::new(0) }; HINT_SLOTS],
            slots: [const { Slot::new() }; SLOTS],
        }
    }

    /// Sets the runtime directory, before the first lookup; `None` if it is empty, contains a NUL
    /// or has over 95 octets.
    pub fn set_dir(&mut self, dir: &[u8]) -> Option<()> {
        let room = self.dir.get_mut(..dir.len())?;
        if dir.is_empty() || dir.contains(&0) || dir.len() == DIR_MAX {
            return None;
        }
        for (to, from) in room.iter_mut().zip(dir) {
            *to = *from;
        }
        Some(())
    }

    /// The runtime directory.
    pub(crate) fn dir(&self) -> Option<Path> {
        let mut path = Path::new();
        let len = self.dir.iter().position(|octet| *octet == 0).unwrap_or(self.dir.len());
        match self.dir.get(..len) {
            Some(dir) if !dir.is_empty() => path.push(dir)?,
            _ => {
                if sys::environment_dir(&mut path).is_none() {
                    path = Path::new();
                    path.push(RUNTIME_DIR.as_bytes())?;
                }
            }
        }
        Some(path)
    }

    /// Gives the current table to `look`, and opens it first if none is open yet.
    ///
    /// # Errors
    /// Why there is no table.
    pub fn with<T>(&self, look: impl FnOnce(View<'_>) -> T) -> Result<T, Unusable> {
        for _ in 0..SLOTS {
            let current = self.current.load(SeqCst);
            let Some(slot) = self.slots.get((current as usize).wrapping_sub(1)) else {
                if self.exchange(0)? == Exchanged::Busy {
                    break;
                }
                continue;
            };
            slot.users.fetch_add(1, SeqCst);
            if self.current.load(SeqCst) == current {
                // SAFETY: counted as a user of the current slot: it is filled, and neither written
                // nor unmapped before the count falls.
                let result = unsafe { (*slot.held.get()).assume_init_ref().with(look) };
                slot.users.fetch_sub(1, SeqCst);
                return Ok(result);
            }
            slot.users.fetch_sub(1, SeqCst);
        }
        self.with_own(look)
    }

    /// Maps the table for one `look`, beside the slots.
    #[cold]
    fn with_own<T>(&self, look: impl FnOnce(View<'_>) -> T) -> Result<T, Unusable> {
        let held = Held::open(&self.dir().ok_or(Unusable::NoTable)?)?.ok_or(Unusable::NoTable)?;
        // SAFETY: mapped just now, and unmapped after the look; no other code has its address.
        unsafe {
            let result = held.with(look);
            held.unmap();
            Ok(result)
        }
    }

    /// Opens the table, if none is open yet.
    ///
    /// # Errors
    /// Why there is no table here.
    pub fn open(&self) -> Result<(), Unusable> {
        let now = sys::now();
        match self.unmapped(now) {
            Some(unmapped) => unmapped.map(drop),
            None => self.with_here(now, |_| ()),
        }
    }

    /// Like [`Handle::with`], if this thread is in the network namespace in which the table's
    /// answers hold.
    ///
    /// # Errors
    /// Why there is no table here.
    pub fn with_here<T>(&self, now: Monotonic, look: impl FnOnce(View<'_>) -> T) -> Result<T, Unusable> {
        self.with(|view| self.look_here(view, now, look))?.ok_or(Unusable::OtherNetwork)
    }

    /// Like [`Handle::with_here`] for a thread whose [`Handle::exchange`] was busy.
    #[cold]
    pub(crate) fn with_own_here<T>(
        &self,
        now: Monotonic,
        look: impl FnOnce(View<'_>) -> T,
    ) -> Result<T, Unusable> {
        self.with_own(|view| self.look_here(view, now, look))?.ok_or(Unusable::OtherNetwork)
    }

    fn look_here<T>(&self, view: View<'_>, now: Monotonic, look: impl FnOnce(View<'_>) -> T) -> Option<T> {
        // A replaced table is only asked whether it was replaced, wherever the thread is.
        let has_network = view.network() != 0 && !view.replaced();
        let is_here = !has_network || self.is_here(view.network(), now);
        is_here.then(|| look(view))
    }

    /// Whether this thread is in the network namespace with that number.
    pub(crate) fn is_here(&self, network: u32, now: Monotonic) -> bool {
        network == self.network.of_thread(now, sys::network)
    }

    /// The number of the current slot plus one, for [`Handle::exchange`]; 0 if no table is open.
    pub(crate) fn current(&self) -> u32 {
        self.current.load(SeqCst)
    }

    /// Opens the file that the directory has now in place of the table `before`, unless another thread
    /// has done so.
    #[cold]
    pub(crate) fn exchange(&self, before: u32) -> Result<Exchanged, Unusable> {
        let me = sys::process_id();
        let holder = self.exchanging.load(SeqCst);
        // The id of another process is that of the parent of this forked child. The parent's thread
        // does not exist here, so its turn is taken over.
        if holder == me || self.exchanging.compare_exchange(holder, me, SeqCst, SeqCst).is_err() {
            return Ok(Exchanged::Busy);
        }
        let is_open = self.current.load(SeqCst) != before;
        let result = if is_open { Ok(Exchanged::Done) } else { self.map_current(before) };
        self.exchanging.store(0, SeqCst);
        result
    }

    /// Maps the file that the directory has into a free slot and makes that slot current. Only for the
    /// thread that has `exchanging`.
    #[cold]
    fn map_current(&self, before: u32) -> Result<Exchanged, Unusable> {
        let dir = self.dir().ok_or(Unusable::NoTable)?;
        let is_free = |(n, slot): &(usize, &Slot)| *n as u32 + 1 != before && slot.users.load(SeqCst) == 0;
        let Some((n, slot)) = self.slots.iter().enumerate().find(is_free) else {
            return Ok(Exchanged::Busy);
        };
        let Some(held) = Held::open(&dir)? else {
            // Root's own table was mapped, and the one that replaced it is not root's: from now on
            // it is read unmapped.
            self.clear_current(before);
            return Err(Unusable::NoTable);
        };
        Self::unmap_slot(slot);
        // SAFETY: the slot is not current and had no user, and this is the one thread that
        // exchanges. A reader that counts itself now finds that the slot is not current and does
        // not look.
        unsafe { *slot.held.get() = MaybeUninit::new(held) };
        slot.mapped.store(1, SeqCst);
        self.current.store(n as u32 + 1, SeqCst);
        self.unmap_replaced(before);
        Ok(Exchanged::Done)
    }

    /// Makes no table current in place of `before`. Only for the thread that has `exchanging`.
    fn clear_current(&self, before: u32) {
        self.current.store(0, SeqCst);
        self.unmap_replaced(before);
    }

    /// Unmaps the table `before`, which was current until now, if it has no reader.
    fn unmap_replaced(&self, before: u32) {
        if let Some(old) = self.slots.get((before as usize).wrapping_sub(1))
            && old.users.load(SeqCst) == 0
        {
            Self::unmap_slot(old);
        }
    }

    /// Unmaps the table of a slot that is not current and has no user.
    fn unmap_slot(slot: &Slot) {
        if slot.mapped.swap(0, SeqCst) == 1 {
            // SAFETY: `mapped` was 1, so the slot is filled; it is not current, and a reader that
            // counts itself now sees that.
            unsafe {
                (*slot.held.get()).assume_init_ref().unmap();
            }
        }
    }

    /// Checks whether the directory has another file than the one that is read, at most once a second;
    /// `false` in between. See [`Recheck`].
    pub(crate) fn check_outdated(&self, now: Monotonic) -> bool {
        if !self.recheck.is_due(now) {
            return false;
        }
        let current = self.current.load(SeqCst);
        let Some(slot) = self.slots.get((current as usize).wrapping_sub(1)) else { return false };
        slot.users.fetch_add(1, SeqCst);
        let mut held = None;
        if self.current.load(SeqCst) == current {
            // SAFETY: counted as a user of the current slot, as in `with`.
            held = Some(unsafe { (*slot.held.get()).assume_init_ref().file() });
        }
        slot.users.fetch_sub(1, SeqCst);
        let found = self.dir().and_then(sys::table_file);
        found.is_some() && found != held
    }

    /// Whether the daemon hung when it was last asked, and must not be asked again yet.
    pub(crate) fn is_silent(&self, now: Monotonic) -> bool {
        now.0 < self.silent_until.load(SeqCst)
    }

    /// Notes that the daemon hangs, so that it is not asked before `until`.
    pub(crate) fn note_silence(&self, until: Monotonic) {
        self.silent_until.store(until.0, SeqCst);
    }

    /// Notes that a hint is sent for this version. `false`: one was sent before, as far as is
    /// remembered.
    pub(crate) fn note_hint(&self, version: u64) -> bool {
        let at = (version as usize) % HINT_SLOTS;
        self.hinted.get(at).is_some_and(|last| last.swap(version, SeqCst) != version)
    }

    /// Unmaps every table.
    ///
    /// # Safety
    /// No other thread uses the handle, now or later.
    pub unsafe fn close(&self) {
        self.current.store(0, SeqCst);
        self.slots.iter().for_each(Self::unmap_slot);
    }
}

/// Checks that this process is in the daemon's time namespace, by the wall clock minus the table's
/// clock, which the daemon wrote.
pub(crate) fn check_clock(offset_ms: u64) -> Result<(), Unusable> {
    let apart = sys::clock_offset_ms().abs_diff(offset_ms);
    if apart > CLOCK_SLACK_MS { Err(Unusable::OtherClock) } else { Ok(()) }
}

impl Default for Handle {
    fn default() -> Self {
        Self::new()
    }
}
