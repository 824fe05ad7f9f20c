//! The ranking of a set's addresses by their measurements. Pure: the same measurements always give
//! the same order.

use std::net::IpAddr;
use std::time::Duration;

/// The outcome of an address's measurement. A lesser one ranks before a greater one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Outcome {
    /// The address answered, with this round-trip time.
    Answered(Duration),
    /// The address was not measured, and may be as good as any.
    Unmeasured,
    /// A host is there and refuses the connection.
    Refused,
    /// The address did not answer in time.
    Silent,
}

/// The addresses of a set, the best one first; equal ones keep their places.
pub(super) fn ranked(set: &[(IpAddr, Outcome)]) -> Vec<(IpAddr, Outcome)> {
    let mut ordered = set.to_vec();
    ordered.sort_by_key(|(_, outcome)| *outcome);
    ordered
}

/// Whether a set that is in a measured order already would gain by another one: an address with a
/// better kind of outcome moves forward, or one that is quicker by more than `hysteresis`. For
/// less, a client's next reply need not differ from its last one.
pub(super) fn improves(set: &[(IpAddr, Outcome)], hysteresis: Duration) -> bool {
    let gains = |before: &Outcome, after: &Outcome| match (before, after) {
        (Outcome::Answered(before), Outcome::Answered(after)) => before.saturating_sub(*after) > hysteresis,
        (before, after) => after < before,
    };
    set.iter()
        .enumerate()
        .any(|(at, (_, before))| set[at + 1..].iter().any(|(_, after)| gains(before, after)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Outcome {
        Outcome::Answered(Duration::from_millis(ms))
    }

    fn set(outcomes: &[Outcome]) -> Vec<(IpAddr, Outcome)> {
        (1u8..).zip(outcomes).map(|(n, outcome)| (IpAddr::from([192, 0, 2, n]), *outcome)).collect()
    }

    fn ends(set: &[(IpAddr, Outcome)]) -> Vec<u8> {
        set.iter().map(|(ip, _)| if let IpAddr::V4(v4) = ip { v4.octets()[3] } else { 0 }).collect()
    }

    #[test]
    fn the_quickest_comes_first() {
        assert_eq!(ends(&ranked(&set(&[ms(50), ms(20), ms(25), ms(80), ms(5)]))), [5, 2, 3, 1, 4]);
    }

    #[test]
    fn a_refusal_ranks_behind_any_answer_and_before_silence() {
        let measured =
            set(&[Outcome::Silent, Outcome::Refused, Outcome::Unmeasured, ms(900), Outcome::Unmeasured]);
        assert_eq!(ends(&ranked(&measured)), [4, 3, 5, 2, 1]);
    }

    #[test]
    fn a_gain_within_the_hysteresis_changes_nothing() {
        let two = Duration::from_millis(2);
        assert!(!improves(&set(&[ms(10), ms(9), ms(8)]), two));
        assert!(improves(&set(&[ms(10), ms(11), ms(7)]), two));
        assert!(improves(&set(&[Outcome::Refused, ms(500)]), two));
        assert!(!improves(&set(&[ms(5), Outcome::Unmeasured, Outcome::Refused, Outcome::Silent]), two));
    }

    proptest! {
        #[test]
        fn a_ranking_is_a_permutation_that_cannot_be_improved(outcomes in prop::collection::vec((0u64..100, 0u8..4), 0..40)) {
            let outcomes: Vec<Outcome> = outcomes.into_iter().map(|(t, kind)| match kind {
                0 => ms(t),
                1 => Outcome::Unmeasured,
                2 => Outcome::Refused,
                _ => Outcome::Silent,
            }).collect();
            let measured = set(&outcomes);
            let ordered = ranked(&measured);
            prop_assert!(!improves(&ordered, Duration::ZERO));
            let sorted = |set: &[(IpAddr, Outcome)]| { let mut all = set.to_vec(); all.sort(); all };
            prop_assert_eq!(sorted(&measured), sorted(&ordered));
        }
    }
}
