//! What the event loop reports to the thread that looks at queries, and asks it for.

use super::askers::ClientSocket;
use crate::daemon::sources::Slot;
use hither_control::{AskedBy, OpenRound, SourceKind};
use hither_table::Monotonic;
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// A query that needs a round.
#[derive(Debug)]
pub(crate) struct Missed {
    pub name: Name,
    pub client: ClientSocket,
    /// The address that the query was sent to, if it is known.
    pub server: Option<SocketAddr>,
    pub at: Monotonic,
    /// How many more came before it and found no slot.
    pub unseen: u64,
}

/// A reply to a query, as the log shows it.
#[derive(Debug)]
pub(crate) struct Replied {
    pub name: Name,
    pub rtype: Rtype,
    pub client: ClientSocket,
    pub source: SourceKind,
    pub upstream: Option<String>,
    pub rcode: u8,
    pub took: Duration,
    /// How many replies before it the log has left out.
    pub left_out: u64,
}

/// The rounds that are open, and how many more there are.
pub(super) type OpenRounds = (Vec<OpenRound>, u64);

/// What the event loop reports, or asks for.
#[derive(Debug)]
pub(super) enum Note {
    Missed(Box<Missed>),
    Replied(Box<Replied>),
    /// An operator asks for a report.
    Report {
        slot: Slot,
        shows_units: bool,
        rounds: Arc<OpenRounds>,
    },
    /// An operator asks which units asked for a name.
    Askers {
        name: Box<Name>,
        to: Sender<AskedBy>,
    },
    Mode(Mode),
}

/// What is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Mode {
    /// Whether hits may come.
    pub hits: bool,
    /// Whether names are counted.
    pub counts: bool,
    /// Whether the units of clients are looked up.
    pub units: bool,
}

/// A report for an operator, encoded.
pub(super) type Reported = (Slot, Arc<[u8]>);
