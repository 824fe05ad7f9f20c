//! Finds an engine: a primary, else a replica.

use super::connection::{Access, Connection, Role};
use super::trouble::{Kind, Trouble};
use crate::config::{Engine, EngineAddress};

/// Nodes of a cluster that are tried one after the other.
const MOVES_MAX: usize = 4;

/// A connection, and with which engine.
#[derive(Debug)]
pub(super) struct Hunted {
    pub connection: Connection,
    pub engine: Engine,
    pub role: Role,
}

/// Why no engine was found: the last trouble, and with which engine.
#[derive(Debug)]
pub(super) struct Nothing {
    pub engine: String,
    pub trouble: Trouble,
}

/// Connects with the first primary, else with the first replica. In a cluster this is the node that has
/// `key`. The engine `first` is tried before those of the configuration.
pub(super) fn hunt(access: &Access, first: Option<Engine>, key: &str) -> Result<Hunted, Nothing> {
    let mut replica = None;
    let mut nothing = Nothing { engine: String::new(), trouble: Trouble::Lost("no engine is named".into()) };
    for engine in first.into_iter().chain(access.engines.iter().cloned()) {
        match reach(access, engine, key) {
            Ok(hunted) if hunted.role == Role::Primary => return Ok(hunted),
            Ok(hunted) => replica = replica.or(Some(hunted)),
            Err(other) => nothing = other,
        }
    }
    replica.ok_or(nothing)
}

/// Connects with an engine, or with the node of its cluster that has the key.
fn reach(access: &Access, mut engine: Engine, key: &str) -> Result<Hunted, Nothing> {
    for _ in 0..MOVES_MAX {
        match connect(access, &engine, key) {
            Ok((connection, role)) => return Ok(Hunted { connection, engine, role }),
            Err(Trouble::Engine(error)) => match &error.kind {
                Kind::Moved(host, port) => engine = node(&engine, host, *port),
                _ => return Err(Nothing { engine: engine.to_string(), trouble: Trouble::Engine(error) }),
            },
            Err(trouble) => return Err(Nothing { engine: engine.to_string(), trouble }),
        }
    }
    let trouble = Trouble::Lost("the nodes of the cluster name each other for the same key".to_owned());
    Err(Nothing { engine: engine.to_string(), trouble })
}

/// Connects, and reads the key once: that shows whether this is its node, and whether reading is allowed.
fn connect(access: &Access, engine: &Engine, key: &str) -> Result<(Connection, Role), Trouble> {
    let mut connection = Connection::open(engine, access)?;
    let role = connection.role()?;
    connection.add(&[b"GET", key.as_bytes()]);
    connection.begin()?;
    super::connection::accepted(connection.reply()?)?;
    Ok((connection, role))
}

/// Another node of the cluster, with the login of this one.
pub(super) fn node(engine: &Engine, host: &str, port: u16) -> Engine {
    Engine { address: EngineAddress::Tcp(host.to_owned(), port), ..engine.clone() }
}
