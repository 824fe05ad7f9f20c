//! Reviews: searches of the table and the answer cache, in slices, for entries that a change has voided.
//!
//! A change of lists or routes may void entries anywhere in a table of a million names. Until its
//! review is complete, every entry that is read from the cache is first checked against the change, so
//! that no void entry reaches a client or the sorter.

use crate::resolver::Rounds;
use crate::routes::Validity;
use crate::trace::Cause;
use hither_answers::Number;
use hither_table::{Family, FamilyView, Key, Snapshot};
use hither_wire::name::Name;
use std::fmt;
use std::sync::Arc;

/// Reviews at a time. With so many under way, further changes wait if they can.
const REVIEWS_MAX: usize = 4;

/// A change, in the form that readers of the cache check entries against.
#[derive(Clone)]
pub(crate) struct Change {
    validity: Arc<dyn Fn(&Name) -> Validity + Send + Sync>,
    of: Of,
}

/// The entries that a change concerns.
#[derive(Clone, Copy, Debug)]
enum Of {
    /// Entries older than the change: sets up to a version and answers up to a number.
    Before(u64, Number),
    /// The sets of rounds: the first, and how many.
    Rounds(u64, u64),
    /// All answers up to a number.
    Answers(Number),
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Change").field(&self.of).finish()
    }
}

impl Change {
    /// Whether the change voids the table's entry of a name, or a part of it.
    pub fn voids_entry(&self, name: &Name, entry: &Snapshot) -> bool {
        let mut sets = [Family::A, Family::Aaaa].into_iter().filter_map(|family| entry.family(family));
        let is_of = |set: &FamilyView<'_>| match self.of {
            Of::Before(version, _) => set.version() <= version,
            Of::Rounds(..) => self.voids_round(set.round()),
            Of::Answers(_) => false,
        };
        match (self.validity)(name) {
            Validity::Valid => false,
            Validity::DenialsVoid => sets.any(|set| is_of(&set) && set.negative().is_some()),
            Validity::Void => sets.any(|set| is_of(&set)),
        }
    }

    fn voids_round(&self, round: u64) -> bool {
        matches!(self.of, Of::Rounds(first, count) if round.wrapping_sub(first) < count)
    }

    /// Whether the family of a void entry stays: only its set of the other family is of the rounds that are
    /// void.
    fn spares(&self, entry: &Snapshot, family: Family) -> bool {
        let set = entry.family(family).filter(|_| matches!(self.of, Of::Rounds(..)));
        set.is_some_and(|set| !self.voids_round(set.round()))
    }

    /// Whether the change voids the stored answer with this number for a name.
    pub fn voids_answer(&self, name: &Name, number: Number) -> bool {
        match self.of {
            Of::Before(_, until) | Of::Answers(until) => {
                number.is_up_to(until) && (self.validity)(name) != Validity::Valid
            }
            Of::Rounds(..) => false,
        }
    }
}

/// A review: a change, and the progress of the search in the table and the answer cache.
#[derive(Debug)]
pub(crate) struct Review {
    change: Change,
    table: Walk,
    answers: Walk,
}

/// A walk over the slots of an index, which begins again when the index is replaced.
#[derive(Default, Debug)]
struct Walk {
    /// The generation counter of the index.
    generation: u64,
    at: usize,
    is_over: bool,
}

impl Walk {
    /// Returns the index of the next slot, and moves `places` slots on.
    fn step(&mut self, slots: usize, generation: u64, places: usize) -> usize {
        if self.generation != generation {
            *self = Walk { generation, ..Walk::default() };
        }
        let at = self.at;
        self.at += places;
        self.is_over = self.at >= slots;
        at
    }
}

impl Review {
    fn is_over(&self) -> bool {
        self.table.is_over && self.answers.is_over
    }
}

impl Rounds {
    /// Voids the cached data of names by their validity. Data that is stored later stays.
    pub(crate) fn review(&mut self, validity: impl Fn(&Name) -> Validity + Send + Sync + 'static) {
        let of = Of::Before(self.shared.writer.next_version(), self.shared.answers.latest());
        self.begin_review(validity, of);
    }

    /// Voids the sets of `count` rounds that are still in the table, for names that `of` accepts. Sets of
    /// other rounds stay, those of the other family of a name too.
    pub(crate) fn review_rounds(
        &mut self,
        first: u64,
        count: u64,
        of: impl Fn(&Name) -> bool + Send + Sync + 'static,
    ) {
        self.begin_review(
            move |name| if of(name) { Validity::Void } else { Validity::Valid },
            Of::Rounds(first, count),
        );
    }

    /// Lets workers renew what they know of the cache.
    pub(crate) fn note_changed(&mut self) {
        self.changed += 1;
    }

    /// Voids all stored answers. They are freed in slices, since freeing all at once takes long.
    pub(crate) fn review_answers(&mut self) {
        self.begin_review(|_| Validity::Void, Of::Answers(self.shared.answers.latest()));
    }

    /// Begins a review; a small cache is reviewed at once.
    fn begin_review(&mut self, validity: impl Fn(&Name) -> Validity + Send + Sync + 'static, of: Of) {
        const AT_ONCE_MAX: usize = 1024;
        if let Of::Answers(_) = of {
            // The new change voids all answers that the older one would.
            let before = self.reviews.len();
            self.reviews.retain(|review| !matches!(review.change.of, Of::Answers(_)));
            self.changed += (before - self.reviews.len()) as u64;
        }
        let (mut table, mut answers) = (Walk::default(), Walk::default());
        table.is_over = matches!(of, Of::Answers(_));
        answers.is_over = matches!(of, Of::Rounds(..)) || self.shared.answers.is_empty();
        let mut review = Review { change: Change { validity: Arc::new(validity), of }, table, answers };
        if self.shared.answers.len() <= AT_ONCE_MAX && self.shared.answers.buckets().0 <= 64 * AT_ONCE_MAX {
            self.look_at_answers(&mut review, usize::MAX);
        }
        self.look_at_table(&mut review, AT_ONCE_MAX);
        if !review.is_over() {
            self.reviews.push_back(review);
            self.changed += 1;
            // A live round may reply with stale data of its name.
            let live: Vec<Name> = self.live.keys().map(|question| question.name).collect();
            live.iter().for_each(|name| self.remove_void(name));
        }
    }

    /// Whether a review is under way.
    #[must_use]
    pub fn is_reviewing(&self) -> bool {
        !self.reviews.is_empty()
    }

    /// Whether so many reviews are under way that a further change should wait. Each review makes every
    /// hit slower.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.reviews.len() >= REVIEWS_MAX
    }

    /// Reviews the next `places` slots for one change; other changes follow in later calls.
    pub fn review_some(&mut self, places: usize) {
        if let Some(mut review) = self.reviews.pop_front() {
            if review.answers.is_over {
                self.look_at_table(&mut review, places);
            } else {
                self.look_at_answers(&mut review, places);
            }
            if review.is_over() {
                self.changed += 1;
            } else {
                self.reviews.push_back(review);
            }
        }
    }

    fn look_at_table(&mut self, review: &mut Review, places: usize) {
        // Entries of a predecessor's table are copied first.
        if review.table.is_over || self.shared.writer.has_work() {
            return;
        }
        let reader = self.shared.writer.reader();
        let mut void = Vec::new();
        let at = review.table.step(reader.places(), reader.generation(), places);
        let mut scan = reader.entries_at(at, places);
        while scan.next(&mut self.shared.scratch) {
            let name = Name::from_wire(self.shared.scratch.name()).ok();
            void.extend(name.filter(|name| review.change.voids_entry(name, &self.shared.scratch)));
        }
        for name in void {
            self.remove_void_sets(&name, &review.change);
        }
    }

    fn look_at_answers(&mut self, review: &mut Review, places: usize) {
        if review.answers.is_over {
            return;
        }
        let answers = &mut self.shared.answers;
        let (slots, generation) = answers.buckets();
        let at = review.answers.step(slots, generation, places);
        answers.remove_void_in_buckets(at, places, |name, number| review.change.voids_answer(name, number));
    }

    /// The changes under review.
    pub(crate) fn changes(&self) -> impl ExactSizeIterator<Item = &Change> + Clone {
        self.reviews.iter().map(|review| &review.change)
    }

    /// The number of reviews that have begun or ended. [`Rounds::hits`] is to be called again when it
    /// changes.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.changed
    }

    /// Removes what a change voids of the table's entry of a name.
    fn remove_void_sets(&mut self, name: &Name, change: &Change) {
        let shared = &mut self.shared;
        let key = Key::of(name);
        if !shared.writer.get(&key, &mut shared.scratch) || !change.voids_entry(name, &shared.scratch) {
            return;
        }
        let spared = [Family::A, Family::Aaaa].map(|family| change.spares(&shared.scratch, family));
        match spared {
            [true, _] => shared.unpublish(name, Family::Aaaa, Cause::Voided),
            [_, true] => shared.unpublish(name, Family::A, Cause::Voided),
            [false, false] => {
                shared.writer.remove(&key);
                shared.note_removed(name, Cause::Voided);
            }
        }
    }

    /// Removes the void entries of a name before they are used.
    pub(crate) fn remove_void(&mut self, name: &Name) {
        if !self.is_reviewing() {
            return;
        }
        let changes: Vec<Change> = self.changes().cloned().collect();
        changes.iter().for_each(|change| self.remove_void_sets(name, change));
        let changes = self.reviews.iter().map(|review| &review.change);
        self.shared
            .answers
            .remove_void(name, |number| changes.clone().any(|change| change.voids_answer(name, number)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, ClientId, Input, PlacedQuery, Question, Routes, Server, Settings};
    use hither_answers::{Answers, Stored};
    use hither_table::{Draft, FamilyDraft, Geometry, Memory, Monotonic, Writer};
    use hither_wire::codes::Rtype;
    use hither_wire::compose::{Asked, QueryBits, query};
    use hither_wire::message::{Message, Section};
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
        let set = FamilyDraft::of(version, [a.into()], 1_000_000, 1000);
        writer.put(&Draft { name, a: Some(set), aaaa: None }, NOW).expect("room");
    }

    /// Stores a TXT answer for a name.
    fn keep(answers: &mut Answers, name: Name) {
        let header = [0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        let record = [0xc0, 12, 0, 16, 0, 1, 0, 0, 3, 232, 0, 2, 1, b'x'];
        let octets = [&header, name.as_wire(), &[0, 16, 0, 1], &record].concat();
        let message = Message::read(&octets).expect("a message");
        let stored = Stored::new(&message, NOW, 1000, Section::Answer, |record| record.ttl);
        let asked = hither_answers::Asked {
            name: name.as_wire(),
            rtype: Rtype::TXT,
            dnssec_ok: false,
            checking_disabled: false,
        };
        answers.put(&asked, Arc::new(stored.expect("an answer")));
    }

    /// Whether the cache answers the name, in the event loop and in a worker.
    fn hits(rounds: &mut Rounds, name: &Name, rtype: Rtype) -> bool {
        let (mut octets, mut out) = ([0; 300], [0; 512]);
        let bits = QueryBits { rd: true, cd: false, edns: None };
        let len = query(&mut octets, 1, &Asked { name, rtype }, bits);
        let query = Query::read(&octets[..len]).expect("a query");
        let told = rounds.answer_hit(NOW, &query, 512, &mut out) > 0;
        let of_a_worker =
            rounds.hits().answer(NOW, PlacedQuery { query: &query, place: None }, 512, &mut out).len > 0;
        assert_eq!(told, of_a_worker);
        told
    }

    #[test]
    fn void_entries_are_neither_answered_nor_kept_and_others_are_both() {
        let geometry = Geometry { entries: 2 * NAMES };
        let memory = Memory::heap(geometry.words());
        let mut writer = Writer::create(memory, &geometry, [1, 2], 1, 0).expect("room");
        (0..NAMES).for_each(|n| put(&mut writer, name(n)));
        let address = |n: u8| Server::from(SocketAddr::from(([192, 0, 2, n], 53)));
        let routes = Routes { usual: vec![address(1)], ..Routes::default() };
        let mut rounds = Rounds::new(Settings::default(), routes.clone(), writer, Box::new(|| 1));
        (0..NAMES).for_each(|n| keep(&mut rounds.shared.answers, name(n)));
        let both = [Rtype::A, Rtype::TXT];
        assert!((0..NAMES).all(|n| both.iter().all(|rtype| hits(&mut rounds, &name(n), *rtype))));
        let domain = "corp.example".parse().expect("a name");
        let routes = Routes { domains: [(domain, vec![address(2)])].into(), ..routes };
        let changed = rounds.changed();
        rounds.handle(NOW, Input::Reload { settings: Settings::default(), routes });
        rounds.drain();
        assert!(rounds.is_reviewing() && rounds.changed() > changed, "one slice is not the whole review");
        for n in 0..NAMES {
            let told = both.map(|rtype| hits(&mut rounds, &name(n), rtype));
            assert_eq!(told, [!n.is_multiple_of(2); 2], "{n}");
        }
        // A new entry counts at once.
        put(&mut rounds.shared.writer, name(0));
        keep(&mut rounds.shared.answers, name(0));
        assert!(both.iter().all(|rtype| hits(&mut rounds, &name(0), *rtype)));
        for (n, rtype) in [(2, Rtype::A), (4, Rtype::TXT)] {
            let question = Question { name: name(n), rtype, dnssec_ok: false, checking_disabled: false };
            rounds
                .handle(NOW, Input::Ask { client: ClientId(n as u64), question: &question, recursion: true });
            let asked = rounds.drain().into_iter().find_map(|action| match action {
                Action::Send { server, .. } => Some(server),
                _ => None,
            });
            assert_eq!(asked, Some(address(2)));
        }
        let (mut slices, changed) = (0, rounds.changed());
        while rounds.is_reviewing() {
            let before = rounds.shared.writer.entries() + rounds.shared.answers.len();
            rounds.review_some(64);
            // A slot of the answers' index has two answers on average.
            assert!(before - rounds.shared.writer.entries() - rounds.shared.answers.len() <= 256);
            slices += 1;
        }
        assert!(slices > NAMES / 256 && rounds.changed() > changed);
        assert_eq!(
            (rounds.shared.writer.entries(), rounds.shared.answers.len()),
            (NAMES / 2 + 1, NAMES / 2 + 1)
        );
        for (n, is_known) in [(0, true), (1, true), (6, false)] {
            assert!(both.iter().all(|rtype| hits(&mut rounds, &name(n), *rtype) == is_known), "{n}");
        }
        // All answers are void at once, and freed in slices.
        rounds.handle(NOW, Input::Flush { names: None });
        assert!(rounds.is_reviewing() && rounds.shared.answers.len() > NAMES / 4);
        assert!((0..NAMES).all(|n| both.iter().all(|rtype| !hits(&mut rounds, &name(n), *rtype))));
        while rounds.is_reviewing() {
            rounds.review_some(64);
        }
        assert!(rounds.shared.answers.is_empty());
    }
}
