//! An upstream of DNS over TLS or HTTPS, in one thread. Each response is a TLS record of its own, and
//! those that are ready together are written together.

use super::agenda::Agenda;
use super::http2::Http2;
use crate::roles::{Manner, wait_for};
use hither_net::frame::Framer;
use nix::poll::{PollFd, PollFlags};
use rustls::{ServerConfig, ServerConnection};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The protocol inside TLS.
enum Inside {
    Dns(Framer),
    Http(Http2),
}

/// A connection of a client.
struct Served {
    stream: TcpStream,
    tls: ServerConnection,
    inside: Inside,
    queries: u64,
}

/// A response goes to a connection, and there to a stream of HTTP/2.
type To = (u64, u32);

/// Serves until the process ends.
pub fn serve(address: SocketAddr, config: &Arc<ServerConfig>, manner: Manner, is_http: bool) {
    let listener = TcpListener::bind(address).expect("bound");
    listener.set_nonblocking(true).expect("an option");
    let mut all: BTreeMap<u64, Served> = BTreeMap::new();
    let mut agenda: Agenda<To> = Agenda::new(manner);
    let (mut next, mut octets) = (0, vec![0; 65_536]);
    loop {
        for number in ready(&listener, &all, agenda.wait()) {
            let Some(served) = all.get_mut(&number) else { continue };
            if !served.receive(number, &mut octets, &mut agenda) {
                all.remove(&number);
            }
        }
        while let Ok((stream, _)) = listener.accept() {
            all.insert(next, Served::new(stream, config, is_http));
            next += 1;
        }
        let now = Instant::now();
        while let Some(((number, stream), response)) = agenda.due(now) {
            if let Some(served) = all.get_mut(&number) {
                served.respond(stream, response);
            }
        }
        all.retain(|_, served| served.send());
    }
}

/// Waits, and returns the connections that are ready.
fn ready(listener: &TcpListener, all: &BTreeMap<u64, Served>, time: Option<Duration>) -> Vec<u64> {
    let mut fds = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    for served in all.values() {
        let write = if served.tls.wants_write() { PollFlags::POLLOUT } else { PollFlags::empty() };
        fds.push(PollFd::new(served.stream.as_fd(), PollFlags::POLLIN | write));
    }
    wait_for(&mut fds, time);
    let ready = fds[1..].iter().zip(all.keys()).filter(|(fd, _)| fd.any() == Some(true));
    ready.map(|(_, number)| *number).collect()
}

impl Served {
    fn new(stream: TcpStream, config: &Arc<ServerConfig>, is_http: bool) -> Served {
        stream.set_nonblocking(true).expect("an option");
        stream.set_nodelay(true).expect("an option");
        let mut tls = ServerConnection::new(Arc::clone(config)).expect("a connection");
        tls.set_buffer_limit(None);
        let inside = if is_http { Inside::Http(Http2::new()) } else { Inside::Dns(Framer::default()) };
        Served { stream, tls, inside, queries: 0 }
    }

    /// Reads what is there. `false` when the connection is over.
    fn receive(&mut self, number: u64, octets: &mut [u8], agenda: &mut Agenda<To>) -> bool {
        let mut received = match self.stream.read(octets) {
            Ok(0) => return false,
            Ok(count) => &octets[..count],
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        };
        let mut plain = Vec::new();
        while !received.is_empty() {
            if self.tls.read_tls(&mut received).is_err() || self.tls.process_new_packets().is_err() {
                return false;
            }
            let _ = self.tls.reader().read_to_end(&mut plain);
        }
        let Some(queries) = self.queries_in(&plain) else { return false };
        for (stream, query) in queries {
            self.queries += 1;
            if agenda.resets(self.queries) {
                let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
                return false;
            }
            agenda.take((number, stream), &query);
        }
        true
    }

    fn queries_in(&mut self, plain: &[u8]) -> Option<Vec<(u32, Vec<u8>)>> {
        let mut queries = Vec::new();
        match &mut self.inside {
            Inside::Dns(framer) => {
                framer.push(plain);
                while let Some(message) = framer.message() {
                    queries.push((0, message.to_vec()));
                }
            }
            Inside::Http(http) => {
                let mut out = Vec::new();
                if !http.receive(plain, &mut queries, &mut out) {
                    return None;
                }
                self.write(&out);
            }
        }
        Some(queries)
    }

    fn respond(&mut self, stream: u32, response: Vec<u8>) {
        let mut out = Vec::with_capacity(128);
        match &mut self.inside {
            Inside::Dns(_) => {
                out.extend_from_slice(&(response.len() as u16).to_be_bytes());
                out.extend_from_slice(&response);
            }
            Inside::Http(http) => http.respond(stream, response, &mut out),
        }
        self.write(&out);
    }

    /// Encrypts octets as a record.
    fn write(&mut self, octets: &[u8]) {
        if !octets.is_empty() {
            self.tls.writer().write_all(octets).expect("without a limit all is taken");
        }
    }

    /// Sends what waits, as far as the socket takes it. `false` when the connection is over.
    fn send(&mut self) -> bool {
        while self.tls.wants_write() {
            if let Err(error) = self.tls.write_tls(&mut self.stream) {
                return error.kind() == std::io::ErrorKind::WouldBlock;
            }
        }
        true
    }
}
