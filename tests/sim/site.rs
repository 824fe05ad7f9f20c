//! Two hosts of a site, an engine that reorders, delays, repeats and loses what they share, and upstreams
//! whose answers change. No host ever shows an older answer after a newer one (`site/oracle.rs`).

mod engine;
mod lies;
mod oracle;
mod truth;
mod world;

use super::picks::{Picks, Seeded};
use hither_rounds::mutant::Mutant;
use hither_table::Counter;
use world::{Event, Plan, World};

/// What is counted of the worlds, so that they show something.
pub const COUNTED: [Counter; 4] =
    [Counter::SitePublished, Counter::SiteRefused, Counter::SiteAnswers, Counter::SiteUnanswered];

/// One name and two hosts, of which the second asks the site: every way in which the engine and the upstream
/// may treat a few questions.
pub fn small(picks: &mut dyn Picks, mutant: Option<Mutant>, trace: bool) {
    let plan = Plan { names: 1, delays_ms: &[1, 40], may_lose: false, lies: false, mutant, trace };
    let mut world = World::new(picks, &plan);
    world.at(0, Event::Ask(0, 0));
    match world.pick(3) {
        // The second host asks soon after a change, and again when the TTL is over.
        0 => {
            world.at(20, Event::Change(0));
            world.at(30, Event::Ask(1, 0));
            world.at(5_200, Event::Ask(1, 0));
        }
        // It is flushed meanwhile.
        1 => {
            world.at(20, Event::Change(0));
            world.at(30, Event::Ask(1, 0));
            world.at(75, Event::Flush(1, Some(0)));
            world.at(76, Event::Ask(1, 0));
        }
        // It asks while the first host refreshes its set.
        _ => {
            world.at(4_290, Event::Change(0));
            world.at(4_300, Event::Refresh(0, 0));
            world.at(4_320, Event::Ask(1, 0));
        }
    }
    world.run();
}

/// Four names, and everything that may happen to a host.
pub fn large(seed: u64, lies: bool, mutant: Option<Mutant>, trace: bool) -> [u64; COUNTED.len()] {
    let (mut picks, mut draw) = (Seeded(seed), Seeded(seed ^ 0x5173_0000));
    let plan = Plan { names: 4, delays_ms: &[1, 3, 20, 80, 700], may_lose: true, lies, mutant, trace };
    let mut world = World::new(&mut picks, &plan);
    let span = 30_000;
    for _ in 0..60 {
        world.at(draw.below(span), Event::Ask(draw.below(2) as usize, draw.below(4) as usize));
    }
    // Many clients within a second, and an engine that may be silent meanwhile.
    let burst = draw.below(span);
    for _ in 0..12 {
        let at = burst + draw.below(1_500);
        world.at(at, Event::Ask(draw.below(2) as usize, draw.below(4) as usize));
    }
    for _ in 0..20 {
        world.at(draw.below(span), Event::Change(draw.below(4) as usize));
    }
    for _ in 0..12 {
        world.at(draw.below(span), Event::Replay(draw.below(2) as usize));
        world.at(draw.below(span), Event::Refresh(draw.below(2) as usize, draw.below(4) as usize));
    }
    for _ in 0..draw.below(5) {
        let name = (draw.below(3) > 0).then(|| draw.below(4) as usize);
        world.at(draw.below(span), Event::Flush(draw.below(2) as usize, name));
    }
    for _ in 0..draw.below(3) {
        world.at(draw.below(span), Event::FlushSite(draw.below(2) as usize));
        world.at(draw.below(span), Event::Network(draw.below(2) as usize));
    }
    for _ in 0..draw.below(4) {
        let at = draw.below(span);
        world.at(at, Event::Split);
        world.at(at + draw.below(8_000), Event::Heal);
        let (at, host) = (draw.below(span), draw.below(2) as usize);
        world.at(at, Event::Silent(host, true));
        world.at(at + draw.below(4_000), Event::Silent(host, false));
    }
    if draw.below(3) == 0 {
        let (at, host) = (draw.below(span), draw.below(2) as usize);
        world.at(at, Event::Ready(host, false));
        world.at(at + draw.below(4_000), Event::Ready(host, true));
    }
    if draw.below(3) == 0 {
        let (at, host) = (draw.below(span), draw.below(2) as usize);
        world.at(at, Event::Share(host, false));
        world.at(at + draw.below(4_000), Event::Share(host, true));
    }
    if draw.below(3) == 0 {
        let (at, host) = (draw.below(span), draw.below(2) as usize);
        world.at(at, Event::Route(host, true));
        world.at(at + draw.below(4_000), Event::Route(host, false));
    }
    if draw.below(3) == 0 {
        world.at(draw.below(span), Event::Restart(draw.below(2) as usize));
    }
    world.run();
    COUNTED.map(|counter| world.count(counter))
}
