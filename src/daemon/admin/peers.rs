//! The connections at the local sockets, and the choice of the one to close when all slots are in
//! use.
//!
//! Any user may connect, so a new connection is never refused: an old one is closed for it. Each
//! companion has a slot of its own. Root and the daemon's user share slots that no other user can
//! take. The other users share the rest: the user with most connections loses one. Connections that
//! have never sent a message are closed first, then the one that has been silent longest, and last
//! those that await a reply. If the unit has PrivateUsers=, all other users appear with one user
//! id.

use crate::daemon::admin::companion::Companion;
use crate::daemon::sources::Slot;
use hither_net::seqpacket::{Connection, Peer};
use hither_table::Monotonic;
use slab::Slab;
use std::collections::BTreeMap;
use std::time::Duration;

/// Connections of root and the daemon's user.
pub(crate) const OURS_MAX: usize = 16;
/// Connections of all other users.
pub(crate) const OTHERS_MAX: usize = 48;
/// A connection that has sent nothing for this long since it was accepted is the first to be
/// closed.
const FIRST_MESSAGE_WITHIN: Duration = Duration::from_secs(1);

/// The class of slots that a connection takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rank {
    /// One at a time of each. A newer one replaces the older, which may hang.
    Companion(Companion),
    /// Root, or the daemon's own user.
    Ours,
    /// Any other user.
    Others,
}

impl Rank {
    fn slots(self) -> usize {
        match self {
            Self::Companion(_) => 1,
            Self::Ours => OURS_MAX,
            Self::Others => OTHERS_MAX,
        }
    }
}

/// The facts that decide which connection is closed for a new one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    rank: Rank,
    uid: u32,
    /// Whether the request of this connection has no reply yet. No other request is read until then.
    awaits_reply: bool,
    last_message: Option<Monotonic>,
    accepted: Monotonic,
}

impl Standing {
    /// The connection with the least value is closed.
    fn value(&self, now: Monotonic) -> (bool, bool, Monotonic) {
        let is_new = now < self.accepted.plus(FIRST_MESSAGE_WITHIN);
        let may_speak = self.last_message.is_some() || is_new;
        (self.awaits_reply, may_speak, self.last_message.unwrap_or(self.accepted))
    }
}

/// The connection of `all` that must be closed before another one of `rank` can be accepted, if any.
fn to_close<'s>(
    all: impl Iterator<Item = (usize, &'s Standing)>,
    rank: Rank,
    now: Monotonic,
) -> Option<usize> {
    let all: Vec<_> = all.filter(|(_, standing)| standing.rank == rank).collect();
    if all.len() < rank.slots() {
        return None;
    }
    let mut users = BTreeMap::<u32, usize>::new();
    all.iter().for_each(|(_, standing)| *users.entry(standing.uid).or_default() += 1);
    let most = users.values().max().copied()?;
    let of_fullest = all.into_iter().filter(|(_, standing)| users.get(&standing.uid) == Some(&most));
    of_fullest.min_by_key(|(_, standing)| standing.value(now)).map(|(key, _)| key)
}

/// An accepted connection, and the process at its other end.
#[derive(Debug)]
pub(crate) struct LocalConnection {
    connection: Connection,
    process: Peer,
    standing: Standing,
    generation: u32,
}

impl LocalConnection {
    /// The process as the kernel names it.
    pub fn process(&self) -> Peer {
        self.process
    }

    /// The companion whose connection this is; `None` for an operator's.
    pub fn companion(&self) -> Option<Companion> {
        match self.standing.rank {
            Rank::Companion(companion) => Some(companion),
            Rank::Ours | Rank::Others => None,
        }
    }

    /// Whether its request has no reply yet.
    pub fn awaits_reply(&self) -> bool {
        self.standing.awaits_reply
    }

    /// Notes that its request needs a reply before the next request is read.
    pub fn expect_reply(&mut self) {
        self.standing.awaits_reply = true;
    }

    /// Reads one message, and notes when.
    pub fn receive<'b>(&mut self, buffer: &'b mut [u8], now: Monotonic) -> std::io::Result<&'b [u8]> {
        let octets = self.connection.receive(buffer)?;
        self.standing.last_message = Some(now);
        Ok(octets)
    }

    /// Sends a message. Returns whether it was the reply to a request.
    ///
    /// # Errors
    /// The send failed, for instance because the process leaves too much unread.
    pub fn send(&mut self, octets: &[u8]) -> std::io::Result<()> {
        self.connection.send(octets)
    }

    /// Clears the flag that a reply is awaited, and returns its old value.
    pub fn take_awaits_reply(&mut self) -> bool {
        std::mem::take(&mut self.standing.awaits_reply)
    }
}

/// All accepted connections, by slot.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    slab: Slab<LocalConnection>,
    generation: u32,
}

impl Peers {
    /// The connection to close before another one of `rank` is accepted.
    pub fn to_close(&self, rank: Rank, now: Monotonic) -> Option<usize> {
        to_close(self.slab.iter().map(|(key, local)| (key, &local.standing)), rank, now)
    }

    /// The connection of a companion, if there is one, with its key.
    pub fn companion(&mut self, companion: Companion) -> Option<(usize, &mut LocalConnection)> {
        self.slab.iter_mut().find(|(_, local)| local.companion() == Some(companion))
    }

    /// The slot that the next connection gets.
    pub fn next_slot(&mut self) -> Slot {
        self.generation = self.generation.wrapping_add(1);
        Slot { key: self.slab.vacant_key(), generation: self.generation }
    }

    /// Puts a connection into the slot that [`Peers::next_slot`] has just given.
    pub fn insert(&mut self, slot: Slot, connection: Connection, process: Peer, rank: Rank, now: Monotonic) {
        let standing =
            Standing { rank, uid: process.uid, awaits_reply: false, last_message: None, accepted: now };
        self.slab.insert(LocalConnection { connection, process, standing, generation: slot.generation });
    }

    /// The connection in `slot`, unless it has been closed since.
    pub fn get(&mut self, slot: Slot) -> Option<&mut LocalConnection> {
        self.slab.get_mut(slot.key).filter(|local| local.generation == slot.generation)
    }

    /// Takes out a connection, in order to close it.
    pub fn remove(&mut self, key: usize) -> Option<LocalConnection> {
        self.slab.try_remove(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Monotonic = Monotonic(3_000_000_000);

    fn standing(rank: Rank, uid: u32, accepted: u64) -> Standing {
        let accepted = Monotonic(accepted);
        Standing { rank, uid, awaits_reply: false, last_message: None, accepted }
    }

    fn closed(all: &[Standing], rank: Rank) -> Option<usize> {
        to_close(all.iter().enumerate(), rank, LATER)
    }

    #[test]
    fn other_users_connections_do_not_keep_root_or_a_companion_out() {
        let mut all: Vec<Standing> =
            (0..OTHERS_MAX as u64).map(|n| standing(Rank::Others, 65_534, n)).collect();
        assert_eq!(closed(&all, Rank::Ours), None);
        let [sorter, site] = [Companion::Sorter, Companion::Site].map(Rank::Companion);
        assert_eq!((closed(&all, sorter), closed(&all, site)), (None, None));
        assert_eq!(closed(&all, Rank::Others), Some(0), "the oldest of the silent ones");
        all.extend((0..OURS_MAX as u64).map(|n| standing(Rank::Ours, 0, 100 + n)));
        assert_eq!(closed(&all, Rank::Others), Some(0), "other users do not displace root");
        assert_eq!(closed(&all, Rank::Ours), Some(OTHERS_MAX), "root displaces root");
        all.push(standing(sorter, 7, 200));
        assert_eq!(closed(&all, sorter), Some(all.len() - 1), "the newer sorter replaces the older");
        assert_eq!(closed(&all, site), None, "each companion has its own slot");
    }

    #[test]
    fn the_user_with_most_connections_loses_the_one_that_is_of_least_use() {
        let mut all = vec![standing(Rank::Others, 1000, 0)];
        all.extend((1..OTHERS_MAX as u64).map(|n| standing(Rank::Others, 2000, n)));
        assert_eq!(closed(&all, Rank::Others), Some(1), "not the other user's, although it is older");
        for standing in &mut all[1..40] {
            standing.last_message = Some(Monotonic(900));
        }
        assert_eq!(closed(&all, Rank::Others), Some(40), "it has never sent a message");
        for standing in &mut all[40..] {
            (standing.awaits_reply, standing.last_message) = (true, Some(Monotonic(50)));
        }
        all[7].last_message = Some(Monotonic(800));
        assert_eq!(closed(&all, Rank::Others), Some(7), "silent longest of those that await no reply");
        all[1..].iter_mut().for_each(|standing| standing.awaits_reply = true);
        assert_eq!(closed(&all, Rank::Others), Some(40), "silent longest, where all await a reply");
        all[1..].iter_mut().for_each(|standing| standing.awaits_reply = false);
        (all[5].last_message, all[5].accepted) = (None, LATER);
        assert_eq!(closed(&all, Rank::Others), Some(40), "a new connection may still send its first message");
    }
}
