//! Names as C programs want them.

/// A name of a host (letters, digits, `-`, `_`, no `-` at its beginning) without its final dot; `None` for other names: programs put
/// such text into commands and files. The C library's own source of names has the same rule (`res_hnok`).
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
