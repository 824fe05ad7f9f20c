//! The one clock, and an alarm by it: `CLOCK_BOOTTIME`, which runs on while the host sleeps and which nobody sets. The wall clock, for what
//! outlives the host's run, and what tells that it was set.

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

/// Milliseconds of the wall clock since 1970; anybody may set it, at any time.
#[must_use]
pub fn wall_ms() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME).unwrap_or(TimeSpec::new(0, 0));
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    seconds * 1000 + u64::try_from(time.tv_nsec()).unwrap_or(0) / 1_000_000
}

/// Wakes a poll when the wall clock is set.
#[derive(Debug)]
pub struct Setting(TimerFd);

impl Setting {
    /// What is set from now on is told.
    ///
    /// # Errors
    /// If there is no descriptor to be had.
    pub fn new() -> io::Result<Setting> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let setting = Setting(TimerFd::new(ClockId::CLOCK_REALTIME, flags)?);
        setting.arm()?;
        Ok(setting)
    }

    /// An alarm at a time that does not come, which the kernel cancels when the clock is set.
    fn arm(&self) -> io::Result<()> {
        let never = Expiration::OneShot(TimeSpec::new(1 << 40, 0));
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        match self.0.set(never, flags) {
            // It was set just now, and the alarm is set all the same.
            Err(nix::errno::Errno::ECANCELED) => Ok(()),
            result => Ok(result?),
        }
    }

    /// Takes note; whether it was set since the last time.
    ///
    /// # Errors
    /// If it can tell nothing from now on.
    pub fn take(&self) -> io::Result<bool> {
        match nix::unistd::read(self.0.as_fd(), &mut [0; 8]) {
            Err(nix::errno::Errno::EAGAIN) => Ok(false),
            Err(nix::errno::Errno::ECANCELED) | Ok(_) => self.arm().map(|()| true),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsRawFd for Setting {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Wakes a poll at a point in time, to the nanosecond where the kernel can; mio's own timeout has whole milliseconds.
#[derive(Debug)]
pub struct Alarm {
    timer: TimerFd,
    set: Option<Monotonic>,
}

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    /// If there is no descriptor to be had.
    pub fn new() -> io::Result<Alarm> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(Alarm { timer: TimerFd::new(ClockId::CLOCK_BOOTTIME, flags)?, set: None })
    }

    /// Makes the alarm ring at `at` or earlier. An earlier time that is already set stays: one wake-up in vain costs less than a
    /// system call each time that a deadline is replaced by a later one.
    ///
    /// # Errors
    /// If the kernel refuses to set the timer.
    pub fn set(&mut self, at: Option<Monotonic>) -> io::Result<()> {
        let Some(at) = at.filter(|at| self.set.is_none_or(|set| *at < set)) else { return Ok(()) };
        // Zero would unset it.
        let time = TimeSpec::from_duration(Duration::from_nanos(at.0.max(1)));
        self.timer.set(Expiration::OneShot(time), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        self.set = Some(at);
        Ok(())
    }

    /// Takes note that it rang.
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
    fn a_clock_that_nobody_sets_is_not_told() {
        let setting = Setting::new().expect("a descriptor");
        assert!(!setting.take().expect("it can be read"));
        // In 2001 this was so already.
        assert!(wall_ms() > 1_000_000_000_000);
    }
}
