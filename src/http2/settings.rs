//! Settings (RFC 9113, section 6.5): ours, and those of the server.

use crate::Config;
use crate::error::{Error, Flood};

/// Identifiers of settings (section 6.5.2).
const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
pub const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;

/// Settings that one frame may have. Six are defined by RFC 9113, and few more by others.
const SETTINGS_MAX: usize = 64;
/// Octets that the server may send on one stream. More than a body may have, so that a body that is too
/// large is seen, and not only waited for; and a quarter more, which may wait to be returned.
pub const STREAM_WINDOW: u32 = 96 * 1024;

/// The largest window (section 6.9.1).
pub const WINDOW_MAX: i64 = 0x7fff_ffff;

/// The settings of the server that matter for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Streams that may be open at once.
    pub streams_max: u32,
    /// Octets that we may send on a new stream.
    pub initial_window: u32,
}

impl Settings {
    /// Those in force until the server sends others.
    pub const INITIAL: Self = Self { streams_max: crate::STREAMS_BEFORE_SETTINGS, initial_window: 65_535 };

    /// Applies a SETTINGS frame. Settings that it does not have stay as they are, but for the number
    /// of streams in the first one: without it there is no limit (section 6.5.2).
    ///
    /// # Errors
    /// A value that is not allowed, or too many settings.
    pub fn apply(&mut self, payload: &[u8], is_first: bool) -> Result<(), Error> {
        if is_first {
            self.streams_max = u32::MAX;
        }
        if payload.len() > SETTINGS_MAX * 6 {
            return Err(Error::Flood(Flood::Settings));
        }
        for &[id_high, id_low, ref value @ ..] in payload.as_chunks::<6>().0 {
            let (id, value) = (u16::from_be_bytes([id_high, id_low]), u32::from_be_bytes(*value));
            match id {
                MAX_CONCURRENT_STREAMS => self.streams_max = value,
                INITIAL_WINDOW_SIZE if i64::from(value) <= WINDOW_MAX => self.initial_window = value,
                // A server must not turn push on, and a frame is at least 16384 octets long.
                INITIAL_WINDOW_SIZE => return Err(Error::Setting(id)),
                ENABLE_PUSH if value != 0 => return Err(Error::Setting(id)),
                MAX_FRAME_SIZE if !(16_384..1 << 24).contains(&value) => return Err(Error::Setting(id)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The payload of our SETTINGS: no dynamic table (which some servers do not heed), no push, the window of
/// a stream, and the largest header section.
pub fn ours(config: &Config) -> Vec<u8> {
    let settings = [
        (HEADER_TABLE_SIZE, 0),
        (ENABLE_PUSH, 0),
        (INITIAL_WINDOW_SIZE, STREAM_WINDOW),
        (MAX_HEADER_LIST_SIZE, config.header_list_max),
    ];
    let mut payload = Vec::with_capacity(settings.len() * 6);
    for (id, value) in settings {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    payload
}
