//! Base64 (RFC 4648, section 4), for the few octets of pins.

use data_encoding::BASE64;

/// Octets as text, padded.
pub(super) fn encode(octets: &[u8]) -> String {
    BASE64.encode(octets)
}

/// The octets of a text, which must be padded and have no odd bits at its end; `None` if it is none.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let octets = BASE64.decode(text.as_bytes()).ok()?;
    // The crate accepts several padded texts in a row.
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
