//! What the operator, the sorter, the readers and the system tell the daemon, besides queries.

use super::containers;
use super::control::Wish;
use super::event_loop::{Daemon, now};
use super::follow::Follower;
use super::local::Wanted;
use super::notify;
use super::requests::share;
use super::setup::{fit_to_descriptors, followed, plan};
use super::system::{BusFollower, bus_follower};
use super::tokens::{Slot, Source};
use super::wrong;
use crate::config::Config;
use crate::logging::Event;
use hither_control::{Response, SorterReply, counted};
use hither_net::signals::Signal;
use hither_rounds::{Input, OrderResult, Server};
use hither_table::{Counter, Monotonic};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Hints taken before others get their turn.
const HINTS: usize = 64;

/// How long a signal and the request that belongs to it may be apart.
const TOGETHER: Duration = Duration::from_secs(5);

/// A reload of the configuration, and how the last one ended.
#[derive(Debug, Default)]
pub(super) struct Reload {
    /// What the last one that a signal began came to, until a request asks for it.
    begun: Option<Result<(), String>>,
    /// A request came before its signal: until then that one begins nothing.
    owed: Option<Monotonic>,
    /// The service manager waits for its end.
    running: bool,
    /// Operators who do.
    asked: Vec<Slot>,
    /// Why the configuration that is there was not taken.
    pub refused: Option<String>,
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
                Signal::Reload => self.reload_by_signal(now),
                Signal::Child => {
                    if let Some(sorter) = &mut self.sorter {
                        sorter.reap(now);
                    }
                }
            }
        }
    }

    /// systemd from 253 sends a signal and runs a command for one reload, neither after the other: the later one joins the earlier.
    fn reload_by_signal(&mut self, now: Monotonic) {
        if self.reload.owed.take().is_some_and(|until| now < until) {
            return;
        }
        self.reload.begun = None;
        let refused = self.reload(None, now).err();
        self.reload.begun = Some(refused.map_or(Ok(()), Err));
    }

    /// Tells `slot` what becomes of the reload that the signal begins which belongs to this request.
    pub(super) fn reload_begun(&mut self, slot: Slot, now: Monotonic) {
        match self.reload.begun.take() {
            Some(Err(message)) => self.control.answer(slot, &Response::Error { message }),
            Some(Ok(())) if self.reload.running => self.reload.asked.push(slot),
            Some(Ok(())) => self.control.answer(slot, &Response::Reloaded),
            None => {
                self.reload.owed = Some(now.plus(TOGETHER));
                self.reload_for(slot, now);
            }
        }
    }

    /// Reads the configuration again for who asks for it.
    pub(super) fn reload_for(&mut self, slot: Slot, now: Monotonic) {
        if let Err(message) = self.reload(Some(slot), now) {
            self.control.answer(slot, &Response::Error { message });
        }
    }

    /// Reads the configuration again; `asked` is told when it is in force.
    ///
    /// # Errors
    /// Why it is not taken.
    fn reload(&mut self, asked: Option<Slot>, now: Monotonic) -> Result<(), String> {
        // Who asks while lists are read means the files that were there when this reload began.
        if !self.reload.running || asked.is_none() {
            notify::reloading();
            let was_wrong = self.config.wrong.is_some();
            let loaded = wrong::load(self.path.as_deref()).map_err(|wrong| wrong.why);
            let taken = loaded
                .map(|config| if was_wrong { self.mended(config, now) } else { self.take(config, now) });
            if let Err(error) = taken {
                self.reload.refused = (!was_wrong).then(|| error.clone());
                log::error!(
                    event = Event::ConfigurationRefused, reason:% = error;
                    "the configuration is not reloaded, {}: {error}",
                    if was_wrong { "and there is none in force" } else { "the old one stays in force" }
                );
                if !self.reload.running {
                    notify::ready(&self.status_line());
                }
                return Err(error);
            }
        }
        self.reload.asked.extend(asked);
        if !self.loader.is_busy() {
            self.reloaded();
        }
        Ok(())
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
        config.runtime_dir.clone_from(&self.config.runtime_dir);
        self.resize(&config);
        crate::logging::start(config.level);
        self.clients.set_limits(config.limits.tcp, config.limits.tcp_per_network);
        self.config = config;
        self.reload.refused = None;
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
        if let Some(follower) = &mut self.follower {
            follower.follow(followed(&self.config, self.path.as_deref()));
        }
        if self.config.upstreams.is_empty() != self.links.is_some() {
            self.links = bus_follower(&self.config, &self.waker);
        }
        let heard = self.links.as_ref().map(BusFollower::heard);
        let plan = plan(&self.config, self.path.as_deref(), heard, &self.addresses);
        let routes;
        (routes, self.whom) = plan.split(Some(&self.whom));
        containers::offer(&self.config, &routes.usual);
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

    fn upstreams(&self, now: Monotonic) -> BTreeSet<Server> {
        self.rounds.upstreams(now).iter().map(|upstream| upstream.server).collect()
    }

    /// What is known of links was told anew.
    pub(super) fn on_heard(&mut self, now: Monotonic) {
        if self.links.as_mut().is_some_and(BusFollower::take) {
            self.reroute(now);
        }
    }

    /// A file that is followed has changed.
    pub(super) fn on_followed(&mut self, now: Monotonic) {
        if self.follower.as_ref().is_some_and(Follower::take) {
            self.look_after_files();
            self.reread(true, now);
        }
    }

    /// Netlink, the host's name or the clocks had news, which have settled.
    pub(super) fn on_news(&mut self, now: Monotonic) {
        let Some(news) = self.network.news(now) else { return };
        if let Some(links) = &self.links {
            links.ask_again();
        }
        if news.network || news.name {
            self.reread(news.name, now);
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

    fn reread(&mut self, files: bool, now: Monotonic) {
        if let Some(links) = &self.links {
            links.ask_again();
        }
        self.reroute(now);
        self.loader.begin(Wanted::of(&self.config));
        self.look_at_configuration(files, now);
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
