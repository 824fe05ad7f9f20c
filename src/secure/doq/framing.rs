//! The octets of one stream of DNS over QUIC: a message after two octets of length, then the end (RFC 9250,
//! section 4.2).

/// Octets of the largest message with its length.
pub const OCTETS_MAX: usize = 2 + 65535;

/// What has arrived on a stream so far.
#[derive(Debug, Default)]
pub struct Framing {
    octets: Vec<u8>,
}

impl Framing {
    /// Adds octets. `false` if there are more than a message can have; they are not kept then.
    pub fn push(&mut self, octets: &[u8]) -> bool {
        let fits = self.octets.len() + octets.len() <= OCTETS_MAX;
        if fits {
            self.octets.extend_from_slice(octets);
        }
        fits
    }

    /// The message, at the end of the stream. `None` unless there is exactly one, as long as it says.
    pub fn take_message(&mut self) -> Option<Vec<u8>> {
        let octets = std::mem::take(&mut self.octets);
        let (length, message) = octets.split_first_chunk::<2>()?;
        (usize::from(u16::from_be_bytes(*length)) == message.len()).then(|| message.to_vec())
    }
}
