//! The one place where sockets meet the core: wait, read the clock once, hand in what happened, do what the core says, sleep.

use super::child::Sorter;
use super::control::{Control, Wish};
use super::hints::Hints;
use super::listeners::Listeners;
use super::notify;
use super::outside::{Event, Outside};
use super::pending::{Pending, Waiting, Way};
use super::requests::Asked;
use super::setup::{resize, table, tell, upstreams};
use super::tcp::{Clients, Look};
use super::tokens::{Slot, Source};
use super::udp::{Verdict, answer, answer_batch};
use crate::config::Config;
use hither_control::SorterReply;
use hither_net::batch::{Batch, SIZE};
use hither_net::clock::{self, Alarm};
use hither_net::random::Random;
use hither_net::signals::{Signal, Signals};
use hither_rounds::{Action, ClientId, Input, OrderResult, Rounds, reply};
use hither_table::{Counter, Monotonic};
use hither_wire::query::Query;
use mio::net::{TcpListener, UdpSocket};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::time::Duration;

/// Batches taken from one UDP socket before others get their turn.
const BATCHES: usize = 4;
/// Connections taken from one listener before others get their turn.
const ACCEPTS: usize = 64;
/// Queries taken from one connection before others get their turn.
const QUERIES: usize = 64;
/// Hints taken before others get their turn.
const HINTS: usize = 64;
/// Places of a predecessor's table looked at before others get their turn: less than a millisecond.
const SLICE: usize = 1024;

pub(super) struct Daemon {
    pub poll: Poll,
    pub config: Config,
    path: Option<PathBuf>,
    pub rounds: Rounds,
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
    pub addresses: Vec<SocketAddr>,
    clients: Clients,
    outside: Outside,
    pub waiting: Waiting,
    pub control: Control,
    hints: Hints,
    pub asked: Vec<Asked>,
    alarm: Alarm,
    signals: Signals,
    batch: Batch,
    /// Sources that had more than their share.
    again: VecDeque<Source>,
    reply: Vec<u8>,
    sorter: Option<Sorter>,
    watchdog: Option<(Duration, Monotonic)>,
    changes: u64,
    /// When the table's note of the clocks is to be renewed.
    clocks_at: Monotonic,
    pub started: Monotonic,
    stop: bool,
    /// Whoever sent the order that is being handled.
    order_from: Option<Slot>,
    _lock: Box<dyn std::any::Any>,
}

/// Serves until told to stop.
///
/// # Errors
/// What keeps it from starting, in words.
pub(super) fn serve(config: Config, path: Option<PathBuf>, with_sorter: bool) -> Result<(), String> {
    let mut daemon = Daemon::start(config, path, with_sorter)?;
    daemon.run()
}

fn because<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> String {
    move |error| format!("{what}: {error}")
}

fn now() -> Monotonic {
    Monotonic(clock::now())
}

impl Daemon {
    fn start(config: Config, path: Option<PathBuf>, with_sorter: bool) -> Result<Daemon, String> {
        let signals = Signals::new().map_err(because("signals cannot be taken"))?;
        let dir = config.runtime_dir.clone();
        std::fs::create_dir_all(&dir)
            .map_err(|error| format!("cannot create '{}': {error}", dir.display()))?;
        let mut random = Random::new().map_err(because("the kernel gives no random numbers"))?;
        let (writer, lock) = table(&config, &dir, &mut random)?;
        let listeners = Listeners::open(&config.listen)?;
        let upstreams = upstreams(&config, &listeners.addresses);
        let mut ids = Random::new().map_err(because("the kernel gives no random numbers"))?;
        let rounds = Rounds::new(config.settings.clone(), &upstreams, writer, Box::new(move || ids.draw()));
        let poll = Poll::new().map_err(because("no poll can be had"))?;
        let control = Control::bind(&dir, poll.registry())?;
        let hints = Hints::bind(&dir)?;
        let mut daemon = Daemon {
            poll,
            path: path.clone(),
            rounds,
            udp: listeners.udp.into_iter().map(UdpSocket::from_std).collect(),
            tcp: listeners.tcp.into_iter().map(TcpListener::from_std).collect(),
            addresses: listeners.addresses,
            clients: Clients::default(),
            outside: Outside::new(random),
            waiting: Waiting::default(),
            control,
            hints,
            asked: Vec::new(),
            alarm: Alarm::new().map_err(because("no timer can be had"))?,
            signals,
            batch: Batch::new(),
            again: VecDeque::new(),
            reply: vec![0; 65_535],
            sorter: (with_sorter && config.sort.enabled).then(|| Sorter::start(path, now())),
            watchdog: notify::watchdog().map(|every| (every, now())),
            changes: 0,
            clocks_at: Monotonic(0),
            started: now(),
            stop: false,
            order_from: None,
            config,
            _lock: lock,
        };
        daemon.register().map_err(because("a socket cannot be polled"))?;
        let shown = daemon.addresses.iter().find(|a| a.port() != 0).copied();
        daemon.rounds.writer().set_dns_address(shown);
        Ok(daemon)
    }

    fn register(&mut self) -> std::io::Result<()> {
        let registry = self.poll.registry();
        registry.register(&mut self.alarm, Source::Alarm.token(), Interest::READABLE)?;
        registry.register(&mut self.signals, Source::Signals.token(), Interest::READABLE)?;
        let hints = self.hints.as_raw_fd();
        registry.register(&mut SourceFd(&hints), Source::Hints.token(), Interest::READABLE)?;
        for (n, socket) in self.udp.iter_mut().enumerate() {
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
        log::info!("ready at {}", addresses.join(", "));
        notify::ready(&self.status_line());
        let mut events = Events::with_capacity(256);
        while !self.stop {
            let more = !self.again.is_empty() || self.rounds.writer().has_work();
            let timeout = more.then_some(Duration::ZERO);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return Err(format!("polling fails: {error}"));
                }
                _ => {}
            }
            let now = now();
            for _ in 0..self.again.len() {
                if let Some(source) = self.again.pop_front() {
                    self.ready(source, now);
                }
            }
            for event in &events {
                self.ready(Source::of(event.token()), now);
            }
            if let Some(found) = self.rounds.writer().work(SLICE, now) {
                log::info!(
                    "the predecessor's table is taken over: {} entries, {} dropped",
                    found.entries,
                    found.dropped
                );
            }
            self.on_time(now);
        }
        self.shut_down(now());
        Ok(())
    }

    /// What is due, and what is to be seen of what was done; then the alarm for what comes next.
    fn on_time(&mut self, now: Monotonic) {
        while let Some(question) = self.rounds.wanted() {
            self.rounds.handle(now, Input::Refresh { question });
            self.act(now);
        }
        if self.rounds.poll_timeout().is_some_and(|at| at <= now) {
            self.rounds.handle_timeout(now);
            self.act(now);
        }
        self.outside.sweep(self.poll.registry(), now);
        let gone = self.clients.sweep(self.poll.registry(), now);
        self.forget(now, gone);
        if let Some(sorter) = &mut self.sorter {
            sorter.sweep(now);
        }
        self.answer_asked(now);
        self.tell_manager(now);
        self.publish_counters(now);
        let watchdog = self.watchdog.map(|(_, at)| at);
        let sorter = self.sorter.as_ref().and_then(Sorter::timeout);
        let times = [
            self.rounds.poll_timeout(),
            self.outside.timeout(),
            self.clients.timeout(),
            sorter,
            watchdog,
            self.asked_timeout(),
        ];
        let next = times.into_iter().flatten().min();
        if let Err(error) = self.alarm.set(next.map(|at| at.0)) {
            log::error!("the timer cannot be set: {error}, ignoring");
        }
    }

    fn tell_manager(&mut self, now: Monotonic) {
        if let Some((every, at)) = self.watchdog
            && at <= now
        {
            notify::alive();
            notify::status(&self.status_line());
            self.watchdog = Some((every, now.plus(every)));
        }
    }

    fn publish_counters(&mut self, now: Monotonic) {
        let tcp = self.clients.len() as u64;
        let errors = self.control.errors;
        let counters = self.rounds.counters();
        counters.set(Counter::TcpClients, tcp);
        counters.set(Counter::ControlErrors, errors);
        counters.set(Counter::Hints, self.hints.taken);
        counters.set(Counter::HintsDropped, self.hints.dropped);
        let counters = *counters;
        let writer = self.rounds.writer();
        writer.set_counters(&counters);
        if now >= self.clocks_at {
            self.clocks_at = now.plus(Duration::from_secs(1));
            writer.note_clocks();
        }
        if writer.changes() != self.changes {
            self.changes = writer.changes();
            writer.wake_followers();
        }
    }

    fn ready(&mut self, source: Source, now: Monotonic) {
        match source {
            Source::Alarm => self.alarm.ack(),
            Source::Signals => self.on_signals(now),
            Source::Udp(n) => self.on_udp(n, now),
            Source::TcpListener(n) => self.on_listener(n, now),
            Source::Client(slot) => self.on_client(slot, now),
            Source::Outside(slot) => self.on_outside(slot, now),
            Source::ControlListener => self.control.accept(self.poll.registry(), false),
            Source::SorterListener => self.control.accept(self.poll.registry(), true),
            Source::Peer(slot) => self.on_peer(slot, now),
            Source::Hints => self.on_hints(now),
        }
    }

    fn on_udp(&mut self, n: usize, now: Monotonic) {
        for _ in 0..BATCHES {
            let Some(socket) = self.udp.get(n) else { return };
            let count = match self.batch.receive(socket) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // An ICMP error for an earlier reply, for instance.
                Err(error) if error.kind() != ErrorKind::OutOfMemory => continue,
                Err(_) => return,
            };
            let mut missed = Vec::new();
            let (rounds, allow) = (&mut self.rounds, &self.config.allow);
            answer_batch(rounds, allow, now, &mut self.batch, count, |at, question, rd| {
                missed.push((at, question, rd))
            });
            let sent = self.batch.send(socket);
            self.rounds.counters().add(Counter::Replies, sent as u64);
            for (at, question, recursion) in missed {
                let way = Way::Udp { socket: n, route: Box::new(self.batch.route(at)) };
                let query = self.batch.pair(at).0.to_vec();
                let client = self.waiting.add(Pending { query, way });
                self.rounds.handle(now, Input::Ask { client, question, recursion });
                self.act(now);
            }
            if count < SIZE {
                return;
            }
        }
        self.again.push_back(Source::Udp(n));
    }

    fn on_listener(&mut self, n: usize, now: Monotonic) {
        let Some(listener) = self.tcp.get(n) else { return };
        let (more, fresh, gone) = self.clients.accept(self.poll.registry(), listener, ACCEPTS, now);
        if more {
            self.again.push_back(Source::TcpListener(n));
        }
        self.forget(now, gone);
        for slot in fresh {
            self.on_client(slot, now);
        }
    }

    fn on_client(&mut self, slot: Slot, now: Monotonic) {
        for _ in 0..QUERIES {
            match self.clients.look(self.poll.registry(), slot, now) {
                Look::Idle => return,
                Look::Gone(clients) => return self.forget(now, clients),
                Look::Query(query) => self.on_tcp_query(slot, query, now),
            }
        }
        self.again.push_back(Source::Client(slot));
    }

    fn on_tcp_query(&mut self, slot: Slot, query: Vec<u8>, now: Monotonic) {
        let Some(peer) = self.clients.get(slot).map(|client| client.peer.ip()) else { return };
        let limit = Some(usize::from(u16::MAX));
        match answer(&mut self.rounds, &self.config.allow, now, (&query, peer, limit), &mut self.reply) {
            Verdict::Reply(len) => {
                if len > 0 {
                    let reply = std::mem::take(&mut self.reply);
                    self.reply_tcp(slot, &reply[..len], now);
                    self.reply = reply;
                }
            }
            Verdict::Ask(question, recursion) => {
                let client = self.waiting.add(Pending { query, way: Way::Tcp(slot) });
                if let Some(connection) = self.clients.get(slot) {
                    connection.waiting.push(client);
                }
                self.rounds.handle(now, Input::Ask { client, question, recursion });
                self.act(now);
            }
        }
    }

    fn reply_tcp(&mut self, slot: Slot, octets: &[u8], now: Monotonic) {
        self.rounds.counters().add(Counter::Replies, 1);
        if !self.clients.reply(slot, octets) {
            let gone = self
                .clients
                .get(slot)
                .map(|_| ())
                .map(|()| self.clients.drop_client(self.poll.registry(), slot.key));
            self.forget(now, gone.unwrap_or_default());
        }
    }

    /// Nobody waits for these any more.
    fn forget(&mut self, now: Monotonic, clients: Vec<ClientId>) {
        for client in clients {
            self.waiting.take(client);
            self.rounds.handle(now, Input::ClientGone { client });
        }
        self.act(now);
    }

    fn on_outside(&mut self, slot: Slot, now: Monotonic) {
        let Some((attempt, events, more)) = self.outside.ready(slot) else { return };
        for event in events {
            match event {
                Event::Message(octets) => {
                    self.rounds.handle(now, Input::Message { attempt, octets: &octets })
                }
                Event::Failed(failure) => self.rounds.handle(now, Input::Failed { attempt, failure }),
            }
            self.act(now);
        }
        if more {
            self.again.push_back(Source::Outside(slot));
        }
    }

    fn on_peer(&mut self, slot: Slot, now: Monotonic) {
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

    fn on_hints(&mut self, now: Monotonic) {
        for _ in 0..HINTS {
            let Some(questions) = self.hints.next(now) else { return };
            for question in questions {
                self.rounds.handle(now, Input::Refresh { question });
                self.act(now);
            }
        }
        self.again.push_back(Source::Hints);
    }

    fn on_signals(&mut self, now: Monotonic) {
        while let Some(signal) = self.signals.take() {
            match signal {
                Signal::Terminate => self.stop = true,
                Signal::Reload => self.reload(now),
                Signal::Child => {
                    if let Some(sorter) = &mut self.sorter {
                        sorter.reap(now);
                    }
                }
            }
        }
    }

    fn reload(&mut self, now: Monotonic) {
        notify::reloading();
        match Config::load(self.path.as_deref()) {
            Err(error) => {
                log::error!("the configuration is not reloaded, the old one stays in force: {error}")
            }
            Ok(config) => {
                let fixed = |c: &Config| (c.runtime_dir.clone(), c.listen.clone());
                if fixed(&config) != fixed(&self.config) {
                    log::warn!("runtime_dir and listen.dns take effect at the next start");
                }
                self.resize(&config);
                crate::logging::start(config.level);
                let upstreams = upstreams(&config, &self.addresses);
                self.rounds.handle(now, Input::Reload { settings: config.settings.clone(), upstreams });
                self.act(now);
                self.config = config;
                log::info!("the configuration is reloaded");
            }
        }
        notify::ready(&self.status_line());
    }

    /// Another table where the configuration asks for another size or mode; without it, the one that is there stays.
    fn resize(&mut self, config: &Config) {
        let table = |c: &Config| (c.table_entries, c.table_mode);
        if table(config) == table(&self.config) {
            return;
        }
        match resize(config, &self.config.runtime_dir, self.rounds.writer()) {
            Ok(()) => log::info!("a table for {} names takes the place of the old one", config.table_entries),
            Err(error) => log::error!("the table stays as it is: {error}"),
        }
    }

    /// Does what the core says, each thing once and in order; what fails is handed in again.
    pub fn act(&mut self, now: Monotonic) {
        while let Some(action) = self.rounds.poll_action() {
            match action {
                Action::Send { attempt, address, transport, octets, upstream: _ } => {
                    let sent =
                        self.outside.send(self.poll.registry(), attempt, (address, transport), &octets);
                    if let Err(failure) = sent {
                        self.rounds.handle(now, Input::Failed { attempt, failure });
                    }
                }
                Action::Resend { attempt, octets } => self.outside.resend(attempt, &octets),
                Action::Close { attempt, linger } => {
                    self.outside.close(self.poll.registry(), attempt, linger)
                }
                Action::Reply { client, answer } => self.deliver(client, &answer, now),
                Action::OrderResult(result) => self.answer_sorter(result),
                Action::Note(note) => tell(&note),
            }
        }
    }

    fn answer_sorter(&mut self, result: OrderResult) {
        let Some(slot) = self.order_from.take() else { return };
        let reply = match result {
            OrderResult::Applied { version } => SorterReply::Applied { version },
            OrderResult::Rejected { reason, set_version } => {
                SorterReply::Rejected { reason: reason.to_owned(), set_version }
            }
        };
        self.control.answer(slot, &reply);
    }

    fn deliver(&mut self, client: ClientId, answer: &reply::Answer, now: Monotonic) {
        let Some(Pending { query, way }) = self.waiting.take(client) else { return };
        let Ok(read) = Query::read(&query) else { return };
        let limit = if matches!(way, Way::Udp { .. }) { read.udp_limit() } else { usize::from(u16::MAX) };
        let len = reply::compose(now, &read, answer, limit, &mut self.reply);
        let reply = std::mem::take(&mut self.reply);
        match way {
            Way::Udp { socket, mut route } => {
                // A reply that cannot be sent is lost like one that is lost on the way.
                if self.udp.get(socket).is_some_and(|socket| route.send(socket, &reply[..len]).is_ok()) {
                    self.rounds.counters().add(Counter::Replies, 1);
                }
            }
            Way::Tcp(slot) => {
                if let Some(connection) = self.clients.get(slot) {
                    connection.waiting.retain(|waiting| *waiting != client);
                }
                self.reply_tcp(slot, &reply[..len], now);
                // What was left unread while too many waited, and the end of a connection that only waited for this.
                self.again.push_back(Source::Client(slot));
            }
            Way::Control(slot) => self.asked_is_answered(slot, client, &reply[..len], now),
        }
        self.reply = reply;
    }

    pub fn status_line(&mut self) -> String {
        let now = now();
        let upstreams = self.rounds.upstreams(now);
        let up = upstreams.iter().filter(|u| u.state == "up" || u.state == "unknown").count();
        let counters = self.rounds.counters();
        let (queries, hits) = (counters.get(Counter::Queries), counters.get(Counter::Hits));
        let rate = (hits * 100).checked_div(queries).unwrap_or(0);
        let entries = counters.get(Counter::Entries);
        format!(
            "{up} of {} upstreams up, {entries} entries, {queries} queries, {rate} % hits",
            upstreams.len()
        )
    }

    fn shut_down(&mut self, now: Monotonic) {
        log::info!("stopping");
        notify::stopping("stopping");
        self.sorter = None;
        self.rounds.handle(now, Input::Shutdown);
        self.act(now);
        self.publish_counters(now);
        self.rounds.writer().close();
        log::debug!("{} sockets were left open", self.outside.len());
    }
}
