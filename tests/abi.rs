//! The binary interfaces that other programs rely on, compared with committed lists in
//! `tests/abi/`: the symbols of both libraries, the structures and constants of `include/hither.h`,
//! and the table's layout.
//!
//! A difference fails the test and says what to do if the change is wanted. The lists are for
//! 64-bit little-endian machines.
#![cfg(all(target_pointer_width = "64", target_endian = "little"))]

#[path = "abi/header.rs"]
mod header;
mod support;
#[path = "abi/table.rs"]
mod table;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{libraries, skip};

/// The environment variable that makes the tests rewrite the lists instead of comparing them.
const RENEW: &str = "HITHER_RENEW_ABI";

/// Compares `found` with the committed list. `wanted_change` says which version a wanted change has
/// to raise.
fn compare(list: &str, found: &str, wanted_change: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/abi").join(list);
    if std::env::var_os(RENEW).is_some() {
        std::fs::write(&path, found).expect("the lists can be written");
        return;
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    if known == found {
        return;
    }
    let mut difference = String::new();
    for (sign, from, other) in [('-', &known[..], found), ('+', found, &known[..])] {
        for line in from.lines().filter(|line| !other.lines().any(|o| o == *line)) {
            let _ = writeln!(difference, "{sign}{line}");
        }
    }
    panic!(
        "tests/abi/{list} differs from what was built:\n{difference}\n\
         Programs of others rely on this. If the change is not wanted, undo it.\n\
         If it is wanted: {wanted_change}\n\
         Then renew the lists: {RENEW}=1 cargo test --test abi\n\
         and commit them with the change."
    );
}

#[test]
fn the_libraries_export_the_symbols_of_the_list() {
    let tool = Command::new("readelf").arg("--version").output();
    if !tool.is_ok_and(|output| output.status.success()) {
        return skip("the_libraries_export_the_symbols_of_the_list", "readelf is not installed");
    }
    let mut found = String::new();
    for library in ["libhither.so.1", "libnss_hither.so.2"] {
        let read = |argument: &str| {
            let path = libraries().join(library);
            let output = Command::new("readelf").args(["-W", argument]).arg(path).output().expect("readelf");
            String::from_utf8(output.stdout).expect("UTF-8")
        };
        let dynamic = read("--dynamic");
        let soname = dynamic.lines().find_map(|line| line.split("soname: [").nth(1));
        let _ = writeln!(found, "{library} soname {}", soname.expect("it has one").trim_end_matches(']'));
        // Type and binding, then the name, with its version where it has one.
        let table = read("--dyn-syms");
        let columns = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut exported: Vec<String> = columns
            .filter(|column| column.len() == 8 && column[4] == "GLOBAL" && column[6] != "UND")
            .map(|column| format!("{library} {} {}", column[3], column[7]))
            .collect();
        exported.sort();
        exported.iter().for_each(|line| {
            let _ = writeln!(found, "{line}");
        });
    }
    compare(
        "symbols.txt",
        &found,
        "a new function only needs its declaration in include/hither.h and its description in man/libhither.3. A function \
         that goes or takes other arguments breaks programs: raise the soname in src/capi/build.rs and in the Makefile \
         (libhither.so.1) and HITHER_ABI in include/hither.h and src/capi/abi.rs. The functions of libnss_hither.so.2 are \
         glibc's interface and only follow glibc.",
    );
}

#[test]
fn the_header_file_has_the_structures_and_constants_of_the_list() {
    let Some(found) = header::described() else { return };
    compare(
        "header.txt",
        &found,
        "a new constant needs nothing else. A structure whose size or offsets change breaks programs: raise HITHER_ABI in \
         include/hither.h and src/capi/abi.rs, and the soname in src/capi/build.rs and in the Makefile (libhither.so.1).",
    );
}

#[test]
fn the_table_has_the_layout_of_the_list() {
    compare(
        "table.txt",
        &table::described(),
        "raise layout::ABI in src/table/layout.rs: the minor version if readers of today can go on without knowing the change \
         (a word that was unused), else the major version, at which they stop reading. Describe the change in \
         man/hither-table.5 and in tests/native/reader.py. A new counter, added last, needs no new version.",
    );
}
