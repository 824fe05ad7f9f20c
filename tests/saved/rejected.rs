//! Saved names that are not restored: other upstreams, flushed, local or expired.

use super::*;

#[test]
fn answers_of_upstreams_that_are_no_longer_asked_are_not_restored() {
    let (first, second, other) = (good(&[1]), good(&[1]), good(&[2]));
    let dir = directory();
    let mut daemon = start(&dir, &first, &format!("[[upstream]]\naddress = \"{}\"\n", second.address));
    daemon.ask("a.example");
    stop(&mut daemon);
    // A network may come up in steps, so a part of the upstreams is enough.
    let mut daemon = start(&dir, &second, "");
    says(&daemon, "1 sets of addresses are restored");
    stop(&mut daemon);
    let daemon = start(&dir, &other, "");
    says(&daemon, "0 sets of addresses are restored; 0 had run out, 1 were left out");
    assert_eq!(ends(&daemon.ask("a.example")), [2]);
}

#[test]
fn flushed_names_are_not_restored() {
    let upstream = good(&[1]);
    let dir = directory();
    let path = write(&dir, [set("a.example", 9), set("b.example", 9)].into_iter());
    let mut daemon = start(&dir, &upstream, "");
    says(&daemon, "2 sets of addresses are restored");
    assert!(daemon.ctl(&["flush", "a.example"]).status.success());
    daemon.until("it is gone from the file", |_| saved(&path).len() == 1);
    daemon.process.kill().expect("it runs");
    daemon.process.wait().expect("a child");
    forget(&dir);
    let next = start(&dir, &upstream, "");
    says(&next, "1 sets of addresses are restored");
    assert_eq!([ends(&next.ask("a.example")), ends(&next.ask("b.example"))], [[1], [9]]);
}

#[test]
fn names_that_are_now_local_or_have_other_upstreams_are_not_restored() {
    let (usual, corp) = (good(&[1]), good(&[2]));
    let dir = directory();
    let domain = |upstream: &Upstream| {
        format!("[[domain]]\nnames = [\"corp.example\"]\nupstreams = [\"{}\"]\n", upstream.address)
    };
    let names = ["a.corp.example", "b.example", "ads.example", "corp.test"];
    let mut before = start(&dir, &usual, &domain(&corp));
    for name in names {
        before.ask(name);
    }
    stop(&mut before);
    let more = "[[block]]\nnames = [\"ads.example\"]\n";
    let mut after = start(&dir, &usual, &(domain(&corp) + more));
    says(&after, "3 sets of addresses are restored; 0 had run out, 1 were left out");
    assert_eq!(ends(&after.ask("a.corp.example")), [2]);
    let blocked = after.ask("ads.example");
    assert_eq!(Message::read(&blocked).expect("readable").header().rcode(), Rcode::NXDOMAIN);
    assert_eq!((usual.count(), corp.count()), (3, 1), "no restored name was asked again");
    stop(&mut after);
    let last = start(&dir, &usual, more);
    says(&last, "2 sets of addresses are restored; 0 had run out, 1 were left out");
    assert_eq!(
        ends(&last.ask("a.corp.example")),
        [1],
        "answered by the upstream that it has without its domain"
    );
}

#[test]
fn a_saved_cache_ages_by_the_clock_and_is_not_used_if_the_clock_is_wrong() {
    let dir = directory();
    let Some(library) = preloaded(&dir, "tests/hostile/clocks.c") else {
        return skip(
            "a_saved_cache_ages_by_the_clock_and_is_not_used_if_the_clock_is_wrong",
            "there is no C compiler",
        );
    };
    let file = dir.join("offsets");
    let ahead = |seconds: i64| {
        std::fs::write(dir.join("new"), format!("{seconds} 0\n")).expect("written");
        std::fs::rename(dir.join("new"), &file).expect("renamed");
    };
    let upstream = silent();
    let path = write(&dir, [set("a.example", 9), Set { left_ms: 60_000, ..set("b.example", 9) }].into_iter());
    let octets = std::fs::read(&path).expect("readable");
    let boot = |seconds: i64| {
        ahead(seconds);
        std::fs::write(&path, &octets).expect("written");
        let _ = std::fs::remove_dir_all(dir.join("run"));
        configure(&dir, &upstream, SHORT);
        Daemon::spawn(dir.clone(), command(&dir).env("LD_PRELOAD", &library).env("CLOCKS", &file))
    };
    // Dropped at the end, since dropping a daemon removes its directory.
    let mut all = Vec::new();
    let mut end = |mut daemon: Daemon| {
        daemon.process.kill().expect("it runs");
        daemon.process.wait().expect("a child");
        all.push(daemon);
    };
    let behind = boot(-3_600);
    says(&behind, "by the clock it will be written in 3");
    end(behind);
    let old = boot(2 * 86_400);
    says(&old, " s old, more than 86400 s");
    end(old);
    let later = boot(600);
    says(&later, "1 sets of addresses are restored; 1 had run out, 0 were left out");
    let (_, ttls) = told(&later.ask("a.example"));
    assert!(ttls.iter().all(|ttl| (2_900..=2_995).contains(ttl)), "{ttls:?}");
    end(later);
    let over = boot(3_600);
    says(&over, "0 sets of addresses are restored; 2 had run out, 0 were left out");
    end(over);
    // The clock is set after the start: a small step does not matter, a large one does.
    let set_later = boot(0);
    says(&set_later, "2 sets of addresses are restored");
    ahead(3);
    set_later.until("the clock is checked again", |d| {
        d.json(&["stats"])["queries"].as_u64() >= Some(3) || {
            d.ask("a.example");
            false
        }
    });
    assert_eq!(ends(&set_later.ask("a.example")), [9]);
    ahead(1_800);
    set_later.until("the restored entries are dropped", |d| {
        d.ask("a.example");
        d.log().contains("the clock was set forward by 1800 s")
            || d.log().contains("the clock was set forward by 1799 s")
    });
    for name in ["a.example", "b.example"] {
        let reply = set_later.ask(name);
        assert_eq!(Message::read(&reply).expect("readable").header().rcode(), Rcode::SERVFAIL, "{name}");
    }
    end(set_later);
}
