//! What this host says about itself, for the daemon, the sorter and hitherctl: the resolvers that it is
//! configured with, its addresses and routes, its service manager, and files that other programs write.
//!
//! Nothing here knows hither's configuration or the daemon. Who names the upstreams of a link:
//! `resolvers`.

pub(crate) mod files;
pub(crate) mod interfaces;
pub(crate) mod resolv_conf;
pub(crate) mod resolvers;
pub(crate) mod service_manager;
pub(crate) mod upstream_address;
