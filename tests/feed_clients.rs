//! The client's side of the feed of changes: libhither, the Rust client and `hitherctl watch`, with a
//! daemon that the test plays and with the real one.

mod support;

#[path = "feed_clients/daemon.rs"]
mod daemon;
#[path = "feed_clients/library.rs"]
mod library;
#[path = "feed_clients/nginx.rs"]
mod nginx;
#[path = "feed_clients/scripted.rs"]
mod scripted;
#[path = "feed_clients/watch.rs"]
mod watch;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Child;

/// Programs that end with the test, however it ends, and whether they are stopped or not.
struct Ends(Vec<Child>);

impl Drop for Ends {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let pid = Pid::from_raw(i32::try_from(child.id()).expect("small"));
            let _ = kill(pid, Signal::SIGTERM).and_then(|()| kill(pid, Signal::SIGCONT));
            let _ = child.wait();
        }
    }
}
