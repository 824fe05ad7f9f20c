use super::*;
use crate::config::{Config, check_text};

fn config(text: &str) -> Config {
    check_text(text).unwrap_or_else(|error| panic!("{error}"))
}

fn first(text: &str) -> Upstream {
    config(&format!("[[upstream]]\n{text}")).upstreams.usual[0].clone()
}

#[test]
fn the_keys_of_an_upstream_make_its_policy() {
    let pin = base64_of(9);
    let upstream = first(&format!(
        "address = \"https://192.0.2.1:8443\"\naddresses = [\"192.0.2.2\", \"[2001:db8::1]:9\"]\nname = \"DNS.example\"\npins = [\"{pin}\"]\nca_file = \"/x.pem\"\nverify = \"opportunistic\"\n"
    ));
    let addresses: Vec<String> = upstream.addresses().iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.0.2.1:8443", "192.0.2.2:8443", "[2001:db8::1]:9"]);
    let policy = upstream.policy.as_ref().expect("encrypted");
    assert_eq!((policy.authority.as_str(), policy.path.as_str()), ("dns.example:8443", "/dns-query"));
    assert_eq!(policy.server_name, ServerName::try_from("dns.example").expect("a name"));
    assert_eq!((policy.verify, &policy.pins[..]), (Verify::Opportunistic, &[[9; 32]][..]));
    assert_eq!(policy.roots, Roots::File("/x.pem".into()));
    assert_eq!((upstream.lookup, upstream.label.as_str()), (None, "https://192.0.2.1:8443"));
    let server = upstream.server().expect("it has an address");
    assert_eq!((server.address.to_string().as_str(), server.transport), ("192.0.2.1:8443", Transport::Https));

    let policy = |text: &str| first(&format!("address = \"{text}\"\n")).policy.expect("encrypted");
    assert_eq!(policy("https://dns.example@192.0.2.1").authority, "dns.example");
    assert_eq!(policy("https://[2001:db8::1]").authority, "[2001:db8::1]");
    assert_eq!((policy("tls://dns.example").authority, policy("tls://dns.example").path), Default::default());
    let address = ServerName::try_from("2001:db8::1").expect("an address");
    assert_eq!(policy("quic://[2001:db8::1]").server_name, address);
    let lookup = first("address = \"quic://dns.example:784\"\n");
    assert_eq!(lookup.lookup, Some("dns.example".parse().expect("a name")));
    assert_eq!(lookup.server().expect("as a name").address.to_string(), "0.0.0.0:784");
    let url = first("address = \"https://a.example\"\nname = \"b.example\"\n").policy.expect("encrypted");
    assert_eq!(url.authority, "a.example", "a name in the URL stays");
}

#[test]
fn the_hash_of_an_upstreams_settings_never_changes() {
    let pin = base64_of(9);
    let text = format!(
        "address = \"tls://dns.example@192.0.2.1\"\naddresses = [\"[2001:db8::1]\"]\npins = [\"{pin}\"]\nca_file = \"/etc/ssl/site.pem\"\n"
    );
    assert_eq!(first(&text).settings(), 6_300_800_298_341_454_512);
    assert_eq!(first("address = \"192.0.2.1\"\n").settings(), 0);
    assert_eq!(first("address = \"tcp://192.0.2.1\"\n").settings(), 0);
}

#[test]
fn every_setting_of_an_encrypted_upstream_is_in_its_hash() {
    let pin = base64_of(9);
    let all = [
        "address = \"tls://dns.example\"\n".to_owned(),
        "address = \"quic://dns.example\"\n".to_owned(),
        "address = \"tls://dns.example:8853\"\n".to_owned(),
        "address = \"https://dns.example\"\n".to_owned(),
        "address = \"https://dns.example/x\"\n".to_owned(),
        "address = \"tls://dns.example@192.0.2.1\"\n".to_owned(),
        "address = \"tls://dns.example\"\naddresses = [\"192.0.2.1\"]\n".to_owned(),
        "address = \"tls://192.0.2.1\"\n".to_owned(),
        "address = \"tls://dns.example\"\nname = \"x.example\"\n".to_owned(),
        format!("address = \"tls://dns.example\"\npins = [\"{pin}\"]\n"),
        format!("address = \"tls://dns.example\"\npins = [\"{pin}\"]\nverify = \"pin\"\n"),
        "address = \"tls://dns.example\"\nca_file = \"/x\"\n".to_owned(),
        "address = \"tls://dns.example\"\nverify = \"opportunistic\"\n".to_owned(),
    ];
    let settings: std::collections::BTreeSet<u64> = all.iter().map(|text| first(text).settings()).collect();
    assert_eq!(settings.len(), all.len());
    assert!(!settings.contains(&0));
    for same in
        ["address = \"TLS://dns.example.:853\"\n", "address = \"tls://dns.example\"\nverify = \"strict\"\n"]
    {
        assert_eq!(first(same).settings(), first(&all[0]).settings(), "{same}");
    }
}

/// A pin of equal octets.
fn base64_of(octet: u8) -> String {
    pin::written(&[octet; 32])
}

#[test]
fn a_pin_is_the_sha_256_of_a_key() {
    let pin = base64_of(0xfb);
    assert_eq!(pin::read(&pin), Ok([0xfb; 32]));
    let bare = pin.trim_start_matches("sha256/");
    let url = bare.replace('+', "-").replace('/', "_");
    for other in [
        bare.to_owned(),
        format!("sha256//{bare}"),
        format!("pin-sha256=\"{bare}\""),
        format!("pin-sha256:{bare}"),
        format!("SHA256:{bare}"),
        format!("sha256/{url}"),
        format!("sha256/{}", bare.trim_end_matches('=')),
        format!("sha256={url}"),
    ] {
        assert_eq!(pin::read(&other), Err(format!("'{other}' is not a pin; write \"{pin}\"")));
    }
    let hexadecimal = "fb".repeat(32);
    assert!(pin::read(&hexadecimal).expect_err("hexadecimal").contains("may be that of a certificate"));
    assert!(pin::read(&format!("sha256/{hexadecimal}")).expect_err("hexadecimal").contains("in hexadecimal"));
    for none in ["", "sha256/", "sha1/q83vEjRWeJA=", "sha256/Zm9v", &format!("sha256/A{bare}"), &bare[1..]] {
        let said = pin::read(none).expect_err(none);
        assert!(said.contains("expected \"sha256/\" and the 44 base64 characters"), "{said}");
    }
}

#[test]
fn keys_that_do_not_fit_are_refused_at_their_place() {
    let pin = base64_of(1);
    for (text, expected) in [
        (
            "[[upstream]]\naddress = \"192.0.2.1\"\nname = \"a.example\"\n",
            ":3:8: name: '192.0.2.1' is not encrypted",
        ),
        (
            "[[upstream]]\naddress = \"tcp://192.0.2.1\"\nverify = \"strict\"\n",
            ":3:10: verify: 'tcp://192.0.2.1' is not",
        ),
        (
            "[[upstream]]\naddress = \"192.0.2.1\"\naddresses = [\"192.0.2.2\"]\n",
            ":3:13: addresses: '192.0.2.1' is not encrypted; expected one [[upstream]] for each address",
        ),
        (
            "[[upstream]]\naddress = \"192.0.2.9\"\n[[upstream]]\naddress = \"tls://dns.example\"\nverify = \"pin\"\n",
            ":5:10: verify = \"pin\" of 'tls://dns.example' needs at least one pin",
        ),
        (
            "[[upstream]]\naddress = \"tls://dns.example\"\nname = \"a/b\"\n",
            ":3:8: 'a/b' is neither a host name nor an address: '/' cannot be part of it",
        ),
        (
            "[[upstream]]\naddress = \"tls://dns.example\"\naddresses = [\"192.0.2.1\",\n \"dns.example\"]\n",
            ":4:2: 'dns.example' is a name",
        ),
        (
            "[[upstream]]\naddress = \"tls://dns.example\"\npins = [\n \"sha256/x\"]\n",
            ":4:2: 'sha256/x' is not a pin",
        ),
        (
            "[[upstream]]\naddress = \"tls://dns.example\"\nca_file = \"https://x/ca.pem\"\n",
            ":3:11: this is not a path",
        ),
        (
            "[[upstream]]\naddress = \"tls://dns.example\"\nverify = \"none\"\n",
            ":3:10: 'none' is no way to verify a certificate; expected \"strict\", \"pin\" or \"opportunistic\"",
        ),
        (
            "[[upstream]]\naddress = \"tls://dns.example\"\n[[upstream]]\naddress = \"tls://dns.example:853\"\nverify = \"opportunistic\"\n",
            ":4:11: the upstream 'tls://dns.example:853' is there twice, with other keys",
        ),
        (
            "[tls]\nbootstrap = [\"192.0.2.1\",\n \"tls://dns.example\"]\n[[upstream]]\naddress = \"tls://dns.example\"\n",
            ":3:2: 'tls://dns.example' is itself a name",
        ),
        ("[tls]\nbootstrap = [\"dns.example\"]\n", ":2:14: 'dns.example' is a name"),
        ("[[upstream]]\naddress = \"tls://dns.example\"\npin = []\n", "the nearest known key is 'pins'"),
        ("[tls]\nboostrap = []\n", "the nearest known key is 'bootstrap'"),
        ("bootstrap = []\n", "'bootstrap' is a key of [tls]: write it below that line"),
        ("[[tls]]\nbootstrap = []\n", "write [tls], in single brackets"),
        (
            "[[upstream]]\naddress = \"tls://dns.example\"\npins = \"x\"\n",
            "pins: \"x\" is a text; expected a list",
        ),
        (
            &format!("[[upstream]]\naddress = \"tls://dns.example\"\npins = \"{pin}\"\n"),
            &format!("write a list, pins = [\"{pin}\"]"),
        ),
        (
            "[listen]\ndns = [\"127.0.0.1:853\"]\n[[upstream]]\naddress = \"tls://dns.example\"\naddresses = [\"127.0.0.1\"]\n",
            ":4:11: the upstream tls://dns.example is an address of listen.dns",
        ),
    ] {
        let error = check_text(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text:?} gave {error}");
    }
}

#[test]
fn an_upstream_has_its_keys_wherever_it_is_named() {
    let config = config(
        "[tls]\nca_file = \"/all.pem\"\nbootstrap = [\"tls://192.0.2.1:853\", \"192.0.2.53\"]\n[[upstream]]\naddress = \"tls://192.0.2.1\"\nverify = \"opportunistic\"\n[[upstream]]\naddress = \"tls://192.0.2.1\"\nverify = \"opportunistic\"\n[[domain]]\nnames = [\"corp.example\"]\nupstreams = [\"tls://192.0.2.1\", \"quic://b\u{fc}ro.example\"]\n",
    );
    let usual = &config.upstreams.usual[0];
    let of_domain = &config.upstreams.domains[&"corp.example".parse().expect("a name")];
    assert_eq!(
        (config.upstreams.usual.len(), of_domain.len(), config.upstreams.tls.bootstrap.len()),
        (1, 2, 2)
    );
    assert!(usual.is_same(&of_domain[0]) && usual.is_same(&config.upstreams.tls.bootstrap[0]));
    assert_eq!(usual.server(), config.upstreams.tls.bootstrap[0].server());
    let policy = of_domain[1].policy.as_ref().expect("encrypted");
    assert_eq!((policy.verify, &policy.roots), (Verify::Strict, &Roots::File("/all.pem".into())));
    assert!(config.hints().contains(&"'b\u{fc}ro.example' is used as 'xn--bro-hoa.example'".to_owned()));
}
