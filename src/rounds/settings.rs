//! What an operator may choose about rounds and the cache, and the bounds nobody may exceed.

use crate::Rebinding;
use std::time::Duration;

/// The configuration of the core; the defaults are those of hither.toml(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many upstreams a round asks at once; at least 1.
    pub first: usize,
    /// How long a round without a good answer waits before it asks the upstreams it has not asked yet.
    pub fallback: Duration,
    /// How many upstreams each later wave asks; at least 1.
    pub batch: usize,
    /// Time between two later waves.
    pub stagger: Duration,
    /// Whether the remaining upstreams are asked too, to complete a set of addresses.
    pub complete: bool,
    /// How long a round may live.
    pub deadline: Duration,
    /// How long a negative answer waits for a second opinion.
    pub negative_grace: Duration,
    /// Whose denials count.
    pub deny: Deny,
    /// What may have addresses of private networks.
    pub rebinding: Rebinding,
    /// Lower bound of the TTL of positive answers.
    pub min_ttl: Duration,
    /// Upper bound of the TTL of positive answers.
    pub max_ttl: Duration,
    /// Upper bound of the TTL of negative answers (RFC 2308 section 5).
    pub max_negative_ttl: Duration,
    /// How long a failure is remembered (RFC 9520 section 3.2: 1 second to 5 minutes).
    pub failure_ttl: Duration,
    /// How long after its expiry a set may still be served (RFC 8767); zero means never.
    pub stale: Duration,
    /// How long a client waits for a fresh answer before it gets a stale one.
    pub stale_wait: Duration,
    /// TTL of a stale answer.
    pub stale_ttl: Duration,
    /// Whether an entry that is asked for when less than a fifth of its time is left is found out again at once.
    pub prefetch: bool,
    /// Whether questions are sent in mixed letter case, for a forger to guess too.
    pub mix_case: bool,
    /// How many answers that are not plain addresses are kept.
    pub answers: usize,
    /// Bounds of the work in progress.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            first: 2,
            fallback: Duration::from_millis(300),
            batch: 2,
            stagger: Duration::from_millis(50),
            complete: true,
            deadline: Duration::from_secs(3),
            negative_grace: Duration::from_millis(100),
            deny: Deny::Agreed,
            rebinding: Rebinding::default(),
            min_ttl: Duration::ZERO,
            max_ttl: Duration::from_secs(86_400),
            max_negative_ttl: Duration::from_secs(3_600),
            failure_ttl: Duration::from_secs(5),
            stale: Duration::from_secs(86_400),
            stale_wait: Duration::from_millis(1_800),
            stale_ttl: Duration::from_secs(30),
            prefetch: true,
            mix_case: true,
            answers: 65_536,
            limits: Limits::default(),
        }
    }
}

/// Whose denials count, sinkholes among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deny {
    /// That of one upstream waits for another's, and loses against an answer.
    Agreed,
    /// Any upstream's, at once and whatever others say: one of them filters, and the others are there for when it does not answer.
    Any,
}

/// The bounds of TTLs, in the whole seconds that TTLs have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    least_s: u32,
    most_s: u32,
    negative_s: u32,
}

impl Bounds {
    pub fn of(settings: &Settings) -> Bounds {
        let seconds = |millis: u128| u32::try_from(millis / 1000).unwrap_or(u32::MAX);
        Bounds {
            least_s: seconds(settings.min_ttl.as_millis() + 999),
            most_s: seconds(settings.max_ttl.as_millis()),
            negative_s: seconds(settings.max_negative_ttl.as_millis()),
        }
    }

    /// The TTL of what there is.
    pub fn data(self, ttl_s: u32) -> u32 {
        ttl_s.max(self.least_s).min(self.most_s)
    }

    /// The TTL of what says that there is nothing.
    pub fn denial(self, ttl_s: u32) -> u32 {
        ttl_s.min(self.negative_s)
    }
}

/// Bounds of the work in progress; what would exceed one gives way or is refused, never queued without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rounds alive at once. A new question beyond it ends the oldest round that has answered its clients; else one of whoever has
    /// most of them, or one that has raced longer than is usual; it is refused when there is none.
    pub rounds: usize,
    /// Attempts outstanding at once: each is a socket, and sockets are what a process runs out of first. Rounds give way for them too.
    pub attempts: usize,
    /// Clients waiting in all, however many of them for one round. One more takes the place of one of whoever has most, or of one of
    /// those who ask what most wait for; it is refused when it is of them.
    pub clients: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rounds: 2_000, attempts: 6_000, clients: 10_000 }
    }
}

/// CNAMEs followed for one question, in one message or by asking on. Chains beyond it are loops or abuse;
/// unbound and BIND stop at 11 and 16.
pub const LINKS_MAX: usize = 16;
/// DNAME records of one message that are looked at: a chain that needs one for each of its names has fewer.
pub const ABOVE_MAX: usize = 64;
/// Different chains kept for one set of addresses; more bring no client anything.
pub const CHAINS_MAX: usize = 8;
/// Addresses of one family kept for one name (the table's own bound).
pub const ADDRESSES_MAX: usize = 255;
/// Octets of a reply that what is added to a first answer must leave it at: they pass without TC and without fragments (RFC 9715).
pub const REPLY_MAX: usize = 1232;
/// How long an answer after the first one must hold to add to a set and to say for how long it lives. So a TTL of 0 does not void what others
/// said, while upstreams' caches of different age do join.
pub const LEAST_LEFT: Duration = Duration::from_secs(1);
/// UDP payload offered to upstreams (RFC 9715: fits every path without fragments).
pub const UDP_SIZE_UPSTREAM: u16 = 1232;
/// Repetitions of one attempt's datagram while its round has no answer: where every other datagram is lost, one name in two hundred is, at an upstream
/// that answers within milliseconds. A slow one is asked fewer times before the round is over.
pub const RESENDS_MAX: u8 = 7;
/// Longest wait between two of them, so that all of them fall into a round's time.
pub const RESEND_PAUSE_MAX: Duration = Duration::from_millis(800);
/// Wait before the first repetition when the upstream's round-trip time is unknown.
pub const RESEND_UNKNOWN: Duration = Duration::from_millis(400);
/// Bounds of the wait before the first repetition.
pub const RESEND_MIN: Duration = Duration::from_millis(50);
/// See [`RESEND_MIN`].
pub const RESEND_MAX: Duration = Duration::from_millis(800);
/// A datagram is repeated once before that when its answer is later than usual, by at least so much: quick upstreams need not lose 50
/// milliseconds for a lost datagram.
pub const EARLY_MARGIN: Duration = Duration::from_millis(3);
/// Answers that an early repetition has to be saved up by, and how many are saved at most: who is slow is not asked twice for it.
pub const EARLY_PRICE: u8 = 5;
/// See [`EARLY_PRICE`].
pub const EARLY_SAVED: u8 = 50;
/// An attempt that was given less time than this before its round ended says nothing about its upstream.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// Time for a connection to confirm what came by UDP in doubtful company; afterwards the datagram counts.
pub const CONFIRM_WITHIN: Duration = Duration::from_millis(500);
/// Doubtful datagrams for one attempt beyond which nothing that comes by UDP counts: somebody is guessing.
pub const DOUBTS_MAX: u16 = 64;
/// Repetitions without an answer after which an upstream that never sent an OPT record is asked without.
pub const RESENDS_WITH_EDNS: u8 = 2;
/// How long clients wait while every upstream is known to be down: stub resolvers give up after a few seconds.
pub const DOWN_DEADLINE: Duration = Duration::from_millis(1_800);
/// Time between two questions that are asked although their failure is remembered, to see whether an upstream is back.
pub const DOWN_TRIAL: Duration = Duration::from_millis(500);
