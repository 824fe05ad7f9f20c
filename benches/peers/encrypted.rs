//! Encrypted upstreams: processor time and latency of a miss over a warm connection, memory, and what an
//! idle daemon does. The upstreams are the bench's own, in `encrypted/`; all servers ask the same one.

mod agenda;
mod http2;
mod idle;
mod kinds;
mod quic;
mod tls;
mod trips;
mod unsteady;

use super::load::{self, Load, Until};
use super::rigs::{Bench, Upstream, closed, open};
use super::roles::Manner;
use super::servers::Server;
use kinds::{KINDS, TRANSPORTS, Transport};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The name in the certificates of upstreams.
pub(crate) const NAME: &str = "dns.example";
/// The file of the authority, in the directory of the bench.
const CA_FILE: &str = "ca.pem";
const CHAIN_FILE: &str = "chain.pem";
/// Queries of a burst: fewer than hither has rounds by default.
const BURST: u64 = 1900;
const KEY_FILE: &str = "key.pem";

/// Serves as an upstream of this transport. Its certificate is in `dir`.
pub fn serve(role: &str, address: SocketAddr, manner: Manner, dir: &Path) {
    let alpn: &[u8] = match role {
        "doh" => b"h2",
        "doq" => b"doq",
        _ => b"dot",
    };
    let chain = CertificateDer::from_pem_file(dir.join(CHAIN_FILE)).expect("the bench has written it");
    let key = PrivateKeyDer::from_pem_file(dir.join(KEY_FILE)).expect("the bench has written it");
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let mut config = builder.with_single_cert(vec![chain], key).expect("a pair");
    config.alpn_protocols = vec![alpn.to_vec()];
    let config = Arc::new(config);
    match role {
        "doq" => quic::serve(address, config, manner),
        _ => tls::serve(address, &config, manner, role == "doh"),
    }
}

/// Makes an authority and one certificate, for all upstreams. The common name is for servers that read
/// nothing else.
fn issue(dir: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "an authority of a benchmark");
    let issuer_key = KeyPair::generate().expect("a key");
    let ca = authority.self_signed(&issuer_key).expect("a certificate");
    let mut leaf = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
    leaf.distinguished_name.push(DnType::CommonName, NAME);
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().expect("a key");
    let chain = leaf.signed_by(&key, &Issuer::new(authority, issuer_key)).expect("a certificate");
    let files = [(CA_FILE, ca.pem()), (CHAIN_FILE, chain.pem()), (KEY_FILE, key.serialize_pem())];
    for (file, text) in files {
        std::fs::write(dir.join(file), text).expect("writable");
    }
}

/// Waits until an upstream takes connections.
fn await_upstream(transport: Transport, address: SocketAddr) {
    let is_stream = [Transport::Tls, Transport::Https].contains(&transport);
    let began = Instant::now();
    while is_stream && TcpStream::connect(address).is_err() && began.elapsed() < Duration::from_secs(5) {
        std::thread::yield_now();
    }
}

impl Bench {
    /// Starts an upstream of this transport, and waits until it listens.
    fn upstream_by(&mut self, transport: Transport, manner: Manner) -> Upstream {
        self.prepare();
        let upstream = self.upstream_as(transport.role(), manner);
        await_upstream(transport, upstream.1);
        upstream
    }

    /// Makes the certificates, once.
    fn prepare(&self) {
        if !self.dir.join(CA_FILE).exists() {
            issue(&self.dir);
        }
    }

    pub fn encrypted(&mut self) {
        let near = TRANSPORTS.map(|transport| self.upstream_by(transport, Manner::delayed(0)));
        let live = self.start_by_transport(&near);
        for round in 0..self.rounds {
            for n in 0..live.len() {
                let server = &live[(n + round) % live.len()];
                self.warm(server);
                let names = self.next_names(200_000);
                let (full, cpu) = Self::slice(server, closed(names, 100));
                let names = self.next_names(100_000);
                let (alone, alone_cpu) = Self::slice(server, closed(names, 1));
                self.report.add(
                    "encrypted misses",
                    server.name,
                    round,
                    &[
                        ("processor time", cpu, "us"),
                        ("rate", full.rate() / 1000.0, "k/s"),
                        ("one at a time, p50", alone.quantile(0.5) * 1000.0, "us"),
                        ("one at a time, p99", alone.quantile(0.99) * 1000.0, "us"),
                        ("one at a time, processor time", alone_cpu, "us"),
                        ("lost or bad", (full.lost + full.bad + alone.lost + alone.bad) as f64, "queries"),
                    ],
                );
            }
        }
        self.report.table("encrypted misses", Transport::Udp.hither().name);
        drop((live, near));
        self.encrypted_and_away();
    }

    /// Measures what a server adds to the delay of an upstream.
    fn encrypted_and_away(&mut self) {
        let far = TRANSPORTS.map(|transport| self.upstream_by(transport, Manner::delayed(10)));
        let live = self.start_by_transport(&far);
        for round in 0..self.rounds {
            let names = self.next_names(10_000);
            let direct = load::run(far[0].1, open(names, 1000.0));
            for n in 0..live.len() {
                let server = &live[(n + round) % live.len()];
                self.warm(server);
                let names = self.next_names(10_000);
                let (steady, _) = Self::slice(server, open(names, 1000.0));
                let names = self.next_names(50_000);
                let (window, _) = Self::slice(server, closed(names, 200));
                let names = self.next_names(10_000);
                let burst = Load { until: Until::Count(BURST), ..closed(names, BURST as usize) };
                let (burst, _) = Self::slice(server, burst);
                let lost = steady.lost + steady.bad + window.lost + window.bad;
                let added = |q| (steady.quantile(q) - direct.quantile(q)) * 1000.0;
                let figures = [
                    ("added p50", added(0.5), "us"),
                    ("added p99", added(0.99), "us"),
                    ("rate, 200 at once", window.rate() / 1000.0, "k/s"),
                    ("lost or bad", lost as f64, "queries"),
                    ("lost of 1900 at once", (burst.lost + burst.bad) as f64, "queries"),
                ];
                self.report.add("encrypted, 10 ms away", server.name, round, &figures);
            }
        }
        self.report.table("encrypted, 10 ms away", Transport::Udp.hither().name);
    }

    /// Starts each server with the upstream of its transport.
    fn start_by_transport(&mut self, upstreams: &[Upstream; 4]) -> Vec<Server> {
        let mut live = Vec::new();
        for (transport, kind) in &KINDS {
            if self.is_wanted(kind) {
                live.extend(self.start_one(kind, &[upstreams[*transport as usize].1], 200_000, "0"));
            }
        }
        live
    }

    /// Sends a few queries, since a connection may have been closed while others were measured.
    fn warm(&mut self, server: &Server) {
        let names = self.next_names(200);
        load::run(server.address, Load { until: Until::Count(200), ..closed(names, 20) });
    }
}
