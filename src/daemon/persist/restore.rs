//! Reading what was saved before the host was started: checked in a thread, all of it before any of it counts, and handed to the core in slices.

use crate::config::Config;
use crate::daemon::event_loop::Daemon;
use crate::daemon::persist::save::FILE;
use crate::daemon::sources::Source;
use crate::logging::Event;
use hither_net::clock::{self, Setting};
use hither_rounds::{Input, Restore, SavedSet, Upkeep};
use hither_saved::{Age, Clocks, Header, MARGIN, OCTETS_MAX, ReadError, Reader, Set};
use hither_table::{Chain, Link, Monotonic};
use mio::unix::SourceFd;
use mio::{Interest, Waker};
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Seek as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

/// Sets handed over at once, and taken up before others get their turn: less than a millisecond.
const SLICE: usize = 256;
/// Slices that are read ahead.
const AHEAD: usize = 2;

/// What the reading thread has.
enum Slice {
    Sets(Vec<SavedSet>),
    End,
    Failed(String),
}

/// A file whose header is right and whose age can be told.
#[derive(Debug)]
pub(crate) struct Found {
    file: File,
    path: PathBuf,
    header: Header,
    age: Age,
    clocks: Clocks,
}

/// What is being restored, and then the doubt about it.
#[derive(Debug)]
pub(crate) struct Restorer {
    slices: Option<Receiver<Slice>>,
    path: PathBuf,
    /// There may be another slice at once.
    pub more: bool,
    /// When it was dated.
    began: Clocks,
    /// Tells that the clock was set, by which it was.
    setting: Option<Setting>,
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

/// Both clocks, now.
pub(crate) fn clocks() -> Clocks {
    Clocks { wall_ms: clock::wall_ms(), boot_ms: clock::now().as_ms() }
}

/// What was saved, if it is to be restored into this table: a new one. Versions go on above it in any case.
pub(crate) fn found(config: &Config, is_new: bool, table: Upkeep<'_>) -> Option<Found> {
    if config.state_dir.is_none() && !config.save.is_zero() {
        log::info!("nothing is kept over a reboot: neither state_dir nor $STATE_DIRECTORY says where");
    }
    let path = config.saved_in().filter(|_| is_new)?.join(FILE);
    match find(&path, table) {
        Ok(found) => found,
        Err(why) => {
            not_restored(&path, &why);
            None
        }
    }
}

fn not_restored(path: &Path, why: &str) {
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

/// Opens a file that nobody but root and ourselves can have written. `None`: there is none.
pub(crate) fn open(path: &Path) -> Result<Option<File>, String> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC | nix::libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => {
            return Err("it is a symbolic link".to_owned());
        }
        Err(error) => return Err(format!("it cannot be opened: {error}")),
    };
    let metadata = file.metadata().map_err(|error| format!("it cannot be looked at: {error}"))?;
    let me = nix::unistd::geteuid().as_raw();
    if !metadata.is_file() {
        Err("it is not a regular file".to_owned())
    } else if ![0, me].contains(&metadata.uid()) {
        Err(format!("it belongs to user {}, neither to root nor to us", metadata.uid()))
    } else if metadata.mode() & 0o022 != 0 {
        Err(format!("others can write it, by its mode {:04o}", metadata.mode() & 0o7777))
    } else if metadata.len() > OCTETS_MAX {
        Err(format!("it has {} octets, more than {OCTETS_MAX}", metadata.len()))
    } else {
        Ok(Some(file))
    }
}

impl Daemon {
    /// Begins to restore: before the first question is taken.
    pub(crate) fn begin_restore(&mut self, found: Found, waker: Arc<Waker>, now: Monotonic) {
        let (began, path) = (found.clocks, found.path.clone());
        let usual = found.header.usual.iter().copied().filter(|mark| *mark != 0).collect();
        let ago = found.age.elapsed().as_secs();
        let (sender, slices) = sync_channel(AHEAD);
        let work = move || hand_over(&found, |slice| sender.send(slice).is_ok() && waker.wake().is_ok());
        if let Err(error) = std::thread::Builder::new().name("restore".to_owned()).spawn(work) {
            return not_restored(&path, &format!("no thread can be had: {error}"));
        }
        log::info!("'{}', saved {ago} s ago, is being restored", path.display());
        self.tell(now, Input::Restore(Restore::Begin { usual }));
        let setting = Setting::new().and_then(|setting| {
            let descriptor = setting.as_raw_fd();
            let token = Source::WallClock.token();
            self.poll.registry().register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
            Ok(setting)
        });
        let setting = setting.map_err(|error| log::warn!("{UNWATCHED}: {error}")).ok();
        self.keep.restorer = Some(Restorer { slices: Some(slices), path, more: false, began, setting });
    }

    /// Takes up a slice, if there is one.
    pub(crate) fn restore_some(&mut self, now: Monotonic) -> bool {
        let Some(restorer) = &mut self.keep.restorer else { return false };
        let Some(slices) = &restorer.slices else { return false };
        let slice = slices.try_recv();
        restorer.more = matches!(slice, Ok(Slice::Sets(_)));
        let restore = match slice {
            Err(TryRecvError::Empty) => return false,
            Ok(Slice::Sets(sets)) => Restore::Sets(sets),
            Ok(Slice::End) => Restore::End,
            Ok(Slice::Failed(why)) => {
                not_restored(&restorer.path, &why);
                Restore::End
            }
            Err(TryRecvError::Disconnected) => {
                not_restored(&restorer.path, "its reader has ended before its time");
                Restore::End
            }
        };
        self.tell(now, Input::Restore(restore));
        if !self.core.rounds().is_restoring()
            && let Some(restorer) = &mut self.keep.restorer
        {
            (restorer.slices, restorer.more) = (None, false);
        }
        true
    }

    /// The kernel says that the clock was set.
    pub(crate) fn on_wall_clock(&mut self, now: Monotonic) {
        let Some(restorer) = &mut self.keep.restorer else { return };
        if let Some(setting) = &restorer.setting
            && let Err(error) = setting.take()
        {
            log::warn!("{UNWATCHED}: {error}");
            restorer.setting = None;
        }
        self.look_at_wall_clock(now);
    }

    /// Notices that the clock by which something was dated has turned out to be behind.
    pub(crate) fn look_at_wall_clock(&mut self, now: Monotonic) {
        let Some(restorer) = &self.keep.restorer else { return };
        let forward = clocks().set_forward_since(&restorer.began);
        if forward > MARGIN {
            log::warn!(
                "the clock was set forward by {} s: what was restored is older than it seemed, and goes",
                forward.as_secs()
            );
            self.keep.restorer = None;
            self.tell(now, Input::Restore(Restore::Void));
        }
    }
}

const UNWATCHED: &str = "whether the clock is set is looked at once a second at most";

/// Reads a file twice: once to know that it is whole, and once to tell what it holds, until nobody wants it.
fn hand_over(found: &Found, tell: impl Fn(Slice) -> bool) {
    let last = match check(found).and_then(|()| tell_all(found, &tell)) {
        Ok(()) => Slice::End,
        Err(error) => Slice::Failed(error.to_string()),
    };
    tell(last);
}

fn reader(found: &Found) -> Result<Reader<BufReader<&File>>, ReadError> {
    let mut file = &found.file;
    file.rewind()?;
    let (header, reader) = Reader::open(BufReader::with_capacity(1 << 16, file))?;
    // Whoever writes into it, rather than put another in its place, makes no file of it.
    if header == found.header { Ok(reader) } else { Err(ReadError::Header) }
}

fn check(found: &Found) -> Result<(), ReadError> {
    let mut reader = reader(found)?;
    while reader.next_set()?.is_some() {}
    Ok(())
}

fn tell_all(found: &Found, tell: &impl Fn(Slice) -> bool) -> Result<(), ReadError> {
    let mut reader = reader(found)?;
    let mut sets = Vec::with_capacity(SLICE);
    while let Some(set) = reader.next_set()? {
        sets.push(dated(set, &found.age));
        if sets.len() == SLICE && !tell(Slice::Sets(std::mem::replace(&mut sets, Vec::with_capacity(SLICE))))
        {
            return Ok(());
        }
    }
    tell(Slice::Sets(sets));
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
        addresses: set.addresses,
        chains: set.chains.into_iter().map(chain).collect(),
    }
}
