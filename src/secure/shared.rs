//! What all connections to one upstream share: its policy, its verdicts, and its tickets.

use crate::clock::Clock;
use crate::error::Error;
use crate::policy::{Policy, Scheme, Verify};
use crate::trust::Trust;
use crate::verifier::Verifier;
use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};
use std::sync::Arc;
use std::time::Duration;

/// Names for which tickets are kept. An upstream has one; rustls keeps at most 8 tickets for a name.
const NAMES: usize = 1;

/// What all connections to one upstream share. A connection keeps what it began with, so tickets that
/// arrive on it after [`Shared::void_tickets`] are not used by later ones.
#[derive(Clone, Debug)]
pub struct Shared {
    pub(crate) policy: Arc<Policy>,
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) clock: Arc<Clock>,
}

impl Shared {
    /// Prepares connections to an upstream. Nothing is sent.
    ///
    /// # Errors
    /// [`SharedError`] if the policy cannot be met: without a pin in [`Verify::Pin`], or without an
    /// authority in [`Verify::Strict`].
    pub fn new(policy: Policy, trust: &Trust, clock: Arc<Clock>) -> Result<Shared, SharedError> {
        match policy.verify {
            Verify::Pin if policy.pins.is_empty() => return Err(SharedError::NoPin),
            Verify::Strict if trust.count() == 0 => return Err(SharedError::NoAuthority),
            Verify::Strict | Verify::Pin | Verify::Opportunistic => {}
        }
        let provider = Arc::new(default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let verifier = Arc::new(Verifier::new(&policy, trust, algorithms));
        let versions: &[&SupportedProtocolVersion] = match policy.scheme {
            Scheme::Dot | Scheme::Doh => &[&TLS13, &TLS12],
            Scheme::Doq => &[&TLS13],
        };
        let builder = ClientConfig::builder_with_details(provider, Arc::clone(&clock) as _)
            .with_protocol_versions(versions)
            .map_err(|error| SharedError::Library(error.to_string()))?;
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_no_client_auth();
        config.alpn_protocols = vec![policy.scheme.alpn().to_vec()];
        config.resumption = Resumption::in_memory_sessions(NAMES);
        config.enable_early_data = false;
        Ok(Shared { policy: Arc::new(policy), config: Arc::new(config), verifier, clock })
    }

    /// Forgets all tickets, so that later connections are not resumed. A ticket links connections to
    /// each other, so none is kept over a change of network (RFC 8446, appendix C.4).
    pub fn void_tickets(&mut self) {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::in_memory_sessions(NAMES);
        self.config = Arc::new(config);
    }

    /// The policy that connections follow.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What strict checks find wrong with the certificates of an accepted upstream.
    pub(crate) fn problem(&self, certificates: &[CertificateDer<'_>]) -> Option<Error> {
        let (leaf, intermediates) = certificates.split_first()?;
        // What strict checks accept needs no second look, and pins decide alone.
        if self.policy.verify != Verify::Opportunistic {
            return None;
        }
        let now = UnixTime::since_unix_epoch(Duration::from_secs(self.clock.now_s()));
        let strict = self.verifier.strict(leaf, intermediates, &self.policy.server_name, now);
        strict.err().map(|error| Error::from_tls(error, crate::Phase::Handshake))
    }
}

/// Why a policy cannot be met at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SharedError {
    /// Pins decide alone, and there are none.
    NoPin,
    /// An authority must have issued the certificate, and none is known.
    NoAuthority,
    /// The TLS library refuses the settings.
    Library(String),
}

impl std::fmt::Display for SharedError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoPin => f.write_str("verify = \"pin\" needs at least one pin in 'pins'"),
            Self::NoAuthority => {
                f.write_str("no certificate authority is known, so no certificate can be verified")
            }
            Self::Library(detail) => write!(f, "the TLS library refuses the settings ({detail})"),
        }
    }
}

impl std::error::Error for SharedError {}
