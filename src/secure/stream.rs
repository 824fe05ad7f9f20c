//! TLS over a stream that blocks, for protocols other than DNS: a certificate must be for the name and
//! issued by a known authority.

use crate::clock::Clock;
use crate::shared::SharedError;
use crate::trust::Trust;
use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::sync::Arc;

/// What all connections of one client have in common.
#[derive(Clone, Debug)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    clock: Arc<Clock>,
}

/// A stream whose octets are encrypted on their way.
#[derive(Debug)]
pub struct TlsStream<S: Read + Write>(StreamOwned<ClientConnection, S>);

impl TlsClient {
    /// A client that trusts these authorities.
    ///
    /// # Errors
    /// [`SharedError`] if there is no authority, or the TLS library refuses the settings.
    pub fn new(trust: &Trust) -> Result<TlsClient, SharedError> {
        if trust.count() == 0 {
            return Err(SharedError::NoAuthority);
        }
        let clock = Arc::new(Clock::new(0));
        let provider = Arc::new(default_provider());
        let mut config = ClientConfig::builder_with_details(provider, Arc::clone(&clock) as _)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| SharedError::Library(error.to_string()))?
            .with_root_certificates(Arc::clone(&trust.roots))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(TlsClient { config: Arc::new(config), clock })
    }

    /// Shakes hands over a stream. `wall_s` is the system's time in seconds since 1970.
    ///
    /// # Errors
    /// Those of the stream, and `InvalidData` if the server cannot be trusted or speaks no TLS.
    pub fn connect<S: Read + Write>(
        &self,
        name: ServerName<'static>,
        mut stream: S,
        wall_s: u64,
    ) -> io::Result<TlsStream<S>> {
        self.clock.set_system(wall_s);
        let invalid = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut connection = ClientConnection::new(Arc::clone(&self.config), name).map_err(invalid)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(TlsStream(StreamOwned::new(connection, stream)))
    }
}

impl<S: Read + Write> TlsStream<S> {
    /// The stream beneath the encryption.
    pub fn get_ref(&self) -> &S {
        &self.0.sock
    }

    /// The stream beneath the encryption, whose octets must not be read or written.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.0.sock
    }
}

impl<S: Read + Write> Read for TlsStream<S> {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        self.0.read(octets)
    }
}

impl<S: Read + Write> Write for TlsStream<S> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
