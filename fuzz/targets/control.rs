//! Any octets as a message of the operator's tool, of the sorter or of the daemon: a message that survives being written, or an error.
#![no_main]

use hither_control::{Request, Response, SorterMessage, SorterReply, decode, encode};
use libfuzzer_sys::fuzz_target;

macro_rules! check {
    ($octets:expr, $($kind:ty),*) => {$(
        if let Ok(message) = decode::<$kind>($octets) {
            // An answer from which something was left out is longer when it is written.
            let Ok(written) = encode(&message) else { return };
            let again = decode::<$kind>(&written).expect("what was written can be read");
            assert_eq!(encode(&again).expect("written"), written);
        }
    )*};
}

fuzz_target!(|octets: &[u8]| {
    check!(octets, Request, Response, SorterMessage, SorterReply);
});
