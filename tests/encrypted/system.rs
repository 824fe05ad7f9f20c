//! Servers that the system names, and has asked over TLS by its links.

use super::{Authority, NAME, configuration, rcode, scripted};
use crate::support::{Daemon, alone, answer, directory, ends, retried, sh};
use hither_wire::codes::Rcode;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A server in clear text; the number of its queries is returned.
fn in_clear_text(address: &str) -> Arc<AtomicUsize> {
    let socket = UdpSocket::bind((address, 53)).expect("a port of one's own");
    let queries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&queries);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((len, peer)) = retried(|| socket.recv_from(&mut buffer)) {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = socket.send_to(&answer(&buffer[..len], &[1], 300), peer);
        }
    });
    queries
}

/// Writes the file of a link as systemd-networkd does.
fn link(index: u32, text: &str) {
    let (path, new) = (format!("/run/systemd/netif/links/{index}"), format!("/run/new-{index}"));
    std::fs::write(&new, text).expect("written");
    std::fs::rename(new, path).expect("renamed");
}

#[test]
fn servers_of_the_system_are_asked_over_tls_where_their_links_say_so() {
    if !alone("servers_of_the_system_are_asked_over_tls_where_their_links_say_so") {
        return;
    }
    for real in ["/etc", "/run"] {
        assert!(sh(&format!("mount -t tmpfs none {real}")), "a tmpfs at {real}");
    }
    std::fs::create_dir_all("/run/systemd/netif/links").expect("a directory");
    let authority = Authority::new();
    let at = |address: &str| address.parse::<SocketAddr>().expect("an address");
    let right = scripted(&authority, at("127.0.0.2:853"), NAME);
    let wrong = scripted(&authority, at("127.0.0.3:853"), "other.example");
    let clear = ["127.0.0.2", "127.0.0.3"].map(in_clear_text);
    for address in ["127.0.0.4", "127.0.0.5"] {
        in_clear_text(address);
    }
    // A file that cannot say how a server is asked.
    std::fs::write("/etc/resolv.conf", "nameserver 127.0.0.2\nnameserver 127.0.0.5\n").expect("written");
    link(7, &format!("DNS=127.0.0.2#{NAME}\nDNS_OVER_TLS=yes\nROUTE_DOMAINS=secure.example\n"));
    link(8, &format!("DNS=127.0.0.3#{NAME}\nDNS_OVER_TLS=yes\nROUTE_DOMAINS=wrong.example\n"));
    link(9, "DNS=127.0.0.4\nROUTE_DOMAINS=plain.example\n");
    let dir = directory();
    std::fs::write(dir.join("ca.pem"), &authority.pem).expect("written");
    let daemon = Daemon::start_in(dir.clone(), &[], &configuration(&dir, &[]));
    for number in 0..5 {
        let asked = |domain: &str| daemon.ask(&format!("n{number}.{domain}"));
        assert_eq!(ends(&asked("secure.example")), [7], "{}", daemon.log());
        assert_eq!(ends(&asked("plain.example")), [1], "{}", daemon.log());
        assert_eq!(ends(&asked("example")), [1], "{}", daemon.log());
        assert_eq!(rcode(&asked("wrong.example")), Rcode::SERVFAIL, "{}", daemon.log());
    }
    let status = daemon.json(&["status"]);
    let upstream = |address: String| {
        let all = status["upstreams"].as_array().expect("a list");
        all.iter().find(|one| one["address"] == address).unwrap_or_else(|| panic!("{address} in {status}"))
    };
    let good = upstream(format!("tls://127.0.0.2#{NAME}"));
    assert_eq!((&good["transport"], &good["domains"][0]), (&"tls".into(), &"secure.example.".into()));
    assert_eq!(good["origin"], "link 7 (systemd-networkd)");
    let refused = upstream(format!("tls://127.0.0.3#{NAME}"))["tls"]["problem"].to_string();
    assert!(refused.contains("other.example"), "{refused}");
    assert!(right.queries() >= 5 && wrong.queries() == 0);
    // The network changes its mind.
    link(7, "DNS=127.0.0.4\nROUTE_DOMAINS=secure.example\n");
    link(9, &format!("DNS=127.0.0.2#{NAME}\nDNS_OVER_TLS=opportunistic\nROUTE_DOMAINS=plain.example\n"));
    let number = AtomicUsize::new(0);
    daemon.until("the links are followed", |daemon| {
        let number = number.fetch_add(1, Ordering::SeqCst);
        let asked = |domain: &str| ends(&daemon.ask(&format!("m{number}.{domain}")));
        asked("secure.example") == [1] && asked("plain.example") == [7]
    });
    assert_eq!(clear.map(|queries| queries.load(Ordering::SeqCst)), [0, 0], "in clear text");
}
