//! The real sorter with a table of more addresses than it has memory for, and a stand-in for the
//! daemon that receives its orders.

use crate::support::{PATIENCE, directory};
use hither_control::{Order, SORTER_SOCKET, SorterMessage, decode};
use hither_net::seqpacket::Listener;
use hither_table::{Draft, FamilyDraft, Geometry, Held, Writer, open_or_create};
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Three quarters of the memory that the unit allows.
const MEMORY_KIB: usize = 48 * 1024;
const LARGE_NAMES: u16 = 6000;
const LARGE: u8 = 250;
/// At most this many addresses of a set are measured.
const MEASURED: usize = 16;

struct Table {
    dir: PathBuf,
    writer: Writer,
    _held: Held,
}

impl Table {
    fn new() -> Table {
        let dir = directory();
        let geometry = Geometry { entries: 150_000 };
        let (writer, _, held) =
            open_or_create(&dir.join("run"), &geometry, 0o644, [1, 2, 3], 1_000_000_000).expect("a table");
        Table { dir, writer, _held: held }
    }

    fn publish(&mut self, name: &str, addresses: &[IpAddr]) {
        let now = hither_net::clock::now();
        let version = self.writer.next_version();
        let set = FamilyDraft::of(version, addresses.iter().copied(), now.as_ms() + 3_600_000, 3600);
        let draft = Draft { name: name.parse().expect("a name"), a: Some(set), aaaa: None };
        self.writer.put(&draft, now).expect("room");
        self.writer.wake_followers();
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn large(n: u16) -> (String, Vec<IpAddr>) {
    let [high, low] = n.to_be_bytes();
    (format!("n{n}.large.example."), (1..=LARGE).map(|end| IpAddr::from([127, 1 + high, low, end])).collect())
}

/// Two to four addresses.
fn ordinary(n: u8) -> (String, Vec<IpAddr>) {
    (format!("n{n}.ordinary.example."), (1..=2 + n % 3).map(|end| IpAddr::from([127, 200, n, end])).collect())
}

/// The sorter, killed when it exceeds its memory bound.
struct Sorter(Child);

impl Sorter {
    fn start(dir: &Path) -> Sorter {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -d {MEMORY_KIB} && exec \"$0\" \"$@\"")]);
        command.arg(env!("CARGO_BIN_EXE_hither-sorter")).arg("--config").arg(dir.join("hither.toml"));
        let mut child = command.stderr(Stdio::piped()).spawn().expect("started");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        std::thread::spawn(move || log.lines().map_while(Result::ok).for_each(drop));
        Sorter(child)
    }

    /// The peak of its own memory, without its mapping of the table.
    fn memory_kib(&mut self) -> usize {
        let ended = self.0.try_wait().expect("a child");
        assert!(ended.is_none(), "the sorter has ended: {ended:?}");
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("it runs");
        let words = |field: &str| status.lines().find_map(|line| line.strip_prefix(field).map(str::to_owned));
        let kib = words("RssAnon:").expect("a field");
        kib.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Sorter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a connection can be read or a new one can be accepted.
fn wait(listener: BorrowedFd<'_>, connection: Option<BorrowedFd<'_>>) {
    let poll = |fd| nix::poll::PollFd::new(fd, nix::poll::PollFlags::POLLIN);
    let mut fds: Vec<_> = std::iter::once(listener).chain(connection).map(poll).collect();
    nix::poll::poll(&mut fds, nix::poll::PollTimeout::NONE).expect("polled");
}

/// Receives orders as the daemon does, from one sorter after the other.
fn take_orders(listener: Listener) -> mpsc::Receiver<Order> {
    let (sender, orders) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; hither_control::MESSAGE_MAX];
        let mut current = None;
        loop {
            if let Ok(Some(connection)) = listener.accept() {
                current = Some(connection);
            }
            wait(listener.as_fd(), current.as_ref().map(AsFd::as_fd));
            let Some(connection) = &current else { continue };
            match connection.receive(&mut buffer) {
                Ok([]) => current = None,
                Ok(octets) => {
                    if let SorterMessage::Order(order) = decode(octets).expect("a message")
                        && sender.send(order).is_err()
                    {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => current = None,
            }
        }
    });
    orders
}

/// Waits until all of these names are ordered and checks every order; returns how long that took.
fn ordered(orders: &mpsc::Receiver<Order>, names: impl Iterator<Item = u8>) -> Duration {
    let (start, mut missing) = (Instant::now(), names.map(|n| ordinary(n).0).collect::<BTreeSet<_>>());
    while !missing.is_empty() {
        let left = (start + PATIENCE).saturating_duration_since(Instant::now());
        let Ok(order) = orders.recv_timeout(left) else { panic!("never ordered: {missing:?}") };
        check(&order);
        missing.remove(&order.name);
    }
    start.elapsed()
}

/// Prints a time for a run with --nocapture. No assertion depends on it.
fn tell(what: &str, took: Duration, memory_kib: usize) {
    let _ = writeln!(std::io::stderr(), "{what}: {} ms, {memory_kib} KiB", took.as_millis());
}

fn check(order: &Order) {
    let number = order.name.strip_prefix('n').and_then(|rest| rest.split('.').next()).expect("a number");
    let set = if order.name.contains("large") {
        large(number.parse().expect("ours")).1
    } else {
        ordinary(number.parse().expect("ours")).1
    };
    let sorted = |mut all: Vec<IpAddr>| {
        all.sort();
        all
    };
    let ordered: Vec<IpAddr> = order.addresses.iter().map(|address| address.address).collect();
    assert_eq!(sorted(ordered), sorted(set), "a permutation of the whole set of {}", order.name);
    let measured = order.addresses.iter().filter(|address| address.reachable.is_some()).count();
    assert!(measured <= MEASURED, "{measured} of one set were measured");
}

#[test]
fn thousands_of_large_names_take_bounded_memory_and_ordinary_ones_are_ordered_meanwhile() {
    let mut table = Table::new();
    // No port listens there, so each probe is refused at once. At the usual rate the large names
    // still take eight minutes.
    let probes = "[sort]\nprobes = [\"tcp:9\"]\nprivate = true\n";
    let run = table.dir.join("run");
    std::fs::write(table.dir.join("hither.toml"), format!("runtime_dir = {run:?}\n{probes}"))
        .expect("written");
    let orders = take_orders(Listener::bind(&run.join(SORTER_SOCKET), 0o600).expect("a socket"));
    for n in 0..LARGE_NAMES {
        let (name, addresses) = large(n);
        table.publish(&name, &addresses);
    }
    let mut sorter = Sorter::start(&table.dir);
    let first = orders.recv_timeout(PATIENCE).expect("an order of a large name");
    check(&first);
    for n in 0..20 {
        let (name, addresses) = ordinary(n);
        table.publish(&name, &addresses);
        let (name, addresses) = large(LARGE_NAMES - 1 - u16::from(n));
        table.publish(&name, &addresses);
    }
    let took = ordered(&orders, 0..20);
    let memory = sorter.memory_kib();
    tell("20 ordinary names were ordered", took, memory);
    assert!(memory <= MEMORY_KIB);
    // Another sorter begins with the same table.
    drop(sorter);
    while orders.try_recv().is_ok() {}
    let mut sorter = Sorter::start(&table.dir);
    let took = ordered(&orders, 0..20);
    let memory = sorter.memory_kib();
    tell("after a restart", took, memory);
    assert!(memory <= MEMORY_KIB);
    // Sets are published again and again while it runs.
    for turn in 0..3 {
        for n in 0..LARGE_NAMES {
            let (name, addresses) = large(n);
            table.publish(&name, &addresses);
        }
        let (name, addresses) = ordinary(20 + turn);
        table.publish(&name, &addresses);
        let took = ordered(&orders, 20 + turn..21 + turn);
        tell("amid a flood of publishes", took, sorter.memory_kib());
    }
    assert!(sorter.memory_kib() <= MEMORY_KIB);
}
