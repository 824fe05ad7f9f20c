//! The machine in every order of events in small worlds, and under many seeds in large ones.
//!
//! The promises of the machine hold in each of them (`sim/oracle`), and each planted fault is noticed.
//!
//! `HITHER_SIM_SEED=0x…` replays one seed and prints its trace, `HITHER_SIM_SEEDS=n` runs so many, and
//! `HITHER_SIM_MUTANT=name` plants that fault only.
#![allow(clippy::print_stdout)] // Counts, and traces of what failed.

mod sim;

use hither_connections::mutant::Mutant;
use hither_connections::{Limits, Numbering, Settings, Token};
use sim::oracle::Seen;
use sim::picks::{Exhaustive, Picks, Seeded};
use sim::world::{Answer, Event, Fate, Plan, World, endpoint};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Runs of one plan in an exhaustive test: a bound for a plan that grows by mistake.
const RUNS_MAX: u64 = 2_000_000;

fn settings() -> Settings {
    Settings {
        idle: Duration::from_millis(600),
        handshake_max: Duration::from_millis(700),
        silence_max: Duration::from_millis(900),
        query_max: Duration::from_secs(3),
        backoff_max: Duration::from_secs(2),
        reopen_within: Duration::from_secs(2),
        waiting_max: 5,
        ..Settings::default()
    }
}

fn small(mutant: Option<Mutant>) -> Plan {
    Plan {
        settings: settings(),
        limits: Limits { streams_max: 2, idle: Duration::from_secs(1) },
        numbering: Numbering::Random,
        endpoints: 1,
        addresses: 2,
        fates: &[Fate::Ready, Fate::Refused, Fate::Silent],
        answers: &[Answer::Good, Answer::Dies, Answer::Refused, Answer::Lost],
        delays_ms: &[10],
        streams_max: &[u32::MAX],
        random_below: 1,
        mutant,
        trace: false,
    }
}

/// Two queries, the second of which is cancelled while it waits or is answered.
fn small_world<'p>(picks: &'p mut dyn Picks, plan: &'p Plan) -> World<'p> {
    let mut world = World::new(picks, plan);
    world.at(0, Event::Ask(Token(1), endpoint(0)));
    world.at(10, Event::Ask(Token(2), endpoint(0)));
    world.at(20, Event::Cancel(Token(2)));
    world
}

/// A network that changes while a query is on its way.
fn changing_world<'p>(picks: &'p mut dyn Picks, plan: &'p Plan) -> World<'p> {
    let mut world = World::new(picks, plan);
    world.at(0, Event::Ask(Token(1), endpoint(0)));
    world.at(20, Event::Network);
    world.at(30, Event::Ask(Token(2), endpoint(0)));
    world
}

/// A server that takes one query at a time.
fn narrow(mutant: Option<Mutant>) -> Plan {
    Plan {
        addresses: 1,
        fates: &[Fate::Ready, Fate::Refused],
        answers: &[Answer::Good, Answer::DrainsBefore, Answer::DrainsAfter, Answer::Ends, Answer::Busy],
        numbering: Numbering::Ascending,
        streams_max: &[1],
        ..small(mutant)
    }
}

#[test]
fn every_order_of_two_queries_and_two_addresses() {
    let runs = exhaust(small_world, &small(None), RUNS_MAX);
    println!("{runs} interleavings");
    assert!(runs > 1_000, "{runs}");
}

#[test]
fn every_order_of_queries_and_a_change_of_network() {
    let runs = exhaust(changing_world, &small(None), RUNS_MAX);
    println!("{runs} interleavings");
    assert!(runs > 1_000, "{runs}");
}

#[test]
fn every_order_of_two_queries_where_one_is_allowed() {
    let runs = exhaust(small_world, &narrow(None), RUNS_MAX);
    println!("{runs} interleavings");
    assert!(runs > 500, "{runs}");
}

const FATES: &[Fate] = &[
    Fate::Ready,
    Fate::Ready,
    Fate::Ready,
    Fate::ReadyForAWhile,
    Fate::ReadyThenRefused,
    Fate::Refused,
    Fate::Unreachable,
    Fate::BadHandshake,
    Fate::Silent,
    Fate::SilentHandshake,
    Fate::Drains,
    Fate::NoSocket,
];
const ANSWERS: &[Answer] = &[
    Answer::Good,
    Answer::Good,
    Answer::Good,
    Answer::Good,
    Answer::Twice,
    Answer::Lost,
    Answer::Refused,
    Answer::Reset,
    Answer::Dies,
    Answer::Ends,
    Answer::DrainsAfter,
    Answer::DrainsBefore,
    Answer::OnAnotherChannel,
    Answer::Limits,
    Answer::LastOne,
    Answer::Busy,
];

fn large(mutant: Option<Mutant>, numbering: Numbering) -> Plan {
    Plan {
        limits: Limits { streams_max: 4, idle: Duration::from_secs(1) },
        numbering,
        endpoints: 2,
        addresses: 3,
        fates: FATES,
        answers: ANSWERS,
        delays_ms: &[0, 5, 30, 120, 300],
        streams_max: &[u32::MAX, 1, 2, 0],
        random_below: 6,
        ..small(mutant)
    }
}

/// Servers that mostly work, and a queue that overflows.
fn steady(mutant: Option<Mutant>, numbering: Numbering) -> Plan {
    Plan {
        fates: &[Fate::Ready, Fate::Ready, Fate::ReadyForAWhile],
        answers: &[
            Answer::Good,
            Answer::Good,
            Answer::Good,
            Answer::Lost,
            Answer::DrainsAfter,
            Answer::Ends,
            Answer::Busy,
        ],
        streams_max: &[u32::MAX, 2, 1],
        ..large(mutant, numbering)
    }
}

/// Sixty queries within six seconds to two endpoints and one that does not exist; cancellations, changes
/// of addresses and of the network, a host that sleeps, and the end.
fn run_large(seed: u64, plan: &Plan) -> Seen {
    let mut picks = Seeded(seed);
    let mut draw = Seeded(seed ^ 0xabcd_ef01);
    let mut world = World::new(&mut picks, plan);
    for token in 0..60 {
        let at = draw.below(120) * 50;
        let of = if draw.below(40) == 0 { 9 } else { draw.below(u64::from(plan.endpoints)) as u32 };
        world.at(at, Event::Ask(Token(token), endpoint(of)));
        if draw.below(5) == 0 {
            world.at(at + draw.below(8) * 20, Event::Cancel(Token(token)));
        }
    }
    // A burst.
    let at = draw.below(60) * 100;
    (100..108).for_each(|token| world.at(at, Event::Ask(Token(token), endpoint(0))));
    for _ in 0..draw.below(3) {
        world.at(draw.below(600) * 10, Event::Network);
    }
    for _ in 0..draw.below(3) {
        let addresses = draw.below(4) as usize;
        world.at(draw.below(60) * 100, Event::Endpoint(endpoint(draw.below(2) as u32), addresses));
        if draw.below(4) == 0 {
            world.at(draw.below(60) * 100, Event::LookUp(endpoint(draw.below(2) as u32)));
        }
    }
    for _ in 0..draw.below(3) {
        let ms = [5, 150, 700, 3_000, 4_000_000];
        world.at(draw.below(60) * 100, Event::Sleep(ms[draw.below(5) as usize]));
    }
    if draw.below(4) == 0 {
        let at = draw.below(60) * 100;
        world.at(at, Event::Forget(endpoint(1)));
        world.at(at + draw.below(5) * 100, Event::Endpoint(endpoint(1), 2));
    }
    if draw.below(4) == 0 {
        world.at(draw.below(60) * 100, Event::Shutdown);
    }
    world.run()
}

#[test]
fn many_queries_over_connections_with_random_ids() {
    every_seed("random_ids", 1_500, &|| large(None, Numbering::Random));
}

#[test]
fn many_queries_over_connections_with_streams() {
    every_seed("with_streams", 1_500, &|| large(None, Numbering::Ascending));
}

#[test]
fn many_queries_to_servers_that_mostly_work() {
    every_seed("mostly_work", 1_000, &|| steady(None, Numbering::Ascending));
}

/// Runs so many seeds of a plan, or the one that the environment names.
fn every_seed(test: &str, usual: u64, plan: &dyn Fn() -> Plan) {
    if let Some(seed) = number_of("HITHER_SIM_SEED") {
        run_large(seed, &Plan { trace: true, ..plan() });
        return;
    }
    let (plan, mut all) = (plan(), Seen::default());
    for seed in 0..number_of("HITHER_SIM_SEEDS").unwrap_or(usual) {
        let Ok(seen) = catch_unwind(AssertUnwindSafe(|| run_large(seed, &plan))) else {
            panic!(
                "seed {seed:#x} breaks a promise; \
                 HITHER_SIM_SEED={seed:#x} cargo test -p hither-connections --test simulator {test} replays it"
            )
        };
        all.delivered += seen.delivered;
        all.failed += seen.failed;
        all.retried += seen.retried;
        all.transmitted += seen.transmitted;
        all.opened += seen.opened;
        all.reopened += seen.reopened;
        all.network_changes += seen.network_changes;
        all.left_alone += seen.left_alone;
    }
    println!("{all:?}");
    let Seen { delivered, failed, retried, transmitted, reopened, network_changes, left_alone, .. } = all;
    let each = [delivered, failed, retried, transmitted, reopened, network_changes, left_alone];
    assert!(each.iter().all(|count| *count > 0), "{all:?}");
}

fn number_of(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let digits = text.strip_prefix("0x");
    digits.map_or_else(|| text.parse().ok(), |digits| u64::from_str_radix(digits, 16).ok())
}

type Build = for<'p> fn(&'p mut dyn Picks, &'p Plan) -> World<'p>;

/// Runs every combination of choices; one that fails is run again with its trace.
fn exhaust(build: Build, plan: &Plan, runs_max: u64) -> u64 {
    let mut picks = Exhaustive::default();
    while picks.runs < runs_max && picks.next_run() {
        let run = AssertUnwindSafe(|| build(&mut picks, plan).run());
        if catch_unwind(run).is_err() {
            picks.rewind();
            build(&mut picks, &Plan { trace: true, ..plan.clone() }).run();
        }
    }
    picks.runs
}

#[test]
fn every_planted_fault_is_noticed() {
    let only = std::env::var("HITHER_SIM_MUTANT").ok();
    let mut planted = Mutant::ALL.to_vec();
    planted.retain(|mutant| only.as_ref().is_none_or(|only| format!("{mutant:?}") == *only));
    assert!(!planted.is_empty(), "{only:?} is no fault that can be planted");
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found: Vec<_> = planted.into_iter().map(|mutant| (mutant, notices(mutant))).collect();
    std::panic::set_hook(hook);
    for (mutant, found) in &found {
        let found = found.map_or("NOT NOTICED".to_owned(), |runs| format!("noticed after {runs} worlds"));
        println!("{mutant:?}: {found}");
    }
    let survivors: Vec<_> = found.iter().filter(|(_, found)| found.is_none()).collect();
    assert!(survivors.is_empty(), "no world notices {survivors:?}");
}

/// In how many worlds a planted fault goes unnoticed before one notices it; `None`: none does.
fn notices(mutant: Mutant) -> Option<u64> {
    let planted = Some(mutant);
    let plans = [
        large(planted, Numbering::Random),
        large(planted, Numbering::Ascending),
        steady(planted, Numbering::Random),
        steady(planted, Numbering::Ascending),
    ];
    let worlds = (0..200).flat_map(|seed| plans.iter().map(move |plan| (seed, plan)));
    let found = worlds
        .enumerate()
        .find(|(_, (seed, plan))| catch_unwind(AssertUnwindSafe(|| run_large(*seed, plan))).is_err());
    found.map(|(before, _)| before as u64 + 1)
}
