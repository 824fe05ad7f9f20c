//! What a subscriber has yet to be told of one name, in one octet.

use super::state::{Level, at};
use hither_table::Family;

/// What a subscriber has yet to be told of one name: an octet, with three bits for each family.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Marks(u8);

impl Marks {
    const QUEUED: u8 = 1 << 6;

    pub fn level(self, family: Family) -> Option<Level> {
        match self.0 >> (3 * at(family)) & 3 {
            0 => None,
            1 => Some(Level::Order),
            _ => Some(Level::Set),
        }
    }

    pub fn is_coalesced(self, family: Family) -> bool {
        self.0 >> (3 * at(family)) & 4 != 0
    }

    /// Adds a change. Another one that has not been told yet is merged with it.
    pub fn add(&mut self, family: Family, level: Level) {
        let before = self.level(family);
        let more = before.max(Some(level)).map_or(0, |level| 1 + level as u8);
        let merged = if before.is_some() || self.is_coalesced(family) { 4 } else { 0 };
        self.0 = self.0 & !(7 << (3 * at(family))) | (more | merged) << (3 * at(family));
    }

    /// Notes that the subscription is in the queue of its subscriber. `false`: it was.
    pub fn queue(&mut self) -> bool {
        let is_new = self.0 & Self::QUEUED == 0;
        self.0 |= Self::QUEUED;
        is_new
    }

    pub fn clear(&mut self, family: Family) {
        self.0 &= !(7 << (3 * at(family)));
    }

    pub fn has_more(self) -> bool {
        self.0 & !Self::QUEUED != 0
    }
}
