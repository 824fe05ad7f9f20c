//! Names where they stand in a message: followed, checked and compared without a copy.

use crate::name::{NAME_MAX, Name, NameError};

/// Gives each label of the name at `at` to `each`, with where it stands and its length octet, the root last. Compression pointers must point strictly
/// backward: that bounds the work. Returns the offset of what follows the name there.
#[inline]
pub(crate) fn walk<'m>(
    message: &'m [u8],
    mut at: usize,
    mut each: impl FnMut(usize, &'m [u8]) -> Result<(), NameError>,
) -> Result<usize, NameError> {
    let (mut floor, mut next) = (at, None);
    loop {
        let length = *message.get(at).ok_or(NameError::Short)?;
        match length {
            0..=63 => {
                let end = at + 1 + usize::from(length);
                each(at, message.get(at..end).ok_or(NameError::Short)?)?;
                if length == 0 {
                    return Ok(next.unwrap_or(end));
                }
                at = end;
            }
            0xc0.. => {
                let low = *message.get(at + 1).ok_or(NameError::Short)?;
                let target = usize::from(length & 0x3f) << 8 | usize::from(low);
                if target >= floor {
                    return Err(NameError::BadPointer);
                }
                next.get_or_insert(at + 2);
                at = target;
                floor = target;
            }
            _ => return Err(NameError::BadLabelType),
        }
    }
}

/// Where the name at `at` ends, which has been checked before.
#[inline]
pub(crate) fn end(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return Some(at + 2),
        }
    }
}

/// Whether the name at `at` has the labels of `other`, a whole name in uncompressed wire form, as `same` compares them.
#[inline]
pub(crate) fn is(message: &[u8], at: usize, other: &[u8], same: impl Fn(&[u8], &[u8]) -> bool) -> bool {
    // Most names are written out, in the case that is asked for.
    if message.get(at..).is_some_and(|octets| octets.starts_with(other)) {
        return true;
    }
    let mut rest = other;
    let walked = walk(message, at, |_, label| match rest.split_at_checked(label.len()) {
        Some((own, after)) if same(own, label) => {
            rest = after;
            Ok(())
        }
        _ => Err(NameError::Trailing),
    });
    walked.is_ok() && rest.is_empty()
}

impl Name {
    /// Checks the name at `at` as [`Name::read`] does, without keeping it. Returns the offset of what follows it there.
    ///
    /// # Errors
    /// Those of [`Name::read`].
    pub fn skip(message: &[u8], at: usize) -> Result<usize, NameError> {
        let mut len = 0;
        walk(message, at, |_, label| {
            len += label.len();
            if len > NAME_MAX { Err(NameError::TooLong) } else { Ok(()) }
        })
    }

    /// Whether the name at `at` of a message is this one, without regard to ASCII letter case (RFC 4343).
    #[must_use]
    pub fn stands_at(&self, message: &[u8], at: usize) -> bool {
        is(message, at, self.as_wire(), <[u8]>::eq_ignore_ascii_case)
    }
}
