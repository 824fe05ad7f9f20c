//! Frames (RFC 9113, sections 4 and 6): split from the stream, read, and written.

use crate::FRAME_MAX;
use crate::error::{Error, ErrorCode};

/// Octets of a frame before its payload.
const HEADER_LENGTH: usize = 9;
/// Octets of capacity that the reader keeps between two frames.
const IDLE_CAPACITY_MAX: usize = 1024;

/// Types of frames (section 6).
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames. A bit's meaning depends on the type.
pub mod flag {
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 0x20;
}

/// The first nine octets of a frame.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Header {
    /// The header at the start of `octets`; `None` if more octets are needed.
    fn read(octets: &[u8]) -> Option<Self> {
        let octets = octets.first_chunk::<HEADER_LENGTH>()?;
        let [a, b, c, kind, flags, stream @ ..] = *octets;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        Some(Self { length, kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff })
    }

    /// The type of the frame.
    pub fn kind(&self) -> u8 {
        self.kind
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Splits the stream into frames. Holds at most one frame.
#[derive(Debug, Default)]
pub struct Reader {
    /// The beginning of a frame.
    partial: Vec<u8>,
    /// `partial` is a complete frame, which has been given out.
    is_done: bool,
    /// A frame has been read.
    has_begun: bool,
}

impl Reader {
    /// Takes the next frame from the start of `rest`, or all of `rest` if it has no complete one.
    ///
    /// # Errors
    /// [`Error::FrameTooLarge`], before the payload is stored; [`Error::NotHttp2`] if the first frame
    /// is not SETTINGS (section 3.4).
    pub fn next<'s, 'a: 's>(&'s mut self, rest: &mut &'a [u8]) -> Result<Option<(Header, &'s [u8])>, Error> {
        if self.is_done {
            self.is_done = false;
            self.partial.clear();
            self.partial.shrink_to(IDLE_CAPACITY_MAX);
        }
        if self.partial.is_empty()
            && let Some(header) = Header::read(rest)
        {
            self.check(&header)?;
            if let Some((frame, after)) = rest.split_at_checked(HEADER_LENGTH + header.length) {
                *rest = after;
                return Ok(Some((header, &frame[HEADER_LENGTH..])));
            }
        }
        self.gather(rest, HEADER_LENGTH);
        let Some(header) = Header::read(&self.partial) else { return Ok(None) };
        self.check(&header)?;
        self.gather(rest, HEADER_LENGTH + header.length);
        self.is_done = self.partial.len() == HEADER_LENGTH + header.length;
        Ok(self.is_done.then_some((header, self.partial.get(HEADER_LENGTH..).unwrap_or_default())))
    }

    fn check(&mut self, header: &Header) -> Result<(), Error> {
        if !self.has_begun && (header.kind, header.flags & flag::ACK, header.stream) != (kind::SETTINGS, 0, 0)
        {
            return Err(Error::NotHttp2);
        }
        self.has_begun = true;
        if header.length > FRAME_MAX { Err(Error::FrameTooLarge(header.length)) } else { Ok(()) }
    }

    /// Moves octets from `rest` until `partial` has `length` octets or `rest` is empty.
    fn gather(&mut self, rest: &mut &[u8], length: usize) {
        let count = length.saturating_sub(self.partial.len()).min(rest.len());
        let (taken, after) = rest.split_at(count);
        self.partial.extend_from_slice(taken);
        *rest = after;
    }
}

/// What a frame says. PRIORITY and types that we do not know say nothing (sections 5.3 and 5.5).
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A piece of a body. `counted` is what it takes from the windows: its octets with the padding.
    Data { stream: u32, octets: &'a [u8], counted: u32, ends_stream: bool },
    /// The beginning of a header section, or all of it.
    Headers { stream: u32, section: &'a [u8], ends_stream: bool, ends_section: bool },
    /// More of a header section.
    Continuation { stream: u32, section: &'a [u8], ends_section: bool },
    /// The server ends a stream.
    Reset { stream: u32, code: ErrorCode },
    /// Settings, six octets each.
    Settings(&'a [u8]),
    /// The server has our settings.
    SettingsAck,
    /// A question that is answered by the same octets.
    Ping([u8; 8]),
    /// The server ends the connection.
    GoAway { last: u32, code: ErrorCode },
    /// We may send more: on a stream, or, if `stream` is 0, in all.
    WindowUpdate { stream: u32, increment: u32 },
    /// A frame without a meaning for us.
    Ignored,
}

impl<'a> Frame<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// A length, a stream or a padding that its type does not allow.
    pub fn read(header: Header, payload: &'a [u8]) -> Result<Self, Error> {
        let Header { kind, stream, .. } = header;
        match kind {
            kind::DATA | kind::HEADERS | kind::RST_STREAM | kind::CONTINUATION if stream == 0 => {
                return Err(Error::FrameStream(kind));
            }
            kind::SETTINGS | kind::PING | kind::GOAWAY if stream != 0 => {
                return Err(Error::FrameStream(kind));
            }
            _ => {}
        }
        let (ends_stream, ends_section) = (header.has(flag::END_STREAM), header.has(flag::END_HEADERS));
        Ok(match kind {
            kind::DATA => {
                let octets = without_padding(header, payload)?;
                Self::Data { stream, octets, counted: header.length as u32, ends_stream }
            }
            kind::HEADERS => {
                let mut section = without_padding(header, payload)?;
                if header.has(flag::PRIORITY) {
                    section = section.get(5..).ok_or(Error::FrameLength(kind))?;
                }
                Self::Headers { stream, section, ends_stream, ends_section }
            }
            kind::CONTINUATION => Self::Continuation { stream, section: payload, ends_section },
            kind::RST_STREAM => Self::Reset { stream, code: ErrorCode(word(kind, payload)?) },
            kind::SETTINGS if header.has(flag::ACK) && payload.is_empty() => Self::SettingsAck,
            kind::SETTINGS if header.has(flag::ACK) || !payload.len().is_multiple_of(6) => {
                return Err(Error::FrameLength(kind));
            }
            kind::SETTINGS => Self::Settings(payload),
            kind::PUSH_PROMISE => return Err(Error::Push),
            kind::PING => {
                let octets = payload.try_into().map_err(|_| Error::FrameLength(kind))?;
                // We send no PING, so an acknowledgement has no meaning.
                if header.has(flag::ACK) { Self::Ignored } else { Self::Ping(octets) }
            }
            kind::GOAWAY => {
                let (last, rest) = payload.split_at_checked(4).ok_or(Error::FrameLength(kind))?;
                let code = rest.get(..4).ok_or(Error::FrameLength(kind))?;
                let last = word(kind, last)? & 0x7fff_ffff;
                Self::GoAway { last, code: ErrorCode(word(kind, code)?) }
            }
            kind::WINDOW_UPDATE => {
                Self::WindowUpdate { stream, increment: word(kind, payload)? & 0x7fff_ffff }
            }
            _ => Self::Ignored,
        })
    }
}

/// A payload of exactly four octets, which are a number.
fn word(kind: u8, payload: &[u8]) -> Result<u32, Error> {
    payload.try_into().map(u32::from_be_bytes).map_err(|_| Error::FrameLength(kind))
}

fn without_padding(header: Header, payload: &[u8]) -> Result<&[u8], Error> {
    if !header.has(flag::PADDED) {
        return Ok(payload);
    }
    let (&padding, rest) = payload.split_first().ok_or(Error::FrameLength(header.kind))?;
    let length = rest.len().checked_sub(usize::from(padding)).ok_or(Error::Padding)?;
    Ok(&rest[..length])
}

/// Appends a frame. `payload` has at most [`FRAME_MAX`] octets.
pub fn write(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    debug_assert!(payload.len() <= FRAME_MAX, "a frame's length is bounded where its payload is made");
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    out.extend(length);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
}
