//! The set of addresses that a round gathers, and where each address comes from.

use crate::UpstreamId;
use crate::mutant::Mutant;
use crate::reply::Answer;
use crate::response::is_sinkhole;
use crate::round::{Phase, Round};
use crate::settings::{ADDRESSES_MAX, CHAINS_MAX};
use crate::shared::Shared;
use hither_answers::Stored;
use hither_table::{Address, Chain, FamilyDraft, Link, Monotonic, Rtt, State};
use std::net::IpAddr;
use std::sync::Arc;

/// What one response says of the addresses of the round's name.
#[derive(Clone, Debug)]
pub(crate) struct Contribution {
    pub from: UpstreamId,
    /// All CNAMEs from the round's own name on.
    pub chain: Vec<Link>,
    pub addresses: Vec<IpAddr>,
    /// When the first record of it runs out, in milliseconds.
    pub expire_ms: u64,
}

impl Round {
    /// Takes up addresses: the first ones answer the clients, further ones add to the set (I3: of this round only).
    pub fn contribute(&mut self, shared: &mut Shared, now: Monotonic, contribution: &Contribution) {
        let Some(family) = self.question.family() else { return };
        if let Phase::Completing { set } = &mut self.phase
            && restates(shared, set, contribution)
        {
            return;
        }
        let (mut set, changed) = match &self.phase {
            Phase::Completing { set } => merge(shared, set.clone(), contribution),
            Phase::Racing { .. } | Phase::Denied { .. } => {
                if matches!(self.phase, Phase::Denied { .. })
                    && shared.mutants.has(Mutant::NegativeIsNeverCorrected)
                {
                    return;
                }
                let set = merge(shared, self.empty_set(), contribution);
                self.ask_the_others(shared, now);
                set
            }
        };
        if !changed {
            // Who else gave an address is published with the round's next version.
            if let Phase::Completing { set: kept } = &mut self.phase {
                *kept = set;
            }
            return;
        }
        set.state = if self.attempts.is_empty() && self.unasked.is_empty() && !self.cut {
            State::Complete
        } else {
            State::First
        };
        match shared.publish(now, &self.question.name, family, set) {
            Ok(published) => {
                self.tell(shared, &Answer::Record { record: published.record, family, stale_ttl_s: None });
                self.phase = Phase::Completing { set: published.set };
            }
            // A set that grew too large stays as it was published last.
            Err(_) if matches!(self.phase, Phase::Completing { .. }) => {}
            Err(error) => self.not_stored(shared, error),
        }
    }

    fn empty_set(&mut self) -> FamilyDraft {
        let addresses = std::mem::take(&mut self.room.addresses);
        let chains = std::mem::take(&mut self.room.chains);
        FamilyDraft {
            version: 0,
            set_version: 0,
            round: self.id,
            state: State::First,
            negative: None,
            sorted: false,
            expire_ms: u64::MAX,
            lifetime_s: 0,
            addresses,
            chains,
            soa: None,
        }
    }

    /// After the first good answer: the rest of the upstreams, where they complete a set.
    fn ask_the_others(&mut self, shared: &mut Shared, now: Monotonic) {
        if !shared.settings.complete {
            self.stop_asking(shared);
            self.cancel(shared, now, None);
            return;
        }
        let batch = shared.settings.batch.max(1);
        self.ask_next(shared, now, batch);
        if !self.unasked.is_empty() {
            self.wave_at = Some(now.plus(shared.settings.stagger));
        }
    }

    /// An answer that is kept as it is: of another type, signed, or too large for a set.
    pub fn whole(&mut self, shared: &mut Shared, now: Monotonic, stored: Arc<Stored>) {
        if let Some(family) = self.question.family() {
            shared.unpublish(now, &self.question.name, family);
        }
        self.stop_asking(shared);
        if !stored.expired(now) {
            shared.answers.put(&self.question.asked(), Arc::clone(&stored));
        }
        self.tell(shared, &Answer::stored(&stored));
        self.cancel(shared, now, None);
        self.phase = Phase::Denied { set: None };
    }

    /// Gives up the outstanding attempts. That is no failure of an upstream.
    pub fn cancel(&mut self, shared: &mut Shared, now: Monotonic, linger: Option<Monotonic>) {
        if shared.mutants.has(Mutant::KeepsAttemptsAfterTheEnd) {
            return;
        }
        let mut attempts = std::mem::take(&mut self.attempts);
        for attempt in attempts.drain(..) {
            shared.attempts.remove(&attempt.id);
            shared.actions.push_back(crate::Action::Close {
                attempt: attempt.id,
                linger: linger.filter(|at| *at > now),
            });
            if let Some(upstream) = shared.upstream(attempt.upstream) {
                upstream.not_awaited(now.since(attempt.sent));
            }
            if let Some(trace) = self.trace.attempts.get_mut(attempt.trace) {
                trace.ended = Some(now);
                trace.outcome = "not awaited".into();
            }
        }
        self.attempts = attempts;
    }
}

impl Contribution {
    /// Who gave it, as a set keeps it.
    fn upstreams(&self) -> u32 {
        1u32.checked_shl(u32::from(self.from.0)).unwrap_or(0) & 0x00ff_ffff
    }
}

/// Whether `more` adds nothing to a set, as the second answer to a question mostly does; who gave it is then noted there.
fn restates(shared: &Shared, set: &mut FamilyDraft, more: &Contribution) -> bool {
    let known = |address: &IpAddr| set.addresses.iter().any(|own| own.address == *address);
    if shared.mutants.has(Mutant::SetLivesAsLongAsItsLongestTtl)
        || more.expire_ms < set.expire_ms
        || !more.addresses.iter().all(known)
    {
        return false;
    }
    for own in set.addresses.iter_mut().filter(|own| more.addresses.contains(&own.address)) {
        own.upstreams |= more.upstreams();
    }
    true
}

/// A set with what `more` adds, and whether that is worth a version. The TTL of the whole is the least of all (RFC 2181 section 5.2).
fn merge(shared: &Shared, mut merged: FamilyDraft, more: &Contribution) -> (FamilyDraft, bool) {
    let expire_ms = more.expire_ms;
    let chain = chain_of(&merged, &more.chain);
    let mut added = false;
    for address in &more.addresses {
        // A sinkhole loses against any other address, whichever came first.
        if is_sinkhole(address)
            && (more.addresses.iter().chain(merged.addresses.iter().map(|a| &a.address)))
                .any(|a| !is_sinkhole(a))
        {
            continue;
        }
        let upstreams = more.upstreams();
        if let Some(known) = merged.addresses.iter_mut().find(|a| a.address == *address) {
            known.upstreams |= upstreams;
        } else if merged.addresses.len() < ADDRESSES_MAX
            && chain < CHAINS_MAX
            && let Ok(chain) = u8::try_from(chain)
        {
            merged.addresses.push(Address { address: *address, rtt: Rtt::Unmeasured, chain, upstreams });
            added = true;
        }
    }
    if added && merged.addresses.iter().any(|a| !is_sinkhole(&a.address)) {
        merged.addresses.retain(|a| !is_sinkhole(&a.address));
    }
    let longest = shared.mutants.has(Mutant::SetLivesAsLongAsItsLongestTtl) && merged.expire_ms != u64::MAX;
    let shorter = if longest { expire_ms > merged.expire_ms } else { expire_ms < merged.expire_ms };
    if added {
        merged.set_version = 0;
        merged.sorted = false;
        if chain == merged.chains.len() {
            merged.chains.push(Chain { links: more.chain.clone() });
        }
    }
    if shorter {
        merged.expire_ms = expire_ms;
        merged.lifetime_s = 0;
    }
    if added || shorter {
        shorten(&mut merged, chain, &more.chain);
    }
    (merged, added || shorter)
}

/// The place of a chain among those of the set, or the next free one.
fn chain_of(set: &FamilyDraft, links: &[Link]) -> usize {
    let same = |chain: &Chain| {
        chain.links.len() == links.len()
            && chain.links.iter().zip(links).all(|(a, b)| a.target.eq_ignore_case(&b.target))
    };
    set.chains.iter().position(same).unwrap_or(set.chains.len())
}

/// A CNAME stated twice lives as long as its shorter statement.
fn shorten(set: &mut FamilyDraft, chain: usize, links: &[Link]) {
    if let Some(kept) = set.chains.get_mut(chain) {
        for (kept, link) in kept.links.iter_mut().zip(links) {
            kept.expire_ms = kept.expire_ms.min(link.expire_ms);
        }
    }
}
