//! Header sections as octets (HPACK, RFC 7541).
//!
//! Requests use no dynamic table, and our SETTINGS ask the server to use none. Some servers do all the
//! same (dnsdist 1.7), so the decoder has the table that a server has without SETTINGS. Header sections
//! therefore depend on each other, and each must be decoded completely.

use crate::static_table::ENTRIES;
use crate::{Request, huffman};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;

/// Octets that an integer may have after its first one. 28 bits are more than any length needs.
const CONTINUATIONS_MAX: usize = 4;
/// The size of the dynamic table without SETTINGS (RFC 9113, section 6.5.2), in octets as [`Table`]
/// counts them.
const TABLE_MAX: usize = 4096;
/// What an entry of the dynamic table adds to the octets of its name and value (section 4.1).
const ENTRY_OVERHEAD: usize = 32;

/// A header section that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The section ends within a field.
    Cut,
    /// An integer has more than 28 bits.
    Integer,
    /// No entry of the tables has this index.
    Index(u32),
    /// A string is not a sequence of Huffman codes, or has a wrong padding.
    Huffman,
    /// The size of the dynamic table is too large, or changes after the first field.
    TableSize,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("it ends within a field"),
            Self::Integer => f.write_str("an integer is too large"),
            Self::Index(index) => write!(f, "no field has the index {index}"),
            Self::Huffman => f.write_str("a string has a wrong Huffman code"),
            Self::TableSize => f.write_str("the dynamic table has a size that was not allowed"),
        }
    }
}

/// The dynamic table of a decoder (section 2.3.2): at most 4096 octets.
#[derive(Debug)]
pub struct Table {
    /// Names and values, the newest first.
    entries: VecDeque<(Vec<u8>, Vec<u8>)>,
    size: usize,
    capacity: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, capacity: TABLE_MAX }
    }
}

impl Table {
    /// Adds an entry; older ones are evicted (section 4.4). One that is too large empties the table.
    fn add(&mut self, field: &Field<'_>) {
        let size = field.name.len() + field.value.len() + ENTRY_OVERHEAD;
        self.shrink(self.capacity.saturating_sub(size));
        if size <= self.capacity {
            self.size += size;
            self.entries.push_front((field.name.to_vec(), field.value.to_vec()));
        }
    }

    /// Evicts entries until the rest has at most `size` octets.
    fn shrink(&mut self, size: usize) {
        while self.size > size
            && let Some((name, value)) = self.entries.pop_back()
        {
            self.size -= name.len() + value.len() + ENTRY_OVERHEAD;
        }
    }

    /// The field of an index into both tables (section 2.3.3).
    fn entry(&self, index: u32) -> Result<Field<'static>, Error> {
        let at = (index as usize).checked_sub(1).ok_or(Error::Index(index))?;
        if let Some((name, value)) = ENTRIES.get(at) {
            return Ok(Field { name: (*name).into(), value: (*value).into() });
        }
        let (name, value) = self.entries.get(at - ENTRIES.len()).ok_or(Error::Index(index))?;
        Ok(Field { name: name.clone().into(), value: value.clone().into() })
    }
}

/// A field of a header section, as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name. A name that begins with a colon is a pseudo-header field.
    pub name: Cow<'a, [u8]>,
    /// The value, which can have any octets.
    pub value: Cow<'a, [u8]>,
}

/// The fields of an encoded header section, in order. After an error there are no more.
///
/// A field takes time that is linear in its length: at most 8/5 of its encoded octets, and 4096 if it
/// has an index. The caller bounds the sum; the table is of use only if all fields were decoded.
#[derive(Debug)]
pub struct Fields<'a, 't> {
    table: &'t mut Table,
    rest: &'a [u8],
    has_begun: bool,
}

impl<'a, 't> Fields<'a, 't> {
    /// The fields of `section`, which are decoded one by one.
    #[must_use]
    pub fn new(section: &'a [u8], table: &'t mut Table) -> Self {
        Self { table, rest: section, has_begun: false }
    }

    fn field(&mut self) -> Result<Option<Field<'a>>, Error> {
        while let Some(&first) = self.rest.first() {
            if first & 0xe0 == 0x20 {
                // The size of the dynamic table (section 6.3), before the first field (section 4.2).
                let size = self.integer(5)? as usize;
                if self.has_begun || size > TABLE_MAX {
                    return Err(Error::TableSize);
                }
                self.table.capacity = size;
                self.table.shrink(size);
                continue;
            }
            self.has_begun = true;
            if first & 0x80 != 0 {
                // Name and value from the tables (section 6.1).
                let index = self.integer(7)?;
                return self.table.entry(index).map(Some);
            }
            // A literal, which the table is to hold (section 6.2.1) or not.
            let is_indexed = first & 0x40 != 0;
            let name = match self.integer(if is_indexed { 6 } else { 4 })? {
                0 => self.string()?,
                index => self.table.entry(index)?.name,
            };
            let field = Field { name, value: self.string()? };
            if is_indexed {
                self.table.add(&field);
            }
            return Ok(Some(field));
        }
        Ok(None)
    }

    /// Reads an integer whose first octet has `bits` bits of it (section 5.1).
    fn integer(&mut self, bits: u32) -> Result<u32, Error> {
        let max = (1_u32 << bits) - 1;
        let mut value = u32::from(self.octet()?) & max;
        if value < max {
            return Ok(value);
        }
        for n in 0..CONTINUATIONS_MAX {
            let octet = self.octet()?;
            value += u32::from(octet & 0x7f) << (7 * n);
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::Integer)
    }

    /// Reads a string (section 5.2).
    fn string(&mut self) -> Result<Cow<'a, [u8]>, Error> {
        let is_huffman = self.rest.first().ok_or(Error::Cut)? & 0x80 != 0;
        let length = self.integer(7)? as usize;
        let (string, rest) = self.rest.split_at_checked(length).ok_or(Error::Cut)?;
        self.rest = rest;
        if is_huffman {
            huffman::decode(string).map(Cow::Owned).ok_or(Error::Huffman)
        } else {
            Ok(string.into())
        }
    }

    fn octet(&mut self) -> Result<u8, Error> {
        let (&octet, rest) = self.rest.split_first().ok_or(Error::Cut)?;
        self.rest = rest;
        Ok(octet)
    }
}

impl<'a> Iterator for Fields<'a, '_> {
    type Item = Result<Field<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        field.transpose()
    }
}

/// Indices of the static table that requests use.
const AUTHORITY: u8 = 1;
const METHOD_POST: u8 = 3;
const PATH: u8 = 4;
const SCHEME_HTTPS: u8 = 7;
const ACCEPT: u8 = 19;
const CONTENT_LENGTH: u8 = 28;
const CONTENT_TYPE: u8 = 31;

/// Appends the header section of a request. `is_first` says that the connection has had none: that one
/// tells the server that we use no dynamic table.
pub fn encode(request: &Request<'_>, is_first: bool, section: &mut Vec<u8>) {
    if is_first {
        section.push(0x20);
    }
    section.extend([0x80 | METHOD_POST, 0x80 | SCHEME_HTTPS]);
    literal(AUTHORITY, request.authority.as_bytes(), section);
    literal(PATH, request.path.as_bytes(), section);
    literal(ACCEPT, request.accept.as_bytes(), section);
    literal(CONTENT_TYPE, b"application/dns-message", section);
    literal(CONTENT_LENGTH, request.body.len().to_string().as_bytes(), section);
}

/// Appends a field that no table is to hold (section 6.2.2).
fn literal(index: u8, value: &[u8], section: &mut Vec<u8>) {
    put_integer(u32::from(index), 4, section);
    put_integer(value.len() as u32, 7, section);
    section.extend_from_slice(value);
}

fn put_integer(value: u32, bits: u32, section: &mut Vec<u8>) {
    let max = (1 << bits) - 1;
    if value < max {
        section.push(value as u8);
        return;
    }
    section.push(max as u8);
    let mut rest = value - max;
    while rest >= 0x80 {
        section.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    section.push(rest as u8);
}

#[cfg(test)]
mod tests;
