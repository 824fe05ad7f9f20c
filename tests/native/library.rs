//! The libraries: size and symbols, C programs under sanitizers, the examples, tables that are not
//! to be trusted.

use crate::support::{self, Daemon, compile, directory, libraries};
use crate::{command, has, is_root, text, upstream};
use hither_wire::codes::Rtype;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

#[test]
fn the_module_is_small_and_needs_only_libc() {
    let module = libraries().join("libnss_hither.so.2");
    let size = std::fs::metadata(&module).expect("built").len();
    println!("libnss_hither.so.2: {size} octets");
    assert!(size <= 40 * 1024, "{size}");
    if !has("readelf", "the_module_is_small_and_needs_only_libc") {
        return;
    }
    for (library, name, prefix) in [
        ("libnss_hither.so.2", "libnss_hither.so.2", "_nss_hither_"),
        ("libhither.so.1", "libhither.so.1", "hither_"),
    ] {
        let path = libraries().join(library);
        let read =
            |args: &[&str]| text(&Command::new("readelf").args(args).arg(&path).output().expect("readelf"));
        let dynamic = read(&["-d"]);
        let needed: Vec<&str> = dynamic.lines().filter(|line| line.contains("(NEEDED)")).collect();
        assert!(needed.len() == 1 && needed[0].contains("[libc.so.6]"), "{needed:?}");
        assert!(dynamic.contains(&format!("soname: [{name}]")) && dynamic.contains("NODELETE"), "{dynamic}");
        assert!(!read(&["-lW"]).contains(" TLS "), "it has thread-local storage");
        let symbols = read(&["--dyn-syms", "-W"]);
        let exported = symbols.lines().filter(|l| l.contains(" GLOBAL ") && !l.contains(" UND "));
        let exported: Vec<&str> = exported.filter_map(|l| l.split_whitespace().last()).collect();
        assert!(exported.len() >= 4 && exported.iter().all(|name| name.starts_with(prefix)), "{exported:?}");
        assert!(!symbols.contains("malloc") && !symbols.contains("pthread"), "{symbols}");
    }
}

/// Calls the module as glibc does, with the thread's own errno as the place for the error.
#[test]
fn programs_get_the_reason_of_a_failure_for_answers_of_every_size() {
    let test = "programs_get_the_reason_of_a_failure_for_answers_of_every_size";
    if !has("gcc", test) {
        return;
    }
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    let program = compile(&daemon.dir, "tests/native/reasons.c", &["-Wno-deprecated-declarations"]);
    for (name, count) in
        [("v4.example", "3"), ("many.example", "40"), ("a100.example", "100"), ("a255.example", "255")]
    {
        let run = command(&daemon, program.to_str().expect("UTF-8")).args([name, count]).output();
        let output = run.expect("runs");
        assert!(output.status.success(), "{name}: {output:?}");
    }
}

/// The kernel may stop a thread anywhere. If it does so to the one that opens the table, the others
/// get their answers all the same.
#[test]
fn a_thread_that_is_stopped_while_it_opens_the_table_keeps_no_other_one_from_its_answer() {
    let test = "a_thread_that_is_stopped_while_it_opens_the_table_keeps_no_other_one_from_its_answer";
    if !has("gcc", test) {
        return;
    }
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    daemon.ask("www.example");
    let program = compile(&daemon.dir, "tests/native/stopped.c", &["-rdynamic", "-Wno-pedantic"]);
    let run = command(&daemon, program.to_str().expect("UTF-8")).args(["www.example", "198.18.0.3"]).output();
    let output = run.expect("runs");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_c_library_works_under_sanitizers_and_valgrind_and_the_examples_run() {
    let test = "the_c_library_works_under_sanitizers_and_valgrind_and_the_examples_run";
    if !has("gcc", test) {
        return;
    }
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    daemon.ask("many.example");
    daemon.ask("www.example");
    daemon.exchange(&support::ask_for("www.example", Rtype::AAAA, None, 9));
    let run = daemon.dir.join("run");
    let arguments = [run.to_str().expect("UTF-8"), "many.example", "40"];
    let plain = compile(&daemon.dir, "tests/native/edges.c", &[]);
    let output = command(&daemon, plain.to_str().expect("UTF-8")).args(arguments).output().expect("runs");
    assert!(output.status.success(), "{output:?}");
    let sanitized = compile(
        &daemon.dir,
        "tests/native/edges.c",
        &["-fsanitize=address,undefined", "-fno-sanitize-recover"],
    );
    let output = command(&daemon, sanitized.to_str().expect("UTF-8")).args(arguments).output().expect("runs");
    assert!(output.status.success(), "{output:?}");
    if has("valgrind", test) {
        let output = command(&daemon, "valgrind")
            .args(["-q", "--error-exitcode=9", "--leak-check=full"])
            .arg(&plain)
            .args(arguments)
            .output()
            .expect("runs");
        assert!(output.status.success(), "{output:?}");
    }
    // The example, compiled by its Makefile with the flags that pkg-config gives.
    if has("pkg-config", test) && has("make", test) {
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        let template = std::fs::read_to_string(top.join("include/hither.pc.in")).expect("there");
        let prefix = daemon.dir.join("usr");
        std::fs::create_dir_all(prefix.join("include")).expect("a directory");
        std::fs::copy(top.join("include/hither.h"), prefix.join("include/hither.h")).expect("there");
        let pc = template
            .replace("@PREFIX@", prefix.to_str().expect("UTF-8"))
            .replace("@LIBDIR@", libraries().to_str().expect("UTF-8"))
            .replace("@VERSION@", env!("CARGO_PKG_VERSION"));
        std::fs::write(daemon.dir.join("hither.pc"), pc).expect("writable");
        let script = "cp \"$1\"/src/capi/examples/*.c \"$1\"/src/capi/examples/Makefile \"$2\" && cd \"$2\" \
                      && make -s && ./lookup www.example";
        let output = command(&daemon, "sh")
            .env("PKG_CONFIG_PATH", &daemon.dir)
            .args(["-c", script, "sh"])
            .args([top, &daemon.dir])
            .output()
            .expect("runs");
        assert_eq!(text(&output), "198.18.0.3\n198.18.0.1\n198.18.0.2\n2001::5\n", "{output:?}");
    }
    if has("python3", test) {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/capi/examples/lookup.py");
        let output = command(&daemon, "python3").arg(example).arg("WWW.example").output().expect("runs");
        let expected = ["198.18.0.3", "198.18.0.1", "198.18.0.2", "2001::5"];
        let expected: String = expected.iter().map(|address| format!("{address} unknown 1\n")).collect();
        assert_eq!(text(&output), expected, "{output:?}");
    }
}

/// The reader was written from hither-table(5) alone.
#[test]
fn a_reader_written_from_the_manual_page_finds_names_of_every_length() {
    let test = "a_reader_written_from_the_manual_page_finds_names_of_every_length";
    if !has("python3", test) {
        return;
    }
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/native/reader.py");
    let find = |name: &str| {
        let table = daemon.dir.join("run/hosts");
        let output = Command::new("python3").arg(&reader).arg(table).arg(name).output().expect("runs");
        (output.status.code(), text(&output))
    };
    assert_eq!(find("www.example").0, Some(1), "the table is empty");
    for length in [3, 4, 6, 8, 14, 15, 16, 30, 46, 47, 62, 63, 64, 78, 79, 80, 81, 120, 160, 200, 253] {
        // Several labels of at most 50 octets, of `length` octets in all. Names of one label are
        // not forwarded.
        let dot = |n| n == 1 || n % 51 == 50 && n + 1 < length;
        let name: String = (0..length).map(|n| if dot(n) { '.' } else { 'x' }).collect();
        daemon.ask(&name);
        assert_eq!(
            find(&name),
            (Some(0), "198.18.0.3\n198.18.0.1\n198.18.0.2\n".to_owned()),
            "{length}: {name}"
        );
    }
    daemon.ask("www.example");
    daemon.exchange(&support::ask_for("www.example", Rtype::AAAA, None, 9));
    assert_eq!(find("WWW.Example.").1, "198.18.0.3\n198.18.0.1\n198.18.0.2\n2001::5\n");
}

#[test]
fn a_table_that_is_not_trusted_is_not_read() {
    let test = "a_table_that_is_not_trusted_is_not_read";
    if !has("gcc", test) {
        return;
    }
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    daemon.ask("www.example");
    let program = compile(&daemon.dir, "src/capi/examples/lookup.c", &[]);
    let good = std::fs::read(daemon.dir.join("run/hosts")).expect("readable");
    let dir = directory();
    let look = |what: &str| {
        let output = Command::new(&program)
            .env("LD_LIBRARY_PATH", libraries())
            .env("HITHER_RUNTIME_DIR", dir.join("run"))
            .arg("www.example")
            .output()
            .expect("runs");
        assert!(output.status.code().is_some(), "{what}: ended by a signal: {output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let file = dir.join("run/hosts");
    let put = |octets: &[u8], mode: u32| {
        std::fs::write(&file, octets).expect("writable");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("ours");
    };
    assert!(look("nothing").contains("there is no table"));
    put(&good, 0o644);
    assert!(look("a copy of the same owner").contains("not every family"), "only A is in the table");
    put(&good, 0o666);
    assert!(look("writable by all").contains("could have written"));
    std::fs::set_permissions(dir.join("run"), std::fs::Permissions::from_mode(0o777)).expect("ours");
    put(&good, 0o644);
    assert!(look("a directory writable by all").contains("could have written"));
    std::fs::set_permissions(dir.join("run"), std::fs::Permissions::from_mode(0o755)).expect("ours");
    for len in [0, 8, 4095, 4096, good.len() - 8] {
        put(&good[..len], 0o644);
        assert!(look("cut").contains("not a table"), "{len}");
    }
    let mut foreign = good.clone();
    foreign[12] += 1;
    put(&foreign, 0o644);
    assert!(look("another ABI").contains("not a table"));
    let hole = std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(&file).expect("ours");
    hole.set_len(good.len() as u64).expect("a hole");
    assert!(look("a hole").contains("not a table"));
    std::fs::remove_file(&file).expect("ours");
    std::os::unix::fs::symlink(daemon.dir.join("run/hosts"), &file).expect("ours");
    assert!(look("a link").contains("there is no table"));
    std::fs::remove_file(&file).expect("ours");
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::from_bits_truncate(0o644)).expect("a pipe");
    assert!(look("a pipe").contains("could have written"));
    std::fs::remove_file(&file).expect("ours");
    if is_root("one check of a_table_that_is_not_trusted_is_not_read") {
        put(&good, 0o644);
        std::os::unix::fs::chown(&file, Some(65_534), None).expect("root");
        assert!(look("another owner").contains("could have written"));
    }
    std::fs::remove_dir_all(&dir).expect("removable");
}
