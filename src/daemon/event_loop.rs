//! The one place where sockets meet the core: wait, read the clock once, hand in what happened, do what the core says, sleep.

mod dispatch;
#[cfg(test)]
mod dispatch_tests;
mod inputs;
mod outputs;

use crate::config::Config;
use crate::daemon::admin::control::Control;
use crate::daemon::admin::hints::Hints;
use crate::daemon::admin::notices::Notices;
use crate::daemon::admin::requests::Requests;
use crate::daemon::clients::Clients;
use crate::daemon::clients::listeners::{Inherited, Listeners};
use crate::daemon::core::Core;
use crate::daemon::persist::room::{Room, table};
use crate::daemon::persist::saving::Keep;
use crate::daemon::reload::followed_files::Follower;
use crate::daemon::reload::local::{Loader, Wanted};
use crate::daemon::reload::network::Network;
use crate::daemon::reload::reloads::Reload;
use crate::daemon::setup::{bus_follower, fit_to_descriptors, followed, make_room_for_descriptors, route};
use crate::daemon::shortage::Shortage;
use crate::daemon::sorter_child::Sorter;
use crate::daemon::sources::Source;
use crate::daemon::turn::Ready;
use crate::daemon::upstreams::sockets::Upstreams;
use crate::daemon::wrong;
use crate::host::resolvers::{BusFollower, PlanReport, ResolverFiles};
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
    pub config: Config,
    pub path: Option<PathBuf>,
    pub core: Core,
    pub addresses: Vec<SocketAddr>,
    pub clients: Clients,
    pub upstreams: Upstreams,
    /// Who waits for a descriptor.
    pub shortage: Shortage,
    pub loader: Loader,
    pub network: Network,
    /// Files that are read again when they change.
    pub follower: Option<Follower>,
    pub waker: Arc<Waker>,
    /// Who tells what is known of links, where nobody is configured.
    pub links: Option<BusFollower>,
    /// What the system's own files said when they were last read.
    pub files: Arc<ResolverFiles>,
    /// Who named each upstream.
    pub whom: PlanReport,
    /// What outlives a reboot.
    pub keep: Keep,
    pub reload: Reload,
    pub control: Control,
    pub hints: Hints,
    pub requests: Requests,
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
    pub notices: Notices,
    /// Why it is not to go on.
    pub failure: Option<&'static str>,
    /// The table's, and what it falls short of.
    pub room: Room,
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
        let (mut writer, room) = table(&config, &mut random)?;
        let is_new = room.is_new;
        let found = crate::daemon::persist::restore::found(&config, is_new, Upkeep::of(&mut writer));
        let (mut inherited, listeners) = sockets(&config)?;
        let (poll, waker) = poll()?;
        let links = bus_follower(&config, &waker);
        let (routes, whom, files) =
            route(&config, path.as_deref(), links.as_ref(), &listeners.addresses, None);
        let control = Control::open(&mut inherited, &dir, poll.registry())?;
        let mut daemon = Daemon {
            poll,
            path: path.clone(),
            core: core(&config, routes, writer)?,
            addresses: listeners.addresses.clone(),
            clients: Clients::new(listeners, &config, Arc::clone(&waker), random.draw()),
            upstreams: Upstreams::new(random, &shares),
            shortage: Shortage::default(),
            loader: Loader::new(Arc::clone(&waker)),
            keep: Keep::new(Arc::clone(&waker)),
            follower: Follower::begin(followed(&config, path.as_deref()), &waker),
            waker,
            links,
            files,
            whom,
            network: Network::new(),
            reload: Reload::default(),
            control,
            hints: Hints::bind(&dir),
            requests: Requests::default(),
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
            notices: Notices::default(),
            failure: None,
            config,
            room,
        };
        daemon.register().map_err(because("a socket cannot be polled"))?;
        daemon.begin();
        daemon.begin_keeping(found, is_new);
        daemon.clients.start_workers(daemon.core.rounds()).map_err(because("workers cannot be started"))?;
        Ok(daemon)
    }

    fn begin(&mut self) {
        let shown = self.addresses.iter().find(|a| a.port() != 0).copied();
        self.core.table().set_dns_address(shown);
        let local = Arc::new(self.loader.load(&Wanted::of(&self.config, &self.files)));
        self.tell(now(), Input::Local { local });
    }

    fn register(&mut self) -> std::io::Result<()> {
        let registry = self.poll.registry();
        registry.register(&mut self.alarm, Source::Alarm.token(), Interest::READABLE)?;
        registry.register(&mut self.signals, Source::Signals.token(), Interest::READABLE)?;
        if let Some(hints) = self.hints.descriptor() {
            registry.register(&mut SourceFd(&hints), Source::Hints.token(), Interest::READABLE)?;
        }
        if let Some(descriptor) = self.network.descriptor() {
            registry.register(&mut SourceFd(&descriptor), Source::Network.token(), Interest::READABLE)?;
        }
        if let Some(name) = self.network.urgent() {
            registry.register(&mut SourceFd(&name), Source::Network.token(), Interest::PRIORITY)?;
        }
        let sources = self.clients.register(registry)?;
        sources.into_iter().for_each(|source| self.ready.push_back(source));
        Ok(())
    }

    fn run(&mut self) -> Result<(), String> {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let addresses = addresses.join(", ");
        if self.config.wrong.is_none() {
            wrong::forget(&self.config.runtime_dir);
        }
        log::info!(event = Event::Ready, addresses:% = addresses; "ready at {addresses}");
        let status = self.status_line();
        self.manager.ready(&status);
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
            sorter.sweep(now);
        }
        self.on_news(now);
        self.keep_on_time(now);
        self.keep_versions(now);
        self.look_for_room(now);
        self.look_at_configuration(false, now);
        self.reload_on_time(now);
        self.answer_asked(now);
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
            self.asked_timeout(),
            self.draining,
            self.network.timeout(),
            self.keep_timeout(),
            self.room_timeout(),
            self.configuration_timeout(),
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
        let errors = self.control.errors;
        let counters = self.core.counters();
        counters.set(Counter::ControlErrors, errors);
        counters.set(Counter::Hints, self.hints.taken);
        counters.set(Counter::HintsDropped, self.hints.dropped);
        let counters = self.counters();
        self.core.table().set_counters(&counters);
        if now >= self.clocks_at {
            self.clocks_at = now.plus(CLOCKS);
            self.core.table().note_clocks();
            self.network.look_at_clocks(now);
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
