//! Notices that a file of the runtime directory, or the directory itself, was removed or replaced.

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::path::Path;

/// What is watched: entries that go or take another's place, and the directory itself. Neither new
/// entries nor writes count, so the daemon's own work is no event, except a table that it replaces.
const EVENTS: AddWatchFlags = AddWatchFlags::IN_DELETE
    .union(AddWatchFlags::IN_MOVE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);
/// Reads of events at a time. Each returns some hundred events.
const READS_MAX: usize = 64;

/// The watch on the runtime directory.
#[derive(Debug, Default)]
pub(crate) struct RuntimeDirWatch {
    inotify: Option<Inotify>,
    /// The watch, with device and inode of the directory that it is on.
    watch: Option<(WatchDescriptor, Option<(u64, u64)>)>,
}

impl RuntimeDirWatch {
    /// Begins to watch `dir`. Without inotify nothing is noticed before a reload, which is logged.
    pub fn begin(&mut self, dir: &Path) -> Option<RawFd> {
        let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
        match Inotify::init(flags) {
            Ok(inotify) => self.inotify = Some(inotify),
            Err(error) => {
                log::warn!(
                    event = crate::logging::Event::NotFollowed, what = "the runtime directory", reason:% = error;
                    "the runtime directory cannot be followed: {error}; reload hitherd if its files are removed"
                );
            }
        }
        self.renew(dir);
        self.inotify.as_ref().map(|inotify| inotify.as_fd().as_raw_fd())
    }

    /// Watches the directory that has the name `dir` now, if it is another one.
    pub fn renew(&mut self, dir: &Path) {
        let Some(inotify) = &self.inotify else { return };
        let now = crate::host::files::identity(dir);
        if self.watch.is_some_and(|(_, watched)| watched == now) {
            return;
        }
        if let Some((gone, _)) = self.watch.take() {
            // If the directory was removed, the kernel has already removed the watch.
            let _ = inotify.rm_watch(gone);
        }
        self.watch = inotify.add_watch(dir, EVENTS).ok().map(|watch| (watch, now));
    }

    /// Takes the events; whether there was one.
    pub fn take(&mut self) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        (0..READS_MAX).take_while(|_| inotify.read_events().is_ok()).count() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_or_replaced_directory_is_watched_again() {
        let dir = std::env::temp_dir().join(format!("hither-runtime-dir-{}", std::process::id()));
        let file = dir.join("hosts");
        std::fs::create_dir_all(&dir).expect("a directory");
        std::fs::write(&file, "").expect("written");
        let mut watch = RuntimeDirWatch::default();
        assert!(watch.begin(&dir).is_some() && !watch.take());
        std::fs::write(&file, "more").expect("written");
        std::fs::write(dir.join("other"), "").expect("written");
        assert!(!watch.take(), "writing and creating are no events");
        std::fs::remove_file(&file).expect("removable");
        assert!(watch.take() && !watch.take());
        std::fs::rename(dir.join("other"), &file).expect("renamed");
        assert!(watch.take());
        watch.renew(&dir);
        assert!(!watch.take());
        for _ in 0..2 {
            std::fs::remove_dir_all(&dir).expect("removable");
            assert!(watch.take());
            watch.renew(&dir);
            std::fs::create_dir(&dir).expect("a directory");
            std::fs::write(&file, "").expect("written");
            watch.renew(&dir);
            watch.take();
            std::fs::remove_file(&file).expect("removable");
            assert!(watch.take());
        }
        std::fs::remove_dir_all(&dir).expect("removable");
    }
}
