//! Names as C programs expect them.

use hither_wire::name::Name;

/// The text of a name without its final dot, if it can be the name of a host: letters, digits, `-`
/// and `_`, and no `-` at its beginning. `None` for other names, since programs put such text into
/// commands and files. glibc's own DNS module has the same rule (`res_hnok`).
#[must_use]
pub fn host_name(wire: &[u8]) -> Option<impl Iterator<Item = u8> + Clone + use<'_>> {
    let labels = wire.get(1..wire.len().checked_sub(1)?)?;
    if labels.first() == Some(&b'-') {
        return None;
    }
    let mut left = *wire.first()?;
    for octet in labels {
        match left.checked_sub(1) {
            None => left = *octet,
            Some(_) if !(octet.is_ascii_alphanumeric() || *octet == b'-' || *octet == b'_') => return None,
            Some(less) => left = less,
        }
    }
    let mut left = *wire.first()?;
    Some(labels.iter().map(move |octet| match left.checked_sub(1) {
        None => {
            left = *octet;
            b'.'
        }
        Some(less) => {
            left = less;
            *octet
        }
    }))
}

/// Whether other NSS modules answer the name, or it must not leave the host (RFC 6761, RFC 6762):
/// `localhost`, multicast DNS, addresses.
#[must_use]
pub fn is_special(name: &Name) -> bool {
    let last = name.labels().last().unwrap_or_default();
    last.eq_ignore_ascii_case(b"localhost") || last.eq_ignore_ascii_case(b"local") || is_numeric(name)
}

/// Whether the text of the name is an IPv4 address, such as `192.0.2.1`. getaddrinfo does not look
/// these up, other functions may.
fn is_numeric(name: &Name) -> bool {
    name.label_count() <= 4 && name.labels().all(|label| label.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn names_that_other_modules_answer_are_left_to_them() {
        for text in ["localhost", "foo.localhost", "printer.local", "PRINTER.Local", "192.0.2.1", "10"] {
            assert!(is_special(&name(text)), "{text}");
        }
        for text in ["www.example.com", "local.example", "1.2.3.4.example", "1.2.3.4.5", "mail"] {
            assert!(!is_special(&name(text)), "{text}");
        }
    }
}
