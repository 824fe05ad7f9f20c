//! A set that the companion offers, turned into the core's own type. Whether it may be published, the core
//! decides: here names, words and digits are read.

use hither_control::{OfferedAddress, OfferedLink, OfferedSet, OfferedSoa};
use hither_rounds::{Offer, OfferTimes};
use hither_table::{Address, Agreement, Chain, Family, Link, Monotonic, Negative, SoaRecord};
use hither_wire::name::Name;
use std::fmt;
use std::time::Duration;

/// How much later than the event loop's last look at the clock the companion may have looked at it.
const AHEAD_MAX: Duration = Duration::from_secs(1);

/// Why a message does not describe a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    Name,
    Type,
    Denial,
    Alias,
    Soa,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "its name is malformed, or not in lower case",
            Self::Type => "its type is neither A nor AAAA",
            Self::Denial => "its denial is neither nodata nor nxdomain",
            Self::Alias => "an alias is malformed",
            Self::Soa => "its SOA record is malformed",
        })
    }
}

/// The offer of a message that was received at `now`.
///
/// # Errors
/// The first [`Fault`] of the set.
pub(super) fn offer(set: &OfferedSet, now: Monotonic) -> Result<Offer, Fault> {
    let name: Name = set.name.parse().map_err(|_| Fault::Name)?;
    if name.to_lower() != name {
        return Err(Fault::Name);
    }
    let family = match set.rtype.as_str() {
        "A" => Family::A,
        "AAAA" => Family::Aaaa,
        _ => return Err(Fault::Type),
    };
    let negative = match set.negative.as_deref() {
        None => None,
        Some("nodata") => Some(Negative::NoData),
        Some("nxdomain") => Some(Negative::NxDomain),
        Some(_) => return Err(Fault::Denial),
    };
    let mut chains = set.chains.iter().map(|links| chain(links)).collect::<Result<Vec<Chain>, Fault>>()?;
    if chains.is_empty() {
        chains.push(Chain { links: Vec::new() });
    }
    let not_ahead = |ms| {
        let at = Monotonic::from_ms(ms);
        if at <= now.plus(AHEAD_MAX) { at.min(now) } else { at }
    };
    Ok(Offer {
        name,
        family,
        host: set.host.as_str().into(),
        said_by: set.said_by.iter().map(|label| label.as_str().into()).collect(),
        times: OfferTimes {
            asked: not_ahead(set.times.asked_ms),
            learned: not_ahead(set.times.learned_ms),
            expire_ms: set.times.expire_ms,
            lifetime_s: set.times.lifetime_s,
        },
        // Its upstreams have other numbers here.
        agreement: Agreement { answered: set.answered, disputes: set.disputes, dissenters: 0 },
        negative,
        addresses: set.addresses.iter().map(address).collect(),
        chains,
        soa: set.soa.as_ref().map(soa).transpose()?.map(Box::new),
    })
}

fn chain(links: &[OfferedLink]) -> Result<Chain, Fault> {
    let link = |own: &OfferedLink| {
        let target: Name = own.target.parse().map_err(|_| Fault::Alias)?;
        Ok(Link { target, expire_ms: own.expire_ms })
    };
    links.iter().map(link).collect::<Result<_, _>>().map(|links| Chain { links })
}

fn address(own: &OfferedAddress) -> Address {
    let upstreams = if own.trusted { Address::TRUSTED } else { 0 };
    Address { sources: own.sources, ..Address::new(own.address, own.chain, upstreams) }
}

fn soa(record: &OfferedSoa) -> Result<SoaRecord, Fault> {
    let owner: Name = record.owner.parse().map_err(|_| Fault::Soa)?;
    let rdata = octets(&record.rdata).ok_or(Fault::Soa)?;
    Ok(SoaRecord { owner, expire_ms: record.expire_ms, rdata })
}

/// The octets of hexadecimal digits.
fn octets(hex: &str) -> Option<Vec<u8>> {
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?);
    hex.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hither_control::OfferedTimes;
    use proptest::prelude::*;

    const NOW: Monotonic = Monotonic::from_ms(100_000);

    const TIMES: OfferedTimes =
        OfferedTimes { asked_ms: 99_000, learned_ms: 99_500, expire_ms: 159_500, lifetime_s: 60 };

    fn address(end: u8) -> OfferedAddress {
        OfferedAddress { address: [192, 0, 2, end].into(), chain: 0, trusted: true, sources: 2 }
    }

    fn good() -> OfferedSet {
        OfferedSet {
            name: "www.example.".to_owned(),
            rtype: "A".to_owned(),
            host: "web1".to_owned(),
            said_by: vec!["192.0.2.53:53".to_owned()],
            times: TIMES,
            answered: 2,
            disputes: 0,
            negative: None,
            addresses: vec![address(1), address(2)],
            chains: vec![vec![OfferedLink { target: "Host.example.".to_owned(), expire_ms: 159_500 }]],
            soa: None,
        }
    }

    fn denial(rdata: &str) -> OfferedSet {
        let soa = OfferedSoa { owner: "example.".to_owned(), expire_ms: 159_500, rdata: rdata.to_owned() };
        let (addresses, chains, soa) = (Vec::new(), Vec::new(), Some(soa));
        OfferedSet { negative: Some("nxdomain".to_owned()), addresses, chains, soa, ..good() }
    }

    fn soa_rdata() -> String {
        format!("026e7300026d6500{}", "00".repeat(20))
    }

    #[test]
    fn a_good_set_keeps_everything_that_the_core_uses() {
        let taken = offer(&good(), NOW).expect("good");
        assert_eq!((taken.family, &*taken.host, taken.times.lifetime_s), (Family::A, "web1", 60));
        let OfferTimes { asked, learned, expire_ms, .. } = taken.times;
        assert_eq!((asked.as_ms(), learned.as_ms(), expire_ms), (99_000, 99_500, 159_500));
        assert!(taken.addresses.iter().all(|a| a.is_trusted() && a.given_by() == 0 && a.sources == 2));
        assert_eq!(taken.chains[0].links[0].target.to_string(), "Host.example.");
        let taken = offer(&denial(&soa_rdata()), NOW).expect("good");
        assert_eq!((taken.negative, taken.chains.len()), (Some(Negative::NxDomain), 1));
        assert_eq!(taken.soa.expect("an SOA record").rdata.len(), 28);
        let times = OfferedTimes { asked_ms: 100_400, learned_ms: 100_900, ..TIMES };
        let early = OfferedSet { times, ..good() };
        let taken = offer(&early, NOW).expect("the companion has looked at the clock later");
        assert_eq!((taken.times.asked, taken.times.learned), (NOW, NOW));
    }

    #[test]
    fn each_fault_is_named() {
        let link = OfferedLink { target: "a..b".to_owned(), expire_ms: 1 };
        for (fault, set) in [
            (Fault::Name, OfferedSet { name: "WWW.example.".to_owned(), ..good() }),
            (Fault::Name, OfferedSet { name: "a..b".to_owned(), ..good() }),
            (Fault::Type, OfferedSet { rtype: "HTTPS".to_owned(), ..good() }),
            (Fault::Denial, OfferedSet { negative: Some("refused".to_owned()), ..good() }),
            (Fault::Alias, OfferedSet { chains: vec![vec![link]], ..good() }),
            (Fault::Soa, denial("0")),
            (Fault::Soa, denial("0g")),
        ] {
            assert_eq!(offer(&set, NOW).expect_err("faulty"), fault, "{set:?}");
        }
    }

    prop_compose! {
        fn any_set()(
            name in ".{0,40}|[a-z]{1,9}\\.example\\.", rtype in "A|AAAA|TXT", host in ".{0,9}", times: [u64; 3],
            negative in prop::option::of("nodata|nxdomain|x"), addresses: Vec<([u8; 16], bool, u8, bool, u8)>,
            chains: Vec<Vec<(String, u64)>>, soa: Option<(String, u64, String)>, numbers: (u32, u8, u8),
        ) -> OfferedSet {
            let address = |(octets, is_v4, chain, trusted, sources): ([u8; 16], bool, u8, bool, u8)| {
                let v4 = [octets[0], octets[1], octets[2], octets[3]];
                let address = if is_v4 { v4.into() } else { octets.into() };
                OfferedAddress { address, chain, trusted, sources }
            };
            let link = |(target, expire_ms)| OfferedLink { target, expire_ms };
            OfferedSet {
                name, rtype, host, said_by: Vec::new(), negative,
                times: OfferedTimes { asked_ms: times[0], learned_ms: times[1], expire_ms: times[2], lifetime_s: numbers.0 },
                answered: numbers.1, disputes: numbers.2,
                addresses: addresses.into_iter().map(address).collect(),
                chains: chains.into_iter().map(|all| all.into_iter().map(link).collect()).collect(),
                soa: soa.map(|(owner, expire_ms, rdata)| OfferedSoa { owner, expire_ms, rdata }),
            }
        }
    }

    proptest! {
        #[test]
        fn any_set_gives_an_offer_or_a_fault(set in any_set(), now: u64) {
            match offer(&set, Monotonic(now)) {
                Ok(offer) => prop_assert_eq!((Ok(offer.name), &*offer.host), (set.name.parse(), &*set.host)),
                Err(fault) => prop_assert!(!fault.to_string().is_empty()),
            }
        }
    }
}
