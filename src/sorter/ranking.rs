//! The ranking of a set's addresses by their measurements and certificates. Pure: the same measurements
//! and verdicts always give the same order.

use hither_table::{Part, Trust};
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

/// An address of a set with what is known about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Candidate {
    pub address: IpAddr,
    pub outcome: Outcome,
    pub trust: Trust,
    /// The part of the set to which it belongs. The daemon puts the parts in their order, whatever the
    /// order within them.
    pub part: Part,
}

/// The addresses of a set, the best one of each part first; equal ones keep their places.
pub(super) fn ranked(set: &[Candidate]) -> Vec<Candidate> {
    let mut ordered = set.to_vec();
    ordered.sort_by_key(|one| (one.part, one.outcome));
    ordered
}

/// Whether a set that is in a measured order already would gain by another one: an address with a
/// better kind of outcome moves forward, or one that is quicker by more than `hysteresis`. For
/// less, a client's next reply need not differ from its last one.
pub(super) fn improves(set: &[Candidate], hysteresis: Duration) -> bool {
    let gains = |before: &Candidate, after: &Candidate| match (before.outcome, after.outcome) {
        _ if before.part != after.part => after.part < before.part,
        (Outcome::Answered(before), Outcome::Answered(after)) => before.saturating_sub(after) > hysteresis,
        (before, after) => after < before,
    };
    set.iter().enumerate().any(|(at, before)| set[at + 1..].iter().any(|after| gains(before, after)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hither_table::{Address, Agreement, Parts, Rtt};
    use proptest::prelude::*;

    fn ms(ms: u64) -> Outcome {
        Outcome::Answered(Duration::from_millis(ms))
    }

    fn set(outcomes: &[Outcome]) -> Vec<Candidate> {
        judged(&outcomes.iter().map(|outcome| (*outcome, Trust::Unknown)).collect::<Vec<_>>())
    }

    fn judged(outcomes: &[(Outcome, Trust)]) -> Vec<Candidate> {
        let address = |(n, (_, trust)): (u8, &(Outcome, Trust))| Address {
            address: IpAddr::from([192, 0, 2, n]),
            rtt: Rtt::Unmeasured,
            chain: 0,
            upstreams: Address::TRUSTED,
            sources: 1,
            trust: *trust,
        };
        let addresses: Vec<Address> = (1u8..).zip(outcomes).map(address).collect();
        let parts = Parts::of(&addresses, &Agreement::default());
        let candidate = |(known, (outcome, trust)): (&Address, &(Outcome, Trust))| Candidate {
            address: known.address,
            outcome: *outcome,
            trust: *trust,
            part: parts.part(known),
        };
        addresses.iter().zip(outcomes).map(candidate).collect()
    }

    fn ends(set: &[Candidate]) -> Vec<u8> {
        let end = |ip: IpAddr| if let IpAddr::V4(v4) = ip { v4.octets()[3] } else { 0 };
        set.iter().map(|one| end(one.address)).collect()
    }

    #[test]
    fn servers_that_are_not_the_name_s_come_last_while_one_is_verified() {
        let set = judged(&[
            (ms(5), Trust::OtherName),
            (ms(50), Trust::Verified),
            (ms(1), Trust::Untrusted),
            (ms(20), Trust::Expired),
            (ms(30), Trust::NoTls),
            (Outcome::Silent, Trust::Unknown),
        ]);
        assert_eq!(ends(&ranked(&set)), [4, 5, 2, 6, 3, 1], "the others in the order of their times");
        assert!(improves(&set, Duration::from_secs(1)), "whatever the hysteresis");
        assert!(!improves(&ranked(&set), Duration::ZERO));
        let alike = judged(&[(ms(5), Trust::OtherName), (ms(1), Trust::Untrusted), (ms(3), Trust::Expired)]);
        assert_eq!(ends(&ranked(&alike)), [2, 3, 1], "by time alone");
        assert!(!improves(&alike, Duration::from_millis(10)));
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
        fn a_ranking_is_a_permutation_that_cannot_be_improved(outcomes in prop::collection::vec((0u64..100, 0u8..4, 0usize..7), 0..40)) {
            let outcomes: Vec<(Outcome, Trust)> = outcomes.into_iter().map(|(t, kind, trust)| match kind {
                0 => (ms(t), Trust::ALL[trust]),
                1 => (Outcome::Unmeasured, Trust::ALL[trust]),
                2 => (Outcome::Refused, Trust::ALL[trust]),
                _ => (Outcome::Silent, Trust::ALL[trust]),
            }).collect();
            let measured = judged(&outcomes);
            let ordered = ranked(&measured);
            prop_assert!(!improves(&ordered, Duration::ZERO));
            let sorted = |set: &[Candidate]| { let mut all = set.to_vec(); all.sort_by_key(|one| one.address); all };
            prop_assert_eq!(sorted(&measured), sorted(&ordered));
        }
    }
}
