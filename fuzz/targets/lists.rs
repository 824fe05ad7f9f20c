//! Parses any octets as a hosts file or a block list: there are not more bad lines than lines, and any
//! name can be looked up afterwards.
#![no_main]

use hither_local::{Block, Hosts, Local, Match, Verdict};
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let lines = hither_local::text::lines(octets).count();
    let mut hosts = Hosts::default();
    let passed = hosts.add(octets);
    assert!(passed.lines + passed.idn <= lines && passed.to_string().len() < 2000);
    let mut block = Block::new(Verdict::NxDomain);
    let passed = block.add(octets, if octets.len() % 2 == 0 { Match::Exact } else { Match::Subtree });
    assert!(passed.lines + passed.remarks + passed.idn <= lines);
    if let Ok(text) = std::str::from_utf8(octets) {
        let _ = hither_local::parse_name(text).map_err(|error| error.to_string());
    }
    let local = Local { hosts, blocks: vec![block], ..Local::default() };
    for word in octets.split(|octet| octet.is_ascii_whitespace()).take(8) {
        if let Ok(name) = Name::from_text(word) {
            let name = name.to_lower();
            let _ = (
                local.answer(&name, Rtype::A, None),
                local.answer(&name, Rtype::PTR, None),
                local.covers(&name),
            );
            let _ = (local.presence(&name), hither_local::may_be_locally_served(&name));
        }
    }
});
