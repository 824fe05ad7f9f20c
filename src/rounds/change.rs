//! What changes around the rounds: flushes, another configuration, other local names, another network, the end.

use crate::mutant::Mutant;
use crate::reply::ede;
use crate::round::Start;
use crate::routes::{Fate, Groups};
use crate::upstream::Upstream;
use crate::{Rebinding, Rounds, Routes, Server, Settings};
use hither_local::Local;
use hither_table::{Key, Monotonic};
use hither_wire::{codes::Rcode, name::Name};
use std::sync::Arc;

impl Rounds {
    pub(crate) fn flush(&mut self, now: Monotonic, names: Option<&[Name]>) {
        match names {
            None => {
                self.shared.writer.flush_all();
                self.shared.answers.forget_failures();
                self.review_answers();
                self.cut_restore("everything was flushed");
            }
            Some(names) => {
                for name in names {
                    self.flush_saved(name);
                    self.shared.writer.remove(&Key::of(name));
                    self.shared.answers.remove_name(name);
                }
            }
        }
        if self.shared.mutants.has(Mutant::FlushKeepsTheRound) {
            return;
        }
        let ended = self.live.iter().filter(|(q, _)| names.is_none_or(|names| names.contains(&q.name)));
        let ended: Vec<u64> = ended.map(|(_, id)| *id).collect();
        for id in ended {
            self.restart(now, id);
        }
    }

    /// Forgets what is known of every name that does not stay as it is: it is asked elsewhere now, or not at all.
    fn void(&mut self, fate: impl Fn(&Name) -> Fate + Send + Sync + 'static) {
        self.shared.answers.forget_failures();
        self.review(fate);
    }

    pub(crate) fn reload(&mut self, now: Monotonic, settings: Settings, routes: Routes) {
        self.shared.answers.resize(settings.answers);
        let before = std::mem::replace(&mut self.shared.settings, settings).rebinding;
        let affected = self.allow_again(before, &routes);
        if self.shared.groups.routes.leads_as(&routes) {
            self.shared.groups.routes.own = routes.own;
            self.reindex();
            return affected.into_iter().for_each(|id| self.restart(now, id));
        }
        // While upstreams still have the places that attempts know them by.
        let keeps = self.shared.mutants.has(Mutant::ReloadKeepsTheRounds);
        let ended = if keeps { Vec::new() } else { self.live.values().copied().collect() };
        let halted: Vec<Start> = ended.into_iter().filter_map(|id| self.halt(now, id)).collect();
        let Groups { routes: mut before, latest, .. } = std::mem::take(&mut self.shared.groups);
        let known = std::mem::take(&mut self.shared.upstreams);
        let find = |server: &Server| known.iter().find(|u| u.server == *server).cloned();
        self.shared.upstreams = routes
            .all()
            .into_iter()
            .map(|server| find(&server).unwrap_or_else(|| Upstream::new(server)))
            .collect();
        self.shared.groups = Groups::new(routes.clone());
        self.doubt_restored();
        let mut after = routes;
        if after.usual.is_empty() {
            after.usual.clone_from(&latest);
            self.shared.groups.latest.clone_from(&latest);
        }
        before.usual = latest;
        if !after.leads_as(&before) && !self.shared.mutants.has(Mutant::ReloadKeepsWhatOthersSaid) {
            self.void(move |name| after.fate(name, &before));
        }
        self.shared.answers.forget_failures();
        halted.into_iter().for_each(|start| self.go_on(now, start));
    }

    /// Other names may have private addresses than before, or be answered here because of a domain that is gone: of those goes what is known, for it may be what was withheld, or what would be now. The
    /// rounds that this concerns, which the caller begins anew once all has changed.
    fn allow_again(&mut self, before: Rebinding, routes: &Routes) -> Vec<u64> {
        let (after, then) = (&self.shared.settings.rebinding, &self.shared.groups.routes);
        if *after == before && then.own == routes.own && then.domains.keys().eq(routes.domains.keys()) {
            return Vec::new();
        }
        let (after, then, routes) = (after.clone(), then.clone(), routes.clone());
        let moves = move |name: &Name| {
            after.is_public(name, &routes) != before.is_public(name, &then)
                || routes.domain(name) != then.domain(name)
        };
        let affected: Vec<u64> =
            self.live.iter().filter(|(q, _)| moves(&q.name)).map(|(_, id)| *id).collect();
        self.void(move |name| if moves(name) { Fate::Goes } else { Fate::Stays });
        affected
    }

    /// Other names are answered here, or exist by those: what is cached of them is void, and of those that did what was told because of that.
    pub(crate) fn relocate(&mut self, now: Monotonic, local: Arc<Local>) {
        let before = std::mem::replace(&mut self.shared.local, Arc::clone(&local));
        let fate = move |name: &Name| {
            let moves = local.covers(name) || local.presence(name) != before.presence(name);
            if moves { Fate::Goes } else { Fate::Stays }
        };
        let affected = self.live.iter().filter(|(question, _)| fate(&question.name) != Fate::Stays);
        let ended: Vec<u64> = affected.map(|(_, id)| *id).collect();
        self.void(fate);
        for id in ended {
            self.restart(now, id);
        }
    }

    /// Whoever was out of reach may be there, and the other way round: what is out is sent again, from sockets of the new network.
    pub(crate) fn network_changed(&mut self, now: Monotonic) {
        self.shared.upstreams.iter_mut().for_each(Upstream::forget_reach);
        self.shared.answers.forget_failures();
        let ids: Vec<u64> = self.rounds.keys().copied().collect();
        for id in ids {
            self.with(now, id, |round, shared| {
                round.send_again(shared, now);
                round.conclude(shared, now)
            });
        }
    }

    fn reindex(&mut self) {
        for round in self.rounds.values_mut() {
            round.timer = round.wake(&self.shared);
        }
        self.timers = self.rounds.values().map(|round| (round.timer, round.id)).collect();
    }

    pub(crate) fn shutdown(&mut self, now: Monotonic) {
        self.stopping = true;
        self.restoring = None;
        let live: Vec<u64> = self.live.values().copied().collect();
        for id in live {
            let Some(round) = self.rounds.get_mut(&id) else { continue };
            for client in std::mem::take(&mut round.clients) {
                self.refuse(client, Rcode::SERVFAIL, ede::NOT_READY);
            }
            self.supersede(now, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, ClientId, Input, Question};
    use hither_table::{Counter, Draft, FamilyDraft, Geometry, Key, Memory, Snapshot, Writer};
    use hither_wire::codes::Rtype;
    use std::net::SocketAddr;

    fn routes(last: &[u8]) -> Routes {
        let upstreams: Vec<SocketAddr> = last.iter().map(|n| ([192, 0, 2, *n], 53).into()).collect();
        Routes::from(&upstreams[..])
    }

    /// One question is out at upstream 1.
    fn asking() -> Rounds {
        let geometry = Geometry { entries: 64 };
        let writer = Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10);
        let settings = Settings { first: 1, ..Settings::default() };
        let mut rounds = Rounds::new(settings, routes(&[1]), writer.expect("a table"), Box::new(|| 7));
        let name = "www.example.com".parse().expect("a name");
        let question = Question { name, rtype: Rtype::A, dnssec_ok: false, checking_disabled: false };
        let ask = Input::Ask { client: ClientId(1), question: &question, recursion: true };
        rounds.handle(Monotonic::from_ms(1_000), ask);
        assert_eq!(asked(&mut rounds), ["192.0.2.1:53"]);
        rounds
    }

    /// Who has been asked since the last call.
    fn asked(rounds: &mut Rounds) -> Vec<String> {
        let mut asked = Vec::new();
        while let Some(action) = rounds.poll_action() {
            if let Action::Send { server, .. } = action {
                asked.push(server.to_string());
            }
        }
        asked
    }

    #[test]
    fn a_round_that_two_changes_of_one_reload_concern_begins_anew_once_where_it_belongs() {
        let mut rounds = asking();
        let mut settings = rounds.shared.settings.clone();
        settings.rebinding.allow.insert("example.com".parse().expect("a name"));
        rounds.handle(Monotonic::from_ms(1_300), Input::Reload { settings, routes: routes(&[2]) });
        assert_eq!(asked(&mut rounds), ["192.0.2.2:53"]);
        assert_eq!(rounds.counters().get(Counter::RoundsStarted), 2);
    }

    #[test]
    fn a_domain_that_comes_or_goes_voids_what_is_known_below_it_whoever_is_asked() {
        let mut rounds = asking();
        let now = Monotonic::from_ms(1_300);
        let names: [Name; 2] = ["a.example.com", "a.example.net"].map(|name| name.parse().expect("a name"));
        let put = |rounds: &mut Rounds| {
            for name in names {
                let version = rounds.shared.writer.next_version();
                let a = FamilyDraft::of(version, [std::net::Ipv4Addr::LOCALHOST.into()], (1_000_000, 1000));
                rounds.shared.writer.put(&Draft { name, a: Some(a), aaaa: None }, now).expect("room");
            }
        };
        let known = |rounds: &mut Rounds| {
            let mut found = Snapshot::new();
            names.map(|name| rounds.shared.writer.get(&Key::of(&name), &mut found))
        };
        let usual = routes(&[1]);
        let domains = [("example.com".parse().expect("a name"), usual.usual.clone())].into();
        for routes in [Routes { domains, ..usual.clone() }, usual] {
            put(&mut rounds);
            assert_eq!(known(&mut rounds), [true, true]);
            let settings = rounds.shared.settings.clone();
            rounds.handle(now, Input::Reload { settings, routes });
            assert_eq!(known(&mut rounds), [false, true]);
        }
    }

    #[test]
    fn how_long_one_was_waited_for_says_nothing_of_who_is_asked_in_its_place() {
        let mut rounds = asking();
        let (now, settings) = (Monotonic::from_ms(1_300), rounds.shared.settings.clone());
        rounds.handle(now, Input::Reload { settings, routes: routes(&[2, 1]) });
        let waited: Vec<_> = rounds.upstreams(now).iter().map(|upstream| upstream.srtt_us).collect();
        assert_eq!(waited, [None, Some(300_000)]);
    }
}
