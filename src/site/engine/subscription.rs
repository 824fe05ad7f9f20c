//! The thread that receives what other hosts publish, on a connection of its own. It runs until the process
//! ends.

use super::board::{Board, Found};
use super::connection::{Access, Connection, accepted};
use super::resp::Reply;
use super::trouble::Trouble;
use crate::config::Engine;
use crate::site::backoff::Backoff;
use hither_net::clock::now;
use std::convert::Infallible;
use std::time::Duration;

/// A connection that lasted so long was a good one: the next pause is short again.
const LASTED: Duration = Duration::from_secs(10);

/// Receives while the commands are connected.
pub(in crate::site) fn run(board: &Board, access: &Access, channel: &str) {
    let mut backoff = Backoff::new();
    loop {
        let (connection, engine) = board.wait_until_up();
        let begin = now();
        let Err(trouble) = receive(board, access, &engine, connection, channel);
        if now().since(begin) >= LASTED {
            backoff.reset();
        }
        board.deaf(connection, format!("{engine}: what other hosts publish is not received: {trouble}"));
        std::thread::sleep(backoff.next());
    }
}

fn receive(
    board: &Board,
    access: &Access,
    engine: &Engine,
    number: u64,
    channel: &str,
) -> Result<Infallible, Trouble> {
    let mut connection = Connection::open(engine, access)?;
    connection.add(&[b"SUBSCRIBE", channel.as_bytes()]);
    connection.begin()?;
    accepted(connection.reply()?)?;
    connection.wait_forever();
    if !board.subscribed(number, connection.closer()?) {
        return Err(Trouble::Lost("the other connection has ended".to_owned()));
    }
    loop {
        let Reply::List(parts) = accepted(connection.reply()?)? else {
            return Err(Trouble::Malformed("no message".to_owned()));
        };
        match parts.into_iter().nth(2) {
            Some(Reply::Octets(message)) => board.heard(Found::Heard(message)),
            Some(Reply::TooLarge) => board.heard(Found::TooLarge { ask: None }),
            // The engine confirms the subscription.
            _ => {}
        }
    }
}
