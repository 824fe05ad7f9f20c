//! What the programs beside the daemon have in common, the sorter and `hither-site`: they follow its table,
//! keep a connection with it, and report to the service manager.

pub(crate) mod configuration;
pub(crate) mod connection;
pub(crate) mod followed_table;
pub(crate) mod pace;
pub(crate) mod supervision;
