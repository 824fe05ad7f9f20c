//! One connection with an engine: logging in, commands and their replies, each exchange with a deadline.

use super::resp::{OCTETS_MAX, Replies, Reply, command};
use super::stream::{Closer, Stream};
use super::trouble::{EngineError, Kind, Trouble};
use crate::config::Engine;
use hither_secure::TlsClient;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// How long logging in may take.
const LOG_IN_WITHIN: Duration = Duration::from_secs(3);
/// How long the replies to commands may take. An engine that needs longer than the daemon waits for is
/// still good for sharing, so this is longer than any pause of a healthy one.
const REPLY_WITHIN: Duration = Duration::from_secs(5);

/// With what engines are connected.
#[derive(Debug)]
pub(in crate::site) struct Access {
    /// The engines of the configuration, in the order of trial.
    pub engines: Vec<Engine>,
    pub password: Option<Password>,
    /// `None` if no engine speaks TLS.
    pub tls: Option<TlsClient>,
    /// Whether an engine may be on another host: only with a key.
    pub may_be_remote: bool,
}

/// The password of the engine's user, which is never shown.
pub(in crate::site) struct Password(Box<[u8]>);

impl Password {
    pub fn new(octets: &[u8]) -> Password {
        Password(octets.into())
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// What an engine is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Primary,
    Replica,
}

#[derive(Debug)]
pub(super) struct Connection {
    replies: Replies<Stream>,
    /// Commands that are sent together.
    out: Vec<u8>,
}

impl Connection {
    /// Connects, logs in and selects the database.
    pub fn open(engine: &Engine, access: &Access) -> Result<Connection, Trouble> {
        if !access.may_be_remote && !engine.is_on_this_host() {
            return Err(Trouble::Forbidden(format!("{engine} is on another host, and there is no key")));
        }
        let deadline = Instant::now() + LOG_IN_WITHIN;
        let stream = Stream::connect(engine, access.tls.as_ref(), deadline)?;
        let mut connection = Connection { replies: Replies::new(stream), out: Vec::new() };
        let password = access.password.as_ref().map(|password| &*password.0);
        match (&engine.user, password) {
            (Some(user), _) => connection.add(&[b"AUTH", user.as_bytes(), password.unwrap_or_default()]),
            (None, Some(password)) => connection.add(&[b"AUTH", password]),
            (None, None) => {}
        }
        let mut expected = usize::from(!connection.out.is_empty());
        if engine.database != 0 {
            connection.add(&[b"SELECT", engine.database.to_string().as_bytes()]);
            expected += 1;
        }
        connection.send(LOG_IN_WITHIN)?;
        for _ in 0..expected {
            accepted(connection.reply()?)?;
        }
        Ok(connection)
    }

    /// Asks whether the engine is a primary. One that may not tell is taken for one.
    pub fn role(&mut self) -> Result<Role, Trouble> {
        self.add(&[b"ROLE"]);
        self.send(LOG_IN_WITHIN)?;
        match self.reply()? {
            Reply::List(parts) => match parts.first() {
                Some(Reply::Octets(role)) if role == b"slave" => Ok(Role::Replica),
                Some(Reply::Octets(role)) if role == b"sentinel" => {
                    Err(Trouble::Forbidden("it is a sentinel; name the servers themselves".to_owned()))
                }
                _ => Ok(Role::Primary),
            },
            Reply::Error(text) => {
                let error = EngineError::of(&text);
                match error.kind {
                    Kind::NoPermission | Kind::Unknown => Ok(Role::Primary),
                    _ => Err(Trouble::Engine(error)),
                }
            }
            _ => Err(Trouble::Malformed("no role".to_owned())),
        }
    }

    /// Adds a command to those that are sent next.
    pub fn add(&mut self, parts: &[&[u8]]) {
        command(&mut self.out, parts);
    }

    /// Sends the commands. Their replies have to come within this time.
    pub fn send(&mut self, within: Duration) -> Result<(), Trouble> {
        let stream = self.replies.stream();
        stream.set_deadline(Some(Instant::now() + within));
        let result = stream.write_all(&self.out).and_then(|()| stream.flush());
        self.out.clear();
        self.out.shrink_to(8 * OCTETS_MAX);
        // An engine that ends a connection at once may have said why.
        if result.is_err()
            && let Ok(Reply::Error(text)) = self.replies.next()
        {
            return Err(Trouble::Engine(EngineError::of(&text)));
        }
        Ok(result?)
    }

    /// Sends the commands that were added, whose replies are read one by one.
    pub fn begin(&mut self) -> Result<(), Trouble> {
        self.send(REPLY_WITHIN)
    }

    /// Waits for the next reply.
    pub fn reply(&mut self) -> Result<Reply, Trouble> {
        Ok(self.replies.next()?)
    }

    /// Waits for replies without an end.
    pub fn wait_forever(&mut self) {
        self.replies.stream().set_deadline(None);
    }

    /// A handle that ends the connection.
    pub fn closer(&mut self) -> Result<Closer, Trouble> {
        Ok(self.replies.stream().closer()?)
    }
}

/// A reply that is no error.
pub(super) fn accepted(reply: Reply) -> Result<Reply, Trouble> {
    match reply {
        Reply::Error(text) => Err(Trouble::Engine(EngineError::of(&text))),
        other => Ok(other),
    }
}
