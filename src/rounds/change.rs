//! What changes around the rounds: flushes, another configuration, other local names, another network, the end.

use crate::mutant::Mutant;
use crate::reply::ede;
use crate::routes::Groups;
use crate::upstream::Upstream;
use crate::{Rounds, Routes, Settings};
use hither_local::Local;
use hither_table::{Key, Monotonic};
use hither_wire::{codes::Rcode, name::Name};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

impl Rounds {
    pub(crate) fn flush(&mut self, now: Monotonic, names: Option<&[Name]>) {
        match names {
            None => {
                self.shared.writer.flush_all();
                self.shared.answers.clear();
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

    /// Flushes every name that `affected` holds for: it is asked elsewhere now, or not at all.
    fn flush_where(&mut self, now: Monotonic, affected: impl Fn(&Name) -> bool + 'static) {
        let mut names = BTreeSet::new();
        self.shared.answers.names(|name| {
            if affected(&name) {
                names.insert(name);
            }
        });
        names.extend(self.live.keys().map(|question| question.name).filter(|name| affected(name)));
        let names: Vec<Name> = names.into_iter().collect();
        self.flush(now, Some(&names));
        self.review(affected);
    }

    pub(crate) fn reload(&mut self, now: Monotonic, settings: Settings, routes: Routes) {
        self.shared.answers.resize(settings.answers);
        self.shared.settings = settings;
        if self.shared.groups.routes == routes {
            return self.reindex();
        }
        let before = std::mem::take(&mut self.shared.groups).routes;
        let known = std::mem::take(&mut self.shared.upstreams);
        let find = |address: &SocketAddr| known.iter().find(|u| u.address == *address).cloned();
        self.shared.upstreams = routes
            .all()
            .into_iter()
            .map(|address| find(&address).unwrap_or_else(|| Upstream::new(address)))
            .collect();
        self.shared.groups = Groups::new(routes.clone());
        if !self.shared.mutants.has(Mutant::ReloadKeepsTheRounds) {
            let ended: Vec<u64> = self.live.values().copied().collect();
            for id in ended {
                self.restart(now, id);
            }
        }
        self.shared.answers.forget_failures();
        if routes.domains != before.domains {
            self.flush_where(now, move |name| routes.moves(name, &before));
        }
    }

    /// Other names are answered here, or exist by those: what is cached of them is void, and of those that did what was told because of that.
    pub(crate) fn relocate(&mut self, now: Monotonic, local: Arc<Local>) {
        let before = std::mem::replace(&mut self.shared.local, Arc::clone(&local));
        self.flush_where(now, move |name| local.covers(name) || local.known(name) != before.known(name));
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
