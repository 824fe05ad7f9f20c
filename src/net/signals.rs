//! Signals as events: SIGTERM and SIGINT stop the program, SIGHUP reloads its configuration, SIGCHLD
//! reports the end of a child.

use mio::{Interest, Registry, Token, event::Source, unix::SourceFd};
use nix::sys::signal::{SigSet, SigmaskHow, Signal as Number, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::AsRawFd as _;

/// The request that a signal stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// Stop in an orderly way.
    Terminate,
    /// Read the configuration again.
    Reload,
    /// A child process has ended.
    Child,
}

/// The signals of this process, as events. They are blocked in the calling thread and in those that it
/// starts later, so this has to be created before any thread. Child processes inherit the blocking and
/// have to [`unblock`] the signals.
#[derive(Debug)]
pub struct Signals(SignalFd);

fn handled() -> SigSet {
    [Number::SIGTERM, Number::SIGINT, Number::SIGHUP, Number::SIGCHLD].into_iter().collect()
}

/// Unblocks the signals in a child process before it runs another program.
///
/// # Errors
/// If the kernel refuses it.
pub fn unblock() -> io::Result<()> {
    Ok(pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&handled()), None)?)
}

impl Signals {
    /// Blocks the signals and receives them as events instead.
    ///
    /// # Errors
    /// If the descriptor cannot be created.
    pub fn new() -> io::Result<Signals> {
        let set = handled();
        set.thread_block()?;
        Ok(Signals(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// The next signal that has arrived.
    pub fn take(&mut self) -> Option<Signal> {
        let info = self.0.read_signal().ok()??;
        match i32::try_from(info.ssi_signo).ok().and_then(|number| Number::try_from(number).ok())? {
            Number::SIGHUP => Some(Signal::Reload),
            Number::SIGCHLD => Some(Signal::Child),
            _ => Some(Signal::Terminate),
        }
    }
}

impl Source for Signals {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).deregister(registry)
    }
}
