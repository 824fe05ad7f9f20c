//! Reloads: passes changes of the configuration, of followed files and of the network to the core and the
//! parts.

use crate::config::Config;
use crate::daemon::event_loop::Daemon;
use crate::daemon::reload::{ListsRead, Planned, unusable_config};
use crate::daemon::setup::fit_to_descriptors;
use crate::daemon::sources::Slot;
use crate::daemon::upstreams::{EndpointSetup, Labels};
use crate::logging::Event;
use hither_control::Response;
use hither_local::Local;
use hither_net::clock::now as clock;
use hither_rounds::{Input, Server};
use hither_table::{Counter, Monotonic, StaleTime};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Daemon {
    /// Notes an operator's request that belongs to a signal.
    pub(super) fn reload_begun(&mut self, slot: Slot, now: Monotonic) {
        if let Some(response) = self.reload.requests.request_of_signal(slot, now) {
            self.admin.reply(slot, &response);
        }
    }

    /// Reads the configuration again if that was requested.
    pub(super) fn reload_on_time(&mut self, now: Monotonic) {
        if self.core.rounds().is_behind() || !self.reload.requests.take(now) {
            return;
        }
        let began = clock();
        let result = self.reload_configuration(now);
        let requesters = self.reload.requests.note_read(&result, began, clock());
        match result {
            Ok(()) if !self.reload.is_reading() => self.end_reload(),
            Ok(()) => {}
            Err(message) => self.reply_to_all(&requesters, &Response::Error { message }),
        }
    }

    /// # Errors
    /// Why the configuration is not put in force.
    fn reload_configuration(&mut self, now: Monotonic) -> Result<(), String> {
        self.supervision.manager.reloading();
        let was_invalid = self.reload.config().findings.error.is_some();
        match self.reload.read_configuration() {
            Ok(config) if was_invalid => self.begin_mended(config, now),
            Ok(config) => self.put_in_force(config, now),
            Err(reason) => {
                self.drop_mended(&reason);
                let is_running = self.reload.refuse(&reason);
                log::error!(
                    event = Event::ConfigurationRefused, reason:% = reason;
                    "the configuration is not reloaded, {}: {reason}",
                    if was_invalid { "and no valid one is in force" } else { "the old one stays in force" }
                );
                if !is_running {
                    self.report_ready();
                }
                return Err(reason);
            }
        }
        Ok(())
    }

    /// Puts a configuration in force in all parts, and has its lists read.
    fn put_in_force(&mut self, mut config: Config, now: Monotonic) {
        self.reload.keep_fixed(&mut config);
        let shares = fit_to_descriptors(&mut config);
        self.upstreams.set_shares(&shares);
        self.resize_table(&config);
        self.core.table().set_stale_time(StaleTime::of(config.settings.stale));
        crate::logging::start(config.log.level);
        self.clients.configure(&config);
        self.admin.changes.configure(&config, shares.subscribers, self.poll.registry());
        self.admin.set_site(config.settings.site.is_on, &config.runtime_dir, self.poll.registry());
        self.reload.put_in_force(config);
        self.log_queries(now);
        self.reroute(now);
        self.clients.update_workers(self.core.rounds());
        self.reload.begin_reading();
    }

    /// Puts hosts files and lists in force that have been read. They wait while the core still
    /// reviews too many other changes.
    pub(super) fn on_lists_read(&mut self, now: Monotonic) {
        if self.core.rounds().is_behind() {
            return;
        }
        let Some(ListsRead { local, mended }) = self.reload.take_lists() else { return };
        if let Some(config) = mended {
            return self.end_mended(*config, local, now);
        }
        if let Some(local) = local {
            self.tell(now, Input::Local { local });
            self.admin.changes.look_again(now);
        }
        self.end_reload();
    }

    /// Ends the running reload, if there is one.
    fn end_reload(&mut self) {
        if let Some(waiting) = self.reload.requests.end() {
            log::info!(event = Event::ConfigurationReloaded; "the configuration is reloaded");
            self.admin.note_change();
            self.reply_to_all(&waiting, &Response::Reloaded);
            self.report_ready();
        }
    }

    /// Reads a configuration again that was invalid at the start, if that is due or its files have
    /// `changed`.
    pub(super) fn retry_configuration(&mut self, changed: bool, now: Monotonic) {
        match self.reload.retry(changed, now) {
            Some(Ok(config)) => self.begin_mended(config, now),
            Some(Err(reason)) => self.drop_mended(&reason),
            None => {}
        }
    }

    /// Begins to use a configuration that was invalid at the start and has become valid.
    fn begin_mended(&mut self, config: Config, now: Monotonic) {
        if let Some((config, local)) = self.reload.begin_mended(config) {
            self.end_mended(config, Some(Arc::new(local)), now);
        }
    }

    /// Puts such a configuration in force, and does what a start does and a reload does not.
    fn end_mended(&mut self, config: Config, local: Option<Arc<Local>>, now: Monotonic) {
        if let Some(local) = local {
            self.tell(now, Input::Local { local });
            self.admin.changes.look_again(now);
        }
        self.put_in_force(config, now);
        unusable_config::forget_failed_start(&self.reload.config().runtime_dir);
        self.begin_persisting(now);
        if !self.reload.is_reading() {
            self.end_reload();
        }
    }

    /// Drops such a configuration: it has become invalid again before it came into force.
    fn drop_mended(&mut self, reason: &str) {
        if let Some(waiting) = self.reload.drop_mended() {
            self.reply_to_all(&waiting, &Response::Error { message: reason.to_owned() });
            self.report_ready();
        }
    }

    fn reply_to_all(&mut self, slots: &[Slot], response: &Response) {
        slots.iter().for_each(|slot| self.admin.reply(*slot, response));
    }

    /// Reports to the service manager that the daemon is ready, with its status.
    pub(super) fn report_ready(&mut self) {
        let status = self.status_line();
        self.supervision.manager.ready(&status);
    }

    /// Switches to the upstreams that the configuration, or the system, names now.
    fn reroute(&mut self, now: Monotonic) {
        let Planned { routes, encrypted } = self.reload.plan_routes();
        let before = self.servers(now);
        let settings = self.reload.config().settings.clone();
        self.admin.set_unshared(&routes);
        self.tell(now, Input::Reload { settings, routes });
        // The core has ended the attempts to upstreams that are gone.
        self.set_encrypted(encrypted, now);
        let servers = self.servers(now);
        if servers != before {
            self.admin.notices.forget_outage();
            self.admin.changes.retry(now);
            let shown: Vec<String> = servers.iter().map(|server| self.admin.labels().of(server)).collect();
            let shown = if shown.is_empty() { "none".to_owned() } else { shown.join(", ") };
            log::info!(
                event = Event::UpstreamsChanged, upstreams:% = shown;
                "the upstreams have changed: {shown}"
            );
        }
    }

    /// Takes over the encrypted upstreams.
    pub(super) fn set_encrypted(&mut self, setups: Vec<EndpointSetup>, now: Monotonic) {
        self.admin.set_labels(Labels::new(&setups));
        self.upstreams.encrypted().set_endpoints(setups, now);
        self.name_upstreams(now);
    }

    fn servers(&self, now: Monotonic) -> BTreeSet<Server> {
        self.core.rounds().upstreams(now).iter().map(|upstream| upstream.server).collect()
    }

    /// Handles news of the system's programs about links.
    pub(super) fn on_links(&mut self, now: Monotonic) {
        if self.reload.take_links_changed() {
            self.reroute(now);
        }
    }

    /// Handles a change of followed files.
    pub(super) fn on_followed(&mut self, now: Monotonic) {
        if self.reload.take_files_changed() {
            self.mend_runtime_dir();
            self.reread(true, now);
        }
    }

    /// Handles a change of the network, the host's name or the clocks.
    pub(super) fn on_news(&mut self, now: Monotonic) {
        let Some(news) = self.reload.take_news(now) else { return };
        if news.network || news.name {
            self.reread(news.name, now);
        }
        if news.settled {
            log::info!(
                event = Event::NetworkChanged;
                "the network has changed: outstanding queries are sent again, and every upstream is tried"
            );
            self.core.counters().add(Counter::NetworkChanges, 1);
            self.admin.notices.forget_outage();
            self.upstreams.renew();
            self.upstreams.encrypted().change_network(now);
            self.tell(now, Input::NetworkChanged);
            self.admin.changes.retry(now);
        }
    }

    fn reread(&mut self, files_changed: bool, now: Monotonic) {
        self.reload.ask_for_links();
        self.reroute(now);
        self.reload.begin_reading_changed();
        self.retry_configuration(files_changed, now);
    }
}
