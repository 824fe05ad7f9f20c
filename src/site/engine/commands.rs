//! The thread that writes to the engine, asks it and scans it, on one connection. It runs until the process
//! ends.

use super::board::Board;
use super::connection::Access;
use super::hunt::hunt;
use super::session::{Ended, Session};
use crate::companion::pace::Pace;
use crate::site::backoff::Backoff;
use hither_entries::Keys;
use hither_net::clock::now;
use std::time::Duration;

/// A connection that lasted so long was a good one: the next pause is short again.
const LASTED: Duration = Duration::from_secs(10);

/// What of an engine belongs to the site.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::site) struct Target {
    /// The channel of the announcements.
    pub channel: String,
    /// The pattern of all keys.
    pub pattern: String,
    /// A key that no name has, in the same slot of a cluster as the others.
    pub probe: String,
    /// How many sets are written in a second at most.
    pub rate: u32,
}

impl Target {
    pub fn new(keys: &Keys, rate: u32) -> Target {
        let probe = format!("{{{}}}:probe", keys.prefix());
        Target { channel: keys.channel(), pattern: keys.pattern(), probe, rate }
    }
}

/// Keeps a connection with the best engine.
pub(in crate::site) fn run(board: &Board, access: &Access, target: &Target) {
    let (mut backoff, mut pace) = (Backoff::new(), Pace::new(target.rate, now()));
    let mut first = None;
    loop {
        let mut found = match hunt(access, first.take(), &target.probe) {
            Ok(hunted) => Some(hunted),
            Err(nothing) => {
                board.down(&nothing.engine, format!("{}: {}", nothing.engine, nothing.trouble));
                None
            }
        };
        while let Some(hunted) = found.take() {
            let (engine, begin) = (hunted.engine.to_string(), now());
            let ended = Session::new(board, access, target, hunted, &mut pace).run();
            if now().since(begin) >= LASTED {
                backoff.reset();
            }
            match ended {
                Ended::Found(hunted) => {
                    board.down(&engine, "a primary was found".to_owned());
                    found = Some(*hunted);
                }
                Ended::Other(other, trouble) => {
                    board.down(&engine, format!("{engine}: {trouble}"));
                    first = other;
                }
                Ended::Lost(trouble) => board.down(&engine, format!("{engine}: {trouble}")),
            }
        }
        std::thread::sleep(backoff.next());
    }
}
