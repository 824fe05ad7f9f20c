//! Who manages the daemon from this host: operators at the control socket, the sorter, and the hints of readers.

pub(crate) mod answer_source;
pub(crate) mod control;
pub(crate) mod hints;
pub(crate) mod manage;
pub(crate) mod notices;
pub(crate) mod peers;
pub(crate) mod requests;
