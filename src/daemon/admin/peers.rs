//! Who is connected at the local sockets, and who gives way when all places are taken.
//!
//! Anybody may connect, so a newcomer is never refused: somebody gives way to it. The sorter has a place of its own, and so have root and the
//! daemon's user together, which no other user can take. The others share theirs by user: one of whoever has most gives way, first who
//! has never said anything, then who has been silent longest, at last who waits for an answer. In a user namespace of our own
//! (PrivateUsers=) all others are one user to us.

use crate::daemon::sources::Slot;
use hither_net::seqpacket::{Connection, Peer};
use hither_table::Monotonic;
use slab::Slab;
use std::collections::BTreeMap;
use std::time::Duration;

/// Places of root and the daemon's user.
pub(crate) const OURS: usize = 16;
/// Places of all other users.
pub(crate) const OTHERS: usize = 48;
/// Who has not said anything for so long since it came goes first.
const SPEAKS: Duration = Duration::from_secs(1);

/// Whose place a connection has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rank {
    /// One at a time; the newer one wins, for the older may hang.
    Sorter,
    /// Root's, or the daemon's own user's.
    Ours,
    Others,
}

impl Rank {
    fn places(self) -> usize {
        match self {
            Self::Sorter => 1,
            Self::Ours => OURS,
            Self::Others => OTHERS,
        }
    }
}

/// What decides who gives way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub rank: Rank,
    pub uid: u32,
    /// It has a request that is not answered yet. Until then no other is read.
    pub owed: bool,
    /// When it last said something.
    pub heard: Option<Monotonic>,
    pub came: Monotonic,
}

impl Standing {
    /// The least gives way.
    fn worth(&self, now: Monotonic) -> (bool, bool, Monotonic) {
        let may_speak = self.heard.is_some() || now < self.came.plus(SPEAKS);
        (self.owed, may_speak, self.heard.unwrap_or(self.came))
    }
}

/// Who of `all` has to give way before there is a place for one more of `rank`.
fn gives_way<'s>(
    all: impl Iterator<Item = (usize, &'s Standing)>,
    rank: Rank,
    now: Monotonic,
) -> Option<usize> {
    let all: Vec<_> = all.filter(|(_, standing)| standing.rank == rank).collect();
    if all.len() < rank.places() {
        return None;
    }
    let mut users = BTreeMap::<u32, usize>::new();
    all.iter().for_each(|(_, standing)| *users.entry(standing.uid).or_default() += 1);
    let most = users.values().max().copied()?;
    let of_fullest = all.into_iter().filter(|(_, standing)| users.get(&standing.uid) == Some(&most));
    of_fullest.min_by_key(|(_, standing)| standing.worth(now)).map(|(key, _)| key)
}

#[derive(Debug)]
pub(crate) struct Local {
    pub connection: Connection,
    pub peer: Peer,
    pub standing: Standing,
    generation: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Peers {
    slab: Slab<Local>,
    generation: u32,
}

impl Peers {
    /// Whose connection is to be closed before one more of `rank` is taken.
    pub fn gives_way(&self, rank: Rank, now: Monotonic) -> Option<usize> {
        gives_way(self.slab.iter().map(|(key, local)| (key, &local.standing)), rank, now)
    }

    /// The place that the next one gets.
    pub fn next_slot(&mut self) -> Slot {
        self.generation = self.generation.wrapping_add(1);
        Slot { key: self.slab.vacant_key(), generation: self.generation }
    }

    /// Puts one into the place that [`Peers::next_slot`] has just given.
    pub fn insert(&mut self, slot: Slot, connection: Connection, peer: Peer, standing: Standing) {
        self.slab.insert(Local { connection, peer, standing, generation: slot.generation });
    }

    pub fn get(&mut self, slot: Slot) -> Option<&mut Local> {
        self.slab.get_mut(slot.key).filter(|local| local.generation == slot.generation)
    }

    pub fn remove(&mut self, key: usize) -> Option<Local> {
        self.slab.try_remove(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Monotonic = Monotonic(3_000_000_000);

    fn one(rank: Rank, uid: u32, came: u64) -> Standing {
        Standing { rank, uid, owed: false, heard: None, came: Monotonic(came) }
    }

    fn out(all: &[Standing], rank: Rank) -> Option<usize> {
        gives_way(all.iter().enumerate(), rank, LATER)
    }

    #[test]
    fn nobody_elses_connections_keep_root_or_the_sorter_out() {
        let mut all: Vec<Standing> = (0..OTHERS as u64).map(|n| one(Rank::Others, 65_534, n)).collect();
        assert_eq!(out(&all, Rank::Ours), None);
        assert_eq!(out(&all, Rank::Sorter), None);
        assert_eq!(out(&all, Rank::Others), Some(0), "the oldest of those who say nothing");
        all.extend((0..OURS as u64).map(|n| one(Rank::Ours, 0, 100 + n)));
        assert_eq!(out(&all, Rank::Others), Some(0), "others do not drive root away");
        assert_eq!(out(&all, Rank::Ours), Some(OTHERS), "root's own give way to root");
        all.push(one(Rank::Sorter, 7, 200));
        assert_eq!(out(&all, Rank::Sorter), Some(all.len() - 1), "the newer sorter wins");
    }

    #[test]
    fn whoever_has_most_gives_way_and_of_theirs_the_one_that_is_missed_least() {
        let mut all = vec![one(Rank::Others, 1000, 0)];
        all.extend((1..OTHERS as u64).map(|n| one(Rank::Others, 2000, n)));
        assert_eq!(out(&all, Rank::Others), Some(1), "not the other user's, although it is older");
        for standing in &mut all[1..40] {
            standing.heard = Some(Monotonic(900));
        }
        assert_eq!(out(&all, Rank::Others), Some(40), "who has never said anything");
        for standing in &mut all[40..] {
            (standing.owed, standing.heard) = (true, Some(Monotonic(50)));
        }
        all[7].heard = Some(Monotonic(800));
        assert_eq!(out(&all, Rank::Others), Some(7), "silent longest, of those who wait for nothing");
        all[1..].iter_mut().for_each(|standing| standing.owed = true);
        assert_eq!(out(&all, Rank::Others), Some(40), "silent longest, where all wait");
        all[1..].iter_mut().for_each(|standing| standing.owed = false);
        (all[5].heard, all[5].came) = (None, LATER);
        assert_eq!(out(&all, Rank::Others), Some(40), "who has just come may still speak");
    }
}
