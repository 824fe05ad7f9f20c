//! Rules for documents and comments: cited files and tests exist, the map of files and the table of units
//! agree with the sources, and comments fit on a line and say something.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Documents whose citations are checked, and whose lines are bounded.
const DOCUMENTS: [&str; 6] = [
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "docs/scenario-catalogue.md",
    "tests/README.md",
];
/// Columns of a line of a document. Tables and code cannot be broken and are exempt.
const COLUMNS: usize = 100;
/// Columns of a comment: `max_width` of rustfmt.toml.
const COMMENT_COLUMNS: usize = 110;
/// Names in documents that look like files of this tree but are files of a host.
const OF_A_HOST: [&str; 3] = ["hither.toml", "block.list", "hither.conf"];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `dir`, with its path from the top, in order. Build outputs and hidden
/// directories are left out.
fn files(dir: &str) -> BTreeSet<String> {
    let (mut left, mut found) = (vec![top().join(dir)], BTreeSet::new());
    while let Some(path) = left.pop() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            let is_source =
                name != "target" && !(name.starts_with('.') && name != ".ci" && name != ".github");
            if is_source || path == top() {
                let entries = std::fs::read_dir(&path).expect("a readable directory");
                left.extend(entries.map(|entry| entry.expect("a readable entry").path()));
            }
        } else {
            let path = path.strip_prefix(top()).map(PathBuf::from).expect("a path below the top");
            found.insert(path.display().to_string());
        }
    }
    found
}

fn text(path: &str) -> String {
    std::fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("tests.rs")
}

/// Sources of programs and libraries.
fn sources() -> Vec<String> {
    let sources: Vec<String> =
        files("src").into_iter().filter(|path| path.ends_with(".rs") && !is_test(path)).collect();
    assert!(sources.len() > 200, "only {} sources are found", sources.len());
    sources
}

/// The words in backticks of a document.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Expands `a/{b,c}.rs` to `a/b.rs` and `a/c.rs`.
fn expanded(path: &str) -> Vec<String> {
    match path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        Some((before, (names, after))) => {
            names.split(',').flat_map(|name| expanded(&format!("{before}{name}{after}"))).collect()
        }
        None => vec![path.to_owned()],
    }
}

fn looks_like_a_file(word: &str) -> bool {
    const ENDS: [&str; 8] = [".rs", ".py", ".md", ".c", ".h", ".toml", ".sh", ".catalog"];
    let is_path = word.chars().all(|c| c.is_ascii_alphanumeric() || "/_-.{},".contains(c));
    is_path && !word.starts_with('/') && ENDS.iter().any(|end| word.ends_with(end)) && !word.starts_with('.')
}

#[test]
fn every_file_that_a_document_cites_exists() {
    let tree = files("");
    let exists = |path: &str| tree.iter().any(|file| file == path || file.ends_with(&format!("/{path}")));
    let mut missing = Vec::new();
    for document in DOCUMENTS {
        let text = text(document);
        for word in quoted(&text).filter(|word| looks_like_a_file(word) && !OF_A_HOST.contains(word)) {
            missing.extend(
                expanded(word)
                    .into_iter()
                    .filter(|path| !exists(path))
                    .map(|path| format!("{document}: {path}")),
            );
        }
    }
    assert!(missing.is_empty(), "documents cite files that are not in the tree:\n{}", missing.join("\n"));
}

#[test]
fn lines_of_documents_fit_on_a_screen() {
    for document in DOCUMENTS {
        for (number, line) in (1..).zip(text(document).lines()) {
            let is_table = line.starts_with('|') || line.starts_with("    ");
            let length = line.chars().count();
            assert!(is_table || length <= COLUMNS, "{document}:{number} has {length} columns");
        }
    }
}

/// The first sentence of a source's header, which is its entry in the map of files.
fn sentence(path: &str) -> String {
    let text = text(path);
    let header: Vec<&str> = text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    assert!(!header.is_empty(), "{path} has no header (//!) that says what the file is for");
    let header = header.join(" ");
    let end = header.find(". ").map_or(header.len(), |end| end + 1);
    header[..end].to_owned()
}

/// The map of files as ARCHITECTURE.md has it: a heading a folder, a line a file.
fn map() -> String {
    let (mut map, mut folder) = (String::new(), String::new());
    for path in sources() {
        let (of, name) = path.rsplit_once('/').expect("a source is below src");
        if of != folder {
            folder = of.to_owned();
            map += &format!("\n`{folder}`\n\n");
        }
        let entry = format!("* `{name}`: {}", sentence(&path));
        map += &wrapped(&entry, 100);
    }
    map
}

/// A list item broken at words, its further lines indented.
fn wrapped(item: &str, columns: usize) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for word in item.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > columns {
            lines += &format!("{}\n", line.trim_end());
            line = String::from(" ");
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    lines + line.trim_end() + "\n"
}

#[test]
fn the_map_of_files_has_every_file_and_its_header() {
    const BEGIN: &str =
        "<!-- The list below is made from the headers: HITHER_RENEW=1 cargo test --test readable -->\n";
    let document = text("ARCHITECTURE.md");
    let (before, there) = document.split_once(BEGIN).expect("ARCHITECTURE.md has the mark of its map");
    let map = map();
    if std::env::var_os("HITHER_RENEW").is_some() {
        std::fs::write(top().join("ARCHITECTURE.md"), format!("{before}{BEGIN}{map}")).expect("writable");
        return;
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<String>>();
    let (wanted, there) = (lines(&map), lines(there));
    let differ: Vec<&String> = wanted.symmetric_difference(&there).collect();
    assert!(
        differ.is_empty(),
        "the map in ARCHITECTURE.md is out of date; renew it by HITHER_RENEW=1 cargo test --test readable:\n{differ:#?}"
    );
}

#[test]
fn unsafe_code_is_where_architecture_says() {
    let document = text("ARCHITECTURE.md");
    let list =
        document.split("## Unsafe code").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a list");
    let cited: BTreeSet<String> =
        quoted(list).filter(|word| word.ends_with(".rs")).map(|path| format!("src/{path}")).collect();
    let has_unsafe = |path: &String| {
        let text = text(path);
        let mut code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        code.any(|line| {
            ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "#[unsafe("]
                .iter()
                .any(|sign| line.contains(sign))
        })
    };
    let found: BTreeSet<String> = sources().into_iter().filter(has_unsafe).collect();
    assert_eq!(found, cited, "the files with unsafe code (left) are not those of ARCHITECTURE.md (right)");
}

#[test]
fn comments_fit_into_the_formatters_width() {
    let trees = ["src", "tests", "benches", "fuzz"];
    let mut long = Vec::new();
    for path in trees.iter().flat_map(|dir| files(dir)).filter(|path| path.ends_with(".rs")) {
        for (number, line) in (1..).zip(text(&path).lines()) {
            if line.trim_start().starts_with("//") && line.chars().count() > COMMENT_COLUMNS {
                long.push(format!("{path}:{number}"));
            }
        }
    }
    assert!(long.is_empty(), "comments wider than {COMMENT_COLUMNS} columns:\n{}", long.join("\n"));
}

/// The documentation comments of public items in a source, each with the line on which its item stands.
fn public_documentation(text: &str) -> Vec<(usize, String)> {
    let (mut documented, mut comment) = (Vec::new(), String::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start();
        if let Some(more) = line.strip_prefix("///") {
            comment += more;
        } else if line.starts_with("#[") {
            continue;
        } else {
            if line.starts_with("pub ") && !comment.is_empty() {
                documented.push((number, std::mem::take(&mut comment)));
            }
            comment.clear();
        }
    }
    documented
}

#[test]
fn documentation_of_public_items_says_something() {
    let mut short = Vec::new();
    for path in sources() {
        for (number, comment) in public_documentation(&text(&path)) {
            if comment.split_whitespace().count() <= 3 {
                short.push(format!("{path}:{number}:{comment}"));
            }
        }
    }
    assert!(short.is_empty(), "documentation of three words or fewer:\n{}", short.join("\n"));
}

/// The last cell of each row of tests/README.md, as text outside and within backticks by turns.
fn cells(table: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = table.lines().filter(|line| line.starts_with("| "));
    rows.filter_map(|row| row.rsplit('|').nth(1)).map(|cell| cell.split('`').collect())
}

/// The names of functions in a source of Rust or Python.
fn functions(source: &str) -> impl Iterator<Item = &str> {
    let names = ["fn ", "def "].into_iter().flat_map(|keyword| source.split(keyword).skip(1));
    names.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
}

/// The files of the tree that a citation means: `a/{b,c}.rs` means two, and a path may lack its beginning.
fn cited<'a>(citation: &str, tree: &'a BTreeSet<String>) -> Vec<&'a String> {
    let paths: Vec<String> = expanded(citation).iter().map(|path| format!("/{path}")).collect();
    tree.iter().filter(|file| paths.iter().any(|path| format!("/{file}").ends_with(path))).collect()
}

/// Names of tests that a cell cites and that are not in the file before them, and scenarios that do not
/// exist. "…" stands for the rest of a name.
fn missing_tests(cell: &[&str], tree: &BTreeSet<String>) -> Vec<String> {
    let (mut sources, mut missing) = (Vec::new(), Vec::new());
    for (turn, words) in cell.iter().enumerate() {
        if turn % 2 == 1 && looks_like_a_file(words) {
            sources = cited(words, tree).into_iter().map(|path| text(path)).collect();
        } else if turn % 2 == 1 {
            let is_scenario = words.as_bytes().get(3) == Some(&b'-') && words.ends_with('…');
            let beginning = format!("tests/scenarios/{}", words.trim_end_matches('…'));
            if is_scenario && !tree.iter().any(|file| file.starts_with(&beginning)) {
                missing.push((*words).to_owned());
            }
        } else {
            for word in words.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '…') {
                let beginning = word.trim_end_matches('…');
                let is_cited = |name: &str| {
                    name == beginning || beginning.len() < word.len() && name.starts_with(beginning)
                };
                let is_name = !beginning.is_empty() && (word.contains('_') || word.ends_with('…'));
                if is_name && !sources.iter().any(|source| functions(source).any(is_cited)) {
                    missing.push(word.to_owned());
                }
            }
        }
    }
    missing
}

#[test]
fn every_test_that_tests_readme_cites_exists() {
    let (tree, table) = (files(""), text("tests/README.md"));
    let missing: Vec<String> = cells(&table).flat_map(|cell| missing_tests(&cell, &tree)).collect();
    assert!(missing.is_empty(), "tests/README.md cites tests that do not exist:\n{}", missing.join("\n"));
    assert_eq!(missing_tests(&["", "readable.rs", " no_such_test…"], &tree), ["no_such_test…"]);
    assert_eq!(missing_tests(&["", "z99-…", ""], &tree), ["z99-…"]);
}

/// The names that follow "mutant" or "fate" in a document: a list with commas, or two with "and".
fn planted(document: &str) -> BTreeSet<String> {
    let document = document.replace(" and ", ", ");
    let words: Vec<&str> = document.split_whitespace().collect();
    let mut found = BTreeSet::new();
    for (at, _) in
        words.iter().enumerate().filter(|(_, word)| ["mutant", "mutants", "fate", "fates"].contains(word))
    {
        for name in words[at + 1..].iter().map(|word| word.trim_start_matches('`')) {
            if !name.starts_with(char::is_uppercase) {
                break;
            }
            found.insert(name.trim_matches(|c: char| !c.is_alphanumeric()).to_owned());
            if !name.ends_with(',') {
                break;
            }
        }
    }
    found
}

#[test]
fn every_planted_fault_and_fate_that_a_document_cites_exists() {
    let code: String =
        ["src/rounds", "tests/sim"].iter().flat_map(|dir| files(dir)).map(|path| text(&path)).collect();
    let words: BTreeSet<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    for document in ["ARCHITECTURE.md", "tests/README.md"] {
        let cited = planted(&text(document));
        let missing: Vec<_> = cited.iter().filter(|name| !words.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "{document} cites planted faults that do not exist: {missing:?}");
        assert!(cited.len() > 20, "only {} are found in {document}", cited.len());
    }
}

/// Units that have no crate of their own: modules of the root package.
const MODULES: [&str; 3] = ["config", "logging", "host"];

/// The table of units in ARCHITECTURE.md: each unit with those that it may use.
fn units() -> Vec<(String, BTreeSet<String>)> {
    let document = text("ARCHITECTURE.md");
    let rows = document.lines().skip_while(|line| *line != "| unit | what it is | may use |").skip(2);
    let rows = rows.take_while(|line| line.starts_with('|') && !line.contains("the rows above"));
    rows.flat_map(|row| {
        let uses = row.rsplit('|').nth(1).expect("a last cell").split(',');
        let uses: BTreeSet<String> = uses
            .map(|unit| unit.split('(').next().unwrap_or_default().trim().to_owned())
            .filter(|unit| unit != "nothing")
            .collect();
        let names = row.split('|').nth(1).expect("a first cell");
        quoted(names).map(|name| (name.to_owned(), uses.clone())).collect::<Vec<_>>()
    })
    .collect()
}

/// The units that a crate depends on by its manifest, or that the sources of a module name.
fn used(unit: &str) -> BTreeSet<String> {
    let is_of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let until = |rest: &str| rest.split(|c| !is_of_name(c)).next().unwrap_or_default().to_owned();
    if !MODULES.contains(&unit) {
        let manifest = text(&format!("src/{unit}/Cargo.toml"));
        let list = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
        let list = list.split("\n[").next().unwrap_or_default();
        return list.lines().filter_map(|line| line.strip_prefix("hither-")).map(until).collect();
    }
    let code: String = sources()
        .iter()
        .filter(|path| path.starts_with(&format!("src/{unit}/")))
        .map(|path| text(path))
        .collect();
    let mut used: BTreeSet<String> =
        ["hither_", "crate::"].iter().flat_map(|prefix| code.split(prefix).skip(1)).map(until).collect();
    let is_unit = |name: &str| top().join("src").join(name).is_dir();
    used.retain(|name| name != unit && is_unit(name));
    used
}

#[test]
fn units_use_those_that_architecture_says() {
    let units = units();
    for (unit, may_use) in &units {
        assert_eq!(&used(unit), may_use, "what {unit} uses (left) is not what ARCHITECTURE.md says (right)");
    }
    let crates = files("src").into_iter().filter(|path| path.ends_with("/Cargo.toml")).count();
    assert_eq!(units.len(), crates + MODULES.len(), "ARCHITECTURE.md has a row for each crate and module");
}
