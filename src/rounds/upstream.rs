//! An upstream: its round-trip time, its health, and the features that it supports.

pub(crate) mod case_0x20;
pub(crate) mod choice;
mod connecting;
pub(crate) mod cookie;
pub(crate) mod habits;
mod report;
mod retransmission;

pub use report::UpstreamReport;

use crate::action::Note;
use crate::server::Server;
use crate::settings::RESPONSES_COUNTED_MAX;
use crate::upstream::case_0x20::Letters;
use crate::upstream::cookie::Cookie;
use crate::upstream::habits::Strange;
use hither_table::{Monotonic, UpstreamCounts};
use std::time::Duration;

/// Failures in a row after which an upstream is down. One lost datagram does not suffice.
const FAILURES_DOWN: u32 = 2;
/// First pause of an upstream that is down; each failed trial doubles it.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest pause, so that a revived upstream is used again within seconds.
const PAUSE_MAX: Duration = Duration::from_secs(4);
/// Responses with errors such as SERVFAIL or REFUSED in a row after which an upstream is queried last.
pub(crate) const LAME_AFTER: u32 = 4;
/// Queries without any response, and the time since the first of them, after which an upstream counts
/// as down.
const UNANSWERED_DOWN: u32 = 5;
const SILENT_DOWN: Duration = Duration::from_secs(1);
/// Time without a response after which an upstream that is new or fast is queried last.
const SUSPECT_MIN: Duration = Duration::from_millis(100);

/// The health of an upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Health {
    /// The upstream responds, or is not known to be down.
    Up,
    /// The upstream gets no queries before `until`; `pause` is the pause that ends then.
    Down { until: Monotonic, pause: Duration },
    /// One attempt is outstanding to learn whether the upstream is back.
    Trial { pause: Duration },
}

/// One upstream, with its learned round-trip time, health and habits.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    pub server: Server,
    health: Health,
    /// Smoothed round-trip time and its variation (RFC 6298 section 2), microseconds.
    rtt: Option<(u64, u64)>,
    failures: u32,
    last_failure: Option<Monotonic>,
    lame: u32,
    no_edns_until: Option<Monotonic>,
    /// Whether the upstream has sent an OPT record, so that its silence is not for want of EDNS.
    has_sent_opt: bool,
    /// Names that the upstream answered only without EDNS, although it has sent an OPT record.
    unread_with_edns: u8,
    /// Names in a row for which no response came until the cookie or EDNS was left out.
    silent_to: u8,
    /// Names in a row to which the upstream responded with an error until EDNS was left out.
    fails_edns: u8,
    /// Names in a row that the upstream answered only without mixed case.
    fails_letters: u8,
    /// Answers in a wrong letter case that TCP confirmed.
    strange_letters: Strange,
    folds_case_until: Option<Monotonic>,
    pub letters: Letters,
    /// When the first query was sent that has had no response; later queries have had none either.
    silent_since: Option<Monotonic>,
    /// Queries since then, without those that follow a response to the same question.
    unanswered: u32,
    /// Responses that are counted for early retransmissions, at most [`RESPONSES_COUNTED_MAX`].
    saved: u8,
    pub cookie: Cookie,
    pub counts: UpstreamCounts,
    /// Whether something has changed since the shell has looked.
    pub has_changed: bool,
}

impl Upstream {
    pub fn new(server: Server) -> Self {
        Self {
            server,
            health: Health::Up,
            rtt: None,
            failures: 0,
            last_failure: None,
            lame: 0,
            no_edns_until: None,
            has_sent_opt: false,
            unread_with_edns: 0,
            silent_to: 0,
            fails_edns: 0,
            fails_letters: 0,
            strange_letters: Strange::default(),
            folds_case_until: None,
            letters: Letters::default(),
            silent_since: None,
            unanswered: 0,
            saved: RESPONSES_COUNTED_MAX,
            cookie: Cookie::default(),
            counts: UpstreamCounts::default(),
            has_changed: true,
        }
    }

    /// Whether the upstream has not responded since `sent` or longer.
    pub fn is_silent_since(&self, sent: Monotonic) -> bool {
        self.silent_since.is_some_and(|since| since <= sent)
    }

    /// Notes a query; `is_first`: it does not follow a response to the same question, as a query over TCP
    /// follows one by UDP. Only such a query counts as unanswered.
    pub fn note_query(&mut self, now: Monotonic, is_first: bool) {
        self.counts.queries += 1;
        self.has_changed = true;
        if !is_first {
            return;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.silent_since.get_or_insert(now);
    }

    /// Whether a response is expected: the upstream is up, and not silent for longer than it usually
    /// takes to respond.
    pub fn is_trusted(&self, now: Monotonic) -> bool {
        self.health == Health::Up && !self.is_silent(now)
    }

    /// Whether the upstream is down: it failed repeatedly, or did not respond to several queries for a
    /// second. One slow name does not suffice: its authoritative servers may be far away.
    pub fn is_down(&self, now: Monotonic) -> bool {
        let long = |since: Monotonic| now.since(since) >= self.response_time_max().max(SILENT_DOWN);
        let silent = self.unanswered >= UNANSWERED_DOWN && self.silent_since.is_some_and(long);
        silent || matches!(self.health, Health::Down { .. })
    }

    pub fn is_silent(&self, now: Monotonic) -> bool {
        self.silent_since.is_some_and(|since| now.since(since) > self.response_time_max())
    }

    fn response_time_max(&self) -> Duration {
        let usual = self
            .rtt
            .map_or(Duration::ZERO, |(smoothed, variation)| Duration::from_micros(smoothed + 4 * variation));
        usual.max(SUSPECT_MIN)
    }

    /// Discards what was learned, because the network has changed: behind the same address there may be
    /// another server or middlebox. The cookie is discarded too, as it would show two networks that the
    /// host is the same (RFC 7873 section 6). The round-trip time is kept as a first estimate, and the
    /// counts are kept.
    pub fn forget_reach(&mut self) {
        let fresh = Self::new(self.server);
        let Self { rtt, saved, counts, .. } = *self;
        *self = Self { rtt, saved, counts, ..fresh };
    }

    /// Notes a response. `useful`: its RCODE is no error.
    pub fn note_response(&mut self, rtt: Option<Duration>, useful: bool) -> Option<Note> {
        if let Some(sample) = rtt.map(micros) {
            self.rtt = Some(match self.rtt {
                None => (sample, sample / 2),
                Some((smoothed, variation)) => {
                    ((7 * smoothed + sample) / 8, (3 * variation + smoothed.abs_diff(sample)) / 4)
                }
            });
        }
        self.counts.answers += 1;
        self.saved = (self.saved + 1).min(RESPONSES_COUNTED_MAX);
        self.lame = if useful { 0 } else { self.lame.saturating_add(1) };
        self.failures = 0;
        self.last_failure = None;
        self.silent_since = None;
        self.unanswered = 0;
        let was = std::mem::replace(&mut self.health, Health::Up);
        (was != Health::Up).then_some(Note::UpstreamUp { server: self.server })
    }

    /// Notes an attempt that was ended after `waited` without a failure: the upstream's round-trip time
    /// is longer than that.
    pub fn note_not_awaited(&mut self, waited: Duration) {
        if waited <= self.response_time_max() {
            // The upstream had no time to respond.
            self.silent_since = None;
        }
        let waited = micros(waited);
        if self.rtt.is_none_or(|(smoothed, _)| smoothed < waited) {
            self.rtt = Some((waited, self.rtt.map_or(waited / 2, |(_, variation)| variation)));
        }
        self.end_trial();
    }

    /// Notes an attempt, sent at `sent`, that failed or timed out. An attempt sent before the last
    /// failure was noted does not count again.
    pub fn note_failure(&mut self, now: Monotonic, sent: Monotonic) -> Option<Note> {
        if self.last_failure.is_some_and(|last| sent < last) {
            return None;
        }
        self.last_failure = Some(now);
        self.failures = self.failures.saturating_add(1);
        let pause = match self.health {
            Health::Up if self.failures < FAILURES_DOWN => return None,
            Health::Up => PAUSE_MIN,
            Health::Down { pause, .. } | Health::Trial { pause } => (pause * 2).min(PAUSE_MAX),
        };
        let until = now.plus(pause);
        self.health = Health::Down { until, pause };
        (self.failures == FAILURES_DOWN).then_some(Note::UpstreamDown {
            server: self.server,
            until,
            failures: self.failures,
        })
    }

    /// Ends a trial without a result: the next question may begin another.
    pub fn end_trial(&mut self) {
        if let Health::Trial { pause } = self.health {
            self.health = Health::Down { until: Monotonic(0), pause };
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 16).min(u64::MAX / 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UpstreamId;
    use crate::upstream::choice::Choice;
    use std::collections::VecDeque;

    const fn at(ms: u64) -> Monotonic {
        Monotonic(ms * 1_000_000)
    }

    fn three() -> Vec<Upstream> {
        (1..=3).map(|n| Upstream::new(std::net::SocketAddr::from(([192, 0, 2, n], 53)).into())).collect()
    }

    const GROUP: [UpstreamId; 3] = [UpstreamId(0), UpstreamId(1), UpstreamId(2)];

    fn choose(upstreams: &mut [Upstream], now: Monotonic, first: usize) -> Choice {
        super::choice::choose(upstreams, &GROUP, now, first, VecDeque::new())
    }

    fn ids(choice: &Choice) -> Vec<u16> {
        choice.order.iter().map(|id| id.0).collect()
    }

    #[test]
    fn upstreams_are_queried_in_the_order_of_their_round_trip_times() {
        let mut all = three();
        for (upstream, ms) in all.iter_mut().zip([30, 10, 20]) {
            upstream.note_response(Some(Duration::from_millis(ms)), true);
        }
        assert_eq!(ids(&choose(&mut all, at(0), 2)), [1, 2, 0]);
    }

    #[test]
    fn one_lost_datagram_does_not_make_an_upstream_down() {
        let mut all = three();
        assert_eq!(all[0].note_failure(at(0), at(0)), None);
        assert_eq!(ids(&choose(&mut all, at(1), 2)), [0, 1, 2]);
    }

    #[test]
    fn attempts_that_time_out_together_count_once() {
        let mut all = three();
        for _ in 0..5 {
            all[0].note_failure(at(3000), at(0));
        }
        assert_eq!(all[0].report(at(3000)).failures, 1);
    }

    #[test]
    fn a_dead_upstream_gets_no_queries_then_one_trial_beside_the_first_wave() {
        let mut all = three();
        all[0].note_failure(at(0), at(0));
        assert!(matches!(all[0].note_failure(at(10), at(5)), Some(Note::UpstreamDown { failures: 2, .. })));
        assert_eq!(ids(&choose(&mut all, at(20), 2)), [1, 2]);
        let trial = choose(&mut all, at(10 + 500), 1);
        assert_eq!((ids(&trial), trial.first), (vec![0, 1, 2], 2));
        assert_eq!(ids(&choose(&mut all, at(600), 1)), [1, 2], "one trial at a time");
        all[0].note_failure(at(700), at(510));
        assert_eq!(
            all[0].report(at(700)).retry_in,
            Some(Duration::from_secs(1)),
            "a failed trial doubles the pause"
        );
        assert_eq!(choose(&mut all, at(1700), 1).order[0], UpstreamId(0));
        assert!(matches!(
            all[0].note_response(Some(Duration::from_millis(1)), true),
            Some(Note::UpstreamUp { .. })
        ));
    }

    #[test]
    fn the_pause_never_exceeds_its_bound() {
        let mut upstream = three().remove(0);
        for n in 0..40 {
            upstream.note_failure(at(n * 10_000), at(n * 10_000));
        }
        assert!(upstream.report(at(390_000)).retry_in.is_some_and(|left| left <= PAUSE_MAX));
    }

    #[test]
    fn when_no_upstream_answers_all_are_asked_at_once() {
        let mut all = three();
        for upstream in &mut all {
            upstream.note_failure(at(0), at(0));
            upstream.note_failure(at(1), at(1));
        }
        let choice = choose(&mut all, at(2), 2);
        assert_eq!((ids(&choice), choice.first), (vec![0, 1, 2], 3));
    }

    #[test]
    fn facts_about_an_upstream_are_forgotten_in_another_network() {
        let mut upstream = three().remove(0);
        let name = "a.test".parse().expect("a name");
        upstream.note_response(Some(Duration::from_millis(5)), false);
        for _ in 0..9 {
            upstream.note_no_edns(at(0));
            upstream.note_strange_case(at(0));
            upstream.note_read_without_edns();
            upstream.note_dropped_mixed_case(at(0), &name);
            upstream.note_response(None, false);
        }
        assert!(!upstream.edns(at(1)) && !upstream.keeps_case(at(1)) && upstream.lame >= LAME_AFTER);
        upstream.forget_reach();
        assert!(upstream.edns(at(1)) && upstream.keeps_case(at(1)), "that was another middlebox");
        assert!(!upstream.letters.distinguishes_case(at(1), &name));
        assert_eq!((upstream.lame, upstream.unread_with_edns, upstream.fails_letters), (0, 0, 0));
        upstream.note_strange_case(at(1));
        assert!(upstream.keeps_case(at(1)), "one answer alone is no habit");
        let report = upstream.report(at(1));
        assert_eq!(
            (report.answers, report.srtt_us),
            (10, Some(5_000)),
            "the estimate and the counts are kept"
        );
    }

    #[test]
    fn a_tcp_connection_without_an_answer_does_not_make_its_upstream_silent() {
        let mut upstream = three().remove(0);
        upstream.note_query(at(0), true);
        upstream.note_response(Some(Duration::from_millis(5)), false);
        for n in 1..9 {
            upstream.note_query(at(n), false);
        }
        assert_eq!(upstream.report(at(5_000)).state, "up");
        assert!(!upstream.is_down(at(5_000)));
    }

    #[test]
    fn an_upstream_that_is_silent_for_longer_than_usual_is_asked_last_and_not_waited_for() {
        let mut all = three();
        all.iter_mut().for_each(|upstream| upstream.note_query(at(0), true));
        all[2].note_response(Some(Duration::from_millis(30)), true);
        assert_eq!(ids(&choose(&mut all, at(101), 2)), [2, 0, 1]);
        assert!(all[2].is_trusted(at(101)) && !all[0].is_trusted(at(101)));
        all[2].note_query(at(200), true);
        all[2].note_not_awaited(Duration::from_millis(10));
        assert!(all[2].is_trusted(at(9_000)), "it had no time to respond");
    }
}
