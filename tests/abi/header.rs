//! The sizes, offsets and constants that the C compiler computes from `include/hither.h`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Sizes and offsets of all structures, values of all constants, and the prototypes, one per line;
/// `None` without a C compiler.
pub fn described() -> Option<String> {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let header = without_comments(&std::fs::read_to_string(include.join("hither.h")).expect("readable"));
    let mut program = "#include <hither.h>\n#include <stdio.h>\nint main(void) {\n".to_owned();
    for (structure, fields) in structures(&header) {
        print_value(&mut program, &format!("sizeof({structure})"));
        print_value(&mut program, &format!("_Alignof({structure})"));
        for field in fields {
            print_value(&mut program, &format!("offsetof({structure}, {field})"));
            print_value(&mut program, &format!("sizeof((({structure} *)0)->{field})"));
        }
    }
    for constant in constants(&header) {
        print_value(&mut program, &constant);
    }
    program.push_str("}\n");
    let output = run(&include, &program)?;
    Some(prototypes(&header).into_iter().fold(output, |all, prototype| all + &prototype + "\n"))
}

fn print_value(program: &mut String, expression: &str) {
    let _ =
        writeln!(program, "  printf(\"%s = %llu\\n\", \"{expression}\", (unsigned long long){expression});");
}

fn run(include: &Path, program: &str) -> Option<String> {
    let dir = crate::support::directory();
    let (source, binary) = (dir.join("header.c"), dir.join("header"));
    std::fs::write(&source, program).expect("writable");
    let compiler = Command::new("cc").arg("-I").arg(include).arg(&source).arg("-o").arg(&binary).output();
    let Ok(compiled) = compiler else {
        crate::support::skip("the C header in its list", "there is no C compiler");
        return None;
    };
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let output = Command::new(&binary).output().expect("it runs");
    std::fs::remove_dir_all(&dir).expect("removable");
    Some(String::from_utf8(output.stdout).expect("ASCII"))
}

fn without_comments(text: &str) -> String {
    let mut pieces = text.split("/*");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |all, piece| all + piece.split_once("*/").map_or("", |(_, code)| code))
}

/// Each `typedef struct` with the names of its fields.
fn structures(header: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for piece in header.split("typedef struct ").skip(1) {
        let (name, rest) = piece.split_once('{').expect("a body");
        let (body, _) = rest.split_once('}').expect("its end");
        let names = body.split(';').flat_map(|declaration| declaration.split(','));
        let name_of = |declaration: &str| {
            let name = declaration.trim().rsplit([' ', '*']).next().unwrap_or_default();
            name.split('[').next().unwrap_or_default().to_owned()
        };
        let fields = names.map(name_of).filter(|name| !name.is_empty()).collect();
        found.push((name.trim().to_owned(), fields));
    }
    assert!(found.len() >= 4, "{found:?}");
    found
}

/// The names of enumerators and of macros with a value.
fn constants(header: &str) -> Vec<String> {
    let bodies =
        header.split("enum {").skip(1).filter_map(|piece| piece.split_once('}')).map(|(body, _)| body);
    let enumerators = bodies.flat_map(|body| body.split(','));
    let enumerators = enumerators.filter_map(|one| one.split('=').next()).map(str::trim);
    let macros =
        header.lines().filter_map(|line| line.strip_prefix("#define ")?.split_once(' ')).map(|one| one.0);
    let all: Vec<String> =
        enumerators.chain(macros).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    assert!(all.len() >= 20, "{all:?}");
    all
}

/// The declarations of functions, each on one line.
fn prototypes(header: &str) -> Vec<String> {
    let joined = header.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(" ");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let all: Vec<String> = joined
        .split([';', '}', '{'])
        .map(words)
        .filter(|one| one.ends_with(')') && one.contains("hither_"))
        .collect();
    assert!(all.len() >= 5, "{all:?}");
    all
}
