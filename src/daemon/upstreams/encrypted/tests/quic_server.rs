//! A server of DNS over QUIC, in a thread of its own.

use super::retry::retried;
use bytes::BytesMut;
use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::{Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, StreamId};
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Starts a server, and returns its address. It ends with the process.
pub fn start(config: Arc<rustls::ServerConfig>, respond: fn(&[u8]) -> Vec<u8>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("bound");
    let crypto = QuicServerConfig::try_from(config).expect("TLS 1.3");
    let config = quinn_proto::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), Some(Arc::new(config)), false, None);
    let mut server = Server { socket, endpoint, connections: BTreeMap::new(), respond };
    std::thread::spawn(move || server.run());
    address
}

struct Server {
    socket: UdpSocket,
    endpoint: Endpoint,
    connections: BTreeMap<ConnectionHandle, Served>,
    respond: fn(&[u8]) -> Vec<u8>,
}

struct Served {
    connection: Connection,
    queries: BTreeMap<StreamId, Vec<u8>>,
}

impl Server {
    fn run(&mut self) {
        let mut buffer = vec![0; 65_535];
        loop {
            let due =
                self.connections.values_mut().filter_map(|served| served.connection.poll_timeout()).min();
            let wait = due.map_or(Duration::from_secs(60), |at| at.saturating_duration_since(Instant::now()));
            let wait = wait.max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(wait)).expect("an option");
            if let Ok((length, from)) = retried(|| self.socket.recv_from(&mut buffer)) {
                self.take(from, &buffer[..length]);
            }
            self.work();
        }
    }

    fn take(&mut self, from: SocketAddr, datagram: &[u8]) {
        let (now, mut answer) = (Instant::now(), Vec::new());
        match self.endpoint.handle(now, from, None, None, BytesMut::from(datagram), &mut answer) {
            Some(DatagramEvent::NewConnection(incoming)) => {
                if let Ok((handle, connection)) = self.endpoint.accept(incoming, now, &mut answer, None) {
                    self.connections.insert(handle, Served { connection, queries: BTreeMap::new() });
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

    fn work(&mut self) {
        let now = Instant::now();
        for (handle, served) in &mut self.connections {
            served.connection.handle_timeout(now);
            while let Some(event) = served.connection.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(*handle, event) {
                    served.connection.handle_event(event);
                }
            }
            while served.connection.poll().is_some() {}
            served.answer(self.respond);
            let mut datagram = Vec::new();
            while let Some(transmit) = served.connection.poll_transmit(now, 1, &mut datagram) {
                let _ = self.socket.send_to(&datagram, transmit.destination);
                datagram.clear();
            }
        }
        self.connections.retain(|_, served| !served.connection.is_drained());
    }
}

impl Served {
    fn answer(&mut self, respond: fn(&[u8]) -> Vec<u8>) {
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
            let Some(query) = self.queries.remove(&id).filter(|query| query.len() >= 14) else {
                continue;
            };
            let response = respond(&query[2..]);
            let length = u16::try_from(response.len()).expect("a DNS message").to_be_bytes();
            let mut stream = self.connection.send_stream(id);
            let _ = stream.write(&[&length[..], &response].concat());
            let _ = stream.finish();
        }
    }
}
