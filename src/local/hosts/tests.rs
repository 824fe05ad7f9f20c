use super::*;
use crate::Local;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn ip(text: &str) -> Data {
    Data::Address(text.parse().expect("an address"))
}

#[test]
fn hosts_files_are_read_as_hosts_5_says() {
    let mut hosts = Hosts::default();
    let passed = hosts.add(b"\xef\xbb\xbf# B\xfcro\n192.0.2.1\tNas.Home nas # here\n::1 localhost\n192.0.2.2 nas\n192.0.2.1 other\n\nnonsense\n192.0.2.9\n2001:db8::5%eth0 six. nas\r\n0 zero\r\n::ffff:192.0.2.7 mapped#glued\n192.0.2.3 a/b good_one ; not this\n192.0.2.4 m\xc3\xbcller.home\n192.0.2.5 no\xfc.home");
    assert_eq!((passed.lines, hosts.len()), (4, 10));
    let problems = passed.to_string();
    assert!(
        problems.starts_with(
            "line 7: 'nonsense': 'nonsense' is not an address; line 8: '192.0.2.9': a name is missing"
        ),
        "{problems}"
    );
    assert!(
        problems.contains("line 12: ")
            && problems.contains("'a/b' is not a name: '/' cannot be part of it; and 1 more"),
        "{problems}"
    );
    let local = Local { hosts, ..Local::default() };
    let data = |text: &str, rtype| local.answer(&name(text), rtype, None).expect("ours").data;
    assert_eq!(data("nas.home", Rtype::A), [ip("192.0.2.1")]);
    assert_eq!(data("nas", Rtype::A), [ip("192.0.2.1"), ip("192.0.2.2")]);
    assert_eq!(data("nas", Rtype::AAAA), [ip("2001:db8::5")]);
    assert_eq!(data("nas", Rtype::ANY).len(), 3, "each of its addresses");
    assert_eq!(data("1.2.0.192.in-addr.arpa", Rtype::PTR), [Data::Pointer(name("nas.home"))]);
    assert_eq!(data("nas.home", Rtype::AAAA), [], "NODATA, and the question is not forwarded");
    assert_eq!(
        (data("zero", Rtype::A), data("mapped", Rtype::A)),
        (vec![ip("0.0.0.0")], vec![ip("192.0.2.7")])
    );
    assert_eq!(
        (data("good_one", Rtype::A), data("xn--mller-kva.home", Rtype::A)),
        (vec![ip("192.0.2.3")], vec![ip("192.0.2.4")])
    );
    assert_eq!(data("m\\195\\188ller.home", Rtype::A), [ip("192.0.2.4")], "as programs without IDNA ask");
    assert!(
        local.answer(&name("nas.home"), Rtype::MX, None).is_none()
            && local.answer(&name("this"), Rtype::MX, None).is_none()
    );
    let zero = local.answer(&name("0.0.0.0.in-addr.arpa"), Rtype::PTR, None).expect("special");
    assert_eq!((zero.exists, zero.data), (false, vec![]), "0.0.0.0 is no address of a host");
    assert!(
        local.covers(&name("nas.home"))
            && !local.covers(&name("www.example.com"))
            && !local.covers(&name("home"))
    );
}

#[test]
fn the_own_name_has_the_hosts_addresses() {
    let own = OwnName {
        names: vec![name("box.example.net"), name("box")],
        addresses: vec!["192.0.2.7".parse().expect("an address")],
    };
    let local = Local { own: Some(own), ..Local::default() };
    assert_eq!(local.answer(&name("box"), Rtype::A, None).expect("ours").data, [ip("192.0.2.7")]);
    assert_eq!(
        local.answer(&name("7.2.0.192.in-addr.arpa"), Rtype::PTR, None).expect("ours").data,
        [Data::Pointer(name("box.example.net"))]
    );
}

#[test]
fn the_own_name_is_the_hosts_name_if_clients_can_ask_for_it() {
    let names = |text: &str| {
        let own = OwnName::of(text, Vec::new())?;
        Some(own.names.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let some = |all: &[&str]| Some(all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    assert_eq!(names("box"), some(&["box."]));
    assert_eq!(names("Box.Example.NET"), some(&["box.example.net.", "box."]));
    assert_eq!(names("box.example.net."), some(&["box.example.net.", "box."]));
    assert_eq!(names("my_box-2"), some(&["my_box-2."]));
    let long = "a".repeat(64);
    let none = [
        "",
        "(none)",
        "localhost",
        "LOCALHOST",
        "localhost.localdomain",
        "box.localhost",
        "192.0.2.1",
        "::1",
        "a b",
    ];
    for text in none.into_iter().chain(["a..b", ".", ".box", "b\u{fc}ro", "a;id", "a\\046b", long.as_str()]) {
        assert_eq!(names(text), None, "{text}");
    }
}
