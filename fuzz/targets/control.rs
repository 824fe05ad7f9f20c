//! Parses any octets as a message of hitherctl, of the sorter or of the daemon. The result is an error, or
//! a message that can be written and read again.
#![no_main]

use hither_control::{Request, Response, SorterMessage, SorterReply, decode, encode};
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

fuzz_target!(|octets: &[u8]| {
    check!(octets, Request, Response, SorterMessage, SorterReply);
});
