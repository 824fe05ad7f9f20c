//! Reading the metrics of a table. Any words give a value or none.

use super::histogram::{BUCKETS, Histogram};
use super::kinds::{UpstreamState, UpstreamTransport};
use super::layout::{
    CAPACITY, ENTRIES, HISTOGRAM, HISTOGRAMS, HISTOGRAMS_MAX, LAYOUT, PROBE_METHOD, PROBES, SLEEPS,
    SORTER_CONNECTED, STARTED, TURN, UPSTREAM, UPSTREAMS, UPSTREAMS_CHANGES, UPSTREAMS_MAX, VERDICTS,
    VERSION, WORKER, WORKERS, WORKERS_MAX, upstream, worker,
};
use super::life::SignOfLife;
use super::{HandshakeCounts, Metrics, SorterMetrics, UpstreamCounts, UpstreamMetrics, WorkerMetrics};
use crate::layout::{METRICS_WORDS, head};
use crate::reader::Reader;
use crate::seqlock::after_read;
use crate::time::Monotonic;
use core::time::Duration;

/// Tries to read the upstreams while none of them is replaced by another. The daemon replaces them in
/// microseconds; after the last try the result may have one label twice.
const TRIES_MAX: usize = 8;

impl Reader {
    /// The metrics, read at this moment. `None`: the table is of a daemon that keeps none, or in another
    /// layout than this code knows, or the file has been truncated.
    #[must_use]
    pub fn metrics(&self) -> Option<Metrics> {
        let at = usize::try_from(self.peek(head::METRICS)).ok()?;
        if at == 0 || self.peek(head::METRICS_WORDS) != METRICS_WORDS as u64 {
            return None;
        }
        let mut words = vec![0; METRICS_WORDS];
        for _ in 0..TRIES_MAX {
            let changes = self.observe(at.checked_add(UPSTREAMS_CHANGES)?)?;
            self.copy_range(at, &mut words)?;
            after_read();
            if changes & 1 == 0 && self.peek(at + UPSTREAMS_CHANGES) == changes {
                break;
            }
            core::hint::spin_loop();
        }
        of_words(&words)
    }
}

/// The metrics in the words of a region; `None` if it has another layout.
fn of_words(words: &[u64]) -> Option<Metrics> {
    let word = |at: usize| words.get(at).copied().unwrap_or(0);
    if word(VERSION) != LAYOUT {
        return None;
    }
    let slots = |from: usize, size: usize, count: usize| {
        (0..count).filter_map(move |n| words.get(from + n * size..from + (n + 1) * size))
    };
    let workers = slots(WORKERS, WORKER, WORKERS_MAX).enumerate();
    Some(Metrics {
        life: SignOfLife::from_words(word(TURN), word(SLEEPS)),
        started: Monotonic(word(STARTED)),
        capacity: word(CAPACITY),
        entries: word(ENTRIES),
        workers: workers.filter_map(|(number, slot)| worker_of(number, slot)).collect(),
        upstreams: slots(UPSTREAMS, UPSTREAM, UPSTREAMS_MAX).filter_map(upstream_of).collect(),
        sorter: SorterMetrics {
            connected: word(SORTER_CONNECTED) != 0,
            probes: core::array::from_fn(|method| {
                core::array::from_fn(|outcome| word(PROBES + method * PROBE_METHOD + outcome))
            }),
            verdicts: core::array::from_fn(|n| word(VERDICTS + n)),
        },
        histograms: slots(HISTOGRAMS, HISTOGRAM, HISTOGRAMS_MAX).map(|slot| histogram_of(slot, 0)).collect(),
    })
}

/// The histogram from word `at` of a slot on.
fn histogram_of(slot: &[u64], at: usize) -> Histogram {
    let word = |n: usize| slot.get(at + n).copied().unwrap_or(0);
    Histogram { counts: core::array::from_fn(word), sum_ns: word(BUCKETS) }
}

fn worker_of(number: usize, slot: &[u64]) -> Option<WorkerMetrics> {
    let state = *slot.get(worker::STATE)?;
    (state != worker::UNUSED).then_some(WorkerMetrics {
        number,
        runs: state == worker::RUNNING,
        queries: *slot.get(worker::QUERIES)?,
        misses: *slot.get(worker::MISSES)?,
        hits: histogram_of(slot, worker::HITS),
        restored: histogram_of(slot, worker::RESTORED),
    })
}

fn upstream_of(slot: &[u64]) -> Option<UpstreamMetrics> {
    let word = |at: usize| slot.get(at).copied().unwrap_or(0);
    let flags = word(upstream::FLAGS);
    let [len, transport, state] = [0, 8, 16].map(|shift| flags as usize >> shift & 0xff);
    let octets: Vec<u8> = slot.get(upstream::LABEL..)?.iter().flat_map(|word| word.to_le_bytes()).collect();
    let label = octets.get(..len).filter(|label| (1..=upstream::LABEL_MAX).contains(&label.len()))?;
    Some(UpstreamMetrics {
        label: core::str::from_utf8(label).ok()?.to_owned(),
        transport: *UpstreamTransport::ALL.get(transport)?,
        state: *UpstreamState::ALL.get(state)?,
        srtt: (flags & upstream::HAS_SRTT != 0).then(|| Duration::from_micros(word(upstream::SRTT_US))),
        counts: UpstreamCounts {
            queries: word(upstream::QUERIES),
            answers: word(upstream::ANSWERS),
            times: histogram_of(slot, upstream::TIMES),
            failures: core::array::from_fn(|n| word(upstream::FAILURES + n)),
        },
        tls: HandshakeCounts {
            handshakes: word(upstream::HANDSHAKES),
            resumptions: word(upstream::RESUMPTIONS),
            expires_s: (flags & upstream::HAS_EXPIRY != 0).then(|| word(upstream::EXPIRES_S)),
        },
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_words_give_a_value(words in prop::collection::vec(any::<u64>(), 0..METRICS_WORDS), sets in any::<u64>()) {
            let mut words = words;
            prop_assert!(words.is_empty() || words[0] == LAYOUT || of_words(&words).is_none());
            if let Some(first) = words.first_mut() {
                *first = LAYOUT;
                let found = of_words(&words).expect("of this layout");
                let _ = found.life.overdue(crate::Monotonic(sets));
                let _ = found.answers(crate::metrics::kinds::AnswerSource::Hit).count();
                prop_assert!(found.upstreams.iter().all(|upstream| upstream.label.len() <= 128));
            }
        }
    }
}
