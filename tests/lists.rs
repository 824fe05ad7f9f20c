//! The real daemon with lists of very many names, and with malformed files instead of lists: the
//! memory that reading takes, and which lines are accepted.

mod support;

use hither_control::{MESSAGE_MAX, Request, encode};
use hither_net::seqpacket::Connection;
use hither_wire::codes::Rcode;
use hither_wire::message::Message;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::{Daemon, Upstream, answer, directory};

/// Enough for a busy machine to read a million names.
const PATIENCE: Duration = Duration::from_secs(120);
const KIB_A_MIB: u64 = 1024;

/// A daemon with one list, and its figures in /proc.
struct Listed {
    daemon: Daemon,
    list: PathBuf,
    _upstream: Upstream,
}

impl Listed {
    fn start(write: impl FnOnce(&Path)) -> Listed {
        let upstream = Upstream::start(|query, _| vec![(0, answer(query, &[1], 300))]);
        let dir = directory();
        let list = dir.join("block.txt");
        write(&list);
        let daemon = Daemon::start_in(dir, &[&upstream], &format!("[[block]]\nfiles = [{list:?}]\n"));
        Listed { daemon, list, _upstream: upstream }
    }

    fn until(&self, what: &str, holds: impl Fn(&Listed) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < end, "not in time: {what}\n{}", self.daemon.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_blocked(&self, name: &str) -> bool {
        let reply = self.daemon.ask(name);
        Message::read(&reply).expect("readable").header().rcode() == Rcode::NXDOMAIN
    }

    /// A number from a file of the process in /proc, in the file's own unit.
    fn number(&self, file: &str, key: &str) -> u64 {
        let text =
            std::fs::read_to_string(format!("/proc/{}/{file}", self.daemon.process.id())).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("there");
        line.split_whitespace().find_map(|word| word.parse().ok()).expect("a number")
    }

    /// Resets the kernel's record of the peak memory.
    fn forget_the_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.daemon.process.id()), "5").expect("ours");
    }

    fn problem(&self) -> String {
        self.daemon.json(&["status"])["files"][1]["problem"].as_str().unwrap_or_default().to_owned()
    }
}

fn write_names(path: &Path, names: std::ops::Range<u32>, more: &str) {
    let mut file = BufWriter::new(File::create(path.with_extension("new")).expect("created"));
    for n in names {
        writeln!(file, "tracker-{n}.ads{}.example", n % 977).expect("written");
    }
    file.write_all(more.as_bytes()).expect("written");
    file.into_inner().expect("written");
    std::fs::rename(path.with_extension("new"), path).expect("renamed");
}

#[test]
fn a_new_edition_of_a_list_of_a_million_names_is_not_in_memory_beside_the_old_one() {
    let listed = Listed::start(|list| std::fs::write(list, "ads.example\n").expect("written"));
    write_names(&listed.list, 0..1_000_000, "first.example\n");
    listed.until("it is read", |l| l.is_blocked("first.example"));
    assert!(listed.is_blocked("tracker-7.ads7.example") && !listed.is_blocked("second.example"));
    let size = listed.number("status", "VmRSS:");
    // A twentieth of the names is replaced, then a fifth.
    for (from, most, new) in [(50_000, 13, "second.example"), (250_000, 16, "third.example")] {
        listed.forget_the_peak();
        write_names(&listed.list, from..from + 1_000_000, &format!("{new}\n"));
        listed.until("it is read again", |l| l.is_blocked(new));
        let tracker = |n: u32| format!("tracker-{n}.ads{}.example", n % 977);
        assert!(!listed.is_blocked(&tracker(from - 1)) && listed.is_blocked(&tracker(from + 999_999)));
        let peak = listed.number("status", "VmHWM:");
        assert!(peak * 10 <= size * most, "{peak} KiB at the peak of what took {size} KiB at first");
    }
}

#[test]
fn a_file_without_a_line_or_without_an_end_is_not_held_in_memory() {
    let listed = Listed::start(|list| std::fs::write(list, "ads.example\n").expect("written"));
    listed.forget_the_peak();
    let before = listed.number("status", "VmRSS:");
    let blocked = |l: &Listed| l.is_blocked("x.ads.example");
    // One line that is longer than the bound of a file.
    let sparse = File::create(listed.list.with_extension("new")).expect("created");
    sparse.set_len(300 << 20).expect("sparse");
    std::fs::rename(listed.list.with_extension("new"), &listed.list).expect("renamed");
    listed.until("it is read", |l| l.problem().contains("longer than 64 KiB"));
    assert!(blocked(&listed), "the earlier names stay: {}", listed.problem());
    let peak = listed.number("status", "VmHWM:");
    assert!(peak < before + 32 * KIB_A_MIB, "{before} KiB before, {peak} KiB at the peak");
}

#[test]
fn a_truncated_list_gives_no_truncated_name() {
    // The bound, and the end of the block that is read beyond it, lie within names whose first part is a
    // different valid name.
    const MOST: usize = 256 << 20;
    const AT_ONCE: usize = 128 << 10;
    let listed = Listed::start(|list| std::fs::write(list, "ads.example\n").expect("written"));
    let mut text = b"ads.example\n".to_vec();
    for (most, name) in
        [(MOST, "half.example"), (MOST + AT_ONCE, "part.example"), (MOST + 2 * AT_ONCE, "last.example")]
    {
        // Comments fill the file, up to a name that has four letters before the bound.
        while text.len() < most - 4 {
            let length = (most - 4 - text.len()).min(1000);
            text.extend(vec![b'#'; length - 1]);
            text.push(b'\n');
        }
        text.extend(name.as_bytes());
        text.push(b'\n');
    }
    std::fs::write(listed.list.with_extension("new"), &text).expect("written");
    std::fs::rename(listed.list.with_extension("new"), &listed.list).expect("renamed");
    listed.until("it is read", |l| l.problem().contains("the rest is not read"));
    assert!(
        listed.is_blocked("ads.example")
            && !listed.is_blocked("www.half")
            && !listed.is_blocked("www.part")
            && !listed.is_blocked("last.example")
    );
}

#[test]
fn a_list_truncated_in_a_very_long_line_gives_nothing_of_that_line() {
    const MOST: usize = 256 << 20;
    let listed = Listed::start(|list| std::fs::write(list, "ads.example\n").expect("written"));
    let mut text = b"ads.example\n".to_vec();
    while text.len() < MOST - 4000 {
        let length = (MOST - 4000 - text.len()).min(1000);
        text.extend(vec![b'#'; length - 1]);
        text.push(b'\n');
    }
    text.extend(b"0.0.0.0 long.example ".repeat(20_000));
    text.extend(b"\nlast.example\n");
    std::fs::write(listed.list.with_extension("new"), &text).expect("written");
    std::fs::rename(listed.list.with_extension("new"), &listed.list).expect("renamed");
    listed.until("it is read", |l| l.problem().contains("the rest is not read"));
    assert!(
        listed.is_blocked("ads.example")
            && !listed.is_blocked("long.example")
            && !listed.is_blocked("last.example")
    );
    assert!(listed.problem().contains("longer than 64 KiB"), "{}", listed.problem());
}

#[test]
fn a_reload_requested_while_another_reads_lists_reads_their_latest_content() {
    let listed = Listed::start(|list| write_names(list, 0..1_000_000, "first.example\n"));
    let operator = Connection::connect(&listed.daemon.dir.join("run/control.sock"), Some(PATIENCE));
    let operator = operator.expect("connected");
    operator.send(&encode(&Request::Reload).expect("short")).expect("sent");
    // The daemon handles the next connection after this one.
    listed.daemon.json(&["status"]);
    let other = listed.daemon.dir.join("other.txt");
    std::fs::write(&other, "second.example\n").expect("written");
    let more = format!("[[block]]\nfiles = [{:?}, {other:?}]\n", listed.list);
    Daemon::configure(&listed.daemon.dir, &[&listed._upstream], &more);
    assert!(listed.daemon.ctl(&["reload"]).status.success());
    assert!(listed.is_blocked("first.example") && listed.is_blocked("second.example"));
    let mut told = vec![0; MESSAGE_MAX];
    assert!(
        operator.receive(&mut told).is_ok_and(|told| !told.is_empty()),
        "the first operator gets its reply too"
    );
}

#[test]
fn unchanged_lists_are_read_again_only_by_a_reload() {
    const NAMES: std::ops::Range<u32> = 0..50_000;
    let listed = Listed::start(|list| write_names(list, NAMES, ""));
    let size = std::fs::metadata(&listed.list).expect("there").len();
    let other = listed.daemon.dir.join("hosts.txt");
    std::fs::write(&other, "192.0.2.1 n0.example\n").expect("written");
    let more = format!("[hosts]\nfiles = [{other:?}]\n[[block]]\nfiles = [{:?}]\n", listed.list);
    Daemon::configure(&listed.daemon.dir, &[&listed._upstream], &more);
    assert!(listed.daemon.ctl(&["reload"]).status.success());
    // Another file changes until the time stamps of the list show that the list is unchanged.
    let mut n = 0;
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < end, "the list is read again and again");
        let before = listed.number("io", "rchar:");
        n += 1;
        std::fs::write(&other, format!("192.0.2.1 n{n}.example\n")).expect("written");
        let known = format!("n{n}.example");
        listed.until("it is in force", |l| l.daemon.json(&["query", &known])["source"] == "hosts");
        if listed.number("io", "rchar:") - before < size / 2 {
            break;
        }
    }
    assert!(listed.is_blocked("tracker-7.ads7.example"));
    let before = listed.number("io", "rchar:");
    assert!(listed.daemon.ctl(&["reload"]).status.success());
    assert!(listed.number("io", "rchar:") - before >= size, "a reload reads all files");
}
