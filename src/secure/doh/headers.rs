//! The headers of a response that count (RFC 9110, RFC 9111). What cannot be read counts as absent.

use super::http2::HttpHeaders;
use crate::event::Freshness;

/// Whether the response is of this media type. Parameters do not count (RFC 9110, section 8.3.1).
pub(super) fn is_of_type(headers: &HttpHeaders, media_type: &str) -> bool {
    let essence = headers.content_type.as_deref().and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(media_type))
}

/// The age of the response, and how long it may be used (RFC 9111, sections 5.1 and 5.2.2.1).
pub(super) fn freshness(headers: &HttpHeaders) -> Freshness {
    let directives = headers.cache_control.as_deref().unwrap_or_default().split(',');
    let max_age = |directive: &str| {
        let (name, value) = directive.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("max-age") { seconds(value) } else { None }
    };
    Freshness { age_s: headers.age_s.unwrap_or(0), lifetime_s: directives.filter_map(max_age).min() }
}

/// The seconds after which the server wants to be asked again (RFC 9110, section 10.2.3). A date counts as
/// absent: the clocks of both sides may differ.
pub(super) fn retry_after(headers: &HttpHeaders) -> Option<u32> {
    headers.retry_after.as_deref().and_then(seconds)
}

/// A number of seconds, which may be quoted. One that is too large is the greatest (RFC 9111, section
/// 1.2.2).
fn seconds(value: &str) -> Option<u32> {
    let value = value.trim();
    let digits = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime(cache_control: &str) -> Option<u32> {
        let cache_control = Some(cache_control.to_owned());
        freshness(&HttpHeaders { cache_control, ..HttpHeaders::default() }).lifetime_s
    }

    #[test]
    fn the_lifetime_is_read_from_what_servers_send() {
        assert_eq!(lifetime("max-age=300"), Some(300));
        assert_eq!(lifetime("public,Max-Age=\"60\", max-age=30"), Some(30));
        assert_eq!(lifetime("private, MAX-AGE = 3"), Some(3));
        assert_eq!(lifetime("max-age=99999999999999"), Some(u32::MAX));
        for none in ["", "s-maxage=9", "max-age=", "max-age=-1", "max-age=1 2", "no-store"] {
            assert_eq!(lifetime(none), None, "{none}");
        }
    }

    #[test]
    fn the_media_type_counts_without_parameters() {
        let is = |value: &str| {
            let content_type = Some(value.to_owned());
            is_of_type(&HttpHeaders { content_type, ..HttpHeaders::default() }, "application/dns-message")
        };
        assert!(is("application/dns-message") && is("Application/DNS-Message ; charset=utf-8"));
        assert!(
            !is("text/html") && !is("") && !is_of_type(&HttpHeaders::default(), "application/dns-message")
        );
    }
}
