//! What the operator, the sorter, the readers and the system tell the daemon, besides queries.

use crate::config::Config;
use crate::daemon::admin::control::{Heard, Wish};
use crate::daemon::admin::hints::Hint;
use crate::daemon::admin::requests::share;
use crate::daemon::event_loop::Daemon;
use crate::daemon::reload::followed_files::Follower;
use crate::daemon::reload::local::{Loaded, Wanted};
use crate::daemon::setup::{bus_follower, fit_to_descriptors, followed, route};
use crate::daemon::sources::{Slot, Source};
use crate::daemon::turn::Budget;
use crate::host::resolvers::BusFollower;
use crate::logging::Event;
use hither_control::counted;
use hither_net::clock::now;
use hither_net::signals::Signal;
use hither_rounds::{Input, SenderId, Server};
use hither_table::{Counter, Monotonic};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Hints, and messages of one local connection, taken before others get their turn.
const HINTS: usize = 64;
const MESSAGES: usize = 4;

impl Daemon {
    /// Somebody has come to a local socket.
    pub(crate) fn on_local_listener(&mut self, source: Source, now: Monotonic, budget: &mut Budget) {
        let from_sorter = source == Source::SorterListener;
        let (more, fresh) = self.control.accept(self.poll.registry(), from_sorter, now, budget);
        // Whoever has come is heard before anybody else comes, and may have to give way.
        fresh.into_iter().for_each(|slot| self.ready.push_back(Source::Peer(slot)));
        if more {
            self.ready.push_back(source);
        }
        if let Some(error) = self.control.short.take() {
            self.is_short(source, &error, now);
        }
    }

    pub(crate) fn on_peer(&mut self, slot: Slot, now: Monotonic, budget: &mut Budget) {
        for _ in 0..MESSAGES {
            match self.control.next(slot, now, budget) {
                Heard::Nothing => return,
                Heard::Dealt => {}
                Heard::Wish(Wish::Request(request, peer)) => {
                    // The next is read when this is answered, and all others were heard.
                    return self.on_request(slot, request, peer, now);
                }
                Heard::Wish(Wish::Order(order)) => {
                    let sender = SenderId(slot.number());
                    self.tell(now, Input::Order { sender, order: *order });
                }
            }
            if budget.is_spent() {
                break;
            }
        }
        self.ready.push_back(Source::Peer(slot));
    }

    pub(crate) fn on_hints(&mut self, now: Monotonic, budget: &mut Budget) {
        for _ in 0..HINTS {
            let Some(hint) = self.hints.next(now) else { return };
            budget.use_up(0);
            if let Some(Hint { sender, questions }) = hint {
                let before = self.core.counters().get(Counter::Prefetches);
                for question in questions {
                    self.tell(now, Input::Refresh { question });
                }
                let rounds = self.core.counters().get(Counter::Prefetches) - before;
                self.hints.has_begun(sender, rounds as u32);
            }
            if budget.is_spent() {
                break;
            }
        }
        self.ready.push_back(Source::Hints);
    }

    pub(crate) fn on_signals(&mut self, now: Monotonic) {
        let Some(signal) = self.signals.take() else { return };
        match signal {
            Signal::Terminate => self.leave(now),
            Signal::Reload => self.reload_by_signal(now),
            Signal::Child => {
                if let Some(sorter) = &mut self.sorter {
                    sorter.reap(now);
                }
            }
        }
        self.ready.push_back(Source::Signals);
    }

    pub(crate) fn take(&mut self, mut config: Config, now: Monotonic) {
        let fixed = |c: &Config| (c.runtime_dir.clone(), c.state_dir.clone(), c.listen.clone(), c.workers);
        if fixed(&config) != fixed(&self.config) {
            log::warn!(
                event = Event::RestartNeeded;
                "runtime_dir, state_dir, listen.dns and listen.workers take effect at the next start"
            );
        }
        config.workers = self.config.workers;
        config.state_dir.clone_from(&self.config.state_dir);
        config.runtime_dir.clone_from(&self.config.runtime_dir);
        self.upstreams.set_shares(&fit_to_descriptors(&mut config));
        self.resize(&config);
        crate::logging::start(config.level);
        self.clients.configure(&config);
        self.config = config;
        self.reroute(now);
        self.clients.brief_workers(self.core.rounds());
        self.reload.has_begun();
        self.loader.begin(Wanted::of(&self.config, &self.files));
    }

    /// Hosts files and lists have been read. What they change waits where much else is still looked through.
    pub(crate) fn on_loaded(&mut self, now: Monotonic) {
        if self.core.rounds().is_behind() {
            return;
        }
        let Some(loaded) = self.loader.take() else { return };
        if let Some(config) = self.reload.mended.take() {
            let local = match loaded {
                Loaded::Anew(local) => Some(Arc::from(local)),
                Loaded::AsBefore => None,
            };
            return self.begin_with(*config, local, now);
        }
        // Another one is held against all that is cached, which takes its time; nearly always nothing has changed.
        if let Loaded::Anew(local) = loaded {
            self.tell(now, Input::Local { local: Arc::from(local) });
        }
        self.reloaded();
    }

    /// Asks whom the configuration, or the system, names now.
    fn reroute(&mut self, now: Monotonic) {
        if let Some(follower) = &mut self.follower {
            follower.follow(followed(&self.config, self.path.as_deref()));
        }
        if self.config.upstreams.is_empty() != self.links.is_some() {
            self.links = bus_follower(&self.config, &self.waker);
        }
        let routes;
        (routes, self.whom, self.files) =
            route(&self.config, self.path.as_deref(), self.links.as_ref(), &self.addresses, Some(&self.whom));
        let before = self.upstreams(now);
        self.tell(now, Input::Reload { settings: self.config.settings.clone(), routes });
        let upstreams = self.upstreams(now);
        if upstreams != before {
            self.notices.forget_outage();
            let shown: Vec<String> = upstreams.iter().map(ToString::to_string).collect();
            let shown = if shown.is_empty() { "none".to_owned() } else { shown.join(", ") };
            log::info!(event = Event::UpstreamsChanged, upstreams:% = shown; "the upstreams have changed: {shown}");
        }
    }

    fn upstreams(&self, now: Monotonic) -> BTreeSet<Server> {
        self.core.rounds().upstreams(now).iter().map(|upstream| upstream.server).collect()
    }

    /// What is known of links was told anew.
    pub(crate) fn on_heard(&mut self, now: Monotonic) {
        if self.links.as_mut().is_some_and(BusFollower::take_changes) {
            self.reroute(now);
        }
    }

    /// A file that is followed has changed.
    pub(crate) fn on_followed(&mut self, now: Monotonic) {
        if self.follower.as_ref().is_some_and(Follower::take) {
            self.look_after_files();
            self.reread(true, now);
        }
    }

    /// Netlink, the host's name or the clocks had news, which have settled.
    pub(crate) fn on_news(&mut self, now: Monotonic) {
        let Some(news) = self.network.news(now) else { return };
        if let Some(links) = &self.links {
            links.ask_again();
        }
        if news.network || news.name {
            self.reread(news.name, now);
        }
        if news.settled {
            log::info!(
                event = Event::NetworkChanged;
                "the network has changed: what is out is sent again, every upstream is tried"
            );
            self.core.counters().add(Counter::NetworkChanges, 1);
            self.notices.forget_outage();
            self.upstreams.renew();
            self.tell(now, Input::NetworkChanged);
        }
    }

    fn reread(&mut self, files: bool, now: Monotonic) {
        if let Some(links) = &self.links {
            links.ask_again();
        }
        self.reroute(now);
        // Of a configuration that is being begun with, what it names.
        let config = self.reload.mended.as_deref().unwrap_or(&self.config);
        self.loader.begin(Wanted::changed(config, &self.files));
        self.look_at_configuration(files, now);
    }

    pub(crate) fn status_line(&mut self) -> String {
        let now = now();
        let upstreams = self.core.rounds().upstreams(now);
        let up = upstreams.iter().filter(|u| u.state == "up" || u.state == "unknown").count();
        let counters = self.counters();
        let (hits, looked_up) = self.looked_up();
        let rate =
            share(hits, looked_up).map_or(String::new(), |rate| format!(", hit rate {:.0} %", rate * 100.0));
        let problems: String = self.problems().iter().map(|problem| format!("; {problem}")).collect();
        format!(
            "{up} of {} up, {}, {}{rate}{problems}",
            counted(upstreams.len() as u64, "upstream", "upstreams"),
            counted(counters.get(Counter::Entries), "entry", "entries"),
            counted(counters.get(Counter::Queries), "query", "queries")
        )
    }
}
