//! Receiving from the sockets of attempts: datagrams one by one, messages of a TCP connection together.

use super::{Line, Upstreams};
use crate::daemon::sources::Slot;
use hither_net::frame::{Framer, Outbox};
use hither_rounds::{AttemptId, Failure};
use mio::net::TcpStream;
use std::io::ErrorKind;

/// Messages taken from one socket in one turn; one is expected.
pub(crate) const MESSAGES_PER_TURN_MAX: usize = 16;
/// Octets taken from one connection in one turn: two messages of the greatest length.
const OCTETS_PER_TURN_MAX: usize = 2 * 65_537;

/// A message or an error that a UDP socket has received.
#[derive(Debug)]
pub(crate) enum Received {
    /// A message of this length, for this attempt or an earlier one on the same socket.
    Message(AttemptId, usize),
    /// The socket reports an error for its attempt.
    Failed(AttemptId, Failure),
}

/// The messages or the failure that a TCP connection has received.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub attempt: AttemptId,
    pub messages: Vec<Vec<u8>>,
    pub failed: Option<Failure>,
    /// There may be more to read at once.
    pub more: bool,
}

impl Upstreams {
    /// Receives one message into `buffer`. `None`: there is no more for now.
    pub fn receive(&mut self, slot: Slot, buffer: &mut [u8]) -> Option<Received> {
        let socket = self.sockets.get_mut(slot.key).filter(|socket| socket.generation == slot.generation)?;
        let Line::Udp(line) = &mut socket.line else { return None };
        loop {
            return match line.socket.recv(buffer) {
                Ok(len) => {
                    line.attempt_of(&buffer[..len]).or(socket.attempt).map(|id| Received::Message(id, len))
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                Err(error) => {
                    // The attempt has ended, so the error is ignored.
                    let Some(attempt) = socket.attempt else { continue };
                    let refused = error.kind() == ErrorKind::ConnectionRefused;
                    let failure = if refused { Failure::Refused } else { Failure::Unreachable };
                    Some(Received::Failed(attempt, failure))
                }
            };
        }
    }

    /// Whether an attempt uses this socket.
    pub fn is_busy(&self, slot: Slot) -> bool {
        self.sockets.get(slot.key).is_some_and(|s| s.generation == slot.generation && s.attempt.is_some())
    }

    /// Reads and writes a TCP connection. `None`: the socket is no connection, or is closed.
    pub fn converse(&mut self, slot: Slot) -> Option<Conversation> {
        let socket = self.sockets.get_mut(slot.key).filter(|socket| socket.generation == slot.generation)?;
        let Line::Tcp { stream, framer, outbox, connected } = &mut socket.line else { return None };
        let mut messages = Vec::new();
        let result = converse(stream, framer, outbox, connected, &mut messages);
        let (more, failed) = result.map_or_else(|failure| (false, Some(failure)), |more| (more, None));
        Some(Conversation { attempt: socket.attempt?, messages, failed, more })
    }
}

fn converse(
    stream: &mut TcpStream,
    framer: &mut Framer,
    outbox: &mut Outbox,
    connected: &mut bool,
    messages: &mut Vec<Vec<u8>>,
) -> Result<bool, Failure> {
    if !*connected {
        if let Ok(Some(error)) = stream.take_error() {
            return Err(match error.kind() {
                ErrorKind::ConnectionRefused => Failure::Refused,
                // The connection was established, and has ended meanwhile.
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Failure::Closed,
                _ => Failure::Unreachable,
            });
        }
        if stream.peer_addr().is_err() {
            return Ok(false);
        }
        *connected = true;
    }
    outbox.write_to(stream).map_err(|_| Failure::Closed)?;
    let mut taken = 0;
    while taken < OCTETS_PER_TURN_MAX {
        match framer.fill(stream) {
            Ok(0) => return Err(Failure::Closed),
            Ok(octets) => {
                taken += octets;
                while let Some(message) = framer.message() {
                    messages.push(message.to_vec());
                }
                if messages.len() > MESSAGES_PER_TURN_MAX {
                    return Err(Failure::Closed);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Failure::Closed),
        }
    }
    Ok(true)
}
