//! Parses any octets as an ICMP message, with and without an IPv4 header. The result is an echo reply with
//! a nonce, or none. The reply to our own request has its nonce.
#![no_main]

use hither::sorter::echo::{ECHO, reply, request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    for (v4, header) in [(true, false), (true, true), (false, false)] {
        if let Some(nonce) = reply(octets, v4, header) {
            assert!(
                octets[8..].windows(8).any(|eight| eight == nonce.to_be_bytes()),
                "the nonce stands behind a header"
            );
            assert!(
                (0..ECHO).all(|cut| reply(&octets[..cut], v4, header).is_none()),
                "less than an echo is no reply"
            );
        }
    }
    let Some((eight, rest)) = octets.split_first_chunk::<8>() else { return };
    let nonce = u64::from_be_bytes(*eight);
    for v4 in [true, false] {
        let mut message = request(v4, rest.len() as u16, nonce as u16, nonce);
        assert_eq!(reply(&message, v4, false), None, "our own request is no reply");
        message[0] = if v4 { 0 } else { 129 };
        assert_eq!(reply(&[&message[..], rest].concat(), v4, false), Some(nonce));
        let framed = [&[0x45][..], &[0; 19], &message, rest].concat();
        assert_eq!(reply(&framed, v4, true), Some(nonce));
    }
});
