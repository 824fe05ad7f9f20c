//! Metrics: histograms and gauges of the daemon, its workers and the sorter, in the table, so that they can
//! be read without a request to the daemon, also when it hangs.
//!
//! Each word has one writer, a thread of the daemon, which adds by a load and a store: no two threads write
//! to the same cache line. A reader gets values that belong to slightly different moments; each count only
//! grows.

pub mod histogram;
pub mod kinds;
pub(crate) mod layout;
pub mod life;
#[cfg(not(loom))]
mod read;
#[cfg(feature = "writer")]
pub mod record;

use crate::time::Monotonic;
use crate::types::Trust;
use core::time::Duration;
use histogram::Histogram;
use kinds::{AnswerSource, ProbeMethod, ProbeOutcome, UpstreamFailure, UpstreamState, UpstreamTransport};
use life::SignOfLife;

/// A histogram of the event loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timed {
    /// From a query's arrival to its reply, for queries that could not be answered at once.
    Answer(AnswerSource),
    /// From the beginning of a round to its end, after every upstream had responded or failed.
    RoundComplete,
    /// From the beginning of a round to its end at its deadline.
    RoundPartial,
    /// From the publish of a new set of addresses to its first order by the sorter.
    FirstOrder,
}

impl Timed {
    fn number(self) -> usize {
        match self {
            Self::RoundComplete => 0,
            Self::RoundPartial => 1,
            Self::FirstOrder => 2,
            Self::Answer(source) => 3 + source as usize,
        }
    }
}

/// The metrics of a table, read at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metrics {
    /// What the event loop does.
    pub life: SignOfLife,
    /// When the daemon was started.
    pub started: Monotonic,
    /// Names that the table can hold.
    pub capacity: u64,
    /// Names that are in the table. The daemon's counter of entries also has those of the answer cache.
    pub entries: u64,
    /// The event loop, and each worker that has run since the daemon's start.
    pub workers: Vec<WorkerMetrics>,
    /// The upstreams, in their order.
    pub upstreams: Vec<UpstreamMetrics>,
    /// What the sorter has done since the daemon's start.
    pub sorter: SorterMetrics,
    histograms: Vec<Histogram>,
}

impl Metrics {
    /// The time from a query's arrival to its reply, by the source of the answer. Hits include those of
    /// workers: for these the time begins when a batch has been received and ends when its replies have
    /// been sent.
    #[must_use]
    pub fn answers(&self, source: AnswerSource) -> Histogram {
        let waited = self.timed(Timed::Answer(source));
        let at_once = |worker: &WorkerMetrics| match source {
            AnswerSource::Hit => worker.hits,
            AnswerSource::Restored => worker.restored,
            _ => Histogram::default(),
        };
        self.workers.iter().fold(waited, |all, worker| all.plus(&at_once(worker)))
    }

    /// A histogram of the event loop alone.
    #[must_use]
    pub fn timed(&self, of: Timed) -> Histogram {
        self.histograms.get(of.number()).copied().unwrap_or_default()
    }
}

/// What the event loop or a worker has answered at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerMetrics {
    /// 0: the event loop; workers are numbered from 1.
    pub number: usize,
    /// Whether it has not been stopped.
    pub runs: bool,
    /// Messages received from clients.
    pub queries: u64,
    /// Queries that needed a round. Workers hand them over to the event loop.
    pub misses: u64,
    /// The time to the answers from the cache, without restored data.
    pub hits: Histogram,
    /// The time to the answers from restored data.
    pub restored: Histogram,
}

/// What is counted of an upstream.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct UpstreamCounts {
    /// Queries sent to it.
    pub queries: u64,
    /// Responses received from it, errors included.
    pub answers: u64,
    /// The time from the first datagram of a query, or its first octet on a connection, to the response.
    pub times: Histogram,
    /// Attempts without a useful response, by [`UpstreamFailure`].
    pub failures: [u64; UpstreamFailure::ALL.len()],
}

impl UpstreamCounts {
    /// The number of failures of a kind.
    #[must_use]
    pub fn failures(&self, kind: UpstreamFailure) -> u64 {
        self.failures.get(kind as usize).copied().unwrap_or(0)
    }

    /// Counts a failure by its kind.
    pub fn note_failure(&mut self, kind: UpstreamFailure) {
        if let Some(count) = self.failures.get_mut(kind as usize) {
            *count = count.wrapping_add(1);
        }
    }
}

/// The encrypted connections of an upstream.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct HandshakeCounts {
    /// Handshakes that were completed.
    pub handshakes: u64,
    /// Those of them that resumed an earlier session.
    pub resumptions: u64,
    /// The last second in which the certificate is valid, since 1970.
    pub expires_s: Option<u64>,
}

/// An upstream, as the table shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamMetrics {
    /// The upstream as `hitherctl status` shows it, cut at 128 octets. Any text, if the table is damaged.
    pub label: String,
    /// The transport of its queries.
    pub transport: UpstreamTransport,
    /// Whether it responds, and if not, what is done.
    pub state: UpstreamState,
    /// Smoothed round-trip time (RFC 6298).
    pub srtt: Option<Duration>,
    /// Queries, responses and failures.
    pub counts: UpstreamCounts,
    /// Its handshakes; zero for an upstream without encryption.
    pub tls: HandshakeCounts,
}

/// What the sorter has done.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SorterMetrics {
    /// Whether a sorter is connected.
    pub connected: bool,
    /// Probes by [`ProbeMethod`] and [`ProbeOutcome`].
    pub probes: [[u64; ProbeOutcome::ALL.len()]; ProbeMethod::ALL.len()],
    /// Handshakes by the verdict on the certificate, a [`Trust`].
    pub verdicts: [u64; Trust::ALL.len()],
}

impl SorterMetrics {
    /// The number of probes with a method and an outcome.
    #[must_use]
    pub fn probes(&self, method: ProbeMethod, outcome: ProbeOutcome) -> u64 {
        self.probes.get(method as usize).and_then(|all| all.get(outcome as usize)).copied().unwrap_or(0)
    }

    /// The number of handshakes with a verdict.
    #[must_use]
    pub fn verdicts(&self, trust: Trust) -> u64 {
        self.verdicts.get(trust as usize).copied().unwrap_or(0)
    }
}
