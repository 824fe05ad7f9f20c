//! Limits how many lines each place in the program writes, since packets from the network must not fill
//! a disk.

use std::collections::BTreeMap;

/// Lines per second from one place in the program.
const LINES_PER_SECOND_MAX: u32 = 10;

/// File and line of a statement that logs.
pub(super) type Spot = (&'static str, u32);

/// The places that have logged; their number is that of the log statements in the program.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<Spot, Place>);

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    second: u64,
    lines: u32,
}

impl Places {
    /// Whether `spot` may write another line in this `second`; `Some` has the number of lines left out
    /// before it.
    pub fn admit(&mut self, spot: Spot, second: u64) -> Option<u32> {
        self.0.entry(spot).or_default().admit(second)
    }
}

impl Place {
    fn admit(&mut self, second: u64) -> Option<u32> {
        let mut left_out = 0;
        if self.second != second {
            left_out = self.lines.saturating_sub(LINES_PER_SECOND_MAX);
            *self = Place { second, lines: 0 };
        }
        self.lines = self.lines.saturating_add(1);
        (self.lines <= LINES_PER_SECOND_MAX).then_some(left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_site_writes_ten_lines_a_second_and_counts_the_suppressed_ones() {
        let (mut places, here, there) = (Places::default(), ("a.rs", 1), ("a.rs", 2));
        let written = (0..1000).filter(|_| places.admit(here, 7).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(places.admit(there, 7), Some(0), "another place has its own share");
        assert_eq!(places.admit(here, 8), Some(990));
        assert_eq!(places.admit(here, 8), Some(0));
    }
}
