//! Base64 (RFC 4648, section 4), for the few octets of pins.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Octets as text, padded.
pub(super) fn encode(octets: &[u8]) -> String {
    let mut text = String::new();
    for three in octets.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(three.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at > three.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

/// The octets of a text, which must be padded and have no odd bits at its end; `None` if it is none.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    for four in text.as_bytes().chunks(4) {
        let padding = four.iter().rev().take_while(|letter| **letter == b'=').count();
        let mut bits = 0_u32;
        for letter in four.get(..four.len() - padding)? {
            bits = bits << 6 | u32::try_from(LETTERS.iter().position(|known| known == letter)?).ok()?;
        }
        let [_, three @ ..] = (bits << (6 * padding)).to_be_bytes();
        octets.extend_from_slice(three.get(..3_usize.checked_sub(padding)?)?);
    }
    // Every text that is not the usual one for its octets is refused here.
    (encode(&octets) == text).then_some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_vectors_of_the_rfc_are_right() {
        for (octets, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(octets.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(octets.as_bytes()));
        }
        for odd in ["Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm9v\n", "Zm-v", "é"] {
            assert_eq!(decode(odd), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn octets_are_the_same_after_both(octets in prop::collection::vec(any::<u8>(), 0..70)) {
            let text = encode(&octets);
            prop_assert_eq!(decode(&text), Some(octets));
        }
    }
}
