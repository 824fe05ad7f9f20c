//! The pauses before retransmissions, from the round-trip time of the upstream.

use crate::settings::{EARLY_MARGIN, RESEND_MAX, RESEND_MIN, RESEND_UNKNOWN, RESPONSES_PER_EARLY_RESEND};
use crate::upstream::Upstream;
use std::time::Duration;

impl Upstream {
    /// The pause before the first retransmission.
    pub fn resend_after(&self) -> Duration {
        self.rtt.map_or(RESEND_UNKNOWN, |(smoothed, variation)| {
            Duration::from_micros(smoothed + 4 * variation).clamp(RESEND_MIN, RESEND_MAX)
        })
    }

    /// The pause before an early retransmission; `None` where that is no earlier than usual.
    pub fn early_after(&self) -> Option<Duration> {
        let (smoothed, variation) = self.rtt?;
        let late = Duration::from_micros(smoothed) + Duration::from_micros(4 * variation).max(EARLY_MARGIN);
        (late < RESEND_MIN).then_some(late)
    }

    /// Whether an early retransmission may be sent. If so, its responses are subtracted
    /// ([`RESPONSES_PER_EARLY_RESEND`]).
    pub fn pay_for_early_retransmission(&mut self) -> bool {
        let may = self.saved >= RESPONSES_PER_EARLY_RESEND;
        self.saved -= if may { RESPONSES_PER_EARLY_RESEND } else { 0 };
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::RESPONSES_COUNTED_MAX;

    #[test]
    fn early_retransmissions_go_to_quick_upstreams_at_a_bounded_share_of_responses() {
        let mut upstream = Upstream::new(std::net::SocketAddr::from(([192, 0, 2, 1], 53)).into());
        assert_eq!(upstream.early_after(), None, "its round-trip time is unknown");
        for _ in 0..40 {
            upstream.note_response(Some(Duration::from_millis(5)), true);
        }
        let early = upstream.early_after().expect("it is quick");
        assert!((Duration::from_millis(8)..Duration::from_millis(9)).contains(&early), "{early:?}");
        let saved = (0..1000).filter(|_| upstream.pay_for_early_retransmission()).count();
        assert_eq!(saved, usize::from(RESPONSES_COUNTED_MAX / RESPONSES_PER_EARLY_RESEND));
        for _ in 0..RESPONSES_PER_EARLY_RESEND {
            upstream.note_response(None, true);
        }
        assert!(upstream.pay_for_early_retransmission() && !upstream.pay_for_early_retransmission());
        for _ in 0..40 {
            upstream.note_response(Some(Duration::from_millis(80)), true);
        }
        assert_eq!(upstream.early_after(), None, "the usual time is no later");
    }
}
