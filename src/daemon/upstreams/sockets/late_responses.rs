//! Sockets whose attempts have ended stay open for a while, so that a late response is counted instead
//! of provoking an ICMP error that shows the port to others.

use super::{Line, Upstreams};
use hither_rounds::AttemptId;
use hither_table::Monotonic;

impl Upstreams {
    /// Ends an attempt. Its UDP socket stays open until `linger` if that is given and the bound allows it.
    pub fn close(&mut self, attempt: AttemptId, linger: Option<Monotonic>, now: Monotonic) {
        let Some(key) = self.attempts.remove(&attempt) else { return self.encrypted.cancel(attempt) };
        let socket = &mut self.sockets[key];
        socket.attempt = None;
        match linger {
            Some(until)
                if self.lingering.len() < self.shares.lingering && matches!(socket.line, Line::Udp(_)) =>
            {
                socket.lingers = Some(until);
                self.lingering.insert((until, key));
            }
            _ => self.release(key, now),
        }
    }

    /// Closes all unused sockets after a change of the host's addresses or routes: their source
    /// addresses may be gone.
    pub fn renew(&mut self) {
        self.over.extend(self.pool.empty());
        while let Some((_, key)) = self.lingering.pop_first() {
            self.sockets[key].lingers = None;
            self.over.push(key);
        }
    }

    /// When [`Upstreams::on_time`] is to be called.
    pub fn timeout(&self) -> Option<Monotonic> {
        let lingering = self.lingering.first().map(|(until, _)| *until);
        lingering.into_iter().chain(self.pool.timeout()).min()
    }

    /// Gives sockets that have waited long enough back to the pool, and closes idle ones that were not
    /// needed for a minute.
    pub fn on_time(&mut self, now: Monotonic) {
        while let Some((until, key)) = self.lingering.first().copied()
            && until <= now
        {
            self.lingering.remove(&(until, key));
            self.sockets[key].lingers = None;
            self.release(key, now);
        }
        self.over.extend(self.pool.sweep(now));
    }
}
