//! A simulated world: servers with fates of their own, callers, and a shell that executes actions.

use super::oracle::{Oracle, Seen};
use super::picks::Picks;
use hither_connections::mutant::Mutant;
use hither_connections::{
    Action, Channel, ConnectionId, EndpointId, Input, Limits, Machine, Numbering, Settings, Token, Why,
};
use hither_table::Monotonic;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// What becomes of a connection that is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Connected after half of the delay, ready after all of it.
    Ready,
    /// Ready, and closed by the server some time later.
    ReadyForAWhile,
    /// Ready, then refused by the server: it wants a client's certificate.
    ReadyThenRefused,
    Refused,
    Unreachable,
    /// Connected, and the handshake fails.
    BadHandshake,
    /// Nothing comes back.
    Silent,
    /// Connected, and no handshake comes back.
    SilentHandshake,
    /// The server asks for another connection during the handshake.
    Drains,
    NoSocket,
}

/// What becomes of a query that is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Good,
    Twice,
    Lost,
    /// The server refuses the stream.
    Refused,
    /// The server ends the stream after it may have processed the query.
    Reset,
    /// The connection is reset.
    Dies,
    /// The server closes the connection in order.
    Ends,
    /// The server takes no new queries, and answers this one and those before.
    DrainsAfter,
    /// The server takes no new queries, and has not processed this one.
    DrainsBefore,
    /// The server answers a channel that no query is on, or another's, and this one later.
    OnAnotherChannel,
    /// The answer sets another limit.
    Limits,
    /// The answer asks for no further queries (RFC 7828).
    LastOne,
    /// The server refuses the query, and asks for none for a while.
    Busy,
}

/// What happens in a world.
#[derive(Clone, Debug)]
pub enum Event {
    Ask(Token, EndpointId),
    Cancel(Token),
    Endpoint(EndpointId, usize),
    /// The endpoint has no address yet, and one is being looked up.
    LookUp(EndpointId),
    Forget(EndpointId),
    Network,
    Shutdown,
    /// The host sleeps for so many milliseconds.
    Sleep(u64),
    Connected(ConnectionId),
    Ready(ConnectionId),
    Closed(ConnectionId, Why),
    Response(ConnectionId, Channel),
    Reset(ConnectionId, Channel, bool),
    Drain(ConnectionId, Option<Channel>),
    Limits(ConnectionId, Option<u32>, Option<Duration>),
    LeaveAlone(ConnectionId, Duration),
}

/// The kind of a world.
#[derive(Clone)]
pub struct Plan {
    pub settings: Settings,
    pub limits: Limits,
    pub numbering: Numbering,
    pub endpoints: u32,
    pub addresses: usize,
    pub fates: &'static [Fate],
    pub answers: &'static [Answer],
    pub delays_ms: &'static [u64],
    /// The limits of streams that servers set.
    pub streams_max: &'static [u32],
    /// How many values the machine's randomness has.
    pub random_below: u64,
    pub mutant: Option<Mutant>,
    pub trace: bool,
}

pub struct World<'p> {
    picks: &'p mut dyn Picks,
    plan: &'p Plan,
    machine: Machine,
    oracle: Oracle,
    now: Monotonic,
    /// Events by time and, within the same time, in the order in which they were planned.
    events: BTreeMap<(Monotonic, u64), Event>,
    serial: u64,
    steps: u32,
}

/// The end of every world comes within so many calls, or a timer fires for ever.
const STEPS_MAX: u32 = 20_000;

pub fn endpoint(number: u32) -> EndpointId {
    EndpointId(number)
}

impl<'p> World<'p> {
    pub fn new(picks: &'p mut dyn Picks, plan: &'p Plan) -> World<'p> {
        let (mut seed, below) = (11_u64, plan.random_below);
        let random = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut machine = Machine::new(plan.settings, Box::new(random));
        if let Some(mutant) = plan.mutant {
            machine.plant(mutant);
        }
        let (oracle, now) = (Oracle::new(plan.settings), Monotonic::from_ms(1_000));
        let mut world =
            World { picks, plan, machine, oracle, now, events: BTreeMap::new(), serial: 0, steps: 0 };
        for number in 0..plan.endpoints {
            world.at(0, Event::Endpoint(endpoint(number), plan.addresses));
        }
        world
    }

    /// Plans an event, so many milliseconds after the beginning.
    pub fn at(&mut self, ms: u64, event: Event) {
        self.plan_at(Monotonic::from_ms(1_000 + ms), event);
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.plan_at(self.now.plus(Duration::from_millis(ms)), event);
    }

    fn plan_at(&mut self, at: Monotonic, event: Event) {
        self.serial += 1;
        self.events.insert((at, self.serial), event);
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.picks.below(of.len() as u64) as usize]
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.plan.trace {
            println!("{:>9.3} {}", self.now.as_ms() as f64 / 1e3 - 1.0, what());
        }
    }

    /// Runs until nothing is left to happen. Of everything that is due at the same time, timers
    /// included, any may come first.
    pub fn run(mut self) -> Seen {
        loop {
            self.steps += 1;
            assert!(self.steps < STEPS_MAX, "the world does not come to rest");
            let timer = self.machine.poll_timeout();
            let first = self.events.keys().next().map(|(at, _)| *at);
            let Some(at) = timer.into_iter().chain(first).min() else { break };
            self.now = self.now.max(at);
            // A machine whose timers are late fires them before it looks at an event.
            let is_late = timer.is_some_and(|timer| timer < self.now);
            let due: Vec<_> = self.events.range(..=(self.now, u64::MAX)).map(|(key, _)| *key).collect();
            let is_timer_due = timer.is_some_and(|timer| timer <= self.now);
            let choices = due.len() as u64 + u64::from(is_timer_due);
            let choice = if is_late { due.len() } else { self.picks.below(choices) as usize };
            match due.get(choice).and_then(|key| self.events.remove(key)) {
                Some(event) => self.happen(event),
                None => {
                    self.say(|| String::from("timeout"));
                    self.oracle.timeout(self.now);
                    self.machine.handle_timeout(self.now);
                    self.drain();
                }
            }
        }
        self.oracle.check_rest();
        self.oracle.seen
    }

    fn happen(&mut self, event: Event) {
        self.say(|| format!("{event:?}"));
        match event {
            Event::Ask(token, endpoint) => {
                let octets = [&token.0.to_be_bytes()[..], b" asks"].concat();
                self.tell(Input::Query { token, endpoint, octets: octets.into() });
            }
            Event::Cancel(token) => self.tell(Input::Cancel { token }),
            Event::Endpoint(id, addresses) => self.set_endpoint(id, addresses, false),
            Event::LookUp(id) => self.set_endpoint(id, 0, true),
            Event::Forget(id) => self.tell(Input::Forget { id }),
            Event::Network => self.tell(Input::NetworkChanged),
            Event::Shutdown => self.tell(Input::Shutdown),
            Event::Sleep(ms) => self.now = self.now.plus(Duration::from_millis(ms)),
            Event::Connected(connection) => self.tell(Input::Connected { connection }),
            Event::Ready(connection) => {
                let streams_max = self.pick(self.plan.streams_max);
                let idle = [None, Some(Duration::from_millis(400))];
                let idle = if self.plan.delays_ms.len() > 2 { self.pick(&idle) } else { None };
                self.tell(Input::Ready { connection, resumed: false, streams_max, idle });
            }
            Event::Closed(connection, why) => self.tell(Input::Closed { connection, why }),
            Event::Response(connection, channel) => {
                let octets = [connection.0.to_be_bytes(), channel.0.to_be_bytes()].concat();
                self.tell(Input::Response { connection, channel, octets: &octets });
            }
            Event::Reset(connection, channel, may_retry) => {
                self.tell(Input::Reset { connection, channel, may_retry });
            }
            Event::Drain(connection, last) => self.tell(Input::Drain { connection, last }),
            Event::Limits(connection, streams_max, idle) => {
                self.tell(Input::Limits { connection, streams_max, idle });
            }
            Event::LeaveAlone(connection, time) => self.tell(Input::LeaveAlone { connection, time }),
        }
    }

    fn set_endpoint(&mut self, id: EndpointId, addresses: usize, is_looking_up: bool) {
        let addresses = addresses_of(id, addresses);
        let (numbering, limits) = (self.plan.numbering, self.plan.limits);
        self.tell(Input::Endpoint { id, addresses, is_looking_up, numbering, limits });
    }

    fn tell(&mut self, input: Input<'_>) {
        self.oracle.input(self.now, &input);
        self.machine.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            self.say(|| format!("    {action:?}"));
            self.oracle.action(&action);
            match action {
                Action::Open { connection, .. } => self.open(connection),
                Action::Send { connection, channel, .. } => self.send(connection, channel),
                _ => {}
            }
        }
        // Planted faults are for the oracle to notice.
        if self.plan.mutant.is_none() {
            self.machine.check_invariants();
        }
        self.oracle.drained(self.machine.poll_timeout());
    }

    fn open(&mut self, id: ConnectionId) {
        let fate = self.pick(self.plan.fates);
        let delay = self.pick(self.plan.delays_ms);
        self.say(|| format!("        {fate:?} {delay} ms"));
        let is_connected = !matches!(fate, Fate::Refused | Fate::Unreachable | Fate::Silent | Fate::NoSocket);
        if is_connected {
            self.after(delay / 2, Event::Connected(id));
        }
        match fate {
            Fate::Ready => self.after(delay, Event::Ready(id)),
            Fate::ReadyForAWhile => {
                self.after(delay, Event::Ready(id));
                let (later, why) =
                    (self.pick(&[1, 60, 900]), self.pick(&[Why::Ended, Why::Reset, Why::Idle]));
                self.after(delay + later, Event::Closed(id, why));
            }
            Fate::ReadyThenRefused => {
                self.after(delay, Event::Ready(id));
                self.after(delay + 5, Event::Closed(id, Why::Handshake));
            }
            Fate::Refused => self.after(delay, Event::Closed(id, Why::Refused)),
            Fate::Unreachable => self.after(delay, Event::Closed(id, Why::Unreachable)),
            Fate::BadHandshake => self.after(delay, Event::Closed(id, Why::Handshake)),
            Fate::Silent | Fate::SilentHandshake => {}
            Fate::Drains => self.after(delay, Event::Drain(id, None)),
            Fate::NoSocket => self.after(0, Event::Closed(id, Why::NoSocket)),
        }
    }

    fn send(&mut self, id: ConnectionId, channel: Channel) {
        let answer = self.pick(self.plan.answers);
        let delay = self.pick(self.plan.delays_ms);
        self.say(|| format!("        {answer:?} {delay} ms"));
        let response = Event::Response(id, channel);
        match answer {
            Answer::Good => self.after(delay, response),
            Answer::Twice => {
                self.after(delay, response.clone());
                self.after(delay + 5, response);
            }
            Answer::Lost => {}
            Answer::Refused => self.after(delay, Event::Reset(id, channel, true)),
            Answer::Reset => self.after(delay, Event::Reset(id, channel, false)),
            Answer::Dies => self.after(delay, Event::Closed(id, Why::Reset)),
            Answer::Ends => self.after(delay, Event::Closed(id, Why::Ended)),
            Answer::DrainsAfter => {
                self.after(delay, Event::Drain(id, Some(channel)));
                self.after(delay + 5, response);
            }
            Answer::DrainsBefore => {
                let last = channel.0.checked_sub(1).map(Channel);
                self.after(delay, Event::Drain(id, last));
            }
            Answer::OnAnotherChannel => {
                self.after(delay, Event::Response(id, Channel(channel.0 + 1)));
                self.after(delay + 5, response);
            }
            Answer::Limits => {
                let most = self.pick(&[None, Some(0), Some(1), Some(3)]);
                let idle = self.pick(&[None, Some(Duration::from_millis(200))]);
                self.after(delay, Event::Limits(id, most, idle));
                self.after(delay, response);
            }
            Answer::LastOne => {
                self.after(delay, response);
                self.after(delay, Event::Limits(id, None, Some(Duration::ZERO)));
            }
            Answer::Busy => {
                let time = Duration::from_millis(self.pick(&[0, 200, 200, 1_500, 9_000_000]));
                self.after(delay, Event::LeaveAlone(id, time));
                self.after(delay, Event::Reset(id, channel, false));
            }
        }
    }
}

/// So many addresses of an endpoint; those of two endpoints differ.
fn addresses_of(id: EndpointId, count: usize) -> Vec<SocketAddr> {
    (0..count).map(|n| SocketAddr::from(([192, 0, 2, id.0 as u8 * 16 + n as u8], 853))).collect()
}
