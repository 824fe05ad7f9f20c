//! Any octets as header sections of one connection, each with two octets of length before it: fields or
//! an error, in bounded memory. Fields that are written again as literals are the same fields.
#![no_main]

use hither_http2::{Fields, HpackTable};
use libfuzzer_sys::fuzz_target;

/// Octets that the dynamic table may have, and so a field with an index.
const TABLE_MAX: usize = 4096;

/// Appends a string without Huffman code.
fn put(string: &[u8], section: &mut Vec<u8>) {
    if string.len() < 127 {
        section.push(string.len() as u8);
    } else {
        section.push(127);
        let mut rest = string.len() - 127;
        while rest >= 128 {
            section.push(rest as u8 | 128);
            rest >>= 7;
        }
        section.push(rest as u8);
    }
    section.extend_from_slice(string);
}

fuzz_target!(|input: &[u8]| {
    let (mut rest, mut table) = (input, HpackTable::default());
    while let Some((&[high, low], after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (section, after) = after.split_at(length);
        rest = after;
        let (mut fields, mut again) = (Vec::new(), Vec::new());
        for field in Fields::new(section, &mut table) {
            let Ok(field) = field else { break };
            assert!(field.name.len() + field.value.len() <= TABLE_MAX.max(2 * section.len()));
            again.push(0);
            put(&field.name, &mut again);
            put(&field.value, &mut again);
            fields.push((field.name.into_owned(), field.value.into_owned()));
        }
        assert!(fields.len() <= section.len());
        let mut other = HpackTable::default();
        let read: Vec<_> = Fields::new(&again, &mut other)
            .map(|field| field.expect("a literal"))
            .map(|field| (field.name.into_owned(), field.value.into_owned()))
            .collect();
        assert_eq!(read, fields);
    }
});
