//! Parses any octets as a datagram of rtnetlink. A message of a change is found, whatever precedes or
//! follows it.
#![no_main]

use hither_net::netlink::reports_change;
use libfuzzer_sys::fuzz_target;

/// RTM_NEWADDR, which is a change.
const CHANGE: u16 = 20;
/// NLMSG_NOOP, which is no change.
const NOOP: u16 = 1;

fn message(kind: u16) -> Vec<u8> {
    [&16u32.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10]].concat()
}

fuzz_target!(|octets: &[u8]| {
    let news = reports_change(octets);
    assert_eq!(reports_change(&[&message(NOOP)[..], octets].concat()), news, "behind another message");
    assert!(reports_change(&[&message(CHANGE)[..], octets].concat()));
    // Without a change the datagram is read to its end, so that a change behind it is found.
    if !news {
        let len = octets.len().next_multiple_of(4);
        let mut padded = octets.to_vec();
        padded.resize(len, 0);
        assert!(reports_change(&[padded, message(CHANGE)].concat()));
    }
});
