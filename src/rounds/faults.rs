//! Planted faults: the hooks by which a test breaks one promise of the core.
//!
//! Most faults spoil an input, an action or a setting, which `resolver/faults.rs` does, or an answer,
//! which `round/faults.rs` does. The methods here are for rules that cannot be broken from outside:
//! each is asked by the one function that has the rule. Only tests can plant a fault; in every other
//! build [`Faults::planted`] is a constant `None`, and all of this vanishes.

use crate::input::Order;
use crate::mutant::Mutant;
use crate::site::Ask;
use hither_table::{Address, FamilyDraft, Monotonic, Part, Parts, Writer};

/// The fault that is planted, if one is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    #[cfg(any(test, feature = "mutants"))]
    planted: Option<Mutant>,
}

impl Faults {
    #[cfg(any(test, feature = "mutants"))]
    pub fn of(planted: Mutant) -> Faults {
        Faults { planted: Some(planted) }
    }

    #[cfg(any(test, feature = "mutants"))]
    pub fn planted(self) -> Option<Mutant> {
        self.planted
    }

    #[cfg(not(any(test, feature = "mutants")))]
    #[allow(clippy::unused_self)]
    pub const fn planted(self) -> Option<Mutant> {
        None
    }

    fn has(self, fault: Mutant) -> bool {
        self.planted() == Some(fault)
    }

    /// Spoils a set that is about to replace `before`; `is_same`: it has the same addresses.
    pub fn on_publish(self, before: &FamilyDraft, is_same: bool, set: &mut FamilyDraft) {
        match self.planted() {
            Some(Mutant::VersionDoesNotGrow) => set.version = before.version,
            Some(Mutant::SetVersionSticks) => set.set_version = before.set_version,
            Some(Mutant::VerdictsSurviveAChange) => {
                for own in &mut set.addresses {
                    let known = before.addresses.iter().find(|known| known.address == own.address);
                    own.trust = known.map_or(own.trust, |known| known.trust);
                }
            }
            Some(Mutant::RefreshKeepsWhoSaidIt) if is_same && before.sorted && !set.sorted => {
                for own in &mut set.addresses {
                    let known = before.addresses.iter().find(|known| known.address == own.address);
                    own.upstreams = known.map_or(own.upstreams, |known| known.upstreams);
                }
            }
            _ => {}
        }
    }

    /// Spoils the set that an order is for.
    pub fn on_order(self, order: &Order, set: &mut FamilyDraft) {
        match self.planted() {
            Some(Mutant::OrderNeedNotBeAPermutation)
                if order.set_version == set.set_version && !order.addresses.is_empty() =>
            {
                let before = set.addresses.len();
                set.addresses.retain(|known| order.addresses.iter().any(|own| own.address == known.address));
                set.sorted &= set.addresses.len() == before;
            }
            Some(Mutant::OrderForgetsWhoSaidIt) => {
                set.sorted &= set.addresses.iter().all(|own| own.upstreams == Address::TRUSTED);
                set.addresses.iter_mut().for_each(|own| own.upstreams = Address::TRUSTED);
            }
            _ => {}
        }
    }

    /// The part of a set in which an address stands, for one that belongs into `part`.
    pub fn part(self, part: Part) -> Part {
        match (self.planted(), part) {
            (Some(Mutant::LoneAddressesStandFirst), Part::Unconfirmed)
            | (Some(Mutant::WrongCertificateKeepsItsPlace), Part::WrongCertificate) => Part::Confirmed,
            (Some(Mutant::DisputeLosesTheGoodPart), Part::Verified) => Part::WrongCertificate,
            _ => part,
        }
    }

    /// Drops the addresses with a wrong certificate.
    pub fn drop_wrong(self, addresses: &mut Vec<Address>, parts: Parts) {
        if self.has(Mutant::WrongCertificateDropsAnAddress) {
            addresses.retain(|own| parts.part(own) != Part::WrongCertificate);
        }
    }

    /// Whether addresses keep their verdicts when their set changes.
    pub fn may_keep_verdicts(self) -> bool {
        self.has(Mutant::VerdictsSurviveAChange)
    }

    /// Whether a denial is forgotten as soon as another upstream has addresses.
    pub fn may_forget_denials(self) -> bool {
        self.has(Mutant::DenialsAreNoDispute)
    }

    /// Whether a lease begins a round for an answer that is fresh.
    pub fn may_renew_what_is_fresh(self) -> bool {
        self.has(Mutant::LeaseRenewsWhatIsFresh)
    }

    /// Whether a set lives as long as the longest of its responses.
    pub fn may_prefer_longer(self) -> bool {
        self.has(Mutant::SetLivesAsLongAsItsLongestTtl)
    }

    /// Whether an answer joins a set although it expires too soon.
    pub fn may_join_too_short(self) -> bool {
        self.has(Mutant::ShortAnswersJoin)
    }

    /// Whether an address stays extra although a second upstream gives it.
    pub fn may_ignore_confirmation(self) -> bool {
        self.has(Mutant::ConfirmationChangesNothing)
    }

    /// Whether extra addresses may make a reply too large.
    pub fn may_exceed_reply(self) -> bool {
        self.has(Mutant::AdditionsAreUncapped)
    }

    /// Whether the SOA record of any zone denies a name.
    pub fn may_believe_any_soa(self) -> bool {
        self.has(Mutant::SoaOfAnotherZoneDenies)
    }

    /// Whether records of the authority section stay in an answer that has no use for them.
    pub fn may_keep_strangers(self) -> bool {
        self.has(Mutant::StrangersGoAlong)
    }

    /// Whether the records of an RRset keep different TTLs.
    pub fn may_keep_own_ttls(self) -> bool {
        self.has(Mutant::RecordsKeepTheirOwnTtl)
    }

    /// Whether the links of a chased chain are as new as its end.
    pub fn may_stop_ageing(self) -> bool {
        self.has(Mutant::ChasedLinksDoNotAge)
    }

    /// Whether a family is withheld although the other one is too.
    pub fn may_withhold_both(self) -> bool {
        self.has(Mutant::WithholdsBothFamilies)
    }

    /// Whether attempts stay open when their round no longer needs them.
    pub fn may_keep_attempts(self) -> bool {
        self.has(Mutant::KeepsAttemptsAfterTheEnd)
    }

    /// Whether a query over an encrypted transport shows its length.
    pub fn may_leave_out_padding(self) -> bool {
        self.has(Mutant::PaddingIsLeftOut)
    }

    /// Whether a superseded round publishes its set.
    pub fn may_publish_superseded(self) -> bool {
        self.has(Mutant::PublishesAfterSupersede)
    }

    /// Whether a saved set replaces newer knowledge.
    pub fn may_restore_over_newer(self) -> bool {
        self.has(Mutant::RestoresOverWhatIsNewer)
    }

    /// Whether an offer is published although its question was answered later.
    pub fn may_offer_over_newer(self) -> bool {
        self.has(Mutant::OfferOverNewer)
    }

    /// Whether an offer is published although a round has asked upstreams.
    pub fn may_offer_during_a_round(self) -> bool {
        self.has(Mutant::OfferDuringARound)
    }

    /// Whether an offer lives longer than its upstreams allow.
    pub fn may_outlive_its_ttl(self) -> bool {
        self.has(Mutant::OfferOutlivesItsTtl)
    }

    /// Whether private addresses of an offer are published.
    pub fn may_publish_private_offers(self) -> bool {
        self.has(Mutant::PrivateOfferIsPublished)
    }

    /// Whether sets of the site stay when they are flushed.
    pub fn may_keep_site_sets(self) -> bool {
        self.has(Mutant::FlushSiteKeepsSets)
    }

    /// Whether an offer may bring back what was flushed.
    pub fn may_forget_flushes(self) -> bool {
        self.has(Mutant::FlushedNameComesBack)
    }

    /// How to ask the site, which the breaker has decided.
    pub fn how_to_ask(self, decided: Ask, until: Monotonic) -> Ask {
        if self.has(Mutant::AskIgnoresBreaker) { Ask::Before(until) } else { decided }
    }

    /// Until when a round with this deadline waits for the site.
    pub fn end_of_site_wait(self, until: Monotonic, deadline: Monotonic) -> Monotonic {
        if self.has(Mutant::AskWaitsForever) { deadline } else { until.min(deadline) }
    }

    /// A set of the site with its round.
    pub fn spoil_site_round(self, mut set: FamilyDraft, writer: &mut Writer) -> FamilyDraft {
        if self.has(Mutant::OfferLooksLikeAnOwnSet) {
            set.round = writer.next_version();
        }
        set
    }

    /// The candidates for eviction that are left: the round of the fullest source, and the slowest.
    pub fn candidates(self, [fullest, slowest]: [Option<u64>; 2]) -> [Option<u64>; 2] {
        match self.planted() {
            Some(Mutant::TheNewestGivesWay) => [None, slowest],
            Some(Mutant::NewcomerIsRefusedBeforeTheSlow) => [fullest, None],
            _ => [fullest, slowest],
        }
    }
}
