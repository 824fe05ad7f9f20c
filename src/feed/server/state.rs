//! What the table says of one family of a name, what a lease knows of it, and what the difference means.

use hither_table::{Family, FamilyView, Monotonic, StaleTime, Use};
use hither_wire::name::Name;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_micro_inline};
use std::net::IpAddr;
use std::time::Duration;

/// The least time between two rounds for one name and family.
const RENEW_AFTER_MIN: Duration = Duration::from_secs(5);
/// The longest pause after rounds that brought nothing.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Length of a tick.
const TICK_MS: u64 = 100;

/// Looks a name up, in lower case: what is known of both families.
pub type Look<'a> = dyn FnMut(&Name) -> [Seen; 2] + 'a;

/// A time in tenths of a second since the host started, in few octets: it ends after 13 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Ticks(u32);

impl Ticks {
    pub const NEVER: Ticks = Ticks(u32::MAX);
    /// Of a lease that waits for the share of a user.
    pub const WAITS: Ticks = Ticks(u32::MAX - 1);
    const LAST: u32 = u32::MAX - 2;

    /// The last tick that is not after `time`.
    pub fn of(time: Monotonic) -> Ticks {
        Ticks(u32::try_from(time.as_ms() / TICK_MS).map_or(Ticks::LAST, |ticks| ticks.min(Ticks::LAST)))
    }

    /// The first tick after `time`.
    fn after(time: Monotonic) -> Ticks {
        Ticks(Ticks::of(time).0.saturating_add(1).min(Ticks::LAST))
    }

    pub fn time(self) -> Monotonic {
        Monotonic::from_ms(u64::from(self.0) * TICK_MS)
    }
}

/// The keys of the hashes of names and address sets, so that no upstream can choose two sets that look
/// alike.
#[derive(Clone, Debug)]
pub struct Secrets(RapidSecrets);

impl Secrets {
    /// Keys from two random words.
    #[must_use]
    pub fn new(seed: [u64; 2]) -> Secrets {
        Secrets(RapidSecrets::seed(seed[0] ^ seed[1].rotate_left(32)))
    }

    /// The hash of any octets.
    #[must_use]
    pub fn hash(&self, octets: &[u8]) -> u64 {
        rapidhash_v3_micro_inline::<true, true>(octets, &self.0)
    }

    /// Two hashes of addresses: one of the set, one of its order.
    fn addresses(&self, all: impl Iterator<Item = IpAddr>) -> (u64, u32) {
        let (mut set, mut order) = (1u64, 0u64);
        for address in all {
            let one = match address {
                IpAddr::V4(address) => self.hash(&address.octets()),
                IpAddr::V6(address) => self.hash(&address.octets()),
            };
            set = set.wrapping_add(one);
            order = (order.rotate_left(7) ^ one).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        (set, (order >> 32) as u32)
    }
}

/// What is known of one family of a name at one time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Seen {
    /// The table has nothing that may be used, fresh or stale.
    #[default]
    Nothing,
    /// Upstreams deny that there are addresses, or they are withheld.
    Denied {
        /// The version of the denial.
        version: u64,
        /// When it expires.
        renew: Monotonic,
    },
    /// There are addresses.
    Set {
        /// The version of the set.
        version: u64,
        /// The version at which its addresses last changed.
        set_version: u64,
        /// A hash of the addresses in any order.
        addresses: u64,
        /// A hash of their order.
        order: u32,
        /// When a fifth of its TTL is left.
        renew: Monotonic,
    },
    /// hither answers the name itself.
    Local {
        /// A hash of the answer.
        answer: u64,
    },
}

impl Seen {
    /// What an entry of the table says of a family.
    #[must_use]
    pub fn of(view: Option<FamilyView<'_>>, stale: StaleTime, now: Monotonic, secrets: &Secrets) -> Seen {
        let Some(view) = view.filter(|view| view.usable(stale, now) != Use::Never) else {
            return Seen::Nothing;
        };
        let expire = Monotonic::from_ms(view.expire_ms());
        if view.is_empty() {
            return Seen::Denied { version: view.version(), renew: expire };
        }
        let (addresses, order) = secrets.addresses(view.addresses().map(|one| one.address));
        let fifth_ms = u64::from(view.lifetime_s()) * 200;
        let renew = Monotonic::from_ms(view.expire_ms().saturating_sub(fifth_ms));
        Seen::Set { version: view.version(), set_version: view.set_version(), addresses, order, renew }
    }
}

/// How much has changed of a family, the lesser first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Level {
    Order,
    Set,
}

/// What a subscriber is told of a family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// There is nothing, and a round is to bring something.
    Missing,
    Set,
    Denied,
    /// There is nothing, and no round brought anything.
    Gone,
    Local,
}

/// What a lease knows of one family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub version: u64,
    pub set_version: u64,
    /// The hash of the addresses, or of the answer that is hither's own.
    addresses: u64,
    order: u32,
    /// When a round is to begin.
    pub due: Ticks,
}

/// How a lease fares with one family. Apart from [`Known`], so that no octet is lost between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub state: State,
    /// Rounds in a row that brought nothing.
    failures: u8,
    asked: Asked,
}

/// How far the round has come that was asked for since the last answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    /// None was asked for.
    No,
    /// There was no room for it: that it brings nothing is no failure.
    Waits,
    Tried,
    /// Something was published since it was asked for.
    Renewed,
}

impl Known {
    pub const NEW: Known = Known { version: 0, set_version: 0, addresses: 0, order: 0, due: Ticks(0) };
}

impl Progress {
    pub const NEW: Progress = Progress { state: State::Missing, failures: 0, asked: Asked::No };

    /// Takes over what was seen. Returns what has changed for subscribers.
    pub fn observe(&mut self, known: &mut Known, seen: Seen, now: Monotonic) -> Option<Level> {
        self.plan(known, seen, now);
        let before = self.state;
        match seen {
            Seen::Nothing => {
                if matches!(before, State::Set | State::Local) {
                    self.state = State::Missing;
                }
                None
            }
            Seen::Denied { version, .. } => {
                (known.version, known.set_version, known.addresses) = (version, 0, 0);
                self.state = State::Denied;
                (before != State::Denied).then_some(Level::Set)
            }
            Seen::Set { version, set_version, addresses, order, .. } => {
                // Addresses that come back after a flush or an eviction are no change.
                let is_same = matches!(before, State::Set | State::Missing) && known.addresses == addresses;
                let is_in_order = known.order == order;
                (known.version, known.set_version) = (version, set_version);
                (known.addresses, known.order) = (addresses, order);
                self.state = State::Set;
                match (is_same, is_in_order) {
                    (true, true) => None,
                    (true, false) => Some(Level::Order),
                    (false, _) => Some(Level::Set),
                }
            }
            Seen::Local { answer } => {
                let is_same = before == State::Local && known.addresses == answer;
                (known.version, known.set_version, known.addresses) = (0, 0, answer);
                self.state = State::Local;
                (!is_same).then_some(Level::Set)
            }
        }
    }

    /// Decides when the next round is to begin.
    fn plan(&mut self, known: &mut Known, seen: Seen, now: Monotonic) {
        let (version, renew) = match seen {
            Seen::Local { .. } => {
                known.due = Ticks::NEVER;
                (self.failures, self.asked) = (0, Asked::No);
                return;
            }
            Seen::Nothing => (known.version, now),
            Seen::Denied { version, renew } | Seen::Set { version, renew, .. } => (version, renew),
        };
        if renew > now {
            known.due = Ticks::after(renew.max(now.plus(RENEW_AFTER_MIN)));
            (self.failures, self.asked) = (0, Asked::No);
        } else if self.asked != Asked::No {
            if version != known.version {
                self.asked = Asked::Renewed;
            }
        } else {
            known.due = Ticks::of(now);
        }
    }

    /// Asks for a round, if one is due. Returns whether it is, and whether subscribers have to be told
    /// that there is nothing.
    pub fn ask(&mut self, known: &mut Known, now: Monotonic) -> (bool, Option<Level>) {
        if known.due > Ticks::of(now) || self.state == State::Local {
            return (false, None);
        }
        let mut told = None;
        match self.asked {
            Asked::Tried => {
                self.failures = self.failures.saturating_add(1);
                if self.state == State::Missing {
                    (self.state, known.addresses, known.set_version) = (State::Gone, 0, 0);
                    told = Some(Level::Set);
                }
            }
            Asked::Waits => {}
            Asked::No | Asked::Renewed => self.failures = 0,
        }
        self.asked = Asked::Waits;
        let pause = RENEW_AFTER_MIN * 2u32.pow(u32::from(self.failures.min(4)));
        known.due = Ticks::after(now.plus(pause.min(PAUSE_MAX)));
        (true, told)
    }

    /// The round that was asked for was tried.
    pub fn note_tried(&mut self) {
        if self.asked == Asked::Waits {
            self.asked = Asked::Tried;
        }
    }

    /// Lets a round that brought nothing be repeated at once.
    pub fn forget_failures(&mut self, known: &mut Known, now: Monotonic) {
        if self.failures > 0 {
            self.failures = 0;
            known.due = Ticks::of(now);
        }
    }
}

/// Which of both families an array has where.
pub(super) const fn at(family: Family) -> usize {
    family as usize
}
