//! Queries of the core and their responses: which response counts, when, and for which round.

use super::Oracle;
use super::judge::{Path, read};
use super::known::{Content, Denial, Dissent, Plausible, SeenRound, Sent};
use super::provenance::{Good, is_private};
use super::retries::{CONFIRM_WITHIN, Doubted, Unconfirmed};
use hither_rounds::{AttemptId, Question, UpstreamId};
use hither_table::{Monotonic, Negative};
use hither_wire::name::Name;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long clients wait when every upstream is down.
pub(super) const DOWN_DEADLINE: Duration = Duration::from_millis(1_800);
/// The longest TTL of a denial that stands for withheld private addresses.
const WITHHELD: Duration = Duration::from_secs(60);

/// A readable message, and when it was received.
#[derive(Clone, Debug)]
pub(super) struct Response {
    pub came: Monotonic,
    pub content: Content,
    pub ttl_s: u32,
    pub path: Path,
}

impl Oracle {
    pub fn sent(
        &mut self,
        now: Monotonic,
        attempt: AttemptId,
        (question, upstream): (Question, UpstreamId),
        Sent { chased, tcp, mixed }: Sent,
    ) {
        let patience = if self.rating.all_down { DOWN_DEADLINE } else { self.settings.deadline };
        let deadline = now.plus(patience.min(self.settings.deadline));
        if tcp {
            self.connects(now, attempt, (&question, upstream));
        }
        if mixed {
            self.retries.mixed.insert(attempt);
        } else {
            self.asks_in_lower_case(now, attempt, (&question, upstream));
        }
        let (upstreams, down) = (self.upstreams, &self.rating.down);
        let known = self.questions.get_mut(&question).expect("each query belongs to a question of a client");
        let idle = known.rounds.last().is_none_or(|round| round.open.is_empty());
        if known.rounds.is_empty() || (known.fresh && idle) {
            known.fresh = false;
            known.began = true;
            known.rounds.push(SeenRound {
                started: now,
                slept: Duration::ZERO,
                deadline: known.inherits.take().unwrap_or(deadline),
                excused: if down.len() < upstreams { down.clone() } else { BTreeSet::new() },
                asked: BTreeSet::new(),
                open: Default::default(),
                failed: BTreeSet::new(),
                good: Vec::new(),
                dissent: Dissent::default(),
                dangling_until_ms: None,
                upstreams,
                void: false,
                evicted: false,
            });
        }
        let round = known.rounds.last_mut().expect("just made sure");
        assert!(now < round.deadline, "an attempt is sent after its round's deadline");
        round.asked.insert(upstream);
        if chased {
            round.excused.extend(down);
        }
        round.open.insert(attempt, upstream);
        self.open.insert(attempt, question);
    }

    pub fn resent(&mut self, attempt: AttemptId) {
        assert!(self.open.contains_key(&attempt), "an attempt that has ended is retransmitted");
        self.judge_resent(attempt);
    }

    pub fn closed(&mut self, now: Monotonic, attempt: AttemptId) {
        self.has_ended(now, attempt);
        let late = self.round_of(attempt).is_none_or(|round| now >= round.deadline);
        let question = self.open.remove(&attempt).expect("an attempt is closed twice, or was never open");
        let doubted = self.retries.doubted.remove(&attempt);
        let believed = doubted.is_some_and(|doubted| doubted.unusual && doubted.tcp.is_none());
        assert!(
            late || !believed,
            "{attempt:?} ends with a response that may be forged, without a query over TCP"
        );
        let pending = self.retries.unconfirmed.remove(&attempt);
        let Some(known) = self.questions.get_mut(&question) else { return };
        if let Some(round) = known.rounds.last_mut() {
            let upstream = round.open.remove(&attempt).filter(|_| !known.fresh && !round.void);
            round.evicted |= self.newcomer.is_full && round.open.is_empty();
            self.retries.handed_on.extend(upstream.zip(pending).map(|(from, p)| (question, from, p)));
        }
    }

    /// Notes that an attempt's socket failed. `closed`: its connection ended without a message.
    pub fn failed(&mut self, now: Monotonic, attempt: AttemptId, closed: bool) {
        if !self.open.contains_key(&attempt) {
            return;
        }
        if closed && !self.retries.second.contains(&attempt) {
            return self.owes(now, attempt, true);
        }
        if let Some(id) = self.confirms(attempt) {
            return self.unconfirmed(now, id);
        }
        let question = self.open.get(&attempt).copied();
        if let Some(round) = self.round_of(attempt) {
            let upstream = round.open.get(&attempt).copied();
            round.failed.extend(upstream);
            self.retries.ended_twice = question.zip(upstream).filter(|_| closed);
        }
    }

    /// Notes that deadlines pass: responses that TCP has not confirmed in time count.
    pub fn time(&mut self, now: Monotonic) {
        let over = |doubted: &Doubted| !doubted.alone && doubted.until.is_some_and(|until| now >= until);
        let doubted = self.retries.doubted.iter();
        let over: Vec<_> = doubted.filter(|(_, d)| over(d)).map(|(id, _)| *id).collect();
        over.iter().for_each(|id| self.unconfirmed(now, *id));
        // If an attempt without EDNS follows in this instant, it checks the denial instead.
        let due = |id: &AttemptId, p: &Unconfirmed| now >= p.asked.plus(CONFIRM_WITHIN) && !over.contains(id);
        let unconfirmed = self.retries.unconfirmed.iter();
        let due: Vec<_> = unconfirmed.filter(|(id, p)| due(id, p)).map(|(id, _)| *id).collect();
        due.into_iter().for_each(|id| self.stands(id));
    }

    /// Notes a message if it counts: its attempt is outstanding, and it responds to the attempt's question.
    pub fn message(
        &mut self,
        now: Monotonic,
        attempt: AttemptId,
        question: &Question,
        octets: &[u8],
        plausible: Plausible,
    ) {
        self.took(now, attempt);
        match plausible {
            Plausible::Forged => return self.doubt(attempt),
            Plausible::Useless => return self.failed(now, attempt, false),
            Plausible::Unreadable { udp, edns } => return self.unreadable(now, attempt, (udp, edns)),
            Plausible::Right | Plausible::Unusual => {}
        }
        let Some((content, ttl_s, path)) = read(octets, question) else { return };
        let response = Response { came: now, content, ttl_s, path };
        if plausible == Plausible::Unusual {
            self.doubt(attempt);
            self.retries.doubted.entry(attempt).and_modify(|doubted| doubted.unusual = true);
        }
        match self.retries.doubted.get_mut(&attempt) {
            Some(doubted) if !doubted.alone => {
                let sure = plausible == Plausible::Right;
                if doubted.kept.is_none() || (sure && !doubted.sure) {
                    (doubted.kept, doubted.sure) = (Some(response), sure);
                }
            }
            _ => {
                let failed = response.content == Content::Error;
                match self.confirms(attempt).filter(|id| failed && self.has_answered(*id)) {
                    Some(doubted) => self.unconfirmed(now, doubted),
                    None => self.counts(now, attempt, response),
                }
            }
        }
    }

    /// Notes that a response counts now. Its TTLs count from its receipt.
    pub(super) fn counts(&mut self, now: Monotonic, attempt: AttemptId, response: Response) {
        let settings = self.settings.clone();
        let Response { came, content, ttl_s, path } = response;
        let (mixed, lies) = (self.retries.mixed.contains(&attempt), self.retries.lies.contains(&attempt));
        let question = self.open.get(&attempt).copied();
        let confirmed = self.confirms(attempt);
        if let Some(denial) = confirmed.and_then(|doubted| self.retries.unconfirmed.remove(&doubted)) {
            self.retries.unconfirmed.insert(attempt, denial);
        }
        if !matches!(content, Content::Error | Content::Truncated) {
            self.retries.unconfirmed.remove(&attempt);
        }
        let Some(round) = self.round_of(attempt) else { return };
        // After a sleep, the round's deadline may have passed before its timer is handled. A response that
        // was kept does not count at the deadline itself.
        let past = |at: Monotonic| now > at || (came < now && now == at);
        let name = question.map_or(Name::ROOT, |question| question.name);
        if past(round.deadline) || round.until_ms(&name).is_some_and(|at| past(Monotonic::from_ms(at))) {
            return;
        }
        match content {
            Content::Addresses(mut addresses) => {
                let given = addresses.len();
                addresses.retain(|address| !is_private(address));
                if addresses.len() < given {
                    round.dissent.private.extend(round.open.get(&attempt));
                }
                let ttl = Duration::from_secs(u64::from(ttl_s)).clamp(settings.min_ttl, settings.max_ttl);
                if addresses.is_empty() {
                    let ttl = ttl.min(WITHHELD).min(settings.max_negative_ttl);
                    let until_ms = came.plus(ttl).as_ms();
                    return round.dissent.denials.push(Denial {
                        came: now,
                        kind: Negative::Withheld,
                        until_ms,
                    });
                }
                let bound = round.dangling_until_ms.filter(|_| path.chased).unwrap_or(u64::MAX);
                let until_ms = came.plus(ttl).as_ms().min(bound);
                let from = *round.open.get(&attempt).expect("it is open");
                round.good.push(Good { from, at: now, addresses, until_ms, links: path.octets });
            }
            Content::Denied(kind) => {
                let ttl = Duration::from_secs(u64::from(ttl_s)).min(settings.max_negative_ttl);
                let denial = Denial { came: now, kind, until_ms: came.plus(ttl).as_ms() };
                if let Some(from) = round.open.get(&attempt) {
                    *round.dissent.denied.entry(*from).or_default() |= !lies && !mixed;
                }
                let denial = (!lies).then_some(denial);
                round.dissent.denials.extend(denial);
                let upstream = round.open.get(&attempt).copied();
                if let (true, Some(question), Some(upstream)) = (mixed, question, upstream) {
                    let unconfirmed = Unconfirmed { denial, asked: now };
                    self.retries.just_denied = Some((question, upstream, unconfirmed));
                }
            }
            Content::Dangling => {
                round.dangling_until_ms.get_or_insert(now.as_ms() + u64::from(ttl_s) * 1000);
            }
            Content::Error => round.failed.extend(round.open.get(&attempt)),
            Content::Truncated => {}
        }
    }
}
