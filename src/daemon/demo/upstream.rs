//! The upstreams of the demo: threads on loopback that answer with hickory-proto and count.

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType, rdata};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What an upstream does: its latency, and the addresses that it answers with, of one network.
#[derive(Clone, Copy)]
pub(super) struct Upstream {
    pub delay: Duration,
    pub network: [u8; 3],
    /// The last octets of the addresses.
    pub addresses: &'static [u8],
}

/// An upstream that runs.
pub(super) struct Running {
    pub at: SocketAddr,
    questions: Arc<AtomicUsize>,
}

impl Running {
    /// How many questions it was asked.
    pub fn questions(&self) -> usize {
        self.questions.load(Ordering::Relaxed)
    }
}

impl Upstream {
    /// The addresses of its answers.
    pub fn answers(&self) -> impl Iterator<Item = Ipv4Addr> {
        let [a, b, c] = self.network;
        self.addresses.iter().map(move |d| Ipv4Addr::new(a, b, c, *d))
    }
}

/// Starts an upstream in a thread. It answers every query for A records after its delay.
pub(super) fn start(upstream: &Upstream) -> std::io::Result<Running> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let at = socket.local_addr()?;
    let questions = Arc::new(AtomicUsize::new(0));
    let (count, upstream) = (questions.clone(), *upstream);
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((len, peer)) = socket.recv_from(&mut buffer) {
            let Some(reply) =
                Message::from_vec(&buffer[..len]).ok().and_then(|query| respond(query, &upstream))
            else {
                continue;
            };
            count.fetch_add(1, Ordering::Relaxed);
            let Ok(socket) = socket.try_clone() else { continue };
            std::thread::spawn(move || {
                std::thread::sleep(upstream.delay);
                let _ = socket.send_to(&reply, peer);
            });
        }
    });
    Ok(Running { at, questions })
}

fn respond(query: Message, upstream: &Upstream) -> Option<Vec<u8>> {
    let asked = query.queries.first()?.clone();
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.recursion_available = true;
    reply.metadata.response_code = ResponseCode::NoError;
    if asked.query_type == RecordType::A {
        for address in upstream.answers() {
            reply.add_answer(Record::from_rdata(asked.name.clone(), 300, RData::A(rdata::A(address))));
        }
    } else {
        reply.metadata.response_code = ResponseCode::Refused;
    }
    reply.add_query(asked);
    reply.to_vec().ok()
}
