//! The metrics in the table: what is written is read, and no record and no other part touches them.

use super::{Dir, NOW, both, finish, heap, name, read};
use hither_table::layout::{self, head};
use hither_table::{
    AnswerSource, BatchCounts, Doing, Geometry, HandshakeCounts, Histogram, Key, Memory, Metrics, Monotonic,
    Origin, ProbeMethod, ProbeOutcome, Reader, Snapshot, SorterMetrics, Timed, Timing, Trust, UpstreamCounts,
    UpstreamFailure, UpstreamGauges, UpstreamState, UpstreamTransport, WorkerSlot, Writer, open_or_create,
    rotate,
};
use std::sync::Arc;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn metrics(writer: &Writer) -> Metrics {
    writer.reader().metrics().expect("a table of this daemon")
}

fn batch(hits: u64, restored: u64) -> BatchCounts {
    BatchCounts { queries: 64, misses: 64 - hits, hits, restored }
}

fn histogram(times: &[(Duration, u64)]) -> Histogram {
    let mut all = Histogram::default();
    times.iter().for_each(|(time, count)| (0..*count).for_each(|_| all.note(Timing::from(*time))));
    all
}

/// Writes something into every part.
fn fill(writer: &Writer) -> WorkerSlot {
    let recorder = writer.recorder();
    recorder.started(Monotonic::from_ms(7));
    recorder.awake(Monotonic::from_ms(11));
    recorder.entries(3);
    for (source, n) in AnswerSource::ALL.iter().zip(1..) {
        (0..n).for_each(|_| recorder.note_time(Timed::Answer(*source), n * MS));
    }
    for (of, ms) in [(Timed::RoundComplete, 20), (Timed::RoundPartial, 30), (Timed::FirstOrder, 40)] {
        recorder.note_time(of, ms * MS);
    }
    recorder.note_batch(&batch(60, 0), (MS / 10).into());
    let slot = writer.worker_slots().of(0).expect("the first worker");
    slot.set_running(true);
    slot.note_batch(&batch(64, 4), (MS / 5).into());
    recorder.begin_upstreams();
    recorder.name_upstream(0, "192.0.2.1:53", UpstreamTransport::Udp);
    recorder.name_upstream(63, &"é".repeat(100), UpstreamTransport::Quic);
    recorder.name_upstream(64, "one too many", UpstreamTransport::Udp);
    let mut counts = UpstreamCounts { queries: 5, answers: 2, ..UpstreamCounts::default() };
    counts.times.note((3 * MS).into());
    counts.note_failure(UpstreamFailure::Timeout);
    counts.note_failure(UpstreamFailure::OtherRcode);
    let tls = HandshakeCounts { handshakes: 3, resumptions: 1, expires_s: Some(1_800_000_000) };
    recorder.set_upstream(63, &counts, &UpstreamGauges { state: UpstreamState::Up, srtt_us: Some(900), tls });
    recorder.end_upstreams();
    let mut sorter = SorterMetrics { connected: true, ..SorterMetrics::default() };
    sorter.probes[ProbeMethod::Tls as usize][ProbeOutcome::NotSent as usize] = 9;
    sorter.verdicts[Trust::NoTls as usize] = 8;
    recorder.set_sorter(&sorter);
    slot
}

fn check(found: &Metrics) {
    assert_eq!((found.started, found.life.turn), (Monotonic::from_ms(7), Monotonic::from_ms(11)));
    assert_eq!((found.life.doing, found.entries), (Doing::Works, 3));
    let waited = |source: AnswerSource| {
        let n = source as u64 + 1;
        histogram(&[(Duration::from_millis(n), n)])
    };
    let hits = waited(AnswerSource::Hit).plus(&histogram(&[(MS / 10, 60), (MS / 5, 60)]));
    assert_eq!(found.answers(AnswerSource::Hit), hits);
    assert_eq!(
        found.answers(AnswerSource::Restored),
        waited(AnswerSource::Restored).plus(&histogram(&[(MS / 5, 4)]))
    );
    for source in [AnswerSource::Round, AnswerSource::Stale, AnswerSource::Local, AnswerSource::Failure] {
        assert_eq!(found.answers(source), waited(source));
    }
    assert_eq!(found.timed(Timed::FirstOrder), histogram(&[(40 * MS, 1)]));
    assert_eq!(found.timed(Timed::RoundPartial), histogram(&[(30 * MS, 1)]));
    let [event_loop, worker] = &found.workers[..] else { panic!("{:?}", found.workers) };
    assert_eq!((event_loop.number, event_loop.queries, event_loop.misses), (0, 64, 4));
    assert_eq!((worker.number, worker.runs, worker.restored.count()), (1, true, 4));
    let [first, last] = &found.upstreams[..] else { panic!("{:?}", found.upstreams) };
    assert_eq!((&first.label[..], first.srtt, first.tls.expires_s), ("192.0.2.1:53", None, None));
    assert_eq!((&last.label[..], last.transport), (&"é".repeat(64)[..], UpstreamTransport::Quic));
    assert_eq!((last.state, last.srtt), (UpstreamState::Up, Some(Duration::from_micros(900))));
    assert_eq!(last.counts.times, histogram(&[(3 * MS, 1)]));
    let failures: Vec<u64> = UpstreamFailure::ALL.iter().map(|kind| last.counts.failures(*kind)).collect();
    assert_eq!(failures, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(last.tls.expires_s, Some(1_800_000_000));
    assert!(found.sorter.connected);
    assert_eq!(found.sorter.probes(ProbeMethod::Tls, ProbeOutcome::NotSent), 9);
    assert_eq!(found.sorter.verdicts(Trust::NoTls), 8);
}

#[test]
fn no_record_is_written_over_the_metrics_however_full_the_table_is() {
    let mut writer = heap(64);
    fill(&writer);
    let (mut evicted, mut n) = (0, 0);
    while evicted < 3000 {
        n += 1;
        // Records of every class, so that chunks are emptied for others.
        let version = writer.next_version();
        writer
            .put(&both(n, version, ((n / 40 * 23 % 200 + 1) as usize, (n % 3) as usize)), NOW)
            .expect("room");
        evicted = writer.evictions();
    }
    check(&metrics(&writer));
    assert!(writer.reader().verify().bad.is_empty());
    assert_eq!(metrics(&writer).capacity, 64);
}

#[test]
fn a_successor_begins_the_metrics_anew_and_one_that_replaces_the_table_goes_on() {
    let dir = Dir::new("metrics");
    let (mut writer, _, lock) = dir.open();
    let slot = fill(&writer);
    let version = writer.next_version();
    writer.put(&both(1, version, (1, 0)), NOW).expect("room");
    rotate(&mut writer, &dir.0, &Geometry { entries: 256 }, 0o644, [4, 5, 6]).expect("a table");
    check(&metrics(&writer));
    assert_eq!((metrics(&writer).capacity, finish(&mut writer)), (256, (1, 0)));
    // The worker has answered others before it learns of the new table.
    slot.note_batch(&batch(10, 0), MS.into());
    assert_eq!(metrics(&writer).workers[1].hits.count(), 60);
    let next = writer.worker_slots().of(0).expect("the first worker");
    next.succeed(&slot);
    assert_eq!(metrics(&writer).workers[1].hits.count(), 70);
    next.set_running(false);
    assert_eq!((metrics(&writer).workers[1].runs, metrics(&writer).workers[1].queries), (false, 128));
    let read_only = Reader::open(&dir.0).expect("readable").metrics();
    assert_eq!(read_only, Some(metrics(&writer)));
    drop((writer, lock, slot, next));
    let (mut writer, origin, _lock) =
        open_or_create(&dir.0, &Geometry { entries: 256 }, 0o644, [4, 5, 6], 0).expect("a table");
    assert!(matches!(origin, Origin::Adopted), "{origin:?}");
    finish(&mut writer);
    let found = metrics(&writer);
    assert_eq!((found.workers.len(), found.upstreams.len(), found.capacity), (0, 0, 256));
    assert_eq!(found.answers(AnswerSource::Hit), Histogram::default());
    assert_eq!(read(&writer.reader(), 1).0, Ok(()));
}

/// The words of a table as a daemon of ABI 1.3 has left them: without metrics.
fn as_before(mut words: Vec<u64>) -> Vec<u64> {
    words[head::ABI] = 1 << 32 | 3;
    let data = words[head::DATA] as usize;
    words[data..data + layout::METRICS_WORDS].fill(0);
    (words[head::METRICS], words[head::METRICS_WORDS]) = (0, 0);
    let fixed = (0..head::STATE).filter(|at| *at != head::CHECKSUM).chain(head::HASH..head::HASH + 8);
    words[head::CHECKSUM] = layout::checksum(fixed.map(|at| words[at]));
    words
}

#[test]
fn the_table_of_a_daemon_without_metrics_is_copied_even_if_it_has_the_same_size() {
    let dir = Dir::new("without");
    let (mut writer, _, lock) = dir.open();
    for n in 0..20 {
        let version = writer.next_version();
        writer.put(&both(n, version, (2, 1)), NOW).expect("room");
    }
    let before = as_before(writer.reader().copy_words());
    drop((writer, lock));
    let octets: Vec<u8> = before.iter().flat_map(|word| word.to_le_bytes()).collect();
    std::fs::write(dir.0.join("hosts"), octets).expect("writable");
    let old = Reader::open(&dir.0).expect("still a table");
    assert_eq!((old.metrics(), read(&old, 1).0), (None, Ok(())));
    let (mut writer, origin, _lock) = dir.open();
    assert!(matches!(origin, Origin::Resized), "{origin:?}");
    assert!(writer.get(&Key::of(&name(1)), &mut Snapshot::new()));
    assert_eq!(finish(&mut writer), (20, 0));
    let reader = Reader::open(&dir.0).expect("readable");
    assert!((0..20).all(|n| read(&reader, n).0.is_ok()) && reader.verify().bad.is_empty());
    assert_eq!(reader.metrics().map(|found| found.capacity), Some(64));
}

#[test]
fn a_damaged_index_word_leads_no_record_into_the_metrics() {
    let mut writer = heap(16);
    let version = writer.next_version();
    writer.put(&both(1, version, (2, 1)), NOW).expect("room");
    fill(&writer);
    let mut words = writer.reader().copy_words();
    let (index, data) = (words[head::INDEX] as usize, words[head::DATA] as usize);
    let place = (index..data).find(|at| words[*at] != 0).expect("an entry");
    // The record, and the word that leads to it, as if it were in the first chunk.
    let line = words[place] as u32 as usize;
    words.copy_within(data + line * 8..data + (line + 8) * 8, data + 700 * 8);
    words[place] = words[place] >> 32 << 32 | 700;
    let geometry = Geometry { entries: 16 };
    let mut writer = Writer::adopt(Memory::of(&words), &geometry).expect("taken over");
    assert_eq!(finish(&mut writer), (0, 1));
    for n in 0..300 {
        let version = writer.next_version();
        writer.put(&both(n, version, (3, 1)), NOW).expect("room");
    }
    assert_eq!(metrics(&writer).workers, []);
}

#[test]
fn metrics_of_another_layout_or_size_are_not_read() {
    let writer = heap(16);
    fill(&writer);
    let words = writer.reader().copy_words();
    let data = words[head::DATA] as usize;
    let read = |words: Vec<u64>| Reader::over(Arc::new(Memory::of(&words))).expect("a table").metrics();
    check(&read(words.clone()).expect("metrics"));
    let mut other = words.clone();
    other[data] += 1;
    assert_eq!(read(other), None);
    let mut unfinished = words;
    // The daemon was killed while it named its upstreams: the rest can be read.
    unfinished[data + 8] |= 1;
    check(&read(unfinished).expect("metrics"));
}
