//! The table as a file: takeover, replacement, damage, trust.

use super::{Dir, NOW, PART, both, finish, name, part, read};
use hither_table::{
    Geometry, Key, Memory, NoEntry, Origin, Reader, Snapshot, Writer, open_or_create, rotate,
};
use std::sync::Arc;

/// A table for which the file system is too small is not created, and an existing one can still be
/// written and read.
#[test]
fn on_a_full_tmpfs_no_process_is_killed() {
    if let Some(dir) = part() {
        return fill_a_tmpfs(&dir);
    }
    let skip = |why: &str| super::skip::skip("on_a_full_tmpfs_no_process_is_killed", why);
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root to mount a tmpfs");
    }
    let dir = Dir::new("full");
    let me = std::env::current_exe().expect("known");
    let script = "mount -t tmpfs -o size=4m none \"$1\" && exec \"$2\" --exact files::on_a_full_tmpfs_no_process_is_killed";
    let output = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(&dir.0)
        .arg(me)
        .env(PART, &dir.0)
        .output();
    match output {
        Err(error) => skip(&format!("unshare: {error}")),
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("unshare: ") => skip("no namespace"),
        Ok(output) => assert!(output.status.success(), "{output:?}"),
    }
}

fn fill_a_tmpfs(dir: &std::path::Path) {
    use std::io::Write as _;
    let open = |entries| open_or_create(dir, &Geometry { entries }, 0o644, [1, 2, 3], 1);
    let refused = open(65_536).expect_err("larger than the file system").to_string();
    assert!(refused.contains("allocate space for") && refused.contains("No space left"), "{refused}");
    let (mut writer, ..) = open(64).expect("this one fits");
    let mut rest = std::fs::File::create(dir.join("rest")).expect("a file");
    while rest.write_all(&[1; 4096]).is_ok() {}
    let reader = Reader::open(dir).expect("readable");
    for n in 0..5000 {
        let version = writer.next_version();
        writer.put(&both(n, version, ((n % 200) as usize, 2)), NOW).expect("room is made");
        assert_eq!(read(&reader, n).0, Ok(()));
    }
    let full = rotate(&mut writer, dir, &Geometry { entries: 4096 }, 0o644, [4, 5, 6]);
    assert!(full.is_err(), "no space for a second one");
    assert_eq!(read(&reader, 4999).0, Ok(()), "and the first is still used");
}

#[test]
fn a_successor_takes_the_table_over_and_versions_continue() {
    let dir = Dir::new("adopt");
    let (mut writer, origin, lock) = dir.open();
    assert!(matches!(origin, Origin::Created), "{origin:?}");
    let reader = Reader::open(&dir.0).expect("readable");
    for n in 0..60 {
        let version = writer.next_version();
        writer.put(&both(n, version, (3, 1)), NOW).expect("room");
    }
    let last = reader.version();
    assert!(
        open_or_create(&dir.0, &Geometry { entries: 64 }, 0o644, [1, 2, 3], 0).is_err(),
        "one writer at a time"
    );
    drop((writer, lock));
    let (mut writer, origin, _lock) = dir.open();
    assert!(matches!(&origin, Origin::Adopted), "{origin:?}");
    assert!(writer.next_version() > last);
    assert_eq!((writer.entries(), finish(&mut writer)), (60, (60, 0)));
    assert!((0..60).all(|n| read(&reader, n).0.is_ok()), "readers continue with their mapping");
    for n in 60..500 {
        let version = writer.next_version();
        writer.put(&both(n, version, (3, 1)), NOW).expect("room");
    }
    assert!(reader.verify().bad.is_empty());
}

#[test]
fn every_damage_of_the_file_is_noticed_and_the_file_is_replaced() {
    type Damage = (&'static str, fn(&mut Vec<u8>));
    let cases: [Damage; 9] = [
        ("first octets", |f| f[0] ^= 1),
        ("another ABI", |f| f[12] ^= 1),
        ("byte order", |f| f[16] ^= 1),
        ("checksum", |f| f[48 * 8] ^= 1),
        ("checksum", |f| f[80] ^= 0x10),
        ("whole number", |f| f.truncate(f.len() - 3)),
        ("size is not", |f| f.truncate(f.len() - 8)),
        ("shorter", |f| f.clear()),
        ("started", |f| f[42 * 8] ^= 1),
    ];
    for (expected, damage) in cases {
        let dir = Dir::new("damage");
        let path = dir.0.join("hosts");
        let (mut writer, _, lock) = dir.open();
        let version = writer.next_version();
        writer.put(&both(1, version, (1, 0)), NOW).expect("room");
        let old = writer.reader();
        drop(lock);
        let mut octets = std::fs::read(&path).expect("readable");
        damage(&mut octets);
        std::fs::remove_file(&path).expect("removable");
        std::fs::write(&path, octets).expect("writable");
        let (mut writer, origin, _lock) = dir.open();
        let Origin::Replaced { why } = &origin else { panic!("{expected}: {origin:?}") };
        assert!(why.to_string().contains(expected), "{expected}: {why}");
        let version = writer.next_version();
        writer.put(&both(2, version, (1, 0)), NOW).expect("room");
        assert_eq!(read(&Reader::open(&dir.0).expect("readable"), 2).0, Ok(()));
        assert_eq!(read(&old, 1).0, Ok(()), "readers of the old file are not affected");
    }
}

#[test]
fn a_table_of_another_size_is_replaced_and_its_readers_learn_of_it() {
    let dir = Dir::new("size");
    let (mut writer, _, lock) = dir.open();
    let version = writer.next_version();
    writer.put(&both(1, version, (1, 0)), NOW).expect("room");
    let reader = Reader::open(&dir.0).expect("readable");
    drop((writer, lock));
    let (mut writer, origin, _lock) =
        open_or_create(&dir.0, &Geometry { entries: 128 }, 0o640, [4, 5, 6], 0).expect("a table");
    assert!(matches!(origin, Origin::Resized), "{origin:?}");
    assert_eq!(read(&reader, 1).0, Err(NoEntry::Replaced));
    assert!(writer.next_version() > version);
    let reader = Reader::open(&dir.0).expect("readable");
    assert_eq!(read(&reader, 1).0, Err(NoEntry::Missing), "not copied yet");
    assert!(
        writer.get(&Key::of(&name(1)), &mut Snapshot::new()),
        "an entry that is looked up is copied at once"
    );
    assert_eq!(read(&reader, 1).1.expect("copied").version(), version, "under its version");
    assert_eq!(finish(&mut writer), (1, 0));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(dir.0.join("hosts")).expect("there").permissions(),
    );
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn readers_of_a_table_whose_file_was_removed_learn_of_the_one_that_is_made_anew() {
    let dir = Dir::new("removed");
    let (mut writer, _, lock) = dir.open();
    let version = writer.next_version();
    writer.put(&both(1, version, (1, 0)), NOW).expect("room");
    let mapped = Reader::open(&dir.0).expect("readable");
    std::fs::remove_dir_all(&dir.0).expect("removable");
    std::fs::create_dir(&dir.0).expect("a directory");
    rotate(&mut writer, &dir.0, &Geometry { entries: 64 }, 0o644, [4, 5, 6]).expect("a table");
    assert_eq!(read(&mapped, 1).0, Err(NoEntry::Replaced));
    finish(&mut writer);
    assert_eq!(read(&Reader::open(&dir.0).expect("readable"), 1).0, Ok(()));
    drop(lock);
}

#[test]
fn a_damaged_record_is_dropped_and_the_others_stay() {
    let dir = Dir::new("record");
    let (mut writer, _, lock) = dir.open();
    for n in 0..10 {
        let version = writer.next_version();
        writer.put(&both(n, version, (3, 0)), NOW).expect("room");
    }
    drop((writer, lock));
    let path = dir.0.join("hosts");
    let mut octets = std::fs::read(&path).expect("readable");
    let wire = name(4);
    let at =
        octets.windows(wire.as_wire().len()).position(|w| w == wire.as_wire()).expect("the key stands there");
    octets[at + 1] = b'H';
    std::fs::write(&path, octets).expect("writable");
    assert_eq!(Reader::open(&dir.0).expect("readable").verify().bad.len(), 1);
    let (mut writer, ..) = dir.open();
    assert_eq!(finish(&mut writer), (9, 1));
}

#[test]
fn a_link_or_a_directory_in_place_of_the_table_is_not_followed() {
    let dir = Dir::new("link");
    let target = dir.0.join("elsewhere");
    std::fs::write(&target, [0; 8192]).expect("writable");
    std::os::unix::fs::symlink(&target, dir.0.join("hosts")).expect("a link");
    assert!(Reader::open(&dir.0).is_err());
    let (_, origin, _lock) = dir.open();
    assert!(matches!(origin, Origin::Replaced { .. }), "{origin:?}");
    assert_eq!(std::fs::read(&target).expect("readable"), [0; 8192], "the target of the link is not changed");
}

#[test]
fn memory_of_another_size_is_no_table() {
    let geometry = Geometry { entries: 16 };
    assert!(Writer::create(Memory::heap(geometry.words() - 8), &geometry, [1, 2], 3, 10).is_err());
    assert!(Reader::over(Arc::new(Memory::heap(geometry.words()))).is_err());
}

/// `hither_table::trust` is one rule, so C programs and the NSS module refuse the same files.
#[test]
fn a_table_that_other_users_can_write_is_neither_read_nor_taken_over() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = Dir::new("trust");
    let (mut writer, _, lock) = dir.open();
    let chmod = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
    };
    let file = dir.0.join("hosts");
    let why = || Reader::open(&dir.0).map(|_| ()).expect_err("not to be trusted").to_string();
    chmod(&dir.0, 0o755);
    assert!(Reader::open(&dir.0).is_ok());
    for (outer, inner, expected) in [
        (0o777, 0o664, "can write its directory"),
        (0o775, 0o644, "can write its directory"),
        (0o755, 0o664, "can write it, by its mode"),
        (0o755, 0o646, "can write it, by its mode"),
    ] {
        chmod(&dir.0, outer);
        chmod(&file, inner);
        assert!(why().contains(expected), "{outer:o} {inner:o}: {}", why());
    }
    chmod(&dir.0, 0o1777);
    chmod(&file, 0o644);
    assert!(Reader::open(&dir.0).is_ok(), "in a sticky directory no other user replaces it");
    chmod(&file, 0o664);
    writer.close();
    drop((writer, lock));
    // Another user may have written it, and may still, so a successor creates a new table.
    let (_writer, origin, _lock) = dir.open();
    assert!(matches!(origin, Origin::Replaced { .. }), "{origin:?}");
    assert!(Reader::open(&dir.0).is_ok());
    let link = dir.0.join("link");
    std::os::unix::fs::symlink(&dir.0, &link).expect("ours");
    assert!(Reader::open(&link).is_err(), "a link to the directory is not followed");
}
