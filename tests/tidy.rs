//! Rules that concern all sources of the programs and libraries, and that no single file shows.

use std::path::{Path, PathBuf};

/// Sources where an atomic may be incremented and decremented, and why it is not the length of a queue.
const COUNTED: [(&str, &str); 10] = [
    ("src/daemon/clients/workers.rs", "version: it only grows"),
    (
        "src/daemon/admin/answer_source.rs",
        "SEARCHES: decremented when a value is dropped, also if its thread panics",
    ),
    ("src/daemon/clients/tap.rs", "dropped: messages that the queue refused, which only grows"),
    ("src/daemon/insight/dnstap.rs", "the same, for those that no collector took"),
    ("src/daemon/demo/upstream.rs", "questions that came, which only grow"),
    ("src/native/", "users of a mapping, decremented on every path"),
    ("src/table/", "words of the shared table"),
    ("src/answers/", "words that one thread writes and others read"),
    ("src/client/", "users of a mapping"),
    ("src/wire/work.rs", "steps that tests count, which only grow"),
];

/// Every source file outside tests, with its path from the top.
fn sources() -> Vec<(String, String)> {
    let mut found = all_below("src");
    found.retain(|(path, _)| !is_test(path));
    assert!(found.len() > 150, "only {} sources are found", found.len());
    found
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("tests.rs")
}

fn all_below(dir: &str) -> Vec<(String, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut left, mut found) = (vec![top.join(dir)], Vec::new());
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("readable");
            left.extend(entries.map(|entry| entry.expect("readable").path()));
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            found.push((from(top, &path), text));
        }
    }
    found
}

fn from(top: &Path, path: &Path) -> String {
    path.strip_prefix(top).map(PathBuf::from).expect("below the top").display().to_string()
}

/// The statements of a source without comments and unit tests, each with its line number.
fn statements(text: &str) -> Vec<(usize, String)> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let (mut statements, mut open) = (Vec::new(), (0, String::new()));
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.split("//").next().unwrap_or_default();
        for part in code.split_inclusive([';', '{', '}']) {
            if open.1.trim().is_empty() {
                open = (number, String::new());
            }
            open.1 += part;
            open.1.push(' ');
            if part.ends_with([';', '{', '}']) {
                statements.push(std::mem::take(&mut open));
            }
        }
    }
    statements
}

/// Whether a statement sends to a queue and ignores the result.
fn looks_away(statement: &str) -> bool {
    let statement = statement.trim();
    let hands = statement.contains(".send(") || statement.contains(".try_send(");
    let away =
        statement.starts_with("let _ =") || statement.starts_with("drop(") || statement.contains(".ok();");
    hands && away
}

#[test]
fn every_failure_to_send_to_a_queue_is_handled() {
    let wrong: Vec<String> = sources()
        .iter()
        .flat_map(|(path, text)| statements(text).into_iter().map(move |(line, what)| (path, line, what)))
        .filter(|(_, _, what)| looks_away(what))
        .map(|(path, line, what)| format!("{path}:{line}: {}", what.trim()))
        .collect();
    assert!(
        wrong.is_empty(),
        "a client may wait for a message that a queue refused; handle the error, or use daemon/clients/handover.rs:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn no_counter_duplicates_the_length_of_a_queue() {
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|(path, _)| !COUNTED.iter().any(|(known, _)| path.starts_with(known)))
        .flat_map(|(path, text)| statements(text).into_iter().map(move |(line, what)| (path, line, what)))
        .filter(|(_, _, what)| what.contains(".fetch_add(") || what.contains(".fetch_sub("))
        .map(|(path, line, what)| format!("{path}:{line}: {}", what.trim()))
        .collect();
    assert!(
        wrong.is_empty(),
        "a separate count of a queue becomes wrong when the queue refuses a message; ask the queue, or explain in COUNTED:\n{}",
        wrong.join("\n")
    );
}

/// Whether a test makes a call that a signal may interrupt without a retry, or reports a skip by other
/// means than the helper.
fn lies_now_and_then(line: &str) -> bool {
    let receives = [".recv(&mut", ".recv_from(&mut", "stream.read(&mut"];
    let is_interrupted = receives.iter().any(|call| line.contains(call)) && !line.contains("retried(||");
    is_interrupted || line.contains("\"SKIPPED")
}

#[test]
fn tests_retry_what_a_signal_interrupts_and_skip_by_the_one_helper() {
    let wrong: Vec<String> = [all_below("tests"), all_below("src")]
        .concat()
        .iter()
        // The sockets of unit tests never block.
        .filter(|(path, _)| path.starts_with("tests/") || path.contains("/tests/"))
        .filter(|(path, _)| path != "tests/tidy.rs" && path != "tests/support/skip.rs")
        .flat_map(|(path, text)| (1..).zip(text.lines()).map(move |(number, line)| (path, number, line)))
        .filter(|(_, _, line)| lies_now_and_then(line))
        .map(|(path, number, line)| format!("{path}:{number}: {}", line.trim()))
        .collect();
    assert!(wrong.is_empty(), "use retried() and skip() of tests/support:\n{}", wrong.join("\n"));
}

#[test]
fn the_checks_find_planted_violations() {
    for away in [
        "let _ = handed.try_send(Handed::Miss(Box::new(miss)));",
        "let _ = sender.send(read);",
        "drop(sender.send(Ok(())));",
        "self.orders.send(paths).ok();",
    ] {
        assert!(looks_away(away), "{away}");
    }
    for seen in
        ["if sender.send(made).is_ok() {", "let taken = queue.try_send(miss).is_ok();", "tell.send(x)"]
    {
        assert!(!looks_away(seen), "{seen}");
    }
    assert!(lies_now_and_then("let len = socket.recv(&mut buffer)?;"));
    assert!(lies_now_and_then("println!(\"SKIPPED x\");") && !lies_now_and_then("skip(x, y);"));
    assert!(!lies_now_and_then("let len = retried(|| socket.recv(&mut buffer))?;"));
    let text = "fn f() {\n    // let _ = a.send(1);\n    let _ =\n        a.send(1);\n}\n";
    let found: Vec<usize> =
        statements(text).iter().filter(|(_, what)| looks_away(what)).map(|(line, _)| *line).collect();
    assert_eq!(found, [3], "found across lines, and not in comments");
}
