//! The daemon's table as the sorter follows it: opened when it appears, left when another one replaces it.

use hither_client::{Follower, Key, Monotonic, Reader, Snapshot, Step};
use mio::Waker;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a missing table is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long the watching thread waits for a change before it looks for a replaced table.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// The next change of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
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
pub(super) struct FollowedTable {
    dir: PathBuf,
    /// Whether a table is opened at all: `sort.enabled`.
    is_enabled: bool,
    follower: Option<Follower>,
    snapshot: Box<Snapshot>,
    /// There may be changes that have not been read.
    is_behind: bool,
}

impl FollowedTable {
    pub fn new(dir: &Path, is_enabled: bool) -> FollowedTable {
        let (dir, snapshot) = (dir.to_owned(), Box::new(Snapshot::new()));
        FollowedTable { dir, is_enabled, follower: None, snapshot, is_behind: true }
    }

    /// Starts a thread that wakes the event loop when the table changes. It ends with the process.
    pub fn wake_on_changes(&self, waker: Waker) -> std::io::Result<()> {
        let dir = self.dir.clone();
        let thread = std::thread::Builder::new().name("table".to_owned());
        thread.spawn(move || watch(&dir, &waker)).map(drop)
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
                self.follower = Some(reader.follow());
                self.is_behind = true;
                true
            }
            _ => false,
        }
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
                self.follower = None;
                Change::None
            }
        }
    }

    fn leave_if_replaced(&mut self) {
        if self.follower.as_ref().is_some_and(|follower| follower.reader().has_successor(&self.dir)) {
            self.follower = None;
            self.is_behind = true;
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

/// Wakes the event loop when the table changes, appears, or is replaced. Never returns.
fn watch(dir: &Path, waker: &Waker) {
    let mut snapshot = Snapshot::new();
    loop {
        if let Ok(reader) = Reader::open(dir) {
            let mut follower = reader.follow();
            while !reader.replaced() {
                follower.wait(WAIT_MAX);
                let mut changes = 0;
                while !matches!(follower.step(&mut snapshot), Step::Nothing | Step::Replaced) {
                    changes += 1;
                }
                let is_replaced = changes == 0 && reader.has_successor(dir);
                if waker.wake().is_err() || is_replaced {
                    break;
                }
            }
        }
        // Nothing announces a file that does not exist yet.
        std::thread::sleep(LOOK_EVERY);
    }
}
