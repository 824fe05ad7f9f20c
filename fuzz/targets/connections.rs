//! Any octets as events of connections, sensible or not: the machine keeps its promises, which the
//! oracle of its simulator checks, and its invariants.
#![no_main]

#[allow(dead_code)]
#[path = "../../src/connections/tests/sim/oracle/mod.rs"]
mod oracle;

use hither_connections::{
    Action, Channel, ConnectionId, EndpointId, Input, Limits, Machine, Numbering, Settings, Token, Why,
};
use hither_table::Monotonic;
use libfuzzer_sys::fuzz_target;
use oracle::Oracle;
use std::time::Duration;

const WHYS: [Why; 7] =
    [Why::Refused, Why::Unreachable, Why::Reset, Why::Ended, Why::Handshake, Why::Idle, Why::NoSocket];

struct Driver {
    machine: Machine,
    oracle: Oracle,
    now: Monotonic,
    /// The latest connections and channels, which most events are about.
    opened: Vec<ConnectionId>,
    sent: Vec<(ConnectionId, Channel)>,
}

impl Driver {
    fn tell(&mut self, input: Input<'_>) {
        // A limit may have made a timer late: late timers fire before the event, also in `handle`.
        if self.machine.poll_timeout().is_some_and(|timer| timer < self.now) {
            self.wait(Duration::ZERO);
        }
        self.oracle.input(self.now, &input);
        self.machine.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            self.oracle.action(&action);
            match action {
                Action::Open { connection, .. } => self.opened.push(connection),
                Action::Send { connection, channel, .. } => self.sent.push((connection, channel)),
                _ => {}
            }
        }
        self.machine.check_invariants();
        self.oracle.drained(self.machine.poll_timeout());
    }

    /// Lets time pass, and fires what is due.
    fn wait(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        if self.machine.poll_timeout().is_some_and(|timer| timer <= self.now) {
            self.oracle.timeout(self.now);
            self.machine.handle_timeout(self.now);
            self.drain();
        }
    }

    /// One of the latest connections, or one that may never have been opened.
    fn connection(&self, choice: u8) -> ConnectionId {
        let latest = self.opened.iter().rev().nth(usize::from(choice % 8)).copied();
        latest.filter(|_| choice < 0xf0).unwrap_or(ConnectionId(u64::from(choice)))
    }

    /// One of the latest channels, or one that may never have been used.
    fn channel(&self, choice: u8) -> (ConnectionId, Channel) {
        let latest = self.sent.iter().rev().nth(usize::from(choice % 16)).copied();
        let any = || (self.connection(choice), Channel(u64::from(choice)));
        latest.filter(|_| choice < 0xf0).unwrap_or_else(any)
    }

    fn event(&mut self, kind: u8, choice: u8, more: u8, numbering: Numbering) {
        let endpoint = EndpointId(u32::from(choice % 3));
        let connection = self.connection(choice);
        let (on, channel) = self.channel(choice);
        let idle = [None, Some(Duration::from_millis(u64::from(more) * 10))][usize::from(more % 2)];
        let streams_max = if more < 128 { u32::from(more % 8) } else { u32::MAX };
        match kind % 16 {
            0 | 1 => {
                let token = Token(u64::from(more % 32));
                let octets = token.0.to_be_bytes().as_slice().into();
                self.tell(Input::Query { token, endpoint, octets });
            }
            2 => self.tell(Input::Cancel { token: Token(u64::from(more % 32)) }),
            3 => {
                let address = |n: u8| ([192, 0, 2, n * 4 + choice % 3], 853).into();
                let addresses = (more % 5..more % 5 + more / 13).map(address).collect();
                let limits = Limits { streams_max: u32::from(more / 32), idle: Duration::from_secs(1) };
                let is_looking_up = choice % 2 == 0;
                self.tell(Input::Endpoint { id: endpoint, addresses, is_looking_up, numbering, limits });
            }
            4 if more == 0 => self.tell(Input::Forget { id: endpoint }),
            4 | 5 => self.tell(Input::Connected { connection }),
            6 | 7 => {
                self.tell(Input::Ready { connection, resumed: more % 2 == 0, streams_max, idle });
            }
            8 | 9 => self.tell(Input::Response { connection: on, channel, octets: &[more; 3] }),
            10 if more > 200 => {
                let time = Duration::from_millis(100 << (more % 14));
                self.tell(Input::LeaveAlone { connection: on, time });
            }
            10 => self.tell(Input::Reset { connection: on, channel, may_retry: more % 2 == 0 }),
            11 => {
                let last = [None, Some(channel), Some(Channel::MAX)][usize::from(more % 3)];
                self.tell(Input::Drain { connection: on, last });
            }
            12 => {
                let streams_max = Some(streams_max).filter(|_| more % 3 > 0);
                self.tell(Input::Limits { connection: on, streams_max, idle });
            }
            13 => self.tell(Input::Closed { connection, why: WHYS[usize::from(more % 7)] }),
            14 if more < 8 => self.tell(Input::NetworkChanged),
            14 => self.wait(Duration::from_millis(u64::from(more))),
            _ => match self.machine.poll_timeout() {
                Some(timer) if more < 250 => self.wait(timer.since(self.now)),
                _ => self.wait(Duration::from_secs(1 << (more % 13))),
            },
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((first, events)) = input.split_first() else { return };
    let numbering = [Numbering::Random, Numbering::Ascending][usize::from(first % 2)];
    let settings = Settings {
        query_max: Duration::from_secs(3),
        backoff_max: Duration::from_secs(2),
        reopen_within: Duration::from_secs(4),
        waiting_max: 6,
        ..Settings::default()
    };
    let (mut seed, below) = (u64::from(*first), u64::from(*first) * 8 + 2);
    let random = Box::new(move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    });
    let (machine, oracle) = (Machine::new(settings, random), Oracle::new(settings));
    let mut driver =
        Driver { machine, oracle, now: Monotonic::from_ms(1), opened: Vec::new(), sent: Vec::new() };
    driver.event(3, 0, 40, numbering);
    for event in events.chunks_exact(3) {
        driver.event(event[0], event[1], event[2], numbering);
    }
    driver.tell(Input::Shutdown);
    driver.oracle.check_rest();
    assert_eq!(driver.machine.poll_timeout(), None, "a timer is left");
});
