//! Offers: sets that other hosts of the site have learned.
//!
//! An offer is published only if an upstream was asked for it after everything that is known of its question
//! here was answered. So no older answer comes after a newer one, whatever the companion, its engine and the
//! network do: reorder, repeat, delay. A round that has sent a query is never ended or overtaken, since its
//! upstream may have answered earlier than that of the offer.

use crate::offer::{Judge, Offer, Site};
use crate::question::Question;
use crate::reply::Answer;
use crate::resolver::Rounds;
use crate::round::End;
use crate::routes::nearest;
use crate::settings::Bounds;
use crate::shared::Published;
use crate::site::{Ask, SiteOrigin};
use crate::trace::{Cause, SiteOutcome};
use hither_table::layout::SITE_ROUNDS;
use hither_table::{Counter, Family, FamilyView, Key, Negative};
use hither_wire::name::Name;

/// An offer that was published, and the round that has waited for it.
struct Taken {
    published: Published,
    waiting: Option<u64>,
}

impl Rounds {
    pub(crate) fn site(&mut self, site: Site) {
        let now = self.shared.now;
        self.shared.site.begin(now);
        match site {
            Site::Ready(is_ready) => {
                self.shared.site.is_ready = is_ready;
                if !is_ready {
                    self.end_all_site_waits();
                }
            }
            Site::Offers(offers) => offers.into_iter().for_each(|offer| {
                self.take_offer(&offer);
            }),
            Site::Answer { round, offer } => self.take_site_answer(round, offer.as_deref()),
            Site::Flush => self.flush_site(),
        }
    }

    /// Where the cached set for a question comes from, if that is the site.
    pub fn site_origin(&mut self, question: &Question) -> Option<SiteOrigin> {
        let family = question.family()?;
        let shared = &mut self.shared;
        let is_known = shared.writer.get(&Key::of(&question.name), &mut shared.scratch);
        let round = shared.scratch.family(family).filter(|_| is_known)?.round();
        shared.site.has_round(round).then(|| shared.site.origin(&question.name, family, round)).flatten()
    }

    /// Where a fresh answer for a name comes from, if that is the site.
    #[must_use]
    pub fn site_origin_of(&self, name: &Name, answer: &Answer) -> Option<SiteOrigin> {
        let Answer::Record { record, family, stale_ttl_s: None } = answer else { return None };
        self.shared.site.origin(name, *family, record.family(*family)?.round())
    }

    /// Whether an answer is a fresh set that came from the site.
    pub(crate) fn is_from_site(&self, answer: &Answer) -> bool {
        let Answer::Record { record, family, stale_ttl_s: None } = answer else { return false };
        record.family(*family).is_some_and(|set| self.shared.site.has_round(set.round()))
    }

    /// How to ask the site for a new question of a client.
    pub(crate) fn how_to_ask_site(&self, question: &Question) -> Ask {
        let (shared, now) = (&self.shared, self.shared.now);
        if !shared.settings.site.asks || !shared.site.is_ready || !self.is_shareable(question) {
            return Ask::No;
        }
        let until = now.plus(shared.settings.site.wait);
        shared.faults.how_to_ask(shared.site.breaker.how(now, until), until)
    }

    /// Whether answers to a question are shared: those for addresses of public names without upstreams of
    /// their own.
    fn is_shareable(&self, question: &Question) -> bool {
        let (shared, name) = (&self.shared, &question.name);
        let (settings, routes) = (&shared.settings, &shared.groups.routes);
        let domains = &settings.site.domains;
        settings.site.is_on
            && question.family().is_some()
            && settings.rebinding.has_owner(name, routes)
            && routes.domain(name).is_none()
            && (domains.is_empty() || nearest(name, |at| domains.get(at)).is_some())
            && !shared.exists_here(name)
            && shared.local_answer(question).is_none()
    }

    /// The companion's answer: the round that waits for it has its answer, or goes on.
    fn take_site_answer(&mut self, id: u64, offer: Option<&Offer>) {
        let (now, wait) = (self.shared.now, self.shared.settings.site.wait);
        let waits = self.rounds.get(&id).is_some_and(|round| round.asks_site());
        let in_time = if waits { Some(true) } else { self.shared.site.breaker.end_trial(id, now, wait) };
        match in_time {
            Some(true) => {
                self.shared.site.breaker.close();
                self.shared.count(Counter::SiteAnswers);
            }
            Some(false) => self.shared.count(Counter::SiteUnanswered),
            None => {}
        }
        let outcome = if offer.is_some() { SiteOutcome::Refused } else { SiteOutcome::Nothing };
        if let Some(offer) = offer {
            self.take_offer(offer);
        }
        // If the offer was published for its question, the round has ended.
        self.go_on_without_site(id, outcome);
    }

    fn go_on_without_site(&mut self, id: u64, outcome: SiteOutcome) {
        if self.rounds.get(&id).is_some_and(|round| round.asks_site()) {
            self.with(id, |round, shared| {
                round.go_on_without_site(shared, outcome);
                round.conclude(shared)
            });
        }
    }

    /// Lets every round that waits for the site go on.
    pub(crate) fn end_all_site_waits(&mut self) {
        if self.shared.site.waiting > 0 {
            let waiting: Vec<u64> =
                self.rounds.values().filter(|round| round.asks_site()).map(|round| round.id).collect();
            waiting.into_iter().for_each(|id| self.go_on_without_site(id, SiteOutcome::Nothing));
        }
    }

    /// Publishes an offer, or refuses it. Clients that wait for the site get it.
    fn take_offer(&mut self, offer: &Offer) {
        self.shared.count(Counter::SiteOffers);
        let Some(Taken { published, waiting }) = self.publish_offer(offer) else {
            return self.shared.count(Counter::SiteRefused);
        };
        self.shared.count(Counter::SitePublished);
        let version = published.set.version;
        let answer = Answer::Record { record: published.record, family: offer.family, stale_ttl_s: None };
        if let Some(id) = waiting {
            self.with(id, |round, shared| {
                round.answer_by_site(shared, &answer, version);
                Some(End::Complete)
            });
        }
    }

    /// `None`: the offer is refused.
    fn publish_offer(&mut self, offer: &Offer) -> Option<Taken> {
        let now = self.shared.now;
        let (name, family) = (offer.name, offer.family);
        let question = Question { name, rtype: family.rtype(), dnssec_ok: false, checking_disabled: false };
        let round = self.shared.site.round_of(&offer.host).filter(|_| !self.stopping)?;
        let bounds = Bounds::of(&self.shared.settings);
        let draft = Judge { now, bounds, faults: self.shared.faults }.draft(offer, round)?;
        self.is_shareable(&question).then_some(())?;
        let live = self.live.get(&question).copied();
        let waiting = live.filter(|id| self.rounds.get(id).is_some_and(|round| round.asks_site()));
        let may_begin = live == waiting || self.shared.faults.may_offer_during_a_round();
        // What a change has voided counts as known, also if its review has not come to it yet.
        self.remove_void(&name);
        let is_news = self.shared.site.is_news(offer) || self.shared.faults.may_offer_over_newer();
        (may_begin && is_news).then_some(())?;
        self.has_place_for(&question, family, waiting.is_some()).then_some(())?;
        let draft = self.shared.faults.spoil_site_round(draft, &mut self.shared.writer);
        let published = self.shared.publish(&name, family, draft, Cause::Shared).ok()?;
        self.shared.site.note_offer(offer);
        self.note_newer_than_saved(&question);
        self.shared.answers.forget_failure(&question.asked());
        Some(Taken { published, waiting })
    }

    /// Whether the cache has a place for an offer: no set of its own in the first half of its life, and no
    /// other name has to go unless somebody waits.
    fn has_place_for(&mut self, question: &Question, family: Family, is_awaited: bool) -> bool {
        let shared = &mut self.shared;
        let now = shared.now;
        let has_own = |set: &FamilyView<'_>| {
            let is_young = set.expire_ms().saturating_sub(now.as_ms()) > u64::from(set.lifetime_s()) * 500;
            let is_kept = is_young || set.negative() == Some(Negative::Withheld);
            !set.expired(now) && is_kept && !shared.site.has_round(set.round())
        };
        let is_known = shared.writer.get(&Key::of(&question.name), &mut shared.scratch);
        if is_known && shared.scratch.family(family).is_some_and(|set| has_own(&set)) {
            return false;
        }
        let stored = shared.answers.get(&question.asked());
        let has_stored = stored.is_some_and(|stored| !stored.expired(now));
        (is_known || is_awaited || !shared.writer.is_full()) && !has_stored
    }

    /// Follows a change of the settings.
    pub(crate) fn follow_site_settings(&mut self) {
        let shared = &mut self.shared;
        shared.site.switch(&mut shared.writer, shared.settings.site.is_on, shared.now);
        if !shared.settings.site.is_on || !shared.settings.site.asks {
            self.end_all_site_waits();
        }
    }

    /// Voids all sets that came from the site, and refuses what hosts had learned until now.
    fn flush_site(&mut self) {
        let now = self.shared.now;
        let first = self.shared.site.first_round();
        if first != 0 && !self.shared.faults.may_keep_site_sets() {
            self.review_rounds(first, SITE_ROUNDS, |_| true);
        }
        let shared = &mut self.shared;
        shared.site.begin_anew(&mut shared.writer, now);
        // Workers are to know the rounds that sets have from now on.
        self.note_changed();
    }
}

#[cfg(test)]
mod tests;
