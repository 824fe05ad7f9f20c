//! Header sections of responses, one fault each.

use super::{Head, Unusable, check_trailers};
use crate::error::{Error, Fault, Flood};
use crate::hpack::Table;
use crate::{Config, Headers, HpackError};

fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut section = Vec::new();
    for (name, value) in fields {
        section.extend([0, name.len() as u8]);
        section.extend(name.as_bytes());
        section.push(value.len() as u8);
        section.extend(value.as_bytes());
    }
    section
}

fn read_octets(section: &[u8]) -> Result<Head, Unusable> {
    Head::read(section, &mut Table::default(), &Config::default())
}

fn trailers(section: &[u8]) -> Result<(), Unusable> {
    check_trailers(section, &mut Table::default(), &Config::default())
}

fn read(fields: &[(&str, &str)]) -> Result<Head, Unusable> {
    read_octets(&section(fields))
}

#[test]
fn fields_that_matter_are_kept() {
    let fields = [
        (":status", "200"),
        ("content-type", " application/dns-message\t"),
        ("cache-control", "max-age=60"),
        ("cache-control", "no-transform"),
        ("age", "7"),
        ("age", "8"),
        ("retry-after", "120"),
        ("content-length", "33"),
        ("content-length", "33"),
        ("server", "any"),
        ("x-\u{fc}", ""),
    ];
    let headers = Headers {
        content_type: Some("application/dns-message".into()),
        cache_control: Some("max-age=60, no-transform".into()),
        age_s: Some(7),
        retry_after: Some("120".into()),
        content_length: Some(33),
    };
    assert_eq!(read(&fields[..10]), Ok(Head { status: 200, headers }));
    assert_eq!(read(&fields), Err(Unusable::Fields(Fault::Field)));
}

#[test]
fn an_age_that_cannot_be_read_is_absent_and_one_that_is_too_large_is_very_large() {
    for (age, expected) in [("-1", None), ("", None), ("1x", None), ("99999999999999999999", Some(1 << 31))] {
        let head = read(&[(":status", "200"), ("age", age)]).expect("a head");
        assert_eq!(head.headers.age_s, expected, "{age}");
    }
}

#[test]
fn malformed_responses_are_faults_of_their_stream() {
    let status = (":status", "200");
    let cases: [(&[(&str, &str)], Fault); 20] = [
        (&[], Fault::Status),
        (&[("a", "b")], Fault::Status),
        (&[("a", "b"), status], Fault::Status),
        (&[status, status], Fault::Status),
        (&[status, (":path", "/")], Fault::Status),
        (&[(":path", "/")], Fault::Status),
        (&[(":status", "20")], Fault::Status),
        (&[(":status", "2000")], Fault::Status),
        (&[(":status", "+20")], Fault::Status),
        (&[(":status", "099")], Fault::Status),
        (&[(":status", "101")], Fault::Status),
        (&[status, ("Age", "1")], Fault::Field),
        (&[status, ("", "1")], Fault::Field),
        (&[status, ("a b", "1")], Fault::Field),
        (&[status, ("a", "1\r\nb: 2")], Fault::Field),
        (&[status, ("a", "\0")], Fault::Field),
        (&[status, ("connection", "close")], Fault::Field),
        (&[status, ("transfer-encoding", "chunked")], Fault::Field),
        (&[status, ("content-length", "+5")], Fault::ContentLength),
        (&[status, ("content-length", "5"), ("content-length", "6")], Fault::ContentLength),
    ];
    for (fields, fault) in cases {
        assert_eq!(read(fields), Err(Unusable::Fields(fault)), "{fields:?}");
    }
}

#[test]
fn a_section_is_as_long_as_it_is_decoded() {
    // 0x90 is the field accept-encoding with a value: 61 octets by section 6.5.2 of RFC 9113.
    let bomb = [&[0x88][..], &[0x90; 16_000]].concat();
    assert_eq!(read_octets(&bomb), Err(Unusable::Octets(Error::Flood(Flood::HeaderSection))));
    assert_eq!(trailers(&bomb[1..]), Err(Unusable::Octets(Error::Flood(Flood::HeaderSection))));
    let few = [&[0x88][..], &[0x90; 200]].concat();
    assert!(read_octets(&few).is_ok());
}

#[test]
fn octets_that_cannot_be_decoded_are_errors_of_the_connection() {
    let error = Unusable::Octets(Error::Hpack(HpackError::Index(62)));
    assert_eq!(read_octets(&[0x88, 0xbe]), Err(error));
}

#[test]
fn fields_after_a_fault_still_fill_the_table() {
    let mut table = Table::default();
    let faulty = [&[0x88, 0x88][..], b"\x40\x03age\x019"].concat();
    assert_eq!(Head::read(&faulty, &mut table, &Config::default()), Err(Unusable::Fields(Fault::Status)));
    let head = Head::read(&[0x88, 0xbe], &mut table, &Config::default()).expect("a head");
    assert_eq!(head.headers.age_s, Some(9));
}

#[test]
fn trailers_have_no_pseudo_header_fields() {
    assert_eq!(trailers(&section(&[("a", "b")])), Ok(()));
    let fault = Unusable::Fields(Fault::Field);
    assert_eq!(trailers(&section(&[(":status", "200")])), Err(fault));
}
