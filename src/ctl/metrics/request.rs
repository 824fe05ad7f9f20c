//! A request for metrics by HTTP/1 (RFC 9110, RFC 9112): what is asked for, and the octets of the
//! response. Sans-IO: `http.rs` reads and writes.

use super::text::Format;

/// The only resource.
const PATH: &str = "/metrics";
/// Header fields that a request may have. Prometheus sends five.
const FIELDS_MAX: usize = 64;

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// The head has not ended yet.
    More,
    /// The metrics, or with `is_head` only the head of the response.
    Metrics { format: Format, is_head: bool },
    /// Something else.
    Wrong(Status),
}

/// The status of a response without metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    BadRequest,
    NotFound,
    NotAllowed,
    /// The head did not come in time.
    Timeout,
    TooLarge,
    /// The table cannot be read.
    Unavailable,
}

impl Status {
    const fn line(self) -> &'static str {
        match self {
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::NotAllowed => "405 Method Not Allowed",
            Self::Timeout => "408 Request Timeout",
            Self::TooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }

    /// What the client is told, if nothing better is known.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::BadRequest => "this is no request of HTTP/1",
            Self::NotFound => "the metrics are at /metrics",
            Self::NotAllowed => "only GET and HEAD are answered",
            Self::Timeout => "the request did not come in time",
            Self::TooLarge => "the head of the request is too large",
            Self::Unavailable => "the table cannot be read",
        }
    }
}

/// Reads the head of a request.
pub(super) fn read(octets: &[u8]) -> Asked {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(octets) {
        Ok(httparse::Status::Partial) => return Asked::More,
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Asked::Wrong(Status::TooLarge),
        Err(_) => return Asked::Wrong(Status::BadRequest),
    }
    let named = |name: &str| {
        let name = name.to_owned();
        request.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(&name))
    };
    // RFC 9112, section 3.2: exactly one Host in HTTP/1.1.
    let hosts = named("host").count();
    if hosts > 1 || (hosts == 0 && request.version == Some(1)) {
        return Asked::Wrong(Status::BadRequest);
    }
    let is_head = match request.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Asked::Wrong(Status::NotAllowed),
    };
    if path(request.path.unwrap_or_default()) != PATH {
        return Asked::Wrong(Status::NotFound);
    }
    let accepted = named("accept").filter_map(|field| std::str::from_utf8(field.value).ok());
    Asked::Metrics { format: format(accepted), is_head }
}

/// The path of a request's target, which may be a whole address (RFC 9112, section 3.2.2), without
/// its query.
fn path(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("", |at| &rest[at..]),
        _ => target,
    };
    path.split('?').next().unwrap_or_default()
}

/// The format that the client prefers by its fields `Accept` (RFC 9110, section 12.5.1). OpenMetrics
/// only if it is named, since a client that accepts everything, such as curl, may know only the other.
fn format<'a>(accepted: impl Iterator<Item = &'a str>) -> Format {
    let (mut openmetrics, mut plain) = (0, 0);
    for range in accepted.flat_map(|field| field.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut version, mut quality) = (None, 1000);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim().to_ascii_lowercase().as_str() {
                "version" => version = Some(value.trim().trim_matches('"')),
                "q" => quality = thousandths(value.trim()),
                _ => {}
            }
        }
        match (media.as_str(), version) {
            ("application/openmetrics-text", None | Some("1.0.0" | "0.0.1")) => {
                openmetrics = openmetrics.max(quality);
            }
            ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => plain = plain.max(quality),
            _ => {}
        }
    }
    if openmetrics > 0 && openmetrics >= plain { Format::Openmetrics } else { Format::Prometheus }
}

/// A quality such as `0.75` in thousandths; 0 if it is none.
fn thousandths(text: &str) -> u32 {
    let quality: f32 = text.parse().unwrap_or(0.0);
    if (0.0..=1.0).contains(&quality) { (quality * 1000.0).round() as u32 } else { 0 }
}

/// The response with the metrics.
pub(super) fn response(format: Format, metrics: &str, is_head: bool) -> Vec<u8> {
    compose("200 OK", format.media_type(), "", metrics, is_head)
}

/// A response without metrics, with the reason as a line of text.
pub(super) fn refusal(status: Status, reason: &str) -> Vec<u8> {
    let more = if status == Status::NotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
    compose(status.line(), "text/plain; charset=utf-8", more, &format!("hither: {reason}\n"), false)
}

fn compose(status: &str, media_type: &str, more: &str, body: &str, is_head: bool) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nVary: Accept\r\n{more}Connection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), if is_head { b"" } else { body.as_bytes() }].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPEN: Asked = Asked::Metrics { format: Format::Openmetrics, is_head: false };
    const PLAIN: Asked = Asked::Metrics { format: Format::Prometheus, is_head: false };

    fn get(target: &str, fields: &str) -> Asked {
        read(format!("GET {target} HTTP/1.1\r\nHost: localhost:9953\r\n{fields}\r\n").as_bytes())
    }

    #[test]
    fn the_metrics_are_at_one_path() {
        for target in ["/metrics", "/metrics?name=x", "http://localhost:9953/metrics"] {
            assert_eq!(get(target, ""), PLAIN, "{target}");
        }
        for target in ["/", "/metrics/", "/metricsx", "*", "http://localhost", "//metrics", "/x://y/metrics"]
        {
            assert_eq!(get(target, ""), Asked::Wrong(Status::NotFound), "{target}");
        }
    }

    #[test]
    fn other_methods_and_what_is_no_request_are_refused() {
        let of = |octets: &str| read(octets.as_bytes());
        assert_eq!(
            of("HEAD /metrics HTTP/1.0\r\n\r\n"),
            Asked::Metrics { format: Format::Prometheus, is_head: true }
        );
        assert_eq!(of("POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), Asked::Wrong(Status::NotAllowed));
        for wrong in [
            "GET /metrics HTTP/1.1\r\n\r\n",
            "GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "GET /metrics\r\n\r\n",
            "\u{16}\u{3}\u{1}\u{2}",
            "GET /metrics HTTP/1.1\r\nHost : x\r\n\r\n",
        ] {
            assert_eq!(of(wrong), Asked::Wrong(Status::BadRequest), "{wrong:?}");
        }
        for part in ["", "G", "GET /metrics HT", "GET /metrics HTTP/1.1\r\nHost: x\r\n"] {
            assert_eq!(of(part), Asked::More, "{part:?}");
        }
        assert_eq!(get("/metrics", &"X: y\r\n".repeat(64)), Asked::Wrong(Status::TooLarge));
    }

    #[test]
    fn openmetrics_is_for_those_who_name_it_and_like_it_at_least_as_much() {
        let accept = |value: &str| get("/metrics", &format!("Accept: {value}\r\n"));
        // Of Prometheus 2.42 and of Prometheus 3.
        let old = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let new = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for value in [old, new, "Application/OpenMetrics-Text", "text/plain, application/openmetrics-text"] {
            assert_eq!(accept(value), OPEN, "{value}");
        }
        for value in [
            "*/*",
            "",
            "text/html",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.2,*/*;q=0.3",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=inf, ;;,=",
        ] {
            assert_eq!(accept(value), PLAIN, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_a_request_or_an_error(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&octets);
            let _ = read(&[b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: ", &octets[..], b"\r\n\r\n"].concat());
        }
    }
}
