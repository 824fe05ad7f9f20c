//! The one place where sockets meet the core: wait, read the clock once, hand in what happened, do what the core says, sleep.

mod dispatch;
#[cfg(test)]
mod dispatch_tests;
pub(crate) mod tokens;
pub(crate) mod turn;

use crate::config::Config;
use crate::daemon::admin::control::Control;
use crate::daemon::admin::hints::Hints;
use crate::daemon::admin::notices::Rebindings;
use crate::daemon::admin::requests::Requests;
use crate::daemon::clients::admission::Admission;
use crate::daemon::clients::listeners::{Inherited, Listeners};
use crate::daemon::clients::misses::Misses;
use crate::daemon::clients::pending::Waiting;
use crate::daemon::clients::tcp::Clients;
use crate::daemon::clients::workers::{Brief, Team};
use crate::daemon::event_loop::tokens::{Slot, Source};
use crate::daemon::event_loop::turn::Again;
use crate::daemon::persist::room::{Room, table};
use crate::daemon::persist::saving::Keep;
use crate::daemon::reload::followed_files::Follower;
use crate::daemon::reload::local::{Loader, Wanted};
use crate::daemon::reload::network::Network;
use crate::daemon::reload::reloads::Reload;
use crate::daemon::setup::{fit_to_descriptors, followed, make_room_for_descriptors, route};
use crate::daemon::shortage::Shortage;
use crate::daemon::sorter_child::Sorter;
use crate::daemon::upstreams::sockets::Outside;
use crate::daemon::wrong;
use crate::host::resolvers::{self, BusFollower, Whom, bus_follower};
use crate::host::service_manager::{self, Manager};
use crate::logging::Event;
use hither_net::batch::{Batch, Outgoing};
use hither_net::clock::{self, Alarm};
use hither_net::random::Random;
use hither_net::signals::Signals;
use hither_rounds::{Input, Rounds, Routes, Upkeep};
use hither_table::{Counter, Counters, Monotonic, Writer};
use mio::net::{TcpListener, UdpSocket};
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
    pub rounds: Rounds,
    pub udp: Vec<UdpSocket>,
    pub tcp: Vec<TcpListener>,
    pub addresses: Vec<SocketAddr>,
    pub clients: Clients,
    pub outside: Outside,
    /// Who waits for a descriptor.
    pub shortage: Shortage,
    pub admission: Admission,
    /// Queries whose rounds are to be begun.
    pub misses: Misses,
    /// More came than there was room for: until they are served, hits have the time, and misses a slice of it now and then.
    pub crowded: bool,
    pub next_slice: Monotonic,
    pub loader: Loader,
    pub team: Team,
    pub network: Network,
    /// Files that are read again when they change.
    pub follower: Option<Follower>,
    pub waker: Arc<Waker>,
    /// Who tells what is known of links, where nobody is configured.
    pub links: Option<BusFollower>,
    /// What the system's own files said when they were last read.
    pub files: Arc<resolvers::Files>,
    /// Who named each upstream.
    pub whom: Whom,
    /// What outlives a reboot.
    pub keep: Keep,
    pub reload: Reload,
    pub waiting: Waiting,
    pub control: Control,
    pub hints: Hints,
    pub requests: Requests,
    pub alarm: Alarm,
    pub signals: Signals,
    pub batch: Batch,
    /// Replies of rounds, to leave together by the socket `replies_of`.
    pub replies: Outgoing,
    pub replies_of: usize,
    /// Sources with something to do.
    pub again: Again,
    pub reply: Vec<u8>,
    /// What was heard from an upstream.
    pub heard: Vec<u8>,
    pub sorter: Option<Sorter>,
    /// Who started us, if somebody did who wants to hear how we are.
    pub manager: Manager,
    watchdog: Option<(Duration, Monotonic)>,
    changes: u64,
    /// When the table's note of the clocks is to be renewed.
    clocks_at: Monotonic,
    pub started: Monotonic,
    pub stop: bool,
    /// Told to stop: nothing new is taken, and until then those who wait for a round may still get its answer.
    pub draining: Option<Monotonic>,
    /// No upstream answers, and the operator knows it.
    pub all_down: bool,
    pub rebindings: Rebindings,
    /// Why it is not to go on.
    pub failure: Option<&'static str>,
    /// Whoever sent the order that is being handled.
    pub order_from: Option<Slot>,
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

pub(crate) fn now() -> Monotonic {
    clock::now()
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

fn core(config: &Config, routes: Routes, writer: Writer) -> Result<Rounds, String> {
    let mut ids = Random::new().map_err(because("the kernel gives no random numbers"))?;
    Ok(Rounds::new(config.settings.clone(), routes, writer, Box::new(move || ids.draw())))
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
            rounds: core(&config, routes, writer)?,
            udp: listeners.udp.into_iter().map(UdpSocket::from_std).collect(),
            tcp: listeners.tcp.into_iter().map(TcpListener::from_std).collect(),
            addresses: listeners.addresses,
            clients: Clients::new(config.limits.tcp, config.limits.tcp_per_network),
            admission: Admission::new(random.draw()),
            outside: Outside::new(random, &shares),
            shortage: Shortage::default(),
            misses: Misses::new(),
            crowded: false,
            next_slice: Monotonic(0),
            loader: Loader::new(Arc::clone(&waker)),
            keep: Keep::new(Arc::clone(&waker)),
            follower: Follower::begin(followed(&config, path.as_deref()), &waker),
            team: Team::new(Arc::clone(&waker)),
            waker,
            links,
            files,
            whom,
            network: Network::new(),
            reload: Reload::default(),
            waiting: Waiting::default(),
            control,
            hints: Hints::bind(&dir),
            requests: Requests::default(),
            alarm: Alarm::new().map_err(because("no timer can be had"))?,
            signals,
            batch: Batch::new(),
            replies: Outgoing::new(),
            replies_of: 0,
            again: Again::default(),
            reply: vec![0; 65_535],
            heard: vec![0; 65_535],
            sorter: (with_sorter && config.sort.enabled).then(|| Sorter::start(path, now())),
            manager: Manager::new(),
            watchdog: service_manager::watchdog().map(|every| (every, now())),
            changes: 0,
            clocks_at: Monotonic(0),
            started: now(),
            stop: false,
            draining: None,
            all_down: false,
            rebindings: Rebindings::default(),
            failure: None,
            order_from: None,
            config,
            room,
        };
        daemon.register().map_err(because("a socket cannot be polled"))?;
        daemon.begin();
        daemon.begin_keeping(found, is_new);
        daemon.start_workers().map_err(because("workers cannot be started"))?;
        Ok(daemon)
    }

    fn begin(&mut self) {
        let shown = self.addresses.iter().find(|a| a.port() != 0).copied();
        self.rounds.table().set_dns_address(shown);
        let local = Arc::new(self.loader.load(&Wanted::of(&self.config, &self.files)));
        self.rounds.handle(now(), Input::Local { local });
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
        let own = if self.config.workers > 1 { 0 } else { self.udp.len() };
        for (n, socket) in self.udp.iter_mut().enumerate().take(own) {
            registry.register(socket, Source::Udp(n).token(), Interest::READABLE)?;
            // Queries that came before we did.
            self.again.push_back(Source::Udp(n));
        }
        for (n, socket) in self.tcp.iter_mut().enumerate() {
            registry.register(socket, Source::TcpListener(n).token(), Interest::READABLE)?;
            self.again.push_back(Source::TcpListener(n));
        }
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
        while let Some(question) = self.rounds.wanted() {
            self.rounds.handle(now, Input::Refresh { question });
            self.act(now);
        }
        if self.rounds.poll_timeout().is_some_and(|at| at <= now) {
            self.rounds.handle_timeout(now);
            self.act(now);
        }
        self.outside.sweep(now);
        self.on_shortage(now);
        let gone = self.clients.sweep(self.poll.registry(), now);
        self.forget(now, gone);
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
            self.rounds.poll_timeout(),
            self.outside.timeout(),
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
            (self.crowded && !self.misses.is_empty()).then_some(self.next_slice),
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
        let (tcp, tcp_dropped) = (self.clients.len() as u64, self.clients.dropped);
        let errors = self.control.errors;
        let counters = self.rounds.counters();
        counters.set(Counter::TcpClients, tcp);
        counters.set(Counter::TcpDropped, tcp_dropped);
        counters.set(Counter::ControlErrors, errors);
        counters.set(Counter::Hints, self.hints.taken);
        counters.set(Counter::HintsDropped, self.hints.dropped);
        let counters = self.counters();
        self.rounds.table().set_counters(&counters);
        if now >= self.clocks_at {
            self.clocks_at = now.plus(CLOCKS);
            self.rounds.table().note_clocks();
            self.network.look_at_clocks(now);
            self.look_at_wall_clock(now);
        }
        let table = self.rounds.table();
        if table.changes() != self.changes {
            self.changes = table.changes();
            table.wake_followers();
        }
    }

    /// All that was counted, by workers too.
    pub fn counters(&mut self) -> Counters {
        let mut all = *self.rounds.counters();
        self.team.add_counts(&mut all);
        all
    }

    /// Tells workers what has changed: the configuration, or the table.
    pub fn brief_workers(&mut self) {
        self.team.brief(self.rounds.changed(), || Brief::new(&self.rounds, &self.config));
    }

    fn start_workers(&mut self) -> std::io::Result<()> {
        if self.config.workers > 1 {
            let brief = Brief::new(&self.rounds, &self.config);
            self.team.start(self.config.workers, &self.udp, brief, self.started.0)?;
            log::info!("{} workers answer from the cache", self.config.workers);
        }
        Ok(())
    }
}
