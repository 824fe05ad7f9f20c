//! Everything that may change while the daemon runs: the configuration, hosts files and lists, the
//! network, and the system's resolvers.
//!
//! [`Reload`] owns the configuration in force with its path, the requests to reload it, the loader of
//! hosts files and lists, the follower of their files, the watch of the network and of the host's name,
//! and the system's resolvers with the routes that come from them.
//!
//! The event loop drives it. The loop reports signals, requests and ready descriptors, gets changes by
//! the `take_` methods, and applies them to the core and the other parts.
//! [`Reload::timeout`] says when something is due.
//!
//! It promises that one set of files is read at a time, in a thread; that a configuration which is
//! invalid, or whose files cannot be read, leaves the one before in force; and that each operator
//! who requests a reload gets one reply, when the reload has ended.

mod bootstrap;
pub(crate) mod containers_file;
mod followed_files;
pub(crate) mod lists;
mod network;
mod requests;
mod reserved_zones;
mod routes;
pub(crate) mod unusable_config;

use crate::config::{Block, Config};
use crate::daemon::sources::{Slot, Source};
use crate::host::resolvers::PlanReport;
use crate::logging::Event;
use followed_files::Follower;
use hither_control::FileStatus;
use hither_local::{Hosts, Local};
use hither_rounds::Server;
use hither_table::Monotonic;
use lists::{ListLoader, Loaded, Plan};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Waker};
use network::Network;
pub(crate) use network::News;
use requests::ReloadRequests;
pub(crate) use routes::Planned;
use routes::{Resolvers, followed_files as files_to_follow};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use unusable_config::Unusable;

/// How often an invalid configuration is read again, even if it has not changed.
const RETRY_EVERY: Duration = Duration::from_secs(60);

/// The configuration in force, and all sources of changes to it. See the module's documentation.
#[derive(Debug)]
pub(crate) struct Reload {
    config: Config,
    /// The file that the operator named.
    path: Option<PathBuf>,
    waker: Arc<Waker>,
    /// Requests to reload the configuration.
    pub requests: ReloadRequests,
    lists: ListLoader,
    /// None if files cannot be followed, which has been logged.
    follower: Option<Follower>,
    /// Changes of the network and of the host's name.
    pub network: Network,
    resolvers: Resolvers,
    /// A configuration that was invalid at the start and is valid now. It comes into force when its
    /// lists have been read.
    mended: Option<Box<Config>>,
    /// When a configuration that was invalid at the start is read again.
    retry_at: Monotonic,
}

/// The result of reading hosts files and lists.
#[derive(Debug)]
pub(crate) struct ListsRead {
    /// The new data; None if it has not changed.
    pub local: Option<Arc<Local>>,
    /// The configuration that comes into force with it.
    pub mended: Option<Box<Config>>,
}

impl Reload {
    /// Starts with a configuration. Also returns what is planned for it. `listening`: the
    /// addresses that the daemon listens at.
    pub fn start(
        config: Config,
        path: Option<PathBuf>,
        listening: Vec<SocketAddr>,
        waker: Arc<Waker>,
    ) -> (Reload, Planned) {
        let (resolvers, planned) = Resolvers::start(&config, path.as_deref(), listening, &waker);
        let follower = Follower::begin(files_to_follow(&config, path.as_deref()), &waker);
        let reload = Reload {
            lists: ListLoader::new(Arc::clone(&waker)),
            config,
            path,
            waker,
            requests: ReloadRequests::default(),
            follower,
            network: Network::new(),
            resolvers,
            mended: None,
            retry_at: Monotonic(0),
        };
        (reload, planned)
    }

    /// Adds the network's descriptors to the epoll instance.
    ///
    /// # Errors
    /// The kernel refuses a descriptor.
    pub fn register(&self, registry: &Registry) -> io::Result<()> {
        let token = Source::Network.token();
        if let Some(descriptor) = self.network.descriptor() {
            registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
        }
        if let Some(descriptor) = self.network.urgent_descriptor() {
            registry.register(&mut SourceFd(&descriptor), token, Interest::PRIORITY)?;
        }
        Ok(())
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The file or program that named each upstream.
    pub fn origins(&self) -> &PlanReport {
        self.resolvers.origins()
    }

    /// The status of each hosts file and list.
    pub fn files(&self) -> &[FileStatus] {
        self.lists.files()
    }

    /// The first hosts file of the configuration for whose data `has_it` holds.
    pub fn hosts_file(&self, has_it: impl Fn(&Hosts) -> bool) -> Option<PathBuf> {
        self.lists.hosts_file(&self.config.hosts, has_it)
    }

    /// The `[[block]]` from which the core's block at `position` was made, and its own position.
    pub fn block(&self, position: usize) -> Option<(usize, Block)> {
        let position = lists::block_of(position);
        Some((position, self.config.blocks.get(position)?.clone()))
    }

    /// The waker by which a thread with a result wakes the event loop.
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// The errors of the configuration, for the operator.
    pub fn config_problems(&self) -> impl Iterator<Item = String> {
        let invalid = self.config.findings.error.as_ref().map(|why| {
            format!("the configuration is invalid, and names that are not in the cache get SERVFAIL: {why}")
        });
        let refused = self.requests.refusal();
        let refused = refused
            .map(|why| format!("an older configuration is in force, because the new one is invalid: {why}"));
        invalid.into_iter().chain(refused)
    }

    /// The errors of the upstreams that the system names, for the operator.
    pub fn upstream_problems(&self) -> impl Iterator<Item = String> {
        let origins = self.resolvers.origins();
        origins.problems.iter().chain(&origins.refused).cloned()
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// The daemon cannot run with it, for this reason.
    pub fn read_configuration(&self) -> Result<Config, String> {
        unusable_config::load(self.path.as_deref()).map_err(|unusable| unusable.reason)
    }

    /// Notes why the configuration that was read last is not in force. Returns whether an earlier
    /// reload still runs.
    pub fn refuse(&mut self, reason: &str) -> bool {
        let is_in_force = self.config.findings.error.is_none();
        self.requests.refuse(is_in_force.then(|| reason.to_owned()));
        self.requests.is_running()
    }

    /// Keeps the old values of settings that take effect at the next start only.
    pub fn keep_fixed(&self, config: &mut Config) {
        let fixed = |c: &Config| {
            (c.runtime_dir.clone(), c.state.dir.clone(), c.listen.addresses.clone(), c.listen.workers)
        };
        if fixed(config) != fixed(&self.config) {
            log::warn!(
                event = Event::RestartNeeded;
                "runtime_dir, state_dir, listen.dns and listen.workers take effect at the next start"
            );
        }
        config.listen.workers = self.config.listen.workers;
        config.state.dir.clone_from(&self.config.state.dir);
        config.runtime_dir.clone_from(&self.config.runtime_dir);
    }

    /// Puts a configuration in force.
    pub fn put_in_force(&mut self, config: Config) {
        self.config = config;
    }

    /// Plans the routes for the configuration in force, and follows its files.
    pub fn plan_routes(&mut self) -> Planned {
        let path = self.path.as_deref();
        if let Some(follower) = &mut self.follower {
            follower.follow(files_to_follow(&self.config, path));
        }
        self.resolvers.plan(&self.config, path, &self.waker)
    }

    /// Writes the file for containers, if `upstreams` differ from those in it.
    pub fn offer_to_containers(&self, upstreams: &[Server]) {
        containers_file::offer(&self.config, upstreams, self.resolvers.files());
    }

    /// Reads all hosts files and lists in this thread, at the start of the daemon.
    pub fn read_lists_now(&mut self) -> Local {
        self.lists.load(&Plan::all(&self.config, self.resolvers.files()))
    }

    /// Begins to read all hosts files and lists, for a reload.
    pub fn begin_reading(&mut self) {
        self.requests.begin();
        self.lists.begin(Plan::all(&self.config, self.resolvers.files()));
    }

    /// Begins to read the hosts files and lists that have changed.
    pub fn begin_reading_changed(&mut self) {
        let config = self.mended.as_deref().unwrap_or(&self.config);
        self.lists.begin(Plan::changed(config, self.resolvers.files()));
    }

    /// Whether hosts files and lists are being read.
    pub fn is_reading(&self) -> bool {
        self.lists.is_busy()
    }

    /// The result of reading, once there is one.
    pub fn take_lists(&mut self) -> Option<ListsRead> {
        let local = match self.lists.take()? {
            // The core reviews the whole cache after a change of data, which takes time. Nearly
            // always nothing has changed.
            Loaded::Changed(local) => Some(Arc::from(local)),
            Loaded::Unchanged => None,
        };
        Some(ListsRead { local, mended: self.mended.take() })
    }

    /// Reads a configuration again that was invalid at the start, if it is due or has `changed`.
    pub fn retry(&mut self, changed: bool, now: Monotonic) -> Option<Result<Config, String>> {
        let known = self.config.findings.error.as_ref()?;
        // A valid one whose lists are being read may be large: only a change has it read again.
        if !changed && (self.retry_at > now || self.mended.is_some()) {
            return None;
        }
        // The first retry is for changes before the files were followed. Its error has been logged
        // already.
        let is_first = self.retry_at == Monotonic(0);
        self.retry_at = now.plus(RETRY_EVERY);
        match unusable_config::load(self.path.as_deref()) {
            Ok(config) => Some(Ok(config)),
            Err(Unusable { reason, .. }) => {
                if !changed && !is_first || reason != *known {
                    log::error!(
                        event = Event::ConfigurationRefused, reason:% = reason;
                        "the configuration is invalid, and names that are not in the cache get SERVFAIL: {reason}"
                    );
                }
                self.config.findings.error = Some(reason.clone());
                Some(Err(reason))
            }
        }
    }

    /// Begins to read the lists of a configuration that has become valid: it comes into force with
    /// them, so that no blocked name is sent to an upstream. If no thread can be started, the lists
    /// are read at once and returned.
    pub fn begin_mended(&mut self, config: Config) -> Option<(Config, Local)> {
        let plan = Plan::all(&config, self.resolvers.files());
        self.lists.begin(plan.clone());
        if self.lists.is_busy() {
            self.requests.begin();
            self.mended = Some(Box::new(config));
            return None;
        }
        let local = self.lists.load(&plan);
        Some((config, local))
    }

    /// Drops a configuration that had become valid, since it is invalid again. Returns the
    /// operators to reply to.
    pub fn drop_mended(&mut self) -> Option<Vec<Slot>> {
        self.mended.take()?;
        self.lists.begin(Plan::changed(&self.config, self.resolvers.files()));
        Some(self.requests.end().unwrap_or_default())
    }

    /// Returns whether followed files have changed since the last call.
    pub fn take_files_changed(&self) -> bool {
        self.follower.as_ref().is_some_and(Follower::take)
    }

    /// Returns whether the system's programs have reported a change of links since the last call.
    pub fn take_links_changed(&mut self) -> bool {
        self.resolvers.take_news()
    }

    /// Queries the system's programs about links again.
    pub fn ask_for_links(&self) {
        self.resolvers.ask_again();
    }

    /// The changes of the network, once they have settled.
    pub fn take_news(&mut self, now: Monotonic) -> Option<News> {
        let news = self.network.news(now)?;
        self.resolvers.ask_again();
        Some(news)
    }

    /// The earliest time at which something is due.
    pub fn timeout(&self) -> Option<Monotonic> {
        let retry = (self.config.findings.error.is_some() && self.mended.is_none()).then_some(self.retry_at);
        [self.requests.timeout(), self.network.timeout(), retry].into_iter().flatten().min()
    }
}
