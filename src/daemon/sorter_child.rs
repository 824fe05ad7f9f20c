//! The sorter as a child, where no service manager starts it: started again when it dies, ended with us.

use crate::logging::Event;
use hither_table::Monotonic;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Pause before it is started again, doubled up to the other while it keeps dying.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long it may take to end once it is told to, and how often it is looked whether it has.
const END_WITHIN: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Sorter {
    config: Option<PathBuf>,
    child: Option<Child>,
    pause: Duration,
    again: Option<Monotonic>,
}

/// This program under the name of another of hither's: so a program that was built alone can start the others.
pub(crate) fn ourselves_as(name: &str) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0(name);
    Ok(command)
}

impl Sorter {
    pub fn start(config: Option<PathBuf>, now: Monotonic) -> Sorter {
        let mut sorter = Sorter { config, child: None, pause: PAUSE_MIN, again: None };
        sorter.spawn(now);
        sorter
    }

    fn spawn(&mut self, now: Monotonic) {
        self.again = None;
        let spawned = ourselves_as("hither-sorter").and_then(|mut command| {
            if let Some(config) = &self.config {
                command.arg("--config").arg(config);
            }
            // Its standard input ends with us, which is how it learns that we are gone.
            command
                .arg("--with-parent")
                .stdin(std::process::Stdio::piped())
                .env_remove("NOTIFY_SOCKET")
                .spawn()
        });
        match spawned {
            Ok(child) => self.child = Some(child),
            Err(error) => {
                log::error!(
                    event = Event::SorterNotRunning, reason:% = error;
                    "the sorter cannot be started: {error}; trying again in {:?}",
                    self.pause
                );
                self.again = Some(now.plus(self.pause));
            }
        }
    }

    /// Some child has ended; perhaps it.
    pub fn reap(&mut self, now: Monotonic) {
        let Some(child) = &mut self.child else { return };
        if let Ok(Some(status)) = child.try_wait() {
            log::warn!(
                event = Event::SorterNotRunning, reason:% = status;
                "the sorter has ended ({status}); starting it again in {:?}",
                self.pause
            );
            self.child = None;
            self.again = Some(now.plus(self.pause));
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
    }

    pub fn timeout(&self) -> Option<Monotonic> {
        self.again
    }

    pub fn sweep(&mut self, now: Monotonic) {
        if self.again.is_some_and(|at| at <= now) {
            self.spawn(now);
        }
    }

    /// Tells it to end, without waiting until it has: that is done where this is dropped.
    pub fn end(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.stdin.take());
            if let Ok(pid) = i32::try_from(child.id()).map(nix::unistd::Pid::from_raw) {
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            }
        }
    }
}

impl Drop for Sorter {
    fn drop(&mut self) {
        self.end();
        let Some(mut child) = self.child.take() else { return };
        let until = Instant::now() + END_WITHIN;
        while let Ok(None) = child.try_wait() {
            if Instant::now() >= until {
                log::warn!("the sorter does not end within {} s, and is killed", END_WITHIN.as_secs());
                let _ = child.kill();
                // Not waited for: what the kernel holds fast would hold us up too.
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}
