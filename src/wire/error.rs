//! The errors of reading a message.

use crate::codes::Rtype;
use crate::name::NameError;
use core::fmt;

/// Why a message cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WireError {
    /// It ends before what its counts and lengths promise.
    Short,
    /// A name in it is broken.
    Name(NameError),
    /// It has more than one question.
    Questions,
    /// The RDATA of a record of this type has a wrong form.
    Rdata(Rtype),
    /// It has a second OPT record, one that is not at the root, or outside the additional section.
    Opt,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("the message is cut off"),
            Self::Name(error) => write!(f, "a name is broken: {error}"),
            Self::Questions => f.write_str("it has more than one question"),
            Self::Rdata(rtype) => write!(f, "the data of a {rtype} record has a wrong form"),
            Self::Opt => f.write_str("the OPT record is misplaced or doubled"),
        }
    }
}

impl core::error::Error for WireError {}

impl From<NameError> for WireError {
    fn from(error: NameError) -> WireError {
        WireError::Name(error)
    }
}
