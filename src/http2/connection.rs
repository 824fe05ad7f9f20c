//! The connection: requests go out, and the state of all streams.

mod receiving;

use crate::error::{Error, ErrorCode, Fault, Refused};
use crate::frame::{self, Reader, flag, kind};
use crate::settings::{self, Settings};
use crate::stream::Stream;
use crate::window::Window;
use crate::{BODY_MAX, CONNECTION_WINDOW, Config, Event, FRAME_MAX, Request, StreamId, hpack};
use std::collections::{BTreeMap, VecDeque};

/// The octets that a client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The window of a connection before WINDOW_UPDATE (section 6.9.2).
const WINDOW_INITIAL: u32 = 65_535;
/// The largest identifier of a stream (section 5.1.1).
const STREAM_MAX: u32 = 0x7fff_ffff;
/// Octets that wait for [`Connection::transmit`], beyond which nothing is added that can wait.
const OUTPUT_MAX: usize = 64 * 1024;
/// Octets of the header fields of a request.
const REQUEST_FIELDS_MAX: usize = 8 * 1024;

/// The client's side of a connection.
///
/// The order of calls: any number of [`receive`](Self::receive), [`request`](Self::request) and
/// [`cancel`](Self::cancel), after each of them [`poll_event`](Self::poll_event) until it returns
/// `None`, and [`transmit`](Self::transmit) whenever the socket takes octets.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    state: State,
    /// The server's settings.
    settings: Settings,
    reader: Reader,
    /// A header section of which more has to come.
    section: Option<Section>,
    /// What header sections refer to.
    table: hpack::Table,
    streams: BTreeMap<u32, Stream>,
    /// The identifier of the next stream.
    next: u32,
    outgoing: Outgoing,
    /// The server's window for the connection.
    window: Window,
    events: VecDeque<Event>,
    patience: Patience,
}

/// Whether requests may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The server's SETTINGS have not arrived. Requests may be made.
    Opening,
    /// Requests may be made.
    Ready,
    /// GOAWAY has arrived: open streams go on.
    Draining,
    /// GOAWAY has been sent: nothing goes on.
    Ended,
}

/// The beginning of a header section.
#[derive(Debug)]
struct Section {
    stream: u32,
    ends_stream: bool,
    octets: Vec<u8>,
}

/// Frames on their way to the server.
#[derive(Debug)]
struct Outgoing {
    octets: Vec<u8>,
    /// Our window for the connection.
    window: i64,
    /// Streams whose request has not been sent completely, in order. Some may have ended.
    unfinished: VecDeque<u32>,
}

/// How many more frames a server may send that bring no response nearer.
#[derive(Debug)]
struct Patience(u32);

impl Patience {
    const INITIAL: Self = Self(1000);
    const MAX: u32 = 10_000;
    /// What a DATA frame of ours adds. A server may return its octets to both windows at once.
    const PIECE: u32 = 2;
    /// What a response adds. A server may send PINGs meanwhile.
    const RESPONSE: u32 = 100;
    /// What a cancelled stream adds. Its response may be on its way, in several frames.
    const CANCEL: u32 = 16;

    fn earn(&mut self, frames: u32) {
        self.0 = (self.0 + frames).min(Self::MAX);
    }
}

impl Connection {
    /// A new connection, whose preface waits for [`transmit`](Self::transmit).
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut octets = PREFACE.to_vec();
        frame::write(kind::SETTINGS, 0, 0, &settings::ours(&config), &mut octets);
        let increment = CONNECTION_WINDOW - WINDOW_INITIAL;
        frame::write(kind::WINDOW_UPDATE, 0, 0, &increment.to_be_bytes(), &mut octets);
        Self {
            config,
            state: State::Opening,
            settings: Settings::INITIAL,
            reader: Reader::default(),
            section: None,
            table: hpack::Table::default(),
            streams: BTreeMap::new(),
            next: 1,
            outgoing: Outgoing { octets, window: i64::from(WINDOW_INITIAL), unfinished: VecDeque::new() },
            window: Window::new(CONNECTION_WINDOW),
            events: VecDeque::new(),
            patience: Patience::INITIAL,
        }
    }

    /// Makes a request on a stream of its own.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn request(&mut self, request: &Request<'_>) -> Result<StreamId, Refused> {
        match self.state {
            State::Opening | State::Ready if self.next <= STREAM_MAX => {}
            State::Opening | State::Ready | State::Draining => return Err(Refused::Draining),
            State::Ended => return Err(Refused::Closed),
        }
        if !is_sendable(request) {
            return Err(Refused::Unsendable);
        }
        if self.streams.len() >= self.streams_max() as usize {
            return Err(Refused::Full);
        }
        if self.outgoing.octets.len() >= OUTPUT_MAX {
            return Err(Refused::Unsent);
        }
        let stream = self.next;
        self.next += 2;
        let mut section = Vec::with_capacity(128 + request.authority.len() + request.path.len());
        hpack::encode(request, stream == 1, &mut section);
        let ends = if request.body.is_empty() { flag::END_STREAM } else { 0 };
        frame::write(kind::HEADERS, flag::END_HEADERS | ends, stream, &section, &mut self.outgoing.octets);
        self.streams.insert(stream, Stream::new(request.body));
        if !request.body.is_empty() {
            self.outgoing.unfinished.push_back(stream);
            self.send_bodies();
        }
        Ok(StreamId(stream))
    }

    /// Ends a stream whose response is no longer needed. Without effect on a stream that has ended.
    pub fn cancel(&mut self, stream: StreamId) {
        if self.remove(stream.0).is_some() {
            self.send_reset(stream.0, ErrorCode::CANCEL);
            self.patience.earn(Patience::CANCEL);
        }
    }

    /// Ends the connection with all its streams, and queues GOAWAY. Streams have no further events.
    pub fn close(&mut self) {
        self.end(ErrorCode::NO_ERROR);
    }

    /// Takes out the oldest event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Appends octets for the server, at most some 80 KiB at once; none if there are none.
    pub fn transmit(&mut self, out: &mut Vec<u8>) {
        self.send_bodies();
        out.append(&mut self.outgoing.octets);
    }

    /// How many streams are open.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// How many streams may be open at once.
    #[must_use]
    pub fn streams_max(&self) -> u32 {
        self.settings.streams_max.min(self.config.streams_max)
    }

    /// Whether the connection has ended. Octets may still wait for [`transmit`](Self::transmit).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Ended
    }

    /// Moves as much of requests' bodies to the output as windows allow.
    fn send_bodies(&mut self) {
        for _ in 0..self.outgoing.unfinished.len() {
            if self.outgoing.window <= 0 || self.outgoing.octets.len() >= OUTPUT_MAX {
                return;
            }
            let Some(id) = self.outgoing.unfinished.pop_front() else { return };
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let pieces = self.outgoing.send_body(id, stream, self.settings.initial_window);
            self.patience.earn(pieces * Patience::PIECE);
            if !stream.unsent().is_empty() {
                self.outgoing.unfinished.push_back(id);
            }
        }
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        frame::write(kind, flags, stream, payload, &mut self.outgoing.octets);
    }

    fn send_reset(&mut self, stream: u32, code: ErrorCode) {
        self.send(kind::RST_STREAM, 0, stream, &code.0.to_be_bytes());
    }

    /// Removes a stream, and returns what it held of the connection's window.
    fn remove(&mut self, id: u32) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        self.free(stream.held());
        if !stream.unsent().is_empty() {
            self.outgoing.unfinished.retain(|unfinished| *unfinished != id);
        }
        Some(stream)
    }

    /// Returns octets to the server's window for the connection.
    fn free(&mut self, octets: u32) {
        if let Some(increment) = self.window.free(octets) {
            self.send(kind::WINDOW_UPDATE, 0, 0, &increment.to_be_bytes());
        }
    }

    /// Resets a stream because of its response.
    fn reset(&mut self, id: u32, fault: Fault) {
        if self.remove(id).is_some() {
            self.send_reset(id, fault.code());
            self.events.push_back(Event::Reset {
                stream: StreamId(id),
                code: fault.code(),
                fault: Some(fault),
                may_retry: false,
            });
        }
    }

    fn end(&mut self, code: ErrorCode) {
        if self.state != State::Ended {
            self.state = State::Ended;
            self.streams.clear();
            self.outgoing.unfinished.clear();
            self.section = None;
            self.reader = Reader::default();
            // The server has opened no stream.
            let last = 0_u32.to_be_bytes();
            self.send(kind::GOAWAY, 0, 0, &[last, code.0.to_be_bytes()].concat());
        }
    }

    /// Ends the connection because of an error.
    fn fail(&mut self, error: Error) -> Error {
        self.end(error.code());
        error
    }
}

impl Outgoing {
    /// Sends the body of a request as far as windows allow, and returns in how many frames.
    fn send_body(&mut self, id: u32, stream: &mut Stream, initial_window: u32) -> u32 {
        let mut pieces = 0;
        while !stream.unsent().is_empty() {
            let window = self.window.min(stream.send_window(initial_window)).max(0);
            let length = stream.unsent().len().min(FRAME_MAX).min(window as usize);
            if length == 0 {
                break;
            }
            let ends = if length == stream.unsent().len() { flag::END_STREAM } else { 0 };
            frame::write(kind::DATA, ends, id, &stream.unsent()[..length], &mut self.octets);
            stream.note_sent(length);
            self.window -= length as i64;
            pieces += 1;
        }
        pieces
    }
}

/// Whether a request fits into a HEADERS frame, and has fields without spaces and control characters.
fn is_sendable(request: &Request<'_>) -> bool {
    let fields = [request.authority, request.path, request.accept];
    fields.iter().all(|field| !field.is_empty() && field.bytes().all(|octet| octet.is_ascii_graphic()))
        && fields.iter().map(|field| field.len()).sum::<usize>() <= REQUEST_FIELDS_MAX
        && request.path.starts_with('/')
        && request.body.len() <= BODY_MAX
}
