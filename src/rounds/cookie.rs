//! DNS cookies towards upstreams (RFC 7873, 9018): who answers with ours is whom we asked.

use hither_wire::edns::COOKIE;

/// Octets of the longest server's half (RFC 7873 section 4).
const SERVER_MAX: usize = 32;
/// Octets of the longest option: its code, its length, both halves.
pub(crate) const OPTION_MAX: usize = 4 + 8 + SERVER_MAX;

/// DNS cookies with one upstream (RFC 7873): ours, and what it gave for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cookie {
    client: Option<[u8; 8]>,
    server: Vec<u8>,
}

impl Cookie {
    /// The option for the next query; `draw` gives the client's half when there is none yet.
    pub fn option<'b>(&mut self, draw: impl FnOnce() -> u64, room: &'b mut [u8; OPTION_MAX]) -> &'b [u8] {
        let client = self.client.get_or_insert_with(|| draw().to_be_bytes());
        let length = (client.len() + self.server.len()) as u16;
        room[..2].copy_from_slice(&COOKIE.to_be_bytes());
        room[2..4].copy_from_slice(&length.to_be_bytes());
        room[4..12].copy_from_slice(client);
        room[12..12 + self.server.len()].copy_from_slice(&self.server);
        &room[..12 + self.server.len()]
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
        let server = came.and_then(|cookie| cookie.get(8..)).unwrap_or_default();
        if self.server != server && server.len() <= SERVER_MAX {
            self.server = server.to_vec();
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
        let mut room = [0; OPTION_MAX];
        let draw = || 0x0102_0304_0506_0708;
        assert_eq!(cookie.option(draw, &mut room), [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
        cookie.learn(Some(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
        assert!(cookie.fits(Some(&[1, 2, 3, 4, 5, 6, 7, 8, 77])) && !cookie.fits(None));
        let option = cookie.option(|| unreachable!("drawn once"), &mut room);
        assert_eq!(option, [0, 10, 0, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }
}
