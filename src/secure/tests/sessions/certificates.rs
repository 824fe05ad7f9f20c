//! Which certificates are accepted, and why others are not.

use crate::support::{Authority, Identity, Leaf, NAME, Pair, Server, policy, shared};
use hither_secure::{
    Clock, Date, Error, Fault, Policy, Roots, Scheme, ServerName, Shared, SharedError, Trust, Verify,
};
use std::path::Path;
use std::sync::Arc;

/// Connects to a server with this certificate, and returns why it was refused.
fn refused(policy: Policy, trust: &Trust, identity: &Identity) -> Option<Error> {
    let shared = shared(policy, trust);
    let mut pair = Pair::new(&shared, &Server::default().config(identity));
    pair.session.query(7, &[0; 12]).expect("taken");
    pair.run(usize::MAX);
    assert_eq!(pair.ready().is_some(), pair.error().is_none(), "either ready or closed");
    assert_eq!(pair.heard.is_empty(), pair.error().is_some(), "a query goes to an accepted server alone");
    pair.error().cloned()
}

fn strict(leaf: &Leaf<'_>) -> Option<Error> {
    let authority = Authority::new();
    refused(policy(Scheme::Dot), &authority.trust(), &authority.issue(leaf))
}

#[test]
fn a_good_certificate_is_accepted() {
    assert_eq!(strict(&Leaf::default()), None);
}

#[test]
fn a_wildcard_stands_for_one_label_and_needs_two_behind_it() {
    let authority = Authority::new();
    for (host, presented, is_accepted) in [
        ("one.dns.example", "*.dns.example", true),
        ("dns.example", "*.dns.example", false),
        ("two.one.dns.example", "*.dns.example", false),
        ("dns.example", "*.example", false),
    ] {
        let identity = authority.issue(&Leaf { names: &["other.example", presented], ..Leaf::default() });
        let server_name = ServerName::try_from(host).expect("a name");
        let error = refused(Policy { server_name, ..policy(Scheme::Dot) }, &authority.trust(), &identity);
        assert_eq!(error.is_none(), is_accepted, "{host}, {presented}: {error:?}");
    }
}

#[test]
fn an_expired_certificate_is_refused_with_both_dates() {
    let error = strict(&Leaf { years: (2020, 2024), ..Leaf::default() }).expect("refused");
    let Error::Certificate(Fault::Expired { not_after, judged }) = &error else { panic!("{error:?}") };
    assert_eq!(
        (not_after.to_string().as_str(), *judged),
        ("2024-01-01 00:00 UTC", Date(hither_secure::BUILT_S))
    );
    assert!(error.to_string().contains("expired at 2024-01-01 00:00 UTC; it is judged by 20"), "{error}");
}

#[test]
fn a_certificate_of_the_future_is_refused_with_both_dates() {
    let error = strict(&Leaf { years: (2098, 2099), ..Leaf::default() }).expect("refused");
    assert!(error.to_string().contains("valid from 2098-01-01 00:00 UTC; it is judged by 20"), "{error}");
}

#[test]
fn a_clock_that_is_behind_refuses_no_certificate() {
    let authority = Authority::new();
    let clock = Arc::new(Clock::new(0));
    clock.set_system(1000);
    let shared = Shared::new(policy(Scheme::Dot), &authority.trust(), clock).expect("a policy");
    let mut pair = Pair::new(&shared, &Server::default().config(&authority.issue(&Leaf::default())));
    assert_eq!(pair.run(usize::MAX).error(), None);
}

#[test]
fn another_name_is_refused_and_both_are_shown() {
    let error = strict(&Leaf { names: &["dns.other", "192.0.2.1"], ..Leaf::default() }).expect("refused");
    let Error::Certificate(Fault::OtherName { expected, presented }) = &error else { panic!("{error:?}") };
    assert_eq!(expected, NAME);
    assert_eq!(presented, &["dns.other", "192.0.2.1"]);
    assert!(error.remedy().is_some_and(|remedy| remedy.contains("its name")));
}

#[test]
fn an_unknown_authority_is_refused() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let error = refused(policy(Scheme::Dot), &known.trust(), &unknown.issue(&Leaf::default()));
    assert!(matches!(error, Some(Error::Certificate(Fault::UnknownIssuer | Fault::Signature))), "{error:?}");
}

#[test]
fn a_certificate_of_clients_is_refused() {
    let error = strict(&Leaf { is_for_servers: false, ..Leaf::default() });
    assert_eq!(error, Some(Error::Certificate(Fault::Purpose)));
}

#[test]
fn a_self_signed_certificate_of_an_authority_needs_a_pin() {
    let identity = Identity::self_signed();
    let trust = Trust::read(identity.chain_pem.as_bytes(), Path::new("self.pem")).expect("one authority");
    let error = refused(policy(Scheme::Dot), &trust, &identity).expect("no server");
    assert_eq!(error, Error::Certificate(Fault::Authority));
    assert!(error.remedy().is_some_and(|remedy| remedy.contains("verify = \"pin\"")));
    let pinned = Policy { pins: vec![identity.pin], verify: Verify::Pin, ..policy(Scheme::Dot) };
    assert_eq!(refused(pinned, &Trust::none(), &identity), None, "the remedy helps");
}

#[test]
fn an_address_in_the_certificate_is_accepted_as_name() {
    let authority = Authority::new();
    let identity = authority.issue(&Leaf { names: &["192.0.2.1", "2001:db8::1"], ..Leaf::default() });
    for (address, is_accepted) in [("192.0.2.1", true), ("2001:db8::1", true), ("192.0.2.2", false)] {
        let server_name = ServerName::try_from(address).expect("an address");
        let error = refused(Policy { server_name, ..policy(Scheme::Dot) }, &authority.trust(), &identity);
        assert_eq!(error.is_none(), is_accepted, "{address}: {error:?}");
    }
}

#[test]
fn strict_with_pins_needs_the_authority_and_the_pin() {
    let (authority, other) = (Authority::new(), Authority::new());
    let identity = authority.issue(&Leaf::default());
    let pinned = |pin| Policy { pins: vec![[0; 32], pin], ..policy(Scheme::Dot) };
    assert_eq!(refused(pinned(identity.pin), &authority.trust(), &identity), None);
    let error = refused(pinned([1; 32]), &authority.trust(), &identity).expect("right authority, wrong pin");
    assert_eq!(error, Error::Certificate(Fault::OtherKey(identity.pin)));
    assert!(error.to_string().contains("sha256/"), "{error}");
    let error = refused(pinned(identity.pin), &other.trust(), &identity).expect("right pin, wrong authority");
    assert!(matches!(error, Error::Certificate(Fault::UnknownIssuer | Fault::Signature)), "{error:?}");
}

#[test]
fn pins_alone_need_neither_authority_nor_name_nor_dates() {
    let authority = Authority::new();
    let identity = authority.issue(&Leaf { names: &["x.other"], years: (2020, 2021), ..Leaf::default() });
    let pinned = |pin| Policy { pins: vec![pin], verify: Verify::Pin, ..policy(Scheme::Dot) };
    assert_eq!(refused(pinned(identity.pin), &Trust::none(), &identity), None);
    let error = refused(pinned([1; 32]), &authority.trust(), &identity);
    assert_eq!(error, Some(Error::Certificate(Fault::OtherKey(identity.pin))));
}

#[test]
fn opportunistic_accepts_and_reports_what_is_wrong() {
    let authority = Authority::new();
    let identity = authority.issue(&Leaf { years: (2020, 2021), ..Leaf::default() });
    let shared = shared(Policy { verify: Verify::Opportunistic, ..policy(Scheme::Dot) }, &authority.trust());
    let mut pair = Pair::new(&shared, &Server::default().config(&identity));
    let problem = pair.run(usize::MAX).ready().expect("accepted").problem.clone();
    assert!(matches!(problem, Some(Error::Certificate(Fault::Expired { .. }))), "{problem:?}");
    let good = authority.issue(&Leaf::default());
    let mut pair = Pair::new(&shared, &Server::default().config(&good));
    assert_eq!(pair.run(usize::MAX).ready().expect("accepted").problem, None);
}

#[test]
fn the_key_must_be_that_of_the_certificate_in_every_mode() {
    let authority = Authority::new();
    let (identity, other) = (authority.issue(&Leaf::default()), authority.issue(&Leaf::default()));
    let stolen = rustls::sign::CertifiedKey::new(
        identity.chain.clone(),
        rustls::crypto::ring::sign::any_supported_type(&other.key()).expect("a key"),
    );
    let mut config = Arc::unwrap_or_clone(Server::default().config(&identity));
    config.cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(stolen));
    let config = Arc::new(config);
    for verify in [Verify::Strict, Verify::Pin, Verify::Opportunistic] {
        let policy = Policy { pins: vec![identity.pin], verify, ..policy(Scheme::Dot) };
        let mut pair = Pair::new(&shared(policy, &authority.trust()), &config);
        pair.session.query(7, &[0; 12]).expect("taken");
        let error = pair.run(usize::MAX).error().cloned();
        assert_eq!(error, Some(Error::Certificate(Fault::Signature)), "{verify:?}");
        assert!(pair.heard.is_empty());
    }
}

#[test]
fn a_policy_that_nothing_meets_is_refused_at_once() {
    let clock = Arc::new(Clock::new(0));
    let pin = Policy { verify: Verify::Pin, ..policy(Scheme::Dot) };
    let made = |policy, clock: &Arc<Clock>| Shared::new(policy, &Trust::none(), Arc::clone(clock)).err();
    assert_eq!(made(pin, &clock), Some(SharedError::NoPin));
    assert_eq!(made(policy(Scheme::Dot), &clock), Some(SharedError::NoAuthority));
}

#[test]
fn files_without_authorities_are_refused() {
    let read = |text: &str| Trust::read(text.as_bytes(), Path::new("x.pem")).map(|trust| trust.count());
    assert!(read("").is_err() && read("no certificate").is_err());
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(read(broken).is_err());
    let both = format!("{broken}{}", Authority::new().pem);
    assert_eq!(read(&both).expect("one authority"), 1);
    let marked = format!("\u{feff}{}", Authority::new().pem);
    assert_eq!(read(&marked).expect("one authority behind a byte order mark"), 1);
    let why = |file: &Path| Trust::load(&Roots::File(file.into())).expect_err("no file").to_string();
    let error = why(Path::new("/nonexistent/ca.pem"));
    assert!(error.contains("cannot read the certificate authorities in /nonexistent/ca.pem"), "{error}");
    assert!(why(Path::new("/")).ends_with("in /: is a directory"), "{}", why(Path::new("/")));
    // A FIFO without a writer would stop the reader for ever.
    let fifo = std::env::temp_dir().join(format!("hither-authorities-{}.fifo", std::process::id()));
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.is_ok_and(|status| status.success()));
    let error = why(&fifo);
    std::fs::remove_file(&fifo).expect("removable");
    assert!(error.ends_with("it is a FIFO, a socket or a device, not a file"), "{error}");
}

#[test]
fn the_expiry_of_the_certificate_is_known() {
    let authority = Authority::new();
    let shared = shared(policy(Scheme::Dot), &authority.trust());
    let mut pair = Pair::new(&shared, &Server::default().config(&authority.issue(&Leaf::default())));
    let expires_s = pair.run(usize::MAX).ready().expect("ready").expires_s.expect("a date");
    assert_eq!(Date(expires_s).to_string(), "2099-01-01 00:00 UTC");
}
