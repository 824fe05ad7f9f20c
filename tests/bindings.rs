//! The readers for languages that bypass NSS, in `bindings/`: what they show of any table, compared with
//! hitherctl and the reader in Rust; their own tests, beside a real daemon; and their torture beside writers
//! that are killed. A language without its tools is skipped.
#![allow(clippy::print_stdout)]

#[path = "bindings/addons.rs"]
mod addons;
#[path = "bindings/any_table.rs"]
mod any_table;
#[path = "bindings/daemon.rs"]
mod daemon;
mod support;
#[path = "bindings/torture.rs"]
mod torture;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use support::skip;

/// A directory of `bindings/`.
fn bindings(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bindings").join(language)
}

fn has(tool: &str, test: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        skip(test, &format!("{tool} is not installed"));
    }
    found
}

/// The tests of the Go package, which also are its torture; `None` without Go.
fn go_tests(test: &str) -> Option<&'static Path> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || go(&["test", "-c", "-o"], "hither.test", ".");
    has("go", test).then(|| BUILT.get_or_init(build).as_path())
}

/// The program of the Go package that shows names as JSON.
fn go_lookup(test: &str) -> Option<&'static Path> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || go(&["build", "-o"], "hither-lookup", "./cmd/hither-lookup");
    has("go", test).then(|| BUILT.get_or_init(build).as_path())
}

/// Builds a program beside the daemon, without the network.
fn go(verb: &[&str], program: &str, package: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_hitherd")).parent().expect("target/debug");
    let path = target.join(program);
    let mut command = Command::new("go");
    command.current_dir(bindings("go")).args(verb).arg(&path).arg(package);
    command.env("GOCACHE", target.join("go-cache")).envs([("GOPROXY", "off"), ("GOFLAGS", "-mod=mod")]);
    succeeds(command.output().expect("go runs"));
    path
}

/// Python with the package of `bindings/python`.
fn python(args: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(args).env("PYTHONPATH", bindings("python")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// What a program that must succeed has printed.
fn succeeds(output: Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out
}
