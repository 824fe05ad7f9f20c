//! The client with a table that is created, changed and replaced.

use hither_client::{Answer, ConnectError, Family, Name, Snapshot, Step, Table, Wanted};
use hither_table::{Address, Draft, FamilyDraft, Geometry, Monotonic, Writer, open_or_create};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Timeout for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

fn dir(what: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("hither-client-{what}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
}

/// A table of so many entries. Opening one of another size replaces the table before it.
fn table(dir: &Path, entries: usize) -> (Writer, impl Sized + use<>) {
    let (writer, _, lock) =
        open_or_create(dir, &Geometry { entries }, 0o644, [1, 2, entries as u64], 1).expect("a table");
    (writer, lock)
}

fn put(writer: &mut Writer, name: &Name) {
    let version = writer.next_version();
    let set = FamilyDraft::of(version, ["192.0.2.1".parse().expect("an address")], 1 << 40, 60);
    writer.put(&Draft { name: *name, a: Some(set), aaaa: None }, Monotonic(0)).expect("room");
}

#[test]
fn lookups_go_on_in_many_threads_while_the_table_is_replaced() {
    let dir = dir("replace");
    let name: Name = "www.example.com".parse().expect("a name");
    let (mut writer, mut lock) = table(&dir, 64);
    put(&mut writer, &name);
    let client = Table::open(Some(&dir)).expect("readable");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looks: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let (mut entry, mut looks, mut last) = (Snapshot::new(), 0_u64, 0);
                    while !done.load(Ordering::Relaxed) || looks == 0 {
                        let name = "WWW.Example.COM".parse().expect("a name");
                        if client.lookup(&name, &mut entry).is_ok() {
                            let set = entry.family(Family::A).expect("it was put");
                            let version = set.version();
                            assert!(set.len() == 1 && version >= last, "{version} after {last}");
                            last = version;
                        }
                        looks += 1;
                    }
                    looks
                })
            })
            .collect();
        for n in 1..40 {
            drop((writer, lock));
            (writer, lock) = table(&dir, 64 + 512 * (n % 7 + 1));
            put(&mut writer, &name);
        }
        done.store(true, Ordering::Relaxed);
        assert!(looks.into_iter().all(|thread| thread.join().expect("no panic") > 0));
    });
    let mut entry = Snapshot::new();
    assert_eq!(client.lookup(&name, &mut entry), Ok(()), "the last table is read after all replacements");
    std::fs::remove_dir_all(&dir).expect("removable");
}

#[test]
fn opening_without_a_table_names_the_cause() {
    let dir = dir("none");
    assert!(Table::open(Some(&dir)).expect_err("nothing there").to_string().contains("No such file"));
    std::fs::write(dir.join("hosts"), [7; 8192]).expect("writable");
    assert!(Table::open(Some(&dir)).expect_err("no table").to_string().contains("not a table"));
    std::fs::remove_dir_all(&dir).expect("removable");
}

#[test]
fn missing_partial_stale_and_fresh_answers_are_distinguished() {
    let dir = dir("answers");
    let name: Name = "www.example.com".parse().expect("a name");
    let (mut writer, _lock) = table(&dir, 64);
    let client = Table::open(Some(&dir)).expect("readable");
    let mut follower = client.watch();
    let mut entry = Snapshot::new();
    let expiry = Monotonic::from_ms(1 << 40);
    let early = Monotonic(expiry.0 - 1);
    let mut answer = |wanted, now| client.answer(&name, wanted, now, &mut entry);
    let (a, aaaa) = (Wanted::One(Family::A), Wanted::One(Family::Aaaa));
    assert_eq!(answer(a, early), Answer::Missing);
    put(&mut writer, &name);
    assert_eq!(answer(a, early), Answer::Fresh);
    assert_eq!(answer(aaaa, early), Answer::Partial);
    assert_eq!(answer(Wanted::Both, early), Answer::Partial);
    assert_eq!(answer(a, expiry), Answer::Stale);
    let mut seen = Snapshot::new();
    assert_eq!(follower.step(&mut seen), Step::Record);
    assert_eq!(seen.name(), name.as_wire());
    // A denial of the name itself answers for both families.
    let version = writer.next_version();
    let denial = FamilyDraft {
        negative: Some(hither_client::Negative::NxDomain),
        ..FamilyDraft::of(version, [], 1 << 40, 60)
    };
    writer.put(&Draft { name, a: Some(denial), aaaa: None }, Monotonic(0)).expect("room");
    assert_eq!(answer(Wanted::Both, early), Answer::Fresh);
    // But not if the other family has addresses that have expired.
    put(&mut writer, &name);
    let mut over = Snapshot::new();
    assert!(writer.get(&hither_client::Key::of(&name), &mut over));
    let mut draft = over.to_draft().expect("whole");
    let addresses = draft.a.take().map(|a| FamilyDraft { expire_ms: 1, ..a });
    let address = Address {
        address: "2001:db8::1".parse().expect("an address"),
        ..addresses.as_ref().expect("A").addresses[0]
    };
    let version = writer.next_version();
    draft.aaaa = addresses.map(|a| FamilyDraft { version, addresses: vec![address], ..a });
    draft.a = draft.aaaa.clone().map(|a| FamilyDraft {
        negative: Some(hither_client::Negative::NxDomain),
        expire_ms: 1 << 40,
        addresses: Vec::new(),
        ..a
    });
    writer.put(&draft, Monotonic(0)).expect("room");
    assert_eq!((answer(aaaa, early), answer(a, early)), (Answer::Stale, Answer::Fresh));
    std::fs::remove_dir_all(&dir).expect("removable");
}

/// As if a daemon was killed after it renamed the new file and before it marked the old one as replaced.
#[test]
fn a_file_that_was_replaced_without_a_mark_is_noticed() {
    let dir = dir("silent");
    let name: Name = "www.example.com".parse().expect("a name");
    let (writer, lock) = table(&dir, 64);
    let client = Table::open(Some(&dir)).expect("readable");
    drop((writer, lock));
    std::fs::rename(dir.join("hosts"), dir.join("old")).expect("ours");
    let (mut writer, _lock) = table(&dir, 64);
    put(&mut writer, &name);
    let mut entry = Snapshot::new();
    assert_eq!(
        client.answer(&name, Wanted::One(Family::A), Monotonic::from_ms(7000), &mut entry),
        Answer::Fresh
    );
    std::fs::remove_dir_all(&dir).expect("removable");
}

/// A set of addresses of this host that has not expired.
fn put_local(writer: &mut Writer, name: &Name, a: &[&str], aaaa: &[&str]) {
    let version = writer.next_version();
    let set = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| address.parse().expect("an address"));
        Some(FamilyDraft::of(version, addresses.collect::<Vec<_>>(), 1 << 40, 60))
    };
    writer.put(&Draft { name: *name, a: set(a), aaaa: set(aaaa) }, Monotonic(0)).expect("room");
}

#[test]
fn a_connection_is_made_to_the_first_address_that_answers() {
    let dir = dir("connect");
    let name: Name = "www.example.com".parse().expect("a name");
    let (mut writer, _lock) = table(&dir, 64);
    let client = Table::open(Some(&dir)).expect("readable");
    let server = TcpListener::bind("127.0.0.3:0").expect("an address of this host");
    let port = server.local_addr().expect("bound").port();
    let connect = || client.connect(&name, port, PATIENCE);
    let asks = |result| matches!(result, Err(ConnectError::AskTheResolver));
    assert!(asks(connect()), "the name is missing, and there is no daemon");
    put(&mut writer, &name);
    assert!(asks(client.connect(&"localhost".parse().expect("a name"), port, PATIENCE)));
    // Nothing listens at the first two; addresses that no host has are not tried.
    put_local(&mut writer, &name, &["0.0.0.0", "127.0.0.2", "127.0.0.3"], &["::1"]);
    let mut ours = connect().expect("the third address");
    assert_eq!(ours.peer_addr().expect("connected"), server.local_addr().expect("bound"));
    let (mut theirs, _) = server.accept().expect("a connection");
    theirs.write_all(b"x").expect("sent");
    let mut octet = [0];
    ours.read_exact(&mut octet).expect("reading waits");
    put_local(&mut writer, &name, &["127.0.0.2"], &[]);
    let Err(ConnectError::Failed(refused)) = connect() else { panic!("nothing listens there") };
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    put_local(&mut writer, &name, &["0.0.0.0"], &["::"]);
    assert!(matches!(connect(), Err(ConnectError::NoAddress)));
    assert_eq!(std::io::Error::from(ConnectError::NoAddress).kind(), ErrorKind::NotFound);
    std::fs::remove_dir_all(&dir).expect("removable");
}
