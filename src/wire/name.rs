//! Domain names: labels, compression, letter case (RFC 1035, sections 3.1 and 4.1.4, RFC 4343).

use crate::in_place;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::str::FromStr;

/// Octets of the longest name in wire form, including the root label (RFC 1035, section 2.3.4).
pub const NAME_MAX: usize = 255;
/// Octets of the longest label.
pub const LABEL_MAX: usize = 63;

/// A name in uncompressed wire form, 1 to 255 octets, with its letter case. Equality, order and
/// hash are those of the octets.
#[derive(Clone, Copy)]
pub struct Name {
    len: u8,
    octets: [u8; NAME_MAX],
}

/// Why octets or text are not a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameError {
    /// The octets end within the name.
    Short,
    /// The name has more than 255 octets.
    TooLong,
    /// A label of more than 63 octets, or an empty one.
    BadLabel,
    /// A label type other than 00 and 11 (RFC 6891, section 5, retired the others).
    BadLabelType,
    /// A compression pointer that does not point strictly backward.
    BadPointer,
    /// More labels and pointers than a name can have, or than are left for the message.
    TooDeep,
    /// An escape that is not \DDD up to 255 or \X.
    BadEscape,
    /// Octets follow the name.
    Trailing,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "the name is cut off",
            Self::TooLong => "the name has more than 255 octets",
            Self::BadLabel => "a label is empty or has more than 63 octets",
            Self::BadLabelType => "a label has an unknown type",
            Self::BadPointer => "a compression pointer does not point backward",
            Self::TooDeep => "the name goes over too many labels and pointers",
            Self::BadEscape => "an escape is neither \\DDD nor \\X",
            Self::Trailing => "octets follow the name",
        })
    }
}

impl core::error::Error for NameError {}

impl Name {
    /// The name of the root.
    pub const ROOT: Name = Name { len: 1, octets: [0; NAME_MAX] };

    /// Reads an uncompressed name with nothing after it.
    ///
    /// # Errors
    /// Any [`NameError`] but `BadEscape`.
    pub fn from_wire(octets: &[u8]) -> Result<Name, NameError> {
        let len = uncompressed_len(octets, 0)?;
        if len != octets.len() {
            return Err(NameError::Trailing);
        }
        let mut name = Name { len: 0, octets: [0; NAME_MAX] };
        name.push(octets)?;
        Ok(name)
    }

    /// Reads the name at `at` and follows its compression pointers, which must point strictly
    /// backward; that bounds the work. Also returns the offset after the name.
    ///
    /// # Errors
    /// Any [`NameError`] but `BadEscape` and `Trailing`.
    pub fn read(message: &[u8], at: usize) -> Result<(Name, usize), NameError> {
        let mut name = Name { len: 0, octets: [0; NAME_MAX] };
        let next = in_place::walk(message, at, |_, label| name.push(label))?;
        Ok((name, next))
    }

    fn push(&mut self, octets: &[u8]) -> Result<(), NameError> {
        let start = usize::from(self.len);
        let room = self.octets.get_mut(start..start + octets.len()).ok_or(NameError::TooLong)?;
        room.copy_from_slice(octets);
        self.len = u8::try_from(start + octets.len()).map_err(|_| NameError::TooLong)?;
        Ok(())
    }

    /// The octets of the name, including the root label.
    #[must_use]
    pub fn as_wire(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or(&[0])
    }

    /// The name with ASCII letters in lower case. All octets can be converted, since length octets
    /// are below 64 and so not letters.
    #[must_use]
    pub fn to_lower(&self) -> Name {
        let mut lower = *self;
        let len = usize::from(lower.len);
        lower.octets[..len.min(NAME_MAX)].make_ascii_lowercase();
        lower
    }

    /// A hash that does not depend on letter case (RFC 4343).
    #[must_use]
    pub fn folded_hash(&self) -> u64 {
        in_place::folded(in_place::FOLD_START, self.as_wire())
    }

    /// The name in lower case whose uncompressed wire form is `wire`, which must have been checked.
    pub(crate) fn lower_of(wire: &[u8]) -> Name {
        let mut name = Name::ROOT;
        if let (Some(room), Ok(len)) = (name.octets.get_mut(..wire.len()), u8::try_from(wire.len())) {
            room.copy_from_slice(wire);
            room.make_ascii_lowercase();
            name.len = len.max(1);
        }
        name
    }

    /// Whether both names are equal in any letter case (RFC 4343).
    #[must_use]
    pub fn eq_ignore_case(&self, other: &Name) -> bool {
        self.as_wire().eq_ignore_ascii_case(other.as_wire())
    }

    /// The labels without the root.
    #[must_use]
    pub fn labels(&self) -> Labels<'_> {
        Labels { rest: self.as_wire() }
    }

    /// The number of labels without the root.
    #[must_use]
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// Whether the name is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.len <= 1
    }

    /// The name without its first label; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Name> {
        let first = usize::from(*self.as_wire().first()?);
        if first == 0 {
            return None;
        }
        Name::from_wire(self.as_wire().get(1 + first..)?).ok()
    }

    /// Whether the name is below `above`, in any letter case.
    #[must_use]
    pub fn is_below(&self, above: &Name) -> bool {
        self.len > above.len && self.ends_with(above)
    }

    /// The name with its suffix `from` replaced by `to`, as a DNAME record does (RFC 6672, section
    /// 2.2). `None`: the name is not below `from`.
    ///
    /// # Errors
    /// [`NameError::TooLong`].
    pub fn with_suffix_replaced(&self, from: &Name, to: &Name) -> Option<Result<Name, NameError>> {
        let labels =
            self.as_wire().len().checked_sub(from.as_wire().len()).filter(|_| self.is_below(from))?;
        let mut name = Name { len: 0, octets: [0; NAME_MAX] };
        let pushed = name.push(self.as_wire().get(..labels)?).and_then(|()| name.push(to.as_wire()));
        Some(pushed.map(|()| name))
    }

    /// Whether `suffix` is this name or one above it, in any letter case.
    #[must_use]
    pub fn ends_with(&self, suffix: &Name) -> bool {
        let mut rest = self.as_wire();
        loop {
            if rest.eq_ignore_ascii_case(suffix.as_wire()) {
                return true;
            }
            match rest.split_first() {
                Some((&length, after)) if length != 0 => {
                    rest = after.get(usize::from(length)..).unwrap_or(&[])
                }
                _ => return false,
            }
        }
    }
}

/// The length of the uncompressed name at `at`.
pub(crate) fn uncompressed_len(octets: &[u8], at: usize) -> Result<usize, NameError> {
    let mut end = at;
    loop {
        let length = *octets.get(end).ok_or(NameError::Short)?;
        if length >= 0xc0 {
            return Err(NameError::BadPointer);
        }
        if length > 63 {
            return Err(NameError::BadLabelType);
        }
        end += 1 + usize::from(length);
        if end - at > NAME_MAX {
            return Err(NameError::TooLong);
        }
        if length == 0 {
            return Ok(end - at);
        }
    }
}

/// An iterator over labels, see [`Name::labels`].
#[derive(Clone, Debug)]
pub struct Labels<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, after) = self.rest.split_first()?;
        if length == 0 {
            return None;
        }
        let label = after.get(..usize::from(length))?;
        self.rest = after.get(usize::from(length)..)?;
        Some(label)
    }
}

impl FromStr for Name {
    type Err = NameError;

    /// See [`Name::from_text`].
    fn from_str(text: &str) -> Result<Name, NameError> {
        Name::from_text(text.as_bytes())
    }
}

impl Name {
    /// Reads presentation form: `\DDD` (decimal) and `\X` escapes, the final dot may be missing,
    /// `.` is the root (RFC 1035, section 5.1).
    ///
    /// # Errors
    /// Any [`NameError`] but `Short`, `BadLabelType`, `BadPointer` and `Trailing`.
    pub fn from_text(text: &[u8]) -> Result<Name, NameError> {
        if text == b"." {
            return Ok(Name::ROOT);
        }
        let mut octets = [0; NAME_MAX];
        let (mut start, mut end, mut at) = (0, 1, 0);
        while let Some(&c) = text.get(at) {
            at += 1;
            let octet = match c {
                b'.' => {
                    end_label(&mut octets, start, end)?;
                    (start, end) = (end, end + 1);
                    continue;
                }
                b'\\' => {
                    let (octet, used) = escape(text.get(at..).unwrap_or_default())?;
                    at += used;
                    octet
                }
                _ => c,
            };
            *octets.get_mut(end).ok_or(NameError::TooLong)? = octet;
            end += 1;
        }
        if end > start + 1 {
            end_label(&mut octets, start, end)?;
            start = end;
        } else if start == 0 {
            return Err(NameError::BadLabel);
        }
        if start >= NAME_MAX {
            return Err(NameError::TooLong);
        }
        Name::from_wire(octets.get(..=start).ok_or(NameError::TooLong)?)
    }
}

/// Writes the length octet of the label that begins at `start` and ends before `end`.
fn end_label(octets: &mut [u8; NAME_MAX], start: usize, end: usize) -> Result<(), NameError> {
    let length = end - start - 1;
    if length == 0 || length > LABEL_MAX {
        return Err(NameError::BadLabel);
    }
    *octets.get_mut(start).ok_or(NameError::TooLong)? =
        u8::try_from(length).map_err(|_| NameError::BadLabel)?;
    Ok(())
}

/// Reads an escape after its backslash: the octet that it stands for, and how many octets it takes.
fn escape(rest: &[u8]) -> Result<(u8, usize), NameError> {
    match rest {
        [a, b, c, ..] if a.is_ascii_digit() && b.is_ascii_digit() && c.is_ascii_digit() => {
            let value = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
            Ok((u8::try_from(value).map_err(|_| NameError::BadEscape)?, 3))
        }
        [a, ..] if !a.is_ascii_digit() => Ok((*a, 1)),
        _ => Err(NameError::BadEscape),
    }
}

impl fmt::Display for Name {
    /// Writes presentation form with the final dot. Octets that are not printable ASCII or have a
    /// meaning there are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        if self.is_root() {
            return f.write_char('.');
        }
        for label in self.labels() {
            for &octet in label {
                match octet {
                    b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => {
                        write!(f, "\\{}", char::from(octet))?
                    }
                    0x21..=0x7e => f.write_char(char::from(octet))?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            f.write_char('.')?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.as_wire() == other.as_wire()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Name) -> Ordering {
        self.as_wire().cmp(other.as_wire())
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_wire().hash(state);
    }
}
