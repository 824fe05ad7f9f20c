//! The race for a connection to one of several addresses (Happy Eyeballs, RFC 8305): which address is
//! tried when, and which connection wins.
//!
//! Sans-IO: time is an argument, and sockets are behind [`Network`]. A name's addresses are tried in
//! order, each some time after the one before it or as soon as one fails, and those under way go on
//! meanwhile. The first connection that is ready wins, and the others are closed.
//!
//! Not here: the order of the addresses (`candidates.rs`), and the sockets (`connect.rs`).

use core::ffi::c_int;
use core::time::Duration;
use hither_table::{Monotonic, Rtt};

/// How many addresses one race tries at most.
pub(crate) const CANDIDATES_MAX: usize = 16;
/// The time between the beginnings of two attempts if the first one's round-trip time is unknown
/// (RFC 8305 section 5, Connection Attempt Delay).
const DELAY_DEFAULT: Duration = Duration::from_millis(250);
/// The shortest time between the beginnings of two attempts (RFC 8305 section 5).
const DELAY_MIN: Duration = Duration::from_millis(10);

/// The time after which the next address is tried beside one with this round-trip time: twice that
/// time, since a handshake over TCP takes one, and at most the time for an unknown one.
pub(crate) fn delay_after(rtt: Rtt) -> Duration {
    match rtt {
        Rtt::Micros(micros) => Duration::from_micros(u64::from(micros) * 2).clamp(DELAY_MIN, DELAY_DEFAULT),
        Rtt::Unmeasured | Rtt::Unreachable => DELAY_DEFAULT,
    }
}

/// What is to be done next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Begin to connect to this candidate, counted from 0.
    Begin(usize),
    /// Wait for the attempts under way, at most until this time.
    WaitUntil(Monotonic),
    /// Every candidate has failed.
    AllFailed,
    /// The time is over.
    TimeOver,
}

/// A race without a winner yet.
#[derive(Clone, Debug)]
pub(crate) struct Race {
    /// For each candidate, the time until the next one is begun beside it.
    delays: [Duration; CANDIDATES_MAX],
    count: usize,
    /// How many candidates have been begun.
    begun: usize,
    /// A bit for each attempt under way.
    under_way: u32,
    /// When the next candidate is begun although no attempt has failed.
    next_at: Monotonic,
    until: Monotonic,
}

impl Race {
    /// A race between candidates with these round-trip times, best first, which ends at `until`.
    /// Candidates beyond the first [`CANDIDATES_MAX`] are left out.
    pub fn new(rtts: impl Iterator<Item = Rtt>, until: Monotonic) -> Race {
        let mut delays = [DELAY_DEFAULT; CANDIDATES_MAX];
        let mut count = 0;
        for (delay, rtt) in delays.iter_mut().zip(rtts) {
            *delay = delay_after(rtt);
            count += 1;
        }
        Race { delays, count, begun: 0, under_way: 0, next_at: Monotonic(0), until }
    }

    /// The next step at `now`. A candidate that it begins is under way from now on, until
    /// [`Race::failed`] is told of it.
    pub fn step(&mut self, now: Monotonic) -> Step {
        if now >= self.until {
            return Step::TimeOver;
        }
        let n = self.begun;
        let is_left = n < self.count;
        if is_left && (self.under_way == 0 || now >= self.next_at) {
            self.begun += 1;
            self.under_way |= 1 << n;
            self.next_at = now.plus(self.delays.get(n).copied().unwrap_or(DELAY_DEFAULT));
            return Step::Begin(n);
        }
        match (self.under_way, is_left) {
            (0, _) => Step::AllFailed,
            (_, true) => Step::WaitUntil(self.next_at.min(self.until)),
            (_, false) => Step::WaitUntil(self.until),
        }
    }

    /// Notes that an attempt has failed: the next candidate is begun at once.
    pub fn failed(&mut self, n: usize, now: Monotonic) {
        let bit = 1_u32.checked_shl(n as u32).unwrap_or(0);
        if self.under_way & bit != 0 {
            self.under_way &= !bit;
            self.next_at = now;
        }
    }
}

/// What became of an attempt that was begun.
pub(crate) enum Begun<A> {
    /// It is connected already, as may happen on the same host.
    Connected(A),
    UnderWay(A),
    /// It failed at once, with this error of errno(3).
    Failed(c_int),
}

/// Why no connection was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lost {
    /// The most telling error of errno(3): ETIMEDOUT if the time was over while an attempt was under
    /// way or none was begun; else that of the best address whose failure does not only say that this
    /// host has no way to it.
    pub errno: c_int,
}

/// Sockets and the clock, as [`run`] needs them. Dropping an attempt closes its socket.
pub(crate) trait Network {
    type Attempt;
    fn now(&mut self) -> Monotonic;
    /// Begins to connect to candidate `n`, without waiting.
    fn begin(&mut self, n: usize) -> Begun<Self::Attempt>;
    /// Waits until one of the attempts may have ended, at most until that time; may return earlier.
    fn wait(&mut self, attempts: &[Option<Self::Attempt>; CANDIDATES_MAX], until: Monotonic);
    /// Whether an attempt is connected; `Err` if it has failed.
    fn is_connected(&mut self, attempt: &Self::Attempt) -> Result<bool, c_int>;
}

/// Runs a race to its end. The winner is returned, all other attempts are dropped.
pub(crate) fn run<N: Network>(race: &mut Race, network: &mut N) -> Result<N::Attempt, Lost> {
    let mut attempts = [const { None }; CANDIDATES_MAX];
    let mut errors: [c_int; CANDIDATES_MAX] = [0; CANDIDATES_MAX];
    loop {
        let now = network.now();
        match race.step(now) {
            Step::Begin(n) => match network.begin(n) {
                Begun::Connected(attempt) => return Ok(attempt),
                Begun::UnderWay(attempt) => {
                    if let Some(place) = attempts.get_mut(n) {
                        *place = Some(attempt);
                    }
                }
                Begun::Failed(errno) => {
                    note(&mut errors, n, errno);
                    race.failed(n, now);
                }
            },
            Step::WaitUntil(until) => {
                network.wait(&attempts, until);
                let now = network.now();
                // Of several that are connected by now the best one wins.
                for (n, place) in attempts.iter_mut().enumerate() {
                    let Some(attempt) = place.take() else { continue };
                    match network.is_connected(&attempt) {
                        Ok(true) => return Ok(attempt),
                        Ok(false) => *place = Some(attempt),
                        Err(errno) => {
                            note(&mut errors, n, errno);
                            race.failed(n, now);
                        }
                    }
                }
            }
            Step::AllFailed => return Err(Lost { errno: most_telling(&errors) }),
            Step::TimeOver => return Err(Lost { errno: libc::ETIMEDOUT }),
        }
    }
}

fn note(errors: &mut [c_int; CANDIDATES_MAX], n: usize, errno: c_int) {
    if let Some(place) = errors.get_mut(n) {
        *place = errno;
    }
}

/// The error of the best candidate whose error came from beyond this host, else of the best one.
fn most_telling(errors: &[c_int; CANDIDATES_MAX]) -> c_int {
    let is_of_host = |errno: c_int| {
        matches!(errno, libc::ENETUNREACH | libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EINVAL)
    };
    let known = || errors.iter().copied().filter(|errno| *errno != 0);
    known().find(|errno| !is_of_host(*errno)).or(known().next()).unwrap_or(libc::EADDRNOTAVAIL)
}

#[cfg(test)]
mod tests;
