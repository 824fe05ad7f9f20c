//! The structure of the sources, as far as it can be counted: fields of structures, circles of
//! files, tuples as parameters.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Fields that a structure may have.
const FIELDS_MAX: usize = 12;
/// Structures that have more fields, how many they may have, and the reason. The numbers only shrink.
const LARGER: [(&str, &str, usize, &str); 16] = [
    ("src/capi/types.rs", "Set", 13, "the layout of struct hither_set in hither.h"),
    ("src/config/file.rs", "File", 17, "the sections and keys at the top of hither.toml"),
    ("src/config/mod.rs", "Config", 13, "the sections of hither.toml"),
    ("src/control/explain.rs", "Explanation", 14, "the JSON object that hitherctl explain --json prints"),
    ("src/control/status.rs", "Status", 15, "the JSON object that hitherctl status --json prints"),
    ("src/control/status.rs", "UpstreamStatus", 14, "a JSON object in that one"),
    ("src/daemon/insight/dnstap/messages.rs", "Message", 13, "the fields of a message of dnstap"),
    ("src/rounds/attempt.rs", "Attempt", 20, "the core: one state machine, which the simulator drives"),
    ("src/rounds/resolver.rs", "Rounds", 16, "the core"),
    ("src/rounds/round.rs", "Round", 21, "the core"),
    ("src/rounds/settings.rs", "Settings", 21, "keys of [round], [cache], [limits], [site] in hither.toml"),
    ("src/rounds/shared.rs", "Shared", 18, "the core"),
    ("src/rounds/upstream.rs", "Upstream", 21, "the core"),
    ("tests/sim/oracle/known.rs", "Known", 17, "the oracle's model of the core's rounds on one question"),
    ("tests/sim/oracle/known.rs", "SeenRound", 13, "the oracle's model of one round of the core"),
    ("tests/sim/world.rs", "World", 16, "one simulated run of the core"),
];
/// Where no file may depend on itself by way of others, but for parents and their children.
const WITHOUT_CIRCLES: [&str; 2] = ["src/daemon/", "src/rounds/"];

/// Every source of programs and libraries with its path from the top, without tests.
fn sources() -> BTreeMap<String, String> {
    let mut found = sources_in("src");
    found.retain(|path, _| !path.contains("/tests/") && !path.ends_with("tests.rs"));
    assert!(found.len() > 200, "only {} sources are found", found.len());
    found
}

/// Every source in a directory with its path from the top.
fn sources_in(dir: &str) -> BTreeMap<String, String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut left, mut found) = (vec![top.join(dir)], BTreeMap::new());
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a readable directory");
            left.extend(entries.map(|entry| entry.expect("a readable entry").path()));
        } else if path.extension().is_some_and(|end| end == "rs") {
            let name =
                path.strip_prefix(top).map(PathBuf::from).expect("below the top").display().to_string();
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            found.insert(name, without_tests_and_comments(&text));
        }
    }
    found
}

fn without_tests_and_comments(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect()
}

/// The text between an opening bracket at `open` and its end.
fn bracketed(text: &str, open: usize) -> &str {
    let mut depth = 0;
    for (at, c) in text[open..].char_indices() {
        match c {
            '(' | '{' | '[' | '<' => depth += 1,
            // The arrow of a result is no bracket.
            '>' if text[..open + at].ends_with('-') || text[..open + at].ends_with('=') => {}
            ')' | '}' | ']' | '>' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[open + 1..open + at];
        }
    }
    &text[open..]
}

/// The parts of a list that stand between commas outside of brackets.
fn parts(list: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from, mut before) = (Vec::new(), 0, 0, ' ');
    for (at, c) in list.char_indices() {
        match c {
            '(' | '{' | '[' | '<' => depth += 1,
            '>' if before == '-' || before == '=' => {}
            ')' | '}' | ']' | '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(list[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
        before = c;
    }
    parts.push(list[from..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

/// Where a keyword stands in code, at the beginning of a word.
fn places<'a>(text: &'a str, keyword: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(keyword).map(|(at, _)| at).filter(move |at| !text[..*at].ends_with(is_word))
}

#[test]
fn no_structure_has_too_many_fields() {
    let (mut large, mut unneeded) = (Vec::new(), LARGER.to_vec());
    for (path, text) in ["src", "tests", "benches"].into_iter().flat_map(sources_in) {
        for at in places(&text, "struct ") {
            let Some(open) = text[at..].find(['{', ';', '(']).map(|open| at + open) else { continue };
            if !text[open..].starts_with('{') {
                continue;
            }
            let fields = parts(bracketed(&text, open)).len();
            let name = text[at..open].split(|c: char| !c.is_alphanumeric()).nth(1).unwrap_or_default();
            let is_it = |larger: &(&str, &str, usize, &str)| path == larger.0 && name == larger.1;
            let most = LARGER.iter().find(|larger| is_it(larger)).map_or(FIELDS_MAX, |larger| larger.2);
            if fields > most {
                large.push(format!("{path}: {name} has {fields} fields, more than {most}"));
            }
            unneeded.retain(|larger| !is_it(larger) || fields <= FIELDS_MAX);
        }
    }
    assert!(large.is_empty(), "too many fields:\n{}", large.join("\n"));
    assert!(unneeded.is_empty(), "need no exception any more: {unneeded:?}");
}

#[test]
fn no_parameter_is_a_tuple_that_hides_several() {
    let mut hidden = Vec::new();
    for (path, text) in sources() {
        for at in places(&text, "fn ") {
            let Some(open) = text[at..].find('(').map(|open| at + open) else { continue };
            let name = text[at..open].trim();
            for parameter in parts(bracketed(&text, open)) {
                // A pattern of names, typed by a tuple: each name would be a parameter of its own.
                let is_pattern = parameter.starts_with('(');
                if is_pattern && parameter.contains("): (") {
                    hidden.push(format!(
                        "{path}: {name}: {}",
                        parameter.split_whitespace().collect::<Vec<_>>().join(" ")
                    ));
                }
            }
        }
    }
    assert!(hidden.is_empty(), "tuples that hide parameters:\n{}", hidden.join("\n"));
}

/// The path of the module that a file is, below its unit.
fn module(path: &str, unit: &str) -> Vec<String> {
    let inner = path.strip_prefix(unit).and_then(|path| path.strip_suffix(".rs")).unwrap_or_default();
    let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if ["mod", "lib", "main"].contains(&module.last().map_or("", String::as_str)) {
        module.pop();
    }
    module
}

/// The modules that a text names: each path, however it begins, as far as modules of the unit go.
fn named(
    text: &str,
    own: &[String],
    root: &[&str],
    modules: &BTreeSet<Vec<String>>,
) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    for path in paths(text) {
        let words: Vec<&str> = path.split("::").map(str::trim).collect();
        let mut from: Vec<String> = own.to_vec();
        let mut words = &words[..];
        match words.first() {
            Some(&"crate") => {
                if words.len() <= root.len() || words[1..=root.len()] != *root {
                    continue;
                }
                from.clear();
                words = &words[1 + root.len()..];
            }
            Some(&"self") => words = &words[1..],
            Some(&"super") => {
                while words.first() == Some(&"super") && !from.is_empty() {
                    from.pop();
                    words = &words[1..];
                }
            }
            _ => {}
        }
        for word in words {
            from.push((*word).to_owned());
            if !modules.contains(&from) {
                from.pop();
                break;
            }
        }
        if from != own && !from.is_empty() && modules.contains(&from) {
            found.insert(from);
        }
    }
    found
}

/// Every path of a source, groups of a `use` taken apart.
fn paths(text: &str) -> Vec<String> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let (mut paths, mut groups): (Vec<String>, Vec<(usize, String)>) = (Vec::new(), Vec::new());
    let (mut depth, mut word) = (0, String::new());
    for c in text.chars().chain(['\n']) {
        if is_path(c) {
            word.push(c);
            continue;
        }
        let before = groups.last().map_or("", |(_, before)| before.as_str());
        let whole = format!("{before}{word}");
        match c {
            '{' => {
                depth += 1;
                if word.ends_with("::") {
                    groups.push((depth, whole));
                }
            }
            _ => {
                if word.contains("::") || !before.is_empty() && !word.is_empty() {
                    paths.push(whole);
                }
                if c == '}' {
                    groups.retain(|(at, _)| *at != depth);
                    depth = depth.saturating_sub(1);
                }
            }
        }
        word.clear();
    }
    paths
}

/// Whether one of two modules contains the other.
fn are_related(one: &[String], other: &[String]) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

#[test]
fn no_file_depends_on_itself_by_way_of_others() {
    let sources = sources();
    let mut circles = Vec::new();
    for unit in WITHOUT_CIRCLES {
        let root: Vec<&str> = if unit == "src/daemon/" { vec!["daemon"] } else { Vec::new() };
        let of_unit: BTreeMap<Vec<String>, &String> = sources
            .iter()
            .filter(|(path, _)| path.starts_with(unit))
            .map(|(path, text)| (module(path, unit), text))
            .collect();
        let modules: BTreeSet<Vec<String>> = of_unit.keys().cloned().collect();
        let uses: BTreeMap<&Vec<String>, BTreeSet<Vec<String>>> = of_unit
            .iter()
            .map(|(own, text)| {
                let mut named = named(text, own, &root, &modules);
                named.retain(|other| !are_related(own, other));
                (own, named)
            })
            .collect();
        assert!(uses.values().any(|named| !named.is_empty()), "nothing of {unit} uses anything");
        for own in uses.keys() {
            if let Some(way) = way_back(own, &uses) {
                circles.push(format!("{unit}: {}", way.join(" -> ")));
            }
        }
    }
    circles.sort();
    assert!(circles.is_empty(), "circles of files:\n{}", circles.join("\n"));
}

/// The shortest way from a module over those that it uses to itself.
fn way_back(own: &Vec<String>, uses: &BTreeMap<&Vec<String>, BTreeSet<Vec<String>>>) -> Option<Vec<String>> {
    let mut ways: Vec<Vec<&Vec<String>>> = vec![vec![own]];
    let mut seen: BTreeSet<&Vec<String>> = BTreeSet::new();
    while !ways.is_empty() {
        let mut next = Vec::new();
        for way in ways {
            for other in way.last().and_then(|last| uses.get(last)).into_iter().flatten() {
                let mut longer = way.clone();
                longer.push(other);
                if other == own {
                    return Some(longer.iter().map(|module| module.join("::")).collect());
                }
                if seen.insert(other) {
                    next.push(longer);
                }
            }
        }
        ways = next;
    }
    None
}
