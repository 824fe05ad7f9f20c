//! The messages of dnstap (dnstap.proto), as far as hither sends them.

use crate::daemon::clients::tap::{Frame, FrameKind};
use hither_table::Monotonic;
use prost::Message as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Message.Type of dnstap.proto.
const CLIENT_QUERY: i32 = 5;
const CLIENT_RESPONSE: i32 = 6;
const FORWARDER_QUERY: i32 = 7;
const FORWARDER_RESPONSE: i32 = 8;
/// Dnstap.Type.MESSAGE.
const MESSAGE: i32 = 1;

/// The message Dnstap.
#[derive(Clone, PartialEq, prost::Message)]
struct Dnstap {
    #[prost(bytes = "vec", optional, tag = "1")]
    identity: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    version: Option<Vec<u8>>,
    #[prost(message, optional, tag = "14")]
    message: Option<Message>,
    #[prost(int32, required, tag = "15")]
    kind: i32,
}

/// The message Message.
#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(int32, required, tag = "1")]
    kind: i32,
    #[prost(int32, optional, tag = "2")]
    socket_family: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    socket_protocol: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "4")]
    query_address: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "5")]
    response_address: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "6")]
    query_port: Option<u32>,
    #[prost(uint32, optional, tag = "7")]
    response_port: Option<u32>,
    #[prost(uint64, optional, tag = "8")]
    query_time_sec: Option<u64>,
    #[prost(fixed32, optional, tag = "9")]
    query_time_nsec: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "10")]
    query_message: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "12")]
    response_time_sec: Option<u64>,
    #[prost(fixed32, optional, tag = "13")]
    response_time_nsec: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "14")]
    response_message: Option<Vec<u8>>,
}

/// Encodes frames with the name of this host and the version of hither.
#[derive(Debug)]
pub(super) struct Encoder {
    identity: Vec<u8>,
    version: Vec<u8>,
}

impl Encoder {
    pub fn new() -> Encoder {
        let name = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
        Encoder {
            identity: name.unwrap_or_default().into_bytes(),
            version: format!("hitherd {}", env!("CARGO_PKG_VERSION")).into_bytes(),
        }
    }

    /// The messages of a frame, encoded: one, or the query and the response of a client.
    ///
    /// `since_1970` is what the time of the daemon's clock is by the wall clock.
    pub fn encode(&self, frame: &Frame, since_1970: impl Fn(Monotonic) -> Duration) -> Vec<Vec<u8>> {
        let kinds: &[i32] = match frame.head.kind {
            FrameKind::ClientQuery => &[CLIENT_QUERY],
            FrameKind::ClientResponse => &[CLIENT_RESPONSE],
            FrameKind::ClientBoth => &[CLIENT_QUERY, CLIENT_RESPONSE],
            FrameKind::ForwarderQuery => &[FORWARDER_QUERY],
            FrameKind::ForwarderResponse => &[FORWARDER_RESPONSE],
        };
        let encoded = |kind: &i32| {
            let message = message(frame, *kind, &since_1970);
            let (identity, version) = (Some(self.identity.clone()), Some(self.version.clone()));
            Dnstap { identity, version, message: Some(message), kind: MESSAGE }.encode_to_vec()
        };
        kinds.iter().map(encoded).collect()
    }
}

fn message(frame: &Frame, kind: i32, since_1970: &impl Fn(Monotonic) -> Duration) -> Message {
    let head = &frame.head;
    let is_response = matches!(kind, CLIENT_RESPONSE | FORWARDER_RESPONSE);
    let (asked, answered) = (since_1970(head.asked), since_1970(head.answered));
    let known = head.asker.or(head.server).map(|address| address.ip().to_canonical());
    Message {
        kind,
        socket_family: known.map(|ip| if ip.is_ipv4() { 1 } else { 2 }),
        socket_protocol: Some(head.protocol as i32),
        query_address: head.asker.and_then(octets),
        response_address: head.server.and_then(octets),
        query_port: head.asker.map(|asker| asker.port().into()),
        response_port: head.server.map(|server| server.port().into()),
        query_time_sec: Some(asked.as_secs()),
        query_time_nsec: Some(asked.subsec_nanos()),
        query_message: frame.query().filter(|_| !is_response).map(<[u8]>::to_vec),
        response_time_sec: is_response.then_some(answered.as_secs()),
        response_time_nsec: is_response.then_some(answered.subsec_nanos()),
        response_message: frame.reply().filter(|_| is_response).map(<[u8]>::to_vec),
    }
}

/// The octets of an address, if there is one.
fn octets(address: SocketAddr) -> Option<Vec<u8>> {
    match address.ip().to_canonical() {
        ip if ip.is_unspecified() => None,
        IpAddr::V4(v4) => Some(v4.octets().to_vec()),
        IpAddr::V6(v6) => Some(v6.octets().to_vec()),
    }
}
