//! Notices every change of a followed file, and of any directory or symbolic link on the way to it.
//!
//! This is the work of a thread, so that a file system that hangs does not hold up the event loop.
//! The thread watches every directory entry on the way to each file (`watches`), waits until a
//! burst of changes is over (`settle`), resolves the paths again, since they may lead to other
//! files (`walk`), and only then reports the change, so that the files which are then read are the
//! watched ones. inotify does not report mounts; the kernel's list of mounts does. Files that
//! cannot be watched are checked every two seconds.

mod settle;
mod walk;
mod watches;

use crate::daemon::thread_results::wake;
use crate::host::files;
use crate::logging::Event;
use hither_net::clock;
use hither_table::Monotonic;
use mio::Waker;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use settle::Settle;
use std::fs::{File, Metadata};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use watches::{Cause, Watches};

/// How often files that cannot be watched are checked.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// Entries of a followed directory that a check compares.
const ENTRIES_MAX: usize = 4096;

/// The event loop's end: it names the files to follow, and asks whether they have changed.
#[derive(Debug)]
pub(crate) struct Follower {
    paths: Vec<PathBuf>,
    requests: mpsc::Sender<Vec<PathBuf>>,
    /// Wakes the thread.
    wake: Arc<EventFd>,
    changed: Arc<AtomicBool>,
}

impl Follower {
    /// Starts to follow: every change from now on is noticed. `None` if that is impossible, which
    /// is logged.
    pub fn begin(paths: Vec<PathBuf>, waker: &Arc<Waker>) -> Option<Follower> {
        let follower = Follower::new(paths, Arc::clone(waker)).map_err(|error| {
            log::warn!(
                event = Event::NotFollowed, what = "files", reason:% = error;
                "files cannot be followed: {error}; reload hitherd after they change"
            );
        });
        follower.ok()
    }

    fn new(paths: Vec<PathBuf>, waker: Arc<Waker>) -> std::io::Result<Follower> {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let changed = Arc::new(AtomicBool::new(false));
        let (requests, received) = mpsc::channel();
        let mut looker = Looker {
            paths: Vec::new(),
            requests: received,
            wake: Arc::clone(&wake),
            watches: Watches::new(),
            mounts: File::open("/proc/self/mountinfo").ok(),
            settle: Settle::new(),
            is_certain: false,
            polled: None,
            prints: Vec::new(),
            changed: Arc::clone(&changed),
            waker,
        };
        looker.follow(paths.clone());
        std::thread::Builder::new().name("follow".to_owned()).spawn(move || looker.run())?;
        Ok(Follower { paths, requests, wake, changed })
    }

    /// Follows other paths. They count as changed when the thread follows them.
    pub fn follow(&mut self, paths: Vec<PathBuf>) {
        if paths != self.paths {
            self.paths.clone_from(&paths);
            // If the thread has ended, its poll failed, which it has logged.
            if self.requests.send(paths).is_ok() {
                self.wake_thread();
            }
        }
    }

    /// Makes the thread look at its channel.
    fn wake_thread(&self) {
        if let Err(error) = self.wake.write(1) {
            log::error!("the thread that follows files cannot be woken: {error}");
        }
    }

    /// Whether a file has changed since the last call.
    pub fn take(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // The channel is closed first, so that the thread finds it closed when it wakes.
        let (closed, _) = mpsc::channel();
        self.requests = closed;
        self.wake_thread();
    }
}

/// The thread's end.
struct Looker {
    paths: Vec<PathBuf>,
    requests: mpsc::Receiver<Vec<PathBuf>>,
    wake: Arc<EventFd>,
    watches: Watches,
    mounts: Option<File>,
    settle: Settle<Cause>,
    /// Whether one of the changes concerns a followed file. Otherwise there was a mount, which may
    /// concern none.
    is_certain: bool,
    /// When the files that cannot be watched are checked next.
    polled: Option<Monotonic>,
    /// A fingerprint of the file that each path led to when it was last resolved.
    prints: Vec<u64>,
    changed: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

/// The descriptors that are ready.
struct Ready {
    wake: bool,
    events: bool,
    mounts: bool,
}

impl Looker {
    fn run(&mut self) {
        loop {
            let Some(ready) = self.wait() else { return };
            if ready.wake {
                let _ = self.wake.read();
                match self.latest_request() {
                    Err(mpsc::TryRecvError::Disconnected) => return,
                    Err(mpsc::TryRecvError::Empty) => {}
                    Ok(paths) => {
                        self.follow(paths);
                        self.report();
                    }
                }
            }
            let now = clock::now();
            if ready.events {
                self.watches.take(|cause, is_open| {
                    self.is_certain = true;
                    self.settle.touched(cause, now, is_open);
                });
            }
            if ready.mounts {
                self.settle.touched(Cause::Mounts, now, false);
            }
            let is_over = self.settle.over(now);
            if is_over || self.polled.is_some_and(|at| at <= now) {
                self.look(is_over);
            }
        }
    }

    /// The latest paths that were requested.
    fn latest_request(&self) -> Result<Vec<PathBuf>, mpsc::TryRecvError> {
        let mut latest = self.requests.try_recv()?;
        while let Ok(paths) = self.requests.try_recv() {
            latest = paths;
        }
        Ok(latest)
    }

    fn follow(&mut self, paths: Vec<PathBuf>) {
        self.paths = paths.iter().filter_map(|path| std::path::absolute(path).ok()).collect();
        self.prints = self.walk();
    }

    /// Watches the entries that the paths of all files go through now. Returns fingerprints of the files.
    fn walk(&mut self) -> Vec<u64> {
        let is_polled = self.watches.install(&self.paths);
        self.polled = is_polled.then(|| clock::now().plus(POLL_EVERY));
        self.paths.iter().map(|path| fingerprint(path)).collect()
    }

    fn look(&mut self, is_over: bool) {
        let prints = self.walk();
        let differs = prints != self.prints;
        self.prints = prints;
        let is_certain = is_over && std::mem::take(&mut self.is_certain);
        if differs || is_certain {
            self.report();
        }
    }

    fn report(&self) {
        self.changed.store(true, Ordering::Release);
        wake(&self.waker);
    }

    /// Waits for a descriptor or a deadline. `None` if the poll failed, which is logged.
    fn wait(&self) -> Option<Ready> {
        let now = clock::now();
        let due = self.settle.due().into_iter().chain(self.polled).min();
        let timeout = match due {
            // Rounded up, so that the wait is not too short.
            Some(due) => PollTimeout::try_from(due.since(now).as_millis() + 1).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        let mut polled = vec![PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        // Without inotify the event descriptor is polled twice.
        let events = self.watches.descriptor();
        polled.push(PollFd::new(events.unwrap_or(self.wake.as_fd()), PollFlags::POLLIN));
        if let Some(mounts) = &self.mounts {
            polled.push(PollFd::new(mounts.as_fd(), PollFlags::POLLPRI));
        }
        match poll(&mut polled, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => {
                log::error!(
                    event = Event::NotFollowed, what = "files", reason:% = error;
                    "files are no longer followed: {error}; reload hitherd after they change"
                );
                return None;
            }
        }
        let ready = |n: usize| polled.get(n).is_some_and(|fd| fd.any().unwrap_or(true));
        Some(Ready { wake: ready(0), events: ready(1), mounts: ready(2) })
    }
}

/// A fingerprint of the file that a path leads to, from its metadata alone.
fn fingerprint(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    match std::fs::metadata(path) {
        Ok(found) => {
            add(&found, &mut hasher);
            let entries = found.is_dir().then(|| files::entries(path, ENTRIES_MAX).ok()).flatten();
            for entry in entries.map(|entries| entries.names).unwrap_or_default() {
                entry.hash(&mut hasher);
                if let Ok(found) = std::fs::metadata(path.join(&entry)) {
                    add(&found, &mut hasher);
                }
            }
        }
        Err(error) => error.raw_os_error().hash(&mut hasher),
    }
    hasher.finish()
}

fn add(found: &Metadata, hasher: &mut DefaultHasher) {
    let identity = (found.dev(), found.ino(), found.mode(), found.uid(), found.gid());
    let times = (found.size(), found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec());
    (identity, times).hash(hasher);
}
