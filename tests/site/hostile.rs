//! Engines that lie: what they announce without an end costs neither memory nor the companion.

use crate::engine::Engine;
use crate::host::Host;
use hither_control::SiteReply;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

/// The most memory that the companion may have.
const MEMORY_KIB: usize = 16 * 1024;

/// An engine that answers every connection with the same octets, and some of them without an end.
fn liar(begin: &'static [u8], then: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accepted");
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                if crate::support::retried(|| stream.read(&mut buffer)).is_err()
                    || stream.write_all(begin).is_err()
                {
                    return;
                }
                let many = then.repeat(1024);
                while !many.is_empty() && stream.write_all(&many).is_ok() {}
                // Nothing more comes until the companion gives up.
                while let Ok(1..) = crate::support::retried(|| stream.read(&mut buffer)) {}
            });
        }
    });
    port
}

#[test]
fn replies_without_a_bound_end_the_connection_and_cost_no_memory() {
    for (begin, then) in [
        (&b"$1073741824\r\n"[..], &b"x"[..]),
        (b"*1000000000\r\n", b":1\r\n"),
        (b"+", b"x"),
        (b"", b"*1\r\n"),
        (b"*2\r\n", b"$8000\r\n"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", b""),
        (b"*1\r\n$6\r\nmaster\r\n$16000000\r\n", b"x"),
    ] {
        let port = liar(begin, then);
        let mut host = Host::start("a", &format!("[site]\nengine = \"valkey://127.0.0.1:{port}\"\n"));
        let report = host.report(|report| report.counts.reconnects >= 3);
        assert_eq!(report.state, "connecting", "{report:?}");
        assert!(report.problem.is_some(), "{report:?}");
        assert!(host.memory_kib() <= MEMORY_KIB, "{} KiB", host.memory_kib());
    }
}

#[test]
fn what_others_write_without_being_of_the_site_is_refused_and_counted() {
    let Some(engine) = Engine::start(&[]) else { return };
    let mut host = Host::start("a", &engine.config(""));
    host.until_up();
    let large = "x".repeat(1 << 20);
    engine.cli(&["SET", "{hither}:a:large.example.com.", &large]);
    engine.cli(&["SET", "{hither}:a:junk.example.com.", "HSE1 is how it begins"]);
    host.send(&SiteReply::Ask { ask: 1, name: "large.example.com.".into(), rtype: "A".into() });
    assert_eq!(host.answer(1), None);
    host.send(&SiteReply::Ask { ask: 2, name: "junk.example.com.".into(), rtype: "A".into() });
    assert_eq!(host.answer(2), None);
    host.send(&SiteReply::Ask { ask: 3, name: "a..b".into(), rtype: "A".into() });
    assert_eq!(host.answer(3), None);
    engine.cli(&["PUBLISH", "{hither}:sets", &large]);
    let message = |key: &str, value: &str| format!("{}\0{key}{value}", char::from(key.len() as u8));
    for n in 0..1000 {
        engine.cli(&["PUBLISH", "{hither}:sets", &message("{hither}:a:b.example.", &format!("HSE1\0{n}"))]);
    }
    engine.cli(&["PUBLISH", "{hither}:sets", &message("{other}:a:b.example.", "HSE1\0")]);
    engine.cli(&["PUBLISH", "{hither}:sets", "\0"]);
    let report = host.report(|report| report.counts.refused.prefix == 1);
    let refused = report.counts.refused;
    assert_eq!(refused.size, 2, "{report:?}");
    assert!(refused.malformed >= 1000, "{report:?}");
    assert_eq!((report.counts.offered, report.counts.found, report.state.as_str()), (0, 0, "up"));
    assert_eq!(host.log().matches("is refused").count(), 1);
    assert!(host.memory_kib() <= MEMORY_KIB, "{} KiB", host.memory_kib());
}
