//! resolv.conf(5) as octets: whom it names, where names are searched for, and the lines that are passed over.
//!
//! Read as glibc reads it, and more leniently where others do: comments behind an address, blanks before a word, any ends of lines.

use hither_local::text::{PassedOver, is_utf16, lines, shown, words};
use hither_wire::name::Name;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// systemd-resolved's own stubs: whoever asks them asks whom we ask, or us.
const STUBS: [[u8; 4]; 2] = [[127, 0, 0, 53], [127, 0, 0, 54]];

/// What a resolv.conf says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ResolvConf {
    /// Its servers, each once, stubs and ourselves included.
    pub nameservers: Vec<SocketAddr>,
    /// The domains in which names are searched for, in lower case, those of the last `search` or `domain` line. The root is none of them.
    pub search: Vec<Name>,
    /// Lines that mean nothing.
    pub passed_over: PassedOver,
}

/// Reads a resolv.conf. Any octets give what is good in them.
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
            Some(word) => Some(format!("{} is no word of resolv.conf(5)", shown(word))),
        };
        if let Some(why) = why {
            read.passed_over.add(number, || why);
        }
    }
    read
}

impl ResolvConf {
    fn add_server(&mut self, word: Option<&[u8]>) -> Option<String> {
        let Some(word) = word else { return Some("an address is missing behind 'nameserver'".to_owned()) };
        let Some(address) = std::str::from_utf8(word).ok().and_then(server) else {
            return Some(format!("{} is no address", shown(word)));
        };
        if !self.nameservers.contains(&address) {
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
                Ok(name) => self.search.push(name.to_lower()),
                Err(error) => why = Some(format!("{} is no domain: {error}", shown(word))),
            }
        }
        why
    }
}

/// Whether it is a stub of systemd-resolved.
pub(crate) fn is_stub(server: &SocketAddr) -> bool {
    STUBS.iter().any(|stub| server.ip() == IpAddr::from(*stub))
}

/// A server as others write it: `192.0.2.1`, `[2001:db8::1]:53`, `fe80::1%eth0`, each perhaps with `#name` behind it.
pub(crate) fn server(word: &str) -> Option<SocketAddr> {
    let word = word.split(['#', ';']).next()?;
    if let Ok(address) = word.parse::<SocketAddr>() {
        return Some(address);
    }
    let (address, zone) = word.split_once('%').map_or((word, None), |(address, zone)| (address, Some(zone)));
    match (address.parse().ok()?, zone) {
        (IpAddr::V6(address), Some(zone)) => {
            let scope = zone.parse().ok().or_else(|| nix::net::if_::if_nametoindex(zone).ok())?;
            Some(SocketAddrV6::new(address, 53, 0, scope).into())
        }
        (address, _) => Some(SocketAddr::new(address, 53)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(text: &[u8]) -> Vec<String> {
        read(text).nameservers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_good_line_counts_whatever_is_around_it() {
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
    fn what_is_passed_over_is_said_with_its_line() {
        let read = read(b"nameserver\nnameserver 192.0.2\nnameservers 192.0.2.1\nsearch a..b corp.example . Lab.Example\nnameserver 192.0.2.9\n");
        assert_eq!((read.nameservers.len(), read.search.len(), read.passed_over.lines), (1, 2, 4));
        let told = read.passed_over.to_string();
        assert!(
            told.starts_with(
                "line 1: an address is missing behind 'nameserver'; line 2: '192.0.2' is no address"
            ),
            "{told}"
        );
        assert!(
            told.contains("line 3: 'nameservers' is no word of resolv.conf(5)")
                && told.ends_with("and 1 more"),
            "{told}"
        );
        let utf16: Vec<u8> = "nameserver 192.0.2.1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(super::read(&utf16).passed_over.to_string().contains("UTF-16"));
    }

    #[test]
    fn the_last_search_list_counts() {
        let search = |text: &[u8]| read(text).search.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(search(b"domain a.example\nsearch B.example. c.example\n"), ["b.example.", "c.example."]);
        assert_eq!(search(b"search a.example\ndomain .\n"), [""; 0]);
    }
}
