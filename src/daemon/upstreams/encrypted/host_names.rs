//! The host names of encrypted upstreams: when each is looked up, and its addresses. It knows no socket
//! and no clock: the event loop asks the core the questions that are due, and hands in the replies.
//!
//! Addresses are kept while a look-up is under way or fails. A host that no query has needed for
//! [`USED_WITHIN`] is not looked up until one does, so that an idle daemon does not wake up for it.

use crate::host::upstream_address::why_unusable_on_any_link;
use hither_rounds::Question;
use hither_rounds::reply::ede;
use hither_table::Monotonic;
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::edns::EDE;
use hither_wire::message::{Message, Section};
use hither_wire::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Addresses of one host and family that are used.
const ADDRESSES_MAX: usize = 8;
/// How long addresses are used without a new look-up: their TTL, within these bounds.
const TTL_MIN: Duration = Duration::from_secs(30);
const TTL_MAX: Duration = Duration::from_secs(86_400);
/// How long after a negative answer a family is looked up again while the other one has addresses.
const NEGATIVE: Duration = Duration::from_secs(600);
/// The pause after a look-up that failed; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// When a question without a reply may be asked again.
const REPLY_WITHIN: Duration = Duration::from_secs(10);
/// The longest time between look-ups while no connection to the addresses works.
const SUSPECT: Duration = Duration::from_secs(5);
/// How long after a query to its upstream a host is still looked up.
const USED_WITHIN: Duration = Duration::from_secs(300);

/// The hosts of all upstreams that are configured by name.
#[derive(Debug, Default)]
pub(crate) struct HostNames {
    hosts: BTreeMap<Name, Host>,
    changed: BTreeSet<Name>,
}

#[derive(Debug)]
struct Host {
    v4: Found,
    v6: Found,
    used_at: Monotonic,
    /// Whether no connection to its addresses works, so that they may be those of a login page.
    is_suspect: bool,
    /// Why the latest look-up brought no address.
    problem: Option<String>,
}

/// A question about the addresses of a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LookUp {
    pub question: Question,
    /// Whether what the cache has of the name is removed first.
    pub is_past_cache: bool,
}

/// What is known of the addresses of one family.
#[derive(Debug)]
struct Found {
    addresses: Vec<IpAddr>,
    /// When the next look-up is due; while one is under way, when it counts as lost.
    due: Monotonic,
    /// Whether a look-up is under way, or is the first one and about to begin.
    is_asked: bool,
    pause: Duration,
}

/// What a reply says about one family of a host.
enum Outcome {
    Addresses(Vec<IpAddr>, Duration),
    None(String),
}

impl Found {
    fn new(now: Monotonic) -> Found {
        Found { addresses: Vec::new(), due: now, is_asked: true, pause: PAUSE_MIN }
    }

    /// Notes a reply without an address. The addresses are kept, unless the other family has some.
    fn note_failure(&mut self, other_has_some: bool, now: Monotonic) {
        if other_has_some {
            self.addresses.clear();
            self.due = now.plus(NEGATIVE);
        } else {
            self.due = now.plus(self.pause);
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
    }
}

impl Host {
    fn family(&mut self, rtype: Rtype) -> Option<(&mut Found, &Found)> {
        match rtype {
            Rtype::A => Some((&mut self.v4, &self.v6)),
            Rtype::AAAA => Some((&mut self.v6, &self.v4)),
            _ => None,
        }
    }

    fn is_used(&self, at: Monotonic) -> bool {
        at.since(self.used_at) < USED_WITHIN
    }
}

impl HostNames {
    /// Replaces the hosts. What is known of those that stay is kept; new ones are looked up at once.
    pub fn set_hosts(&mut self, names: &BTreeSet<Name>, now: Monotonic) {
        self.hosts.retain(|name, _| names.contains(name));
        for name in names {
            if !self.hosts.contains_key(name) {
                let (v4, v6) = (Found::new(now), Found::new(now));
                self.hosts.insert(*name, Host { v4, v6, used_at: now, is_suspect: false, problem: None });
            }
        }
        // Upstreams that were added may have a host that is known.
        self.changed = names.clone();
    }

    /// Notes a query to an upstream at this host.
    pub fn note_used(&mut self, name: &Name, now: Monotonic) {
        if let Some(host) = self.hosts.get_mut(name) {
            host.used_at = now;
        }
    }

    /// Notes whether no connection to the addresses of a host works. While none does, they may be those of a
    /// login page: they are looked up again and again, past the cache.
    pub fn suspect(&mut self, name: &Name, is_suspect: bool, now: Monotonic) {
        let Some(host) = self.hosts.get_mut(name) else { return };
        host.is_suspect = is_suspect;
        if is_suspect {
            for found in [&mut host.v4, &mut host.v6] {
                found.due = found.due.min(now.plus(SUSPECT));
            }
        }
    }

    /// The next look-up that is due. Its reply is handed to [`HostNames::note_reply`].
    pub fn next_look_up(&mut self, now: Monotonic) -> Option<LookUp> {
        for (name, host) in &mut self.hosts {
            if !host.is_used(now) {
                continue;
            }
            let is_past_cache = host.is_suspect;
            for (found, rtype) in [(&mut host.v4, Rtype::A), (&mut host.v6, Rtype::AAAA)] {
                if found.due <= now {
                    (found.is_asked, found.due) = (true, now.plus(REPLY_WITHIN));
                    self.changed.insert(*name);
                    let (dnssec_ok, checking_disabled) = (false, false);
                    let question = Question { name: *name, rtype, dnssec_ok, checking_disabled };
                    return Some(LookUp { question, is_past_cache });
                }
            }
        }
        None
    }

    /// When [`HostNames::next_look_up`] has one, if no upstream gets a query before.
    pub fn timeout(&self) -> Option<Monotonic> {
        let due = self.hosts.values().flat_map(|host| {
            [&host.v4, &host.v6].into_iter().map(|found| found.due).filter(|due| host.is_used(*due))
        });
        due.min()
    }

    /// Notes the reply to one of the questions.
    pub fn note_reply(&mut self, reply: &[u8], now: Monotonic) {
        let Ok(message) = Message::open(reply) else { return };
        let Some(question) = message.question() else { return };
        let name = question.name.to_lower();
        let Some(host) = self.hosts.get_mut(&name) else { return };
        let ttl_max = if host.is_suspect { SUSPECT } else { TTL_MAX };
        let Some((found, other)) = host.family(question.rtype) else { return };
        found.is_asked = false;
        let problem = match outcome(&message, &name, question.rtype) {
            Outcome::Addresses(addresses, ttl) => {
                *found =
                    Found { addresses, due: now.plus(ttl.min(ttl_max)), is_asked: false, pause: PAUSE_MIN };
                None
            }
            Outcome::None(why) => {
                found.note_failure(!other.addresses.is_empty(), now);
                (found.addresses.is_empty() && other.addresses.is_empty()).then_some(why)
            }
        };
        host.problem = problem;
        self.changed.insert(name);
    }

    /// Another network may have other addresses: all hosts are looked up again.
    pub fn change_network(&mut self, now: Monotonic) {
        for host in self.hosts.values_mut() {
            host.used_at = now;
            for found in [&mut host.v4, &mut host.v6] {
                (found.due, found.pause) = (now, PAUSE_MIN);
            }
        }
    }

    /// A host about which something has changed.
    pub fn take_changed(&mut self) -> Option<Name> {
        self.changed.pop_first()
    }

    /// The addresses of a host, IPv6 first, and whether more are being looked up.
    pub fn addresses(&self, name: &Name) -> (Vec<IpAddr>, bool) {
        let Some(host) = self.hosts.get(name) else { return (Vec::new(), false) };
        let addresses = host.v6.addresses.iter().chain(&host.v4.addresses).copied().collect();
        (addresses, host.v6.is_asked || host.v4.is_asked)
    }

    /// Why no address of a host is known, as a sentence; `None` if one is, or if the look-up has not ended.
    pub fn problem(&self, name: &Name) -> Option<&str> {
        self.hosts.get(name).and_then(|host| host.problem.as_deref())
    }
}

/// Whether the reply is that of a block list (RFC 8914, section 4.16).
fn is_blocked(message: &Message<'_>) -> bool {
    let blocked = ede::BLOCKED.to_be_bytes();
    let says_so = |(code, data): (u16, &[u8])| code == EDE && data.starts_with(&blocked);
    message.edns().is_some_and(|edns| edns.options().any(says_so))
}

/// Reads the addresses of a reply, and for how long they may be used.
fn outcome(message: &Message<'_>, name: &Name, rtype: Rtype) -> Outcome {
    if is_blocked(message) {
        return Outcome::None(format!(
            "a block list has '{name}', so its address cannot be looked up; write it with its address, as in tls://dns.example@192.0.2.1"
        ));
    }
    let rcode = message.header().rcode();
    if rcode != Rcode::NOERROR {
        return Outcome::None(format!("looking up the address of '{name}' gave {rcode}"));
    }
    let (mut addresses, mut ttl_s, mut refused) = (Vec::new(), u32::MAX, None);
    for record in message.records().filter(|record| record.section == Section::Answer) {
        ttl_s = ttl_s.min(record.ttl);
        let Some(address) = record.address().filter(|_| record.rtype == rtype) else { continue };
        // The port plays no role here.
        match why_unusable_on_any_link(&SocketAddr::new(address, 53)) {
            Some(why) => refused = Some(format!("'{name}' has the address {address}, which {why}")),
            None if addresses.len() < ADDRESSES_MAX => addresses.push(address),
            None => {}
        }
    }
    if addresses.is_empty() {
        return Outcome::None(refused.unwrap_or_else(|| format!("'{name}' has no address")));
    }
    Outcome::Addresses(addresses, Duration::from_secs(ttl_s.into()).clamp(TTL_MIN, TTL_MAX))
}

#[cfg(test)]
pub(super) mod tests;
