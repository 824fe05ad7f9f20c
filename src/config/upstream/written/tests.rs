use super::*;
use proptest::prelude::*;

/// The usual form of an address.
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

/// Texts that are no address of an upstream, each with a part of the message.
const REFUSED: &[(&str, &str)] = &[
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
    ("h3://dns.example/dns-query", "by HTTP/2 here, not by HTTP/3; write \"https://dns.example/dns-query\""),
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
    ("https://dns.example/dns-query#x", "is never sent to a server; write \"https://dns.example/dns-query\""),
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
];

#[test]
fn a_text_that_is_no_address_is_refused_with_a_reason() {
    for (text, reason) in REFUSED {
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
