//! Followed files: any change of what a path leads to is noticed, whichever of its directories and links it is in.
//!
//! A thread looks, so that a file system that hangs holds up nobody. It watches every entry of the way to each file (`watch`), waits until a
//! burst of changes is over (`settle`), walks the ways anew, for they may lead elsewhere, and only then says so: whoever reads the files
//! thereafter reads what is watched. inotify does not tell of mounts; the kernel's list of them does. What cannot be watched is looked at now
//! and then.

mod settle;
mod walk;
mod watches;

use crate::daemon::clients::handover::wake_up;
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

/// How often what cannot be watched is looked at.
const POLLED: Duration = Duration::from_secs(2);
/// Entries of a followed directory that are told apart when it is looked at.
const ENTRIES_MAX: usize = 4096;

/// The event loop's end: what is to be followed, and whether it has changed.
#[derive(Debug)]
pub(crate) struct Follower {
    paths: Vec<PathBuf>,
    orders: mpsc::Sender<Vec<PathBuf>>,
    call: Arc<EventFd>,
    changed: Arc<AtomicBool>,
}

impl Follower {
    /// Begins to follow; what changes from here on is noticed. `None` if that cannot be, which is said.
    pub fn begin(paths: Vec<PathBuf>, waker: &Arc<Waker>) -> Option<Follower> {
        let follower = Follower::new(paths, Arc::clone(waker)).map_err(|error| {
            log::warn!(
                event = Event::NotFollowed, what = "files", reason:% = error;
                "files cannot be followed: {error}; after a change of theirs reload hitherd"
            );
        });
        follower.ok()
    }

    fn new(paths: Vec<PathBuf>, waker: Arc<Waker>) -> std::io::Result<Follower> {
        let call = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let changed = Arc::new(AtomicBool::new(false));
        let (orders, wanted) = mpsc::channel();
        let mut looker = Looker {
            paths: Vec::new(),
            wanted,
            call: Arc::clone(&call),
            watches: Watches::new(),
            mounts: File::open("/proc/self/mountinfo").ok(),
            settle: Settle::new(),
            is_certain: false,
            polled: None,
            prints: Vec::new(),
            changed: Arc::clone(&changed),
            waker,
        };
        looker.turn_to(paths.clone());
        std::thread::Builder::new().name("follow".to_owned()).spawn(move || looker.run())?;
        Ok(Follower { paths, orders, call, changed })
    }

    /// Follows other paths. Once it does, they count as changed.
    pub fn follow(&mut self, paths: Vec<PathBuf>) {
        if paths != self.paths {
            self.paths.clone_from(&paths);
            // It ends with this end of the channel or where it cannot wait for anything, which it has said then.
            if self.orders.send(paths).is_ok() {
                self.call();
            }
        }
    }

    /// Has the thread look at its channel.
    fn call(&self) {
        if let Err(error) = self.call.write(1) {
            log::error!("the thread that follows files cannot be woken: {error}");
        }
    }

    /// Whether something has changed since this was last asked.
    pub fn take(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // The channel is closed before the thread looks: it is told until it does.
        let (closed, _) = mpsc::channel();
        self.orders = closed;
        self.call();
    }
}

/// The thread's end.
struct Looker {
    paths: Vec<PathBuf>,
    wanted: mpsc::Receiver<Vec<PathBuf>>,
    call: Arc<EventFd>,
    watches: Watches,
    mounts: Option<File>,
    settle: Settle<Cause>,
    /// What is to settle is a change of ours; without, something was mounted, and perhaps none of ours.
    is_certain: bool,
    /// When what cannot be watched is looked at next.
    polled: Option<Monotonic>,
    /// What each path led to when it was last walked.
    prints: Vec<u64>,
    changed: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

/// What is ready.
struct Ready {
    call: bool,
    events: bool,
    mounts: bool,
}

impl Looker {
    fn run(&mut self) {
        loop {
            let Some(ready) = self.wait() else { return };
            if ready.call {
                let _ = self.call.read();
                match self.orders() {
                    Err(mpsc::TryRecvError::Disconnected) => return,
                    Err(mpsc::TryRecvError::Empty) => {}
                    Ok(paths) => {
                        self.turn_to(paths);
                        self.tell();
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

    /// The latest of the orders.
    fn orders(&self) -> Result<Vec<PathBuf>, mpsc::TryRecvError> {
        let mut latest = self.wanted.try_recv()?;
        while let Ok(paths) = self.wanted.try_recv() {
            latest = paths;
        }
        Ok(latest)
    }

    fn turn_to(&mut self, paths: Vec<PathBuf>) {
        self.paths = paths.iter().filter_map(|path| std::path::absolute(path).ok()).collect();
        self.prints = self.walk();
    }

    /// Watches the ways as they are now, and says what is at their ends.
    fn walk(&mut self) -> Vec<u64> {
        let is_polled = self.watches.install(&self.paths);
        self.polled = is_polled.then(|| clock::now().plus(POLLED));
        self.paths.iter().map(|path| print(path)).collect()
    }

    fn look(&mut self, is_over: bool) {
        let prints = self.walk();
        let differs = prints != self.prints;
        self.prints = prints;
        let is_certain = is_over && std::mem::take(&mut self.is_certain);
        if differs || is_certain {
            self.tell();
        }
    }

    fn tell(&self) {
        self.changed.store(true, Ordering::Release);
        wake_up(&self.waker);
    }

    /// Waits for something to do; `None` if that cannot be.
    fn wait(&self) -> Option<Ready> {
        let now = clock::now();
        let due = self.settle.due().into_iter().chain(self.polled).min();
        let timeout = match due {
            // The milliseconds that are begun, so that it is not too early.
            Some(due) => PollTimeout::try_from(due.since(now).as_millis() + 1).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        let mut polled = vec![PollFd::new(self.call.as_fd(), PollFlags::POLLIN)];
        // A source that is not there is a second look at the one that is.
        let events = self.watches.descriptor();
        polled.push(PollFd::new(events.unwrap_or(self.call.as_fd()), PollFlags::POLLIN));
        if let Some(mounts) = &self.mounts {
            polled.push(PollFd::new(mounts.as_fd(), PollFlags::POLLPRI));
        }
        match poll(&mut polled, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => {
                log::error!(
                    event = Event::NotFollowed, what = "files", reason:% = error;
                    "files are followed no more: {error}; after a change of theirs reload hitherd"
                );
                return None;
            }
        }
        let ready = |n: usize| polled.get(n).is_some_and(|fd| fd.any().unwrap_or(true));
        Some(Ready { call: ready(0), events: ready(1), mounts: ready(2) })
    }
}

/// Tells apart what a path led to at different times, as far as can be told without reading it.
fn print(path: &Path) -> u64 {
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
    let who = (found.dev(), found.ino(), found.mode(), found.uid(), found.gid());
    let what = (found.size(), found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec());
    (who, what).hash(hasher);
}
