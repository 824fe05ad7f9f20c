//! Signals as events: SIGTERM and SIGINT end, SIGHUP reloads, SIGCHLD says that a child has ended.

use mio::{Interest, Registry, Token, event::Source, unix::SourceFd};
use nix::sys::signal::{SigSet, SigmaskHow, Signal as Number, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::AsRawFd as _;

/// What was asked of us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// End in good order.
    Terminate,
    /// Read the configuration again.
    Reload,
    /// A child has ended.
    Child,
}

/// The signals of this process. They are blocked, so it must be made before any thread; children inherit that and have to
/// [`unblock`].
#[derive(Debug)]
pub struct Signals(SignalFd);

fn ours() -> SigSet {
    [Number::SIGTERM, Number::SIGINT, Number::SIGHUP, Number::SIGCHLD].into_iter().collect()
}

/// Gives the signals their meaning back, in a child before it becomes another program.
///
/// # Errors
/// As the kernel says.
pub fn unblock() -> io::Result<()> {
    Ok(pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&ours()), None)?)
}

impl Signals {
    /// Takes the signals over.
    ///
    /// # Errors
    /// If there is no descriptor to be had.
    pub fn new() -> io::Result<Signals> {
        let set = ours();
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
