//! What may be used of entries that have expired, as each reader sees it.

use crate::support::{self, Daemon, compile, directory, libraries};
use crate::{addresses, getent, has, text, upstream};
use hither_client::{Answer, Snapshot, Table, Wanted};
use hither_table::{Draft, Family, FamilyDraft, Geometry, Monotonic, StaleTime, open_or_create};
use nix::sys::signal::Signal;
use std::process::Command;
use std::time::Duration;

/// A table whose daemon is dead: of three names one is fresh, one has expired, and one has expired for
/// longer than it may be used.
#[test]
fn stale_addresses_end_with_the_time_for_which_they_may_be_used() {
    let test = "stale_addresses_end_with_the_time_for_which_they_may_be_used";
    if !has("gcc", test) {
        return;
    }
    let dir = directory();
    let run = dir.join("run");
    std::fs::create_dir_all(&run).expect("a directory");
    let (mut writer, _, lock) =
        open_or_create(&run, &Geometry { entries: 64 }, 0o644, [1, 2, 3], 1).expect("a table");
    let now = Monotonic::now();
    writer.set_stale_time(StaleTime::of(Duration::from_millis(now.as_ms() / 2)));
    let address = |text: &str| [text.parse().expect("an address")];
    for (name, expire_ms) in [
        ("fresh.example", now.as_ms() + 3_600_000),
        ("stale.example", now.as_ms() - now.as_ms() / 8),
        ("over.example", now.as_ms() / 8),
    ] {
        let version = writer.next_version();
        let a = FamilyDraft::of(version, address("192.0.2.1"), expire_ms, 60);
        let aaaa = FamilyDraft::of(version, address("2001:db8::1"), expire_ms, 60);
        let name = name.parse().expect("a name");
        writer.put(&Draft { name, a: Some(a), aaaa: Some(aaaa) }, now).expect("room");
    }
    drop((writer, lock));
    // libhither.
    let program = compile(&dir, "src/capi/examples/lookup.c", &[]);
    let look = |name: &str| {
        let mut command = Command::new(&program);
        command.env("LD_LIBRARY_PATH", libraries()).env("HITHER_RUNTIME_DIR", &run);
        let output = command.arg(name).output().expect("it runs");
        (text(&output).lines().count(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(look("fresh.example"), (2, String::new()));
    let (shown, why) = look("stale.example");
    assert!(shown == 2 && why.contains("its time is over"), "{shown} {why}");
    let (shown, why) = look("over.example");
    assert!(shown == 0 && why.contains("not every family"), "{shown} {why}");
    // The NSS module, which uses stale addresses only if the daemon answers with them.
    let module = |name: &str| {
        let mut command = Command::new("getent");
        command.env("LD_LIBRARY_PATH", libraries()).env("HITHER_RUNTIME_DIR", &run);
        command.args(["-s", "hosts:hither", "ahostsv4", name]).status().expect("getent").code()
    };
    assert_eq!(
        ["fresh", "stale", "over"].map(|name| module(&format!("{name}.example"))),
        [Some(0), Some(2), Some(2)]
    );
    // Rust.
    let table = Table::open(Some(&run)).expect("readable");
    let answers = ["fresh.example", "stale.example", "over.example"].map(|name| {
        let name = name.parse().expect("a name");
        table.answer(&name, Wanted::One(Family::A), Monotonic::now(), &mut Snapshot::new())
    });
    assert_eq!(answers, [Answer::Fresh, Answer::Stale, Answer::Partial]);
    // hitherctl.
    let ctl = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hitherctl"));
        command.args(["--json", "--runtime-dir"]).arg(&run).args(args).output().expect("started")
    };
    let stale = text(&ctl(&["lookup", "stale.example"]));
    assert_eq!(stale.matches("\"stale\":true").count(), 2, "{stale}");
    let over = ctl(&["lookup", "over.example"]);
    assert!(text(&over).is_empty() && !over.status.success(), "{over:?}");
    let all = text(&ctl(&["dump"]));
    assert!(all.lines().count() == 4 && !all.contains("over.example"), "{all}");
    std::fs::remove_dir_all(dir).expect("removable");
}

#[test]
fn the_daemon_says_in_the_table_for_how_long_stale_addresses_may_be_used() {
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[cache]\nstale = \"2h\"\n");
    let shown = || hither_table::Reader::open(&daemon.dir.join("run")).expect("readable").stale_time();
    assert_eq!(shown(), StaleTime::of(Duration::from_secs(7200)));
    for (more, expected) in [
        ("[cache]\nstale = \"0s\"\n", Duration::ZERO),
        // In a table of another size, too.
        ("[cache]\nstale = \"3h\"\n[table]\nentries = 3000\n", Duration::from_secs(10_800)),
        ("", Duration::from_secs(86_400)),
    ] {
        Daemon::configure(&daemon.dir, &[&upstream], more);
        daemon.signal(Signal::SIGHUP);
        daemon.wait_for("the configuration is reloaded");
        assert_eq!(shown(), StaleTime::of(expected), "{more}");
    }
}

/// An answer with a TTL of 0 has expired when the module reads it, and is the daemon's answer all the
/// same.
#[test]
fn answers_without_a_lifetime_are_found_if_nothing_stale_may_be_used() {
    let upstream = support::Upstream::start(|query, _| {
        let is_a = hither_wire::query::Query::read(query).is_ok_and(|query| query.qtype().0 == 1);
        vec![(0, support::answer(query, if is_a { &[4][..] } else { &[] }, 0))]
    });
    let daemon = Daemon::start(&[&upstream], "[cache]\nstale = \"0s\"\n[sort]\nenabled = false\n");
    let (status, lines) = getent(&daemon, &["ahostsv4", "zero.example"]);
    assert_eq!((status, addresses(&lines)), (Some(0), vec!["198.18.0.4"]), "{lines:?}");
}
