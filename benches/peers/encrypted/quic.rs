//! An upstream of DNS over QUIC, in one thread.

use super::agenda::Agenda;
use crate::roles::{Manner, wait_for};
use bytes::BytesMut;
use nix::poll::{PollFd, PollFlags};
use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::{
    Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, StreamId, TransportConfig,
};
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Instant;

/// Queries that a connection may have on their way.
const STREAMS: u32 = 1000;
/// Datagrams that are received before responses are sent.
const DATAGRAMS: usize = 64;

/// A response goes to a connection, and there to a stream.
type To = (ConnectionHandle, StreamId);

struct Server {
    socket: UdpSocket,
    endpoint: Endpoint,
    connections: BTreeMap<ConnectionHandle, Served>,
    agenda: Agenda<To>,
}

struct Served {
    connection: Connection,
    queries: BTreeMap<StreamId, Vec<u8>>,
    count: u64,
}

/// Serves until the process ends.
pub fn serve(address: SocketAddr, config: Arc<rustls::ServerConfig>, manner: Manner) {
    let socket = UdpSocket::bind(address).expect("bound");
    socket.set_nonblocking(true).expect("an option");
    let _ = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(8 << 20));
    let crypto = QuicServerConfig::try_from(config).expect("TLS 1.3");
    let mut config = quinn_proto::ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    transport.max_concurrent_bidi_streams(STREAMS.into());
    config.transport_config(Arc::new(transport));
    let endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), Some(Arc::new(config)), false, None);
    let agenda = Agenda::new(manner);
    let mut server = Server { socket, endpoint, connections: BTreeMap::new(), agenda };
    loop {
        server.turn();
    }
}

impl Server {
    fn turn(&mut self) {
        let now = Instant::now();
        let timers = self.connections.values_mut().filter_map(|served| served.connection.poll_timeout());
        let timer = timers.min().map(|at| at.saturating_duration_since(now));
        let time = timer.into_iter().chain(self.agenda.wait()).min();
        wait_for(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], time);
        let mut buffer = [0; 2048];
        for _ in 0..DATAGRAMS {
            let Ok((length, from)) = self.socket.recv_from(&mut buffer) else { break };
            self.take(from, &buffer[..length]);
        }
        let now = Instant::now();
        for (handle, served) in &mut self.connections {
            served.connection.handle_timeout(now);
            while let Some(event) = served.connection.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(*handle, event) {
                    served.connection.handle_event(event);
                }
            }
            while served.connection.poll().is_some() {}
            served.read(*handle, &mut self.agenda);
        }
        while let Some(((handle, stream), response)) = self.agenda.due(now) {
            if let Some(served) = self.connections.get_mut(&handle) {
                served.respond(stream, &response);
            }
        }
        for served in self.connections.values_mut() {
            let mut datagram = Vec::new();
            while let Some(transmit) = served.connection.poll_transmit(now, 1, &mut datagram) {
                let _ = self.socket.send_to(&datagram, transmit.destination);
                datagram.clear();
            }
        }
        self.connections.retain(|_, served| !served.connection.is_drained());
    }

    fn take(&mut self, from: SocketAddr, datagram: &[u8]) {
        let (now, mut answer) = (Instant::now(), Vec::new());
        match self.endpoint.handle(now, from, None, None, BytesMut::from(datagram), &mut answer) {
            Some(DatagramEvent::NewConnection(incoming)) => {
                if let Ok((handle, connection)) = self.endpoint.accept(incoming, now, &mut answer, None) {
                    let served = Served { connection, queries: BTreeMap::new(), count: 0 };
                    self.connections.insert(handle, served);
                }
            }
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(served) = self.connections.get_mut(&handle) {
                    served.connection.handle_event(event);
                }
            }
            Some(DatagramEvent::Response(_)) | None => {}
        }
        if !answer.is_empty() {
            let _ = self.socket.send_to(&answer, from);
        }
    }
}

impl Served {
    fn read(&mut self, handle: ConnectionHandle, agenda: &mut Agenda<To>) {
        while let Some(id) = self.connection.streams().accept(Dir::Bi) {
            self.queries.insert(id, Vec::new());
        }
        let mut ended = Vec::new();
        for (id, query) in &mut self.queries {
            let mut stream = self.connection.recv_stream(*id);
            let Ok(mut chunks) = stream.read(true) else { continue };
            loop {
                match chunks.next(usize::MAX) {
                    Ok(Some(chunk)) => query.extend_from_slice(&chunk.bytes),
                    Ok(None) => break ended.push(*id),
                    Err(_) => break,
                }
            }
            let _ = chunks.finalize();
        }
        for id in ended {
            let Some(query) = self.queries.remove(&id) else { continue };
            self.count += 1;
            if agenda.resets(self.count) {
                self.connection.close(Instant::now(), 1_u32.into(), bytes::Bytes::new());
                return;
            }
            agenda.take((handle, id), query.get(2..).unwrap_or_default());
        }
    }

    fn respond(&mut self, id: StreamId, response: &[u8]) {
        let length = (response.len() as u16).to_be_bytes();
        let mut stream = self.connection.send_stream(id);
        let _ = stream.write(&[&length[..], response].concat());
        let _ = stream.finish();
    }
}
