//! What other hosts have learned: entries of the engine are opened and judged, and become offers.

use super::engine::board::Found;
use super::interest::Interest;
use super::rules::Rules;
use hither_control::{
    OfferedAddress, OfferedLink, OfferedSet, OfferedSoa, OfferedTimes, SiteCounts, SiteRefused,
};
use hither_entries::{
    Arrival, Clocks, Content, Entry, Judge, Judged, Judgement, Refusal, Seal, decode_message,
};
use hither_net::clock::wall_ms;
use hither_table::{Address, Family, Monotonic, Negative, Rtt};

/// Entries from the engine, until they are offered.
#[derive(Debug)]
pub(super) struct Incoming {
    judge: Judge,
    group: Box<str>,
    /// Received, asked, found and refused entries.
    pub counts: SiteCounts,
    /// The first refusal, for the log.
    first_refusal: FirstRefusal,
}

/// The first refusal, with the key of the entry.
#[derive(Clone, PartialEq, Eq, Debug)]
enum FirstRefusal {
    None,
    Unlogged(Refusal, String),
    Logged,
}

/// What comes of something that was found.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Outcome {
    /// A set for the daemon.
    Offer(Box<OfferedSet>),
    /// The answer to a question of the daemon.
    Answer { ask: u64, set: Option<Box<OfferedSet>> },
    /// Nothing is to be said.
    Nothing,
}

/// What entries are judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Means<'a> {
    pub rules: &'a Rules,
    pub seal: &'a Seal,
    pub interest: &'a Interest,
}

impl Incoming {
    pub fn new(host: &str, group: &str, seed: [u64; 2]) -> Incoming {
        let judge = Judge::new(host, group, seed);
        Incoming {
            judge,
            group: group.into(),
            counts: SiteCounts::default(),
            first_refusal: FirstRefusal::None,
        }
    }

    /// Judges what was found.
    pub fn take(&mut self, found: Found, means: Means<'_>, now: Monotonic) -> Outcome {
        match found {
            Found::Nothing { ask } => Outcome::Answer { ask, set: None },
            Found::TooLarge { ask } => {
                self.counts.received += 1;
                self.refuse(Refusal::Size, b"");
                ask.map_or(Outcome::Nothing, |ask| Outcome::Answer { ask, set: None })
            }
            Found::Value { ask: Some(ask), key, value, left_ms } => {
                self.counts.received += 1;
                let set = self.opened(&key, &value, Arrival::Kept { left_ms }, means, now);
                self.counts.found += u64::from(set.is_some());
                Outcome::Answer { ask, set: set.map(|(judged, _)| Box::new(self.offered(&judged))) }
            }
            Found::Value { ask: None, key, value, left_ms } => {
                self.counts.received += 1;
                match self.opened(&key, &value, Arrival::Kept { left_ms }, means, now) {
                    Some((judged, _)) => self.offer(&judged),
                    None => Outcome::Nothing,
                }
            }
            Found::Heard(message) => {
                self.counts.received += 1;
                let (key, value) = match decode_message(&message) {
                    Ok(parts) => parts,
                    Err(refusal) => {
                        self.refuse(refusal, b"");
                        return Outcome::Nothing;
                    }
                };
                match self.opened(key, value, Arrival::Published, means, now) {
                    Some((judged, true)) if means.interest.has(judged.entry.name.as_wire(), now) => {
                        self.offer(&judged)
                    }
                    _ => Outcome::Nothing,
                }
            }
        }
    }

    fn offer(&mut self, judged: &Judged) -> Outcome {
        Outcome::Offer(Box::new(self.offered(judged)))
    }

    /// An entry that is accepted, and whether it is news.
    fn opened(
        &mut self,
        key: &[u8],
        value: &[u8],
        arrival: Arrival,
        means: Means<'_>,
        now: Monotonic,
    ) -> Option<(Judged, bool)> {
        let entry = match means.seal.open(key, value) {
            Ok(entry) => entry,
            Err(refusal) => {
                self.refuse(refusal, key);
                return None;
            }
        };
        if !is_public(&entry) || !means.rules.is_shared(&entry.name) {
            self.counts.refused.unshared += 1;
            return None;
        }
        let clocks = Clocks { wall_ms: wall_ms(), boot_ms: now.as_ms() };
        match self.judge.judge(entry, arrival, clocks) {
            Judgement::New(judged) => Some((judged, true)),
            Judgement::Known(judged) => Some((judged, false)),
            Judgement::Own => None,
            Judgement::Refused(refusal) => {
                self.refuse(refusal, key);
                None
            }
        }
    }

    /// The first refusal, once.
    pub fn take_refusal(&mut self) -> Option<(Refusal, String)> {
        let FirstRefusal::Unlogged(refusal, key) = &self.first_refusal else { return None };
        let taken = (*refusal, key.clone());
        self.first_refusal = FirstRefusal::Logged;
        Some(taken)
    }

    fn refuse(&mut self, refusal: Refusal, key: &[u8]) {
        count(&mut self.counts.refused, refusal);
        // Entries expire all the time, and old ones meet newer ones in an honest engine too.
        if !matches!(refusal, Refusal::Expired | Refusal::Replayed)
            && self.first_refusal == FirstRefusal::None
        {
            let key = String::from_utf8_lossy(key);
            let key = key.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect();
            self.first_refusal = FirstRefusal::Unlogged(refusal, key);
        }
    }

    /// The set for the daemon. Addresses stand in the order of the group's round-trip times, where there are
    /// any, those that are not confirmed last.
    fn offered(&self, judged: &Judged) -> OfferedSet {
        let Entry { host, times, agreement, said_by, name, family, chains, content, .. } = &judged.entry;
        let (mut addresses, negative, soa) = match content {
            Content::Addresses(addresses) => (addresses.clone(), None, None),
            Content::Denial { negative, soa } => (Vec::new(), Some(*negative), soa.as_deref()),
        };
        if !self.group.is_empty() {
            addresses.sort_by_key(|address| (!address.is_trusted(), latency(address)));
        }
        let address = |address: &Address| OfferedAddress {
            address: address.address,
            chain: address.chain,
            trusted: address.is_trusted(),
            sources: address.sources,
        };
        let link = |link: &hither_entries::Link| OfferedLink {
            target: link.target.to_string(),
            expire_ms: judged.expire_ms_of(link.left_ms),
        };
        OfferedSet {
            name: name.to_string(),
            rtype: rtype(*family).to_owned(),
            host: host.to_string(),
            said_by: said_by.iter().map(|label| label.to_string()).collect(),
            times: OfferedTimes {
                asked_ms: judged.asked.as_ms(),
                learned_ms: judged.learned.as_ms(),
                expire_ms: judged.expire_ms,
                lifetime_s: times.lifetime_s,
            },
            answered: agreement.answered,
            disputes: agreement.disputes,
            negative: negative.map(|negative: Negative| negative.as_str().to_owned()),
            addresses: addresses.iter().map(address).collect(),
            chains: chains.iter().map(|chain| chain.iter().map(link).collect()).collect(),
            soa: soa.map(|soa| OfferedSoa {
                owner: soa.owner.to_string(),
                expire_ms: judged.expire_ms_of(u64::from(soa.left_ms)),
                rdata: soa.rdata.iter().map(|octet| format!("{octet:02x}")).collect(),
            }),
        }
    }
}

/// The mnemonic of a family's type.
pub(super) const fn rtype(family: Family) -> &'static str {
    match family {
        Family::A => "A",
        Family::Aaaa => "AAAA",
    }
}

/// Addresses that were not measured come after those that answered, and before those that did not.
fn latency(address: &Address) -> u64 {
    match address.rtt {
        Rtt::Micros(micros) => u64::from(micros),
        Rtt::Unmeasured => 1 << 32,
        Rtt::Unreachable => 1 << 33,
    }
}

/// Whether all addresses are public, whatever another host thinks of them.
fn is_public(entry: &Entry) -> bool {
    use hither_wire::reach::Reach;
    match &entry.content {
        Content::Addresses(addresses) => {
            addresses.iter().all(|address| Reach::of(address.address) == Reach::Public)
        }
        Content::Denial { .. } => true,
    }
}

fn count(refused: &mut SiteRefused, refusal: Refusal) {
    let count = match refusal {
        Refusal::Size => &mut refused.size,
        Refusal::Prefix => &mut refused.prefix,
        Refusal::Signature => &mut refused.signature,
        Refusal::Malformed(_) => &mut refused.malformed,
        Refusal::Clock => &mut refused.clock,
        Refusal::Replayed => &mut refused.replayed,
        Refusal::Expired => &mut refused.expired,
    };
    *count += 1;
}
