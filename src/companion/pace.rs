//! A rate, of probes or of sets: a bucket of tokens. Pure.

use hither_table::Monotonic;
use std::time::Duration;

/// The probes that may be sent in a burst, unless the rate is lower.
const BURST_MAX: u32 = 20;
/// One probe in the unit of [`Pace::tokens`].
const TOKEN: u64 = 1_000_000;

#[derive(Debug)]
pub(crate) struct Pace {
    /// Probes a second.
    rate: u32,
    /// Probes that may be sent now, in millionths. Grows with time.
    tokens: u64,
    refilled: Monotonic,
}

impl Pace {
    pub fn new(rate: u32, now: Monotonic) -> Pace {
        Pace { rate: rate.max(1), tokens: TOKEN * u64::from(rate.clamp(1, BURST_MAX)), refilled: now }
    }

    pub fn advance(&mut self, now: Monotonic) {
        let micros = u64::try_from(now.since(self.refilled).as_micros()).unwrap_or(u64::MAX);
        let more = micros.saturating_mul(u64::from(self.rate));
        if more > 0 {
            let most = TOKEN * u64::from(self.rate.clamp(1, BURST_MAX));
            self.tokens = self.tokens.saturating_add(more).min(most);
            self.refilled = now;
        }
    }

    /// How many may be sent now.
    pub fn count(&self) -> u64 {
        self.tokens / TOKEN
    }

    /// Whether a probe may be sent now.
    pub fn allows(&self) -> bool {
        self.tokens >= TOKEN
    }

    /// Counts a probe that is sent.
    pub fn take(&mut self) {
        self.tokens = self.tokens.saturating_sub(TOKEN);
    }

    /// When the next probe may be sent.
    pub fn next(&self) -> Monotonic {
        let missing = TOKEN.saturating_sub(self.tokens);
        self.refilled.plus(Duration::from_micros(missing.div_ceil(u64::from(self.rate)).max(1)))
    }
}
