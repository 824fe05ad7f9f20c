//! `make install` and `make uninstall` handle all files, and packages state the crate's version.

mod support;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs make with the programs of this build, and with dummy files as libraries.
fn make(target: &str, dir: &Path) {
    let output = Command::new("make")
        .args(["-s", target, "PREFIX=/usr", "LIBDIR=/usr/lib/arch"])
        .arg(format!("DESTDIR={}", dir.join("root").display()))
        .arg(format!("CARGO_TARGET_DIR={}", dir.join("target").display()))
        .env_remove("MAKEFLAGS")
        .current_dir(top())
        .output()
        .expect("make is there");
    assert!(output.status.success(), "make {target}: {}", String::from_utf8_lossy(&output.stderr));
}

/// All files below a directory, without directories.
fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(&next).expect("a directory").map(|entry| entry.expect("readable")) {
            if entry.file_type().expect("a type").is_dir() {
                dirs.push(entry.path());
            } else {
                files.insert(entry.path().strip_prefix(dir).expect("below").to_owned());
            }
        }
    }
    files
}

#[test]
fn uninstall_removes_all_installed_files_except_the_configuration() {
    let dir = support::directory();
    let built = |name: &str| dir.join("target").join(name);
    std::fs::create_dir_all(built("release")).expect("a directory");
    std::fs::create_dir_all(built("loadable")).expect("a directory");
    for (name, program) in [
        ("hitherd", env!("CARGO_BIN_EXE_hitherd")),
        ("hither-sorter", env!("CARGO_BIN_EXE_hither-sorter")),
        ("hither-site", env!("CARGO_BIN_EXE_hither-site")),
        ("hitherctl", env!("CARGO_BIN_EXE_hitherctl")),
    ] {
        std::os::unix::fs::symlink(program, built("release").join(name)).expect("a link");
    }
    for name in ["libnss_hither.so", "libhither_c.so"] {
        std::fs::write(built("loadable").join(name), "in the place of a library").expect("writable");
    }
    make("install", &dir);
    let root = dir.join("root");
    let installed = files(&root);
    let has = |path: &str| installed.contains(Path::new(path));
    for program in
        ["usr/sbin/hitherd", "usr/libexec/hither-sorter", "usr/libexec/hither-site", "usr/bin/hitherctl"]
    {
        let mode = std::fs::metadata(root.join(program)).expect(program).permissions().mode();
        assert_eq!(mode & 0o7777, 0o755, "{program}");
    }
    for entry in std::fs::read_dir(top().join("man")).expect("a directory") {
        let name = entry.expect("readable").file_name().into_string().expect("UTF-8");
        let section = name.rsplit('.').next().expect("a section");
        assert!(has(&format!("usr/share/man/man{section}/{name}")), "{name} is not installed");
    }
    for entry in std::fs::read_dir(top().join("systemd")).expect("a directory") {
        let name = entry.expect("readable").file_name().into_string().expect("UTF-8");
        if name.ends_with(".service") || name.ends_with(".socket") {
            let path = format!("usr/lib/systemd/system/{name}");
            assert!(has(&path), "{name} is not installed");
            let unit = std::fs::read_to_string(root.join(&path)).expect("text");
            assert!(!unit.contains("@PREFIX@"), "{name} has no prefix");
        }
    }
    let configuration = root.join("etc/hither/hither.toml");
    std::fs::write(&configuration, "# the operator's own\n").expect("writable");
    make("install", &dir);
    assert_eq!(std::fs::read_to_string(&configuration).expect("there"), "# the operator's own\n");
    make("uninstall", &dir);
    assert_eq!(files(&root), BTreeSet::from([PathBuf::from("etc/hither/hither.toml")]));
    std::fs::remove_dir_all(&dir).expect("removable");
}

/// The package hither has all files but those that the other packages list, and none of theirs.
#[test]
fn the_files_of_the_site_are_in_a_package_of_their_own() {
    let read = |path: &str| std::fs::read_to_string(top().join(path)).expect(path);
    let listed = read("debian/hither-site.install");
    let units = ["hither-site.service", "hitherd-site.socket"];
    for file in units.iter().chain(&["libexec/hither-site", "hither-site.8", "sysusers.d/hither-site.conf"]) {
        assert!(listed.lines().any(|line| line.ends_with(file)), "debian/hither-site.install lacks {file}");
        let name = file.rsplit('/').next().expect("a name");
        let spec = read("packaging/hither.spec");
        let of_site = spec.split("%files site\n").nth(1).and_then(|rest| rest.split("%files").next());
        assert!(of_site.expect("its files").contains(&format!("/{name}")), "hither.spec lacks {file}");
    }
    let rules = read("debian/rules");
    let site = rules.lines().find_map(|line| line.strip_prefix("site = ")).expect("its units");
    assert_eq!(site.split(' ').collect::<BTreeSet<_>>(), BTreeSet::from(units));
    assert!(rules.contains("-Xhither-site -Xhitherd-site"), "the package hither leaves them out");
    for unit in units {
        assert!(
            read("systemd/90-hither.preset").lines().any(|line| line == format!("enable {unit}")),
            "{unit}"
        );
    }
}

#[test]
fn every_package_has_the_version_of_the_crate() {
    let version = env!("CARGO_PKG_VERSION");
    for (path, before, after) in [
        ("debian/changelog", "hither (", ")"),
        ("packaging/hither.spec", "Version:        ", "\n"),
        ("packaging/PKGBUILD", "pkgver=", "\n"),
    ] {
        let text = std::fs::read_to_string(top().join(path)).expect(path);
        let stated = text.split(before).nth(1).and_then(|rest| rest.split(after).next());
        assert_eq!(stated, Some(version), "{path}");
    }
}
