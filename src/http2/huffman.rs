//! The Huffman code of HPACK (RFC 7541, appendix B), decoding only.
//!
//! The code is canonical: codes of one length are consecutive numbers, in the order of their symbols.
//! So the lengths are the whole code, and a symbol is found by one comparison for each bit.

/// The longest code, in bits.
const LENGTH_MAX: usize = 30;
/// Bits of padding that a string may end with.
const PADDING_MAX: usize = 7;

/// The length of each symbol's code, in bits. The last symbol is EOS.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30,
    28, 28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5,
    5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6,
    6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23,
    22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23,
    24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22,
    23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27,
    26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21,
    22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27,
    27, 27, 27, 27, 26, 30,
];

/// The symbols, in the order of their codes.
static SYMBOLS: [u16; 257] = symbols();
/// For each length the first code, the number of codes, and the index of the first in [`SYMBOLS`].
static GROUPS: [Group; LENGTH_MAX + 1] = groups();

#[derive(Clone, Copy)]
struct Group {
    first_code: u32,
    count: u32,
    first_index: u32,
}

const fn symbols() -> [u16; 257] {
    let (mut found, mut at, mut length) = ([0; 257], 0, 1);
    while length <= LENGTH_MAX {
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                found[at] = symbol as u16;
                at += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    found
}

const fn groups() -> [Group; LENGTH_MAX + 1] {
    let mut groups = [Group { first_code: 0, count: 0, first_index: 0 }; LENGTH_MAX + 1];
    let (mut code, mut index, mut length) = (0, 0, 1);
    while length <= LENGTH_MAX {
        code <<= 1;
        let (mut count, mut symbol) = (0, 0);
        while symbol < LENGTHS.len() {
            count += (LENGTHS[symbol] as usize == length) as u32;
            symbol += 1;
        }
        groups[length] = Group { first_code: code, count, first_index: index };
        code += count;
        index += count;
        length += 1;
    }
    groups
}

/// Decodes a string. The result has at most 8/5 of the octets of `encoded`.
///
/// Returns `None` for a code that does not exist, EOS, or padding that is longer than seven bits or
/// has a zero bit.
pub fn decode(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(encoded.len() * 8 / 5);
    let (mut code, mut length) = (0_u32, 0);
    for octet in encoded {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(octet >> bit & 1);
            length += 1;
            let group = GROUPS.get(length)?;
            if let Some(offset) = code.checked_sub(group.first_code).filter(|offset| *offset < group.count) {
                let symbol = SYMBOLS[(group.first_index + offset) as usize];
                // EOS, which no string may contain (section 5.2), is the one symbol that is no octet.
                decoded.push(u8::try_from(symbol).ok()?);
                (code, length) = (0, 0);
            }
        }
    }
    (length <= PADDING_MAX && code == (1 << length) - 1).then_some(decoded)
}

#[cfg(test)]
pub mod tests {
    use super::{GROUPS, LENGTHS, SYMBOLS};

    /// The code of a symbol and its length.
    fn code(symbol: u8) -> (u32, usize) {
        let length = usize::from(LENGTHS[usize::from(symbol)]);
        let index = SYMBOLS.iter().position(|of_code| *of_code == u16::from(symbol)).expect("every symbol");
        (GROUPS[length].first_code + index as u32 - GROUPS[length].first_index, length)
    }

    /// Encodes a string, one character per bit.
    pub fn encode(string: &[u8]) -> Vec<u8> {
        let mut bits: String = string
            .iter()
            .map(|symbol| code(*symbol))
            .map(|(code, length)| format!("{code:0length$b}"))
            .collect();
        bits.extend(std::iter::repeat_n('1', bits.len().next_multiple_of(8) - bits.len()));
        (0..bits.len()).step_by(8).map(|at| u8::from_str_radix(&bits[at..at + 8], 2).expect("bits")).collect()
    }

    #[test]
    fn codes_are_those_of_appendix_b() {
        assert_eq!(code(b'0'), (0, 5));
        assert_eq!(code(b'a'), (3, 5));
        assert_eq!(code(b' '), (0x14, 6));
        assert_eq!(code(b'Z'), (0xfd, 8));
        assert_eq!(code(b'{'), (0x7ffe, 15));
        assert_eq!(code(0), (0x1ff8, 13));
        assert_eq!(code(b'\\'), (0x7fff0, 19));
        assert_eq!(code(255), (0x3ff_ffee, 26));
        assert_eq!(code(22), (0x3fff_fffe, 30));
    }
}
