//! The race for a connection to one endpoint (RFC 8305): its addresses are tried one after the other, a
//! quarter of a second apart, and the first connection that is ready wins.

use crate::action::Failure;
use crate::ids::ConnectionId;
use hither_table::Monotonic;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// A race that has begun and has no winner yet.
#[derive(Debug)]
pub(crate) struct Race {
    /// The addresses that have not been tried, in the order in which they will be.
    untried: VecDeque<SocketAddr>,
    /// The connections that are on their way.
    pub contenders: Vec<ConnectionId>,
    /// When the next address is tried although no earlier one has failed.
    next_at: Monotonic,
    /// The most telling failure so far.
    failure: Failure,
}

impl Race {
    pub fn new(addresses: VecDeque<SocketAddr>) -> Race {
        Race { untried: addresses, contenders: Vec::new(), next_at: Monotonic(0), failure: Failure::NoSocket }
    }

    /// The next address to try.
    pub fn next_address(&mut self) -> Option<SocketAddr> {
        self.untried.pop_front()
    }

    /// Notes a new connection of the race. The next address is due at `next_at`.
    pub fn note_opened(&mut self, connection: ConnectionId, next_at: Monotonic) {
        self.contenders.push(connection);
        self.next_at = next_at;
    }

    /// Notes that a connection of the race has failed.
    pub fn note_failed(&mut self, connection: ConnectionId, failure: Failure) {
        self.contenders.retain(|contender| *contender != connection);
        self.failure = self.failure.max(failure);
    }

    /// When the next address is due; `None` if all have been tried.
    pub fn next_at(&self) -> Option<Monotonic> {
        (!self.untried.is_empty()).then_some(self.next_at)
    }

    /// The failure of the race, once nothing is left to try or to wait for.
    pub fn lost(&self) -> Option<Failure> {
        (self.contenders.is_empty() && self.untried.is_empty()).then_some(self.failure)
    }

    /// Drops addresses that have not been tried and are no longer listed.
    pub fn retain(&mut self, listed: &[SocketAddr]) {
        self.untried.retain(|address| listed.contains(address));
    }

    /// Adds addresses that are new.
    pub fn add(&mut self, addresses: impl Iterator<Item = SocketAddr>) {
        self.untried.extend(addresses);
    }
}

/// The order in which addresses are tried: the best first, then families in turn, beginning with that of
/// the first address (RFC 8305 section 4).
pub(crate) fn in_order(addresses: &[SocketAddr], best: Option<SocketAddr>) -> VecDeque<SocketAddr> {
    let best = best.filter(|best| addresses.contains(best));
    let is_v6 = best.or(addresses.first().copied()).is_some_and(|address| address.is_ipv6());
    let others = || addresses.iter().copied().filter(|address| Some(*address) != best);
    let mut same = others().filter(|address| address.is_ipv6() == is_v6);
    let mut other = others().filter(|address| address.is_ipv6() != is_v6);
    let mut order: VecDeque<SocketAddr> = best.into_iter().collect();
    let mut is_turn_of_same = best.is_none();
    loop {
        let next = if is_turn_of_same { same.next() } else { other.next() };
        match next {
            Some(address) => order.push_back(address),
            None => break,
        }
        is_turn_of_same = !is_turn_of_same;
    }
    order.extend(same);
    order.extend(other);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(ends: &[&str]) -> Vec<SocketAddr> {
        ends.iter().map(|end| end.parse().expect("an address")).collect()
    }

    #[test]
    fn families_take_turns_after_the_best_address() {
        let all = addresses(&["[::1]:1", "[::2]:1", "192.0.2.1:1", "[::3]:1", "192.0.2.2:1"]);
        let turns = addresses(&["[::1]:1", "192.0.2.1:1", "[::2]:1", "192.0.2.2:1", "[::3]:1"]);
        assert_eq!(Vec::from(in_order(&all, None)), turns);
        let best = addresses(&["192.0.2.2:1", "[::1]:1", "192.0.2.1:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(Vec::from(in_order(&all, Some(best[0]))), best);
        assert_eq!(Vec::from(in_order(&all[..2], Some(best[0]))), &all[..2], "the best is gone");
        assert!(in_order(&[], None).is_empty());
    }
}
