//! Frames as a server sends them, and a connection that has requests.
#![allow(dead_code)] // Each test file uses its own part.

use hither_http2::{Config, Connection, Event, Request, StreamId};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const PRIORITY_FLAG: u8 = 0x20;

/// The encoded field `:status: 200`.
pub const STATUS_200: &[u8] = &[0x88];

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// A literal field without indexing.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0, name.len() as u8][..], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

/// The frames of a response with a body.
pub fn response(stream: u32, body: &[u8]) -> Vec<u8> {
    [frame(HEADERS, END_HEADERS, stream, STATUS_200), frame(DATA, END_STREAM, stream, body)].concat()
}

pub fn ask(connection: &mut Connection, body: &[u8]) -> u32 {
    let request =
        Request { authority: "dns.example", path: "/dns-query", body, accept: "application/dns-message" };
    connection.request(&request).expect("a stream").0
}

/// A connection whose server has sent SETTINGS, with `requests` requests on the streams 1, 3, 5 and so
/// on; nothing waits to be sent, and no event to be polled.
pub fn connected(requests: usize) -> Connection {
    let mut connection = Connection::new(Config::default());
    connection.receive(&frame(SETTINGS, 0, 0, &[])).expect("a server");
    for _ in 0..requests {
        ask(&mut connection, &[7; 40]);
    }
    sent(&mut connection);
    events(&mut connection);
    connection
}

pub fn events(connection: &mut Connection) -> Vec<Event> {
    std::iter::from_fn(|| connection.poll_event()).collect()
}

/// A frame that a connection has sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Sent {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub fn sent(connection: &mut Connection) -> Vec<Sent> {
    let (mut octets, mut before) = (Vec::new(), usize::MAX);
    while octets.len() != before {
        before = octets.len();
        connection.transmit(&mut octets);
    }
    let mut rest = octets.strip_prefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap_or(&octets);
    let mut frames = Vec::new();
    while let Some((&[a, b, c, kind, flags, s, t, u, v], after)) = rest.split_first_chunk::<9>() {
        let (payload, after) = after.split_at(u32::from_be_bytes([0, a, b, c]) as usize);
        frames.push(Sent {
            kind,
            flags,
            stream: u32::from_be_bytes([s, t, u, v]),
            payload: payload.to_vec(),
        });
        rest = after;
    }
    assert!(rest.is_empty(), "frames are complete");
    frames
}

/// The responses among events: their streams and bodies.
pub fn bodies(events: &[Event]) -> Vec<(u32, Vec<u8>)> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Response(response) => Some((response.stream.0, response.body.clone())),
            _ => None,
        })
        .collect()
}

pub const fn stream(id: u32) -> StreamId {
    StreamId(id)
}
