//! Resolves a path as the kernel does, and lists each directory entry that the path goes through: after
//! a change of any of them the path may lead to another file.
//!
//! Pure: the caller reads the file system. The listed directories are resolved and have no links,
//! so `..` is the parent directory.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Symbolic links that one path may go through, as many as the kernel follows.
const SYMLINKS_MAX: usize = 40;
/// Directory entries that one path may go through. Links to links could make them very many.
const NAMES_MAX: usize = 1024;

/// The kind of directory entry at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Entry {
    Missing,
    /// The daemon's user may not search its directory.
    Hidden,
    Link(PathBuf),
    Directory,
    File,
    /// A device, a FIFO, or a socket, which is not read.
    Special,
}

/// The end of a resolved path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum End {
    File(PathBuf),
    /// A directory, with all its entries.
    Directory(PathBuf),
    Nowhere,
}

/// The directory entries that a path goes through, and its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ResolvedPath {
    /// Each directory, with the entry in it that the path goes through.
    pub entries: Vec<(PathBuf, OsString)>,
    pub end: End,
}

enum Step {
    Root,
    Up,
    Down(OsString),
}

/// Follows an absolute path as the kernel would.
pub(super) fn walk(path: &Path, look: impl Fn(&Path) -> Entry) -> ResolvedPath {
    let mut resolved = ResolvedPath { entries: Vec::new(), end: End::Nowhere };
    let (mut at, mut ahead, mut links) = (PathBuf::from("/"), steps(path), 0);
    resolved.end = loop {
        let name = match ahead.pop_front() {
            None => break End::Directory(at),
            Some(Step::Root) => {
                at = PathBuf::from("/");
                continue;
            }
            Some(Step::Up) => {
                at.pop();
                continue;
            }
            Some(Step::Down(name)) => name,
        };
        let next = at.join(&name);
        let entry = look(&next);
        // When the directory becomes searchable, its entry in the parent directory changes.
        if entry == Entry::Hidden || resolved.entries.len() == NAMES_MAX {
            break End::Nowhere;
        }
        resolved.entries.push((at.clone(), name));
        match entry {
            Entry::Directory => at = next,
            Entry::Link(target) if links < SYMLINKS_MAX => {
                links += 1;
                let mut target = steps(&target);
                target.append(&mut ahead);
                ahead = target;
            }
            Entry::File if ahead.is_empty() => break End::File(next),
            Entry::File | Entry::Link(_) | Entry::Missing | Entry::Hidden | Entry::Special => {
                break End::Nowhere;
            }
        }
    };
    resolved
}

fn steps(path: &Path) -> VecDeque<Step> {
    let step = |component: Component<'_>| match component {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Down(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A tree in lines: `/a/` a directory, `/a/b -> target` a link, `/a/c` a file, `/a/d !` a
    /// directory that may not be searched.
    fn look_in(tree: &str) -> impl Fn(&Path) -> Entry {
        let lines: Vec<String> = tree.lines().map(|line| line.trim().to_owned()).collect();
        move |path| {
            let path = path.to_str().expect("text");
            for line in &lines {
                let closed = line.strip_suffix(" !");
                if closed.is_some_and(|dir| path.starts_with(&format!("{dir}/"))) {
                    return Entry::Hidden;
                }
                match line.split_once(" -> ") {
                    Some((link, target)) if link == path => return Entry::Link(PathBuf::from(target)),
                    None if line == path => return Entry::File,
                    None if line.strip_suffix('/') == Some(path) || closed == Some(path) => {
                        return Entry::Directory;
                    }
                    _ => {}
                }
            }
            Entry::Missing
        }
    }

    fn resolve(tree: &str, path: &str) -> (Vec<String>, String) {
        let resolved = walk(Path::new(path), look_in(tree));
        let places =
            resolved.entries.iter().map(|(dir, name)| dir.join(name).display().to_string()).collect();
        let end = match resolved.end {
            End::File(path) => path.display().to_string(),
            End::Directory(path) => format!("{}/", path.display()),
            End::Nowhere => String::new(),
        };
        (places, end)
    }

    #[track_caller]
    fn leads(tree: &str, path: &str, places: &[&str], end: &str) {
        let (found, at) = resolve(tree, path);
        assert_eq!(
            (found.iter().map(String::as_str).collect::<Vec<_>>(), at.as_str()),
            (places.to_vec(), end)
        );
    }

    #[test]
    fn every_entry_of_the_way_is_named() {
        leads("/etc/\n/etc/hosts", "/etc/hosts", &["/etc", "/etc/hosts"], "/etc/hosts");
        leads("/run/\n/run/netif/", "/run/netif", &["/run", "/run/netif"], "/run/netif/");
        leads("", "/a/b/c", &["/a"], "");
        leads("/a/", "/a/b/c", &["/a", "/a/b"], "");
        leads("/a", "/a/b", &["/a"], "");
    }

    #[test]
    fn a_link_in_the_middle_is_an_entry_and_so_is_where_it_leads() {
        // NixOS: /etc/hosts -> /etc/static/hosts, /etc/static -> the store.
        let nix = "/etc/\n/etc/hosts -> /etc/static/hosts\n/etc/static -> /nix/store/x-etc/etc\n/nix/\n/nix/store/\n/nix/store/x-etc/\n/nix/store/x-etc/etc/\n/nix/store/x-etc/etc/hosts -> /nix/store/y-hosts\n/nix/store/y-hosts";
        let (places, end) = resolve(nix, "/etc/hosts");
        assert_eq!(end, "/nix/store/y-hosts");
        for place in ["/etc", "/etc/hosts", "/etc/static", "/nix/store/x-etc", "/nix/store/y-hosts"] {
            assert!(places.iter().any(|found| found == place), "{place} in {places:?}");
        }
        // A ConfigMap.
        leads(
            "/m/\n/m/hosts -> ..data/hosts\n/m/..data -> ..2\n/m/..2/\n/m/..2/hosts",
            "/m/hosts",
            &["/m", "/m/hosts", "/m/..data", "/m/..2", "/m/..2/hosts"],
            "/m/..2/hosts",
        );
        // resolv.conf -> ../run/systemd/resolve/stub-resolv.conf, before systemd-resolved is there.
        leads(
            "/etc/\n/etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf\n/run/",
            "/etc/resolv.conf",
            &["/etc", "/etc/resolv.conf", "/run", "/run/systemd"],
            "",
        );
    }

    #[test]
    fn the_parent_directory_is_that_of_the_link_target() {
        leads(
            "/a/\n/a/l -> /b/c\n/b/\n/b/c/\n/b/f",
            "/a/l/../f",
            &["/a", "/a/l", "/b", "/b/c", "/b/f"],
            "/b/f",
        );
        leads("/a/\n/a/f", "/../a/./f", &["/a", "/a/f"], "/a/f");
    }

    #[test]
    fn a_directory_that_may_not_be_searched_is_listed_and_its_entries_are_not() {
        leads("/a/\n/a/b !\n/a/b/c", "/a/b/c", &["/a", "/a/b"], "");
    }

    #[test]
    fn loops_and_endless_links_end() {
        let (places, end) = resolve("/a -> /b\n/b -> /a", "/a");
        assert_eq!((places.len(), end.as_str()), (SYMLINKS_MAX + 1, ""));
        assert_eq!(resolve("/a -> a", "/a").1, "");
        let wide = format!("/d/\n/l -> {}l", "d/../".repeat(500));
        assert!(resolve(&wide, "/l").0.len() <= NAMES_MAX);
    }

    proptest! {
        #[test]
        fn any_tree_is_walked_to_its_end(links in prop::collection::vec(("(/[ab]){1,3}", "(/|\\.\\./)?([ab](/|/\\.\\./)?){1,4}"), 0..12), path in "(/[ab]){1,4}") {
            let tree: String = links.iter().map(|(link, target)| format!("{link} -> {target}\n")).collect();
            let resolved = walk(Path::new(&path), look_in(&(tree + "/a/\n/b/\n/a/b")));
            prop_assert!(resolved.entries.len() <= NAMES_MAX);
            prop_assert!(resolved.entries.iter().all(|(dir, _)| dir.is_absolute() && !dir.display().to_string().contains("..")));
        }
    }
}
