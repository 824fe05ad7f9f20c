//! The system's own resolvers, for a configuration that names none.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// The nameservers of a resolv.conf(5), without those at which we listen ourselves.
pub(super) fn upstreams(resolv_conf: &Path, ourselves: &[SocketAddr]) -> Vec<SocketAddr> {
    let text = match std::fs::read_to_string(resolv_conf) {
        Ok(text) => text,
        Err(error) => {
            log::warn!("'{}' cannot be read: {error}; no upstream is known", resolv_conf.display());
            return Vec::new();
        }
    };
    parse(&text).into_iter().filter(|upstream| !is_ours(upstream, ourselves)).collect()
}

fn parse(text: &str) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        // A zone, as in fe80::1%eth0, is a matter of links.
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        let address = SocketAddr::new(address, 53);
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// Whether a query to `upstream` would come back to us.
pub(super) fn is_ours(upstream: &SocketAddr, ourselves: &[SocketAddr]) -> bool {
    let same = |own: &SocketAddr| {
        own.port() == upstream.port()
            && (own.ip() == upstream.ip() || own.ip().is_unspecified() && upstream.ip().is_loopback())
    };
    ourselves.iter().any(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameservers_are_taken_and_we_are_not_among_them() {
        let text = "# comment\nsearch example.com\nnameserver 192.0.2.1\nnameserver  ::1\nnameserver 127.0.0.1\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\noptions edns0\nnameserver";
        let parsed = parse(text);
        assert_eq!(parsed.len(), 3, "{parsed:?}");
        let ours = ["127.0.0.1:53".parse().expect("an address")];
        assert!(parsed.iter().filter(|upstream| is_ours(upstream, &ours)).count() == 1);
        let any = ["0.0.0.0:53".parse().expect("an address")];
        assert!(is_ours(&"127.0.0.1:53".parse().expect("an address"), &any));
        assert!(upstreams(Path::new("/nonexistent/resolv.conf"), &ours).is_empty());
    }
}
