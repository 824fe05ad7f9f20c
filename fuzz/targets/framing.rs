//! Reads any octets as a TCP stream. The messages are the same for pieces of any size. The first octet is
//! that size.
#![no_main]

use hither_net::frame::{Framer, Outbox};
use libfuzzer_sys::fuzz_target;

fn messages(octets: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (mut framer, mut seen) = (Framer::default(), Vec::new());
    for piece in octets.chunks(size) {
        let mut stream = std::io::Cursor::new(piece);
        while framer.fill(&mut stream).expect("memory") > 0 {
            while let Some(message) = framer.message() {
                seen.push(message.to_vec());
            }
        }
    }
    seen
}

fuzz_target!(|input: &[u8]| {
    let Some((size, octets)) = input.split_first() else { return };
    let all = messages(octets, octets.len().max(1));
    assert_eq!(messages(octets, usize::from(*size).max(1)), all);
    let mut outbox = Outbox::new(1 << 20);
    assert!(all.iter().all(|message| outbox.queue(message)));
    let mut stream = Vec::new();
    outbox.write_to(&mut stream).expect("memory");
    assert!(octets.starts_with(&stream), "the messages written again are the stream");
});
