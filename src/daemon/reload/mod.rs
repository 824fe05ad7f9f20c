//! What may change while the daemon runs: configuration, hosts files, lists, the network, and the upstreams that the system names.

pub(crate) mod containers;
pub(crate) mod followed_files;
pub(crate) mod local;
pub(crate) mod network;
pub(crate) mod reloads;
pub(crate) mod reserved_zones;
