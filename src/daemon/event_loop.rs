//! The one place where sockets meet the core: wait, read the clock once, hand in what happened, do what the core says, sleep.

mod dispatch;
#[cfg(test)]
mod dispatch_tests;
mod inputs;
mod local_requests;
mod outputs;
mod persisting;
mod reloading;

use crate::config::Config;
use crate::daemon::admin::Admin;
use crate::daemon::clients::Clients;
use crate::daemon::clients::listeners::{Inherited, Listeners};
use crate::daemon::core::Core;
use crate::daemon::persist::Persist;
use crate::daemon::reload::{Reload, unusable_config};
use crate::daemon::setup::{fit_to_descriptors, make_room_for_descriptors};
use crate::daemon::shortage::Shortage;
use crate::daemon::sorter_child::Sorter;
use crate::daemon::sources::Source;
use crate::daemon::turn::Ready;
use crate::daemon::upstreams::sockets::Upstreams;
use crate::host::service_manager::{self, ServiceManager};
use crate::logging::Event;
use hither_net::clock::{Alarm, now};
use hither_net::random::Random;
use hither_net::signals::Signals;
use hither_rounds::{Input, Routes, Upkeep};
use hither_table::{Counter, Counters, Monotonic, Writer};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Waker};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Events taken from the poll at once.
const EVENTS: usize = 256;
/// How often the clocks are compared, to notice that the host has slept.
const CLOCKS: Duration = Duration::from_secs(1);

pub(crate) struct Daemon {
    pub poll: Poll,
    pub core: Core,
    pub addresses: Vec<SocketAddr>,
    pub clients: Clients,
    pub upstreams: Upstreams,
    /// Who waits for a descriptor.
    pub shortage: Shortage,
    pub persist: Persist,
    pub reload: Reload,
    pub admin: Admin,
    pub alarm: Alarm,
    pub signals: Signals,
    /// Sources with something to do.
    pub ready: Ready,
    /// A message of an upstream.
    received: Vec<u8>,
    pub sorter: Option<Sorter>,
    /// Who started us, if somebody did who wants to hear how we are.
    pub manager: ServiceManager,
    watchdog: Option<(Duration, Monotonic)>,
    changes: u64,
    /// When the table's note of the clocks is to be renewed.
    clocks_at: Monotonic,
    pub started: Monotonic,
    pub stop: bool,
    /// Told to stop: nothing new is taken, and until then those who wait for a round may still get its answer.
    pub draining: Option<Monotonic>,
    /// Why it is not to go on.
    pub failure: Option<&'static str>,
}

/// Serves until told to stop.
///
/// # Errors
/// What keeps it from starting, in words.
pub(crate) fn serve(config: Config, path: Option<PathBuf>, with_sorter: bool) -> Result<(), String> {
    let mut daemon = Daemon::start(config, path, with_sorter)?;
    daemon.run()
}

fn because<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{what}: {error}")
}

fn sockets(config: &Config) -> Result<(Inherited, Listeners), String> {
    let mut inherited = Inherited::take()?;
    let listeners = Listeners::open(&mut inherited, &config.listen, config.workers)?;
    Ok((inherited, listeners))
}

fn poll() -> Result<(Poll, Arc<Waker>), String> {
    let poll = Poll::new().map_err(because("no poll can be had"))?;
    let waker = Waker::new(poll.registry(), Source::Woken.token());
    Ok((poll, Arc::new(waker.map_err(because("no waker can be had"))?)))
}

fn core(config: &Config, routes: Routes, writer: Writer) -> Result<Core, String> {
    let ids = Random::new().map_err(because("the kernel gives no random numbers"))?;
    Ok(Core::new(config.settings.clone(), routes, writer, ids))
}

impl Daemon {
    pub(crate) fn start(
        mut config: Config,
        path: Option<PathBuf>,
        with_sorter: bool,
    ) -> Result<Daemon, String> {
        let shares = fit_to_descriptors(&mut config);
        make_room_for_descriptors();
        let signals = Signals::new().map_err(because("signals cannot be taken"))?;
        let dir = config.runtime_dir.clone();
        let mut random = Random::new().map_err(because("the kernel gives no random numbers"))?;
        let (poll, waker) = poll()?;
        let (persist, mut writer) = Persist::open(&config, &mut random, Arc::clone(&waker))?;
        let found = persist.find_saved(&config, Upkeep::of(&mut writer));
        let (mut inherited, listeners) = sockets(&config)?;
        let addresses = listeners.addresses.clone();
        let (reload, routes) = Reload::start(config, path.clone(), addresses.clone(), Arc::clone(&waker));
        let config = reload.config();
        let admin = Admin::open(&mut inherited, &dir, poll.registry())?;
        let mut daemon = Daemon {
            poll,
            core: core(config, routes, writer)?,
            addresses,
            clients: Clients::new(listeners, config, waker, random.draw()),
            upstreams: Upstreams::new(random, &shares),
            shortage: Shortage::default(),
            persist,
            admin,
            alarm: Alarm::new().map_err(because("no timer can be had"))?,
            signals,
            ready: Ready::default(),
            received: vec![0; 65_535],
            sorter: (with_sorter && config.sort.enabled).then(|| Sorter::start(path, now())),
            manager: ServiceManager::new(),
            watchdog: service_manager::watchdog().map(|every| (every, now())),
            changes: 0,
            clocks_at: Monotonic(0),
            started: now(),
            stop: false,
            draining: None,
            failure: None,
            reload,
        };
        daemon.register().map_err(because("a socket cannot be polled"))?;
        daemon.begin();
        daemon.begin_with_saved(found, now());
        daemon.clients.start_workers(daemon.core.rounds()).map_err(because("workers cannot be started"))?;
        Ok(daemon)
    }

    fn begin(&mut self) {
        let shown = self.addresses.iter().find(|a| a.port() != 0).copied();
        self.core.table().set_dns_address(shown);
        let local = Arc::new(self.reload.read_lists_now());
        self.tell(now(), Input::Local { local });
    }

    fn register(&mut self) -> std::io::Result<()> {
        let registry = self.poll.registry();
        registry.register(&mut self.alarm, Source::Alarm.token(), Interest::READABLE)?;
        registry.register(&mut self.signals, Source::Signals.token(), Interest::READABLE)?;
        if let Some(hints) = self.admin.hints_descriptor() {
            registry.register(&mut SourceFd(&hints), Source::Hints.token(), Interest::READABLE)?;
        }
        self.reload.register(registry)?;
        let sources = self.clients.register(registry)?;
        sources.into_iter().for_each(|source| self.ready.push_back(source));
        Ok(())
    }

    fn run(&mut self) -> Result<(), String> {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let addresses = addresses.join(", ");
        if self.reload.config().wrong.is_none() {
            unusable_config::forget_failed_start(&self.reload.config().runtime_dir);
        }
        log::info!(event = Event::Ready, addresses:% = addresses; "ready at {addresses}");
        self.report_ready();
        let mut events = Events::with_capacity(EVENTS);
        while !self.stop && !self.is_drained() {
            let timeout = self.has_more().then_some(Duration::ZERO);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return Err(format!("polling fails: {error}"));
                }
                _ => {}
            }
            self.turn(&events);
        }
        self.shut_down(now());
        self.failure.map_or(Ok(()), |why| Err(why.to_owned()))
    }

    /// What is due, and what is to be seen of what was done; then the alarm for what comes next.
    pub(crate) fn on_time(&mut self, now: Monotonic) {
        let (core, mut executor) = self.executor();
        core.on_time(now, &mut executor);
        self.upstreams.sweep(now);
        self.on_shortage(now);
        let effects = self.clients.on_time(now);
        self.apply(effects, now);
        if let Some(sorter) = &mut self.sorter {
            sorter.on_time(now);
        }
        self.on_news(now);
        self.persist_on_time(now);
        self.retry_configuration(false, now);
        self.reload_on_time(now);
        self.admin.on_time(now, |question| self.core.rounds().trace(question));
        self.tell_manager(now);
        self.publish_counters(now);
    }

    /// Sets the alarm for what is due next.
    pub(crate) fn set_alarm(&mut self) {
        let watchdog = self.watchdog.map(|(_, at)| at);
        let sorter = self.sorter.as_ref().and_then(Sorter::timeout);
        let times = [
            self.core.timeout(),
            self.upstreams.timeout(),
            self.shortage.timeout(),
            self.clients.timeout(),
            sorter,
            watchdog,
            self.manager.timeout(),
            self.admin.timeout(),
            self.draining,
            self.persist_timeout(),
            self.reload.timeout(),
        ];
        let next = times.into_iter().flatten().min();
        if let Err(error) = self.alarm.set(next) {
            log::error!(event = Event::ClockTrouble, reason:% = error; "the timer cannot be set: {error}, ignoring");
        }
    }

    fn tell_manager(&mut self, now: Monotonic) {
        if let Some((every, at)) = self.watchdog
            && at <= now
        {
            self.manager.alive();
            let status = self.status_line();
            self.manager.status(&status);
            log::logger().flush();
            self.watchdog = Some((every, now.plus(every)));
        }
        self.manager.try_again(now);
    }

    pub(crate) fn publish_counters(&mut self, now: Monotonic) {
        let admin = self.admin.counts();
        let counters = self.core.counters();
        counters.set(Counter::ControlErrors, admin.control_errors);
        counters.set(Counter::Hints, admin.hints);
        counters.set(Counter::HintsDropped, admin.hints_dropped);
        let counters = self.counters();
        self.core.table().set_counters(&counters);
        if now >= self.clocks_at {
            self.clocks_at = now.plus(CLOCKS);
            self.core.table().note_clocks();
            self.reload.look_at_clocks(now);
            self.look_at_wall_clock(now);
        }
        let table = self.core.table();
        if table.changes() != self.changes {
            self.changes = table.changes();
            table.wake_followers();
        }
    }

    /// All that was counted, by workers too.
    pub fn counters(&mut self) -> Counters {
        let mut all = *self.core.counters();
        self.clients.add_counts(&mut all);
        all
    }
}
