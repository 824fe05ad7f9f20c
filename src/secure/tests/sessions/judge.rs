//! Handshakes that judge certificates, against servers with each fault, and those that speak something else.

use crate::support::{Authority, ClientRoots, Identity, Leaf, NAME, Server, TLS12_ALONE, TLS13_ALONE};
use hither_secure::{BUILT_S, Clock, Judge, Judgement, ServerName, Trial, Trust};
use hither_table::Trust as Verdict;
use proptest::prelude::*;
use rustls::{ServerConfig, ServerConnection};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

/// The end of a connection at which a trial reads and writes.
#[derive(Default)]
struct Wire {
    to_client: VecDeque<u8>,
    to_server: Vec<u8>,
    is_ended: bool,
    is_reset: bool,
}

impl Read for Wire {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.to_client.read(out)? {
            0 if self.is_reset => Err(ErrorKind::ConnectionReset.into()),
            0 if !self.is_ended => Err(ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.to_server.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn judge(trust: &Trust) -> Judge {
    Judge::new(trust, Arc::new(Clock::new(0))).expect("an authority")
}

fn trial(judge: &Judge, name: &str) -> Trial {
    judge.begin(ServerName::try_from(name.to_owned()).expect("a name")).expect("it begins")
}

/// The judgement on a server, with the octets of application data that it has received.
fn judged_by(judge: &Judge, name: &str, server: &Arc<ServerConfig>) -> Judgement {
    let (mut trial, mut wire) = (trial(judge, name), Wire::default());
    let mut server = ServerConnection::new(Arc::clone(server)).expect("a server");
    for _ in 0..20 {
        trial.transmit(&mut wire).expect("memory takes everything");
        let octets = std::mem::take(&mut wire.to_server);
        let mut rest = &octets[..];
        while !rest.is_empty() && server.read_tls(&mut rest).is_ok_and(|count| count > 0) {
            let _ = server.process_new_packets();
        }
        while server.wants_write() {
            server.write_tls(&mut wire.to_client).expect("memory takes everything");
        }
        if let Some(judgement) = trial.receive(&mut wire) {
            assert!(server.is_handshaking(), "the handshake is not completed");
            return judgement;
        }
    }
    panic!("the handshake never ends");
}

fn verdict(identity: &Identity, trust: &Trust) -> Verdict {
    let mut verdicts = Vec::new();
    for versions in [&TLS12_ALONE, &TLS13_ALONE] {
        let server = Server { versions, ..Server::default() };
        verdicts.push(judged_by(&judge(trust), NAME, &server.config(identity)).verdict);
    }
    assert_eq!(verdicts[0], verdicts[1], "TLS 1.2 and 1.3");
    verdicts[0]
}

#[test]
fn each_fault_of_a_certificate_has_its_verdict() {
    let authority = Authority::new();
    let trust = authority.trust();
    let issued =
        |names: &[&str], years| verdict(&authority.issue(&Leaf { names, years, ..Leaf::default() }), &trust);
    let valid = (2020, 2099);
    assert_eq!(issued(&[NAME], valid), Verdict::Verified);
    assert_eq!(
        issued(&["other.example", "*.example"], valid),
        Verdict::OtherName,
        "no wildcard for one label"
    );
    assert_eq!(issued(&["other.example", "192.0.2.1"], valid), Verdict::OtherName);
    assert_eq!(issued(&[], valid), Verdict::OtherName, "a common name is no name");
    assert_eq!(issued(&[NAME], (2020, 2024)), Verdict::Expired);
    assert_eq!(issued(&[NAME], (2098, 2099)), Verdict::NotYet);
    assert_eq!(
        issued(&["other.example"], (2020, 2024)),
        Verdict::OtherName,
        "the dates are the lesser fault"
    );
    let client = authority.issue(&Leaf { is_for_servers: false, ..Leaf::default() });
    assert_eq!(verdict(&client, &trust), Verdict::Untrusted);
    assert_eq!(verdict(&Identity::self_signed(), &trust), Verdict::Untrusted);
    let stranger = Authority::called("another one");
    let old = Leaf { years: (2020, 2024), ..Leaf::default() };
    assert_eq!(verdict(&stranger.issue(&Leaf::default()), &trust), Verdict::Untrusted);
    assert_eq!(verdict(&stranger.issue(&old), &trust), Verdict::Untrusted, "whatever its dates");
}

#[test]
fn a_wildcard_and_an_a_label_are_names() {
    let authority = Authority::new();
    let judge = judge(&authority.trust());
    let names = &["*.dns.example", "xn--bcher-kva.example"];
    let server = Server::default().config(&authority.issue(&Leaf { names, ..Leaf::default() }));
    for (name, expected) in [
        ("one.dns.example", Verdict::Verified),
        ("xn--bcher-kva.example", Verdict::Verified),
        ("ONE.dns.example", Verdict::Verified),
        ("two.one.dns.example", Verdict::OtherName),
    ] {
        assert_eq!(judged_by(&judge, name, &server).verdict, expected, "{name}");
    }
}

#[test]
fn names_and_dates_of_a_certificate_are_kept_within_bounds() {
    let authority = Authority::new();
    let judge = judge(&authority.trust());
    let shown = |names: &[&str]| {
        let server = Server::default().config(&authority.issue(&Leaf { names, ..Leaf::default() }));
        judged_by(&judge, NAME, &server).shown.expect("a certificate")
    };
    let both = shown(&[NAME, "*.dns.example"]);
    assert_eq!(both.names, [NAME, "*.dns.example"]);
    assert_eq!(both.validity.map(|dates| dates.not_before_s), Some(1_577_836_800), "2020");
    let many: Vec<String> = (0..40).map(|n| format!("{n}.example")).collect();
    assert_eq!(shown(&many.iter().map(String::as_str).collect::<Vec<_>>()).names, many[..8]);
    let long: Vec<String> = (0..8).map(|n| format!("{n}.{}.example", "x".repeat(60))).collect();
    assert_eq!(shown(&long.iter().map(String::as_str).collect::<Vec<_>>()).names, long[..3], "256 octets");
}

/// Anybody can show the certificate of another server, but not sign with its key.
#[test]
fn a_server_without_the_key_of_its_certificate_is_not_verified() {
    #[derive(Debug)]
    struct Borrowed(Arc<rustls::sign::CertifiedKey>);
    impl rustls::server::ResolvesServerCert for Borrowed {
        fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }
    let authority = Authority::new();
    let (real, other) = (authority.issue(&Leaf::default()), authority.issue(&Leaf::default()));
    let key = rustls::crypto::ring::sign::any_supported_type(&other.key()).expect("a key");
    let borrowed = Arc::new(Borrowed(Arc::new(rustls::sign::CertifiedKey::new(real.chain.clone(), key))));
    for versions in [&TLS12_ALONE, &TLS13_ALONE] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let config = config.expect("versions").with_no_client_auth();
        let server = Arc::new(config.with_cert_resolver(Arc::clone(&borrowed) as _));
        assert_eq!(judged_by(&judge(&authority.trust()), NAME, &server).verdict, Verdict::Untrusted);
    }
}

#[test]
fn a_server_that_wants_a_client_certificate_or_another_protocol_is_judged_or_unknown() {
    let authority = Authority::new();
    let (judge, identity) = (judge(&authority.trust()), authority.issue(&Leaf::default()));
    let roots = ClientRoots(Arc::new({
        let mut roots = rustls::RootCertStore::empty();
        roots.add(Identity::self_signed().chain[0].clone()).expect("an authority");
        roots
    }));
    let demanding = Server { asks_for_client_certificate: Some(roots), ..Server::default() };
    assert_eq!(judged_by(&judge, NAME, &demanding.config(&identity)).verdict, Verdict::Verified);
    let http = Server { alpn: vec![b"http/1.1".to_vec()], ..Server::default() };
    assert_eq!(judged_by(&judge, NAME, &http.config(&identity)).verdict, Verdict::Verified);
    let mail = Server { alpn: vec![b"imap".to_vec()], ..Server::default() };
    assert_eq!(judged_by(&judge, NAME, &mail.config(&identity)).verdict, Verdict::Unknown);
}

/// The judgement on a server that sends these octets, and then ends the connection in this way, if at all.
fn after(octets: &[u8], is_ended: bool, is_reset: bool) -> Option<Verdict> {
    let trust = Authority::new().trust();
    let mut trial = trial(&judge(&trust), NAME);
    let mut wire = Wire { to_client: octets.to_vec().into(), is_ended, is_reset, ..Wire::default() };
    trial.transmit(&mut wire).expect("memory takes everything");
    trial.receive(&mut wire).map(|judgement| judgement.verdict)
}

#[test]
fn what_is_no_server_of_tls_has_its_verdict_too() {
    for plain in
        [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.6\r\n", &[0; 64], &[0xff; 70_000]]
    {
        assert_eq!(after(plain, false, false), Some(Verdict::NoTls));
    }
    assert_eq!(after(&[], true, false), Some(Verdict::NoTls), "closed without a word");
    assert_eq!(after(&[], false, true), Some(Verdict::NoTls), "reset without a word");
    assert_eq!(after(&[], false, false), None, "silence is ended by the caller");
    assert_eq!(after(&[22, 3, 3, 0, 90, 2, 0], true, false), Some(Verdict::Unknown), "closed halfway");
    assert_eq!(after(&[22, 3, 3, 0, 90, 2, 0], false, false), None);
    for code in (0..=255_u8).filter(|code| *code != 0 && *code != 90) {
        let expected = if code == 112 { Verdict::OtherName } else { Verdict::Unknown };
        assert_eq!(after(&[21, 3, 3, 0, 2, 2, code], false, false), Some(expected), "alert {code}");
    }
    // A ServerHello of TLS 1.0.
    let mut old = vec![22, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1];
    old.extend([7; 32]);
    old.extend([0, 0, 47, 0]);
    assert_eq!(after(&old, false, false), Some(Verdict::Unknown));
}

/// A hello that is right up to the octet at which it ends or is changed.
#[test]
fn any_octets_of_a_server_end_in_a_judgement_or_in_waiting() {
    let authority = Authority::new();
    let judge = judge(&authority.trust());
    let server = Server { versions: &TLS12_ALONE, ..Server::default() };
    let identity = authority.issue(&Leaf::default());
    let (server, leaf) = (server.config(&identity), identity.chain[0].to_vec());
    proptest!(|(at in 0_usize..2000, change in 1_u8.., piece in 1_usize..400)| {
        let (mut trial, mut wire) = (trial(&judge, NAME), Wire::default());
        trial.transmit(&mut wire).expect("memory takes everything");
        let mut connection = ServerConnection::new(Arc::clone(&server)).expect("a server");
        connection.read_tls(&mut &wire.to_server[..]).expect("a hello");
        connection.process_new_packets().expect("a hello");
        let mut sent = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut sent).expect("memory takes everything");
        }
        let begin = sent.windows(leaf.len()).position(|part| part == leaf).expect("in clear text");
        let at = at % sent.len();
        sent[at] ^= change;
        let mut judgement = None;
        for piece in sent.chunks(piece) {
            wire.to_client.extend(piece);
            judgement = judgement.or_else(|| trial.receive(&mut wire));
        }
        let is_verified = judgement.is_some_and(|judgement| judgement.verdict == Verdict::Verified);
        prop_assert!(!is_verified || !(begin..begin + leaf.len()).contains(&at), "another certificate");
    });
}

#[test]
fn a_flood_ends_within_its_bound() {
    // Records of one octet each, of a handshake message that never ends.
    let record = [22, 3, 3, 0, 1, 11];
    let flood: Vec<u8> = record.iter().copied().cycle().take(6 << 17).collect();
    let trust = Authority::new().trust();
    let mut trial = trial(&judge(&trust), NAME);
    let mut wire = Wire { to_client: flood.into(), ..Wire::default() };
    let judgement = trial.receive(&mut wire).expect("it ends");
    assert_eq!(judgement.verdict, Verdict::Unknown);
    assert!(wire.to_client.len() > (6 << 17) - (160 << 10), "the rest is not read");
}

#[test]
fn a_clock_that_is_behind_is_noticed() {
    let judge = judge(&Authority::new().trust());
    assert!(!judge.set_system_time(1000) && !judge.set_system_time(BUILT_S - 1));
    assert!(judge.set_system_time(BUILT_S) && judge.set_system_time(BUILT_S + 1_000_000_000));
    assert!(Judge::new(&Trust::none(), Arc::new(Clock::new(0))).is_err(), "without authorities");
}
