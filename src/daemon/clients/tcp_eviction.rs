//! Chooses the TCP connection to close at a limit. Connections and memory are counted by client
//! network.

use crate::daemon::clients::admission::ClientNetwork;
use hither_table::Monotonic;
use std::collections::BTreeMap;

/// The facts of a connection that decide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// `None` for this host: its programs share one address, and in a user namespace of our own the
    /// kernel does not show the owner of a connection.
    pub network: Option<ClientNetwork>,
    /// Whether a reply is not ready yet, or not read yet.
    pub is_busy: bool,
    pub used: Monotonic,
    pub held: usize,
}

/// For each network, the number of connections and the octets of memory that they hold.
fn networks(all: impl Iterator<Item = (usize, Standing)>) -> BTreeMap<Option<ClientNetwork>, (usize, usize)> {
    let mut networks = BTreeMap::<_, (usize, usize)>::new();
    for (_, standing) in all {
        let (connections, held) = networks.entry(standing.network).or_default();
        *connections += 1;
        *held += standing.held;
    }
    networks
}

/// The connection to close at the limit of connections: of the network with most, the one that is
/// idle longest. Busy ones come last.
pub(crate) fn first_by_idleness(all: impl Iterator<Item = (usize, Standing)> + Clone) -> Option<usize> {
    let networks = networks(all.clone());
    let most = networks.values().map(|(connections, _)| *connections).max()?;
    let has_most = |standing: &Standing| networks.get(&standing.network).is_some_and(|of| of.0 == most);
    let of_fullest = all.filter(|(_, standing)| has_most(standing));
    of_fullest.min_by_key(|(_, standing)| (standing.is_busy, standing.used)).map(|(key, _)| key)
}

/// The connection to close at the limit of memory: of the network that holds most, the one that is
/// idle longest. Connections below half of the network's average are left out, since closing them
/// frees little. So a slow reader outlives many that do not read, however little each of these
/// holds.
pub(crate) fn first_by_memory(all: impl Iterator<Item = (usize, Standing)> + Clone) -> Option<usize> {
    let networks = networks(all.clone().filter(|(_, standing)| standing.held > 0));
    let (network, (connections, held)) = networks.into_iter().max_by_key(|(_, (_, held))| *held)?;
    let holds = |standing: &Standing| standing.network == network && standing.held * 2 * connections >= held;
    let holders = all.filter(|(_, standing)| holds(standing));
    holders.min_by_key(|(_, standing)| standing.used).map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection from this address, with the time of its last use.
    fn one(address: [u8; 4], used: u64) -> Standing {
        let network = ClientNetwork::of(address.into());
        Standing { network, is_busy: false, used: Monotonic(used), held: 0 }
    }

    fn of(all: &[Standing]) -> impl Iterator<Item = (usize, Standing)> + Clone {
        all.iter().copied().enumerate()
    }

    #[test]
    fn the_network_with_most_connections_loses_one_and_idle_ones_first() {
        let mut all: Vec<Standing> = vec![one([192, 0, 2, 1], 0), one([127, 0, 0, 1], 1)];
        all.extend((2..100).map(|n| one([198, 51, 100, n], u64::from(n))));
        assert_eq!(
            first_by_idleness(of(&all)),
            Some(2),
            "not those of other networks, although they are idle longer"
        );
        all[2..50].iter_mut().for_each(|standing| standing.is_busy = true);
        assert_eq!(first_by_idleness(of(&all)), Some(50), "idle longest, of those that are not busy");
        all[50..].iter_mut().for_each(|standing| standing.is_busy = true);
        assert_eq!(first_by_idleness(of(&all)), Some(2), "idle longest, where all are busy");
        assert_eq!(first_by_idleness(of(&all[..2])), Some(0), "idle longest, where no network has more");
        assert_eq!(first_by_idleness(of(&[])), None);
    }

    #[test]
    fn many_connections_that_hold_little_are_closed_before_one_that_holds_much_and_reads() {
        let holding = |standing: Standing, held| Standing { held, is_busy: true, ..standing };
        let mut all = vec![holding(one([192, 0, 2, 1], 0), 4 << 20)];
        all.extend((1..200).map(|n| holding(one([198, 51, 100, n], 100 + u64::from(n)), 64 << 10)));
        assert_eq!(first_by_memory(of(&all)), Some(1), "together they hold more");
        // A slow reader in the same network, which has read something since.
        all[0] = holding(one([198, 51, 100, 254], 1000), 4 << 20);
        assert_eq!(first_by_memory(of(&all)), Some(1), "the one that has not read for longest");
        all[1].held = 1000;
        assert_eq!(first_by_memory(of(&all)), Some(2), "a connection that holds next to nothing is left out");
        all[1..].iter_mut().for_each(|standing| standing.held = 0);
        assert_eq!(first_by_memory(of(&all)), Some(0));
        all[0].held = 0;
        assert_eq!(first_by_memory(of(&all)), None);
    }
}
