//! DNS over TLS (RFC 7858): many queries on one connection, told apart by their message ids.

use crate::error::{Error, Phase};
use crate::event::{Event, Events, Freshness, Limits, Received, Refused};
use crate::shared::Shared;
use crate::tls::{self, Tls};
use hither_net::frame::Framer;
use hither_wire::message::Message;
use std::io::{self, Read, Write};
use std::time::Duration;

/// Octets of a DNS message's header.
pub(crate) const HEADER_OCTETS: usize = 12;
/// The option of EDNS by which a server says how long it keeps an idle connection (RFC 7828, section 3).
const TCP_KEEPALIVE: u16 = 11;
/// That option with a value of two octets, as it begins on the wire.
const TCP_KEEPALIVE_HEAD: [u8; 4] = [0, 11, 0, 2];

/// A connection to an upstream that speaks DNS over TLS. A channel is the message id, of 16 bits.
///
/// The caller takes all events after each call of `receive` or `end`, and then calls `transmit`, also
/// when the session has closed: an alert may have to be sent.
#[derive(Debug)]
pub struct DotSession {
    tls: Tls,
    framer: Framer,
    events: Events,
    idle: Option<Duration>,
}

impl DotSession {
    /// Begins a connection; [`DotSession::transmit`] has the first octets.
    ///
    /// # Errors
    /// [`Error::Internal`] if the TLS library cannot begin.
    pub fn new(shared: &Shared) -> Result<DotSession, Error> {
        let tls = Tls::new(shared)?;
        Ok(DotSession { tls, framer: Framer::default(), events: Events::default(), idle: None })
    }

    /// Reads from the upstream's stream, at most 64 KiB.
    ///
    /// # Errors
    /// Those of `stream` except `WouldBlock`. The connection is then lost.
    pub fn receive(&mut self, stream: &mut dyn Read) -> io::Result<Received> {
        let received = tls::read(stream, &mut |octets| self.receive_octets(octets))?;
        if received == Received::End {
            self.end();
        }
        Ok(received)
    }

    /// Processes octets of the upstream's stream. `false` when the connection has ended.
    pub fn receive_octets(&mut self, octets: &[u8]) -> bool {
        if self.events.is_closed() {
            return false;
        }
        let framer = &mut self.framer;
        let mut messages = Vec::new();
        let received = self.tls.receive(octets, &mut |plain| {
            framer.push(plain);
            while let Some(message) = framer.message() {
                messages.push(message.to_vec());
            }
        });
        match self.tls.ready() {
            Some(Ok(ready)) => self.events.push(Event::Ready(ready)),
            Some(Err(error)) => self.events.push(Event::Closed(error)),
            None => {}
        }
        for message in messages {
            self.message(message);
        }
        if let Err(error) = received {
            self.events.push(Event::Closed(error));
        } else if self.tls.has_peer_closed() {
            self.end();
        }
        !self.events.is_closed()
    }

    fn message(&mut self, octets: Vec<u8>) {
        if octets.len() < HEADER_OCTETS {
            self.events.push(Event::Closed(Error::ShortMessage(octets.len())));
            self.tls.close();
            return;
        }
        let idle = keepalive(&octets);
        let channel = u64::from(u16::from_be_bytes([octets[0], octets[1]]));
        self.events.push(Event::Response { channel, octets, freshness: Freshness::default() });
        if idle.is_some() && idle != self.idle {
            self.idle = idle;
            self.events.push(Event::Limits(Limits { streams_max: None, idle }));
        }
    }

    /// The stream has ended or broke.
    pub fn end(&mut self) {
        self.events.push(Event::Closed(Error::Ended(self.tls.phase())));
    }

    /// Queues a query with `channel` as its message id.
    ///
    /// # Errors
    /// [`Refused`]; nothing of the query is sent then.
    pub fn query(&mut self, channel: u64, octets: &[u8]) -> Result<(), Refused> {
        let (Ok(length), Ok(id)) = (u16::try_from(octets.len()), u16::try_from(channel)) else {
            return Err(Refused::Unfit);
        };
        let rest = octets.get(2..).filter(|_| octets.len() >= HEADER_OCTETS).ok_or(Refused::Unfit)?;
        if self.events.is_closed() {
            return Err(Refused::NotReady);
        }
        if self.tls.capacity() < octets.len() + 2 {
            return Err(Refused::Full);
        }
        let waiting = self.tls.waiting();
        waiting.extend(length.to_be_bytes());
        waiting.extend(id.to_be_bytes());
        waiting.extend(rest);
        Ok(())
    }

    /// Whether [`DotSession::transmit`] has something to write.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.tls.wants_write()
    }

    /// Writes until the stream takes no more; returns how many octets it took. Queries are sent only after
    /// the handshake.
    ///
    /// # Errors
    /// Those of `stream` except `WouldBlock`. The connection is then lost.
    pub fn transmit(&mut self, stream: &mut dyn Write) -> io::Result<usize> {
        self.tls.transmit(stream)
    }

    /// Closes the connection in order; [`DotSession::transmit`] sends the last octets.
    pub fn close(&mut self) {
        self.tls.close();
        self.events.push(Event::Closed(Error::Closed));
    }

    /// The next event, in the order in which they happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Whether the handshake is still going on.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.tls.phase() == Phase::Handshake
    }
}

/// The idle time that a response states (RFC 7828, section 3.1), which is in units of 100 ms. The
/// message is read only if it may hold the option.
fn keepalive(octets: &[u8]) -> Option<Duration> {
    if !octets.windows(TCP_KEEPALIVE_HEAD.len()).any(|window| window == TCP_KEEPALIVE_HEAD) {
        return None;
    }
    let message = Message::read(octets).ok()?;
    let (_, value) = message.edns()?.options().find(|(code, _)| *code == TCP_KEEPALIVE)?;
    let units = u16::from_be_bytes(value.try_into().ok()?);
    Some(Duration::from_millis(u64::from(units) * 100))
}
