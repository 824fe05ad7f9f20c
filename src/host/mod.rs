//! The state of this host, for the daemon, the sorter and hitherctl: the resolvers that it is
//! configured with, its addresses and routes, its service manager, and files that other programs
//! write.
//!
//! Nothing here depends on hither's configuration or on the daemon. `resolvers` finds the upstreams
//! of each link.

pub(crate) mod cgroups;
pub(crate) mod files;
pub(crate) mod ini;
pub(crate) mod interfaces;
pub(crate) mod resolv_conf;
pub(crate) mod resolved_conf;
pub(crate) mod resolvers;
pub(crate) mod service_manager;
pub(crate) mod upstream_address;
