//! Any octets as a datagram of rtnetlink: news or none, and what stands before or behind a message changes nothing about it.
#![no_main]

use hither_net::netlink::is_news;
use libfuzzer_sys::fuzz_target;

/// A change, RTM_NEWADDR; and what is none, NLMSG_NOOP.
const CHANGE: u16 = 20;
const NOOP: u16 = 1;

fn message(kind: u16) -> Vec<u8> {
    [&16u32.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10]].concat()
}

fuzz_target!(|octets: &[u8]| {
    let news = is_news(octets);
    assert_eq!(is_news(&[&message(NOOP)[..], octets].concat()), news, "behind another message");
    assert!(is_news(&[&message(CHANGE)[..], octets].concat()));
    // What is no news was read to its end, so a change behind it is found.
    if !news {
        let whole = octets.len().next_multiple_of(4);
        let mut padded = octets.to_vec();
        padded.resize(whole, 0);
        assert!(is_news(&[padded, message(CHANGE)].concat()));
    }
});
