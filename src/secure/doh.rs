//! DNS over HTTPS (RFC 8484): each query is a POST on a stream of its own, by HTTP/2 over TLS.

mod connection;
mod headers;
mod http2;

use crate::dot::HEADER_OCTETS;
use crate::error::{Error, Phase, shortened};
use crate::event::{Event, Events, Limits, Reason, Received, Refused};
use crate::shared::Shared;
use crate::tls::{self, Tls};
use hither_http2::Connection;
pub use http2::{Http2, HttpEvent, HttpHeaders, HttpRequest, HttpResponse};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};

/// The media type of a DNS message (RFC 8484, section 6).
const MEDIA_TYPE: &str = "application/dns-message";
/// The status of a response that holds a DNS message. Redirects are not followed.
const OK: u16 = 200;
/// Octets of the largest DNS message.
const MESSAGE_OCTETS_MAX: usize = 65_535;

/// A connection to an upstream that speaks DNS over HTTPS. A channel is any number that the caller has not
/// used on this connection; later queries have greater ones.
///
/// The caller takes all events after each call of `receive` or `end`, and then calls `transmit`, also
/// when the session has closed: an alert may have to be sent.
#[derive(Debug)]
pub struct DohSession<H = Connection> {
    tls: Tls,
    http: H,
    /// The channel of each outstanding stream.
    channels: BTreeMap<u32, u64>,
    events: Events,
    is_draining: bool,
    /// Whether HTTP/2 may have octets to send.
    may_have_octets: bool,
}

impl DohSession {
    /// Begins a connection; [`DohSession::transmit`] has the first octets.
    ///
    /// # Errors
    /// [`Error::Internal`] if the TLS library cannot begin.
    pub fn new(shared: &Shared) -> Result<DohSession, Error> {
        DohSession::with_http(shared, Connection::new(hither_http2::Config::default()))
    }
}

impl<H: Http2> DohSession<H> {
    /// As [`DohSession::new`], with another implementation of HTTP/2. `http` is a new connection.
    ///
    /// # Errors
    /// [`Error::Internal`] if the TLS library cannot begin.
    pub fn with_http(shared: &Shared, http: H) -> Result<DohSession<H>, Error> {
        let tls = Tls::new(shared)?;
        let (channels, events) = (BTreeMap::new(), Events::default());
        Ok(DohSession { tls, http, channels, events, is_draining: false, may_have_octets: true })
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
        self.may_have_octets = true;
        let (http, mut broken) = (&mut self.http, None);
        let received = self.tls.receive(octets, &mut |plain| {
            if broken.is_none() {
                broken = http.receive(plain).err();
            }
        });
        match self.tls.ready() {
            Some(Ok(ready)) => self.events.push(Event::Ready(ready)),
            Some(Err(error)) => self.events.push(Event::Closed(error)),
            None => {}
        }
        while let Some(event) = self.http.poll_event() {
            self.http_event(event);
        }
        if let Some(detail) = broken {
            // The last octets of HTTP/2 say why.
            self.http.transmit(self.tls.waiting());
            self.tls.close();
            self.events.push(Event::Closed(Error::Http(shortened(&detail))));
        } else if let Err(error) = received {
            self.events.push(Event::Closed(error));
        } else if self.tls.has_peer_closed() {
            self.end();
        }
        !self.events.is_closed()
    }

    fn http_event(&mut self, event: HttpEvent) {
        match event {
            HttpEvent::Limits { streams_max } => {
                self.events.push(Event::Limits(Limits { streams_max: Some(streams_max), idle: None }));
            }
            HttpEvent::Response { stream, response } => {
                if let Some(channel) = self.channels.remove(&stream) {
                    self.events.push(event_of(channel, response));
                }
            }
            HttpEvent::Reset { stream, code, may_retry, is_too_large } => {
                if let Some(channel) = self.channels.remove(&stream) {
                    let reason = if is_too_large { Reason::Size } else { Reason::Stream(u64::from(code)) };
                    self.events.push(Event::Reset { channel, may_retry, reason });
                }
            }
            HttpEvent::GoAway { last } => {
                // The caller sends these again elsewhere.
                drop(self.channels.split_off(&last.saturating_add(1)));
                self.is_draining = true;
                self.events.push(Event::Drain { last: self.channels.values().copied().max() });
            }
        }
    }

    /// The stream has ended or broke.
    pub fn end(&mut self) {
        self.events.push(Event::Closed(Error::Ended(self.tls.phase())));
    }

    /// Queues a query, with 0 as its message id (RFC 8484, section 4.1).
    ///
    /// # Errors
    /// [`Refused`]; nothing of the query is sent then.
    pub fn query(&mut self, channel: u64, octets: &[u8]) -> Result<(), Refused> {
        let fits = (HEADER_OCTETS..=MESSAGE_OCTETS_MAX).contains(&octets.len());
        let rest = octets.get(2..).filter(|_| fits).ok_or(Refused::Unfit)?;
        if self.events.is_closed() || self.is_draining {
            return Err(Refused::NotReady);
        }
        let body = [&[0; 2], rest].concat();
        let policy = &self.tls.shared().policy;
        let request =
            HttpRequest { authority: &policy.authority, path: &policy.path, body: &body, accept: MEDIA_TYPE };
        let stream = self.http.request(&request)?;
        self.channels.insert(stream, channel);
        self.may_have_octets = true;
        Ok(())
    }

    /// Gives up the query on this channel. No event follows for it.
    pub fn cancel(&mut self, channel: u64) {
        let found =
            self.channels.iter().find(|(_, of_stream)| **of_stream == channel).map(|(stream, _)| *stream);
        if let Some(stream) = found {
            self.channels.remove(&stream);
            self.http.cancel(stream);
            self.may_have_octets = true;
        }
    }

    /// Whether [`DohSession::transmit`] has something to write.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.tls.wants_write() || (self.may_transmit_http() && self.may_have_octets)
    }

    /// Writes until the stream takes no more; returns how many octets it took. Queries are sent only after
    /// the handshake.
    ///
    /// # Errors
    /// Those of `stream` except `WouldBlock`. The connection is then lost.
    pub fn transmit(&mut self, stream: &mut dyn Write) -> io::Result<usize> {
        // What the stream does not take keeps HTTP/2 from producing more.
        if self.may_transmit_http() && self.tls.capacity() >= MESSAGE_OCTETS_MAX {
            self.http.transmit(self.tls.waiting());
            self.may_have_octets = false;
        }
        self.tls.transmit(stream)
    }

    fn may_transmit_http(&self) -> bool {
        self.tls.is_ready() && !self.events.is_closed()
    }

    /// Closes the connection in order; [`DohSession::transmit`] sends the last octets.
    pub fn close(&mut self) {
        if self.may_transmit_http() {
            self.http.close();
            self.http.transmit(self.tls.waiting());
        }
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

/// What a response of HTTP says to the query on this channel.
fn event_of(channel: u64, response: HttpResponse) -> Event {
    let HttpResponse { status, headers, body } = response;
    let reason = if status != OK {
        Reason::Status(status, headers::retry_after(&headers))
    } else if !headers::is_of_type(&headers, MEDIA_TYPE) {
        Reason::ContentType
    } else if !(HEADER_OCTETS..=MESSAGE_OCTETS_MAX).contains(&body.len()) {
        Reason::Size
    } else {
        return Event::Response { channel, octets: body, freshness: headers::freshness(&headers) };
    };
    // The upstream has processed the query, so another connection to it would bring the same.
    Event::Reset { channel, may_retry: false, reason }
}
