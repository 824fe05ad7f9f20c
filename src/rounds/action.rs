//! Actions: the requests of the core to the shell, which executes them once each and in order.

use crate::ids::{AttemptId, ClientId, SenderId, UpstreamId};
use crate::question::Question;
use crate::reply::Answer;
use crate::saved_set::Restored;
use crate::server::{Server, Transport};
use hither_table::{AnswerSource, Monotonic};
use hither_wire::name::Name;
use std::net::IpAddr;
use std::rc::Rc;

/// An action that the shell executes.
#[derive(Clone, Debug)]
pub enum Action {
    /// Open a new connected socket (UDP: from a random port) and send `octets`, a complete query.
    /// Report a message on it as `Input::Message`, a failure as `Input::Failed`.
    Send {
        /// The attempt that begins.
        attempt: AttemptId,
        /// The upstream of the attempt, for the shell's log and counters.
        upstream: UpstreamId,
        /// The address and link to send to.
        server: Server,
        /// The transport to use.
        transport: Transport,
        /// The query in wire form.
        octets: Rc<[u8]>,
    },
    /// Retransmit the query from the attempt's own socket: the datagram may have been lost.
    Resend {
        /// A UDP attempt that is still outstanding.
        attempt: AttemptId,
        /// The query, as in `Send`.
        octets: Rc<[u8]>,
    },
    /// Close the attempt's socket.
    Close {
        /// The attempt that has ended.
        attempt: AttemptId,
        /// `Some`: a UDP socket stays open until then, so that a late response is counted. Report that
        /// response as `Input::Message`; the core knows that it is late. If the socket were closed, the
        /// kernel would answer by an ICMP error, which reveals the port to other hosts.
        linger: Option<Monotonic>,
    },
    /// Send the reply to a client, whose id is free afterwards.
    Reply {
        /// The client that asked.
        client: ClientId,
        /// The answer to compose the reply from.
        answer: Answer,
        /// Where the answer came from, for the metrics.
        source: AnswerSource,
    },
    /// The outcome of an `Input::Order`.
    OrderResult {
        /// The sender of the order.
        sender: SenderId,
        /// Whether the order was applied.
        result: OrderResult,
    },
    /// Ask the companion what the site knows of a question. Report its answer as
    /// [`crate::Site::Answer`]; without one the round goes on after `site.wait`.
    AskSite {
        /// The round that asks.
        round: u64,
        /// Its question, for addresses of a public name.
        question: Question,
    },
    /// An event for the log.
    Note(Note),
}

/// The outcome of a sorter's order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OrderResult {
    /// The order is published under this version.
    Applied {
        /// The version of the published set.
        version: u64,
    },
    /// The order was not applied.
    Rejected {
        /// Why, in a few words.
        reason: &'static str,
        /// The version of the set that is in the table, if there is one.
        set_version: Option<u64>,
    },
}

/// An event that an operator wants to see in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// An upstream is down: it gets no queries until its next trial.
    UpstreamDown {
        /// The upstream that is down.
        server: Server,
        /// When the next trial begins.
        until: Monotonic,
        /// Failures in a row.
        failures: u32,
    },
    /// An upstream that was down has responded.
    UpstreamUp {
        /// The upstream that responded.
        server: Server,
    },
    /// An upstream responds to EDNS with an error. It gets queries without EDNS for a while (RFC 6891
    /// section 7).
    NoEdns {
        /// The upstream without EDNS.
        server: Server,
    },
    /// A set of addresses could not be stored in the table.
    NotStored {
        /// Why, in a few words.
        reason: &'static str,
    },
    /// An upstream gave a public name a private address, which was withheld.
    Rebinding {
        /// The name of the question.
        name: Box<Name>,
        /// The first such address.
        address: IpAddr,
        /// The upstream that gave it.
        server: Server,
    },
    /// The restore of the saved sets has ended.
    Restored(Restored),
}
