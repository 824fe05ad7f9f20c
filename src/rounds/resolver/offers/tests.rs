//! Offers and questions to the site, one rule after the other. `tests/sim/site.rs` has the races.

use super::*;
use crate::offer::OfferTimes;
use crate::settings::{Limits, SiteSettings};
use crate::{Action, AttemptId, ClientId, Input, PlacedQuery, Routes, Settings};
use hither_table::{Address, Agreement, AnswerSource, Chain, Geometry, Link, Memory, Monotonic, Rtt};
use hither_table::{SoaRecord, Trust, Writer};
use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, Composer, Owner, QueryBits, flags, query};
use hither_wire::message::Section;
use hither_wire::name::Name;
use hither_wire::query::Query;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

const NAME: &str = "www.example.com";
const SECOND: u64 = 1_000;

fn settings() -> Settings {
    let site = SiteSettings { is_on: true, asks: true, ..SiteSettings::default() };
    Settings { site, first: 1, mix_case: false, ..Settings::default() }
}

fn question(name: &str) -> Question {
    let name = name.parse().expect("a name");
    Question { name, rtype: Rtype::A, dnssec_ok: false, checking_disabled: false }
}

/// A set with one address, asked a second and learned half a second before `at`, for a minute.
fn offer(name: &str, at: u64, last: u8) -> Offer {
    Offer {
        name: name.parse().expect("a name"),
        family: Family::A,
        host: "alpha".into(),
        said_by: vec!["192.0.2.53".into()],
        times: OfferTimes {
            asked: Monotonic::from_ms(at - SECOND),
            learned: Monotonic::from_ms(at - SECOND / 2),
            expire_ms: at + 59 * SECOND,
            lifetime_s: 60,
        },
        agreement: Agreement { answered: 2, disputes: Agreement::CERTIFICATES, dissenters: 5 },
        negative: None,
        addresses: vec![Address::new([198, 51, 100, last].into(), 0, Address::TRUSTED | 3)],
        chains: vec![Chain::default()],
        soa: None,
    }
}

/// An offer with other times.
fn at(offer: Offer, change: impl FnOnce(&mut OfferTimes)) -> Offer {
    let mut times = offer.times;
    change(&mut times);
    Offer { times, ..offer }
}

/// An offer for which an upstream was asked at another time.
fn asked(ms: u64, offer: Offer) -> Offer {
    at(offer, |times| times.asked = Monotonic::from_ms(ms))
}

fn denial(name: &str, at: u64) -> Offer {
    let mut rdata = b"\x02ns\x07example\x03com\x00\x01h\x00".to_vec();
    rdata.extend([0; 20]);
    let soa = SoaRecord { owner: "com".parse().expect("a name"), expire_ms: at + 59 * SECOND, rdata };
    Offer {
        negative: Some(Negative::NoData),
        addresses: Vec::new(),
        chains: Vec::new(),
        soa: Some(Box::new(soa)),
        ..offer(name, at, 1)
    }
}

struct World {
    rounds: Rounds,
    ms: u64,
    sent: Vec<(AttemptId, Rc<[u8]>)>,
    asked: Vec<u64>,
    told: Vec<(ClientId, AnswerSource)>,
}

fn table() -> Writer {
    let geometry = Geometry { entries: 64 };
    Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10).expect("a table")
}

impl World {
    fn new(settings: Settings) -> World {
        World::with(settings, table())
    }

    fn with(settings: Settings, writer: Writer) -> World {
        let upstream = SocketAddr::from(([192, 0, 2, 1], 53));
        let rounds = Rounds::new(settings, Routes::from(&[upstream][..]), writer, Box::new(|| 7));
        let (sent, asked, told) = (Vec::new(), Vec::new(), Vec::new());
        let mut world = World { rounds, ms: 100 * SECOND, sent, asked, told };
        world.tell(Input::Site(Site::Ready(true)));
        world
    }

    fn tell(&mut self, input: Input<'_>) {
        self.rounds.handle(Monotonic::from_ms(self.ms), input);
        self.collect();
    }

    /// Lets time pass, with every timer on its way.
    fn pass(&mut self, ms: u64) {
        let until = Monotonic::from_ms(self.ms + ms);
        while let Some(at) = self.rounds.poll_timeout().filter(|at| *at <= until) {
            self.rounds.handle_timeout(at);
            self.collect();
        }
        self.ms += ms;
    }

    fn collect(&mut self) {
        self.rounds.check_invariants();
        for action in self.rounds.drain() {
            match action {
                Action::Send { attempt, octets, .. } => self.sent.push((attempt, octets)),
                Action::AskSite { round, .. } => self.asked.push(round),
                Action::Reply { client, source, .. } => self.told.push((client, source)),
                _ => {}
            }
        }
        self.rounds.check_invariants();
    }

    fn ask(&mut self, client: u64, name: &str) {
        let (client, question) = (ClientId(client), question(name));
        self.tell(Input::Ask { client, question: &question, recursion: true });
    }

    fn offer(&mut self, offer: Offer) {
        self.tell(Input::Site(Site::Offers(vec![offer])));
    }

    fn answer(&mut self, offer: Option<Offer>) {
        let round = *self.asked.last().expect("a question to the site");
        self.tell(Input::Site(Site::Answer { round, offer: offer.map(Box::new) }));
    }

    /// The upstream's response to the latest query.
    fn respond(&mut self, last: u8, ttl_s: u32) {
        let (attempt, octets) = self.sent.last().cloned().expect("a query");
        let read = Query::read(&octets).expect("a query of ours");
        let mut out = [0; 512];
        let mut composer = Composer::new(&mut out, 512).expect("room");
        composer.set_header(read.id(), flags::QR | flags::RD | flags::RA);
        composer.question_octets(read.question());
        assert!(composer.record(Section::Answer, Owner::At(12), Rtype::A, ttl_s, &[198, 51, 100, last]));
        let len = composer.finish();
        self.tell(Input::Message { attempt, octets: &out[..len] });
    }

    fn count(&mut self, counter: Counter) -> u64 {
        self.rounds.counters().get(counter)
    }

    /// How many offers were published and refused.
    fn judged(&mut self) -> (u64, u64) {
        let judged = (self.count(Counter::SitePublished), self.count(Counter::SiteRefused));
        assert_eq!(self.count(Counter::SiteOffers), judged.0 + judged.1);
        judged
    }

    /// The last octet of the addresses in the table, fresh or not.
    fn shown(&mut self, name: &str) -> Vec<u8> {
        let addresses = self.set(name).map(|set| set.addresses).unwrap_or_default();
        addresses
            .iter()
            .map(|own| if let IpAddr::V4(v4) = own.address { v4.octets()[3] } else { 0 })
            .collect()
    }

    fn set(&mut self, name: &str) -> Option<hither_table::FamilyDraft> {
        self.rounds.explain(Monotonic::from_ms(self.ms), &question(name)).expect("addresses").set
    }

    /// Whether the cache answers, and whether that counts as a hit of the site, in the loop and in a worker.
    fn hits(&mut self, name: &str) -> (bool, bool) {
        let (mut octets, mut out) = ([0; 300], [0; 512]);
        let (name, bits) = (name.parse::<Name>().expect("it"), QueryBits { rd: true, cd: false, edns: None });
        let len = query(&mut octets, 1, &Asked { name: &name, rtype: Rtype::A }, bits);
        let (now, query) = (Monotonic::from_ms(self.ms), Query::read(&octets[..len]).expect("a query"));
        let before = self.count(Counter::SiteHits);
        let is_hit = self.rounds.answer_hit(now, &query, 512, &mut out) > 0;
        let of_site = self.count(Counter::SiteHits) > before;
        let worker =
            self.rounds.hits().answer(now, PlacedQuery { query: &query, place: None }, 512, &mut out);
        assert_eq!((worker.len > 0, worker.is_from_site), (is_hit, of_site));
        (is_hit, of_site)
    }
}

#[test]
fn an_offer_is_published_as_what_another_host_has_learned() {
    let mut world = World::new(settings());
    world.offer(offer(NAME, world.ms, 7));
    assert_eq!((world.judged(), world.hits(NAME)), ((1, 0), (true, true)));
    let explained = world.rounds.explain(Monotonic::from_ms(world.ms), &question(NAME)).expect("it");
    assert_eq!(explained.origin, crate::Origin::Site);
    assert_eq!(explained.versions.last().map(|version| version.cause), Some(Cause::Shared));
    assert!(explained.upstreams.is_empty());
    let origin = explained.site.expect("its host");
    assert_eq!((&*origin.hosts, &*origin.said_by), (&["alpha".into()][..], &["192.0.2.53".into()][..]));
    let set = world.set(NAME).expect("a set");
    assert_eq!((set.addresses[0].upstreams, set.addresses[0].sources), (Address::TRUSTED, 2));
    assert_eq!(set.agreement, Agreement { answered: 2, ..Agreement::default() });
    let reader = world.rounds.reader();
    assert!(reader.is_of_site(set.round) && !reader.is_of_site(set.version));
    assert_eq!(world.rounds.site_origin(&question(NAME)), Some(origin));
    assert_eq!(world.rounds.site_origin(&question("other.example.com")), None);
    // An own round replaces it.
    world.pass(55 * SECOND);
    world.tell(Input::Refresh { question: question(NAME) });
    assert!(world.asked.is_empty(), "a refresh does not ask the site");
    world.respond(9, 60);
    assert_eq!((world.shown(NAME), world.hits(NAME)), (vec![9], (true, false)));
    assert_eq!(world.rounds.site_origin(&question(NAME)), None);
}

#[test]
fn nothing_older_comes_after_what_is_known() {
    let mut world = World::new(settings());
    world.ask(1, NAME);
    world.answer(None);
    world.respond(1, 10);
    let learned = world.ms;
    // The own set is young, then old; an offer that was asked before it never replaces it.
    world.pass(9 * SECOND);
    world.offer(asked(learned, offer(NAME, world.ms, 2)));
    assert_eq!((world.judged(), world.shown(NAME)), ((0, 1), vec![1]));
    world.offer(asked(learned + 1, offer(NAME, world.ms, 3)));
    assert_eq!((world.judged(), world.shown(NAME)), ((1, 1), vec![3]));
    // An older one of the same host, again and from another.
    for host in ["alpha", "beta"] {
        world.offer(asked(learned + 2, Offer { host: host.into(), ..offer(NAME, world.ms, 4) }));
    }
    assert_eq!((world.judged(), world.shown(NAME)), ((1, 3), vec![3]));
    world.pass(SECOND);
    world.offer(offer(NAME, world.ms, 5));
    assert_eq!(world.shown(NAME), [5]);
}

#[test]
fn a_set_of_its_own_stays_for_half_of_its_life() {
    let mut world = World::new(settings());
    world.ask(1, NAME);
    world.answer(None);
    world.respond(1, 10);
    world.pass(4 * SECOND);
    world.offer(offer(NAME, world.ms, 2));
    assert_eq!(world.shown(NAME), [1]);
    world.pass(2 * SECOND);
    world.offer(offer(NAME, world.ms, 2));
    assert_eq!(world.shown(NAME), [2]);
    assert_eq!(world.judged(), (1, 1));
}

#[test]
fn an_offer_lives_no_longer_than_its_upstreams_and_the_settings_allow() {
    let seconds = Duration::from_secs;
    let max = |max_ttl, max_negative_ttl| Settings { max_ttl, max_negative_ttl, ..settings() };
    for (settings, is_denial, expire_s, expected) in [
        (settings(), false, 30, Some(130)),
        (settings(), false, 4_000, Some(159)),
        (max(seconds(10), seconds(5)), false, 30, Some(109)),
        (max(seconds(10), seconds(5)), true, 30, Some(104)),
        (max(seconds(1), seconds(1)), false, 30, None),
        (Settings { min_ttl: seconds(300), ..settings() }, false, 30, Some(130)),
    ] {
        let mut world = World::new(settings);
        let made = if is_denial { denial(NAME, world.ms) } else { offer(NAME, world.ms, 1) };
        let expire_ms = world.ms + expire_s * SECOND;
        world.offer(at(made, |times| times.expire_ms = expire_ms));
        assert_eq!(world.set(NAME).map(|set| set.expire_ms / SECOND), expected);
    }
}

#[test]
fn only_answers_for_public_names_are_taken() {
    let mut own = settings();
    own.rebinding.allow.insert("allowed.example.com".parse().expect("a name"));
    let mut world = World::new(own.clone());
    for name in ["com", "a.test", "printer.local", "x.allowed.example.com", "localhost", "1.home.arpa"] {
        world.offer(offer(name, world.ms, 1));
    }
    assert_eq!(world.judged(), (0, 6));
    own.site.domains.insert("example.com".parse().expect("a name"));
    let mut world = World::new(own.clone());
    world.offer(offer("www.example.net", world.ms, 1));
    world.offer(offer(NAME, world.ms, 1));
    assert_eq!(world.judged(), (1, 1));
    let server = SocketAddr::from(([192, 0, 2, 9], 53)).into();
    let domains = [("corp.example.com".parse().expect("a name"), vec![server])].into();
    let routes = Routes { domains, ..world.rounds.routes().clone() };
    world.tell(Input::Reload { settings: own.clone(), routes });
    world.pass(5 * SECOND);
    world.offer(offer("x.corp.example.com", world.ms, 1));
    assert_eq!(world.judged(), (1, 2));
    own.site.is_on = false;
    let routes = world.rounds.routes().clone();
    world.tell(Input::Reload { settings: own, routes });
    world.offer(offer(NAME, world.ms, 1));
    assert_eq!(world.judged(), (1, 3));
}

#[test]
fn a_hostile_offer_is_refused_and_breaks_nothing() {
    let mut world = World::new(settings());
    let ms = world.ms;
    let good = || offer(NAME, ms, 1);
    let timed = |change: fn(&mut OfferTimes)| at(good(), change);
    let address = |address: IpAddr| Address::new(address, 0, 1);
    let link = |target: &str| Link { target: target.parse().expect("a name"), expire_ms: ms + SECOND };
    let chain = |targets: &[&str]| vec![Chain { links: targets.iter().map(|target| link(target)).collect() }];
    let long: Vec<String> = (0..17).map(|n| format!("n{n}.example.com")).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let many = (0..=255).flat_map(|a| [[198, 18, 0, a], [198, 18, 1, a]]).map(|a| address(a.into()));
    let soa = |owner: &str, rdata: &[u8]| {
        let owner = owner.parse().expect("a name");
        Some(Box::new(SoaRecord { owner, expire_ms: ms + SECOND, rdata: rdata.to_vec() }))
    };
    let rdata = denial(NAME, ms).soa.expect("one").rdata;
    let hostile = [
        Offer { host: "".into(), ..good() },
        Offer { host: "a\nb".into(), ..good() },
        Offer { host: "x".repeat(65).into(), ..good() },
        Offer { said_by: vec!["x".into(); 9], ..good() },
        Offer { said_by: vec!["\u{e9}".into()], ..good() },
        Offer { name: "WWW.example.com".parse().expect("a name"), ..good() },
        Offer { family: Family::Aaaa, ..good() },
        timed(|times| times.learned = Monotonic(u64::MAX)),
        timed(|times| times.asked = times.learned.plus(Duration::from_millis(1))),
        at(good(), |times| times.expire_ms = ms),
        timed(|times| times.expire_ms = 0),
        timed(|times| times.lifetime_s = 0),
        timed(|times| times.lifetime_s = 1),
        Offer { addresses: Vec::new(), ..good() },
        Offer { addresses: vec![address([198, 18, 0, 1].into()); 2], ..good() },
        Offer { addresses: vec![address([10, 0, 0, 1].into())], ..good() },
        Offer { addresses: vec![address([0, 0, 0, 0].into())], ..good() },
        Offer { addresses: vec![address([127, 0, 0, 1].into())], ..good() },
        Offer { addresses: vec![Address { chain: 1, ..address([198, 18, 0, 1].into()) }], ..good() },
        Offer { addresses: many.collect(), ..good() },
        Offer { chains: Vec::new(), ..good() },
        Offer { chains: vec![Chain::default(); 9], ..good() },
        Offer { chains: chain(&["a.example.com", "A.example.com"]), ..good() },
        Offer { chains: chain(&["WWW.example.com"]), ..good() },
        Offer { chains: chain(&long), ..good() },
        Offer { soa: denial(NAME, ms).soa, ..good() },
        Offer { negative: Some(Negative::NoData), ..good() },
        Offer { negative: Some(Negative::Withheld), ..denial(NAME, ms) },
        Offer { soa: None, ..denial(NAME, ms) },
        Offer { soa: soa("net", &rdata), ..denial(NAME, ms) },
        Offer { soa: soa("com", &rdata[..rdata.len() - 1]), ..denial(NAME, ms) },
        Offer { soa: soa("com", &[0xc0, 12]), ..denial(NAME, ms) },
        Offer { soa: soa("com", &[63; 64]), ..denial(NAME, ms) },
        Offer { chains: chain(&["a.example.net"]), soa: soa("example.com", &rdata), ..denial(NAME, ms) },
    ];
    let count = hostile.len() as u64;
    hostile.into_iter().for_each(|offer| world.offer(offer));
    assert_eq!(world.judged(), (0, count));
    assert!(world.set(NAME).is_none());
    world.offer(denial(NAME, ms));
    assert_eq!((world.judged(), world.hits(NAME)), ((1, count), (true, true)));
}

#[test]
fn measurements_and_verdicts_of_another_host_only_give_the_first_order() {
    let mut world = World::new(settings());
    let own = |last, rtt| Address {
        rtt,
        trust: Trust::OtherName,
        sources: 200,
        ..Address::new([198, 51, 100, last].into(), 0, u32::MAX)
    };
    let addresses = vec![own(1, Rtt::Unmeasured), own(2, Rtt::Micros(9)), own(3, Rtt::Micros(5))];
    world.offer(Offer { addresses, ..offer(NAME, world.ms, 1) });
    let set = world.set(NAME).expect("a set");
    assert_eq!(world.shown(NAME), [3, 2, 1]);
    assert!(!set.sorted && set.addresses.iter().all(|own| own.rtt == Rtt::Unmeasured));
    assert!(set.addresses.iter().all(|own| own.trust == Trust::Unknown && own.sources == 31));
}

#[test]
fn a_client_is_answered_by_the_site_before_upstreams_are_asked() {
    let mut world = World::new(settings());
    world.ask(1, NAME);
    world.ask(2, NAME);
    assert_eq!((world.asked.len(), world.sent.len(), world.told.len()), (1, 0, 0));
    world.ms += 1;
    world.answer(Some(offer(NAME, world.ms, 7)));
    let site = AnswerSource::Site;
    assert_eq!((&*world.told, world.sent.len()), (&[(ClientId(1), site), (ClientId(2), site)][..], 0));
    let trace = world.rounds.trace(&question(NAME)).expect("its round");
    assert!(matches!(trace.site.map(|site| site.outcome), Some(SiteOutcome::Answer { .. })));
    assert!(trace.attempts.is_empty() && trace.ended.is_some_and(|end| end.how == "complete"));
    assert_eq!((world.count(Counter::RoundsStarted), world.count(Counter::RoundsComplete)), (1, 1));
    assert_eq!((world.count(Counter::SiteAsks), world.count(Counter::SiteAnswers)), (1, 1));
    assert_eq!(world.hits(NAME), (true, true));
    // A subscription may be quicker than the answer.
    world.ask(3, "b.example.com");
    world.offer(offer("b.example.com", world.ms, 8));
    assert_eq!(world.told.last(), Some(&(ClientId(3), site)));
}

#[test]
fn without_an_answer_the_round_asks_upstreams_after_the_wait_or_at_once() {
    let mut world = World::new(settings());
    world.ask(1, NAME);
    world.pass(1);
    assert!(world.sent.is_empty());
    world.pass(1);
    assert_eq!((world.sent.len(), world.count(Counter::SiteUnanswered)), (1, 1));
    // What comes then is too late: the upstream may answer sooner.
    world.answer(Some(offer(NAME, world.ms, 7)));
    assert_eq!((world.judged(), world.told.len()), ((0, 1), 0));
    world.respond(1, 60);
    assert_eq!(world.told, [(ClientId(1), AnswerSource::Round)]);
    for (n, offer) in [None, Some(offer("other.example.com", world.ms, 1))].into_iter().enumerate() {
        world.ask(20 + n as u64, &format!("n{n}.example.com"));
        world.answer(offer);
        assert_eq!(world.sent.len(), 2 + n);
    }
    world.ask(3, "c.example.com");
    world.tell(Input::Site(Site::Ready(false)));
    assert_eq!(world.sent.len(), 4, "there is nobody to wait for");
    world.ask(4, "d.example.com");
    assert_eq!((world.sent.len(), world.asked.len()), (5, 4));
}

#[test]
fn three_unanswered_questions_cost_three_waits_and_no_more() {
    let mut world = World::new(settings());
    for n in 0..3 {
        world.ask(n, &format!("n{n}.example.com"));
        world.pass(2);
    }
    world.ask(9, NAME);
    assert_eq!((world.sent.len(), world.asked.len()), (4, 3), "it starts at once");
    world.pass(SECOND);
    world.ask(10, "x.example.com");
    world.ask(11, "y.example.com");
    assert_eq!((world.sent.len(), world.asked.len()), (6, 4), "one is asked beside its round");
    world.pass(3);
    world.answer(None);
    assert_eq!(world.count(Counter::SiteUnanswered), 4);
    world.pass(SECOND);
    world.ask(12, "z.example.com");
    world.pass(1);
    world.answer(Some(offer("z.example.com", world.ms, 1)));
    assert_eq!((world.sent.len(), world.asked.len(), world.judged().0), (7, 5, 0));
    world.ask(13, "w.example.com");
    assert_eq!((world.sent.len(), world.asked.len()), (7, 6), "the site answers again");
}

#[test]
fn what_ends_a_round_ends_its_wait() {
    let mut world = World::new(settings());
    world.ask(1, NAME);
    world.tell(Input::Flush { names: Some(vec![question(NAME).name]) });
    assert_eq!((world.asked.len(), world.sent.len()), (1, 1), "it begins again, and asks upstreams");
    let trace = world.rounds.trace(&question(NAME)).expect("a round");
    assert!(trace.site.is_none());
    world.ask(2, "b.example.com");
    world.tell(Input::ClientGone { client: ClientId(2) });
    world.ask(3, "c.example.com");
    world.tell(Input::NetworkChanged);
    assert_eq!(world.sent.len(), 2, "only what was sent is sent again");
    let (settings, routes) = (Settings { first: 1, ..Settings::default() }, world.rounds.routes().clone());
    world.tell(Input::Reload { settings, routes });
    assert_eq!(world.sent.len(), 4, "nothing is shared any more");
    let mut world = World::new(self::settings());
    world.ask(1, NAME);
    world.tell(Input::Shutdown);
    assert_eq!(world.told, [(ClientId(1), AnswerSource::Failure)]);
    world.answer(Some(offer(NAME, world.ms, 1)));
    assert_eq!(world.judged(), (0, 1));
}

#[test]
fn a_change_makes_only_what_it_voids_known() {
    let mut world = World::new(settings());
    world.ask(1, NAME);
    world.answer(None);
    world.respond(1, 600);
    world.pass(SECOND);
    // Hosts files, lists and other upstreams; the first are read at each start.
    world.tell(Input::Local { local: std::sync::Arc::default() });
    world.offer(offer("other.example.com", world.ms, 2));
    assert_eq!(world.judged(), (1, 0));
    let routes = Routes::from(&[SocketAddr::from(([192, 0, 2, 2], 53))][..]);
    world.tell(Input::Reload { settings: settings(), routes });
    world.pass(SECOND);
    // Asked after the answer that was voided, and before it was.
    world.offer(at(offer(NAME, world.ms, 3), |times| times.asked = Monotonic::from_ms(101 * SECOND)));
    world.offer(offer("third.example.com", world.ms, 4));
    assert_eq!((world.shown(NAME), world.shown("third.example.com")), (vec![], vec![4]));
    assert_eq!(world.judged(), (2, 1));
}

#[test]
fn a_flush_voids_the_sets_of_the_site_alone_and_what_was_learned_before_it_stays_away() {
    let mut world = World::new(settings());
    world.offer(offer("a.example.com", world.ms, 1));
    world.ask(1, "b.example.com");
    world.answer(None);
    world.respond(2, 600);
    // One name has a set of each kind.
    let of_other = Address::new("2001:db8::1".parse().expect("an address"), 0, 1);
    let aaaa =
        Offer { family: Family::Aaaa, addresses: vec![of_other], ..offer("b.example.com", world.ms, 1) };
    world.offer(aaaa);
    assert_eq!(world.judged(), (2, 0));
    let (first, changed) = (world.rounds.reader().site_rounds(), world.rounds.changed());
    world.pass(SECOND);
    world.tell(Input::Site(Site::Flush));
    assert!(world.rounds.reader().site_rounds() > first && world.rounds.changed() > changed);
    assert_eq!((world.shown("a.example.com"), world.shown("b.example.com")), (vec![], vec![2]));
    let v6 = Question { rtype: Rtype::AAAA, ..question("b.example.com") };
    let now = Monotonic::from_ms(world.ms);
    assert!(world.rounds.explain(now, &v6).expect("addresses").set.is_none());
    world.offer(offer("a.example.com", world.ms + SECOND / 2, 1));
    assert_eq!(world.judged(), (2, 1), "asked before the flush");
    world.pass(2 * SECOND);
    world.offer(offer("a.example.com", world.ms, 1));
    assert_eq!((world.judged(), world.hits("a.example.com")), ((3, 1), (true, true)));
}

#[test]
fn a_process_that_takes_the_table_over_goes_on_with_its_sets() {
    let mut world = World::new(settings());
    world.offer(offer(NAME, world.ms, 1));
    let (ms, first) = (world.ms, world.rounds.reader().site_rounds());
    let mut next = World::with(settings(), world.rounds.into_writer());
    next.ms = ms;
    assert_eq!((next.rounds.reader().site_rounds(), next.hits(NAME)), (first, (true, true)));
    let origin = next.rounds.site_origin(&question(NAME)).expect("from the site");
    assert!(origin.hosts.is_empty() && origin.said_by.is_empty(), "nobody has told this process");
    // The process before may have flushed it, or answered it.
    next.offer(offer("other.example.com", ms, 1));
    assert_eq!(next.judged(), (0, 1));
    next.pass(2 * SECOND);
    next.offer(offer("other.example.com", next.ms, 1));
    assert_eq!(next.judged(), (1, 1));
}

#[test]
fn a_full_table_takes_no_offer_that_nobody_waits_for() {
    let settings = Settings { limits: Limits { rounds: 9, ..Limits::default() }, ..settings() };
    let mut world = World::new(settings);
    let mut n = 0;
    while !world.rounds.shared.writer.is_full() {
        world.offer(offer(&format!("n{n}.example.com"), world.ms, 1));
        n += 1;
    }
    let (published, _) = world.judged();
    world.offer(offer(NAME, world.ms, 1));
    assert_eq!(world.judged(), (published, 1));
    world.ask(1, NAME);
    world.answer(Some(offer(NAME, world.ms, 1)));
    assert_eq!((world.judged(), world.told.len()), ((published + 1, 1), 1));
}
