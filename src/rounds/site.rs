//! What the core keeps of the site: the rounds of its sets, when each question was answered last, who gave
//! what, and whether asking it is worth the wait.

mod breaker;
mod known;
mod sources;

pub(crate) use breaker::{Ask, Breaker};
pub use sources::SiteOrigin;

use crate::offer::Offer;
use hither_table::layout::SITE_ROUNDS;
use hither_table::{Family, Monotonic, Writer};
use hither_wire::name::Name;
use known::Known;
use sources::Sources;

/// The site as the core knows it.
#[derive(Debug)]
pub(crate) struct SiteState {
    /// Whether the companion is connected and its engine answers.
    pub is_ready: bool,
    pub breaker: Breaker,
    /// Rounds that wait for the site.
    pub waiting: usize,
    /// The first of the rounds that sets of the site have; 0: there are no such sets.
    first_round: u64,
    /// When each question was answered last; `None` while nothing is shared.
    known: Option<Known>,
    /// Whether the table was taken over: what was answered before the start is not known.
    has_past: bool,
    sources: Sources,
    /// For hashes of names: unpredictable.
    seed: u64,
}

impl SiteState {
    /// The site of a core that begins with this table. `seed` is unpredictable.
    pub fn new(writer: &mut Writer, is_on: bool, seed: u64) -> SiteState {
        let first_round = writer.reader().site_rounds();
        let mut state = SiteState {
            is_ready: false,
            breaker: Breaker::default(),
            waiting: 0,
            first_round,
            known: None,
            has_past: first_round != 0 || writer.entries() > 0,
            sources: Sources::default(),
            seed,
        };
        if is_on {
            state.turn_on(writer, Monotonic(0));
        }
        state
    }

    /// Follows the setting. What was answered while nothing was shared is not known.
    pub fn switch(&mut self, writer: &mut Writer, is_on: bool, now: Monotonic) {
        match (is_on, &self.known) {
            (true, None) => self.turn_on(writer, now),
            (false, Some(_)) => self.known = None,
            (true, Some(_)) | (false, None) => {}
        }
    }

    fn turn_on(&mut self, writer: &mut Writer, floor: Monotonic) {
        self.known = Some(Known::new(self.seed, floor));
        if self.first_round == 0 {
            self.first_round = writer.begin_site_rounds().unwrap_or(0);
        }
    }

    /// Notes the first event of the site: what the process before this one has answered or flushed is at
    /// most as new as this.
    pub fn begin(&mut self, now: Monotonic) {
        if std::mem::take(&mut self.has_past) {
            self.raise_floor(now);
        }
    }

    /// The first of the rounds that sets of the site have; 0: there are no such sets.
    #[inline]
    pub fn first_round(&self) -> u64 {
        self.first_round
    }

    /// Whether a set with this round came from the site.
    pub fn has_round(&self, round: u64) -> bool {
        self.first_round != 0 && round.wrapping_sub(self.first_round) < SITE_ROUNDS
    }

    /// The round of the sets that a host has learned; `None` while nothing is shared.
    pub fn round_of(&self, host: &str) -> Option<u64> {
        (self.known.is_some() && self.first_round != 0)
            .then(|| self.first_round + u64::from(sources::number_of(host)))
    }

    /// Whether an upstream was asked for the set later than for everything that is known of its question.
    pub fn is_news(&self, offer: &Offer) -> bool {
        self.known.as_ref().is_some_and(|known| offer.times.asked > known.latest(&offer.name, offer.family))
    }

    /// Notes that an own round has answered a question, or that its answer was voided.
    pub fn note_own(&mut self, name: &Name, family: Family, now: Monotonic) {
        if let Some(known) = &mut self.known {
            known.note(name, family, now);
        }
    }

    /// Notes that a set of the site was published.
    pub fn note_offer(&mut self, offer: &Offer) {
        self.note_own(&offer.name, offer.family, offer.times.learned);
        self.sources.note(self.seed, offer);
    }

    /// Notes that everything was voided: nothing older is news any more.
    pub fn raise_floor(&mut self, now: Monotonic) {
        if let Some(known) = &mut self.known {
            known.raise_floor(now);
        }
    }

    /// Begins with other rounds, after all sets of the earlier ones were voided.
    pub fn begin_anew(&mut self, writer: &mut Writer, now: Monotonic) {
        self.raise_floor(now);
        self.sources = Sources::default();
        self.first_round = if self.known.is_some() { writer.begin_site_rounds().unwrap_or(0) } else { 0 };
        if self.first_round == 0 {
            writer.set_site_rounds(0);
        }
    }

    /// Who gave the set of a question that has this round, as far as that is kept.
    pub fn origin(&self, name: &Name, family: Family, round: u64) -> Option<SiteOrigin> {
        let number = round.wrapping_sub(self.first_round);
        let number = u16::try_from(number).ok().filter(|_| self.first_round != 0)?;
        Some(self.sources.origin(self.seed, name, family, number))
    }
}
