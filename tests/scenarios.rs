//! Scenarios as text: each of `tests/scenarios/*.txt` has upstreams, clients and a table, on a
//! clock that only the script moves. `tests/README.md` describes the language. The error for a wrong
//! line has its number.

#[path = "scenarios/language.rs"]
mod language;
#[path = "scenarios/messages.rs"]
mod messages;
#[path = "scenarios/records.rs"]
mod records;
#[path = "scenarios/stage.rs"]
mod stage;

use std::path::{Path, PathBuf};

fn scripts() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(dir).expect("the scripts").map(|entry| entry.expect("a file").path()).collect();
    all.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    all.sort();
    all
}

#[test]
fn every_scenario_plays_as_written() {
    let all = scripts();
    assert!(all.len() >= 25, "scenarios are missing: {} are there", all.len());
    let only = std::env::var("HITHER_SCENARIO").unwrap_or_default();
    let played: Vec<&PathBuf> = all.iter().filter(|path| path.to_string_lossy().contains(&only)).collect();
    assert!(!played.is_empty(), "no scenario has '{only}' in its name");
    let failed: Vec<String> = played
        .iter()
        .filter_map(|path| {
            let text = std::fs::read_to_string(path).expect("readable");
            let result = language::read(&text).and_then(|script| stage::play(&script));
            result.err().map(|error| format!("{}:{error}", path.display()))
        })
        .collect();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

#[test]
fn a_scenario_that_does_not_hold_fails_and_says_where() {
    let world = "u1 a.test A after 10ms A 192.0.2.1 ttl 60\n0ms c1 asks a.test A\n";
    for (line, error) in [
        ("10ms c1 gets NOERROR A 192.0.2.2 ttl 60", "4: c1 got NOERROR A 192.0.2.1 ttl 60"),
        ("9ms c1 gets NOERROR A 192.0.2.1 ttl 60", "4: c1 has no reply"),
        ("11ms c1 gets NOERROR A 192.0.2.1 ttl 60", "4: c1 got its reply at 10ms"),
        ("10ms c1 waits", "4: c1 has a reply"),
        ("10ms table a.test A complete 192.0.2.2", "4: the table has a.test. A complete 192.0.2.1"),
        ("10ms table a.test A none", "4: the table has a.test. A complete 192.0.2.1"),
        ("10ms sent u1 2", "4: 1 queries"),
        ("10ms counter hits 3", "4: hits is 0"),
        ("10ms c1 dances", "4: 'dances'"),
        ("x c1 waits", "4: 'x'"),
        ("set deny all", "4: 'all' is neither any nor agreed"),
        ("set protect no", "4: 'no' is neither true nor false"),
    ] {
        let result = language::read(&format!("{world}\n{line}\n")).and_then(|script| stage::play(&script));
        let found = result.expect_err(line);
        assert!(found.starts_with(error), "{line}: {found}");
    }
}
