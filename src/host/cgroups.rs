//! Control groups of this host: the unit to which the id of a control group belongs.
//!
//! The id is the number of the group's directory. The tree is walked when an id is not known, as often
//! as a small share of a processor permits, and up to a number of directories.

use hither_table::Monotonic;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use std::collections::HashMap;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where cgroup2 is mounted: alone, or beside the hierarchies of version 1.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// Directories that a walk looks at. A host with a thousand containers has some three thousand.
const GROUPS_MAX: usize = 16_384;
/// The least time between two walks for each directory of the tree. A walk takes some 30 microseconds
/// for each, so walks take a twentieth of a processor at most: with 100 directories 16 a second.
const WALK_PAUSE: Duration = Duration::from_micros(600);
/// Octets of what is shown of a group that belongs to no unit.
const PATH_MAX: usize = 255;

/// The control groups that are known.
#[derive(Debug)]
pub(crate) struct Cgroups {
    mount: PathBuf,
    units: HashMap<u64, Arc<str>>,
    walked: Option<Monotonic>,
}

impl Cgroups {
    /// The control groups of this host; `None` if cgroup2 is not mounted.
    pub fn find() -> Option<Cgroups> {
        let is_it = |path: &&str| statfs(*path).is_ok_and(|at| at.filesystem_type() == CGROUP2_SUPER_MAGIC);
        let mount = MOUNTS.into_iter().find(is_it)?;
        Some(Cgroups { mount: PathBuf::from(mount), units: HashMap::new(), walked: None })
    }

    /// The unit of a control group, or its path if that belongs to no unit. `None`: there is no such
    /// group, or it was created since the last walk and the next one is not due.
    pub fn unit(&mut self, id: u64, now: Monotonic) -> Option<Arc<str>> {
        let pause = WALK_PAUSE.saturating_mul(u32::try_from(self.units.len()).unwrap_or(u32::MAX));
        if !self.units.contains_key(&id) && self.walked.is_none_or(|at| now >= at.plus(pause)) {
            self.walked = Some(now);
            self.units = units_below(&self.mount);
        }
        self.units.get(&id).map(Arc::clone)
    }
}

/// The units of all groups below a directory, by the number of the directory.
fn units_below(mount: &Path) -> HashMap<u64, Arc<str>> {
    let mut units = HashMap::new();
    if let Ok(root) = std::fs::metadata(mount) {
        units.insert(root.ino(), Arc::from("/"));
    }
    let mut left = vec![PathBuf::new()];
    while let Some(group) = left.pop() {
        // A group can vanish while it is looked at.
        let Ok(entries) = std::fs::read_dir(mount.join(&group)) else { continue };
        for entry in entries.filter_map(Result::ok) {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if units.len() >= GROUPS_MAX {
                return units;
            }
            let path = group.join(entry.file_name());
            units.insert(entry.ino(), Arc::from(unit_of(&path.to_string_lossy())));
            left.push(path);
        }
    }
    units
}

/// The unit that a control group belongs to: the last one of its path that can have processes of its
/// own, else the last slice. Without a unit, for instance with another service manager, the path.
/// Users name the units of their own managers as they like, so these are shown with the user.
fn unit_of(path: &str) -> String {
    let ends = |names: &[&str]| {
        let is_one = |part: &&str| names.iter().any(|end| part.len() > end.len() && part.ends_with(end));
        path.split('/').rev().find(is_one)
    };
    let unit = ends(&[".service", ".scope"]).or_else(|| ends(&[".slice"]));
    match unit {
        Some(unit) => {
            // systemd writes an underscore before names that could be taken for files of the kernel.
            let name = unit.strip_prefix('_').unwrap_or(unit);
            match manager_of(path).filter(|(manager, _)| *manager != unit) {
                Some((_, user)) => format!("{name} of user {user}"),
                None => name.to_owned(),
            }
        }
        None => "/".chars().chain(path.chars()).take(PATH_MAX).collect(),
    }
}

/// The unit of the user's service manager that a control group is below, and the user. A user can make
/// groups of any name below the first one only.
fn manager_of(path: &str) -> Option<(&str, &str)> {
    path.split('/').find_map(|part| {
        let user = part.strip_prefix("user@")?.strip_suffix(".service")?;
        (!user.is_empty() && user.bytes().all(|octet| octet.is_ascii_digit())).then_some((part, user))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_the_last_of_its_path_and_a_group_without_one_keeps_its_path() {
        for (path, unit) in [
            ("system.slice/cups.service", "cups.service"),
            (
                "user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-7.scope",
                "app-firefox-7.scope of user 1000",
            ),
            (
                "user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service",
                "nginx.service of user 1000",
            ),
            (
                "user.slice/user-1000.slice/user@1000.service/user@0.service/nginx.service",
                "nginx.service of user 1000",
            ),
            ("user.slice/user-1000.slice/user@1000.service/x", "user@1000.service"),
            ("system.slice/user@x.service/a.service", "a.service"),
            ("user.slice/user-1000.slice/session-2.scope", "session-2.scope"),
            ("user.slice/user-1000.slice/user@1000.service/init.scope", "init.scope of user 1000"),
            ("machine.slice/machine-x.scope/payload/system.slice/inner.service", "inner.service"),
            ("system.slice/docker-0123.scope/sub", "docker-0123.scope"),
            ("system.slice/x.service/payload.slice", "x.service"),
            ("system.slice/_cgroup.service", "cgroup.service"),
            ("a.slice/a-b.slice", "a-b.slice"),
            ("docker/0123", "/docker/0123"),
            ("x/.service", "/x/.service"),
            ("", "/"),
        ] {
            assert_eq!(unit_of(path), unit, "{path}");
        }
        assert_eq!(unit_of(&"ü/".repeat(999)).chars().count(), PATH_MAX);
    }

    #[test]
    fn groups_are_found_by_the_numbers_of_their_directories_and_the_walks_have_pauses() {
        let top = std::env::temp_dir().join(format!("hither-cgroups-{}", std::process::id()));
        std::fs::create_dir_all(top.join("system.slice/a.service")).expect("a directory");
        let number = |path: &str| std::fs::metadata(top.join(path)).expect("it is there").ino();
        let mut all = Cgroups { mount: top.clone(), units: HashMap::new(), walked: None };
        let at = Monotonic::from_ms;
        assert_eq!(all.unit(number("system.slice/a.service"), at(5)).as_deref(), Some("a.service"));
        assert_eq!(all.unit(number("system.slice"), at(5)).as_deref(), Some("system.slice"));
        assert_eq!(all.unit(number(""), at(5)).as_deref(), Some("/"));
        std::fs::create_dir(top.join("system.slice/b.service")).expect("a directory");
        let id = number("system.slice/b.service");
        // Three directories: a pause of 1.8 ms.
        assert_eq!(all.unit(id, at(6)), None, "the tree was walked just now");
        assert_eq!(all.unit(id, at(7)).as_deref(), Some("b.service"));
        std::fs::remove_dir_all(&top).expect("removable");
    }
}
