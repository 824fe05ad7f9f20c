//! The daemon and the companion that shares answers with other hosts, which a test plays here: it is
//! honest, hangs, lies, floods, or is of another version.

#[path = "site_daemon/asks.rs"]
mod asks;
#[path = "site_daemon/offers.rs"]
mod offers;
#[path = "site_daemon/socket.rs"]
mod socket;
mod support;

use hither_control::{
    MESSAGE_MAX, OfferedAddress, OfferedSet, OfferedTimes, SITE_SOCKET, SITE_VERSION, SiteMessage, SiteReply,
    SiteReport, decode, encode,
};
use hither_net::seqpacket::Connection;
use hither_table::Monotonic;
use serde_json::Value;
use std::io::ErrorKind;
use std::path::PathBuf;
use support::{Daemon, PATIENCE, Upstream, answer};

/// A `[site]` whose engine nobody talks to: the test plays the companion.
const SITE: &str = "[site]\nengine = \"valkey://127.0.0.1:1\"\n";

/// An upstream that gives 198.18.0.1.
fn good() -> Upstream {
    Upstream::start(|query, _| vec![(0, answer(query, &[1], 300))])
}

fn socket(daemon: &Daemon) -> PathBuf {
    daemon.dir.join("run").join(SITE_SOCKET)
}

/// A process that speaks as the companion does.
struct Companion(Connection);

impl Companion {
    fn connect(daemon: &Daemon) -> Companion {
        let path = socket(daemon);
        daemon.until("the socket exists", |_| path.exists());
        Companion(Connection::connect(&path, Some(PATIENCE)).expect("connected"))
    }

    /// A companion whose engine is in this state.
    fn with_engine(daemon: &Daemon, state: &str) -> Companion {
        let companion = Companion::connect(daemon);
        companion.say(&SiteMessage::Hello { version: SITE_VERSION });
        companion.report(state);
        daemon.until("its report is there", |d| site(d)["state"] == state);
        companion
    }

    fn say(&self, message: &SiteMessage) {
        self.0.send(&encode(message).expect("short")).expect("sent");
    }

    fn report(&self, state: &str) {
        let report = SiteReport { state: state.to_owned(), host: "here".to_owned(), ..SiteReport::default() };
        self.say(&SiteMessage::State(Box::new(report)));
    }

    fn offer(&self, sets: Vec<OfferedSet>) {
        self.say(&SiteMessage::Offers { sets });
    }

    /// The next message, unless it says which names stay here; `None` if the connection is closed.
    fn hear(&self) -> Option<SiteReply> {
        loop {
            match self.hear_any() {
                Some(SiteReply::Unshared { .. }) => {}
                message => return message,
            }
        }
    }

    /// The domains that stay here, as the next message says.
    fn hear_unshared(&self) -> Vec<String> {
        match self.hear_any() {
            Some(SiteReply::Unshared { domains, is_cut: false }) => domains,
            message => panic!("no list: {message:?}"),
        }
    }

    fn hear_any(&self) -> Option<SiteReply> {
        let mut buffer = vec![0; MESSAGE_MAX];
        match self.0.receive(&mut buffer) {
            Ok([]) => None,
            Ok(octets) => Some(decode(octets).expect("readable")),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("neither a message nor the end: {error}"),
        }
    }
}

fn site(daemon: &Daemon) -> Value {
    daemon.json(&["status"])["site"].clone()
}

fn stats(daemon: &Daemon, counter: &str) -> u64 {
    daemon.json(&["stats"])[counter].as_u64().expect("a counter")
}

/// The set 198.18.0.`end` of a name, which host web1 has learned just now.
fn set(name: &str, end: u8, ttl_s: u32) -> OfferedSet {
    let now_ms = Monotonic::now().as_ms();
    OfferedSet {
        name: format!("{name}."),
        rtype: "A".to_owned(),
        host: "web1".to_owned(),
        said_by: vec!["192.0.2.53:53".to_owned()],
        times: OfferedTimes {
            asked_ms: now_ms,
            learned_ms: now_ms,
            expire_ms: now_ms + u64::from(ttl_s) * 1000,
            lifetime_s: ttl_s,
        },
        answered: 2,
        disputes: 0,
        negative: None,
        addresses: vec![OfferedAddress {
            address: [198, 18, 0, end].into(),
            chain: 0,
            trusted: true,
            sources: 2,
        }],
        chains: vec![Vec::new()],
        soa: None,
    }
}
