//! How much each place in the program may write: what a stranger can cause must not fill a disk.

use std::collections::BTreeMap;

/// Lines a second from one place.
const LINES_PER_SECOND: u32 = 10;

/// File and line.
pub(super) type Spot = (&'static str, u32);

/// The places that have logged; there are no more of them than the program has.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<Spot, Place>);

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    second: u64,
    lines: u32,
}

impl Places {
    /// Whether another line of `spot` may be written, and how many were left out since the last one that was.
    pub fn may(&mut self, spot: Spot, second: u64) -> Option<u32> {
        self.0.entry(spot).or_default().may(second)
    }
}

impl Place {
    fn may(&mut self, second: u64) -> Option<u32> {
        let mut left_out = 0;
        if self.second != second {
            left_out = self.lines.saturating_sub(LINES_PER_SECOND);
            *self = Place { second, lines: 0 };
        }
        self.lines = self.lines.saturating_add(1);
        (self.lines <= LINES_PER_SECOND).then_some(left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_writes_ten_lines_a_second_and_then_says_how_many_it_did_not() {
        let (mut places, here, there) = (Places::default(), ("a.rs", 1), ("a.rs", 2));
        let written = (0..1000).filter(|_| places.may(here, 7).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(places.may(there, 7), Some(0), "another place has its own share");
        assert_eq!(places.may(here, 8), Some(990));
        assert_eq!(places.may(here, 8), Some(0));
    }
}
