//! What somebody else may have sent: after the first sign of guessing a question goes to TCP, which cannot be guessed, and what comes
//! by UDP waits for it (RFC 5452 section 9; BIND and pdns-recursor do so too).

use crate::mutant::Mutant;
use crate::response::Doubt;
use crate::round::{Phase, Round};
use crate::settings::{CONFIRM_WITHIN, DOUBTS_MAX};
use crate::shared::Shared;
use crate::{AttemptId, Transport};
use hither_table::{Counter, Monotonic};
use hither_wire::message::Message;

impl Round {
    /// A message that does not count arrived for attempt `at`.
    pub fn doubt(&mut self, shared: &mut Shared, now: Monotonic, at: usize, (doubt, octets): (Doubt, &[u8])) {
        let attempt = &mut self.attempts[at];
        if doubt == Doubt::None || attempt.transport != Transport::Udp || now >= self.deadline {
            return;
        }
        let id = attempt.id;
        attempt.doubt.count = attempt.doubt.count.saturating_add(1);
        if attempt.doubt.count == 1 && !shared.mutants.has(Mutant::ForgeryIsOnlyCounted) {
            shared.count(Counter::ForgeriesSuspected);
            let target = attempt.target.clone();
            let way = (attempt.upstream, Transport::Tcp, attempt.without_edns);
            if self.send(shared, now, &target, way) {
                if let Some(tcp) = self.attempts.last_mut() {
                    tcp.doubt.confirms = Some(id);
                }
                self.attempts[at].doubt.until = Some(now.plus(CONFIRM_WITHIN));
            }
        }
        let attempt = &mut self.attempts[at];
        if doubt == Doubt::Unusual {
            attempt.doubt.kept.get_or_insert_with(|| (now, octets.to_vec()));
        }
        if attempt.doubt.until.is_none() {
            self.unconfirmed(shared, now, id);
        }
    }

    /// Whether a good answer by UDP has to wait for the connection that was opened to confirm it.
    pub fn waits_for_tcp(&self, shared: &Shared, at: usize) -> bool {
        self.attempts[at].doubt.until.is_some() && !shared.mutants.has(Mutant::DoubtIsForgotten)
    }

    /// Attempt `at` has an answer that counts: if it came by TCP for a doubted attempt, that one is over. Returns the new place of `at`.
    pub fn confirmed(&mut self, shared: &mut Shared, now: Monotonic, at: usize) -> usize {
        let id = self.attempts[at].id;
        if let Some(doubted) = self.attempts[at].doubt.confirms
            && let Some(other) = self.attempts.iter().position(|a| a.id == doubted)
        {
            self.close(shared, now, other, "doubted");
        }
        self.attempts.iter().position(|a| a.id == id).unwrap_or(at)
    }

    /// TCP came to nothing: the doubted attempt counts again, with what it has heard meanwhile, unless it heard too much.
    pub fn unconfirmed(&mut self, shared: &mut Shared, now: Monotonic, doubted: AttemptId) {
        let Some(at) = self.attempts.iter().position(|a| a.id == doubted) else { return };
        let attempt = &mut self.attempts[at];
        attempt.doubt.until = None;
        if attempt.doubt.count > DOUBTS_MAX {
            self.close(shared, now, at, "forged");
            return self.next_after_failure(shared, now);
        }
        // When the round or its set has had its time too, or the host has slept since, nothing counts any more.
        let over = matches!(&self.phase, Phase::Completing { set } if now.as_ms() >= set.expire_ms);
        let fresh = |came: Monotonic| !over && now < self.deadline && now.since(came) < 2 * CONFIRM_WITHIN;
        if let Some((came, octets)) = attempt.doubt.kept.take().filter(|(came, _)| fresh(*came)) {
            // As of then: its TTLs have run since.
            if let Ok(message) = Message::read(&octets) {
                self.hear(shared, came, at, &message);
            }
        }
    }

    /// TCP has had its time.
    pub fn stop_waiting_for_tcp(&mut self, shared: &mut Shared, now: Monotonic) {
        while let Some(id) =
            self.attempts.iter().find(|a| a.doubt.until.is_some_and(|at| now >= at)).map(|a| a.id)
        {
            if let Some(tcp) = self.attempts.iter().position(|a| a.doubt.confirms == Some(id)) {
                self.close(shared, now, tcp, "not confirmed");
            }
            self.unconfirmed(shared, now, id);
        }
    }
}
