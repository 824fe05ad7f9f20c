//! Where the metrics stand in the region of the table that [`crate::layout::head::METRICS`] names: words
//! from its beginning. Not part of the ABI: the layout changes with [`LAYOUT`], and a reader passes over a
//! region of another layout.

use super::histogram::{BUCKETS, Histogram};
use super::kinds::{AnswerSource, ProbeMethod, ProbeOutcome, UpstreamFailure};
use crate::layout::{LINE, METRICS_WORDS};
use crate::types::Trust;

/// The number of this layout.
pub(crate) const LAYOUT: u64 = 1;

/// [`LAYOUT`].
pub(crate) const VERSION: usize = 0;
/// When the event loop began its last turn, in nanoseconds of the table's clock.
pub(crate) const TURN: usize = 1;
/// Until when the event loop sleeps: [`AWAKE`], [`WITHOUT_LIMIT`], or nanoseconds.
pub(crate) const SLEEPS: usize = 2;
/// When the daemon was started, in nanoseconds.
pub(crate) const STARTED: usize = 3;
/// Names that the table can hold.
pub(crate) const CAPACITY: usize = 4;
/// Names that are in the table.
pub(crate) const ENTRIES: usize = 5;
/// Grows by one before and after all upstreams are written, so that it is odd meanwhile.
pub(crate) const UPSTREAMS_CHANGES: usize = 8;

/// Whether a sorter is connected.
pub(crate) const SORTER_CONNECTED: usize = 16;
/// Handshakes of the sorter by verdict.
pub(crate) const VERDICTS: usize = 24;
/// Probes by method and outcome.
pub(crate) const PROBES: usize = 32;
/// Words of one method.
pub(crate) const PROBE_METHOD: usize = 8;

/// Histograms of the event loop, see [`super::Timed`].
pub(crate) const HISTOGRAMS: usize = 96;
/// Words of a histogram: the buckets and the sum, in whole cache lines.
pub(crate) const HISTOGRAM: usize = (BUCKETS + 1).next_multiple_of(LINE);
/// Histograms for which there is space.
pub(crate) const HISTOGRAMS_MAX: usize = 16;

/// The slots of the event loop (the first) and of the workers.
pub(crate) const WORKERS: usize = HISTOGRAMS + HISTOGRAMS_MAX * HISTOGRAM;
/// Words of a slot: whole cache lines, so that workers share none.
pub(crate) const WORKER: usize = 64;
/// Slots: the event loop, and as many workers as a configuration may have.
pub(crate) const WORKERS_MAX: usize = 65;

/// The slots of upstreams.
pub(crate) const UPSTREAMS: usize = WORKERS + WORKERS_MAX * WORKER;
/// Words of an upstream's slot.
pub(crate) const UPSTREAM: usize = 64;
/// Slots of upstreams: more than the core has.
pub(crate) const UPSTREAMS_MAX: usize = 64;

/// The event loop is at work, see [`SLEEPS`].
pub(crate) const AWAKE: u64 = 0;
/// The event loop sleeps until an event.
pub(crate) const WITHOUT_LIMIT: u64 = u64::MAX;

/// Words of a worker's slot.
pub(crate) mod worker {
    use super::HISTOGRAM;

    /// [`UNUSED`], [`RUNNING`] or [`STOPPED`].
    pub const STATE: usize = 0;
    /// Messages received from clients.
    pub const QUERIES: usize = 1;
    /// Queries that needed a round.
    pub const MISSES: usize = 2;
    /// The histogram of hits.
    pub const HITS: usize = 8;
    /// The histogram of hits with restored data.
    pub const RESTORED: usize = HITS + HISTOGRAM;

    pub const UNUSED: u64 = 0;
    pub const RUNNING: u64 = 1;
    pub const STOPPED: u64 = 2;
}

/// Words of an upstream's slot.
pub(crate) mod upstream {
    use super::BUCKETS;

    /// The length of the label in bits 0 to 7, which is 0 in an unused slot; transport in 8 to 15; state in
    /// 16 to 23; [`HAS_SRTT`] and [`HAS_EXPIRY`].
    pub const FLAGS: usize = 0;
    pub const SRTT_US: usize = 1;
    pub const QUERIES: usize = 2;
    pub const ANSWERS: usize = 3;
    pub const TIMES: usize = 4;
    pub const FAILURES: usize = TIMES + BUCKETS + 1;
    /// Kinds of failures for which there is space.
    pub const FAILURES_MAX: usize = 12;
    pub const HANDSHAKES: usize = FAILURES + FAILURES_MAX;
    pub const RESUMPTIONS: usize = HANDSHAKES + 1;
    pub const EXPIRES_S: usize = RESUMPTIONS + 1;
    pub const LABEL: usize = EXPIRES_S + 1;
    /// Octets of a label.
    pub const LABEL_MAX: usize = 128;

    pub const HAS_SRTT: u64 = 1 << 24;
    pub const HAS_EXPIRY: u64 = 1 << 25;
}

const _: () = {
    assert!(PROBES + ProbeMethod::ALL.len() * PROBE_METHOD <= HISTOGRAMS);
    assert!(ProbeOutcome::ALL.len() <= PROBE_METHOD);
    assert!(VERDICTS + Trust::ALL.len() <= PROBES);
    assert!(AnswerSource::ALL.len() + 3 <= HISTOGRAMS_MAX);
    assert!(size_of::<Histogram>() == (BUCKETS + 1) * 8);
    assert!(worker::RESTORED + HISTOGRAM <= WORKER && WORKER.is_multiple_of(LINE));
    assert!(WORKERS.is_multiple_of(LINE));
    assert!(UpstreamFailure::ALL.len() <= upstream::FAILURES_MAX);
    assert!(upstream::LABEL + upstream::LABEL_MAX / 8 <= UPSTREAM);
    assert!(UPSTREAMS + UPSTREAMS_MAX * UPSTREAM <= METRICS_WORDS);
};
