//! Parses any octets as a message of hitherctl, of the sorter or of the daemon, as a subscriber's datagram
//! and as a record of the feed. The result is an error, or a message that can be written and read again.
#![no_main]

use hither_control::{Request, Response, SorterMessage, SorterReply, decode, encode};
use hither_feed::{Datagram, Names, RECORD_MAX, Record};
use libfuzzer_sys::fuzz_target;

macro_rules! check {
    ($octets:expr, $($kind:ty),*) => {$(
        if let Ok(message) = decode::<$kind>($octets) {
            // A message with fields left out is longer when it is written, and may be too long.
            let Ok(written) = encode(&message) else { return };
            let again = decode::<$kind>(&written).expect("a written message can be read");
            assert_eq!(encode(&again).expect("written"), written);
        }
    )*};
}

fn check_feed(octets: &[u8]) {
    if let Ok(names) = Names::read(octets) {
        let mut again = Datagram::new();
        names.for_each(|one| again.add(one.families, &one.name).expect("it came in a datagram"));
        assert_eq!(again.octets(), octets);
    }
    if let Ok(record) = Record::read(octets) {
        let mut out = [0; RECORD_MAX];
        let written = record.write(&mut out).to_vec();
        assert_eq!(Record::read(&written), Ok(record));
    }
}

fuzz_target!(|octets: &[u8]| {
    check_feed(octets);
    check!(octets, Request, Response, SorterMessage, SorterReply);
});
