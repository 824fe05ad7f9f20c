//! The source of an answer, as `query` reports it.

use super::support::{Daemon, Upstream, answer, compose, directory};
use super::{good, source_of};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::Owner;
use hither_wire::message::Section;

#[test]
fn an_answer_from_a_file_has_its_line_and_one_by_a_standard_its_rfc() {
    let upstream = good();
    let dir = directory();
    let (hosts, list) = (dir.join("hosts"), dir.join("list"));
    std::fs::write(&hosts, "# mine\n127.0.0.1 localhost\n192.0.2.7 nas.example  nas\n").expect("writable");
    let mut text: String = (1..10_000).map(|n| format!("n{n}.ads.example\n")).collect();
    text += "tracker.example\n0.0.0.0 exact.example\n";
    std::fs::write(&list, &text).expect("writable");
    let more = format!(
        "[hosts]\nfiles = [{hosts:?}]\n[[block]]\nnames = [\"bad.example\"]\n[[block]]\nfiles = [{list:?}]\n"
    );
    let daemon = Daemon::start_in(dir, &[&upstream], &more);
    for (name, source, detail) in [
        ("nas.example", "hosts", format!("{}:3", hosts.display())),
        ("7.2.0.192.in-addr.arpa", "special", "RFC 6303".to_owned()),
        ("n1.ads.example", "block", format!("{}:1", list.display())),
        ("n4096.ads.example", "block", format!("{}:4096", list.display())),
        ("n4097.ads.example", "block", format!("{}:4097", list.display())),
        ("www.tracker.example", "block", format!("{}:10000", list.display())),
        ("exact.example", "block", format!("{}:10001", list.display())),
        ("a.bad.example", "block", "names of [[block]] 1 in the configuration".to_owned()),
        ("printer.local", "special", "RFC 6762".to_owned()),
    ] {
        // Only one search runs at a time: while the previous one is ending, no line is reported.
        let (said, what, line) = std::iter::repeat_with(|| source_of(&daemon, name))
            .take(1000)
            .find(|(_, what, line)| !what.is_empty() && line.contains(what.as_str()))
            .expect("a search is begun some time");
        assert_eq!((said.as_str(), what.as_str()), (source, detail.as_str()), "{name}");
        assert!(line.contains(&detail) && !line.contains("upstream"), "{line}");
    }
    let pointer = daemon.json(&["query", "7.2.0.192.in-addr.arpa", "PTR"]);
    assert_eq!(pointer["source_detail"], format!("{}:3", hosts.display()), "{pointer}");
    std::fs::write(&list, "tracker.example\n").expect("writable");
    daemon.until("the new line is named", |daemon| {
        source_of(daemon, "tracker.example").1 == format!("{}:1", list.display())
    });
    assert_eq!(upstream.count(), 0);
}

/// For names of a company or a router, the log and `query` name the setting in one line, and the
/// setting takes effect.
#[test]
fn withheld_private_addresses_are_reported_with_the_setting_that_allows_them() {
    let upstream = Upstream::start(|query, _| {
        let private = |composer: &mut hither_wire::compose::Composer<'_>| {
            assert!(composer.record(Section::Answer, Owner::At(12), Rtype::A, 300, &[192, 168, 178, 1]));
        };
        vec![(0, compose(query, Rcode::NOERROR, 0, private))]
    });
    let daemon = Daemon::start(&[&upstream], "");
    let line = "write allow = [\"router.example.com\"] below [rebinding] in hither.toml(5)";
    for _ in 0..2 {
        let text = String::from_utf8(daemon.ctl(&["query", "router.example.com"]).stdout).expect("text");
        assert!(text.starts_with("NOERROR") && text.contains(line), "{text}");
        assert!(text.contains("withheld at") && text.contains("192.168.178.1"), "{text}");
    }
    let json = daemon.json(&["query", "router.example.com"]);
    assert!(json["hint"].as_str().is_some_and(|hint| hint.contains(line)), "{json}");
    assert!(daemon.json(&["query", "a.test"])["hint"].is_null(), "a name of private networks");
    for n in 0..20 {
        daemon.ctl(&["query", &format!("n{n}.example.com")]);
    }
    assert_eq!(daemon.json(&["stats"])["rebinding_blocked"], 21);
    let said = format!("upstream {} says that router.example.com is at 192.168.178.1", upstream.address);
    assert!(daemon.log().contains(&said) && daemon.log().contains(line), "{}", daemon.log());
    assert!(daemon.log().matches("is withheld").count() < 10, "one line in ten seconds");
    Daemon::configure(&daemon.dir, &[&upstream], "[rebinding]\nallow = [\"example.com\"]\n");
    assert!(daemon.ctl(&["reload"]).status.success());
    let text = String::from_utf8(daemon.ctl(&["query", "router.example.com"]).stdout).expect("text");
    assert!(text.contains("A 192.168.178.1") && !text.contains(line), "{text}");
}

/// Several lines have the name and one has the type, in two files with different line endings.
#[test]
fn the_line_with_the_type_is_named_whatever_ends_lines() {
    let upstream = good();
    let dir = directory();
    let (first, second) = (dir.join("first"), dir.join("second"));
    std::fs::write(
        &first,
        "127.0.0.1 both.example four.example\n::1 both.example\n192.0.2.1 split.example\n",
    )
    .expect("writable");
    std::fs::write(
        &second,
        "# old\r192.0.2.2 cr.example\r\n2001:db8::2 split.example\r192.0.2.3 end.example",
    )
    .expect("writable");
    let more = format!("[hosts]\nfiles = [{first:?}, {second:?}]\n");
    let daemon = Daemon::start_in(dir, &[&upstream], &more);
    for (name, rtype, path, line) in [
        ("both.example", "A", &first, 1),
        ("both.example", "AAAA", &first, 2),
        ("four.example", "AAAA", &first, 1),
        ("both.example", "HTTPS", &first, 1),
        ("split.example", "A", &first, 3),
        ("split.example", "AAAA", &second, 3),
        ("cr.example", "A", &second, 2),
        ("end.example", "A", &second, 4),
    ] {
        let report = daemon.json(&["query", name, rtype]);
        assert_eq!(report["source_detail"], format!("{}:{line}", path.display()), "{name} {rtype}: {report}");
    }
}

#[test]
fn a_hosts_file_that_was_removed_is_named_for_the_names_that_were_read() {
    let upstream = good();
    let dir = directory();
    let hosts = dir.join("hosts");
    std::fs::write(&hosts, "192.0.2.7 nas.example\n").expect("writable");
    let daemon = Daemon::start_in(dir, &[&upstream], &format!("[hosts]\nfiles = [{hosts:?}]\n"));
    assert_eq!(source_of(&daemon, "nas.example").1, format!("{}:1", hosts.display()));
    std::fs::remove_file(&hosts).expect("there");
    std::fs::create_dir(&hosts).expect("a directory");
    daemon.until("it is said to be lost", |daemon| {
        daemon.json(&["status"])["files"][0]["problem"].as_str().is_some_and(|why| why.contains("directory"))
    });
    let text = String::from_utf8(daemon.ctl(&["status"]).stdout).expect("text");
    let line = text.lines().find(|line| line.starts_with("file ")).unwrap_or_default();
    assert!(line.contains("/hosts: cannot be read") && line.ends_with("in force, 1 name"), "{line}");
    let (source, detail, _) = source_of(&daemon, "nas.example");
    assert_eq!(source, "hosts");
    assert_eq!(detail, format!("{} (its previous contents)", hosts.display()));
}

#[test]
fn answers_of_upstreams_the_cache_and_failures_have_different_sources() {
    let moody = Upstream::start(|query, _| {
        let failing = query.windows(6).any(|six| six.eq_ignore_ascii_case(b"broken"));
        let reply = if failing { compose(query, Rcode::SERVFAIL, 0, |_| {}) } else { answer(query, &[1], 1) };
        vec![(0, reply)]
    });
    let daemon = Daemon::start(
        &[&moody],
        "[cache]\nfailure_ttl = \"60s\"\nprefetch = false\n[round]\ndeadline = \"300ms\"\n",
    );
    let address = moody.address.to_string();
    assert_eq!(daemon.json(&["query", "www.example"])["source_detail"], address, "{}", daemon.log());
    let report = daemon.json(&["query", "other.example"]);
    assert_eq!((&report["source"], &report["source_detail"]), (&"upstream".into(), &address.clone().into()));
    let report = daemon.json(&["query", "other.example"]);
    assert_eq!((&report["source"], &report["from_cache"]), (&"cache".into(), &true.into()));
    let text = String::from_utf8(daemon.ctl(&["query", "third.example"]).stdout).expect("text");
    assert!(text.starts_with(&format!("NOERROR from upstream {address} after ")), "{text}");
    let report = daemon.json(&["query", "broken.example"]);
    assert_eq!((&report["source"], &report["rcode"]), (&"upstream".into(), &"SERVFAIL".into()));
    let (source, _, line) = source_of(&daemon, "broken.example");
    assert_eq!(source, "failure");
    assert!(line.starts_with("SERVFAIL from a failure: it is cached"), "{line}");
}

#[test]
fn expired_data_are_reported_as_stale() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let dying = Upstream::start(move |query, _| {
        let first = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        if first { vec![(0, answer(query, &[1], 1))] } else { Vec::new() }
    });
    let daemon = Daemon::start(&[&dying], "[cache]\nprefetch = false\n[round]\ndeadline = \"300ms\"\n");
    daemon.ask("www.example");
    daemon.until("it has expired", |d| d.json(&["lookup", "www.example"])["stale"] == true);
    let (source, _, _) = source_of(&daemon, "www.example");
    assert_eq!(source, "stale");
    let text = String::from_utf8(daemon.ctl(&["query", "www.example"]).stdout).expect("text");
    assert!(text.starts_with("NOERROR from the cache, expired, since no upstream"), "{text}");
}
