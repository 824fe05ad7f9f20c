//! Handshakes that end as soon as the server's certificate is judged: nothing of an application is sent.

use crate::certificate::Validity;
use crate::clock::Clock;
use crate::error::stated;
use crate::shared::SharedError;
use crate::trust::Trust;
use hither_table::Trust as Verdict;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, OtherError,
    RootCertStore, SignatureScheme,
};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::{error, fmt};

/// Octets that a server may send before its certificate is judged. rustls refuses a certificate message
/// of more than 64 KiB; all else of a handshake is small.
const RECEIVED_MAX: usize = 128 * 1024;
/// Octets read from the stream by one system call.
const READ_OCTETS: usize = 16 * 1024;
/// The contents of the first record of a server (RFC 8446, section 5.1): an alert or a handshake message.
const FIRST_OF_TLS: [u8; 2] = [21, 22];
/// Names of a certificate that are kept, and the octets of all of them.
const NAMES_MAX: usize = 8;
const NAME_OCTETS_MAX: usize = 256;

/// What a certificate states.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Its first names, at most 8 and 256 octets in all.
    pub names: Vec<String>,
    /// How many names it has besides them.
    pub names_more: usize,
    /// Its dates; `None` if they cannot be read.
    pub validity: Option<Validity>,
}

/// What a handshake has shown of a name at an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// Whether the name's server is there.
    pub verdict: Verdict,
    /// The certificate, where one was shown.
    pub shown: Option<Shown>,
}

impl Judgement {
    /// A judgement without a certificate.
    #[must_use]
    pub fn without_certificate(verdict: Verdict) -> Judgement {
        Judgement { verdict, shown: None }
    }
}

/// Judges the certificates that servers show for names.
///
/// A server is `verified` if a known authority issued its certificate for the name and it signs with the
/// certificate's key. The dates count only where authority and name are right.
#[derive(Clone, Debug)]
pub struct Judge {
    config: Arc<ClientConfig>,
    clock: Arc<Clock>,
}

impl Judge {
    /// Prepares handshakes. Nothing is sent.
    ///
    /// # Errors
    /// [`SharedError`] without an authority, or if the TLS library refuses the settings.
    pub fn new(trust: &Trust, clock: Arc<Clock>) -> Result<Judge, SharedError> {
        if trust.count() == 0 {
            return Err(SharedError::NoAuthority);
        }
        let provider = Arc::new(default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let verifier = Verifier { roots: Arc::clone(&trust.roots), algorithms };
        let mut config = ClientConfig::builder_with_details(provider, Arc::clone(&clock) as _)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| SharedError::Library(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // A resumed handshake shows no certificate.
        config.resumption = Resumption::disabled();
        Ok(Judge { config: Arc::new(config), clock })
    }

    /// Sets the time of the system's clock, in seconds since 1970. Returns whether it can be right: while it
    /// is behind the date of the build, no certificate is to be judged.
    pub fn set_system_time(&self, system_s: u64) -> bool {
        self.clock.set_system(system_s);
        !self.clock.is_behind()
    }

    /// Begins a handshake for a name.
    #[must_use]
    pub fn begin(&self, name: ServerName<'static>) -> Option<Trial> {
        let connection = ClientConnection::new(Arc::clone(&self.config), name).ok()?;
        Some(Trial { connection, received: 0 })
    }
}

/// One handshake, up to its certificate.
#[derive(Debug)]
pub struct Trial {
    connection: ClientConnection,
    received: usize,
}

impl Trial {
    /// Writes what is due until the stream takes no more.
    ///
    /// # Errors
    /// Those of `stream` except `WouldBlock`.
    pub fn transmit(&mut self, stream: &mut dyn Write) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(stream) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what the server has sent. Returns the judgement when the handshake has ended: then nothing more
    /// is to be sent. Reads 128 KiB in all at most.
    pub fn receive(&mut self, stream: &mut dyn Read) -> Option<Judgement> {
        let mut octets = [0; READ_OCTETS];
        let ended = |verdict| Some(Judgement::without_certificate(verdict));
        loop {
            match stream.read(&mut octets) {
                Ok(count) if count > 0 => {
                    if let Some(judgement) = self.process(&octets[..count]) {
                        return Some(judgement);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Closed or reset: which of them is seen may depend on what was sent meanwhile.
                Ok(_) | Err(_) if self.received == 0 => return ended(Verdict::NoTls),
                Ok(_) | Err(_) => return ended(Verdict::Unknown),
            }
        }
    }

    fn process(&mut self, octets: &[u8]) -> Option<Judgement> {
        let ended = |verdict| Some(Judgement::without_certificate(verdict));
        if self.received == 0 && octets.first().is_none_or(|first| !FIRST_OF_TLS.contains(first)) {
            return ended(Verdict::NoTls);
        }
        self.received += octets.len();
        if self.received > RECEIVED_MAX {
            return ended(Verdict::Unknown);
        }
        let mut rest = octets;
        while !rest.is_empty() {
            if !self.connection.read_tls(&mut rest).is_ok_and(|count| count > 0) {
                return ended(Verdict::Unknown);
            }
            if let Err(error) = self.connection.process_new_packets() {
                return Some(judgement_of(error));
            }
        }
        // The verifier ends every handshake that shows a certificate.
        if self.connection.is_handshaking() { None } else { ended(Verdict::Unknown) }
    }
}

/// What the end of a handshake says. A server that knows no such name may say so instead of showing a
/// certificate for another one (RFC 6066, section 3).
fn judgement_of(error: rustls::Error) -> Judgement {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(carried))) => {
            let carried = carried.downcast_ref::<Carried>().map(|carried| carried.0.clone());
            carried.unwrap_or(Judgement::without_certificate(Verdict::Unknown))
        }
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            Judgement::without_certificate(Verdict::OtherName)
        }
        _ => Judgement::without_certificate(Verdict::Unknown),
    }
}

/// A judgement as the error that ends a handshake.
#[derive(Debug)]
struct Carried(Judgement);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the certificate is judged")
    }
}

impl error::Error for Carried {}

fn end_with(verdict: Verdict, leaf: &CertificateDer<'_>) -> rustls::Error {
    let parsed = ParsedCertificate::try_from(leaf);
    let (names, names_more) = parsed.map(|parsed| names_of(&parsed)).unwrap_or_default();
    let shown = Some(Shown { names, names_more, validity: Validity::read(leaf) });
    let carried = Carried(Judgement { verdict, shown });
    CertificateError::Other(OtherError(Arc::new(carried))).into()
}

/// The first names of a certificate, and how many more it has. rustls shows them in the error for a name
/// that is not among them.
fn names_of(certificate: &ParsedCertificate<'_>) -> (Vec<String>, usize) {
    let mut names = Vec::new();
    let mut more = 0;
    let Ok(none) = ServerName::try_from("none.invalid") else { return (names, more) };
    if let Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
        presented,
        ..
    })) = verify_server_name(certificate, &none)
    {
        let mut octets = 0;
        let fits = |name: &String| {
            octets += name.len();
            octets <= NAME_OCTETS_MAX
        };
        names.extend(presented.iter().filter_map(|name| stated(name)).take(NAMES_MAX).take_while(fits));
        more = presented.len() - names.len();
    }
    (names, more)
}

/// Judges a certificate, and then ends the handshake: at once, or where the certificate is right, when the
/// server has shown that it has the key.
#[derive(Debug)]
struct Verifier {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn verdict(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Verdict {
        let Ok(parsed) = ParsedCertificate::try_from(leaf) else { return Verdict::Untrusted };
        let chain = |at: UnixTime| {
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &self.roots,
                intermediates,
                at,
                self.algorithms.all,
            )
        };
        // With wrong dates, authority and name are judged by the nearest time at which the dates are right.
        let (verdict, chain) = match chain(now) {
            Ok(()) => (Verdict::Verified, Ok(())),
            Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
                not_after, ..
            })) => (Verdict::Expired, chain(not_after)),
            Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
                not_before,
                ..
            })) => (Verdict::NotYet, chain(not_before)),
            Err(error) => (Verdict::Untrusted, Err(error)),
        };
        if chain.is_err() {
            Verdict::Untrusted
        } else if verify_server_name(&parsed, name).is_err() {
            Verdict::OtherName
        } else {
            verdict
        }
    }
}

/// The end of a handshake with a right certificate, by whether the server signs with its key.
fn signed(
    signature: Result<HandshakeSignatureValid, rustls::Error>,
    leaf: &CertificateDer<'_>,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(end_with(if signature.is_ok() { Verdict::Verified } else { Verdict::Untrusted }, leaf))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.verdict(leaf, intermediates, name, now) {
            Verdict::Verified => Ok(ServerCertVerified::assertion()),
            verdict => Err(end_with(verdict, leaf)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        given: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        signed(verify_tls12_signature(message, certificate, given, &self.algorithms), certificate)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        given: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        signed(verify_tls13_signature(message, certificate, given, &self.algorithms), certificate)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
