//! Reads the saved cache after a reboot, in a thread that first checks the whole file. The core
//! gets the address sets in slices.

use crate::config::Config;
use crate::daemon::persist::save::FILE;
use crate::daemon::sources::Source;
use crate::logging::Event;
use hither_net::clock::{self, WallClockWatch};
use hither_rounds::{Restore, SavedSet, Upkeep};
use hither_saved::{AGE_MARGIN, Age, Clocks, Header, OCTETS_MAX, ReadError, Reader, Set};
use hither_table::{Chain, Link};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Waker};
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Seek as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

/// Sets in one slice: the core takes less than a millisecond for them.
const SLICE_SETS_MAX: usize = 256;
/// Slices that the thread may read ahead.
const SLICES_AHEAD_MAX: usize = 2;

/// A result of the thread.
enum Slice {
    Sets(Vec<SavedSet>),
    End,
    Failed(String),
}

/// A file with a valid header and a known age.
#[derive(Debug)]
pub(crate) struct Found {
    file: File,
    path: PathBuf,
    header: Header,
    age: Age,
    clocks: Clocks,
}

/// A restore that is in progress, or that has ended but may still turn out to be based on a wrong
/// clock.
#[derive(Debug)]
pub(super) struct Restorer {
    /// None when the restore has ended.
    slices: Option<Receiver<Slice>>,
    path: PathBuf,
    /// Whether another slice may be ready.
    may_have_more: bool,
    /// The clocks by which the age of the file was computed.
    began: Clocks,
    /// Reports when the wall clock is set. If None, the clocks are compared once a second.
    watch: Option<WallClockWatch>,
}

impl std::fmt::Debug for Slice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sets(sets) => write!(f, "{} sets", sets.len()),
            Self::End => f.write_str("the end"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// Both clocks as they are now.
pub(super) fn clocks() -> Clocks {
    Clocks { wall_ms: clock::wall_ms(), boot_ms: clock::now().as_ms() }
}

/// Finds the saved cache, if it should be restored, which is if the table is new. The table's
/// versions continue above those of the file.
pub(super) fn find_saved(config: &Config, is_new: bool, table: Upkeep<'_>) -> Option<Found> {
    if config.state.dir.is_none() && !config.state.save_every.is_zero() {
        log::info!("nothing is kept over a reboot: neither state_dir nor $STATE_DIRECTORY says where");
    }
    let path = config.saved_in().filter(|_| is_new)?.join(FILE);
    match find(&path, table) {
        Ok(found) => found,
        Err(why) => {
            log_failure(&path, &why);
            None
        }
    }
}

fn log_failure(path: &Path, why: &str) {
    log::warn!(
        event = Event::CacheNotRestored, path:% = path.display(), reason = why;
        "'{}' is not restored: {why}; the cache begins empty",
        path.display()
    );
}

fn find(path: &Path, mut table: Upkeep<'_>) -> Result<Option<Found>, String> {
    let file = match open(path) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(None),
        Err(why) => return Err(why),
    };
    let (header, _) = Reader::open(&file).map_err(|error| error.to_string())?;
    table.go_on_above(header.version);
    let clocks = clocks();
    let age = Age::of(&header, clocks).map_err(|why| why.to_string())?;
    Ok(Some(Found { file, path: path.to_owned(), header, age, clocks }))
}

/// Opens a file that only root and the daemon's own user can have written. `None` if it does not
/// exist.
pub(super) fn open(path: &Path) -> Result<Option<File>, String> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC | nix::libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => {
            return Err("it is a symbolic link".to_owned());
        }
        Err(error) => return Err(format!("it cannot be opened: {error}")),
    };
    let metadata = file.metadata().map_err(|error| format!("its metadata cannot be read: {error}"))?;
    let me = nix::unistd::geteuid().as_raw();
    if !metadata.is_file() {
        Err("it is not a regular file".to_owned())
    } else if ![0, me].contains(&metadata.uid()) {
        Err(format!("it belongs to user {}; expected root or our own user", metadata.uid()))
    } else if metadata.mode() & 0o022 != 0 {
        Err(format!("its mode {:04o} lets group or others write it", metadata.mode() & 0o7777))
    } else if metadata.len() > OCTETS_MAX {
        Err(format!("it has {} octets; expected {OCTETS_MAX} at most", metadata.len()))
    } else {
        Ok(Some(file))
    }
}

impl Restorer {
    /// Starts the thread. Also returns the first input for the core. `None` if the thread cannot be
    /// started, which is logged.
    pub fn start(found: Found, waker: Arc<Waker>, registry: &Registry) -> Option<(Restorer, Restore)> {
        let (began, path) = (found.clocks, found.path.clone());
        let usual = found.header.usual.iter().copied().filter(|mark| *mark != 0).collect();
        let ago = found.age.elapsed().as_secs();
        let (sender, slices) = sync_channel(SLICES_AHEAD_MAX);
        let work = move || read(&found, |slice| sender.send(slice).is_ok() && waker.wake().is_ok());
        if let Err(error) = std::thread::Builder::new().name("restore".to_owned()).spawn(work) {
            log_failure(&path, &format!("cannot start a thread: {error}"));
            return None;
        }
        log::info!("'{}', saved {ago} s ago, is being restored", path.display());
        let watch = WallClockWatch::new().and_then(|watch| {
            let descriptor = watch.as_raw_fd();
            let token = Source::WallClock.token();
            registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
            Ok(watch)
        });
        let watch = watch.map_err(|error| log::warn!("{UNWATCHED}: {error}")).ok();
        let restorer = Restorer { slices: Some(slices), path, may_have_more: false, began, watch };
        Some((restorer, Restore::Begin { usual }))
    }

    /// Whether another slice may be ready.
    pub fn may_have_more(&self) -> bool {
        self.may_have_more
    }

    /// Takes the next slice for the core, if one is ready.
    pub fn next(&mut self) -> Option<Restore> {
        let slice = self.slices.as_ref()?.try_recv();
        self.may_have_more = matches!(slice, Ok(Slice::Sets(_)));
        match slice {
            Err(TryRecvError::Empty) => None,
            Ok(Slice::Sets(sets)) => Some(Restore::Sets(sets)),
            Ok(Slice::End) => Some(Restore::End),
            Ok(Slice::Failed(why)) => {
                log_failure(&self.path, &why);
                Some(Restore::End)
            }
            Err(TryRecvError::Disconnected) => {
                log_failure(&self.path, "the reading thread has ended unexpectedly");
                Some(Restore::End)
            }
        }
    }

    /// Ends the restore: the core needs no more slices.
    pub fn end(&mut self) {
        (self.slices, self.may_have_more) = (None, false);
    }

    /// The kernel reports that the wall clock was set.
    pub fn on_clock_set(&mut self) {
        if let Some(watch) = &self.watch
            && let Err(error) = watch.take()
        {
            log::warn!("{UNWATCHED}: {error}");
            self.watch = None;
        }
    }

    /// Whether the wall clock was set forward since the file's age was computed: then the restored
    /// sets are older than computed.
    pub fn was_clock_behind(&self) -> bool {
        let forward = clocks().set_forward_since(&self.began);
        if forward > AGE_MARGIN {
            log::warn!(
                "the clock was set forward by {} s: the restored addresses are older than computed and are removed",
                forward.as_secs()
            );
        }
        forward > AGE_MARGIN
    }
}

const UNWATCHED: &str = "a change of the wall clock is noticed only within a second";

/// Reads a file twice: first to check all of it, then to send its sets, until `send` returns
/// `false` because they are no longer needed.
fn read(found: &Found, send: impl Fn(Slice) -> bool) {
    let last = match check(found).and_then(|()| send_all(found, &send)) {
        Ok(()) => Slice::End,
        Err(error) => Slice::Failed(error.to_string()),
    };
    send(last);
}

fn reader(found: &Found) -> Result<Reader<BufReader<&File>>, ReadError> {
    let mut file = &found.file;
    file.rewind()?;
    let (header, reader) = Reader::open(BufReader::with_capacity(1 << 16, file))?;
    // The file was written in place instead of being replaced.
    if header == found.header { Ok(reader) } else { Err(ReadError::Header) }
}

fn check(found: &Found) -> Result<(), ReadError> {
    let mut reader = reader(found)?;
    while reader.next_set()?.is_some() {}
    Ok(())
}

fn send_all(found: &Found, send: &impl Fn(Slice) -> bool) -> Result<(), ReadError> {
    let mut reader = reader(found)?;
    let mut sets = Vec::with_capacity(SLICE_SETS_MAX);
    while let Some(set) = reader.next_set()? {
        sets.push(dated(set, &found.age));
        if sets.len() == SLICE_SETS_MAX
            && !send(Slice::Sets(std::mem::replace(&mut sets, Vec::with_capacity(SLICE_SETS_MAX))))
        {
            return Ok(());
        }
    }
    send(Slice::Sets(sets));
    Ok(())
}

fn dated(set: Set, age: &Age) -> SavedSet {
    let chain = |links: Vec<hither_saved::Link>| Chain {
        links: links
            .into_iter()
            .map(|link| Link { target: link.target, expire_ms: age.expire_ms(link.left_ms) })
            .collect(),
    };
    SavedSet {
        name: set.name,
        family: set.family,
        route: set.route,
        complete: set.complete,
        sorted: set.sorted,
        expire_ms: age.expire_ms(set.left_ms),
        lifetime_s: set.lifetime_s,
        agreement: set.agreement,
        addresses: set.addresses,
        chains: set.chains.into_iter().map(chain).collect(),
    }
}
