//! Settings of rounds and the cache, and the bounds that no setting can exceed.

use crate::rebinding::Rebinding;
use hither_table::{FamilyOrder, FamilyPolicy};
use hither_wire::name::Name;
use std::collections::BTreeSet;
use std::time::Duration;

/// The configuration of the core; the defaults are those of hither.toml(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Number of upstreams that a round queries when it begins; at least 1.
    pub first: usize,
    /// Time that a round without an accepted answer waits before it queries the next upstreams.
    pub fallback: Duration,
    /// Number of upstreams that each later wave queries; at least 1.
    pub batch: usize,
    /// Time between two later waves.
    pub stagger: Duration,
    /// Whether the remaining upstreams are queried after an answer too, to complete a set of addresses.
    pub complete: bool,
    /// Time that a round may take.
    pub deadline: Duration,
    /// Time that a denial waits for a second upstream.
    pub negative_grace: Duration,
    /// Which negative responses are accepted (`round.deny`).
    pub deny: Deny,
    /// Which names may have private addresses.
    pub rebinding: Rebinding,
    /// Lower bound of the TTL of positive answers.
    pub min_ttl: Duration,
    /// Upper bound of the TTL of positive answers.
    pub max_ttl: Duration,
    /// Upper bound of the TTL of negative answers (RFC 2308 section 5).
    pub max_negative_ttl: Duration,
    /// Time for which a failure is cached (RFC 9520 section 3.2: 1 second to 5 minutes).
    pub failure_ttl: Duration,
    /// Time after its expiry in which a set may still be served (RFC 8767); zero means never.
    pub stale: Duration,
    /// Time that a client waits for a fresh answer before it gets a stale one.
    pub stale_wait: Duration,
    /// TTL of stale records.
    pub stale_ttl: Duration,
    /// Whether the use of an entry refreshes it when less than a fifth of its lifetime is left.
    pub prefetch: bool,
    /// Whether queries are sent in mixed letter case (0x20), which a forger has to guess too.
    pub mix_case: bool,
    /// How readers order both families of a name, and when one is withheld.
    pub families: FamilyPolicy,
    /// What is shared with other hosts.
    pub site: SiteSettings,
    /// Bounds of the work in progress and of the answer cache.
    pub limits: Limits,
}

/// What is shared with other hosts of the site; the defaults share nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteSettings {
    /// Whether answers are shared at all.
    pub is_on: bool,
    /// Whether a client's question is asked of the site before upstreams are.
    pub asks: bool,
    /// How long such a question waits for the site.
    pub wait: Duration,
    /// The domains whose names are shared, with all names below them; empty: all public names.
    pub domains: BTreeSet<Name>,
}

impl Default for SiteSettings {
    fn default() -> Self {
        Self { is_on: false, asks: false, wait: Duration::from_millis(2), domains: BTreeSet::new() }
    }
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
            families: FamilyPolicy { order: FamilyOrder::Measured, withhold_above_us: None },
            site: SiteSettings::default(),
            limits: Limits::default(),
        }
    }
}

/// Which denials are accepted, sinkholes included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deny {
    /// A denial waits for a second upstream, and loses against an answer.
    Agreed,
    /// Any upstream's denial is accepted at once. This is for networks in which one upstream filters, and
    /// the others are for the time when it does not respond.
    Any,
}

/// The bounds of TTLs, in whole seconds.
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

    /// The TTL of data within the bounds.
    pub fn data(self, ttl_s: u32) -> u32 {
        ttl_s.max(self.least_s).min(self.most_s)
    }

    /// The TTL of data that another host has learned, which is never lengthened.
    pub fn shared(self, ttl_s: u32) -> u32 {
        ttl_s.min(self.most_s)
    }

    /// The TTL of a denial within the bounds.
    pub fn denial(self, ttl_s: u32) -> u32 {
        ttl_s.min(self.negative_s)
    }
}

/// Limits of the work in progress and of the answer cache. At a limit, a round, a client or an answer is
/// evicted, or the new one is refused; no queue is without a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Live rounds. At the limit, a new question ends the oldest round that has answered its clients.
    /// If there is none, a round of the source with the most rounds is evicted, or a round that has
    /// taken longer than usual. If there is none of these either, the question is refused.
    pub rounds: usize,
    /// Outstanding attempts, each with a socket of its own. At this limit, rounds are evicted too.
    pub attempts: usize,
    /// Waiting clients in all. At the limit, a new client evicts a client of the source with the most,
    /// or a client of the question with the most. If there is none, the new client is refused.
    pub clients: usize,
    /// Answers that the answer cache holds. At the limit, a new answer evicts an old one.
    pub answers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rounds: 2_000, attempts: 6_000, clients: 10_000, answers: 65_536 }
    }
}

/// CNAMEs followed for one question, in one message or by chasing. Longer chains are loops or abuse;
/// unbound and BIND stop at 11 and 16.
pub const CNAMES_MAX: usize = 16;
/// DNAME records of one message that are used; a real chain needs fewer.
pub const DNAMES_MAX: usize = 64;
/// Different CNAME chains kept for one set of addresses. No client needs more.
pub const CHAINS_MAX: usize = 8;
/// Addresses of one family kept for one name (the table's own bound).
pub const ADDRESSES_MAX: usize = 255;
/// Size of a reply, in octets, that extra addresses must stay within: it fits without TC and without
/// fragments (RFC 9715).
pub const REPLY_MAX: usize = 1232;
/// The time that a further answer must have left to join a set and to shorten the set's lifetime. So an
/// answer with TTL 0 does not void the answers of other upstreams, while answers of different age join.
pub const LIFE_LEFT_MIN: Duration = Duration::from_secs(1);
/// UDP payload offered to upstreams (RFC 9715: fits every path without fragments).
pub const UDP_SIZE_UPSTREAM: u16 = 1232;
/// Retransmissions of one attempt while its round has no answer. Where half of all datagrams are lost,
/// three of four exchanges fail: all eight of an attempt in one of ten, those of two upstreams in one
/// of a hundred. A slow upstream gets fewer retransmissions before the round ends.
pub const RESENDS_MAX: u8 = 7;
/// Longest pause between two retransmissions, so that all of them are sent before a round's deadline.
pub const RESEND_PAUSE_MAX: Duration = Duration::from_millis(800);
/// Pause before the first retransmission when the upstream's round-trip time is unknown.
pub const RESEND_UNKNOWN: Duration = Duration::from_millis(400);
/// Lower bound of the pause before the first retransmission.
pub const RESEND_MIN: Duration = Duration::from_millis(50);
/// Upper bound of the pause before the first retransmission.
pub const RESEND_MAX: Duration = Duration::from_millis(800);
/// How much later than usual a response must be for an early retransmission. So a datagram that is lost
/// at a fast upstream costs a client a few milliseconds instead of 50.
pub const EARLY_MARGIN: Duration = Duration::from_millis(3);
/// Responses that an upstream must send for each early retransmission to it. So a slow upstream does
/// not get every query twice.
pub const RESPONSES_PER_EARLY_RESEND: u8 = 5;
/// Upper bound of the responses that are counted for later early retransmissions.
pub const RESPONSES_COUNTED_MAX: u8 = 50;
/// Time that an attempt must have had before its round ended to count as a failure of its upstream.
pub const TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Time that a doubtful datagram waits for a confirmation over TCP; afterwards it is accepted.
pub const CONFIRM_WAIT_MAX: Duration = Duration::from_millis(500);
/// Doubtful datagrams of one attempt. With more, no datagram is accepted: another host is guessing.
pub const DOUBTS_MAX: u16 = 64;
/// Retransmissions after which EDNS is left out, to an upstream that never sent an OPT record.
pub const RESENDS_WITH_EDNS: u8 = 2;
/// Time that clients wait while every upstream is down: stub resolvers give up after a few seconds.
pub const DOWN_DEADLINE: Duration = Duration::from_millis(1_800);
/// Pause between two questions that are sent to upstreams although their failure is cached, to learn
/// whether an upstream is back.
pub const DOWN_TRIAL: Duration = Duration::from_millis(500);
