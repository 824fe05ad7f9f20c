//! A session of DNS over QUIC and a server of quinn-proto, connected in memory.

use crate::support::{Identity, Server, TLS13_ALONE};
use bytes::BytesMut;
use hither_secure::{Anchor, DoqSession, Error, Event, Ready, Shared};
use hither_table::Monotonic;
use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::{
    Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, ServerConfig, StreamId,
    TransportConfig, VarInt,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A session and its server, with a clock that the test moves.
pub struct Pair {
    pub session: DoqSession,
    server: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    /// Datagrams of the server that belong to no connection: a refusal of the first datagram.
    replies: Vec<Vec<u8>>,
    start: Instant,
    pub now: Monotonic,
    pub events: Vec<Event>,
    /// What the server has received on each stream that has ended.
    pub queries: BTreeMap<StreamId, Vec<u8>>,
    /// Datagrams to the session that are lost from now on.
    pub lost: usize,
}

pub fn client() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 9], 40_000))
}

pub fn upstream() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 853))
}

pub fn config(identity: &Identity, alpn: &[u8], streams_max: u32) -> Arc<ServerConfig> {
    let server = Server { versions: &TLS13_ALONE, alpn: vec![alpn.to_vec()], ..Server::default() };
    let crypto = QuicServerConfig::try_from(server.config(identity)).expect("TLS 1.3");
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(VarInt::from_u32(streams_max));
    config.transport_config(Arc::new(transport));
    Arc::new(config)
}

impl Pair {
    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made from a number")]
    pub fn new(shared: &Shared, config: &Arc<ServerConfig>) -> Pair {
        let (start, now) = (Instant::now(), Monotonic::from_ms(5_000));
        let anchor = Anchor::new(start, now);
        Pair {
            session: DoqSession::new(shared, upstream(), anchor, now).expect("a session"),
            server: Endpoint::new(Arc::new(EndpointConfig::default()), Some(Arc::clone(config)), false, None),
            connection: None,
            replies: Vec::new(),
            start,
            now,
            events: Vec::new(),
            queries: BTreeMap::new(),
            lost: 0,
        }
    }

    pub fn instant(&self) -> Instant {
        self.start + self.now.since(Monotonic::from_ms(5_000))
    }

    /// Carries datagrams both ways until both sides are silent.
    pub fn run(&mut self) -> &mut Pair {
        for _ in 0..200 {
            let mut datagram = Vec::new();
            let mut is_silent = true;
            while self.session.transmit(self.now, &mut datagram).is_some() {
                is_silent = false;
                self.serve(&datagram);
            }
            let answers = self.answers();
            is_silent &= answers.is_empty();
            for datagram in answers {
                if self.lost > 0 {
                    self.lost -= 1;
                    continue;
                }
                self.session.receive(self.now, upstream(), &datagram);
                self.events.extend(std::iter::from_fn(|| self.session.poll_event()));
            }
            if is_silent {
                return self;
            }
        }
        panic!("the two sides never come to rest");
    }

    fn serve(&mut self, datagram: &[u8]) {
        let now = self.instant();
        let mut answer = Vec::new();
        match self.server.handle(now, client(), None, None, BytesMut::from(datagram), &mut answer) {
            Some(DatagramEvent::NewConnection(incoming)) => {
                match self.server.accept(incoming, now, &mut answer, None) {
                    Ok(connection) => self.connection = Some(connection),
                    Err(refusal) => assert!(refusal.response.is_some(), "{}", refusal.cause),
                }
            }
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut self.connection {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::Response(_)) | None => {}
        }
        self.replies.extend(Some(answer).filter(|answer| !answer.is_empty()));
    }

    /// Lets time pass for both sides.
    pub fn wait(&mut self, time: Duration) -> &mut Pair {
        self.now = self.now.plus(time);
        self.session.handle_timeout(self.now);
        let now = self.instant();
        self.server().handle_timeout(now);
        self.run()
    }

    fn answers(&mut self) -> Vec<Vec<u8>> {
        let now = self.instant();
        let mut datagrams = std::mem::take(&mut self.replies);
        let Some((handle, connection)) = &mut self.connection else { return datagrams };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.server.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        while connection.poll().is_some() {}
        while let Some(id) = connection.streams().accept(Dir::Bi) {
            self.queries.insert(id, Vec::new());
        }
        for (id, query) in &mut self.queries {
            let mut stream = connection.recv_stream(*id);
            if let Ok(mut chunks) = stream.read(true) {
                while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
                    query.extend_from_slice(&chunk.bytes);
                }
                let _ = chunks.finalize();
            }
        }
        let mut datagram = Vec::new();
        while connection.poll_transmit(now, 1, &mut datagram).is_some() {
            datagrams.push(std::mem::take(&mut datagram));
        }
        datagrams
    }

    pub fn server(&mut self) -> &mut Connection {
        &mut self.connection.as_mut().expect("a connection").1
    }

    /// Sends octets on the stream of a query and ends it.
    pub fn respond(&mut self, id: StreamId, octets: &[u8]) {
        self.server().send_stream(id).write(octets).expect("taken");
        self.server().send_stream(id).finish().expect("open");
    }

    pub fn ready(&self) -> Option<&Ready> {
        self.events.iter().find_map(|event| if let Event::Ready(ready) = event { Some(ready) } else { None })
    }

    pub fn error(&self) -> Option<&Error> {
        self.events.iter().find_map(|event| if let Event::Closed(error) = event { Some(error) } else { None })
    }

    /// The stream of the query that arrived as the `nth`.
    pub fn stream(&self, nth: usize) -> StreamId {
        *self.queries.keys().nth(nth).expect("a stream")
    }
}
