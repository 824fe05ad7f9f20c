//! What goes to the engine and what comes from it, and where it is on its way.

use super::engine::board::{Ask, Board, Found};
use super::incoming::{self, Incoming, Outcome};
use super::interest::Interest;
use super::outgoing::{self, FoundBy, Outgoing};
use super::publication::Writer;
use super::reporting::Reporting;
use super::rules::{Rules, Unshared};
use super::survey::{SETS_MAX, Survey};
use crate::companion::connection::{Connection, Sent};
use crate::companion::followed_table::FollowedTable;
use crate::config::Config;
use crate::logging::Event;
use hither_client::{Family, Snapshot};
use hither_control::{MESSAGE_MAX, OFFERS_MAX, OfferedSet, SiteMessage, encode};
use hither_entries::Seal;
use hither_net::random::Random;
use hither_table::Monotonic;
use hither_wire::name::Name;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Offers that wait for the daemon. While there are as many, nothing more is taken from the engine but the
/// answers to questions.
const OFFERS_WAIT_MAX: usize = 4 * OFFERS_MAX;
/// Answers that wait for the daemon: it waits for no more questions than that.
const ANSWERS_WAIT_MAX: usize = 512;

/// Octets of a message around its sets, at most.
const AROUND: usize = 64;

/// The state of the exchange.
#[derive(Debug)]
pub(super) struct Exchange {
    rules: Rules,
    seal: Seal,
    board: Arc<Board>,
    interest: Interest,
    outgoing: Outgoing,
    incoming: Incoming,
    survey: Survey,
    /// Offers and answers that the daemon has not accepted yet.
    waiting: VecDeque<SiteMessage>,
    offers: VecDeque<OfferedSet>,
    warmth: Warmth,
    /// Until when all changes of the table have been read.
    caught_up: Monotonic,
    /// The engine may have given something.
    has_found: bool,
}

/// Whether the daemon's table has been offered what the site knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Warmth {
    Cold,
    /// The engine is being read.
    Warming,
    Warm,
}

impl Exchange {
    pub fn new(config: &Config, host: &str, seal: Seal, board: Arc<Board>) -> Result<Exchange, String> {
        let mut random =
            Random::new().map_err(|error| format!("the kernel gives no random numbers: {error}"))?;
        let group = config.site.group.as_str();
        let deadline_ms = u64::try_from(config.settings.deadline.as_millis()).unwrap_or(u64::MAX);
        let writer = Writer { host: host.into(), group: group.into(), deadline_ms };
        Ok(Exchange {
            rules: Rules::new(config),
            seal,
            board,
            interest: Interest::new(),
            outgoing: Outgoing::new(writer),
            incoming: Incoming::new(host, group, [random.draw(), random.draw()]),
            survey: Survey::default(),
            waiting: VecDeque::new(),
            offers: VecDeque::new(),
            warmth: Warmth::Cold,
            caught_up: Monotonic(0),
            has_found: false,
        })
    }

    /// The engine has given something, or its state has changed.
    pub fn note_engine(&mut self) {
        self.has_found = true;
    }

    /// The daemon says which domains stay on this host; `None`: all. What was asked of the engine before is
    /// judged by the new list.
    pub fn set_unshared(&mut self, domains: Option<BTreeSet<Name>>) {
        self.rules.set_unshared(domains.map_or(Unshared::All, Unshared::Below));
    }

    /// Whether the daemon has said which names stay on this host. Until then nothing is exchanged.
    pub fn may_share(&self) -> bool {
        self.rules.know_what_stays()
    }

    /// The daemon is gone, and with it what it has said of names.
    pub fn end_daemon(&mut self) {
        self.rules.set_unshared(Unshared::Unknown);
    }

    /// Whether the next turn follows at once.
    pub fn has_work(&self, accepts: bool, has_table: bool) -> bool {
        if !self.may_share() {
            return false;
        }
        let surveys = has_table && self.survey.is_under_way() && self.board.free() > SETS_MAX;
        self.has_found || surveys || (accepts && !(self.waiting.is_empty() && self.offers.is_empty()))
    }

    /// Another table was opened, or changes of it were lost.
    pub fn begin_table(&mut self) {
        self.survey.begin();
        self.caught_up = Monotonic(0);
    }

    /// A daemon is connected: its table may be cold.
    pub fn begin_daemon(&mut self) {
        self.waiting.clear();
        self.offers.clear();
        self.warmth = Warmth::Cold;
    }

    /// All changes have been read.
    pub fn caught_up(&mut self, now: Monotonic) {
        self.caught_up = now;
    }

    /// A record was published.
    pub fn publish(&mut self, table: &FollowedTable, now: Monotonic) {
        let Some(reader) = table.reader() else { return };
        let found_by = FoundBy::Change(self.caught_up);
        let means =
            outgoing::Means { rules: &self.rules, seal: &self.seal, board: &self.board, reader: &reader };
        self.outgoing.take(table.snapshot(), found_by, means, &mut self.interest, now);
    }

    /// Goes on with the survey of the table.
    ///
    /// `latest` is a version of the table from before the daemon's messages were read. Later sets are left
    /// out, since the daemon may have said since that their names stay here. They are found as changes.
    pub fn go_on(&mut self, table: &mut FollowedTable, latest: u64, now: Monotonic) {
        if !self.may_share() || !self.survey.is_under_way() || self.board.free() <= SETS_MAX {
            return;
        }
        let Some(reader) = table.reader() else { return };
        let Exchange { survey, outgoing, interest, rules, seal, board, .. } = self;
        let means = outgoing::Means { rules, seal, board, reader: &reader };
        survey.go_on(&reader, table.snapshot_mut(), |record: &Snapshot| {
            outgoing.take(record, FoundBy::Survey { latest }, means, interest, now);
        });
    }

    /// Asks the engine; `false` if there is nothing to wait for.
    pub fn ask(&mut self, number: u64, name: &str, rtype: &str, now: Monotonic) -> bool {
        self.incoming.counts.asks += 1;
        let family = match rtype {
            "A" => Family::A,
            "AAAA" => Family::Aaaa,
            _ => return false,
        };
        let Ok(name) = name.parse::<Name>() else { return false };
        self.interest.note(name.to_lower().as_wire(), now);
        let key = self.seal.keys().key(&name, family);
        self.rules.is_shared(&name.to_lower()) && self.board.ask(Ask { number, key, at: now })
    }

    /// Takes what the engine has given, at most so many entries, and sends the daemon what comes of it.
    pub fn take_entries(&mut self, most: usize, daemon: &mut Connection, now: Monotonic) {
        if !self.may_share() {
            return;
        }
        self.warm_up(daemon);
        let mut left = most;
        while left > 0
            && let Some(found) = self.next_found(daemon)
        {
            left -= 1;
            let means = incoming::Means { rules: &self.rules, seal: &self.seal, interest: &self.interest };
            match self.incoming.take(found, means, now) {
                Outcome::Offer(set) => self.offers.push_back(*set),
                Outcome::Answer { ask, set } => {
                    // A daemon that reads nothing has given up waiting.
                    if self.waiting.len() < ANSWERS_WAIT_MAX {
                        self.waiting.push_back(SiteMessage::Answer { ask, set });
                    }
                }
                Outcome::Nothing => {}
            }
        }
        self.has_found = left == 0;
        self.send(daemon, now);
        self.log_refusal();
    }

    fn next_found(&mut self, daemon: &Connection) -> Option<Found> {
        let has_space = self.offers.len() < OFFERS_WAIT_MAX;
        // Without a daemon nothing is kept for it.
        if has_space || !daemon.is_connected() { self.board.take() } else { self.board.take_answer() }
    }

    /// Asks for all that the site knows, once for each daemon.
    fn warm_up(&mut self, daemon: &Connection) {
        match self.warmth {
            Warmth::Cold if daemon.is_connected() => {
                self.board.scan();
                self.warmth = Warmth::Warming;
            }
            Warmth::Warming if self.board.state().is_scanned => {
                log::info!("the daemon was offered what the site knows");
                self.warmth = Warmth::Warm;
            }
            _ => {}
        }
    }

    /// Sends answers, then offers, until the daemon accepts no more.
    fn send(&mut self, daemon: &mut Connection, now: Monotonic) {
        if !daemon.is_connected() {
            self.waiting.clear();
            self.offers.clear();
        }
        loop {
            if self.waiting.is_empty() && !self.offers.is_empty() {
                let sets = portion(&mut self.offers);
                self.incoming.counts.offered += sets.len() as u64;
                self.waiting.push_back(SiteMessage::Offers { sets });
            }
            let Some(message) = self.waiting.front() else { return };
            if !daemon.accepts() || daemon.send(message, now) != Sent::Yes {
                return;
            }
            self.waiting.pop_front();
        }
    }

    /// The first refusal is logged, the others are counted.
    fn log_refusal(&mut self) {
        if let Some((refusal, key)) = self.incoming.take_refusal() {
            log::warn!(
                event = Event::EntriesRefused, reason:% = refusal, name = key.as_str();
                "an entry of the site is refused: {refusal} ({key}); others are counted, see hitherctl status"
            );
        }
    }

    /// Updates the report; `true` if the engine's state is another one, which is logged.
    pub fn update(&mut self, reporting: &mut Reporting) -> bool {
        let state = self.board.state();
        let mut counts = self.incoming.counts;
        counts.dropped += self.outgoing.unfit;
        let is_other = reporting.update(&state, counts);
        if is_other {
            match &reporting.report().problem {
                Some(problem) => log::warn!(
                    event = Event::EngineTrouble, reason = problem.as_str();
                    "{problem}"
                ),
                None if state.is_up => {
                    log::info!(event = Event::EngineUp, engine = state.engine.as_str(); "sharing by {}", state.engine);
                }
                None => {}
            }
        }
        is_other
    }
}

/// Takes the offers of the next message, which is never too long: sets may have hundreds of addresses.
fn portion(offers: &mut VecDeque<OfferedSet>) -> Vec<OfferedSet> {
    let (mut sets, mut left) = (Vec::new(), MESSAGE_MAX - AROUND);
    while sets.len() < OFFERS_MAX
        && let Some(next) = offers.front()
    {
        let octets = encode(next).map_or(MESSAGE_MAX, |octets| octets.len() + 1);
        if octets > left && !sets.is_empty() {
            break;
        }
        left = left.saturating_sub(octets);
        sets.extend(offers.pop_front());
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;
    use hither_control::{OfferedAddress, OfferedTimes};

    #[test]
    fn sets_of_many_addresses_are_divided_into_messages_that_can_be_sent() {
        let address = |n: u16| OfferedAddress {
            address: [0x2600, 0x1234, 0x5678, 0x9abc, 0xdef0, 0x1234, 0x5678, n].into(),
            chain: 0,
            trusted: true,
            sources: 2,
        };
        let set = |n: usize| OfferedSet {
            name: format!("n{n}.example."),
            rtype: "AAAA".to_owned(),
            host: "a".to_owned(),
            said_by: Vec::new(),
            times: OfferedTimes { asked_ms: 1, learned_ms: 1, expire_ms: 2, lifetime_s: 60 },
            answered: 1,
            disputes: 0,
            negative: None,
            addresses: (0..if n.is_multiple_of(2) { 200 } else { 1 }).map(address).collect(),
            chains: vec![Vec::new()],
            soa: None,
        };
        let mut offers: VecDeque<_> = (0..100).map(set).collect();
        let mut names = Vec::new();
        while !offers.is_empty() {
            let sets = portion(&mut offers);
            assert!((1..=OFFERS_MAX).contains(&sets.len()));
            names.extend(sets.iter().map(|set| set.name.clone()));
            encode(&SiteMessage::Offers { sets }).expect("short enough");
        }
        assert_eq!(names, (0..100).map(|n| set(n).name).collect::<Vec<_>>());
    }
}
