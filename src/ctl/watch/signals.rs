//! The signals of a watch that runs commands: the end of a command, and the request to stop.
//!
//! They are caught, not blocked: a command would inherit blocked signals.

use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Becomes readable when a signal has come.
pub(super) struct Signals {
    woken: UnixStream,
    stop: Arc<AtomicBool>,
}

impl Signals {
    /// Catches the signals from now on. The second request to stop ends the process at once.
    ///
    /// # Errors
    /// If there is no descriptor left.
    pub fn catch() -> io::Result<Signals> {
        let stop = Arc::new(AtomicBool::new(false));
        let (woken, waker) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))?;
            flag::register(signal, Arc::clone(&stop))?;
            pipe::register(signal, waker.try_clone()?)?;
        }
        pipe::register(SIGCHLD, waker)?;
        Ok(Signals { woken, stop })
    }

    /// Whether the watch is to stop.
    pub fn must_stop(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Forgets the signals that have come, before their effects are looked at.
    pub fn acknowledge(&mut self) {
        let mut octets = [0; 64];
        while self.woken.read(&mut octets).is_ok_and(|count| count == octets.len()) {}
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}
