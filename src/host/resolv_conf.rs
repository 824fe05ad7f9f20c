//! resolv.conf(5): its servers, its search list, and the lines that are passed over.
//!
//! It is read as glibc does, and more leniently where other resolvers are: comments after an address,
//! blanks before a word, any line ends.

use crate::host::files;
use crate::host::upstream_address::why_link_is_missing;
use hither_local::text::{PassedOver, is_utf16, lines, shown, words};
use hither_wire::name::Name;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The stub listeners of systemd-resolved, which would ask the same servers or hitherd.
const STUBS: [[u8; 4]; 2] = [[127, 0, 0, 53], [127, 0, 0, 54]];

/// The file in the runtime directory in which the daemon lists its upstreams for containers.
pub(crate) const OWN_FILE: &str = "resolv.conf";

/// Octets read of a file.
const LENGTH_MAX: u64 = 1 << 20;
/// Servers that are read from a file, few enough to be compared one by one.
const SERVERS_MAX: usize = 256;
/// Domains of the search list that are read from a file.
const SEARCH_MAX: usize = 256;

/// The contents of a resolv.conf.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ResolvConf {
    /// The servers, each once. Stubs and our own addresses are included.
    pub nameservers: Vec<SocketAddr>,
    /// The search list in lower case, from the last `search` or `domain` line, without the root.
    pub search: Vec<Name>,
    /// The lines that were not understood.
    pub passed_over: PassedOver,
}

/// Reads a resolv.conf. Lines that are not understood are passed over; they may have any octets.
pub(crate) fn read(text: &[u8]) -> ResolvConf {
    let mut read = ResolvConf::default();
    if is_utf16(text) {
        read.passed_over.add(0, || "it is in UTF-16; save it as UTF-8".to_owned());
        return read;
    }
    for (number, line) in lines(text) {
        let mut words = words(line);
        let why = match words.next() {
            None | Some(b"options" | b"sortlist" | b"lookup" | b"family") => None,
            Some(b"nameserver") => read.add_server(words.next()),
            Some(b"search" | b"domain") => read.set_search(words),
            Some(word) => Some(format!("{} is not a keyword of resolv.conf(5)", shown(word))),
        };
        if let Some(why) = why {
            read.passed_over.add(number, || why);
        }
    }
    read
}

impl ResolvConf {
    fn add_server(&mut self, word: Option<&[u8]>) -> Option<String> {
        let Some(word) = word else { return Some("an address is missing after 'nameserver'".to_owned()) };
        let Some(address) = std::str::from_utf8(word).ok().and_then(parse_server) else {
            return Some(format!("{} is not an address", shown(word)));
        };
        if let Some(why) = why_link_is_missing(&address) {
            return Some(format!("{} {why}", shown(word)));
        }
        if !self.nameservers.contains(&address) {
            if self.nameservers.len() == SERVERS_MAX {
                return Some(format!("{} is beyond the {SERVERS_MAX} servers that are read", shown(word)));
            }
            self.nameservers.push(address);
        }
        None
    }

    fn set_search<'a>(&mut self, words: impl Iterator<Item = &'a [u8]>) -> Option<String> {
        self.search.clear();
        let mut why = None;
        for word in words {
            match Name::from_text(word) {
                Ok(name) if name.is_root() => {}
                Ok(_) if self.search.len() == SEARCH_MAX => {
                    why = Some(format!("{} is beyond the {SEARCH_MAX} domains that are read", shown(word)));
                    break;
                }
                Ok(name) => self.search.push(name.to_lower()),
                Err(error) => why = Some(format!("{} is not a domain: {error}", shown(word))),
            }
        }
        why
    }
}

/// A resolv.conf as it was when it was read.
#[derive(Debug)]
pub(crate) struct ResolvConfFile {
    pub path: PathBuf,
    /// Whether it is our own [`OWN_FILE`]. Its servers are then known already, or out of date.
    pub is_own: bool,
    pub contents: std::io::Result<ResolvConf>,
    is_empty: bool,
}

impl ResolvConfFile {
    /// Reads the file at `path`.
    pub fn read(path: PathBuf, is_own: bool) -> ResolvConfFile {
        let text = files::read_up_to(&path, LENGTH_MAX);
        let is_empty = text.as_ref().is_ok_and(Vec::is_empty);
        ResolvConfFile { path, is_own, contents: text.map(|text| read(&text)), is_empty }
    }

    /// The contents, unless the file could not be read or we wrote it ourselves.
    pub fn foreign_contents(&self) -> Option<&ResolvConf> {
        self.contents.as_ref().ok().filter(|_| !self.is_own)
    }

    /// Why the file gives no upstream.
    pub fn why_no_upstream(&self) -> String {
        let path = self.path.display();
        match &self.contents {
            Err(error) => format!("'{path}' cannot be read: {error}"),
            Ok(_) if self.is_empty => format!("'{path}' is empty"),
            Ok(contents) if contents.nameservers.is_empty() => format!("'{path}' names no server"),
            Ok(_) => "the system names no server but hitherd".to_owned(),
        }
    }
}

/// Whether `path` leads to the [`OWN_FILE`] that the daemon wrote, for instance by a symbolic link.
pub(crate) fn is_own(path: &Path, runtime_dir: &Path) -> bool {
    lead_to_one(path, &runtime_dir.join(OWN_FILE))
}

/// Whether both paths lead to the same file.
pub(crate) fn lead_to_one(path: &Path, other: &Path) -> bool {
    let target = |path: &Path| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    target(path).is_some_and(|found| target(other) == Some(found))
}

/// Whether a server is a stub listener of systemd-resolved.
pub(crate) fn is_stub(server: &SocketAddr) -> bool {
    STUBS.iter().any(|stub| server.ip() == IpAddr::from(*stub))
}

/// The server that programs ask when the file names `server`: glibc and others take `0.0.0.0` and `::`
/// as this host.
pub(crate) fn as_programs_ask(server: SocketAddr) -> SocketAddr {
    match server.ip() {
        IpAddr::V4(v4) if v4.is_unspecified() => (Ipv4Addr::LOCALHOST, server.port()).into(),
        IpAddr::V6(v6) if v6.is_unspecified() => (Ipv6Addr::LOCALHOST, server.port()).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => server,
    }
}

/// Reads a server as other programs write it: `192.0.2.1`, `[2001:db8::1]:53`, `fe80::1%eth0`, each
/// perhaps followed by `#name`. An IPv4-mapped IPv6 address becomes the IPv4 address. The address may
/// be one that no upstream can have.
pub(crate) fn parse_server(word: &str) -> Option<SocketAddr> {
    let word = word.split(['#', ';']).next()?;
    // A zone follows the address, or the port as systemd-resolved writes it.
    let (host, rest) = match word.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None if word.matches(':').count() == 1 => word.split_at(word.find(':')?),
        None => (word, ""),
    };
    let (port, behind) = rest.split_once('%').map_or((rest, None), |(port, zone)| (port, Some(zone)));
    let port = if port.is_empty() { 53 } else { port.strip_prefix(':')?.parse().ok()? };
    let (host, zone) = host.split_once('%').map_or((host, behind), |(host, zone)| (host, Some(zone)));
    let server = match (host.parse().ok()?, zone) {
        (IpAddr::V6(address), Some(zone)) => {
            let scope = zone.parse().ok().or_else(|| nix::net::if_::if_nametoindex(zone).ok())?;
            SocketAddrV6::new(address, port, 0, scope).into()
        }
        (address, _) => SocketAddr::new(address, port),
    };
    Some(match server.ip().to_canonical() {
        IpAddr::V4(v4) => (v4, server.port()).into(),
        IpAddr::V6(_) => server,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(text: &[u8]) -> Vec<String> {
        read(text).nameservers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_line_that_is_understood_counts() {
        let text = b"\xef\xbb\xbf# M\xfcnchen\r\nnameserver 192.0.2.1  # eth0\r\n\tnameserver\t::1 ; x\rnameserver 192.0.2.1\n\0\0nameserver 192.0.2.2#glued\nnameserver fe80::1%1\noptions ndots:99 \xff\nnameserver 192.0.2.3\0";
        assert_eq!(
            servers(text),
            ["192.0.2.1:53", "[::1]:53", "192.0.2.2:53", "[fe80::1%1]:53", "192.0.2.3:53"]
        );
        assert_eq!(read(text).passed_over.lines, 0);
        assert_eq!(
            servers(b"#nameserver 192.0.2.1\n;nameserver 192.0.2.2\n # nameserver 192.0.2.3"),
            [""; 0]
        );
    }

    #[test]
    fn lines_passed_over_are_reported_with_their_numbers() {
        let read = read(b"nameserver\nnameserver 192.0.2\nnameservers 192.0.2.1\nsearch a..b corp.example . Lab.Example\nnameserver 192.0.2.9\n");
        assert_eq!((read.nameservers.len(), read.search.len(), read.passed_over.lines), (1, 2, 4));
        let problems = read.passed_over.to_string();
        assert!(
            problems.starts_with(
                "line 1: an address is missing after 'nameserver'; line 2: '192.0.2' is not an address"
            ),
            "{problems}"
        );
        assert!(
            problems.contains("line 3: 'nameservers' is not a keyword of resolv.conf(5)")
                && problems.ends_with("and 1 more"),
            "{problems}"
        );
        let utf16: Vec<u8> = "nameserver 192.0.2.1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(super::read(&utf16).passed_over.to_string().contains("UTF-16"));
    }

    #[test]
    fn each_spelling_of_a_server_is_read() {
        for (word, expected) in [
            ("::ffff:192.0.2.1", "192.0.2.1:53"),
            ("[::ffff:127.0.0.1]:53", "127.0.0.1:53"),
            ("::ffff:0.0.0.0", "0.0.0.0:53"),
            ("[fe80::1%7]:53", "[fe80::1%7]:53"),
            ("[192.0.2.1]:53", "192.0.2.1:53"),
            ("[2001:db8::1]", "[2001:db8::1]:53"),
            ("192.0.2.1:54%eth0#name", "192.0.2.1:54"),
            ("[fe80::1]:54%7", "[fe80::1%7]:54"),
            ("[fe80::1%7]", "[fe80::1%7]:53"),
            ("fe80::1", "[fe80::1]:53"),
            ("1.1.1.1#cloudflare-dns.com", "1.1.1.1:53"),
        ] {
            assert_eq!(
                parse_server(word).map(|server| server.to_string()).as_deref(),
                Some(expected),
                "{word}"
            );
        }
        assert_eq!(
            [
                parse_server(""),
                parse_server("fe80::1%"),
                parse_server("192.0.2"),
                parse_server("fe80::1%not-there0")
            ],
            [None; 4]
        );
        let asked = |word| as_programs_ask(parse_server(word).expect("a server")).to_string();
        assert_eq!(
            [asked("0.0.0.0"), asked("::"), asked("192.0.2.1")],
            ["127.0.0.1:53", "[::1]:53", "192.0.2.1:53"]
        );
        let read = read(b"nameserver fe80::1\nnameserver fe80::1%1\n");
        assert_eq!((read.nameservers.len(), read.passed_over.lines), (1, 1));
    }

    #[test]
    fn servers_and_domains_beyond_the_bound_are_reported() {
        let many = |what: &str, of: fn(usize) -> String| -> String {
            (0..300).map(|n| format!("{what}{}", of(n))).collect()
        };
        let read_servers =
            read(many("\nnameserver ", |n| format!("10.0.{}.{}", n / 200, n % 200 + 1)).as_bytes());
        assert_eq!((read_servers.nameservers.len(), read_servers.passed_over.lines), (256, 44));
        let read_search = read(format!("search {}", many(" ", |n| format!("d{n}.example"))).as_bytes());
        assert_eq!((read_search.search.len(), read_search.passed_over.lines), (256, 1));
    }

    #[test]
    fn the_reason_for_having_no_upstream_is_given() {
        let dir = std::env::temp_dir().join(format!("hither-resolv-conf-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let file = dir.join("resolv.conf");
        let why_none = |path: &Path| ResolvConfFile::read(path.to_owned(), false).why_no_upstream();
        assert!(why_none(&file).contains("cannot be read: No such file"), "{}", why_none(&file));
        assert!(why_none(&dir).contains("cannot be read: Is a directory"), "{}", why_none(&dir));
        for (text, why) in [
            ("", "' is empty"),
            ("# none\nnameserver 192.0.2\n", "' names no server"),
            ("nameserver 127.0.0.1\n", "no server but hitherd"),
        ] {
            std::fs::write(&file, text).expect("written");
            assert!(why_none(&file).contains(why), "{}", why_none(&file));
        }
        std::fs::remove_dir_all(dir).expect("removable");
    }

    #[test]
    fn the_last_search_list_counts() {
        let search = |text: &[u8]| read(text).search.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(search(b"domain a.example\nsearch B.example. c.example\n"), ["b.example.", "c.example."]);
        assert_eq!(search(b"search a.example\ndomain .\n"), [""; 0]);
    }
}
