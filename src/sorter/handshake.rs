//! One handshake that judges a certificate: a TCP connection, then TLS until the certificate is known.

use hither_secure::{Judge, Judgement, ServerName, Trial};
use hither_table::Trust;
use mio::net::TcpStream;

#[derive(Debug)]
pub(super) struct Handshake {
    pub stream: TcpStream,
    name: Option<ServerName<'static>>,
    /// The TLS connection, from the time when the TCP connection stands.
    trial: Option<Trial>,
}

impl Handshake {
    pub fn new(stream: TcpStream, name: ServerName<'static>) -> Handshake {
        Handshake { stream, name: Some(name), trial: None }
    }

    /// Whether the TCP connection stands.
    pub fn is_connected(&self) -> bool {
        self.name.is_none()
    }

    /// Begins TLS: the TCP connection stands.
    pub fn begin(&mut self, judge: &Judge) {
        self.trial = self.name.take().and_then(|name| judge.begin(name));
    }

    /// Reads and writes what the connection allows. Returns the judgement when there is one; the connection
    /// is to be dropped then, which resets it.
    pub fn go_on(&mut self) -> Option<Judgement> {
        let unknown = || Judgement::without_certificate(Trust::Unknown);
        let Some(trial) = &mut self.trial else { return Some(unknown()) };
        if trial.transmit(&mut self.stream).is_err() {
            // What the server sent before may still be read.
            return Some(trial.receive(&mut self.stream).unwrap_or_else(unknown));
        }
        let judgement = trial.receive(&mut self.stream);
        // A second hello, where the server asks for one.
        if judgement.is_none() && trial.transmit(&mut self.stream).is_err() {
            return Some(unknown());
        }
        judgement
    }
}
