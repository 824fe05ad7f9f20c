//! Saves and restores: the table's file is created and grows, the cache is saved at intervals, and the
//! saved cache is restored after a reboot.

use crate::config::Config;
use crate::daemon::event_loop::Daemon;
use crate::daemon::persist::{Contents, Due, Found, Mark, Mended, TableState};
use crate::daemon::setup::warn_of_directory;
use crate::logging::Event;
use hither_rounds::{Input, Restore};
use hither_table::Monotonic;
use std::time::Duration;

/// How long the daemon has to run before it ends for the sake of its runtime directory.
const RESTART_PAUSE: Duration = Duration::from_secs(10);

impl Daemon {
    /// Begins with a new or an old table, as the daemon starts or as its configuration becomes valid.
    pub(super) fn begin_persisting(&mut self, now: Monotonic) {
        let found = self.persist.find_saved(self.reload.config(), self.core.table());
        self.begin_with_saved(found, now);
    }

    /// Like `begin_persisting`, with a saved cache that was found before.
    pub(super) fn begin_with_saved(&mut self, found: Option<Found>, now: Monotonic) {
        let mark = self.mark();
        self.persist.begin(self.reload.config(), self.core.table(), mark);
        let restore = found.and_then(|found| self.persist.cache.begin_restore(found, self.poll.registry()));
        if let Some(restore) = restore {
            self.tell(now, Input::Restore(restore));
        }
    }

    fn mark(&mut self) -> Mark {
        (self.core.rounds().reader().generation(), self.core.table().changes())
    }

    fn table_state(&mut self) -> TableState {
        let mark = self.mark();
        let rounds = self.core.rounds();
        TableState { mark, is_restoring: rounds.is_restoring(), is_reviewing: rounds.is_reviewing() }
    }

    /// When the table is to be saved or checked.
    pub(super) fn persist_timeout(&mut self) -> Option<Monotonic> {
        let (table, has_problems) = (self.table_state(), self.admin.problems().next().is_some());
        self.persist.timeout(self.reload.config(), table, has_problems)
    }

    /// Saves the table if that is due, or ends when it has been saved.
    pub(super) fn persist_on_time(&mut self, now: Monotonic) {
        // First, since it may begin the end of the daemon, which the save below continues.
        if self.ending.draining.is_none() && self.persist.table.take_check(now) {
            self.mend_runtime_dir();
            if self.persist.table.grow(self.core.table(), self.reload.config()) {
                self.bind_readers_sockets_again();
                self.clients.update_workers(self.core.rounds());
            }
        }
        // Changes while the daemon ends are not worth another save.
        while self.ending.draining.is_none() {
            let table = self.table_state();
            match self.persist.cache.on_time(self.reload.config(), table, now) {
                Some(Due::Save) => self.save(table.mark, now),
                Some(Due::End) => self.drain(now),
                None => break,
            }
        }
        self.persist.write_version(self.core.table(), now);
    }

    fn save(&mut self, mark: Mark, now: Monotonic) {
        let rounds = self.core.rounds();
        let contents = Contents {
            reader: rounds.reader(),
            routes: rounds.routes().clone(),
            usual: rounds.default_upstreams(),
            mark,
        };
        self.persist.save(contents, self.reload.config(), now);
    }

    /// Takes over the result of the saving thread, if it has ended.
    pub(super) fn on_saved(&mut self) {
        self.persist.on_saved(self.reload.config());
    }

    /// Hands the core a slice to restore, if one is ready.
    pub(super) fn restore_some(&mut self, now: Monotonic) -> bool {
        let Some(restore) = self.persist.cache.next_slice() else { return false };
        self.tell(now, Input::Restore(restore));
        if !self.core.rounds().is_restoring() {
            self.persist.cache.end_restore();
        }
        true
    }

    /// The kernel reports that the wall clock was set.
    pub(super) fn on_wall_clock(&mut self, now: Monotonic) {
        self.persist.cache.on_clock_set();
        self.look_at_wall_clock(now);
    }

    /// Voids what was restored if the wall clock was wrong at the start.
    pub(super) fn look_at_wall_clock(&mut self, now: Monotonic) {
        if self.persist.cache.drop_void_restore() {
            self.tell(now, Input::Restore(Restore::Void));
        }
    }

    /// Creates another table if the new configuration has another size or mode.
    pub(super) fn resize_table(&mut self, new: &Config) {
        self.mend_runtime_dir();
        if self.persist.table.resize(self.core.table(), new, self.reload.config()) {
            self.bind_readers_sockets_again();
        }
        warn_of_directory(&self.reload.config().runtime_dir);
    }

    /// Creates those files in the runtime directory again that were removed, or that could not be
    /// created before.
    pub(super) fn mend_runtime_dir(&mut self) {
        match self.persist.table.mend(self.core.table(), self.reload.config()) {
            Mended::Nothing => {}
            Mended::Table => {
                self.bind_readers_sockets_again();
                self.reload.offer_to_containers(&self.core.rounds().routes().usual);
                self.clients.update_workers(self.core.rounds());
            }
            Mended::NoDirectory => self.have_runtime_dir_made(),
        }
        if self.persist.mend_versions(&self.core.table()) {
            self.admin.bind_again(&self.reload.config().runtime_dir, self.poll.registry());
        }
        self.persist.watch_again(self.reload.config());
    }

    /// Ends, so that the service manager, which made the runtime directory, makes it again and starts
    /// the daemon. It keeps the sockets, so no query is lost. Not soon after a start: a daemon that ends
    /// again and again answers nobody.
    fn have_runtime_dir_made(&mut self) {
        let now = hither_net::clock::now();
        let is_young = now.since(self.housekeeping.started) < RESTART_PAUSE;
        if is_young || !self.reload.config().is_runtime_dir_managed() || !self.supervision.manager.is_there()
        {
            return;
        }
        log::warn!(
            event = Event::RuntimeFilesLost, path:% = self.reload.config().runtime_dir.display();
            "ending, so that the service manager makes the runtime directory and starts hitherd again"
        );
        self.begin_stop(now);
    }

    fn bind_readers_sockets_again(&mut self) {
        self.admin.bind_readers_sockets_again(&self.reload.config().runtime_dir, self.poll.registry());
    }

    /// The deviations from the configuration, with their reasons, for the operator.
    pub(super) fn problems(&mut self) -> Vec<String> {
        let table = self.persist.table.problem(&self.core.table());
        let portal = self.captive_portal(hither_net::clock::now());
        let config = self.reload.config_problems();
        config
            .chain(table)
            .chain(portal)
            .chain(self.admin.problems())
            .chain(self.reload.upstream_problems())
            .collect()
    }
}
