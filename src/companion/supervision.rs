//! What others demand of a program: its end, and signs of life for the watchdog of the service manager that
//! started it, if any.

use crate::host::service_manager::{self, ServiceManager};
use hither_table::Monotonic;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Supervision {
    pub is_stopping: bool,
    pub manager: ServiceManager,
    watchdog: Option<Watchdog>,
}

#[derive(Debug)]
struct Watchdog {
    every: Duration,
    due: Monotonic,
}

impl Supervision {
    pub fn new(now: Monotonic) -> Supervision {
        let watchdog = service_manager::watchdog().map(|every| Watchdog { every, due: now });
        Supervision { is_stopping: false, manager: ServiceManager::new(), watchdog }
    }

    pub fn timeout(&self) -> Option<Monotonic> {
        let watchdog = self.watchdog.as_ref().map(|watchdog| watchdog.due);
        watchdog.into_iter().chain(self.manager.timeout()).min()
    }

    pub fn take_turn(&mut self, now: Monotonic) {
        if let Some(watchdog) = self.watchdog.as_mut().filter(|watchdog| watchdog.due <= now) {
            self.manager.alive();
            watchdog.due = now.plus(watchdog.every);
        }
        self.manager.try_again(now);
    }
}
