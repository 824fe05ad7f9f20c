//! An order of the sorter, as it is written in the control protocol, turned into the core's own type.

use hither_control::Order as OrderMessage;
use hither_rounds::{Order, OrderedAddress};
use hither_table::{Family, Rtt};
use hither_wire::codes::Rtype;
use hither_wire::name::Name;

/// The order, or nothing if its name is malformed or its type is neither A nor AAAA.
pub(crate) fn parse_order(message: &OrderMessage) -> Option<Order> {
    let family = match message.rtype.parse::<Rtype>() {
        Ok(Rtype::A) => Family::A,
        Ok(Rtype::AAAA) => Family::Aaaa,
        _ => return None,
    };
    let name: Name = message.name.parse().ok()?;
    let rtt = |is_reachable: Option<bool>, rtt_us: Option<u32>| match (is_reachable, rtt_us) {
        (Some(true), Some(micros)) => Rtt::Micros(micros),
        (Some(true), None) => Rtt::Micros(0),
        (Some(false), _) => Rtt::Unreachable,
        (None, _) => Rtt::Unmeasured,
    };
    let measured = |own: &hither_control::OrderedAddress| OrderedAddress {
        address: own.address,
        rtt: rtt(own.reachable, own.rtt_us),
        trust: own.verdict.trust(),
    };
    let addresses = message.addresses.iter().map(measured).collect();
    Some(Order {
        generation: message.generation,
        name: name.to_lower(),
        family,
        set_version: message.set_version,
        addresses,
    })
}
