//! DNS over a stream: each message is preceded by two octets of length (RFC 1035, section 4.2.2, and
//! RFC 7766). No sockets.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};

/// Octets that one call reads.
const READ_MAX: usize = 16 * 1024;
/// Octets of capacity that a buffer without a message keeps for the next one.
const EMPTY_CAPACITY_MAX: usize = 1024;

/// Splits a stream into messages.
#[derive(Debug, Default)]
pub struct Framer {
    octets: Vec<u8>,
    /// The offset after the messages that have been taken out.
    at: usize,
}

impl Framer {
    /// Reads once from `stream`, and returns how many octets were read; 0 is the end of the stream.
    ///
    /// # Errors
    /// The errors of `stream`; `WouldBlock` if it has no data.
    pub fn fill(&mut self, stream: &mut impl Read) -> io::Result<usize> {
        self.free_taken();
        let mut octets = [0; READ_MAX];
        let count = stream.read(&mut octets)?;
        self.push(&octets[..count]);
        Ok(count)
    }

    /// Adds octets of the stream.
    pub fn push(&mut self, octets: &[u8]) {
        self.free_taken();
        self.octets.extend_from_slice(octets);
    }

    /// Frees the memory of messages that have been taken out.
    fn free_taken(&mut self) {
        self.octets.drain(..self.at);
        self.at = 0;
        if self.octets.is_empty() && self.octets.capacity() > EMPTY_CAPACITY_MAX {
            self.octets = Vec::new();
        }
    }

    /// How many octets of memory the buffer takes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.octets.capacity()
    }

    /// Takes out the next complete message. The caller bounds the buffer by taking out all complete
    /// messages between two reads.
    pub fn message(&mut self) -> Option<&[u8]> {
        let rest = self.octets.get(self.at..)?;
        let length = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
        let end = self.at + 2 + length;
        let message = self.octets.get(self.at + 2..end)?;
        self.at = end;
        Some(message)
    }

    /// Whether part of a message was read.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.at < self.octets.len()
    }
}

/// Messages that wait to be written to a stream, in a bounded number of octets.
#[derive(Debug)]
pub struct Outbox {
    octets: VecDeque<u8>,
    octets_max: usize,
}

impl Outbox {
    /// An empty outbox for at most `octets_max` octets.
    #[must_use]
    pub fn new(octets_max: usize) -> Outbox {
        Outbox { octets: VecDeque::new(), octets_max }
    }

    /// Queues a message. `false`: there would be more than `octets_max` octets, or the message has more
    /// than 65535.
    pub fn queue(&mut self, message: &[u8]) -> bool {
        let Ok(length) = u16::try_from(message.len()) else { return false };
        if self.octets.len() + message.len() + 2 > self.octets_max {
            return false;
        }
        self.octets.extend(length.to_be_bytes());
        self.octets.extend(message);
        true
    }

    /// Writes a message, and queues only the octets that the stream does not take at once. `Ok(false)`:
    /// more than `octets_max` octets would be queued, or the message has more than 65535; part of the
    /// message may have been written.
    ///
    /// # Errors
    /// The errors of `stream` except `WouldBlock`.
    pub fn send(&mut self, message: &[u8], stream: &mut impl Write) -> io::Result<bool> {
        let Ok(length) = u16::try_from(message.len()) else { return Ok(false) };
        if !self.octets.is_empty() {
            self.write_to(stream)?;
        }
        if !self.octets.is_empty() {
            return Ok(self.queue(message));
        }
        let length = length.to_be_bytes();
        let taken = loop {
            match stream.write_vectored(&[IoSlice::new(&length), IoSlice::new(message)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        let left = message.len() + 2 - taken;
        if left > self.octets_max {
            return Ok(false);
        }
        self.octets.reserve_exact(left);
        self.octets.extend(length.get(taken..).unwrap_or_default());
        self.octets.extend(message.get(taken.saturating_sub(2)..).unwrap_or_default());
        Ok(true)
    }

    /// Writes until the stream takes no more; returns how many octets it took.
    ///
    /// # Errors
    /// The errors of `stream` except `WouldBlock`.
    pub fn write_to(&mut self, stream: &mut impl Write) -> io::Result<usize> {
        let mut taken = 0;
        while !self.octets.is_empty() {
            let (front, _) = self.octets.as_slices();
            match stream.write(front) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    drop(self.octets.drain(..n));
                    taken += n;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(taken),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.octets.capacity() > EMPTY_CAPACITY_MAX {
            self.octets = VecDeque::new();
        }
        Ok(taken)
    }

    /// How many octets of memory the buffer takes.
    #[must_use]
    pub fn held(&self) -> usize {
        self.octets.capacity()
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
    fn messages_are_complete_however_the_stream_is_cut() {
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

    /// A stream without data.
    struct Silent;

    impl Read for Silent {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    #[test]
    fn memory_of_taken_messages_is_freed_while_no_data_comes() {
        let mut framer = Framer::default();
        framer.push(&[&u16::MAX.to_be_bytes()[..], &[0; 65_535]].concat());
        assert!(framer.message().is_some_and(|message| message.len() == 65_535));
        assert!(framer.fill(&mut Silent).is_err());
        assert!(framer.held() <= EMPTY_CAPACITY_MAX, "{} octets", framer.held());
    }

    /// A stream that takes a number of octets and then blocks.
    struct Slow(Vec<u8>, usize);

    impl Write for Slow {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let count = octets.len().min(self.1);
            if count == 0 && !octets.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.0.extend_from_slice(&octets[..count]);
            self.1 -= count;
            Ok(count)
        }

        fn write_vectored(&mut self, all: &[IoSlice<'_>]) -> io::Result<usize> {
            let octets: Vec<u8> = all.iter().flat_map(|one| one.iter().copied()).collect();
            self.write(&octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_octets_that_a_stream_does_not_take_are_queued() {
        let messages = [vec![1; 300], vec![], vec![2; 65_535], vec![3; 7]];
        let whole: Vec<u8> =
            messages.iter().flat_map(|m| [&(m.len() as u16).to_be_bytes()[..], m].concat()).collect();
        for takes in [0, 1, 2, 3, 301, 302, 303, 304, 305, 40_000, whole.len() - 1, whole.len()] {
            let (mut outbox, mut stream) = (Outbox::new(1 << 20), Slow(Vec::new(), takes));
            assert!(messages.iter().all(|m| outbox.send(m, &mut stream).expect("no error")));
            assert_eq!(stream.0.len(), takes);
            assert_eq!(outbox.is_empty(), takes == whole.len());
            assert!(outbox.held() <= 2 * (whole.len() - takes), "{}", outbox.held());
            stream.1 = usize::MAX;
            assert_eq!(outbox.write_to(&mut stream).expect("no error"), whole.len() - takes);
            assert_eq!(
                (stream.0 == whole, outbox.held() <= EMPTY_CAPACITY_MAX),
                (true, true),
                "{takes} at once"
            );
        }
        let (mut outbox, mut stream) = (Outbox::new(100), Slow(Vec::new(), 50));
        assert!(
            outbox.send(&[0; 148], &mut stream).expect("no error"),
            "50 octets are written, 100 are queued"
        );
        assert!(!outbox.send(&[], &mut stream).expect("no error"));
    }

    #[test]
    fn an_outbox_is_bounded() {
        let mut outbox = Outbox::new(100);
        assert!(outbox.queue(&[0; 90]) && !outbox.queue(&[0; 10]) && outbox.queue(&[0; 6]));
        assert!(!Outbox::new(usize::MAX).queue(&vec![0; 65536]));
    }
}
