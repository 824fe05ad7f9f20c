//! A web server (HTTP/1.1) behind a real one, which answers as its test says.

use crate::support::retried;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// The media type of a DNS message (RFC 8484, section 6).
pub const DNS: &str = "content-type: application/dns-message";

/// A response: its status with a phrase, its fields, and its body.
pub fn page(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\n{fields}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Starts a server that responds to the body of each request, and returns its address. It ends with the
/// process.
pub fn start(respond: impl Fn(&[u8]) -> Vec<u8> + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        while let Ok((stream, _)) = retried(|| listener.accept()) {
            let respond = respond.clone();
            std::thread::spawn(move || {
                if let Some(body) = body_of(&stream) {
                    // A server that has gone needs no response.
                    let _ = (&stream).write_all(&respond(&body));
                }
            });
        }
    });
    address
}

/// The body of the request on a connection; `None` if it ends before.
fn body_of(stream: &TcpStream) -> Option<Vec<u8>> {
    let (mut reader, mut length) = (BufReader::new(stream), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().to_ascii_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().ok()?,
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}
