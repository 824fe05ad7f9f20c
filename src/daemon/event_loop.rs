//! The event loop: it waits for events, hands them to the parts of the daemon and to the core, and sets
//! the alarm for the next deadline.

mod deadlines;
mod dispatch;
#[cfg(test)]
mod dispatch_tests;
mod encrypted;
mod host_names;
mod inputs;
mod insight;
mod leases;
mod local_requests;
mod metrics;
mod outputs;
mod persisting;
mod reloading;
mod shortages;
mod signals;
mod site;
mod stopping;

use crate::config::Config;
use crate::daemon::admin::{Admin, Companion};
use crate::daemon::clients::Clients;
use crate::daemon::clients::listeners::Listeners;
use crate::daemon::companion_child::CompanionChild;
use crate::daemon::core::Core;
use crate::daemon::persist::{self, Persist};
use crate::daemon::reload::{Reload, unusable_config};
use crate::daemon::setup::{fit_to_descriptors, make_room_for_descriptors};
use crate::daemon::shortage::Shortage;
use crate::daemon::socket_activation::Inherited;
use crate::daemon::sources::Source;
use crate::daemon::turn::Ready;
use crate::daemon::upstreams::{Encrypted, EndpointSetup, Upstreams};
use crate::host::service_manager::{self, ServiceManager};
use crate::logging::Event;
use hither_net::clock::{Alarm, now};
use hither_net::random::Random;
use hither_net::signals::Signals;
use hither_rounds::{Input, Routes, Upkeep};
use hither_table::{Counter, Counters, Monotonic, StaleTime, Writer};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Waker};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Events taken from one poll.
const EVENTS_PER_POLL_MAX: usize = 256;
/// How often the clocks are compared, to notice a suspend of the host.
const COMPARE_CLOCKS_EVERY: Duration = Duration::from_secs(1);

/// The daemon: its parts, and the loop that drives them.
///
/// Each part owns its state. The loop waits for events, reads the clock once a turn, calls the part
/// that an event is for, and hands the resulting inputs to the core. The parts know neither the
/// loop nor the core's inputs. The sources and budgets that they share with the loop are in
/// `sources.rs` and `turn.rs`.
pub(crate) struct Daemon {
    pub poll: Poll,
    /// Sources that are ready.
    pub ready: Ready,
    pub core: Core,
    pub clients: Clients,
    pub upstreams: Upstreams,
    /// Listeners with connections that could not be accepted for lack of descriptors.
    pub shortage: Shortage,
    pub persist: Persist,
    pub reload: Reload,
    pub admin: Admin,
    supervision: Supervision,
    housekeeping: Housekeeping,
    ending: Ending,
}

/// The service manager above the daemon, and the companions below it.
struct Supervision {
    signals: Signals,
    /// The service manager, if one started the daemon.
    manager: ServiceManager,
    /// How often the service manager expects a watchdog notification, and when the next is due.
    watchdog: Option<(Duration, Monotonic)>,
    /// The companions that no service manager starts.
    children: Vec<CompanionChild>,
}

/// The loop's own timer, and its periodic work for readers of the table.
struct Housekeeping {
    alarm: Alarm,
    started: Monotonic,
    /// When the clocks are compared next.
    clocks_at: Monotonic,
    /// The number of changes of the table that its followers have been woken for.
    changes: u64,
}

/// Whether and why the loop ends.
#[derive(Debug, Default)]
struct Ending {
    /// The loop ends after this turn.
    stop: bool,
    /// No query is taken any more. Until this time clients that wait for a round may still get its
    /// answer.
    draining: Option<Monotonic>,
    /// The failure that ends the loop.
    failure: Option<&'static str>,
}

/// Runs the daemon, and these companions as its children, until it is stopped.
///
/// # Errors
/// Why it cannot start or continue.
pub(crate) fn run(config: Config, path: Option<PathBuf>, companions: &[Companion]) -> Result<(), String> {
    let mut daemon = Daemon::start(config, path, companions)?;
    daemon.run()
}

/// Starts companions as children. A sorter that is to sort nothing is not started.
fn children(companions: &[Companion], config: &Config, path: Option<&PathBuf>) -> Vec<CompanionChild> {
    let is_needed = |companion: &&Companion| **companion != Companion::Sorter || config.sort.enabled;
    let start = |companion: &Companion| CompanionChild::start(*companion, path.cloned(), now());
    companions.iter().filter(is_needed).map(start).collect()
}

fn because<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{what}: {error}")
}

fn sockets(config: &Config) -> Result<(Inherited, Listeners), String> {
    let mut inherited = Inherited::take()?;
    let listeners = Listeners::open(&mut inherited, &config.listen.addresses, config.listen.workers)?;
    Ok((inherited, listeners))
}

fn poll() -> Result<(Poll, Arc<Waker>), String> {
    let poll = Poll::new().map_err(because("cannot create the epoll instance"))?;
    let waker = Waker::new(poll.registry(), Source::Woken.token());
    Ok((poll, Arc::new(waker.map_err(because("cannot create the eventfd of the epoll instance"))?)))
}

fn core(config: &Config, routes: Routes, writer: Writer) -> Result<Core, String> {
    let ids = Random::new().map_err(because("cannot get random numbers from the kernel"))?;
    Ok(Core::new(config.settings.clone(), routes, writer, ids))
}

impl Daemon {
    pub(crate) fn start(
        mut config: Config,
        path: Option<PathBuf>,
        companions: &[Companion],
    ) -> Result<Daemon, String> {
        let shares = fit_to_descriptors(&mut config);
        make_room_for_descriptors();
        let signals = Signals::new().map_err(because("cannot create the signalfd"))?;
        let dir = config.runtime_dir.clone();
        let mut random = Random::new().map_err(because("cannot get random numbers from the kernel"))?;
        let ids = Random::new().map_err(because("cannot get random numbers from the kernel"))?;
        let (poll, waker) = poll()?;
        let encrypted = Encrypted::new(ids, shares.encrypted, Arc::clone(&waker), now());
        let (persist, mut writer) = Persist::open(&config, &mut random, Arc::clone(&waker))?;
        let found = persist.find_saved(&config, Upkeep::of(&mut writer));
        let (mut inherited, listeners) = sockets(&config)?;
        let addresses = listeners.addresses.clone();
        let (reload, planned) = Reload::start(config, path.clone(), addresses, Arc::clone(&waker));
        let config = reload.config();
        let seed = [random.draw(), random.draw()];
        let mut admin = Admin::open(&mut inherited, &dir, seed, poll.registry(), Arc::clone(&waker))?;
        admin.changes.configure(config, shares.subscribers, poll.registry());
        admin.set_unshared(&planned.routes);
        admin.set_site(config.settings.site.is_on, &dir, poll.registry());
        let supervision = Supervision {
            signals,
            manager: ServiceManager::new(),
            watchdog: service_manager::watchdog().map(|every| (every, now())),
            children: children(companions, config, path.as_ref()),
        };
        let housekeeping = Housekeeping {
            alarm: Alarm::new().map_err(because("cannot create the timerfd"))?,
            started: now(),
            clocks_at: Monotonic(0),
            changes: 0,
        };
        let mut daemon = Daemon {
            poll,
            ready: Ready::default(),
            core: core(config, planned.routes, writer)?,
            clients: Clients::new(listeners, config, waker, random.draw()),
            upstreams: Upstreams::new(random, &shares, encrypted),
            shortage: Shortage::default(),
            persist,
            reload,
            admin,
            supervision,
            housekeeping,
            ending: Ending::default(),
        };
        daemon.register().map_err(because("cannot add a descriptor to the epoll instance"))?;
        daemon.begin(planned.encrypted);
        daemon.begin_with_saved(found, now());
        daemon.log_queries(now());
        daemon.clients.start_workers(daemon.core.rounds()).map_err(because("cannot start the workers"))?;
        Ok(daemon)
    }

    /// Writes the daemon's DNS address into the table, and reads hosts files, lists and the certificate
    /// authorities of encrypted upstreams before the first query is taken.
    fn begin(&mut self, encrypted: Vec<EndpointSetup>) {
        let stored_s = persist::newest_time_s(self.reload.config());
        self.upstreams.encrypted().note_stored_time(stored_s);
        let recorder = self.core.rounds().recorder();
        recorder.started(self.housekeeping.started);
        recorder.awake(self.housekeeping.started);
        self.set_encrypted(encrypted, now());
        let shown = self.clients.addresses().iter().find(|a| a.port() != 0).copied();
        self.core.table().set_dns_address(shown);
        let stale = StaleTime::of(self.reload.config().settings.stale);
        self.core.table().set_stale_time(stale);
        let local = Arc::new(self.reload.read_lists_now());
        self.tell(now(), Input::Local { local });
    }

    /// Adds the descriptors of all parts to the epoll instance.
    fn register(&mut self) -> std::io::Result<()> {
        let registry = self.poll.registry();
        registry.register(&mut self.housekeeping.alarm, Source::Alarm.token(), Interest::READABLE)?;
        registry.register(&mut self.supervision.signals, Source::Signals.token(), Interest::READABLE)?;
        if let Some(hints) = self.admin.hints_descriptor() {
            registry.register(&mut SourceFd(&hints), Source::Hints.token(), Interest::READABLE)?;
        }
        if let Some(descriptor) = self.persist.watch_runtime_dir(self.reload.config()) {
            let source = Source::RuntimeDir.token();
            registry.register(&mut SourceFd(&descriptor), source, Interest::READABLE)?;
        }
        self.reload.register(registry)?;
        let sources = self.clients.register(registry)?;
        sources.into_iter().for_each(|source| self.ready.push_back(source));
        Ok(())
    }

    /// The loop: one turn after the other until the daemon stops.
    fn run(&mut self) -> Result<(), String> {
        let addresses: Vec<String> = self.clients.addresses().iter().map(ToString::to_string).collect();
        let addresses = addresses.join(", ");
        if self.reload.config().findings.error.is_none() {
            unusable_config::forget_failed_start(&self.reload.config().runtime_dir);
        }
        log::info!(event = Event::Ready, addresses:% = addresses; "ready at {addresses}");
        self.report_ready();
        let mut events = Events::with_capacity(EVENTS_PER_POLL_MAX);
        while !self.ending.stop && !self.is_drained() {
            let has_more = self.has_more();
            self.note_sleep(has_more);
            let timeout = has_more.then_some(Duration::ZERO);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return Err(format!("cannot wait for events: {error}"));
                }
                _ => {}
            }
            self.turn(&events);
        }
        self.shut_down(now());
        self.ending.failure.map_or(Ok(()), |why| Err(why.to_owned()))
    }

    /// Lets each part do its due work, and publishes the counters.
    fn on_time(&mut self, now: Monotonic) {
        self.tell_site(now);
        let (core, mut executor) = self.executor();
        core.on_time(now, &mut executor);
        self.upstreams.on_time(now);
        self.upstreams.encrypted().on_time(now);
        self.look_up_hosts(now);
        self.on_shortage(now);
        let effects = self.clients.on_time(now);
        self.apply(effects, now);
        self.supervision.children.iter_mut().for_each(|child| child.on_time(now));
        self.on_news(now);
        self.persist_on_time(now);
        self.retry_configuration(false, now);
        self.reload_on_time(now);
        self.admin.on_time(now, |question| self.core.rounds().trace(question));
        self.follow_insight();
        self.report_alive(now);
        self.serve_subscribers(now);
        self.publish_counters(now);
    }

    /// Sends a due watchdog notification to the service manager, and messages that could not be
    /// sent before.
    fn report_alive(&mut self, now: Monotonic) {
        if let Some((every, at)) = self.supervision.watchdog
            && at <= now
        {
            self.supervision.manager.alive();
            let status = self.status_line();
            self.supervision.manager.status(&status);
            log::logger().flush();
            self.supervision.watchdog = Some((every, now.plus(every)));
        }
        self.supervision.manager.try_again(now);
    }

    /// Writes the counters into the table, compares the clocks once a second, and wakes readers
    /// that follow the table.
    fn publish_counters(&mut self, now: Monotonic) {
        let counters = self.counters();
        self.core.table().set_counters(&counters);
        self.publish_metrics(now);
        if now >= self.housekeeping.clocks_at {
            self.housekeeping.clocks_at = now.plus(COMPARE_CLOCKS_EVERY);
            self.core.table().note_clocks();
            self.reload.network.look_at_clocks(now);
            self.look_at_wall_clock(now);
            self.look_for_captive_portal(now);
        }
        let table = self.core.table();
        if table.changes() != self.housekeeping.changes {
            self.housekeeping.changes = table.changes();
            table.wake_followers();
        }
    }

    /// The counters of all parts, workers included.
    fn counters(&mut self) -> Counters {
        let (mut all, admin) = (*self.core.counters(), self.admin.counts());
        self.clients.add_counts(&mut all);
        all.set(Counter::ControlErrors, admin.control_errors);
        all.set(Counter::Hints, admin.hints);
        all.set(Counter::HintsDropped, admin.hints_dropped);
        let feed = self.admin.changes.counts();
        all.set(Counter::FeedSubscribers, feed.subscribers);
        all.set(Counter::FeedNames, feed.names);
        all.set(Counter::FeedRecords, feed.records);
        all.set(Counter::FeedGaps, feed.gaps);
        all.set(Counter::DnstapDropped, self.admin.insight.dropped());
        all
    }
}
