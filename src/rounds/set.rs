//! The set of addresses that a round gathers, and where each address comes from.

use crate::UpstreamId;
use crate::mutant::Mutant;
use crate::reply::{Answer, OPT_WITH_EDE};
use crate::response::is_sinkhole;
use crate::round::{Phase, Round};
use crate::settings::{ADDRESSES_MAX, CHAINS_MAX, LEAST_LEFT, REPLY_MAX};
use crate::shared::Shared;
use crate::trust::{bit_of, confirm, put_in_place, would_confirm};
use hither_answers::Stored;
use hither_table::{Address, Chain, Counter, FamilyDraft, Link, Monotonic, Rtt, State};
use hither_wire::{header::HEADER_LEN, name::Name};
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
            && restates(shared, now, set, contribution)
        {
            return;
        }
        let name = self.question.name;
        let (mut set, changed) = match &self.phase {
            Phase::Completing { set } => merge(shared, (now, &name), set.clone(), contribution),
            Phase::Racing { .. } | Phase::Denied { .. } => {
                if matches!(self.phase, Phase::Denied { .. })
                    && shared.mutants.has(Mutant::NegativeIsNeverCorrected)
                {
                    return;
                }
                let set = merge(shared, (now, &name), self.empty_set(), contribution);
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
    /// Whether it holds for so long that it may add to a set, and say how long that holds: as long as the set, or for a second.
    fn lasts(&self, shared: &Shared, now: Monotonic, set: &FamilyDraft) -> bool {
        self.expire_ms >= set.expire_ms.min(now.plus(LEAST_LEFT).as_ms())
            || shared.mutants.has(Mutant::ShortAnswersJoin)
    }
}

/// Whether an upstream's word for an address makes it trusted.
fn is_confirmed(shared: &Shared, address: &Address, bit: u32) -> bool {
    would_confirm(address, bit) && !shared.mutants.has(Mutant::ConfirmationChangesNothing)
}

/// Whether `more` changes nothing of a set, as the second answer to a question mostly does; who gave it is then noted there.
fn restates(shared: &Shared, now: Monotonic, set: &mut FamilyDraft, more: &Contribution) -> bool {
    let bit = bit_of(more.from);
    let known = |address: &IpAddr| {
        let own = set.addresses.iter().find(|own| own.address == *address);
        own.is_some_and(|own| !is_confirmed(shared, own, bit))
    };
    let shorter = more.expire_ms < set.expire_ms && more.lasts(shared, now, set);
    if shared.mutants.has(Mutant::SetLivesAsLongAsItsLongestTtl)
        || shorter
        || !more.addresses.iter().all(known)
    {
        return false;
    }
    for own in set.addresses.iter_mut().filter(|own| more.addresses.contains(&own.address)) {
        own.upstreams |= bit;
    }
    true
}

/// A set with what `more` adds and confirms, and whether that is worth a version. The TTL of the whole is the least of those of the answers that are
/// in it (RFC 2181 section 5.2).
///
/// What comes first is taken as it is. An upstream that adds to it may not make replies larger than what passes without TC, nor have the set end at once.
fn merge(
    shared: &mut Shared,
    (now, name): (Monotonic, &Name),
    mut merged: FamilyDraft,
    more: &Contribution,
) -> (FamilyDraft, bool) {
    let begins = merged.addresses.iter().all(|own| is_sinkhole(&own.address))
        && (merged.addresses.is_empty() || !more.addresses.iter().all(is_sinkhole));
    if begins {
        // Nothing of a sinkhole is left beside what was hidden by it: neither its time nor its chain.
        merged.addresses.clear();
        merged.chains.clear();
        (merged.expire_ms, merged.lifetime_s) = (u64::MAX, 0);
    }
    let (chain, bit) = (chain_of(&merged, &more.chain), bit_of(more.from));
    let lasts = begins || more.lasts(shared, now, &merged);
    let most = if begins { ADDRESSES_MAX } else { most(shared, name, &merged, more) };
    let (mut added, mut stated, mut confirmed, mut left_out) = (false, false, false, 0);
    // A sinkhole loses against any other address, whichever came first.
    let is_real = |address: &IpAddr| !is_sinkhole(address);
    let real = more.addresses.iter().any(is_real) || merged.addresses.iter().any(|own| is_real(&own.address));
    for address in more.addresses.iter().copied().filter(|address| !real || is_real(address)) {
        if let Some(at) = merged.addresses.iter().position(|own| own.address == address) {
            stated = true;
            confirmed |= gives(shared, &mut merged, (at, chain), bit);
        } else if lasts
            && merged.addresses.len() < most
            && chain < CHAINS_MAX
            && let Ok(chain) = u8::try_from(chain)
        {
            merged.addresses.push(Address { address, rtt: Rtt::Unmeasured, chain, upstreams: bit });
            added = true;
        } else {
            left_out += 1;
        }
    }
    shared.counters.add(Counter::AdditionsLeftOut, left_out);
    // Somebody has to be believed: whoever is first.
    if !merged.addresses.iter().any(Address::is_trusted) {
        merged.addresses.iter_mut().for_each(confirm);
    }
    let longest = shared.mutants.has(Mutant::SetLivesAsLongAsItsLongestTtl) && merged.expire_ms != u64::MAX;
    let sooner = if longest { more.expire_ms > merged.expire_ms } else { more.expire_ms < merged.expire_ms };
    let shorter = sooner && lasts && (added || stated);
    if added {
        merged.set_version = 0;
        merged.sorted = false;
        if chain == merged.chains.len() {
            merged.chains.push(Chain { links: more.chain.clone() });
        }
    }
    if shorter {
        merged.expire_ms = more.expire_ms;
        merged.lifetime_s = 0;
    }
    if added || shorter {
        shorten(&mut merged, chain, &more.chain);
    }
    (merged, added || shorter || confirmed)
}

/// Notes that an upstream gives an address that is there, by a chain that may be there; whether that confirms it.
fn gives(shared: &Shared, set: &mut FamilyDraft, (at, chain): (usize, usize), bit: u32) -> bool {
    let (sorted, chains) = (set.sorted, set.chains.len());
    let Some(own) = set.addresses.get_mut(at) else { return false };
    let confirmed = is_confirmed(shared, own, bit);
    own.upstreams |= bit;
    if !confirmed {
        return false;
    }
    confirm(own);
    // Of two chains the older one has more to be said for it: the first is that of the first answer.
    if let Some(older) = u8::try_from(chain).ok().filter(|older| chain < chains && *older < own.chain) {
        own.chain = older;
    }
    if sorted {
        put_in_place(&mut set.addresses, at);
    }
    true
}

/// How many addresses a set may have with what `more` adds: as many as a reply has room for behind the longest chain.
fn most(shared: &Shared, name: &Name, set: &FamilyDraft, more: &Contribution) -> usize {
    const HEAD: usize = HEADER_LEN + 4 + OPT_WITH_EDE;
    /// An owner that points back, type, class, TTL and length.
    const RECORD: usize = 12;
    if shared.mutants.has(Mutant::AdditionsAreUncapped) {
        return ADDRESSES_MAX;
    }
    let octets = |links: &[Link]| links.iter().map(|l| RECORD + l.target.as_wire().len()).sum::<usize>();
    let longest = set.chains.iter().map(|chain| octets(&chain.links)).max().unwrap_or(0);
    let before = HEAD + name.as_wire().len() + longest.max(octets(&more.chain));
    let data = if more.addresses.iter().any(IpAddr::is_ipv6) { 16 } else { 4 };
    (REPLY_MAX.saturating_sub(before) / (RECORD + data)).min(ADDRESSES_MAX)
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
