//! The resolver core: rounds of attempts, the cache that they fill, and no I/O.
//!
//! The core has no socket, clock, thread, log, or randomness of its own. The shell reports each
//! event and its time by [`Rounds::handle`], and calls [`Rounds::handle_timeout`] at the time that
//! [`Rounds::poll_timeout`] gives. After each of these calls, the shell executes the actions that
//! [`Rounds::poll_action`] returns, once each and in order, until none is left. Only then may it
//! report the next event.
//!
//! ```
//! use hither_rounds::{Action, ClientId, Input, Question, Rounds, Routes, Settings};
//! use hither_table::{Geometry, Memory, Monotonic, Writer};
//! use hither_wire::codes::Rtype;
//! use std::net::SocketAddr;
//!
//! let geometry = Geometry { entries: 64 };
//! let table = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10).expect("it fits");
//! let upstream = SocketAddr::from(([192, 0, 2, 1], 53));
//! let mut rounds = Rounds::new(Settings::default(), Routes::from(&[upstream][..]), table, Box::new(|| 4));
//!
//! let name = "www.example.com".parse().expect("a name");
//! let question = Question { name, rtype: Rtype::A, dnssec_ok: false, checking_disabled: false };
//! let mut now = Monotonic::from_ms(1_000);
//! rounds.handle(now, Input::Ask { client: ClientId(1), question: &question, recursion: true });
//!
//! let (mut queries, mut replies) = (0, 0);
//! loop {
//!     while let Some(action) = rounds.poll_action() {
//!         match action {
//!             // The shell sends `octets`; a response comes in as `Input::Message` later.
//!             Action::Send { .. } | Action::Resend { .. } => queries += 1,
//!             Action::Reply { .. } => replies += 1,
//!             Action::Close { .. } | Action::OrderResult { .. } => {}
//!             Action::AskSite { .. } | Action::Note(_) => {}
//!         }
//!     }
//!     // This upstream never responds: the shell sleeps until the next deadline.
//!     let Some(at) = rounds.poll_timeout() else { break };
//!     now = at;
//!     rounds.handle_timeout(now);
//! }
//! assert!(queries > 1 && replies == 1, "retransmissions, then SERVFAIL");
//! ```
//!
//! The modules form three layers. The lowest has data and small decisions: `upstream`, `attempt`,
//! `response`, `complete_answer`, `address_set`, `reply`, and `shared`, the state that all rounds
//! use. The middle layer is `round`: the work on one question. The top layer is `resolver`: the
//! index of rounds, and the events that begin and end them.
//!
//! Invariants ([`Rounds::check_invariants`]): a question has at most one live round; every round
//! has a deadline; an outstanding attempt belongs to exactly one live round, and so does a waiting
//! client; only `Shared::publish` publishes.

#![forbid(unsafe_code)]

mod action;
mod address_set;
mod agreement;
mod ascending;
mod attempt;
mod complete_answer;
mod faults;
mod hints;
mod ids;
mod input;
pub mod mutant;
mod offer;
mod provenance;
mod question;
mod racing;
mod rebinding;
pub mod reply;
mod resolver;
mod response;
mod round;
mod rounds_by_attempt;
mod routes;
mod saved_set;
mod server;
mod settings;
mod shared;
mod site;
mod table_upkeep;
mod tally;
mod trace;
mod upstream;
mod waiting_clients;
mod weak_answer;
mod withheld;

pub use action::{Action, Note, OrderResult};
pub use hither_answers::Stored;
pub use hither_table::Part;
pub use ids::{AttemptId, ClientId, SenderId, Source, UpstreamId};
pub use input::{Failure, Input, Order, OrderedAddress};
pub use offer::{Offer, OfferTimes, Site};
pub use provenance::{Standing, Within};
pub use question::Question;
pub use rebinding::Rebinding;
pub use reply::Answer;
pub use resolver::{Due, Explained, Hit, Hits, LiveRound, Origin, PlacedQuery, Rounds};
pub use routes::Routes;
pub use saved_set::{Restore, Restored, SavedSet};
pub use server::{Server, Transport};
pub use settings::{Deny, Limits, Settings, SiteSettings};
pub use site::SiteOrigin;
pub use table_upkeep::Upkeep;
pub use tally::Tally;
pub use trace::{
    AttemptTrace, Cause, Earlier, Refusal, Refused, RoundEnd, SiteOutcome, SiteTrace, Trace, VersionTrace,
};
pub use upstream::UpstreamReport;
