//! Addresses with ports and zones, as operators write them.

use crate::host::upstream_address::{why_link_is_missing, why_unusable_on_any_link};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The port of the DNS.
const PORT: u16 = 53;

/// The address of an upstream or of a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    address: SocketAddr,
    /// The interface that the zone names, which may not exist yet.
    interface: Option<String>,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.interface {
            Some(interface) => write!(f, "[{}%{interface}]:{}", self.address.ip(), self.address.port()),
            None => self.address.fmt(f),
        }
    }
}

impl Endpoint {
    /// The address itself, without a zone.
    pub(super) fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// The port.
    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The interface that the address names, if it does.
    #[must_use]
    pub fn interface(&self) -> Option<&str> {
        self.interface.as_deref()
    }

    /// The socket address; `None` while there is no such interface.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        let Some(interface) = &self.interface else { return Some(self.address) };
        let scope = nix::net::if_::if_nametoindex(interface.as_str()).ok()?;
        match self.address.ip() {
            IpAddr::V6(ip) => Some(SocketAddrV6::new(ip, self.address.port(), 0, scope).into()),
            IpAddr::V4(_) => Some(self.address),
        }
    }

    /// Reads `192.0.2.1`, `192.0.2.1:53`, `2001:db8::1`, `[2001:db8::1]:53`, `fe80::1%eth0`,
    /// `[fe80::1%eth0]:53`. An IPv4-mapped IPv6 address becomes the IPv4 address. `port` is that of
    /// addresses without one.
    fn read(text: &str, port: u16) -> Result<Endpoint, String> {
        let (host, own) = split(text)?;
        let port = own.unwrap_or(port);
        let (host, zone) = host.split_once('%').map_or((host, None), |(host, zone)| (host, Some(zone)));
        let ip: IpAddr = host.parse().map_err(|_| not_an_address(text))?;
        let ip = ip.to_canonical();
        let Some(zone) = zone else {
            let address = SocketAddr::new(ip, port);
            if why_link_is_missing(&address).is_some() {
                return Err(format!("'{text}' is a link-local address: name its interface, as in {ip}%eth0"));
            }
            return Ok(Endpoint { address, interface: None });
        };
        let v6 = of_link(ip).ok_or_else(|| {
            format!("'{text}': only a link-local address, which begins with fe80:, has a zone")
        })?;
        if zone.is_empty() || zone.len() > 15 || zone.contains(['/', ' ', '%', ':', '@', '#']) {
            return Err(format!("'{text}': '{zone}' is not an interface"));
        }
        let number = zone.parse().ok().filter(|number| *number > 0);
        Ok(Endpoint {
            address: SocketAddrV6::new(v6, port, 0, number.unwrap_or(0)).into(),
            interface: number.is_none().then(|| zone.to_owned()),
        })
    }

    /// Reads an address to connect to, with the error and the suggestion of [`Endpoint::listener`]. An
    /// address that no upstream can have is an error. `port` is that of addresses without one.
    pub(super) fn upstream(text: &str, port: u16) -> Result<Endpoint, String> {
        Endpoint::read_upstream(text, port)
            .map_err(|why| with_suggestion(why, text, |text| Endpoint::read_upstream(text, port).is_ok()))
    }

    /// Reads the address of a listener; the interface that it names must exist.
    pub(super) fn listener(text: &str) -> Result<SocketAddr, String> {
        Endpoint::read_listener(text)
            .map_err(|why| with_suggestion(why, text, |text| Endpoint::read_listener(text).is_ok()))
    }

    /// [`Endpoint::upstream`] without a suggestion.
    pub(super) fn read_upstream(text: &str, port: u16) -> Result<Endpoint, String> {
        let endpoint = Endpoint::read(text, port)?;
        match why_unusable_on_any_link(&endpoint.address) {
            Some(why) if endpoint.address.port() == 0 => {
                Err(format!("'{text}' {why}; leave it out for {port}"))
            }
            Some(why) => Err(format!("'{text}' {why}")),
            None => Ok(endpoint),
        }
    }

    fn read_listener(text: &str) -> Result<SocketAddr, String> {
        if let Some(port) = text.strip_prefix("*:").or_else(|| text.strip_prefix(':'))
            && port.parse::<u16>().is_ok()
        {
            return Err(format!(
                "'{text}' has no address; write \"0.0.0.0:{port}\" and \"[::]:{port}\" for all addresses of this host"
            ));
        }
        let endpoint = Endpoint::read(text, PORT)?;
        if endpoint.address.ip().is_multicast() {
            return Err(format!(
                "'{text}' is a multicast or broadcast address; write an address of this host"
            ));
        }
        let interface = endpoint.interface().unwrap_or_default().to_owned();
        endpoint
            .address()
            .ok_or_else(|| format!("'{text}': there is no interface '{interface}' to listen at"))
    }
}

/// Splits a text into host and port.
fn split(text: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or_else(|| format!("'{text}': a ']' is missing"))?;
        (
            host,
            if port.is_empty() {
                None
            } else {
                Some(port.strip_prefix(':').ok_or_else(|| not_an_address(text))?)
            },
        )
    } else {
        match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (text, None),
        }
    };
    // If the host is wrong too, that is reported instead.
    match port {
        None => Ok((host, None)),
        Some(port) => match port.parse() {
            Ok(port) => Ok((host, Some(port))),
            Err(_) if host.parse::<IpAddr>().is_ok() => {
                Err(format!("'{text}': '{port}' is not a port; expected a number up to 65535"))
            }
            Err(_) => Err(not_an_address(text)),
        },
    }
}

fn of_link(ip: IpAddr) -> Option<Ipv6Addr> {
    match ip {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(v6),
        IpAddr::V6(_) | IpAddr::V4(_) => None,
    }
}

/// The error `why`, with a suggestion if another form of the text is accepted.
fn with_suggestion(why: String, text: &str, is_accepted: impl Fn(&str) -> bool) -> String {
    let plain = text.trim();
    let plain = plain.split_once("://").map_or(plain, |(_, rest)| rest.trim_end_matches('/'));
    // Other programs write an address, then @ and a port or an interface, then # and a port or the name
    // in the certificate.
    let (server, name) = plain.split_once('#').map_or((plain, ""), |(server, name)| (server, name));
    let (host, more) = server.split_once('@').map_or((server, ""), |(host, more)| (host, more));
    let of_tls = !name.is_empty() && name.parse::<u16>().is_err();
    let inner = host.trim_matches(['[', ']']);
    let (before_port, after) = inner.rsplit_once(':').unwrap_or((inner, ""));
    let after = after.trim_start_matches(']');
    let zoned = before_port.contains('%').then(|| format!("[{before_port}]:{after}"));
    let at = |port: &str| {
        if inner.contains(':') { format!("[{inner}]:{port}") } else { format!("{inner}:{port}") }
    };
    let is_port = |text: &str| text.parse::<u16>().is_ok();
    let nothing_lost = of_tls || (name.is_empty() && more.is_empty());
    let forms = [
        (is_port(name) && more.is_empty()).then(|| at(name)),
        // With a name in the certificate the port is that of TLS.
        (is_port(more) && !of_tls).then(|| at(more)),
        (!more.is_empty() && !is_port(more)).then(|| format!("{inner}%{more}")),
        zoned,
        nothing_lost.then(|| host.to_owned()),
        nothing_lost.then(|| inner.to_owned()),
        host.split_once(']').map(|(host, port)| format!("[{}]:{port}", host.trim_start_matches('['))),
    ];
    let right = |form: &String| !has_port_zero(form) && is_accepted(form);
    match forms.into_iter().flatten().find(right) {
        // With a suggestion the list of all forms is left out.
        Some(form) => format!("{}; write \"{form}\"", why.split("; expected").next().unwrap_or(&why)),
        None => why,
    }
}

/// Whether the port is 0, which lets the kernel choose and is never suggested.
fn has_port_zero(text: &str) -> bool {
    split(text).is_ok_and(|(_, port)| port == Some(0))
}

fn not_an_address(text: &str) -> String {
    let forms =
        "expected an address such as 192.0.2.1, 192.0.2.1:53, 2001:db8::1, [2001:db8::1]:53 or fe80::1%eth0";
    if let Some((scheme, _)) = text.split_once("://") {
        return format!("'{text}' is not an address: {scheme} is not supported; {forms}");
    }
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) && !text.contains("::") {
        return format!("'{text}' is a name, not an address; {forms}");
    }
    format!("'{text}' is not an address; {forms}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_read_in_each_form() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5353", "192.0.2.1:5353"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]", "[2001:db8::1]:53"),
            ("[2001:db8::1]:54", "[2001:db8::1]:54"),
            ("::ffff:192.0.2.1", "192.0.2.1:53"),
            ("[::ffff:192.0.2.1]:54", "192.0.2.1:54"),
            ("fe80::1%1", "[fe80::1%1]:53"),
            ("[fe80::1%7]:54", "[fe80::1%7]:54"),
            ("fe80::1%lo", "[fe80::1%1]:53"),
            ("[fe80::1%lo]:54", "[fe80::1%1]:54"),
        ] {
            let read = Endpoint::upstream(text, 53).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(read.address().expect("there").to_string(), expected, "{text}");
            assert_eq!(Endpoint::listener(text).expect("there").to_string(), expected, "{text}");
        }
        let later = Endpoint::upstream("fe80::1%not-there0", 853).expect("it may come");
        assert_eq!((later.address(), later.to_string().as_str()), (None, "[fe80::1%not-there0]:853"));
        assert!(
            Endpoint::listener("fe80::1%not-there0")
                .expect_err("nowhere")
                .contains("no interface 'not-there0'")
        );
    }

    #[test]
    fn a_listener_or_a_place_to_connect_to_has_neither_name_nor_scheme() {
        for (text, reason) in [
            ("0.0.0.0#0", "expected"),
            ("0.0.0.0#53", "write \"0.0.0.0:53\""),
            ("dns.example", "is a name, not an address"),
            ("tls://127.0.0.1", "tls is not supported; write \"127.0.0.1\""),
        ] {
            let said = Endpoint::listener(text).expect_err(text);
            assert!(said.contains(reason), "{text:?}: {said}");
        }
        for (text, reason) in [
            ("dns.example", "is a name, not an address"),
            ("tls://192.0.2.1", "tls is not supported; write \"192.0.2.1\""),
            ("192.0.2.1@853", "write \"192.0.2.1:853\""),
            ("192.0.2.1#dns.example", "write \"192.0.2.1\""),
            ("0.0.0.0", "this host itself"),
        ] {
            let said = Endpoint::upstream(text, 853).expect_err(text);
            assert!(said.contains(reason), "{text:?}: {said}");
        }
        assert!(Endpoint::listener("*:54").expect_err("none").contains("\"0.0.0.0:54\" and \"[::]:54\""));
        assert!(Endpoint::listener("0.0.0.0:0").is_ok(), "the kernel chooses");
    }

    proptest! {
        #[test]
        fn every_suggestion_is_accepted(text in "(udp://|tls://|\\[)?(192.0.2.1|0.0.0.0|::|fe80::1|2001:db8::1|x)[\\]\\[@#:%/ a0-9]{0,6}") {
            let right = |said: String| said.split("write \"").nth(1).map(|right| right.trim_end_matches('"').to_owned());
            if let Some(right) = Endpoint::upstream(&text, 853).err().and_then(right) {
                prop_assert!(Endpoint::upstream(&right, 853).is_ok(), "{text:?}: {right:?}");
            }
            if let Some(right) = Endpoint::listener(&text).err().and_then(right) {
                prop_assert!(Endpoint::listener(&right).is_ok(), "{text:?}: {right:?}");
            }
        }
    }
}
