//! The rounds of the attempts that ended last, so that a late response is noted with its attempt.

use crate::ids::AttemptId;

/// Attempts whose rounds are remembered; a later one takes the place of an earlier one.
const ATTEMPTS_MAX: u64 = 4096;

/// The round of each attempt that ended lately. Attempts are numbered in the order of their beginning, so
/// the number gives the place.
#[derive(Debug)]
pub(crate) struct EndedAttempts(Box<[(AttemptId, u64)]>);

impl Default for EndedAttempts {
    fn default() -> Self {
        Self(vec![(AttemptId(0), 0); ATTEMPTS_MAX as usize].into())
    }
}

impl EndedAttempts {
    fn place(id: AttemptId) -> usize {
        (id.0 % ATTEMPTS_MAX) as usize
    }

    /// Notes that an attempt of a round has ended.
    pub fn note(&mut self, id: AttemptId, round: u64) {
        if let Some(place) = self.0.get_mut(Self::place(id)) {
            *place = (id, round);
        }
    }

    /// The round of an attempt that has ended, if that is not too long ago.
    pub fn round_of(&self, id: AttemptId) -> Option<u64> {
        self.0.get(Self::place(id)).filter(|(known, _)| *known == id).map(|(_, round)| *round)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_remembered_until_another_one_takes_its_place() {
        let mut ended = EndedAttempts::default();
        ended.note(AttemptId(7), 70);
        ended.note(AttemptId(8), 80);
        assert_eq!((ended.round_of(AttemptId(7)), ended.round_of(AttemptId(9))), (Some(70), None));
        ended.note(AttemptId(7 + ATTEMPTS_MAX), 71);
        assert_eq!(ended.round_of(AttemptId(7)), None);
        assert_eq!(ended.round_of(AttemptId(7 + ATTEMPTS_MAX)), Some(71));
        assert_eq!(ended.round_of(AttemptId(8)), Some(80));
    }
}
