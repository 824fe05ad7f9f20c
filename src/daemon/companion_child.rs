//! Runs a companion as a child process if no service manager does. It is started again when it ends,
//! and ends with the daemon.

use crate::daemon::admin::Companion;
use hither_table::Monotonic;
use log::Level;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// The shortest and the longest pause before it is started again. The pause doubles each time.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long the daemon waits for the process to end.
const END_WITHIN: Duration = Duration::from_secs(1);
/// The interval of the checks meanwhile.
const CHECK_EVERY: Duration = Duration::from_millis(5);

/// The process of a companion, or the time of its next start.
#[derive(Debug)]
pub(crate) struct CompanionChild {
    companion: Companion,
    config: Option<PathBuf>,
    child: Option<Child>,
    pause: Duration,
    /// When it is started again.
    restart_at: Option<Monotonic>,
}

/// A command that runs this executable under the name of another program of hither, so that one
/// executable is enough for all of them.
pub(crate) fn ourselves_as(name: &str) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0(name);
    Ok(command)
}

impl CompanionChild {
    /// Starts the companion with this configuration file. A failure is logged, and it is tried again.
    pub fn start(companion: Companion, config: Option<PathBuf>, now: Monotonic) -> CompanionChild {
        let mut started =
            CompanionChild { companion, config, child: None, pause: PAUSE_MIN, restart_at: None };
        started.spawn(now);
        started
    }

    fn spawn(&mut self, now: Monotonic) {
        self.restart_at = None;
        let spawned = ourselves_as(self.companion.program()).and_then(|mut command| {
            if let Some(config) = &self.config {
                command.arg("--config").arg(config);
            }
            // Its standard input ends when the daemon does, and it ends then.
            command
                .arg("--with-parent")
                .stdin(std::process::Stdio::piped())
                .env_remove("NOTIFY_SOCKET")
                .spawn()
        });
        match spawned {
            Ok(child) => self.child = Some(child),
            Err(error) => {
                self.companion.log_not_running(Level::Error, &error, self.pause);
                self.restart_at = Some(now.plus(self.pause));
            }
        }
    }

    /// Notes that a child process has ended, which may be this one.
    pub fn reap(&mut self, now: Monotonic) {
        let Some(child) = &mut self.child else { return };
        if let Ok(Some(status)) = child.try_wait() {
            self.companion.log_not_running(Level::Warn, &status, self.pause);
            self.child = None;
            self.restart_at = Some(now.plus(self.pause));
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
    }

    /// When it is started again.
    pub fn timeout(&self) -> Option<Monotonic> {
        self.restart_at
    }

    /// Starts it again if that is due.
    pub fn on_time(&mut self, now: Monotonic) {
        if self.restart_at.is_some_and(|at| at <= now) {
            self.spawn(now);
        }
    }

    /// Asks the process to end. `drop` waits for that.
    pub fn end(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.stdin.take());
            if let Ok(pid) = i32::try_from(child.id()).map(nix::unistd::Pid::from_raw) {
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            }
        }
    }
}

impl Drop for CompanionChild {
    fn drop(&mut self) {
        self.end();
        let Some(mut child) = self.child.take() else { return };
        let until = Instant::now() + END_WITHIN;
        while let Ok(None) = child.try_wait() {
            if Instant::now() >= until {
                let (program, limit_s) = (self.companion.program(), END_WITHIN.as_secs());
                log::warn!("{program} does not end within {limit_s} s, and is killed");
                let _ = child.kill();
                // Not waited for any longer: it may hang in the kernel.
                return;
            }
            std::thread::sleep(CHECK_EVERY);
        }
    }
}
