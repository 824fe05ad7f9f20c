//! DNS over QUIC (RFC 9250): each query on a stream of its own, over one UDP socket per connection.

mod framing;
mod stream;

use crate::certificate::Validity;
use crate::dot::HEADER_OCTETS;
use crate::error::{Error, Phase, shortened};
use crate::event::{Event, Events, Freshness, Limits, Ready, Reason, Refused};
use crate::policy::Scheme;
use crate::shared::Shared;
use bytes::{Bytes, BytesMut};
use hither_table::Monotonic;
use quinn_proto::crypto::rustls::{HandshakeData, QuicClientConfig};
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionHandle, DatagramEvent, Dir, Endpoint,
    EndpointConfig, IdleTimeout, StreamEvent, StreamId, TransportConfig, VarInt,
};
use rustls::pki_types::CertificateDer;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stream::{Outcome, Stream};

/// Nothing is wrong (RFC 9250, section 8.4).
const DOQ_NO_ERROR: u32 = 0;
/// The upstream broke the rules of DNS over QUIC.
const DOQ_PROTOCOL_ERROR: u32 = 2;
/// The query has no client any more.
const DOQ_REQUEST_CANCELLED: u32 = 3;
/// The time without a datagram after which QUIC gives up, in milliseconds.
const IDLE_MS: u32 = 30_000;
/// Octets of responses that the upstream may send before they are read: some of the largest messages.
const RECEIVE_WINDOW: u32 = 1 << 20;
/// Octets of queries that may be unacknowledged.
const SEND_WINDOW: u64 = 1 << 20;
/// Queries that may wait for the upstream to allow more streams.
const WAITING_MAX: usize = 1024;
/// Octets of these queries.
const WAITING_OCTETS_MAX: usize = 1 << 20;

/// A moment on both clocks: that of the house, and the standard library's, which quinn-proto needs.
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    instant: Instant,
    at: Monotonic,
}

impl Anchor {
    /// The caller reads both clocks once; only differences of times count afterwards.
    #[must_use]
    pub fn new(instant: Instant, at: Monotonic) -> Anchor {
        Anchor { instant, at }
    }

    fn instant(&self, now: Monotonic) -> Instant {
        self.instant + now.since(self.at)
    }

    fn monotonic(&self, instant: Instant) -> Monotonic {
        self.at.plus(instant.saturating_duration_since(self.instant))
    }
}

/// A connection to an upstream that speaks DNS over QUIC. A channel is any number that the caller has not
/// used on this connection.
///
/// The caller takes all events after each call of `receive` or `handle_timeout`, then sends all datagrams
/// of `transmit`, and then asks for the next timeout.
#[derive(Debug)]
pub struct DoqSession {
    shared: Shared,
    anchor: Anchor,
    endpoint: Endpoint,
    handle: ConnectionHandle,
    connection: Connection,
    streams: BTreeMap<StreamId, Stream>,
    waiting: VecDeque<(u64, Vec<u8>)>,
    waiting_octets: usize,
    events: Events,
    /// Certificates that were judged while this connection was being processed.
    judged: u64,
    /// The reason for which one was refused.
    refused: Option<Error>,
    is_ready: bool,
}

impl DoqSession {
    /// Begins a connection to `remote`; [`DoqSession::transmit`] has the first datagram.
    ///
    /// # Errors
    /// [`Error::Internal`] if QUIC refuses the settings or the address.
    pub fn new(
        shared: &Shared,
        remote: SocketAddr,
        anchor: Anchor,
        now: Monotonic,
    ) -> Result<DoqSession, Error> {
        let internal = |error: &dyn std::fmt::Display| Error::Internal(shortened(&error.to_string()));
        let crypto =
            QuicClientConfig::try_from(Arc::clone(&shared.config)).map_err(|error| internal(&error))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport()));
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None);
        let name = shared.policy.server_name.to_str();
        let (handle, connection) =
            endpoint.connect(anchor.instant(now), config, remote, &name).map_err(|error| internal(&error))?;
        Ok(DoqSession {
            shared: shared.clone(),
            anchor,
            endpoint,
            handle,
            connection,
            streams: BTreeMap::new(),
            waiting: VecDeque::new(),
            waiting_octets: 0,
            events: Events::default(),
            judged: 0,
            refused: None,
            is_ready: false,
        })
    }

    /// Processes a datagram that came from `from`. Datagrams of no connection are ignored.
    pub fn receive(&mut self, now: Monotonic, from: SocketAddr, datagram: &[u8]) {
        let (now, data) = (self.anchor.instant(now), BytesMut::from(datagram));
        // What QUIC would answer to datagrams of no connection is not sent.
        let mut answer = Vec::new();
        if let Some(DatagramEvent::ConnectionEvent(handle, event)) =
            self.endpoint.handle(now, from, None, None, data, &mut answer)
            && handle == self.handle
        {
            self.verdicts_of(|session| session.connection.handle_event(event));
        }
        self.advance(now);
    }

    /// The time at which [`DoqSession::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&mut self) -> Option<Monotonic> {
        self.connection.poll_timeout().map(|instant| self.anchor.monotonic(instant))
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Monotonic) {
        let now = self.anchor.instant(now);
        self.connection.handle_timeout(now);
        self.advance(now);
    }

    /// The next datagram to send, in `datagram`, which is cleared before; `None` if there is none.
    pub fn transmit(&mut self, now: Monotonic, datagram: &mut Vec<u8>) -> Option<SocketAddr> {
        datagram.clear();
        let transmit = self.connection.poll_transmit(self.anchor.instant(now), 1, datagram)?;
        Some(transmit.destination)
    }

    /// Queues a query on a stream of its own, with 0 as its message id (RFC 9250, section 4.2.1).
    ///
    /// # Errors
    /// [`Refused`]; nothing of the query is sent then.
    pub fn query(&mut self, channel: u64, octets: &[u8]) -> Result<(), Refused> {
        let length = u16::try_from(octets.len()).map_err(|_| Refused::Unfit)?;
        let rest = octets.get(2..).filter(|_| octets.len() >= HEADER_OCTETS).ok_or(Refused::Unfit)?;
        if !self.is_ready || self.events.is_closed() {
            return Err(Refused::NotReady);
        }
        if self.waiting.len() >= WAITING_MAX || self.waiting_octets + octets.len() > WAITING_OCTETS_MAX {
            return Err(Refused::Full);
        }
        let message = [&length.to_be_bytes(), &[0; 2], rest].concat();
        self.waiting_octets += message.len();
        self.waiting.push_back((channel, message));
        self.open_streams();
        Ok(())
    }

    /// Gives up the query on this channel (RFC 9250, section 4.3.1). No event follows for it.
    pub fn cancel(&mut self, channel: u64) {
        let octets =
            |waiting: &VecDeque<(u64, Vec<u8>)>| waiting.iter().map(|(_, message)| message.len()).sum();
        self.waiting.retain(|(waiting, _)| *waiting != channel);
        self.waiting_octets = octets(&self.waiting);
        let found = self.streams.iter().find(|(_, stream)| stream.channel() == channel).map(|(id, _)| *id);
        if let Some(id) = found {
            self.abandon(id, DOQ_REQUEST_CANCELLED);
        }
    }

    /// Closes the connection in order; [`DoqSession::transmit`] has the last datagram.
    pub fn close(&mut self, now: Monotonic) {
        self.connection.close(self.anchor.instant(now), VarInt::from_u32(DOQ_NO_ERROR), Bytes::new());
        self.events.push(Event::Closed(Error::Closed));
    }

    /// The next event, in the order in which they happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// The round-trip time that QUIC measured.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    fn phase(&self) -> Phase {
        if self.is_ready { Phase::Ready } else { Phase::Handshake }
    }

    /// Calls `process`, and keeps the verdicts on certificates that it brought about.
    fn verdicts_of(&mut self, process: impl FnOnce(&mut DoqSession)) {
        if self.is_ready {
            return process(self);
        }
        drop(self.shared.verifier.take_verdicts());
        process(self);
        let verdicts = self.shared.verifier.take_verdicts();
        self.judged += verdicts.count;
        self.refused = verdicts.refused.or(self.refused.take());
    }

    /// Passes on what the connection has to say.
    fn advance(&mut self, now: Instant) {
        loop {
            while let Some(event) = self.connection.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(self.handle, event) {
                    self.verdicts_of(|session| session.connection.handle_event(event));
                }
            }
            let Some(event) = self.connection.poll() else { return };
            match event {
                quinn_proto::Event::Connected => self.connected(now),
                quinn_proto::Event::ConnectionLost { reason } => self.lost(&reason),
                quinn_proto::Event::Stream(StreamEvent::Readable { id }) => self.read(id, now),
                quinn_proto::Event::Stream(StreamEvent::Writable { id }) => self.write(id),
                quinn_proto::Event::Stream(StreamEvent::Stopped { id, error_code }) => {
                    self.fail(id, Reason::Stream(error_code.into_inner()));
                }
                quinn_proto::Event::Stream(StreamEvent::Available { dir: Dir::Bi }) => self.open_streams(),
                quinn_proto::Event::Stream(StreamEvent::Available { .. } | StreamEvent::Opened { .. })
                | quinn_proto::Event::Stream(StreamEvent::Finished { .. })
                | quinn_proto::Event::HandshakeDataReady
                | quinn_proto::Event::DatagramReceived
                | quinn_proto::Event::DatagramsUnblocked => {}
            }
        }
    }

    fn connected(&mut self, now: Instant) {
        let session = self.connection.crypto_session();
        let data = session.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        if data.is_none_or(|data| data.protocol.as_deref() != Some(Scheme::Doq.alpn())) {
            self.events.push(Event::Closed(Error::Protocol("doq")));
            self.connection.close(now, VarInt::from_u32(DOQ_PROTOCOL_ERROR), Bytes::new());
            return;
        }
        let identity = session.peer_identity();
        let certificates = identity.and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
        let certificates = certificates.unwrap_or_default();
        self.is_ready = true;
        self.events.push(Event::Ready(Ready {
            is_resumed: self.judged == 0,
            version: "1.3",
            has_alpn: true,
            expires_s: certificates
                .first()
                .and_then(|leaf| Validity::read(leaf))
                .map(|dates| dates.not_after_s),
            problem: self.shared.problem(&certificates),
            limits: Limits { streams_max: None, idle: None },
        }));
    }

    fn lost(&mut self, reason: &ConnectionError) {
        let phase = self.phase();
        let error = match (self.refused.take(), reason) {
            (Some(refused), _) => refused,
            (None, ConnectionError::TimedOut) => Error::Silent(phase),
            (None, ConnectionError::LocallyClosed) => Error::Closed,
            (None, ConnectionError::Reset) => Error::Ended(phase),
            (None, ConnectionError::ApplicationClosed(close))
                if close.error_code == VarInt::from_u32(DOQ_NO_ERROR) =>
            {
                Error::Ended(phase)
            }
            (None, ConnectionError::VersionMismatch) => {
                Error::Quic("it does not speak version 1 of QUIC".to_owned(), phase)
            }
            (None, ConnectionError::ConnectionClosed(close)) => match alert(u64::from(close.error_code)) {
                Some(alert) => Error::Alert(alert, phase),
                None => Error::Quic(shortened(&close.to_string()), phase),
            },
            (None, other) => Error::Quic(shortened(&other.to_string()), phase),
        };
        self.streams.clear();
        self.waiting.clear();
        self.events.push(Event::Closed(error));
    }

    /// Moves queries that wait to streams, as far as the upstream allows.
    fn open_streams(&mut self) {
        while !self.waiting.is_empty() {
            let Some(id) = self.connection.streams().open(Dir::Bi) else { return };
            let Some((channel, message)) = self.waiting.pop_front() else { return };
            self.waiting_octets -= message.len();
            self.streams.insert(id, Stream::new(channel, message));
            self.write(id);
        }
    }

    fn write(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if !stream.write(&mut self.connection.send_stream(id)) {
            self.fail(id, Reason::Incomplete);
        }
    }

    fn read(&mut self, id: StreamId, now: Instant) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        match stream.read(&mut self.connection.recv_stream(id)) {
            Outcome::Partial => {}
            Outcome::Message(octets) => {
                let channel = stream.channel();
                self.streams.remove(&id);
                if octets[..2] != [0; 2] {
                    // A message id other than 0 ends the connection (RFC 9250, section 4.3.3).
                    let detail = "the message id of a response is not 0".to_owned();
                    self.events.push(Event::Closed(Error::Quic(detail, Phase::Ready)));
                    self.connection.close(now, VarInt::from_u32(DOQ_PROTOCOL_ERROR), Bytes::new());
                    return;
                }
                self.events.push(Event::Response { channel, octets, freshness: Freshness::default() });
            }
            Outcome::Failed(reason) => self.fail(id, reason),
        }
    }

    /// The query of this stream gets no response. It may be sent again: a query of DNS changes nothing.
    fn fail(&mut self, id: StreamId, reason: Reason) {
        if let Some(channel) = self.streams.get(&id).map(Stream::channel) {
            self.abandon(id, DOQ_PROTOCOL_ERROR);
            self.events.push(Event::Reset { channel, may_retry: true, reason });
        }
    }

    /// Forgets a stream, and tells the upstream so where it still cares.
    fn abandon(&mut self, id: StreamId, code: u32) {
        self.streams.remove(&id);
        let code = VarInt::from_u32(code);
        // Both fail only for a stream that has ended, which is what is wanted.
        let _ = self.connection.send_stream(id).reset(code);
        let _ = self.connection.recv_stream(id).stop(code);
    }
}

/// The TLS alert within an error code of QUIC (RFC 9001, section 4.8).
fn alert(code: u64) -> Option<u8> {
    u8::try_from(code.checked_sub(0x100)?).ok()
}

/// The upstream may open no stream, and send only what responses need. No packet is larger than 1200 octets,
/// so no path has to be probed.
fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS))))
        .stream_receive_window(VarInt::from_u32(framing::OCTETS_MAX as u32))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(None)
        .enable_segmentation_offload(false);
    transport
}
