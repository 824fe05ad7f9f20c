//! ICMP echo messages as octets (RFC 792, RFC 4443 section 4): a request that carries a nonce, and
//! the nonce of a reply. Pure.

/// Octets of an echo message: header and nonce.
pub const ECHO: usize = 16;
/// Octets of an IPv4 header without options.
const IPV4_HEADER: usize = 20;

/// An echo request. The `nonce` later identifies the request that a reply belongs to.
#[must_use]
pub fn request(v4: bool, identifier: u16, sequence: u16, nonce: u64) -> [u8; ECHO] {
    let mut message = [0; ECHO];
    message[0] = if v4 { 8 } else { 128 };
    message[4..6].copy_from_slice(&identifier.to_be_bytes());
    message[6..8].copy_from_slice(&sequence.to_be_bytes());
    message[8..].copy_from_slice(&nonce.to_be_bytes());
    if v4 {
        // For IPv6 the kernel computes the checksum, which covers the addresses.
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// The Internet checksum (RFC 1071).
fn checksum(octets: &[u8]) -> u16 {
    let words =
        octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// The nonce of an echo reply; `None` for all other messages. With `header` the octets begin with
/// an IPv4 header, as a raw socket gives them.
#[must_use]
pub fn reply(octets: &[u8], v4: bool, header: bool) -> Option<u64> {
    let message = if header { octets.get(header_len(octets)?..)? } else { octets };
    let expected = if v4 { 0 } else { 129 };
    match message {
        [kind, 0, ..] if *kind == expected => message.get(8..16)?.try_into().ok().map(u64::from_be_bytes),
        _ => None,
    }
}

fn header_len(octets: &[u8]) -> Option<usize> {
    let first = *octets.first()?;
    let len = usize::from(first & 15) * 4;
    (first >> 4 == 4 && len >= IPV4_HEADER).then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_has_a_correct_checksum_and_its_reply_is_found_behind_an_ip_header() {
        let request = request(true, 3, 7, 0x0123_4567_89ab_cdef);
        assert_eq!(checksum(&request), 0, "over a message with its checksum, the sum is zero");
        let mut answer = request;
        answer[0] = 0;
        assert_eq!(reply(&answer, true, false), Some(0x0123_4567_89ab_cdef));
        let framed = [&[0x46][..], &[0; 23], &answer].concat();
        assert_eq!(reply(&framed, true, true), Some(0x0123_4567_89ab_cdef));
        assert_eq!(reply(&request, true, false), None, "our own request is no reply");
        for cut in 0..16 {
            assert_eq!(reply(&answer[..cut], true, false), None);
            assert_eq!(reply(&framed[..cut], true, true), None);
        }
    }

    #[test]
    fn a_malformed_ip_header_gives_no_reply() {
        let mut answer = request(true, 3, 7, 5);
        answer[0] = 0;
        for first in [0x00, 0x40, 0x44, 0x65] {
            let framed = [&[first][..], &vec![0; (usize::from(first & 15) * 4).max(1) - 1], &answer].concat();
            assert_eq!(reply(&framed, true, true), None, "{first:#x}");
        }
    }
}
