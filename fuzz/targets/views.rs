//! Parses any octets as a DNS message with three implementations. If ours and another one can read it, both
//! read the same.
#![no_main]

use hickory_proto::op::Message as Hickory;
use hickory_proto::rr::RData;
use hither_wire::message::{Message, Section};
use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;

fn ours(message: &Message<'_>) -> Vec<IpAddr> {
    message.records().filter(|r| r.section == Section::Answer).filter_map(|r| r.address()).collect()
}

fuzz_target!(|octets: &[u8]| {
    let Ok(message) = Message::read(octets) else { return };
    let header = message.header();
    if let Ok(theirs) = Hickory::from_vec(octets) {
        assert_eq!(theirs.metadata.id, header.id);
        assert_eq!(theirs.queries.len(), usize::from(message.question().is_some()));
        if let (Some(theirs), Some(own)) = (theirs.queries.first(), message.question()) {
            assert_eq!(u16::from(theirs.query_type()), own.rtype.0);
            let labels: Vec<&[u8]> = theirs.name().iter().collect();
            assert_eq!(labels, own.name.labels().collect::<Vec<_>>());
        }
        let addresses: Vec<IpAddr> = theirs
            .answers
            .iter()
            .filter(|record| record.dns_class == hickory_proto::rr::DNSClass::IN)
            .filter_map(|record| match &record.data {
                RData::A(a) => Some(IpAddr::V4(a.0)),
                RData::AAAA(a) => Some(IpAddr::V6(a.0)),
                _ => None,
            })
            .collect();
        assert_eq!(addresses, ours(&message));
    }
    if let Ok(theirs) = domain::base::Message::from_octets(octets) {
        assert_eq!(theirs.header().id(), header.id);
        let counts = theirs.header_counts();
        assert_eq!(
            (counts.qdcount(), counts.ancount(), counts.nscount(), counts.arcount()),
            (header.qdcount, header.ancount, header.nscount, header.arcount)
        );
        let answer = theirs.answer().expect("a message that we can read can be read");
        let addresses: Vec<IpAddr> = answer
            .limit_to_in::<domain::rdata::A>()
            .filter_map(Result::ok)
            .map(|record| IpAddr::V4(record.data().addr()))
            .collect();
        let own: Vec<IpAddr> = ours(&message).into_iter().filter(IpAddr::is_ipv4).collect();
        assert_eq!(addresses, own);
    }
});
