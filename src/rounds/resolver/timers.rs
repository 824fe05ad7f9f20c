//! Timers: rounds are woken at their deadlines, a bounded number of them per call.

use crate::input::Input;
use crate::offer::Site;
use crate::resolver::Rounds;
use hither_table::Monotonic;

/// Upper bound of the rounds woken per call. Each may send a few queries, so a call takes about half a
/// millisecond.
const TIMERS_MAX: usize = 64;

impl Rounds {
    /// Wakes the rounds whose timers have passed at `now`, up to a limit per call. Afterwards
    /// [`Rounds::poll_timeout`] may still be in the past.
    ///
    /// The actions of the call before must have been executed: [`Rounds::poll_action`] has returned
    /// `None`.
    pub fn handle_timeout(&mut self, now: Monotonic) {
        debug_assert!(self.is_drained, "actions of the call before have not been executed");
        self.shared.now = now;
        self.fire_timers(now);
        self.end_call();
    }

    /// Wakes rounds whose timers are not after `until`, the earliest timer first.
    pub(crate) fn fire_timers(&mut self, until: Monotonic) {
        for _ in 0..TIMERS_MAX {
            match self.timers.first().copied() {
                Some((at, id)) if at <= until => self.on_time(id),
                Some(_) | None => break,
            }
        }
    }

    /// Wakes the round that an event concerns if its timer has passed, so that the round handles its
    /// deadline before the event.
    pub(crate) fn fire_timers_of(&mut self, until: Monotonic, input: &Input<'_>) {
        let late =
            |rounds: &Rounds, id: u64| rounds.rounds.get(&id).is_some_and(|round| round.timer <= until);
        for _ in 0..TIMERS_MAX {
            let id = match input {
                Input::Message { attempt, .. }
                | Input::Transmitted { attempt }
                | Input::Failed { attempt, .. } => self.shared.attempts.get(attempt),
                Input::Ask { question, .. } => self.live.get(&self.shared.coalesced_question(question)),
                Input::Site(Site::Answer { round, .. }) => Some(round),
                _ => None,
            };
            match id.copied() {
                Some(id) if late(self, id) => self.on_time(id),
                Some(_) | None => return,
            }
        }
    }

    pub(crate) fn on_time(&mut self, id: u64) {
        self.with(id, |round, shared| round.on_time(shared));
    }

    /// When [`Rounds::handle_timeout`] is to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        self.timers.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Limits;
    use crate::{Action, AttemptId, ClientId, Question, Routes, Settings};
    use hither_table::{Geometry, Memory, Writer};
    use hither_wire::codes::{Rcode, Rtype};
    use std::net::SocketAddr;

    const ROUNDS: u64 = 500;

    fn question(n: u64) -> Question {
        let name = format!("h{n}.example").parse().expect("a name");
        Question { name, rtype: Rtype::A, dnssec_ok: false, checking_disabled: false }
    }

    /// A core with many questions outstanding at a silent upstream, and their attempts.
    fn silent() -> (Rounds, Vec<(AttemptId, Vec<u8>)>) {
        let geometry = Geometry { entries: 1024 };
        let writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10);
        let upstream = SocketAddr::from(([192, 0, 2, 1], 53));
        let settings = Settings { limits: Limits::default(), mix_case: false, ..Settings::default() };
        let mut rounds =
            Rounds::new(settings, Routes::from(&[upstream][..]), writer.expect("a table"), Box::new(|| 7));
        let mut sent = Vec::new();
        for n in 0..ROUNDS {
            let question = question(n);
            let ask = Input::Ask { client: ClientId(n), question: &question, recursion: true };
            rounds.handle(Monotonic::from_ms(1000), ask);
            sent.extend(rounds.drain().into_iter().filter_map(|action| match action {
                Action::Send { attempt, octets, .. } => Some((attempt, octets.to_vec())),
                _ => None,
            }));
        }
        assert_eq!(sent.len() as u64, ROUNDS);
        (rounds, sent)
    }

    /// The clients that got a reply, with its RCODE.
    fn told(rounds: &mut Rounds) -> Vec<(ClientId, Option<Rcode>)> {
        let replies = std::iter::from_fn(|| rounds.poll_action()).filter_map(|action| match action {
            Action::Reply { client, answer: crate::reply::Answer::Empty { rcode, .. }, .. } => {
                Some((client, Some(rcode)))
            }
            Action::Reply { client, .. } => Some((client, None)),
            _ => None,
        });
        replies.collect()
    }

    #[test]
    fn a_bounded_number_of_due_rounds_is_woken_at_once_and_all_of_them_in_turns() {
        let (mut rounds, _) = silent();
        let late = Monotonic::from_ms(60_000);
        let mut times = 0;
        while rounds.poll_timeout().is_some_and(|at| at <= late) {
            rounds.handle_timeout(late);
            let told = told(&mut rounds);
            assert!((1..=TIMERS_MAX).contains(&told.len()), "{} at once", told.len());
            times += 1;
        }
        assert_eq!(times, ROUNDS.div_ceil(TIMERS_MAX as u64));
        rounds.check_invariants();
    }

    #[test]
    fn a_round_that_is_overdue_but_not_yet_woken_ends_at_its_next_input() {
        let (mut rounds, sent) = silent();
        let late = Monotonic::from_ms(60_000);
        // A response after the deadline of its round, and a client that joins another overdue round.
        let (attempt, mut octets) = sent.last().cloned().expect("there");
        octets[2] |= 0x80;
        let asked = question(ROUNDS - 2);
        rounds.handle(late, Input::Message { attempt, octets: &octets });
        let mut told_all = told(&mut rounds);
        let again = Input::Ask { client: ClientId(ROUNDS), question: &asked, recursion: true };
        rounds.handle(late, again);
        told_all.extend(told(&mut rounds));
        let told = told_all;
        for client in [ROUNDS - 1, ROUNDS - 2, ROUNDS] {
            assert!(told.contains(&(ClientId(client), Some(Rcode::SERVFAIL))), "{client} of {told:?}");
        }
        assert!(told.len() <= 2 * TIMERS_MAX + 3);
        rounds.check_invariants();
    }
}
