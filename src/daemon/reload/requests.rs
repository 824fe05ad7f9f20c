//! Requests to reload the configuration: several of them become one reload, and each operator gets
//! a reply when it ends.

use crate::daemon::sources::Slot;
use hither_control::Response;
use hither_table::Monotonic;
use std::time::Duration;

/// How long a signal and the request that belongs to it may be apart.
const PAIR_WITHIN: Duration = Duration::from_secs(5);
/// At most one part in this many of the time is spent on reading the configuration, however often
/// it is requested.
const TIME_PART: u32 = 10;
/// A requested reload begins at the latest this long after the previous one.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The requested reload, the running one, and the operators that wait for them.
#[derive(Debug, Default)]
pub(crate) struct ReloadRequests {
    pairs: Pairs,
    /// Whether a reload is requested. It does not begin before `next`.
    is_requested: bool,
    next: Monotonic,
    /// Operators that wait for the requested reload.
    requesters: Vec<Slot>,
    /// Whether the configuration is in force while its lists are still being read.
    is_running: bool,
    /// Operators that wait for the end of the running reload.
    waiting: Vec<Slot>,
    /// Why the configuration that was read last is not in force.
    refusal: Option<String>,
}

/// systemd from version 253 on sends a signal and runs a command for one reload, in either order:
/// the later one joins the earlier.
#[derive(Debug, Default)]
struct Pairs {
    /// Whether a signal requested the next reload and no operator's request has joined it.
    signalled: bool,
    /// The result of the last reload that a signal began, until a request joins it, and until when one may.
    begun: Option<(Monotonic, Result<(), String>)>,
    /// Set when a request came before its signal: a signal until then begins no reload.
    signal_until: Option<Monotonic>,
}

/// The reload that a request joins which belongs to a signal.
#[derive(PartialEq, Eq, Debug)]
enum Joins {
    /// The reload that is to begin.
    Requested,
    /// A reload that has begun, with its result.
    Begun(Result<(), String>),
    /// No reload: the request begins one.
    Nothing,
}

impl Pairs {
    /// Notes a signal. Returns whether it begins a reload.
    fn signal(&mut self, now: Monotonic) -> bool {
        let begins = self.signal_until.take().is_none_or(|until| until <= now);
        if begins {
            (self.signalled, self.begun) = (true, None);
        }
        begins
    }

    /// Notes that the requested reload has begun, or failed.
    fn began(&mut self, result: &Result<(), String>, now: Monotonic) {
        if std::mem::take(&mut self.signalled) {
            self.begun = Some((now.plus(PAIR_WITHIN), result.clone()));
        }
    }

    /// Notes a request. `is_running`: whether the last reload is still running.
    fn request(&mut self, is_running: bool, now: Monotonic) -> Joins {
        if std::mem::take(&mut self.signalled) {
            return Joins::Requested;
        }
        match self.begun.take() {
            Some((until, result)) if now < until || is_running && result.is_ok() => Joins::Begun(result),
            Some(_) | None => {
                self.signal_until = Some(now.plus(PAIR_WITHIN));
                Joins::Nothing
            }
        }
    }
}

impl ReloadRequests {
    /// When the requested reload may begin.
    pub fn timeout(&self) -> Option<Monotonic> {
        self.is_requested.then_some(self.next)
    }

    /// Notes a signal (SIGHUP).
    pub fn signal(&mut self, now: Monotonic) {
        self.is_requested |= self.pairs.signal(now);
    }

    /// Notes an operator's request. All requests before the reload begins share it. While lists are
    /// being read, another reload is needed, since the configuration may have been written since.
    pub fn request(&mut self, slot: Slot) {
        self.requesters.push(slot);
        self.is_requested = true;
    }

    /// Notes a request that belongs to a signal, so that it joins the reload of that. Returns the
    /// reply if the reload has ended.
    pub fn request_of_signal(&mut self, slot: Slot, now: Monotonic) -> Option<Response> {
        match self.pairs.request(self.is_running, now) {
            Joins::Requested => self.requesters.push(slot),
            Joins::Begun(Err(message)) => return Some(Response::Error { message }),
            Joins::Begun(Ok(())) if self.is_running => self.waiting.push(slot),
            Joins::Begun(Ok(())) => return Some(Response::Reloaded),
            Joins::Nothing => self.request(slot),
        }
        None
    }

    /// Takes the requested reload, if it may begin. `true`: the caller reads the configuration now.
    pub fn take(&mut self, now: Monotonic) -> bool {
        let is_due = self.is_requested && now >= self.next;
        if is_due {
            self.is_requested = false;
        }
        is_due
    }

    /// Notes that the taken reload has read the configuration, from `began` to `ended`. Returns the
    /// operators to reply to if that failed; otherwise they wait for its end.
    pub fn note_read(
        &mut self,
        result: &Result<(), String>,
        began: Monotonic,
        ended: Monotonic,
    ) -> Vec<Slot> {
        self.next = began.plus((ended.since(began) * TIME_PART).min(PAUSE_MAX));
        self.pairs.began(result, began);
        let requesters = std::mem::take(&mut self.requesters);
        match result {
            Ok(()) => {
                self.waiting.extend(requesters);
                Vec::new()
            }
            Err(_) => requesters,
        }
    }

    /// The configuration is in force, and its lists are being read.
    pub fn begin(&mut self) {
        (self.refusal, self.is_running) = (None, true);
    }

    /// Whether lists are being read for a reload.
    pub fn is_running(&self) -> bool {
        self.is_running
    }

    /// Ends the running reload. Returns the operators to reply to, or nothing if none was running.
    pub fn end(&mut self) -> Option<Vec<Slot>> {
        std::mem::take(&mut self.is_running).then(|| std::mem::take(&mut self.waiting))
    }

    /// Notes why the configuration that was read last is not in force, if there is a reason.
    pub fn refuse(&mut self, reason: Option<String>) {
        self.refusal = reason;
    }

    /// Why the configuration that was read last is not in force.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Monotonic {
        Monotonic::from_ms(s * 1000)
    }

    #[test]
    fn a_signal_and_its_request_are_one_reload_in_either_order() {
        let mut pairs = Pairs::default();
        assert!(pairs.signal(at(0)));
        assert_eq!(pairs.request(false, at(0)), Joins::Requested, "before it has begun");
        pairs.began(&Ok(()), at(0));
        assert_eq!(pairs.request(false, at(1)), Joins::Nothing, "one request joins one signal");
        assert!(!pairs.signal(at(2)), "it belongs to the request before");
        assert!(pairs.signal(at(3)), "another one does not");
        pairs.began(&Err("why".to_owned()), at(3));
        assert_eq!(pairs.request(false, at(4)), Joins::Begun(Err("why".to_owned())));
    }

    #[test]
    fn a_reload_that_ended_long_ago_is_not_joined() {
        let mut pairs = Pairs::default();
        assert!(pairs.signal(at(0)));
        pairs.began(&Ok(()), at(0));
        assert_eq!(pairs.request(true, at(60)), Joins::Begun(Ok(())), "it is still running");
        assert!(pairs.signal(at(100)));
        pairs.began(&Ok(()), at(100));
        assert_eq!(pairs.request(false, at(160)), Joins::Nothing, "it ended long ago");
        assert!(pairs.signal(at(260)), "no signal came for that request in time");
    }
}
