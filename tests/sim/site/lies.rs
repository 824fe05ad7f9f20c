//! A companion that lies: offers that no honest one hands over.

use super::super::picks::Picks;
use hither_rounds::{Offer, OfferTimes};
use hither_table::{Address, Chain, Family, Link, Monotonic, Negative, SoaRecord};

/// Makes a lie of an offer.
pub fn spoil(mut offer: Offer, picks: &mut dyn Picks, now: Monotonic) -> Offer {
    let address = |octets: [u8; 4]| Address::new(octets.into(), 0, Address::TRUSTED);
    let far = Monotonic(u64::MAX);
    match picks.below(18) {
        0 => offer.addresses.push(address([10, 0, 0, 1])),
        1 => offer.addresses = vec![address([127, 0, 0, 1])],
        2 => offer.addresses = vec![Address::new("2001:db8::1".parse().expect("one"), 0, 1)],
        3 => offer.addresses.iter_mut().for_each(|own| own.chain = 200),
        4 => offer.addresses = (0..300).map(|n| address([198, 18, (n / 200) as u8, n as u8])).collect(),
        5 => offer.times = OfferTimes { asked: far, learned: far, expire_ms: u64::MAX, lifetime_s: u32::MAX },
        6 => (offer.times.expire_ms, offer.times.lifetime_s) = (u64::MAX, u32::MAX),
        7 => offer.times.asked = now,
        8 => (offer.times.asked, offer.times.learned) = (Monotonic(0), Monotonic(0)),
        9 => offer.chains.clear(),
        10 => {
            let link = Link { target: offer.name, expire_ms: u64::MAX };
            offer.chains = vec![Chain { links: vec![link; 17] }; 9];
        }
        11 => offer.negative = Some(Negative::Withheld),
        12 => offer.negative = Some(Negative::NxDomain),
        13 => {
            let soa = SoaRecord { owner: offer.name, expire_ms: u64::MAX, rdata: vec![0xc0; 70_000] };
            (offer.negative, offer.soa) = (Some(Negative::NoData), Some(Box::new(soa)));
        }
        14 => offer.host = "\u{0}".repeat(400).into(),
        15 => offer.said_by = vec!["x".repeat(4000).into(); 900],
        16 => offer.family = Family::Aaaa,
        _ => offer.name = "localhost".parse().expect("a name"),
    }
    if picks.below(2) == 0 {
        offer.times.asked = now;
        offer.times.learned = offer.times.learned.max(now);
    }
    offer
}
