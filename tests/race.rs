//! The resolver core in every order of events in small worlds, and with many seeds in large worlds.
//!
//! The core keeps its promises in each world (`sim/oracle.rs`), and each planted fault is noticed.
//!
//! `HITHER_SIM_SEED=0x…` replays one seed and prints its trace, `HITHER_SIM_SEEDS=n` runs n seeds, and
//! `HITHER_SIM_MUTANT=name` plants that fault only.
#![allow(clippy::print_stdout)] // Counts, and traces of failures.

mod sim;

use hither_rounds::mutant::Mutant;
use hither_table::Writer;
use sim::chains;
use sim::families;
use sim::picks::{Exhaustive, Picks};
use sim::site;
use sim::upstreams::{FATES_LIES, FATES_SMALL};
use sim::world::{Failures, Outcome, Plan, World, table};
use sim::worlds::{
    crowded, drain_world, encrypted, failing_replies, failing_sends, large, large_drain, mixed, odd,
    run_crowded, run_large, small, small_world, steady,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

type Build = for<'p> fn(&'p mut dyn Picks, &'p Plan, Writer) -> World<'p>;

/// Three upstreams take a minute: an ordinary run tries two.
#[test]
fn every_race_of_one_question() {
    let upstreams = if seed_of("HITHER_SIM_SEEDS").is_some() { 3 } else { 2 };
    let (runs, _) = exhaust(small_world, &Plan { upstreams, ..small(FATES_SMALL, None) }, u64::MAX);
    println!("{runs} interleavings");
    assert!(runs > [8_000, 500_000][upstreams - 2], "{runs}");
}

#[test]
fn every_race_of_upstreams_with_ways_of_their_own() {
    let (runs, _) = exhaust(small_world, &odd(None), u64::MAX);
    println!("{runs} interleavings");
    assert!(runs > 2_000, "{runs}");
}

/// Three upstreams, any of which may give false addresses.
#[test]
fn every_race_of_upstreams_that_lie() {
    let (runs, _) = exhaust(small_world, &small(FATES_LIES, None), u64::MAX);
    println!("{runs} interleavings");
    assert!(runs > 500, "{runs}");
}

/// An encrypted upstream beside a plain one, and two encrypted ones.
#[test]
fn every_race_of_encrypted_upstreams() {
    for (upstreams, least) in [(&[0][..], 200), (&[0, 1], 1_000)] {
        let (runs, _) = exhaust(small_world, &Plan { encrypted: upstreams, ..encrypted(None) }, u64::MAX);
        println!("{runs} interleavings");
        assert!(runs > least, "{runs}");
    }
}

/// Each query, each retransmission and each reply over TCP may fail while actions are executed.
#[test]
fn every_way_in_which_actions_fail_while_they_are_executed() {
    let (mut runs, mut failures) = (0, Failures::default());
    for plan in [failing_sends(None), failing_replies(None)] {
        let (more, failed) = exhaust(drain_world, &plan, u64::MAX);
        println!("{more} interleavings, {failed:?}");
        runs += more;
        failures.add(failed);
    }
    assert!(runs > 2_000, "{runs}");
    let Failures { sends, connections, waiting, .. } = failures;
    assert!(sends > 0 && connections > 0 && waiting > 0, "{failures:?}");
}

#[test]
fn many_questions_and_six_upstreams() {
    let failures = every_seed("many_questions", 500, &large, run_large);
    assert_eq!(failures.sends + failures.resends + failures.connections, 0, "{failures:?}");
}

#[test]
fn many_questions_and_three_of_six_upstreams_encrypted() {
    every_seed("three_of_six", 500, &mixed, run_large);
}

#[test]
fn many_questions_while_actions_fail() {
    let failures = every_seed("while_actions_fail", 500, &large_drain, run_large);
    println!("{failures:?}");
    let Failures { sends, resends, connections, waiting } = failures;
    let each = sends > 0 && resends > 0 && connections > 0 && waiting > 0;
    assert!(each || seed_of("HITHER_SIM_SEED").is_some(), "{failures:?}");
}

#[test]
fn more_is_asked_than_the_limits_allow() {
    every_seed("more_is_asked", 500, &crowded, run_crowded);
}

#[test]
fn an_order_that_outlasts_its_set_keeps_trust() {
    (0..100).for_each(|seed| drop(run_large(seed, &steady(None), table())));
}

#[test]
fn chains_are_what_a_reader_of_the_same_messages_makes_of_them() {
    if let Some(seed) = seed_of("HITHER_SIM_SEED") {
        return chains::run(seed, None, true);
    }
    for seed in 0..seed_of("HITHER_SIM_SEEDS").unwrap_or(4_000) {
        if catch_unwind(|| chains::run(seed, None, false)).is_err() {
            panic!("seed {seed:#x}; HITHER_SIM_SEED={seed:#x} cargo test --test race chains replays it");
        }
    }
}

#[test]
fn a_family_is_withheld_only_where_the_other_is_better() {
    if let Some(seed) = seed_of("HITHER_SIM_SEED") {
        return families::run(seed, None);
    }
    for seed in 0..seed_of("HITHER_SIM_SEEDS").unwrap_or(1_000) {
        if catch_unwind(|| families::run(seed, None)).is_err() {
            panic!("seed {seed:#x}; HITHER_SIM_SEED={seed:#x} cargo test --test race withheld replays it");
        }
    }
}

/// Two hosts, one name, and an engine that passes on what it wants.
#[test]
fn every_race_of_two_hosts_of_a_site() {
    let runs = exhaust_site(None, u64::MAX);
    println!("{runs} interleavings");
    assert!(runs > 10_000, "{runs}");
}

#[test]
fn two_hosts_of_a_site_never_show_an_older_answer_after_a_newer_one() {
    every_site("never_show_an_older", false);
}

#[test]
fn a_companion_that_lies_breaks_no_promise_of_its_host() {
    every_site("companion_that_lies", true);
}

fn every_site(test: &str, lies: bool) {
    if let Some(seed) = seed_of("HITHER_SIM_SEED") {
        site::large(seed, lies, None, true);
        return;
    }
    let mut counts = [0; site::COUNTED.len()];
    for seed in 0..seed_of("HITHER_SIM_SEEDS").unwrap_or(400) {
        let Ok(more) = catch_unwind(|| site::large(seed, lies, None, false)) else {
            panic!("seed {seed:#x}; HITHER_SIM_SEED={seed:#x} cargo test --test race {test} replays it")
        };
        counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
    }
    println!("{:?}: {counts:?}", site::COUNTED);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

/// Runs every combination of choices of two hosts, and one that fails again with its trace.
fn exhaust_site(mutant: Option<Mutant>, runs_max: u64) -> u64 {
    let mut picks = Exhaustive::default();
    while picks.runs < runs_max && picks.next_run() {
        let run = AssertUnwindSafe(|| site::small(&mut picks, mutant, false));
        if catch_unwind(run).is_err() {
            picks.rewind();
            site::small(&mut picks, mutant, true);
        }
    }
    picks.runs
}

#[test]
fn every_planted_fault_is_noticed() {
    let only = std::env::var("HITHER_SIM_MUTANT").ok();
    let mut planted = Mutant::ALL.to_vec();
    planted.retain(|mutant| only.as_ref().is_none_or(|only| format!("{mutant:?}") == *only));
    assert!(!planted.is_empty(), "{only:?} is not the name of a planted fault");
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
    assert!(survivors.is_empty(), "no world notices {survivors:?}");
}

/// The fault changes nothing while actions succeed, so only worlds in which some fail can notice it.
#[test]
fn only_worlds_in_which_actions_fail_notice_a_lost_failure() {
    let planted = Some(Mutant::FailureWhileSendingIsLost);
    (0..100).for_each(|seed| drop(run_large(seed, &large(planted), table())));
    (0..50).for_each(|seed| drop(run_crowded(seed, &crowded(planted), table())));
    exhaust(small_world, &odd(planted), u64::MAX);
    let noticed = quietly(|| exhaust(drain_world, &failing_sends(planted), u64::MAX)).is_err();
    assert!(noticed, "the worlds in which actions fail do not notice it either");
}

/// The number of worlds that are run until one notices a planted fault; `None` if none does.
fn notices(mutant: Mutant) -> Option<usize> {
    let planted = Some(mutant);
    let (large, crowded, steady) = (large(planted), crowded(planted), steady(planted));
    let mixed = mixed(planted);
    let drain = [failing_sends(planted), failing_replies(planted)];
    let small = [small(FATES_LIES, planted), odd(planted), small(FATES_SMALL, planted), encrypted(planted)];
    type Kind<'a> = &'a dyn Fn(u64);
    // Seeds of each kind: the number that runs first, and the number in all. A few seeds of one kind
    // notice most faults.
    let seeded: [(u64, u64, Kind<'_>); 8] = [
        (25, 300, &|seed| drop(run_large(seed, &large, table()))),
        (25, 100, &|seed| drop(run_crowded(seed, &crowded, table()))),
        (25, 100, &|seed| drop(run_large(seed, &steady, table()))),
        (25, 100, &|seed| drop(run_large(seed, &mixed, table()))),
        (200, 200, &|seed| chains::run(seed, planted, false)),
        (50, 200, &|seed| families::run(seed, planted)),
        (50, 400, &|seed| _ = site::large(seed, false, planted, false)),
        (25, 100, &|seed| _ = site::large(seed, true, planted, false)),
    ];
    // All worlds of one of these plans count as one.
    let exhaustive: [(u64, Kind<'_>); 2] = [
        (2, &|n| assert!(exhaust(drain_world, &drain[n as usize], 60_000).0 > 0)),
        (small.len() as u64, &|n| assert!(exhaust(small_world, &small[n as usize], 60_000).0 > 0)),
    ];
    let first = seeded.iter().flat_map(|(first, _, run)| (0..*first).map(move |seed| (run, seed)));
    let whole = exhaustive.iter().flat_map(|(count, run)| (0..*count).map(move |n| (run, n)));
    let rest = seeded.iter().flat_map(|(first, all, run)| (*first..*all).map(move |seed| (run, seed)));
    let found = first.chain(whole).chain(rest).position(|(run, seed)| quietly(|| run(seed)).is_err());
    found.map(|before| before + 1)
}

/// Runs a function without printing its panic.
fn quietly<T>(run: impl FnOnce() -> T) -> std::thread::Result<T> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(run));
    std::panic::set_hook(hook);
    result
}

/// Runs every combination of choices. A combination that fails is run again with its trace.
fn exhaust(build: Build, plan: &Plan, runs_max: u64) -> (u64, Failures) {
    let (mut picks, mut failures) = (Exhaustive::default(), Failures::default());
    let mut writer = table();
    while picks.runs < runs_max && picks.next_run() {
        let run = AssertUnwindSafe(|| build(&mut picks, plan, writer).run());
        let outcome = catch_unwind(run).unwrap_or_else(|_| {
            picks.rewind();
            let traced = Plan { trace: true, settings: plan.settings.clone(), ..*plan };
            build(&mut picks, &traced, table()).run()
        });
        failures.add(outcome.failures);
        writer = outcome.writer;
    }
    (picks.runs, failures)
}

/// Runs `usual` seeds of a plan, or as many as the environment says, or the one seed that it names.
fn every_seed(
    test: &str,
    usual: u64,
    plan: &dyn Fn(Option<Mutant>) -> Plan,
    run: fn(u64, &Plan, Writer) -> Outcome,
) -> Failures {
    if let Some(seed) = seed_of("HITHER_SIM_SEED") {
        return run(seed, &Plan { trace: true, ..plan(None) }, table()).failures;
    }
    let (plan, mut failures) = (plan(None), Failures::default());
    let mut writer = Some(table());
    for seed in 0..seed_of("HITHER_SIM_SEEDS").unwrap_or(usual) {
        let table = writer.take().unwrap_or_else(table);
        let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| run(seed, &plan, table))) else {
            panic!(
                "seed {seed:#x} breaks a promise; \
                 HITHER_SIM_SEED={seed:#x} cargo test --test race {test} replays it"
            )
        };
        failures.add(outcome.failures);
        writer = Some(outcome.writer);
    }
    failures
}

fn seed_of(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let digits = text.strip_prefix("0x");
    digits.map_or_else(|| text.parse().ok(), |digits| u64::from_str_radix(digits, 16).ok())
}
