//! The numbers by which endpoints, connections, queries and channels are known.

/// The number of an endpoint: one address or host name with its port, path, certificate name, pins and
/// other settings. The shell chooses the number, and never uses it again for other settings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EndpointId(pub u32);

/// The number of a connection. The machine chooses it, and never uses it again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// The number of a query, from the caller. A token may not be used again while its query is alive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// The number of a query on its connection; [`crate::Numbering`] says how it is chosen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Channel(pub u64);

impl Channel {
    /// The channel above all others.
    pub const MAX: Channel = Channel(u64::MAX);
}
