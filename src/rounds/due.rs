//! Which rounds are woken, and how many of them at once.

use crate::{Input, Rounds};
use hither_table::Monotonic;

/// Rounds that are woken at once: each may send a few queries, so this is some half a millisecond.
const TIMERS: usize = 64;

impl Rounds {
    /// Does what is due at `now`, of very much a part: the time of [`Rounds::poll_timeout`] is not after `now` then.
    pub fn handle_timeout(&mut self, now: Monotonic) {
        self.pass(now, now);
        self.gauges();
    }

    /// Handles timers up to `until`, as of `now`, the oldest first.
    pub(crate) fn pass(&mut self, until: Monotonic, now: Monotonic) {
        for _ in 0..TIMERS {
            match self.timers.first().copied() {
                Some((at, id)) if at <= until => self.on_time(now, id),
                Some(_) | None => break,
            }
        }
    }

    /// The round that an input is for is never later than it.
    pub(crate) fn catch_up(&mut self, until: Monotonic, now: Monotonic, input: &Input<'_>) {
        let late =
            |rounds: &Rounds, id: u64| rounds.rounds.get(&id).is_some_and(|round| round.timer <= until);
        for _ in 0..TIMERS {
            let id = match input {
                Input::Message { attempt, .. } | Input::Failed { attempt, .. } => {
                    self.shared.attempts.get(attempt)
                }
                Input::Ask { question, .. } => self.live.get(&self.shared.flight(now, question)),
                _ => None,
            };
            match id.copied() {
                Some(id) if late(self, id) => self.on_time(now, id),
                Some(_) | None => return,
            }
        }
    }

    fn on_time(&mut self, now: Monotonic, id: u64) {
        self.with(now, id, |round, shared| round.on_time(shared, now));
    }

    /// When [`Rounds::handle_timeout`] has something to do.
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

    /// As many questions, all asked at once of one upstream that says nothing; and the attempts.
    fn silent() -> (Rounds, Vec<(AttemptId, Vec<u8>)>) {
        let geometry = Geometry { entries: 1024 };
        let writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10);
        let upstream = SocketAddr::from(([192, 0, 2, 1], 53));
        let settings = Settings { limits: Limits::default(), mix_case: false, ..Settings::default() };
        let mut rounds =
            Rounds::new(settings, Routes::from(&[upstream][..]), writer.expect("a table"), Box::new(|| 7));
        for n in 0..ROUNDS {
            let question = question(n);
            rounds.handle(
                Monotonic::from_ms(1000),
                Input::Ask { client: ClientId(n), question: &question, recursion: true },
            );
        }
        let sent = std::iter::from_fn(|| rounds.poll_action()).filter_map(|action| match action {
            Action::Send { attempt, octets, .. } => Some((attempt, octets.to_vec())),
            _ => None,
        });
        let sent: Vec<_> = sent.collect();
        assert_eq!(sent.len() as u64, ROUNDS);
        (rounds, sent)
    }

    /// Clients that were told, with the RCODE.
    fn told(rounds: &mut Rounds) -> Vec<(ClientId, Option<Rcode>)> {
        let replies = std::iter::from_fn(|| rounds.poll_action()).filter_map(|action| match action {
            Action::Reply { client, answer: crate::reply::Answer::Failure { rcode, .. } } => {
                Some((client, Some(rcode)))
            }
            Action::Reply { client, .. } => Some((client, None)),
            _ => None,
        });
        replies.collect()
    }

    #[test]
    fn of_very_many_that_are_due_a_part_is_woken_and_all_by_and_by() {
        let (mut rounds, _) = silent();
        let late = Monotonic::from_ms(60_000);
        let mut times = 0;
        while rounds.poll_timeout().is_some_and(|at| at <= late) {
            rounds.handle_timeout(late);
            let told = told(&mut rounds);
            assert!((1..=TIMERS).contains(&told.len()), "{} at once", told.len());
            times += 1;
        }
        assert_eq!(times, ROUNDS.div_ceil(TIMERS as u64));
        rounds.check_invariants();
    }

    #[test]
    fn a_round_that_is_not_woken_yet_is_as_late_as_if_it_were() {
        let (mut rounds, sent) = silent();
        let late = Monotonic::from_ms(60_000);
        // The last of them, whose answer comes after its deadline, and one that somebody asks for again.
        let (attempt, mut octets) = sent.last().cloned().expect("there");
        octets[2] |= 0x80;
        let asked = question(ROUNDS - 2);
        rounds.handle(late, Input::Message { attempt, octets: &octets });
        let again = Input::Ask { client: ClientId(ROUNDS), question: &asked, recursion: true };
        rounds.handle(late, again);
        let told = told(&mut rounds);
        for client in [ROUNDS - 1, ROUNDS - 2, ROUNDS] {
            assert!(told.contains(&(ClientId(client), Some(Rcode::SERVFAIL))), "{client} of {told:?}");
        }
        assert!(told.len() <= 2 * TIMERS + 3);
        rounds.check_invariants();
    }
}
