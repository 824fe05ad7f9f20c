//! DNS cookies with upstreams (RFC 7873, 9018): a response with our cookie is from the upstream that we
//! queried, or from a host that sees our queries.

use crate::upstream::habits::{STRANGE_FOR, Strange};
use hither_table::Monotonic;
use hither_wire::edns::COOKIE;

/// Longest server cookie in octets (RFC 7873 section 4).
const SERVER_MAX: usize = 32;
/// Longest option in octets: code, length, both cookies.
pub(crate) const OPTION_MAX: usize = 4 + 8 + SERVER_MAX;

/// The DNS cookies of one upstream (RFC 7873): our client cookie and its server cookie.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cookie {
    client: Option<[u8; 8]>,
    server: Vec<u8>,
    /// Answers with a wrong cookie lately.
    strange: Strange,
    /// Until when cookies are ignored, because the upstream sends the cookies of other clients, or does
    /// not always send its own.
    ignored_until: Option<Monotonic>,
    /// Until when no cookie is sent, because queries with a cookie had no response, and queries without
    /// one had.
    unsent_until: Option<Monotonic>,
}

impl Cookie {
    /// The option for the next query; `draw` gives the client cookie when there is none yet.
    pub fn option<'b>(&mut self, draw: impl FnOnce() -> u64, out: &'b mut [u8; OPTION_MAX]) -> &'b [u8] {
        let client = self.client.get_or_insert_with(|| draw().to_be_bytes());
        let length = (client.len() + self.server.len()) as u16;
        out[..2].copy_from_slice(&COOKIE.to_be_bytes());
        out[2..4].copy_from_slice(&length.to_be_bytes());
        out[4..12].copy_from_slice(client);
        out[12..12 + self.server.len()].copy_from_slice(&self.server);
        &out[..12 + self.server.len()]
    }

    /// Whether queries carry a cookie.
    pub fn is_sent(&self, now: Monotonic) -> bool {
        self.unsent_until.is_none_or(|until| now >= until)
    }

    /// Notes that queries with a cookie seem to be dropped.
    pub fn note_dropped(&mut self, now: Monotonic) {
        self.unsent_until = Some(now.plus(STRANGE_FOR));
    }

    /// Whether the option of a response, or its absence, fits the upstream that we queried.
    pub fn fits(&self, received: Option<&[u8]>) -> bool {
        match (received, self.client) {
            (Some(cookie), Some(client)) => cookie.starts_with(&client),
            (Some(_), None) => false,
            // A server that has sent a cookie sends one again.
            (None, _) => self.server.is_empty(),
        }
    }

    /// Whether the upstream sends cookies.
    pub fn is_known(&self) -> bool {
        !self.server.is_empty()
    }

    /// Whether a response must have our cookie.
    pub fn must_match(&self, now: Monotonic) -> bool {
        self.ignored_until.is_none_or(|until| now >= until)
    }

    /// Notes the server cookie, or that there is none. One for another client cookie is ignored.
    pub fn learn(&mut self, received: Option<&[u8]>) {
        let halves = received.and_then(|cookie| cookie.split_at_checked(8));
        let server = match (halves, self.client) {
            (Some((client, server)), Some(own)) if client == own => server,
            (Some(_), _) => return,
            (None, _) => &[],
        };
        if self.server != server && server.len() <= SERVER_MAX {
            self.server = server.to_vec();
        }
    }

    /// Notes that an answer with a wrong cookie was most likely the upstream's own.
    pub fn note_strange(&mut self, now: Monotonic) {
        if self.strange.note_another(now) {
            self.ignored_until = Some(now.plus(STRANGE_FOR));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_that_is_not_ours_or_is_missing_does_not_fit() {
        let mut cookie = Cookie::default();
        assert!(cookie.fits(None) && !cookie.fits(Some(&[0; 8])));
        let mut out = [0; OPTION_MAX];
        let draw = || 0x0102_0304_0506_0708;
        assert_eq!(cookie.option(draw, &mut out), [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
        cookie.learn(Some(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
        assert!(cookie.fits(Some(&[1, 2, 3, 4, 5, 6, 7, 8, 77])) && !cookie.fits(None));
        let option = cookie.option(|| unreachable!("drawn once"), &mut out);
        assert_eq!(option, [0, 10, 0, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn two_strange_cookies_switch_the_comparison_off_for_an_hour() {
        let mut cookie = Cookie::default();
        cookie.option(|| 0x0102_0304_0506_0708, &mut [0; OPTION_MAX]);
        cookie.learn(Some(b"otherone12345678"));
        assert!(!cookie.is_known(), "that is another client's cookie");
        let at = |s: u64| Monotonic::from_ms(s * 1000);
        cookie.note_strange(at(0));
        assert!(cookie.must_match(at(0)), "a forger may have guessed once");
        cookie.note_strange(at(4000));
        assert!(cookie.must_match(at(4000)), "or once an hour");
        cookie.note_strange(at(4001));
        assert!(!cookie.must_match(at(4002)) && !cookie.must_match(at(7600)) && cookie.must_match(at(7602)));
    }
}
