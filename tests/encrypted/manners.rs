//! A server of DNS over TLS with bad manners, in threads of its own.

use crate::seven;
use crate::support::{answer, retried};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// What a server does with each connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// So many octets are sent, and then nothing.
    Octets(usize),
    /// So many flights are sent, and then nothing. The second of TLS 1.3 has the tickets.
    Flights(usize),
    /// Queries are read, and not answered.
    Mute,
    /// The first query is answered under another id, with another address, and the connection ends.
    OtherId,
    /// Each answer is sent twice, the second time with another address.
    Twice,
    /// Queries that come together are answered in the opposite order.
    Backwards,
    /// Octets are sent one by one.
    OneByOne,
    /// The connection ends after each answer.
    EndsAfterEach,
    /// The sending side is shut after the handshake, and queries are read.
    HalfClosed,
    /// The connection is reset by the first query.
    Resets,
    /// The connection ends within the first answer.
    HalfAnswer,
    /// The first answer is too short for a message.
    Short,
    /// Something else than DNS or HTTP/2 is said after the handshake.
    Chatters,
}

/// Starts a server, and returns its address. It ends with the process.
pub fn start(config: Arc<ServerConfig>, manner: Manner) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        while let Ok((stream, _)) = retried(|| listener.accept()) {
            let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            // A client may end its connection at any time.
            std::thread::spawn(move || drop(serve(stream, connection, manner)));
        }
    });
    address
}

/// A stream that writes within the bounds of a manner. At the bound it reads until the client goes.
struct Pipe {
    stream: TcpStream,
    /// Octets that are written at a time.
    piece: usize,
    octets_left: usize,
    flights_left: usize,
    is_writing: bool,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.is_writing = false;
        self.stream.read(buffer)
    }
}

impl Write for Pipe {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if !std::mem::replace(&mut self.is_writing, true) {
            match self.flights_left.checked_sub(1) {
                Some(left) => self.flights_left = left,
                None => self.octets_left = 0,
            }
        }
        let count = octets.len().min(self.piece).min(self.octets_left);
        if count == 0 {
            io::copy(&mut self.stream, &mut io::sink())?;
            return Err(ErrorKind::ConnectionAborted.into());
        }
        self.octets_left -= count;
        self.stream.write_all(&octets[..count]).map(|()| count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Tls = StreamOwned<ServerConnection, Pipe>;

fn serve(stream: TcpStream, connection: ServerConnection, manner: Manner) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let raw = stream.try_clone()?;
    let piece = if manner == Manner::OneByOne { 1 } else { usize::MAX };
    let octets_left = if let Manner::Octets(most) = manner { most } else { usize::MAX };
    let flights_left = if let Manner::Flights(most) = manner { most } else { usize::MAX };
    let pipe = Pipe { stream, piece, octets_left, flights_left, is_writing: false };
    let mut tls = StreamOwned::new(connection, pipe);
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock)?;
    }
    match manner {
        Manner::HalfClosed => {
            tls.conn.send_close_notify();
            tls.flush()?;
            raw.shutdown(Shutdown::Write)?;
            return io::copy(&mut &raw, &mut io::sink()).map(drop);
        }
        Manner::Chatters => {
            tls.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
            return io::copy(&mut &raw, &mut io::sink()).map(drop);
        }
        _ => {}
    }
    loop {
        let queries = queries(&mut tls)?;
        if !answer_all(&mut tls, &queries, manner)? {
            break;
        }
    }
    if manner == Manner::Resets {
        return socket2::SockRef::from(&raw).set_linger(Some(Duration::ZERO));
    }
    tls.conn.send_close_notify();
    tls.flush()?;
    raw.shutdown(Shutdown::Both)
}

/// The next queries: one, and those that came with it.
fn queries(tls: &mut Tls) -> io::Result<Vec<Vec<u8>>> {
    let mut queries = Vec::new();
    loop {
        let mut length = [0; 2];
        tls.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        tls.read_exact(&mut query)?;
        queries.push(query);
        let state = tls.conn.process_new_packets().map_err(io::Error::other)?;
        if state.plaintext_bytes_to_read() == 0 {
            return Ok(queries);
        }
    }
}

/// Answers queries. `false` when the connection ends.
fn answer_all(tls: &mut Tls, queries: &[Vec<u8>], manner: Manner) -> io::Result<bool> {
    let framed = |message: &[u8]| {
        let length = u16::try_from(message.len()).expect("a DNS message").to_be_bytes();
        [&length[..], message].concat()
    };
    let wrong = |query: &[u8]| answer(query, &[66], 300);
    let first = &queries[0];
    let (octets, goes_on) = match manner {
        Manner::Mute => (Vec::new(), true),
        Manner::Resets => (Vec::new(), false),
        Manner::OtherId => {
            let mut message = wrong(first);
            message[0] ^= 0x55;
            (framed(&message), false)
        }
        Manner::Twice => {
            let both = |query: &Vec<u8>| [framed(&seven(query)), framed(&wrong(query))].concat();
            (queries.iter().flat_map(both).collect(), true)
        }
        Manner::EndsAfterEach => (framed(&seven(first)), false),
        Manner::HalfAnswer => (framed(&seven(first))[..20].to_vec(), false),
        Manner::Short => (framed(&[1, 2, 3]), true),
        _ => (queries.iter().rev().flat_map(|query| framed(&seven(query))).collect(), true),
    };
    tls.write_all(&octets)?;
    tls.flush()?;
    Ok(goes_on)
}
