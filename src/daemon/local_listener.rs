//! A listening socket in the runtime directory. It is bound again if it could not be bound, or if
//! its file was removed.

use crate::daemon::shortage::has_waiting_connection;
use crate::daemon::sources::Source;
use crate::host::files;
use crate::logging::Event;
use hither_net::seqpacket::{Connection, Listener};
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// The result of accepting a connection.
#[derive(Debug)]
pub(crate) enum Accepted {
    Connection(Connection),
    /// No connection is waiting.
    Nothing,
    /// A connection is waiting but could not be accepted, for instance for lack of descriptors.
    Failed(io::Error),
}

/// One local socket.
#[derive(Debug)]
pub(crate) struct LocalListener {
    /// None if it could not be bound.
    listener: Option<Listener>,
    name: &'static str,
    source: Source,
    /// The permissions of its file.
    mode: u32,
    /// Whether the service manager passed it: then its file belongs to another unit.
    is_inherited: bool,
    /// Device and inode of the socket's file.
    identity: Option<(u64, u64)>,
    /// Why it could not be bound.
    problem: Option<String>,
}

impl LocalListener {
    /// Takes the socket that the service manager passed, if it passed one, and polls it as `source`.
    ///
    /// # Errors
    /// The socket cannot be polled.
    pub fn new(
        inherited: Option<Listener>,
        name: &'static str,
        source: Source,
        registry: &Registry,
    ) -> Result<LocalListener, String> {
        if let Some(listener) = &inherited {
            poll(listener, source, registry)
                .map_err(|error| format!("cannot add a local socket to the epoll instance: {error}"))?;
        }
        let is_inherited = inherited.is_some();
        // Every user may connect. The kernel reports the user of a process, which decides its rights.
        let (mode, identity, problem) = (0o666, None, None);
        Ok(LocalListener { listener: inherited, name, source, mode, is_inherited, identity, problem })
    }

    /// Makes the next [`LocalListener::bind`] bind the socket with these permissions.
    pub fn set_mode(&mut self, mode: u32) {
        if self.mode != mode {
            self.mode = mode;
            self.identity = None;
        }
    }

    /// Closes the socket and removes its file.
    pub fn unbind(&mut self, dir: &Path) {
        let path = dir.join(self.name);
        if self.listener.take().is_some() && self.identity == files::identity(&path) {
            // If that fails, connecting fails too.
            let _ = std::fs::remove_file(&path);
        }
        (self.identity, self.problem) = (None, None);
    }

    /// Binds the socket in `dir` if it is not bound, or if its file has been removed or replaced.
    ///
    /// # Errors
    /// The kernel's error. It is logged once, and [`LocalListener::problem`] has it until the
    /// socket is bound.
    pub fn bind(&mut self, dir: &Path, registry: &Registry) -> io::Result<()> {
        let path = dir.join(self.name);
        if self.listener.is_some() && (self.is_inherited || self.identity == files::identity(&path)) {
            return Ok(());
        }
        let bound = Listener::bind(&path, self.mode).and_then(|listener| {
            poll(&listener, self.source, registry)?;
            Ok(listener)
        });
        match bound {
            Ok(listener) => {
                self.listener = Some(listener);
                self.identity = files::identity(&path);
                if self.problem.take().is_some() {
                    log::info!("listening at '{}'", path.display());
                }
                Ok(())
            }
            Err(error) => {
                self.listener = None;
                let problem = format!("cannot listen at '{}': {error}", path.display());
                if self.problem.as_ref() != Some(&problem) {
                    log::warn!(
                        event = Event::NotListening, address:% = path.display(), reason:% = error;
                        "{problem}; trying again every minute"
                    );
                }
                self.problem = Some(problem);
                Err(error)
            }
        }
    }

    /// Why the socket is not bound.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Accepts one connection, if one waits.
    pub fn accept(&self) -> Accepted {
        let Some(listener) = &self.listener else { return Accepted::Nothing };
        match listener.accept() {
            Ok(Some(connection)) => Accepted::Connection(connection),
            Ok(None) => Accepted::Nothing,
            // Without a free descriptor accept(2) fails even if no connection is waiting.
            Err(error) if has_waiting_connection(listener) => Accepted::Failed(error),
            Err(_) => Accepted::Nothing,
        }
    }
}

fn poll(listener: &Listener, source: Source, registry: &Registry) -> io::Result<()> {
    registry.register(&mut SourceFd(&listener.as_raw_fd()), source.token(), Interest::READABLE)
}

/// Whether an error says that no file can be created: the file system is full or read-only, a quota is
/// used up, or the kernel has no memory.
pub(crate) fn cannot_create_files(error: &io::Error) -> bool {
    use nix::libc::{EDQUOT, ENOMEM, ENOSPC, EROFS};
    error.raw_os_error().is_some_and(|number| [ENOSPC, EDQUOT, EROFS, ENOMEM].contains(&number))
}
