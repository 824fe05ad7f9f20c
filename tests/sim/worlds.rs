//! The worlds of the tests: their plans, and the events that happen in them.

use super::picks::{Picks, Seeded};
use super::saved;
use super::upstreams::{FATES, FATES_DRAIN, FATES_ODD, FATES_STEADY, Fate};
use super::world::{Drain, Event, Outcome, Plan, Ttls, World, name, question};
use hither_rounds::mutant::Mutant;
use hither_rounds::{ClientId, Limits, SavedSet, Settings, Source};
use hither_table::Writer;
use std::time::Duration;

/// An answer cache of a few entries, since all of them are checked after each call.
fn settings() -> Settings {
    Settings { limits: Limits { answers: 64, ..Limits::default() }, ..Settings::default() }
}

pub fn small(fates: &'static [Fate], mutant: Option<Mutant>) -> Plan {
    Plan {
        upstreams: 3,
        encrypted: &[],
        names: 1,
        fates,
        delays_ms: &[10, 110],
        every_fate: false,
        ttls_s: Ttls::OfUpstream([1, 300, 300]),
        settings: settings(),
        mutant,
        drain: Drain::Smooth,
        trace: false,
    }
}

/// Two upstreams with unusual responses.
pub fn odd(mutant: Option<Mutant>) -> Plan {
    Plan { upstreams: 2, ..small(FATES_ODD, mutant) }
}

/// An encrypted upstream beside a plain one.
pub fn encrypted(mutant: Option<Mutant>) -> Plan {
    Plan { upstreams: 2, encrypted: &[0], ..small(&[Fate::Good, Fate::NxDomain, Fate::Lost], mutant) }
}

/// Three clients: one begins the round, one joins it, and one asks after a short TTL has expired, before late
/// responses have arrived.
pub fn small_world<'p>(picks: &'p mut dyn Picks, plan: &'p Plan, writer: Writer) -> World<'p> {
    let mut world = World::new(picks, plan, writer);
    world.at(0, Event::Ask(ClientId(1), question(0)));
    world.at(110, Event::Ask(ClientId(2), question(0)));
    world.at(1_200, Event::Ask(ClientId(3), question(0)));
    world
}

/// Every query may fail while it is sent: one question, and a third upstream for later waves.
pub fn failing_sends(mutant: Option<Mutant>) -> Plan {
    let settings = Settings { first: 2, ..settings() };
    Plan { delays_ms: &[10], settings, drain: Drain::EveryWay, ..small(FATES_DRAIN, mutant) }
}

/// Connections may end while a reply is written, too: two questions, and two clients that share a connection.
pub fn failing_replies(mutant: Option<Mutant>) -> Plan {
    Plan { upstreams: 2, names: 2, fates: &[Fate::Good], ..failing_sends(mutant) }
}

pub fn drain_world<'p>(picks: &'p mut dyn Picks, plan: &'p Plan, writer: Writer) -> World<'p> {
    let mut world = World::new(picks, plan, writer);
    if plan.names == 2 {
        world.connect([ClientId(1), ClientId(2)]);
    }
    let last = question(plan.names as u64 - 1);
    world.at(0, Event::Ask(ClientId(1), question(0)));
    world.at(1, Event::Ask(ClientId(2), last));
    world.at(2, Event::Ask(ClientId(3), last));
    world
}

pub fn large(mutant: Option<Mutant>) -> Plan {
    Plan {
        upstreams: 6,
        encrypted: &[],
        names: 8,
        fates: &FATES,
        delays_ms: &[5, 5, 20, 80, 300, 900],
        every_fate: true,
        ttls_s: Ttls::Drawn([1, 2, 300]),
        settings: Settings { deadline: Duration::from_secs(2), ..settings() },
        mutant,
        drain: Drain::Smooth,
        trace: false,
    }
}

/// Half of the upstreams are encrypted, and one action in sixteen fails.
pub fn mixed(mutant: Option<Mutant>) -> Plan {
    Plan { encrypted: &[0, 2, 4], drain: Drain::OneIn(16), ..large(mutant) }
}

/// One action in eight fails while it is executed.
pub fn large_drain(mutant: Option<Mutant>) -> Plan {
    Plan { drain: Drain::OneIn(8), ..large(mutant) }
}

/// Two upstreams that give the same addresses every time, so that orders stay valid for later sets.
pub fn steady(mutant: Option<Mutant>) -> Plan {
    Plan { upstreams: 2, names: 2, fates: FATES_STEADY, ..large(mutant) }
}

/// Fifty clients and eight questions within eight seconds, with flushes, reloads, orders, hints, a host that
/// sleeps, clients that leave, and in half of the worlds saved sets.
pub fn run_large(seed: u64, plan: &Plan, writer: Writer) -> Outcome {
    let mut picks = Seeded(seed);
    let mut draw = Seeded(seed ^ 0xabcd_ef01);
    let mut world = World::new(&mut picks, plan, writer);
    // Half of the clients share connections, five each.
    for connection in 0..5 {
        world.connect((0..5).map(|n| ClientId(connection * 10 + n)));
    }
    for client in 0..50 {
        let at = draw.below(80) * 100;
        let asked = question(draw.below(plan.names as u64));
        world.at(at, Event::Ask(ClientId(client), asked));
        if draw.below(8) == 0 {
            world.at(at + draw.below(4) * 20, Event::Gone(ClientId(client)));
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
        let ms = [5, 150, 700, 3_000, 4_000_000];
        world.at(draw.below(80) * 100, Event::Sleep(ms[draw.below(5) as usize]));
    }
    for _ in 0..draw.below(3) {
        world.at(draw.below(800) * 10, Event::Network);
    }
    for _ in 0..12 {
        let asked = question(draw.below(plan.names as u64));
        world.at(draw.below(800) * 10, Event::Refresh(asked));
    }
    for _ in 0..12 {
        let asked = question(draw.below(plan.names as u64));
        world.at(draw.below(800) * 10, Event::Lease(asked));
    }
    for _ in 0..20 {
        let honest = draw.below(3) > 0;
        world.at(draw.below(900) * 10, Event::Order(name(draw.below(plan.names as u64)), honest));
    }
    if draw.below(2) == 0 {
        restore(&mut draw, &mut world, plan.names as u64);
    }
    shown(world.run())
}

/// Three slices of saved sets, while clients ask for some of their names. In a third of the worlds, the sets
/// are found to be older than assumed.
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

/// Low limits of rounds, attempts and clients.
pub fn crowded(mutant: Option<Mutant>) -> Plan {
    let limits = Limits { rounds: 4, attempts: 100, clients: 6, ..settings().limits };
    let settings = Settings { limits, deadline: Duration::from_secs(2), ..settings() };
    let fates = &[Fate::Good, Fate::Good, Fate::Lost, Fate::Lost, Fate::NxDomain];
    Plan { upstreams: 3, names: 12, fates, delays_ms: &[5, 80, 300], settings, ..large(mutant) }
}

/// Sixty clients within three seconds. Each name has clients of one source only, and one source has most of
/// the names.
pub fn run_crowded(seed: u64, plan: &Plan, writer: Writer) -> Outcome {
    let mut picks = Seeded(seed);
    let mut draw = Seeded(seed ^ 0x1234_5678);
    let mut world = World::new(&mut picks, plan, writer);
    for client in 0..60 {
        let asked = draw.below(plan.names as u64);
        // One source asks for seven names, another for four, a third for one.
        let source = Source::of(if asked < 7 { 1 } else { 2 + u64::from(asked == 11) });
        let at = draw.below(30) * 100 + draw.below(3) * 5;
        world.at(at, Event::Ask(ClientId::of(source, client), question(asked)));
    }
    for _ in 0..draw.below(3) {
        world.at(draw.below(30) * 100, Event::Flush(None));
    }
    shown(world.run())
}

fn shown(outcome: Outcome) -> Outcome {
    outcome.trace.iter().for_each(|line| println!("{line}"));
    outcome
}
