//! Parses any octets as a client's query. The result is a refusal, or a query that keeps its meaning when
//! it is shortened for waiting. No reply is too long.
#![no_main]

use hither_wire::query::{Query, Refusal, cut_to_question, refuse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let mut out = [0; 1232];
    match Query::read(octets) {
        Ok(query) => {
            let mut stripped = [0; 282];
            let len = query.write_without_options(&mut stripped);
            let same = Query::read(&stripped[..len]).expect("a query without its options is a query");
            assert_eq!(
                (query.id(), query.flags(), query.question()),
                (same.id(), same.flags(), same.question())
            );
            assert_eq!((query.udp_limit(), query.dnssec_ok()), (same.udp_limit(), same.dnssec_ok()));
            assert!((512..=1232).contains(&query.udp_limit()));
        }
        Err(Refusal::Reply { rcode, .. }) => {
            let len = refuse(octets, rcode, &mut out);
            assert!((12..=512).contains(&len) && out[..2] == octets[..2] && out[2] & 0x80 != 0);
        }
        Err(Refusal::Silent) => assert!(octets.len() < 12 || octets[2] & 0x80 != 0),
    }
    let mut copy = octets.to_vec();
    assert!(cut_to_question(&mut copy) <= octets.len());
});
