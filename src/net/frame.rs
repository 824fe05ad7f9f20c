//! DNS over a stream: each message behind two octets of length (RFC 1035 section 4.2.2, RFC 7766). No sockets here.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

/// Octets read at once.
const READ: usize = 16 * 1024;

/// Takes a stream apart into messages.
#[derive(Debug, Default)]
pub struct Framer {
    octets: Vec<u8>,
    at: usize,
}

impl Framer {
    /// Reads once from `stream`. Returns how many octets came; 0 is the end of the stream.
    ///
    /// # Errors
    /// As `stream` says; `WouldBlock` when nothing is there.
    pub fn fill(&mut self, stream: &mut impl Read) -> io::Result<usize> {
        self.octets.drain(..self.at);
        self.at = 0;
        let start = self.octets.len();
        self.octets.resize(start + READ, 0);
        let result = stream.read(&mut self.octets[start..]);
        self.octets.truncate(start + result.as_ref().copied().unwrap_or(0));
        result
    }

    /// Adds octets.
    pub fn push(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    /// The next whole message. What is kept is bounded by the caller: it takes all messages out between two reads.
    pub fn message(&mut self) -> Option<&[u8]> {
        let rest = self.octets.get(self.at..)?;
        let length = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
        let end = self.at + 2 + length;
        let message = self.octets.get(self.at + 2..end)?;
        self.at = end;
        Some(message)
    }

    /// Whether part of a message has come.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.at < self.octets.len()
    }
}

/// Messages on their way into a stream, in a bounded number of octets.
#[derive(Debug)]
pub struct Outbox {
    octets: VecDeque<u8>,
    bound: usize,
}

impl Outbox {
    /// An empty one that holds at most `bound` octets.
    #[must_use]
    pub fn new(bound: usize) -> Outbox {
        Outbox { octets: VecDeque::new(), bound }
    }

    /// Queues a message; `false` when the bound is reached or it is longer than 65535 octets.
    pub fn queue(&mut self, message: &[u8]) -> bool {
        let Ok(length) = u16::try_from(message.len()) else { return false };
        if self.octets.len() + message.len() + 2 > self.bound {
            return false;
        }
        self.octets.extend(length.to_be_bytes());
        self.octets.extend(message);
        true
    }

    /// Writes until the stream takes no more.
    ///
    /// # Errors
    /// As `stream` says, `WouldBlock` excepted.
    pub fn write_to(&mut self, stream: &mut impl Write) -> io::Result<()> {
        while !self.octets.is_empty() {
            let (front, _) = self.octets.as_slices();
            match stream.write(front) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => drop(self.octets.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether everything has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_however_the_stream_is_cut() {
        let messages: Vec<Vec<u8>> = [0, 1, 12, 300, 65535, 2].iter().map(|n| vec![*n as u8; *n]).collect();
        let mut outbox = Outbox::new(1 << 20);
        assert!(messages.iter().all(|m| outbox.queue(m)));
        let mut stream = Vec::new();
        outbox.write_to(&mut stream).expect("memory takes everything");
        for cut in [1, 2, 3, 7, 1000, 70_000] {
            let (mut framer, mut seen) = (Framer::default(), Vec::new());
            for piece in stream.chunks(cut) {
                assert!(framer.fill(&mut io::Cursor::new(&[][..])).is_ok());
                framer.push(piece);
                while let Some(message) = framer.message() {
                    seen.push(message.to_vec());
                }
            }
            assert_eq!(seen, messages, "cut every {cut}");
            assert!(!framer.is_partial());
        }
    }

    #[test]
    fn an_outbox_is_bounded() {
        let mut outbox = Outbox::new(100);
        assert!(outbox.queue(&[0; 90]) && !outbox.queue(&[0; 10]) && outbox.queue(&[0; 6]));
        assert!(!Outbox::new(usize::MAX).queue(&vec![0; 65536]));
    }
}
