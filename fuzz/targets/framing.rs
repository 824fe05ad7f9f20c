//! Any octets as a TCP stream: however it is cut, the same messages come out. The first octet says how.
#![no_main]

use hither_net::frame::{Framer, Outbox};
use libfuzzer_sys::fuzz_target;

fn messages(octets: &[u8], cut: usize) -> Vec<Vec<u8>> {
    let (mut framer, mut seen) = (Framer::default(), Vec::new());
    for piece in octets.chunks(cut) {
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
    let Some((cut, octets)) = input.split_first() else { return };
    let whole = messages(octets, octets.len().max(1));
    assert_eq!(messages(octets, usize::from(*cut).max(1)), whole);
    let mut outbox = Outbox::new(1 << 20);
    assert!(whole.iter().all(|message| outbox.queue(message)));
    let mut stream = Vec::new();
    outbox.write_to(&mut stream).expect("memory");
    assert!(octets.starts_with(&stream), "what was taken apart is put together");
});
