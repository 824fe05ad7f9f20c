//! The verdict on a server's certificate: authority, dates, name and pins, as the policy demands.

use crate::error::{Error, Fault, Phase};
use crate::policy::{Pin, Policy, Verify};
use crate::trust::Trust;
use ring::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use std::sync::{Arc, Mutex, PoisonError};

/// Judges the certificates of one upstream.
#[derive(Debug)]
pub(crate) struct Verifier {
    verify: Verify,
    pins: Vec<Pin>,
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    verdicts: Mutex<Verdicts>,
}

/// What the verifier has found since it was last asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdicts {
    /// How many certificates were judged. A resumed handshake judges none.
    pub(crate) count: u64,
    /// Why the last one was refused.
    #[cfg_attr(not(feature = "doq"), expect(dead_code, reason = "rustls alone returns the verdict itself"))]
    pub(crate) refused: Option<Error>,
}

impl Verifier {
    pub(crate) fn new(policy: &Policy, trust: &Trust, algorithms: WebPkiSupportedAlgorithms) -> Verifier {
        Verifier {
            verify: policy.verify,
            pins: policy.pins.clone(),
            roots: Arc::clone(&trust.roots),
            algorithms,
            verdicts: Mutex::default(),
        }
    }

    /// Takes the verdicts since the last call. QUIC's errors do not carry the verifier's, and QUIC does
    /// not say whether a handshake was resumed; both are known only here.
    #[cfg(feature = "doq")]
    pub(crate) fn take_verdicts(&self) -> Verdicts {
        std::mem::take(&mut *self.verdicts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What strict checks find wrong with a certificate at the time `now`.
    pub(crate) fn strict(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        verify_server_name(&parsed, name)
    }

    /// Whether the certificate's key is one of the pins, or there are none.
    fn pinned(&self, leaf: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        if self.pins.is_empty() && self.verify != Verify::Pin {
            return Ok(());
        }
        let key = ParsedCertificate::try_from(leaf)?.subject_public_key_info();
        let hash = digest::digest(&digest::SHA256, &key);
        if self.pins.iter().any(|pin| pin == hash.as_ref()) {
            return Ok(());
        }
        let pin = hash.as_ref().try_into().unwrap_or_default();
        Err(CertificateError::Other(OtherError(Arc::new(Fault::OtherKey(pin)))).into())
    }
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
        let strict = match self.verify {
            Verify::Strict => self.strict(leaf, intermediates, name, now),
            Verify::Pin | Verify::Opportunistic => Ok(()),
        };
        let verdict = strict.and_then(|()| self.pinned(leaf));
        let refused = verdict.as_ref().err().map(|error| Error::from_tls(error.clone(), Phase::Handshake));
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        *verdicts = Verdicts { count: verdicts.count + 1, refused };
        verdict.map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
