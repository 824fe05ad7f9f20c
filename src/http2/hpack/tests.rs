//! The vectors of RFC 7541, appendix C, and what no section may have.

use super::{Error, Fields, TABLE_MAX, Table, encode, put_integer};
use crate::{Request, huffman};
use proptest::prelude::*;

fn octets(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

fn decoded(section: &[u8]) -> Result<Vec<(String, String)>, Error> {
    decoded_with(section, &mut Table::default())
}

fn decoded_with(section: &[u8], table: &mut Table) -> Result<Vec<(String, String)>, Error> {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    Fields::new(section, table)
        .map(|field| field.map(|field| (text(&field.name), text(&field.value))))
        .collect()
}

fn assert_fields(hex: &str, fields: &[(&str, &str)]) {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    assert_eq!(decoded(&octets(hex)), Ok(fields), "{hex}");
}

#[test]
fn integers_of_appendix_c_1_are_written_and_read() {
    for (value, bits, expected) in [(10, 5, "0a"), (1337, 5, "1f 9a 0a"), (42, 8, "2a")] {
        let (mut written, mut table) = (Vec::new(), Table::default());
        put_integer(value, bits, &mut written);
        assert_eq!(written, octets(expected));
        let mut fields = Fields::new(&written, &mut table);
        assert_eq!(fields.integer(bits), Ok(value));
        assert!(fields.rest.is_empty());
    }
}

#[test]
fn fields_of_appendix_c_2_are_read() {
    assert_fields(
        "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
        &[("custom-key", "custom-header")],
    );
    assert_fields("040c 2f73 616d 706c 652f 7061 7468", &[(":path", "/sample/path")]);
    assert_fields("1008 7061 7373 776f 7264 0673 6563 7265 74", &[("password", "secret")]);
    assert_fields("82", &[(":method", "GET")]);
}

/// Checks sections that follow each other, then the size of the table.
fn assert_sections(mut table: Table, sections: [(&str, &[(&str, &str)]); 3], size: usize) {
    for (hex, fields) in sections {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        assert_eq!(decoded_with(&octets(hex), &mut table), Ok(fields), "{hex}");
    }
    assert_eq!(table.size, size);
}

#[test]
fn requests_of_appendices_c_3_and_c_4_are_read() {
    let first = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
    let second = [&first[..], &[("cache-control", "no-cache")]].concat();
    let third = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ];
    let plain = [
        ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", &first[..]),
        ("8286 84be 5808 6e6f 2d63 6163 6865", &second),
        ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", &third),
    ];
    assert_sections(Table::default(), plain, 164);
    let huffman = [
        ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", &first[..]),
        ("8286 84be 5886 a8eb 1064 9cbf", &second),
        ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", &third),
    ];
    assert_sections(Table::default(), huffman, 164);
}

#[test]
fn responses_of_appendices_c_5_and_c_6_are_read_with_evictions() {
    let first = [
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ];
    let mut second = first;
    second[0].1 = "307";
    let third = [
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("location", "https://www.example.com"),
        ("content-encoding", "gzip"),
        ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ];
    let table = || Table { capacity: 256, ..Table::default() };
    let plain = [
        (
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32
             3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            &first[..],
        ),
        ("4803 3330 37c1 c0bf", &second),
        (
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970
             7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61
             6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
            &third,
        ),
    ];
    assert_sections(table(), plain, 215);
    let huffman = [
        (
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad
             1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            &first[..],
        ),
        ("4883 640e ffc1 c0bf", &second),
        (
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2
             e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
            &third,
        ),
    ];
    assert_sections(table(), huffman, 215);
}

#[test]
fn the_table_is_emptied_by_a_size_of_zero_and_by_an_entry_that_is_too_large() {
    let large = [&b"\x40\x01a\x7f\x80\x1f"[..], &[b'x'; 4095]].concat();
    for octets in [&[0x20][..], &large] {
        let mut table = Table::default();
        assert!(decoded_with(b"\x40\x01a\x01b\xbe", &mut table).is_ok());
        assert!(decoded_with(octets, &mut table).is_ok());
        assert_eq!((table.size, table.entries.len()), (0, 0));
        assert_eq!(decoded_with(&[0xbe], &mut table), Err(Error::Index(62)));
    }
}

#[test]
fn strings_of_appendices_c_4_and_c_6_are_decoded() {
    for (hex, string) in [
        ("f1e3 c2e5 f23a 6ba0 ab90 f4ff", "www.example.com"),
        ("a8eb 1064 9cbf", "no-cache"),
        ("25a8 49e9 5ba9 7d7f", "custom-key"),
        ("25a8 49e9 5bb8 e8b4 bf", "custom-value"),
        ("640e ff", "307"),
        ("d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("9bd9 ab", "gzip"),
        (
            "94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5
             b106 3d50 07",
            "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ),
    ] {
        assert_eq!(huffman::decode(&octets(hex)).as_deref(), Some(string.as_bytes()), "{hex}");
    }
}

#[test]
fn what_no_section_may_have_is_refused() {
    for (hex, error) in [
        ("80", Error::Index(0)),
        ("be", Error::Index(62)),
        ("ff ff ff ff 7f", Error::Index((1 << 28) - 1 + 127)),
        ("ff ff ff ff ff 01", Error::Integer),
        ("00 7f ff ff ff ff ff ff ff ff ff 01", Error::Integer),
        ("7e 01 61", Error::Index(62)),
        ("3f e2 1f", Error::TableSize),
        ("82 20", Error::TableSize),
        ("00", Error::Cut),
        ("00 01", Error::Cut),
        ("00 01 61", Error::Cut),
        ("00 01 61 05 62", Error::Cut),
        ("ff", Error::Cut),
        ("00 81 61 00", Error::Huffman),
        ("00 84 ff ff ff ff 00", Error::Huffman),
    ] {
        assert_eq!(decoded(&octets(hex)), Err(error), "{hex}");
    }
    assert_fields("20 20 88", &[(":status", "200")]);
}

#[test]
fn padding_of_a_string_is_at_most_seven_ones() {
    for (hex, is_allowed) in
        [("1f", true), ("1e", false), ("1f ff", false), ("ff", false), ("", true), ("07 ff", false)]
    {
        assert_eq!(huffman::decode(&octets(hex)).is_some(), is_allowed, "{hex}");
    }
}

#[test]
fn a_request_says_nothing_but_what_it_has_to() {
    let request = Request {
        authority: "dns.example",
        path: "/dns-query",
        body: &[0; 40],
        accept: "application/dns-message",
    };
    let (mut first, mut second) = (Vec::new(), Vec::new());
    encode(&request, true, &mut first);
    encode(&request, false, &mut second);
    assert_eq!(first, [&[0x20][..], &second].concat(), "the size of the dynamic table is stated once");
    let fields = decoded(&second).expect("a header section");
    let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(
        fields,
        [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "dns.example"),
            (":path", "/dns-query"),
            ("accept", "application/dns-message"),
            ("content-type", "application/dns-message"),
            ("content-length", "40"),
        ]
    );
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(string in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(huffman::decode(&huffman::tests::encode(&string)), Some(string));
    }

    #[test]
    fn any_octets_are_read_or_refused(section in proptest::collection::vec(any::<u8>(), 0..400)) {
        let (mut length, mut table) = (0, Table::default());
        for field in Fields::new(&section, &mut table) {
            length += field.map_or(0, |field| field.name.len() + field.value.len());
        }
        prop_assert!(length <= section.len() * TABLE_MAX, "a field is at most that much larger than its index");
        prop_assert!(table.size <= TABLE_MAX);
    }

    #[test]
    fn integers_are_read_as_they_were_written(value in 0_u32..1 << 28, bits in 4_u32..8) {
        let (mut written, mut table) = (Vec::new(), Table::default());
        put_integer(value, bits, &mut written);
        prop_assert_eq!(Fields::new(&written, &mut table).integer(bits), Ok(value));
    }
}
