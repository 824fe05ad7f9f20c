//! Deadlines of a round: all times at which it is woken, in one table.

use crate::attempt::Attempt;
use crate::round::{Phase, Round};
use hither_table::Monotonic;

/// A reason for which a round is woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deadline {
    /// The round ends, answered or not: `Settings::deadline` after its start, sooner where every
    /// upstream is down.
    End,
    /// The next upstreams are queried: `Settings::fallback` after the first wave, then
    /// `Settings::stagger` after each.
    NextWave,
    /// Clients that still wait get stale data (`Settings::stale_wait`).
    StaleReply,
    /// The round asks upstreams, since the site has not answered in time (`Settings::site`).
    SiteWait,
    /// The round ends early if every upstream is down by now ([`DOWN_DEADLINE`]).
    AllDown,
    /// The held weak answer is accepted without a second one (`Settings::negative_grace`).
    NegativeGrace,
    /// The target of a dangling CNAME is queried although attempts are outstanding
    /// (`Settings::negative_grace`).
    CnameChase,
    /// A query is retransmitted.
    Retransmission,
    /// A doubtful datagram is accepted, since TCP has not confirmed it in time.
    TcpConfirmation,
    /// A denial in mixed case is accepted, since the query in lower case has not contradicted it in time.
    LowerCase,
    /// The published set expires: no address may join it any more.
    SetExpiry,
}

impl Round {
    /// The time of a deadline, if it is set. Inlined, so that [`Round::wake`] costs a few comparisons.
    #[inline(always)]
    pub fn at(&self, deadline: Deadline) -> Option<Monotonic> {
        let soonest = |of: fn(&Attempt) -> Option<Monotonic>| self.attempts.iter().filter_map(of).min();
        match (deadline, &self.phase) {
            (Deadline::End, _) => Some(self.deadline),
            (Deadline::NextWave, _) => self.next_wave_at,
            (Deadline::StaleReply, _) => self.stale_at,
            (Deadline::TcpConfirmation, _) => soonest(|attempt| attempt.doubt.until),
            (Deadline::LowerCase, _) => soonest(|attempt| attempt.denied.as_ref().map(|denied| denied.until)),
            (Deadline::SiteWait, _) => self.site_wait_ends(),
            (Deadline::AllDown, Phase::Racing { .. }) => self.down_check_at,
            (Deadline::NegativeGrace, Phase::Racing { held, .. }) => held.as_ref().map(|held| held.until),
            (Deadline::CnameChase, Phase::Racing { dangling, .. }) => {
                dangling.as_ref().map(|dangling| dangling.until)
            }
            (Deadline::Retransmission, Phase::Racing { .. }) => soonest(|attempt| attempt.resend_at),
            (Deadline::SetExpiry, Phase::Completing { set }) => Some(Monotonic::from_ms(set.expire_ms)),
            (
                Deadline::AllDown
                | Deadline::NegativeGrace
                | Deadline::CnameChase
                | Deadline::Retransmission
                | Deadline::SetExpiry,
                _,
            ) => None,
        }
    }

    /// Whether a deadline has passed.
    pub fn is_due(&self, now: Monotonic, deadline: Deadline) -> bool {
        self.at(deadline).is_some_and(|at| now >= at)
    }

    /// When [`Round::on_time`] is to be called: the first of all deadlines.
    pub fn wake(&self) -> Monotonic {
        let others = [
            self.at(Deadline::NextWave),
            self.at(Deadline::StaleReply).filter(|_| !self.clients.is_empty()),
            self.at(Deadline::SiteWait),
            self.at(Deadline::AllDown),
            self.at(Deadline::NegativeGrace),
            self.at(Deadline::CnameChase),
            self.at(Deadline::Retransmission),
            self.at(Deadline::TcpConfirmation),
            self.at(Deadline::LowerCase),
            self.at(Deadline::SetExpiry),
        ];
        others.into_iter().flatten().fold(self.deadline, Monotonic::min)
    }
}
