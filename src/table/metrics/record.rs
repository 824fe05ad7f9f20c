//! Writing the metrics. Each word belongs to one thread, which adds to it by a load and a store.

use super::histogram::{BUCKETS, Histogram, Timing};
use super::kinds::{UpstreamState, UpstreamTransport};
use super::layout::{
    AWAKE, CAPACITY, ENTRIES, HISTOGRAM, HISTOGRAMS, LAYOUT, PROBE_METHOD, PROBES, SLEEPS, SORTER_CONNECTED,
    STARTED, TURN, UPSTREAM, UPSTREAMS, UPSTREAMS_CHANGES, UPSTREAMS_MAX, VERDICTS, VERSION, WITHOUT_LIMIT,
    WORKER, WORKERS, WORKERS_MAX, upstream, worker,
};
use super::{HandshakeCounts, SorterMetrics, Timed, UpstreamCounts};
use crate::layout::{METRICS_WORDS, head};
use crate::memory::Memory;
use crate::seqlock::{mark, peek, publish, set};
use crate::sync::AtomicU64;
use crate::time::Monotonic;
use crate::writer::Writer;
use core::time::Duration;
use std::sync::Arc;

/// The words of a table's metrics; `None` if the table has none. Their number is known, so that a word at a
/// fixed place is written without a check.
#[derive(Clone, Copy, Debug)]
pub struct Recorder<'w>(Option<&'w [AtomicU64; METRICS_WORDS]>);

/// What became of the queries of a batch that was answered at once.
#[derive(Clone, Copy, Default, Debug)]
pub struct BatchCounts {
    /// Messages received from clients.
    pub queries: u64,
    /// Queries that need a round.
    pub misses: u64,
    /// Queries answered from the cache.
    pub hits: u64,
    /// Those of them that were answered from restored data.
    pub restored: u64,
}

/// An upstream as it is now.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamGauges {
    /// Whether it responds, and if not, what is done.
    pub state: UpstreamState,
    /// Smoothed round-trip time in microseconds.
    pub srtt_us: Option<u64>,
    /// Its handshakes; zero without encryption.
    pub tls: HandshakeCounts,
}

/// The metrics at a word of a table.
#[inline]
fn region(words: &[AtomicU64], at: usize) -> Recorder<'_> {
    Recorder(words.get(at..).and_then(|rest| rest.first_chunk()))
}

impl Writer {
    /// The metrics, to be written by the thread that owns the writer.
    #[inline]
    #[must_use]
    pub fn recorder(&self) -> Recorder<'_> {
        region(self.words(), self.reader.plan.data)
    }

    /// The slots of workers, which threads of this process may write. A table that replaces this one has
    /// others.
    #[must_use]
    pub fn worker_slots(&self) -> WorkerSlots {
        WorkerSlots(self.reader.memory())
    }

    /// Empties the metrics.
    pub(crate) fn begin_metrics(&self) {
        let recorder = self.recorder();
        recorder.words().iter().for_each(|word| set(word, 0));
        recorder.set(CAPACITY, self.capacity as u64);
        recorder.set(VERSION, LAYOUT);
    }

    /// Takes the metrics of the table that this one replaces. Workers copy their slots once more when they
    /// leave that table, see [`WorkerSlot::succeed`].
    pub(crate) fn continue_metrics(&self, before: &Writer) {
        let (words, from) = (self.recorder().words(), before.recorder().words());
        words.iter().zip(from).for_each(|(word, from)| set(word, peek(from)));
        self.recorder().set(CAPACITY, self.capacity as u64);
    }
}

impl<'w> Recorder<'w> {
    /// All words; none if the table has no metrics.
    fn words(&self) -> &'w [AtomicU64] {
        self.0.map_or(&[], |words| &words[..])
    }

    #[inline]
    fn word(&self, at: usize) -> Option<&'w AtomicU64> {
        self.0?.get(at)
    }

    #[inline]
    fn set(&self, at: usize, value: u64) {
        if let Some(word) = self.word(at) {
            set(word, value);
        }
    }

    #[inline]
    fn add(&self, at: usize, more: u64) {
        if let Some(word) = self.word(at) {
            set(word, peek(word).wrapping_add(more));
        }
    }

    /// Adds a time `count` times to the histogram at a word.
    #[inline]
    fn add_times(&self, at: usize, timing: Timing, count: u64) {
        self.add(at + timing.bucket, count);
        self.add(at + BUCKETS, timing.ns.wrapping_mul(count));
    }

    fn set_histogram(&self, at: usize, histogram: &Histogram) {
        histogram.counts.iter().enumerate().for_each(|(n, count)| self.set(at + n, *count));
        self.set(at + BUCKETS, histogram.sum_ns);
    }

    /// Notes that the event loop begins a turn.
    #[inline]
    pub fn awake(&self, now: Monotonic) {
        self.set(TURN, now.0);
        self.set(SLEEPS, AWAKE);
    }

    /// Notes that the event loop sleeps until a time, or until an event.
    #[inline]
    pub fn sleeps(&self, until: Option<Monotonic>) {
        self.set(SLEEPS, until.map_or(WITHOUT_LIMIT, |at| at.0));
    }

    /// Notes when the daemon was started.
    pub fn started(&self, at: Monotonic) {
        self.set(STARTED, at.0);
        self.set(WORKERS + worker::STATE, worker::RUNNING);
    }

    /// Notes the number of names in the table.
    #[inline]
    pub fn entries(&self, entries: usize) {
        self.set(ENTRIES, entries as u64);
    }

    /// Adds one time to a histogram.
    pub fn note_time(&self, of: Timed, time: Duration) {
        self.add_times(HISTOGRAMS + of.number() * HISTOGRAM, time.into(), 1);
    }

    /// Counts what the event loop has answered at once.
    #[inline]
    pub fn note_batch(&self, batch: &BatchCounts, timing: Timing) {
        note_batch(self, WORKERS, batch, timing);
    }

    /// Shows what the sorter has done.
    pub fn set_sorter(&self, sorter: &SorterMetrics) {
        self.set(SORTER_CONNECTED, u64::from(sorter.connected));
        for (method, counts) in sorter.probes.iter().enumerate() {
            let at = PROBES + method * PROBE_METHOD;
            counts.iter().enumerate().for_each(|(outcome, count)| self.set(at + outcome, *count));
        }
        sorter.verdicts.iter().enumerate().for_each(|(n, count)| self.set(VERDICTS + n, *count));
    }

    /// Removes all upstreams, so that others can be named. Until [`Recorder::end_upstreams`], readers try
    /// again.
    pub fn begin_upstreams(&self) {
        if let Some(changes) = self.word(UPSTREAMS_CHANGES) {
            mark(changes, peek(changes) | 1);
        }
        let slots = self.words().get(UPSTREAMS..UPSTREAMS + UPSTREAMS_MAX * UPSTREAM);
        slots.into_iter().flatten().for_each(|word| set(word, 0));
    }

    /// Ends what [`Recorder::begin_upstreams`] has begun.
    pub fn end_upstreams(&self) {
        if let Some(changes) = self.word(UPSTREAMS_CHANGES) {
            publish(changes, (peek(changes) | 1).wrapping_add(1));
        }
    }

    /// Names the n-th upstream.
    pub fn name_upstream(&self, n: usize, label: &str, transport: UpstreamTransport) {
        if n >= UPSTREAMS_MAX {
            return;
        }
        let at = UPSTREAMS + n * UPSTREAM;
        let label = cut(label);
        for (word, octets) in label.as_bytes().chunks(8).enumerate() {
            let mut all = [0; 8];
            all[..octets.len()].copy_from_slice(octets);
            self.set(at + upstream::LABEL + word, u64::from_le_bytes(all));
        }
        self.set(at + upstream::FLAGS, label.len() as u64 | (transport as u64) << 8);
    }

    /// Shows the counts and the state of the n-th upstream.
    pub fn set_upstream(&self, n: usize, counts: &UpstreamCounts, gauges: &UpstreamGauges) {
        if n >= UPSTREAMS_MAX {
            return;
        }
        let at = UPSTREAMS + n * UPSTREAM;
        let kept = self.word(at + upstream::FLAGS).map_or(0, peek) & 0xffff;
        let UpstreamGauges { state, srtt_us, tls } = gauges;
        let flag = |is_set: bool, flag| if is_set { flag } else { 0 };
        let flags = kept
            | (*state as u64) << 16
            | flag(srtt_us.is_some(), upstream::HAS_SRTT)
            | flag(tls.expires_s.is_some(), upstream::HAS_EXPIRY);
        self.set(at + upstream::SRTT_US, srtt_us.unwrap_or(0));
        self.set(at + upstream::QUERIES, counts.queries);
        self.set(at + upstream::ANSWERS, counts.answers);
        self.set_histogram(at + upstream::TIMES, &counts.times);
        counts.failures.iter().enumerate().for_each(|(kind, count)| {
            self.set(at + upstream::FAILURES + kind, *count);
        });
        self.set(at + upstream::HANDSHAKES, tls.handshakes);
        self.set(at + upstream::RESUMPTIONS, tls.resumptions);
        self.set(at + upstream::EXPIRES_S, tls.expires_s.unwrap_or(0));
        self.set(at + upstream::FLAGS, flags);
    }
}

/// The beginning of a label, in whole characters.
fn cut(label: &str) -> &str {
    let len = (0..=label.len().min(upstream::LABEL_MAX)).rev().find(|len| label.is_char_boundary(*len));
    label.get(..len.unwrap_or(0)).unwrap_or_default()
}

#[inline]
fn note_batch(recorder: &Recorder<'_>, slot: usize, batch: &BatchCounts, timing: Timing) {
    let BatchCounts { queries, misses, hits, restored } = *batch;
    recorder.add(slot + worker::QUERIES, queries);
    if misses > 0 {
        recorder.add(slot + worker::MISSES, misses);
    }
    if hits > restored {
        recorder.add_times(slot + worker::HITS, timing, hits - restored);
    }
    if restored > 0 {
        recorder.add_times(slot + worker::RESTORED, timing, restored);
    }
}

/// The slots of the workers in a writer's table.
#[derive(Clone, Debug)]
pub struct WorkerSlots(Arc<Memory>);

impl WorkerSlots {
    /// The slot of the n-th worker, counted from 0; `None` if there are fewer. Only one thread may have it.
    #[must_use]
    pub fn of(&self, worker: usize) -> Option<WorkerSlot> {
        let at = WORKERS + worker.checked_add(1).filter(|n| *n < WORKERS_MAX)? * WORKER;
        Some(WorkerSlot { memory: Arc::clone(&self.0), at })
    }
}

/// The slot of a worker, which the worker's thread alone writes.
#[derive(Debug)]
pub struct WorkerSlot {
    memory: Arc<Memory>,
    at: usize,
}

impl WorkerSlot {
    #[inline]
    fn recorder(&self) -> Recorder<'_> {
        let words = self.memory.words();
        region(words, words.get(head::METRICS).map_or(0, peek) as usize)
    }

    /// Counts what the worker has answered at once.
    #[inline]
    pub fn note_batch(&self, batch: &BatchCounts, timing: Timing) {
        note_batch(&self.recorder(), self.at, batch, timing);
    }

    /// Notes whether the worker runs.
    pub fn set_running(&self, runs: bool) {
        self.recorder().set(self.at + worker::STATE, if runs { worker::RUNNING } else { worker::STOPPED });
    }

    /// Goes on with the counts of the slot in the table before, if that is another table.
    pub fn succeed(&self, before: &WorkerSlot) {
        if !Arc::ptr_eq(&self.memory, &before.memory) {
            let (words, from) = (self.recorder().words(), before.recorder().words());
            let words = words.iter().skip(self.at).take(WORKER);
            words.zip(from.iter().skip(before.at)).for_each(|(word, from)| set(word, peek(from)));
        }
    }
}
