//! Tables in file systems with little or no space. Needs root to mount them.
#![cfg(feature = "writer")]

#[path = "../../../tests/support/skip.rs"]
mod skip;

use hither_table::layout::head;
use hither_table::{
    Draft, FamilyDraft, Geometry, Key, Monotonic, NoEntry, Opened, Origin, Reader, Snapshot, Writer,
    entries_that_fit, is_there_more_room, open_as_it_fits,
};
use hither_wire::name::Name;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const NOW: Monotonic = Monotonic(0);

fn name(n: usize) -> Name {
    format!("h{n}.example").parse().expect("a name")
}

fn put(writer: &mut Writer, n: usize) {
    let version = writer.next_version();
    let address = "192.0.2.1".parse().expect("an address");
    let set = FamilyDraft::of(version, [address], 1 << 40, 60);
    writer.put(&Draft { name: name(n), a: Some(set), aaaa: None }, NOW).expect("room is made");
}

fn found(reader: &Reader, n: usize) -> Result<(), NoEntry> {
    reader.lookup(&Key::of(&name(n)), &mut Snapshot::new())
}

fn open(dir: &Path, entries: usize) -> Opened {
    open_as_it_fits(dir, &Geometry { entries }, 0o644, [1, 2, 3], 1_700_000_000).expect("a table")
}

fn why(opened: &Opened) -> String {
    opened.short.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// Fills the file system.
fn fill(dir: &Path) -> PathBuf {
    let path = dir.join("rest");
    let mut rest = std::fs::File::create(&path).expect("a file");
    while rest.write_all(&[1; 4096]).is_ok() {}
    path
}

/// The free octets of the file system.
fn free(dir: &Path) -> u64 {
    let seen = nix::sys::statvfs::statvfs(dir).expect("a file system");
    seen.blocks_available() * seen.fragment_size()
}

fn grow(dir: &Path, size: &str) {
    let options = format!("remount,size={size}");
    let done = std::process::Command::new("mount").args(["-o", &options]).arg(dir).status();
    assert!(done.is_ok_and(|status| status.success()), "it is ours");
}

const PART: &str = "HITHER_FIT_TEST_DIR";

/// Runs `part` in a second process of this test, where `dir` is a tmpfs with these options.
fn in_a_tmpfs(test: &str, options: &str, part: fn(&Path)) {
    if let Some(dir) = std::env::var_os(PART) {
        return part(Path::new(&dir));
    }
    let skip = |why: &str| skip::skip(test, why);
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root to mount one");
    }
    let dir = std::env::temp_dir().join(format!("hither-fit-{test}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let script = format!("mount -t tmpfs -o {options} none \"$1\" && exec \"$2\" --exact {test}");
    let output = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"])
        .arg(&dir)
        .arg(std::env::current_exe().expect("known"))
        .env(PART, &dir)
        .output();
    std::fs::remove_dir_all(&dir).expect("removable");
    match output {
        Err(error) => skip(&format!("unshare: {error}")),
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("unshare: ") => skip("no namespace"),
        Ok(output) => assert!(output.status.success(), "{output:?}"),
    }
}

#[test]
fn in_a_tiny_runtime_directory_the_table_is_smaller() {
    in_a_tmpfs("in_a_tiny_runtime_directory_the_table_is_smaller", "size=8m", |dir| {
        let all = free(dir);
        let opened = open(dir, 65_536);
        assert!(why(&opened).contains("No space left"), "{}", why(&opened));
        assert!(opened.writer.is_shared() && opened.lock.is_some());
        assert!((1024..32_768).contains(&opened.writer.capacity()), "{}", opened.writer.capacity());
        assert!(free(dir) >= all / 2 - 4096, "others have half of what was free");
        let mut writer = opened.writer;
        (0..2000).for_each(|n| put(&mut writer, n));
        let (reader, capacity) = (Reader::open(dir).expect("readable"), writer.capacity());
        assert_eq!(found(&reader, 1999), Ok(()));
        // A successor with the same configuration takes this table over.
        drop((writer, opened.lock));
        let mut again = open(dir, 65_536);
        assert!(matches!(again.origin, Origin::Adopted) && !why(&again).is_empty(), "{:?}", again.origin);
        assert!(again.writer.capacity() >= capacity);
        assert_eq!(found(&reader, 1999), Ok(()));
        // When there is space again the larger table replaces it, with its entries.
        let wanted = Geometry { entries: 65_536 };
        assert!(!is_there_more_room(&again.writer, dir, &wanted));
        grow(dir, "64m");
        assert!(is_there_more_room(&again.writer, dir, &wanted));
        let short = again.writer.rotate_as_it_fits(&mut again.lock, dir, &wanted, 0o644, [4, 5, 6]);
        assert!(matches!(short, Ok(None)), "{short:?}");
        assert_eq!((again.writer.capacity(), found(&reader, 1999)), (65_536, Err(NoEntry::Replaced)));
        while again.writer.work(1024, NOW).is_none() {}
        assert_eq!(found(&Reader::open(dir).expect("readable"), 1999), Ok(()));
        assert!(!is_there_more_room(&again.writer, dir, &wanted));
    });
}

#[test]
fn in_a_full_runtime_directory_the_table_is_on_the_heap() {
    in_a_tmpfs("in_a_full_runtime_directory_the_table_is_on_the_heap", "size=40m", |dir| {
        // The file that could not be taken over is removed, since no process updates it.
        std::fs::write(dir.join("hosts"), [7; 70_000]).expect("writable");
        let rest = fill(dir);
        let mut opened = open(dir, 4096);
        assert!(why(&opened).contains("No space left") && opened.lock.is_some(), "{}", why(&opened));
        assert!(!opened.writer.is_shared() && !dir.join("hosts").exists() && !dir.join("hosts.new").exists());
        (0..4000).for_each(|n| put(&mut opened.writer, n));
        assert_eq!(found(&opened.writer.reader(), 3999), Ok(()));
        let wanted = Geometry { entries: 4096 };
        assert!(!is_there_more_room(&opened.writer, dir, &wanted));
        let before = opened.writer.next_version();
        std::fs::remove_file(rest).expect("there");
        assert!(is_there_more_room(&opened.writer, dir, &wanted));
        let short = opened.writer.rotate_as_it_fits(&mut opened.lock, dir, &wanted, 0o644, [4, 5, 6]);
        assert!(matches!(short, Ok(None)) && opened.writer.is_shared(), "{short:?}");
        assert!(opened.writer.next_version() > before);
        while opened.writer.work(1024, NOW).is_none() {}
        let reader = Reader::open(dir).expect("readable");
        assert_eq!((found(&reader, 3999), reader.writer_lives()), (Ok(()), Some(true)));
    });
}

#[test]
fn versions_continue_above_a_table_that_is_removed_for_lack_of_space() {
    in_a_tmpfs("versions_continue_above_a_table_that_is_removed_for_lack_of_space", "size=40m", |dir| {
        let mut opened = open(dir, 16_384);
        assert!(opened.writer.begin_above(5_000_000_000));
        put(&mut opened.writer, 1);
        let last = opened.writer.last_version();
        drop(opened);
        // The table is of another boot, so it is not taken over, and there is no space for a new
        // one until it is removed.
        let file = std::fs::OpenOptions::new().write(true).open(dir.join("hosts")).expect("there");
        file.write_all_at(&[7; 16], head::BOOT as u64 * 8).expect("writable");
        fill(dir);
        let mut opened = open(dir, 16_384);
        assert!(opened.short.is_some());
        let next = opened.writer.next_version();
        assert!(next > last, "{next} after {last}");
    });
}

#[test]
fn a_larger_table_that_does_not_fit_beside_the_existing_one_leaves_it_in_use() {
    in_a_tmpfs(
        "a_larger_table_that_does_not_fit_beside_the_existing_one_leaves_it_in_use",
        "size=16m",
        |dir| {
            let mut opened = open(dir, 16_384);
            assert!(opened.short.is_none());
            put(&mut opened.writer, 1);
            let wanted = Geometry { entries: 1 << 20 };
            let kept = opened.writer.rotate_as_it_fits(&mut opened.lock, dir, &wanted, 0o644, [4, 5, 6]);
            assert!(kept.is_err_and(|why| why.is_lack_of_space()));
            drop((opened.writer, opened.lock));
            let again = open(dir, 1 << 20);
            assert!(matches!(again.origin, Origin::Adopted) && again.short.is_some(), "{:?}", again.origin);
            assert_eq!(found(&Reader::open(dir).expect("readable"), 1), Ok(()));
        },
    );
}

#[test]
fn a_table_that_cannot_be_replaced_is_kept() {
    in_a_tmpfs("a_table_that_cannot_be_replaced_is_kept", "size=40m", |dir| {
        let mut opened = open(dir, 4096);
        put(&mut opened.writer, 1);
        drop((opened.writer, opened.lock));
        fill(dir);
        for entries in [16_384, 1024] {
            let again = open(dir, entries);
            assert!(matches!(again.origin, Origin::Adopted), "{:?}", again.origin);
            assert!(why(&again).contains("No space left"), "{}", why(&again));
            assert_eq!(found(&Reader::open(dir).expect("readable"), 1), Ok(()));
        }
        // Nor is one that is in the way of something else than space.
        std::fs::create_dir(dir.join("hosts.new")).expect("a directory");
        let again = open(dir, 16_384);
        assert!(matches!(again.origin, Origin::Adopted), "{:?}", again.origin);
        assert!(why(&again).contains("hosts.new"), "{}", why(&again));
        drop((again.writer, again.lock));
        // Without a table the reason ends the start.
        std::fs::remove_file(dir.join("hosts")).expect("there");
        let refused = open_as_it_fits(dir, &Geometry { entries: 1024 }, 0o644, [1, 2, 3], 1);
        assert!(refused.is_err_and(|why| why.to_string().contains("hosts.new")));
    });
}

#[test]
fn in_a_read_only_runtime_directory_the_table_is_on_the_heap() {
    in_a_tmpfs("in_a_read_only_runtime_directory_the_table_is_on_the_heap", "ro", |dir| {
        let opened = open(dir, 4096);
        assert!(why(&opened).contains("Read-only") && opened.lock.is_none(), "{}", why(&opened));
        assert!(!opened.writer.is_shared());
    });
}

#[test]
fn without_a_free_inode_the_table_is_on_the_heap() {
    in_a_tmpfs("without_a_free_inode_the_table_is_on_the_heap", "nr_inodes=1", |dir| {
        let opened = open(dir, 4096);
        assert!(!opened.writer.is_shared() && opened.lock.is_none(), "{}", why(&opened));
    });
}

/// On a host with 128 MiB of memory /run has a tenth or a fifth of that, and most of it stays free
/// for other programs.
#[test]
fn the_usual_table_takes_a_quarter_at_most() {
    in_a_tmpfs("the_usual_table_takes_a_quarter_at_most", "size=13m", |dir| {
        let entries = entries_that_fit(dir, 65_536);
        let octets = Geometry { entries }.words() * 8;
        assert!((4096..16_384).contains(&entries) && octets <= (13 << 20) / 4, "{entries}");
        assert!(open(dir, entries).short.is_none());
        grow(dir, "400m");
        assert_eq!(entries_that_fit(dir, 65_536), 65_536);
    });
}

#[test]
fn on_a_file_system_without_a_limit_the_usual_table_has_full_size() {
    in_a_tmpfs("on_a_file_system_without_a_limit_the_usual_table_has_full_size", "size=0", |dir| {
        assert_eq!((entries_that_fit(dir, 65_536), open(dir, 65_536).short.is_none()), (65_536, true));
    });
}

#[test]
fn a_table_that_another_process_writes_is_left_alone() {
    let dir = std::env::temp_dir().join(format!("hither-fit-held-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let held = open(&dir, 1024);
    let refused = open_as_it_fits(&dir, &Geometry { entries: 2048 }, 0o644, [1, 2, 3], 1).err();
    assert!(refused.is_some_and(|why| why.to_string().contains("another hitherd")));
    assert_eq!(held.writer.capacity(), 1024);
    std::fs::remove_dir_all(&dir).expect("removable");
}
