//! The attack of handshakes: 63 upstreams of DNS over TLS, each asked at once for a name of its own, again
//! and again. Each ends its connection after one response and gives no ticket, so each query needs a whole
//! handshake.

use super::attacks::asked;
use super::upstream::respond;
use hither_wire::codes::Rtype;
use rcgen::{CertificateParams, CertifiedKey, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Upstreams, so handshakes at once: as many as a configuration may have beside the first.
const UPSTREAMS: usize = 63;
/// How long the replies to all queries of one turn are waited for.
const TURN_MAX: Duration = Duration::from_secs(2);

pub fn attack(server: SocketAddr, dir: &Path) {
    // The upstreams of a real host run elsewhere: they give way to what is measured.
    let own = std::process::id().to_string();
    let _ = std::process::Command::new("renice").args(["-n", "19", "-p", &own]).output();
    let (config, authority) = identity();
    let upstream = serve(config);
    std::fs::write(dir.join("ca.pem"), authority).expect("written");
    let mut text = format!("[tls]\nca_file = {:?}\n", dir.join("ca.pem"));
    for n in 0..UPSTREAMS {
        let _ = writeln!(text, "[[domain]]\nnames = [\"d{n}.handshakes.example\"]");
        let _ = writeln!(text, "upstreams = [\"tls://n{n}.handshakes.example@{upstream}\"]");
    }
    std::fs::write(dir.join("conf.d/handshakes.toml"), text).expect("written");
    let exe = std::env::current_exe().expect("known");
    let ctl = exe.parent().and_then(|deps| deps.parent()).expect("its directory").join("hitherctl");
    let done = std::process::Command::new(&ctl).arg("--runtime-dir").arg(dir).arg("reload").output();
    if let Some(failed) = done.ok().filter(|done| !done.status.success()) {
        println!("the upstreams cannot be configured: {}", String::from_utf8_lossy(&failed.stderr));
    }
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(server).expect("a route");
    socket.set_read_timeout(Some(TURN_MAX)).expect("an option");
    let mut reply = [0; 2048];
    for turn in 0_u64.. {
        for n in 0..UPSTREAMS {
            let _ = socket.send(&asked(&format!("t{turn}.d{n}.handshakes.example"), Rtype::A)[2..]);
        }
        let (began, mut replies) = (Instant::now(), 0);
        while replies < UPSTREAMS && began.elapsed() < TURN_MAX {
            replies += usize::from(socket.recv(&mut reply).is_ok());
        }
        if replies < UPSTREAMS {
            println!("only {replies} of {UPSTREAMS} replies to queries that need a handshake");
        }
    }
}

/// A certificate for all of the upstreams, and its authority as PEM.
fn identity() -> (Arc<ServerConfig>, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let pem = params.self_signed(&key).expect("a certificate").pem();
    let issuer = rcgen::Issuer::new(params, key);
    let names = CertificateParams::new(vec!["*.handshakes.example".to_owned()]).expect("a name");
    let signing_key = KeyPair::generate().expect("a key");
    let cert = names.signed_by(&signing_key, &issuer).expect("a certificate");
    let own = CertifiedKey { cert, signing_key };
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("PKCS #8");
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("a pair");
    config.send_tls13_tickets = 0;
    (Arc::new(config), pem)
}

fn serve(config: Arc<ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || converse(stream, config));
        }
    });
    address
}

fn converse(stream: TcpStream, config: Arc<ServerConfig>) -> Option<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(config).ok()?, stream);
    respond(&mut stream, &mut [0; 1232])?;
    stream.conn.send_close_notify();
    stream.flush().ok()
}
