//! Versions grow although the table is lost or the clock is set back.

use super::*;

/// Asks for a name, and returns its version in the table.
fn version(daemon: &Daemon, name: &str) -> u64 {
    daemon.ask(name);
    let reader = hither_table::Reader::open(&daemon.dir.join("run")).expect("a table");
    let (key, mut entry) = (Key::of(&name.parse().expect("a name")), Box::new(Snapshot::new()));
    assert_eq!(reader.lookup(&key, &mut entry), Ok(()));
    entry.version()
}

#[test]
fn versions_grow_across_a_table_that_is_lost_within_a_second() {
    let upstream = good(&[1]);
    let (dir, elsewhere) = (directory(), directory());
    // With a state directory; without one; without one and with an empty runtime directory.
    for (dir, more, lost) in [
        (&dir, "", "run"),
        (&elsewhere, "[cache]\nsave = \"0s\"\n# no state_dir\n", "run/hosts"),
        (&elsewhere, "[cache]\nsave = \"0s\"\n# no state_dir\n", "run"),
    ] {
        let mut last = 0;
        for n in 0..6 {
            let mut daemon = start(dir, &upstream, more);
            // More versions than the clock advances meanwhile.
            for n in 0..n * 20 {
                daemon.ask(&format!("n{n}.example"));
            }
            let next = version(&daemon, "www.example.com");
            assert!(next > last, "{next} after {last}, {lost} lost");
            last = next;
            daemon.process.kill().expect("it runs");
            daemon.process.wait().expect("a child");
            match lost {
                "run" => forget(dir),
                file => std::fs::remove_file(dir.join(file)).expect("removable"),
            }
            // The next daemon uses its directory, so it is not removed.
            std::mem::forget(daemon);
        }
    }
    let _ = (std::fs::remove_dir_all(dir), std::fs::remove_dir_all(elsewhere));
}

#[test]
fn versions_grow_although_the_clock_is_set_back_and_the_table_is_lost() {
    let dir = directory();
    let Some(library) = preloaded(&dir, "tests/hostile/clocks.c") else {
        return skip(
            "versions_grow_although_the_clock_is_set_back_and_the_table_is_lost",
            "there is no C compiler",
        );
    };
    let upstream = good(&[1]);
    let mut last = 0;
    for (n, ahead_s) in [0_i64, -1, -86_400, -1_700_000_000, 86_400, 90_000].into_iter().enumerate() {
        std::fs::write(dir.join("offsets"), format!("{ahead_s} 0\n")).expect("written");
        configure(&dir, &upstream, "");
        let mut command = command(&dir);
        command.env("LD_PRELOAD", &library).env("CLOCKS", dir.join("offsets"));
        let mut daemon = Daemon::spawn(dir.clone(), &mut command);
        let next = version(&daemon, "www.example.com");
        assert!(next > last, "{next} after {last}, with the clock {ahead_s} s ahead");
        last = next;
        daemon.process.kill().expect("it runs");
        daemon.process.wait().expect("a child");
        forget(&dir);
        // A malformed mark is ignored and logged; only its own content is lost.
        if n == 4 {
            std::fs::write(dir.join("state/versions"), "junk").expect("writable");
        }
        if n == 5 {
            assert!(
                daemon.log().contains("versions' is passed over: it has another length"),
                "{}",
                daemon.log()
            );
            last = 0;
        }
        std::mem::forget(daemon);
    }
    assert_eq!(last, 0, "all cases were tried");
    let _ = std::fs::remove_dir_all(dir);
}
