//! Puts the address hints of any octets in any order: nothing but the order of hints changes.
#![no_main]

use hither_wire::svcb::{Svcb, order_hints};
use libfuzzer_sys::fuzz_target;

/// Target and parameters, with each list of hints sorted.
fn sorted(octets: &[u8]) -> Option<Vec<Vec<u8>>> {
    let svcb = Svcb::read(octets)?;
    let sorted = |value: &[u8], size: usize| {
        let mut hints: Vec<&[u8]> = value.chunks(size).collect();
        hints.sort_unstable();
        hints.concat()
    };
    let params = svcb.params().map(|param| match param.key {
        4 => sorted(param.value, 4),
        6 => sorted(param.value, 16),
        _ => param.value.to_vec(),
    });
    Some([svcb.target.to_vec()].into_iter().chain(params).collect())
}

fuzz_target!(|octets: &[u8]| {
    let Some((count, rest)) = octets.split_first() else { return };
    let (order, rdata) = rest.split_at(usize::from(*count).min(rest.len()));
    let (four, other) = (order.as_chunks::<4>().0, order.as_chunks::<16>().0);
    let mut moved = rdata.to_vec();
    let changed = order_hints(&mut moved, four.iter().copied(), other.iter().copied());
    assert_eq!(changed, moved != rdata);
    assert_eq!(moved.len(), rdata.len());
    assert_eq!(sorted(&moved), sorted(rdata));
    assert!(!order_hints(&mut moved, four.iter().copied(), other.iter().copied()));
});
