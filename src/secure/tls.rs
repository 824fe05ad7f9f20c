//! TLS over a stream of octets: what the sessions of DNS over TLS and over HTTPS stand on.

use crate::certificate::Validity;
use crate::error::{Error, Phase};
use crate::event::{Limits, Ready, Received};
use crate::shared::Shared;
use rustls::{ClientConnection, HandshakeKind, ProtocolVersion};
use std::io::{self, BufRead, Read, Write};

/// Octets read from the stream by one system call.
const READ_OCTETS: usize = 16 * 1024;
/// System calls of one call of `receive`, so that a flood on one connection does not keep others waiting.
const READS_MAX: usize = 4;
/// Octets of one record (RFC 8446, section 5.1).
const RECORD_OCTETS_MAX: usize = 16 * 1024;
/// Octets that wait to be encrypted. One message of the largest size always fits beside others.
const WAITING_OCTETS_MAX: usize = 256 * 1024;

/// One TLS connection.
#[derive(Debug)]
pub(crate) struct Tls {
    shared: Shared,
    connection: ClientConnection,
    /// Octets that wait to be encrypted, from `at` on. They are encrypted when the stream takes octets, so
    /// that what rustls holds is at most a record, and queries of one turn share records.
    waiting: Vec<u8>,
    at: usize,
    is_ready: bool,
    has_peer_closed: bool,
    /// Whether `close_notify` follows what waits.
    is_closing: bool,
}

impl Tls {
    /// # Errors
    /// [`Error::Internal`] if rustls cannot begin, for instance without random octets.
    pub(crate) fn new(shared: &Shared) -> Result<Tls, Error> {
        let name = shared.policy.server_name.clone();
        let connection = ClientConnection::new(shared.config.clone(), name)
            .map_err(|error| Error::from_tls(error, Phase::Handshake))?;
        Ok(Tls {
            shared: shared.clone(),
            connection,
            waiting: Vec::new(),
            at: 0,
            is_ready: false,
            has_peer_closed: false,
            is_closing: false,
        })
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Whether the handshake is done and [`Tls::ready`] has said so.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready
    }

    pub(crate) fn phase(&self) -> Phase {
        if self.connection.is_handshaking() { Phase::Handshake } else { Phase::Ready }
    }

    /// Processes octets of the upstream; `plain` gets what they hold, in pieces.
    pub(crate) fn receive(&mut self, octets: &[u8], plain: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
        let mut rest = octets;
        while !rest.is_empty() {
            match self.connection.read_tls(&mut rest) {
                // The upstream has closed its side; what follows does not count.
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => {
                    return Err(Error::Tls(crate::error::shortened(&error.to_string()), self.phase()));
                }
            }
            let processed = self.connection.process_new_packets();
            let phase = self.phase();
            self.take_plain(plain);
            let state = processed.map_err(|error| Error::from_tls(error, phase))?;
            self.has_peer_closed = state.peer_has_closed();
        }
        Ok(())
    }

    fn take_plain(&mut self, plain: &mut dyn FnMut(&[u8])) {
        let mut reader = self.connection.reader();
        while let Ok(octets) = reader.fill_buf() {
            if octets.is_empty() {
                return;
            }
            plain(octets);
            let count = octets.len();
            reader.consume(count);
        }
    }

    /// Whether the upstream has said that it sends nothing more (`close_notify`).
    pub(crate) fn has_peer_closed(&self) -> bool {
        self.has_peer_closed
    }

    /// What is known when the handshake is done; once.
    pub(crate) fn ready(&mut self) -> Option<Result<Ready, Error>> {
        if self.is_ready || self.connection.is_handshaking() {
            return None;
        }
        let scheme = self.shared.policy.scheme;
        let has_alpn = self.connection.alpn_protocol() == Some(scheme.alpn());
        if scheme.needs_alpn() && !has_alpn {
            self.close();
            return Some(Err(Error::Protocol("h2")));
        }
        self.is_ready = true;
        let certificates = self.connection.peer_certificates().unwrap_or_default();
        let is_tls12 = self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_2);
        Some(Ok(Ready {
            is_resumed: self.connection.handshake_kind() == Some(HandshakeKind::Resumed),
            version: if is_tls12 { "1.2" } else { "1.3" },
            has_alpn,
            expires_s: certificates
                .first()
                .and_then(|leaf| Validity::read(leaf))
                .map(|dates| dates.not_after_s),
            problem: self.shared.problem(certificates),
            limits: Limits::default(),
        }))
    }

    /// Octets that may still be queued to be sent.
    pub(crate) fn capacity(&self) -> usize {
        WAITING_OCTETS_MAX.saturating_sub(self.waiting.len() - self.at)
    }

    /// The queue of octets to be encrypted and sent. The caller checks [`Tls::capacity`] before.
    pub(crate) fn waiting(&mut self) -> &mut Vec<u8> {
        self.waiting.drain(..self.at);
        self.at = 0;
        &mut self.waiting
    }

    pub(crate) fn wants_write(&self) -> bool {
        self.connection.wants_write() || self.is_closing || (self.is_ready && self.at < self.waiting.len())
    }

    /// Encrypts what waits, and writes it until the stream takes no more.
    ///
    /// # Errors
    /// Those of `stream` except `WouldBlock`.
    pub(crate) fn transmit(&mut self, stream: &mut dyn Write) -> io::Result<usize> {
        let mut written = 0;
        loop {
            while self.connection.wants_write() {
                match self.connection.write_tls(stream) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => written += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(written),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            let has_waiting = self.is_ready && self.at < self.waiting.len();
            if !has_waiting && std::mem::take(&mut self.is_closing) {
                self.connection.send_close_notify();
                continue;
            }
            if !has_waiting {
                return Ok(written);
            }
            let end = self.waiting.len().min(self.at + RECORD_OCTETS_MAX);
            let taken = self.connection.writer().write(&self.waiting[self.at..end])?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.at += taken;
            if self.at == self.waiting.len() {
                self.waiting.clear();
                self.at = 0;
            }
        }
    }

    /// Lets [`Tls::transmit`] send what waits and then `close_notify`. Before the handshake is done, nothing
    /// that waits is sent.
    pub(crate) fn close(&mut self) {
        if self.is_ready {
            self.is_closing = true;
        } else {
            self.connection.send_close_notify();
        }
    }
}

/// Reads from a stream and hands each piece to `process`, until that returns `false`.
///
/// # Errors
/// Those of `stream` except `WouldBlock`.
pub(crate) fn read(stream: &mut dyn Read, process: &mut dyn FnMut(&[u8]) -> bool) -> io::Result<Received> {
    let mut octets = [0; READ_OCTETS];
    for _ in 0..READS_MAX {
        match stream.read(&mut octets) {
            Ok(0) => return Ok(Received::End),
            Ok(count) => {
                if !process(&octets[..count]) {
                    return Ok(Received::End);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::All),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Received::Part)
}
