//! Names for local use, hosts files, block lists and split DNS.

use super::*;

#[test]
fn names_for_local_use_are_not_sent_upstream() {
    let upstream = good(&[1]);
    let daemon = Daemon::start(&[&upstream], "");
    let ask = |name: &str, rtype| told(&daemon.exchange(&ask_for(name, rtype, Some(1232), 3)));
    assert_eq!(ask("LocalHost", Rtype::A), (Rcode::NOERROR, vec!["127.0.0.1".to_owned()], None));
    assert_eq!(ask("a.localhost", Rtype::AAAA).1, ["::1"]);
    for name in [
        "x.invalid",
        "printer.local",
        "abc.onion",
        "a.alt",
        "nas.home.arpa",
        "printer",
        "9.9.9.10.in-addr.arpa",
    ] {
        assert_eq!(ask(name, Rtype::A).0, Rcode::NXDOMAIN, "{name}");
    }
    assert_eq!(ask("_dns.resolver.arpa", Rtype::SVCB), (Rcode::NOERROR, vec![], None));
    let own = nix::unistd::gethostname().expect("a name").into_string().expect("text");
    assert_eq!(ask(&own, Rtype::A).0, Rcode::NOERROR);
    let reply = daemon.exchange(&ask_for("1.1.168.192.in-addr.arpa", Rtype::PTR, None, 4));
    let message = Message::read(&reply).expect("readable");
    let soa = message.records().find(|r| r.rtype == Rtype::SOA).expect("the zone that is served here");
    assert_eq!(
        (soa.owner().to_string(), soa.section),
        ("168.192.in-addr.arpa.".to_owned(), Section::Authority)
    );
    assert_eq!(upstream.count(), 0, "a query was sent upstream");
    assert_eq!(ask("8.8.8.8.in-addr.arpa", Rtype::PTR).0, Rcode::NOERROR);
    // A denial is confirmed by one more query in lower case.
    assert_eq!(upstream.count(), 2);
}

#[test]
fn hosts_files_and_block_lists_take_effect_and_so_do_their_changes() {
    let upstream = good(&[1]);
    let dir = directory();
    let (hosts, list) = (dir.join("hosts.txt"), dir.join("block.txt"));
    std::fs::write(&hosts, "192.0.2.7 nas.example\n").expect("written");
    std::fs::write(&list, "0.0.0.0 ads.example\ntracker.example\n").expect("written");
    let more = format!(
        "[hosts]\nfiles = [{hosts:?}]\n[[block]]\nfiles = [{list:?}]\n[[block]]\nnames = [\"page.example\"]\nanswer = [\"192.0.2.99\"]\n"
    );
    let daemon = Daemon::start_in(dir, &[&upstream], &more);
    let ask = |name: &str| told(&daemon.ask(name));
    let yes = |address: &str| (Rcode::NOERROR, vec![address.to_owned()], None);
    assert_eq!(ask("nas.example"), yes("192.0.2.7"));
    assert_eq!(ask("ads.example"), (Rcode::NXDOMAIN, vec![], Some(15)));
    assert_eq!(ask("x.y.tracker.example"), (Rcode::NXDOMAIN, vec![], Some(15)));
    assert_eq!(ask("www.page.example"), (Rcode::NOERROR, vec!["192.0.2.99".to_owned()], Some(15)));
    assert_eq!(upstream.count(), 0);
    assert_eq!(ask("www.ads.example"), yes("198.18.0.1"));
    // The file is replaced, as editors do. Cached answers for its names are dropped, and names that
    // are no longer blocked are forwarded.
    let write = |path: &std::path::Path, text: &str| {
        std::fs::write(path.with_extension("new"), text).expect("written");
        std::fs::rename(path.with_extension("new"), path).expect("renamed");
    };
    write(&list, "www.ads.example\n");
    write(&hosts, "192.0.2.8 nas.example\n");
    daemon.until("the lists are read again", |d| told(&d.ask("www.ads.example")).0 == Rcode::NXDOMAIN);
    daemon.until("the hosts file is read again", |d| told(&d.ask("nas.example")).1 == ["192.0.2.8"]);
    assert_eq!(ask("tracker.example"), yes("198.18.0.1"));
    assert!(daemon.json(&["stats"])["blocked"].as_u64() >= Some(4));
}

#[test]
fn a_domain_has_upstreams_of_its_own_and_the_longest_suffix_wins() {
    let (usual, corp, lab) = (good(&[1]), good(&[2]), good(&[3]));
    let domain = |name: &str, upstream: &Upstream| {
        format!("[[domain]]\nnames = [\"{name}\"]\nupstreams = [\"{}\"]\n", upstream.address)
    };
    let more =
        domain("lab.corp.example", &lab) + &domain("Corp.Example", &corp) + &domain("home.arpa", &corp);
    let daemon = Daemon::start(&[&usual], &more);
    let ends = |name: &str| ends(&daemon.ask(name));
    assert_eq!([ends("www.example"), ends("x.corp.example"), ends("a.lab.CORP.example")], [[1], [2], [3]]);
    assert_eq!(ends("nas.home.arpa"), [2], "configured upstreams of a special-use name are asked");
    assert_eq!([usual.count(), corp.count(), lab.count()], [1, 2, 1]);
    // Without its domain the name goes to the other upstream, and its cached answer is dropped.
    Daemon::configure(&daemon.dir, &[&usual], &domain("lab.corp.example", &lab));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("the configuration is reloaded");
    let after = std::fs::read_to_string(daemon.dir.join("hither.toml")).expect("readable");
    assert!(!after.contains("Corp"));
    assert_eq!(
        [self::ends(&daemon.ask("x.corp.example")), self::ends(&daemon.ask("a.lab.corp.example"))],
        [[1], [3]]
    );
    assert_eq!(lab.count(), 1, "unaffected names are still cached");
}
