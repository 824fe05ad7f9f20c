//! Simulates the daemon's half of the feed: random orders of changes, subscribers that come, stop reading
//! and die, lost sets, rounds that fail, and other limits. Whoever reads to the end knows the latest set of
//! each of its names, and was told of every change that no record of its own tells.

mod world;

use world::{Draw, World};

/// Steps of one small world.
const STEPS: u32 = 3000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn seeds() -> Vec<u64> {
    match number("HITHER_FEED_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("HITHER_FEED_SEEDS").unwrap_or(40)).collect(),
    }
}

/// Runs one world; a panic names its seed.
fn run(seed: u64, names: usize, steps: u32, act: impl Fn(&mut World, &mut Draw)) {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut draw = Draw::new(seed);
        let mut world = World::new(seed, names);
        for step in 0..steps {
            act(&mut world, &mut draw);
            if step % 64 == 0 {
                world.feed.check_invariants();
            }
        }
        world.settle();
        world.feed.check_invariants();
        world.judge();
    }));
    if let Err(panic) = result {
        panic!("HITHER_FEED_SEED={seed}: {}", world::message(&panic));
    }
}

#[test]
fn a_subscriber_that_reads_to_the_end_knows_every_latest_set() {
    for seed in seeds() {
        run(seed, 24, STEPS, |world, draw| match draw.below(100) {
            0..35 => world.publish(draw),
            35..42 => world.reorder(draw),
            42..48 => world.deny(draw),
            48..52 => world.evict(draw),
            52..53 => world.flush(),
            53..55 => world.answer_locally(draw),
            55..57 => world.connect(draw),
            57..63 => world.subscribe(draw),
            63..64 => world.kill(draw),
            64..67 => world.stop_or_go_on(draw),
            67..68 => world.limit(draw),
            68..69 => world.miss_changes(draw),
            69..75 => world.pass(draw.below(20_000)),
            _ => world.turn(draw),
        });
    }
}

#[test]
fn nothing_is_lost_in_a_million_changes_with_subscribers_stopped_and_killed() {
    let changes = number("HITHER_FEED_CHANGES").unwrap_or(1_000_000) as u32;
    let mut world = World::new(7, 1000);
    let mut draw = Draw::new(7);
    for _ in 0..100 {
        world.connect(&mut draw);
        (0..20).for_each(|_| world.subscribe_latest(&mut draw));
    }
    for change in 0..changes {
        match change % 50 {
            0 => world.stop_or_go_on(&mut draw),
            1 => world.reorder(&mut draw),
            _ => world.publish(&mut draw),
        }
        if change % 8 == 0 {
            world.turn(&mut draw);
        }
        if change % 5000 == 0 {
            world.kill(&mut draw);
            world.connect(&mut draw);
            (0..20).for_each(|_| world.subscribe_latest(&mut draw));
        }
    }
    world.settle();
    world.feed.check_invariants();
    world.judge();
    let counts = world.feed.counts();
    assert!(counts.records > 100_000 && counts.gaps > 100, "{counts:?}");
    assert!(world.changes >= u64::from(changes), "{}", world.changes);
}

#[test]
fn rounds_stay_within_the_share_of_each_user_and_every_user_has_its_turn() {
    let mut world = World::new(3, 4000);
    let mut draw = Draw::new(3);
    for user in 0..4 {
        world.connect_as(1000 + user);
        // The first user wants a thousand names, the others few.
        let names = if user == 0 { 0..1000 } else { 1000 + 40 * user as usize..1040 + 40 * user as usize };
        world.subscribe_to(names);
    }
    world.fails_all();
    world.drain_asks();
    let begun: Vec<usize> = (0..4).map(|user| world.begun_by(1000 + user)).collect();
    assert_eq!(begun[1..], [80, 80, 80], "both families of forty names each, at once");
    assert_eq!(begun[0], 200, "a second's share, although two thousand are wanted");
    for _ in 0..9 {
        world.pass(100);
        world.drain_asks();
    }
    assert_eq!(world.begun_by(1000), 200 + 180, "the share grows with time");
    world.pass(60_000);
    (0..600).for_each(|_| world.turn(&mut draw));
    world.feed.check_invariants();
}
