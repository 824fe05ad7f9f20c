//! One stream of DNS over QUIC: a query out, a response in.

use super::framing::{Framing, OCTETS_MAX};
use crate::dot::HEADER_OCTETS;
use crate::event::Reason;
use quinn_proto::{ReadError, RecvStream, SendStream, WriteError};

/// A query that has a stream.
#[derive(Debug)]
pub(super) struct Stream {
    channel: u64,
    /// Octets of the query that are not yet handed to QUIC.
    unsent: Vec<u8>,
    is_finished: bool,
    received: Framing,
}

/// What reading a stream has brought.
pub(super) enum Outcome {
    /// More has to come.
    Partial,
    /// A DNS message of at least 12 octets.
    Message(Vec<u8>),
    /// No response comes.
    Failed(Reason),
}

impl Stream {
    pub(super) fn new(channel: u64, query: Vec<u8>) -> Stream {
        Stream { channel, unsent: query, is_finished: false, received: Framing::default() }
    }

    pub(super) fn channel(&self) -> u64 {
        self.channel
    }

    /// Hands the query to QUIC, and ends the sending side after it (RFC 9250, section 4.2). `false` if the
    /// stream takes nothing any more.
    pub(super) fn write(&mut self, stream: &mut SendStream<'_>) -> bool {
        while !self.unsent.is_empty() {
            match stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(WriteError::Blocked) => return true,
                Err(WriteError::Stopped(_) | WriteError::ClosedStream) => return false,
            }
        }
        if !self.is_finished {
            self.is_finished = stream.finish().is_ok();
        }
        self.is_finished
    }

    /// Takes what QUIC has received.
    pub(super) fn read(&mut self, stream: &mut RecvStream<'_>) -> Outcome {
        let Ok(mut chunks) = stream.read(true) else { return Outcome::Failed(Reason::Incomplete) };
        let outcome = loop {
            match chunks.next(OCTETS_MAX + 1) {
                Ok(Some(chunk)) if self.received.push(&chunk.bytes) => {}
                Ok(Some(_)) => break Outcome::Failed(Reason::Size),
                Ok(None) => break self.complete(),
                Err(ReadError::Blocked) => break Outcome::Partial,
                Err(ReadError::Reset(code)) => break Outcome::Failed(Reason::Stream(code.into_inner())),
            }
        };
        // Whether a frame has to be sent is known to the connection as well.
        let _ = chunks.finalize();
        outcome
    }

    /// The message of a stream that has ended.
    fn complete(&mut self) -> Outcome {
        match self.received.take_message() {
            Some(message) if message.len() < HEADER_OCTETS => Outcome::Failed(Reason::Size),
            Some(message) => Outcome::Message(message),
            None => Outcome::Failed(Reason::Incomplete),
        }
    }
}
