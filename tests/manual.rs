//! The manual pages say what the code does.

use hither_table::layout::{self, head};
use std::path::Path;

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(name)).expect("there")
}

/// Somebody writes a reader from hither-table(5) alone.
#[test]
fn the_table_stands_where_its_page_says() {
    let page = page("hither-table.5");
    let header =
        page.split(".Sh HEADER").nth(1).and_then(|rest| rest.split(".Sh LOOKUP").next()).expect("a section");
    let rows: Vec<(&str, &str)> = header
        .lines()
        .filter_map(|line| line.strip_prefix(".It "))
        .filter(|row| !row.starts_with("Sy"))
        .filter_map(|row| row.split_once(" Ta "))
        .map(|(name, rest)| (name, rest.split(' ').next().expect("a word")))
        .collect();
    let ours = [
        ("MAGIC", head::MAGIC),
        ("ABI", head::ABI),
        ("ENDIAN", head::ENDIAN),
        ("FEATURES", head::FEATURES),
        ("FILE", head::FILE),
        ("GENERATION", head::GENERATION),
        ("CHECKSUM", head::CHECKSUM),
        ("MASK", head::MASK),
        ("INDEX", head::INDEX),
        ("DATA", head::DATA),
        ("LINES", head::LINES),
        ("RING", head::RING),
        ("SLOTS", head::SLOTS),
        ("STATE", head::STATE),
        ("FLUSHED", head::FLUSHED),
        ("VERSION", head::VERSION),
        ("CHANGES", head::CHANGES),
        ("PID", head::PID),
        ("ALIVE", head::ALIVE),
        ("BOOT", head::BOOT),
        ("DNS", head::DNS),
        ("CLOCK_OFFSET", head::CLOCK_OFFSET),
        ("HASH", head::HASH),
        ("COUNTERS", head::COUNTERS),
    ];
    let ours: Vec<(&str, String)> = ours.into_iter().map(|(name, at)| (name, at.to_string())).collect();
    assert_eq!(rows, ours.iter().map(|(name, at)| (*name, at.as_str())).collect::<Vec<_>>());
    for (what, number) in [
        ("words.\nWords 0 to 15", layout::HEADER),
        ("Ta slots of the change ring, ", layout::RING),
        ("which must be at most ", layout::RECORD_MAX),
        (" beginnings give up", layout::TRIES),
        ("two clocks is more than ", layout::CLOCK_SLACK_MS as usize),
    ] {
        let near = page.split_once(what).map(|(before, after)| {
            let tail: String = before.chars().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect();
            tail + &after.chars().take(8).collect::<String>()
        });
        assert!(
            near.as_ref().is_some_and(|near| near.contains(&number.to_string())),
            "{what}{number}: {near:?}"
        );
    }
    for constant in ["0x9e3779b97f4a7c15", "0xd6e8feb86659fd93", "0x2545f4914f6cdd1d", "0x0102030405060708"] {
        assert!(page.contains(constant), "{constant}");
    }
}

/// The examples of libhither(3) are the programs that the tests compile and run.
#[test]
fn the_examples_of_the_library_are_those_that_are_run() {
    let page = page("libhither.3").replace("\\&", "").replace("\\e", "\\");
    for example in ["lookup.c", "lookup.py"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/capi/examples").join(example);
        let text = std::fs::read_to_string(path).expect("there");
        assert!(page.contains(text.trim()), "{example} differs from the page");
    }
}

#[test]
fn every_counter_is_described_in_its_place() {
    let page = page("hitherctl.1");
    let section =
        page.split(".Sh COUNTERS").nth(1).and_then(|rest| rest.split(".Sh ").next()).expect("a section");
    let described: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix(".It Cm ")).collect();
    let ours: Vec<&str> = hither_table::Counter::ALL.iter().map(|counter| counter.name()).collect();
    assert_eq!(described, ours);
}
