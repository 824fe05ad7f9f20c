//! The address of an upstream as operators write it: `192.0.2.1`, `tcp://192.0.2.1`, `tls://dns.example`,
//! `https://dns.example/dns-query`, `quic://dns.example@192.0.2.1:853`.

use super::other_forms;
use crate::config::address::Endpoint;
use hither_local::parse_name;
use hither_rounds::Transport;
use hither_secure::ServerName;
use hither_wire::name::Name;
use std::net::{IpAddr, Ipv4Addr};

/// The path of a URL that has none: that of RFC 8484's examples, and of nearly all servers.
const PATH: &str = "/dns-query";
/// Octets of a path. Those of providers have some 50.
const PATH_MAX: usize = 1024;
/// The forms of encrypted upstreams, for errors.
const ENCRYPTED: &str = "tls://dns.example, https://dns.example/dns-query or quic://dns.example";

/// What stands for the server in an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::config) enum Host {
    /// A host name, in lower case.
    Name(Name),
    /// An address with its port.
    Address(Endpoint),
}

/// The address of an upstream, as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::config) struct Written {
    /// The text that was read, for operators.
    pub text: String,
    /// The transport that the scheme names.
    pub transport: Transport,
    pub host: Host,
    /// The address behind `@`.
    pub at: Option<Endpoint>,
    pub port: u16,
    /// The path of a URL; empty for all but `https`.
    pub path: String,
    /// A remark on an internationalized name.
    pub hint: Option<String>,
}

impl Written {
    /// Reads an address.
    ///
    /// # Errors
    /// Why the text is none, as a sentence that begins with the text in quotes, and the form that was
    /// probably meant.
    pub fn read(text: &str) -> Result<Written, String> {
        Written::strict(text).map_err(|why| other_forms::with_suggestion(&why, text))
    }

    /// [`Written::read`] without a suggestion.
    pub(super) fn strict(text: &str) -> Result<Written, String> {
        let Some((scheme, rest)) = text.split_once("://") else { return Written::plain(text) };
        let (transport, port) = match scheme.to_ascii_lowercase().as_str() {
            "tcp" => (Transport::Tcp, 53),
            "tls" => (Transport::Tls, 853),
            "https" => (Transport::Https, 443),
            "quic" => (Transport::Quic, 853),
            _ => return Err(other_forms::unknown_scheme(text, scheme)),
        };
        // The template of RFC 8484 counts as absent, since queries are sent by POST.
        let is_url = transport == Transport::Https;
        let rest = rest.strip_suffix("{?dns}").filter(|_| is_url).unwrap_or(rest);
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let path = match tail {
            tail if is_url => path(text, tail)?,
            "" => String::new(),
            tail if tail.starts_with('#') => {
                return Err(format!("'{text}': a name stands in front of the address, not behind #"));
            }
            _ => return Err(format!("'{text}': only an address with https:// has a path")),
        };
        let mut written = Written { path, ..authority_of(text, authority, port)? };
        written.transport = transport;
        match written.host {
            Host::Name(_) if transport == Transport::Tcp => {
                Err(format!("'{text}': an upstream without encryption needs an address, not a name"))
            }
            Host::Name(_) | Host::Address(_) => Ok(written),
        }
    }

    /// An address without a scheme.
    fn plain(text: &str) -> Result<Written, String> {
        let endpoint = Endpoint::read_upstream(text, 53).map_err(|why| {
            // The list of forms names those of encrypted upstreams, too.
            if why.contains("; expected an address") { format!("{why}, or {ENCRYPTED}") } else { why }
        })?;
        Ok(Written::of_address(text, endpoint))
    }

    fn of_address(text: &str, endpoint: Endpoint) -> Written {
        Written {
            text: text.to_owned(),
            transport: Transport::Udp,
            port: endpoint.port(),
            host: Host::Address(endpoint),
            at: None,
            path: String::new(),
            hint: None,
        }
    }

    /// The address in its one usual form: two texts for the same address have the same one.
    pub fn id(&self) -> String {
        let scheme = match self.transport {
            Transport::Udp => "",
            Transport::Tcp => "tcp://",
            Transport::Tls => "tls://",
            Transport::Https => "https://",
            Transport::Quic => "quic://",
        };
        let path = &self.path;
        match (&self.host, &self.at) {
            (Host::Address(endpoint), _) => format!("{scheme}{endpoint}{path}"),
            (Host::Name(name), None) => format!("{scheme}{}:{}{path}", without_dot(name), self.port),
            (Host::Name(name), Some(at)) => format!("{scheme}{}@{at}{path}", without_dot(name)),
        }
    }
}

/// A name without the dot at its end, as URLs and certificates have it.
pub(super) fn without_dot(name: &Name) -> String {
    let mut text = name.to_string();
    text.truncate(text.trim_end_matches('.').len());
    text
}

/// Reads what stands between the scheme and the path. `port` is that of the scheme.
fn authority_of(text: &str, authority: &str, port: u16) -> Result<Written, String> {
    let endpoint = |place: &str| {
        if !place.starts_with('[') && place.matches(':').count() > 1 {
            return Err(format!("'{text}': an IPv6 address behind a scheme stands in brackets"));
        }
        // The error is about the whole text.
        let whole = |why: String| match why.strip_prefix(&format!("'{place}'")) {
            Some(rest) => format!("'{text}'{rest}"),
            None => format!("'{text}': {why}"),
        };
        Endpoint::read_upstream(place, port).map_err(whole)
    };
    let of_name = |host: &str, port: u16, at: Option<Endpoint>| {
        let (name, hint) =
            host_name(host).map_err(|why| format!("'{text}': '{host}' is not a host name: {why}"))?;
        let text = text.to_owned();
        Ok(Written {
            text,
            transport: Transport::Udp,
            host: Host::Name(name),
            at,
            port,
            path: String::new(),
            hint,
        })
    };
    if authority.is_empty() {
        return Err(format!("'{text}' lacks the name or address of the server"));
    }
    if let Some((host, place)) = authority.split_once('@') {
        let is_name = host_name(host).is_ok();
        if !is_name && (host.contains(':') || place.contains('@')) {
            return Err(format!(
                "'{text}': a user name, a password or a port has no place in front of @; expected name@address"
            ));
        }
        if is_name && !is_address(place) {
            return Err(format!("'{text}': an address is expected behind @, and a host name in front of it"));
        }
        let at = endpoint(place)?;
        let port = at.port();
        return of_name(host, port, Some(at));
    }
    if is_address(authority) {
        return Ok(Written::of_address(text, endpoint(authority)?));
    }
    match authority.split_once(':') {
        None => of_name(authority, port, None),
        Some((host, number)) => match number.parse() {
            Ok(number @ 1..) => of_name(host, number, None),
            Ok(_) | Err(_) => {
                host_name(host).map_err(|why| format!("'{text}': '{host}' is not a host name: {why}"))?;
                Err(format!("'{text}': '{number}' is not a port; expected a number from 1 to 65535"))
            }
        },
    }
}

/// Whether a text is meant as an address, with or without a port.
fn is_address(text: &str) -> bool {
    let host = text.split(':').next().unwrap_or_default();
    text.starts_with('[')
        || text.matches(':').count() > 1
        || host.parse::<Ipv4Addr>().is_ok()
        || text.parse::<IpAddr>().is_ok()
}

/// Reads a host name, internationalized or not. Also returns a remark if it was.
///
/// # Errors
/// Why the text is none, as the end of a sentence.
pub(in crate::config) fn host_name(text: &str) -> Result<(Name, Option<String>), String> {
    let parsed = parse_name(text).map_err(|error| {
        let error = error.to_string();
        // What it suggests would be an error in this place, too.
        error.split_once(';').map_or(error.clone(), |(why, _)| why.to_owned())
    })?;
    if parsed.wildcard {
        return Err("a '*' cannot be part of it".to_owned());
    }
    let name = without_dot(&parsed.name);
    if ServerName::try_from(name.as_str()).is_err() {
        return Err("expected labels of letters, digits and hyphens, not all of digits".to_owned());
    }
    let hint = parsed.idn.then(|| format!("'{text}' is used as '{name}'"));
    Ok((parsed.name, hint))
}

/// Reads the path of a URL.
fn path(text: &str, path: &str) -> Result<String, String> {
    if path.is_empty() {
        return Ok(PATH.to_owned());
    }
    if path.contains('#') {
        return Err(format!("'{text}': what stands behind # is never sent to a server"));
    }
    if path.contains(['?', '{', '}']) {
        return Err(format!(
            "'{text}': only a path is sent, by POST; expected no query string (?) and no template but {{?dns}} at the end"
        ));
    }
    if path.len() > PATH_MAX {
        return Err(format!("'{text}': the path has more than {PATH_MAX} octets"));
    }
    // RFC 3986, section 3.3. Percent escapes are sent as they are.
    let mut rest = path.chars();
    while let Some(letter) = rest.next() {
        let is_escape = letter == '%' && rest.by_ref().take(2).filter(char::is_ascii_hexdigit).count() == 2;
        if !is_escape && !letter.is_ascii_alphanumeric() && !"/-._~!$&'()*+,;=:@".contains(letter) {
            let odd = letter.escape_default();
            return Err(format!(
                "'{text}': '{odd}' cannot be part of a path; expected it as %XX, in hexadecimal digits"
            ));
        }
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests;
