//! Reloads: other settings, upstreams or local names. Cached data that may have become wrong is removed,
//! and the rounds of such names begin again.

use crate::rebinding::Rebinding;
use crate::resolver::Rounds;
use crate::round::Start;
use crate::routes::{Groups, Routes, Validity};
use crate::server::Server;
use crate::settings::Settings;
use crate::upstream::Upstream;
use hither_local::Local;
use hither_wire::name::Name;
use std::sync::Arc;

impl Rounds {
    pub(crate) fn reload(&mut self, settings: Settings, routes: Routes) {
        self.shared.answers.resize(settings.limits.answers);
        self.shared.writer.set_families(settings.families);
        let before = std::mem::replace(&mut self.shared.settings, settings).rebinding;
        self.follow_site_settings();
        let affected = self.void_where_exposure_changed(before, &routes);
        if self.shared.groups.routes.leads_as(&routes) {
            self.shared.groups.routes.own = routes.own;
            self.reindex();
            return affected.into_iter().for_each(|id| self.restart(id));
        }
        // Attempts refer to upstreams by index, so rounds end before the list changes.
        let ended: Vec<u64> = self.live.values().copied().collect();
        let halted: Vec<Start> = ended.into_iter().filter_map(|id| self.stop_for_restart(id)).collect();
        let Groups { routes: mut before, latest, .. } = std::mem::take(&mut self.shared.groups);
        let known = std::mem::take(&mut self.shared.upstreams);
        let find = |server: &Server| known.iter().find(|u| u.server == *server).cloned();
        self.shared.upstreams = routes
            .all()
            .into_iter()
            .map(|server| find(&server).unwrap_or_else(|| Upstream::new(server)))
            .collect();
        self.note_upstreams_changed();
        self.shared.traces.renumbered = self.shared.writer.last_version();
        self.shared.groups = Groups::new(routes.clone());
        self.void_restored_of_others();
        let mut after = routes;
        if after.usual.is_empty() {
            after.usual.clone_from(&latest);
            self.shared.groups.latest.clone_from(&latest);
        }
        before.usual = latest;
        if !after.leads_as(&before) {
            self.void_names(move |name| after.validity(name, &before));
        }
        self.shared.answers.forget_failures();
        halted.into_iter().for_each(|start| self.begin_again(start));
    }

    /// Voids the cached data of names that are public now and were not, or the other way round, and of
    /// names whose domain changed: their private addresses may have been withheld, or would be now.
    /// Returns their live rounds, which the caller restarts after the other changes.
    fn void_where_exposure_changed(&mut self, before: Rebinding, routes: &Routes) -> Vec<u64> {
        let (after, then) = (&self.shared.settings.rebinding, &self.shared.groups.routes);
        let same_domains = then.domains.keys().eq(routes.domains.keys());
        let same_names = then.names.keys().eq(routes.names.keys());
        if *after == before && then.own == routes.own && same_domains && same_names {
            return Vec::new();
        }
        let (after, then, routes) = (after.clone(), then.clone(), routes.clone());
        let moves = move |name: &Name| {
            after.is_public(name, &routes) != before.is_public(name, &then)
                || routes.domain(name) != then.domain(name)
        };
        let affected: Vec<u64> =
            self.live.iter().filter(|(q, _)| moves(&q.name)).map(|(_, id)| *id).collect();
        self.void_names(move |name| if moves(name) { Validity::Void } else { Validity::Valid });
        affected
    }

    /// Replaces the local names. For names that are answered locally now, or whose presence in hosts
    /// files has changed, cached data is void, and rounds begin again.
    pub(crate) fn replace_local(&mut self, local: Arc<Local>) {
        let before = std::mem::replace(&mut self.shared.local, Arc::clone(&local));
        let validity = move |name: &Name| {
            let moves = local.covers(name) || local.presence(name) != before.presence(name);
            if moves { Validity::Void } else { Validity::Valid }
        };
        let affected = self.live.iter().filter(|(question, _)| validity(&question.name) != Validity::Valid);
        let ended: Vec<u64> = affected.map(|(_, id)| *id).collect();
        self.void_names(validity);
        for id in ended {
            self.restart(id);
        }
    }

    fn reindex(&mut self) {
        for round in self.rounds.values_mut() {
            round.timer = round.wake();
        }
        self.timers = self.rounds.values().map(|round| (round.timer, round.id)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, ClientId, Input, Question};
    use hither_table::{Counter, Draft, FamilyDraft, Geometry, Key, Memory, Monotonic, Snapshot, Writer};
    use hither_wire::codes::Rtype;
    use std::net::SocketAddr;

    fn routes(last: &[u8]) -> Routes {
        let upstreams: Vec<SocketAddr> = last.iter().map(|n| ([192, 0, 2, *n], 53).into()).collect();
        Routes::from(&upstreams[..])
    }

    /// A core with one question outstanding at upstream 1.
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

    /// The upstreams that got a query since the last call.
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
    fn a_round_that_two_changes_of_one_reload_affect_is_restarted_once_with_the_new_upstreams() {
        let mut rounds = asking();
        let mut settings = rounds.shared.settings.clone();
        settings.rebinding.allow.insert("example.com".parse().expect("a name"));
        rounds.handle(Monotonic::from_ms(1_300), Input::Reload { settings, routes: routes(&[2]) });
        assert_eq!(asked(&mut rounds), ["192.0.2.2:53"]);
        assert_eq!(rounds.counters().get(Counter::RoundsStarted), 2);
    }

    #[test]
    fn a_domain_or_name_that_is_added_or_removed_voids_its_entries_even_if_its_upstreams_are_the_usual_ones()
    {
        let mut rounds = asking();
        let now = Monotonic::from_ms(1_300);
        let names: [Name; 2] = ["a.example.com", "a.example.net"].map(|name| name.parse().expect("a name"));
        let put = |rounds: &mut Rounds| {
            for name in names {
                let version = rounds.shared.writer.next_version();
                let a = FamilyDraft::of(version, [std::net::Ipv4Addr::LOCALHOST.into()], 1_000_000, 1000);
                rounds.shared.writer.put(&Draft { name, a: Some(a), aaaa: None }, now).expect("room");
            }
        };
        let known = |rounds: &mut Rounds| {
            let mut found = Snapshot::new();
            names.map(|name| rounds.shared.writer.get(&Key::of(&name), &mut found))
        };
        let usual = routes(&[1]);
        let domains = [("example.com".parse().expect("a name"), usual.usual.clone())].into();
        let own = [(names[0], usual.usual.clone())].into();
        let with_domain = Routes { domains, ..usual.clone() };
        let with_name = Routes { names: own, ..usual.clone() };
        for routes in [with_domain, usual.clone(), with_name, usual] {
            put(&mut rounds);
            assert_eq!(known(&mut rounds), [true, true]);
            let settings = rounds.shared.settings.clone();
            rounds.handle(now, Input::Reload { settings, routes });
            rounds.drain();
            assert_eq!(known(&mut rounds), [false, true]);
        }
    }

    #[test]
    fn the_wait_for_one_upstream_is_not_attributed_to_another_in_its_place() {
        let mut rounds = asking();
        let (now, settings) = (Monotonic::from_ms(1_300), rounds.shared.settings.clone());
        rounds.handle(now, Input::Reload { settings, routes: routes(&[2, 1]) });
        let waited: Vec<_> = rounds.upstreams(now).iter().map(|upstream| upstream.srtt_us).collect();
        assert_eq!(waited, [None, Some(300_000)]);
    }
}
