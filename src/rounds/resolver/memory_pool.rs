//! The memory of ended rounds, reused by new ones. Without it each round would begin with a dozen
//! allocations and end with as many releases.
//!
//! The lists in that memory are empty. Only the question of an older round stays until it is reused.

use crate::ids::ClientId;
use crate::question::Question;
use crate::round::Round;
use crate::trace::Traces;
use std::rc::Rc;

/// Upper bound of the ended rounds whose memory is kept. So many rounds can begin in a burst without an
/// allocation.
const POOLED_MAX: usize = 64;

/// The memory of ended rounds. Rounds are boxed, as live rounds are, so that reuse needs no copy.
#[allow(clippy::vec_box)]
#[derive(Default)]
pub(crate) struct MemoryPool(Vec<Box<Round>>);

impl MemoryPool {
    /// Memory for a new round, with empty lists.
    pub fn take(&mut self) -> Option<Box<Round>> {
        self.0.pop()
    }

    /// The question of the next round, in reused memory where possible.
    pub fn question(&mut self, question: &Question) -> Rc<Question> {
        if let Some(round) = self.0.last_mut()
            && let Some(own) = Rc::get_mut(&mut round.trace.question)
        {
            *own = *question;
            return Rc::clone(&round.trace.question);
        }
        Rc::new(*question)
    }

    /// The list with the first client of the next round.
    pub fn client(&mut self, client: ClientId) -> Vec<ClientId> {
        let mut clients =
            self.0.last_mut().map(|round| std::mem::take(&mut round.clients)).unwrap_or_default();
        clients.push(client);
        clients
    }

    /// Keeps the trace of an ended round. The round's memory is kept for reuse, with the memory of the
    /// oldest trace, which is dropped.
    pub fn keep(&mut self, mut round: Box<Round>, traces: &mut Traces) {
        let Some(mut trace) = traces.make_space() else {
            let Round { trace, .. } = *round;
            return traces.keep(trace);
        };
        if let Some(attempt) = trace.attempts.pop() {
            round.lists.response_addresses = attempt.addresses;
        }
        trace.attempts.clear();
        std::mem::swap(&mut trace, &mut round.trace);
        traces.keep(trace);
        if self.0.len() < POOLED_MAX {
            round.empty();
            self.0.push(round);
        }
    }
}
