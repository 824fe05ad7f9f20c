//! Any octets as a hosts file or a block list: entries, and never more bad lines than lines; any name can be asked for afterwards.
#![no_main]

use hither_local::{Block, Hosts, Local, Match, Verdict};
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let lines = octets.split(|octet| *octet == b'\n').count();
    let mut hosts = Hosts::default();
    assert!(hosts.add(octets) <= lines);
    let mut block = Block::new(Verdict::NxDomain);
    assert!(block.add(octets, if octets.len() % 2 == 0 { Match::Exact } else { Match::Subtree }) <= lines);
    let local = Local { hosts, own: None, blocks: vec![block] };
    for word in octets.split(|octet| octet.is_ascii_whitespace()).take(8) {
        if let Ok(name) = Name::from_text(word) {
            let name = name.to_lower();
            let _ = (local.answer(&name, Rtype::A, None), local.answer(&name, Rtype::PTR, None), local.covers(&name));
        }
    }
});
