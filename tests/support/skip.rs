//! The one way for a test to report that it, or a part of it, is skipped. Also included by path
//! from the tests of other crates.

use std::io::Write as _;

/// Reports that a test, or the part of it that `what` names, is skipped, and why.
///
/// The line goes to standard error past the capture of the test harness, and to the file that the
/// environment variable `HITHER_SKIPS` names; `.ci/run` and `make check` print and count the lines
/// of that file at their end.
pub fn skip(what: &str, why: &str) {
    let line = format!("SKIPPED {what}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    let Some(path) = std::env::var_os("HITHER_SKIPS") else { return };
    let mut options = std::fs::OpenOptions::new();
    // One write per line, so that lines of several processes do not mix.
    let mut file = options.append(true).create(true).open(&path).expect("HITHER_SKIPS names a writable file");
    file.write_all(line.as_bytes()).expect("HITHER_SKIPS names a writable file");
}
