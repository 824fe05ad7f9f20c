//! What is true between any two calls.

use super::Machine;
use crate::connection::State;
use crate::settings::{DRAINING_MAX, READY_MAX};

impl Machine {
    /// Panics where the machine's parts contradict each other. Takes time that grows with the number of
    /// queries: for tests.
    pub fn check_invariants(&self) {
        let mut placed = 0;
        for (id, endpoint) in &self.endpoints {
            assert!(endpoint.ready.len() <= READY_MAX && endpoint.draining.len() <= DRAINING_MAX, "{id:?}");
            assert!(endpoint.waiting.len() <= self.settings.waiting_max.max(1), "{id:?}");
            let contenders = endpoint.race.iter().flat_map(|race| &race.contenders);
            assert!(endpoint.race.as_ref().is_none_or(|race| race.lost().is_none()), "{id:?}: lost race");
            for (listed, states) in [
                (endpoint.ready.iter().collect::<Vec<_>>(), &[State::Ready][..]),
                (endpoint.draining.iter().collect(), &[State::Draining]),
                (contenders.collect(), &[State::Connecting, State::Handshaking]),
            ] {
                for connection in listed {
                    let found = self.connections.get(connection).expect("a listed connection exists");
                    assert!(found.endpoint == *id && states.contains(&found.state), "{connection:?}");
                    placed += 1;
                }
            }
            for token in &endpoint.waiting {
                let query = self.queries.get(*token).expect("a waiting query is alive");
                assert!(query.endpoint == *id && query.sent_on.is_none(), "{token:?}");
            }
        }
        assert_eq!(placed, self.connections.len(), "a connection belongs to no endpoint");
        let mut sent = 0;
        for (id, connection) in &self.connections {
            for token in connection.channels.tokens() {
                let query = self.queries.get(token).expect("a sent query is alive");
                let on = query.sent_on.expect("it is on a channel");
                assert!(on.0 == *id && connection.channels.query_on(on.1) == Some(token), "{token:?}");
                sent += 1;
            }
            assert!(!connection.is_drained(), "{id:?} waits for nothing");
        }
        let waiting: usize = self.endpoints.values().map(|endpoint| endpoint.waiting.len()).sum();
        assert_eq!(sent + waiting, self.queries.len(), "a query neither waits nor is sent");
    }
}
