use super::*;
use crate::config::{Config, check_text};
use proptest::prelude::*;

/// An address of each transport, once in the form that all of them have.
fn id(text: &str) -> String {
    Written::read(text).unwrap_or_else(|error| panic!("{error}")).id()
}

#[test]
fn addresses_are_read_in_each_form() {
    for (text, expected) in [
        ("192.0.2.1", "192.0.2.1:53"),
        ("2001:db8::1", "[2001:db8::1]:53"),
        ("fe80::1%7", "[fe80::1%7]:53"),
        ("tcp://192.0.2.1", "tcp://192.0.2.1:53"),
        ("tcp://[2001:db8::1]:54", "tcp://[2001:db8::1]:54"),
        ("tls://dns.example", "tls://dns.example:853"),
        ("tls://dns.example:8853", "tls://dns.example:8853"),
        ("TLS://DNS.Example.", "tls://dns.example:853"),
        ("tls://router", "tls://router:853"),
        ("tls://b\u{fc}ro.example", "tls://xn--bro-hoa.example:853"),
        ("tls://192.0.2.1", "tls://192.0.2.1:853"),
        ("tls://[2001:db8::1]", "tls://[2001:db8::1]:853"),
        ("tls://[fe80::1%eth0]:854", "tls://[fe80::1%eth0]:854"),
        ("tls://[::ffff:192.0.2.1]", "tls://192.0.2.1:853"),
        ("tls://dns.example@192.0.2.1:853", "tls://dns.example@192.0.2.1:853"),
        ("tls://dns.example@[2001:db8::1]", "tls://dns.example@[2001:db8::1]:853"),
        ("quic://dns.example", "quic://dns.example:853"),
        ("quic://dns.example@192.0.2.1:8853", "quic://dns.example@192.0.2.1:8853"),
        ("https://dns.example", "https://dns.example:443/dns-query"),
        ("https://dns.example/", "https://dns.example:443/"),
        ("https://dns.example:8443/a/b~c%2F", "https://dns.example:8443/a/b~c%2F"),
        ("https://dns.example/dns-query{?dns}", "https://dns.example:443/dns-query"),
        ("https://dns.example{?dns}", "https://dns.example:443/dns-query"),
        ("https://192.0.2.1/dns-query", "https://192.0.2.1:443/dns-query"),
        ("https://dns.example@192.0.2.1/x@y", "https://dns.example@192.0.2.1:443/x@y"),
    ] {
        assert_eq!(id(text), expected, "{text}");
    }
}

#[test]
fn a_text_that_is_no_address_is_refused_with_a_reason() {
    for (text, reason) in [
        ("192.0.2.1#5353", "write \"192.0.2.1:5353\""),
        ("2001:db8::1@5353", "write \"[2001:db8::1]:5353\""),
        ("dns.example", "is a name, not an address; expected an address such as 192.0.2.1"),
        ("dns.example", "or tls://dns.example, https://dns.example/dns-query or quic://dns.example"),
        ("localhost:53", "is a name"),
        ("0.0.0.0", "this host itself"),
        ("::ffff:0.0.0.0", "this host itself"),
        ("192.0.2.1:0", "port 0"),
        ("192.0.2.1:99999", "'99999' is not a port"),
        ("192.0.2", "is not an address; expected"),
        ("192.0.2.1 ", "write \"192.0.2.1\""),
        ("", "is not an address; expected"),
        ("255.255.255.255", "multicast or broadcast"),
        ("ff02::1", "multicast or broadcast"),
        ("240.0.0.1", "that no host has"),
        ("fe80::1", "name its interface, as in fe80::1%eth0"),
        ("fe80::1%", "'' is not an interface"),
        ("2001:db8::1%eth0", "begins with fe80:"),
        ("[2001:db8::1", "']' is missing; write \"2001:db8::1\""),
        ("[2001:db8::1]54", "write \"[2001:db8::1]:54\""),
        ("fe80::1@lo", "write \"fe80::1%lo\""),
        ("fe80::1%lo:54", "write \"[fe80::1%lo]:54\""),
        ("192.0.2.1@54", "write \"192.0.2.1:54\""),
        // Encrypted ones, as unbound, systemd-resolved and dnsmasq have them.
        ("192.0.2.1@853#dns.example", "write \"tls://dns.example@192.0.2.1\""),
        ("192.0.2.1@8853#dns.example", "write \"tls://dns.example@192.0.2.1:8853\""),
        ("2001:db8::1@853#dns.example", "write \"tls://dns.example@[2001:db8::1]\""),
        ("192.0.2.1#dns.example", "write \"tls://dns.example@192.0.2.1\""),
        ("2001:db8::1#dns.example", "write \"tls://dns.example@[2001:db8::1]\""),
        ("[2001:db8::1]:853%eth0#dns.example", "'853%eth0#dns.example' is not a port; expected a number"),
        ("[fe80::1]:853%lo#dns.example", "write \"tls://dns.example@[fe80::1%lo]\""),
        ("192.0.2.1@853", "write \"tls://192.0.2.1\""),
        ("192.0.2.1#853", "write \"tls://192.0.2.1\""),
        ("dns.example@192.0.2.1", "write \"tls://dns.example@192.0.2.1\""),
        // Schemes of other programs.
        ("udp://192.0.2.1", "there is no scheme udp://; write \"192.0.2.1\""),
        ("udp://192.0.2.1:54", "write \"192.0.2.1:54\""),
        ("dns://[2001:db8::1]", "write \"2001:db8::1\""),
        ("dot://dns.example", "write \"tls://dns.example\""),
        ("dns+tls://192.0.2.1#dns.example", "write \"tls://dns.example@192.0.2.1\""),
        ("tcp-tls:dns.example:853", "write \"tls://dns.example\""),
        ("doh://dns.example/dns-query", "write \"https://dns.example/dns-query\""),
        (
            "h3://dns.example/dns-query",
            "by HTTP/2 here, not by HTTP/3; write \"https://dns.example/dns-query\"",
        ),
        ("doq://dns.example:8853", "write \"quic://dns.example:8853\""),
        ("http://dns.example/dns-query", "is not encrypted"),
        ("ftp://dns.example", "there is no scheme ftp://; expected tls://, https://, quic:// or tcp://"),
        // Parts that have no place.
        ("tls://", "lacks the name or address"),
        ("tls://dns.example/", "only an address with https:// has a path; write \"tls://dns.example\""),
        ("tls://dns.example/dns-query", "only an address with https:// has a path"),
        ("quic://dns.example#other.example", "not behind #"),
        ("tls://192.0.2.1#dns.example", "write \"tls://dns.example@192.0.2.1\""),
        ("https://user:secret@dns.example/", "a user name, a password or a port has no place"),
        ("https://user@dns.example/", "an address is expected behind @"),
        ("tls://dns.example:853@192.0.2.1", "write \"tls://dns.example@192.0.2.1\""),
        ("https://dns.example/dns-query?ct=x", "no query string"),
        (
            "https://dns.example/dns-query#x",
            "is never sent to a server; write \"https://dns.example/dns-query\"",
        ),
        ("https://192.0.2.1/dns-query#dns.example", "write \"https://dns.example@192.0.2.1/dns-query\""),
        ("https://dns.example/{dns}", "no template but {?dns}"),
        ("https://dns.example/%zz", "'%' cannot be part of a path; expected it as %XX"),
        ("https://dns.example/a b", "' ' cannot be part of a path"),
        ("https://dns.example/\u{e9}", "'\\u{e9}' cannot be part of a path"),
        ("tls://2001:db8::1", "in brackets; write \"tls://[2001:db8::1]\""),
        ("tls://dns.example@2001:db8::1", "in brackets; write \"tls://dns.example@[2001:db8::1]\""),
        ("tls://dns.example:0", "'0' is not a port"),
        ("tls://dns.example:x", "'x' is not a port; expected a number from 1 to 65535"),
        ("tls://192.0.2", "'192.0.2' is not a host name"),
        ("tls://*.dns.example", "a '*' cannot be part of it"),
        ("tls://.", "is not a host name"),
        ("tls://-x.example", "is not a host name"),
        ("tls://dns..example", "a label is empty"),
        ("tls://dns_example!", "'!' cannot be part of it"),
        ("tls://0.0.0.0", "this host itself"),
        ("tls://dns.example@0.0.0.0", "this host itself"),
        ("tls://[fe80::1]", "name its interface"),
        ("tcp://dns.example", "without encryption needs an address, not a name"),
    ] {
        let said = Written::read(text).expect_err(text);
        assert!(said.contains(reason), "{text:?}: {said}");
        assert!(said.starts_with(&format!("'{text}'")), "the place in a list is found by it: {said}");
        if let Some(right) = said.split("write \"").nth(1) {
            assert!(Written::read(right.trim_end_matches('"')).is_ok(), "{text:?}: {said}");
        }
    }
    for none in
        ["0.0.0.0#53", "224.0.0.1@53", "192.0.2.1@0", "fe80::1@54", "2001:db8::1@lo", "tls://a@b@192.0.2.1"]
    {
        assert!(!Written::read(none).expect_err(none).contains("write"), "{none}");
    }
}

#[test]
fn a_stamp_is_refused_with_the_address_that_it_has() {
    // Made by hand after dnscrypt.info/stamps-specifications.
    let stamp = |protocol: u8, items: &[&[u8]]| {
        let mut octets = vec![protocol, 7, 0, 0, 0, 0, 0, 0, 0];
        for item in items {
            octets.push(u8::try_from(item.len()).expect("short"));
            octets.extend_from_slice(item);
        }
        let text = crate::config::base64::encode(&octets).replace('+', "-").replace('/', "_");
        format!("sdns://{}", text.trim_end_matches('='))
    };
    let hash = [7_u8; 32];
    for (protocol, items, expected) in [
        (0, &[&b"192.0.2.1"[..]][..], Some("192.0.2.1")),
        (0, &[b"[2001:db8::1]:54"], Some("[2001:db8::1]:54")),
        (
            2,
            &[b"192.0.2.1", &hash, b"dns.example", b"/dns-query"],
            Some("https://dns.example@192.0.2.1/dns-query"),
        ),
        (2, &[b"", &hash, b"dns.example:8443", b"/x"], Some("https://dns.example:8443/x")),
        (3, &[b"[2001:db8::1]", b"", b"dns.example"], Some("tls://dns.example@[2001:db8::1]")),
        (4, &[b"192.0.2.1:784", b"", b"192.0.2.1"], Some("quic://192.0.2.1:784")),
        (3, &[b"", b""], None),
        (1, &[b"192.0.2.1", &hash, b"2.dnscrypt-cert.dns.example"], None),
    ] {
        let text = stamp(protocol, items);
        let said = Written::read(&text).expect_err("a stamp");
        assert!(said.contains("is a stamp of DNSCrypt"), "{said}");
        let suggested = said.split("write \"").nth(1).map(|right| right.trim_end_matches('"'));
        assert_eq!(suggested, expected, "{said}");
    }
    assert!(Written::read("sdns://@").expect_err("none").contains("is a stamp of DNSCrypt"));
}

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

proptest! {
    #[test]
    fn every_suggestion_is_accepted(
        scheme in "(udp://|tls://|https://|h3://|doq://|dns\\+tls://|tcp-tls:|tcp://|\\[)?",
        host in "(dns.example@?)?(192.0.2.1|0.0.0.0|::|fe80::1|2001:db8::1|x)?",
        more in "[\\]\\[@#:%/?{} a0-9]{0,6}(#?dns.example)?",
    ) {
        let text = format!("{scheme}{host}{more}");
        if let Err(said) = Written::read(&text)
            && let Some(right) = said.split("write \"").nth(1)
        {
            prop_assert!(Written::read(right.trim_end_matches('"')).is_ok(), "{text:?}: {said:?}");
        }
    }

    #[test]
    fn an_address_that_is_read_has_one_form(
        text in "(tls://|https://|quic://|tcp://)?(dns.example@?)?(192.0.2.1|\\[2001:db8::1\\])?(:85?)?(/[a-z%0-9]{0,3})?",
    ) {
        if let Ok(written) = Written::read(&text) {
            let id = written.id();
            prop_assert_eq!(Written::read(&id).map(|again| again.id()), Ok(id));
        }
    }

    #[test]
    fn a_stamp_of_any_octets_is_read_without_a_panic(octets in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Written::read(&format!("sdns://{}", crate::config::base64::encode(&octets)));
    }
}
