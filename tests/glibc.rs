//! The NSS module compared with glibc's own DNS module: the same results for odd names and for
//! names that a search list completes; and the module in other network namespaces than the
//! daemon's; and what getaddrinfo makes of the module's order.
//!
//! Needs root, namespaces, ip(8) and gcc, and prints SKIPPED without them.

#[path = "glibc/order.rs"]
mod order;
mod support;

use hither_client::{Answer, Family, OpenError, Snapshot, Table, Wanted};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::{Composer, Owner};
use hither_wire::message::Section;
use hither_wire::name::Name;
use hither_wire::query::Query;
use nix::sched::{CloneFlags, unshare};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::{Daemon, Upstream, alone, answer, compile, compose, directory, libraries, sh};

fn soa(composer: &mut Composer<'_>) {
    let rdata = [&[0, 0], &[0; 16][..], &300_u32.to_be_bytes()].concat();
    assert!(composer.record(Section::Authority, Owner::Wire(&[0]), Rtype(6), 300, &rdata));
}

/// A CNAME, and for a query for A the address of its target if it `leads_on`.
fn alias(query: &[u8], to: &str, leads_on: bool) -> Vec<u8> {
    let a = Query::read(query).expect("the daemon's own").qtype() == Rtype::A;
    let target: Name = to.parse().expect("a name");
    compose(query, Rcode::NOERROR, 0, |composer| {
        assert!(composer.record(Section::Answer, Owner::At(12), Rtype(5), 60, target.as_wire()));
        if leads_on && a {
            let owner = Owner::Wire(target.as_wire());
            assert!(composer.record(Section::Answer, owner, Rtype::A, 60, &[198, 18, 0, 5]));
        }
        if !leads_on || !a {
            soa(composer);
        }
    })
}

/// An upstream with some names, most of them odd. `*.any.example` has an address for every name.
fn upstream() -> Upstream {
    Upstream::start(|query, _| {
        let read = Query::read(query).expect("the daemon's own");
        let name = read.name_lower().to_string();
        let a = read.qtype() == Rtype::A;
        let reply = match name.trim_end_matches('.') {
            "star.example" => alias(query, "*.any.example", true),
            "shell.example" => alias(query, "$(reboot).any.example", true),
            "dash.example" => alias(query, "-oProxyCommand.any.example", true),
            "dot.example" => alias(query, "a\\.b.any.example", true),
            "line.example" => alias(query, "a\\010b.any.example", true),
            "under.example" => alias(query, "_sip._tcp.any.example", true),
            "plain.example" => alias(query, "www.example", true),
            "root.example" => alias(query, ".", true),
            "bare.example" | "bare.corp.example" => alias(query, "nodata.example", false),
            "broken.example" | "broken.corp.example" => compose(query, Rcode::SERVFAIL, 0, |_| {}),
            "nodata.example" | "nodata.corp.example" | "half.corp.example" => {
                compose(query, Rcode::NOERROR, 0, soa)
            }
            "www.example" | "two.labels" if a => answer(query, &[1], 300),
            "two.labels.corp.example" | "mail.corp.example" if a => answer(query, &[2], 300),
            "half.sub.example" | "only.sub.example" | "db.prod.sub.example" if a => answer(query, &[3], 300),
            "db.prod.last.example" if a => answer(query, &[4], 300),
            name if a && name.ends_with(".any.example") => answer(query, &[6], 300),
            "www.example"
            | "two.labels"
            | "two.labels.corp.example"
            | "mail.corp.example"
            | "half.sub.example"
            | "only.sub.example"
            | "db.prod.sub.example"
            | "db.prod.last.example" => compose(query, Rcode::NOERROR, 0, soa),
            name if name.ends_with(".any.example") => compose(query, Rcode::NOERROR, 0, soa),
            _ => compose(query, Rcode::NXDOMAIN, 0, soa),
        };
        vec![(0, reply)]
    })
}

/// A daemon at the address in resolv.conf, with an /etc for the test.
fn daemon(upstream: &Upstream) -> (Daemon, PathBuf) {
    let dir = directory();
    let program = compile(&dir, "tests/native/names.c", &[]);
    assert!(sh("mount -t tmpfs none /etc"), "a tmpfs at /etc");
    resolv_conf("");
    let text = format!(
        "runtime_dir = {:?}\n[listen]\ndns = [\"127.0.0.1:53\"]\n[[upstream]]\naddress = \"{}\"\n[sort]\nenabled = false\n",
        dir.join("run"),
        upstream.address
    );
    std::fs::write(dir.join("hither.toml"), text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    command.arg("--config").arg(dir.join("hither.toml"));
    (Daemon::spawn(dir, &mut command), program)
}

fn resolv_conf(more: &str) {
    std::fs::write("/etc/resolv.conf", format!("nameserver 127.0.0.1\n{more}\n")).expect("written");
}

/// The results of the C library for names, with these NSS modules.
fn made_of(
    daemon: &Daemon,
    program: &Path,
    sources: &str,
    names: &[&str],
    environment: &[(&str, &str)],
) -> String {
    let output = Command::new(program)
        .env("LD_LIBRARY_PATH", libraries())
        .env("HITHER_RUNTIME_DIR", daemon.dir.join("run"))
        .envs(environment.iter().copied())
        .arg(sources)
        .args(names)
        .output()
        .expect("runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("ASCII")
}

const LIKE_ENABLED: &str = "hither [NOTFOUND=return] dns";

#[test]
fn odd_names_are_refused_as_in_glibcs_own_module() {
    if !alone("odd_names_are_refused_as_in_glibcs_own_module") {
        return;
    }
    let upstream = upstream();
    let (daemon, program) = daemon(&upstream);
    let odd = [
        "$(reboot).any.example",
        "a;id.any.example",
        "-oProxyCommand.any.example",
        "*.any.example",
        "a b.any.example",
        "a\\.b.any.example",
        "a\\032b.any.example",
        "a\nb.any.example",
        "\u{e4}.any.example",
        "a\\010b.any.example",
        "a'b.any.example",
        "a/b.any.example",
        "-.any.example",
        "a..any.example",
        ".any.example",
        "$(reboot)",
        "*",
    ];
    let good = [
        "_x.any.example",
        "a.-b.any.example",
        "-",
        "x-.any.example",
        "a\\119.any.example",
        "plain.example",
        "under.example",
    ];
    let targets = ["star.example", "shell.example", "dash.example", "dot.example", "line.example"];
    for name in [&odd[..], &good].concat() {
        let ours = made_of(&daemon, &program, LIKE_ENABLED, &[name], &[]);
        assert_eq!(ours, made_of(&daemon, &program, "dns", &[name], &[]));
        assert_eq!(ours.contains("198.18.0."), good.contains(&name) && name != "-", "{ours}");
        let alone = made_of(&daemon, &program, "hither", &[name], &[]);
        assert!(!odd.contains(&name) || !alone.contains("198.18.0."), "{alone}");
    }
    // The target of an alias is not shown if it is not a host name. Some versions of glibc refuse
    // such answers, others do the same.
    for name in targets {
        let ours = made_of(&daemon, &program, LIKE_ENABLED, &[name], &[]);
        let theirs = made_of(&daemon, &program, "dns", &[name], &[]);
        assert!(ours == theirs || !theirs.contains("198.18.0.5"), "{ours}{theirs}");
        let lines: Vec<&str> = ours.lines().filter(|line| line.contains("198.18.0.5")).collect();
        let shown = format!(": {name} 198.18.0.5");
        assert!(lines.len() == 3 && lines.iter().all(|line| line.ends_with(&shown)), "{ours}");
    }
    let root = made_of(&daemon, &program, "hither", &["root.example"], &[]);
    assert!(root.contains("getaddrinfo 2: . 198.18.0.5"), "an empty name is none: {root}");
    let under = made_of(&daemon, &program, "hither", &["under.example"], &[]);
    assert!(under.contains("_sip._tcp.any.example (under.example) 198.18.0.5"), "{under}");
}

const NAMES: [&str; 25] = [
    "www.example",
    "www.example.",
    "db.prod",
    "db.prod.",
    "two.labels",
    "two.labels.",
    "mail",
    "mail.",
    "only",
    "half",
    "half.corp.example",
    "none.example",
    "none.example.",
    "none",
    "nodata.example",
    "nodata",
    "bare.example",
    "bare",
    "broken.example",
    "broken",
    "a.b.c.d.e.f",
    "www",
    ".",
    "1.2.3",
    "localhost.x",
];

/// Further lines of resolv.conf, and the environment of the program.
const SEARCHES: [(&str, &[(&str, &str)]); 15] = [
    ("", &[]),
    ("search corp.example", &[]),
    ("search corp.example sub.example", &[]),
    ("search corp.example sub.example\noptions ndots:5", &[]),
    ("search sub.example\noptions ndots:0", &[]),
    ("search corp.example sub.example\noptions ndots:2 no-tld-query", &[]),
    ("domain corp.example", &[]),
    ("search .", &[]),
    ("search . corp.example\noptions ndots:5", &[]),
    ("search local sub.example", &[]),
    ("search a.b c.d e.f g.h i.j k.l m.n last.example", &[]),
    ("search a.b c.d e.f g.h i.j k.l m.n last.example\noptions ndots:5", &[]),
    ("search a..b corp.example", &[]),
    ("search corp.example", &[("LOCALDOMAIN", "sub.example")]),
    ("search corp.example", &[("RES_OPTIONS", "ndots:4")]),
];

#[test]
fn names_are_completed_as_in_glibcs_own_module() {
    if !alone("names_are_completed_as_in_glibcs_own_module") {
        return;
    }
    let upstream = upstream();
    let (daemon, program) = daemon(&upstream);
    let aliases = daemon.dir.join("aliases");
    std::fs::write(&aliases, "mail www.example\n").expect("written");
    let aliases = ("HOSTALIASES", aliases.to_str().expect("UTF-8"));
    let with_aliases = [aliases];
    for (more, environment) in SEARCHES.into_iter().chain([("search corp.example", &with_aliases[..])]) {
        resolv_conf(more);
        let ours = made_of(&daemon, &program, LIKE_ENABLED, &NAMES, environment);
        let theirs = made_of(&daemon, &program, "dns", &NAMES, environment);
        let mut name = "";
        for (ours, theirs) in ours.lines().zip(theirs.lines()) {
            name = if ours.starts_with(' ') { name } else { ours };
            assert_eq!(ours, theirs, "{name}: {more:?} {environment:?}");
        }
    }
    // Results and denials came from the module, not from the one after it.
    let alone = |names: &[&str]| made_of(&daemon, &program, "hither", names, &[]);
    resolv_conf("search corp.example sub.example\noptions ndots:5");
    assert!(alone(&["db.prod"]).contains("getaddrinfo 2: db.prod.sub.example 198.18.0.3"));
    assert!(alone(&["two.labels"]).contains("198.18.0.2") && alone(&["two.labels."]).contains("198.18.0.1"));
    assert!(alone(&["mail"]).contains("mail.corp.example 198.18.0.2"));
    let asked = upstream.count();
    assert!(alone(&["none.example"]).contains("gethostbyname 2: none"), "{}", alone(&["none.example"]));
    assert_eq!(upstream.count(), asked, "denials came from the table");
    // A changed search list is used at once.
    resolv_conf("search last.example");
    assert!(alone(&["db.prod"]).contains("getaddrinfo 2: db.prod.last.example 198.18.0.4"));
}

/// A daemon in the network namespace of this thread.
fn daemon_here(dir: PathBuf, upstream: &Upstream) -> Daemon {
    Daemon::start_in(dir, &[upstream], "[sort]\nenabled = false\n")
}

fn getent(daemon: &Daemon, before: &str) -> Option<i32> {
    let line = format!("{before} getent -s hosts:hither hosts www.example >/dev/null");
    Command::new("sh").args(["-c", &line]).envs(environment(daemon)).status().expect("sh runs").code()
}

fn environment(daemon: &Daemon) -> [(&'static str, PathBuf); 2] {
    [("LD_LIBRARY_PATH", libraries().to_owned()), ("HITHER_RUNTIME_DIR", daemon.dir.join("run"))]
}

#[test]
fn in_another_network_namespace_the_next_module_is_asked() {
    if !alone("in_another_network_namespace_the_next_module_is_asked") {
        return;
    }
    let upstream = upstream();
    let dir = directory();
    let program = compile(&dir, "tests/native/places.c", &["-rdynamic", "-Wl,--no-as-needed"]);
    let daemon = daemon_here(dir, &upstream);
    let run = daemon.dir.join("run");
    assert_eq!(getent(&daemon, ""), Some(0));
    // Neither the table is used nor a program there that listens at the daemon's address.
    assert_eq!(getent(&daemon, "unshare --net"), Some(2));
    assert_eq!(getent(&daemon, "unshare --net sh -c 'ip link set lo up; exec \"$@\"' sh"), Some(2));
    // A process in other namespaces of other kinds, or with fewer rights, uses the table.
    let proc = "mount -t proc -o hidepid=2,subset=pid proc /proc";
    let sandbox = format!(
        "unshare --mount --pid --fork sh -c '{proc} && exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs \"$@\"' sh"
    );
    assert_eq!(getent(&daemon, &sandbox), Some(0));
    assert_eq!(getent(&daemon, "unshare --user --map-root-user"), Some(0));
    // A process that cannot find out its namespace does not use the table.
    assert_eq!(
        getent(&daemon, "unshare --mount sh -c 'mount -t tmpfs none /proc && exec \"$@\"' sh"),
        Some(2)
    );
    // A reader written from hither-table(5).
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/native/reader.py");
    let read = |before: &str| {
        let line = format!("{before} python3 {} {}/hosts www.example", reader.display(), run.display());
        Command::new("sh").args(["-c", &line]).output().expect("sh runs").status.code()
    };
    assert_eq!((read(""), read("unshare --net")), (Some(0), Some(4)));
    // Changes within one process, and in one of its threads.
    let mut command = Command::new(&program);
    command.arg(&run).arg("www.example").envs(environment(&daemon));
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{output:?}");
    // hitherctl shows the entry, and says that it holds elsewhere.
    let shown = |before: &str| {
        let ctl = env!("CARGO_BIN_EXE_hitherctl");
        let line = format!("{before} {ctl} --runtime-dir {} lookup www.example", run.display());
        Command::new("sh").args(["-c", &line]).output().expect("sh runs")
    };
    let (here, there) = (shown(""), shown("unshare --net"));
    let found = |output: &Output| {
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("198.18.0.1")
    };
    assert!(found(&here) && found(&there) && here.stderr.is_empty(), "{here:?} {there:?}");
    assert!(String::from_utf8_lossy(&there.stderr).contains("another network namespace"), "{there:?}");
    // The client for Rust programs.
    let name: Name = "www.example".parse().expect("a name");
    let (a, mut entry) = (Wanted::One(Family::A), Snapshot::new());
    let table = Table::open(Some(&run)).expect("readable");
    assert_eq!(table.answer(&name, a, hither_client::Monotonic::now(), &mut entry), Answer::Fresh);
    std::thread::scope(|threads| {
        let there = threads.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may");
            assert!(matches!(Table::open(Some(&run)), Err(OpenError::OtherNetwork)));
            let table_there = Table::open_any_network(Some(&run)).expect("readable");
            assert!(!table_there.is_same_network() && !table.is_same_network());
            let mut entry = Snapshot::new();
            assert_eq!(
                table_there.answer(&name, a, hither_client::Monotonic::now(), &mut entry),
                Answer::Fresh
            );
            assert_eq!(
                table.answer(&name, a, hither_client::Monotonic::now(), &mut entry),
                Answer::OtherNetwork
            );
        });
        there.join().expect("no panic");
    });
    assert_eq!(table.answer(&name, a, hither_client::Monotonic::now(), &mut entry), Answer::Fresh);
}

#[test]
fn a_daemon_that_restarts_in_another_network_namespace_begins_a_new_table() {
    if !alone("a_daemon_that_restarts_in_another_network_namespace_begins_a_new_table") {
        return;
    }
    let upstream = upstream();
    let name: Name = "www.example".parse().expect("a name");
    let (a, mut entry) = (Wanted::One(Family::A), Snapshot::new());
    let dir = directory();
    let run = dir.join("run");
    let daemon = daemon_here(dir.clone(), &upstream);
    daemon.ask("www.example");
    let table = Table::open(Some(&run)).expect("readable");
    let generation = table.reader().generation();
    let end = |mut daemon: Daemon| {
        daemon.process.kill().expect("it runs");
        daemon.process.wait().expect("a child");
        std::mem::forget(daemon); // The next daemon uses its directory.
    };
    end(daemon);
    // A daemon that restarts in the same namespace takes its table over.
    let daemon = daemon_here(dir.clone(), &upstream);
    assert_eq!(Table::open(Some(&run)).expect("readable").reader().generation(), generation);
    end(daemon);
    // A daemon that restarts in another namespace does not, and readers find its new table.
    assert_eq!(table.answer(&name, a, hither_client::Monotonic::now(), &mut entry), Answer::Fresh);
    std::thread::scope(|threads| {
        let there = threads.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may");
            assert!(sh("ip link set lo up"));
            let daemon = daemon_here(dir.clone(), &upstream);
            assert!(
                daemon.log().contains("its answers hold in another network namespace"),
                "{}",
                daemon.log()
            );
            let there = Table::open(Some(&run)).expect("readable");
            assert!(there.reader().version() > table.reader().version());
            let mut entry = Snapshot::new();
            assert_eq!(table.answer(&name, a, hither_client::Monotonic::now(), &mut entry), Answer::Missing);
            daemon
        });
        let _daemon = there.join().expect("no panic");
        assert_eq!(table.answer(&name, a, hither_client::Monotonic::now(), &mut entry), Answer::OtherNetwork);
        assert!(matches!(Table::open(Some(&run)), Err(OpenError::OtherNetwork)));
    });
}
