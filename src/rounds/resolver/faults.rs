//! Planted faults of the core as a whole: in its inputs, its actions and its settings.

use crate::action::Action;
use crate::address_set::Contribution;
use crate::attempt::QueryMode;
use crate::ids::{AttemptId, ClientId, UpstreamId};
use crate::input::{Failure, Input, Order};
use crate::mutant::Mutant;
use crate::provenance::confirm;
use crate::question::Question;
use crate::resolver::Rounds;
use crate::response::{Doubt, Expected, Meaning, full_rcode, is_error, read};
use crate::saved_set::Restore;
use crate::server::Transport;
use crate::settings::{Bounds, Settings};
use crate::upstream::case_0x20::{ALIKE_AFTER, above};
use hither_table::{Counter, Family, Key};
use hither_wire::codes::Class;
use hither_wire::header::HEADER_LEN;
use hither_wire::message::Message;
use std::collections::BTreeSet;
use std::mem::{replace, take};
use std::net::IpAddr;
use std::time::Duration;

/// Later than any deadline of a test.
const NEVER: Duration = Duration::from_secs(3_600);

impl Rounds {
    /// Plants a fault that tests must notice.
    #[cfg(any(test, feature = "mutants"))]
    pub fn plant(&mut self, fault: Mutant) {
        self.shared.faults = crate::faults::Faults::of(fault);
        spoil_settings(fault, &mut self.shared.settings);
    }

    /// Acts on an input as a core with this fault does.
    pub(crate) fn act_with(&mut self, fault: Mutant, input: Input<'_>) {
        match (fault, input) {
            (_, Input::Message { attempt, octets }) => {
                if let Some(octets) = self.spoiled_message(fault, attempt, octets) {
                    self.act(Input::Message { attempt, octets: &octets });
                }
            }
            (_, Input::Failed { attempt, failure }) => {
                let is_backoff = failure == Failure::Backoff && fault == Mutant::BackoffCountsAsFailure;
                let failure = if is_backoff { Failure::Handshake } else { failure };
                if fault == Mutant::EncryptedFallsToClearText {
                    self.send_in_clear_text(attempt);
                }
                if !self.loses_failure(fault, attempt, failure) {
                    self.act(Input::Failed { attempt, failure });
                }
            }
            (_, Input::Reload { mut settings, routes }) => {
                spoil_settings(fault, &mut settings);
                if fault == Mutant::ReloadKeepsWhatOthersSaid {
                    // As if these upstreams had been asked all the time.
                    self.shared.groups.latest.clone_from(&routes.usual);
                }
                self.act_on_rounds(fault == Mutant::ReloadKeepsTheRounds, Input::Reload { settings, routes });
            }
            (Mutant::WaitForAConnectionCounts, Input::Transmitted { .. }) => {}
            (Mutant::FlushKeepsTheRound, input @ Input::Flush { .. }) => self.act_on_rounds(true, input),
            (
                Mutant::FlushKeepsWhatIsSaved,
                input @ (Input::Flush { .. } | Input::Restore(Restore::Void)),
            ) => {
                let restoring = self.restoring.take();
                self.act(input);
                self.restoring = restoring;
                let live: Vec<Question> = self.live.keys().map(|question| **question).collect();
                live.iter().for_each(|question| self.note_newer_than_saved(question));
            }
            (Mutant::RestoredSetsOutliveTheirDoubt, input @ Input::Restore(Restore::Void)) => {
                self.restored = None;
                self.act(input);
            }
            (Mutant::RestoreTrustsEverybody, Input::Restore(Restore::Sets(mut sets))) => {
                sets.iter_mut().flat_map(|set| &mut set.addresses).for_each(confirm);
                self.act(Input::Restore(Restore::Sets(sets)));
            }
            (
                Mutant::OrderWithoutSetCheck | Mutant::OrderNeedNotBeAPermutation,
                Input::Order { sender, order },
            ) => {
                let order = self.spoiled_order(fault, order);
                self.act(Input::Order { sender, order });
            }
            (Mutant::RefreshesWhatIsFresh, Input::Refresh { question }) => self.refresh_early(question),
            (Mutant::ForgetsWhatAChangeCutOff, input @ Input::NetworkChanged) => {
                for round in self.rounds.values_mut() {
                    let ids: Vec<AttemptId> = round.attempts.iter().map(|attempt| attempt.id).collect();
                    ids.into_iter().for_each(|id| drop(round.close(&mut self.shared, id, "network changed")));
                }
                self.act(input);
            }
            (_, input) => self.act(input),
        }
    }

    /// Acts on an input. If `all_stay`, it ends no live round.
    fn act_on_rounds(&mut self, all_stay: bool, input: Input<'_>) {
        if !all_stay {
            return self.act(input);
        }
        let live = take(&mut self.live);
        self.act(input);
        self.live = live;
    }

    /// The message for an attempt as the fault makes it. `None`: it is lost.
    fn spoiled_message(&mut self, fault: Mutant, id: AttemptId, octets: &[u8]) -> Option<Vec<u8>> {
        let Rounds { shared, rounds, .. } = self;
        let mut octets = octets.to_vec();
        let round = shared.attempts.get(&id).and_then(|round| rounds.get_mut(round));
        let Some(round) = round.filter(|round| round.attempts.get(id).is_some()) else {
            if fault == Mutant::LateAnswerOfAnOldRoundIsMerged {
                self.merge_late(&octets);
            }
            return Some(octets);
        };
        let doubt = round.check_message(shared, id, &octets).err();
        match fault {
            Mutant::MismatchIsAccepted if octets.len() >= 2 => {
                octets[..2].copy_from_slice(&round.attempts[id].dns_id.to_be_bytes());
            }
            Mutant::ForeignResponseIsBelieved if round.attempts[id].is_encrypted() => {
                let (id, asked) = (round.attempts[id].dns_id.to_be_bytes(), round.attempts[id].asked());
                if let Some(question) = octets.get_mut(HEADER_LEN..HEADER_LEN + asked.len()) {
                    question.copy_from_slice(asked);
                    octets[..2].copy_from_slice(&id);
                }
            }
            Mutant::TruncatedIsAnAnswer if octets.len() >= HEADER_LEN => octets[2] &= !2,
            Mutant::BareErrorIsBelieved if doubt == Some(Doubt::Unasked) => {
                let (header, rest) = octets.split_at(HEADER_LEN);
                let question = [round.question.rtype.0, Class::IN.0].map(u16::to_be_bytes).concat();
                let is_error = Message::open(&octets).is_ok_and(|message| is_error(full_rcode(&message)));
                if is_error {
                    octets = [header, round.attempts[id].asked(), &question, rest].concat();
                    octets[5] = 1;
                }
            }
            Mutant::UnreadableIsJunk if doubt == Some(Doubt::Unreadable) => {
                round.has_sent_nothing = false;
                shared.count(Counter::MismatchedResponsesDropped);
                return None;
            }
            // Only the first doubtful datagram starts a TCP query: pretend that it has been.
            Mutant::ForgeryIsOnlyCounted if doubt.is_some() => {
                let count = &mut round.attempts[id].doubt.count;
                *count = (*count).max(1);
            }
            Mutant::DoubtIsForgotten if doubt.is_none() => round.attempts[id].doubt.until = None,
            Mutant::ErrorOverTcpOutweighsAnAnswer if doubt.is_none() => {
                let doubted = round.attempts[id].doubt.confirms;
                let kept = doubted.and_then(|doubted| round.attempts.get_mut(doubted)?.doubt.kept.as_mut());
                let is_error = Message::open(&octets).is_ok_and(|message| is_error(full_rcode(&message)));
                if let Some(kept) = kept.filter(|_| is_error) {
                    // As SERVFAIL it is no answer.
                    kept.octets[3] = kept.octets[3] & 0xf0 | 2;
                }
            }
            Mutant::MixedDenialIsBelieved if round.attempts[id].is_mixed() => {
                let (name, upstream) = (*round.attempts[id].target.name(), round.attempts[id].upstream);
                let now = shared.now;
                if let Some(upstream) = shared.upstream(upstream) {
                    upstream.letters.note_ignored_case(now, above(&name), ALIKE_AFTER);
                }
            }
            _ => {}
        }
        Some(octets)
    }

    /// Sends the query of an encrypted attempt over TCP.
    fn send_in_clear_text(&mut self, id: AttemptId) {
        let Rounds { shared, rounds, .. } = self;
        let Some(round) = shared.attempts.get(&id).and_then(|round| rounds.get_mut(round)) else { return };
        let Some(attempt) = round.attempts.get(id).filter(|attempt| attempt.is_encrypted()) else { return };
        let mode = QueryMode { transport: Transport::Tcp, ..attempt.mode };
        let target = attempt.target.clone();
        round.send(shared, &target, mode);
    }

    /// Whether the failure of an attempt is lost.
    fn loses_failure(&mut self, fault: Mutant, id: AttemptId, failure: Failure) -> bool {
        let now = self.shared.now;
        let round = self.shared.attempts.get(&id).and_then(|round| self.rounds.get_mut(round));
        let Some(attempt) = round.and_then(|round| round.attempts.get_mut(id)) else { return false };
        if fault == Mutant::ClosedConnectionIsFinal && failure == Failure::Closed {
            attempt.mode.again = true;
        }
        fault == Mutant::FailureWhileSendingIsLost && attempt.sent == now && failure != Failure::NoSocket
    }

    /// The order with the addresses of the table's set alone, each of them once.
    fn spoiled_order(&mut self, fault: Mutant, mut order: Order) -> Order {
        let Rounds { shared, .. } = self;
        let is_known = shared.writer.get(&Key::of(&order.name), &mut shared.scratch);
        let draft = if is_known { shared.scratch.to_draft() } else { None };
        let set = draft.and_then(|draft| match order.family {
            Family::A => draft.a,
            Family::Aaaa => draft.aaaa,
        });
        let Some(set) = set else { return order };
        let mut seen = BTreeSet::new();
        let is_of_set = |address: &IpAddr| set.addresses.iter().any(|known| known.address == *address);
        order.addresses.retain(|own| is_of_set(&own.address) && seen.insert(own.address));
        if fault == Mutant::OrderWithoutSetCheck {
            order.set_version = set.set_version;
        }
        order
    }

    /// Refreshes an entry although it is not about to expire.
    fn refresh_early(&mut self, question: Question) {
        let now = self.shared.now;
        self.remove_void(&question.name);
        let is_known = self.shared.writer.get(&Key::of(&question.name), &mut self.shared.scratch);
        let set =
            question.family().filter(|_| is_known).and_then(|family| self.shared.scratch.family(family));
        let is_fresh = set.is_some_and(|set| !set.expired(now) && !set.is_ending(now));
        if !is_fresh || !self.may_refresh(&question) {
            return self.act(Input::Refresh { question });
        }
        self.shared.count(Counter::Prefetches);
        let question = self.pool.question(&question);
        self.begin(question, Vec::new(), false);
    }

    /// Spoils what happens to a client that needs a round. `true`: the client is refused.
    pub(crate) fn spoil_client(&mut self, fault: Mutant, client: ClientId, question: &Question) -> bool {
        let round = self.live.get(question).and_then(|id| self.rounds.get(id));
        match fault {
            Mutant::TwoGiveWayForOne => !self.evict_for_client(client, question),
            Mutant::SharedRoundIsBounded => {
                round.is_some_and(|round| round.is_racing() && !round.clients.is_empty())
            }
            Mutant::NoCoalescing => {
                self.live.remove(question);
                false
            }
            _ => false,
        }
    }

    /// Merges a late response, as a program does that looks up rounds by their question. The core was
    /// designed to exclude this race.
    fn merge_late(&mut self, octets: &[u8]) {
        let now = self.shared.now;
        let Some((message, asked)) = Message::read(octets).ok().and_then(|m| m.question().map(|q| (m, q)))
        else {
            return;
        };
        let question = Question {
            name: asked.name.to_lower(),
            rtype: asked.rtype,
            dnssec_ok: false,
            checking_disabled: false,
        };
        let Some(id) = self.live.get(&question).copied() else { return };
        let expected = Expected {
            id: message.header().id,
            sent: question.name.as_wire(),
            udp: true,
            exact: false,
            last: false,
            cookie: None,
            name: &question.name,
            rtype: question.rtype,
            addresses: question.family().is_some(),
            bounds: Bounds::of(&self.shared.settings),
            faults: self.shared.faults,
        };
        if let Meaning::Addresses { chain, addresses, ttl_s } = read(&message, &expected, now, Vec::new()) {
            let more = Contribution {
                from: UpstreamId(0),
                chain,
                addresses,
                expire_ms: now.plus(Duration::from_secs(u64::from(ttl_s))).as_ms(),
            };
            self.with(id, |round, shared| {
                round.add_addresses(shared, &more);
                round.conclude(shared)
            });
        }
    }

    /// Spoils the actions of a call before the shell gets them.
    pub(crate) fn spoil_actions(&mut self, fault: Mutant) {
        let actions = take(&mut self.shared.actions);
        let mut actions = actions.into_iter().peekable();
        let mut after_reply = false;
        while let Some(action) = actions.next() {
            let is_reply = matches!(action, Action::Reply { .. });
            let is_last = !actions.peek().is_some_and(|next| matches!(next, Action::Reply { .. }));
            let follows = replace(&mut after_reply, is_reply);
            if is_reply && fault == Mutant::DuplicateReply {
                self.shared.actions.push_back(action.clone());
            }
            // Of several replies in a row the last is lost.
            if !(is_reply && follows && is_last && fault == Mutant::ForgetsAClient) {
                self.shared.actions.push_back(action);
            }
        }
    }
}

/// The faults that are another setting.
fn spoil_settings(fault: Mutant, settings: &mut Settings) {
    match fault {
        Mutant::LostFallback => settings.fallback = NEVER,
        Mutant::DeadlineOffByOne => settings.deadline += Duration::from_secs(1),
        Mutant::NoNegativeGrace => settings.negative_grace = Duration::ZERO,
        Mutant::StaleIsServedAtOnce => settings.stale_wait = Duration::ZERO,
        Mutant::PrivateAddressesJoin => settings.rebinding.protect = false,
        _ => {}
    }
}
