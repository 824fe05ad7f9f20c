//! The rate of rounds: a bucket of tokens that holds those of one second.

use hither_table::Monotonic;
use std::time::Duration;

/// One round in the unit of [`Pace::tokens`].
const TOKEN: u64 = 1000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Rounds a second.
    rate: u32,
    /// Rounds that may begin now, in thousandths. Grows with time.
    tokens: u64,
    refilled_ms: u64,
}

impl Pace {
    pub fn new(rate: u32) -> Pace {
        Pace { rate: rate.max(1), tokens: TOKEN * u64::from(rate.max(1)), refilled_ms: 0 }
    }

    /// Changes how many rounds a second may begin.
    pub fn set_rate(&mut self, rate: u32) {
        self.rate = rate.max(1);
    }

    pub fn advance(&mut self, now: Monotonic) {
        let more = now.as_ms().saturating_sub(self.refilled_ms).saturating_mul(u64::from(self.rate));
        self.tokens = self.tokens.saturating_add(more).min(TOKEN * u64::from(self.rate));
        self.refilled_ms = self.refilled_ms.max(now.as_ms());
    }

    /// Whether a round may begin now.
    pub fn allows(&self) -> bool {
        self.tokens >= TOKEN
    }

    /// Counts a round that begins.
    pub fn take(&mut self) {
        self.tokens = self.tokens.saturating_sub(TOKEN);
    }

    /// When the next round may begin.
    pub fn next(&self) -> Monotonic {
        let missing = TOKEN.saturating_sub(self.tokens).div_ceil(u64::from(self.rate));
        Monotonic::from_ms(self.refilled_ms).plus(Duration::from_millis(missing))
    }
}
