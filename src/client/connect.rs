//! Connections to a name: the race between its addresses (RFC 8305), which the library for C programs
//! runs too, over the table's answer.

use crate::{Answer, Snapshot, Table, Wanted, raw};
use hither_native::{Answered, Candidates, NotConnected, Seen, Source, Stream, Wait};
use hither_table::{Freshness, Monotonic, StaleTime};
use hither_wire::name::Name;
use std::fmt;
use std::io;
use std::net::TcpStream;
use std::time::Duration;

/// How long the daemon is asked at most, within the time of the whole call.
const ASK_MAX: Duration = Duration::from_millis(2500);

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// Neither the table nor the daemon has an answer, or its answers hold in another network namespace:
    /// ask the resolver, for instance by connecting to `(name, port)` with [`TcpStream::connect`].
    AskTheResolver,
    /// The name does not exist, or has no addresses that a host can have.
    NoAddress,
    /// No address could be connected to; [`io::ErrorKind::TimedOut`] if the time was over first.
    Failed(io::Error),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AskTheResolver => f.write_str("hither has no answer for the name; ask the resolver"),
            Self::NoAddress => f.write_str("the name does not exist, or has no addresses"),
            Self::Failed(error) => write!(f, "no address could be connected to: {error}"),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Failed(error) = self { Some(error) } else { None }
    }
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> io::Error {
        match error {
            ConnectError::Failed(error) => error,
            ConnectError::NoAddress => io::Error::new(io::ErrorKind::NotFound, error),
            ConnectError::AskTheResolver => io::Error::other(error),
        }
    }
}

impl Table {
    /// Connects over TCP to `name` at `port`; the whole call takes at most `timeout`.
    ///
    /// The addresses are those of the table. If it lacks a family of the name, or one has expired, the
    /// daemon is asked first, for at most 2.5 seconds, and only until one family has addresses and 50
    /// milliseconds more. Stale addresses are used only if the daemon itself answers with them.
    ///
    /// Up to 16 addresses are tried as in RFC 8305: the first one by [`Table::ordered`], then the families
    /// in turn, each in this order. Addresses that did not answer when they were measured come last; before
    /// them, if an address of either family is verified, those with a certificate of another name or an
    /// untrusted one. Those that no host has, such as 0.0.0.0, are left out. The next one is tried as soon as
    /// one has failed, or after twice the round-trip time of the one before it, at least 10 and at most 250
    /// milliseconds, 250 if it is unknown. The first connection wins, and all others are closed.
    ///
    /// # Errors
    /// A [`ConnectError`]; also for names that hither leaves to others: an address in place of a name,
    /// `localhost`, `local` and all names below them.
    pub fn connect(&self, name: &Name, port: u16, timeout: Duration) -> Result<TcpStream, ConnectError> {
        if hither_native::is_special(name) || name.is_root() {
            return Err(ConnectError::AskTheResolver);
        }
        let began = Monotonic::now();
        let until = began.plus(timeout);
        let ask_until = until.min(began.plus(ASK_MAX));
        let mut asking = Asking { table: self, name: name.to_lower(), ask_until, entry: Snapshot::new() };
        let candidates = hither_native::find(&mut asking).map_err(|why| match why {
            NotConnected::NoAddress => ConnectError::NoAddress,
            _ => ConnectError::AskTheResolver,
        })?;
        match hither_native::race(&candidates, port, until) {
            Ok(Stream(number)) => Ok(raw::stream(number)),
            Err(errno) => Err(ConnectError::Failed(io::Error::from_raw_os_error(errno))),
        }
    }
}

struct Asking<'t> {
    table: &'t Table,
    name: Name,
    ask_until: Monotonic,
    entry: Snapshot,
}

impl Source for Asking<'_> {
    fn look(&mut self, has_asked: bool) -> Result<Option<Seen>, NotConnected> {
        let now = Monotonic::now();
        let answer = self.table.answer(&self.name, Wanted::Both, now, &mut self.entry);
        let is_final = match answer {
            Answer::Fresh => true,
            // What the daemon has just answered may have expired already: stale data, or a TTL of 0.
            Answer::Stale | Answer::Partial => {
                let is_known = self.entry.freshness(Wanted::Both, StaleTime::UNKNOWN, now);
                has_asked && is_known != Freshness::Partial
            }
            Answer::Missing | Answer::Busy => return Ok(None),
            Answer::OtherNetwork => return Err(NotConnected::Unanswered),
        };
        let order = self.table.families().order;
        let candidates = Candidates::of(&self.entry.entry(), order, now, has_asked);
        Ok(Some(Seen { candidates, is_final }))
    }

    fn ask(&mut self, is_hasty: bool) -> Option<Answered> {
        let daemon = self.table.reader().dns_address()?;
        let began = Monotonic::now();
        if began >= self.ask_until {
            return None;
        }
        let wait = Wait { began, until: self.ask_until };
        let ask = if is_hasty { hither_native::ask::<true> } else { hither_native::ask::<false> };
        ask(&daemon, &self.name, Wanted::Both, wait).ok()
    }
}
