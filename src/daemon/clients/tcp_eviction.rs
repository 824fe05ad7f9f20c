//! Whose connection by TCP is closed for others' sake: places and memory are shared out by network of clients, as other things are by source.

use crate::daemon::clients::admission::ClientNetwork;
use hither_table::Monotonic;
use std::collections::BTreeMap;

/// What decides whose connection is closed for others' sake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// `None`: this host. Its programs have one address, and in a user namespace of our own the kernel does not tell us whose a connection is.
    pub network: Option<ClientNetwork>,
    /// A reply of its is being found, or has not been taken yet.
    pub is_busy: bool,
    pub used: Monotonic,
    pub held: usize,
}

/// Connections of each network, and octets that they hold.
fn networks(all: impl Iterator<Item = (usize, Standing)>) -> BTreeMap<Option<ClientNetwork>, (usize, usize)> {
    let mut networks = BTreeMap::<_, (usize, usize)>::new();
    for (_, standing) in all {
        let (connections, held) = networks.entry(standing.network).or_default();
        *connections += 1;
        *held += standing.held;
    }
    networks
}

/// Whose place another gets: of a network that has most of them the connection that is idle longest, first of those with nothing under way.
pub(crate) fn gives_way(all: impl Iterator<Item = (usize, Standing)> + Clone) -> Option<usize> {
    let networks = networks(all.clone());
    let most = networks.values().map(|(connections, _)| *connections).max()?;
    let has_most = |standing: &Standing| networks.get(&standing.network).is_some_and(|of| of.0 == most);
    let of_fullest = all.filter(|(_, standing)| has_most(standing));
    of_fullest.min_by_key(|(_, standing)| (standing.is_busy, standing.used)).map(|(key, _)| key)
}

/// Whose memory another gets: of a network that holds most the connection that is idle longest. Those that hold less than half as much as is
/// usual there are left out: it would take many of them. So who reads slowly outlives those who do not read, however little each of these holds.
pub(crate) fn frees_room(all: impl Iterator<Item = (usize, Standing)> + Clone) -> Option<usize> {
    let networks = networks(all.clone().filter(|(_, standing)| standing.held > 0));
    let (network, (connections, held)) = networks.into_iter().max_by_key(|(_, (_, held))| *held)?;
    let holds = |standing: &Standing| standing.network == network && standing.held * 2 * connections >= held;
    let holders = all.filter(|(_, standing)| holds(standing));
    holders.min_by_key(|(_, standing)| standing.used).map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of the network of this address, used last at a time.
    fn one(address: [u8; 4], used: u64) -> Standing {
        let network = ClientNetwork::of(address.into());
        Standing { network, is_busy: false, used: Monotonic(used), held: 0 }
    }

    fn of(all: &[Standing]) -> impl Iterator<Item = (usize, Standing)> + Clone {
        all.iter().copied().enumerate()
    }

    #[test]
    fn whoever_has_most_connections_gives_way_and_first_what_nothing_is_done_for() {
        let mut all: Vec<Standing> = vec![one([192, 0, 2, 1], 0), one([127, 0, 0, 1], 1)];
        all.extend((2..100).map(|n| one([198, 51, 100, n], u64::from(n))));
        assert_eq!(gives_way(of(&all)), Some(2), "not those of others, although they are idle longer");
        all[2..50].iter_mut().for_each(|standing| standing.is_busy = true);
        assert_eq!(gives_way(of(&all)), Some(50), "idle longest, of those with nothing under way");
        all[50..].iter_mut().for_each(|standing| standing.is_busy = true);
        assert_eq!(gives_way(of(&all)), Some(2), "idle longest, where something is done for all");
        assert_eq!(gives_way(of(&all[..2])), Some(0), "who is idle longest, where nobody has more");
        assert_eq!(gives_way(of(&[])), None);
    }

    #[test]
    fn many_that_hold_little_give_way_to_one_that_holds_much_and_goes_on() {
        let holding = |standing: Standing, held| Standing { held, is_busy: true, ..standing };
        let mut all = vec![holding(one([192, 0, 2, 1], 0), 4 << 20)];
        all.extend((1..200).map(|n| holding(one([198, 51, 100, n], 100 + u64::from(n)), 64 << 10)));
        assert_eq!(frees_room(of(&all)), Some(1), "together they hold more");
        // A slow reader of their own network, which has taken something since.
        all[0] = holding(one([198, 51, 100, 254], 1000), 4 << 20);
        assert_eq!(frees_room(of(&all)), Some(1), "the one that has not read for longest");
        all[1].held = 1000;
        assert_eq!(frees_room(of(&all)), Some(2), "who holds next to nothing is left alone");
        all[1..].iter_mut().for_each(|standing| standing.held = 0);
        assert_eq!(frees_room(of(&all)), Some(0));
        all[0].held = 0;
        assert_eq!(frees_room(of(&all)), None);
    }
}
