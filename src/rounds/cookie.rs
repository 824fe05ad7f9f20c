//! DNS cookies towards upstreams (RFC 7873, 9018): who answers with ours is whom we asked.

/// DNS cookies with one upstream (RFC 7873): ours, and what it gave for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cookie {
    client: Option<[u8; 8]>,
    server: Vec<u8>,
}

impl Cookie {
    /// The option's data for the next query; `draw` gives the client's half when there is none yet.
    pub fn option(&mut self, draw: impl FnOnce() -> u64) -> Vec<u8> {
        let client = self.client.get_or_insert_with(|| draw().to_be_bytes());
        [&client[..], &self.server].concat()
    }

    /// Whether the option that came back (or did not) is from whom we asked.
    pub fn fits(&self, came: Option<&[u8]>) -> bool {
        match (came, self.client) {
            (Some(cookie), Some(client)) => cookie.starts_with(&client),
            (Some(_), None) => false,
            // Who has given a cookie before gives one again, unless it is somebody else.
            (None, _) => self.server.is_empty(),
        }
    }

    /// Whether the server gives cookies.
    pub fn is_known(&self) -> bool {
        !self.server.is_empty()
    }

    /// Remembers the server's half, or that there is none.
    pub fn learn(&mut self, came: Option<&[u8]>) {
        self.server = came.and_then(|cookie| cookie.get(8..)).unwrap_or_default().to_vec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_that_is_not_ours_or_is_missing_does_not_fit() {
        let mut cookie = Cookie::default();
        assert!(cookie.fits(None) && !cookie.fits(Some(&[0; 8])));
        assert_eq!(cookie.option(|| 0x0102_0304_0506_0708), [1, 2, 3, 4, 5, 6, 7, 8]);
        cookie.learn(Some(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
        assert!(cookie.fits(Some(&[1, 2, 3, 4, 5, 6, 7, 8, 77])) && !cookie.fits(None));
        assert_eq!(cookie.option(|| unreachable!("drawn once")), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }
}
