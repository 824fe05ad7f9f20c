//! Traces of the latest rounds and their attempts, for `hitherctl query`. Their number is bounded.

use crate::question::Question;
use crate::server::{Server, Transport};
use hither_table::Monotonic;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;

/// One attempt of a round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptTrace {
    /// The upstream of the attempt.
    pub upstream: Server,
    /// The transport of the attempt.
    pub transport: Transport,
    /// When the attempt began.
    pub sent: Monotonic,
    /// When the query left, if it had waited for a connection; `None` if it left when the attempt began.
    pub transmitted: Option<Monotonic>,
    /// When the attempt ended; `None` while it is outstanding.
    pub ended: Option<Monotonic>,
    /// How the attempt ended: `"waiting"`, `"answer"`, `"nodata"`, `"nxdomain"`, an RCODE in lower
    /// case, `"timeout"`, …
    pub outcome: Cow<'static, str>,
    /// The addresses in the response.
    pub addresses: Vec<IpAddr>,
}

/// The trace of one round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    /// The id of the round.
    pub round: u64,
    /// The question of the round.
    pub question: Rc<Question>,
    /// When the round began.
    pub started: Monotonic,
    /// Whether the round has ended.
    pub ended: bool,
    /// The attempts of the round in the order of sending.
    pub attempts: Vec<AttemptTrace>,
}

/// Upper bound of the ended rounds that are kept.
const ROUNDS_KEPT_MAX: usize = 64;
/// Attempts kept of one round; a long chase may have more.
pub(crate) const ATTEMPTS_KEPT_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Traces(VecDeque<Trace>);

impl Traces {
    pub fn keep(&mut self, mut trace: Trace) {
        trace.ended = true;
        self.make_space();
        self.0.push_back(trace);
    }

    /// Makes space for one more trace. Returns the oldest, if there are as many as are kept.
    pub fn make_space(&mut self) -> Option<Trace> {
        if self.0.len() < ROUNDS_KEPT_MAX { None } else { self.0.pop_front() }
    }

    pub fn latest(&self, question: &Question) -> Option<&Trace> {
        self.0.iter().rev().find(|trace| *trace.question == *question)
    }
}
