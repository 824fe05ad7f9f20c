//! What all rounds share: settings, upstreams, the cache and its one publishing function, and the queue of actions.

use crate::ascending::Ascending;
use crate::mutant::{Mutant, Mutants};
use crate::reply::{Answer, ede};
use crate::routes::Groups;
use crate::spare::Spare;
use crate::trace::Traces;
use crate::trust::{put_in_place, trusted_first};
use crate::upstream::Upstream;
use crate::waiting::Waiting;
use crate::{Action, AttemptId, ClientId, Question, Settings, UpstreamId};
use hither_answers::{Answers, Stored};
use hither_local::Local;
use hither_table::{
    Address, Counter, Counters, Draft, Family, FamilyDraft, FamilyView, Key, Monotonic, PutError, Record,
    Snapshot, Writer,
};
use hither_wire::{codes::Rcode, name::Name};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

pub(crate) struct Shared {
    pub settings: Settings,
    pub upstreams: Vec<Upstream>,
    pub groups: Groups,
    /// What is answered here.
    pub local: Arc<Local>,
    pub writer: Writer,
    pub answers: Answers,
    pub counters: Counters,
    pub actions: VecDeque<Action>,
    pub random: Box<dyn FnMut() -> u64>,
    pub traces: Traces,
    /// The memory of ended rounds.
    pub spare: Spare,
    /// Outstanding attempts and the rounds they belong to.
    pub attempts: Ascending<AttemptId, u64>,
    pub clients: Waiting,
    pub next_attempt: u64,
    pub scratch: Box<Snapshot>,
    /// Lent to whoever needs a message in other letters.
    pub plain: Vec<u8>,
    pub mutants: Mutants,
}

/// What was published: the set as it now stands, and the record that holds it.
pub(crate) struct Published {
    pub set: FamilyDraft,
    pub record: Record,
}

impl Shared {
    pub fn count(&mut self, counter: Counter) {
        self.counters.add(counter, 1);
    }

    pub fn upstream(&mut self, id: UpstreamId) -> Option<&mut Upstream> {
        self.upstreams.get_mut(usize::from(id.0))
    }

    /// Who is asked for a name.
    pub fn group(&self, name: &Name) -> Rc<[UpstreamId]> {
        self.groups.of(name)
    }

    /// Whether everybody who could be asked for a name is known not to answer.
    pub fn all_down(&self, now: Monotonic, name: &Name) -> bool {
        let group = self.group(name);
        group
            .iter()
            .filter_map(|id| self.upstreams.get(usize::from(id.0)))
            .all(|upstream| upstream.is_down(now))
    }

    /// Tells a client, once: it is forgotten with its reply.
    pub fn reply(&mut self, client: ClientId, answer: Answer) {
        self.clients.remove(client);
        if self.mutants.has(Mutant::DuplicateReply) {
            self.actions.push_back(Action::Reply { client, answer: answer.clone() });
        }
        self.actions.push_back(Action::Reply { client, answer });
    }

    /// The one way into the table (I7): gives `set` a new version and puts it in place of the family's set.
    ///
    /// A set with the addresses that are there already keeps its set version, and, unless it brings an order of its own, their order:
    /// a refresh does not void a measurement (I5). `set.set_version` 0 stands for a set that is new. Addresses that one upstream added alone stand
    /// behind the others, whatever order there is (I10).
    pub fn publish(
        &mut self,
        now: Monotonic,
        name: &Name,
        family: Family,
        mut set: FamilyDraft,
    ) -> Result<Published, PutError> {
        let key = Key::of(name);
        let slot = self.writer.look(&key, &mut self.scratch);
        let before = if slot.is_taken() { self.scratch.to_draft() } else { None };
        let mut draft = before.unwrap_or(Draft { name: *name, a: None, aaaa: None });
        let place = match family {
            Family::A => &mut draft.a,
            Family::Aaaa => &mut draft.aaaa,
        };
        let version = self.writer.next_version();
        set.version = version;
        let left_s = set.expire_ms.saturating_sub(now.as_ms()) / 1000;
        set.lifetime_s = set.lifetime_s.max(u32::try_from(left_s).unwrap_or(u32::MAX));
        if let Some(before) = place.as_ref() {
            if self.mutants.has(Mutant::VersionDoesNotGrow) {
                set.version = before.version;
            }
            if same_set(&before.addresses, &set.addresses) {
                set.set_version = before.set_version;
                if before.sorted && !set.sorted {
                    keep_order(&before.addresses, &mut set, self.mutants);
                }
            } else if self.mutants.has(Mutant::SetVersionSticks) {
                set.set_version = before.set_version;
            }
        }
        if set.set_version == 0 {
            set.set_version = version;
        }
        if !self.mutants.has(Mutant::LoneAddressesStandFirst) {
            trusted_first(&mut set.addresses);
        }
        *place = Some(set);
        let record = match self.writer.put_at(&key, &slot, &draft, now) {
            // What was found out just now has the room: the other family is found out again when it is asked for.
            Err(PutError::TooLarge) => {
                match family {
                    Family::A => draft.aaaa = None,
                    Family::Aaaa => draft.a = None,
                }
                self.writer.put_at(&key, &slot, &draft, now)?
            }
            put => put?,
        };
        self.count(Counter::Publishes);
        let set = match family {
            Family::A => draft.a,
            Family::Aaaa => draft.aaaa,
        };
        Ok(Published { set: set.ok_or(PutError::Malformed)?, record })
    }

    /// Takes a family out of the table, when its answer is to be kept elsewhere.
    pub fn unpublish(&mut self, now: Monotonic, name: &Name, family: Family) {
        let key = Key::of(name);
        if !self.writer.get(&key, &mut self.scratch) {
            return;
        }
        let Some(mut draft) = self.scratch.to_draft() else { return };
        match family {
            Family::A => draft.a = None,
            Family::Aaaa => draft.aaaa = None,
        }
        if (draft.a.is_none() && draft.aaaa.is_none()) || self.writer.put(&draft, now).is_err() {
            self.writer.remove(&key);
        }
    }

    /// The fresh answer to `question`, if the cache has one.
    pub fn cached(&mut self, now: Monotonic, question: &Question) -> Option<Answer> {
        if let Some(family) = question.family()
            && self.writer.get(&Key::of(&question.name), &mut self.scratch)
            && self.scratch.family(family).is_some_and(|view| !view.expired(now))
        {
            return Some(Answer::Record { record: Record::of(&self.scratch), family, stale_ttl_s: None });
        }
        let failed = if question.checking_disabled { question.unchecked() } else { *question };
        let stored = match question.checking_disabled {
            true => self.cached_for_checker(now, question),
            false => self.answers.get(&question.asked()).filter(|stored| !stored.expired(now)),
        };
        if let Some(stored) = stored {
            return Some(Answer::of(stored, None));
        }
        let failure = Answer::Failure { rcode: Rcode::SERVFAIL, ede: Some(ede::CACHED_ERROR) };
        self.answers.has_failed(now, &failed.asked()).then(|| self.stale(now, &failed).unwrap_or(failure))
    }

    /// For who checks signatures itself: what was not checked, else what was. It is kept as it was asked for too, for whoever asks so asks again.
    fn cached_for_checker(&mut self, now: Monotonic, question: &Question) -> Option<Arc<Stored>> {
        let get = |of: &Question| self.answers.get(&of.asked()).filter(|stored| !stored.expired(now));
        if let Some(stored) = get(question) {
            return Some(stored);
        }
        let stored = get(&question.unchecked()).or_else(|| get(&question.checked()))?;
        let bare = !question.dnssec_ok && stored.is_signed();
        let stored = if bare { Arc::new(stored.without_signatures()?) } else { stored };
        self.answers.put(&question.asked(), Arc::clone(&stored));
        Some(stored)
    }

    /// The question whose round answers a client's: see [`Question::checked`].
    pub fn flight(&self, now: Monotonic, question: &Question) -> Question {
        if !question.checking_disabled {
            return *question;
        }
        let checked = question.checked();
        if self.answers.has_failed(now, &checked.asked()) { question.unchecked() } else { checked }
    }

    /// The expired set for `question`, while it may still be served (RFC 8767 section 4).
    pub fn stale(&mut self, now: Monotonic, question: &Question) -> Option<Answer> {
        let Some(family) = question.family() else { return self.stale_whole(now, question) };
        if self.settings.stale.is_zero() || !self.writer.get(&Key::of(&question.name), &mut self.scratch) {
            return None;
        }
        if !self.is_stale(now, family) {
            return None;
        }
        let stale_ttl_s = u32::try_from(self.settings.stale_ttl.as_secs()).unwrap_or(u32::MAX);
        Some(Answer::Record { record: Record::of(&self.scratch), family, stale_ttl_s: Some(stale_ttl_s) })
    }

    /// Whether the entry in `scratch`, if any, has a set that has expired and may still be served.
    pub fn is_stale(&self, now: Monotonic, family: Family) -> bool {
        let lasts_ms = u64::try_from(self.settings.stale.as_millis()).unwrap_or(u64::MAX);
        let kept = |view: FamilyView<'_>| {
            let until_ms = view.expire_ms().saturating_add(lasts_ms);
            view.expired(now) && now.as_ms() < until_ms && view.negative().is_none()
        };
        lasts_ms > 0 && self.scratch.family(family).is_some_and(kept)
    }

    /// The same for an answer of another type. Denials are not kept beyond their time. Who checks signatures itself may have what was checked.
    fn stale_whole(&self, now: Monotonic, question: &Question) -> Option<Answer> {
        let checked =
            || question.checking_disabled.then(|| self.answers.get(&question.checked().asked())).flatten();
        let stored = self.answers.get(&question.asked()).or_else(checked)?;
        let until = stored.expires().plus(self.settings.stale);
        let stale_ttl_s = Some(u32::try_from(self.settings.stale_ttl.as_secs()).unwrap_or(u32::MAX));
        (stored.expired(now) && now < until && !stored.is_denial()).then(|| Answer::of(stored, stale_ttl_s))
    }
}

pub(crate) fn same_set(a: &[Address], b: &[Address]) -> bool {
    a.len() == b.len() && a.iter().all(|x| b.iter().any(|y| y.address == x.address))
}

/// Gives `set` the order and the measurements that the same addresses had before.
fn keep_order(before: &[Address], set: &mut FamilyDraft, mutants: Mutants) {
    let place = |a: &Address| before.iter().position(|b| b.address == a.address).unwrap_or(usize::MAX);
    let mut placed: Vec<(usize, Address)> = set.addresses.drain(..).map(|a| (place(&a), a)).collect();
    placed.sort_by_key(|(place, _)| *place);
    for (place, address) in &mut placed {
        if let Some(known) = before.get(*place) {
            address.rtt = known.rtt;
            if mutants.has(Mutant::RefreshKeepsWhoSaidIt) {
                address.upstreams = known.upstreams;
            }
        }
    }
    set.addresses.extend(placed.iter().map(|(_, address)| *address));
    set.sorted = true;
    // What stood behind for want of a second word is among the others now. It moves forward: what stands after it stays where it is.
    for (at, (place, own)) in placed.iter().enumerate() {
        if own.is_trusted() && before.get(*place).is_some_and(|known| !known.is_trusted()) {
            put_in_place(&mut set.addresses, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Rounds, Routes};
    use hither_table::{Chain, Geometry, Link, Memory, Rtt, State};
    use std::net::IpAddr;

    /// As many addresses as a set has, behind the longest chain.
    fn large(address: impl Fn(u8) -> IpAddr) -> FamilyDraft {
        let long = [["a".repeat(62).as_str(); 3].join("."), "b".repeat(60)].join(".");
        let target: Name = long.parse().expect("a name");
        let addresses = (0..255).map(address).map(|address| Address {
            address,
            rtt: Rtt::Unmeasured,
            chain: 0,
            upstreams: 1,
        });
        FamilyDraft {
            version: 0,
            set_version: 0,
            round: 1,
            state: State::First,
            negative: None,
            sorted: false,
            expire_ms: 60_000,
            lifetime_s: 60,
            addresses: addresses.collect(),
            chains: vec![Chain { links: vec![Link { target, expire_ms: 60_000 }; 16] }],
            soa: None,
        }
    }

    #[test]
    fn two_families_too_large_for_one_record_take_turns_and_each_is_told() {
        let geometry = Geometry { entries: 64 };
        let writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10);
        let routes = Routes::from(&[][..]);
        let mut rounds = Rounds::new(Settings::default(), routes, writer.expect("a table"), Box::new(|| 7));
        let (now, name): (_, Name) = (Monotonic::from_ms(1), "large.test".parse().expect("a name"));
        for family in [Family::A, Family::Aaaa, Family::A] {
            let set = large(|n| match family {
                Family::A => [192, 0, 2, n].into(),
                Family::Aaaa => [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)].into(),
            });
            let published = rounds.shared.publish(now, &name, family, set).expect("it is published");
            let view = published.record.family(family).expect("it is there");
            assert_eq!(view.addresses().count(), 255);
            let other = if family == Family::A { Family::Aaaa } else { Family::A };
            assert!(published.record.family(other).is_none(), "both fit, so this shows nothing");
        }
    }
}
