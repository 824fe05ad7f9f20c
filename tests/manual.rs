//! The manual pages say what the code does. The keys of hither.toml(5) are held in `src/config/manual.rs`.

mod support;

use clap::Command as CommandLine;
use hither_table::layout::{self, head};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::Owner;
use hither_wire::message::Section;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use support::{Daemon, Upstream, answer, compose};

fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("there")
}

fn page(name: &str) -> String {
    file(&format!("man/{name}"))
}

fn section<'a>(page: &'a str, name: &str) -> &'a str {
    let start = format!(".Sh {name}\n");
    page.split(&start).nth(1).and_then(|rest| rest.split(".Sh ").next()).expect(name)
}

/// The programs, each with its page.
fn programs() -> [(CommandLine, String); 4] {
    [
        (hither::daemon::command(), page("hitherd.8")),
        (hither::sorter::command(), page("hither-sorter.8")),
        (hither::site::command(), page("hither-site.8")),
        (hither::ctl::command(), page("hitherctl.1")),
    ]
    .map(|(mut command, page)| {
        command.build();
        (command, page)
    })
}

/// The options that are not hidden, in mdoc syntax: `config Ar FILE`.
fn options(command: &CommandLine) -> BTreeSet<String> {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    shown
        .filter_map(|argument| {
            let value = argument.get_action().takes_values().then(|| argument.get_value_names()).flatten();
            let value = value.map(|names| format!(" Ar {}", names.join(" "))).unwrap_or_default();
            Some(argument.get_long()?.to_owned() + &value)
        })
        .collect()
}

/// All options that are named in a text, without their values.
fn named(text: &str) -> BTreeSet<&str> {
    text.split("Fl Fl ").skip(1).map(|rest| rest.split([' ', '\n']).next().expect("a word")).collect()
}

/// The words of a text without its macros.
fn plain(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.strip_prefix('.').map_or(line, |line| &line[line.find(' ').unwrap_or(0)..]));
    lines.map(str::trim).collect::<Vec<_>>().join(" ").replace(" ,", ",")
}

/// The verbs of hitherctl(1), each with its text.
fn verbs(page: &str) -> Vec<(&str, &str)> {
    let list =
        page.split("The verbs are:\n").nth(1).and_then(|rest| rest.split("\n.El").next()).expect("a list");
    list.split("\n.It Cm ")
        .skip(1)
        .map(|verb| (verb.split([' ', '\n']).next().expect("a word"), verb))
        .collect()
}

/// A reader can be written from hither-table(5) alone.
#[test]
fn the_table_stands_where_its_page_says() {
    let page = page("hither-table.5");
    let rows: Vec<(&str, &str)> = section(&page, "HEADER")
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
        ("METRICS", head::METRICS),
        ("METRICS_WORDS", head::METRICS_WORDS),
        ("MASK", head::MASK),
        ("INDEX", head::INDEX),
        ("DATA", head::DATA),
        ("LINES", head::LINES),
        ("RING", head::RING),
        ("SLOTS", head::SLOTS),
        ("STATE", head::STATE),
        ("FLUSHED", head::FLUSHED),
        ("NETWORK", head::NETWORK),
        ("FAMILIES", head::FAMILIES),
        ("STALE", head::STALE),
        ("RESTORED", head::RESTORED),
        ("SITE", head::SITE),
        ("VERSION", head::VERSION),
        ("CHANGES", head::CHANGES),
        ("WAKING", head::WAKING),
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
        ("slots of the change ring, ", layout::RING),
        ("which must be at most ", layout::RECORD_MAX),
        (" tries, give up", layout::TRIES_MAX),
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
    assert!(page.contains(&format!("ABI {}.{}.", layout::ABI >> 32, layout::ABI as u32)));
    for constant in ["0x9e3779b97f4a7c15", "0xd6e8feb86659fd93", "0x2545f4914f6cdd1d", "0x0102030405060708"] {
        assert!(page.contains(constant), "{constant}");
    }
}

/// The examples of libhither(3) are the programs that the tests compile and run.
#[test]
fn the_examples_of_the_library_are_those_that_are_run() {
    let page = page("libhither.3").replace("\\&", "").replace("\\e", "\\");
    for example in ["lookup.c", "lookup.py", "connect.c", "subscribe.c"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/capi/examples").join(example);
        let text = std::fs::read_to_string(path).expect("there");
        assert!(page.contains(text.trim()), "{example} differs from the page");
    }
}

#[test]
fn every_counter_is_described_in_its_place() {
    let page = page("hitherctl.1");
    let described: Vec<&str> =
        section(&page, "COUNTERS").lines().filter_map(|line| line.strip_prefix(".It Cm ")).collect();
    let ours: Vec<&str> = hither_table::Counter::ALL.iter().map(|counter| counter.name()).collect();
    assert_eq!(described, ours);
}

/// hither-metrics(7) has each metric with its type, unit and labels, in the order of the text, and each
/// label and counter by its name.
#[test]
fn every_metric_is_described_and_every_described_one_exists() {
    let page = page("hither-metrics.7");
    let metrics = section(&page, "METRICS");
    let described: Vec<(String, &str)> = metrics
        .split("\n.It Cm ")
        .skip(1)
        .map(|entry| {
            let (heading, text) = entry.split_once('\n').expect("lines");
            (heading.replace(" No ", " "), text)
        })
        .collect();
    let headings: Vec<&str> = described.iter().map(|(heading, _)| heading.as_str()).collect();
    assert_eq!(headings, hither::ctl::metric_headings());
    for (heading, text) in &described {
        let explained = text.lines().filter(|line| line.len() > 3 && !line.starts_with('.')).count();
        assert!(explained > 0, "{heading} has no description");
    }
    let words: BTreeSet<&str> = metrics.split(|c: char| !(c.is_ascii_lowercase() || c == '_')).collect();
    for counter in hither_table::Counter::ALL {
        assert!(words.contains(counter.name()), "no metric of the counter {}", counter.name());
    }
}

#[test]
fn every_option_is_described_and_every_described_one_exists() {
    let programs = programs();
    let [.., (tool, _)] = &programs;
    let verbs = tool.get_subcommands();
    let known: BTreeSet<String> =
        programs.iter().map(|(command, _)| command).chain(verbs).flat_map(options).collect();
    let known: BTreeSet<&str> =
        known.iter().map(|option| option.split(' ').next().expect("a word")).collect();
    for (command, page) in &programs {
        let program = command.get_name();
        let described: BTreeSet<String> = page
            .lines()
            .filter_map(|line| line.strip_prefix(".It Fl Fl "))
            .flat_map(|line| line.split(" , Fl Fl "))
            .map(str::to_owned)
            .collect();
        assert_eq!(described, options(command), "{program}");
        for option in options(command).iter().filter(|option| !["help", "version"].contains(&option.as_str()))
        {
            assert!(section(page, "SYNOPSIS").contains(&format!("Fl Fl {option}\n")), "{program}: {option}");
        }
        let unknown: Vec<_> = named(page).difference(&known).copied().collect();
        assert!(unknown.is_empty(), "{program}: {unknown:?}");
    }
}

#[test]
fn every_verb_is_described_and_every_described_one_exists() {
    let [.., (command, page)] = programs();
    let described = verbs(&page);
    let ours: BTreeSet<&str> =
        command.get_subcommands().filter(|verb| !verb.is_hide_set()).map(CommandLine::get_name).collect();
    assert_eq!(described.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(), ours);
    assert_eq!(described.len(), ours.len(), "one is described twice");
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let (_, text) = described.iter().find(|(name, _)| *name == verb.get_name()).expect("compared");
        let global = options(&command);
        let own: Vec<String> = options(verb).difference(&global).cloned().collect();
        for option in &own {
            assert!(text.contains(&format!("Fl Fl {option}")), "{}: {option}", verb.get_name());
        }
    }
}

/// The statuses that a page names: a number at the beginning of each part of its sentence.
fn statuses(page: &str) -> BTreeSet<i32> {
    section(page, "EXIT STATUS")
        .split([';', '\n'])
        .filter_map(|part| part.trim().split(' ').next()?.parse().ok())
        .collect()
}

fn ended(program: &str, arguments: &[&str]) -> Option<i32> {
    Command::new(program).args(arguments).output().expect("started").status.code()
}

#[test]
fn every_exit_status_is_described_and_every_described_one_happens() {
    for (command, page) in programs() {
        let help = command.get_after_help().expect("a text").to_string();
        let stated = plain(section(&page, "EXIT STATUS"));
        assert_eq!(help, format!("Exit status: {stated}"), "{}", command.get_name());
    }
    let soa = [&b"\x02ns\0\x04host\0"[..], &[0; 16], &60u32.to_be_bytes()].concat();
    let upstream = Upstream::start(move |query, _| {
        if query.windows(4).any(|octets| octets.eq_ignore_ascii_case(b"\x02no\x07")) {
            let authority = Owner::Wire(b"\x07example\0");
            return vec![(
                0,
                compose(query, Rcode::NXDOMAIN, 0, |c| {
                    assert!(c.record(Section::Authority, authority, Rtype::SOA, 300, &soa));
                }),
            )];
        }
        vec![(0, answer(query, &[1], 300))]
    });
    let mut daemon = Daemon::start(&[&upstream], "");
    let [.., (_, tool)] = programs();
    for name in ["a.example", "no.example"] {
        daemon.ask(name);
    }
    let lookup = |name: &str| daemon.ctl(&["lookup", name]).status.code();
    let ends = [
        lookup("a.example"),
        ended(env!("CARGO_BIN_EXE_hitherctl"), &["--runtime-dir", "/nonexistent", "dump"]),
        daemon.ctl(&["lookup"]).status.code(),
        lookup("never.asked.example"),
        lookup("no.example"),
    ];
    assert_eq!(ends, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!(statuses(&tool), BTreeSet::from([0, 1, 2, 3, 4]));

    let (right, wrong) = (daemon.dir.join("hither.toml"), daemon.dir.join("wrong.toml"));
    std::fs::write(&wrong, "[round]\nfrist = 2\n").expect("writable");
    let (right, wrong) = (right.to_str().expect("UTF-8"), wrong.to_str().expect("UTF-8"));
    let nowhere = daemon.dir.join("nowhere.toml");
    std::fs::write(&nowhere, "runtime_dir = \"/proc/nowhere\"\n").expect("writable");
    let nowhere = nowhere.to_str().expect("UTF-8");
    let hitherd = env!("CARGO_BIN_EXE_hitherd");
    let ends = [
        ended(hitherd, &["--check", "--config", right]),
        ended(hitherd, &["--config", nowhere]),
        ended(hitherd, &["--frist"]),
        ended(hitherd, &["--config", wrong]),
    ];
    assert_eq!(ends, [Some(0), Some(1), Some(2), Some(78)]);
    assert_eq!(statuses(&page("hitherd.8")), BTreeSet::from([0, 1, 2, 78]));
    let (sorter, site) = (env!("CARGO_BIN_EXE_hither-sorter"), env!("CARGO_BIN_EXE_hither-site"));
    for companion in [sorter, site] {
        assert_eq!(ended(companion, &["--config", wrong]), Some(1), "{companion}");
        assert_eq!(ended(companion, &["--frist"]), Some(2), "{companion}");
    }
    let mut running =
        Command::new(sorter).args(["--config", right]).stderr(Stdio::null()).spawn().expect("started");
    daemon.until("the sorter is connected", |d| d.json(&["status"])["sorter"]["pid"].is_i64());
    let pid = nix::unistd::Pid::from_raw(i32::try_from(running.id()).expect("small"));
    nix::sys::signal::kill(pid, Signal::SIGTERM).expect("it runs");
    assert_eq!(running.wait().expect("a child").code(), Some(0));
    daemon.signal(Signal::SIGINT);
    assert_eq!(daemon.process.wait().expect("a child").code(), Some(0));
    for companion in ["hither-sorter.8", "hither-site.8"] {
        assert_eq!(statuses(&page(companion)), BTreeSet::from([0, 1, 2]), "{companion}");
    }
}

/// hitherd.socket(8) lists the settings of the shipped units.
#[test]
fn every_setting_of_the_sockets_that_is_described_is_in_the_unit() {
    let page = page("hitherd.socket.8");
    let unit = file("systemd/hitherd.socket");
    let settings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix(".It Va ")).collect();
    assert!(settings.len() > 3, "{settings:?}");
    for setting in settings.iter().copied().chain(["FileDescriptorName=dns"]) {
        assert!(unit.lines().any(|line| line == setting), "{setting}");
    }
    for address in ["127.0.0.1", "[::1]"] {
        for kind in ["ListenDatagram", "ListenStream"] {
            assert!(unit.lines().any(|line| line == format!("{kind}={address}:53")), "{kind} {address}");
        }
    }
}

/// Each of our pages that another one refers to exists.
#[test]
fn every_page_that_is_referred_to_is_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let pages: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
        .collect();
    for name in &pages {
        let text = page(name);
        let references =
            text.lines().filter_map(|line| line.strip_prefix(".Xr ")).filter(|to| to.contains("hither"));
        for reference in references {
            let mut words = reference.split(' ');
            let to = format!("{}.{}", words.next().expect("a name"), words.next().expect("a section"));
            assert!(pages.contains(&to), "{name} refers to {to}");
        }
    }
}
