//! Sets that were saved before the host was started.

use super::upstreams::address;
use super::world::{START, name};
use hither_rounds::SavedSet;
use hither_table::{Address, Agreement, Chain, Family, Rtt, Trust};

/// The saved set of the n-th name. It has addresses that no upstream of a world gives, and expires `left_ms`
/// after the world begins.
pub fn set(n: u64, sorted: bool, left_ms: u64) -> SavedSet {
    let own = |end: u8, upstreams: u32| Address {
        rtt: if sorted { Rtt::Micros(u32::from(end)) } else { Rtt::Unmeasured },
        sources: 1,
        trust: if sorted { Trust::ALL[usize::from(end) % 2] } else { Trust::Unknown },
        ..Address::new(address(end + n as u8).into(), 0, upstreams)
    };
    SavedSet {
        name: name(n),
        family: Family::A,
        route: 0,
        complete: true,
        sorted,
        expire_ms: START.as_ms() + left_ms,
        lifetime_s: 300,
        agreement: Agreement::default(),
        addresses: vec![own(221, Address::TRUSTED), own(201, 0)],
        chains: vec![Chain::default()],
    }
}
