//! What outlives a restart: the table, the saved cache, and the versions above which the next table begins.

pub(crate) mod restore;
pub(crate) mod room;
pub(crate) mod save;
pub(crate) mod saving;
pub(crate) mod versions;
