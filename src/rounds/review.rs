//! Looking through the table and the answer cache for what a change has voided, in slices beside the daily work.
//!
//! Names that are answered here, or asked elsewhere, since lists or routes have changed may still be in a table of a million entries, as may be what was
//! restored and cannot be dated. Until a review has come to the end, whatever is read from either is held against it first, so that nothing that is void is told or ordered.

use crate::Rounds;
use crate::routes::Fate;
use hither_answers::Number;
use hither_table::{Family, FamilyView, Key, Snapshot};
use hither_wire::name::Name;
use std::fmt;
use std::sync::Arc;

/// Changes that are looked through at a time before others wait, as far as they can.
const REVIEWS_MAX: usize = 4;

/// A change, as whoever reads from the cache has to know it.
#[derive(Clone)]
pub(crate) struct Change {
    fate: Arc<dyn Fn(&Name) -> Fate + Send + Sync>,
    of: Of,
}

/// What is held against it.
#[derive(Clone, Copy, Debug)]
enum Of {
    /// What was known when it came: sets up to a version and answers up to a number.
    Before(u64, Number),
    /// The sets of one round.
    Round(u64),
    /// All answers up to a number.
    Answers(Number),
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Change").field(&self.of).finish()
    }
}

impl Change {
    /// Whether it voids what the table has of a name.
    pub fn voids_entry(&self, name: &Name, entry: &Snapshot) -> bool {
        let mut sets = [Family::A, Family::Aaaa].into_iter().filter_map(|family| entry.family(family));
        let is_of = |set: &FamilyView<'_>| match self.of {
            Of::Before(version, _) => set.version() <= version,
            Of::Round(round) => set.round() == round,
            Of::Answers(_) => false,
        };
        match (self.fate)(name) {
            Fate::Stays => false,
            Fate::DenialsGo => sets.any(|set| is_of(&set) && set.negative().is_some()),
            Fate::Goes => sets.any(|set| is_of(&set)),
        }
    }

    /// Whether it voids an answer to a name.
    pub fn voids_answer(&self, name: &Name, number: Number) -> bool {
        match self.of {
            Of::Before(_, until) | Of::Answers(until) => {
                number.is_up_to(until) && (self.fate)(name) != Fate::Stays
            }
            Of::Round(_) => false,
        }
    }
}

/// How far a change has been looked through.
#[derive(Debug)]
pub(crate) struct Review {
    change: Change,
    table: Walk,
    answers: Walk,
}

/// A walk over an index, which begins again where that has been replaced: which it is, how many of its places have been looked at, and whether that
/// were all.
#[derive(Default, Debug)]
struct Walk {
    of: u64,
    at: usize,
    is_over: bool,
}

impl Walk {
    /// Where the next of so many places begin.
    fn step(&mut self, (all, of): (usize, u64), places: usize) -> usize {
        if self.of != of {
            *self = Walk { of, ..Walk::default() };
        }
        let at = self.at;
        self.at += places;
        self.is_over = self.at >= all;
        at
    }
}

impl Review {
    fn is_over(&self) -> bool {
        self.table.is_over && self.answers.is_over
    }
}

impl Rounds {
    /// Voids what is known of names that do not stay as they are. What is found out later is known since the change.
    pub(crate) fn review(&mut self, fate: impl Fn(&Name) -> Fate + Send + Sync + 'static) {
        let of = Of::Before(self.shared.writer.next_version(), self.shared.answers.latest());
        self.begin_review(fate, of);
    }

    /// Voids what the table has of one round, wherever it is still as that round found it out, of the names that `of` holds for.
    pub(crate) fn review_round(&mut self, round: u64, of: impl Fn(&Name) -> bool + Send + Sync + 'static) {
        self.begin_review(move |name| if of(name) { Fate::Goes } else { Fate::Stays }, Of::Round(round));
    }

    /// Voids all answers. To free as many at once would take its time.
    pub(crate) fn review_answers(&mut self) {
        self.begin_review(|_| Fate::Goes, Of::Answers(self.shared.answers.latest()));
    }

    /// What is small is looked through at once.
    fn begin_review(&mut self, fate: impl Fn(&Name) -> Fate + Send + Sync + 'static, of: Of) {
        const AT_ONCE: usize = 1024;
        if let Of::Answers(_) = of {
            // This voids what they do.
            let before = self.reviews.len();
            self.reviews.retain(|review| !matches!(review.change.of, Of::Answers(_)));
            self.changed += (before - self.reviews.len()) as u64;
        }
        let (mut table, mut answers) = (Walk::default(), Walk::default());
        table.is_over = matches!(of, Of::Answers(_));
        answers.is_over = matches!(of, Of::Round(_)) || self.shared.answers.is_empty();
        let mut review = Review { change: Change { fate: Arc::new(fate), of }, table, answers };
        if self.shared.answers.len() <= AT_ONCE && self.shared.answers.places().0 <= 64 * AT_ONCE {
            self.look_at_answers(&mut review, usize::MAX);
        }
        self.look_at_table(&mut review, AT_ONCE);
        if !review.is_over() {
            self.reviews.push_back(review);
            self.changed += 1;
            // A round that goes on may tell of its name what is stale.
            let live: Vec<Name> = self.live.keys().map(|question| question.name).collect();
            live.iter().for_each(|name| self.purge(name));
        }
    }

    /// Whether there is something left to be looked through.
    #[must_use]
    pub fn is_reviewing(&self) -> bool {
        !self.reviews.is_empty()
    }

    /// Whether so many changes are being looked through that a further one waits: each costs every answer from the cache a little.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.reviews.len() >= REVIEWS_MAX
    }

    /// Looks at so many more places, for one change; others have their turn next time.
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
        // What a predecessor left in a table of another size comes in first.
        if review.table.is_over || self.shared.writer.has_work() {
            return;
        }
        let reader = self.shared.writer.reader();
        let mut void = Vec::new();
        let mut scan =
            reader.entries_at(review.table.step((reader.places(), reader.generation()), places), places);
        while scan.next(&mut self.shared.scratch) {
            let name = Name::from_wire(self.shared.scratch.name()).ok();
            void.extend(name.filter(|name| review.change.voids_entry(name, &self.shared.scratch)));
        }
        for name in void {
            self.shared.writer.remove(&Key::of(&name));
        }
    }

    fn look_at_answers(&mut self, review: &mut Review, places: usize) {
        if review.answers.is_over {
            return;
        }
        let answers = &mut self.shared.answers;
        let at = review.answers.step(answers.places(), places);
        answers.remove_at(at, places, |name, number| review.change.voids_answer(name, number));
    }

    /// The changes that the cache is not yet looked through for.
    pub(crate) fn changes(&self) -> impl ExactSizeIterator<Item = &Change> + Clone {
        self.reviews.iter().map(|review| &review.change)
    }

    /// How often there was one more of them, or one less; [`Rounds::hits`] are to be had anew then.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.changed
    }

    /// Takes what is void of a name out, before anything else is made of it.
    pub(crate) fn purge(&mut self, name: &Name) {
        if !self.is_reviewing() {
            return;
        }
        let key = Key::of(name);
        if self.shared.writer.get(&key, &mut self.shared.scratch)
            && self.changes().any(|change| change.voids_entry(name, &self.shared.scratch))
        {
            self.shared.writer.remove(&key);
        }
        let changes = self.reviews.iter().map(|review| &review.change);
        self.shared
            .answers
            .remove_of(name, |number| changes.clone().any(|change| change.voids_answer(name, number)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, ClientId, Input, Question, Routes, Server, Settings};
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
        let set = FamilyDraft::of(version, [a.into()], (1_000_000, 1000));
        writer.put(&Draft { name, a: Some(set), aaaa: None }, NOW).expect("room");
    }

    /// Keeps a text of a name.
    fn keep(answers: &mut Answers, name: Name) {
        let header = [0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        let record = [0xc0, 12, 0, 16, 0, 1, 0, 0, 3, 232, 0, 2, 1, b'x'];
        let octets = [&header, name.as_wire(), &[0, 16, 0, 1], &record].concat();
        let message = Message::read(&octets).expect("a message");
        let stored = Stored::new(&message, NOW, (1000, Section::Answer), |record| record.ttl);
        let asked = hither_answers::Asked { name: name.as_wire(), rtype: Rtype::TXT, dnssec: (false, false) };
        answers.put(&asked, Arc::new(stored.expect("an answer")));
    }

    /// Whether the name is answered from the cache, by the event loop and by a worker.
    fn hits(rounds: &mut Rounds, name: &Name, rtype: Rtype) -> bool {
        let (mut octets, mut out) = ([0; 300], [0; 512]);
        let bits = QueryBits { rd: true, cd: false, edns: None };
        let len = query(&mut octets, 1, &Asked { name, rtype }, bits);
        let query = Query::read(&octets[..len]).expect("a query");
        let told = rounds.answer_hit(NOW, &query, 512, &mut out) > 0;
        let of_a_worker = rounds.hits().answer(NOW, (&query, None), 512, &mut out).0 > 0;
        assert_eq!(told, of_a_worker);
        told
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
        (0..NAMES).for_each(|n| keep(&mut rounds.shared.answers, name(n)));
        let both = [Rtype::A, Rtype::TXT];
        assert!((0..NAMES).all(|n| both.iter().all(|rtype| hits(&mut rounds, &name(n), *rtype))));
        let domain = "corp.example".parse().expect("a name");
        let routes = Routes { domains: [(domain, vec![address(2)])].into(), ..routes };
        let changed = rounds.changed();
        rounds.handle(NOW, Input::Reload { settings: Settings::default(), routes });
        assert!(rounds.is_reviewing() && rounds.changed() > changed, "a slice is not the whole");
        for n in 0..NAMES {
            let told = both.map(|rtype| hits(&mut rounds, &name(n), rtype));
            assert_eq!(told, [!n.is_multiple_of(2); 2], "{n}");
        }
        // What is found out anew counts at once.
        put(&mut rounds.shared.writer, name(0));
        keep(&mut rounds.shared.answers, name(0));
        assert!(both.iter().all(|rtype| hits(&mut rounds, &name(0), *rtype)));
        for (n, rtype) in [(2, Rtype::A), (4, Rtype::TXT)] {
            let question = Question { name: name(n), rtype, dnssec_ok: false, checking_disabled: false };
            rounds
                .handle(NOW, Input::Ask { client: ClientId(n as u64), question: &question, recursion: true });
            let asked = std::iter::from_fn(|| rounds.poll_action()).find_map(|action| match action {
                Action::Send { server, .. } => Some(server),
                _ => None,
            });
            assert_eq!(asked, Some(address(2)));
        }
        let (mut slices, changed) = (0, rounds.changed());
        while rounds.is_reviewing() {
            let before = rounds.shared.writer.entries() + rounds.shared.answers.len();
            rounds.review_some(64);
            // A place of the answers' index has two of them on average.
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
        // All are forgotten at once, and freed in slices.
        rounds.handle(NOW, Input::Flush { names: None });
        assert!(rounds.is_reviewing() && rounds.shared.answers.len() > NAMES / 4);
        assert!((0..NAMES).all(|n| both.iter().all(|rtype| !hits(&mut rounds, &name(n), *rtype))));
        while rounds.is_reviewing() {
            rounds.review_some(64);
        }
        assert!(rounds.shared.answers.is_empty());
    }
}
