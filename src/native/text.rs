//! Names as C programs expect them.

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
