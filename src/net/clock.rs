//! The monotonic clock `CLOCK_BOOTTIME`, which goes on while the host is suspended and cannot be set,
//! and an alarm by it; the wall clock, for data that outlives a reboot, and a watch that reports when it
//! is set.

use hither_table::Monotonic;
use mio::{Interest, Registry, Token, event::Source, unix::SourceFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::time::Duration;

/// The time since the host was started, including the time for which it was suspended.
#[must_use]
pub fn now() -> Monotonic {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).unwrap_or(TimeSpec::new(0, 0));
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    Monotonic(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0))
}

/// The wall clock in milliseconds since 1970. It can be set to any time at any moment.
#[must_use]
pub fn wall_ms() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME).unwrap_or(TimeSpec::new(0, 0));
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    seconds * 1000 + u64::try_from(time.tv_nsec()).unwrap_or(0) / 1_000_000
}

/// Becomes readable when the wall clock is set.
#[derive(Debug)]
pub struct WallClockWatch(TimerFd);

impl WallClockWatch {
    /// A watch that reports each setting of the clock from now on.
    ///
    /// # Errors
    /// If the timer cannot be created.
    pub fn new() -> io::Result<WallClockWatch> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let watch = WallClockWatch(TimerFd::new(ClockId::CLOCK_REALTIME, flags)?);
        watch.arm()?;
        Ok(watch)
    }

    /// Sets a timer to a time in the far future, which the kernel cancels when the clock is set.
    fn arm(&self) -> io::Result<()> {
        let never = Expiration::OneShot(TimeSpec::new(1 << 40, 0));
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        match self.0.set(never, flags) {
            // The clock was set just now; the timer is armed nevertheless.
            Err(nix::errno::Errno::ECANCELED) => Ok(()),
            result => Ok(result?),
        }
    }

    /// Takes the report that the clock was set since the last call; `false` if it was not.
    ///
    /// # Errors
    /// If the watch cannot report anything from now on.
    pub fn take(&self) -> io::Result<bool> {
        match nix::unistd::read(self.0.as_fd(), &mut [0; 8]) {
            Err(nix::errno::Errno::EAGAIN) => Ok(false),
            Err(nix::errno::Errno::ECANCELED) | Ok(_) => self.arm().map(|()| true),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsRawFd for WallClockWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Becomes readable at a point in time, more precisely than mio's timeout of whole milliseconds.
#[derive(Debug)]
pub struct Alarm {
    timer: TimerFd,
    /// The time for which the timer is set, until it has rung.
    set: Option<Monotonic>,
}

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    /// If the timer cannot be created.
    pub fn new() -> io::Result<Alarm> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(Alarm { timer: TimerFd::new(ClockId::CLOCK_BOOTTIME, flags)?, set: None })
    }

    /// Makes the alarm ring at `at` or earlier; `None` changes nothing. An earlier time that is set
    /// already stays: one wake-up in vain costs less than a system call each time that a deadline is
    /// replaced by a later one.
    ///
    /// # Errors
    /// If the kernel refuses to set the timer.
    pub fn set(&mut self, at: Option<Monotonic>) -> io::Result<()> {
        let Some(at) = at.filter(|at| self.set.is_none_or(|set| *at < set)) else { return Ok(()) };
        // A time of zero would disarm the timer.
        let time = TimeSpec::from_duration(Duration::from_nanos(at.0.max(1)));
        self.timer.set(Expiration::OneShot(time), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        self.set = Some(at);
        Ok(())
    }

    /// When the alarm rings; `None` if it is not set.
    #[must_use]
    pub fn time(&self) -> Option<Monotonic> {
        self.set
    }

    /// Notes that the alarm rang, so that it can be set again.
    pub fn ack(&mut self) {
        let mut count = [0; 8];
        if nix::unistd::read(self.timer.as_fd(), &mut count).is_ok() {
            self.set = None;
        }
    }
}

impl Source for Alarm {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.timer.as_fd().as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.timer.as_fd().as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.timer.as_fd().as_raw_fd()).deregister(registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_not_set_is_not_reported() {
        let watch = WallClockWatch::new().expect("a descriptor");
        assert!(!watch.take().expect("it can be read"));
        // This is a time in 2001.
        assert!(wall_ms() > 1_000_000_000_000);
    }
}
