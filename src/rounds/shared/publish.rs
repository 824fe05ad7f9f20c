//! Publishes address sets in the table. No other code does (I7).

use crate::agreement::agreement_of;
use crate::provenance::{put_in_place, put_parts_in_order};
use crate::shared::Shared;
use crate::trace::{Cause, Whose};
use hither_table::{Address, Counter, Draft, Family, FamilyDraft, Key, Parts, PutError, Record};
use hither_wire::name::Name;

/// A published set, and the record that holds it.
pub(crate) struct Published {
    pub set: FamilyDraft,
    pub record: Record,
}

impl Shared {
    /// Publishes a set of a name: gives it a new version and replaces the family's set (I7).
    ///
    /// A set with unchanged addresses keeps its set version and, unless it brings an order, their
    /// order: a refresh does not void a measurement (I5). `set.set_version` is 0 for a new set. Extra
    /// addresses come after the others in every order (I10).
    pub fn publish(
        &mut self,
        name: &Name,
        family: Family,
        mut set: FamilyDraft,
        cause: Cause,
    ) -> Result<Published, PutError> {
        let now = self.now;
        let key = Key::of(name);
        let slot = self.writer.look(&key, &mut self.scratch);
        let before = if slot.is_taken() { self.scratch.to_draft() } else { None };
        let mut draft = before.unwrap_or(Draft { name: *name, a: None, aaaa: None });
        let place = match family {
            Family::A => &mut draft.a,
            Family::Aaaa => &mut draft.aaaa,
        };
        let had_before = place.is_some();
        let version = self.writer.next_version();
        set.version = version;
        let left_s = set.expire_ms.saturating_sub(now.as_ms()) / 1000;
        set.lifetime_s = set.lifetime_s.max(u32::try_from(left_s).unwrap_or(u32::MAX));
        if let Some(before) = place.as_ref() {
            let is_same = same_set(&before.addresses, &set.addresses);
            self.faults.on_publish(before, is_same, &mut set);
            if is_same {
                set.set_version = before.set_version;
                if before.sorted && !set.sorted {
                    keep_order(&before.addresses, &mut set);
                }
            }
        }
        if set.set_version == 0 {
            set.set_version = version;
        }
        set.addresses.iter_mut().for_each(count_sources);
        set.agreement = agreement_of(&set.addresses, set.agreement);
        put_parts_in_order(&mut set.addresses, &set.agreement, self.faults);
        if let Some(before) = place.as_ref().filter(|_| set.sorted) {
            place_confirmed(&before.addresses, &mut set);
        }
        *place = Some(set);
        let record = match self.writer.put_at(&key, &slot, &draft, now) {
            // What other hosts have learned displaces nothing.
            Err(PutError::TooLarge) if cause == Cause::Shared => return Err(PutError::TooLarge),
            // The new set has priority. The other family is resolved again when a client asks for it.
            Err(PutError::TooLarge) => {
                let displaced = match family {
                    Family::A => draft.aaaa.take().map(|_| Family::Aaaa),
                    Family::Aaaa => draft.a.take().map(|_| Family::A),
                };
                let record = self.writer.put_at(&key, &slot, &draft, now)?;
                if let Some(displaced) = displaced {
                    self.traces.versions.note_removal(name, displaced, Cause::Displaced, now);
                }
                record
            }
            put => put?,
        };
        self.count(Counter::Publishes);
        // An order, and a set of another host, say nothing new.
        if !matches!(cause, Cause::Ordered | Cause::Judged | Cause::Shared) {
            self.site.note_own(name, family, now);
        }
        let set = match family {
            Family::A => draft.a,
            Family::Aaaa => draft.aaaa,
        };
        let set = set.ok_or(PutError::Malformed)?;
        self.traces.versions.note(Whose { name, family, had_before }, &set, cause, now);
        Ok(Published { set, record })
    }

    /// Removes a family from the table: its answer is stored elsewhere, or void.
    pub fn unpublish(&mut self, name: &Name, family: Family, cause: Cause) {
        let now = self.now;
        let key = Key::of(name);
        self.site.note_own(name, family, now);
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
        self.traces.versions.note_removal(name, family, cause, now);
    }
}

/// Counts the upstreams that gave an address. Of a restored one the count is what is left of them.
fn count_sources(address: &mut Address) {
    let bits = address.given_by().count_ones();
    if bits > 0 {
        address.sources = bits as u8;
    }
}

/// Moves each address that has just become trusted forward, by its measurement. The addresses behind it
/// stay.
fn place_confirmed(before: &[Address], set: &mut FamilyDraft) {
    let parts = Parts::of(&set.addresses, &set.agreement);
    for at in 0..set.addresses.len() {
        let is_new = |own: &Address| {
            own.is_trusted() && before.iter().any(|b| b.address == own.address && !b.is_trusted())
        };
        if set.addresses.get(at).is_some_and(is_new) {
            put_in_place(&mut set.addresses, at, parts);
        }
    }
}

pub(crate) fn same_set(a: &[Address], b: &[Address]) -> bool {
    a.len() == b.len() && a.iter().all(|x| b.iter().any(|y| y.address == x.address))
}

/// Gives `set` the order and the measurements that the same addresses had before.
fn keep_order(before: &[Address], set: &mut FamilyDraft) {
    let place = |a: &Address| before.iter().position(|b| b.address == a.address).unwrap_or(usize::MAX);
    let mut placed: Vec<(usize, Address)> = set.addresses.drain(..).map(|a| (place(&a), a)).collect();
    placed.sort_by_key(|(place, _)| *place);
    for (place, address) in &mut placed {
        if let Some(known) = before.get(*place) {
            (address.rtt, address.trust) = (known.rtt, known.trust);
        }
    }
    set.addresses.extend(placed.iter().map(|(_, address)| *address));
    set.sorted = true;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::{Rounds, Routes};
    use hither_table::{Agreement, Chain, Geometry, Link, Memory, State};
    use hither_table::{Monotonic, Writer};
    use std::net::IpAddr;

    /// As many addresses as a set may have, behind the longest chain.
    fn large(address: impl Fn(u8) -> IpAddr) -> FamilyDraft {
        let long = [["a".repeat(62).as_str(); 3].join("."), "b".repeat(60)].join(".");
        let target: Name = long.parse().expect("a name");
        let addresses = (0..255).map(address).map(|address| Address::new(address, 0, 1));
        FamilyDraft {
            version: 0,
            set_version: 0,
            round: 1,
            state: State::First,
            negative: None,
            sorted: false,
            agreement: Agreement::default(),
            expire_ms: 60_000,
            lifetime_s: 60,
            addresses: addresses.collect(),
            chains: vec![Chain { links: vec![Link { target, expire_ms: 60_000 }; 16] }],
            soa: None,
        }
    }

    #[test]
    fn of_two_families_too_large_for_one_record_the_one_published_last_is_stored() {
        let geometry = Geometry { entries: 64 };
        let writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10);
        let routes = Routes::from(&[][..]);
        let mut rounds = Rounds::new(Settings::default(), routes, writer.expect("a table"), Box::new(|| 7));
        rounds.shared.now = Monotonic::from_ms(1);
        let name: Name = "large.test".parse().expect("a name");
        for family in [Family::A, Family::Aaaa, Family::A] {
            let set = large(|n| match family {
                Family::A => [192, 0, 2, n].into(),
                Family::Aaaa => [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)].into(),
            });
            let published = rounds.shared.publish(&name, family, set, Cause::First).expect("it is published");
            let view = published.record.family(family).expect("it is there");
            assert_eq!(view.addresses().count(), 255);
            let other = if family == Family::A { Family::Aaaa } else { Family::A };
            assert!(
                published.record.family(other).is_none(),
                "both families fit into one record, so the test shows nothing"
            );
        }
    }
}
