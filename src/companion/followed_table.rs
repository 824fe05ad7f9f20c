//! The daemon's table as a program beside it follows it: opened when it appears, left when another one
//! replaces it.

use crate::logging::Event;
use hither_client::{Follower, Key, Monotonic, Reader, Snapshot, Step};
use mio::Waker;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often a missing table is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The stack of the watching thread, which has one record on it.
const STACK_OCTETS: usize = 256 * 1024;

/// The next change of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// A set was published; its record is in [`FollowedTable::snapshot`].
    Published,
    /// An entry was removed or replaced.
    Removed,
    /// There is no further change, or no table.
    None,
    /// Changes were overwritten before they were read.
    Lost,
}

#[derive(Debug)]
pub(crate) struct FollowedTable {
    dir: PathBuf,
    /// Whether a table is opened at all.
    is_enabled: bool,
    /// How long the watching thread waits for a change before it looks for a replaced table.
    look_again: Duration,
    waker: Option<Arc<Waker>>,
    /// Set when the table is left, for the thread that watches it.
    is_left: Arc<AtomicBool>,
    follower: Option<Follower>,
    snapshot: Box<Snapshot>,
    /// There may be changes that have not been read.
    is_behind: bool,
}

impl FollowedTable {
    /// A table in this directory. A replaced one is noticed after `look_again`, and sooner after
    /// [`FollowedTable::note_change`].
    pub fn new(dir: &Path, is_enabled: bool, look_again: Duration) -> FollowedTable {
        FollowedTable {
            dir: dir.to_owned(),
            is_enabled,
            look_again,
            waker: None,
            is_left: Arc::default(),
            follower: None,
            snapshot: Box::new(Snapshot::new()),
            is_behind: true,
        }
    }

    /// Wakes the event loop by `waker` when the table changes.
    pub fn wake_on_changes(&mut self, waker: Arc<Waker>) {
        self.waker = Some(waker);
    }

    pub fn is_open(&self) -> bool {
        self.follower.is_some()
    }

    pub fn has_unread_changes(&self) -> bool {
        self.is_behind && self.is_open()
    }

    /// When to look for a missing table.
    pub fn timeout(&self, now: Monotonic) -> Option<Monotonic> {
        self.follower.is_none().then(|| now.plus(LOOK_EVERY))
    }

    pub fn note_change(&mut self) {
        self.is_behind = true;
    }

    /// Opens the table if none is open; `true` if that was done.
    pub fn open_if_missing(&mut self) -> bool {
        if self.is_open() || !self.is_enabled {
            return false;
        }
        match Reader::open(&self.dir) {
            Ok(reader) if !reader.replaced() => {
                let follower = reader.follow();
                if let Err(error) = self.watch(reader) {
                    log::warn!(
                        event = Event::NotFollowed, what = "the table", reason:% = error;
                        "the table cannot be followed, for lack of a thread: {error}; trying again"
                    );
                    return false;
                }
                self.follower = Some(follower);
                self.is_behind = true;
                true
            }
            _ => false,
        }
    }

    /// Starts a thread that wakes the event loop when this table changes or is replaced.
    fn watch(&mut self, reader: Reader) -> std::io::Result<()> {
        let Some(waker) = self.waker.clone() else { return Ok(()) };
        let (dir, look_again) = (self.dir.clone(), self.look_again);
        self.is_left = Arc::default();
        let is_left = Arc::clone(&self.is_left);
        let thread = std::thread::Builder::new().name("table".to_owned()).stack_size(STACK_OCTETS);
        thread.spawn(move || watch(&reader, &dir, look_again, &waker, &is_left)).map(drop)
    }

    /// Leaves the table, and ends the thread that watches it.
    fn leave(&mut self) {
        if let Some(follower) = self.follower.take() {
            self.is_left.store(true, Ordering::Relaxed);
            follower.reader().wake_waiting();
        }
        self.is_behind = true;
    }

    /// Reads the next change; `is_first` says that it is the first of a turn.
    pub fn next_change(&mut self, is_first: bool) -> Change {
        let Some(follower) = &mut self.follower else { return Change::None };
        match follower.step(&mut self.snapshot) {
            Step::Record => Change::Published,
            Step::Changed => Change::Removed,
            Step::Lapped => Change::Lost,
            Step::Nothing => {
                self.is_behind = false;
                // A wake-up without a change: the daemon may be writing to another table by now.
                if is_first {
                    self.leave_if_replaced();
                }
                Change::None
            }
            Step::Replaced => {
                self.leave();
                Change::None
            }
        }
    }

    fn leave_if_replaced(&mut self) {
        if self.follower.as_ref().is_some_and(|follower| follower.reader().has_successor(&self.dir)) {
            self.leave();
        }
    }

    pub fn reader(&self) -> Option<Reader> {
        self.follower.as_ref().map(|follower| follower.reader().clone())
    }

    /// Whether nobody on this host has asked for the sets of a round: they were restored after a boot, or
    /// other hosts have learned them.
    pub fn is_unasked(&self, round: u64) -> bool {
        let reader = self.follower.as_ref().map(|follower| follower.reader());
        reader.is_some_and(|reader| round == reader.restored_round() || reader.is_of_site(round))
    }

    /// Copies a name's record into [`FollowedTable::snapshot`]; returns the table's generation if
    /// it has the name.
    pub fn look_up(&mut self, name: &[u8]) -> Option<u64> {
        let reader = self.follower.as_ref()?.reader();
        reader.lookup(&Key::of_wire(name), &mut self.snapshot).ok().map(|()| reader.generation())
    }

    /// The record that was read last.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub fn snapshot_mut(&mut self) -> &mut Snapshot {
        &mut self.snapshot
    }
}

/// Wakes the event loop when the table changes or is replaced, until then.
fn watch(reader: &Reader, dir: &Path, look_again: Duration, waker: &Waker, is_left: &AtomicBool) {
    let mut snapshot = Snapshot::new();
    let mut follower = reader.follow();
    while !is_left.load(Ordering::Relaxed) {
        follower.wait(look_again);
        let mut changes = 0;
        while !matches!(follower.step(&mut snapshot), Step::Nothing | Step::Replaced) {
            changes += 1;
        }
        let is_replaced = reader.replaced() || (changes == 0 && reader.has_successor(dir));
        if waker.wake().is_err() || is_replaced {
            break;
        }
    }
}
