//! What this host says of itself, for all three programs: its addresses, its resolvers, its service manager, and the opening of files that others write.

pub(crate) mod interfaces;
pub(crate) mod open;
pub(crate) mod resolv_conf;
pub(crate) mod resolvers;
pub(crate) mod service_manager;
