//! Everything the core can ask of the shell, executed once each and in order.

use crate::{AttemptId, ClientId, Restored, SenderId, Server, UpstreamId, reply::Answer};
use hither_table::Monotonic;
use hither_wire::name::Name;
use std::net::IpAddr;
use std::rc::Rc;

/// How an attempt travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// One datagram each way.
    Udp,
    /// A connection of its own (RFC 7766), after a truncated answer.
    Tcp,
}

/// What the shell is to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Open a fresh connected socket (UDP: from a random port) and send `octets`, a whole query; report what comes
    /// as `Input::Message`, what goes wrong as `Input::Failed`.
    Send {
        /// The new attempt.
        attempt: AttemptId,
        /// For the shell's log and counters.
        upstream: UpstreamId,
        /// Where to.
        server: Server,
        /// How.
        transport: Transport,
        /// The query.
        octets: Rc<[u8]>,
    },
    /// Send the same octets once more from the attempt's own socket: the datagram may have been lost.
    Resend {
        /// A UDP attempt that is still open.
        attempt: AttemptId,
        /// The query, as in `Send`.
        octets: Rc<[u8]>,
    },
    /// Close the attempt's socket.
    Close {
        /// The attempt.
        attempt: AttemptId,
        /// When given, a UDP socket stays open until then at the longest, so that a late datagram is counted (hand it in as
        /// `Input::Message`, the core knows that it is late) instead of provoking an ICMP error that tells the port to strangers.
        linger: Option<Monotonic>,
    },
    /// Tell a client; its id is free afterwards.
    Reply {
        /// Who.
        client: ClientId,
        /// What.
        answer: Answer,
    },
    /// What became of `Input::Order`.
    OrderResult {
        /// Who sent the order.
        sender: SenderId,
        /// Whether it was applied.
        result: OrderResult,
    },
    /// Worth a line in the log.
    Note(Note),
}

/// What became of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OrderResult {
    /// It was published under this version.
    Applied {
        /// The new version.
        version: u64,
    },
    /// It was not applied.
    Rejected {
        /// Why, in a few words.
        reason: &'static str,
        /// The version of the set that is in the table, if there is one.
        set_version: Option<u64>,
    },
}

/// An event that an operator wants to read about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// An upstream is left alone until its next trial.
    UpstreamDown {
        /// Which.
        server: Server,
        /// When it is tried again.
        until: Monotonic,
        /// Failures in a row.
        failures: u32,
    },
    /// An upstream that was down has answered.
    UpstreamUp {
        /// Which.
        server: Server,
    },
    /// An upstream answers queries with EDNS by an error; it is asked without for a while (RFC 6891 section 7).
    NoEdns {
        /// Which.
        server: Server,
    },
    /// A set of addresses could not be stored in the table.
    NotStored {
        /// Why, in a few words.
        reason: &'static str,
    },
    /// An upstream gave a public name an address of a private network, which was withheld.
    Rebinding {
        /// The name that was asked for.
        name: Box<Name>,
        /// The first such address.
        address: IpAddr,
        /// Who gave it.
        server: Server,
    },
    /// What was saved has been taken up, as far as it may be.
    Restored(Restored),
}
