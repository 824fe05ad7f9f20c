//! The client's side of the feed of changes: libhither, the Rust client and `hitherctl watch`, with a
//! daemon that the test plays and with the real one.

mod support;

#[path = "feed_clients/library.rs"]
mod library;
#[path = "feed_clients/scripted.rs"]
mod scripted;
#[path = "feed_clients/watch.rs"]
mod watch;
