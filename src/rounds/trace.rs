//! What happened in the latest rounds, for `hitherctl query`: bounded, written by the rounds, read by the operator.

use crate::{Question, Server, Transport};
use hither_table::Monotonic;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;

/// One attempt of a traced round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptTrace {
    /// Whom it asked.
    pub upstream: Server,
    /// How.
    pub transport: Transport,
    /// When it was sent.
    pub sent: Monotonic,
    /// When it ended.
    pub ended: Option<Monotonic>,
    /// How it ended: `"waiting"`, `"answer"`, `"nodata"`, `"nxdomain"`, an RCODE in lower case, `"timeout"`, …
    pub outcome: Cow<'static, str>,
    /// The addresses it brought.
    pub addresses: Vec<IpAddr>,
}

/// One round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    /// The round's id.
    pub round: u64,
    /// What was asked.
    pub question: Rc<Question>,
    /// When it began.
    pub started: Monotonic,
    /// Whether it has ended.
    pub ended: bool,
    /// Its attempts in the order of sending.
    pub attempts: Vec<AttemptTrace>,
}

/// Ended rounds that are remembered.
const ROUNDS_KEPT: usize = 64;
/// Attempts remembered of one round; a long chase may have more.
pub(crate) const ATTEMPTS_KEPT: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Traces(VecDeque<Trace>);

impl Traces {
    pub fn keep(&mut self, mut trace: Trace) {
        trace.ended = true;
        self.room();
        self.0.push_back(trace);
    }

    /// Makes room for one more, and gives away the oldest for it where there is none.
    pub fn room(&mut self) -> Option<Trace> {
        if self.0.len() < ROUNDS_KEPT { None } else { self.0.pop_front() }
    }

    pub fn latest(&self, question: &Question) -> Option<&Trace> {
        self.0.iter().rev().find(|trace| *trace.question == *question)
    }
}
