//! The sorter: orders for sets that it has seen, some of them late, some of them wrong.

use super::World;
use hither_rounds::{Input, Order, OrderedAddress, SenderId};
use hither_table::{Address, Family, Key, Rtt, Snapshot, Trust};
use hither_wire::name::Name;
use std::net::IpAddr;

impl World<'_> {
    /// Sends an order for the set of `name`, or for the set that the sorter saw last, which may have changed.
    pub(super) fn order(&mut self, name: Name, honest: bool) {
        let mut snapshot = Snapshot::new();
        let reader = self.core().reader();
        let found = reader.lookup(&Key::of(&name), &mut snapshot);
        let current =
            found.is_ok().then(|| snapshot.family(Family::A)).flatten().filter(|view| !view.is_empty()).map(
                |view| Order {
                    generation: reader.generation(),
                    name,
                    family: Family::A,
                    set_version: view.set_version(),
                    addresses: reversed(view.addresses()),
                },
            );
        let mut order = match self.last_order.take() {
            Some(old) if self.picks.below(2) == 0 => old,
            _ => match current.clone() {
                Some(order) => order,
                None => return,
            },
        };
        self.last_order = current;
        if !honest {
            match self.picks.below(5) {
                0 => drop(order.addresses.pop()),
                1 => order
                    .addresses
                    .push(OrderedAddress::measured(IpAddr::from([203, 0, 113, 1]), Rtt::Micros(1))),
                2 => order.addresses.iter_mut().for_each(|own| own.trust = Trust::Verified),
                // Verdicts for another name.
                3 => order.name = super::name(1),
                _ => order.addresses.iter_mut().for_each(|own| own.rtt = Rtt::Unreachable),
            }
        }
        let found = reader.lookup(&Key::of(&order.name), &mut snapshot).is_ok();
        let before = found.then(|| snapshot.family(Family::A)).flatten();
        self.oracle.order(&order, before.as_ref());
        let now = self.now;
        self.core().handle(now, Input::Order { sender: SenderId(1), order });
    }
}

/// The addresses of a set in reverse, each with its measurement.
fn reversed(addresses: impl Iterator<Item = Address>) -> Vec<OrderedAddress> {
    let mut all: Vec<_> = addresses
        .map(|a| OrderedAddress { address: a.address, rtt: rtt(a.address), trust: trust(a.address) })
        .collect();
    all.reverse();
    all
}

/// The measurement of an address: the same in every order, and not in the order of addresses.
fn rtt(address: IpAddr) -> Rtt {
    match address {
        IpAddr::V4(v4) => Rtt::Micros(u32::from(v4.octets()[3]) * 7 % 5 + 5),
        IpAddr::V6(_) => Rtt::Unmeasured,
    }
}

/// The verdict on an address: the same in every order.
fn trust(address: IpAddr) -> Trust {
    const ALL: [Trust; 5] =
        [Trust::Verified, Trust::OtherName, Trust::Unknown, Trust::Verified, Trust::Untrusted];
    match address {
        IpAddr::V4(v4) => ALL[usize::from(v4.octets()[3]) % ALL.len()],
        IpAddr::V6(_) => Trust::Unknown,
    }
}
