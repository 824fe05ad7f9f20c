//! Authorities and servers for the tests.

use hither_secure::{Clock, DotSession, Error, Event, Policy, Ready, Roots, Scheme, Shared, Trust, Verify};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PublicKeyData, date_time_ymd,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

/// The name that upstreams of these tests are configured with.
pub const NAME: &str = "dns.example";

/// A certificate authority that only these tests know.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A server's certificate and key.
#[derive(Clone)]
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub pin: [u8; 32],
    key: Vec<u8>,
    pub chain_pem: String,
    pub key_pem: String,
}

/// What a certificate states.
pub struct Leaf<'a> {
    pub names: &'a [&'a str],
    /// First and last year of its validity.
    pub years: (i32, i32),
    pub is_for_servers: bool,
}

impl Default for Leaf<'_> {
    fn default() -> Self {
        Leaf { names: &[NAME], years: (2020, 2099), is_for_servers: true }
    }
}

impl Authority {
    pub fn new() -> Authority {
        Authority::called("an authority of the tests")
    }

    pub fn called(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    pub fn trust(&self) -> Trust {
        Trust::read(self.pem.as_bytes(), Path::new("test.pem")).expect("one authority")
    }

    pub fn issue(&self, leaf: &Leaf<'_>) -> Identity {
        let names: Vec<String> = leaf.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = date_time_ymd(leaf.years.0, 1, 1);
        params.not_after = date_time_ymd(leaf.years.1, 1, 1);
        params.extended_key_usages = vec![if leaf.is_for_servers {
            ExtendedKeyUsagePurpose::ServerAuth
        } else {
            ExtendedKeyUsagePurpose::ClientAuth
        }];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity::of(&certificate, &key)
    }
}

impl Identity {
    /// A certificate as `openssl req -x509` makes it: its own authority.
    pub fn self_signed() -> Identity {
        let mut params = CertificateParams::new([NAME.to_owned()]).expect("a name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Identity::of(&params.self_signed(&key).expect("a certificate"), &key)
    }

    fn of(certificate: &Certificate, key: &KeyPair) -> Identity {
        let hash = ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info());
        Identity {
            chain: vec![certificate.der().clone()],
            pin: hash.as_ref().try_into().expect("32 octets"),
            key: key.serialize_der(),
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.clone()).expect("PKCS #8")
    }
}

pub static TLS12_ALONE: [&SupportedProtocolVersion; 1] = [&TLS12];
pub static TLS13_ALONE: [&SupportedProtocolVersion; 1] = [&TLS13];
static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// The server side of a test, before it is used.
pub struct Server {
    pub versions: &'static [&'static SupportedProtocolVersion],
    pub alpn: Vec<Vec<u8>>,
    pub asks_for_client_certificate: Option<ClientRoots>,
}

/// The authority of client certificates.
pub struct ClientRoots(pub Arc<rustls::RootCertStore>);

impl Default for Server {
    fn default() -> Self {
        Server { versions: &BOTH, alpn: Vec::new(), asks_for_client_certificate: None }
    }
}

impl Server {
    pub fn config(&self, identity: &Identity) -> Arc<ServerConfig> {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.versions)
            .expect("versions");
        let builder = match &self.asks_for_client_certificate {
            None => builder.with_no_client_auth(),
            Some(roots) => builder.with_client_cert_verifier(
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots.0), provider)
                    .build()
                    .expect("a verifier"),
            ),
        };
        let mut config = builder.with_single_cert(identity.chain.clone(), identity.key()).expect("a pair");
        config.alpn_protocols = self.alpn.clone();
        Arc::new(config)
    }
}

pub fn policy(scheme: Scheme) -> Policy {
    Policy {
        scheme,
        server_name: ServerName::try_from(NAME).expect("a name"),
        authority: NAME.to_owned(),
        path: "/dns-query".to_owned(),
        pins: Vec::new(),
        verify: Verify::Strict,
        roots: Roots::System,
    }
}

pub fn shared(policy: Policy, trust: &Trust) -> Shared {
    Shared::new(policy, trust, Arc::new(Clock::new(0))).expect("a policy that can be met")
}

/// A session and its server, connected in memory.
pub struct Pair {
    pub session: DotSession,
    pub server: ServerConnection,
    pub events: Vec<Event>,
    /// Octets that the server has decrypted.
    pub heard: Vec<u8>,
}

impl Pair {
    pub fn new(shared: &Shared, server: &Arc<ServerConfig>) -> Pair {
        let mut server = ServerConnection::new(Arc::clone(server)).expect("a server");
        server.set_buffer_limit(None);
        Pair {
            session: DotSession::new(shared).expect("a session"),
            server,
            events: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// Carries octets in pieces of at most `piece` both ways, until both sides are silent.
    pub fn run(&mut self, piece: usize) -> &mut Pair {
        for _ in 0..100 {
            let mut to_server = Vec::new();
            self.session.transmit(&mut to_server).expect("memory takes everything");
            let from_server = self.serve(&to_server);
            for octets in from_server.chunks(piece) {
                self.session.receive_octets(octets);
                self.events.extend(std::iter::from_fn(|| self.session.poll_event()));
            }
            if to_server.is_empty() && from_server.is_empty() {
                return self;
            }
        }
        panic!("the two sides never come to rest");
    }

    /// Hands octets to the server, and returns its own.
    pub fn serve(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut rest = octets;
        while !rest.is_empty() && self.server.read_tls(&mut rest).is_ok_and(|count| count > 0) {
            let _ = self.server.process_new_packets();
            let _ = self.server.reader().read_to_end(&mut self.heard);
        }
        let mut out = Vec::new();
        while self.server.wants_write() {
            self.server.write_tls(&mut out).expect("memory takes everything");
        }
        out
    }

    /// Lets the server send octets in TLS.
    pub fn say(&mut self, octets: &[u8]) {
        for piece in octets.chunks(16_384) {
            self.server.writer().write_all(piece).expect("taken");
            self.run(usize::MAX);
        }
    }

    pub fn ready(&self) -> Option<&Ready> {
        self.events.iter().find_map(|event| if let Event::Ready(ready) = event { Some(ready) } else { None })
    }

    pub fn error(&self) -> Option<&Error> {
        self.events.iter().find_map(|event| if let Event::Closed(error) = event { Some(error) } else { None })
    }

    pub fn responses(&self) -> Vec<(u64, &[u8])> {
        let response = |event| match event {
            &Event::Response { channel, ref octets, .. } => Some((channel, octets.as_slice())),
            _ => None,
        };
        self.events.iter().filter_map(response).collect()
    }
}

/// A message with a header of this id, and `length` octets in all.
pub fn message(id: u16, length: usize) -> Vec<u8> {
    let mut octets = vec![0; length];
    octets[..2].copy_from_slice(&id.to_be_bytes());
    octets
}

/// The message with its two octets of length.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("a DNS message");
    [&length.to_be_bytes(), message].concat()
}
