//! The settings of an encrypted upstream, from which its connections are made.

use crate::host::resolvers::EncryptedServer;
use hither_rounds::Server;
use hither_secure::Policy;
use hither_wire::name::Name;
use std::net::SocketAddr;

/// One encrypted upstream.
#[derive(Clone, Debug)]
pub(crate) struct EndpointSetup {
    /// The upstream as the core knows it: its hash covers everything below.
    pub server: Server,
    /// The upstream as it is written in the configuration, or as the system names it, for operators.
    pub label: String,
    /// The protocol, and how the upstream is authenticated.
    pub policy: Policy,
    /// Where to connect. Empty if the addresses of `lookup` are not known yet.
    pub addresses: Vec<SocketAddr>,
    /// The host whose addresses are looked up, each with the port of `server`.
    pub lookup: Option<Name>,
}

impl From<EncryptedServer> for EndpointSetup {
    fn from(EncryptedServer { server, label, policy }: EncryptedServer) -> EndpointSetup {
        EndpointSetup { server, label, policy, addresses: vec![server.address], lookup: None }
    }
}
