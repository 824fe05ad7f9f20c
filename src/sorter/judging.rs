//! The choice of handshakes that judge certificates: for which name at which address, and when.
//!
//! Pure: time is an argument. Unlike a measurement, a verdict is for one name, since the name is what the
//! server is asked for. So handshakes have a rate of their own, `sort.tls_rate`, and only names are shown to
//! servers that a client asked for within the hour. Bounded: at the bound the oldest wish is dropped, and the
//! next walk over the table finds its name again.

mod names;
mod verdicts;

use super::probe_permission::may_be_probed;
use super::sampling::Sampling;
use super::sets::{FoundBy, PROBED_MAX};
use crate::companion::pace::Pace;
use crate::config::{Probe, Sort};
use hither_client::{Family, FamilyView, Monotonic, Snapshot};
use hither_secure::{Judgement, ServerName};
use hither_table::Trust;
use hither_wire::name::Name;
use names::Rules;
use slab::Slab;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
pub(super) use verdicts::Verdict;
use verdicts::Verdicts;

/// Handshakes on their way at once. Each may take 80 KiB for a chain of certificates.
const HANDSHAKES_MAX: usize = 32;
/// Names at addresses that wait for a handshake; with both indexes less than 2 MiB.
const WISHES_MAX: usize = 4096;
/// Wishes that are looked at for the next handshake.
const LOOKED_AT_MAX: usize = 64;
/// How long a name is in use after a round has published it, so that a client has asked for it.
const IN_USE: Duration = Duration::from_secs(3600);
/// How long the first verdict on a name waits for those on its other addresses, before the set is ordered
/// again.
const GATHERED_FOR: Duration = Duration::from_millis(200);

/// Why a handshake is wanted; a greater one comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Reason {
    /// A verdict is old.
    Renewal,
    /// A walk over the table found a name without a verdict.
    Walk,
    /// The set has just been published.
    Change,
}

/// The place of a wish in the queue: of the same reason, the latest comes first.
type Place = (Reason, u64);

/// A handshake on its way.
#[derive(Debug)]
struct Job {
    name: Rc<[u8]>,
    address: IpAddr,
    /// The number of network changes when it began.
    network: u64,
}

#[derive(Debug)]
pub(super) struct Judging {
    /// The port of the method `tls:PORT`; `None`: nothing is judged.
    port: Option<u16>,
    rules: Rules,
    private: bool,
    pace: Pace,
    /// Whether the clock can be right.
    is_clock_right: bool,
    verdicts: Verdicts,
    /// Wishes by address and name, and the same ones by their places.
    wishes: BTreeMap<(IpAddr, Rc<[u8]>), Place>,
    queue: BTreeMap<Place, (IpAddr, Rc<[u8]>)>,
    last_wish: u64,
    jobs: Slab<Job>,
    /// Whether another probe comes next.
    is_turn_of_others: bool,
    /// Names whose sets may be ordered anew.
    judged: Sampling,
}

impl Judging {
    pub fn new(sort: &Sort, now: Monotonic) -> Judging {
        let tls = sort.probes.iter().find_map(|probe| match probe {
            Probe::Tls(port) => Some(*port),
            Probe::Icmp | Probe::Tcp(_) => None,
        });
        Judging {
            port: tls.filter(|_| sort.enabled && sort.tls_rate > 0),
            rules: Rules::new(sort.tls_except.iter().copied()),
            private: sort.private,
            pace: Pace::new(sort.tls_rate, now),
            is_clock_right: false,
            verdicts: Verdicts::default(),
            wishes: BTreeMap::new(),
            queue: BTreeMap::new(),
            last_wish: 0,
            jobs: Slab::new(),
            is_turn_of_others: false,
            judged: Sampling::default(),
        }
    }

    /// Leaves out the names of more domains.
    pub fn leave_out(&mut self, domains: impl IntoIterator<Item = Name>) {
        self.rules.leave_out(domains);
    }

    pub fn is_on(&self) -> bool {
        self.port.is_some()
    }

    /// Judges nothing: certificates cannot be judged on this host.
    pub fn turn_off(&mut self) {
        self.port = None;
    }

    /// Notes whether the clock can be right. While it cannot, nothing is judged.
    pub fn note_clock(&mut self, is_right: bool) {
        self.is_clock_right = is_right;
    }

    /// The verdict that counts for a name and address. `None` if this process has given none.
    pub fn trust(&self, name: &[u8], address: &IpAddr, now: Monotonic) -> Option<Trust> {
        self.verdicts.trust(name, address, now)
    }

    /// The verdict for a name and address with all that is known about it, however old.
    pub fn verdict(&self, name: &[u8], address: &IpAddr) -> Option<&Verdict> {
        self.verdicts.get(name, address)
    }

    /// Takes the sets of a record: wishes the handshakes that are due for them. `is_unasked` says
    /// of which rounds the sets are that nobody on this host has asked for: those that were restored after a
    /// boot, and those that other hosts have learned.
    pub fn consider(
        &mut self,
        record: &Snapshot,
        found_by: FoundBy,
        is_unasked: impl Fn(u64) -> bool,
        now: Monotonic,
    ) {
        if !self.is_on() {
            return;
        }
        let mut name = None;
        // Readers that take both families put a wrong certificate of one behind a right one of the other.
        let fresh = [Family::A, Family::Aaaa].into_iter().filter_map(|family| record.family(family));
        let count: usize = fresh.filter(|view| !view.expired(now)).map(|view| view.len()).sum();
        for family in [Family::A, Family::Aaaa] {
            let Some(view) = record.family(family).filter(|view| !view.expired(now)) else { continue };
            let set: Vec<IpAddr> = view.addresses().map(|address| address.address).collect();
            let is_known = self.verdicts.note_set(record.name(), family, view.round(), &set);
            let is_asked_for = !is_unasked(view.round()) && is_in_use(&view, now);
            // A single address cannot be put behind another one; that it replaced others is worth a look.
            if !is_asked_for || count < 2 && !is_known || self.rules.server_name(record.name()).is_none() {
                continue;
            }
            let private = self.private;
            let probed = set.into_iter().filter(|address| may_be_probed(*address, private));
            for address in probed.take(PROBED_MAX) {
                if !self.verdicts.is_due(record.name(), &address, now) {
                    continue;
                }
                let is_new = self.verdicts.get(record.name(), &address).is_none();
                let reason = match found_by {
                    FoundBy::Change if is_new => Reason::Change,
                    FoundBy::Walk if is_new => Reason::Walk,
                    FoundBy::Change | FoundBy::Walk => Reason::Renewal,
                };
                let name = name.get_or_insert_with(|| Rc::<[u8]>::from(record.name()));
                self.wish(name, address, reason);
            }
        }
    }

    fn wish(&mut self, name: &Rc<[u8]>, address: IpAddr, reason: Reason) {
        if self.jobs.iter().any(|(_, job)| job.address == address && job.name == *name) {
            return;
        }
        let key = (address, Rc::clone(name));
        if self.wishes.get(&key).is_some_and(|(known, _)| *known >= reason) {
            return;
        }
        self.last_wish += 1;
        let place = (reason, self.last_wish);
        if let Some(before) = self.wishes.insert(key.clone(), place) {
            self.queue.remove(&before);
        }
        self.queue.insert(place, key);
        if self.queue.len() > WISHES_MAX
            && let Some((_, dropped)) = self.queue.pop_first()
        {
            self.wishes.remove(&dropped);
        }
    }

    /// Whether a handshake may begin now.
    fn may_begin(&mut self, now: Monotonic) -> bool {
        self.pace.advance(now);
        self.is_on() && self.is_clock_right && self.jobs.len() < HANDSHAKES_MAX && self.pace.allows()
    }

    /// Begins a handshake at an address that is to be measured, if one is wished for there. Returns its
    /// number.
    pub fn begin_at(&mut self, address: IpAddr, network: u64, now: Monotonic) -> Option<usize> {
        if !self.may_begin(now) {
            return None;
        }
        let of_address = self.wishes.range((address, Rc::from([]))..);
        let of_address = of_address.take_while(|((at, _), _)| *at == address);
        let place = of_address.map(|(_, place)| *place).max()?;
        self.begin(place, network)
    }

    /// Begins the next handshake at an address that `is_free`. Returns the address and the number of the
    /// handshake.
    pub fn begin_next(
        &mut self,
        is_free: impl Fn(&IpAddr) -> bool,
        network: u64,
        now: Monotonic,
    ) -> Option<(IpAddr, usize)> {
        if self.queue.is_empty() || !self.may_begin(now) {
            return None;
        }
        let (place, address) = self.next_wish(is_free)?;
        self.is_turn_of_others = true;
        self.begin(place, network).map(|job| (address, job))
    }

    fn next_wish(&self, is_free: impl Fn(&IpAddr) -> bool) -> Option<(Place, IpAddr)> {
        let latest = self.queue.iter().rev().take(LOOKED_AT_MAX);
        latest.map(|(place, (address, _))| (*place, *address)).find(|(_, address)| is_free(address))
    }

    /// Whether a handshake may come before other probes: it does every second time.
    pub fn takes_turn(&mut self) -> bool {
        !std::mem::take(&mut self.is_turn_of_others)
    }

    /// When the next handshake at an address that `is_free` may begin, if that depends on time alone.
    pub fn next_begin(&self, is_free: impl Fn(&IpAddr) -> bool) -> Option<Monotonic> {
        let is_ready = self.is_on() && self.is_clock_right && self.jobs.len() < HANDSHAKES_MAX;
        (is_ready && self.next_wish(is_free).is_some()).then(|| self.pace.next())
    }

    fn begin(&mut self, place: Place, network: u64) -> Option<usize> {
        let key = self.queue.remove(&place)?;
        self.wishes.remove(&key);
        self.pace.take();
        let (address, name) = key;
        Some(self.jobs.insert(Job { name, address, network }))
    }

    /// The port to which handshakes go.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The name that a handshake shows.
    pub fn server_name(&self, job: usize) -> Option<ServerName<'static>> {
        self.rules.server_name(&self.jobs.get(job)?.name)
    }

    /// The number of network changes when a handshake began.
    pub fn begun_in(&self, job: usize) -> Option<u64> {
        self.jobs.get(job).map(|job| job.network)
    }

    /// Takes the judgement at the end of a handshake. What was shown in another network says nothing here.
    pub fn ended(&mut self, job: usize, judgement: Judgement, network: u64, now: Monotonic) {
        let Some(job) = self.jobs.try_remove(job) else { return };
        if job.network != network {
            return;
        }
        let is_other = self.verdicts.note(&job.name, job.address, judgement, now);
        if is_other || self.judged.is_planned(&job.name) {
            let at = if self.is_gathering(&job.name) { now.plus(GATHERED_FOR) } else { now };
            self.judged.plan(&job.name, at);
        }
    }

    /// Whether more verdicts on a name are expected soon.
    fn is_gathering(&self, name: &Rc<[u8]>) -> bool {
        self.jobs.iter().any(|(_, job)| job.name == *name)
    }

    /// The next name whose set may be ordered anew.
    pub fn next_judged(&mut self, now: Monotonic) -> Option<Rc<[u8]>> {
        self.judged.next_due(now)
    }

    /// The host is in another network.
    pub fn network_changed(&mut self) {
        self.verdicts.doubt();
    }

    /// When the next name may be ordered anew.
    pub fn timeout(&self) -> Option<Monotonic> {
        self.judged.timeout()
    }
}

/// Whether a client has asked for a set within the hour, as far as the table shows: a round published it
/// then. Of a long TTL the time of publication is known to a sixty-fourth.
fn is_in_use(view: &FamilyView<'_>, now: Monotonic) -> bool {
    let lifetime_ms = u64::from(view.lifetime_s()) * 1000;
    let published_ms = view.expire_ms().saturating_sub(lifetime_ms);
    now.since(Monotonic::from_ms(published_ms)) < IN_USE
}

#[cfg(test)]
mod tests;
