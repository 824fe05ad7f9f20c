use super::*;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};

type Fields = BTreeMap<String, String>;

/// A stand-in for systemd-journald.
struct Journald {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journald {
    fn path() -> PathBuf {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        std::env::temp_dir().join(format!("hither-journal-{}-{n}", std::process::id()))
    }

    fn at(path: &Path) -> Journald {
        let socket = UnixDatagram::bind(path).expect("a socket");
        socket.set_nonblocking(true).expect("an option");
        Journald { socket, path: path.to_owned() }
    }

    /// The next entry, decoded by the native protocol; `None` if there is none.
    fn next(&self) -> Option<Fields> {
        let mut buffer = vec![0; 100_000];
        let len = self.socket.recv(&mut buffer).ok()?;
        let (mut left, mut fields) = (&buffer[..len], Fields::new());
        while !left.is_empty() {
            let end = left.iter().position(|b| matches!(b, b'=' | b'\n')).expect("a name");
            let name = String::from_utf8(left[..end].to_vec()).expect("a name");
            let (value, rest) = if left[end] == b'=' {
                let line = left[end + 1..].iter().position(|b| *b == b'\n').expect("the end of a line");
                (&left[end + 1..][..line], &left[end + 1 + line..])
            } else {
                let len = u64::from_le_bytes(left[end + 1..end + 9].try_into().expect("eight"));
                left[end + 9..].split_at(usize::try_from(len).expect("short"))
            };
            assert_eq!(rest[0], b'\n');
            let value = String::from_utf8(value.to_vec()).expect("text");
            assert_eq!(fields.insert(name, value), None, "each field once");
            left = &rest[1..];
        }
        Some(fields)
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn logger(stderr: UnixStream, journal: Option<&Path>) -> Logger {
    log::set_max_level(LevelFilter::Trace);
    let outputs = Outputs::new(Box::new(stderr), journal, "hitherd".to_owned());
    Logger(Mutex::new(State { places: Places::default(), outputs }))
}

fn entry(line: &str) -> Entry {
    let mut record = Record::builder();
    record.level(log::Level::Info).file_static(Some("a.rs"));
    Entry::of(&record.args(format_args!("{line}")).build(), 0)
}

#[test]
fn an_entry_reaches_the_journal_with_its_fields() {
    let journald = Journald::at(&Journald::path());
    let (_reader, stderr) = UnixStream::pair().expect("sockets");
    let logger = logger(stderr, Some(&journald.path));
    let upstream = std::net::SocketAddr::from(([192, 0, 2, 1], 53));
    let line = line!() + 1;
    log::warn!(logger: logger, event = Event::UpstreamDown, upstream:% = upstream, failures = 2; "it is\ndown");
    let expected = [
        ("MESSAGE", "it is?down".to_owned()),
        ("PRIORITY", "4".to_owned()),
        ("SYSLOG_FACILITY", "3".to_owned()),
        ("SYSLOG_IDENTIFIER", "hitherd".to_owned()),
        ("CODE_FILE", file!().to_owned()),
        ("CODE_LINE", line.to_string()),
        ("HITHER_VERSION", env!("CARGO_PKG_VERSION").to_owned()),
        ("MESSAGE_ID", format!("{:032x}", Event::UpstreamDown.id())),
        ("HITHER_EVENT", "upstream-down".to_owned()),
        ("HITHER_UPSTREAM", "192.0.2.1:53".to_owned()),
        ("HITHER_FAILURES", "2".to_owned()),
    ];
    let expected: Fields = expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    assert_eq!(journald.next(), Some(expected));
    for name in ["a.example", "b.example\nPRIORITY=0"] {
        log::debug!(logger: logger, name:% = name, client = "192.0.2.9"; "asks for {name}");
        log::info!(logger: logger, name:% = name, client = "192.0.2.9"; "asks");
        let debug = journald.next().expect("an entry");
        assert_eq!(debug["HITHER_NAME"], name.replace('\n', "?"));
        assert_eq!((debug["HITHER_CLIENT"].as_str(), debug["PRIORITY"].as_str()), ("192.0.2.9", "7"));
        let info = journald.next().expect("an entry");
        assert!(!info.contains_key("HITHER_NAME") && !info.contains_key("HITHER_CLIENT"), "{info:?}");
    }
}

#[test]
fn without_a_journal_there_are_plain_lines_on_standard_error() {
    let (reader, stderr) = UnixStream::pair().expect("sockets");
    let logger = logger(stderr, None);
    log::error!(logger: logger, event = Event::Failed; "one\ntwo");
    for n in 0..12 {
        log::info!(logger: logger, "line {n}");
    }
    drop(logger);
    let lines: Vec<String> = BufReader::new(reader).lines().map(|line| line.expect("text")).collect();
    assert_eq!(lines[0], "one?two");
    // Twelve at most, if a second has just begun.
    let ours: Vec<String> = (0..lines.len() - 1).map(|n| format!("line {n}")).collect();
    assert!(
        (10..=12).contains(&ours.len()) && lines[1..].iter().zip(&ours).all(|(a, b)| a.starts_with(b)),
        "{lines:?}"
    );
}

#[test]
fn a_journal_that_hangs_does_not_block_and_later_gets_the_number_of_lost_lines() {
    let journald = Journald::at(&Journald::path());
    let (reader, stderr) = UnixStream::pair().expect("sockets");
    reader.set_nonblocking(true).expect("an option");
    let mut outputs = Outputs::new(Box::new(stderr), Some(&journald.path), "hitherd".to_owned());
    let mut written = 0_usize;
    while outputs.lost < 100 {
        outputs.write(&entry(&format!("line {written}")));
        written += 1;
    }
    // Entries fill the socket first, then standard error: nothing twice, nothing out of order.
    let mut logged = Vec::new();
    while let Some(fields) = journald.next() {
        logged.push(fields["MESSAGE"].clone());
    }
    let mut lines = BufReader::new(&reader).lines().map_while(Result::ok);
    logged.extend(lines.by_ref().map(|line| line.strip_prefix("<6>").expect("a priority").to_owned()));
    assert!(logged.len() > 1 && logged.len() + 100 == written, "{} of {written}", logged.len());
    assert!(logged.iter().enumerate().all(|(n, line)| *line == format!("line {n}")));
    outputs.write(&entry("at last"));
    let lost = journald.next().expect("an entry");
    assert_eq!((lost["HITHER_EVENT"].as_str(), lost["HITHER_LINES"].as_str()), ("lines-lost", "100"));
    assert!(lost["MESSAGE"].starts_with("100 lines of the log are lost"), "{lost:?}");
    assert_eq!(journald.next().expect("an entry")["MESSAGE"], "at last");
    outputs.write(&entry("and on"));
    assert_eq!(journald.next().expect("an entry")["MESSAGE"], "and on", "reported once");
}

#[test]
fn a_journal_that_goes_and_comes_back_is_found_again() {
    let path = Journald::path();
    let (reader, stderr) = UnixStream::pair().expect("sockets");
    let mut lines = BufReader::new(reader).lines().map(|line| line.expect("text"));
    let mut outputs = Outputs::new(Box::new(stderr), Some(&path), "hitherd".to_owned());
    for n in 0..3 {
        outputs.write(&entry(&format!("missing {n}")));
        assert_eq!(lines.next(), Some(format!("<6>missing {n}")));
        let journald = Journald::at(&path);
        outputs.write(&entry(&format!("there {n}")));
        assert_eq!(journald.next().expect("an entry")["MESSAGE"], format!("there {n}"));
        // A journal that was killed leaves its socket, which has no reader.
        std::fs::hard_link(&path, path.with_extension("left")).expect("a link");
        drop(journald);
        std::fs::rename(path.with_extension("left"), &path).expect("renamed");
        outputs.write(&entry(&format!("killed {n}")));
        assert_eq!(lines.next(), Some(format!("<6>killed {n}")));
        std::fs::remove_file(&path).expect("removable");
    }
    // Neither output is left: the lost entry is reported when the program ends.
    drop(lines);
    outputs.write(&entry("unheard"));
    assert_eq!(outputs.lost, 1);
    let journald = Journald::at(&path);
    Logger(Mutex::new(State { places: Places::default(), outputs })).flush();
    assert_eq!(journald.next().expect("an entry")["HITHER_LINES"], "1");
    assert_eq!(journald.next(), None);
}
