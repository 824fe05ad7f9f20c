//! One stream: a request whose body may wait for the server's window, and the response so far.

use crate::error::{Error, Fault};
use crate::head::{self, Head, Unusable};
use crate::hpack::Table;
use crate::settings::{STREAM_WINDOW, WINDOW_MAX};
use crate::window::Window;
use crate::{BODY_MAX, Config, Response, StreamId};

/// How far the response of a stream is after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More has to come.
    Partial,
    /// The response is complete, and the server has ended the stream.
    Complete,
    /// The response is complete as far as it matters: its body is dropped, and is too long.
    Sufficient,
}

/// A request and its response.
#[derive(Debug)]
pub struct Stream {
    /// The body of the request, and how many octets of it were sent.
    request: Vec<u8>,
    sent: usize,
    /// Our window, as a difference to the initial window of the server's settings, which change for all
    /// streams at once (RFC 9113, section 6.9.2).
    send_offset: i64,
    /// The server's window.
    window: Window,
    head: Option<Head>,
    body: Vec<u8>,
    /// Octets of the body that arrived, kept or dropped.
    received: usize,
}

impl Stream {
    /// A stream whose header section has been sent, with the body of its request.
    pub fn new(request: &[u8]) -> Self {
        Self {
            request: request.to_vec(),
            sent: 0,
            send_offset: 0,
            window: Window::new(STREAM_WINDOW),
            head: None,
            body: Vec::new(),
            received: 0,
        }
    }

    /// The rest of the request.
    pub fn unsent(&self) -> &[u8] {
        &self.request[self.sent..]
    }

    /// Octets that the server's window for this stream allows; negative after it became smaller.
    pub fn send_window(&self, initial: u32) -> i64 {
        i64::from(initial) + self.send_offset
    }

    /// Takes note that the next `octets` of the request have been sent.
    pub fn note_sent(&mut self, octets: usize) {
        self.sent += octets;
        self.send_offset -= octets as i64;
    }

    /// The server lets us send more.
    ///
    /// # Errors
    /// [`Fault::Window`] for none, or more than a window may have.
    pub fn widen(&mut self, increment: u32, initial: u32) -> Result<(), Fault> {
        self.send_offset += i64::from(increment);
        let is_allowed = increment > 0 && self.send_window(initial) <= WINDOW_MAX;
        is_allowed.then_some(()).ok_or(Fault::Window)
    }

    /// Octets of the connection's window that this stream holds.
    pub fn held(&self) -> u32 {
        self.body.len() as u32
    }

    /// Applies a header section.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub fn headers(
        &mut self,
        section: &[u8],
        ends: bool,
        table: &mut Table,
        config: &Config,
    ) -> Result<Progress, Unusable> {
        if self.head.is_some() {
            head::check_trailers(section, table, config)?;
            return if ends { Ok(self.complete()?) } else { Err(Fault::Order.into()) };
        }
        let head = Head::read(section, table, config)?;
        if head.status < 200 {
            return if ends { Err(Fault::Order.into()) } else { Ok(Progress::Partial) };
        }
        if head.is_success() && head.headers.content_length.is_some_and(|length| length > BODY_MAX as u64) {
            return Err(Fault::BodyTooLarge.into());
        }
        self.head = Some(head);
        if ends { Ok(self.complete()?) } else { Ok(Progress::Partial) }
    }

    /// Takes `octets` from the window of this stream.
    ///
    /// # Errors
    /// [`Error::Window`] if the server had to wait.
    pub fn take(&mut self, octets: u32) -> Result<(), Error> {
        self.window.take(octets)
    }

    /// Returns octets that were not kept, and an increment of the window that the server is to know of.
    pub fn free(&mut self, octets: u32) -> Option<u32> {
        self.window.free(octets)
    }

    /// Applies a piece of the body.
    ///
    /// # Errors
    /// A fault of the response.
    pub fn data(&mut self, octets: &[u8], ends: bool) -> Result<Progress, Fault> {
        let is_kept = self.head.as_ref().ok_or(Fault::Order)?.is_success();
        self.received += octets.len();
        if self.received > BODY_MAX {
            return if is_kept { Err(Fault::BodyTooLarge) } else { Ok(Progress::Sufficient) };
        }
        if is_kept {
            self.body.extend_from_slice(octets);
        }
        if ends { self.complete() } else { Ok(Progress::Partial) }
    }

    fn complete(&self) -> Result<Progress, Fault> {
        let stated = self.head.as_ref().and_then(|head| head.headers.content_length);
        let is_right = stated.is_none_or(|length| length == self.received as u64);
        is_right.then_some(Progress::Complete).ok_or(Fault::ContentLength)
    }

    /// The response, whose header section has arrived.
    pub fn into_response(self, stream: StreamId) -> Option<Response> {
        let Head { status, headers } = self.head?;
        Some(Response { stream, status, headers, body: self.body })
    }
}
