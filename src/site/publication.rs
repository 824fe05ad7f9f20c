//! A set of the table as an entry for the other hosts.

use hither_client::{Address, Family, Negative, Rtt};
use hither_entries::{CHAINS_MAX, Content, Entry, HOST_MAX, LABEL_MAX, Link, SAID_BY_MAX, Soa, Times};
use hither_table::{FamilyView, Monotonic};
use hither_wire::name::Name;

/// The greatest length of a set's life is cut to seven significant bits, so it may be longer by this part.
const CUT_OFF: u64 = 64;

/// A set and when it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub name: &'a Name,
    pub family: Family,
    pub set: &'a FamilyView<'a>,
    /// The time of reading by the table's clock, and by the wall clock in milliseconds since 1970.
    pub now: Monotonic,
    pub wall_ms: u64,
    /// It was published between this time and the time of reading; `None`: at any time before.
    pub since: Option<Monotonic>,
}

/// The host that writes.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    pub host: Box<str>,
    pub group: Box<str>,
    /// The longest time from the question to the end of its round.
    pub deadline_ms: u64,
}

impl Writer {
    /// The entry for a set; `None` if it is over, or is no set that can be shared.
    pub fn entry(&self, seen: &Seen<'_>, labels: &[Box<str>]) -> Option<Entry> {
        let Seen { name, family, set, .. } = *seen;
        let left_ms = |expire_ms: u64, from_ms: u64| expire_ms.saturating_sub(from_ms);
        let now_ms = seen.now.as_ms();
        let lifetime_ms = u64::from(set.lifetime_s()) * 1000;
        // A set is published with its whole life before it.
        let published_ms = set.expire_ms().saturating_sub(lifetime_ms).min(now_ms);
        let learned_ms = if seen.since.is_some() { now_ms } else { published_ms };
        let earliest_ms = set.expire_ms().saturating_sub(lifetime_ms + lifetime_ms / CUT_OFF + 1000);
        let since_ms = seen.since.map_or(0, Monotonic::as_ms);
        let asked_ms = earliest_ms.max(since_ms).min(learned_ms).saturating_sub(self.deadline_ms);
        let wall = |ms: u64| seen.wall_ms.saturating_sub(now_ms - ms);
        let times = Times {
            asked_ms: wall(asked_ms),
            learned_ms: wall(learned_ms),
            left_ms: u32::try_from(left_ms(set.expire_ms(), learned_ms)).unwrap_or(u32::MAX),
            lifetime_s: set.lifetime_s(),
        };
        let chain = |chain: u8| -> Option<Vec<Link>> {
            let link = |(target, expire_ms): (&[u8], u64)| {
                let target = Name::from_wire(target).ok()?;
                Some(Link { target: target.to_lower(), left_ms: left_ms(expire_ms, learned_ms) })
            };
            set.chain(chain).map(link).collect()
        };
        let chains = (0..set.chain_count().min(CHAINS_MAX as u8)).map(chain).collect::<Option<Vec<_>>>()?;
        let content = match set.negative() {
            None => Content::Addresses(set.addresses().map(|address| self.address(&address)).collect()),
            Some(Negative::Withheld) => return None,
            Some(negative) => Content::Denial { negative, soa: soa(set, learned_ms) },
        };
        Some(Entry {
            host: self.host.clone(),
            group: self.group.clone(),
            times,
            agreement: set.agreement(),
            said_by: said_by(set, labels),
            name: *name,
            family,
            chains,
            content,
        })
    }

    /// An address without what only this host knows.
    fn address(&self, address: &Address) -> Address {
        let rtt = if self.group.is_empty() { Rtt::Unmeasured } else { address.rtt };
        Address { upstreams: address.upstreams & Address::TRUSTED, rtt, ..*address }
    }
}

fn soa(set: &FamilyView<'_>, learned_ms: u64) -> Option<Box<Soa>> {
    let (owner, expire_ms, rdata) = set.soa()?;
    let left_ms = u32::try_from(expire_ms.saturating_sub(learned_ms)).unwrap_or(u32::MAX);
    Some(Box::new(Soa { owner: Name::from_wire(owner).ok()?, left_ms, rdata: rdata.to_vec() }))
}

/// The upstreams that gave addresses of the set.
fn said_by(set: &FamilyView<'_>, labels: &[Box<str>]) -> Vec<Box<str>> {
    let given_by = set.addresses().fold(0, |all, address| all | address.given_by());
    let named = labels.iter().enumerate().filter(|(n, _)| *n < 22 && given_by & (1 << n) != 0);
    named.map(|(_, label)| label.clone()).take(SAID_BY_MAX).collect()
}

/// A label as entries take it: no longer than [`LABEL_MAX`] octets.
pub(super) fn label(text: &str) -> Box<str> {
    let mut end = text.len().min(LABEL_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().into()
}

/// The kernel's name of this host, as far as it consists of such characters as entries take.
pub(super) fn host_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    let name: String = name.to_string_lossy().chars().filter(is_plain).take(HOST_MAX).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

/// Whether entries take this name of a host.
pub(super) fn is_host_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= HOST_MAX && text.chars().all(|c| is_plain(&c))
}

fn is_plain(c: &char) -> bool {
    c.is_ascii_alphanumeric() || "-_.".contains(*c)
}
