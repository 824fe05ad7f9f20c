//! Who may share: keys, passwords, certificates.

use crate::authorities::{Authority, Leaf};
use crate::engine::{Engine, free_port};
use crate::host::{Host, addresses};
use hither_control::SiteReply;
use std::os::unix::fs::PermissionsExt as _;

const KEY: &str = "a key of the tests, which is long enough\n";

#[test]
fn an_engine_that_may_be_elsewhere_is_refused_until_there_is_a_key() {
    let Some(engine) = Engine::start_with_port(&[]) else { return };
    let config = format!("[site]\nengine = \"valkey://localhost:{}\"\n", engine.port);
    let mut host = Host::start("a", &config);
    let report = host.report(|report| report.problem.is_some());
    assert_eq!(report.state, "refused");
    assert!(
        report.problem.is_some_and(|problem| problem.contains("site.key") && problem.contains("16 octets"))
    );
    host.credential("site.key", "short\n");
    host.until_log("reading the configuration again");
    host.credential("site.key", KEY);
    host.until_up();
    host.publish("www.example.com", &[1], 300);
    crate::support::until("it is written", || !engine.keys().is_empty());
}

#[test]
fn entries_of_another_key_are_refused_and_said_once() {
    let Some(engine) = Engine::start(&[]) else { return };
    let with_key = |name: &str, key: &str| {
        let mut host = Host::prepare(name);
        host.credential("site.key", key);
        host.run(&engine.config(""));
        host.until_up();
        host
    };
    let mut first = with_key("first", KEY);
    for n in 0..3 {
        first.publish(&format!("n{n}.example.com"), &[1], 300);
    }
    first.until_written(3);
    let mut other = with_key("other", "another key, which is long enough, too");
    let report = other.report(|report| report.counts.refused.signature == 3);
    assert_eq!(report.counts.offered, 0);
    other.until_log("is refused");
    assert_eq!(other.log().matches("is refused").count(), 1, "{}", other.log());
    let mut same = with_key("same", KEY.trim_end());
    assert_eq!(same.report(|report| report.counts.offered == 3).counts.received, 3);
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let Some(engine) = Engine::start(&[]) else { return };
    let mut host = Host::prepare("a");
    let path = host.dir.join("key");
    std::fs::write(&path, KEY).expect("writable");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("ours");
    host.run(&engine.config(&format!("key = {:?}\n", path.display().to_string())));
    let report = host.report(|report| report.problem.is_some());
    assert!(report.state == "refused" && report.problem.is_some_and(|problem| problem.contains("0644")));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("ours");
    host.until_up();
}

#[test]
fn a_password_is_needed_and_taken_from_its_credential() {
    let Some(engine) = Engine::start(&[]) else { return };
    engine.cli(&["ACL", "SETUSER", "site", "on", ">secret", "~{hither}:*", "&{hither}:*", "+@all"]);
    engine.cli(&["ACL", "SETUSER", "default", "resetchannels", "-@all", "+ping", "+quit", "+auth"]);
    let mut host = Host::start("a", &engine.config(""));
    let report = host.report(|report| report.problem.is_some());
    assert_eq!(report.state, "connecting", "{report:?}");
    assert!(report.problem.is_some_and(|problem| problem.contains("+publish")));

    for (password, state) in [("wrong\n", "connecting"), ("secret\n", "up")] {
        let Some(engine) = Engine::start(&["--requirepass", "secret", "--rename-command", "QUIT", "QUIT"])
        else {
            return;
        };
        let mut host = Host::prepare("b");
        host.credential("site.password", password);
        host.run(&engine.config(""));
        let report = host.report(|report| report.problem.is_some() || report.state == "up");
        assert_eq!(report.state, state, "{report:?}");
        assert!(
            report
                .problem
                .is_none_or(|problem| problem.contains("site.password") && !problem.contains("wrong\n"))
        );
        assert!(!host.log().contains("secret"));
    }
}

#[test]
fn an_engine_with_tls_must_show_a_certificate_of_a_known_authority() {
    let (authority, stranger) = (Authority::new(), Authority::called("another one"));
    let identity = authority.issue(&Leaf { names: &["127.0.0.1"], ..Leaf::default() });
    let dir = crate::support::directory();
    let path = |name: &str| dir.join(name).display().to_string();
    for (name, text) in [
        ("ca.pem", &authority.pem),
        ("stranger.pem", &stranger.pem),
        ("cert.pem", &identity.chain_pem),
        ("key.pem", &identity.key_pem),
    ] {
        std::fs::write(dir.join(name), text).expect("writable");
    }
    let port = free_port().to_string();
    let args = [
        "--tls-port",
        &port,
        "--tls-cert-file",
        &path("cert.pem"),
        "--tls-key-file",
        &path("key.pem"),
        "--tls-ca-cert-file",
        &path("ca.pem"),
        "--tls-auth-clients",
        "no",
    ];
    let Some(engine) = Engine::start(&args) else { return };
    let config =
        |ca: &str| format!("[site]\nengine = \"valkeys://127.0.0.1:{port}\"\nca_file = {:?}\n", path(ca));
    let mut host = Host::start("a", &config("stranger.pem"));
    let report = host.report(|report| report.problem.is_some());
    assert!(report.problem.as_ref().is_some_and(|problem| problem.contains("ca_file")), "{report:?}");
    let mut host = Host::start("b", &config("ca.pem"));
    host.until_up();
    host.publish("www.example.com", &[1], 300);
    host.until_written(1);
    let mut other = Host::start("c", &config("ca.pem"));
    assert_eq!(addresses(&other.next_offer()), [1]);
    assert_eq!(engine.keys(), ["{hither}:a:www.example.com."]);
    let mut plain = Host::start("d", &format!("[site]\nengine = \"valkey://127.0.0.1:{port}\"\n"));
    assert_eq!(plain.report(|report| report.problem.is_some()).state, "connecting");
    let _ = std::fs::remove_dir_all(&dir);
}

#[test]
fn names_that_the_daemon_asks_elsewhere_stay_here_from_its_word_on() {
    let Some(engine) = Engine::start(&[]) else { return };
    let mut host = Host::start("a", &engine.config(""));
    host.until_up();
    // A link with a domain of its own comes up.
    host.send(&SiteReply::Unshared { domains: vec!["corp.example.com.".into()], is_cut: false });
    host.publish("www.corp.example.com", &[1], 60);
    host.publish("www.example.com", &[1], 60);
    host.until_written(1);
    assert_eq!(engine.keys(), ["{hither}:a:www.example.com."]);
    // Too many such domains to be listed.
    host.send(&SiteReply::Unshared { domains: Vec::new(), is_cut: true });
    host.publish("late.example.com", &[1], 60);
    host.send(&SiteReply::Ask { ask: 5, name: "www.example.com.".into(), rtype: "A".into() });
    assert_eq!(host.answer(5), None, "nothing is shared");
    host.send(&SiteReply::Unshared { domains: Vec::new(), is_cut: false });
    host.publish("last.example.com", &[1], 60);
    host.until_written(2);
    let mut keys = engine.keys();
    keys.sort();
    assert_eq!(keys, ["{hither}:a:last.example.com.", "{hither}:a:www.example.com."]);
}
