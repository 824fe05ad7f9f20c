//! Records that are copied into another message stay the same, as hickory-proto reads them;
//! substitution by DNAME.

use hickory_proto::op::{Message as Oracle, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::{CNAME, MX, NAPTR, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name as OracleName, RData, Record, RecordType};
use hither_wire::codes::Rtype;
use hither_wire::copy::Copier;
use hither_wire::message::{Message, Section};
use hither_wire::name::{Name, NameError};
use proptest::prelude::*;

/// Names of few different labels, so that they share suffixes and are compressed.
fn any_name() -> impl Strategy<Value = OracleName> {
    prop::collection::vec(prop_oneof!["a", "B", "www", "example"], 0..5)
        .prop_map(|labels| OracleName::from_labels(labels.iter().map(String::as_bytes)).expect("a name"))
}

fn any_data() -> impl Strategy<Value = RData> {
    let n = any_name;
    prop_oneof![
        n().prop_map(|name| RData::CNAME(CNAME(name))),
        n().prop_map(|name| RData::NS(NS(name))),
        n().prop_map(|name| RData::PTR(PTR(name))),
        (any::<u16>(), n()).prop_map(|(p, name)| RData::MX(MX::new(p, name))),
        (any::<[u16; 3]>(), n()).prop_map(|([p, w, q], name)| RData::SRV(SRV::new(p, w, q, name))),
        (n(), n(), any::<[i32; 3]>()).prop_map(|(m, r, [a, b, c])| RData::SOA(SOA::new(m, r, 7, a, b, c, 9))),
        ("[a-z]{0,9}", n()).prop_map(|(text, name)| {
            let text: Box<[u8]> = text.into_bytes().into();
            RData::NAPTR(NAPTR::new(1, 2, text.clone(), text.clone(), text, name))
        }),
        "[a-z]{0,40}".prop_map(|text| RData::TXT(TXT::new(vec![text]))),
    ]
}

fn as_ours(name: &OracleName) -> Name {
    name.to_string().parse().expect("a name")
}

proptest! {
    #[test]
    fn copied_records_are_unchanged(
        asked in any_name(),
        answers in prop::collection::vec((any_name(), any_data()), 0..30),
        authority in prop::collection::vec((any_name(), any_data()), 0..6),
        ttl in 0u32..1000,
    ) {
        let mut oracle = Oracle::new(0, MessageType::Response, OpCode::Query);
        oracle.add_query(Query::query(asked.clone(), RecordType::TXT));
        let record = |(owner, data): (OracleName, RData)| Record::from_rdata(owner, ttl, data);
        oracle.add_answers(answers.into_iter().map(record));
        oracle.add_authorities(authority.into_iter().map(record));
        let octets = oracle.to_vec().expect("written");
        let message = Message::read(&octets).expect("readable");
        let mut out = vec![0xff; 65_535];
        let mut copier = Copier::new(&mut out, 0x8000, &as_ours(&asked), Rtype::TXT).expect("room");
        for record in message.records() {
            prop_assert!(copier.copy(&record.owner(), &record, record.ttl));
        }
        let len = copier.finish();
        prop_assert!(Message::read(&out[..len]).is_ok());
        let copied = Oracle::from_vec(&out[..len]).expect("hickory reads it");
        let records = |message: &Oracle| (format!("{:?}", message.answers), format!("{:?}", message.authorities));
        prop_assert_eq!(records(&copied), records(&oracle));
        prop_assert_eq!(format!("{:?}", copied.queries), format!("{:?}", oracle.queries));
    }

    /// A record that does not fit is left out completely, for every size of the buffer.
    #[test]
    fn a_record_is_copied_completely_or_not_at_all(room in 0usize..200, answers in prop::collection::vec((any_name(), any_data()), 1..9)) {
        let mut oracle = Oracle::new(0, MessageType::Response, OpCode::Query);
        oracle.add_query(Query::query(OracleName::root(), RecordType::TXT));
        oracle.add_answers(answers.into_iter().map(|(owner, data)| Record::from_rdata(owner, 5, data)));
        let octets = oracle.to_vec().expect("written");
        let message = Message::read(&octets).expect("readable");
        let mut out = vec![0xff; room];
        let Some(mut copier) = Copier::new(&mut out, 0x8000, &Name::ROOT, Rtype::TXT) else {
            prop_assert!(room < 17);
            return Ok(());
        };
        let taken = message.records().filter(|record| copier.copy(&record.owner(), record, 5)).count();
        let len = copier.finish();
        let cut = Message::read(&out[..len]).expect("readable");
        prop_assert_eq!(cut.records().filter(|record| record.section == Section::Answer).count(), taken);
    }
}

#[test]
fn a_dname_replaces_its_owner_name_and_nothing_else() {
    let name = |text: &str| -> Name { text.parse().expect("a name") };
    let moved = |of: &str, from: &str, to: &str| name(of).with_suffix_replaced(&name(from), &name(to));
    assert_eq!(moved("x.y.Old.test", "oLD.test", "new.test"), Some(Ok(name("x.y.new.test"))));
    assert_eq!(moved("x.test", ".", "new"), Some(Ok(name("x.test.new"))));
    assert_eq!(moved("x.old.test", "old.test", "."), Some(Ok(name("x"))));
    assert_eq!(moved("old.test", "old.test", "new.test"), None, "the owner itself stays");
    assert_eq!(moved("xold.test", "old.test", "new.test"), None);
    assert_eq!(moved("test", "old.test", "new.test"), None);
    let label = "a".repeat(60);
    let long = [label.as_str(); 4].join(".");
    assert_eq!(moved(&format!("{label}.test"), "test", &long), Some(Err(NameError::TooLong)));
}
