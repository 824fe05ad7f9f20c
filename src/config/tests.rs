use super::*;
use proptest::prelude::*;
use std::net::IpAddr;

fn load(text: &str) -> Result<Config, String> {
    let mut config = Config::default();
    let path = Path::new("/etc/hither/hither.toml");
    config.merge(parse(path, text).map_err(|error| error.to_string())?);
    config.check(path).map_err(|error| error.to_string())?;
    Ok(config)
}

/// The example of hither.toml(5), which is what `make install` puts into place, all keys uncommented.
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
    let config = load(&example()).expect("the example is right");
    let default = Config {
        runtime_dir: PathBuf::from("/run/hither"),
        state_dir: Some(PathBuf::from("/var/lib/hither")),
        ..Config::default()
    };
    assert_eq!(Config { upstreams: Vec::new(), ..config }, default);
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
        ("[round]\nfallback = 300\n", "2:12: invalid type: integer `300`, expected a string"),
        ("[round]\nfallback = \"300\"\n", "expected a number with a unit"),
        ("[round]\nfallback = \"-1s\"\n", "expected a number with a unit"),
        ("[round]\nfallback = \"1e9d\"\n", "expected a number with a unit"),
        ("[round]\nfirst = 0\n", "expected a whole number from 1"),
        ("[round]\ncomplete = 1\n", "expected a boolean"),
        ("[round]\ndeadline = \"0s\"\n", "between 10ms and 60s"),
        ("[cache]\nfailure_ttl = \"10m\"\n", "between 1s and 5m"),
        ("[cache]\nsave = \"10ms\"\n", "neither 0s, which is never, nor at least 1s"),
        ("[cache]\nmin_ttl = \"2d\"\n", "larger than cache.max_ttl"),
        ("[[upstream]]\naddress = \"9.9.9\"\n", "is not the address of an upstream"),
        ("[[upstream]]\naddress = \"0.0.0.0\"\n", "is not the address of an upstream"),
        ("[[upstream]]\n", "missing field `address`"),
        ("[[upstream]]\naddress = \"127.0.0.1:53\"\n", "would ask itself"),
        ("[listen]\nallow = [\"10.0.0.0/40\"]\n", "expected an address or a network"),
        ("[listen]\ndns = [\"localhost:53\"]\n", "socket address"),
        ("[table]\nmode = \"0666\"\n", "at most read"),
        ("[table]\nentries = 99999999\n", "16777216"),
        ("[sort]\nprobes = [\"tls:443\"]\n", "not in this version"),
        ("[sort]\nprobes = [\"tcp:0\"]\n", "expected \"icmp\""),
        ("[[domain]]\nnames = [\"a..b\"]\nupstreams = []\n", "'a..b' is no domain name"),
        (
            "[[domain]]\nnames = [\"corp.example\"]\nupstreams = []\n",
            "the domain corp.example. has no upstreams",
        ),
        ("[[domain]]\nnames = [\"corp.example\"]\n", "missing field `upstreams`"),
        ("[[block]]\nmatch = \"some\"\n", "expected \"subtree\" or \"exact\""),
        ("[[block]]\nanswer = \"maybe\"\n", "expected \"nxdomain\", \"nodata\""),
        ("[[block]]\nanswer = 3\n", "expected a string or a list"),
        ("[hosts]\nfile = \"/etc/hosts\"\n", "nearest known key is 'files'"),
        ("[limits]\nrounds = 0\n", "expected a whole number from 1"),
        ("[log]\nlevel = \"loud\"\n", "is no level"),
        ("round = 3\n", "expected struct"),
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
    assert_eq!(
        config.upstreams,
        ["[2001:db8::1]:53".parse().expect("an address"), "192.0.2.1:5300".parse().expect("an address")]
    );
}

#[test]
fn the_cache_is_saved_where_there_is_a_place_and_unless_it_is_never() {
    assert_eq!(load("").expect("right").save, Duration::from_secs(300));
    let config = load("state_dir = \"/x\"\n[cache]\nsave = \"1m\"\n").expect("right");
    assert_eq!((config.saved_in(), config.save), (Some(Path::new("/x")), Duration::from_secs(60)));
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
    let upstreams: Vec<String> = config.domains[&corp].iter().map(ToString::to_string).collect();
    assert_eq!(upstreams, ["10.0.0.1:53", "10.0.0.2:5353"]);
    assert!(config.hosts.files.is_empty() && config.hosts.own_name && config.domains.len() == 2);
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
    assert_eq!((config.settings.first, config.settings.batch, config.upstreams.len()), (3, 7, 2));
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

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in "(\\[[a-z]{0,8}\\]\n|[a-z_]{1,12} = [\"0-9a-z.:/\\[\\]]{0,20}\n|.{0,20}\n){0,6}") {
        let _ = load(&text);
    }
}
