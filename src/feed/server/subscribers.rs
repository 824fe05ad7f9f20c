//! The subscribers: each has a list of its subscriptions, and a queue of those it has to be told of.

use super::leases::NONE;
use super::users::Owner;
use crate::Refusal;
use slab::Slab;
use std::collections::VecDeque;

/// The answer to a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Accepted { names: u32, version: u64 },
    Refused { reason: Refusal, names: u32 },
}

/// A gap: from the time when a socket was full until its subscriber knows everything again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Gap {
    /// There is none.
    None,
    /// The subscriber has to be told that there is one.
    Due,
    /// It was told, and gets the records that waited. If its socket is full again meanwhile, that is the
    /// same gap: otherwise a socket that holds one record would get nothing but gaps.
    Told,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub owner: Owner,
    /// Its first subscription, and how many it has.
    pub first: u32,
    pub names: u32,
    /// The queue of its subscriptions that have marks.
    pub head: u32,
    pub tail: u32,
    /// The answer to its last datagram, which it has not got yet.
    pub answer: Option<Answer>,
    /// Whether its socket was full at the last try.
    pub is_behind: bool,
    /// How far it was told of the present gap.
    pub gap: Gap,
    pub is_leaving: bool,
    /// Whether it is in [`Subscribers::ready`].
    is_ready: bool,
}

impl Subscriber {
    fn has_records(&self) -> bool {
        self.gap == Gap::Due || self.answer.is_some() || self.head != NONE
    }
}

/// All subscribers.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    slab: Slab<Subscriber>,
    /// Those with records whose sockets are not full, in the order of their turns.
    ready: VecDeque<u32>,
}

impl Subscribers {
    pub fn add(&mut self, owner: Owner) -> u32 {
        let new = Subscriber {
            owner,
            first: NONE,
            names: 0,
            head: NONE,
            tail: NONE,
            answer: None,
            is_behind: false,
            gap: Gap::None,
            is_leaving: false,
            is_ready: false,
        };
        u32::try_from(self.slab.insert(new)).unwrap_or(NONE)
    }

    pub fn get(&self, id: u32) -> Option<&Subscriber> {
        self.slab.get(id as usize)
    }

    pub fn get_mut(&mut self, id: u32) -> Option<&mut Subscriber> {
        self.slab.get_mut(id as usize)
    }

    pub fn remove(&mut self, id: u32) {
        self.slab.try_remove(id as usize);
        self.ready.retain(|ready| *ready != id);
    }

    /// Notes the answer to a datagram.
    pub fn answer(&mut self, id: u32, answer: Answer) {
        if let Some(one) = self.get_mut(id) {
            one.answer = Some(answer);
        }
        self.wake(id);
    }

    /// Gives a subscriber a turn, if it has something to be told and its socket takes it.
    pub fn wake(&mut self, id: u32) {
        let Some(one) = self.slab.get_mut(id as usize) else { return };
        if !one.is_ready && !one.is_behind && !one.is_leaving && one.has_records() {
            one.is_ready = true;
            self.ready.push_back(id);
        }
    }

    /// The subscriber whose turn it is.
    pub fn turn(&mut self) -> Option<(u32, &mut Subscriber)> {
        while let Some(id) = self.ready.front().copied() {
            let one = self.slab.get(id as usize);
            if one.is_some_and(|one| !one.is_leaving && !one.is_behind && one.has_records()) {
                break;
            }
            self.end_turn();
        }
        let id = self.ready.front().copied()?;
        self.slab.get_mut(id as usize).map(|one| (id, one))
    }

    /// Ends the turn of the first. It gets another one if it has more.
    pub fn end_turn(&mut self) {
        let Some(id) = self.ready.pop_front() else { return };
        if let Some(one) = self.slab.get_mut(id as usize) {
            one.is_ready = false;
        }
        self.wake(id);
    }

    pub fn is_anybody_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Checks what must hold between two calls.
    pub fn check(&self) {
        assert_eq!(self.ready.len(), self.slab.iter().filter(|(_, one)| one.is_ready).count());
        for (_, one) in &self.slab {
            let waits = one.has_records() && !one.is_behind && !one.is_leaving;
            assert!(!waits || one.is_ready, "a subscriber with records has its turn: {one:?}");
            assert_eq!(one.head == NONE, one.tail == NONE);
        }
    }
}
