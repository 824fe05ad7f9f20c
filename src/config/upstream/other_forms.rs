//! Addresses of upstreams in the syntax of other programs, and the form that hither.toml has for each.

use super::written::{Written, host_name};
use std::net::IpAddr;

/// An address that is read leniently.
#[derive(Clone, Default, Debug)]
struct Loose {
    /// The scheme that hither.toml has for it; empty: none.
    scheme: &'static str,
    /// The host name.
    name: String,
    /// The address without brackets, with its zone.
    address: String,
    port: String,
    path: String,
}

/// The error of a scheme that does not exist.
pub(super) fn unknown_scheme(text: &str, scheme: &str) -> String {
    let known = "expected tls://, https://, quic:// or tcp://, or an address alone for UDP";
    match scheme.to_ascii_lowercase().as_str() {
        "sdns" => format!("'{text}' is a stamp of DNSCrypt, which is not read; {known}"),
        "h3" | "http3" | "doh3" => {
            format!("'{text}': DNS over HTTPS is spoken by HTTP/2 here, not by HTTP/3; {known}")
        }
        "http" => format!("'{text}': http:// is not encrypted, and DNS over HTTPS is; {known}"),
        _ => format!("'{text}': there is no scheme {scheme}://; {known}"),
    }
}

/// The error `why` of a text, with a suggestion if another form of it is accepted.
pub(super) fn with_suggestion(why: &str, text: &str) -> String {
    match suggestion(text) {
        // With a suggestion the list of all forms is left out.
        Some(form) => format!("{}; write \"{form}\"", why.split("; expected").next().unwrap_or(why)),
        None => why.to_owned(),
    }
}

fn suggestion(text: &str) -> Option<String> {
    let text = text.trim();
    let loose = if text.to_ascii_lowercase().starts_with("sdns://") {
        super::stamp::read(text).map(|stamp| Loose {
            scheme: stamp.scheme,
            name: stamp.name,
            address: stamp.address,
            port: stamp.port,
            path: stamp.path,
        })?
    } else {
        read(text)?
    };
    // A name alone may be that of a server of any kind.
    let is_certain = !loose.scheme.is_empty() || !loose.address.is_empty();
    // Port 0 lets the kernel choose and is never suggested; the parser refuses it.
    is_certain.then(|| loose.written()).filter(|form| Written::strict(form).is_ok())
}

impl Loose {
    fn written(&self) -> String {
        let Loose { scheme, name, address, port, path } = self;
        let has_name = !name.is_empty();
        let scheme = match (*scheme, port.as_str()) {
            // A name in a certificate, or the port of TLS behind @ or #, is of no use without TLS.
            ("", _) if has_name => "tls",
            ("", "853") => "tls",
            (scheme, _) => scheme,
        };
        let usual = match scheme {
            "tls" | "quic" => "853",
            "https" => "443",
            _ => "53",
        };
        let port = if port.is_empty() || port == usual { String::new() } else { format!(":{port}") };
        let is_v6 = address.contains(':');
        let address = match is_v6 && (!scheme.is_empty() || !port.is_empty()) {
            true => format!("[{address}]"),
            false => address.clone(),
        };
        let at = if has_name && !address.is_empty() { "@" } else { "" };
        let front = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
        format!("{front}{name}{at}{address}{port}{path}")
    }
}

/// The scheme of hither.toml for one of another program, and what follows it.
fn scheme_of(text: &str) -> Option<(&'static str, &str)> {
    let Some((scheme, rest)) = text.split_once("://") else {
        // As blocky has it.
        return match text.split_once(':') {
            Some(("tcp-tls", rest)) => Some(("tls", rest)),
            Some(("tcp+udp" | "udp", rest)) => Some(("", rest)),
            _ => Some(("", text)),
        };
    };
    let known = match scheme.to_ascii_lowercase().as_str() {
        "tls" | "dot" | "dns+tls" | "tcp-tls" => "tls",
        "https" | "doh" | "h2" | "h3" | "http3" | "doh3" => "https",
        "quic" | "doq" => "quic",
        "tcp" | "dns+tcp" => "tcp",
        "udp" | "dns" | "dns+udp" | "tcp+udp" => "",
        _ => return None,
    };
    Some((known, rest))
}

/// Reads an address in any of the forms that are known; nothing of the text is lost but what is never
/// sent to a server.
fn read(text: &str) -> Option<Loose> {
    let (scheme, rest) = scheme_of(text)?;
    let (rest, behind) = rest.split_once('#').map_or((rest, ""), |(rest, behind)| (rest, behind));
    let (server, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut loose = Loose { scheme, ..Loose::default() };
    match (scheme, path.trim_end_matches('/')) {
        ("https", _) => loose.path = path.to_owned(),
        (_, "") => {}
        (_, _) => return None,
    }
    read_server(server, &mut loose)?;
    match behind {
        "" => {}
        port if port.parse::<u16>().is_ok() && loose.port.is_empty() => loose.port = port.to_owned(),
        name if loose.name.is_empty() && host_name(name).is_ok() => loose.name = name.to_owned(),
        name if name.eq_ignore_ascii_case(&loose.name) => {}
        // What stands behind # of a URL is never sent.
        _ if scheme == "https" => {}
        _ => return None,
    }
    Some(loose)
}

/// Reads `host`, `host:port`, `host@port`, `address%zone`, `name@address`, `name:port@address`.
fn read_server(server: &str, loose: &mut Loose) -> Option<()> {
    let Some((front, behind)) = server.split_once('@') else { return read_host(server, loose) };
    if behind.parse::<u16>().is_ok() {
        // As unbound has a port.
        read_host(front, loose)?;
        return (std::mem::replace(&mut loose.port, behind.to_owned()).is_empty()).then_some(());
    }
    read_host(front, loose)?;
    if loose.name.is_empty() && !loose.address.contains('%') && host_name(behind).is_ok() {
        // As unbound has an interface.
        loose.address = format!("{}%{behind}", loose.address);
        return Some(());
    }
    let mut at = Loose::default();
    read_host(behind, &mut at)?;
    let is_right = loose.address.is_empty() && at.name.is_empty();
    let has_one_port = loose.port.is_empty() || at.port.is_empty();
    loose.address = at.address;
    loose.port += &at.port;
    (is_right && has_one_port).then_some(())
}

/// Reads a name or an address, with or without a port; a zone may stand behind the port, as
/// systemd-resolved has it.
fn read_host(host: &str, loose: &mut Loose) -> Option<()> {
    let (inner, behind) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').unwrap_or((rest, "")),
        None if host.matches(':').count() == 1 => host.split_at(host.find(':')?),
        None => (host, ""),
    };
    let (mut inner, mut port) =
        (inner.trim_matches(['[', ']']).to_owned(), behind.trim_start_matches(':').to_owned());
    if let Some((number, zone)) = port.clone().split_once('%') {
        inner = format!("{inner}%{zone}");
        port = number.to_owned();
    }
    let without_zone = inner.split('%').next().unwrap_or_default().to_owned();
    if behind.is_empty() && without_zone.contains(':') && inner.contains('%') {
        // As in fe80::1%eth0:53.
        if let Some((zoned, number)) = inner.clone().rsplit_once(':').filter(|(zoned, _)| zoned.contains('%'))
        {
            (inner, port) = (zoned.to_owned(), number.to_owned());
        }
    }
    if without_zone.parse::<IpAddr>().is_ok() {
        loose.address = inner;
    } else if host_name(&inner).is_ok() {
        loose.name = inner;
    } else {
        return None;
    }
    loose.port = port;
    (loose.port.is_empty() || loose.port.parse::<u16>().is_ok()).then_some(())
}
