//! Replies to clients whose queries needed a round: UDP replies are sent together, TCP replies one
//! by one.

use crate::daemon::clients::rate_limit::Ruling;
use crate::daemon::clients::tap::{FrameHead, FrameKind, FrameProtocol};
use crate::daemon::clients::waiting_clients::{Pending, ReplyTo};
use crate::daemon::clients::{Clients, Effects};
use crate::daemon::core::Replying;
use crate::daemon::sources::Slot;
use hither_net::batch::{Outgoing, Route};
use hither_rounds::{Answer, ClientId, Question, reply};
use hither_table::{Counter, Monotonic};
use hither_wire::codes::Rcode;
use hither_wire::query::{Query, cut_to_question};
use std::net::SocketAddr;

/// Replies that one system call sends. The first of them waits for the others, at most until the end of
/// the turn.
const BATCH_MAX: usize = 16;

/// The answer to queries that a limit refuses.
const SHED_ANSWER: Answer = Answer::Empty { rcode: Rcode::SERVFAIL, ede: Some(reply::ede::OTHER) };

/// The outcome of a reply.
#[must_use]
#[derive(Debug, Default)]
pub(crate) struct Delivered {
    /// Other clients of the same connection, if it turned out to have ended.
    pub gone: Vec<ClientId>,
    /// The reply, if it is for a query of an operator.
    pub operator: Option<OperatorReply>,
    /// The reply, if it is about the host name of an upstream.
    pub host_name: Option<Vec<u8>>,
    /// When the query of a client arrived, unless it is one of those above.
    pub since: Option<Monotonic>,
    /// The query and its reply, for the log of queries, if that is wanted.
    pub answered: Option<Answered>,
}

/// A client's query that has its reply.
#[derive(Debug)]
pub(crate) struct Answered {
    pub question: Question,
    pub peer: SocketAddr,
    pub is_tcp: bool,
    pub asked: Monotonic,
    pub rcode: u8,
}

/// A reply to a query that was made for the operator.
#[derive(Debug)]
pub(crate) struct OperatorReply {
    pub slot: Slot,
    pub client: ClientId,
    pub octets: Vec<u8>,
}

/// A client by UDP: the socket that has received its query, the route back to it, and its address.
struct UdpClient<'r> {
    socket: usize,
    route: &'r Route,
    peer: SocketAddr,
    asked: Monotonic,
}

/// Replies by UDP that are sent together, all from one socket.
pub(crate) struct UdpReplies {
    outgoing: Outgoing,
    socket: usize,
    /// A buffer to compose a reply in.
    room: Vec<u8>,
}

impl UdpReplies {
    pub fn new() -> UdpReplies {
        UdpReplies { outgoing: Outgoing::new(), socket: 0, room: vec![0; 65_535] }
    }

    pub fn is_empty(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// Lends the buffer for a reply of any size. The caller gives it back.
    pub fn lend(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.room)
    }

    pub fn give_back(&mut self, room: Vec<u8>) {
        self.room = room;
    }
}

/// The reply to a query, of any size.
fn whole_reply(query: &Query<'_>, answer: &Answer, now: Monotonic) -> Vec<u8> {
    let mut octets = vec![0; 65_535];
    let len = reply::compose(now, query, answer, usize::from(u16::MAX), &mut octets);
    octets.truncate(len);
    octets
}

impl Clients {
    /// Returns the reply to a client if it may be sent at once. Otherwise it is queued for
    /// [`Clients::next_due`].
    pub fn schedule_reply(&mut self, reply: Replying) -> Option<Replying> {
        self.due.put(reply)
    }

    /// The next queued reply to send in this turn; `None` ends the turn.
    pub fn next_due(&mut self) -> Option<Replying> {
        self.due.next()
    }

    pub fn has_due_replies(&self) -> bool {
        !self.due.is_empty()
    }

    /// Sends the reply to a client that waits.
    pub fn deliver(&mut self, client: ClientId, answer: &Answer, now: Monotonic) -> Delivered {
        let mut delivered = Delivered::default();
        let Some(Pending { query, reply_to, peer, network, since }) = self.waiting.take(client) else {
            return delivered;
        };
        self.admission.release(network);
        let Ok(read) = Query::read(&query) else { return delivered };
        match reply_to {
            ReplyTo::Udp { socket, route } => {
                let client = UdpClient { socket, route: &route, peer, asked: since };
                let rcode = self.reply_udp(client, &read, answer, now);
                delivered.answered =
                    self.answered(&read, peer, since, rcode).map(|a| Answered { is_tcp: false, ..a });
                delivered.since = Some(since);
            }
            ReplyTo::Tcp(slot) => {
                self.connections.waits_no_longer(slot, client);
                let mut reply = self.replies.lend();
                let len = reply::compose(now, &read, answer, usize::from(u16::MAX), &mut reply);
                let rcode = reply.get(3).map_or(0, |flags| flags & 15);
                delivered.answered = self.answered(&read, peer, since, rcode);
                if let Some(frames) = self.rules.observer.frames() {
                    let server = self.connections.local_address(slot);
                    let (kind, protocol) = (FrameKind::ClientResponse, FrameProtocol::Tcp);
                    let head =
                        FrameHead { kind, protocol, asker: Some(peer), server, asked: since, answered: now };
                    frames.send(head, &reply[..len]);
                }
                delivered.gone = self.reply_tcp(slot, &reply[..len]);
                self.replies.give_back(reply);
                delivered.since = Some(since);
            }
            ReplyTo::Control(slot) => {
                let octets = whole_reply(&read, answer, now);
                delivered.operator = Some(OperatorReply { slot, client, octets });
            }
            ReplyTo::HostName => delivered.host_name = Some(whole_reply(&read, answer, now)),
        }
        delivered
    }

    /// A query by TCP and its reply, if the log wants that.
    fn answered(&self, query: &Query<'_>, peer: SocketAddr, asked: Monotonic, rcode: u8) -> Option<Answered> {
        let question = self.rules.reports_replies.then(|| Question::of(query))?;
        Some(Answered { question, peer, is_tcp: true, asked, rcode })
    }

    /// Refuses a query that had a slot and has lost it to another.
    pub(super) fn shed(&mut self, client: ClientId, now: Monotonic, effects: &mut Effects) {
        self.counted.add(Counter::ShedQueries, 1);
        effects.gone.extend(self.deliver(client, &SHED_ANSWER, now).gone);
    }

    /// Refuses a query that a worker handed over and that got no slot.
    pub(super) fn shed_handed(&mut self, pending: &Pending, now: Monotonic) {
        self.counted.add(Counter::ShedQueries, 1);
        if let (ReplyTo::Udp { socket, route }, Ok(read)) = (&pending.reply_to, Query::read(&pending.query)) {
            let client = UdpClient { socket: *socket, route, peer: pending.peer, asked: pending.since };
            self.reply_udp(client, &read, &SHED_ANSWER, now);
        }
    }

    /// Refuses a query of our own that came back through a forwarding loop, so that its upstream is
    /// asked last.
    pub fn refuse_loop(&mut self, client: ClientId, now: Monotonic) -> Effects {
        self.counted.add(Counter::Loops, 1);
        let Delivered { gone, .. } = self.deliver(client, &SHED_ANSWER, now);
        Effects { gone, asks: Vec::new() }
    }

    /// Sends a reply on a connection. Returns the clients that are gone with it, or with others that
    /// hold too much memory.
    pub(super) fn reply_tcp(&mut self, slot: Slot, octets: &[u8]) -> Vec<ClientId> {
        self.counted.add(Counter::Replies, 1);
        let mut gone = self.connections.reply(slot, octets);
        gone.extend(self.connections.make_room());
        self.gone(gone).gone
    }

    /// Adds a reply to those that are sent together, and returns its RCODE.
    fn reply_udp(&mut self, client: UdpClient<'_>, query: &Query<'_>, answer: &Answer, now: Monotonic) -> u8 {
        let UdpClient { socket, route, peer, asked } = client;
        if self.replies.socket != socket {
            self.send_replies();
            self.replies.socket = socket;
        }
        let most = self.rules.limits.replies_per_second;
        let frames = self.rules.observer.frames();
        let server = || self.udp.sockets.get(socket).and_then(|socket| socket.local_addr().ok());
        let (rate_limit, mut limited, mut rcode) = (&mut self.rate_limit, false, 0);
        self.replies.outgoing.push(route, |out| {
            let len = reply::compose(now, query, answer, query.udp_limit(), out);
            rcode = out[3] & 15;
            if let Some(frames) = frames {
                let (kind, protocol) = (FrameKind::ClientResponse, FrameProtocol::Udp);
                let (asker, server) = (Some(peer), server());
                let head = FrameHead { kind, protocol, asker, server, asked, answered: now };
                frames.send(head, &out[..len]);
            }
            let ruling = rate_limit.judge(peer.ip(), &out[..len], most, now);
            limited = ruling != Ruling::Send;
            match ruling {
                Ruling::Send => len,
                Ruling::Truncate => cut_to_question(&mut out[..len]),
                Ruling::Drop => 0,
            }
        });
        self.counted.add(Counter::RateLimited, u64::from(limited));
        if self.replies.outgoing.len() >= BATCH_MAX {
            self.send_replies();
        }
        rcode
    }

    /// Sends the collected replies by UDP. A reply that cannot be sent counts as a lost datagram.
    pub fn send_replies(&mut self) {
        if self.replies.is_empty() {
            return;
        }
        if let Some(socket) = self.udp.sockets.get(self.replies.socket) {
            let sent = self.replies.outgoing.send(socket);
            self.counted.add(Counter::Replies, sent as u64);
        }
    }
}
