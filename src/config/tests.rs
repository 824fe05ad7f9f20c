use super::*;
use proptest::prelude::*;
use std::net::IpAddr;

fn load(text: &str) -> Result<Config, String> {
    let path = Path::new("/etc/hither/hither.toml");
    Config::of(path, &[(path.to_owned(), text.to_owned())]).map_err(|error| error.to_string())
}

/// The shipped hither.toml with all keys uncommented.
fn example() -> String {
    let text = include_str!("../../systemd/hither.toml");
    text.lines()
        .map(|line| {
            line.strip_prefix('#').filter(|l| l.contains(" = ") || l.starts_with('[')).unwrap_or(line)
        })
        .fold(String::new(), |out, line| out + line + "\n")
}

#[test]
fn the_shipped_example_is_the_default() {
    let mut config = load(&example()).expect("the example is right");
    let mut default = Config { runtime_dir: PathBuf::from("/run/hither"), ..Config::default() };
    default.state.dir = Some(PathBuf::from("/var/lib/hither"));
    config.upstreams.usual.clear();
    assert_eq!(config, default);
}

#[test]
fn examples_of_the_readme_can_be_appended_to_the_shipped_file() {
    let readme = include_str!("../../README.md");
    let shipped = include_str!("../../systemd/hither.toml");
    assert_eq!(load(shipped).expect("as shipped"), Config::default());
    let blocks = readme.split("\n\n").filter(|block| block.trim_start().starts_with('['));
    let snippets: Vec<&str> =
        blocks.filter(|block| block.lines().all(|line| line.starts_with("    "))).collect();
    assert!(!snippets.is_empty());
    for snippet in snippets {
        let text: String = snippet.lines().map(|line| format!("{}\n", line.trim_start())).collect();
        let config = load(&format!("{shipped}{text}")).unwrap_or_else(|error| panic!("{error}"));
        assert_ne!(config, Config::default(), "{text}");
    }
    let page = include_str!("../../man/hither.toml.5");
    let example = page
        .split(".Bd -literal -offset indent\n")
        .nth(1)
        .and_then(|rest| rest.split(".Ed").next())
        .expect("one");
    assert_eq!(load(&format!("{shipped}{example}")).expect("right").upstreams.usual.len(), 2);
}

#[test]
fn errors_of_shape_are_explained_by_the_line_itself() {
    for (text, expected) in [
        ("[upstream]\naddress = \"192.0.2.1\"\n", ":1:1: write [[upstream]], in double brackets"),
        ("upstream = [\"192.0.2.1\"]\n", "write [[upstream]], and below it address = \"192.0.2.1\""),
        ("upstream = \"192.0.2.1\"\n", "write [[upstream]], and below it address = \"192.0.2.1\""),
        ("[domain]\nnames = [\"a.example\"]\n", "write [[domain]]"),
        ("[[cache]]\nmin_ttl = \"1s\"\n", "write [cache], in single brackets"),
        ("dns = [\"127.0.0.1\"]\n", ":1:1: 'dns' is a key of [listen]: write it below that line"),
        ("[cache]\ndns = [\"127.0.0.1\"]\n", ":2:1: 'dns' is a key of [listen]"),
        (
            "[log]\nstate_dir = \"/x\"\n",
            "'state_dir' belongs to no section: write it before the first line in brackets",
        ),
        ("[log]\nupstream = []\n", "'upstream' is a section of its own: write [[upstream]]"),
        ("names = [\"a.example\"]\n", "'names' is a key of [[domain]] or [[block]]"),
        (
            "[listen]\ndns = \"127.0.0.1:53, [::1]:53\"\n",
            "write a list, dns = [\"127.0.0.1:53\", \"[::1]:53\"]",
        ),
        ("[listen]\nallow = [1]\n", ":2:10: allow: 1 is a number without quotes; write each in quotes"),
        ("[cache]\nmin_ttl = 60\n", ":2:11: min_ttl: 60 is a number without quotes; write min_ttl = \"60s\""),
        ("[cache]\nprefetch = \"yes\"\n", "write prefetch = true"),
        ("[cache]\nprefetch = \"maybe\"\n", "write true or false"),
        ("[cache]\nentries = \"1000\"\n", "write entries = 1000"),
        ("[cache]\nentries = 1.5\n", "expected a whole number"),
        ("[table]\nmode = 644\n", "write mode = \"0644\""),
        ("state_dir = [\"/x\"]\n", "write state_dir = \"/x\""),
        ("hosts = \"/etc/hosts\"\n", "write [hosts], and its keys on the lines below"),
        ("[cache]\nmin_ttl = \"1s\"\nmin_ttl = \"2s\"\n", ":3:1: this occurs twice"),
        ("[cache]\n[cache]\n", "this occurs twice"),
        ("[[domain]]\nnames = []\nupstreams = [\"192.0.2.1\"]\n", "write names = [\"example.com\"]"),
        (
            "[[domain]]\nnames = [\"/corp.example/\"]\nupstreams = []\n",
            "'/corp.example/' is not a domain name: '/' cannot be part of it; write \"corp.example\"",
        ),
        ("[[block]]\nnames = [\".\"]\n", "which a list cannot block"),
    ] {
        let error = load(text).expect_err(text);
        assert!(error.contains(expected), "{text:?} gave {error}");
    }
}

#[test]
fn an_error_is_reported_at_its_own_line() {
    let own = "[listen]\ndns = [\"127.0.0.9\"]\n";
    for (text, expected) in [
        (
            "[[domain]]\nnames = [\n \"ok.example\",\n \"bad/name\",\n]\nupstreams = [\"192.0.2.1\"]\n",
            ":4:2: 'bad/name'",
        ),
        ("[listen]\ndns = [\n \"127.0.0.1\",\n \"bad\",\n]\n", ":4:2: 'bad' is a name"),
        (
            "[[block]]\nfiles = [\"/x\",\n \"https://lists.example/ads\"]\n",
            ":3:2: 'https://lists.example/ads' is not a path",
        ),
        ("[[block]]\nnames = [\"a.example\",\n \".\"]\n", ":3:2: '.' stands for all names"),
        (
            "[[domain]]\nnames = [\"a.example\"]\nupstreams = []\n",
            ":3:13: the domain a.example. has no upstreams",
        ),
        (
            &format!("{own}[[upstream]]\naddress = \"127.0.0.9:53\"\n"),
            ":4:11: the upstream 127.0.0.9:53 is an address of listen.dns",
        ),
        (
            &format!("{own}[[domain]]\nnames = [\"a.example\"]\nupstreams = [\n \"127.0.0.9\"]\n"),
            ":6:2: the upstream",
        ),
        ("[cache]\nmax_ttl = \"1s\"\nmin_ttl = \"2s\"\n", ":3:11: cache.min_ttl is larger"),
        ("[cache]\nmax_ttl = \"0s\"\nmin_ttl = \"2s\"\n[round]\ndeadline = \"1d\"\n", ":3:11:"),
        ("[cache]\nmax_ttl = \"1h\"\n[round]\ndeadline = \"1d\"\n", ":4:12: round.deadline is not between"),
    ] {
        let error = load(text).expect_err(text);
        assert!(error.contains(expected), "{text:?} gave {error}");
    }
}

#[test]
fn empty_blocks_and_missing_files_are_remarked_on() {
    let config = load("[hosts]\nfiles = [\"/etc/hosts\", \"/nowhere/hosts\"]\n[[block]]\nfiles = []\n[[block]]\nfiles = [\"/nowhere/list\", \"/\"]\n")
        .expect("right");
    assert_eq!(
        config.hints(),
        [
            "/etc/hither/hither.toml:3: this [[block]] has neither files nor names, and blocks nothing",
            "there is no file '/nowhere/list'; it is read once it exists",
            "'/' is a directory, not a file; nothing is read from it",
            "there is no file '/nowhere/hosts'; it is read once it exists",
        ]
    );
}

#[test]
fn other_spellings_are_accepted_and_remarked_on() {
    let config = load("[[domain]]\nnames = [\"*.corp.example\", \"b\u{fc}ro.example\"]\nupstreams = [\"fe80::1%not-there0\", \"192.0.2.1\", \"192.0.2.1:53\"]\n[[block]]\nnames = [\"*.a.example\", \"b.example\"]\nmatch = \"exact\"\n[listen]\nallow = [\"::ffff:192.0.2.0/120\"]\n").expect("right");
    let names: Vec<String> = config.upstreams.domains.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["corp.example.", "xn--bro-hoa.example."]);
    assert!(config.upstreams.domains.values().all(|upstreams| upstreams.len() == 2), "each once");
    let covers: Vec<hither_local::Match> = config.blocks[0].names.iter().map(|(_, covers)| *covers).collect();
    assert_eq!(covers, [hither_local::Match::Subtree, hither_local::Match::Exact]);
    assert!(config.listen.allow[0].contains("192.0.2.9".parse().expect("an address")));
    let hints = config.hints();
    assert_eq!(hints[0], "'*.corp.example' means 'corp.example.' and all names below it");
    assert_eq!(hints[1], "'b\u{fc}ro.example' is used as 'xn--bro-hoa.example.'");
    assert!(hints[3].ends_with("is used once the interface 'not-there0' exists"), "{hints:?}");
    assert!(
        load("[listen]\ndns = [\"[::ffff:127.0.0.9]:53\"]\n[[upstream]]\naddress = \"127.0.0.9\"\n").is_err()
    );
    assert!(load("[listen]\ndns = [\"0.0.0.0:53\"]\n[[upstream]]\naddress = \"127.0.0.9\"\n").is_err());
}

#[test]
fn a_file_in_another_encoding_is_refused_with_the_place() {
    let path = Path::new("/x");
    let text = |octets: &[u8]| error::text(path, octets.to_vec()).map_err(|error| error.to_string());
    let error = text(b"[log]\n# M\xfcnchen\n").expect_err("Latin-1");
    assert!(error.starts_with("/x:2:4: the octet 0xfc is not UTF-8; save the file as UTF-8"), "{error}");
    assert!(text(b"\xff\xfe[\0l\0").expect_err("UTF-16").contains("UTF-16"));
    assert!(load(&text(b"\xef\xbb\xbf[log]\r\nlevel = \"warn\"").expect("UTF-8")).is_ok());
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
    let error = load("[round]\nfrist = 2\n").expect_err("unknown");
    assert!(
        error.starts_with(
            "/etc/hither/hither.toml:2:1: unknown key 'frist'; the nearest known key is 'first'"
        ),
        "{error}"
    );
    assert!(error.contains("    frist = 2\n    ^"), "{error}");
    let error = load("[tabel]\n").expect_err("unknown");
    assert!(error.contains("'tabel'; the nearest known key is 'table'"), "{error}");
}

#[test]
fn every_wrong_value_says_what_was_expected() {
    for (text, expected) in [
        (
            "[round]\nfallback = 300\n",
            "2:12: fallback: 300 is a number without quotes; write fallback = \"300s\", with its unit",
        ),
        ("[round]\nfallback = \"300\"\n", "expected a number with a unit"),
        ("[round]\nfallback = \"-1s\"\n", "expected a number with a unit"),
        ("[round]\nfallback = \"1e9d\"\n", "expected a number with a unit"),
        ("[round]\nfirst = 0\n", "expected a whole number from 1"),
        ("[round]\ncomplete = 1\n", "write complete = true"),
        ("[round]\ndeadline = \"0s\"\n", "between 10ms and 60s"),
        ("[cache]\nfailure_ttl = \"10m\"\n", "between 1s and 5m"),
        ("[cache]\nsave = \"10ms\"\n", "neither 0s (never) nor at least 1s"),
        ("[cache]\nmin_ttl = \"2d\"\n", "larger than cache.max_ttl"),
        ("[[upstream]]\naddress = \"9.9.9\"\n", "2:11: '9.9.9' is not an address"),
        ("[[upstream]]\naddress = \"0.0.0.0\"\n", "this host itself"),
        ("[[upstream]]\n", ":1:1: [[upstream]] lacks address: write address = \"192.0.2.1\""),
        ("[[upstream]]\naddress = \"127.0.0.1:53\"\n", "would query itself"),
        ("[listen]\nallow = [\"10.0.0.0/40\"]\n", "expected an address or a network"),
        ("[listen]\ndns = [\"localhost:53\"]\n", "is a name"),
        ("[table]\nmode = \"0666\"\n", "at most read"),
        ("[table]\nentries = 99999999\n", "16777216"),
        ("[feed]\nmode = \"0777\"\n", "who may write may subscribe"),
        ("[feed]\nnames = 9999999\n", "1000000"),
        ("[feed]\nrounds = 0\n", "expected a whole number from 1"),
        (
            "[sort]\nprobes = [\"tls:0\"]\n",
            "2:11: 'tls:0' is not a kind of probe; expected \"icmp\", \"tcp:PORT\"",
        ),
        ("[sort]\nprobes = [\"tls:443\", \"icmp\", \"tls:8443\"]\n", "at most one \"tls:PORT\""),
        ("[sort]\ntls_rate = -1\n", "tls_rate"),
        ("[sort]\ntls_rate = \"20\"\n", "tls_rate"),
        ("[sort]\ntls_except = [\"a..b\"]\n", "2:15: 'a..b' is not a domain name"),
        ("[sort]\ntls_except = \"corp.example\"\n", "tls_except"),
        ("[sort]\nprobes = [\"tcp:0\"]\n", "expected \"icmp\""),
        (
            "[sort]\nfamilies = \"both\"\n",
            "2:12: 'both' is not an order of families; expected \"measured\", \"v6\"",
        ),
        ("[sort]\nfamilies = 6\n", "expected a text in quotes"),
        ("[sort]\nfamily_margin = 25\n", "with its unit"),
        ("[sort]\nwithhold = \"on\"\n", "write withhold = true"),
        ("[[domain]]\nnames = [\"a..b\"]\nupstreams = []\n", "'a..b' is not a domain name"),
        (
            "[[domain]]\nnames = [\"corp.example\"]\nupstreams = []\n",
            "the domain corp.example. has no upstreams",
        ),
        (
            "[[domain]]\nnames = [\"corp.example\"]\n",
            "[[domain]] lacks upstreams: write upstreams = [\"192.0.2.1\"]",
        ),
        ("[[block]]\nmatch = \"some\"\n", "expected \"subtree\" or \"exact\""),
        ("[[block]]\nanswer = \"maybe\"\n", "expected \"nxdomain\", \"nodata\""),
        ("[[block]]\nanswer = 3\n", "expected a list of texts"),
        ("[hosts]\nfile = \"/etc/hosts\"\n", "nearest known key is 'files'"),
        ("[limits]\nrounds = 0\n", "expected a whole number from 1"),
        ("[log]\nlevel = \"loud\"\n", "is not a level"),
        ("round = 3\n", "'round' is a section: write [round], and its keys on the lines below"),
        ("[round\n", ":1:"),
    ] {
        let error = load(text).expect_err(text);
        assert!(error.contains(expected), "{text:?} gave {error}");
    }
}

#[test]
fn values_are_read_with_their_units_and_defaults() {
    let config = load(
        "[round]\nfallback = \"1.8s\"\n[cache]\nstale = \"0s\"\n[[upstream]]\naddress = \"[2001:db8::1]\"\n[[upstream]]\naddress = \"192.0.2.1:5300\"\n",
    )
    .expect("right");
    assert_eq!(config.settings.fallback, Duration::from_millis(1800));
    assert_eq!(config.settings.stale, Duration::ZERO);
    let upstreams: Vec<String> = config.upstreams.usual.iter().map(ToString::to_string).collect();
    assert_eq!(upstreams, ["[2001:db8::1]:53", "192.0.2.1:5300"]);
}

#[test]
fn the_cache_is_saved_if_there_is_a_directory_and_an_interval() {
    assert_eq!(load("").expect("right").state.save_every, Duration::from_secs(300));
    let config = load("state_dir = \"/x\"\n[cache]\nsave = \"1m\"\n").expect("right");
    assert_eq!(
        (config.saved_in(), config.state.save_every),
        (Some(Path::new("/x")), Duration::from_secs(60))
    );
    let config = load("state_dir = \"/x\"\n[cache]\nsave = \"0s\"\n").expect("right");
    assert_eq!(config.saved_in(), None);
}

#[test]
fn domains_hosts_and_blocks_are_read() {
    let config = load(
        "[[domain]]\nnames = [\"Corp.Example\", \"10.in-addr.arpa\"]\nupstreams = [\"10.0.0.1\"]\n[[domain]]\nnames = [\"corp.example\"]\nupstreams = [\"10.0.0.2:5353\"]\n[hosts]\nfiles = []\n[[block]]\nnames = [\"ads.example\"]\nanswer = [\"192.0.2.1\", \"2001:db8::1\"]\n[[block]]\nfiles = [\"/x\"]\nmatch = \"exact\"\nanswer = \"nodata\"\n",
    )
    .expect("right");
    let corp: hither_wire::name::Name = "corp.example".parse().expect("a name");
    let upstreams: Vec<String> = config.upstreams.domains[&corp].iter().map(ToString::to_string).collect();
    assert_eq!(upstreams, ["10.0.0.1:53", "10.0.0.2:5353"]);
    assert!(config.hosts.files.is_empty() && config.hosts.own_name && config.upstreams.domains.len() == 2);
    assert!(matches!(&config.blocks[0].verdict, hither_local::Verdict::Addresses(all) if all.len() == 2));
    assert_eq!(config.blocks[1].covers, hither_local::Match::Exact);
}

#[test]
fn networks_hold_their_addresses() {
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    assert!(
        Network::LOOPBACK_V4.contains(ip("127.9.9.9"))
            && Network::LOOPBACK_V4.contains(ip("::ffff:127.0.0.1"))
    );
    assert!(!Network::LOOPBACK_V4.contains(ip("128.0.0.1")) && !Network::LOOPBACK_V6.contains(ip("::2")));
    let all: File = toml::from_str("[listen]\nallow = [\"0.0.0.0/0\", \"2001:db8::/32\"]").expect("right");
    let all = all.listen.allow.expect("given");
    assert!(
        all[0].contains(ip("203.0.113.9"))
            && !all[0].contains(ip("::1"))
            && all[1].contains(ip("2001:db8:1::1"))
    );
}

#[test]
fn settings_of_trust_are_read() {
    let deny = |word: &str| load(&format!("[round]\ndeny = \"{word}\"\n")).map(|config| config.settings.deny);
    assert_eq!(deny("any").expect("a word"), hither_rounds::Deny::Any);
    assert_eq!(deny("agreed").expect("a word"), hither_rounds::Deny::Agreed);
    let error = deny("all").expect_err("none").to_string();
    assert!(error.contains(":2:8") && error.contains("expected \"agreed\" or \"any\""), "{error}");
    let config =
        load("[rebinding]\nprotect = false\nallow = [\"*.Plex.direct\", \"fritz.box.\"]\n").expect("right");
    let rebinding = config.settings.rebinding;
    let names = ["fritz.box", "plex.direct"].map(|text| text.parse().expect("a name"));
    assert_eq!((rebinding.protect, rebinding.allow), (false, names.into()));
    assert!(load("[rebinding]\nallow = \"a.example\"\n").is_err());
    assert!(load("[rebinding]\nallow = [\"http://a.example\"]\n").is_err());
}

#[test]
fn settings_of_handshakes_are_read() {
    let sort = load(
        "[sort]\nprobes = [\"icmp\", \"tls:8443\"]\ntls_rate = 0\ntls_except = [\"*.Corp.example\", \"bücher.example\"]\n",
    );
    let config = sort.expect("right");
    let names = ["corp.example", "xn--bcher-kva.example"].map(|text| text.parse().expect("a name"));
    assert_eq!(config.sort.probes, [Probe::Icmp, Probe::Tls(8443)]);
    assert_eq!((config.sort.tls_rate, config.sort.tls_except.clone()), (0, names.into()));
    assert_eq!(config.hints().len(), 2, "{:?}", config.hints());
}

#[test]
fn later_files_win_and_add_upstreams() {
    let dir = std::env::temp_dir().join(format!("hither-config-{}", std::process::id()));
    std::fs::create_dir_all(dir.join("h.toml.d")).expect("a directory");
    let main = dir.join("h.toml");
    std::fs::write(&main, "[round]\nfirst = 1\nbatch = 7\n[[upstream]]\naddress = \"192.0.2.1\"\n")
        .expect("written");
    std::fs::write(dir.join("h.toml.d/20.toml"), "[round]\nfirst = 3\n").expect("written");
    std::fs::write(
        dir.join("h.toml.d/10.toml"),
        "[round]\nfirst = 2\n[[upstream]]\naddress = \"192.0.2.2\"\n",
    )
    .expect("written");
    std::fs::write(dir.join("h.toml.d/ignored.conf"), "nonsense").expect("written");
    let config = Config::load(Some(&main)).expect("right");
    assert_eq!((config.settings.first, config.settings.batch, config.upstreams.usual.len()), (3, 7, 2));
    // Files that are no drop-ins count towards the limit too.
    let many: Vec<_> = (0..1024).map(|n| dir.join(format!("h.toml.d/{n}.bak"))).collect();
    many.iter().for_each(|file| std::fs::write(file, "").expect("written"));
    let said = Config::load(Some(&main)).expect_err("too many").to_string();
    assert!(said.contains("has more than 1024 entries"), "{said}");
    many.iter().for_each(|file| std::fs::remove_file(file).expect("removed"));
    std::fs::write(dir.join("h.toml.d/30.toml"), "frist = 1\n").expect("written");
    assert!(Config::load(Some(&main)).expect_err("wrong").to_string().contains("30.toml:1:1"));
    assert!(
        Config::load(Some(&dir.join("none.toml")))
            .expect_err("missing")
            .to_string()
            .contains("cannot be read")
    );
    std::fs::remove_dir_all(&dir).expect("removable");
}

#[test]
fn an_upstream_of_many_domains_is_one_upstream() {
    let names: Vec<String> = (0..100).map(|n| format!("d{n}.example")).collect();
    let domains =
        |upstreams: &[String]| format!("[[domain]]\nnames = {names:?}\nupstreams = {upstreams:?}\n");
    let upstreams: Vec<String> = (1..=65).map(|n| format!("192.0.2.{n}")).collect();
    assert_eq!(load(&domains(&upstreams[..64])).expect("right").upstreams.domains.len(), 100);
    assert!(load(&domains(&upstreams)).expect_err("one more").contains("65 upstreams; expected at most 64"));
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in "(\\[[a-z]{0,8}\\]\n|[a-z_]{1,12} = [\"0-9a-z.:/\\[\\]]{0,20}\n|.{0,20}\n){0,6}") {
        let _ = load(&text);
    }
}
