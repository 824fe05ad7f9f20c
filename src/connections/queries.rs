//! The queries that are alive, and the times at which they end at the latest.

use crate::ids::{Channel, ConnectionId, EndpointId, Token};
use hither_table::Monotonic;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// A query that has not ended.
#[derive(Debug)]
pub(crate) struct Query {
    pub endpoint: EndpointId,
    pub octets: Rc<[u8]>,
    /// Where it was sent; `None`: it waits for a connection.
    pub sent_on: Option<(ConnectionId, Channel)>,
    /// A connection that refused it, which it is not sent on again.
    pub avoids: Option<ConnectionId>,
    /// Whether it has been given to a second connection.
    pub is_retried: bool,
    /// Whether it was not sent at once.
    pub has_waited: bool,
}

impl Query {
    pub fn new(endpoint: EndpointId, octets: Rc<[u8]>) -> Query {
        Query { endpoint, octets, sent_on: None, avoids: None, is_retried: false, has_waited: false }
    }
}

/// All queries that have not ended.
#[derive(Debug, Default)]
pub(crate) struct Queries {
    live: BTreeMap<Token, (u64, Query)>,
    /// The deadlines of queries in the order in which they came, with their serial numbers. Some of the
    /// queries may have ended.
    deadlines: VecDeque<(Monotonic, Token, u64)>,
    /// Serial number of the latest query: a token may come back.
    serial: u64,
}

impl Queries {
    /// Adds a query that ends at `until`; later ones must not end earlier. Returns `false`, and changes
    /// nothing, if a query with this token is alive.
    pub fn add(&mut self, token: Token, query: Query, until: Monotonic) -> bool {
        if self.live.contains_key(&token) {
            return false;
        }
        self.serial += 1;
        self.live.insert(token, (self.serial, query));
        self.deadlines.push_back((until, token, self.serial));
        true
    }

    pub fn get(&self, token: Token) -> Option<&Query> {
        self.live.get(&token).map(|(_, query)| query)
    }

    pub fn get_mut(&mut self, token: Token) -> Option<&mut Query> {
        self.live.get_mut(&token).map(|(_, query)| query)
    }

    /// Ends a query, and returns it.
    pub fn remove(&mut self, token: Token) -> Option<Query> {
        let query = self.live.remove(&token).map(|(_, query)| query);
        // Ended queries are at most as many as live ones, so that memory is bounded by these.
        if self.deadlines.len() > 2 * self.live.len() + 64 {
            let live = &self.live;
            self.deadlines.retain(|(_, token, serial)| live.get(token).is_some_and(|(s, _)| s == serial));
        }
        query
    }

    /// A query whose time is over at `now`.
    pub fn overdue(&mut self, now: Monotonic) -> Option<Token> {
        self.drop_ended();
        self.deadlines.front().filter(|(until, ..)| *until <= now).map(|(_, token, _)| *token)
    }

    /// The earliest deadline, perhaps of a query that has ended.
    pub fn next_deadline(&self) -> Option<Monotonic> {
        self.deadlines.front().map(|(until, ..)| *until)
    }

    /// Drops the earliest deadlines while their queries have ended.
    pub fn drop_ended(&mut self) {
        while let Some((_, token, serial)) = self.deadlines.front() {
            if self.live.get(token).is_some_and(|(s, _)| s == serial) {
                break;
            }
            self.deadlines.pop_front();
        }
    }

    /// All tokens, in their order.
    pub fn tokens(&self) -> impl Iterator<Item = Token> + '_ {
        self.live.keys().copied()
    }

    pub fn len(&self) -> usize {
        self.live.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_comes_back_has_its_new_deadline() {
        let (mut queries, at) = (Queries::default(), Monotonic::from_ms);
        let query = || Query::new(EndpointId(1), Rc::from(&[1][..]));
        assert!(queries.add(Token(1), query(), at(10)) && !queries.add(Token(1), query(), at(11)));
        queries.remove(Token(1));
        assert!(queries.add(Token(1), query(), at(20)));
        assert_eq!((queries.overdue(at(19)), queries.overdue(at(20))), (None, Some(Token(1))));
    }

    #[test]
    fn deadlines_of_ended_queries_take_bounded_memory() {
        let mut queries = Queries::default();
        let query = || Query::new(EndpointId(1), Rc::from(&[1][..]));
        queries.add(Token(0), query(), Monotonic(0));
        for token in 1..10_000 {
            queries.add(Token(token), query(), Monotonic(token));
            queries.remove(Token(token));
        }
        assert!(queries.deadlines.len() < 100 && queries.len() == 1);
    }
}
