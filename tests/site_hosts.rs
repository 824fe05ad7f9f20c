//! Ten hosts of one site in network namespaces, with a real engine and upstreams that count: what one
//! host has learned the others answer; what is private stays at home; an engine that lies, is gone, cut
//! off, emptied or split costs no answer, and no older answer follows a newer one.
//!
//! Needs root, namespaces and valkey-server or redis-server, and prints SKIPPED without them.

#[path = "site_hosts/hosts.rs"]
mod hosts;
#[path = "site_hosts/network.rs"]
mod network;
mod support;

use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, QueryBits, query};
use hosts::{Host, Site, Traits, until_written};
use std::collections::BTreeSet;
use support::ask_for;

/// The numbers of ten hosts.
const TEN: std::ops::Range<u8> = 11..21;

fn names(what: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{what}{n}.shared-names.org")).collect()
}

#[test]
fn a_name_that_one_host_has_asked_for_is_answered_at_the_others_without_an_upstream() {
    let Some(site) =
        Site::new("a_name_that_one_host_has_asked_for_is_answered_at_the_others_without_an_upstream")
    else {
        return;
    };
    let hosts: Vec<Host> = TEN.map(|number| Host::joined(number, &Traits::default())).collect();
    let (first, others) = hosts.split_first().expect("ten");
    let (known, missing) = (names("www", 20), names("no", 5));
    for name in known.iter().chain(&missing) {
        site.ask(first, name);
        until_written(&site, first, name);
    }
    first.settles();
    let before = site.queries();
    for host in others {
        for name in &known {
            assert_eq!(site.ask(host, name), 1, "{name}\n{}", host.say());
        }
        for name in &missing {
            assert_eq!(site.ask(host, name), 0, "{name}\n{}", host.say());
        }
        // The very first query was answered from the site, and so was each that followed.
        assert_eq!(host.count("site_published"), 25, "{}", host.say());
    }
    assert_eq!(site.queries(), before, "no upstream was asked");
    let shown = others[0].daemon.json(&["query", &known[0]]);
    let said = shown.to_string();
    assert!(said.contains("\"site\"") && said.contains("host11"), "{said}");
    // What a host has from the site it does not write again.
    assert_eq!(site.client().commands().get("set"), Some(&25));

    // A host that comes later and never asks the site: it is offered what is known when it starts.
    let late = Host::joined(21, &Traits { asks: false, ..Traits::default() });
    late.until("all sets are offered", |host| host.count("site_published") >= 25);
    for name in &known {
        assert_eq!(site.ask(&late, name), 1, "{name}");
    }
    assert_eq!(site.queries(), before, "no upstream was asked");
    assert_eq!(late.count("site_asks"), 0);

    // The operator of one host no longer believes it.
    let newest = site.next_generation();
    let one = &others[0];
    one.flush(&["--site"]);
    for name in &known {
        assert_eq!(site.ask(one, name), newest, "{name}: of sets from before nothing is left\n{}", one.say());
    }
    assert!(site.queries() > before);
    assert_eq!(site.ask(&late, &known[0]), 1, "the other hosts still have it");
}

#[test]
fn what_another_host_learns_arrives_where_the_name_was_asked_for_within_the_hour() {
    let Some(site) =
        Site::new("what_another_host_learns_arrives_where_the_name_was_asked_for_within_the_hour")
    else {
        return;
    };
    let quiet = Traits { asks: false, ..Traits::default() };
    let hosts: Vec<Host> = (11..14).map(|number| Host::joined(number, &quiet)).collect();
    let name = "news.shared-names.org";
    for host in &hosts[..2] {
        assert_eq!(site.ask(host, name), 1);
        host.settles();
    }
    until_written(&site, &hosts[0], name);
    // The second host wants the name again, and has nothing of its own.
    hosts[1].flush(&[name]);
    let newest = site.next_generation();
    let published = |host: &Host| host.count("site_published");
    // What the first host learns counts as asked when its round may have begun at the earliest, which is
    // seconds before it ends; it is news to the second only if that was after the flush.
    hosts[1].until("the news arrive", |host| {
        hosts[0].flush(&[name]);
        assert_eq!(site.ask(&hosts[0], name), newest);
        published(host) == 1
    });
    hosts[0].settles();
    let before = site.queries();
    assert_eq!(site.ask(&hosts[1], name), newest);
    assert_eq!(site.queries(), before);
    // The third has never asked for the name.
    assert_eq!(published(&hosts[2]), 0, "{}", hosts[2].say());
}

/// A query with DO or CD.
fn odd_query(name: &str, cd: bool, dnssec: bool) -> Vec<u8> {
    let mut out = [0; 300];
    let bits = QueryBits { rd: true, cd, edns: Some((1232, dnssec)) };
    let name = name.parse().expect("a name");
    let len = query(&mut out, 9, &Asked { name: &name, rtype: Rtype::A }, bits);
    out[..len].to_vec()
}

#[test]
fn nothing_private_reaches_the_engine() {
    let Some(site) = Site::new("nothing_private_reaches_the_engine") else { return };
    let more = concat!(
        "[rebinding]\nallow = [\"private-allowed.org\"]\n",
        "[[domain]]\nnames = [\"secret-company.org\"]\nupstreams = [\"10.19.0.2\"]\n",
    );
    let host = Host::joined(11, &Traits { more: more.to_owned(), ..Traits::default() });
    let private = [
        "secret-single",
        "secret.local",
        "secret.home.arpa",
        "secret.internal",
        "secret.localhost",
        "www.secret-company.org",
        "secret-company.org",
        "private-secret.shared-names.org",
        "private-secret.private-allowed.org",
        "short-secret.shared-names.org",
        "secret.10.in-addr.arpa",
    ];
    for name in private {
        for rtype in [Rtype::A, Rtype::AAAA] {
            host.reply(&ask_for(name, rtype, Some(1232), 7));
        }
    }
    host.reply(&odd_query("cd-secret.shared-names.org", true, false));
    host.reply(&odd_query("do-secret.shared-names.org", false, true));
    host.reply(&ask_for("text-secret.shared-names.org", Rtype::TXT, Some(1232), 7));
    host.settles();
    // Sets are written in the order in which they were published: after this one nothing is to come.
    site.ask(&host, "last.shared-names.org");
    until_written(&site, &host, "last.shared-names.org");
    let all = site.client().everything();
    let texts = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let keys: BTreeSet<String> = all.keys().map(|key| texts(key)).collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
    for (key, value) in &all {
        for word in ["secret", "private"] {
            assert!(!texts(key).contains(word) && !texts(value).contains(word), "{}", texts(key));
        }
    }
    let lives = site.client().call(&[&b"PTTL"[..], &all.keys().next().expect("one")[..]]).expect("answered");
    assert!(
        matches!(lives, support::engine::Reply::Number(1..=300_000)),
        "the engine forgets by itself: {lives:?}"
    );
}

#[test]
fn a_host_with_another_key_is_ignored_and_counted() {
    let Some(site) = Site::new("a_host_with_another_key_is_ignored_and_counted") else { return };
    let hosts: Vec<Host> = (11..14).map(|number| Host::joined(number, &Traits::default())).collect();
    let stranger =
        Host::joined(20, &Traits { key: "a key that the site does not have", ..Traits::default() });
    let name = "lie.shared-names.org";
    site.next_generation();
    assert_eq!(site.ask(&stranger, name), 2);
    until_written(&site, &stranger, name);
    // Whoever asks gets what the upstreams say, not what the stranger has written.
    let newest = site.next_generation();
    for host in &hosts[..1] {
        assert_eq!(site.ask(host, name), newest, "{}", host.say());
        host.until("the lie is counted", |host| host.refused("signature") >= 1);
        assert_eq!(host.count("site_published"), 0);
    }
    until_written(&site, &hosts[0], name);
    // And the stranger believes nobody else.
    let other = "truth.shared-names.org";
    assert_eq!(site.ask(&hosts[0], other), newest);
    until_written(&site, &hosts[0], other);
    let newest = site.next_generation();
    assert_eq!(site.ask(&stranger, other), newest, "{}", stranger.say());
    stranger.until("the truth is counted", |host| host.refused("signature") >= 1);
}

#[test]
fn an_engine_that_is_gone_cut_off_or_emptied_costs_no_answer() {
    let Some(mut site) = Site::new("an_engine_that_is_gone_cut_off_or_emptied_costs_no_answer") else {
        return;
    };
    let hosts: Vec<Host> = TEN.map(|number| Host::joined(number, &Traits::default())).collect();
    let shared = |site: &Site, what: &str| {
        let name = format!("{what}.shared-names.org");
        let newest = site.next_generation();
        assert_eq!(site.ask(&hosts[0], &name), newest);
        until_written(site, &hosts[0], &name);
        hosts[0].settles();
        let before = site.queries();
        for host in &hosts {
            assert_eq!(site.ask(host, &name), newest, "{}", host.say());
        }
        assert_eq!(site.queries(), before, "{what}: no upstream was asked");
    };
    let alone = |site: &Site, what: &str| {
        for (n, host) in hosts.iter().enumerate() {
            let newest = site.next_generation();
            assert_eq!(site.ask(host, &format!("{what}{n}.shared-names.org")), newest, "{}", host.say());
            // A hit, and what the site gave before.
            site.ask(host, &format!("{what}{n}.shared-names.org"));
            site.ask(host, "start.shared-names.org");
        }
    };
    shared(&site, "start");

    site.client().call(&["FLUSHALL"]).expect("flushed");
    alone(&site, "flushed");
    shared(&site, "after-flush");

    drop(site.engine.take());
    hosts.iter().for_each(|host| host.until_site("connecting"));
    alone(&site, "gone");
    for host in &hosts {
        host.until("the loss is counted", |host| host.site()["reconnects"].as_u64() >= Some(1));
    }

    site.start_engine(&[]);
    hosts.iter().for_each(|host| host.until_site("up"));
    assert!(!site.has("start.shared-names.org"), "it has restarted empty");
    shared(&site, "restarted");

    site.network.connect(false);
    alone(&site, "cut");
    site.network.connect(true);
    hosts.iter().for_each(|host| host.until_site("up"));
    for host in &hosts {
        host.until("it is asked again", |host| {
            site.ask(host, &format!("again{}.shared-names.org", host.count("queries")));
            host.daemon.json(&["status"])["site"]["state"] == "up"
        });
    }
    hosts[0].until("a set is written again", |host| {
        let name = format!("mended{}.shared-names.org", host.count("queries"));
        site.ask(host, &name);
        site.has(&name)
    });
}

#[test]
fn after_a_split_no_older_answer_follows_a_newer_one() {
    let Some(site) = Site::new("after_a_split_no_older_answer_follows_a_newer_one") else { return };
    let hosts: Vec<Host> = TEN.map(|number| Host::joined(number, &Traits::default())).collect();
    let (here, there) = hosts.split_at(5);
    let all = names("split", 10);
    for name in &all {
        site.ask(&hosts[0], name);
        until_written(&site, &hosts[0], name);
    }
    for host in &hosts {
        all.iter().for_each(|name| assert_eq!(site.ask(host, name), 1, "{}", host.say()));
    }
    there.iter().for_each(|host| host.network.split_from(hosts::ENGINE, true));
    // The hosts that are cut off learn what is newer; of half of the names the others learn what is
    // newer still.
    let newer = site.next_generation();
    for host in there {
        host.flush(&[]);
        all.iter().for_each(|name| assert_eq!(site.ask(host, name), newer, "{}", host.say()));
    }
    let newest = site.next_generation();
    for host in here {
        for name in &all[..5] {
            host.flush(&[name]);
            assert!(site.ask(host, name) >= 1);
        }
    }
    assert!(here.iter().any(|host| site.ask(host, &all[0]) == newest));
    there.iter().for_each(|host| host.network.split_from(hosts::ENGINE, false));
    for host in &hosts {
        host.until_site("up");
        all.iter().for_each(|name| assert!(site.ask(host, name) >= 1));
    }
    // All are asked while old and new entries arrive, and new ones are learned.
    for round in 0..3 {
        let latest = site.next_generation();
        let name = &all[round];
        hosts[round].flush(&[name]);
        site.ask(&hosts[round], name);
        for host in &hosts {
            all.iter().for_each(|name| assert!(site.ask(host, name) <= latest));
        }
    }
    // What the engine kept from before the split is older than what these hosts know, and is refused.
    for host in there {
        all[5..].iter().for_each(|name| assert!(site.ask(host, name) >= newer, "{}", host.say()));
    }
}
