//! What hitherd, its workers and the sorter have recorded in the table besides the counters.

use super::catalogue as of;
use super::text::{Samples, Text};
use hither_table::{
    AnswerSource, Histogram, Metrics, Monotonic, ProbeMethod, ProbeOutcome, Timed, Trust, UpstreamFailure,
    UpstreamMetrics, UpstreamState, UpstreamTransport, WorkerMetrics,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// For how long the event loop may be overdue. It gives up its turn after milliseconds, and its watchdog
/// after 10 s.
const OVERDUE_MAX: Duration = Duration::from_secs(5);

/// Whether the event loop goes on. Before its first turn nothing is known.
pub(super) fn goes_on(metrics: &Metrics, now: Monotonic) -> bool {
    metrics.life.turn == Monotonic::default() || metrics.life.overdue(now) < OVERDUE_MAX
}

/// The sign of life of the event loop, which has none before its first turn.
pub(super) fn life(text: &mut Text, metrics: &Metrics, is_up: bool, now: Monotonic) {
    if metrics.life.turn == Monotonic::default() {
        return;
    }
    text.single(&of::SIGN_OF_LIFE, now.since(metrics.life.turn).as_secs_f64());
    text.single(&of::OVERDUE, metrics.life.overdue(now).as_secs_f64());
    if is_up {
        text.single(&of::UPTIME, now.since(metrics.started).as_secs());
    }
}

pub(super) fn all(text: &mut Text, metrics: &Metrics) {
    times(text, metrics);
    workers(text, &metrics.workers);
    upstreams(text, &metrics.upstreams);
    sorter(text, metrics);
    text.single(&of::TABLE_NAMES, metrics.entries);
    text.single(&of::TABLE_CAPACITY, metrics.capacity);
}

fn times(text: &mut Text, metrics: &Metrics) {
    let mut samples = text.metric(&of::ANSWER);
    for source in AnswerSource::ALL {
        histogram(&mut samples, &[source.as_str()], &metrics.answers(*source));
    }
    let mut samples = text.metric(&of::ROUND);
    for (outcome, timed) in [("complete", Timed::RoundComplete), ("partial", Timed::RoundPartial)] {
        histogram(&mut samples, &[outcome], &metrics.timed(timed));
    }
    histogram(&mut text.metric(&of::FIRST_ORDER), &[], &metrics.timed(Timed::FirstOrder));
}

fn histogram(samples: &mut Samples<'_>, labels: &[&str], of: &Histogram) {
    let seconds = |ns: u64| Duration::from_nanos(ns).as_secs_f64();
    let bounds = Histogram::bounds_ns().iter().map(|bound| seconds(*bound));
    let buckets: Vec<(f64, u64)> = bounds.zip(of.counts).collect();
    let beyond = of.counts.last().copied().unwrap_or_default();
    samples.histogram(labels, &buckets, beyond, seconds(of.sum_ns));
}

fn workers(text: &mut Text, workers: &[WorkerMetrics]) {
    let numbers: Vec<String> = workers.iter().map(|worker| worker.number.to_string()).collect();
    let mut samples = text.metric(&of::WORKER_QUERIES);
    for (worker, number) in workers.iter().zip(&numbers) {
        samples.add(&[number], worker.queries);
    }
    let mut samples = text.metric(&of::WORKER_LOOKUPS);
    for (worker, number) in workers.iter().zip(&numbers) {
        samples.add(&[number, "hit"], worker.hits.plus(&worker.restored).count());
        samples.add(&[number, "miss"], worker.misses);
    }
    let mut samples = text.metric(&of::WORKER_RUNNING);
    for (worker, number) in workers.iter().zip(&numbers) {
        samples.add(&[number], u8::from(worker.runs));
    }
}

/// The upstreams by label and transport. If two have the same, as in a damaged table or after the cut of
/// long labels, their counts are added, since Prometheus takes no sample twice.
fn merged(upstreams: &[UpstreamMetrics]) -> BTreeMap<(&str, UpstreamTransport), UpstreamMetrics> {
    let mut all: BTreeMap<_, UpstreamMetrics> = BTreeMap::new();
    for upstream in upstreams {
        let key = (upstream.label.as_str(), upstream.transport);
        all.entry(key)
            .and_modify(|first| {
                let (counts, more) = (&mut first.counts, &upstream.counts);
                counts.queries = counts.queries.wrapping_add(more.queries);
                counts.answers = counts.answers.wrapping_add(more.answers);
                counts.times = counts.times.plus(&more.times);
                for (count, more) in counts.failures.iter_mut().zip(more.failures) {
                    *count = count.wrapping_add(more);
                }
                let (tls, more) = (&mut first.tls, &upstream.tls);
                tls.handshakes = tls.handshakes.wrapping_add(more.handshakes);
                tls.resumptions = tls.resumptions.wrapping_add(more.resumptions);
                tls.expires_s = [tls.expires_s, more.expires_s].into_iter().flatten().min();
                first.srtt = [first.srtt, upstream.srtt].into_iter().flatten().min();
                if is_in_use(upstream.state) && !is_in_use(first.state) {
                    first.state = upstream.state;
                }
            })
            .or_insert_with(|| upstream.clone());
    }
    all
}

fn is_in_use(state: UpstreamState) -> bool {
    !matches!(state, UpstreamState::Down | UpstreamState::Trial)
}

fn upstreams(text: &mut Text, upstreams: &[UpstreamMetrics]) {
    let upstreams = merged(upstreams);
    let all = || upstreams.iter().map(|((label, transport), one)| (*label, transport.as_str(), one));
    let mut samples = text.metric(&of::UPSTREAM_UP);
    all().for_each(|(label, over, one)| samples.add(&[label, over], u8::from(is_in_use(one.state))));
    let mut samples = text.metric(&of::UPSTREAM_STATE);
    for (label, over, one) in all() {
        for state in UpstreamState::ALL {
            samples.add(&[label, over, state.as_str()], u8::from(*state == one.state));
        }
    }
    let mut samples = text.metric(&of::UPSTREAM_QUERIES);
    all().for_each(|(label, over, one)| samples.add(&[label, over], one.counts.queries));
    let mut samples = text.metric(&of::UPSTREAM_RESPONSES);
    all().for_each(|(label, over, one)| samples.add(&[label, over], one.counts.answers));
    let mut samples = text.metric(&of::UPSTREAM_TIME);
    all().for_each(|(label, over, one)| histogram(&mut samples, &[label, over], &one.counts.times));
    let mut samples = text.metric(&of::UPSTREAM_FAILURES);
    for (label, over, one) in all() {
        for reason in UpstreamFailure::ALL {
            samples.add(&[label, over, reason.as_str()], one.counts.failures(*reason));
        }
    }
    let mut samples = text.metric(&of::UPSTREAM_SRTT);
    for (label, over, one) in all() {
        one.srtt.into_iter().for_each(|srtt| samples.add(&[label, over], srtt.as_secs_f64()));
    }
    let is_encrypted = |over: &str| {
        [UpstreamTransport::Tls, UpstreamTransport::Https, UpstreamTransport::Quic]
            .iter()
            .any(|one| one.as_str() == over)
    };
    let mut samples = text.metric(&of::UPSTREAM_HANDSHAKES);
    for (label, over, one) in all().filter(|(_, over, _)| is_encrypted(over)) {
        let full = one.tls.handshakes.saturating_sub(one.tls.resumptions);
        samples.add(&[label, over, "full"], full);
        samples.add(&[label, over, "resumed"], one.tls.resumptions);
    }
    let mut samples = text.metric(&of::UPSTREAM_EXPIRY);
    for (label, over, one) in all() {
        one.tls.expires_s.into_iter().for_each(|expires| samples.add(&[label, over], expires));
    }
}

fn sorter(text: &mut Text, metrics: &Metrics) {
    text.single(&of::SORTER_CONNECTED, u8::from(metrics.sorter.connected));
    let mut samples = text.metric(&of::SORTER_PROBES);
    for method in ProbeMethod::ALL {
        for outcome in ProbeOutcome::ALL {
            let count = metrics.sorter.probes(*method, *outcome);
            samples.add(&[method.as_str(), outcome.as_str()], count);
        }
    }
    let mut samples = text.metric(&of::SORTER_VERDICTS);
    for trust in Trust::ALL {
        samples.add(&[trust.as_str()], metrics.sorter.verdicts(trust));
    }
}
