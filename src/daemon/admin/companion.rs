//! The companions of the daemon: programs of hither that connect to a local socket of their own, one
//! process of each at a time.

use crate::daemon::local_listener::{LocalListener, cannot_create_files};
use crate::daemon::sources::Source;
use crate::logging::Event;
use hither_control::{SITE_SOCKET, SORTER_SOCKET};
use hither_net::seqpacket::Listener;
use log::Level;
use mio::Registry;
use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

/// A program that the daemon works with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Companion {
    /// Measures addresses, and sends orders.
    Sorter,
    /// Shares answers with other hosts.
    Site,
}

impl Companion {
    /// The companion that connects at `source`.
    pub fn at(source: Source) -> Option<Companion> {
        [Self::Sorter, Self::Site].into_iter().find(|companion| companion.source() == source)
    }

    /// The name of its program, and of its user.
    pub fn program(self) -> &'static str {
        match self {
            Self::Sorter => "hither-sorter",
            Self::Site => "hither-site",
        }
    }

    /// The file name of its socket in the runtime directory.
    fn socket(self) -> &'static str {
        match self {
            Self::Sorter => SORTER_SOCKET,
            Self::Site => SITE_SOCKET,
        }
    }

    fn source(self) -> Source {
        match self {
            Self::Sorter => Source::SorterListener,
            Self::Site => Source::SiteListener,
        }
    }

    /// Logs that a process of this user may not be the companion.
    pub fn log_stranger(self, user: u32) {
        let program = self.program();
        let reason = format!("its user is neither ours nor {program}");
        let said = format!(
            "refused a connection to the socket of {program} by user {user}; expected our own user or {program}"
        );
        match self {
            Self::Sorter => {
                log::warn!(event = Event::SorterRefused, reason = reason.as_str(), user = user; "{said}");
            }
            Self::Site => {
                log::warn!(event = Event::SiteRefused, reason = reason.as_str(), user = user; "{said}");
            }
        }
    }

    /// Logs that what its process sends is refused, for this reason.
    pub fn log_refused(self, reason: &dyn Display, said: &str) {
        match self {
            Self::Sorter => log::warn!(event = Event::SorterRefused, reason:% = reason; "{said}"),
            Self::Site => log::warn!(event = Event::SiteRefused, reason:% = reason; "{said}"),
        }
    }

    pub fn log_connected(self, process: i32) {
        match self {
            Self::Sorter => {
                log::info!(event = Event::SorterConnected, process = process; "process {process} is the sorter");
            }
            Self::Site => log::info!(
                event = Event::SiteConnected, process = process;
                "process {process} shares answers with other hosts"
            ),
        }
    }

    pub fn log_gone(self, process: i32) {
        match self {
            Self::Sorter => log::info!(
                event = Event::SorterGone, process = process;
                "the sorter, process {process}, has disconnected; addresses keep their present order"
            ),
            Self::Site => log::info!(
                event = Event::SiteGone, process = process;
                "hither-site, process {process}, has disconnected; nothing is shared with other hosts"
            ),
        }
    }

    /// Logs that its process, a child of the daemon, cannot be started or has ended, for this reason, and
    /// is started again after a pause.
    pub fn log_not_running(self, level: Level, reason: &dyn Display, pause: Duration) {
        let said = format!("{} does not run: {reason}; starting it again in {pause:?}", self.program());
        match self {
            Self::Sorter => {
                log::log!(level, event = Event::SorterNotRunning, reason:% = reason; "{said}");
            }
            Self::Site => log::log!(level, event = Event::SiteNotRunning, reason:% = reason; "{said}"),
        }
    }
}

/// The socket of a companion, and who may connect to it.
#[derive(Debug)]
pub(super) struct CompanionSocket {
    pub listener: LocalListener,
    /// The user of the companion's service.
    uid: Option<u32>,
    /// Whether the service manager passed the socket. Then any process that can connect to it is the
    /// companion: the unit sets the mode, and with PrivateUsers= the companion's user has no name here.
    is_passed: bool,
    /// Whether the socket is to be bound in the runtime directory.
    is_wanted: bool,
}

impl CompanionSocket {
    /// Takes the socket that the service manager passed, if it passed one.
    ///
    /// # Errors
    /// The socket cannot be polled.
    pub fn new(
        companion: Companion,
        passed: Option<Listener>,
        registry: &Registry,
    ) -> Result<CompanionSocket, String> {
        let is_passed = passed.is_some();
        let user = nix::unistd::User::from_name(companion.program()).ok().flatten();
        Ok(CompanionSocket {
            listener: LocalListener::new(passed, companion.socket(), companion.source(), registry)?,
            uid: user.map(|user| user.uid.as_raw()),
            is_passed,
            is_wanted: false,
        })
    }

    /// Binds the socket in `dir` if it is wanted, and closes it if it is not. A socket that the service
    /// manager passed stays open.
    ///
    /// # Errors
    /// The socket cannot be bound, for another reason than a full or read-only file system.
    pub fn set_wanted(&mut self, is_wanted: bool, dir: &Path, registry: &Registry) -> Result<(), String> {
        self.is_wanted = is_wanted;
        if !is_wanted && !self.is_passed {
            self.listener.unbind(dir);
        }
        self.bind(dir, registry)
    }

    /// Binds the socket in `dir` if it is wanted and not bound.
    ///
    /// # Errors
    /// As of [`CompanionSocket::set_wanted`].
    pub fn bind(&mut self, dir: &Path, registry: &Registry) -> Result<(), String> {
        if !self.is_wanted {
            return Ok(());
        }
        must_bind(&mut self.listener, dir, registry)
    }

    /// Whether connections stay while the socket is not wanted.
    pub fn is_passed(&self) -> bool {
        self.is_passed
    }

    /// Whether a process of this user may be the companion. `is_ours`: of root or the daemon's user.
    pub fn admits(&self, uid: u32, is_ours: bool) -> bool {
        self.is_passed || is_ours || self.uid == Some(uid)
    }
}

/// Binds a local socket.
///
/// # Errors
/// It cannot be bound, for another reason than a full or read-only file system: then it is tried again.
pub(super) fn must_bind(listener: &mut LocalListener, dir: &Path, registry: &Registry) -> Result<(), String> {
    match listener.bind(dir, registry) {
        Err(error) if !cannot_create_files(&error) => Err(listener.problem().unwrap_or_default().to_owned()),
        _ => Ok(()),
    }
}
