//! An entry as `hitherctl` prints it: as JSON, whose fields do not change, and as text.

use hither_client::{
    Agreement, Family, FamilyOrder, FamilyView, Monotonic, Name, Rtt, Snapshot, StaleTime, Use, Wanted,
};
use serde::Serialize;
use std::fmt;
use std::net::IpAddr;

#[derive(Serialize, Debug)]
pub(super) struct Entry {
    name: String,
    #[serde(rename = "type")]
    rtype: &'static str,
    pub version: u64,
    set_version: u64,
    round: u64,
    state: &'static str,
    sorted: bool,
    stale: bool,
    pub negative: Option<&'static str>,
    ttl: u32,
    canonical: String,
    #[serde(flatten)]
    set: ShownSet,
}

/// The addresses of a set, and how far the upstreams of the round agree about them.
#[derive(Serialize, Debug)]
struct ShownSet {
    answered: u8,
    disputed: bool,
    disputes: Vec<&'static str>,
    /// The upstreams that disagree, by their numbers in the order of `status`, from 1 on. 23 stands for
    /// all after the first 22.
    dissenters: Vec<u32>,
    addresses: Vec<ShownAddress>,
    /// Only of a lookup of both families, if both have addresses.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    both: Option<Both>,
}

/// The addresses of both families in the order that programs use which take both.
#[derive(Clone, Serialize, Debug)]
pub(super) struct Both {
    families: &'static str,
    order: Vec<IpAddr>,
}

impl ShownSet {
    fn of(agreement: &Agreement, addresses: Vec<ShownAddress>) -> ShownSet {
        ShownSet {
            answered: agreement.answered,
            disputed: agreement.is_disputed(),
            disputes: agreement.reasons().collect(),
            dissenters: (0..32).filter(|n| agreement.dissenters >> n & 1 != 0).map(|n| n + 1).collect(),
            addresses,
            both: None,
        }
    }
}

impl Both {
    /// The order over both families of a record, if both have addresses.
    pub fn of(snapshot: &Snapshot, order: FamilyOrder) -> Option<Both> {
        let has_addresses = |family| snapshot.family(family).is_some_and(|set| !set.is_empty());
        let has_both = has_addresses(Family::A) && has_addresses(Family::Aaaa);
        has_both.then(|| Both {
            families: order.as_str(),
            order: snapshot.ordered(Wanted::Both, order).map(|own| own.address).collect(),
        })
    }
}

impl fmt::Display for Both {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order: Vec<String> = self.order.iter().map(ToString::to_string).collect();
        write!(f, "both families ({}): {}", self.families, order.join(", "))
    }
}

#[derive(Serialize, Debug)]
struct ShownAddress {
    address: IpAddr,
    rtt_us: Option<u32>,
    reachable: Option<bool>,
    trust: &'static str,
    sources: u8,
}

/// What the certificate of an address says, in words; `None` if that is not known.
pub(super) fn certificate_text(trust: &str) -> Option<String> {
    Some(match trust {
        "" | "unknown" => return None,
        "no_tls" => "no certificate".to_owned(),
        "not_yet" => "certificate not valid yet".to_owned(),
        "other_name" => "certificate for other names".to_owned(),
        other => format!("certificate {}", other.replace('_', " ")),
    })
}

pub(super) fn rtype(family: Family) -> &'static str {
    match family {
        Family::A => "A",
        Family::Aaaa => "AAAA",
    }
}

fn text(wire: &[u8]) -> String {
    Name::from_wire(wire).map_or_else(|_| "?".to_owned(), |name| name.to_string())
}

impl Entry {
    /// The entry of one family in a record, if there is one that may be used.
    pub fn of(snapshot: &Snapshot, family: Family, stale: StaleTime, now: Monotonic) -> Option<Entry> {
        let view = snapshot.family(family).filter(|view| view.usable(stale, now) != Use::Never)?;
        Some(Entry::from_view(text(snapshot.name()), rtype(family), &view, now))
    }

    /// The entry on one line, after the cause of its change.
    pub fn line(&self, cause: &str) -> String {
        let mut line = format!("{} {}  {cause}, version {}", self.name, self.rtype, self.version);
        if let Some(negative) = self.negative {
            line += ", ";
            line += negative;
        }
        for (n, shown) in self.set.addresses.iter().enumerate() {
            line += if n == 0 { ": " } else { ", " };
            line += &shown.address.to_string();
        }
        line
    }

    /// The entry together with the order over both families.
    pub fn with_both(mut self, both: Option<&Both>) -> Entry {
        self.set.both = both.cloned();
        self
    }

    fn from_view(name: String, rtype: &'static str, view: &FamilyView<'_>, now: Monotonic) -> Entry {
        let addresses = view.addresses().map(|a| {
            let (rtt_us, reachable) = match a.rtt {
                Rtt::Unmeasured => (None, None),
                Rtt::Unreachable => (None, Some(false)),
                Rtt::Micros(micros) => (Some(micros), Some(true)),
            };
            let (trust, sources) = (a.trust.as_str(), a.sources);
            ShownAddress { address: a.address, rtt_us, reachable, trust, sources }
        });
        Entry {
            name,
            rtype,
            version: view.version(),
            set_version: view.set_version(),
            round: view.round(),
            state: view.state().as_str(),
            sorted: view.sorted(),
            stale: view.expired(now),
            negative: view.negative().map(hither_client::Negative::as_str),
            ttl: view.ttl(now),
            canonical: text(view.canonical()),
            set: ShownSet::of(&view.agreement(), addresses.collect()),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}  version {}, {}", self.name, self.rtype, self.version, self.state)?;
        if self.sorted {
            f.write_str(", sorted")?;
        }
        if self.stale {
            f.write_str(", expired")?;
        } else {
            write!(f, ", TTL {}", self.ttl)?;
        }
        if let Some(negative) = self.negative {
            write!(f, ", {negative}")?;
        }
        if self.canonical != self.name {
            write!(f, ", leads to {}", self.canonical)?;
        }
        if !self.set.disputes.is_empty() {
            write!(f, ", disputed ({})", self.set.disputes.join(", "))?;
        }
        for shown in &self.set.addresses {
            write!(f, "\n    {:<39}", shown.address.to_string())?;
            match (shown.reachable, shown.rtt_us) {
                (Some(true), Some(micros)) => write!(f, "  {:>9.3} ms", f64::from(micros) / 1000.0)?,
                (Some(false), _) => f.write_str("  not reachable")?,
                _ => f.write_str("  not measured ")?,
            }
            write!(f, "  given by {} of {}", shown.sources, self.set.answered)?;
            if let Some(certificate) = certificate_text(shown.trust) {
                write!(f, ", {certificate}")?;
            }
        }
        Ok(())
    }
}
