//! The socket of the companion: when it is there, who is refused, and what `status` shows.

use super::support::{Daemon, PATIENCE};
use super::{Companion, SITE, good, set, site, socket};
use hither_control::{OFFERS_MAX, SITE_VERSION, SiteMessage, SiteReply};
use hither_net::seqpacket::Connection;
use serde_json::Value;

#[test]
fn the_socket_is_there_while_an_engine_is_configured() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], "");
    assert!(!socket(&daemon).exists());
    assert_eq!(site(&daemon), Value::Null);
    Daemon::configure(&daemon.dir, &[&upstream], SITE);
    assert!(daemon.ctl(&["reload"]).status.success());
    assert_eq!(site(&daemon)["connected"], false);
    let companion = Companion::with_engine(&daemon, "up");
    let shown = site(&daemon);
    assert_eq!((&shown["connected"], &shown["host"]), (&true.into(), &"here".into()), "{shown}");
    assert_eq!(shown["pid"], std::process::id(), "{shown}");
    assert_eq!((&shown["written"], &shown["refused"]["clock"]), (&0.into(), &0.into()), "{shown}");
    let text = String::from_utf8(daemon.ctl(&["status"]).stdout).expect("text");
    assert!(text.contains("\nsite       process ") && text.contains(", host here, engine up\n"), "{text}");

    // Another route, another prefix: the companion has to know before the next set is published.
    assert!(daemon.ctl(&["reload"]).status.success());
    assert_eq!(companion.hear(), Some(SiteReply::Reload));
    Daemon::configure(&daemon.dir, &[&upstream], "");
    assert!(daemon.ctl(&["reload"]).status.success());
    assert!(!socket(&daemon).exists());
    assert_eq!(companion.hear(), Some(SiteReply::Reload), "it shares nothing any more");
    assert_eq!((companion.hear(), site(&daemon)), (None, Value::Null));
    assert_eq!(super::support::ends(&daemon.ask("www.example")), [1]);
}

#[test]
fn the_companion_hears_which_names_stay_here_before_they_are_asked_elsewhere() {
    let upstream = good();
    let with = |names: &str| {
        format!("{SITE}\n[[domain]]\nnames = [{names}]\nupstreams = [\"{}\"]\n", upstream.address)
    };
    let daemon = Daemon::start(&[&upstream], &with("\"corp.example\""));
    let companion = Companion::with_engine(&daemon, "up");
    assert_eq!(companion.hear_unshared(), ["corp.example."]);
    Daemon::configure(&daemon.dir, &[&upstream], &with("\"corp.example\", \"vpn.example\""));
    assert!(daemon.ctl(&["reload"]).status.success());
    assert_eq!(companion.hear_any(), Some(SiteReply::Reload));
    assert_eq!(companion.hear_unshared(), ["corp.example.", "vpn.example."]);
}

#[test]
fn a_companion_of_another_version_is_refused() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], SITE);
    let companion = Companion::connect(&daemon);
    companion.say(&SiteMessage::Hello { version: SITE_VERSION + 1 });
    assert!(matches!(companion.hear(), Some(SiteReply::Unwelcome { .. })));
    assert_eq!(companion.hear(), None);
    daemon.until("it is gone", |d| site(d)["connected"] == false);
}

#[test]
fn malformed_messages_end_the_connection_and_nothing_else() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], SITE);
    let too_many = SiteMessage::Offers { sets: vec![set("www.example", 7, 60); OFFERS_MAX + 1] };
    let too_many = hither_control::encode(&too_many).expect("short");
    let misspelt = br#"{"state":{"host":"x"},"mood":1}"#.to_vec();
    for octets in [b"{".to_vec(), vec![0xff; 60_000], misspelt, too_many] {
        let companion = Companion::with_engine(&daemon, "up");
        companion.0.send(&octets).expect("sent");
        assert_eq!(companion.hear(), None, "{}", String::from_utf8_lossy(&octets));
    }
    let silent = Companion::connect(&daemon);
    silent.report("up");
    assert_eq!(silent.hear(), None, "its first message says no version");
    daemon.until("all are counted", |d| d.json(&["stats"])["control_errors"] == 5);
    assert_eq!(super::support::ends(&daemon.ask("www.example")), [1]);
}

#[test]
fn a_newer_companion_replaces_the_older() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], SITE);
    let older = Companion::with_engine(&daemon, "up");
    let newer = Companion::with_engine(&daemon, "connecting");
    assert_eq!(older.hear(), None);
    assert_eq!(site(&daemon)["connected"], true);
    drop(newer);
    daemon.until("it is gone", |d| site(d)["connected"] == false);
    let text = String::from_utf8(daemon.ctl(&["status"]).stdout).expect("text");
    assert!(text.contains("\nsite       hither-site is not connected\n"), "{text}");
}

#[test]
fn a_removed_socket_is_bound_again() {
    let upstream = good();
    let daemon = Daemon::start(&[&upstream], SITE);
    std::fs::remove_dir_all(daemon.dir.join("run")).expect("removed");
    daemon.until("it is there again", |d| {
        Connection::connect(&socket(d), Some(PATIENCE)).is_ok_and(|connection| {
            let companion = Companion(connection);
            companion.say(&SiteMessage::Hello { version: SITE_VERSION });
            companion.report("up");
            true
        })
    });
}
