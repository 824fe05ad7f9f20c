//! The headers of a response that count (RFC 9110, RFC 9111). What cannot be read counts as absent.

use super::http2::HttpHeaders;
use crate::event::Freshness;

/// Whether the response is of this media type. Parameters do not count (RFC 9110, section 8.3.1).
pub(super) fn is_of_type(headers: &HttpHeaders, media_type: &str) -> bool {
    let value = headers.content_type.as_deref().unwrap_or_default();
    let essence = value.split(|octet| *octet == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(media_type.as_bytes())
}

/// The age of the response, and how long it may be used (RFC 9111, sections 5.1 and 5.2.2.1).
pub(super) fn freshness(headers: &HttpHeaders) -> Freshness {
    let directives = headers.cache_control.as_deref().unwrap_or_default().split(|octet| *octet == b',');
    let max_age = |directive: &[u8]| {
        let (name, value) = directive.trim_ascii().split_at_checked(b"max-age=".len())?;
        if name.eq_ignore_ascii_case(b"max-age=") { seconds(value) } else { None }
    };
    Freshness {
        age_s: headers.age.as_deref().and_then(seconds).unwrap_or(0),
        lifetime_s: directives.filter_map(max_age).min(),
    }
}

/// The seconds after which the server wants to be asked again (RFC 9110, section 10.2.3). A date counts as
/// absent: the clocks of both sides may differ.
pub(super) fn retry_after(headers: &HttpHeaders) -> Option<u32> {
    headers.retry_after.as_deref().and_then(seconds)
}

/// A number of seconds, which may be quoted. One that is too large is the greatest (RFC 9111, section
/// 1.2.2).
fn seconds(value: &[u8]) -> Option<u32> {
    let value = value.trim_ascii();
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    let add = |number: u32, digit: &u8| {
        digit.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u32::from(digit - b'0')))
    };
    if value.is_empty() { None } else { value.iter().try_fold(0, add) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cached(cache_control: &str, age: &str) -> Freshness {
        let octets = |text: &str| Some(text.as_bytes().to_vec()).filter(|octets| !octets.is_empty());
        freshness(&HttpHeaders {
            cache_control: octets(cache_control),
            age: octets(age),
            ..HttpHeaders::default()
        })
    }

    #[test]
    fn age_and_lifetime_are_read_from_what_servers_send() {
        let fresh = |age_s, lifetime_s| Freshness { age_s, lifetime_s };
        assert_eq!(cached("", ""), fresh(0, None));
        assert_eq!(cached("max-age=300", "17"), fresh(17, Some(300)));
        assert_eq!(cached("private, MAX-AGE = 3", ""), fresh(0, None));
        assert_eq!(cached("public,Max-Age=\"60\", max-age=30", " 5 "), fresh(5, Some(30)));
        assert_eq!(cached("max-age=99999999999999", "-1"), fresh(0, Some(u32::MAX)));
        assert_eq!(cached("s-maxage=9, max-age=", "1 2"), fresh(0, None));
    }

    #[test]
    fn the_media_type_counts_without_parameters() {
        let is = |value: &str| {
            let content_type = Some(value.as_bytes().to_vec());
            is_of_type(&HttpHeaders { content_type, ..HttpHeaders::default() }, "application/dns-message")
        };
        assert!(is("application/dns-message") && is("Application/DNS-Message ; charset=utf-8"));
        assert!(
            !is("text/html") && !is("") && !is_of_type(&HttpHeaders::default(), "application/dns-message")
        );
    }
}
