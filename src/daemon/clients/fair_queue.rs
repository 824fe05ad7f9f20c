//! A queue for each source, served in turn.
//!
//! This is fair queueing with priority for sparse sources (RFC 8290 section 4): new
//! sources and sources already served take turns. So a flood delays its own
//! items, not those of others.

use hither_rounds::{Source, Tally};
use slab::Slab;
use std::collections::{HashMap, VecDeque};

/// The slots of the first and the last item of a source.
#[derive(Clone, Copy, Debug)]
struct Queue {
    first: usize,
    last: usize,
}

/// The queues. The caller bounds the number of items.
#[derive(Debug)]
pub(crate) struct Queues<T> {
    /// Each item with the slot of the next one of its source.
    slots: Slab<(T, usize)>,
    queues: HashMap<Source, Queue>,
    tally: Tally,
    /// Sources that had no item waiting before, and sources that were served and have more. Both
    /// lists are in order of turn.
    fresh: VecDeque<Source>,
    others: VecDeque<Source>,
    is_turn_of_others: bool,
}

impl<T> Default for Queues<T> {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl<T> Queues<T> {
    pub fn with_capacity(most: usize) -> Queues<T> {
        Queues {
            slots: Slab::with_capacity(most),
            queues: HashMap::with_capacity(most),
            tally: Tally::new(),
            fresh: VecDeque::with_capacity(most),
            others: VecDeque::with_capacity(most),
            is_turn_of_others: false,
        }
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The number of items of each source.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Appends an item to the queue of its source.
    pub fn push(&mut self, source: Source, one: T) {
        let slot = self.slots.insert((one, usize::MAX));
        self.tally.add(source);
        if let Some(queue) = self.queues.get_mut(&source) {
            if let Some((_, next)) = self.slots.get_mut(queue.last) {
                *next = slot;
            }
            queue.last = slot;
        } else {
            self.queues.insert(source, Queue { first: slot, last: slot });
            self.fresh.push_back(source);
        }
    }

    /// The oldest item of the source whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        self.is_turn_of_others = !self.is_turn_of_others;
        let Queues { fresh, others, .. } = self;
        let (one, other) = if self.is_turn_of_others { (others, fresh) } else { (fresh, others) };
        // Each source with items is in one of both lists: eviction leaves it at least one.
        let source = one.pop_front().or_else(|| other.pop_front())?;
        let oldest = self.take(source);
        if self.queues.contains_key(&source) {
            self.others.push_back(source);
        }
        debug_assert_eq!(self.fresh.len() + self.others.len(), self.queues.len(), "a source is lost");
        oldest
    }

    /// Takes the oldest item of the source with most items. Only a source with two or more items loses one,
    /// so each listed source still has one.
    pub fn take_of_fullest(&mut self) -> Option<T> {
        let (fullest, most) = self.tally.fullest()?;
        debug_assert!(most > 1, "a source with one item keeps it");
        self.take(fullest)
    }

    /// Takes the oldest item of a source.
    fn take(&mut self, source: Source) -> Option<T> {
        let queue = self.queues.get_mut(&source)?;
        let (oldest, next) = self.slots.try_remove(queue.first)?;
        queue.first = next;
        if next == usize::MAX {
            self.queues.remove(&source);
        }
        self.tally.take(source);
        Some(oldest)
    }
}
