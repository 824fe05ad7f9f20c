//! Looking through the table for what a change has voided, in slices beside the daily work.
//!
//! Names that are answered here, or asked elsewhere, since lists or routes have changed may still be in a table of a million entries, as may be what was
//! restored and cannot be dated. Until a review has come to the end, whatever is read from the table is held against it first, so that nothing that is void is told or ordered.

use crate::Rounds;
use crate::routes::Fate;
use hither_table::{Family, FamilyView, Key, Snapshot};
use hither_wire::name::Name;

/// Whether what the table has of a name is void.
type Voids = dyn Fn(&Name, &Snapshot) -> bool;

/// What is void since a change.
pub(crate) struct Review {
    voids: Box<Voids>,
    /// Which table it is in, and how many words of its index have been looked at.
    table: u64,
    at: usize,
}

fn families(entry: &Snapshot) -> impl Iterator<Item = FamilyView<'_>> {
    [Family::A, Family::Aaaa].into_iter().filter_map(|family| entry.family(family))
}

impl Rounds {
    /// Voids what the table has of names that do not stay as they are. What is published later is known since the change.
    pub(crate) fn review(&mut self, fate: impl Fn(&Name) -> Fate + 'static) {
        let until = self.shared.writer.next_version();
        self.begin_review(Box::new(move |name: &Name, entry: &Snapshot| {
            let mut before = families(entry).filter(|family| family.version() <= until);
            match fate(name) {
                Fate::Stays => false,
                Fate::DenialsGo => before.any(|family| family.negative().is_some()),
                Fate::Goes => before.next().is_some(),
            }
        }));
    }

    /// Voids what the table has of one round, wherever it is still as that round found it out, of the names that `of` holds for.
    pub(crate) fn review_round(&mut self, round: u64, of: impl Fn(&Name) -> bool + 'static) {
        let of_round = move |entry: &Snapshot| families(entry).any(|family| family.round() == round);
        self.begin_review(Box::new(move |name: &Name, entry: &Snapshot| of_round(entry) && of(name)));
    }

    /// A small table is looked through at once.
    fn begin_review(&mut self, voids: Box<Voids>) {
        const AT_ONCE: usize = 1024;
        let table = self.shared.writer.reader().generation();
        self.reviews.push(Review { voids, table, at: 0 });
        self.review_some(AT_ONCE);
    }

    /// Whether there is something left to be looked through.
    #[must_use]
    pub fn is_reviewing(&self) -> bool {
        !self.reviews.is_empty()
    }

    /// Looks at so many more places of the table.
    pub fn review_some(&mut self, places: usize) {
        // What a predecessor left in a table of another size comes in first.
        if self.reviews.is_empty() || self.shared.writer.has_work() {
            return;
        }
        let reader = self.shared.writer.reader();
        let mut reviews = std::mem::take(&mut self.reviews);
        let mut void = Vec::new();
        reviews.retain_mut(|review| {
            if review.table != reader.generation() {
                (review.table, review.at) = (reader.generation(), 0);
            }
            let mut scan = reader.entries_at(review.at, places);
            while scan.next(&mut self.shared.scratch) {
                let name = Name::from_wire(self.shared.scratch.name()).ok();
                void.extend(name.filter(|name| (review.voids)(name, &self.shared.scratch)));
            }
            review.at += places;
            review.at < reader.places()
        });
        self.reviews = reviews;
        for name in void {
            self.shared.writer.remove(&Key::of(&name));
        }
    }

    /// Whether an entry that was just read into the scratch snapshot is void.
    pub(crate) fn is_void(&self, name: &Name) -> bool {
        self.reviews.iter().any(|review| (review.voids)(name, &self.shared.scratch))
    }

    /// Takes what is void of a name out, before anything else is made of it.
    pub(crate) fn purge(&mut self, name: &Name) {
        if self.is_reviewing() {
            let key = Key::of(name);
            if self.shared.writer.get(&key, &mut self.shared.scratch) && self.is_void(name) {
                self.shared.writer.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, ClientId, Input, Question, Routes, Server, Settings};
    use hither_table::{Draft, FamilyDraft, Geometry, Memory, Monotonic, Writer};
    use hither_wire::codes::Rtype;
    use hither_wire::compose::{Asked, QueryBits, query};
    use hither_wire::query::Query;
    use std::net::{Ipv4Addr, SocketAddr};

    const NOW: Monotonic = Monotonic::from_ms(1000);
    const NAMES: usize = 4000;

    fn name(n: usize) -> Name {
        format!("h{n}.{}.example", if n.is_multiple_of(2) { "corp" } else { "other" })
            .parse()
            .expect("a name")
    }

    fn put(writer: &mut Writer, name: Name) {
        let (version, a) = (writer.next_version(), Ipv4Addr::new(192, 0, 2, 1));
        let set = FamilyDraft::of(version, [a.into()], (1_000_000, 1000));
        writer.put(&Draft { name, a: Some(set), aaaa: None }, NOW).expect("room");
    }

    /// Whether the name is answered from the cache.
    fn hits(rounds: &mut Rounds, name: &Name) -> bool {
        let (mut octets, mut out) = ([0; 300], [0; 512]);
        let bits = QueryBits { rd: true, cd: false, edns: None };
        let len = query(&mut octets, 1, &Asked { name, rtype: Rtype::A }, bits);
        rounds.answer_hit(NOW, &Query::read(&octets[..len]).expect("a query"), 512, &mut out) > 0
    }

    #[test]
    fn what_is_void_is_neither_told_nor_kept_and_what_is_not_is() {
        let geometry = Geometry { entries: 2 * NAMES };
        let memory = Memory::heap(geometry.words());
        let mut writer = Writer::create(memory, &geometry, [1, 2], 1, 0).expect("room");
        (0..NAMES).for_each(|n| put(&mut writer, name(n)));
        let address = |n: u8| Server::from(SocketAddr::from(([192, 0, 2, n], 53)));
        let routes = Routes { usual: vec![address(1)], ..Routes::default() };
        let mut rounds = Rounds::new(Settings::default(), routes.clone(), writer, Box::new(|| 1));
        assert!((0..NAMES).all(|n| hits(&mut rounds, &name(n))));
        let domain = "corp.example".parse().expect("a name");
        let routes = Routes { domains: [(domain, vec![address(2)])].into(), ..routes };
        rounds.handle(NOW, Input::Reload { settings: Settings::default(), routes });
        assert!(rounds.is_reviewing(), "a slice is not the whole");
        for n in 0..NAMES {
            assert_eq!(hits(&mut rounds, &name(n)), !n.is_multiple_of(2), "{n}");
        }
        // What is found out anew counts at once.
        put(rounds.writer(), name(0));
        assert!(hits(&mut rounds, &name(0)));
        let question =
            Question { name: name(2), rtype: Rtype::A, dnssec_ok: false, checking_disabled: false };
        rounds.handle(NOW, Input::Ask { client: ClientId(1), question: &question, recursion: true });
        let asked = std::iter::from_fn(|| rounds.poll_action()).find_map(|action| match action {
            Action::Send { server, .. } => Some(server),
            _ => None,
        });
        assert_eq!(asked, Some(address(2)));
        while rounds.is_reviewing() {
            rounds.review_some(64);
        }
        assert_eq!(rounds.writer().entries(), NAMES / 2 + 1);
        assert!(hits(&mut rounds, &name(0)) && hits(&mut rounds, &name(1)) && !hits(&mut rounds, &name(4)));
    }
}
