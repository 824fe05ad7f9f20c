//! Names in a message: followed, checked and compared without a copy.

use crate::name::{NAME_MAX, Name, NameError};

/// Steps of a name, each a label or a compression pointer: 127 labels, the root, and a pointer before
/// each of these but the first.
const STEPS_MAX: u32 = 128 + 127;

/// Calls `each` with the offset of each label of the name at `at` and the label with its length
/// octet, the root last. Compression pointers must point strictly backward, and each further than
/// the one before, which bounds the work. Returns the offset after the name.
#[inline]
pub(crate) fn walk<'m>(
    message: &'m [u8],
    at: usize,
    each: impl FnMut(usize, &'m [u8]) -> Result<(), NameError>,
) -> Result<usize, NameError> {
    let mut budget = STEPS_MAX;
    walk_within(message, at, &mut budget, each)
}

/// [`walk`], where each step takes one from `budget`, even if the name turns out to be broken.
#[inline]
pub(crate) fn walk_within<'m>(
    message: &'m [u8],
    at: usize,
    budget: &mut u32,
    each: impl FnMut(usize, &'m [u8]) -> Result<(), NameError>,
) -> Result<usize, NameError> {
    let allowed = STEPS_MAX.min(*budget);
    let mut left = allowed;
    let end = steps(message, at, &mut left, each);
    *budget -= allowed - left;
    end
}

/// [`walk`] in at most `left` steps, which are counted down.
#[inline]
fn steps<'m>(
    message: &'m [u8],
    mut at: usize,
    left: &mut u32,
    mut each: impl FnMut(usize, &'m [u8]) -> Result<(), NameError>,
) -> Result<usize, NameError> {
    let (mut floor, mut next) = (at, None);
    loop {
        *left = left.checked_sub(1).ok_or(NameError::TooDeep)?;
        #[cfg(all(feature = "work", debug_assertions))]
        crate::work::count(1);
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

/// [`Name::skip`], where each step takes one from `budget`.
#[inline]
pub(crate) fn skip_within(message: &[u8], at: usize, budget: &mut u32) -> Result<usize, NameError> {
    let mut len = 0;
    walk_within(message, at, budget, |_, label| {
        len += label.len();
        if len > NAME_MAX { Err(NameError::TooLong) } else { Ok(()) }
    })
}

/// Continues the FNV-1a hash of a name, which does not depend on letter case.
#[inline]
pub(crate) fn folded(hash: u64, octets: &[u8]) -> u64 {
    octets.iter().fold(hash, |hash, octet| {
        (hash ^ u64::from(octet.to_ascii_lowercase())).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The initial value for [`folded`].
pub(crate) const FOLD_START: u64 = 0xcbf2_9ce4_8422_2325;

/// The offset after the name at `at`, which must have been checked.
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

/// Whether the name at `at` has the labels of `other`, a name in uncompressed wire form; `same`
/// compares two labels.
#[inline]
pub(crate) fn has_labels(
    message: &[u8],
    at: usize,
    other: &[u8],
    same: impl Fn(&[u8], &[u8]) -> bool,
) -> bool {
    // Most names are uncompressed and in the same letter case.
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
    /// Checks the name at `at` as [`Name::read`] does. Returns the offset after it.
    ///
    /// # Errors
    /// The errors of [`Name::read`].
    pub fn skip(message: &[u8], at: usize) -> Result<usize, NameError> {
        let mut budget = STEPS_MAX;
        skip_within(message, at, &mut budget)
    }

    /// Whether the name at `at` of a message is this one, in any letter case (RFC 4343).
    #[must_use]
    pub fn stands_at(&self, message: &[u8], at: usize) -> bool {
        has_labels(message, at, self.as_wire(), <[u8]>::eq_ignore_ascii_case)
    }
}
