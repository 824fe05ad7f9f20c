//! What is known of the upstreams: how quick, whether they answer, whether they can EDNS; and from it, whom to ask.

use crate::attempt::Suspected;
use crate::cookie::{Cookie, Strange};
use crate::letters::Letters;
use crate::settings::{EARLY_MARGIN, EARLY_PRICE, EARLY_SAVED, RESEND_MAX, RESEND_MIN, RESEND_UNKNOWN};
use crate::{Note, Server, Transport, UpstreamId};
use hither_table::Monotonic;
use hither_wire::name::Name;
use std::collections::VecDeque;
use std::time::Duration;

/// Failures in a row after which an upstream is left alone; one lost datagram is no reason.
const FAILURES_DOWN: u32 = 2;
/// First pause of an upstream that does not answer; each failed trial doubles it.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest pause, so that a revived upstream is used again within seconds.
const PAUSE_MAX: Duration = Duration::from_secs(4);
/// How long an upstream that cannot EDNS is asked without (RFC 6891 section 7 leaves it open; unbound keeps it for minutes).
const NO_EDNS_FOR: Duration = Duration::from_secs(300);
/// Names that can be read without EDNS alone, after which an upstream is asked without.
const BARE_MAX: u8 = 3;
/// Answers such as SERVFAIL or REFUSED in a row after which an upstream is asked after the others.
const LAME: u32 = 4;
/// How long an upstream that changes the letter case of questions is asked in lower case.
const FOLDS_CASE_FOR: Duration = Duration::from_secs(3_600);
/// Queries without any answer, and the time since the first of them, after which an upstream counts as down.
const UNANSWERED_DOWN: u32 = 5;
const SILENT_DOWN: Duration = Duration::from_secs(1);
/// Silence after which an upstream that is not known yet, or answered quickly so far, is asked after the others.
const SUSPECT_MIN: Duration = Duration::from_millis(100);

/// Whether an upstream is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Health {
    /// It answers, or is not known not to.
    Up,
    /// It is left alone until then.
    Down { until: Monotonic, pause: Duration },
    /// One attempt is out to see whether it is back.
    Trial { pause: Duration },
}

/// One upstream.
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
    /// It has sent an OPT record once, so silence is not for want of EDNS.
    edns_seen: bool,
    /// Names that it answered without EDNS alone, although it has sent an OPT record.
    bare: u8,
    /// Names in a row that it was silent for until they were asked without a cookie, or without EDNS.
    silent_to: u8,
    /// Names in a row that it had an error for until they were asked without EDNS, or in lower case.
    fails_edns: u8,
    fails_letters: u8,
    /// Answers in other letters than were sent that TCP confirmed, and since when.
    strange_letters: Strange,
    folds_case_until: Option<Monotonic>,
    pub letters: Letters,
    /// Since when nothing has come back, whatever was sent, and how much that was.
    silent_since: Option<Monotonic>,
    unanswered: u32,
    /// Answers that early repetitions are paid by.
    saved: u8,
    pub cookie: Cookie,
    pub queries: u64,
    pub answers: u64,
}

/// What `hitherctl status` shows of an upstream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamReport {
    /// Where it is.
    pub server: Server,
    /// `"up"`, `"down"`, `"trial"`, `"silent"` when it is asked and has not answered lately, or `"unknown"` before the first answer.
    pub state: &'static str,
    /// Smoothed round-trip time, microseconds.
    pub srtt_us: Option<u64>,
    /// Its variation, microseconds.
    pub rttvar_us: Option<u64>,
    /// Whether nothing is expected of it: it is down, or has been silent to several queries for a second.
    pub unresponsive: bool,
    /// Failures in a row.
    pub failures: u32,
    /// Time until the next trial.
    pub retry_in: Option<Duration>,
    /// Queries sent.
    pub queries: u64,
    /// Usable and unusable answers received.
    pub answers: u64,
    /// Whether it is asked with EDNS.
    pub edns: bool,
    /// Whether it keeps the letter case of questions, so that they can be mixed against forgery.
    pub keeps_case: bool,
    /// Whether it gives DNS cookies (RFC 7873).
    pub cookies: bool,
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
            edns_seen: false,
            bare: 0,
            silent_to: 0,
            fails_edns: 0,
            fails_letters: 0,
            strange_letters: Strange::default(),
            folds_case_until: None,
            letters: Letters::default(),
            silent_since: None,
            unanswered: 0,
            saved: EARLY_SAVED,
            cookie: Cookie::default(),
            queries: 0,
            answers: 0,
        }
    }

    pub fn edns(&self, now: Monotonic) -> bool {
        self.no_edns_until.is_none_or(|until| now >= until)
    }

    pub fn cannot_edns(&mut self, now: Monotonic) -> Note {
        self.no_edns_until = Some(now.plus(NO_EDNS_FOR));
        self.bare = 0;
        Note::NoEdns { server: self.server }
    }

    /// It answered without EDNS what could not be read with it. Whether that is its way, or one broken name's.
    pub fn answers_bare(&mut self) -> bool {
        self.bare = self.bare.saturating_add(1);
        !self.edns_seen || self.bare >= BARE_MAX
    }

    pub fn edns_seen(&mut self) {
        self.edns_seen = true;
    }

    /// It was silent until something was left out. Whether that is its way, or datagrams were lost.
    pub fn is_silent_to_it(&mut self) -> bool {
        self.silent_to = self.silent_to.saturating_add(1);
        !self.edns_seen || self.silent_to >= BARE_MAX
    }

    /// It answered what had everything.
    pub fn takes_everything(&mut self, mixed: bool) {
        (self.silent_to, self.fails_edns) = (0, 0);
        self.fails_letters *= u8::from(!mixed);
    }

    /// It answered a name as it is meant, and not in drawn letters.
    pub fn drops_letters(&mut self, now: Monotonic, name: &Name) {
        self.letters.are_dropped(now, name);
        self.fails_letters = self.fails_letters.saturating_add(1);
        if self.fails_letters >= BARE_MAX {
            self.folds_case(now);
        }
    }

    /// It answered, without what is suspected, what it had an error for. An upstream that is merely out of order at times shows by
    /// other answers that it is not that.
    pub fn answers_plain(&mut self, now: Monotonic, suspected: Suspected) -> Option<Note> {
        if !suspected.cookie && !suspected.edns {
            return None;
        }
        self.fails_edns = self.fails_edns.saturating_add(1);
        if suspected.cookie && self.fails_edns >= BARE_MAX - 1 {
            self.cookie.is_dropped(now);
        }
        (suspected.edns && self.fails_edns > BARE_MAX).then(|| self.cannot_edns(now))
    }

    /// An answer in other letters than were sent was the upstream's own: TCP said so.
    pub fn was_in_strange_letters(&mut self, now: Monotonic) {
        if self.strange_letters.is_its_way(now) {
            self.folds_case(now);
        }
    }

    /// Whether nothing has come from it since then.
    pub fn is_silent_since(&self, sent: Monotonic) -> bool {
        self.silent_since.is_some_and(|since| since <= sent)
    }

    /// Whether its silence may be for want of EDNS: some servers and boxes drop what they do not know.
    pub fn may_lack_edns(&self) -> bool {
        !self.edns_seen
    }

    pub fn keeps_case(&self, now: Monotonic) -> bool {
        self.folds_case_until.is_none_or(|until| now >= until)
    }

    pub fn folds_case(&mut self, now: Monotonic) {
        self.folds_case_until = Some(now.plus(FOLDS_CASE_FOR));
    }

    /// A query goes out. One over TCP says nothing when it is not answered: it is sent because an answer came by UDP.
    pub fn asked(&mut self, now: Monotonic, transport: Transport) {
        self.queries += 1;
        if transport == Transport::Tcp {
            return;
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.silent_since.get_or_insert(now);
    }

    /// Whether an answer is to be expected: it is not left alone, and has not been silent for longer than it takes to answer.
    pub fn is_trusted(&self, now: Monotonic) -> bool {
        self.health == Health::Up && !self.is_silent(now)
    }

    /// Whether it is known not to answer: it failed again and again, or has not answered one of several queries for a second. One
    /// question that takes long says nothing: its zone may be far away.
    pub fn is_down(&self, now: Monotonic) -> bool {
        let long = |since: Monotonic| now.since(since) >= self.patience().max(SILENT_DOWN);
        let silent = self.unanswered >= UNANSWERED_DOWN && self.silent_since.is_some_and(long);
        silent || matches!(self.health, Health::Down { .. })
    }

    fn is_silent(&self, now: Monotonic) -> bool {
        self.silent_since.is_some_and(|since| now.since(since) > self.patience())
    }

    fn patience(&self) -> Duration {
        let usual = self
            .rtt
            .map_or(Duration::ZERO, |(smoothed, variation)| Duration::from_micros(smoothed + 4 * variation));
        usual.max(SUSPECT_MIN)
    }

    /// The network is another: behind the same address there may be another server, or another box on the way. So all that was learned is
    /// void, its cookie too, which would tell two networks that the same host asks (RFC 7873 section 6). The round-trip time stays as a first
    /// guess, which the next answers correct; so do the counts.
    pub fn forget_reach(&mut self) {
        let fresh = Self::new(self.server);
        let Self { rtt, saved, queries, answers, .. } = *self;
        *self = Self { rtt, saved, queries, answers, ..fresh };
    }

    /// It answered, whatever it said. `useful`: with something else than an error.
    pub fn answered(&mut self, rtt: Option<Duration>, useful: bool) -> Option<Note> {
        if let Some(sample) = rtt.map(micros) {
            self.rtt = Some(match self.rtt {
                None => (sample, sample / 2),
                Some((smoothed, variation)) => {
                    ((7 * smoothed + sample) / 8, (3 * variation + smoothed.abs_diff(sample)) / 4)
                }
            });
        }
        self.answers += 1;
        self.saved = (self.saved + 1).min(EARLY_SAVED);
        self.lame = if useful { 0 } else { self.lame.saturating_add(1) };
        self.failures = 0;
        self.last_failure = None;
        self.silent_since = None;
        self.unanswered = 0;
        let was = std::mem::replace(&mut self.health, Health::Up);
        (was != Health::Up).then_some(Note::UpstreamUp { server: self.server })
    }

    /// An attempt was given up after `waited` although nothing failed: its answer would have taken longer still.
    pub fn not_awaited(&mut self, waited: Duration) {
        if waited <= self.patience() {
            // It had no chance.
            self.silent_since = None;
        }
        let waited = micros(waited);
        if self.rtt.is_none_or(|(smoothed, _)| smoothed < waited) {
            self.rtt = Some((waited, self.rtt.map_or(waited / 2, |(_, variation)| variation)));
        }
        self.trial_over();
    }

    /// An attempt sent at `sent` failed or was never answered. Attempts sent before the last failure say nothing new.
    pub fn failed(&mut self, now: Monotonic, sent: Monotonic) -> Option<Note> {
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

    /// The trial was cancelled or says nothing: the next question may try again.
    pub fn trial_over(&mut self) {
        if let Health::Trial { pause } = self.health {
            self.health = Health::Down { until: Monotonic(0), pause };
        }
    }

    /// How long to wait before a datagram counts as perhaps lost.
    pub fn resend_after(&self) -> Duration {
        self.rtt.map_or(RESEND_UNKNOWN, |(smoothed, variation)| {
            Duration::from_micros(smoothed + 4 * variation).clamp(RESEND_MIN, RESEND_MAX)
        })
    }

    /// How long to wait before a datagram may be repeated early; `None` where that is no earlier than usual.
    pub fn early_after(&self) -> Option<Duration> {
        let (smoothed, variation) = self.rtt?;
        let late = Duration::from_micros(smoothed) + Duration::from_micros(4 * variation).max(EARLY_MARGIN);
        (late < RESEND_MIN).then_some(late)
    }

    /// Whether an early repetition may be sent, which then is paid for.
    pub fn may_repeat_early(&mut self) -> bool {
        let may = self.saved >= EARLY_PRICE;
        self.saved -= if may { EARLY_PRICE } else { 0 };
        may
    }

    pub fn report(&self, now: Monotonic) -> UpstreamReport {
        let (state, retry_in) = match self.health {
            Health::Up if self.is_silent(now) => ("silent", None),
            Health::Up if self.answers == 0 => ("unknown", None),
            Health::Up => ("up", None),
            Health::Down { until, .. } => ("down", Some(until.since(now))),
            Health::Trial { .. } => ("trial", None),
        };
        UpstreamReport {
            server: self.server,
            state,
            srtt_us: self.rtt.map(|(smoothed, _)| smoothed),
            rttvar_us: self.rtt.map(|(_, variation)| variation),
            unresponsive: self.is_down(now),
            failures: self.failures,
            retry_in,
            queries: self.queries,
            answers: self.answers,
            edns: self.edns(now),
            keeps_case: self.keeps_case(now),
            cookies: self.cookie.is_known(),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 16).min(u64::MAX / 16)
}

/// Whom a new round asks, in order, and how many of them at once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub order: VecDeque<UpstreamId>,
    pub first: usize,
}

/// Orders those of `group` that answer by round-trip time, those not known yet first, so that they become known, and silent ones
/// last; one that is due for a trial is asked besides the first wave, so that no client waits for it. When none answers, all are
/// asked at once. The order is written where an older one was.
pub(crate) fn choose(
    upstreams: &mut [Upstream],
    group: &[UpstreamId],
    now: Monotonic,
    (first, mut order): (usize, VecDeque<UpstreamId>),
) -> Choice {
    order.clear();
    let mut trials = Vec::new();
    for id in group {
        let Some(upstream) = upstreams.get_mut(usize::from(id.0)) else { continue };
        match upstream.health {
            Health::Up => order.push_back(*id),
            Health::Down { until, pause } if now >= until => {
                upstream.health = Health::Trial { pause };
                trials.push(*id);
            }
            Health::Down { .. } | Health::Trial { .. } => {}
        }
    }
    if order.is_empty() {
        order.extend(group);
        return Choice { first: group.len(), order };
    }
    let rank = |id: &UpstreamId| {
        let upstream = upstreams.get(usize::from(id.0));
        upstream.map(|u| (u.lame >= LAME, u.is_silent(now), u.rtt.map_or(0, |(smoothed, _)| smoothed), *id))
    };
    order.make_contiguous().sort_unstable_by_key(rank);
    let first = first.max(1).min(order.len()) + trials.len();
    trials.into_iter().rev().for_each(|id| order.push_front(id));
    Choice { order, first }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Monotonic {
        Monotonic(ms * 1_000_000)
    }

    fn three() -> Vec<Upstream> {
        (1..=3).map(|n| Upstream::new(std::net::SocketAddr::from(([192, 0, 2, n], 53)).into())).collect()
    }

    const GROUP: [UpstreamId; 3] = [UpstreamId(0), UpstreamId(1), UpstreamId(2)];

    fn choose(upstreams: &mut [Upstream], now: Monotonic, first: usize) -> Choice {
        super::choose(upstreams, &GROUP, now, (first, VecDeque::new()))
    }

    fn ids(choice: &Choice) -> Vec<u16> {
        choice.order.iter().map(|id| id.0).collect()
    }

    #[test]
    fn upstreams_are_asked_in_the_order_of_their_round_trip_times() {
        let mut all = three();
        for (upstream, ms) in all.iter_mut().zip([30, 10, 20]) {
            upstream.answered(Some(Duration::from_millis(ms)), true);
        }
        assert_eq!(ids(&choose(&mut all, at(0), 2)), [1, 2, 0]);
    }

    #[test]
    fn one_lost_datagram_does_not_take_an_upstream_out() {
        let mut all = three();
        assert_eq!(all[0].failed(at(0), at(0)), None);
        assert_eq!(ids(&choose(&mut all, at(1), 2)), [0, 1, 2]);
    }

    #[test]
    fn attempts_that_time_out_together_count_once() {
        let mut all = three();
        for _ in 0..5 {
            all[0].failed(at(3000), at(0));
        }
        assert_eq!(all[0].report(at(3000)).failures, 1);
    }

    #[test]
    fn a_dead_upstream_is_left_alone_then_tried_beside_the_first_wave() {
        let mut all = three();
        all[0].failed(at(0), at(0));
        assert!(matches!(all[0].failed(at(10), at(5)), Some(Note::UpstreamDown { failures: 2, .. })));
        assert_eq!(ids(&choose(&mut all, at(20), 2)), [1, 2]);
        let trial = choose(&mut all, at(10 + 500), 1);
        assert_eq!((ids(&trial), trial.first), (vec![0, 1, 2], 2));
        assert_eq!(ids(&choose(&mut all, at(600), 1)), [1, 2], "one trial at a time");
        all[0].failed(at(700), at(510));
        assert_eq!(
            all[0].report(at(700)).retry_in,
            Some(Duration::from_secs(1)),
            "a failed trial doubles the pause"
        );
        assert_eq!(choose(&mut all, at(1700), 1).order[0], UpstreamId(0));
        assert!(matches!(
            all[0].answered(Some(Duration::from_millis(1)), true),
            Some(Note::UpstreamUp { .. })
        ));
    }

    #[test]
    fn the_pause_never_exceeds_its_bound() {
        let mut upstream = three().remove(0);
        for n in 0..40 {
            upstream.failed(at(n * 10_000), at(n * 10_000));
        }
        assert!(upstream.report(at(390_000)).retry_in.is_some_and(|left| left <= PAUSE_MAX));
    }

    #[test]
    fn early_repetitions_are_for_quick_upstreams_and_have_to_be_earned() {
        let mut upstream = three().remove(0);
        assert_eq!(upstream.early_after(), None, "nothing is known of it");
        for _ in 0..40 {
            upstream.answered(Some(Duration::from_millis(5)), true);
        }
        let early = upstream.early_after().expect("it is quick");
        assert!((Duration::from_millis(8)..Duration::from_millis(9)).contains(&early), "{early:?}");
        let saved = (0..1000).filter(|_| upstream.may_repeat_early()).count();
        assert_eq!(saved, usize::from(EARLY_SAVED / EARLY_PRICE));
        for _ in 0..EARLY_PRICE {
            upstream.answered(None, true);
        }
        assert!(upstream.may_repeat_early() && !upstream.may_repeat_early());
        for _ in 0..40 {
            upstream.answered(Some(Duration::from_millis(80)), true);
        }
        assert_eq!(upstream.early_after(), None, "the usual time is no later");
    }

    #[test]
    fn when_none_answers_all_are_asked_at_once() {
        let mut all = three();
        for upstream in &mut all {
            upstream.failed(at(0), at(0));
            upstream.failed(at(1), at(1));
        }
        let choice = choose(&mut all, at(2), 2);
        assert_eq!((ids(&choice), choice.first), (vec![0, 1, 2], 3));
    }

    #[test]
    fn another_network_has_ways_of_its_own() {
        let mut upstream = three().remove(0);
        let name = "a.test".parse().expect("a name");
        upstream.answered(Some(Duration::from_millis(5)), false);
        for _ in 0..9 {
            upstream.cannot_edns(at(0));
            upstream.was_in_strange_letters(at(0));
            upstream.answers_bare();
            upstream.drops_letters(at(0), &name);
            upstream.answered(None, false);
        }
        assert!(!upstream.edns(at(1)) && !upstream.keeps_case(at(1)) && upstream.lame >= LAME);
        upstream.forget_reach();
        assert!(upstream.edns(at(1)) && upstream.keeps_case(at(1)), "that was another box on the way");
        assert!(!upstream.letters.tells_apart(at(1), &name));
        assert_eq!((upstream.lame, upstream.bare, upstream.fails_letters), (0, 0, 0));
        upstream.was_in_strange_letters(at(1));
        assert!(upstream.keeps_case(at(1)), "one answer alone says nothing");
        let report = upstream.report(at(1));
        assert_eq!((report.answers, report.srtt_us), (10, Some(5_000)), "a first guess, and the counts");
    }

    #[test]
    fn a_connection_that_nobody_answers_makes_nobody_silent() {
        let mut upstream = three().remove(0);
        upstream.asked(at(0), Transport::Udp);
        upstream.answered(Some(Duration::from_millis(5)), false);
        for n in 1..9 {
            upstream.asked(at(n), Transport::Tcp);
        }
        assert_eq!(upstream.report(at(5_000)).state, "up");
        assert!(!upstream.is_down(at(5_000)));
    }

    #[test]
    fn who_is_silent_for_longer_than_usual_is_asked_last_and_not_waited_for() {
        let mut all = three();
        all.iter_mut().for_each(|upstream| upstream.asked(at(0), Transport::Udp));
        all[2].answered(Some(Duration::from_millis(30)), true);
        assert_eq!(ids(&choose(&mut all, at(101), 2)), [2, 0, 1]);
        assert!(all[2].is_trusted(at(101)) && !all[0].is_trusted(at(101)));
        all[2].asked(at(200), Transport::Udp);
        all[2].not_awaited(Duration::from_millis(10));
        assert!(all[2].is_trusted(at(9_000)), "it had no chance to answer");
    }
}
