//! Inputs of the core: the events that the shell reports.

use crate::ids::{AttemptId, ClientId, SenderId};
use crate::offer::Site;
use crate::question::Question;
use crate::routes::Routes;
use crate::saved_set::Restore;
use crate::settings::Settings;
use hither_local::Local;
use hither_table::{Family, Rtt, Trust};
use hither_wire::name::Name;
use std::net::IpAddr;
use std::sync::Arc;

/// An event outside of the core.
#[derive(Debug)]
pub enum Input<'a> {
    /// A client's question that [`crate::Rounds::answer_hit`] could not answer.
    Ask {
        /// The client that waits for the reply.
        client: ClientId,
        /// The question of the query.
        question: &'a Question,
        /// RD: without it only the cache may answer (RFC 1035 section 4.1.1).
        recursion: bool,
    },
    /// A complete message was received on the attempt's own socket or connection.
    Message {
        /// The attempt whose socket it was.
        attempt: AttemptId,
        /// The message in wire form.
        octets: &'a [u8],
    },
    /// The query of an attempt to an encrypted upstream is sent only now, since it waited for a
    /// connection. Not reported of a query that was sent at once. An attempt that moves to another
    /// connection is sent again.
    Transmitted {
        /// The attempt whose query it is. An attempt that has ended is ignored.
        attempt: AttemptId,
    },
    /// The attempt's socket failed.
    Failed {
        /// The attempt whose socket it was.
        attempt: AttemptId,
        /// The kind of failure.
        failure: Failure,
    },
    /// A cached entry is still in use. If it is about to expire, it is refreshed before a client has to
    /// wait for it.
    Refresh {
        /// The question of the entry.
        question: Question,
    },
    /// A program has subscribed to the name. A round begins unless one is live, or the table has an answer
    /// that is not about to expire, or the failure of the question is cached.
    Lease {
        /// The question for one family of the name.
        question: Question,
    },
    /// A client no longer waits for its reply.
    ClientGone {
        /// The client of an earlier `Ask`.
        client: ClientId,
    },
    /// The sorter has measured an address set.
    Order {
        /// The sender, which `Action::OrderResult` names again.
        sender: SenderId,
        /// The measured order.
        order: Order,
    },
    /// The operator removes names, or everything, from the cache.
    Flush {
        /// The names; `None` means everything.
        names: Option<Vec<Name>>,
    },
    /// The configuration has changed.
    Reload {
        /// The new settings.
        settings: Settings,
        /// The new upstreams; a change of them ends every live round.
        routes: Routes,
    },
    /// The names that are answered locally have changed.
    Local {
        /// All local names.
        local: Arc<Local>,
    },
    /// Addresses, links or routes of the host have changed, or the host has resumed from sleep.
    /// Responses to outstanding queries may never arrive, and upstreams that were unreachable may
    /// respond.
    NetworkChanged,
    /// Address sets from the saved cache.
    Restore(Restore),
    /// Other hosts of the site have learned something, or cannot be asked any more.
    Site(Site),
    /// The process ends: every client gets its reply, every socket is closed.
    Shutdown,
}

/// The way in which a socket failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// An ICMP error or no route.
    Unreachable,
    /// ICMP port unreachable, or a TCP reset while connecting.
    Refused,
    /// The connection ended before the complete message had arrived. Over an encrypted transport the
    /// shell has tried a second connection, or the server may have processed the query.
    Closed,
    /// The host had no socket for the attempt (descriptors, ports). This says nothing about the
    /// upstream.
    NoSocket,
    /// The handshake of an encrypted transport failed, or the server could not be authenticated. The
    /// query was not sent.
    Handshake,
    /// Connecting to an encrypted upstream has just failed, and the next try is not due yet. The query
    /// was not sent. This says nothing new about the upstream.
    Backoff,
}

/// A measured order of one address set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The generation of the table that the sorter read.
    pub generation: u64,
    /// Owner, in lower case.
    pub name: Name,
    /// The family of the set.
    pub family: Family,
    /// The set version of the measured set.
    pub set_version: u64,
    /// All addresses of the set in their new order.
    pub addresses: Vec<OrderedAddress>,
}

/// One address of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderedAddress {
    /// The address that was measured.
    pub address: IpAddr,
    /// The round-trip time to the address.
    pub rtt: Rtt,
    /// The verdict on the certificate that its server shows for the name.
    pub trust: Trust,
}

impl OrderedAddress {
    /// An address that was measured and not judged.
    #[must_use]
    pub const fn measured(address: IpAddr, rtt: Rtt) -> Self {
        Self { address, rtt, trust: Trust::Unknown }
    }
}
