//! The bindings for Node and the JVM, which use libhither, beside a real daemon.

use crate::daemon::{passes, start};
use crate::support::{ask_for, compile_library, libraries, skip};
use crate::{bindings, has};
use hither_wire::codes::Rtype;
use std::path::Path;
use std::process::Command;

const NAMES: [&str; 4] = ["web.example", "v4.example", "many.example", "none.example"];

#[test]
fn node_reads_the_table() {
    let test = "node_reads_the_table";
    let headers = Path::new("/usr/include/node");
    if !has("node", test) || !has("gcc", test) {
        return;
    }
    if !headers.join("node_api.h").exists() {
        skip(test, "no headers of Node in /usr/include/node");
        return;
    }
    let (_upstream, daemon) = start();
    let addon = daemon.dir.join("node");
    std::fs::create_dir(&addon).expect("a directory");
    compile_library(&bindings("node").join("hither_node.c"), &addon.join("hither.node"), headers);
    for file in ["index.js", "test.js"] {
        std::fs::copy(bindings("node").join(file), addon.join(file)).expect("a copy");
    }
    publish(&daemon);
    let mut command = Command::new("node");
    command.arg(addon.join("test.js")).env("LD_LIBRARY_PATH", libraries());
    assert!(passes(&daemon, command).contains("node passes"));
}

/// Whether the JDK has the API for foreign functions, which came with 22.
fn has_jdk() -> bool {
    let output = Command::new("javac").arg("-version").output();
    let version =
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let major = version.split([' ', '.', '-']).nth(1).and_then(|major| major.trim().parse().ok());
    major.is_some_and(|major: u32| major >= 22)
}

#[test]
fn the_jvm_reads_the_table() {
    if !has_jdk() {
        skip("the_jvm_reads_the_table", "no JDK of 22 or later");
        return;
    }
    let (_upstream, daemon) = start();
    publish(&daemon);
    let mut command = Command::new(bindings("jvm").join("run-tests"));
    command.arg(daemon.dir.join("jvm")).env("LD_LIBRARY_PATH", libraries());
    assert!(passes(&daemon, command).contains("jvm passes"));
}

/// Has the table know the names of the tests.
fn publish(daemon: &crate::support::Daemon) {
    for name in NAMES {
        for rtype in [Rtype::A, Rtype::AAAA] {
            daemon.exchange(&ask_for(name, rtype, Some(1232), 7));
        }
    }
}
