//! The message catalogue and the manual explain exactly the events that the programs log.

mod support;

use hither::logging::Event;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use support::{directory, skip};

fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("there")
}

/// The entries of the catalogue: each id with its explanation.
fn catalogue() -> BTreeMap<u128, String> {
    let text = file("systemd/hither.catalog");
    let entries = text.split("\n-- ").skip(1).map(|entry| {
        let (id, rest) = entry.split_once('\n').expect("a line");
        assert_eq!(id.len(), 32, "{id}");
        (u128::from_str_radix(id, 16).expect("an id"), rest.to_owned())
    });
    let all: Vec<_> = entries.collect();
    let map: BTreeMap<u128, String> = all.iter().cloned().collect();
    assert_eq!(map.len(), all.len(), "each id once");
    map
}

#[test]
fn the_catalogue_and_the_manual_explain_each_event_and_nothing_else() {
    let catalogue = catalogue();
    let ids: BTreeSet<u128> = Event::ALL.iter().map(|event| event.id()).collect();
    assert_eq!(catalogue.keys().copied().collect::<BTreeSet<u128>>(), ids);
    for event in Event::ALL {
        let text = &catalogue[&event.id()];
        let (head, explanation) = text.split_once("\n\n").expect("a head and a text");
        for field in ["Subject: ", "Defined-By: hither", "Support: ", "Documentation: man:"] {
            assert!(head.lines().any(|line| line.starts_with(field)), "{}: {field}", event.name());
        }
        assert!(explanation.trim().len() > 50, "{}", event.name());
    }
    let page = file("man/hitherd.8");
    let described: Vec<(&str, &str)> = page
        .split_once("explains each:")
        .and_then(|(_, rest)| rest.split_once(".El"))
        .expect("a list")
        .0
        .split(".It Cm ")
        .skip(1)
        .filter_map(|item| item.split_once('\n'))
        .map(|(name, rest)| (name, rest.lines().next().expect("a line")))
        .collect();
    let ours: Vec<(&str, String)> =
        Event::ALL.iter().map(|e| (e.name(), format!("{:032x}.", e.id()))).collect();
    assert_eq!(described, ours.iter().map(|(name, id)| (*name, id.as_str())).collect::<Vec<_>>());
}

/// All source files of the programs.
fn sources(dir: &Path, all: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).expect("a folder").map_while(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            all.push(std::fs::read_to_string(path).expect("readable"));
        }
    }
}

/// A field that the catalogue shows and the log call does not set would stay empty.
#[test]
fn each_event_is_logged_with_the_fields_that_the_catalogue_shows() {
    let mut all = Vec::new();
    for folder in ["daemon", "sorter", "site", "companion", "host"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder), &mut all);
    }
    let logged: Vec<&str> = all
        .iter()
        .flat_map(|text| text.split("event = Event::").skip(1))
        .filter_map(|rest| rest.split(';').next())
        .collect();
    let page = file("man/hitherd.8");
    for event in Event::ALL {
        let places: Vec<&&str> = logged
            .iter()
            .filter(|place| place.split([',', ' ', '\n']).next() == Some(format!("{event:?}").as_str()))
            .collect();
        // The log itself writes these, without a call site of that form.
        let by_the_log = [Event::LinesLost, Event::Query, Event::QueriesLeftOut].contains(event);
        assert!(!places.is_empty() || by_the_log, "{event:?} is never logged");
        for field in
            catalogue()[&event.id()].split('@').skip(1).step_by(2).filter(|field| *field != "MESSAGE")
        {
            let key = field.strip_prefix("HITHER_").expect("one of ours").to_lowercase();
            for place in &places {
                let keys = place.split(',').skip(1).filter_map(|pair| pair.split([':', '=']).next());
                assert!(keys.map(str::trim).any(|k| k == key), "{event:?} is logged without {key}: {place}");
            }
        }
    }
    for place in logged {
        for key in place.split(',').skip(1).filter(|pair| pair.contains('=')) {
            let key = key.split([':', '=']).next().expect("a key").trim().to_uppercase();
            assert!(page.contains(&format!("HITHER_{key}")), "HITHER_{key} is not in hitherd(8)");
        }
    }
}

#[test]
fn journalctl_takes_the_catalogue() {
    let test = "journalctl_takes_the_catalogue";
    let root = directory();
    let folder = root.join("usr/lib/systemd/catalog");
    std::fs::create_dir_all(&folder).expect("a directory");
    std::fs::write(folder.join("hither.catalog"), file("systemd/hither.catalog")).expect("written");
    let journalctl = |what: &str| Command::new("journalctl").arg("--root").arg(&root).arg(what).output();
    let Ok(updated) = journalctl("--update-catalog") else {
        return skip(test, "there is no journalctl");
    };
    assert!(updated.status.success() && updated.stderr.is_empty(), "{updated:?}");
    let listed = journalctl("--list-catalog").expect("it was there");
    let listed = String::from_utf8(listed.stdout).expect("text");
    let ids: BTreeSet<&str> =
        listed.lines().filter_map(|line| line.split_once(" hither: ")).map(|(id, _)| id).collect();
    let ours: Vec<String> = Event::ALL.iter().map(|event| format!("{:032x}", event.id())).collect();
    assert_eq!(ids, ours.iter().map(String::as_str).collect());
    std::fs::remove_dir_all(root).expect("removable");
}
