//! What the service manager is told. Outside of one, nothing happens; if it cannot be told, the service goes on.

use crate::logging::Event;
use sd_notify::NotifyState;
use std::time::Duration;

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!(
            event = Event::ManagerUnheard, reason:% = error;
            "the service manager cannot be told anything: {error}, ignoring"
        );
    }
}

fn line(status: &str) -> String {
    status.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&line(status))]);
}

pub(crate) fn status(status: &str) {
    tell(&[NotifyState::Status(&line(status))]);
}

pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => log::warn!(
            event = Event::ClockTrouble, reason:% = error;
            "the clock cannot be read: {error}, ignoring"
        ),
    }
}

pub(crate) fn stopping(why: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(&line(why))]);
}

pub(crate) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often it wants to hear that we are alive: half of what it allows.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|allowed| allowed / 2)
}
