//! Traces of the latest rounds and of the latest versions of sets, for `hitherctl query` and `explain`.
//! Their number and their memory are bounded.

mod ended_attempts;
mod versions;

pub(crate) use versions::Whose;
pub use versions::{Cause, Earlier, VersionTrace};

use crate::ids::AttemptId;
use crate::question::Question;
use crate::server::{Server, Transport};
use ended_attempts::EndedAttempts;
use hither_table::Monotonic;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use versions::Versions;

/// One attempt of a round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptTrace {
    /// The id of the attempt.
    pub id: AttemptId,
    /// The upstream of the attempt.
    pub upstream: Server,
    /// The transport of the attempt.
    pub transport: Transport,
    /// When the attempt began.
    pub sent: Monotonic,
    /// When the query left, if it had waited for a connection; `None` if it left when the attempt began.
    pub transmitted: Option<Monotonic>,
    /// When the attempt ended; `None` while it is outstanding.
    pub ended: Option<Monotonic>,
    /// How the attempt ended: `"waiting"`, `"answer"`, `"nodata"`, `"nxdomain"`, an RCODE in lower
    /// case, `"timeout"`, …
    pub outcome: Cow<'static, str>,
    /// The addresses in the response.
    pub addresses: Vec<IpAddr>,
    /// The version that was published because of the response.
    pub published: Option<u64>,
    /// What was refused: responses, and addresses of an accepted response. Each reason stands once.
    pub refused: Vec<Refusal>,
}

impl AttemptTrace {
    /// Notes that a response, or a part of one, was refused.
    pub(crate) fn refuse(&mut self, why: Refused, count: u32, now: Monotonic) {
        let kind = std::mem::discriminant(&why);
        match self.refused.iter_mut().find(|known| std::mem::discriminant(&known.why) == kind) {
            Some(known) => (known.count, known.last) = (known.count.saturating_add(count), now),
            None => self.refused.push(Refusal { why, count, last: now }),
        }
    }

    fn octets(&self) -> usize {
        self.addresses.capacity() * size_of::<IpAddr>() + self.refused.capacity() * size_of::<Refusal>()
    }
}

/// Something that an attempt brought and that was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Why it was refused.
    pub why: Refused,
    /// How many responses, or for a part of a response how many addresses.
    pub count: u32,
    /// When that happened last.
    pub last: Monotonic,
}

/// Why a response, or a part of one, was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The response came after its attempt had ended.
    Late,
    /// The response has another id.
    OtherId,
    /// The response is to another question.
    OtherQuestion,
    /// The response has no question.
    NoQuestion,
    /// The letter case of the question is not the query's.
    LetterCase,
    /// The cookie is not the one of this host.
    Cookie,
    /// The response cannot be read.
    Unreadable,
    /// Private addresses of a public name; the first of them.
    Private(IpAddr),
    /// Addresses that did not join the set: it is as large as a reply allows, or they expire too soon.
    LeftOut,
}

impl Refused {
    /// The reason as one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::OtherId => "other_id",
            Self::OtherQuestion => "other_question",
            Self::NoQuestion => "no_question",
            Self::LetterCase => "letter_case",
            Self::Cookie => "cookie",
            Self::Unreadable => "unreadable",
            Self::Private(_) => "private",
            Self::LeftOut => "left_out",
        }
    }
}

/// When and how a round ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoundEnd {
    /// The time of its end.
    pub at: Monotonic,
    /// `"complete"`, `"partial"` or `"superseded"`.
    pub how: &'static str,
}

/// A question that a round put to the site before it asked upstreams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SiteTrace {
    /// When it was asked.
    pub asked: Monotonic,
    /// When the round stopped to wait; `None` while it waits.
    pub ended: Option<Monotonic>,
    /// What came of it.
    pub outcome: SiteOutcome,
}

/// What came of a question to the site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SiteOutcome {
    /// The round waits for the answer.
    Waiting,
    /// A set of the site was published: it answered the clients, and no upstream was asked.
    Answer {
        /// The version of the set.
        version: u64,
    },
    /// The site knows nothing of the question, or cannot be asked any more.
    Nothing,
    /// What the site knows was refused.
    Refused,
    /// The site did not answer in time.
    Unanswered,
    /// The round ended before the answer.
    NotAwaited,
}

impl SiteOutcome {
    /// The outcome as one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Answer { .. } => "answer",
            Self::Nothing => "nothing",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
            Self::NotAwaited => "not_awaited",
        }
    }
}

/// The trace of one round.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    /// The id of the round.
    pub round: u64,
    /// The question of the round.
    pub question: Rc<Question>,
    /// When the round began.
    pub started: Monotonic,
    /// The end of the round; `None` while it is live.
    pub ended: Option<RoundEnd>,
    /// The question to the site, if the round has waited for its answer.
    pub site: Option<SiteTrace>,
    /// The attempts of the round in the order of sending.
    pub attempts: Vec<AttemptTrace>,
}

impl Trace {
    /// Its attempt with this id.
    pub(crate) fn attempt(&mut self, id: AttemptId) -> Option<&mut AttemptTrace> {
        self.attempts.iter_mut().find(|attempt| attempt.id == id)
    }

    /// The memory that it takes, in octets.
    fn octets(&self) -> usize {
        let attempts = self.attempts.capacity() * size_of::<AttemptTrace>();
        let lists: usize = self.attempts.iter().map(AttemptTrace::octets).sum();
        size_of::<Trace>() + size_of::<Question>() + attempts + lists
    }
}

/// Upper bound of the ended rounds that are kept.
const ROUNDS_KEPT_MAX: usize = 1024;
/// Upper bound of the octets that they take.
const OCTETS_MAX: usize = 2 << 20;
/// Attempts kept of one round; a long chase may have more.
pub(crate) const ATTEMPTS_KEPT_MAX: usize = 64;

/// What is remembered of rounds and versions.
#[derive(Debug)]
pub(crate) struct Traces {
    /// Ended rounds, the oldest first, each with its octets.
    rounds: VecDeque<(Trace, usize)>,
    octets: usize,
    /// The rounds of attempts that have ended.
    pub ended: EndedAttempts,
    pub versions: Versions,
    /// The version at which upstreams got other numbers.
    pub renumbered: u64,
}

impl Traces {
    /// `seed` is unpredictable. Sets of versions up to `born` are from before the start.
    pub fn new(seed: u64, born: u64) -> Traces {
        Traces {
            rounds: VecDeque::new(),
            octets: 0,
            ended: EndedAttempts::default(),
            versions: Versions::new(seed, born),
            renumbered: born,
        }
    }

    pub fn keep(&mut self, trace: Trace) {
        let octets = trace.octets();
        while self.rounds.len() >= ROUNDS_KEPT_MAX || self.octets + octets > OCTETS_MAX {
            if self.drop_oldest().is_none() {
                break;
            }
        }
        self.octets += octets;
        self.rounds.push_back((trace, octets));
    }

    /// Makes space for one more trace. Returns the oldest, if as much is kept as may be.
    pub fn make_space(&mut self) -> Option<Trace> {
        let is_full = self.rounds.len() >= ROUNDS_KEPT_MAX || self.octets >= OCTETS_MAX / 16 * 15;
        if is_full { self.drop_oldest() } else { None }
    }

    fn drop_oldest(&mut self) -> Option<Trace> {
        let (trace, octets) = self.rounds.pop_front()?;
        self.octets -= octets;
        Some(trace)
    }

    pub fn latest(&self, question: &Question) -> Option<&Trace> {
        self.rounds.iter().rev().map(|(trace, _)| trace).find(|trace| *trace.question == *question)
    }

    /// The trace of an ended round.
    pub fn of_round(&mut self, round: u64) -> Option<&mut Trace> {
        self.rounds.iter_mut().rev().map(|(trace, _)| trace).find(|trace| trace.round == round)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn trace(round: u64, addresses: u8) -> Trace {
        let attempt = AttemptTrace {
            id: AttemptId(round),
            upstream: Server::from(SocketAddr::from(([192, 0, 2, 1], 53))),
            transport: Transport::Udp,
            sent: Monotonic(1),
            transmitted: None,
            ended: None,
            outcome: "answer".into(),
            addresses: (0..addresses).map(|n| IpAddr::from([192, 0, 2, n])).collect(),
            published: None,
            refused: Vec::new(),
        };
        let name = "a.test".parse().expect("a name");
        let rtype = hither_wire::codes::Rtype::A;
        let question = Rc::new(Question { name, rtype, dnssec_ok: false, checking_disabled: false });
        Trace { round, question, started: Monotonic(1), ended: None, site: None, attempts: vec![attempt] }
    }

    #[test]
    fn rounds_are_bounded_in_number_and_in_memory() {
        let mut traces = Traces::new(1, 0);
        (0..ROUNDS_KEPT_MAX as u64 + 9).for_each(|n| traces.keep(trace(n, 1)));
        assert_eq!(traces.rounds.len(), ROUNDS_KEPT_MAX);
        assert!(traces.of_round(8).is_none() && traces.of_round(9).is_some());
        let long = |n: u64| {
            let mut long = trace(n, 255);
            let attempt = long.attempts[0].clone();
            long.attempts.resize(ATTEMPTS_KEPT_MAX, attempt);
            long
        };
        for n in 0..99 {
            let _ = traces.make_space();
            traces.keep(long(10_000 + n));
            let octets: usize = traces.rounds.iter().map(|(trace, _)| trace.octets()).sum();
            assert!(octets == traces.octets && octets <= OCTETS_MAX, "{octets}");
        }
        assert!(traces.rounds.len() < 9 && traces.of_round(10_098).is_some());
    }

    #[test]
    fn each_reason_of_a_refusal_stands_once_with_its_count() {
        let mut attempt = trace(1, 0).attempts.remove(0);
        for n in 0..5 {
            attempt.refuse(Refused::Late, 1, Monotonic(n));
            attempt.refuse(Refused::Private([10, 0, 0, n as u8].into()), 2, Monotonic(n));
        }
        let private = Refusal { why: Refused::Private([10, 0, 0, 0].into()), count: 10, last: Monotonic(4) };
        assert_eq!(attempt.refused, [Refusal { why: Refused::Late, count: 5, last: Monotonic(4) }, private]);
    }
}
