//! Single promises of the machine, by the example.

use hither_connections::{
    Action, Channel, ConnectionId, Counters, DRAINING_MAX, EndpointId, Failure, Input, LEFT_ALONE_MAX,
    Limits, Machine, Numbering, Settings, State, Token, Why,
};
use hither_table::Monotonic;
use std::time::Duration;

const ENDPOINT: EndpointId = EndpointId(1);

fn at(ms: u64) -> Monotonic {
    Monotonic::from_ms(ms)
}

fn machine(addresses: usize, numbering: Numbering, streams_max: u32) -> Machine {
    let mut machine = Machine::new(Settings::default(), Box::new(|| 7));
    machine.handle(at(0), endpoint(addresses, false, numbering, streams_max));
    machine
}

fn endpoint(addresses: usize, is_looking_up: bool, numbering: Numbering, streams_max: u32) -> Input<'static> {
    let addresses = (0..addresses).map(|n| ([192, 0, 2, n as u8], 853).into()).collect();
    let limits = Limits { streams_max, idle: Duration::from_secs(30) };
    Input::Endpoint { id: ENDPOINT, addresses, is_looking_up, numbering, limits }
}

fn drain(machine: &mut Machine) -> Vec<Action> {
    let actions = std::iter::from_fn(|| machine.poll_action()).collect();
    machine.check_invariants();
    actions
}

fn tell(machine: &mut Machine, ms: u64, input: Input<'_>) -> Vec<Action> {
    machine.handle(at(ms), input);
    drain(machine)
}

fn ask(machine: &mut Machine, ms: u64, token: u64) -> Vec<Action> {
    let octets = token.to_be_bytes().as_slice().into();
    tell(machine, ms, Input::Query { token: Token(token), endpoint: ENDPOINT, octets })
}

fn ready(machine: &mut Machine, ms: u64, connection: u64) -> Vec<Action> {
    let connection = ConnectionId(connection);
    tell(machine, ms, Input::Ready { connection, resumed: false, streams_max: u32::MAX, idle: None })
}

fn channels(actions: &[Action]) -> Vec<(u64, u64)> {
    let sent = |action: &Action| match action {
        Action::Send { connection, channel, .. } => Some((connection.0, channel.0)),
        _ => None,
    };
    actions.iter().filter_map(sent).collect()
}

#[test]
fn timers_fire_before_an_event_that_comes_after_them() {
    let mut machine = machine(1, Numbering::Random, 10);
    ask(&mut machine, 0, 1);
    assert_eq!(channels(&ready(&mut machine, 20, 0)), [(0, 7)]);
    let late = Input::Response { connection: ConnectionId(0), channel: Channel(7), octets: b"late" };
    let actions = tell(&mut machine, 60_000, late);
    assert!(actions.contains(&Action::Fail { token: Token(1), failure: Failure::Silent }), "{actions:?}");
    assert!(!actions.iter().any(|action| matches!(action, Action::Deliver { .. })), "{actions:?}");
}

#[test]
fn timers_of_a_host_that_slept_leave_nothing_due() {
    let mut machine = machine(1, Numbering::Random, 1);
    for number in 0..2 {
        ask(&mut machine, number * 20, number);
        let (connection, idle) = (ConnectionId(number), Some(Duration::from_secs(1)));
        let ready = Input::Ready { connection, resumed: false, streams_max: u32::MAX, idle };
        assert_eq!(channels(&tell(&mut machine, number * 20 + 10, ready)), [(number, 7)]);
    }
    // The second connection is idle, and its server is silent.
    tell(&mut machine, 50, Input::Cancel { token: Token(1) });
    machine.handle_timeout(at(6_000));
    let actions = drain(&mut machine);
    assert!(machine.poll_timeout().is_none_or(|next| next > at(6_000)), "{actions:?}");
}

#[test]
fn time_that_goes_back_changes_nothing() {
    let mut machine = machine(1, Numbering::Random, 10);
    ask(&mut machine, 1_000, 1);
    ready(&mut machine, 5, 0);
    let report = machine.report(ENDPOINT).expect("configured");
    assert_eq!((report.connections[0].state, report.connections[0].opened_at), (State::Ready, at(1_000)));
}

#[test]
fn a_second_connection_is_opened_only_when_the_first_is_full() {
    let mut machine = machine(1, Numbering::Ascending, 2);
    ask(&mut machine, 0, 1);
    ready(&mut machine, 20, 0);
    assert_eq!(channels(&ask(&mut machine, 30, 2)), [(0, 1)]);
    let actions = ask(&mut machine, 30, 3);
    assert!(matches!(actions[..], [Action::Open { connection: ConnectionId(1), .. }]), "{actions:?}");
    // A channel of the first is free again before the second is ready.
    let response = Input::Response { connection: ConnectionId(0), channel: Channel(0), octets: b"" };
    assert_eq!(channels(&tell(&mut machine, 40, response)), [(0, 2)]);
}

#[test]
fn a_response_reaches_its_own_query_or_none() {
    let mut machine = machine(1, Numbering::Random, 10);
    ask(&mut machine, 0, 1);
    assert_eq!(channels(&ready(&mut machine, 20, 0)), [(0, 7)]);
    let response = |channel| Input::Response {
        connection: ConnectionId(0),
        channel: Channel(channel),
        octets: b"a response",
    };
    assert_eq!(tell(&mut machine, 30, response(8)), []);
    tell(&mut machine, 40, Input::Cancel { token: Token(1) });
    assert_eq!(channels(&ask(&mut machine, 50, 2)), [(0, 8)], "the id of the cancelled query is taken");
    assert_eq!(tell(&mut machine, 60, response(7)), []);
    let delivered = Action::Deliver { token: Token(2), octets: b"a response".as_slice().into() };
    assert_eq!(tell(&mut machine, 70, response(8)), [delivered]);
    assert_eq!(tell(&mut machine, 70, response(8)), []);
    assert_eq!(machine.counters(), Counters { responses_late: 1, responses_strange: 2 });
}

#[test]
fn a_server_that_closes_after_each_answer_is_not_connected_to_for_ever() {
    let mut machine = machine(1, Numbering::Random, 10);
    ask(&mut machine, 0, 1);
    ready(&mut machine, 20, 0);
    let connection = ConnectionId(0);
    tell(&mut machine, 30, Input::Response { connection, channel: Channel(7), octets: b"" });
    tell(&mut machine, 40, Input::Closed { connection, why: Why::Ended });
    let mut opened = 0;
    while let Some(next) = machine.poll_timeout() {
        machine.handle_timeout(next);
        for action in drain(&mut machine) {
            if let Action::Open { connection, .. } = action {
                opened += 1;
                ready(&mut machine, next.as_ms() + 1, connection.0);
                tell(&mut machine, next.as_ms() + 2, Input::Closed { connection, why: Why::Ended });
            }
        }
    }
    assert_eq!(opened, 7, "after pauses of 0.25, 0.5, 1, 2, 4, 8 and 16 seconds");
}

#[test]
fn a_query_that_two_connections_lost_fails() {
    let mut machine = machine(1, Numbering::Random, 10);
    ask(&mut machine, 0, 1);
    for connection in 0..2 {
        assert_eq!(channels(&ready(&mut machine, 20, connection)), [(connection, 7)]);
        let connection = ConnectionId(connection);
        let actions = tell(&mut machine, 30, Input::Closed { connection, why: Why::Reset });
        let has_failed = actions.contains(&Action::Fail { token: Token(1), failure: Failure::Closed });
        assert_eq!(has_failed, connection.0 == 1, "{actions:?}");
    }
    // Neither answered anything: the endpoint is left alone for a moment.
    assert_eq!(ask(&mut machine, 40, 2), [Action::Fail { token: Token(2), failure: Failure::Backoff }]);
    machine.handle_timeout(machine.poll_timeout().expect("the end of the pause"));
    assert!(
        matches!(drain(&mut machine)[..], [Action::Open { .. }]),
        "the query had shown that it is needed"
    );
}

#[test]
fn a_server_is_left_alone_as_long_as_it_asks_but_for_five_minutes_at_most() {
    let mut machine = machine(1, Numbering::Ascending, 1);
    ask(&mut machine, 0, 1);
    ready(&mut machine, 20, 0);
    // One query is on its way, and one waits for its channel.
    ask(&mut machine, 30, 2);
    let connection = ConnectionId(0);
    let failed = |token| Action::Fail { token: Token(token), failure: Failure::Backoff };
    let day = Duration::from_secs(86_400);
    let busy = tell(&mut machine, 40, Input::LeaveAlone { connection, time: day });
    assert!(busy.contains(&failed(2)), "{busy:?}");
    tell(&mut machine, 45, Input::Closed { connection: ConnectionId(1), why: Why::Refused });
    let response = Input::Response { connection, channel: Channel(0), octets: b"in time" };
    let delivered = tell(&mut machine, 50, response);
    assert!(matches!(delivered[0], Action::Deliver { token: Token(1), .. }), "{delivered:?}");
    let end = 40 + LEFT_ALONE_MAX.as_millis() as u64;
    for at in [60, 1_000, end - 1] {
        assert_eq!(ask(&mut machine, at, at).last(), Some(&failed(at)));
    }
    assert_eq!(machine.report(ENDPOINT).expect("configured").pauses_until, Some(at(end)));
    let again = ask(&mut machine, end, end);
    assert!(matches!(again[..], [Action::Open { .. }]), "the connection was idle meanwhile: {again:?}");
}

#[test]
fn connections_that_drain_are_bounded() {
    let mut machine = machine(1, Numbering::Ascending, 10);
    let mut closed = Vec::new();
    for n in 0..=DRAINING_MAX as u64 {
        ask(&mut machine, n * 10, n);
        assert_eq!(channels(&ready(&mut machine, n * 10 + 1, n)), [(n, 0)]);
        let connection = ConnectionId(n);
        let drained = tell(&mut machine, n * 10 + 2, Input::Drain { connection, last: Some(Channel::MAX) });
        closed.extend(drained.into_iter().filter(|action| matches!(action, Action::Close { .. })));
    }
    assert_eq!(closed, [Action::Close { connection: ConnectionId(0), politely: true }]);
}

#[test]
fn a_query_waits_while_the_address_is_looked_up() {
    let mut machine = machine(0, Numbering::Random, 10);
    tell(&mut machine, 0, endpoint(0, true, Numbering::Random, 10));
    assert_eq!(ask(&mut machine, 1, 1), []);
    let opened = tell(&mut machine, 20, endpoint(1, false, Numbering::Random, 10));
    assert!(matches!(opened[..], [Action::Open { .. }]), "{opened:?}");
    assert_eq!(channels(&ready(&mut machine, 30, 0)), [(0, 7)]);
}

#[test]
fn a_query_fails_when_no_address_was_found() {
    let mut machine = machine(0, Numbering::Random, 10);
    tell(&mut machine, 0, endpoint(0, true, Numbering::Random, 10));
    assert_eq!(ask(&mut machine, 1, 1), []);
    let failed = [Action::Fail { token: Token(1), failure: Failure::NoAddress }];
    assert_eq!(tell(&mut machine, 20, endpoint(0, false, Numbering::Random, 10)), failed);
}

#[test]
fn an_endpoint_without_addresses_fails_its_queries_at_once() {
    let mut machine = machine(0, Numbering::Random, 10);
    assert_eq!(ask(&mut machine, 0, 1), [Action::Fail { token: Token(1), failure: Failure::NoAddress }]);
    assert_eq!(machine.poll_timeout(), None);
    tell(&mut machine, 10, Input::Shutdown);
    assert_eq!(ask(&mut machine, 20, 2), [Action::Fail { token: Token(2), failure: Failure::Stopped }]);
}
