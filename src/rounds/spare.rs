//! The memory of ended rounds, lent to new ones: a round would else begin with a dozen allocations and end with as many releases.
//!
//! Nothing of what an ended round knew is in it, but the question of a still older one until the memory is lent again.

use crate::round::{Phase, Round};
use crate::trace::Traces;
use crate::{ClientId, Question};
use hither_table::{Address, Chain};
use std::net::IpAddr;
use std::rc::Rc;

/// Ended rounds whose memory is kept; as many begin in one burst without an allocation.
const SPARE_MAX: usize = 64;
/// What a list of theirs may hold at the most: few rounds have more clients or attempts.
const ITEMS_MAX: usize = 16;

/// Boxed as rounds are while they live: lent and taken back without a copy.
#[allow(clippy::vec_box)]
#[derive(Default)]
pub(crate) struct Spare(Vec<Box<Round>>);

impl Spare {
    /// The memory for a round that begins, its lists empty.
    pub fn take(&mut self) -> Option<Box<Round>> {
        self.0.pop()
    }

    /// The question for a round that begins next.
    pub fn question(&mut self, question: &Question) -> Rc<Question> {
        if let Some(round) = self.0.last_mut()
            && let Some(own) = Rc::get_mut(&mut round.trace.question)
        {
            *own = *question;
            return Rc::clone(&round.trace.question);
        }
        Rc::new(*question)
    }

    /// The one client of a round that begins next.
    pub fn client(&mut self, client: ClientId) -> Vec<ClientId> {
        let mut clients =
            self.0.last_mut().map(|round| std::mem::take(&mut round.clients)).unwrap_or_default();
        clients.push(client);
        clients
    }

    /// Keeps the trace of a round that has ended, and its memory in exchange for that of the oldest trace.
    pub fn keep(&mut self, mut round: Box<Round>, traces: &mut Traces) {
        let Some(mut trace) = traces.room() else {
            let Round { trace, .. } = *round;
            return traces.keep(trace);
        };
        if let Some(attempt) = trace.attempts.pop() {
            round.room.heard = attempt.addresses;
        }
        trace.attempts.clear();
        std::mem::swap(&mut trace, &mut round.trace);
        traces.keep(trace);
        if self.0.len() < SPARE_MAX {
            round.empty();
            self.0.push(round);
        }
    }
}

/// Empty lists: memory for what a round gathers.
#[derive(Default)]
pub(crate) struct Room {
    /// For its set.
    pub addresses: Vec<Address>,
    pub chains: Vec<Chain>,
    /// For what one message says.
    pub heard: Vec<IpAddr>,
}

impl Room {
    fn empty(&mut self) {
        self.addresses.clear();
        self.addresses.shrink_to(ITEMS_MAX);
        self.chains.clear();
        self.heard.clear();
        self.heard.shrink_to(ITEMS_MAX);
    }
}

impl Round {
    /// How far an ended round came.
    pub fn take_phase(&mut self) -> Phase {
        std::mem::replace(&mut self.phase, Phase::Racing { held: None, bare: None })
    }

    /// Leaves nothing in the lists of an ended round, and no more memory than most rounds need.
    fn empty(&mut self) {
        self.take_phase();
        self.clients.clear();
        self.clients.shrink_to(ITEMS_MAX);
        self.attempts.clear();
        self.attempts.shrink_to(ITEMS_MAX);
        self.unasked.clear();
        self.trace.attempts.shrink_to(ITEMS_MAX);
        self.room.empty();
    }
}
