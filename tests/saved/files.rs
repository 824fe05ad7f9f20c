//! Saving to directories that are missing, full or read-only, and a daemon that is killed.

use super::*;

#[test]
fn nothing_is_saved_where_saving_is_off_or_has_no_directory() {
    let upstream = good(&[1]);
    let dir = directory();
    let path = write(&dir, [set("a.example", 9)].into_iter());
    let before = std::fs::read(&path).expect("readable");
    let mut off = start(&dir, &upstream, "[cache]\nsave = \"0s\"\n");
    assert_eq!(ends(&off.ask("a.example")), [1], "from the upstream");
    stop(&mut off);
    assert_eq!(std::fs::read(&path).expect("there"), before);
    // Without state_dir.
    Daemon::configure(&dir, &[&upstream], "");
    std::fs::remove_file(dir.join("hither.toml.d/keep.toml")).expect("removable");
    let mut nowhere = Daemon::spawn(dir.clone(), command(&dir).env_remove("STATE_DIRECTORY"));
    assert!(nowhere.log().contains("nothing is kept over a reboot"), "{}", nowhere.log());
    assert_eq!(ends(&nowhere.ask("a.example")), [1]);
    stop(&mut nowhere);
    // systemd passes several directories in one variable.
    let both = format!("{}:/nonexistent", dir.join("state").display());
    let systemd = Daemon::spawn(dir.clone(), command(&dir).env("STATE_DIRECTORY", both));
    says(&systemd, "1 sets of addresses are restored");
    assert_eq!(ends(&systemd.ask("a.example")), [9]);
}

#[test]
fn a_state_directory_that_cannot_be_written_is_logged_once_and_service_goes_on() {
    let upstream = good(&[1]);
    let dir = directory();
    std::fs::write(dir.join("file"), "").expect("written");
    let mut all = Vec::new();
    for (state, why) in [("/proc/hither", "cannot create '/proc/hither'"), ("file/below", "Not a directory")]
    {
        let state = if state.starts_with('/') { PathBuf::from(state) } else { dir.join(state) };
        let more = format!("state_dir = {:?}\n[cache]\nsave = \"1s\"\n", state.display().to_string());
        let mut daemon = start(&dir, &upstream, &more);
        daemon.ask("a.example");
        assert!(says(&daemon, "the cache is not saved: ").contains(why), "{}", daemon.log());
        assert_eq!(ends(&daemon.ask("b.example")), [1]);
        stop(&mut daemon);
        assert_eq!(daemon.log().matches("the cache is not saved").count(), 1, "{}", daemon.log());
        all.push(daemon);
    }
}

#[test]
fn a_full_or_read_only_disk_leaves_the_previous_file() {
    let dir = directory();
    let state = dir.join("state");
    std::fs::create_dir_all(&state).expect("a directory");
    let sh =
        |line: String| Command::new("sh").args(["-c", &line]).status().is_ok_and(|status| status.success());
    let place = state.display();
    let alone = unshare(CloneFlags::CLONE_NEWNS).is_ok()
        && sh("mount --make-rprivate /".to_owned())
        && sh(format!("mount -t tmpfs -o size=12k none {place}"));
    if !alone {
        return skip("a_full_or_read_only_disk_leaves_the_previous_file", "needs root and namespaces");
    }
    let upstream = good(&[1]);
    let mut daemon = start(&dir, &upstream, "[cache]\nsave = \"1s\"\n");
    daemon.ask("a.example");
    daemon.until("it is saved", |_| state.join("cache").exists());
    for n in 0..500 {
        daemon.ask(&format!("n{n}.example"));
    }
    says(&daemon, "cache.new': No space left on device");
    daemon.until("half a file is gone", |_| !state.join("cache.new").exists());
    let kept = saved(&state.join("cache")).len();
    assert!((1..500).contains(&kept), "{kept}");
    assert!(sh(format!("mount -o remount,ro {place}")));
    assert_eq!(ends(&daemon.ask("b.example")), [1]);
    says(&daemon, "cache.new': Read-only file system");
    assert!(sh(format!("mount -o remount,rw,size=1m {place}")));
    says(&daemon, "sets of addresses are saved in");
    stop(&mut daemon);
    assert!(saved(&state.join("cache")).len() >= 501);
    assert!(sh(format!("umount {place}")));
}

#[test]
fn a_kill_leaves_the_file_that_was_saved_before() {
    let upstream = good(&[1]);
    let dir = directory();
    let path = dir.join("state/cache");
    let mut daemon = start(&dir, &upstream, "[cache]\nsave = \"1s\"\n");
    daemon.ask("a.example");
    daemon.until("it is saved", |_| path.exists());
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    configure(&dir, &upstream, "[cache]\nsave = \"1h\"\n");
    daemon.signal(Signal::SIGHUP);
    says(&daemon, "the configuration is reloaded");
    daemon.ask("b.example");
    daemon.process.kill().expect("it runs");
    daemon.process.wait().expect("a child");
    // The file of a daemon that was killed while it saved.
    std::fs::write(dir.join("state/cache.new"), "half of").expect("written");
    forget(&dir);
    let asked = upstream.count();
    let mut next = start(&dir, &upstream, "");
    says(&next, "1 sets of addresses are restored");
    assert_eq!((ends(&next.ask("a.example")), upstream.count()), (vec![1], asked));
    // If the table still exists it is used, and the file is not.
    next.process.kill().expect("it runs");
    next.process.wait().expect("a child");
    let last = start(&dir, &upstream, "");
    assert!(last.log().contains("is taken over: about 1 entries") && !last.log().contains("restored"));
}
