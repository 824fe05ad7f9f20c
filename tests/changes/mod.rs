//! The ways in which a followed file may change, as steps on real files.

mod mounts;
mod ways;

pub use mounts::MOUNTS;
pub use ways::WAYS;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory for one way, and the host name that its hosts file defines.
pub struct Place {
    pub dir: PathBuf,
    pub name: String,
}

impl Place {
    pub fn at(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    fn line(&self, end: u8) -> String {
        format!("198.51.100.{end} {}\n", self.name)
    }

    fn write(&self, path: &str, end: u8) {
        fs::write(self.at(path), self.line(end)).expect("written");
    }

    fn dirs(&self, path: &str) {
        fs::create_dir_all(self.at(path)).expect("a directory");
    }

    fn link(&self, target: impl AsRef<Path>, path: &str) {
        symlink(target, self.at(path)).expect("a link");
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).expect("renamed");
    }

    /// Replaces a symbolic link by another in one step.
    fn relink(&self, target: impl AsRef<Path>, path: &str) {
        self.link(target, "new-link");
        self.rename("new-link", path);
    }

    fn exchange(&self, one: &str, other: &str) {
        let (one, other) = (self.at(one), self.at(other));
        renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE).expect("exchanged");
    }

    fn chmod(&self, path: &str, mode: u32) {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).expect("ours");
    }

    /// Writes and leaves the file open.
    fn write_open(&self, path: &str, end: u8, options: &mut OpenOptions) {
        let mut file = options.write(true).open(self.at(path)).expect("open");
        file.write_all(self.line(end).as_bytes()).expect("written");
        std::mem::forget(file);
    }

    fn sh(&self, line: &str) {
        let done =
            Command::new("sh").args(["-ec", line]).current_dir(&self.dir).env("N", &self.name).status();
        assert!(done.expect("a shell").success(), "{line}");
    }
}

/// The file cannot be read. The address of its name is then not checked; other files are read as before.
pub const UNREADABLE: u8 = 255;

/// A way of changing: the files before it, and steps, each with the last octet of the name's address
/// after it; 0: the name has no address.
pub struct Way {
    pub what: &'static str,
    pub before: fn(&Place),
    pub steps: &'static [Step],
}

pub type Step = (fn(&Place), u8);

fn plain(p: &Place) {
    p.write("hosts", 1);
}

/// Replaces a ConfigMap as the kubelet does.
fn swap(p: &Place, n: u8) {
    p.dirs(&format!("..{n}"));
    p.write(&format!("..{n}/hosts"), n);
    p.link(format!("..{n}"), "..data_tmp");
    p.rename("..data_tmp", "..data");
    if n > 1 {
        fs::remove_dir_all(p.at(&format!("..{}", n - 1))).expect("the old one");
    }
}
