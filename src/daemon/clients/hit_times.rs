//! How long hits take: from the receipt of a batch to the end of sending its replies.
//!
//! The clock is read for one batch in 16. The batches until the next one are counted with its time: every hit
//! is counted, and a hit costs no system call and no clock of its own.

use hither_net::clock::now;
use hither_table::{Monotonic, Timing};

/// One batch in this many is measured.
const MEASURED_EVERY: u8 = 16;

/// The times of the batches of one thread and transport.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct BatchTimes {
    latest: Timing,
    /// Batches that get the latest time.
    left: u8,
}

impl BatchTimes {
    /// A batch has been received. Returns the time, if it is to be measured.
    #[inline]
    pub fn begin(&self) -> Option<Monotonic> {
        (self.left == 0).then(now)
    }

    /// The replies of a batch have been sent, and some were hits. Returns their time.
    #[inline]
    pub fn end(&mut self, began: Option<Monotonic>) -> Timing {
        match began {
            Some(began) => {
                self.latest = now().since(began).into();
                self.left = MEASURED_EVERY - 1;
            }
            None => self.left = self.left.saturating_sub(1),
        }
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_batch_is_measured_and_then_one_in_16() {
        let mut times = BatchTimes::default();
        let measured = (0..49).filter(|_| {
            let began = times.begin();
            let time = times.end(began);
            assert_ne!(time, Timing::default());
            began.is_some()
        });
        assert_eq!(measured.count(), 4);
    }
}
