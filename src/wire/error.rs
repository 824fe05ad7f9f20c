//! The errors of reading a message.

use crate::codes::Rtype;
use crate::name::NameError;
use core::fmt;

/// Why a message cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WireError {
    /// The message ends before the octets that its counts and lengths announce.
    Short,
    /// A name in the message cannot be read.
    Name(NameError),
    /// The message has more than one question.
    Questions,
    /// The RDATA of a record of this type has a wrong form.
    Rdata(Rtype),
    /// The message has a second OPT record, or one that is not owned by the root or not in the
    /// additional section.
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
