//! The server's side of HTTP/2 (RFC 9113), as far as a POST of a DNS message needs it. Header fields of
//! requests are not read, since every request gets a DNS response.

use std::collections::{BTreeMap, VecDeque};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const ACK: u8 = 1;
/// Octets of requests after which the client's window is widened by as many.
const WIDEN_AT: u32 = 1 << 20;
/// MAX_CONCURRENT_STREAMS: 1000.
const OUR_SETTINGS: [u8; 6] = [0, 3, 0, 0, 3, 232];
/// `:status: 200` and `content-type: application/dns-message`, without the dynamic table (RFC 7541).
const FIELDS: &[u8] = b"\x88\x0f\x10\x17application/dns-message";

/// One connection.
pub struct Http2 {
    received: Vec<u8>,
    has_preface: bool,
    bodies: BTreeMap<u32, Vec<u8>>,
    /// Octets of bodies since the client's window was widened.
    taken: u32,
    /// The window that the client grants.
    window: i64,
    /// Responses that wait for the window.
    waiting: VecDeque<(u32, Vec<u8>)>,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

fn number(octets: &[u8]) -> u32 {
    octets.iter().fold(0, |number, octet| number << 8 | u32::from(*octet))
}

impl Http2 {
    /// Begins a connection.
    pub fn new() -> Http2 {
        Http2 {
            received: Vec::new(),
            has_preface: false,
            bodies: BTreeMap::new(),
            taken: 0,
            window: 65_535,
            waiting: VecDeque::new(),
        }
    }

    /// Takes octets of the client. Complete requests go to `requests`; what is to be sent at once to `out`.
    /// `false` if this is not HTTP/2.
    pub fn receive(&mut self, octets: &[u8], requests: &mut Vec<(u32, Vec<u8>)>, out: &mut Vec<u8>) -> bool {
        self.received.extend_from_slice(octets);
        let received = std::mem::take(&mut self.received);
        let mut rest = received.as_slice();
        if !self.has_preface {
            if rest.len() < PREFACE.len() {
                self.received = received;
                return true;
            }
            let Some(after) = rest.strip_prefix(PREFACE) else { return false };
            (rest, self.has_preface) = (after, true);
            frame(SETTINGS, 0, 0, &OUR_SETTINGS, out);
            frame(WINDOW_UPDATE, 0, 0, &WIDEN_AT.to_be_bytes(), out);
        }
        while rest.len() >= HEADER {
            let length = number(&rest[..3]) as usize;
            let Some((whole, after)) = rest.split_at_checked(HEADER + length) else { break };
            let (head, payload) = whole.split_at(HEADER);
            self.frame((head[3], head[4], number(&head[5..9])), payload, requests, out);
            rest = after;
        }
        self.received = rest.to_vec();
        true
    }

    fn frame(
        &mut self,
        (kind, flags, stream): (u8, u8, u32),
        payload: &[u8],
        requests: &mut Vec<(u32, Vec<u8>)>,
        out: &mut Vec<u8>,
    ) {
        match kind {
            HEADERS => drop(self.bodies.insert(stream, Vec::new())),
            DATA => {
                let padding = if flags & PADDED != 0 { 1 + usize::from(payload[0]) } else { 0 };
                let from = usize::from(flags & PADDED != 0);
                if let Some(body) = self.bodies.get_mut(&stream) {
                    body.extend_from_slice(&payload[from..payload.len() + from - padding]);
                }
                self.taken += payload.len() as u32;
                if self.taken >= WIDEN_AT / 2 {
                    frame(WINDOW_UPDATE, 0, 0, &std::mem::take(&mut self.taken).to_be_bytes(), out);
                }
                if flags & END_STREAM != 0 {
                    requests.extend(self.bodies.remove(&stream).map(|body| (stream, body)));
                }
            }
            RST_STREAM => drop(self.bodies.remove(&stream)),
            SETTINGS if flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[], out),
            PING if flags & ACK == 0 => frame(PING, ACK, 0, payload, out),
            WINDOW_UPDATE if stream == 0 => {
                self.window += i64::from(number(payload));
                while let Some((stream, response)) = self.waiting.pop_front() {
                    if !self.send(stream, &response, out) {
                        return self.waiting.push_front((stream, response));
                    }
                }
            }
            _ => {}
        }
    }

    /// Answers a request, at once or when the client's window allows it.
    pub fn respond(&mut self, stream: u32, response: Vec<u8>, out: &mut Vec<u8>) {
        if !self.waiting.is_empty() || !self.send(stream, &response, out) {
            self.waiting.push_back((stream, response));
        }
    }

    fn send(&mut self, stream: u32, response: &[u8], out: &mut Vec<u8>) -> bool {
        let fits = self.window >= response.len() as i64;
        if fits {
            self.window -= response.len() as i64;
            frame(HEADERS, END_HEADERS, stream, FIELDS, out);
            frame(DATA, END_STREAM, stream, response, out);
        }
        fits
    }
}
