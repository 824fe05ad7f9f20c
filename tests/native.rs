//! libnss_hither and libhither as programs meet them: the real getent, getaddrinfo in programs of others, C under sanitizers, Python.
//!
//! What needs root (a private /etc/nsswitch.conf, a chroot, a time namespace) or a tool that is missing says SKIPPED and why.
#![allow(clippy::print_stdout)]

mod support;

use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::{Owner, flags};
use hither_wire::message::Section;
use hither_wire::name::Name;
use hither_wire::query::Query;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use support::{Daemon, PATIENCE, Upstream, answer, compile, compose, directory, libraries};

/// Past the test harness, which keeps what a passing test prints.
fn skipped(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}: {why}");
}

fn has(tool: &str, test: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        skipped(test, &format!("{tool} is not installed"));
    }
    found
}

fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skipped(test, "needs root for namespaces of its own");
    }
    root
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A command that finds our libraries and reads our daemon's table.
fn command(daemon: &Daemon, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", libraries()).env("HITHER_RUNTIME_DIR", daemon.dir.join("run"));
    command
}

fn getent(daemon: &Daemon, args: &[&str]) -> (Option<i32>, Vec<String>) {
    let output = command(daemon, "getent").args(["-s", "hosts:hither"]).args(args).output().expect("getent");
    (output.status.code(), text(&output).lines().map(str::to_owned).collect())
}

fn addresses(lines: &[String]) -> Vec<&str> {
    let mut all: Vec<&str> = lines
        .iter()
        .filter(|l| !l.contains("DGRAM") && !l.contains("RAW"))
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    all.dedup();
    all
}

/// One upstream for all names of these tests.
fn upstream() -> Upstream {
    Upstream::start(|query, tcp| {
        let read = Query::read(query).expect("the daemon's own");
        let name = read.name_lower().to_string();
        let a = read.qtype() == Rtype::A;
        if name == "silent.example." {
            return Vec::new();
        }
        let reply = match name.as_str() {
            "none.example." => compose(query, Rcode::NXDOMAIN, 0, soa),
            "v4.example." | "last.example." | "a100.example." | "a255.example." if !a => {
                compose(query, Rcode::NOERROR, 0, soa)
            }
            "alias.example." => compose(query, Rcode::NOERROR, 0, |composer| {
                let target = |text: &str| text.parse::<Name>().expect("a name");
                let (middle, last) = (target("middle.example"), target("last.example"));
                let cname = Rtype(5);
                assert!(composer.record(Section::Answer, Owner::At(12), cname, 60, middle.as_wire()));
                assert!(composer.record(
                    Section::Answer,
                    Owner::Wire(middle.as_wire()),
                    cname,
                    60,
                    last.as_wire()
                ));
                if a {
                    assert!(composer.record(
                        Section::Answer,
                        Owner::Wire(last.as_wire()),
                        Rtype::A,
                        60,
                        &[198, 18, 0, 9]
                    ));
                }
            }),
            "web.example." if a => compose(query, Rcode::NOERROR, 0, |composer| {
                assert!(composer.record(Section::Answer, Owner::At(12), Rtype::A, 60, &[127, 0, 0, 1]));
            }),
            "a100.example." | "a255.example." if a && !tcp => {
                compose(query, Rcode::NOERROR, flags::TC, |_| {})
            }
            "a100.example." if a => answer(query, &(1..=100).collect::<Vec<u8>>(), 600),
            "a255.example." if a => answer(query, &(1..=255).collect::<Vec<u8>>(), 600),
            "short.example." if a => answer(query, &[7], 5),
            "many.example." if a => answer(query, &(1..=40).collect::<Vec<u8>>(), 600),
            "broken.example." => compose(query, Rcode::SERVFAIL, 0, |_| {}),
            _ if a => answer(query, &[3, 1, 2], 600),
            _ => compose(query, Rcode::NOERROR, 0, |composer| {
                let mut octets = [0; 16];
                octets[..2].copy_from_slice(&[0x20, 0x01]);
                octets[15] = 5;
                assert!(composer.record(Section::Answer, Owner::At(12), Rtype::AAAA, 600, &octets));
            }),
        };
        vec![(0, reply)]
    })
}

fn soa(composer: &mut hither_wire::compose::Composer<'_>) {
    let zone: Name = "example".parse().expect("a name");
    let rdata = [zone.as_wire(), zone.as_wire(), &[0; 16], &300_u32.to_be_bytes()].concat();
    assert!(composer.record(Section::Authority, Owner::Wire(zone.as_wire()), Rtype(6), 300, &rdata));
}

#[test]
fn the_module_is_small_and_needs_libc_alone() {
    let module = libraries().join("libnss_hither.so.2");
    let size = std::fs::metadata(&module).expect("built").len();
    println!("libnss_hither.so.2: {size} octets");
    assert!(size <= 40 * 1024, "{size}");
    if !has("readelf", "the_module_is_small_and_needs_libc_alone") {
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

#[test]
fn getent_reads_the_daemons_answers_in_its_order() {
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    // Nobody has asked yet: the module has the daemon find it out.
    let (status, lines) = getent(&daemon, &["ahostsv4", "www.example"]);
    assert_eq!((status, addresses(&lines)), (Some(0), vec!["198.18.0.3", "198.18.0.1", "198.18.0.2"]));
    let asked = upstream.count();
    let (_, lines) = getent(&daemon, &["ahosts", "www.EXAMPLE."]);
    assert!(
        lines.iter().any(|l| l.starts_with("2001::5 ")) && lines.iter().any(|l| l.starts_with("198.18.0.3 ")),
        "{lines:?}"
    );
    let once = upstream.count();
    assert!(once <= asked + 1, "A came from the table");
    let (_, lines) = getent(&daemon, &["hosts", "www.example"]);
    assert!(lines.iter().all(|line| line.contains("www.example")), "{lines:?}");
    assert_eq!(upstream.count(), once, "everything came from the table");
    // Canonical name and aliases.
    let (_, lines) = getent(&daemon, &["ahostsv4", "alias.example"]);
    assert!(lines[0].starts_with("198.18.0.9 ") && lines[0].contains("last.example"), "{lines:?}");
    let (_, lines) = getent(&daemon, &["hosts", "alias.example"]);
    let words: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(words, ["198.18.0.9", "last.example", "alias.example", "middle.example"]);
    // An answer that needs the larger room, and more than getaddrinfo's first buffer.
    let (status, lines) = getent(&daemon, &["ahostsv4", "many.example"]);
    assert_eq!((status, addresses(&lines).len()), (Some(0), 40));
    assert_eq!(daemon.json(&["stats"])["malformed_queries"], 0);
}

/// As glibc calls the module: with the thread's own errno as the place for the error.
#[test]
fn reasons_reach_who_asks_whatever_the_size_of_the_answer() {
    let test = "reasons_reach_who_asks_whatever_the_size_of_the_answer";
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

#[test]
fn what_does_not_exist_is_denied_at_once_and_what_is_not_ours_passes() {
    let upstream = upstream();
    let mut daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    assert_eq!(getent(&daemon, &["hosts", "none.example"]).0, Some(2));
    let asked = upstream.count();
    assert_eq!(getent(&daemon, &["ahosts", "none.example"]).0, Some(2));
    assert_eq!(upstream.count(), asked, "the denial came from the table");
    // getent tells the sources apart: with [NOTFOUND=return] a denial ends the search, with a source that passes it goes on.
    let after = |source: &str, name: &str| {
        let output = command(&daemon, "getent")
            .args(["-s", &format!("hosts:hither {source} files"), "hosts", name])
            .output()
            .expect("getent");
        output.status.code()
    };
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    if hosts.lines().any(|line| line.split_whitespace().skip(1).any(|name| name == "localhost")) {
        assert_eq!(after("[NOTFOUND=return]", "localhost"), Some(0), "localhost is for the next source");
    } else {
        skipped("one check of what_does_not_exist", "/etc/hosts has no localhost");
    }
    assert_eq!(after("[NOTFOUND=return]", "none.example"), Some(2));
    assert_eq!(getent(&daemon, &["hosts", "single"]).0, Some(2), "no dot, and no list completes it");
    assert_eq!(getent(&daemon, &["hosts", "broken.example"]).0, Some(2));
    let (_, mapped) = getent(&daemon, &["ahostsv6", "v4.example"]);
    assert!(
        mapped.iter().all(|line| line.starts_with("::ffff:")),
        "no IPv6, so getent shows IPv4 mapped: {mapped:?}"
    );
    assert_eq!(getent(&daemon, &["ahosts", "v4.example"]).0, Some(0));
    let long = format!("{}.example", "a".repeat(64));
    assert_eq!(getent(&daemon, &["hosts", &long]).0, Some(2));
    // A daemon that hangs: what it published is found, and for the rest the next source has its turn.
    daemon.ask("www.example");
    daemon.signal(nix::sys::signal::Signal::SIGSTOP);
    assert_eq!(getent(&daemon, &["ahostsv4", "www.example"]).0, Some(0));
    assert_eq!(getent(&daemon, &["ahostsv4", "unknown.example"]).0, Some(2));
    // Nobody answers any more: at once, without the patience.
    let dir = daemon.dir.clone();
    daemon.process.kill().expect("it runs");
    daemon.process.wait().expect("a child");
    let began = Instant::now();
    let gone = Command::new("getent")
        .env("LD_LIBRARY_PATH", libraries())
        .env("HITHER_RUNTIME_DIR", dir.join("run"))
        .args(["-s", "hosts:hither", "hosts", "unknown.example"])
        .status();
    assert_eq!(gone.expect("getent").code(), Some(2));
    assert!(began.elapsed() < Duration::from_secs(1), "a refused datagram is no reason to wait");
    drop(daemon);
}

#[test]
fn a_daemon_that_hangs_is_waited_for_once_and_a_slow_one_is_asked_again() {
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    daemon.ask("www.example");
    // Slow, since its upstream is: what comes after is asked all the same.
    let (_, lines) = getent(&daemon, &["ahostsv4", "silent.example", "other.example"]);
    assert_eq!(addresses(&lines), ["198.18.0.3", "198.18.0.1", "198.18.0.2"], "{lines:?}");
    daemon.signal(nix::sys::signal::Signal::SIGSTOP);
    let began = Instant::now();
    let names = ["a.example", "b.example", "www.example", "c.example", "d.example", "e.example", "f.example"];
    let (_, lines) = getent(&daemon, &[&["ahostsv4"], &names[..]].concat());
    let took = began.elapsed();
    println!("six names that a stopped daemon does not answer: {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(addresses(&lines), ["198.18.0.3", "198.18.0.1", "198.18.0.2"], "what is known is found");
    let began = Instant::now();
    assert_eq!(getent(&daemon, &["hosts", "uncached.example"]).0, Some(2));
    println!("getent hosts: {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    daemon.signal(nix::sys::signal::Signal::SIGCONT);
    assert_eq!(getent(&daemon, &["ahostsv4", "a.example"]).0, Some(0), "another process asks at once");
}

/// Runs a script in a mount namespace of its own, where hither is the first source of names.
fn in_namespace(daemon: &Daemon, script: &str, args: &[&str]) -> Output {
    let nsswitch = daemon.dir.join("nsswitch.conf");
    std::fs::write(&nsswitch, "hosts: hither files\npasswd: files\ngroup: files\n").expect("writable");
    let script = format!("set -e; mount --bind {} /etc/nsswitch.conf; {script}", nsswitch.display());
    command(daemon, "unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"])
        .args(args)
        .output()
        .expect("unshare runs")
}

#[test]
fn programs_of_others_find_names_through_the_module() {
    let test = "programs_of_others_find_names_through_the_module";
    if !is_root(test) || !has("unshare", test) || !has("gcc", test) {
        return;
    }
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    let program = compile(&daemon.dir, "tests/native/threads.c", &["-Wl,--as-needed"]);
    let output = in_namespace(
        &daemon,
        "exec \"$@\"",
        &[program.to_str().expect("UTF-8"), "www.example", "198.18.0.3", "198.18.0.1", "198.18.0.2"],
    );
    assert!(output.status.success(), "{output:?}");
    if has("python3", test) {
        let ask = "import socket; print(*sorted({a[4][0] for a in socket.getaddrinfo('www.example', 80)}))";
        let output = in_namespace(&daemon, "exec \"$@\"", &["python3", "-c", ask]);
        assert_eq!(text(&output).trim(), "198.18.0.1 198.18.0.2 198.18.0.3 2001::5", "{output:?}");
    }
    if has("curl", test) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("curl comes");
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\nhither\n").expect("it reads");
        });
        let url = format!("http://web.example:{port}/");
        let output =
            in_namespace(&daemon, "exec \"$@\"", &["curl", "-sS4", "--noproxy", "*", "-m", "10", &url]);
        assert_eq!(text(&output), "hither\n", "{output:?}");
        server.join().expect("no panic");
    }
}

#[test]
fn in_a_chroot_the_table_is_read_where_it_can_be_seen() {
    let test = "in_a_chroot_the_table_is_read_where_it_can_be_seen";
    if !is_root(test) || !has("unshare", test) {
        return;
    }
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    daemon.ask("www.example");
    let root = daemon.dir.join("root");
    std::fs::create_dir_all(&root).expect("a directory");
    let look = |hide: &str| {
        let script = format!(
            "mount --rbind / {root}; {hide} exec chroot {root} getent -s 'hosts:hither' ahostsv4 www.example",
            root = root.display()
        );
        in_namespace(&daemon, &script, &[])
    };
    let seen = look("");
    assert!(text(&seen).contains("198.18.0.3"), "{seen:?}");
    let hidden =
        look(&format!("mount -t tmpfs none {}{};", root.display(), daemon.dir.join("run").display()));
    assert_eq!(hidden.status.code(), Some(2), "no table there: the next source is asked; {hidden:?}");
}

#[test]
fn in_another_time_namespace_no_table_is_read() {
    let test = "in_another_time_namespace_no_table_is_read";
    if !is_root(test) || !has("unshare", test) || !has("gcc", test) {
        return;
    }
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[sort]\nenabled = false\n");
    daemon.ask("www.example");
    let program = compile(&daemon.dir, "src/capi/examples/lookup.c", &[]);
    let shifted = command(&daemon, "unshare")
        .args(["--time", "--boottime", "100000", "--fork"])
        .args([program.to_str().expect("UTF-8"), "www.example"])
        .output()
        .expect("unshare runs");
    if String::from_utf8_lossy(&shifted.stderr).contains("unshare:") {
        skipped(test, String::from_utf8_lossy(&shifted.stderr).trim());
        return;
    }
    assert!(String::from_utf8_lossy(&shifted.stderr).contains("time namespace"), "{shifted:?}");
    let getent = command(&daemon, "unshare")
        .args([
            "--time",
            "--boottime",
            "100000",
            "--fork",
            "getent",
            "-s",
            "hosts:hither",
            "hosts",
            "www.example",
        ])
        .output()
        .expect("unshare runs");
    assert_eq!(getent.status.code(), Some(2), "the next source is asked");
}

#[test]
fn the_c_library_holds_under_sanitizers_valgrind_and_from_python() {
    let test = "the_c_library_holds_under_sanitizers_valgrind_and_from_python";
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
    // The example, found the way pkg-config says.
    if has("pkg-config", test) {
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
        let script = "gcc \"$1/src/capi/examples/lookup.c\" $(pkg-config --cflags --libs hither) -o \"$2/lookup\" && \"$2/lookup\" www.example";
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
        assert_eq!(text(&output), "198.18.0.3\n198.18.0.1\n198.18.0.2\n2001::5\n", "{output:?}");
    }
}

/// What hither-table(5) says is enough to write a reader: this one knows nothing else.
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
    assert_eq!(find("www.example").0, Some(1), "nobody has asked yet");
    for length in [3, 4, 6, 8, 14, 15, 16, 30, 46, 47, 62, 63, 64, 78, 79, 80, 81, 120, 160, 200, 253] {
        // A short label, then some of at most 50 octets, that many octets of text in all: single labels are not forwarded.
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
fn a_table_that_is_not_the_daemons_is_not_read() {
    let test = "a_table_that_is_not_the_daemons_is_not_read";
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
    assert!(look("a copy of the same owner").contains("not every family"), "A alone was asked for");
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
    assert!(look("a foreign ABI").contains("not a table"));
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
    if is_root("one check of a_table_that_is_not_the_daemons_is_not_read") {
        put(&good, 0o644);
        std::os::unix::fs::chown(&file, Some(65_534), None).expect("root");
        assert!(look("another owner").contains("could have written"));
    }
    std::fs::remove_dir_all(&dir).expect("removable");
}

#[test]
fn a_reader_that_still_wants_an_entry_keeps_it_fresh() {
    let test = "a_reader_that_still_wants_an_entry_keeps_it_fresh";
    if !has("gcc", test) {
        return;
    }
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[cache]\nprefetch = false\n[sort]\nenabled = false\n");
    daemon.ask("short.example");
    assert_eq!(upstream.count(), 1);
    let version = daemon.json(&["lookup", "short.example"])["version"].as_u64().expect("a version");
    // Nobody asks the daemon; programs only read memory, and say so in the last second of the five. A machine that stood
    // still for that second proves nothing: then the entry is over, the module asks, and another five begin.
    let table = hither_table::Reader::open(&daemon.dir.join("run")).expect("readable");
    let (mut began, mut asked, mut looked) = (Instant::now(), 1, Instant::now());
    let mut gap = Duration::ZERO;
    let deadline = Instant::now() + 3 * PATIENCE;
    while daemon.json(&["stats"])["hints"] == 0 {
        assert!(Instant::now() < deadline, "the hint is never heard: {}", daemon.json(&["stats"]));
        let (status, _) = getent(&daemon, &["ahostsv4", "short.example"]);
        assert_eq!(status, Some(0), "it never was missing");
        gap = gap.max(looked.elapsed());
        looked = Instant::now();
        // The counters are shown once a second or so.
        let shown = Instant::now() + Duration::from_millis(2500);
        while upstream.count() > asked && daemon.json(&["stats"])["hints"] == 0 && Instant::now() < shown {
            table.follow().wait(Duration::from_millis(50));
        }
        if upstream.count() > asked && daemon.json(&["stats"])["hints"] == 0 {
            assert!(gap > Duration::from_millis(800), "asked anew without a hint, looked at every {gap:?}");
            (began, asked, gap) = (looked, upstream.count(), Duration::ZERO);
        }
        // Until something is published, but not for long: only looking makes it happen.
        table.follow().wait(Duration::from_millis(50));
    }
    let last = began.elapsed().as_millis();
    assert!(last >= 3_500, "a hint after {last} ms, when it still had most of its time");
    daemon.until("the entry is renewed", |d| {
        d.json(&["lookup", "short.example"])["version"].as_u64() > Some(version)
    });
    daemon.until("it was refreshed once", |d| d.json(&["stats"])["prefetches"] == 1);
    // What is no hint is counted and does no harm.
    let socket = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    for junk in [&[][..], &[1, 9, 0], &[1, 1, 64], &[7; 600]] {
        socket.send_to(junk, daemon.dir.join("run/hint")).expect("anybody may");
    }
    daemon.until("junk is counted", |d| d.json(&["stats"])["hints_dropped"] == 4);
}
