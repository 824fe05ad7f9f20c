//! From measurements to an order. Pure: the same measurements always give the same order.

use std::net::IpAddr;
use std::time::Duration;

/// What is known of an address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Outcome {
    /// It answered after so long.
    Open(Duration),
    /// Nobody has looked: it is not dead for that.
    Unmeasured,
    /// It refused: something is there, but not what is wanted.
    Refused,
    /// It did not answer.
    Silent,
}

/// The addresses of a set, best first; equals stay as they were.
pub(super) fn order(set: &[(IpAddr, Outcome)]) -> Vec<(IpAddr, Outcome)> {
    let mut ordered = set.to_vec();
    ordered.sort_by_key(|(_, outcome)| *outcome);
    ordered
}

/// Whether a set that is in some measured order already would gain by another: a better kind of address before a worse one, or more
/// than `hysteresis` of time. Less is not worth that a client's next answer differs from its last.
pub(super) fn improves(set: &[(IpAddr, Outcome)], hysteresis: Duration) -> bool {
    let gains = |before: &Outcome, after: &Outcome| match (before, after) {
        (Outcome::Open(before), Outcome::Open(after)) => before.saturating_sub(*after) > hysteresis,
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
        Outcome::Open(Duration::from_millis(ms))
    }

    fn set(outcomes: &[Outcome]) -> Vec<(IpAddr, Outcome)> {
        (1u8..).zip(outcomes).map(|(n, outcome)| (IpAddr::from([192, 0, 2, n]), *outcome)).collect()
    }

    fn ends(set: &[(IpAddr, Outcome)]) -> Vec<u8> {
        set.iter().map(|(ip, _)| if let IpAddr::V4(v4) = ip { v4.octets()[3] } else { 0 }).collect()
    }

    #[test]
    fn the_quickest_comes_first() {
        assert_eq!(ends(&order(&set(&[ms(50), ms(20), ms(25), ms(80), ms(5)]))), [5, 2, 3, 1, 4]);
    }

    #[test]
    fn a_refusal_is_worse_than_any_open_one_and_better_than_silence() {
        let measured =
            set(&[Outcome::Silent, Outcome::Refused, Outcome::Unmeasured, ms(900), Outcome::Unmeasured]);
        assert_eq!(ends(&order(&measured)), [4, 3, 5, 2, 1]);
    }

    #[test]
    fn a_small_gain_changes_nothing() {
        let two = Duration::from_millis(2);
        assert!(!improves(&set(&[ms(10), ms(9), ms(8)]), two));
        assert!(improves(&set(&[ms(10), ms(11), ms(7)]), two));
        assert!(improves(&set(&[Outcome::Refused, ms(500)]), two));
        assert!(!improves(&set(&[ms(5), Outcome::Unmeasured, Outcome::Refused, Outcome::Silent]), two));
    }

    proptest! {
        #[test]
        fn an_order_is_a_permutation_that_needs_no_improving(outcomes in prop::collection::vec((0u64..100, 0u8..4), 0..40)) {
            let outcomes: Vec<Outcome> = outcomes.into_iter().map(|(t, kind)| match kind {
                0 => ms(t),
                1 => Outcome::Unmeasured,
                2 => Outcome::Refused,
                _ => Outcome::Silent,
            }).collect();
            let measured = set(&outcomes);
            let ordered = order(&measured);
            prop_assert!(!improves(&ordered, Duration::ZERO));
            let sorted = |set: &[(IpAddr, Outcome)]| { let mut all = set.to_vec(); all.sort(); all };
            prop_assert_eq!(sorted(&measured), sorted(&ordered));
        }
    }
}
