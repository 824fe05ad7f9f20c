//! A server of DNS over TLS, in threads of its own.

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the server does with a connection.
#[derive(Clone, Copy)]
pub enum Script {
    /// Each query is answered.
    Answer,
    /// So many queries are answered, and the next one ends the connection.
    AnswerUntil(usize),
    /// So many queries are answered, and the next one resets the connection.
    AnswerUntilReset(usize),
    /// These octets are sent, and nothing is read.
    Say(&'static [u8]),
    /// The connection ends before the handshake.
    HangUp,
    /// Nothing happens.
    Silence,
}

/// Chooses what is done with the connection of each number, from 0 on.
pub type Choose = fn(usize) -> Script;

/// Makes the response to a query.
pub type Respond = fn(&[u8]) -> Vec<u8>;

/// A server that is running.
pub struct TlsServer {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    queries: Arc<AtomicUsize>,
}

impl TlsServer {
    /// Starts a server at this address; with port 0, at a free one.
    pub fn start(
        address: SocketAddr,
        config: Arc<ServerConfig>,
        script: Choose,
        respond: Respond,
    ) -> TlsServer {
        let listener = TcpListener::bind(address).expect("a port");
        let server = TlsServer {
            address: listener.local_addr().expect("bound"),
            connections: Arc::default(),
            queries: Arc::default(),
        };
        let (connections, queries) = (Arc::clone(&server.connections), Arc::clone(&server.queries));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let script = script(connections.fetch_add(1, Ordering::SeqCst));
                let (config, queries) = (Arc::clone(&config), Arc::clone(&queries));
                std::thread::spawn(move || drop(serve(stream, config, (script, respond), &queries)));
            }
        });
        server
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn queries(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }
}

fn serve(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    (script, respond): (Script, Respond),
    queries: &AtomicUsize,
) -> std::io::Result<()> {
    let most = match script {
        Script::Say(octets) => return stream.write_all(octets).and_then(|()| drain(&mut stream)),
        Script::HangUp => return Ok(()),
        Script::Silence => return drain(&mut stream),
        Script::Answer => usize::MAX,
        Script::AnswerUntil(most) | Script::AnswerUntilReset(most) => most,
    };
    let raw = stream.try_clone()?;
    let mut tls = StreamOwned::new(ServerConnection::new(config).expect("a connection"), stream);
    for nth in 0.. {
        let mut length = [0; 2];
        tls.read_exact(&mut length)?;
        let mut octets = vec![0; usize::from(u16::from_be_bytes(length))];
        tls.read_exact(&mut octets)?;
        queries.fetch_add(1, Ordering::SeqCst);
        if nth == most {
            break;
        }
        let response = respond(&octets);
        let length = u16::try_from(response.len()).expect("a DNS message").to_be_bytes();
        tls.write_all(&[&length[..], &response].concat())?;
        tls.flush()?;
    }
    if matches!(script, Script::AnswerUntilReset(_)) {
        socket2::SockRef::from(&raw).set_linger(Some(std::time::Duration::ZERO))?;
        return Ok(());
    }
    tls.conn.send_close_notify();
    tls.flush()?;
    raw.shutdown(Shutdown::Both)
}

fn drain(stream: &mut TcpStream) -> std::io::Result<()> {
    std::io::copy(stream, &mut std::io::sink()).map(drop)
}
