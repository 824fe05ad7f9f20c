//! Races in a network of which everything is scripted, in every order, compared with a simulation that
//! goes through them millisecond by millisecond.

use super::{Begun, CANDIDATES_MAX, Lost, Network, Race, Step, delay_after, run};
use core::cell::{Cell, RefCell};
use core::ffi::c_int;
use core::time::Duration;
use hither_table::{Monotonic, Rtt};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::vec::Vec;

/// What a candidate does, with times in milliseconds after its begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    ConnectsAtOnce,
    FailsAtOnce,
    Connects(u64),
    Fails(u64),
    Silent,
}

const REFUSED: c_int = libc::ECONNREFUSED;

/// A socket of the scripted network, which counts how often it is closed.
struct Socket {
    n: usize,
    begun_ms: u64,
    closed: Rc<RefCell<Vec<usize>>>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.closed.borrow_mut().push(self.n);
    }
}

struct World<'f> {
    fates: &'f [Fate],
    now_ms: Cell<u64>,
    /// Wakes up this many milliseconds before anything has happened, as after a signal.
    wakes_every_ms: u64,
    begun: Vec<(usize, u64)>,
    opened: usize,
    closed: Rc<RefCell<Vec<usize>>>,
}

impl World<'_> {
    fn ends_ms(&self, socket: &Socket) -> Option<u64> {
        match self.fates[socket.n] {
            Fate::Connects(after) | Fate::Fails(after) => Some(socket.begun_ms + after),
            _ => None,
        }
    }
}

impl Network for World<'_> {
    type Attempt = Socket;

    fn now(&mut self) -> Monotonic {
        Monotonic::from_ms(self.now_ms.get())
    }

    fn begin(&mut self, n: usize) -> Begun<Socket> {
        self.begun.push((n, self.now_ms.get()));
        if self.fates[n] == Fate::FailsAtOnce {
            return Begun::Failed(libc::ENETUNREACH);
        }
        self.opened += 1;
        let socket = Socket { n, begun_ms: self.now_ms.get(), closed: Rc::clone(&self.closed) };
        if self.fates[n] == Fate::ConnectsAtOnce { Begun::Connected(socket) } else { Begun::UnderWay(socket) }
    }

    fn wait(&mut self, attempts: &[Option<Socket>; CANDIDATES_MAX], until: Monotonic) {
        assert!(until.as_ms() > self.now_ms.get(), "a wait that does not wait");
        let ends = attempts.iter().flatten().filter_map(|socket| self.ends_ms(socket));
        let next = ends.chain([until.as_ms(), self.now_ms.get() + self.wakes_every_ms]).min();
        self.now_ms.set(next.unwrap_or(0).max(self.now_ms.get()));
    }

    fn is_connected(&mut self, socket: &Socket) -> Result<bool, c_int> {
        let is_over = self.ends_ms(socket).is_some_and(|end| end <= self.now_ms.get());
        match self.fates[socket.n] {
            Fate::Fails(_) if is_over => Err(REFUSED),
            _ => Ok(is_over),
        }
    }
}

/// Begins (candidate, millisecond) and winner by a simulation of every millisecond.
fn expected(fates: &[Fate], delays_ms: &[u64], until_ms: u64) -> (Vec<(usize, u64)>, Result<usize, c_int>) {
    let mut begun: Vec<(usize, u64)> = Vec::new();
    let mut failed = BTreeSet::new();
    for now in 0..=until_ms {
        let mut has_failed = false;
        for &(n, at) in &begun {
            match fates[n] {
                Fate::Connects(after) if at + after == now => return (begun, Ok(n)),
                Fate::Fails(after) if at + after == now && failed.insert(n) => has_failed = true,
                _ => {}
            }
        }
        if now == until_ms {
            break;
        }
        loop {
            let next = begun.len();
            let is_alone = begun.iter().all(|(n, _)| failed.contains(n));
            let is_due = begun.last().is_none_or(|(n, at)| now >= at + delays_ms[*n]);
            if next == fates.len() || !(is_alone || is_due || has_failed) {
                break;
            }
            has_failed = false;
            begun.push((next, now));
            match fates[next] {
                Fate::ConnectsAtOnce => return (begun, Ok(next)),
                Fate::FailsAtOnce => has_failed = failed.insert(next),
                _ => {}
            }
        }
        if failed.len() == fates.len() {
            let refused = fates.iter().any(|fate| matches!(fate, Fate::Fails(_)));
            return (begun, Err(if refused { REFUSED } else { libc::ENETUNREACH }));
        }
    }
    (begun, Err(libc::ETIMEDOUT))
}

/// Runs one race and compares it with the simulation.
fn check(fates: &[Fate], delays_ms: &[u64], until_ms: u64, wakes_every_ms: u64) {
    let closed = Rc::new(RefCell::new(Vec::new()));
    let mut world = World {
        fates,
        now_ms: Cell::new(0),
        wakes_every_ms,
        begun: Vec::new(),
        opened: 0,
        closed: Rc::clone(&closed),
    };
    let rtts = delays_ms.iter().map(|ms| Rtt::Micros(*ms as u32 * 500));
    let mut race = Race::new(rtts, Monotonic::from_ms(until_ms));
    let result = run(&mut race, &mut world);
    let what = (fates, delays_ms, until_ms, wakes_every_ms);
    let winner = result.as_ref().map(|socket| socket.n).map_err(|lost| lost.errno);
    assert_eq!((world.begun.clone(), winner), expected(fates, delays_ms, until_ms), "{what:?}");
    assert!(world.now_ms.get() <= until_ms, "{what:?}");
    let losers = world.opened - usize::from(result.is_ok());
    assert_eq!(closed.borrow().len(), losers, "each socket but the winner's is closed: {what:?}");
    drop(result);
    let mut all = closed.borrow().clone();
    all.sort_unstable();
    all.dedup();
    assert_eq!((all.len(), closed.borrow().len()), (world.opened, world.opened), "once: {what:?}");
}

#[test]
fn every_race_of_three_candidates_ends_as_in_the_simulation() {
    let mut fates = std::vec![Fate::ConnectsAtOnce, Fate::FailsAtOnce, Fate::Silent];
    for ms in [1, 9, 10, 11, 20, 25, 40] {
        fates.extend([Fate::Connects(ms), Fate::Fails(ms)]);
    }
    let mut races = 0;
    for a in &fates {
        for b in &fates {
            for c in &fates {
                for delays in [[10, 10, 10], [20, 10, 30]] {
                    for (until_ms, wakes_every_ms) in [(1, 100), (35, 3), (100, 100)] {
                        check(&[*a, *b, *c], &delays, until_ms, wakes_every_ms);
                        races += 1;
                    }
                }
            }
        }
    }
    assert_eq!(races, 17 * 17 * 17 * 6);
}

#[test]
fn a_race_of_one_candidate_and_of_the_most() {
    check(&[Fate::Connects(5)], &[10], 100, 100);
    check(&[Fate::Silent], &[10], 100, 7);
    check(&[Fate::Silent; CANDIDATES_MAX], &[10; CANDIDATES_MAX], 1000, 100);
    check(&[Fate::Fails(3); CANDIDATES_MAX], &[10; CANDIDATES_MAX], 1000, 100);
    let mut race = Race::new(core::iter::repeat_n(Rtt::Unmeasured, 40), Monotonic(1));
    assert_eq!(race.count, CANDIDATES_MAX, "more are left out");
    race.failed(40, Monotonic(0));
    let mut none = Race::new(core::iter::empty(), Monotonic(1));
    assert_eq!(none.step(Monotonic(0)), Step::AllFailed);
}

#[test]
fn the_time_between_attempts_follows_the_measured_one() {
    let ms = |rtt| delay_after(rtt).as_millis();
    let measured = [0, 1_000, 20_000, 124_000, 126_000, 3_000_000].map(|micros| ms(Rtt::Micros(micros)));
    assert_eq!(measured, [10, 10, 40, 248, 250, 250]);
    assert_eq!((ms(Rtt::Unmeasured), ms(Rtt::Unreachable)), (250, 250));
    assert_eq!(delay_after(Rtt::Micros(u32::MAX)), Duration::from_millis(250));
}

#[test]
fn the_error_is_that_of_the_best_address_that_could_be_reached() {
    let lost = |errors: &[c_int]| {
        let mut all = [0; CANDIDATES_MAX];
        all[..errors.len()].copy_from_slice(errors);
        Lost { errno: super::most_telling(&all) }
    };
    assert_eq!(lost(&[libc::ENETUNREACH, REFUSED, libc::EHOSTUNREACH]).errno, REFUSED);
    assert_eq!(lost(&[libc::ENETUNREACH, libc::EINVAL]).errno, libc::ENETUNREACH);
    assert_eq!(lost(&[]).errno, libc::EADDRNOTAVAIL);
}
