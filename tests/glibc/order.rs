//! What getaddrinfo makes of the module's order: each rule of RFC 6724 that glibc applies, on a host with
//! made addresses. The table of nss-hither(8) says the same. Red if a version of glibc sorts otherwise.
//!
//! `HITHER_GLIBC`: a directory with another glibc's `libc.so.6` and `ld-linux-x86-64.so.2`.

use crate::soa;
use crate::support::{Daemon, Upstream, alone, compile, compose, directory, ip, libraries, sh};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::Owner;
use hither_wire::message::Section;
use hither_wire::query::Query;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

/// An upstream that has addresses for these names; of each family they are in this order.
fn upstream(names: &'static [(&str, &str)]) -> Upstream {
    Upstream::start(|query, _| {
        let read = Query::read(query).expect("the daemon's own");
        let name = read.name_lower().to_string();
        let a = read.qtype() == Rtype::A;
        let found = names.iter().find(|(known, _)| *known == name.trim_end_matches('.'));
        let all = found.into_iter().flat_map(|(_, all)| all.split(' ')).map(|one| one.parse::<IpAddr>());
        let all = all.map(|one| one.expect("an address")).filter(|one| one.is_ipv4() == a);
        let octets = all.map(|one| match one {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        });
        let octets: Vec<Vec<u8>> = octets.collect();
        let reply = compose(query, Rcode::NOERROR, 0, |composer| {
            for one in &octets {
                assert!(composer.record(Section::Answer, Owner::At(12), read.qtype(), 600, one));
            }
            if octets.is_empty() {
                soa(composer);
            }
        });
        vec![(0, reply)]
    })
}

/// A host with the addresses 198.18.0.10/24 and 2001:db8:1::10/64, and routes to everywhere.
struct Host {
    _upstream: Upstream,
    daemon: Daemon,
    program: PathBuf,
}

impl Host {
    fn start(names: &'static [(&str, &str)], families: &str) -> Host {
        let upstream = upstream(names);
        let dir = directory();
        let program = compile(&dir, "tests/native/order.c", &[]);
        assert!(sh("mount -t tmpfs none /etc && echo nameserver 127.0.0.1 > /etc/resolv.conf"), "an /etc");
        for line in [
            "link add host0 type veth peer name peer0",
            "link set peer0 up",
            "link set host0 up",
            "address add 198.18.0.10/24 dev host0",
            "address add 2001:db8:1::10/64 dev host0 nodad",
            "route add default dev host0",
            "-6 route add default dev host0",
        ] {
            assert!(ip(line), "{line}");
        }
        let more = format!("[sort]\nenabled = false\nfamilies = {families:?}\n");
        let daemon = Daemon::start_in(dir, &[&upstream], &more);
        Host { _upstream: upstream, daemon, program }
    }

    /// The addresses of a name as getaddrinfo orders them, or as the [`MODULE`] does.
    fn ordered(&self, family: i8, name: &str) -> String {
        let libraries = libraries().display().to_string();
        let mut run = match std::env::var("HITHER_GLIBC") {
            Ok(other) => {
                let mut run = Command::new(format!("{other}/ld-linux-x86-64.so.2"));
                run.arg("--library-path").arg(format!("{other}:{libraries}")).arg(&self.program);
                run
            }
            Err(_) => {
                let mut run = Command::new(&self.program);
                run.env("LD_LIBRARY_PATH", libraries);
                run
            }
        };
        run.env("HITHER_RUNTIME_DIR", self.daemon.dir.join("run")).arg(family.to_string()).arg(name);
        let output = run.output().expect("runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("ASCII").trim_end().to_owned()
    }
}

/// Names with what the upstream says, the family that is asked for, and getaddrinfo's order.
const WITHIN_A_FAMILY: [(&str, &str, i8, &str); 9] = [
    ("v4.example", "203.0.113.9 192.0.2.1 198.51.100.7", 2, "203.0.113.9 192.0.2.1 198.51.100.7"),
    // Rule 2: the source address has the scope of the second one only.
    ("scope.example", "169.254.1.1 192.0.2.1", 2, "192.0.2.1 169.254.1.1"),
    // Rule 6: 2002::/16 has a lower precedence, 2001::/32 that of all others.
    (
        "old.example",
        "2002:c000:201::1 2001:0:1::1 2001:db8:9::1",
        10,
        "2001:db8:9::1 2001:0:1::1 2002:c000:201::1",
    ),
    // Rule 9, IPv4: addresses of the host's own network first, those with the longest common prefix before
    // others; all others as they are.
    (
        "net.example",
        "203.0.113.9 192.0.2.1 198.18.0.99 198.18.0.11",
        2,
        "198.18.0.11 198.18.0.99 203.0.113.9 192.0.2.1",
    ),
    // Rule 9, IPv6: only the first 32 bits in which one of two addresses differs from its source count.
    (
        "one32.example",
        "2a00:1450:1::1 2a00:1450:4001::2 2a00:1450::3",
        10,
        "2a00:1450:1::1 2a00:1450:4001::2 2a00:1450::3",
    ),
    (
        "three32.example",
        "2a00:1450:1::1 2606:4700::1 2001:4860::8",
        10,
        "2001:4860::8 2606:4700::1 2a00:1450:1::1",
    ),
    ("own32.example", "2a00:1450:1::1 2001:db8:ffff::1", 10, "2001:db8:ffff::1 2a00:1450:1::1"),
    (
        "in32.example",
        "2001:db8:ffff::1 2001:db8:8000::1 2001:db8:2::1",
        10,
        "2001:db8:2::1 2001:db8:ffff::1 2001:db8:8000::1",
    ),
    (
        "in64.example",
        "2001:db8:1::f00 2001:db8:1:0:8000::1 2001:db8:1::11",
        10,
        "2001:db8:1::11 2001:db8:1::f00 2001:db8:1:0:8000::1",
    ),
];

const NAMES: [(&str, &str); 10] = {
    let mut names = [("both.example", "192.0.2.1 2001:db8:9::1"); 10];
    let mut n = 0;
    while n < WITHIN_A_FAMILY.len() {
        names[n + 1] = (WITHIN_A_FAMILY[n].0, WITHIN_A_FAMILY[n].1);
        n += 1;
    }
    names
};

/// gai.conf(5) with the default precedences, but for that of IPv4, which is that of IPv6.
const EQUAL: &str = "precedence ::1/128 50\nprecedence ::/0 40\nprecedence 2002::/16 30\nprecedence ::/96 20\nprecedence ::ffff:0:0/96 40\n";

/// In place of a family: both, in the order in which the module gives them to getaddrinfo.
const MODULE: i8 = -1;
const V4_FIRST: &str = "192.0.2.1 2001:db8:9::1";
const V6_FIRST: &str = "2001:db8:9::1 192.0.2.1";

#[test]
fn getaddrinfo_sorts_within_a_family_as_the_manual_says() {
    if !alone("getaddrinfo_sorts_within_a_family_as_the_manual_says") {
        return;
    }
    let host = Host::start(&NAMES, "measured");
    for (name, given, family, expected) in WITHIN_A_FAMILY {
        assert_eq!(host.ordered(family, name), expected, "{name}: {given}");
    }
    // Rule 8: with a source of its scope the link's own address is first.
    assert!(
        ip("link add host1 type veth peer name peer1") && ip("link set host1 up") && ip("link set peer1 up")
    );
    assert!(ip("address add 169.254.5.5/16 dev host1"));
    assert_eq!(host.ordered(2, "scope.example"), "169.254.1.1 192.0.2.1");
    // No line of gai.conf prevents rule 9.
    std::fs::write("/etc/gai.conf", EQUAL).expect("written");
    assert_eq!(host.ordered(10, "three32.example"), "2001:4860::8 2606:4700::1 2a00:1450:1::1");
}

#[test]
fn getaddrinfo_decides_between_families_unless_gai_conf_leaves_it_to_the_module() {
    if !alone("getaddrinfo_decides_between_families_unless_gai_conf_leaves_it_to_the_module") {
        return;
    }
    let host = Host::start(&NAMES, "v4");
    let both = || host.ordered(0, "both.example");
    assert_eq!(both(), V6_FIRST, "rule 6");
    std::fs::write("/etc/gai.conf", EQUAL).expect("written");
    assert_eq!(host.ordered(MODULE, "both.example"), V4_FIRST);
    assert_eq!(both(), V4_FIRST, "the order of the module");
    std::fs::write("/etc/gai.conf", EQUAL.replace("96 40", "96 41")).expect("written");
    assert_eq!(both(), V4_FIRST);
    // The rules before it still decide. Rule 5: the source has another label.
    std::fs::remove_file("/etc/gai.conf").expect("there");
    assert!(ip("address del 2001:db8:1::10/64 dev host0") && ip("address add fd00:1::10/64 dev host0 nodad"));
    assert_eq!(both(), V4_FIRST, "rule 5");
    // Rule 3: the source is deprecated.
    assert!(ip("address del fd00:1::10/64 dev host0"));
    assert!(ip("address add 2001:db8:1::10/64 dev host0 nodad preferred_lft 0"));
    assert_eq!(both(), V4_FIRST, "rule 3");
    // Rule 1: no way there.
    assert!(ip("-6 route del default dev host0"));
    assert_eq!(both(), V4_FIRST, "rule 1");
}
