//! Every order of events in small worlds, and many seeds of large ones: the promises of the core hold in each, and a list of planted
//! faults is noticed.
//!
//! `HITHER_SIM_SEED=0x…` replays one seed and prints its trace; `HITHER_SIM_SEEDS=n` runs so many, `HITHER_SIM_MUTANT=name`
//! plants that fault alone.
#![allow(clippy::print_stdout)] // Numbers, and traces of what failed.

mod sim;

use hither_rounds::mutant::Mutant;
use hither_rounds::{ClientId, Limits, SavedSet, Settings, Source};
use sim::picks::{Exhaustive, Picks, Seeded};
use sim::upstreams::{FATES, FATES_LIES, FATES_ODD, FATES_SMALL, FATES_STEADY, Fate};
use sim::world::{Event, Plan, World, name, question, table};
use sim::{chains, saved};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// An answer cache of a few places: all of them are looked at after each event.
fn settings() -> Settings {
    Settings { answers: 64, ..Settings::default() }
}

fn small(fates: &'static [Fate], mutant: Option<Mutant>) -> Plan {
    Plan { upstreams: 3, names: 1, fates, delays_ms: &[10, 110], settings: settings(), mutant, trace: false }
}

/// Two clients: one begins the round, the other asks when a short TTL has run out, while late answers are under way.
fn small_world<'p>(picks: &'p mut dyn Picks, plan: &'p Plan, writer: hither_table::Writer) -> World<'p> {
    let mut world = World::new(picks, plan, writer);
    world.at(0, Event::Ask(ClientId(1), question(0)));
    world.at(110, Event::Ask(ClientId(2), question(0)));
    world.at(1_200, Event::Ask(ClientId(3), question(0)));
    world
}

/// Runs every combination; one that fails is run again, with its trace.
fn exhaust(plan: &Plan, runs_max: u64) -> u64 {
    let mut picks = Exhaustive::default();
    let mut writer = table();
    while picks.runs < runs_max && picks.next_run() {
        match catch_unwind(AssertUnwindSafe(|| small_world(&mut picks, plan, writer).run())) {
            Ok((table, _)) => writer = table,
            Err(_) => {
                picks.rewind();
                let traced = Plan { trace: true, settings: plan.settings.clone(), ..*plan };
                (writer, _) = small_world(&mut picks, &traced, table()).run();
            }
        }
    }
    picks.runs
}

#[test]
fn every_race_of_one_question_and_three_upstreams() {
    let runs = exhaust(&small(FATES_SMALL, None), u64::MAX);
    println!("{runs} interleavings");
    assert!(runs > 20_000, "{runs}");
}

/// Two upstreams with ways of their own.
fn odd(mutant: Option<Mutant>) -> Plan {
    Plan { upstreams: 2, ..small(FATES_ODD, mutant) }
}

#[test]
fn every_race_of_upstreams_with_ways_of_their_own() {
    let runs = exhaust(&odd(None), u64::MAX);
    println!("{runs} interleavings");
    assert!(runs > 2_000, "{runs}");
}

/// Three upstreams, any of which may lie about addresses.
#[test]
fn every_race_of_upstreams_that_lie() {
    let runs = exhaust(&small(FATES_LIES, None), u64::MAX);
    println!("{runs} interleavings");
    assert!(runs > 500, "{runs}");
}

fn large(mutant: Option<Mutant>, trace: bool) -> Plan {
    let settings = Settings { deadline: Duration::from_secs(2), ..settings() };
    Plan {
        upstreams: 6,
        names: 8,
        fates: &FATES,
        delays_ms: &[5, 5, 20, 80, 300, 900],
        settings,
        mutant,
        trace,
    }
}

/// Two upstreams that say the same whenever they are asked, so that orders outlast the sets they were measured for.
fn steady(mutant: Option<Mutant>) -> Plan {
    Plan { upstreams: 2, names: 2, fates: FATES_STEADY, ..large(mutant, false) }
}

#[test]
fn an_order_that_outlasts_its_set_knows_who_said_what() {
    (0..100).for_each(|seed| drop(run_seed(seed, &steady(None), table())));
}

/// Fifty clients and eight questions over eight seconds, flushes, reloads, orders, hints, a host that sleeps, clients that go away, and in half
/// of the worlds something that was saved before.
fn large_world<'p>(
    seed: u64,
    picks: &'p mut dyn Picks,
    plan: &'p Plan,
    writer: hither_table::Writer,
) -> World<'p> {
    let mut draw = Seeded(seed ^ 0xabcd_ef01);
    let mut world = World::new(picks, plan, writer);
    for client in 0..50 {
        let at = draw.below(80) * 100;
        let asked = question(draw.below(plan.names as u64));
        world.at(at, Event::Ask(ClientId(client), asked));
        if draw.below(8) == 0 {
            world.at(at + draw.below(4) * 20, Event::Gone(ClientId(client + 1000)));
        }
    }
    for _ in 0..draw.below(4) {
        let at = draw.below(80) * 100;
        let names = (draw.below(2) == 0).then(|| vec![name(draw.below(plan.names as u64))]);
        world.at(at, Event::Flush(names));
    }
    for _ in 0..draw.below(3) {
        let upstreams = 3 + draw.below(4) as usize;
        world.at(draw.below(80) * 100, Event::Reload(upstreams));
    }
    for _ in 0..draw.below(3) {
        world.at(draw.below(80) * 100, Event::Sleep([5, 150, 700, 3_000, 4_000_000][draw.below(5) as usize]));
    }
    for _ in 0..draw.below(3) {
        world.at(draw.below(800) * 10, Event::Network);
    }
    for _ in 0..12 {
        let asked = question(draw.below(plan.names as u64));
        world.at(draw.below(800) * 10, Event::Refresh(asked));
    }
    for _ in 0..20 {
        let honest = draw.below(3) > 0;
        world.at(draw.below(900) * 10, Event::Order(name(draw.below(plan.names as u64)), honest));
    }
    if draw.below(2) == 0 {
        restore(&mut draw, &mut world, plan.names as u64);
    }
    world
}

/// Three slices of what was saved before the host was started, which some ask for before; it may turn out to be older than was thought.
fn restore(draw: &mut Seeded, world: &mut World<'_>, names: u64) {
    world.begin_restore();
    for slice in 0..3 {
        let mut sets = Vec::new();
        for n in 0..names {
            if draw.below(2) == 0 {
                continue;
            }
            let left_ms = [400, 3_000, 60_000, 300_000][draw.below(4) as usize];
            let route = u64::from(draw.below(8) == 0);
            sets.push(SavedSet { route, ..saved::set(n, draw.below(2) == 0, left_ms) });
        }
        world.at(slice * 1_000 + draw.below(10) * 100, Event::Restore(sets));
    }
    world.at(3_000, Event::RestoreEnds);
    if draw.below(3) == 0 {
        world.at(draw.below(80) * 100, Event::Doubt);
    }
}

/// Places for few rounds, attempts and clients; names of which each is asked by one source alone, and mostly by the same.
fn crowded(mutant: Option<Mutant>, trace: bool) -> Plan {
    let limits = Limits { rounds: 4, attempts: 100, clients: 6 };
    let settings = Settings { limits, deadline: Duration::from_secs(2), ..settings() };
    let fates = &[Fate::Good, Fate::Good, Fate::Lost, Fate::Lost, Fate::NxDomain];
    Plan { upstreams: 3, names: 12, fates, delays_ms: &[5, 80, 300], settings, mutant, trace }
}

fn crowded_world<'p>(
    seed: u64,
    picks: &'p mut dyn Picks,
    plan: &'p Plan,
    writer: hither_table::Writer,
) -> World<'p> {
    let mut draw = Seeded(seed ^ 0x1234_5678);
    let mut world = World::new(picks, plan, writer);
    for client in 0..60 {
        let asked = draw.below(plan.names as u64);
        // Seven names are of one source, four of another, one of a third.
        let source = Source::of(if asked < 7 { 1 } else { 2 + u64::from(asked == 11) });
        let at = draw.below(30) * 100 + draw.below(3) * 5;
        world.at(at, Event::Ask(ClientId::of(source, client), question(asked)));
    }
    for _ in 0..draw.below(3) {
        world.at(draw.below(30) * 100, Event::Flush(None));
    }
    world
}

fn run_crowded(seed: u64, plan: &Plan, writer: hither_table::Writer) -> hither_table::Writer {
    let mut picks = Seeded(seed);
    let (writer, trace) = crowded_world(seed, &mut picks, plan, writer).run();
    trace.iter().for_each(|line| println!("{line}"));
    writer
}

#[test]
fn more_is_asked_than_may_be_done() {
    if let Some(seed) = seed_of("HITHER_SIM_SEED") {
        run_crowded(seed, &crowded(None, true), table());
        return;
    }
    for seed in 0..seed_of("HITHER_SIM_SEEDS").unwrap_or(500) {
        let plan = crowded(None, false);
        if catch_unwind(AssertUnwindSafe(|| run_crowded(seed, &plan, table()))).is_err() {
            panic!(
                "seed {seed:#x}; HITHER_SIM_SEED={seed:#x} cargo test --test race more_is_asked replays it"
            );
        }
    }
}

fn run_seed(seed: u64, plan: &Plan, writer: hither_table::Writer) -> hither_table::Writer {
    let mut picks = Seeded(seed);
    let (writer, trace) = large_world(seed, &mut picks, plan, writer).run();
    trace.iter().for_each(|line| println!("{line}"));
    writer
}

fn seed_of(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let digits = text.strip_prefix("0x");
    digits.map_or_else(|| text.parse().ok(), |digits| u64::from_str_radix(digits, 16).ok())
}

#[test]
fn many_questions_and_six_upstreams() {
    if let Some(seed) = seed_of("HITHER_SIM_SEED") {
        run_seed(seed, &large(None, true), table());
        return;
    }
    let seeds = seed_of("HITHER_SIM_SEEDS").unwrap_or(2_000);
    let plan = large(None, false);
    let mut writer = Some(table());
    for seed in 0..seeds {
        let table = writer.take().unwrap_or_else(table);
        match catch_unwind(AssertUnwindSafe(|| run_seed(seed, &plan, table))) {
            Ok(table) => writer = Some(table),
            Err(_) => panic!(
                "seed {seed:#x} breaks a promise; HITHER_SIM_SEED={seed:#x} cargo test --test race many replays it"
            ),
        }
    }
    println!("{seeds} seeds");
}

#[test]
fn chains_are_what_a_reader_of_the_same_messages_makes_of_them() {
    if let Some(seed) = seed_of("HITHER_SIM_SEED") {
        return chains::run(seed, None, true);
    }
    for seed in 0..seed_of("HITHER_SIM_SEEDS").unwrap_or(2_000).max(4_000) {
        if catch_unwind(|| chains::run(seed, None, false)).is_err() {
            panic!("seed {seed:#x}; HITHER_SIM_SEED={seed:#x} cargo test --test race chains replays it");
        }
    }
}

/// Whether the net notices a planted fault within a bounded number of worlds, and in which of them.
fn notices(mutant: Mutant) -> Option<usize> {
    let planted = Some(mutant);
    let (large, crowded, steady) = (large(planted, false), crowded(planted, false), steady(planted));
    let small = [small(FATES_LIES, planted), odd(planted), small(FATES_SMALL, planted)];
    // So many worlds of each kind; the last of them all that one plan has.
    let kinds: [(u64, &dyn Fn(u64)); 5] = [
        (300, &|seed| drop(run_seed(seed, &large, table()))),
        (100, &|seed| drop(run_crowded(seed, &crowded, table()))),
        (100, &|seed| drop(run_seed(seed, &steady, table()))),
        (200, &|seed| chains::run(seed, planted, false)),
        (small.len() as u64, &|n| assert!(exhaust(&small[n as usize], 60_000) > 0)),
    ];
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut worlds = kinds.iter().flat_map(|(count, run)| (0..*count).map(move |seed| (run, seed)));
    let found = worlds.position(|(run, seed)| catch_unwind(AssertUnwindSafe(|| run(seed))).is_err());
    std::panic::set_hook(hook);
    found.map(|before| before + 1)
}

#[test]
fn every_planted_fault_is_noticed() {
    let only = std::env::var("HITHER_SIM_MUTANT").ok();
    let mut planted = Mutant::ALL.to_vec();
    planted.retain(|mutant| only.as_ref().is_none_or(|only| format!("{mutant:?}") == *only));
    assert!(!planted.is_empty(), "{only:?} is no fault that can be planted");
    let survivors: Vec<Mutant> = planted
        .into_iter()
        .filter(|mutant| {
            let found = notices(*mutant);
            println!(
                "{mutant:?}: {}",
                found.map_or("NOT NOTICED".to_owned(), |runs| format!("noticed after {runs} worlds"))
            );
            found.is_none()
        })
        .collect();
    assert!(survivors.is_empty(), "nobody notices {survivors:?}");
}
