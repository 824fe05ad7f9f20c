//! The limit on similar replies by UDP to one network beyond this host (`limits.replies_per_second`),
//! so that clients with forged addresses cannot use the daemon as an amplifier.

use crate::daemon::clients::admission::ClientNetwork;
use hither_table::Monotonic;
use std::hash::{DefaultHasher, Hasher as _};
use std::net::IpAddr;

/// Whether a reply is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ruling {
    /// The reply is sent as it is.
    Send,
    /// The reply is cut to its question with TC: a real client retries over TCP; the victim of a
    /// forged address gets no more octets than the forger sent.
    Truncate,
    /// The reply is not sent.
    Drop,
}

/// Counts of similar replies. Replies that hash to the same count share it.
const COUNTS_LEN: usize = 8192;

/// How many similar replies each network got in the current second.
#[derive(Debug)]
pub(crate) struct RateLimit {
    /// The second that is counted, and the replies in it.
    counts: Vec<(u32, u32)>,
    /// Keys the hash, so that clients cannot choose which count they share.
    seed: u64,
}

impl RateLimit {
    pub fn new(seed: u64) -> RateLimit {
        RateLimit { counts: vec![(0, 0); COUNTS_LEN], seed }
    }

    /// Counts a reply by UDP and decides whether it is sent: at most `most` similar ones a second
    /// to one network, or any number if `most` is 0.
    pub fn judge(&mut self, client: IpAddr, reply: &[u8], most: u32, now: Monotonic) -> Ruling {
        let Some(network) = ClientNetwork::of(client).filter(|_| most > 0) else { return Ruling::Send };
        let second = u32::try_from(now.0 / 1_000_000_000).unwrap_or(u32::MAX);
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write(&network.octets());
        hasher.write(&similarity(reply));
        let count = &mut self.counts[hasher.finish() as usize % COUNTS_LEN];
        if count.0 != second {
            *count = (second, 0);
        }
        count.1 += 1;
        match count.1.checked_sub(most + 1) {
            None => Ruling::Send,
            Some(beyond) if beyond % 2 == 0 => Ruling::Truncate,
            Some(_) => Ruling::Drop,
        }
    }
}

/// The key that similar replies share: the name, for a reply with an answer; else the RCODE alone,
/// since an attacker may vary the name without end.
fn similarity(reply: &[u8]) -> Vec<u8> {
    let code = reply.get(3).map_or(0, |octet| octet & 15);
    let answers = reply.get(6..8).is_some_and(|count| count != [0, 0]);
    let mut key = vec![code];
    if code == 0 && answers {
        let name = reply.get(12..).unwrap_or_default();
        let end = name.iter().position(|octet| *octet == 0).unwrap_or(name.len());
        key.extend(name[..end].to_ascii_lowercase());
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn similar_replies_are_limited_and_others_are_not() {
        let mut rate_limit = RateLimit::new(2);
        let reply = |code: u8, answers: u8, name: &[u8]| {
            [&[0, 0, 0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0][..], name, &[0, 0, 1, 0, 1]].concat()
        };
        let (www, other, denied) =
            (reply(0, 1, b"\x03www"), reply(0, 1, b"\x05other"), reply(3, 0, b"\x01a"));
        let second = |n: u64| Monotonic(n * 1_000_000_000);
        let mut judge = |client: &str, reply: &[u8], n| rate_limit.judge(ip(client), reply, 2, second(n));
        let all: Vec<Ruling> = (0..5).map(|_| judge("192.0.2.1", &www, 7)).collect();
        assert_eq!(all, [Ruling::Send, Ruling::Send, Ruling::Truncate, Ruling::Drop, Ruling::Truncate]);
        assert_eq!(judge("192.0.2.1", &other, 7), Ruling::Send);
        assert_eq!(judge("198.51.100.1", &www, 7), Ruling::Send);
        assert_eq!(judge("127.0.0.1", &www, 7), Ruling::Send);
        assert_eq!(judge("192.0.2.1", &www, 8), Ruling::Send, "another second");
        let names: Vec<Ruling> =
            (0..3).map(|n| judge("192.0.2.9", &reply(3, 0, &[1, b'a' + n]), 9)).collect();
        assert_eq!(names[2], Ruling::Truncate, "denials of all names are similar");
        assert_eq!(judge("192.0.2.77", &denied, 9), Ruling::Drop);
    }
}
