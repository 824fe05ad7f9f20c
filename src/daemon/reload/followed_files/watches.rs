//! The inotify watches for all followed paths: on each directory that a path goes through, for the
//! entries in it, and on the file at the end of the path, which may be written by another hard link.

use super::POLL_EVERY;
use super::walk::{End, Entry, ResolvedPath, walk};
use crate::logging::Event;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use nix::sys::statfs::statfs;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

/// How often paths are resolved until two results are equal: a change after resolving and before
/// watching shows in the next result.
const WALKS_MAX: usize = 4;

/// Reads of events in one pass of the thread. Each returns some hundred events.
const READS_PER_PASS_MAX: usize = 64;
/// File systems that other hosts or processes write without this kernel's knowledge: NFS, SMB
/// (three of them), FUSE, 9p, Ceph, AFS, OCFS2, GFS2, Lustre, Coda, VirtualBox's shared folders.
const REMOTE: [u64; 13] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x6573_5546,
    0x0102_1997,
    0x00c3_6400,
    0x5346_414f,
    0x7461_636f,
    0x0116_1970,
    0x0bd0_0bd0,
    0x7375_7245,
    0x786f_4256,
];

#[derive(Debug)]
pub(super) struct Watches {
    inotify: Option<Inotify>,
    watched: BTreeMap<WatchDescriptor, Watched>,
    /// Paths that could not be watched last time; that has been logged.
    logged: BTreeSet<PathBuf>,
}

/// The events of a file or directory that are watched.
#[derive(Clone, Default, Debug)]
struct Watched {
    entries: BTreeSet<OsString>,
    /// Whether all its entries count.
    all_entries: bool,
    /// Whether it is a followed file.
    is_file: bool,
}

/// The object that may have changed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Cause {
    /// A watched file or directory itself.
    Itself(WatchDescriptor),
    /// An entry of a watched directory.
    Entry(WatchDescriptor, OsString),
    /// Events were lost, so anything may have changed.
    Lost,
    /// The list of mounts.
    Mounts,
}

impl Watches {
    /// Watches nothing so far.
    pub fn new() -> Watches {
        Watches { inotify: None, watched: BTreeMap::new(), logged: BTreeSet::new() }
    }

    /// The descriptor of inotify, for the poll.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(Inotify::as_fd)
    }

    /// Watches the entries that `paths` go through now, and nothing else. Returns whether some of them
    /// must be checked regularly instead.
    pub fn install(&mut self, paths: &[PathBuf]) -> bool {
        let mut failed = BTreeMap::new();
        if self.inotify.is_none() {
            let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
            self.inotify =
                Inotify::init(flags).map_err(|error| failed.insert(PathBuf::from("/"), error)).ok();
        }
        let mut resolved: Vec<ResolvedPath> = paths.iter().map(|path| walk(path, look)).collect();
        // Paths that resolve differently each time are resolved again later.
        let mut is_settled = false;
        if let Some(inotify) = &self.inotify {
            for _ in 0..WALKS_MAX {
                failed.clear();
                let watched = watch(inotify, &resolved, &mut failed);
                for gone in self.watched.keys().filter(|watch| !watched.contains_key(watch)) {
                    // If the watched file was removed, the kernel has already removed the watch.
                    let _ = inotify.rm_watch(*gone);
                }
                self.watched = watched;
                let again: Vec<ResolvedPath> = paths.iter().map(|path| walk(path, look)).collect();
                is_settled = again == resolved;
                resolved = again;
                if is_settled {
                    break;
                }
            }
        }
        self.log(&failed);
        !is_settled || !failed.is_empty() || resolved.iter().any(is_remote)
    }

    fn log(&mut self, failed: &BTreeMap<PathBuf, Errno>) {
        for (path, error) in failed.iter().filter(|(path, _)| !self.logged.contains(*path)) {
            let limit = match error {
                Errno::ENOSPC => "; the limit is fs.inotify.max_user_watches",
                Errno::EMFILE => "; the limit is fs.inotify.max_user_instances",
                _ => "",
            };
            log::warn!(
                event = Event::NotFollowed, what:% = path.display(), reason:% = error;
                "'{}' cannot be watched: {error}{limit}; files there are checked every {} s instead",
                path.display(),
                POLL_EVERY.as_secs()
            );
        }
        self.logged = failed.keys().cloned().collect();
    }

    /// Reads events. `on_change` gets the changed object, and whether a process has it open for
    /// writing.
    pub fn take(&self, mut on_change: impl FnMut(Cause, bool)) {
        for _ in 0..READS_PER_PASS_MAX {
            // Further events are read in the next pass.
            let events = self.inotify.as_ref().map(Inotify::read_events);
            let Some(Ok(events)) = events else { return };
            for event in events {
                let is_open = event.mask.contains(AddWatchFlags::IN_MODIFY);
                if let Some(cause) = self.cause(event) {
                    on_change(cause, is_open);
                }
            }
        }
    }

    fn cause(&self, event: InotifyEvent) -> Option<Cause> {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return Some(Cause::Lost);
        }
        let watched = self.watched.get(&event.wd)?;
        match event.name {
            Some(name) if watched.entries.contains(&name) => Some(Cause::Entry(event.wd, name)),
            Some(_) if !watched.all_entries => None,
            _ => Some(Cause::Itself(event.wd)),
        }
    }
}

fn watch(
    inotify: &Inotify,
    paths: &[ResolvedPath],
    failed: &mut BTreeMap<PathBuf, Errno>,
) -> BTreeMap<WatchDescriptor, Watched> {
    let mut wanted: BTreeMap<&Path, Watched> = BTreeMap::new();
    for resolved in paths {
        for (dir, name) in &resolved.entries {
            wanted.entry(dir).or_default().entries.insert(name.clone());
        }
        match &resolved.end {
            End::File(file) => wanted.entry(file).or_default().is_file = true,
            End::Directory(dir) => wanted.entry(dir).or_default().all_entries = true,
            End::Nowhere => {}
        }
    }
    let mut watched: BTreeMap<WatchDescriptor, Watched> = BTreeMap::new();
    // Directories come before their entries, so that the replacement of a directory meanwhile is
    // noticed in its parent.
    for (path, what) in wanted {
        match inotify.add_watch(path, flags(&what)) {
            Ok(watch) => {
                // Two paths may lead to one directory, through mounts, and to one file, through hard links.
                let place = watched.entry(watch).or_default();
                place.entries.extend(what.entries);
                place.all_entries |= what.all_entries;
                place.is_file |= what.is_file;
            }
            // The entry was removed meanwhile: the watch on its parent directory reports that.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
            // We may not read it: the watch on its parent directory reports when that changes.
            Err(Errno::EACCES) if what.is_file || what.all_entries => {}
            Err(error) => drop(failed.insert(path.to_owned(), error)),
        }
    }
    watched
}

fn flags(what: &Watched) -> AddWatchFlags {
    let written = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE;
    let itself =
        AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | no_link();
    let entries = AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_ONLYDIR;
    match (what.is_file, what.all_entries) {
        (true, _) => itself | written,
        (false, true) => itself | entries | written,
        (false, false) => itself | entries,
    }
}

/// The paths are resolved and have no links. If two paths lead to the same file, their watches are
/// merged.
fn no_link() -> AddWatchFlags {
    AddWatchFlags::IN_DONT_FOLLOW | AddWatchFlags::from_bits_retain(nix::libc::IN_MASK_ADD)
}

fn look(path: &Path) -> Entry {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Entry::Hidden,
        Err(_) => return Entry::Missing,
    };
    if found.is_symlink() {
        return std::fs::read_link(path).map_or(Entry::Missing, Entry::Link);
    }
    match (found.is_dir(), found.is_file()) {
        (true, _) => Entry::Directory,
        (_, true) => Entry::File,
        _ => Entry::Special,
    }
}

fn is_remote(resolved: &ResolvedPath) -> bool {
    let at = match &resolved.end {
        End::File(path) | End::Directory(path) => Some(path.as_path()),
        End::Nowhere => resolved.entries.last().map(|(dir, _)| dir.as_path()),
    };
    let kind = at.and_then(|path| statfs(path).ok()).map(|found| found.filesystem_type().0);
    kind.is_some_and(|kind| REMOTE.contains(&u64::from(kind.cast_unsigned() as u32)))
}
