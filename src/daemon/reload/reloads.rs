//! Reloads of the configuration: how several demands become one, and whom its end is told to.

use crate::config::Config;
use crate::daemon::admin::control::Control;
use crate::daemon::event_loop::Daemon;
use crate::daemon::sources::Slot;
use crate::daemon::wrong;
use crate::logging::Event;
use hither_control::Response;
use hither_table::Monotonic;
use std::time::Duration;

/// How long a signal and the request that belongs to it may be apart.
const TOGETHER: Duration = Duration::from_secs(5);
/// Reading the configuration takes one part in so many of the time, however often it is asked for.
const PART: u32 = 10;
/// And it is read at least so often, where it is asked for.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A reload of the configuration, and how the last one ended.
#[derive(Debug, Default)]
pub(crate) struct Reload {
    pairs: Pairs,
    /// One is to begin, not before that time.
    wanted: bool,
    next: Monotonic,
    /// Operators who wait for that one.
    waiting: Vec<Slot>,
    /// Lists are being read.
    running: bool,
    /// The service manager and operators wait for its end.
    asked: Vec<Slot>,
    /// Why the configuration that is there was not taken.
    pub refused: Option<String>,
    /// A configuration that was wrong from the start and is right now: what it names is being read.
    pub mended: Option<Box<Config>>,
    /// When a configuration that was wrong from the start is read again.
    pub due: Monotonic,
}

/// systemd from 253 sends a signal and runs a command for one reload, neither after the other: the later one joins the earlier.
#[derive(Debug, Default)]
struct Pairs {
    /// The reload that is to begin is a signal's, and no request has joined it.
    signalled: bool,
    /// What the last one that a signal began came to, until a request asks for it; and how long one may.
    begun: Option<(Monotonic, Result<(), String>)>,
    /// A request came before its signal: until then that one begins nothing.
    owed: Option<Monotonic>,
}

/// What becomes of a request that belongs to a signal.
#[derive(PartialEq, Eq, Debug)]
enum Joins {
    /// The reload that is to begin.
    Next,
    /// One that has begun, and how.
    Begun(Result<(), String>),
    /// None: it begins one by itself.
    Nothing,
}

impl Pairs {
    /// A signal has come; whether it begins a reload.
    fn signal(&mut self, now: Monotonic) -> bool {
        let begins = self.owed.take().is_none_or(|until| until <= now);
        if begins {
            (self.signalled, self.begun) = (true, None);
        }
        begins
    }

    /// The reload that was to begin has begun, or failed.
    fn began(&mut self, result: &Result<(), String>, now: Monotonic) {
        if std::mem::take(&mut self.signalled) {
            self.begun = Some((now.plus(TOGETHER), result.clone()));
        }
    }

    /// A request has come; `running`: the last reload is not over.
    fn request(&mut self, running: bool, now: Monotonic) -> Joins {
        if std::mem::take(&mut self.signalled) {
            return Joins::Next;
        }
        match self.begun.take() {
            Some((until, result)) if now < until || running && result.is_ok() => Joins::Begun(result),
            Some(_) | None => {
                self.owed = Some(now.plus(TOGETHER));
                Joins::Nothing
            }
        }
    }
}

impl Reload {
    /// When one is to begin.
    pub fn timeout(&self) -> Option<Monotonic> {
        self.wanted.then_some(self.next)
    }

    /// The configuration is in force, and its lists are being read.
    pub fn has_begun(&mut self) {
        (self.refused, self.running) = (None, true);
    }

    /// It is not in force after all, which those who wait for it are told.
    pub fn failed(&mut self, control: &mut Control, why: &str) {
        self.running = false;
        Reload::tell(&mut self.asked, control, &Response::Error { message: why.to_owned() });
    }

    fn tell(slots: &mut Vec<Slot>, control: &mut Control, response: &Response) {
        slots.drain(..).for_each(|slot| control.answer(slot, response));
    }
}

impl Daemon {
    pub(crate) fn reload_by_signal(&mut self, now: Monotonic) {
        self.reload.wanted |= self.reload.pairs.signal(now);
    }

    /// Tells `slot` what becomes of the reload that the signal begins which belongs to this request.
    pub(crate) fn reload_begun(&mut self, slot: Slot, now: Monotonic) {
        match self.reload.pairs.request(self.reload.running, now) {
            Joins::Next => self.reload.waiting.push(slot),
            Joins::Begun(Err(message)) => self.control.answer(slot, &Response::Error { message }),
            Joins::Begun(Ok(())) if self.reload.running => self.reload.asked.push(slot),
            Joins::Begun(Ok(())) => self.control.answer(slot, &Response::Reloaded),
            Joins::Nothing => self.reload_for(slot),
        }
    }

    /// Has the configuration read again for who asks for it. Those who ask before one begins have it together. While lists are read it is one more, for
    /// what they mean may have been written since.
    pub(crate) fn reload_for(&mut self, slot: Slot) {
        self.reload.waiting.push(slot);
        self.reload.wanted = true;
    }

    /// Reads the configuration again where that is asked for.
    pub(crate) fn reload_on_time(&mut self, now: Monotonic) {
        if !self.reload.wanted || now < self.reload.next || self.core.rounds().is_behind() {
            return;
        }
        self.reload.wanted = false;
        let began = hither_net::clock::now();
        let result = self.reload(now);
        let took = hither_net::clock::now().since(began);
        self.reload.next = began.plus((took * PART).min(PAUSE_MAX));
        self.reload.pairs.began(&result, now);
        match result {
            Ok(()) => {
                let mut waiting = std::mem::take(&mut self.reload.waiting);
                self.reload.asked.append(&mut waiting);
                if !self.loader.is_busy() {
                    self.reloaded();
                }
            }
            Err(message) => {
                Reload::tell(&mut self.reload.waiting, &mut self.control, &Response::Error { message });
            }
        }
    }

    /// # Errors
    /// Why the configuration that is there is not taken.
    fn reload(&mut self, now: Monotonic) -> Result<(), String> {
        self.manager.reloading();
        let was_wrong = self.config.wrong.is_some();
        let loaded = wrong::load(self.path.as_deref()).map_err(|wrong| wrong.why);
        let taken =
            loaded.map(|config| if was_wrong { self.mended(config, now) } else { self.take(config, now) });
        if let Err(error) = &taken {
            self.unmended(error);
            self.reload.refused = (!was_wrong).then(|| error.clone());
            log::error!(
                event = Event::ConfigurationRefused, reason:% = error;
                "the configuration is not reloaded, {}: {error}",
                if was_wrong { "and there is none in force" } else { "the old one stays in force" }
            );
            if !self.reload.running {
                let status = self.status_line();
                self.manager.ready(&status);
            }
        }
        taken
    }

    /// Hosts files and lists have been read.
    pub(crate) fn reloaded(&mut self) {
        if std::mem::take(&mut self.reload.running) {
            log::info!(event = Event::ConfigurationReloaded; "the configuration is reloaded");
            self.requests.has_changed();
            Reload::tell(&mut self.reload.asked, &mut self.control, &Response::Reloaded);
            let status = self.status_line();
            self.manager.ready(&status);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Monotonic {
        Monotonic::from_ms(s * 1000)
    }

    #[test]
    fn a_signal_and_its_request_are_one_reload_whichever_comes_first() {
        let mut pairs = Pairs::default();
        assert!(pairs.signal(at(0)));
        assert_eq!(pairs.request(false, at(0)), Joins::Next, "before it has begun");
        pairs.began(&Ok(()), at(0));
        assert_eq!(pairs.request(false, at(1)), Joins::Nothing, "one request joins one signal");
        assert!(!pairs.signal(at(2)), "which belongs to the request of before");
        assert!(pairs.signal(at(3)), "and one more does not");
        pairs.began(&Err("why".to_owned()), at(3));
        assert_eq!(pairs.request(false, at(4)), Joins::Begun(Err("why".to_owned())));
    }

    #[test]
    fn what_is_long_over_is_joined_by_nobody() {
        let mut pairs = Pairs::default();
        assert!(pairs.signal(at(0)));
        pairs.began(&Ok(()), at(0));
        assert_eq!(pairs.request(true, at(60)), Joins::Begun(Ok(())), "it still runs");
        assert!(pairs.signal(at(100)));
        pairs.began(&Ok(()), at(100));
        assert_eq!(pairs.request(false, at(160)), Joins::Nothing, "it is long over");
        assert!(pairs.signal(at(260)), "no signal came for that request in time");
    }
}
