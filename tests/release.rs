//! The release procedure, in a copy of the repository.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::{directory, skip};

fn git(at: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=Test", "-c", "user.email=test@hither.example", "-C"]).arg(at);
    let output = command.args(arguments).output().expect("git runs");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A repository with the files of this one; `None` when this directory is no git repository.
fn copy(dir: &Path) -> Option<PathBuf> {
    let top = env!("CARGO_MANIFEST_DIR");
    let is_repository = Command::new("git").args(["-C", top, "rev-parse", "HEAD"]).output();
    if !is_repository.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let copy = dir.join("copy");
    std::fs::create_dir(&copy).expect("a directory");
    let script =
        "git -C \"$1\" ls-files -z | tar -C \"$1\" --null --ignore-failed-read -T - -c | tar -C \"$2\" -x";
    let copied = Command::new("sh").args(["-c", script, "sh", top]).arg(&copy).status();
    assert!(copied.expect("a shell").success());
    git(&copy, &["init", "-q"]);
    git(&copy, &["add", "--all"]);
    git(&copy, &["commit", "-q", "-m", "all"]);
    Some(copy)
}

fn release(copy: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(copy.join("packaging/release"));
    for (name, value) in [("NAME", "Test"), ("EMAIL", "test@hither.example")] {
        command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
    }
    command.args(arguments).output().expect("it runs")
}

#[test]
fn a_release_states_its_version_everywhere_once() {
    let dir = directory();
    let Some(copy) = copy(&dir) else {
        return skip("a_release_states_its_version_everywhere_once", "this is no git repository");
    };
    let read = |path: &str| std::fs::read_to_string(copy.join(path)).expect("readable");
    for wrong in [&[][..], &["1.2"], &["v1.2.3"], &["0.0.1"]] {
        assert_eq!(release(&copy, wrong).status.code(), Some(1), "{wrong:?}");
    }
    let shown = release(&copy, &["--dry-run", "7.8.9"]);
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    assert!(String::from_utf8_lossy(&shown.stdout).contains("+version = \"7.8.9\""));
    assert_eq!(git(&copy, &["status", "--porcelain"]), "", "a dry run changes nothing");
    // The version that is prepared, then a later one.
    let first = hither_version(&read("Cargo.toml"));
    for version in [first.as_str(), "7.8.9"] {
        if version != first {
            let log = read("CHANGELOG.md").replace("## Unreleased\n", "## Unreleased\n\n* A change.\n");
            std::fs::write(copy.join("CHANGELOG.md"), log).expect("writable");
            assert_eq!(release(&copy, &[version]).status.code(), Some(1), "something is not committed");
            git(&copy, &["commit", "-q", "-a", "-m", "a change"]);
        }
        let done = release(&copy, &[version]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(git(&copy, &["status", "--porcelain"]), "");
        assert_eq!(hither_version(&read("Cargo.toml")), version);
        let log = read("CHANGELOG.md");
        assert!(log.contains(&format!("## Unreleased\n\n## {version}, 2")), "{log}");
        let debian = read("debian/changelog");
        assert!(debian.starts_with(&format!("hither ({version}) unstable")), "{debian}");
        assert_eq!(debian.matches(&format!("hither ({version})")).count(), 1, "{debian}");
        let spec = read("packaging/hither.spec");
        assert!(spec.lines().any(|l| l.starts_with("Version:") && l.ends_with(version)), "{spec}");
        assert_eq!(spec.matches(&format!(" - {version}-1\n")).count(), 1, "{spec}");
        assert!(read("packaging/PKGBUILD").contains(&format!("\npkgver={version}\n")));
        for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
            let wire = format!("name = \"hither-wire\"\nversion = \"{version}\"");
            assert!(read(lock).contains(&wire), "{lock}");
        }
        assert_eq!(git(&copy, &["cat-file", "-t", &format!("v{version}")]).trim(), "tag");
        assert_eq!(release(&copy, &[version]).status.code(), Some(1), "the tag exists");
    }
    assert!(git(&copy, &["tag", "-l", "-n99", "v7.8.9"]).contains("* A change."));
    std::fs::remove_dir_all(dir).expect("removable");
}

fn hither_version(cargo_toml: &str) -> String {
    let line = cargo_toml.lines().find_map(|line| line.strip_prefix("version = \"")).expect("a version");
    line.trim_end_matches('"').to_owned()
}
