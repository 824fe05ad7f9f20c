//! Readers of other languages beside a writer at full speed that is killed again and again, and replaces its
//! table: no entry is a mix of two versions. `HITHER_TORTURE_S` sets the duration in seconds.

use crate::support::directory;
use crate::{bindings, go_tests, has, python, succeeds};
use hither_table::{
    Address, Draft, Family, FamilyDraft, Geometry, Key, Monotonic, Rtt, ShareError, Writer, open_or_create,
    rotate,
};
use hither_wire::name::Name;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const NAMES: u64 = 64;
const ROLE: &str = "HITHER_TORTURE_DIR";
const TEST: &str = "torture::no_reader_of_another_language_sees_a_torn_entry";

fn name(n: u64) -> Name {
    format!("host{n}.example.com").parse().expect("a name")
}

/// A set of which every part is derived from its version, as the readers know.
fn set(version: u64, family: Family) -> FamilyDraft {
    let address = |n: u64| -> IpAddr {
        match family {
            Family::A => {
                Ipv4Addr::from((version as u32).wrapping_mul(2_654_435_761).wrapping_add(n as u32)).into()
            }
            Family::Aaaa => Ipv6Addr::from(u128::from(version) << 64 | u128::from(n)).into(),
        }
    };
    let addresses = (0..1 + version % 16).map(|n| Address {
        rtt: Rtt::Micros((version ^ n) as u32 & 0x7fff_ffff),
        ..Address::new(address(n), 0, 1)
    });
    let expire_ms = Monotonic::now().as_ms() + 1_000_000;
    let mut draft = FamilyDraft::of(version, [], expire_ms, (version % 64) as u32);
    draft.addresses = addresses.collect();
    draft.round = version;
    draft
}

fn open(dir: &Path) -> (Writer, impl Sized + use<>) {
    loop {
        match open_or_create(dir, &Geometry { entries: 128 }, 0o644, [1, 2, 3], 1) {
            Ok((writer, _, lock)) => return (writer, lock),
            // The predecessor was killed just now, and the kernel is about to release its lock.
            Err(ShareError::Locked(_)) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Writes until it is killed.
fn write(dir: &Path) {
    let (mut writer, _lock) = open(dir);
    let (mut n, mut is_large) = (u64::from(std::process::id()), false);
    loop {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let name = name((n >> 33) % NAMES);
        let version = writer.next_version();
        match (n >> 20) % 50 {
            0 => drop(writer.remove(&Key::of(&name))),
            1 if n.is_multiple_of(97) => writer.flush_all(),
            2 if (n >> 13).is_multiple_of(401) => {
                is_large = !is_large;
                let geometry = Geometry { entries: if is_large { 2048 } else { 128 } };
                rotate(&mut writer, dir, &geometry, 0o644, [4, 5, 6]).expect("there is room");
            }
            _ => {
                let aaaa = version.is_multiple_of(3).then(|| set(version, Family::Aaaa));
                let draft = Draft { name, a: Some(set(version, Family::A)), aaaa };
                writer.put(&draft, Monotonic(0)).expect("room is made");
            }
        }
    }
}

fn writer(dir: &Path) -> Child {
    Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", TEST])
        .env(ROLE, dir)
        .stdout(Stdio::null())
        .spawn()
        .expect("started")
}

fn reader(mut command: Command, dir: &Path, seconds: u64) -> Child {
    command.env("HITHER_RUNTIME_DIR", dir).env("HITHER_TORTURE_S", seconds.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started")
}

#[test]
fn no_reader_of_another_language_sees_a_torn_entry() {
    if let Some(dir) = std::env::var_os(ROLE) {
        return write(&PathBuf::from(dir));
    }
    let seconds = std::env::var("HITHER_TORTURE_S").ok().and_then(|s| s.parse().ok()).unwrap_or(3);
    let dir = directory().join("run");
    drop(open(&dir));
    let mut readers = Vec::new();
    if let Some(program) = go_tests(TEST) {
        let mut command = Command::new(program);
        command.args(["-test.run", "^TestTorture$", "-test.v"]).current_dir(bindings("go"));
        readers.push(("Go", reader(command, &dir, seconds)));
    }
    if has("python3", TEST) {
        let script = bindings("python").join("tests/torture.py");
        let command = python(&[&script.display().to_string()]);
        readers.push(("Python", reader(command, &dir, seconds)));
    }
    let (end, mut n) = (Instant::now() + Duration::from_secs(seconds), 7_u64);
    while Instant::now() < end {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut writer = writer(&dir);
        std::thread::sleep(Duration::from_millis(20 + (n >> 24) % 400));
        writer.kill().expect("running");
        writer.wait().expect("a child");
    }
    for (what, reader) in readers {
        let output = succeeds(reader.wait_with_output().expect("it ends"));
        let counts = output.lines().find(|line| line.starts_with("torture ")).unwrap_or_default();
        println!("{what}: {counts}");
        assert!(counts.contains(" torn 0 "), "{what}: {output}");
        let hits = counts.split("hits ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        assert!(hits.is_some_and(|hits: u64| hits > 100), "{what}: {output}");
    }
    std::fs::remove_dir_all(dir.parent().expect("a parent")).expect("removable");
}
