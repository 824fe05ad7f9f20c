//! What the operator, the sorter, the readers and the system tell the daemon, besides queries.

use super::control::Wish;
use super::event_loop::{Daemon, now};
use super::local::Wanted;
use super::notify;
use super::setup::{fit_to_descriptors, followed, routes};
use super::tokens::{Slot, Source};
use super::wrong;
use crate::config::Config;
use crate::logging::Event;
use hither_control::{Response, SorterReply};
use hither_net::signals::Signal;
use hither_rounds::{Input, OrderResult};
use hither_table::{Counter, Monotonic};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

/// Hints taken before others get their turn.
const HINTS: usize = 64;

/// A reload of the configuration, and how the last one ended.
#[derive(Debug, Default)]
pub(super) struct Reload {
    /// The service manager waits for its end.
    running: bool,
    /// Operators who do.
    asked: Vec<Slot>,
    /// The configuration that is there was not taken.
    pub refused: bool,
    /// When a configuration that was wrong from the start is read again.
    pub due: Monotonic,
}

impl Daemon {
    pub(super) fn on_peer(&mut self, slot: Slot, now: Monotonic) {
        while let Some(wish) = self.control.next(self.poll.registry(), slot) {
            match wish {
                Wish::Request(slot, request, peer) => self.on_request(slot, request, peer, now),
                Wish::Order(slot, order) => {
                    self.order_from = Some(slot);
                    self.rounds.handle(now, Input::Order(*order));
                    self.act(now);
                }
            }
        }
    }

    pub(super) fn on_hints(&mut self, now: Monotonic) {
        for _ in 0..HINTS {
            let Some(questions) = self.hints.next(now) else { return };
            for question in questions {
                self.rounds.handle(now, Input::Refresh { question });
                self.act(now);
            }
        }
        self.again.push_back(Source::Hints);
    }

    pub(super) fn on_signals(&mut self, now: Monotonic) {
        while let Some(signal) = self.signals.take() {
            match signal {
                Signal::Terminate => self.leave(now),
                Signal::Reload => self.reload(None, now),
                Signal::Child => {
                    if let Some(sorter) = &mut self.sorter {
                        sorter.reap(now);
                    }
                }
            }
        }
    }

    /// Reads the configuration again, and tells `asked` when it is in force, or why it is not.
    pub(super) fn reload(&mut self, asked: Option<Slot>, now: Monotonic) {
        // Who asks while lists are read means the files that were there when this reload began.
        if !self.reload.running || asked.is_none() {
            notify::reloading();
            let was_wrong = self.config.wrong.is_some();
            let loaded = wrong::load(self.path.as_deref()).map_err(|wrong| wrong.why);
            let taken = loaded
                .map(|config| if was_wrong { self.mended(config, now) } else { self.take(config, now) });
            if let Err(error) = taken {
                self.reload.refused = !was_wrong;
                log::error!(
                    event = Event::ConfigurationRefused, reason:% = error;
                    "the configuration is not reloaded, {}: {error}",
                    if was_wrong { "and there is none in force" } else { "the old one stays in force" }
                );
                if let Some(slot) = asked {
                    self.control.answer(slot, &Response::Error { message: error });
                }
                if !self.reload.running {
                    notify::ready(&self.status_line());
                }
                return;
            }
        }
        self.reload.asked.extend(asked);
        if !self.loader.is_busy() {
            self.reloaded();
        }
    }

    pub(super) fn take(&mut self, mut config: Config, now: Monotonic) {
        fit_to_descriptors(&mut config);
        let fixed = |c: &Config| (c.runtime_dir.clone(), c.state_dir.clone(), c.listen.clone(), c.workers);
        if fixed(&config) != fixed(&self.config) {
            log::warn!(
                event = Event::RestartNeeded;
                "runtime_dir, state_dir, listen.dns and listen.workers take effect at the next start"
            );
        }
        config.workers = self.config.workers;
        config.state_dir.clone_from(&self.config.state_dir);
        self.resize(&config);
        crate::logging::start(config.level);
        self.clients.set_limits(config.limits.tcp, config.limits.tcp_per_network);
        self.config = config;
        self.reload.refused = false;
        self.reroute(now);
        self.brief_workers();
        self.reload.running = true;
        self.loader.begin(Wanted::of(&self.config));
    }

    pub(super) fn reloaded(&mut self) {
        if std::mem::take(&mut self.reload.running) {
            log::info!(event = Event::ConfigurationReloaded; "the configuration is reloaded");
            for slot in std::mem::take(&mut self.reload.asked) {
                self.control.answer(slot, &Response::Reloaded);
            }
            notify::ready(&self.status_line());
        }
    }

    /// Hosts files and lists have been read.
    pub(super) fn on_loaded(&mut self, now: Monotonic) {
        if let Some(local) = self.loader.take() {
            self.rounds.handle(now, Input::Local { local: Arc::new(local) });
            self.act(now);
            self.reloaded();
        }
    }

    /// Asks whom the configuration, or the system, names now.
    fn reroute(&mut self, now: Monotonic) {
        self.network.follow(&followed(&self.config, self.path.as_deref()));
        let routes = routes(&self.config, &self.addresses);
        let before = self.upstreams(now);
        self.rounds.handle(now, Input::Reload { settings: self.config.settings.clone(), routes });
        self.act(now);
        let upstreams = self.upstreams(now);
        if upstreams != before {
            self.all_down = false;
            let shown: Vec<String> = upstreams.iter().map(ToString::to_string).collect();
            let shown = if shown.is_empty() { "none".to_owned() } else { shown.join(", ") };
            log::info!(event = Event::UpstreamsChanged, upstreams:% = shown; "the upstreams have changed: {shown}");
        }
    }

    fn upstreams(&self, now: Monotonic) -> BTreeSet<SocketAddr> {
        self.rounds.upstreams(now).iter().map(|upstream| upstream.address).collect()
    }

    /// Netlink, inotify or the clocks had news, which have settled.
    pub(super) fn on_news(&mut self, now: Monotonic) {
        let Some(news) = self.network.news(now) else { return };
        if news.network || news.files {
            self.reroute(now);
            self.loader.begin(Wanted::of(&self.config));
            self.look_at_configuration(news.files, now);
        }
        if news.network {
            log::info!(
                event = Event::NetworkChanged;
                "the network has changed: what is out is sent again, every upstream is tried"
            );
            self.rounds.counters().add(Counter::NetworkChanges, 1);
            self.all_down = false;
            self.outside.renew();
            self.rounds.handle(now, Input::NetworkChanged);
            self.act(now);
        }
    }

    pub(super) fn answer_sorter(&mut self, result: OrderResult) {
        let Some(slot) = self.order_from.take() else { return };
        let reply = match result {
            OrderResult::Applied { version } => SorterReply::Applied { version },
            OrderResult::Rejected { reason, set_version } => {
                SorterReply::Rejected { reason: reason.to_owned(), set_version }
            }
        };
        self.control.answer(slot, &reply);
    }

    pub(super) fn status_line(&mut self) -> String {
        let now = now();
        let upstreams = self.rounds.upstreams(now);
        let up = upstreams.iter().filter(|u| u.state == "up" || u.state == "unknown").count();
        let counters = self.counters();
        let (queries, hits) = (counters.get(Counter::Queries), counters.get(Counter::Hits));
        let rate = (hits * 100).checked_div(queries).unwrap_or(0);
        let entries = counters.get(Counter::Entries);
        let problems: String = self.problems().iter().map(|problem| format!("; {problem}")).collect();
        format!(
            "{up} of {} upstreams up, {entries} entries, {queries} queries, {rate} % hits{problems}",
            upstreams.len()
        )
    }
}
