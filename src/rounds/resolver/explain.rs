//! What the core knows of a question, for `hitherctl explain`. Asking changes nothing: no round begins, and
//! nothing counts as used.

use crate::provenance::{Standing, standings};
use crate::question::Question;
use crate::reply::Answer;
use crate::resolver::Rounds;
use crate::server::Server;
use crate::site::SiteOrigin;
use crate::trace::{Cause, Earlier, Trace, VersionTrace};
use hither_table::{Family, FamilyDraft, Key, Monotonic};

/// Where a set of the table comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A round of this process gathered it.
    Round,
    /// It was restored from the saved cache.
    Restored,
    /// Another host of the site has learned it.
    Site,
    /// A daemon before this one gathered it, and its table was taken over.
    TakenOver,
}

/// What the core knows of a question for addresses.
#[derive(Debug)]
pub struct Explained<'t> {
    /// The answer that a client gets now without a round, expired data included; `None` if it would begin
    /// one and wait.
    pub answer: Option<Answer>,
    /// The set in the table.
    pub set: Option<FamilyDraft>,
    /// Where that set comes from.
    pub origin: Origin,
    /// Which host of the site has learned that set, if it came from the site.
    pub site: Option<SiteOrigin>,
    /// Why each address of the set stands where it stands.
    pub standings: Vec<Standing>,
    /// The kept versions, the oldest first.
    pub versions: Vec<VersionTrace>,
    /// How many versions came before them.
    pub earlier: Earlier,
    /// The live round, else the latest one.
    pub trace: Option<&'t Trace>,
    /// The upstreams in the order of the bits of [`hither_table::Address::given_by`]; empty if the bits of
    /// the set mean other upstreams.
    pub upstreams: Vec<Server>,
    /// What is due next.
    pub due: Due,
}

/// What is due next for a question.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Due {
    /// When the set expires.
    pub expiry: Option<Monotonic>,
    /// From when on a query refreshes the set behind its answer.
    pub refresh: Option<Monotonic>,
    /// Until when the set is served after its expiry, if no upstream answers.
    pub stale_until: Option<Monotonic>,
    /// When the live round ends at the latest.
    pub deadline: Option<Monotonic>,
}

impl Rounds {
    /// Explains what clients get for a question without DO and CD. `None` if it is not for addresses.
    pub fn explain(&mut self, now: Monotonic, question: &Question) -> Option<Explained<'_>> {
        let family = question.family()?;
        self.shared.now = self.shared.now.max(now);
        self.remove_void(&question.name);
        let answer = self.answer_without_a_round(question);
        let set = self.set_of(question, family);
        let (mut versions, mut earlier) = self.shared.traces.versions.history(&question.name, family);
        let mut origin = Origin::Round;
        if let Some(set) = &set {
            let is_restored = self.restored.as_ref().is_some_and(|before| before.is_of(set.round));
            if is_restored {
                origin = Origin::Restored;
            } else if self.shared.site.has_round(set.round) {
                origin = Origin::Site;
            } else if self.shared.traces.versions.is_from_before(set.round) {
                origin = Origin::TakenOver;
            }
            // A set that was taken over has no version in the ring, unless it was published again.
            if versions.is_empty() && self.shared.traces.versions.is_from_before(set.version) {
                versions.push(VersionTrace::of(set, Cause::TakenOver, self.shared.now));
                earlier = Earlier { count: 0, or_more: true };
            } else if versions.is_empty() {
                earlier = Earlier { count: 1, or_more: true };
            }
        }
        let standings =
            set.as_ref().map(|set| standings(&set.addresses, &set.agreement, set.sorted)).unwrap_or_default();
        let (due, upstreams) =
            (self.due(question, set.as_ref()), self.numbered_upstreams(set.as_ref(), origin));
        let site = self.site_origin(question);
        let trace = self.trace(question);
        Some(Explained { answer, set, origin, site, standings, versions, earlier, trace, upstreams, due })
    }

    fn due(&self, question: &Question, set: Option<&FamilyDraft>) -> Due {
        let settings = &self.shared.settings;
        let deadline = self.live.get(question).and_then(|id| self.rounds.get(id)).map(|round| round.deadline);
        let Some(set) = set else { return Due { deadline, ..Due::default() } };
        let expiry = Monotonic::from_ms(set.expire_ms);
        // As `FamilyView::is_ending`.
        let refresh = Monotonic::from_ms(set.expire_ms.saturating_sub(u64::from(set.lifetime_s) * 200));
        let may_be_stale = !settings.stale.is_zero() && set.negative.is_none();
        Due {
            expiry: Some(expiry),
            refresh: settings.prefetch.then_some(refresh),
            stale_until: may_be_stale.then(|| expiry.plus(settings.stale)),
            deadline,
        }
    }

    /// The upstreams by their numbers, if they have been the same since the set was gathered.
    fn numbered_upstreams(&self, set: Option<&FamilyDraft>, origin: Origin) -> Vec<Server> {
        let is_of_these = set.is_some_and(|set| set.round > self.shared.traces.renumbered);
        let all = self.shared.upstreams.iter().map(|upstream| upstream.server);
        if is_of_these && origin == Origin::Round { all.collect() } else { Vec::new() }
    }

    fn answer_without_a_round(&mut self, question: &Question) -> Option<Answer> {
        if let Some(said) = self.shared.local_answer(question) {
            return Some(Answer::Local(std::rc::Rc::new(said)));
        }
        let answer = self.shared.cached(question)?;
        Some(self.shared.why_filtered(&answer).map_or(answer, |why| Answer::Filtered { why }))
    }

    fn set_of(&mut self, question: &Question, family: Family) -> Option<FamilyDraft> {
        let shared = &mut self.shared;
        if !shared.writer.get(&Key::of(&question.name), &mut shared.scratch) {
            return None;
        }
        let draft = shared.scratch.to_draft()?;
        match family {
            Family::A => draft.a,
            Family::Aaaa => draft.aaaa,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Refused;
    use crate::{
        Action, AttemptId, ClientId, Input, Order, OrderedAddress, Part, Routes, SenderId, Settings, Within,
    };
    use hither_table::{Geometry, Memory, Rtt, Writer};
    use hither_wire::codes::Rtype;
    use hither_wire::compose::{Composer, Owner, flags};
    use hither_wire::message::Section;
    use hither_wire::query::Query;
    use std::net::{IpAddr, SocketAddr};
    use std::rc::Rc;

    struct World {
        rounds: Rounds,
        now: Monotonic,
        sent: Vec<(AttemptId, Rc<[u8]>)>,
    }

    fn question(name: &str) -> Question {
        let name = name.parse().expect("a name");
        Question { name, rtype: Rtype::A, dnssec_ok: false, checking_disabled: false }
    }

    impl World {
        fn new(upstreams: u8) -> World {
            let geometry = Geometry { entries: 64 };
            let writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10);
            World::with(upstreams, writer.expect("a table"))
        }

        fn with(upstreams: u8, writer: Writer) -> World {
            let all: Vec<SocketAddr> = (1..=upstreams).map(|n| ([192, 0, 2, n], 53).into()).collect();
            let settings = Settings { mix_case: false, ..Settings::default() };
            let rounds = Rounds::new(settings, Routes::from(&all[..]), writer, Box::new(|| 7));
            World { rounds, now: Monotonic::from_ms(1_000), sent: Vec::new() }
        }

        fn tell(&mut self, input: Input<'_>) {
            self.now = self.now.plus(std::time::Duration::from_millis(1));
            self.rounds.handle(self.now, input);
            for action in self.rounds.drain() {
                if let Action::Send { attempt, octets, .. } = action {
                    self.sent.push((attempt, octets));
                }
            }
        }

        fn ask(&mut self, name: &str) {
            self.sent.clear();
            self.tell(Input::Ask { client: ClientId(1), question: &question(name), recursion: true });
        }

        /// The response of the nth attempt; `id` is added to the id of its query.
        fn respond(&mut self, nth: usize, addresses: &[[u8; 4]], id: u16) {
            let (attempt, octets) = self.sent[nth].clone();
            let read = Query::read(&octets).expect("a query of ours");
            let mut out = [0; 1232];
            let mut composer = Composer::new(&mut out, 1232).expect("room");
            composer.set_header(read.id().wrapping_add(id), flags::QR | flags::RD | flags::RA);
            composer.question_octets(read.question());
            for address in addresses {
                assert!(composer.record(Section::Answer, Owner::At(12), Rtype::A, 300, address));
            }
            let len = composer.finish();
            self.tell(Input::Message { attempt, octets: &out[..len] });
        }

        fn explain(&mut self, name: &str) -> Explained<'_> {
            self.rounds.explain(self.now, &question(name)).expect("addresses")
        }

        fn causes(&mut self, name: &str) -> Vec<Cause> {
            self.explain(name).versions.iter().map(|version| version.cause).collect()
        }
    }

    #[test]
    fn every_version_has_its_cause_and_each_address_its_reason() {
        let mut world = World::new(2);
        world.ask("www.example.com");
        world.respond(0, &[[198, 18, 0, 1], [198, 18, 0, 2]], 0);
        world.respond(1, &[[198, 18, 0, 2], [198, 18, 0, 3]], 0);
        let explained = world.explain("www.example.com");
        let set = explained.set.clone().expect("it is in the table");
        assert!(matches!(explained.answer, Some(Answer::Record { stale_ttl_s: None, .. })));
        assert_eq!((explained.origin, explained.earlier), (Origin::Round, Earlier::default()));
        let published: Vec<_> =
            explained.trace.expect("a round").attempts.iter().map(|a| a.published).collect();
        assert_eq!(published.len(), 2);
        assert_eq!(published[0], Some(explained.versions[0].version));
        assert_eq!(published[1], Some(explained.versions[1].version));
        assert!(explained.standings.iter().all(|standing| standing.within == Within::Arrived));
        let generation = world.rounds.reader().generation();
        let rtt = |n| Rtt::Micros(10 - u32::from(n));
        let address = |n| OrderedAddress::measured(IpAddr::from([198, 18, 0, n]), rtt(n));
        let addresses = [address(3), address(2), address(1)];
        let order = Order {
            generation,
            name: question("www.example.com").name,
            family: Family::A,
            set_version: set.set_version,
            addresses: addresses.into(),
        };
        world.tell(Input::Order { sender: SenderId(1), order });
        let explained = world.explain("www.example.com");
        let standings: Vec<_> = explained.standings.iter().map(|s| (s.part, s.place, s.within)).collect();
        let latency = Within::Latency;
        assert_eq!(
            standings,
            [(Part::Confirmed, 0, latency), (Part::Confirmed, 1, latency), (Part::Unconfirmed, 0, latency)]
        );
        world.tell(Input::Flush { names: Some(vec![question("www.example.com").name]) });
        let causes = world.causes("www.example.com");
        assert_eq!(causes.first(), Some(&Cause::First), "{causes:?}");
        assert_eq!(causes.last(), Some(&Cause::Flushed), "{causes:?}");
        assert!(causes.contains(&Cause::Merged) && causes.contains(&Cause::Ordered), "{causes:?}");
        let explained = world.explain("www.example.com");
        assert!(explained.set.is_none() && explained.answer.is_none());
    }

    #[test]
    fn what_was_refused_stands_with_its_attempt() {
        let mut world = World::new(3);
        world.ask("www.example.com");
        world.respond(0, &[[198, 18, 0, 9]], 1);
        world.respond(1, &[[198, 18, 0, 1], [10, 0, 0, 1], [10, 0, 0, 2]], 0);
        world.tell(Input::Shutdown);
        world.respond(0, &[[198, 18, 0, 8]], 0);
        let explained = world.explain("www.example.com");
        let trace = explained.trace.expect("a round");
        assert_eq!(trace.ended.expect("it has ended").how, "superseded");
        let refused =
            |n: usize| trace.attempts[n].refused.iter().map(|r| (r.why, r.count)).collect::<Vec<_>>();
        assert_eq!(refused(0), [(Refused::OtherId, 1), (Refused::Late, 1)]);
        assert_eq!(refused(1), [(Refused::Private([10, 0, 0, 1].into()), 2)]);
        assert_eq!(explained.set.expect("one").addresses.len(), 1);
    }

    #[test]
    fn a_set_that_was_taken_over_or_fell_out_of_the_ring_is_said_to_be_so() {
        let mut world = World::new(1);
        world.ask("www.example.com");
        world.respond(0, &[[198, 18, 0, 1]], 0);
        let now = world.now;
        let mut next = World::with(1, world.rounds.into_writer());
        next.now = now;
        let explained = next.explain("www.example.com");
        assert_eq!(explained.origin, Origin::TakenOver);
        assert_eq!(explained.versions.len(), 1);
        assert_eq!(explained.versions[0].cause, Cause::TakenOver);
        assert!(explained.earlier.or_more && explained.trace.is_none());
        for n in 0..9000 {
            next.ask("other.example.com");
            next.respond(0, &[[198, 18, 0, 1]], 0);
            next.tell(Input::Flush { names: Some(vec![question("other.example.com").name]) });
            if n == 0 {
                next.ask("third.example.com");
                next.respond(0, &[[198, 18, 0, 1]], 0);
            }
        }
        let explained = next.explain("third.example.com");
        assert!(explained.versions.is_empty() && explained.set.is_some());
        assert_eq!((explained.earlier.count, explained.earlier.or_more), (1, true));
        assert!(next.explain("never.example.com").versions.is_empty());
    }
}
