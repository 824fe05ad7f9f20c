//! Errors: of a connection, of one response, and of a request that cannot be made.

use crate::hpack;
use std::fmt;

/// A code of RST_STREAM and GOAWAY (RFC 9113, section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// The connection or stream ends without an error.
    pub const NO_ERROR: Self = Self(0);
    /// The other side broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// The other side sent more than its window allows.
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    /// A frame arrived after the end of its stream.
    pub const STREAM_CLOSED: Self = Self(5);
    /// A frame has a wrong length.
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    /// The request was not processed.
    pub const REFUSED_STREAM: Self = Self(7);
    /// The response is no longer needed.
    pub const CANCEL: Self = Self(8);
    /// A header section cannot be decoded.
    pub const COMPRESSION_ERROR: Self = Self(9);
    /// The other side makes too much work.
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        match usize::try_from(self.0).ok().and_then(|code| NAMES.get(code)) {
            Some(name) => f.write_str(name),
            None => write!(f, "error code {:#x}", self.0),
        }
    }
}

/// Frames that are allowed one by one, but of which a server sent too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    /// Frames that bring no response nearer: SETTINGS, PING, empty DATA, frames of ended streams.
    Useless,
    /// A header section that is longer than [`crate::Config::header_list_max`], encoded or decoded.
    HeaderSection,
    /// Settings in one SETTINGS frame.
    Settings,
    /// Frames that we have to acknowledge, while the server does not read.
    Unread,
}

/// An error that ends a connection. GOAWAY with its code has been queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The first octets are not a SETTINGS frame.
    NotHttp2,
    /// A frame is longer than [`crate::FRAME_MAX`].
    FrameTooLarge(usize),
    /// A frame of this type has a length that its type does not allow.
    FrameLength(u8),
    /// A frame of this type belongs to a stream that it cannot belong to.
    FrameStream(u8),
    /// The padding of a frame is longer than the frame.
    Padding,
    /// Another frame stands within a header section.
    BrokenHeaderSection,
    /// A setting has a value that RFC 9113, section 6.5.2, does not allow.
    Setting(u16),
    /// A window became too large, or was exceeded.
    Window,
    /// The server pushes, although SETTINGS forbade it.
    Push,
    /// A header section cannot be decoded.
    Hpack(hpack::Error),
    /// Too many frames of one kind.
    Flood(Flood),
    /// An earlier error, or [`crate::Connection::close`], has ended the connection.
    Closed,
}

impl Error {
    /// The code that GOAWAY carries.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotHttp2
            | Self::FrameStream(_)
            | Self::Padding
            | Self::BrokenHeaderSection
            | Self::Push => ErrorCode::PROTOCOL_ERROR,
            Self::FrameTooLarge(_) | Self::FrameLength(_) => ErrorCode::FRAME_SIZE_ERROR,
            Self::Setting(crate::settings::INITIAL_WINDOW_SIZE) | Self::Window => {
                ErrorCode::FLOW_CONTROL_ERROR
            }
            Self::Setting(_) => ErrorCode::PROTOCOL_ERROR,
            Self::Hpack(_) => ErrorCode::COMPRESSION_ERROR,
            Self::Flood(_) => ErrorCode::ENHANCE_YOUR_CALM,
            Self::Closed => ErrorCode::NO_ERROR,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHttp2 => f.write_str("the server does not speak HTTP/2"),
            Self::FrameTooLarge(length) => {
                write!(f, "the server sent a frame of {length} octets; {} are allowed", crate::FRAME_MAX)
            }
            Self::FrameLength(kind) => write!(f, "a frame of type {kind} has a wrong length"),
            Self::FrameStream(kind) => write!(f, "a frame of type {kind} belongs to a wrong stream"),
            Self::Padding => f.write_str("the padding of a frame is longer than the frame"),
            Self::BrokenHeaderSection => f.write_str("a header section is not sent in one piece"),
            Self::Setting(id) => write!(f, "setting {id} has a value that is not allowed"),
            Self::Window => f.write_str("a flow-control window is exceeded or too large"),
            Self::Push => f.write_str("the server pushes a response that was not requested"),
            Self::Hpack(error) => write!(f, "a header section cannot be decoded: {error}"),
            Self::Flood(Flood::Useless) => f.write_str("the server sends too many frames without a use"),
            Self::Flood(Flood::HeaderSection) => f.write_str("a header section is too long"),
            Self::Flood(Flood::Settings) => f.write_str("a SETTINGS frame has too many settings"),
            Self::Flood(Flood::Unread) => {
                f.write_str("the server asks for acknowledgements, and does not read them")
            }
            Self::Closed => f.write_str("the connection has ended"),
        }
    }
}

impl std::error::Error for Error {}

/// The fault of one response. Its stream was reset; the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A status is missing, not a number, or not the only pseudo-header field.
    Status,
    /// A header field has a name or a value that RFC 9113, section 8.2, does not allow.
    Field,
    /// DATA before the header section, or a header section after which the response does not end.
    Order,
    /// The body has more than [`crate::BODY_MAX`] octets.
    BodyTooLarge,
    /// The body has not the length that `content-length` states.
    ContentLength,
    /// A WINDOW_UPDATE of zero, or one that makes the window too large.
    Window,
}

impl Fault {
    /// The code that RST_STREAM carries.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::BodyTooLarge => ErrorCode::CANCEL,
            Self::Window => ErrorCode::FLOW_CONTROL_ERROR,
            Self::Status | Self::Field | Self::Order | Self::ContentLength => ErrorCode::PROTOCOL_ERROR,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status => "the response has no valid status",
            Self::Field => "a header field of the response is malformed",
            Self::Order => "the parts of the response are in a wrong order",
            Self::BodyTooLarge => "the body of the response is longer than 65535 octets",
            Self::ContentLength => "the body of the response has not the length that content-length states",
            Self::Window => "the server made the window of the request zero or too large",
        })
    }
}

/// Why a request was not made. Nothing of it has been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// As many streams are open as server and configuration allow.
    Full,
    /// The octets of earlier requests have not been taken out by [`crate::Connection::transmit`].
    Unsent,
    /// The server takes no new requests, or the numbers of streams are used up.
    Draining,
    /// The connection has ended.
    Closed,
    /// The body or a header field is too long, or a header field has a control character.
    Unsendable,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "no stream is free",
            Self::Unsent => "earlier requests have not been sent",
            Self::Draining => "the connection takes no new requests",
            Self::Closed => "the connection has ended",
            Self::Unsendable => "the request is too long or has a control character",
        })
    }
}

impl std::error::Error for Refused {}
